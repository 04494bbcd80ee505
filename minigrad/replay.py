"""mg.graph: a function recorded at its first call, and replayed afterwards without Python between its kernels.

A LeNet-5 step has some forty launches of 1 to 100 us. Python needs about the same time again to find out which kernels
to run on which memory. The answer is the same for all tensors of one shape, so it is found once and kept.

Why a replay is valid: a recording is replayed for a call only if
- the key of the call equals that of the recorded call: shapes, dtypes and memory layouts of the tensors among its
  arguments, and all other arguments (see Call);
- everything that the function was seen to use is in the same state (see dependency.py);
- every element that the recorded call wrote was written by a launch or by a host call, and these are what is repeated
  (see runtime/program.py).
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from copy import copy as shallow_copy
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload
from weakref import ref

import numpy as np

from .dependency import Dependency, Identity, change_count, changed_parts, snapshot
from .element_type import dtype
from .errors import GraphError, ValidationError
from .random import get_rng_state, set_rng_state
from .runtime import fork
from .runtime.memory import copy, is_array, may_share_memory
from .runtime.program import HostCall, Recording
from .runtime.threads import IDLE, call_unobserved, local
from .storage import Storage
from .tape import mode, newest_node
from .tensors import Tensor, _make

KEPT_RECORDINGS = 8  # of one function; beyond them the least recently used one is dropped


P = ParamSpec("P")
R = TypeVar("R")


@overload
def graph(function: Callable[P, R], *, check: bool = False) -> "RecordedFunction[P, R]": ...


@overload
def graph(*, check: bool = False) -> Callable[[Callable[P, R]], "RecordedFunction[P, R]"]: ...


def graph(function: Any = None, *, check: bool = False) -> Any:
    """A decorator: the function is recorded once for each shape of its arguments, and then replayed as a whole.

    function   takes tensors and other values, also in tuples, lists and dicts; returns tensors and plain values, alone
               or in such containers.  It can be a whole training step (forward, loss, backward, optimizer.step()), and
               a method
    check      also run every call plainly, and raise GraphError where the replay gives something else; slow, for tests

    A replay does to tensors what the recorded call did, bit for bit: gradients, weights, states of optimisers.
    Learning rates and dropout go on as in plain calls.  Results are new tensors at each call.  `.grad` of a parameter
    keeps its memory.

    The function is recorded again for arguments of another shape, dtype, memory layout or value, and after a change of
    something it uses: a parameter, buffer, layer, hook or attribute of a module, train() and eval(), requires_grad, the
    parameters of an optimiser and those of its settings that decide which kernels run, gradients left from before.  A
    number that changes at each call should be given as a tensor.  The last 8 recordings are kept.

    Observed are tensors, modules and optimisers, with all that is in them, and the attributes of the object that a
    method belongs to.  A call that changes one of them in Python, such as a counter in a module, is not replayed; the
    next call is recorded again.  Not observed are plain values in global variables and in variables of an enclosing
    function, and the insides of other objects: a number there keeps the value it had while the function was recorded.
    Give it as an argument; `check=True` finds what was forgotten.  Other effects in Python, such as printing, happen
    only while the function is recorded.  Values cannot be read inside: return them.

    Raises   GraphError        a value is read inside, or something else is done that a replay could not repeat; a
                               result still awaits its backward: call that inside; or, with check, a replay differs
             ValidationError   an argument is a NumPy array: give a tensor
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
    if function is None:
        return partial(graph, check=check)
    if not callable(function):
        raise ValidationError(f"graph: expected a function, got {type(function).__name__}; use @mg.graph above it")
    return RecordedFunction(function, check)


class RecordedFunction(Generic[P, R]):
    """A function with its recordings; see `graph`."""

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], check: bool):
        update_wrapper(self, function)
        self.function, self.check = function, check
        self._replays: list[_Replay] = []  # the most recently used one first
        self._call_count = self._record_count = 0
        self._warned = False
        self._changed_object: str | None = None  # what the last recorded call changed in Python

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., R]:
        return self if instance is None else update_wrapper(partial(self._call, instance), self.function)

    def __reduce__(self) -> Any:
        return type(self), (self.function, self.check)  # the addresses in a recording cannot be copied

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Replay the function, or record it."""
        return self._call(None, *args, **kwargs)

    def _call(self, owner: Any, *args: Any, **kwargs: Any) -> Any:
        if owner is not None:
            args = (owner, *args)
        if local.observer is not IDLE:  # part of another recording, or of a profile
            return self.function(*args, **kwargs)
        call = Call(self.function, owner, args, kwargs)
        self._call_count += 1
        replay = next((replay for replay in self._replays if replay.key == call.key and replay.is_valid()), None)
        if replay is None:
            return self._record(call)
        if replay.thread == threading.get_ident():  # called by a signal handler, in the middle of a replay
            return self.function(*args, **kwargs)
        if self._replays[0] is not replay:
            self._put_first(replay)
        return _checked(replay, call) if self.check else replay(call.tensors)

    def _record(self, call: "Call") -> Any:
        self._record_count += 1
        if self._record_count > KEPT_RECORDINGS and 4 * self._record_count > self._call_count and not self._warned:
            self._warn(call)
        result, found = _record(call)
        self._changed_object = found if isinstance(found, str) else None
        if isinstance(found, _Replay):
            self._put_first(found)
        return result

    def _put_first(self, replay: "_Replay") -> None:
        others = [other for other in self._replays if other is not replay]
        self._replays = [replay, *others[: KEPT_RECORDINGS - 1]]

    def _warn(self, call: "Call") -> None:
        self._warned = True
        if self._changed_object is not None:
            reason = f"{self._changed_object} is changed inside: keep it in a tensor, and change that in place"
        else:
            reason = self._replays[0].reason_against(call)
        warnings.warn(
            f"graph: {_name(self.function)} was recorded {self._record_count} times, which is slower than plain calls; "
            f"this time because {reason}",
            stacklevel=4,
        )


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


# ---- a call


class Call:
    """A function and its arguments.

    owner     the object of a method, which is the first argument; else None
    tensors   the tensors among the arguments, at any depth
    key       everything else about the arguments: calls with equal keys can share a recording
    """

    def __init__(self, function: Callable[..., Any], owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.function, self.owner, self.args, self.kwargs = function, owner, args, kwargs
        self.tensors: list[Tensor] = []
        self.key: Any = mode.grad_enabled, [self._key_of(value) for value in args]
        if kwargs:
            self.key += ({name: self._key_of(value) for name, value in kwargs.items()},)

    def _key_of(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.tensors.append(value)
            array = value.array
            return array.shape, array.strides, array.dtype, value.device, value.requires_grad
        if isinstance(value, tuple | list):
            return (type(value), *map(self._key_of, value))
        if isinstance(value, dict):
            return (type(value), *[(snapshot(name), self._key_of(part)) for name, part in value.items()])
        if is_array(value):
            raise ValidationError("graph: an argument is a NumPy array, whose changes are not seen; give a tensor")
        return snapshot(value)

    def run(self, tensors: list[Tensor]) -> Any:
        """Call the function with other tensors in the place of its own."""
        given = iter(tensors)
        args, kwargs = map_tensors(lambda _: next(given), (self.args, self.kwargs))
        return self.function(*args, **kwargs)

    def dependencies(self) -> Iterator[Dependency]:
        """What can be seen before the call: modules and optimisers among the arguments; modules, optimisers and
        tensors in the function's globals and closure; the object of a method."""
        function = getattr(self.function, "__func__", self.function)
        owner = getattr(self.function, "__self__", self.owner)
        if isinstance(owner, Dependency):
            yield owner
        elif hasattr(owner, "__dict__"):
            yield _MethodOwner(owner)
        yield from (found for found in _dependencies_in([self.args, self.kwargs]) if not isinstance(found, Tensor))
        code = getattr(function, "__code__", None)
        if code is not None:
            cells = [cell.cell_contents for cell in function.__closure__ or () if _has_value(cell)]
            named = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
            yield from _dependencies_in([cells, named])


def _dependencies_in(value: Any, depth: int = 5) -> Iterator[Dependency]:
    """The dependencies in a value, inside at most `depth` containers: a list may contain itself."""
    if isinstance(value, Dependency):
        yield value
    elif depth and isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _dependencies_in(part, depth - 1)


def _has_value(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a variable that is not yet assigned
        return False
    return True


class _MethodOwner(Dependency):
    """The attributes of the object that a recorded method belongs to, if it is no Dependency itself."""

    _replay_counted = False

    def __init__(self, instance: Any):
        self.instance = instance

    @property
    def _replay_key(self) -> Any:
        return Identity(self.instance)

    def _replay_state(self) -> Any:
        return snapshot(vars(self.instance))

    def _replay_name(self, part: str) -> str:
        return f"{part} of {type(self.instance).__name__}"


def map_parts(kind: type, function: Callable[[Any], Any], value: Any) -> Any:
    """A value with function(part) in the place of every part of a type, at any depth."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return _like(value, {key: map_parts(kind, function, part) for key, part in value.items()})
    if isinstance(value, tuple | list):
        return _like(value, [map_parts(kind, function, part) for part in value])
    return value


map_tensors = partial(map_parts, Tensor)


def _like(value: Any, parts: Any) -> Any:
    """A container of the type of `value`."""
    kind = type(value)
    if kind in (list, dict):
        return parts
    if isinstance(value, dict):
        made = shallow_copy(value)  # keeps what else it has, as the default of a defaultdict
        made.update(parts)
        return made
    return kind(*parts) if hasattr(value, "_fields") else kind(parts)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, at any depth."""
    found: list[Tensor] = []
    map_tensors(found.append, value)
    return found


PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, dtype, range, slice)


def _refuse_opaque(value: Any) -> None:
    """Refuse a result in which tensors could be hidden."""
    if isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_opaque(part)
    elif not isinstance(value, (Tensor, *PLAIN)):
        raise GraphError(
            f"graph: a result is a {type(value).__name__}; return tensors and plain values, in tuples, lists or dicts"
        )


# ---- recording


class CallRecording(Recording):
    """A recording that also notes what the function depends on, and how gradients and versions change.

    inputs   the tensors that were given as arguments; the function gets copies
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        self.inputs = inputs
        self.first_node = newest_node()  # nodes with a smaller number were made outside
        self.inside: dict[int, Storage] = {}  # storages made inside
        self.modules: dict[int, Any] = {}  # modules made inside
        self.outside: dict[int, tuple[Storage, int]] = {}  # storages from outside, with their version at first use
        self.constants: list[tuple[Storage, Any, Any]] = []  # storages made inside from Python's numbers, with a copy
        self.used: dict[Any, tuple[Any, Any]] = {}  # dependencies, with their state at first use
        self.spoilt: str | None = None  # what was changed in Python that no state shows
        self.grads: dict[int, tuple[Tensor, Any]] = {}  # leaves, with their gradient before, or _OVERWRITTEN

    def uses(self, dependency: Any) -> None:
        """Note a dependency; refuse a tensor with a graph from outside."""
        node = dependency._node if isinstance(dependency, Tensor) else None
        from_outside = node is not None and node.number < self.first_node and id(dependency._storage) not in self.inside
        if from_outside and mode.grad_enabled:
            raise GraphError(
                f"graph: a tensor {dependency.shape} has a graph that was made outside, and that a replay would not "
                "walk again; compute it inside, or detach it"
            )
        self.note(dependency)

    def note(self, dependency: Any) -> None:
        """Note a dependency and its parts, in the state in which they are first used."""
        if isinstance(dependency, Tensor):
            storage = dependency._storage
            if id(storage) in self.inside:
                return
            self.outside.setdefault(id(storage), (storage, storage.version))
        elif id(dependency) in self.modules:
            return
        if dependency._replay_key not in self.used:
            try:
                self.used[dependency._replay_key] = dependency, dependency._replay_state()
            except RecursionError:
                raise GraphError(
                    f"graph: {dependency._replay_name('an attribute')} is a container that contains itself; keep it "
                    "outside of the module"
                ) from None
            for part in dependency._replay_parts():
                self.note(part)

    def spoil(self, what: str) -> None:
        """Note a change in Python that a replay would not repeat."""
        self.spoilt = what

    def makes(self, made: Any, constant: bool) -> None:
        """Note a tensor or a module made inside; of a constant keep the values, which may be changed in place."""
        if not isinstance(made, Tensor):
            self.modules[id(made)] = made
        elif id(made._storage) not in self.inside:
            self.inside[id(made._storage)] = made._storage
            if constant:
                self.constants.append((made._storage, made.array, call_unobserved(made.array.copy, "K")))

    def program(self, inputs: list[Any], readable_in_place: list[bool], kind: Any = None) -> Any:
        """What is replayed; it starts by restoring the constants that the function changes."""
        changed = [(copy, (array, values)) for storage, array, values in self.constants if storage.version]
        self.steps[:0] = [HostCall(*step) for step in changed]
        return super().program(inputs, readable_in_place, kind)

    def changed_object(self) -> str | None:
        """What the function changed in Python, so that its next call may do something else; None if nothing."""
        if self.spoilt is not None:
            return self.spoilt
        for dependency, before in self.used.values():
            for name in changed_parts(before, dependency._replay_state()):
                return dependency._replay_name(name)
        return None

    def writes(self, tensor: Tensor) -> None:
        """Refuse a write to memory that an argument shares: the function has a copy, and would not see it."""
        for i, given in enumerate(self.inputs):
            if may_share_memory(given.array, tensor.array):
                raise GraphError(
                    f"graph: argument {i} shares memory with a tensor {tensor.shape} that is changed inside; "
                    "give its clone()"
                )

    def read_grad(self, tensor: Tensor) -> None:
        """Note a gradient that was there before the call."""
        if id(tensor._storage) not in self.inside:
            self.grads.setdefault(id(tensor), (tensor, tensor._grad))

    def write_grad(self, tensor: Tensor) -> None:
        """Note that the gradient from before the call is not used."""
        if id(tensor._storage) not in self.inside:
            self.grads.setdefault(id(tensor), (tensor, _OVERWRITTEN))

    def refuse(self, where: str, advice: str) -> None:
        """Refuse what a replay could not repeat."""
        raise GraphError(f"graph: {where} inside a recorded function cannot be replayed; {advice}")


_OVERWRITTEN = object()


def _record(call: Call) -> "tuple[Any, _Replay | str]":
    """Call a function on copies of its tensors and note what it does.

    Returns its results, and a replay; or, in place of the replay, the name of what the function changes in Python.
    """
    for i, given in enumerate(call.tensors):
        if given.requires_grad:
            raise GraphError(f"graph: argument {i} requires grad; give it detached, and ask for gradients inside")
    arrays = [given.array.copy(order="K") for given in call.tensors]
    copies = [_make(array, given.device, None) for array, given in zip(arrays, call.tensors, strict=True)]
    recording = local.observer = CallRecording(call.tensors)
    for tensor in copies:
        recording.makes(tensor, constant=False)
    try:
        for dependency in call.dependencies():
            recording.note(dependency)
        result = call.run(copies)
    finally:
        local.observer = IDLE
    for i, given_copy in enumerate(copies):
        if given_copy._storage.version:
            raise GraphError(f"graph: argument {i} is changed in place; change a clone of it")
    _refuse_opaque(result)
    result, changed = map_tensors(_without_graph, result), recording.changed_object()
    if changed is not None:
        return _copies(result), changed
    replay = _Replay(recording, call, arrays, result)
    return replay.results(), replay


def _without_graph(tensor: Tensor) -> Tensor:
    """A result without its graph; refuses one whose backward has not run."""
    if tensor.node is not None and not tensor.node.freed:
        raise GraphError("graph: a result still awaits its backward; call backward() inside, or return result.detach()")
    return _make(tensor.array, tensor.device, None)


def _copies(result: Any) -> Any:
    """A result with copies of its tensors."""
    return map_tensors(lambda tensor: _make(tensor.array.copy(order="K"), tensor.device, None), result)


# ---- replaying


class Assumptions:
    """What a recording relies on: dependencies, with the states that they must have."""

    def __init__(self, dependencies: list[tuple[Any, Any]]):
        self.dependencies = dependencies
        self.uncounted = [pair for pair in dependencies if not pair[0]._replay_counted]
        self.compared_at = change_count()

    def is_valid(self) -> bool:
        """Whether everything that it depends on is as it was."""
        count = change_count()
        for dependency, state in self.uncounted if count == self.compared_at else self.dependencies:
            if dependency._replay_state() != state:
                return False
        self.compared_at = count
        return True


class _Replay(Assumptions):
    """A recorded call: its program, what it depends on, and what it leaves behind.

    key            of the calls that it can stand for
    tensors        the tensors from outside among them
    grads_before   leaves, with the gradient that they must have
    grads_after    leaves, with the gradient that a replay gives them
    versions       storages from outside, with the number of writes of a replay
    filled         weak references to the storages, made inside or of gradients, that a replay fills
    written        weak references to all storages that a replay writes to, by id
    thread         the thread in which it runs; 0 if in none
    """

    def __init__(self, recording: CallRecording, call: Call, inputs: list[Any], result: Any):
        self.key, self.name, self.thread, self.lock = call.key, _name(call.function), 0, fork.Lock()
        self.result = result
        self.grads_before = [(leaf, grad) for leaf, grad in recording.grads.values() if grad is not _OVERWRITTEN]
        self.grads_after = [(leaf, leaf._grad) for leaf, _ in recording.grads.values()]
        grads = [grad for _, grad in self.grads_after if grad is not None]
        super().__init__([*recording.used.values(), *[(grad, grad._replay_state()) for grad in grads]])
        self.tensors = [used for used, _ in recording.used.values() if isinstance(used, Tensor)]
        self.versions = [(s, s.version - before) for s, before in recording.outside.values() if s.version != before]
        filled = [*recording.inside.values(), *[grad._storage for grad in grads]]
        visible = [tensor.array for tensor in [*tensors_in(result), *self.tensors]]
        readable_in_place = [
            given.array.strides == mine.strides and not any(may_share_memory(mine, array) for array in visible)
            for given, mine in zip(call.tensors, inputs, strict=True)
        ]
        self.program = recording.program(inputs, readable_in_place)
        self.filled = [ref(storage) for storage in filled]
        self.written = {id(storage): ref(storage) for storage in [*filled, *[storage for storage, _ in self.versions]]}
        for storage in filled:
            storage.lent = True  # a replay writes to these addresses

    def is_valid(self) -> bool:
        """Whether everything that it depends on is as it was."""
        for leaf, grad in self.grads_before:
            if leaf._grad is not grad:
                return False
        return super().is_valid()

    def reason_against(self, call: Call) -> str:
        """Why it cannot be replayed for a call."""
        if self.key != call.key:
            return "the arguments differ from those before: give numbers that change as tensors"
        if any(leaf._grad is not grad for leaf, grad in self.grads_before):
            return "the gradient of a parameter was replaced: call zero_grad() inside"
        for dependency, state in self.dependencies:
            for name in changed_parts(state, dependency._replay_state()):
                return f"{dependency._replay_name(name)} was changed"
        return f"its recording was dropped: {KEPT_RECORDINGS} are kept"

    def __call__(self, tensors: list[Tensor]) -> Any:
        self._refuse_written(tensors)
        with self.lock:  # there is one block of memory for all intermediate arrays
            self.thread = threading.get_ident()
            try:
                self.program([tensor.array for tensor in tensors])
                for storage, writes in self.versions:
                    storage.version += writes
                for reference in self.filled:
                    alive = reference()
                    if alive is not None:
                        alive.version += 1
                for leaf, grad in self.grads_after:
                    leaf._grad = grad
                return self.results()
            finally:
                self.thread = 0

    def _refuse_written(self, tensors: list[Tensor]) -> None:
        """Refuse arguments in memory that the function writes to."""
        for i, tensor in enumerate(tensors):
            storage = tensor._storage
            if id(storage) in self.written and self.written[id(storage)]() is storage:
                raise GraphError(
                    f"graph: argument {i} shares memory with a tensor that is changed inside; give its clone()"
                )

    def results(self) -> Any:
        """Copies of the results."""
        return _copies(self.result)


# ---- check=True


def _checked(replay: _Replay, call: Call) -> Any:
    """Replay a call, restore everything, call the function plainly, and refuse a difference."""
    before = _Checkpoint(replay)
    replayed = _Checkpoint(replay, replay(call.tensors))
    before.restore()
    results = call.run(call.tensors)
    plain = _Checkpoint(replay, results)
    for (name, mine), (other, expected) in zip(replayed.named_bytes(), plain.named_bytes(), strict=False):
        if name != other or mine != expected:
            raise GraphError(
                f"graph: a replay of {replay.name} gives another {name} than a plain call; the function uses a value "
                "that graph cannot observe, such as a global variable: give it as an argument"
            )
    return map_tensors(lambda tensor: tensor.detach(), results)


class _Checkpoint:
    """Copies of all that a replay can change, and of results."""

    def __init__(self, replay: _Replay, results: Any = ()):
        self.results = [np.array(x.device.to_host(x.array)) for x in tensors_in(results)]
        self.plain_values = snapshot(map_tensors(lambda _: None, results))
        names = _parameter_names(dependency for dependency, _ in replay.dependencies)
        self.tensors = [(x, names.get(id(x), f"tensor {x.shape}"), x.array.copy(order="K")) for x in replay.tensors]
        self.grads = [
            (leaf, names.get(id(leaf), f"tensor {leaf.shape}"), grad, None if grad is None else grad.array.copy("K"))
            for leaf, grad in [(leaf, leaf._grad) for leaf, _ in replay.grads_after]
        ]
        self.others = [(used, used._replay_save()) for used, _ in replay.dependencies if hasattr(used, "_replay_save")]
        self.random = get_rng_state()

    def restore(self) -> None:
        """Put everything back."""
        for tensor, _, array in self.tensors:
            copy(tensor.array, array)
        for leaf, _, grad, array in self.grads:
            leaf._grad = grad
            if grad is not None:
                copy(grad.array, array)
        for dependency, saved in self.others:
            dependency._replay_restore(saved)
        set_rng_state(self.random)

    def named_bytes(self) -> Iterator[tuple[str, Any]]:
        """Everything that is compared, with its name."""
        for i, result in enumerate(self.results):
            yield f"result {i}", result.tobytes()
        yield "value among the results", self.plain_values
        for tensor, name, array in self.tensors:
            yield name, tensor.device.to_host(array).tobytes()
        for leaf, name, grad, array in self.grads:
            yield f"gradient of {name}", None if grad is None else leaf.device.to_host(array).tobytes()


def _parameter_names(dependencies: Any) -> dict[int, str]:
    """The longest path to each parameter and buffer, from the modules among the dependencies."""
    names: dict[int, str] = {}
    for dependency in dependencies:
        for name, tensor in dependency._named_tensors() if hasattr(dependency, "_named_tensors") else ():
            names[id(tensor)] = max(name, names.get(id(tensor), ""), key=len)
    return names
