"""What a forward computes, as a list of operations on values, weights and constants.

A model runs on several batches of different sizes and values.  What differs between the runs depends on the batch: a
number that grows in proportion to its size becomes a `Size`, and everything else that differs is refused.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..compiler import run_plainly
from ..errors import GraphError, MinigradError, ShapeError, StateError
from ..nn import Module
from ..nn.parameter import Uninitialized
from ..ops.op import Op
from ..replay import map_tensors, tensors_in
from ..runtime.memory import is_array
from ..runtime.threads import IDLE, Observer, local
from ..tape import no_grad
from ..tensors import Tensor, tensor

BATCHES = 2, 3, 5  # sizes of the batches that a model runs on; three, so that N // 2 is not taken for a multiple of N


class Value(NamedTuple):
    """An input of the model, or the result of a step: the number in order, inputs first."""

    number: int


class Weight(NamedTuple):
    """A parameter or a buffer, by its name in state_dict."""

    name: str


@dataclass(frozen=True)
class Size:
    """factor * N + offset, where N is the size of the batch."""

    factor: int
    offset: int


class Repeated(NamedTuple):
    """A constant whose elements are the same along the axes that depend on the batch.

    array   with one element along these axes
    shape   numbers and Sizes
    """

    array: np.ndarray
    shape: tuple[Any, ...]


class Step(NamedTuple):
    """One operation.

    op         its name
    path       of the module that ran it
    inputs     a Value, Weight, array, Repeated, number or None for each
    types      (dtype, shape) of each input, None for numbers and None
    settings   by name
    dtype, shape   of its result
    """

    op: str
    path: str
    inputs: tuple[Any, ...]
    types: tuple[Any, ...]
    settings: dict[str, Any]
    dtype: np.dtype
    shape: tuple[Any, ...]


class Trace(NamedTuple):
    """The steps of a forward, with its inputs and results.

    inputs     (dtype, shape) of each tensor among the arguments
    steps      in order
    outputs    ((Value, Weight, array or Repeated), (dtype, shape)) of each tensor among the results
    batch      (which input, which axis) gives the size of the batch; None if no size depends on one
    """

    inputs: tuple[Any, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Any, ...]
    batch: tuple[int, int] | None


def trace(model: Module, arguments: Any, axes: Sequence[int | None], known: Callable[[str], bool]) -> Trace:
    """Run a model in eval mode without gradients, and return what it computes.

    arguments  (args, kwargs)
    axes       for each tensor among the arguments the axis of the batch, or None
    known      whether an operation, given by name, can be exported

    Raises   GraphError   the forward reads values, draws random numbers, changes a weight or a part of a tensor, runs
                          an operation that is not known, or depends on the size of the batch in another way than by
                          shapes in proportion to it
             StateError   a lazy layer has no weights yet
    """
    _check_weights(model)
    batch = next(((i, axis) for i, axis in enumerate(axes) if axis is not None), None)
    sizes = (None, None) if batch is None else BATCHES
    with _evaluating(model), no_grad():
        runs = [_run_sized(model, _varied(arguments, axes, *run), run[1], known) for run in enumerate(sizes)]
        merged = _merge_runs(runs, batch)
        if batch is not None:
            _check_one_sample(model, _varied(arguments, axes, 0, 1), merged)
    return merged


def _check_one_sample(model: Module, arguments: Any, merged: Trace) -> None:
    """Refuse a forward whose result has another shape for a batch of 1, as after squeeze()."""
    try:
        result = run_plainly(model, *arguments[0], **arguments[1])
    except MinigradError:
        return  # a batch of 1 is refused, and not predicted wrongly
    found = [tuple(x.shape) for x in tensors_in(result)]
    expected = [
        tuple([size.factor + size.offset if isinstance(size, Size) else size for size in shape])
        for _, (_, shape) in merged.outputs
    ]
    if found != expected:
        raise GraphError(
            f"export: for a batch of 1, the results have the shapes {found}, expected {expected}; write squeeze(dim) "
            "for squeeze(), or export with dynamic_axes={}"
        )


def _check_weights(model: Module) -> None:
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(weight, Uninitialized):
            raise StateError(f"export: {name} has no shape yet; call the model on a batch first")


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Set eval mode, and restore the mode of each module at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _varied(arguments: Any, axes: Sequence[int | None], run: int, size: int | None) -> Any:
    """The arguments with `size` elements along the axes of the batch, the given ones repeated.  Floats have other
    values in each run, so that a value of one run that was taken for a constant is seen to differ."""
    order = iter(axes)

    def varied(x: Tensor) -> Tensor:
        axis, host = next(order), x.device.to_host(x.array)
        if axis is not None and size is not None:
            host = np.take(host, np.arange(size) % host.shape[axis], axis)
        if host.dtype.kind == "f":
            host = host * host.dtype.type(1 + run / 8) + host.dtype.type(run / 8)
        return tensor(host, device=x.device)

    return map_tensors(varied, arguments)


def _run_sized(model: Module, arguments: Any, size: int | None, known: Callable[[str], bool]) -> "_Run":
    try:
        return _run(model, arguments, known)
    except ShapeError as error:
        if size is None:
            raise
        raise ShapeError(
            f"{error} (export ran the model on a batch of {size}; name the axes of the batch by dynamic_axes, {{}} for "
            "none)"
        ) from error


class _Run(NamedTuple):
    """One run: (dtype, shape) of the inputs, the steps, and (reference, (dtype, shape)) of the results."""

    inputs: list[Any]
    steps: list[Step]
    outputs: list[Any]


def _run(model: Module, arguments: Any, known: Callable[[str], bool]) -> _Run:
    args, kwargs = arguments
    inputs = tensors_in(arguments)
    with Tracer(model, inputs, known) as tracer:
        result = run_plainly(model, *args, **kwargs)
        outputs = [(tracer.result(x), _type(x.array)) for x in tensors_in(result)]
    return _Run([_type(x.array) for x in inputs], tracer.steps, outputs)


def _type(array: Any) -> Any:
    return (array.dtype, tuple(array.shape)) if is_array(array) else None


class Tracer(Observer):
    """Inside `with`, note every operation on inputs and weights; those on constants alone are computed.

    A change in place gives the tensor the value of the operation that computed it.  Other tensors on the same memory
    are stale from then on, and refused where they are used.
    """

    def __init__(self, model: Module, inputs: Sequence[Tensor], known: Callable[[str], bool]):
        self.steps: list[Step] = []
        self._model, self._known_op = model, known
        self._paths = [""]
        self._found: dict[int, tuple[Any, Value | Weight]] = {}  # by id of the array, which it keeps
        self._tensors: dict[
            int, tuple[Any, Value | Weight | None]
        ] = {}  # by id of a tensor: a weak reference, its value
        self._stale: dict[int, Any] = {}
        self._count = 0
        self._last: Any = None  # what the last operation computed
        for name, weight in (*model.named_parameters(), *model.named_buffers()):
            self._found[id(weight.array)] = weight.array, Weight(name)
            self._tensors[id(weight)] = weakref.ref(weight), Weight(name)
        for x in inputs:
            self._tensors[id(x)] = weakref.ref(x), self._add(x.array)

    def __enter__(self) -> "Tracer":
        self._handles: list[Any] = []
        for path, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(partial(self._enter, path)))
            self._handles.append(module.register_forward_hook(self._leave))
        self._previous, local.observer = local.observer, self
        return self

    def __exit__(self, *_: object) -> None:
        local.observer = self._previous
        for handle in self._handles:
            handle.remove()

    def _enter(self, path: str, *_: object) -> None:
        self._paths.append(path)

    def _leave(self, *_: object) -> None:
        self._paths.pop()

    def _add(self, array: Any) -> Value:
        value = Value(self._count)
        self._count += 1
        self._found[id(array)] = array, value
        return value

    def reference(self, array: Any, device: Any) -> Any:
        """What an operand is: a Value, a Weight, an array on the host, a number or None."""
        if not is_array(array):
            return array
        if id(array) in self._stale:
            raise GraphError(
                "export: a tensor is used after another tensor on its memory was changed in place; write x = f(x) in "
                "place of the change"
            )
        return self._found[id(array)][1] if id(array) in self._found else np.array(device.to_host(array))

    def result(self, x: Tensor) -> Any:
        """What a result of the model is."""
        self.uses(x)
        return self.reference(x.array, x.device)

    def run(self, operation: Op, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation, and note its step."""
        inputs = tuple([self.reference(array, device) for array in arrays])
        computed = any(isinstance(x, Value | Weight) for x in inputs)
        if computed and not self._known_op(operation.name):
            raise GraphError(
                f"export: the operation {operation.name} has no form in ONNX here; leave it out of forward"
            )
        local.observer = IDLE
        try:
            result = operation.forward(device, *arrays, **settings)
        finally:
            local.observer = self
        out = result[0] if type(result) is tuple else result
        if computed and not any(out is array for array in arrays):
            types = tuple([_type(array) for array in arrays])
            self.steps.append(Step(operation.name, self._paths[-1], inputs, types, dict(settings), *_type(out)))
            self._add(out)
        self._last = self._found[id(out)][1] if computed else None
        return result

    def makes(self, thing: Any, constant: bool) -> None:
        """Know the last result as a tensor, too."""
        if self._last is not None and not constant and isinstance(thing, Tensor):
            self._tensors[id(thing)] = weakref.ref(thing), self._last

    def uses(self, thing: Any) -> None:
        """Know the value of a tensor whose memory has moved, so that its array is another one."""
        if isinstance(thing, Tensor) and id(thing.array) not in self._found:
            reference, value = self._tensors.get(id(thing), (None, None))
            if reference is not None and reference() is thing and value is not None:
                self._found[id(thing.array)] = thing.array, value

    def writes(self, tensor: Tensor) -> None:
        """Give a tensor that is changed in place the value of the last operation."""
        array, storage = tensor.array, tensor._storage
        before = self._found.get(id(array), (None, None))[1]
        if isinstance(before, Weight):
            raise GraphError(f"export: forward changes {before.name} in place; change it outside of forward")
        if before is None and self._last is None:
            return
        others = [tensor._root(), *(reference() for reference in storage.aliases)]
        for other in others:
            if other is not None and other._storage is storage and other.array is not array:
                self._stale[id(other.array)] = other.array
                self._tensors.pop(id(other), None)
        if self._last is None:
            self._stale[id(array)] = array
        else:
            self._found[id(array)] = array, self._last
            self._tensors[id(tensor)] = weakref.ref(tensor), self._last

    def refuse(self, where: str, advice: str) -> None:
        raise GraphError(f"export: forward depends on values: {where}; {advice}")


# ---- several runs become one


class _DiffersError(Exception):
    """Something differs between the runs in a way that is no shape in proportion to the batch."""


def _merge_runs(runs: list[_Run], batch: tuple[int, int] | None) -> Trace:
    sizes = BATCHES if batch is not None else (0, 0)
    if len({tuple([step.op for step in run.steps]) for run in runs}) > 1:
        raise GraphError(
            "export: forward runs other operations for another batch size; remove what depends on the size, or "
            "export with dynamic_axes={}"
        )
    steps = tuple([_merge_steps(steps, sizes) for steps in zip(*[run.steps for run in runs], strict=True)])
    try:
        inputs, outputs = (_merge([run[i] for run in runs], sizes) for i in (0, 2))
    except _DiffersError:
        raise GraphError("export: the results differ between runs in another way than by the batch size") from None
    return Trace(tuple(inputs), steps, tuple(outputs), batch)


def _merge_steps(steps: tuple[Step, ...], sizes: Sequence[int]) -> Step:
    try:
        return Step(*[_merge(list(parts), sizes) for parts in zip(*steps, strict=True)])
    except _DiffersError:
        where = f"{steps[0].path}: " if steps[0].path else ""
        why = "of another batch size" if len(sizes) > 2 else "on other values"
        raise GraphError(
            f"{where}export: {steps[0].op} gets other numbers in a run {why}; is something random, or does it "
            "depend on the batch size? dynamic_axes={} fixes the size"
        ) from None


def _merge(values: list[Any], sizes: Sequence[int]) -> Any:
    """What the values from all runs have in common."""
    first = values[0]
    if len({type(value) for value in values}) > 1:
        raise _DiffersError
    if isinstance(first, np.ndarray):
        return _merge_arrays(values, sizes)
    if isinstance(first, Value | Weight):
        return _the_same(values)
    if isinstance(first, tuple | list):
        if len({len(value) for value in values}) > 1:
            raise _DiffersError
        return type(first)([_merge(list(parts), sizes) for parts in zip(*values, strict=True)])
    if isinstance(first, dict):
        return {key: _merge([value[key] for value in values], sizes) for key in first}
    if isinstance(first, slice):
        return slice(*[_merge([getattr(x, end) for x in values], sizes) for end in ("start", "stop", "step")])
    if type(first) is int or (type(first) is float and len(set(values)) > 1 and all(x.is_integer() for x in values)):
        return _merge_sizes([int(x) for x in values], sizes)
    return _the_same(values)


def _the_same(values: list[Any]) -> Any:
    if any(value != values[0] and not (value != value and values[0] != values[0]) for value in values):
        raise _DiffersError
    return values[0]


def _merge_sizes(values: list[int], sizes: Sequence[int]) -> Any:
    """A number, or the Size that all of them are."""
    if len(set(values)) == 1:
        return values[0]
    factor, rest = divmod(values[1] - values[0], max(sizes[1] - sizes[0], 1))
    size = Size(factor, values[0] - factor * sizes[0])
    if rest or any(size.factor * n + size.offset != value for n, value in zip(sizes, values, strict=True)):
        raise _DiffersError
    return size


def _merge_arrays(values: list[np.ndarray], sizes: Sequence[int]) -> Any:
    """The array, or what repeats along the axes of the batch."""
    shape = _merge([array.shape for array in values], sizes)
    varying = [axis for axis, size in enumerate(shape) if isinstance(size, Size)]
    parts = [
        array[tuple([slice(0, 1) if d in varying else slice(None) for d in range(array.ndim)])] for array in values
    ]
    for array, part in zip(values, parts, strict=True):
        whole = np.ascontiguousarray(np.broadcast_to(part, array.shape))
        if part.tobytes() != parts[0].tobytes() or whole.tobytes() != array.tobytes() or part.dtype != parts[0].dtype:
            raise _DiffersError
    return Repeated(parts[0], shape) if varying else values[0]
