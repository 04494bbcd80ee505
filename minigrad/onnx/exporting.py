"""mg.onnx.export: a model as an ONNX file."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import brief, type_with_article
from ..errors import DtypeError, GraphError, ShapeError, ValidationError
from ..nn import Module
from ..replay import tensors_in
from ..runtime.files import write_whole
from .graph import Graph
from .package import onnx_package
from .to_onnx import RULES, convert
from .trace import Size, Trace, trace

OPSETS = range(18, 24)  # in which the nodes of to_onnx.py mean the same
IR_VERSION = 8  # the format of files with opset 18; newer ones do not need another
BUFFERS = "minigrad.buffers"  # the metadata that names the buffers among the weights, one a line


def export(
    model: Module,
    args: Any,
    f: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int = 18,
    dynamic_axes: Mapping[str, Any] | None = None,
) -> None:
    """Write a model, as it predicts in eval mode, to an ONNX file.

    model          a Module on any device; it does not change
    args           a tensor or a tuple of arguments for its forward; kwargs are those by name
    f              path of the file, or a binary file object
    input_names    of the tensors among the arguments; "input" or "input_0", "input_1", ... if None
    output_names   of the tensors among the results; "output" or "output_0", ... if None
    opset_version  18 to 23   version of ONNX's operators
    dynamic_axes   {input name: {axis: "batch"}}: the axis of each input whose size is free when the file is used; axis
                   0 of all tensors if None; {} fixes all sizes

    The model runs on batches of several sizes, and what its forward computes with tensors is written: a branch that
    Python takes depending on anything else is written as it was taken.  Weights keep their names of state_dict.  Files
    have no place for dropout of eval mode, padding_idx, frozen parameters, and the rule by which InstanceNorm moves its
    running statistics: a loaded model trains without them.

    Raises   GraphError        forward reads values, draws random numbers, changes weights, runs an operation that has
                               no form in ONNX, or depends on the size of the batch in another way than by shapes
             ValidationError   the package onnx is missing, or names, axes or the opset do not fit
             DtypeError        model is no Module, or there is no tensor among the arguments
             ShapeError        an input has no axis for the batch
             FileError         the file cannot be written
    Example
    >>> import io
    >>> import minigrad as mg
    >>> model, file = mg.nn.Linear(3, 2), io.BytesIO()
    >>> mg.onnx.export(model, mg.zeros(1, 3), file)
    >>> loaded = mg.onnx.load(io.BytesIO(file.getvalue()))
    >>> bool((loaded(mg.ones(5, 3)) == model(mg.ones(5, 3))).all())
    True
    """
    onnx = onnx_package("export")
    if not isinstance(model, Module):
        raise DtypeError(f"export: model is {type_with_article(model)}, expected a Module; give the model itself")
    if opset_version not in OPSETS:
        raise ValidationError(f"export: opset_version is {brief(opset_version)}; use {OPSETS[0]} to {OPSETS[-1]}")
    arguments = (args if isinstance(args, tuple) else (args,)), dict(kwargs or {})
    inputs = tensors_in(arguments)
    if not inputs:
        raise DtypeError("export: args has 0 tensors, expected 1 or more; give an example of the model's input")
    names = _names("input", input_names, len(inputs))
    axes, symbol = _batch_axes(names, [x.shape for x in inputs], dynamic_axes)
    found = trace(model, arguments, axes, RULES.__contains__)
    if not found.outputs:
        raise DtypeError("export: forward returns 0 tensors, expected 1 or more; return what the file should compute")
    results = _names("output", output_names, len(found.outputs))
    if taken := sorted(({*names} & {*results}) | ({*names, *results} & {name for name, _ in model._named_tensors()})):
        raise ValidationError(f"export: the name {taken[0]!r} is used twice; give other input_names or output_names")
    data = _serialized(onnx, model, found, (names, results), symbol, opset_version)
    if isinstance(f, str | os.PathLike):
        write_whole(f, data)
    else:
        f.write(data)


def _names(kind: str, given: Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]
    if len(given) != count or len(set(given)) < count:
        raise ValidationError(
            f"export: {kind}_names has {len(given)} names {list(given)}, and there are {count} {kind}s; give each "
            "a name of its own"
        )
    return list(given)


def _batch_axes(names: list[str], shapes: list[Any], given: Mapping[str, Any] | None) -> tuple[list[int | None], str]:
    """For each input the axis of the batch, or None; and the name of its size."""
    if given is None:
        given = {name: {0: "batch"} for name, shape in zip(names, shapes, strict=True) if shape}
    axes: list[int | None] = []
    symbols: set[str] = set()
    for name, shape in zip(names, shapes, strict=True):
        wanted = given.get(name, {})
        pairs = list(wanted.items()) if isinstance(wanted, Mapping) else [(axis, "batch") for axis in wanted]
        for axis, symbol in pairs[:1]:
            if not -len(shape) <= axis < len(shape) or not shape[axis]:
                raise ShapeError(
                    f"export: the input {name!r} has shape {tuple(shape)}, axis {axis} cannot be the batch's"
                )
            symbols.add(symbol)
        if len(pairs) > 1 or len(symbols) > 1:
            raise ValidationError(
                f"export: dynamic_axes has more than one free size for {name!r}; give one axis of each input, all of "
                "one name"
            )
        axes.append(pairs[0][0] % len(shape) if pairs else None)
    return axes, next(iter(symbols), "batch")


def _serialized(onnx: Any, model: Module, found: Trace, names: Any, symbol: str, opset: int) -> bytes:
    """The bytes of the file."""
    tensors = dict(model._named_tensors())
    buffers = {name for name, _ in model.named_buffers()}
    graph = Graph(names[0], [*tensors, *names[1]], found.batch, _momenta(model))
    for step in found.steps:
        graph.names.append(graph.name_of(convert(graph, step)))
    _name_outputs(graph, found.outputs, names[1])
    described = [(name, kind) for name, kind in zip(names[0], found.inputs, strict=True)]
    returned = [(name, kind) for name, (_, kind) in zip(names[1], found.outputs, strict=True)]
    infos = [[_value_info(onnx, name, kind, symbol) for name, kind in part] for part in (described, returned)]
    weights = [_as_proto(onnx, tensors[name], name) for name in graph.weights]
    nodes = [_as_node(onnx, **node) for node in graph.nodes]
    proto = onnx.helper.make_graph(nodes, type(model).__name__, *infos, initializer=weights)
    made = onnx.helper.make_model(
        proto, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="minigrad"
    )
    onnx.helper.set_model_props(made, {BUFFERS: "\n".join(name for name in graph.weights if name in buffers)})
    try:
        onnx.checker.check_model(made, full_check=True)
    except Exception as error:
        raise GraphError(f"export: onnx refuses the model: {error}; leave out the operation that it names") from error
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def _momenta(model: Module) -> dict[str, float]:
    """By the name of a running mean: the share of a batch in it, which no operation of eval mode has."""
    found: dict[str, float] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        own = getattr(module, "momenta", None) or {"running_mean": getattr(module, "momentum", None)}
        found |= {prefix + name: momentum for name, momentum in own.items() if isinstance(momentum, float)}
    return found


def _name_outputs(graph: Graph, outputs: Sequence[Any], names: Sequence[str]) -> None:
    """Give the values that are returned their names: in place of their own, or by a node that copies them."""
    made = {node["outputs"][0] for node in graph.nodes if node["op_type"] != "Constant"}
    renamed: dict[str, str] = {}
    for (reference, _), name in zip(outputs, names, strict=True):
        operand = graph.name_of(graph.operand(reference))
        if operand in made and operand not in renamed:
            renamed[operand] = name
        else:
            node = {"op_type": "Identity", "inputs": [renamed.get(operand, operand)], "outputs": [name]}
            graph.nodes.append({**node, "name": f"/{name}"})
    for node in graph.nodes:
        for part in ("inputs", "outputs"):
            node[part] = [renamed.get(value, value) for value in node[part]]


def _as_node(onnx: Any, value: Any = None, to: Any = None, **node: Any) -> Any:
    """A NodeProto; arrays and dtypes among its attributes become ONNX's."""
    if value is not None:
        node["value"] = onnx.numpy_helper.from_array(value)
    if to is not None:
        node["to"] = onnx.helper.np_dtype_to_tensor_dtype(to)
    return onnx.helper.make_node(**node)


def _as_proto(onnx: Any, weight: Any, name: str) -> Any:
    host = weight.device.to_host(weight.array)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(host).reshape(host.shape), name)


def _value_info(onnx: Any, name: str, kind: Any, symbol: str) -> Any:
    dtype, shape = kind
    sizes = [_printed(size, symbol) if isinstance(size, Size) else size for size in shape]
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), sizes)


def _printed(size: Size, symbol: str) -> str:
    """batch, 4*batch, batch + 1."""
    product = symbol if size.factor == 1 else f"{size.factor}*{symbol}"
    return f"{product} + {size.offset}" if size.offset else product
