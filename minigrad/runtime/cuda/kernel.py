"""How a function written for numba.cuda becomes a kernel: compiled once for the dtypes it meets, kept on disk,
launched.

    @kernel
    def scale_kernel(x, factor, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = x[i] * factor

    scale_kernel[blocks, threads](x, 2.0, out)

Arguments are arrays of the device in C order, whole numbers (int64 in the kernel), and floats (of the dtype of the
first array of floats).  Inside, an array has a shape and is indexed as in NumPy, but without checks.  All arguments of
a launch are eight-byte words, an array being the seven and more that Numba expects: two for owners that it does not
use, size, item size, address, shape and strides.
"""

import ctypes
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...errors import DtypeError
from .. import cache, kernel as host_kernels
from ..fingerprint import fingerprint
from ..threads import IDLE, local
from . import driver
from .driver import cuda
from .machine import machine
from .program import CudaProgram

INT = np.dtype(np.int64)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that kernels call.  One that uses `cuda` must stand in the file of the kernel."""
    return function if driver.SIMULATED else cuda.jit(device=True)(function)


BLOCKS = 16  # for each multiprocessor, where a kernel's threads do one element after the other
MOST = 512  # words of a launch: 4096 bytes, what all GPUs take


class _Words(threading.local):
    """Where a Python thread puts the words of a launch, and the address of each; the driver copies them as it
    returns."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(8 * MOST)
        self.start = ctypes.addressof(self.memory)
        self.places = (ctypes.c_void_p * MOST)(*range(self.start, self.start + 8 * MOST, 8))
        self.addresses = ctypes.addressof(self.places)


_words = _Words()


class Form(NamedTuple):
    """A kernel compiled for the kinds of its arguments: the driver's function, and how words are packed."""

    function: Any
    pack: Callable[..., bytes]


class Launch(NamedTuple):
    """One launch, ready: everything but the stream."""

    form: Form
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    packed: bytes

    def on(self, stream: Any) -> None:
        """Order it."""
        ctypes.memmove(_words.start, self.packed, len(self.packed))
        driver.call("cuLaunchKernel", self.form.function, *self.grid, *self.block, 0, stream, _words.addresses, 0)


class Kernel:
    """A kernel and its compiled forms, by the kinds of its arguments.

    name   of the kernel, if not the function's own: kernels made by a factory add their sizes
    """

    program = CudaProgram  # what a recording of such kernels becomes

    def __init__(self, function: Callable[..., None], name: str = ""):
        self.function, self.__doc__ = function, function.__doc__
        page = function.__module__.rpartition(".")[2]
        self.name = f"cuda.{name or f'{page}.{function.__name__}'}"
        self.forms: dict[tuple[Any, ...], Form] = {}

    def __getitem__(self, sizes: tuple[Any, Any]) -> Callable[..., None]:
        """kernel[grid, block](arguments): each a number, or a tuple of up to three."""
        return partial(self.launch, *sizes)

    def each(self, count: int, *arguments: Any) -> None:
        """Run a kernel that goes from cuda.grid(1) in steps of cuda.gridsize(1), with a thread for each of `count`
        elements, or as many as keep the GPU busy."""
        threads = machine().threads
        self.launch(min(-(-count // threads), BLOCKS * machine().processors), threads, *arguments)

    def launch(self, grid: Any, block: Any, *arguments: Any) -> None:
        """Run the kernel; nothing is run by an empty grid."""
        kinds, words, floats = [], [], None
        for value in arguments:
            if type(value) is int:
                kinds.append(INT)
                words.append(value)
            elif type(value) is float:
                kinds.append(None)
                words.append(value)
            else:
                kind, more = self._array(value)
                kinds.append(kind)
                words += more
                if floats is None and kind[0].kind == "f":
                    floats = kind[0]
        key = tuple([floats if kind is None else kind for kind in kinds])
        form = self.forms.get(key) or self.prepare(key)
        grid, block = _three(grid), _three(block)
        if form is None or 0 in grid:
            return
        launch = Launch(form, grid, block, form.pack(*words))
        if local.observer is IDLE:
            machine().enter()
            launch.on(machine().stream)
        else:
            local.observer.launch(self, launch, 0, arguments)

    def _array(self, value: Any) -> tuple[tuple[np.dtype, int], tuple[int, ...]]:
        try:
            return value.argument
        except AttributeError:
            raise DtypeError(
                f"{self.name}: an argument is a {type(value).__name__}, expected an array on device 'cuda'"
            ) from None

    def args_to_keep(self, arguments: tuple[Any, ...], memory: Any) -> tuple[Any, ...]:
        """What a recording keeps of the arguments of a launch: arrays outside the memory that is its own."""
        return tuple([value for value in arguments if hasattr(value, "owner") and value.owner.pool is not memory])

    def replay(self, launch: Launch, tasks: int, arguments: Any) -> None:
        """Run a launch that a recording was given."""
        machine().enter()
        launch.on(machine().stream)

    def prepare(self, kinds: tuple[Any, ...]) -> Form | None:
        """The form for arguments of these kinds: from disk, or compiled and kept; None where a rehearsal only notes
        it."""
        if driver.SIMULATED:
            image: Any = self.function, kinds
            name = self.name
        else:
            data = cache.load_bytes(self._file(kinds))
            if data is None:
                if type(local.observer) is host_kernels.Rehearsal:
                    local.observer.jobs[self, kinds] = lambda: self.prepare(kinds)
                    return None
                data = self._compiled(kinds)
            name, _, image = data.partition(b"\n")
        machine().enter()
        function = driver.call("cuModuleGetFunction", driver.call("cuModuleLoadData", image), name)
        form = self.forms[kinds] = Form(function, _packer(kinds))
        return form

    def _compiled(self, kinds: tuple[Any, ...]) -> bytes:
        start = time.perf_counter()
        ptx, entry = self.ptx(kinds, target())
        data = entry.encode() + b"\n" + driver.link(ptx, target())
        cache.save_bytes(self._file(kinds), data)
        for listener in host_kernels.listeners:
            listener(self.name, time.perf_counter() - start)
        return data

    def ptx(self, kinds: tuple[Any, ...], capability: tuple[int, int]) -> tuple[str, str]:
        """The kernel in NVIDIA's assembly language, for a GPU of this compute capability, and the name of its entry."""
        return driver.compile_kernel(self.function, kinds, capability)

    def _file(self, kinds):
        forms = "".join(f"{kind[0].char}{kind[1]}" if isinstance(kind, tuple) else kind.char for kind in kinds)
        version = driver.versions()["numba-cuda"]
        return f"{self.name}-{forms}-sm{''.join(map(str, target()))}-{version}-{fingerprint(self.function)}"


kernel = Kernel


def target() -> tuple[int, int]:
    """For which compute capability kernels are compiled: the GPU's, or the newest that the compiler knows."""
    return min(machine().capability, driver.newest_capability())


def _three(sizes: Any) -> tuple[int, int, int]:
    sizes = sizes if isinstance(sizes, tuple) else (sizes,)
    return (*sizes, 1, 1)[:3]


def _packer(kinds: tuple[Any, ...]) -> Callable[..., bytes]:
    """Words as bytes: eight each, a float32 in the first four."""
    forms = {"f": "f4x", "d": "d"}
    words = ["q" * (5 + 2 * kind[1]) if isinstance(kind, tuple) else forms.get(kind.char, "q") for kind in kinds]
    packer = struct.Struct("<" + "".join(words))
    if packer.size > 8 * MOST:
        raise DtypeError(f"kernel: {packer.size} bytes of arguments, of which a launch takes {8 * MOST}; give fewer")
    return packer.pack
