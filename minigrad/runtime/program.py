"""Programs: what a function did to arrays, noted while it ran, to be done again by one call.

While a function is recorded, every launch and every call of `host` is run and noted.  Of that a Program keeps numbers
only: launches one behind the other, as the executor reads them (see threads.py), and for each array that a kernel reads
what it looks for in a NumPy object, data and shape.  So the arrays themselves can go, and those that nobody else holds
share one block of memory, each for the launches between its first use and its last.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError
from .kernel import Arrays, Kernel
from .memory import ALIGNMENT
from .threads import IDLE, Observer, execute, local
from .view import HEAD


class Launch(NamedTuple):
    """A kernel, its compiled form, the number of tasks and its arguments."""

    kernel: Any
    address: Any
    tasks: int
    arguments: tuple[Any, ...]


class HostCall(NamedTuple):
    """A call of a Python function."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]


class Recording(Observer):
    """Runs what a function does to arrays, and takes note of it."""

    def __init__(self) -> None:
        self.steps: list[Launch | HostCall] = []
        self.fresh: dict[int, weakref.ref[np.ndarray]] = {}
        self.memory: Any = None  # of the GPU, where it is used
        self.kept: list[Any] = []  # what its launches read that would be gone otherwise

    def launch(self, kernel: Kernel, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a kernel."""
        kernel.replay(address, tasks, arguments)
        self.steps.append(Launch(kernel, address, tasks, kernel.args_to_keep(arguments, self.memory)))

    def host_call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Note a call that was made."""
        self.steps.append(HostCall(function, arguments))

    def allocated(self, array: np.ndarray) -> None:
        """Note an array that holds nothing until a launch fills it."""
        self.fresh[id(array)] = weakref.ref(array)

    def pool(self, machine: Any) -> Any:
        """A pool of the recording's own, so that memory freed meanwhile is given out again at every replay."""
        if self.memory is None:
            self.memory = machine.new_pool()
        return self.memory

    def keep(self, value: Any) -> None:
        """Hold something as long as the recording."""
        self.kept.append(value)

    def program(self, inputs: list[Any], readable_in_place: list[bool]) -> Any:
        """What was noted, to be run again; see Program."""
        kinds = {getattr(step.kernel, "program", Program) for step in self.steps if type(step) is Launch}
        if len(kinds) > 1:
            raise GraphError("graph: the function runs kernels on two devices; record a function for each")
        return (kinds.pop() if kinds else Program)(self, inputs, readable_in_place)

    def pause(self) -> "_Pause":
        """Inside `with`, nothing is noted."""
        return _Pause(self)


class _Pause:
    def __init__(self, recording: Recording):
        self.recording = recording

    def __enter__(self) -> None:
        local.observer = IDLE

    def __exit__(self, *_: object) -> None:
        local.observer = self.recording


class Program:
    """A recording, to be run again on other inputs.

    recording   what was noted; emptied
    inputs      the arrays that stood for the inputs meanwhile, each with memory of its own
    readable_in_place
                whether kernels can read an input where it is; otherwise it is copied, as it is for Python functions

    before      calls to be made first
    parts       the rest: launches as bytes, and calls between them
    moved       (input, place in the table, offset): addresses to be written for every run
    """

    def __init__(self, recording: Recording, inputs: list[np.ndarray], readable_in_place: list[bool]):
        self.inputs = inputs
        self.before, steps = _split(recording.steps)
        calls = [step for step in recording.steps if type(step) is HostCall]
        for_python = {id(_owner(array)) for call in calls for array in _arrays(call.arguments)}
        self.copied = [i for i, x in enumerate(inputs) if id(_owner(x)) in for_python or not readable_in_place[i]]
        self.owners = _Owners()
        parts: list[Any] = [step if type(step) is HostCall else self.owners.without_arrays(step) for step in steps]
        recording.steps.clear()
        del steps
        self.arena, places = _arena(self.owners.let_go(recording.fresh), _lives(parts))
        table = _Table(self.owners.addresses() | places)
        parts = [part if type(part) is HostCall else table.launch(part) for part in parts]
        self.table = table.finished()
        self.parts = _joined([part if type(part) is HostCall else table.packed(part) for part in parts])
        numbers = {id(_owner(x)): i for i, x in enumerate(inputs) if i not in self.copied}
        self.moved = [(numbers[use.owner], at, use.offset) for use, at in table.data.items() if use.owner in numbers]

    def __call__(self, inputs: Sequence[np.ndarray]) -> None:
        """Run on inputs of the same shapes, strides and dtypes; not twice at once."""
        for i in self.copied:
            np.copyto(self.inputs[i], inputs[i])
        for i, at, offset in self.moved:
            self.table[at] = _address(inputs[i]) + offset
        for function, arguments in self.before:
            function(*arguments)
        for part in self.parts:
            if type(part) is bytes:
                execute(part, len(part))
            else:
                part.function(*part.arguments)


def _joined(parts: list[Any]) -> list[Any]:
    """Neighbouring launches made one."""
    joined: list[Any] = []
    for part in parts:
        if joined and type(part) is type(joined[-1]) is bytes:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


# ---- steps in numbers


class _Use(NamedTuple):
    """An array as a kernel sees it: in which array's memory, where in it (bytes), and its shape."""

    owner: int
    offset: int
    shape: tuple[int, ...]


class _Owners:
    """The arrays whose memory is used, by number; kept."""

    def __init__(self) -> None:
        self.arrays: dict[int, np.ndarray] = {}

    def without_arrays(self, step: Launch) -> Launch:
        """A launch whose arguments are numbers, uses, and lists of uses."""
        return step._replace(arguments=tuple([self._number(argument) for argument in step.arguments]))

    def _number(self, argument: Any) -> Any:
        if type(argument) is Arrays:
            return [self._number(array) for array in argument.arrays]
        if not isinstance(argument, np.ndarray):
            return argument
        owner = _owner(argument)
        self.arrays[id(owner)] = owner
        return _Use(id(owner), _address(argument) - _address(owner), argument.shape)

    def let_go(self, fresh: dict[int, "weakref.ref[np.ndarray]"]) -> dict[int, tuple[int, int]]:
        """Give up the fresh arrays; the address and size in bytes of those that nobody else held."""
        gone = {}
        for number, reference in fresh.items():
            owner = self.arrays.pop(number, None)
            if owner is None:
                continue
            place = _address(owner), owner.nbytes
            del owner
            held = reference()
            if held is None:
                gone[number] = place
            else:
                self.arrays[number] = held
        return gone

    def addresses(self) -> dict[int, int]:
        """Where each array's memory starts."""
        return {number: _address(array) for number, array in self.arrays.items()}


class _Table:
    """What kernels look for in NumPy objects, laid out as it is there: data, axes, place of the shape (see view.py).

    start   where the memory of each owner starts
    data    the place of every use's data in the table
    """

    def __init__(self, start: dict[int, int]):
        self.start = start
        self.words: list[int] = []
        self.inside: list[int] = []  # words that are places in the table, to become addresses
        self.data: dict[_Use, int] = {}

    def launch(self, step: Launch) -> Launch:
        """A launch whose arrays are places in the table."""
        return step._replace(arguments=tuple([self._place(argument) for argument in step.arguments]))

    def _place(self, argument: Any) -> Any:
        if type(argument) is list:
            return self._list(argument)
        if type(argument) is not _Use:
            return argument
        if argument not in self.data:
            at = self._object(self.start[argument.owner] + argument.offset, argument.shape)
            self.data[argument] = at.word + HEAD // 8
        return _Place(self.data[argument] - HEAD // 8)

    def _object(self, data: int, shape: tuple[int, ...]) -> "_Place":
        at = len(self.words)
        self.words += [0] * (HEAD // 8) + [data, len(shape), 8 * (at + HEAD // 8 + 3), *shape]
        self.inside.append(at + HEAD // 8 + 2)
        return _Place(at)

    def _list(self, uses: list[_Use]) -> "_Place":
        objects = [self._place(use) for use in uses]
        entries = len(self.words)
        self.words += [8 * at.word for at in objects]
        self.inside += [*range(entries, len(self.words)), len(self.words) + HEAD // 8]
        return self._object(8 * entries, (len(uses),))

    def finished(self) -> np.ndarray:
        """The table, with addresses."""
        table = np.array(self.words, np.int64)
        self.base = _address(table)
        table[self.inside] += self.base
        return table

    def packed(self, step: Launch) -> bytes:
        """A launch as the executor reads it."""
        fields = [self.base + 8 * a.word if type(a) is _Place else a for a in step.arguments]
        return step.kernel.packed(step.address, step.tasks, fields)


class _Place(NamedTuple):
    """A place in the table."""

    word: int


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _arrays(values: Iterable[Any]) -> Iterator[np.ndarray]:
    """All arrays among values, at any depth."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif type(value) is Arrays:
            yield from value.arrays
        elif isinstance(value, list | tuple):
            yield from _arrays(value)
        elif isinstance(value, dict):
            yield from _arrays(value.values())


def _split(steps: list[Launch | HostCall]) -> tuple[list[HostCall], list[Launch | HostCall]]:
    """The calls that can be made before everything else, as nothing before them touches their arrays: checks of inputs,
    settings of an optimiser, keys of random numbers.  And the rest."""
    first, rest = [], []
    touched: set[int] = set()
    for step in steps:
        owners = {id(_owner(array)) for array in _arrays(step.arguments)}
        if type(step) is HostCall and not owners & touched:
            first.append(step)
        else:
            rest.append(step)
            touched |= owners
    return first, rest


def _lives(parts: list[Any]) -> dict[int, tuple[int, int]]:
    """The first and the last launch that uses each array."""
    lives: dict[int, tuple[int, int]] = {}
    for i, part in enumerate(parts):
        for argument in part.arguments if type(part) is Launch else ():
            for use in argument if type(argument) is list else [argument]:
                if type(use) is _Use:
                    lives[use.owner] = lives.get(use.owner, (i, i))[0], i
    return lives


def _arena(wanted: dict[int, tuple[int, int]], lives: dict[int, tuple[int, int]]) -> tuple[np.ndarray, dict[int, int]]:
    """One block of memory, and where in it each array starts; given are its address so far, its size, and its life.

    The largest are placed first, each as low as those allow that are in use at the same time, and as it was aligned.
    """
    placed: list[tuple[int, int, int]] = []  # start, stop, number
    for number in sorted(wanted, key=lambda number: -wanted[number][1]):
        start, size = 0, -(-wanted[number][1] // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        (first, last) = lives[number]
        for other_start, other_stop, other in sorted(placed):
            if lives[other][0] <= last and first <= lives[other][1]:
                if start + size <= other_start:
                    break
                start = max(start, other_stop)
        placed.append((start, start + size, number))
    arena = np.empty(max((stop for _, stop, _ in placed), default=0) + ALIGNMENT, np.uint8)
    base = -(-_address(arena) // ALIGNMENT) * ALIGNMENT
    return arena, {number: base + start + wanted[number][0] % ALIGNMENT for start, _, number in placed}
