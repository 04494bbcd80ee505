"""Recordings of what a function did to arrays, and the programs that run them again.

What a replay executes: While a function is recorded, each kernel launch and each `call_on_host` is run and noted.  A
Program packs neighbouring launches into one block of bytes, which the executor runs without Python.  A replay copies
the inputs that cannot be read in place, makes the host calls that depend on no launch, and then runs the blocks and the
other host calls in their order.

Why a replay is valid: A launch names each array by the address of an array descriptor (see view.py), which holds the
array's address and shape.  There are three kinds of memory:

    inputs      each replay stores the addresses of its inputs in their descriptors, or copies the inputs
    temporary   arrays that only the recording held.  Each has a part of one block, the arena, from the first launch
                that uses it to the last; arrays that are not in use at the same time share parts
    other       weights, results, arguments of host calls: the Program keeps them, so their addresses stay valid

Whether the function would launch the same kernels again is checked by ../replay.py.
"""

import ctypes
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError
from .kernel import ArrayList, Kernel
from .memory import ALIGNMENT
from .threads import Observer, execute
from .view import DATA, data_address


class Launch(NamedTuple):
    """A kernel, the address of its compiled version, the number of tasks and the arguments."""

    kernel: Any
    address: Any
    tasks: int
    arguments: tuple[Any, ...]


class HostCall(NamedTuple):
    """A call of a Python function; in a Program, arguments may be the places of views of inputs."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]

    @property
    def can_fail(self) -> bool:
        """Whether it is a check of values."""
        return getattr(self.function, "is_check", False)

    def run(self, inputs: Sequence[np.ndarray]) -> None:
        """Call the function."""
        self.function(*[x.of(inputs) if type(x) is Place else x for x in self.arguments])


class Place(NamedTuple):
    """Where a view of an input is in that input's memory."""

    number: int  # of the input
    offset: int  # in bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    def of(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The view of another input at the same place."""
        array: Any = inputs[self.number]
        if (
            not self.offset
            and self.shape == array.shape
            and self.strides == array.strides
            and self.dtype == array.dtype
        ):
            return array
        if not isinstance(array, np.ndarray):
            return array.view_at(self.offset, self.shape, self.strides, self.dtype)
        interface = {"data": (data_address(array) + self.offset, False), "shape": self.shape, "strides": self.strides}
        holder = SimpleNamespace(
            __array_interface__={**interface, "typestr": self.dtype.str, "version": 3}, array=array
        )
        return np.asarray(holder)


class Recording(Observer):
    """An observer that runs launches and notes them, together with host calls and allocations."""

    keeps_awake = True

    def __init__(self) -> None:
        self.steps: list[Launch | HostCall] = []
        self.allocations: dict[int, weakref.ref[np.ndarray]] = {}
        self.memory: Any = None  # the recording's pool of GPU memory, once it is used
        self.kept: list[Any] = []  # values that must live as long as the recording

    def launch(self, kernel: Kernel, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a launch and note it."""
        kernel.replay(address, tasks, arguments)
        self.steps.append(Launch(kernel, address, tasks, kernel.args_to_keep(arguments, self.memory)))

    def host_call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Note a host call."""
        self.steps.append(HostCall(function, arguments))

    def allocated(self, array: np.ndarray) -> None:
        """Note an array whose first values come from a launch or a host call."""
        self.allocations[id(array)] = weakref.ref(array)

    def allocation_of(self, array: np.ndarray) -> np.ndarray | None:
        """The array that was allocated during the recording and whose memory an array has; None if there is none."""
        if not isinstance(array, np.ndarray):
            return array.whole_block() if self.memory is not None and array.owner.pool is self.memory else None
        reference = self.allocations.get(id(_owner(array)))
        return None if reference is None or reference() is not _owner(array) else _owner(array)

    def pool(self, machine: Any) -> Any:
        """The recording's own pool, whose memory is reused in the same order by each replay."""
        if self.memory is None:
            self.memory = machine.new_pool()
        return self.memory

    def keep(self, value: Any) -> None:
        """Keep a value as long as the recording."""
        self.kept.append(value)

    def program(self, inputs: list[Any], readable_in_place: list[bool], kind: Any = None) -> Any:
        """Make the Program of this recording; see Program.

        kind   its class; None: the one that its kernels name
        """
        kinds = {getattr(step.kernel, "program", Program) for step in self.steps if type(step) is Launch}
        if kind is not None:
            kinds.add(getattr(kind, "stands_for", kind))
        if len(kinds) > 1:
            raise GraphError("graph: the function runs kernels on two devices; record a function for each")
        return (kind or (kinds.pop() if kinds else Program))(self, inputs, readable_in_place)


class Program:
    """A recording that can be run again on other inputs.

    recording           the recorded steps; emptied
    inputs              the arrays whose memory each run gives.  No other array of the recording shares their memory,
                        except views of them.  Launches may also write to them: a result can be an "input"
    readable_in_place   for each input, whether kernels can use another array of the same shape where it is
    """

    def __init__(self, recording: Recording, inputs: list[np.ndarray], readable_in_place: list[bool]):
        ranges = [byte_range(x) for x in inputs]
        in_lists = _inputs_in_lists(recording.steps, ranges)
        backwards = {i for i, x in enumerate(inputs) if min(x.strides, default=0) < 0}
        moved = {i for i, in_place in enumerate(readable_in_place) if in_place} - in_lists - backwards
        self.copied = [(i, x) for i, x in enumerate(inputs) if i not in moved]
        self.first_calls, steps = _split_first_calls(recording.steps)
        self.first_calls = [_release_inputs(call, ranges, moved) for call in self.first_calls]
        self.owners: dict[int, np.ndarray] = {}
        steps = [
            _release_inputs(step, ranges, moved)
            if type(step) is HostCall
            else _release_arrays(step, self.owners, ranges)
            for step in steps
        ]
        recording.steps.clear()
        temporary = _release_temporary(self.owners, recording.allocations)
        self.arena, starts = _make_arena(temporary, _find_lifetimes(steps))
        starts |= {number: data_address(owner) for number, owner in self.owners.items()}
        starts |= {-1 - i: first for i, (first, _) in enumerate(ranges)}
        self.descriptors = {
            use: _make_descriptor(starts[use.owner] + use.offset, use.shape) for step in steps for use in _uses(step)
        }
        self.lists: list[ArrayList] = []
        self.parts: list[bytes | HostCall] = []
        for step in steps:
            if type(step) is HostCall:
                self.parts.append(step)
                continue
            block = step.kernel.pack_launch(step.address, step.tasks, [self._resolve(a) for a in step.arguments])
            if self.parts and type(self.parts[-1]) is bytes:
                self.parts[-1] += block
            else:
                self.parts.append(block)
        self.data_fields = [  # (input, field of a descriptor, offset in bytes)
            (-1 - use.owner, ctypes.c_size_t.from_address(id(descriptor) + DATA), use.offset)
            for use, descriptor in self.descriptors.items()
            if use.owner < 0 and -1 - use.owner in moved
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> None:
        """Run on inputs of the same shapes, strides and dtypes; by one thread at a time."""
        for i, array in self.copied:
            np.copyto(array, inputs[i])
        addresses = [data_address(x) for x in inputs]
        for i, field, offset in self.data_fields:
            field.value = addresses[i] + offset
        for call in self.first_calls:
            call.run(inputs)
        for part in self.parts:
            if type(part) is bytes:
                execute(part, len(part))
            else:
                part.run(inputs)

    def names(self, number: int) -> bool:
        """Whether a launch or a Python function uses an input."""
        calls = [*self.first_calls, *[part for part in self.parts if type(part) is HostCall]]
        places = [x.number for call in calls for x in call.arguments if type(x) is Place]
        return number in places or any(i == number for i, _, _ in self.data_fields)

    def check_first(self) -> None:
        """Make the checks of values before everything else, so that a run that they end has changed nothing.

        Raises   GraphError   a check needs a value that the program computes
        """
        checks = [part for part in [*self.first_calls, *self.parts] if type(part) is HostCall and part.can_fail]
        if any(isinstance(x, np.ndarray) for check in checks for x in check.arguments):
            raise GraphError("graph: a value that is computed here is checked")
        self.first_calls.sort(key=lambda call: not call.can_fail)

    def apart(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Inputs of the recorded run as arrays that no run writes to, unless they are given to it."""
        return arrays

    def _resolve(self, argument: Any) -> Any:
        """An argument of a launch with descriptors for arrays."""
        if type(argument) is list:
            self.lists.append(ArrayList([self.descriptors[use] for use in argument]))
            return self.lists[-1]
        return self.descriptors[argument] if type(argument) is _Use else argument


# ---- arrays in launches


class _Use(NamedTuple):
    """An array in a launch: the id of the array that owns its memory, or -1 - i for input i; its offset there in bytes;
    and its shape."""

    owner: int
    offset: int
    shape: tuple[int, ...]


Ranges = list[tuple[int, int]]  # for each input, the addresses of its first byte and of the one after its last


def find_place(array: Any, ranges: Ranges) -> Place | None:
    """The place of an array in the memory of an input; None if it is in none.

    Raises   GraphError   only a part of it is in the memory of an input
    """
    start, stop = byte_range(array)
    for i, (first, last) in enumerate(ranges):
        if start < last and first < stop:
            if start < first or last < stop:
                raise GraphError("graph: an argument is a part of an array that the function uses; give its clone()")
            return Place(i, _address(array) - first, array.shape, array.strides, array.dtype)
    return None


def byte_range(array: Any) -> tuple[int, int]:
    """The addresses of the first byte of an array and of the one after its last."""
    steps = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    first = _address(array) + sum(step for step in steps if step < 0)
    return first, first + sum(map(abs, steps)) + array.itemsize if array.size else first


def _address(array: Any) -> int:
    return data_address(array) if isinstance(array, np.ndarray) else array.address


def _inputs_in_lists(steps: list[Launch | HostCall], ranges: Ranges) -> set[int]:
    """The inputs inside lists that Python functions take; they cannot be exchanged there."""
    lists = [x for step in steps if type(step) is HostCall for x in step.arguments if not isinstance(x, np.ndarray)]
    return {place.number for array in _arrays(lists) if (place := find_place(array, ranges))}


def _release_inputs(call: HostCall, ranges: Ranges, moved: set[int]) -> HostCall:
    """A host call with the places of inputs that are used where they are."""

    def convert(argument: Any) -> Any:
        place = find_place(argument, ranges) if isinstance(argument, np.ndarray) else None
        return argument if place is None or place.number not in moved else place

    return call._replace(arguments=tuple(map(convert, call.arguments)))


def _release_arrays(step: Launch, owners: dict[int, np.ndarray], ranges: Ranges) -> Launch:
    """A launch with a _Use for each array; adds the arrays that own the memory to `owners`, by id."""

    def convert(argument: Any) -> Any:
        if type(argument) is ArrayList:
            return [convert(array) for array in argument.arrays]
        if not isinstance(argument, np.ndarray):
            return argument
        place = find_place(argument, ranges)
        if place is not None:
            return _Use(-1 - place.number, place.offset, argument.shape)
        owner = _owner(argument)
        owners[id(owner)] = owner
        return _Use(id(owner), data_address(argument) - data_address(owner), argument.shape)

    return step._replace(arguments=tuple([convert(argument) for argument in step.arguments]))


def _uses(step: Launch | HostCall) -> Iterator[_Use]:
    """Every array in a launch."""
    for argument in step.arguments if type(step) is Launch else ():
        for use in argument if type(argument) is list else [argument]:
            if type(use) is _Use:
                yield use


def _make_descriptor(start: int, shape: tuple[int, ...]) -> np.ndarray:
    """An array object with this address and shape, which is all that kernels read of it."""
    interface = {"data": (start, False), "shape": shape, "typestr": "|u1", "version": 3}
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def _owner(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of this one."""
    while True:
        base = array.base if isinstance(array.base, np.ndarray) else getattr(array.base, "base", None)  # of as_strided
        if not isinstance(base, np.ndarray):
            return array
        array = base


def _arrays(values: Iterable[Any]) -> Iterator[np.ndarray]:
    """All arrays among values, at any depth."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif type(value) is ArrayList:
            yield from value.arrays
        elif isinstance(value, list | tuple):
            yield from _arrays(value)
        elif isinstance(value, dict):
            yield from _arrays(value.values())


def _split_first_calls(steps: list[Launch | HostCall]) -> tuple[list[HostCall], list[Launch | HostCall]]:
    """Separate the host calls on arrays that no earlier step uses, which can all be made first, from the other steps.

    They are checks of inputs, settings of an optimiser, and keys of random numbers.
    """
    first, others = [], []
    used: set[int] = set()
    for step in steps:
        owners = {id(_owner(array)) for array in _arrays(step.arguments)}
        if type(step) is HostCall and not owners & used:
            first.append(step)
        else:
            others.append(step)
            used |= owners
    return first, others


# ---- memory of temporary arrays


class _Block(NamedTuple):
    """The memory of a temporary array: its address while it was recorded, and its size in bytes."""

    address: int
    nbytes: int


def _release_temporary(
    owners: dict[int, np.ndarray], allocations: dict[int, "weakref.ref[np.ndarray]"]
) -> dict[int, _Block]:
    """Remove from `owners` the allocated arrays that nothing else references; return their memory."""
    temporary = {}
    for number, reference in allocations.items():
        if number in owners and reference() is owners[number]:
            block = _Block(data_address(owners[number]), owners[number].nbytes)
            del owners[number]
            array = reference()
            if array is None:
                temporary[number] = block
            else:
                owners[number] = array
    return temporary


def _find_lifetimes(steps: list[Launch | HostCall]) -> dict[int, tuple[int, int]]:
    """The first and the last step that uses each owner."""
    lifetimes: dict[int, tuple[int, int]] = {}
    for i, step in enumerate(steps):
        for use in _uses(step):
            lifetimes[use.owner] = lifetimes.get(use.owner, (i, i))[0], i
    return lifetimes


def _make_arena(blocks: dict[int, _Block], lifetimes: dict[int, tuple[int, int]]) -> tuple[np.ndarray, dict[int, int]]:
    """Allocate one array for all blocks; return it and the address of each block in it.

    The largest block is placed first.  Each block gets the lowest address where it overlaps no placed block of an
    overlapping lifetime, and keeps its address modulo ALIGNMENT.
    """
    placed: list[tuple[int, int, int]] = []  # start, stop, number
    for number in sorted(blocks, key=lambda number: -blocks[number].nbytes):
        start, size = 0, -(-blocks[number].nbytes // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        first, last = lifetimes[number]
        for other_start, other_stop, other in sorted(placed):
            if lifetimes[other][0] <= last and first <= lifetimes[other][1]:
                if start + size <= other_start:
                    break
                start = max(start, other_stop)
        placed.append((start, start + size, number))
    arena = np.empty(max((stop for _, stop, _ in placed), default=0) + ALIGNMENT, np.uint8)
    base = -(-data_address(arena) // ALIGNMENT) * ALIGNMENT
    return arena, {number: base + start + blocks[number].address % ALIGNMENT for start, _, number in placed}
