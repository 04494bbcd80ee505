"""mg.onnx.load: an ONNX file as a Module."""

import inspect
import os
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, DtypeError, MinigradError, ShapeError
from ..nn import Module, Parameter
from ..runtime.files import printable_path
from ..tensors import DTYPES, Tensor, tensor
from .exporting import BUFFERS
from .from_onnx import READERS, WITH_NUMBERS, Call
from .package import onnx_package

OPSETS = range(7, 25)  # whose operators from_onnx.py reads
# attributes that became inputs in later opsets, where a reader has one parameter for each form
RENAMED = {"axes", "starts", "ends", "pads", "value", "scales", "ratio"}
STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that training changes, but no gradient


def load(f: Any) -> "OnnxModule":
    """Read an ONNX file as a Module, which predicts, trains, and is exported again.

    f         path of the file, or a binary file object
    returns   a Module in train mode; call eval() to predict.  Its parameters are the weights of the file (initialisers
              of floats with 1 axis or more), by their names; running statistics are buffers.  It takes the file's
              inputs by position or by name, and returns a tensor, or a tuple of several

    In train mode BatchNormalization uses the statistics of the batch, and Dropout drops.

    Raises   DataError         the file is missing or damaged, keeps weights in other files, or has an operator, an
                               attribute, a dtype or an opset that is not supported
             ValidationError   the package onnx is missing
    Example
    >>> import io
    >>> import minigrad as mg
    >>> file = io.BytesIO()
    >>> mg.onnx.export(mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.ReLU()), mg.zeros(1, 3), file)
    >>> model = load(io.BytesIO(file.getvalue()))
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias']
    """
    onnx = onnx_package("load")
    data, where = _content(f)
    proto = onnx.ModelProto()
    _try(where, partial(proto.ParseFromString, data))
    for x in proto.graph.initializer:
        if x.data_location == x.EXTERNAL:
            raise DataError(
                f"{where}: the weight {x.name!r} is kept in another file; export the model with all weights inside"
            )
    for result in proto.graph.output:
        result.type.tensor_type.shape.SetInParent()  # the checker wants one; here it is not needed
    _try(where, partial(onnx.checker.check_model, proto))
    return OnnxModule(_Source(onnx, proto, where))


def _try(where: str, step: Any) -> None:
    """Run a step of reading a file; what it raises means that the file is damaged."""
    try:
        step()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{where}: is no valid ONNX file ({reason}); copy or export it again") from error


def _content(f: Any) -> tuple[bytes, str]:
    """The bytes of a file, and its name in errors."""
    if hasattr(f, "read"):
        return f.read(), getattr(f, "name", "load: the file object")
    if not isinstance(f, str | os.PathLike):
        raise DtypeError(f"load: f is a {type(f).__name__}, expected a path or a binary file object")
    where = f"load: {printable_path(f)}"
    try:
        with open(f, "rb") as file:
            return file.read(), where
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); check the folder and the name") from error


class _Node(NamedTuple):
    """A node of the file.

    kind         its operator
    name         for errors: its number, name and operator
    inputs       names; "" for those that are left out
    attributes   by the names of the reader's parameters
    outputs      names
    last         names that are not used after it
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    outputs: tuple[str, ...]
    last: tuple[str, ...]


class _Source:
    """The content of a file.

    nodes       that compute something
    constants   arrays by name, of initialisers and Constant nodes
    weights     names of the initialisers that are parameters; `buffers`: of those that are buffers
    """

    def __init__(self, onnx: Any, proto: Any, where: str):
        self.onnx, self.where = onnx, where
        self.opset = self._opset(proto)
        self.constants = {x.name: self._array(x, f"the weight {x.name!r}") for x in proto.graph.initializer}
        weights = set(self.constants)
        self.inputs = [x.name for x in proto.graph.input if x.name not in weights]
        self.outputs = [x.name for x in proto.graph.output]
        self.nodes = self._nodes(proto.graph.node)
        self._find_weights(proto, weights)

    def _opset(self, proto: Any) -> int:
        versions = {x.domain or "ai.onnx": x.version for x in proto.opset_import}
        version = versions.get("ai.onnx", 0)
        if version not in OPSETS:
            raise DataError(
                f"{self.where}: has opset {version or versions}, expected {OPSETS[0]} to {OPSETS[-1]}; export it with "
                "another opset_version"
            )
        return int(version)

    def _array(self, proto: Any, what: str) -> np.ndarray:
        array: np.ndarray = self.onnx.numpy_helper.to_array(proto)
        if array.dtype not in DTYPES:
            raise DataError(
                f"{self.where}: {what} is {array.dtype}, which is not supported; use {', '.join(map(str, DTYPES))}"
            )
        return array

    def _nodes(self, protos: Any) -> list[_Node]:
        found = []
        uses = {name: number for number, proto in enumerate(protos) for name in proto.input}
        for number, proto in enumerate(protos):
            what = f"node {number} {proto.name!r} ({proto.op_type})"
            attributes = {x.name: self._attribute(x, what) for x in proto.attribute}
            if proto.op_type == "Constant" and proto.domain in ("", "ai.onnx"):
                self.constants[proto.output[0]] = _constant(attributes)
                continue
            last = {name for name in (*proto.input, *proto.output) if uses.get(name, number) == number}
            last -= {*self.outputs, *self.constants}
            self._check(proto, what, {*uses, *self.outputs})
            bound = self._bound(proto.op_type, what, len(proto.input), attributes)
            found.append(_Node(proto.op_type, what, tuple(proto.input), bound, tuple(proto.output), tuple(last)))
        return found

    def _attribute(self, proto: Any, what: str) -> Any:
        value = self.onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, self.onnx.TensorProto):
            return self._array(value, f"a value of {what}")
        return list(value) if proto.type in (proto.INTS, proto.FLOATS) else value

    def _check(self, proto: Any, what: str, used: set[str]) -> None:
        """Refuse an operator that has no reader, or the use of outputs that its reader does not give."""
        if proto.op_type not in READERS or proto.domain not in ("", "ai.onnx"):
            domain = proto.domain and f" of {proto.domain}"
            raise DataError(
                f"{self.where}: {what}: the operator {proto.op_type}{domain} is not supported; export the model "
                "without it"
            )
        given = READERS[proto.op_type].outputs
        if given is not None and used.intersection(proto.output[given:]):
            raise DataError(
                f"{self.where}: {what}: {given} output is supported, {len(proto.output)} are used; export the "
                "model anew"
            )

    def _bound(self, kind: str, what: str, inputs: int, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes by the names of the reader's parameters."""
        signature = inspect.signature(READERS[kind].function)
        named = {
            f"{name}_attribute" if name in RENAMED and f"{name}_attribute" in signature.parameters else name: value
            for name, value in attributes.items()
        }
        try:
            signature.bind(None, *[None] * inputs, **named)
        except TypeError as error:
            raise DataError(f"{self.where}: {what}: {error}, which is not supported; export the model anew") from None
        return named

    def _find_weights(self, proto: Any, initializers: set[str]) -> None:
        """Which initialisers training changes: floats with axes that a node takes as a tensor."""
        notes = {x.key: x.value for x in proto.metadata_props}
        buffers, used = {name for name in notes.get(BUFFERS, "").split("\n") if name}, set()
        for node in self.nodes:
            reader = READERS[node.kind]
            for i, name in enumerate(node.inputs):
                if i in STATISTICS.get(node.kind, ()):
                    buffers.add(name)
                elif i not in reader.static:
                    used.add(name)
        least = 0 if BUFFERS in notes else 1  # axes; other exporters keep single numbers as initialisers, too
        arrays = {name: self.constants[name] for name in initializers}
        floats = {name for name, x in arrays.items() if x.dtype.kind == "f" and x.ndim >= least}
        self.buffers = [name for name in self.constants if name in initializers & buffers]
        self.weights = [name for name in self.constants if name in (floats & used) - buffers]


def _constant(attributes: dict[str, Any]) -> np.ndarray:
    """The value of a Constant node."""
    ((name, value),) = attributes.items()
    return value if name == "value" else np.array(value, np.float32 if "float" in name else np.int64)


class _Group(Module):
    """Weights and groups below one part of their names."""


class OnnxModule(Module):
    """A model from an ONNX file; see load.  Its state_dict has the names of the file's weights."""

    def __init__(self, source: _Source):
        super().__init__()
        self._nodes, self._opset = tuple(source.nodes), source.opset
        self._inputs, self._outputs = tuple(source.inputs), tuple(source.outputs)
        self._places: dict[str, tuple[str, str]] = {}  # of each weight: the path of its group, and its name there
        for name in source.weights:
            self._put(name, partial(Module.register_parameter, param=Parameter(source.constants[name])))
        for name in source.buffers:
            self._put(name, partial(Module.register_buffer, tensor=tensor(source.constants[name])))
        self.momenta = self._momenta()
        self._constants = {name: x for name, x in source.constants.items() if name not in self._places}

    def _put(self, name: str, register: Any) -> None:
        """Register a weight below the groups that its name consists of; a part that is taken gets a "_"."""
        *parts, own = [part or "_" for part in name.split(".")]
        group: Module = self
        for i, part in enumerate(parts):
            while part not in group._modules and hasattr(group, part):
                part += "_"
            if part not in group._modules:
                group.add_module(part, _Group())
            group, parts[i] = group._modules[part], part
        while hasattr(group, own):
            own += "_"
        register(group, own)
        self._places[name] = ".".join(parts), own

    def _momenta(self) -> dict[str, float]:
        """By the name of a running mean: the share of a batch in it, as exporting.py looks for it."""
        normal = [node for node in self._nodes if node.kind == "BatchNormalization" and node.inputs[3] in self._places]
        means = {".".join(filter(None, self._places[node.inputs[3]])): node for node in normal}
        return {name: 1 - node.attributes.get("momentum", 0.9) for name, node in means.items()}

    def extra_repr(self) -> str:
        return f"inputs={list(self._inputs)}, outputs={list(self._outputs)}, nodes={len(self._nodes)}"

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        known: dict[str, Any] = dict(self._given(inputs, named))
        known |= self._constants
        known |= {name: getattr(self.get_submodule(path), own) for name, (path, own) in self._places.items()}
        for node in self._nodes:
            results = self._run_node(node, [known[name] if name else None for name in node.inputs])
            known.update(zip(node.outputs, results, strict=False))
            for name in node.last:
                known.pop(name, None)
        device = next((x.device for x in inputs or named.values()), "cpu")
        found = [as_tensor(known[name], device) for name in self._outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def _given(self, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        given = dict(zip(self._inputs, inputs, strict=False)) | named
        if len(inputs) + len(named) != len(self._inputs) or set(given) != set(self._inputs):
            raise ShapeError(
                f"OnnxModule: got {len(inputs)} inputs and {sorted(named)} by name, expected {list(self._inputs)}"
            )
        for name, x in given.items():
            if not isinstance(x, Tensor):
                raise DtypeError(f"OnnxModule: the input {name!r} is a {type(x).__name__}, expected a Tensor")
            yield name, x

    def _run_node(self, node: _Node, values: list[Any]) -> tuple[Any, ...]:
        """The outputs of a node.  What depends on shapes and constants alone is computed on the host."""
        reader = READERS[node.kind]
        tensors = [x for x in values if isinstance(x, Tensor)]
        device = tensors[0].device if tensors else "numpy"
        arguments = [
            x if x is None or i in reader.either
            else as_array(x) if i in reader.static
            else as_operand(x, tensors if node.kind in WITH_NUMBERS else [], device)
            for i, x in enumerate(values)
        ]  # fmt: skip
        try:
            result = reader.function(Call(self.training, self._opset, len(node.outputs)), *arguments, **node.attributes)
        except MinigradError as error:
            error.args = (f"{node.name}: {error}",)
            raise
        results = result if reader.outputs is None else (result,)
        return results if tensors else tuple([x.array if isinstance(x, Tensor) else x for x in results])


def as_array(x: Any) -> np.ndarray:
    """A tensor or a NumPy array as a NumPy array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


def as_operand(x: Any, tensors: list[Tensor], device: Any) -> Any:
    """A tensor; a single number beside tensors of its dtype stays a number."""
    if isinstance(x, Tensor):
        return x
    if not x.ndim and any(other.dtype == x.dtype for other in tensors):
        return x.item()
    return as_tensor(x, device)


def as_tensor(x: Any, device: Any) -> Tensor:
    """A tensor or a NumPy array as a tensor."""
    return x if isinstance(x, Tensor) else tensor(x, device=device)
