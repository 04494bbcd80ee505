"""Graph: a function recorded at its first call and replayed at the next, without Python between its kernels.

A LeNet-5 step is some forty launches of 1 to 100 us; Python needs as long again to find out, at each step anew, which
kernels to run on what.  That is always the same for tensors of one shape, so it can be found out once.
"""

import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import GraphError, ValidationError
from .runtime.memory import copy, is_array, shares
from .runtime.program import Recording
from .runtime.threads import local
from .storage import Storage
from .tape import mode
from .tensor import Tensor, _make

RECORDED_OFTEN = 8  # times for one shape, before a warning says that this is slow


class graph:
    """A function on tensors that runs as a whole: recorded once for each shape of its arguments, replayed afterwards.

    function   takes tensors, and anything that can be a key of a dict; returns tensors, alone or in tuples, lists and
               dicts.  A whole training step fits: forward, loss, backward, optimizer.step()

    A replay does to tensors what the recorded call did, bit for bit: gradients, weights, the state of optimisers.
    Learning rates and dropout go on as they should.  What else Python does in the function happens once, while it is
    recorded, so values cannot be read inside: return them.  Where something changes that the recording depends on (a
    parameter replaced, train() and eval(), gradients left from before) the function is recorded again.  Results are new
    tensors at each call; `.grad` of a parameter keeps its memory.

    Raises   GraphError        a value is read inside, random numbers are drawn other than by dropout, or a result still
                               awaits its backward: call that inside
             ValidationError   an argument that is no tensor and cannot be a key
    Example
    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = mg.optim.SGD([w], lr=0.1)
    >>> @mg.graph
    ... def step(x):
    ...     loss = (w * x).sum()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss.detach()
    >>> step(mg.tensor([1.0, 1.0])), step(mg.tensor([1.0, 0.0]))
    (tensor(3.), tensor(0.9))
    >>> w
    tensor([0.8, 1.9], requires_grad=True)
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self._recorded: dict[Any, _Replay] = {}
        self._times: dict[Any, int] = {}

    def __call__(self, *args: Any) -> Any:
        if local.recording is not None:  # part of a recording or a rehearsal
            return self.function(*args)
        try:
            key = (mode.recording, *[_form(value) for value in args])
            replay = self._recorded.get(key)
        except TypeError:
            kinds = ", ".join(type(value).__name__ for value in args)
            raise ValidationError(f"graph: arguments are tensors or can be a key of a dict; got {kinds}") from None
        if replay is not None and replay.holds():
            return replay(args)
        self._count(key)
        result, self._recorded[key] = _record(self.function, args)
        return result

    def _count(self, key: Any) -> None:
        self._times[key] = self._times.get(key, 0) + 1
        if self._times[key] == RECORDED_OFTEN:
            name = getattr(self.function, "__name__", "function")
            warnings.warn(
                f"graph: {name} was recorded {RECORDED_OFTEN} times for one shape, because tensors it uses were "
                "replaced between calls; call zero_grad() inside, or call the function without graph",
                stacklevel=3,
            )


def _form(value: Any) -> Any:
    """What a recording depends on of an argument."""
    if isinstance(value, Tensor):
        return value.array.shape, value.array.strides, value.array.dtype, value.device
    hash(value)
    return type(value), value


class _Seen(NamedTuple):
    """A tensor that was used: where its values lay, and its version."""

    tensor: "weakref.ref[Tensor]"
    array: int
    storage: Storage
    version: int


class _Trace(Recording):
    """A recording that also notes which tensors are used, and how their gradients and versions change."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, _Seen] = {}
        self.grads: dict[int, tuple[Tensor, Any]] = {}  # a leaf, and its gradient before or _WRITTEN
        self.depends: list[tuple[Any, str, Any]] = []  # an object, an attribute, and its value

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation; one that does more than launch kernels is noted as a whole."""
        if device.only_launches or (operation.launches and device.launches):
            return operation.forward(device, *arrays, **settings)
        with self.pause():
            result = operation.forward(device, *arrays, **settings)
        if not (operation.view and shares(result, arrays[0])):
            self.host(_again, (operation, device, list(arrays), settings, result))
        return result

    def read(self, tensor: Tensor) -> None:
        """Note a tensor; those made inside are gone when the recording ends."""
        if id(tensor) not in self.seen:
            storage = tensor._storage
            self.seen[id(tensor)] = _Seen(weakref.ref(tensor), id(tensor.array), storage, storage.version)

    def read_grad(self, tensor: Tensor) -> None:
        """Note a gradient that was there before."""
        self.grads.setdefault(id(tensor), (tensor, tensor._grad))

    def write_grad(self, tensor: Tensor) -> None:
        """Note that the gradient from before plays no part."""
        self.grads.setdefault(id(tensor), (tensor, _WRITTEN))

    def depend(self, holder: Any, name: str) -> None:
        """Note an attribute."""
        self.depends.append((holder, name, getattr(holder, name)))

    def refuse(self, where: str, advice: str) -> None:
        """Stop."""
        raise GraphError(f"graph: {where} inside a recorded function would not happen again at a replay; {advice}")


_WRITTEN = object()


def _again(operation: Any, device: Any, arrays: list[Any], settings: dict[str, Any], result: Any) -> None:
    """Run an operation once more, into the memory of its first result."""
    _copy(operation.forward(device, *arrays, **settings), result, operation)


def _copy(new: Any, old: Any, operation: Any) -> None:
    if is_array(old):
        copy(old, new)
    elif isinstance(old, tuple):
        for a, b in zip(new, old, strict=True):
            _copy(a, b, operation)
    elif new is not old and new != old:
        raise GraphError(f"graph: {operation.name} found {old} when it was recorded, and {new} now")


def _record(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, "_Replay"]:
    """Call a function on copies of its tensors, note what it does, and return its results as well."""
    given = [(i, value) for i, value in enumerate(args) if isinstance(value, Tensor)]
    for i, value in given:
        if value.requires_grad:
            raise GraphError(f"graph: argument {i} requires grad; give it detached, and ask for gradients inside")
    copies = {i: _make(value.array.copy(order="K"), value.device, None) for i, value in given}
    trace = local.recording = _Trace()
    try:
        result = function(*[copies.get(i, value) for i, value in enumerate(args)])
    finally:
        local.recording = None
    for i, given_copy in copies.items():
        if given_copy._storage.version:
            raise GraphError(f"graph: argument {i} is changed in place; change a clone of it")
    flexible = [value.array.strides == copies[i].array.strides for i, value in given]
    replay = _Replay(trace, list(copies.values()), flexible, result)
    return replay.results(), replay


class _Replay:
    """A recorded call: its program, what it depends on, and what it leaves behind.

    tensors    with the arrays they must have
    depends    objects, attributes, and the values they must have
    grads      leaves, and their gradient afterwards
    versions   cells, and by how much they grow
    """

    def __init__(self, trace: _Trace, inputs: list[Tensor], flexible: list[bool], result: Any):
        self.result, self.lock = _map(_settled, result), threading.Lock()
        mine = {id(tensor) for tensor in inputs}
        alive = [(seen, seen.tensor()) for seen in trace.seen.values()]
        outside = [(seen, tensor) for seen, tensor in alive if tensor is not None and id(tensor) not in mine]
        self.tensors = [(tensor, tensor.array) for _, tensor in outside]
        if any(id(array) != seen.array for (seen, _), (_, array) in zip(outside, self.tensors, strict=True)):
            raise GraphError("graph: a tensor was given other memory inside (x.data = ...); use x.data.copy_(...)")
        self.depends = trace.depends
        self.depends += [(leaf, "_grad", grad) for leaf, grad in trace.grads.values() if grad is not _WRITTEN]
        self.grads = [(leaf, leaf._grad) for leaf, _ in trace.grads.values()]
        grown = {id(seen.storage): (seen.storage, seen.storage.version - seen.version) for seen, _ in outside}
        self.versions = [(storage, growth) for storage, growth in grown.values() if growth]
        del alive, outside
        shown = [tensor.array for tensor in _tensors(self.result)] + [array for _, array in self.tensors]
        for i, tensor in enumerate(inputs):
            flexible[i] = flexible[i] and not any(shares(tensor.array, array) for array in shown)
        self.program = trace.program([tensor.array for tensor in inputs], flexible)

    def holds(self) -> bool:
        """Whether everything it depends on is as it was."""
        return all(tensor.array is array for tensor, array in self.tensors) and all(
            getattr(holder, name) is value for holder, name, value in self.depends
        )

    def __call__(self, args: tuple[Any, ...]) -> Any:
        with self.lock:  # one memory for all that lies between arguments and results
            self.program([value.array for value in args if isinstance(value, Tensor)])
            for storage, growth in self.versions:
                storage.version += growth
            for leaf, grad in self.grads:
                leaf._grad = grad
            return self.results()

    def results(self) -> Any:
        """Copies of the results."""
        return _map(lambda tensor: _make(tensor.array.copy(order="K"), tensor.device, None), self.result)


def _map(function: Callable[[Tensor], Any], value: Any) -> Any:
    """A result with function(tensor) for every tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(function, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_map(function, part) for part in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in a result."""
    found: list[Tensor] = []
    _map(found.append, value)
    return found


def _settled(tensor: Tensor) -> Tensor:
    """A result without its graph, which must have been walked."""
    if tensor.node is not None and not tensor.node.freed:
        raise GraphError("graph: a result awaits its backward; call backward() inside, or return it detached")
    return _make(tensor.array, tensor.device, None)
