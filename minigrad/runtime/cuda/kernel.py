"""Compiles a function written for numba.cuda once per argument types, caches it on disk, and launches it.

    @kernel
    def scale_kernel(x, factor, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = x[i] * factor

    scale_kernel[blocks, threads](x, 2.0, out)

Arguments are C-contiguous device arrays, whole numbers (int64 in the kernel), and floats (of the dtype of the first
float array).  Inside a kernel an array has a shape and is indexed as in NumPy, without bounds checks.  A launch passes
its arguments as eight-byte words.  An array is the words that Numba expects: two for owners, which are not used, then
size, item size, address, shape and strides.
"""

import ctypes
import hashlib
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ...errors import DtypeError
from .. import cache, kernel as host_kernels
from ..fingerprint import kernel_fingerprint
from ..threads import IDLE, local
from . import driver
from .array import ADDRESS_WORD
from .driver import MAX_WORDS
from .gpu import current_gpu
from .program import CudaProgram

INT = np.dtype(np.int64)
BLOCKS_PER_MULTIPROCESSOR = 16  # of a grid-stride launch, at most
MAX_FILE_NAME = 200  # letters; file systems allow 255


class _ArgumentBuffer(threading.local):
    """The words of a launch and the address of each, per Python thread; the driver copies them before it returns."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(8 * MAX_WORDS)
        self.start = ctypes.addressof(self.memory)
        self.words = (ctypes.c_void_p * MAX_WORDS)(*range(self.start, self.start + 8 * MAX_WORDS, 8))
        self.addresses = ctypes.addressof(self.words)


_buffer = _ArgumentBuffer()


class CompiledKernel(NamedTuple):
    """A kernel compiled for the types of its arguments: the driver's function, and one that packs argument words."""

    function: Any
    pack: Callable[..., bytes]
    kinds: tuple[Any, ...]


class Launch(NamedTuple):
    """A launch, ready except for its stream."""

    compiled: CompiledKernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    packed: bytes

    def enqueue(self, stream: Any) -> None:
        """Launch on a stream."""
        buffer, api = _buffer, driver.api
        ctypes.memmove(buffer.start, self.packed, len(self.packed))
        status = api.cuLaunchKernel(self.compiled.function, *self.grid, *self.block, 0, stream, buffer.addresses, 0)[0]
        if status:
            raise driver.error_of("cuLaunchKernel", status)


class Use(NamedTuple):
    """An array in a launch: the place of its address among the words, and the block that holds it.

    A block of the recording's own pool is a weak reference, so that its memory is reused.
    """

    word: int
    owner: Any


class Formula(NamedTuple):
    """What an element-wise kernel computes.

    letters   the kinds of operands of a flat kernel, see elementwise.py; empty for others
    """

    function: Callable[..., Any]
    name: str
    letters: str


class Kernel:
    """A kernel and its compiled versions, by the types of its arguments.

    name      replaces the function's name; kernels made by a factory add their tile sizes
    bounds    the threads of a block, and the blocks that a multiprocessor should hold at once: a limit for registers
    writes    the arrays that it writes, if it writes to no others.  The first is its result, which can have an
              epilogue, see epilogue.py: a launch stores every element by `result[i] = value`, where no value is a
              product, and uses nothing else of the result than result[i], result.size and result.dtype
    formula   of an element-wise kernel, which can be an epilogue and has none
    shared    the elements of shared memory that it uses, of the size of what it writes.  None, not 0, for a kernel that
              must not be joined with others, see joining.py
    beside    whether launches of others can run beside it.  It needs `shared` and `writes`, its grids have two axes,
              and of its place in the grid it only asks for cuda.blockIdx.x and .y, not for the size of the grid
    """

    program = CudaProgram  # the class that replays recordings of such kernels

    def __init__(
        self,
        function: Callable[..., None],
        name: str = "",
        bounds: tuple[int, int] | None = None,
        writes: tuple[str, ...] = (),
        formula: Formula | None = None,
        shared: int | None = None,
        beside: bool = False,
    ):
        self.bounds, self.formula, self.shared, self.beside = bounds, formula, shared, beside
        self.parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.written = tuple(map(self.parameters.index, writes))
        self.function, self.__doc__ = function, function.__doc__
        file = function.__module__.rpartition(".")[2]
        self.name = f"cuda.{name or f'{file}.{function.__name__}'}"
        self.compiled: dict[tuple[Any, ...], CompiledKernel] = {}

    def derive(self, function: Callable[..., None], name: str, **described: Any) -> "Kernel":
        """A kernel that consists of this one and others; `described` are arguments of Kernel."""
        return Kernel(function, name, **described)

    def __getitem__(self, sizes: tuple[Any, Any]) -> Callable[..., None]:
        """kernel[grid, block](arguments): each a number, or a tuple of up to three."""
        return partial(self.launch, *sizes)

    def launch_over(self, count: int, *arguments: Any) -> None:
        """Launch a grid-stride kernel (`for i in range(cuda.grid(1), count, cuda.gridsize(1))`) over `count` elements.

        Each element has its own thread, up to a number of blocks that keeps the GPU busy.
        """
        gpu = current_gpu()
        blocks = min(-(-count // gpu.block_threads), BLOCKS_PER_MULTIPROCESSOR * gpu.multiprocessors)
        self.launch(blocks, gpu.block_threads, *arguments)

    def launch(self, grid: Any, block: Any, *arguments: Any) -> None:
        """Launch the kernel; an empty grid launches nothing."""
        kinds: list[Any] = []
        words: list[Any] = []
        for value in arguments:
            if type(value) is int:
                kinds.append(INT)
                words.append(value)
            elif type(value) is float:
                kinds.append(None)
                words.append(value)
            else:
                kind, array_words = getattr(value, "argument", None) or self._refuse(value)
                kinds.append(kind)
                words += array_words
        if None in kinds:
            float_dtype = next((kind[0] for kind in kinds if type(kind) is tuple and kind[0].kind == "f"), None)
            kinds = [float_dtype if kind is None else kind for kind in kinds]
        key = tuple(kinds)
        compiled = self.compiled.get(key) or self.prepare(key)
        grid, block = _three_sizes(grid), _three_sizes(block)
        if compiled is None or 0 in grid:
            return
        launch = Launch(compiled, grid, block, compiled.pack(*words))
        if local.observer is IDLE:
            launch.enqueue(current_gpu().stream)
        else:
            local.observer.launch(self, launch, 0, arguments)

    def _refuse(self, value: Any) -> Any:
        raise DtypeError(f"{self.name}: an argument is a {type(value).__name__}, expected an array on device 'cuda'")

    def args_to_keep(self, arguments: tuple[Any, ...], memory: Any) -> tuple[Use, ...]:
        """The arrays among the arguments; those outside of the recording's own pool, `memory`, are kept alive."""
        uses, word = [], 0
        for value in arguments:
            if type(value) in (int, float):
                word += 1
                continue
            own = memory is not None and value.owner.pool is memory
            uses.append(Use(word + ADDRESS_WORD, ref(value.owner) if own else value.owner))
            word += len(value.argument[1])
        return tuple(uses)

    def replay(self, launch: Launch, tasks: int, arguments: Any) -> None:
        """Run a prepared launch; `tasks` and `arguments` are for CPU kernels."""
        launch.enqueue(current_gpu().stream)

    def prepare(self, kinds: tuple[Any, ...]) -> CompiledKernel | None:
        """Load the version for these argument types from disk, or compile it; None during a rehearsal, which lists it
        to be compiled later."""
        if driver.SIMULATED:
            image: Any = self.function, kinds
            name = self.name
        else:
            data = cache.load_bytes(self._file_name(kinds))
            if data is None:
                if type(local.observer) is host_kernels.MissingKernels:
                    local.observer.jobs[self, kinds] = lambda: self.prepare(kinds)
                    return None
                data = self._compile(kinds)
            name, _, image = data.partition(b"\n")
        current_gpu()  # makes its context current
        function = driver.call("cuModuleGetFunction", driver.call("cuModuleLoadData", image), name)
        compiled = self.compiled[kinds] = CompiledKernel(function, _make_packer(kinds), kinds)
        return compiled

    def _compile(self, kinds: tuple[Any, ...]) -> bytes:
        start = time.perf_counter()
        capability = target_capability()
        ptx, entry = self.ptx(kinds, capability)
        data = entry.encode() + b"\n" + driver.build_image(ptx, capability, current_gpu().capability)
        cache.save_bytes(self._file_name(kinds), data)
        for listener in host_kernels.compile_listeners:
            listener(self.name, time.perf_counter() - start)
        return data

    def ptx(self, kinds: tuple[Any, ...], capability: tuple[int, int]) -> tuple[str, str]:
        """The kernel in PTX for a GPU of this compute capability, and the name of its entry."""
        return driver.compile_kernel(self.function, kinds, capability, self.bounds)

    def _file_name(self, kinds: tuple[Any, ...]) -> str:
        """A name for everything that the image depends on: types, tile sizes, GPU, packages and source."""
        types = "".join(_short_name(*kind) if isinstance(kind, tuple) else _short_name(kind) for kind in kinds)
        bounds = "" if self.bounds is None else "-{}x{}".format(*self.bounds)
        gpu = "sm{}.{}".format(*current_gpu().capability)
        packages = [driver.versions()[name] for name in ("numba-cuda", "cuda-bindings", "cuda-toolkit")]
        name = "-".join([self.name, types + bounds, gpu, *packages, kernel_fingerprint(self.function)])
        if len(name) <= MAX_FILE_NAME:
            return name
        return f"{self.name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


kernel = Kernel


def target_capability() -> tuple[int, int]:
    """The compute capability to compile for: the GPU's, or the newest before it that the compiler supports."""
    return driver.newest_capability(current_gpu().capability)


def _short_name(dtype: np.dtype, ndim: int | str = "") -> str:
    """An argument's type as part of a file name: "f4" for a float32, "b12" for an array of booleans of two axes."""
    return f"{dtype.str[1:]}{ndim}"


def _three_sizes(sizes: Any) -> tuple[int, int, int]:
    return (*sizes, 1, 1)[:3] if isinstance(sizes, tuple) else (sizes, 1, 1)


def _make_packer(kinds: tuple[Any, ...]) -> Callable[..., bytes]:
    """A function that packs argument words: eight bytes each, a float32 in the first four."""
    formats = {"f": "f4x", "d": "d"}
    words = ["q" * (5 + 2 * kind[1]) if isinstance(kind, tuple) else formats.get(kind.char, "q") for kind in kinds]
    packer = struct.Struct("<" + "".join(words))
    if packer.size > 8 * MAX_WORDS:
        raise DtypeError(f"kernel: {packer.size} bytes of arguments, but a launch takes {8 * MAX_WORDS}; pass fewer")
    return packer.pack
