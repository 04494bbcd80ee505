"""Graph: a function recorded at its first call and replayed at the next, without Python between its kernels.

A LeNet-5 step is some forty launches of 1 to 100 us; Python needs as long again to find out, at each step anew, which
kernels to run on what.  That is always the same for tensors of one shape, so it can be found out once.

A recording is valid for a call with the same key, which is made of the arguments (see _Call), and as long as all that
it uses is in the same state (see dependency.py).
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from copy import copy as shallow_copy
from functools import partial, update_wrapper
from typing import Any
from weakref import ref

import numpy as np

from .dependency import Dependency, Identity, change_count, differences, frozen
from .errors import GraphError, ValidationError
from .random import get_rng_state, set_rng_state
from .runtime import fork
from .runtime.memory import copy, is_array, may_share_memory
from .runtime.program import HostCall, Recording
from .runtime.threads import IDLE, local
from .storage import Storage
from .tape import mode, newest_node
from .tensors import Tensor, _make

KEPT = 8  # recordings of one function; beyond them the one that was not used for longest is dropped


class graph:
    """A function on tensors that runs as a whole: recorded once for each shape of its arguments, replayed afterwards.

    function   takes tensors and other values, also in tuples, lists and dicts; returns tensors and plain values, alone
               or in tuples, lists and dicts.  A whole training step fits: forward, loss, backward, optimizer.step().
               A method fits, too
    check      run every call plainly as well, and raise GraphError where the replay did something else; slow, for tests

    A replay does to tensors what the recorded call did, bit for bit: gradients, weights, the state of optimisers.
    Learning rates and dropout go on as they should.  Results are new tensors at each call; `.grad` of a parameter keeps
    its memory.

    The function is recorded again for arguments of another shape, dtype, memory layout or value (a number that changes
    at each call is better given as a tensor), and when something is no longer what it was: a parameter, buffer, layer,
    hook or attribute of a module, train() and eval(), requires_grad, the parameters of an optimiser and those of its
    settings that decide which kernels run, gradients left from before.  The last 8 recordings are kept.

    Observed are modules and optimisers, with all that is in them, tensors, and the attributes of the object that a
    method belongs to.  A call that changes one of them in Python, as a counter in a module does, is not replayed: the
    next call runs plainly again.  Not observed are global variables, variables of an enclosing function, and what is
    inside other objects: a number there keeps the value that it had when the function was recorded.  Give it as an
    argument; `check=True` finds what was forgotten.  What else Python does in the function, such as printing, happens
    only while it is recorded.  Values cannot be read inside: return them.

    Raises   GraphError        a value is read inside, or anything else is done that a replay could not repeat; a result
                               still awaits its backward: call that inside; or, with check, a replay differs
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

    def __new__(cls, function: Callable[..., Any] | None = None, *, check: bool = False) -> Any:
        """The recorded function; for @graph(check=True), what makes one."""
        return partial(cls, check=check) if function is None else super().__new__(cls)

    def __init__(self, function: Callable[..., Any], *, check: bool = False):
        if not callable(function):
            raise ValidationError(f"graph: expected a function, got {type(function).__name__}; use @mg.graph above it")
        update_wrapper(self, function)
        self.function, self.check = function, check
        self._recordings: list[_Replay] = []  # the last used first
        self._calls = self._times = 0  # calls, and how many of them were recorded
        self._warned = False
        self._change: str | None = None  # what the last call that was recorded changed in Python

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else partial(self._call, instance)

    def __reduce__(self) -> Any:
        return partial(type(self), check=self.check), (self.function,)  # the addresses in a recording cannot be copied

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the function, or record it."""
        return self._call(None, *args, **kwargs)

    def _call(self, owner: Any, *args: Any, **kwargs: Any) -> Any:
        if owner is not None:
            args = (owner, *args)
        if local.observer is not IDLE:  # part of a recording or a rehearsal
            return self.function(*args, **kwargs)
        call = _Call(self.function, owner, args, kwargs)
        self._calls += 1
        for replay in self._recordings:
            if replay.key == call.key and replay.holds():
                break
        else:
            return self._record(call)
        if replay.busy == threading.get_ident():  # called by a signal handler, in the middle of a replay
            return self.function(*args, **kwargs)
        if self._recordings[0] is not replay:
            self._put_first(replay)
        return _checked(replay, call) if self.check else replay(call.tensors)

    def _record(self, call: "_Call") -> Any:
        self._times += 1
        if self._times > KEPT and 4 * self._times > self._calls and not self._warned:
            self._warn(call)
        result, found = _record(call)
        self._change = found if isinstance(found, str) else None
        if isinstance(found, _Replay):
            self._put_first(found)
        return result

    def _put_first(self, replay: "_Replay") -> None:
        others = [other for other in self._recordings if other is not replay]
        self._recordings = [replay, *others[: KEPT - 1]]

    def _warn(self, call: "_Call") -> None:
        self._warned = True
        warnings.warn(
            f"graph: {_name(self.function)} was recorded {self._times} times, which is slower than plain calls; "
            f"this time because {self._reason(call)}",
            stacklevel=4,
        )

    def _reason(self, call: "_Call") -> str:
        if self._change is not None:
            return f"{self._change} is changed inside: keep it in a tensor, and change that in place"
        return self._recordings[0].reason(call)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


# ---- a call


class _Call:
    """A function and its arguments.

    owner     the object of a method, which is the first argument; else None
    tensors   the tensors among the arguments, at any depth
    key       all of the arguments but the values of tensors: calls with equal keys can be replayed by one recording
    """

    def __init__(self, function: Callable[..., Any], owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.function, self.owner, self.args, self.kwargs = function, owner, args, kwargs
        self.tensors: list[Tensor] = []
        self.key: Any = mode.grad_enabled, [self._form(value) for value in args]
        if kwargs:
            self.key += ({name: self._form(value) for name, value in kwargs.items()},)

    def _form(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.tensors.append(value)
            array = value.array
            return array.shape, array.strides, array.dtype, value.device, value.requires_grad
        if isinstance(value, tuple | list):
            return (type(value), *map(self._form, value))
        if isinstance(value, dict):
            return (type(value), *[(frozen(name), self._form(part)) for name, part in value.items()])
        if is_array(value):
            raise ValidationError("graph: an argument is a NumPy array, which may change unseen; give a tensor")
        return frozen(value)

    def run(self, tensors: list[Tensor]) -> Any:
        """Call the function with other tensors in the place of its own."""
        given = iter(tensors)
        args, kwargs = _map(lambda _: next(given), (self.args, self.kwargs))
        return self.function(*args, **kwargs)


def _map(function: Callable[[Tensor], Any], value: Any) -> Any:
    """A value with function(tensor) for every tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return _like(value, {key: _map(function, part) for key, part in value.items()})
    if isinstance(value, tuple | list):
        return _like(value, [_map(function, part) for part in value])
    return value


def _like(value: Any, parts: Any) -> Any:
    """A container of the type of `value`."""
    kind = type(value)
    if kind in (list, dict):
        return parts
    if isinstance(value, dict):
        made = shallow_copy(value)  # with whatever else it has, as the default of a defaultdict
        made.update(parts)
        return made
    return kind(*parts) if hasattr(value, "_fields") else kind(parts)


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in a value."""
    found: list[Tensor] = []
    _map(found.append, value)
    return found


PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, range, slice)


def _refuse_opaque(value: Any) -> None:
    """Refuse a result in which tensors may be that are not found."""
    if isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_opaque(part)
    elif not isinstance(value, (Tensor, *PLAIN)):
        raise GraphError(
            f"graph: a result is a {type(value).__name__}; return tensors and plain values, in tuples, lists or dicts"
        )


# ---- a recording


class _Trace(Recording):
    """A recording that also notes what it depends on, and how gradients and versions change.

    inputs   the tensors that were given as arguments; the function sees copies
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        self.inputs = inputs
        self.first = newest_node()  # nodes with a smaller number were made outside
        self.inside: dict[int, Storage] = {}  # storages made inside
        self.modules: dict[int, Any] = {}  # modules made inside
        self.outside: dict[int, tuple[Storage, int]] = {}  # storages from outside, and their version when first used
        self.constants: list[tuple[Storage, Any, Any]] = []  # storages made inside of what Python knows, with a copy
        self.used: dict[Any, tuple[Any, Any]] = {}  # things, and their state when first used
        self.spoilt: str | None = None  # what was changed that no state shows
        self.grads: dict[int, tuple[Tensor, Any]] = {}  # a leaf, and its gradient before or _WRITTEN

    def uses(self, thing: Any) -> None:
        """Note that a replay depends on the state of a thing, and refuse a tensor with a graph from outside."""
        node = thing._node if isinstance(thing, Tensor) else None
        if (
            node is not None
            and node.number < self.first
            and mode.grad_enabled
            and id(thing._storage) not in self.inside
        ):
            raise GraphError(
                f"graph: a tensor {thing.shape} has a graph that was made outside, and that a replay would not walk "
                "again; compute it inside, or detach it"
            )
        self.note(thing)

    def note(self, thing: Any) -> None:
        """Note a thing and its parts, in the state in which they are first used."""
        if isinstance(thing, Tensor):
            storage = thing._storage
            if id(storage) in self.inside:
                return
            self.outside.setdefault(id(storage), (storage, storage.version))
        elif id(thing) in self.modules:
            return
        if thing._replay_key not in self.used:
            self.used[thing._replay_key] = thing, thing._replay_state()
            for part in thing._replay_parts():
                self.note(part)

    def spoil(self, what: str) -> None:
        """Note that a replay would not do what was done."""
        self.spoilt = what

    def makes(self, thing: Any, constant: bool) -> None:
        """Note a tensor or a module as made inside; a constant keeps its value, in case that it is changed in place."""
        if not isinstance(thing, Tensor):
            self.modules[id(thing)] = thing
            return
        storage, tensor = thing._storage, thing
        if id(storage) not in self.inside:
            self.inside[id(storage)] = storage
            if constant:
                self.constants.append((storage, tensor.array, tensor.array.copy(order="K")))

    def program(self, inputs: list[Any], readable_in_place: list[bool]) -> Any:
        """What was noted, to be run again; it starts by filling the constants that it changes."""
        changed = [(copy, (array, values)) for storage, array, values in self.constants if storage.version]
        self.steps[:0] = [HostCall(*step) for step in changed]
        return super().program(inputs, readable_in_place)

    def change(self) -> str | None:
        """What the function changes in Python, so that its next call may do something else; None if nothing."""
        if self.spoilt is not None:
            return self.spoilt
        for thing, before in self.used.values():
            for name, _, _ in differences(before, thing._replay_state()):
                return thing._replay_name(name)
        return None

    def writes(self, tensor: Tensor) -> None:
        """Refuse to write to memory that an argument shares: the function was given a copy, and would not see it."""
        for i, given in enumerate(self.inputs):
            if may_share_memory(given.array, tensor.array):
                raise GraphError(
                    f"graph: argument {i} shares memory with a tensor {tensor.shape} that is changed inside; "
                    "give its clone()"
                )

    def read_grad(self, tensor: Tensor) -> None:
        """Note a gradient that was there before."""
        if id(tensor._storage) not in self.inside:
            self.grads.setdefault(id(tensor), (tensor, tensor._grad))

    def write_grad(self, tensor: Tensor) -> None:
        """Note that the gradient from before plays no part."""
        if id(tensor._storage) not in self.inside:
            self.grads.setdefault(id(tensor), (tensor, _WRITTEN))

    def refuse(self, where: str, advice: str) -> None:
        """Stop."""
        raise GraphError(f"graph: {where} inside a recorded function cannot be replayed; {advice}")


_WRITTEN = object()


class _Owner(Dependency):
    """The object that a recorded method belongs to, if it is no Dependency itself: its attributes."""

    _replay_counted = False

    def __init__(self, instance: Any):
        self.instance = instance

    @property
    def _replay_key(self) -> Any:
        return Identity(self.instance)

    def _replay_state(self) -> Any:
        return frozen(vars(self.instance))

    def _replay_name(self, part: str) -> str:
        return f"{part} of {type(self.instance).__name__}"


def _things(call: _Call) -> Iterator[Dependency]:
    """What a call can be seen to depend on: modules and optimisers among the arguments; these and tensors among the
    variables that the function takes from outside; and the object of a method."""
    owner, function = getattr(call.function, "__self__", call.owner), getattr(call.function, "__func__", call.function)
    if isinstance(owner, Dependency):
        yield owner
    elif hasattr(owner, "__dict__"):
        yield _Owner(owner)
    yield from (thing for thing in _things_in([call.args, call.kwargs]) if not isinstance(thing, Tensor))
    code = getattr(function, "__code__", None)
    if code is not None:
        yield from _things_in([cell.cell_contents for cell in function.__closure__ or () if _is_set(cell)])
        yield from _things_in([function.__globals__[name] for name in code.co_names if name in function.__globals__])


def _things_in(value: Any, depth: int = 4) -> Iterator[Dependency]:
    """The things in a value, inside at most `depth` containers: a list may contain itself."""
    if isinstance(value, Dependency):
        yield value
    elif depth and isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _things_in(part, depth - 1)


def _is_set(cell: Any) -> bool:
    try:
        return cell.cell_contents is not _WRITTEN
    except ValueError:  # a variable that has no value yet
        return False


def _record(call: _Call) -> "tuple[Any, _Replay | str]":
    """Call a function on copies of its tensors and note what it does.  Returns its results, and a recording; or, where
    the function changes Python objects, the name of one: its next call would do something else."""
    for i, given in enumerate(call.tensors):
        if given.requires_grad:
            raise GraphError(f"graph: argument {i} requires grad; give it detached, and ask for gradients inside")
    arrays = [given.array.copy(order="K") for given in call.tensors]
    copies = [_make(array, given.device, None) for array, given in zip(arrays, call.tensors, strict=True)]
    trace = local.observer = _Trace(call.tensors)
    for tensor in copies:
        trace.makes(tensor, constant=False)
    try:
        for thing in _things(call):
            trace.note(thing)
        result = call.run(copies)
    finally:
        local.observer = IDLE
    for i, given_copy in enumerate(copies):
        if given_copy._storage.version:
            raise GraphError(f"graph: argument {i} is changed in place; change a clone of it")
    _refuse_opaque(result)
    result, change = _map(_settled, result), trace.change()
    if change is not None:
        return _copied(result), change
    replay = _Replay(trace, call, arrays, result)
    return replay.results(), replay


def _copied(result: Any) -> Any:
    """A result with copies of its tensors."""
    return _map(lambda tensor: _make(tensor.array.copy(order="K"), tensor.device, None), result)


class _Replay:
    """A recorded call: its program, what it depends on, and what it leaves behind.

    key        of the calls that it stands for
    things     tensors, modules, optimisers and settings, with the states that they must have
    tensors    the tensors from outside among them
    before     leaves, with the gradient that they must have
    grads      leaves, with their gradient afterwards
    versions   storages from outside, and how often each is written
    filled     weak references to the storages, made inside or of gradients, that a replay fills anew
    written    weak references to all storages that a replay writes to, by id
    busy       the thread in which it runs; 0 if in none
    """

    def __init__(self, trace: _Trace, call: _Call, inputs: list[Any], result: Any):
        self.key, self.name, self.busy, self.lock = call.key, _name(call.function), 0, fork.Lock()
        self.result = result
        self.before = [(leaf, grad) for leaf, grad in trace.grads.values() if grad is not _WRITTEN]
        self.grads = [(leaf, leaf._grad) for leaf, _ in trace.grads.values()]
        kept = [grad for _, grad in self.grads if grad is not None]
        self.things = [*trace.used.values(), *[(grad, grad._replay_state()) for grad in kept]]
        self.often = [pair for pair in self.things if not pair[0]._replay_counted]
        self.tensors = [thing for thing, _ in trace.used.values() if isinstance(thing, Tensor)]
        self.versions = [(s, s.version - before) for s, before in trace.outside.values() if s.version != before]
        filled = [*trace.inside.values(), *[grad._storage for grad in kept]]
        shown = [tensor.array for tensor in [*_tensors(self.result), *self.tensors]]
        readable_in_place = [
            given.array.strides == mine.strides and not any(may_share_memory(mine, array) for array in shown)
            for given, mine in zip(call.tensors, inputs, strict=True)
        ]
        self.program = trace.program(inputs, readable_in_place)
        self.filled = [ref(storage) for storage in filled]
        self.written = {id(storage): ref(storage) for storage in [*filled, *[storage for storage, _ in self.versions]]}
        for storage in filled:
            storage.lent = True  # a replay writes to these addresses
        self.compared = change_count()

    def holds(self) -> bool:
        """Whether everything it depends on is as it was."""
        for leaf, grad in self.before:
            if leaf._grad is not grad:
                return False
        count = change_count()
        for thing, state in self.often if count == self.compared else self.things:
            if thing._replay_state() != state:
                return False
        self.compared = count
        return True

    def reason(self, call: _Call) -> str:
        """Why it cannot be replayed for a call."""
        if self.key != call.key:
            return "the arguments differ from those before: give numbers that change as tensors"
        if any(leaf._grad is not grad for leaf, grad in self.before):
            return "the gradient of a parameter was replaced: call zero_grad() inside"
        for thing, state in self.things:
            for name, _, _ in differences(state, thing._replay_state()):
                return f"{thing._replay_name(name)} was changed"
        return f"its recording was dropped: {KEPT} are kept"

    def __call__(self, tensors: list[Tensor]) -> Any:
        self._refuse_written(tensors)
        with self.lock:  # one memory for all that lies between arguments and results
            self.busy = threading.get_ident()
            try:
                self.program([tensor.array for tensor in tensors])
                for storage, growth in self.versions:
                    storage.version += growth
                for reference in self.filled:
                    alive = reference()
                    if alive is not None:
                        alive.version += 1
                for leaf, grad in self.grads:
                    leaf._grad = grad
                return self.results()
            finally:
                self.busy = 0

    def _refuse_written(self, tensors: list[Tensor]) -> None:
        """Refuse arguments in memory that the function writes."""
        for i, tensor in enumerate(tensors):
            storage = tensor._storage
            if id(storage) in self.written and self.written[id(storage)]() is storage:
                raise GraphError(
                    f"graph: argument {i} shares memory with a tensor that is changed inside; give its clone()"
                )

    def results(self) -> Any:
        """Copies of the results."""
        return _copied(self.result)


def _settled(tensor: Tensor) -> Tensor:
    """A result without its graph, which must have been walked."""
    if tensor.node is not None and not tensor.node.freed:
        raise GraphError("graph: a result still awaits its backward; call backward() inside, or return result.detach()")
    return _make(tensor.array, tensor.device, None)


# ---- check=True


def _checked(replay: _Replay, call: _Call) -> Any:
    """Replay a call, put everything back, call the function plainly, and refuse a difference."""
    before = _World(replay)
    results = replay(call.tensors)
    replayed = _World(replay, results)
    before.restore()
    results = call.run(call.tensors)
    plain = _World(replay, results)
    for (name, mine), (other, expected) in zip(replayed.bits(), plain.bits(), strict=False):
        if name != other or mine != expected:
            raise GraphError(
                f"graph: a replay of {replay.name} gives another {name} than a plain call; the function uses a value "
                "that graph cannot observe, such as a global variable: give it as an argument"
            )
    return _map(lambda tensor: tensor.detach(), results)


class _World:
    """Copies of all that a replay can change, and of results."""

    def __init__(self, replay: _Replay, results: Any = ()):
        self.results = [np.array(x.device.to_host(x.array)) for x in _tensors(results)]
        self.values = frozen(_map(lambda _: None, results))  # what is no tensor in the results
        names = _names(thing for thing, _ in replay.things)
        self.tensors = [(x, names.get(id(x), f"tensor {x.shape}"), x.array.copy(order="K")) for x in replay.tensors]
        self.grads = [
            (leaf, names.get(id(leaf), f"tensor {leaf.shape}"), grad, None if grad is None else grad.array.copy("K"))
            for leaf, grad in [(leaf, leaf._grad) for leaf, _ in replay.grads]
        ]
        self.others = [(thing, thing._replay_save()) for thing, _ in replay.things if hasattr(thing, "_replay_save")]
        self.random = get_rng_state()

    def restore(self) -> None:
        """Put everything back."""
        for tensor, _, array in self.tensors:
            copy(tensor.array, array)
        for leaf, _, grad, array in self.grads:
            leaf._grad = grad
            if grad is not None:
                copy(grad.array, array)
        for thing, saved in self.others:
            thing._replay_restore(saved)
        set_rng_state(self.random)

    def bits(self) -> Iterator[tuple[str, Any]]:
        """Everything by name, to be compared."""
        for i, result in enumerate(self.results):
            yield f"result {i}", result.tobytes()
        yield "value among the results", self.values
        for tensor, name, array in self.tensors:
            yield name, tensor.device.to_host(array).tobytes()
        for leaf, name, grad, array in self.grads:
            yield f"gradient of {name}", None if grad is None else leaf.device.to_host(array).tobytes()


def _names(things: Any) -> dict[int, str]:
    """The longest path to each parameter and buffer, from the modules among things."""
    names: dict[int, str] = {}
    for thing in things:
        for name, tensor in thing._named_tensors() if hasattr(thing, "_named_tensors") else ():
            names[id(tensor)] = max(name, names.get(id(tensor), ""), key=len)
    return names
