"""Programs on the GPU that use their inputs where they are: recorded launches, sent again with other addresses.

A captured graph has fixed addresses, so its inputs are copied and its results stay in its own memory.  A call of a
module must not copy its arguments, and gives results in fresh memory.  So its launches are sent one by one.  Their
argument words are kept in one array, in which each run replaces the addresses of its inputs.

Memory of the recording's own pool is reused while it is recorded: a block of a result may have held a temporary array
before.  So a launch notes the block of each array, and not only its address; see Use in kernel.py.
"""

import ctypes
from collections.abc import Sequence
from typing import Any
from weakref import ReferenceType

from ...errors import GraphError
from ..memory import clone
from ..program import HostCall, Launch, byte_range
from . import driver
from .array import Arrays, DeviceArray
from .gpu import current_gpu
from .program import CudaProgram


class MovingProgram:
    """A recording that can be run again on other inputs, where they are.

    recording           the recorded steps; emptied
    inputs              the arrays whose memory each run gives.  Launches may also write to them: a result can be an
                        "input"
    readable_in_place   ignored: all inputs are used where they are

    Calls of Python functions come first, as in CudaProgram.

    Raises   GraphError   an input cannot be exchanged
    """

    stands_for = CudaProgram
    copied: Sequence[Any] = ()  # the inputs that are not used where they are

    def __init__(self, recording: Any, inputs: list[DeviceArray], readable_in_place: list[bool]):
        self.pool, self.kept = recording.memory, list(recording.kept)
        self.host_calls = [step for step in recording.steps if type(step) is HostCall]
        launches = [step for step in recording.steps if type(step) is Launch]
        numbers = {id(x.owner): i for i, x in enumerate(inputs)}
        self._refuse_fixed_inputs(inputs, numbers)
        packed = b"".join([step.address.packed for step in launches])
        count = len(packed) // 8
        self.words = (ctypes.c_uint64 * count).from_buffer_copy(packed)
        start = ctypes.addressof(self.words)
        self.pointers = (ctypes.c_void_p * count)(*range(start, start + 8 * count, 8))
        self.places: list[list[tuple[int, int]]] = [[] for _ in inputs]  # of each input: (word, offset in bytes)
        self.launches: list[tuple[Any, ...]] = []  # arguments of cuLaunchKernel
        first = 0
        for step in launches:
            self._add_launch(step.address, first)
            for use in step.arguments:
                self._add_use(use, first, inputs, numbers)
            first += len(step.address.packed) // 8
        recording.steps.clear()

    def _refuse_fixed_inputs(self, inputs: list[DeviceArray], numbers: dict[int, int]) -> None:
        """Refuse inputs that cannot be exchanged."""
        tables = [array for kept in self.kept if isinstance(kept, Arrays) for array in kept.arrays]
        given = [x for call in self.host_calls for x in call.arguments if isinstance(x, DeviceArray)]
        if any(id(array.owner) in numbers for array in [*tables, *given]):
            raise GraphError("graph: an argument or a result is in a table of addresses, or is sent by the host")
        if len(numbers) < len(inputs):
            raise GraphError("graph: arguments and results share memory")
        if any(min(x.strides, default=0) < 0 for x in inputs):
            raise GraphError("graph: an argument runs backwards in memory")

    def _add_launch(self, launch: Any, first: int) -> None:
        """Note a launch, whose words start at `first`."""
        words, stream = ctypes.addressof(self.pointers) + 8 * first, current_gpu().stream
        self.launches.append((launch.compiled.function, *launch.grid, *launch.block, 0, stream, words, 0))

    def _add_use(self, use: Any, first: int, inputs: list[DeviceArray], numbers: dict[int, int]) -> None:
        """Note an array of a launch: an input is exchanged, and what is outside of the recording's pool is kept."""
        owner = use.owner() if isinstance(use.owner, ReferenceType) else use.owner
        number, word = numbers.get(id(owner)), first + use.word
        if number is None:
            if owner is use.owner:
                self.kept.append(owner)
            return
        start, stop = byte_range(inputs[number])
        size, itemsize, address = self.words[word - 2], self.words[word - 1], self.words[word]
        if address < start or address + size * itemsize > stop:
            raise GraphError("graph: an argument is a part of an array that the function uses; give its clone()")
        self.places[number].append((word, address - start))

    def __call__(self, inputs: Sequence[DeviceArray]) -> None:
        """Run on inputs of the same shapes, strides and dtypes; by one thread at a time."""
        current_gpu()  # makes its context current
        words = self.words
        for array, places in zip(inputs, self.places, strict=True):
            address = array.address
            for word, offset in places:
                words[word] = address + offset
        for call in self.host_calls:
            call.function(*call.arguments)
        launch = driver.api.cuLaunchKernel
        for arguments in self.launches:
            status = launch(*arguments)[0]
            if status:
                raise driver.error_of("cuLaunchKernel", status)

    def names(self, number: int) -> bool:
        """Whether a launch uses an input."""
        return bool(self.places[number])

    def check_first(self) -> None:
        """Make the checks of values first; those of values on the GPU are launches, which Python does not wait for."""
        self.host_calls.sort(key=lambda call: not call.can_fail)

    def apart(self, arrays: list[DeviceArray]) -> list[DeviceArray]:
        """Copies of inputs of the recorded run: their blocks may also be those of temporary arrays."""
        return [clone(array) for array in arrays]
