"""How a Python function becomes a kernel: compiled once per element type and tile, cached on disk, run as tasks.

    @kernel
    def scale_rows(task, x: Array2, factor: float, out: Array2):
        for n in range(x.shape[1]):
            out[task, n] = factor * x[task, n]

    scale_rows(tasks, x, 2.0, out)        # runs task 0 ... tasks-1, on all threads

A kernel is serial and computes one task.  Its first parameter is the number of the task.  The annotation of every other
parameter is its kind:

    Array1 ... Array4     a C-contiguous array of that many dimensions, of the kernel's element type
    Memory                the same as a flat view, whatever its strides
    Ints, Shorts, Bytes   a flat view of int64, uint16 or uint8
    Words, Doubles, Singles   a flat view of int32, float64 or float32
    ArrayList             a list of C-contiguous arrays
    float                 a number of the kernel's element type
    Tile                  the shape of a register tile, see tile.py
    no annotation         a whole number

The element type is that of the first `ArrayN`, `Memory` or `ArrayList` argument.

A launch is one block of eight-byte numbers (see executor.py).  An array is passed as the address of its NumPy object,
in which the kernel finds data and shape (see view.py).
"""

import inspect
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from ..errors import DtypeError
from . import cache, threads, tile
from .fingerprint import kernel_fingerprint
from .source import define_function, with_other_parameters
from .view import DATA, WORD, View, load_field, load_view


class Array(NamedTuple):
    """The kind of an array parameter: the axes of its view, and its element type if that is not the kernel's."""

    ndim: int
    element: Any = None


Array1, Array2, Array3, Array4 = Array(1), Array(2), Array(3), Array(4)
Memory = Array(1)
Ints, Shorts, Bytes = Array(1, types.int64), Array(1, types.uint16), Array(1, types.uint8)
Words, Doubles, Singles = Array(1, types.int32), Array(1, types.float64), Array(1, types.float32)


class ArrayList:
    """A list of C-contiguous arrays of one dtype, as one argument of a kernel."""

    def __init__(self, arrays: list[np.ndarray]):
        for array in arrays:
            if type(array) is not np.ndarray:
                raise DtypeError(f"ArrayList: expected NumPy arrays, got {type(array).__name__}; use np.asarray")
            if not array.flags.c_contiguous:
                raise DtypeError(f"ArrayList: an array {array.shape} is not C-contiguous; use np.ascontiguousarray")
        self.arrays = arrays
        self.table = np.array([id(array) for array in arrays], np.int64)


Tile = tile.TileShape
FLOATS = {"f": types.float32, "d": types.float64}
SERIAL_WORK = 32768  # elements touched in about 20 us, the time to wake another thread
SERIAL_WORK_AWAKE = 4096  # the same where a program keeps the threads awake
FASTMATH = {"contract", "nsz"}  # keeps nan, infinity, quotients and the order of additions
OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": FASTMATH,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

compile_listeners: list[Callable[[str, float], None]] = []  # called with (name, seconds) after a kernel is compiled


def helper(function):
    """A decorator for functions that kernels call; their code is inlined."""
    return numba.njit(inline="always", **OPTIONS)(function)


class Kernel:
    """A kernel and the addresses of its compiled versions, by element type and tile."""

    def __init__(self, function: Callable[..., Any], name: str = "", module: str = ""):
        self.function, self.module = function, module or function.__module__
        self.name = f"{self.module.rpartition('.')[2]}.{name or function.__name__}"
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self.names = [parameter.name for parameter in parameters]
        self.kinds = [int if p.annotation is p.empty else p.annotation for p in parameters]
        self.compiled: dict[Any, int] = {}
        self.__doc__ = function.__doc__

    def __getattr__(self, name: str) -> Any:
        """The functions `run` and `pack`, made when they are first needed, because a program uses few kernels."""
        if name not in ("run", "pack"):
            raise AttributeError(name)
        self.run, self.pack = _make_caller(self)
        return vars(self)[name]

    def __call__(self, tasks: int, *arguments: Any) -> None:
        """Run tasks 0 ... tasks-1."""
        self.run(tasks, *arguments)

    def run_small(self, tasks: int, work: int, *arguments: Any) -> None:
        """Run tasks 0 ... tasks-1, on one thread if there is little work (the number of tasks is then negative).

        work   elements touched, or multiply-adds / 32
        """
        self.run(tasks if is_parallel(work) else -tasks, *arguments)

    def args_to_keep(self, arguments: tuple[Any, ...], memory: Any) -> tuple[Any, ...]:
        """The arguments that a recording must keep."""
        return arguments

    def replay(self, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run the launch that was reported to an observer."""
        program = self.pack_launch(address, tasks, arguments)
        threads.execute(program, len(program))

    def pack_launch(self, address: int, tasks: int, arguments: tuple[Any, ...]) -> bytes:
        """A launch as the executor reads it."""
        fields = [id(a.table) if type(a) is ArrayList else id(a) if type(a) is np.ndarray else a for a in arguments]
        return self.pack(len(fields) + 3, address, tasks, *fields)

    def prepare(self, char: str, shape: tuple[int, int, int] | None) -> int:
        """Load or compile the kernel for an element type and a tile; return its address."""
        name = self._file_name(char, shape)
        with cache.compiler_lock:
            address = self.compiled.get((char, shape)) or cache.load_function(name)
            if address is None:
                if type(threads.local.observer) is MissingKernels:
                    threads.local.observer.jobs[self, char, shape] = lambda: self.prepare(char, shape)
                    return 0
                if threads.local.compile_ahead is not None:
                    compile_ahead, threads.local.compile_ahead = threads.local.compile_ahead, None
                    compile_ahead()
                    return self.prepare(char, shape)
                start = time.perf_counter()
                address = cache.save_function(name, self._compile(FLOATS[char], shape))
                for listener in compile_listeners:
                    listener(self.name, time.perf_counter() - start)
            self.compiled[char, shape] = address
        return address

    def _file_name(self, char, shape):
        form = "" if shape is None else "-{}x{}x{}".format(*shape)
        name = re.sub(r"[^\w.]", "", self.name)[:100]  # file systems limit characters and length
        return f"{name}-{char}{form}-{kernel_fingerprint(self.function, self.kinds)}"

    def _compile(self, element, shape):
        """Compile the kernel as a C function of (block, task), which first reads the arguments from the block.

        The text of the kernel becomes part of that function.  Where there is no text, as in an interactive session,
        Numba inlines the kernel, which takes twice as long.  A separate function would be optimised twice.
        """
        static = None if shape is None else tile.TileShape(element, *shape)
        unpack, names = _make_unpacker(element, static, self.kinds), ", ".join(self.names)
        first_line, task = f"{names}, = unpack(block)", next(iter(inspect.signature(self.function).parameters))
        try:
            entry = with_other_parameters(self.function, f"block, {task}", first_line, unpack=unpack)
        except OSError:
            text = f"def entry(block, task):\n    {first_line}\n    body(task, {names})"
            entry = define_function(text, unpack=unpack, body=helper(self.function))
        return numba.cfunc(types.void(types.int64, types.int64), error_model="numpy", fastmath=FASTMATH)(entry)

    def llvm(self, char: str = "f", shape: tuple[int, int, int] | None = None) -> str:
        """The optimised LLVM code, for tests that count instructions."""
        return self._compile(FLOATS[char], shape).inspect_llvm()


kernel = Kernel


def is_parallel(work: int) -> bool:
    """Whether a launch with so much work, see Kernel.run_small, is for several threads."""
    return work > (SERIAL_WORK_AWAKE if threads.local.observer.keeps_awake else SERIAL_WORK)


def _make_caller(kernel: Kernel) -> tuple[Callable[..., None], Callable[..., bytes]]:
    """Generate the function that packs a kernel's arguments and launches it, see source.py; return also the packer."""
    named = list(zip(kernel.names, kernel.kinds, strict=True))
    arrays = [name for name, kind in named if isinstance(kind, Array)]
    lists = [name for name, kind in named if kind is ArrayList]
    floats = [name for name, kind in named if kind is ArrayList or (isinstance(kind, Array) and not kind.element)]
    sample = f"{floats[0]}.arrays[0]" if floats[0] in lists else floats[0]
    tile_name = next((name for name, kind in named if kind is Tile), None)
    passed = [(name, kind) for name, kind in named if kind is not Tile]
    fields = [
        name if kind in (int, float) else f"id({name}.table)" if kind is ArrayList else f"id({name})"
        for name, kind in passed
    ]
    text = f"""
def run(tasks, {", ".join(kernel.names)}):
    if not ({" is ".join(["ndarray", *(f"type({name})" for name in arrays)])}):
        refuse(kernel, dict({", ".join(f"{name}={name}" for name in arrays)}))
    form_ = {sample}.dtype.char, {tile_name}
    address_ = compiled.get(form_) or prepare(*form_)
    if local.observer is not IDLE:
        local.observer.launch(kernel, address_, tasks, ({", ".join(name for name, _ in passed)},))
        return
    execute(pack({len(fields) + 3}, address_, tasks, {", ".join(fields)}), {8 * len(fields) + 24})
"""
    pack = struct.Struct("qqq" + "".join("d" if kind is float else "q" for _, kind in passed)).pack
    run = define_function(
        text,
        kernel=kernel,
        compiled=kernel.compiled,
        prepare=kernel.prepare,
        ndarray=np.ndarray,
        local=threads.local,
        IDLE=threads.IDLE,
        execute=threads.execute,
        pack=pack,
        refuse=_refuse_arguments,
    )
    return run, pack


def _refuse_arguments(kernel: Kernel, arrays: dict[str, Any]) -> None:
    name, value = next((name, value) for name, value in arrays.items() if type(value) is not np.ndarray)
    raise DtypeError(f"{kernel.name}: argument {name!r} is a {type(value).__name__}, expected a NumPy array")


class MissingKernels(threads.Observer):
    """Runs nothing, and collects the jobs that compile the kernels which are not cached."""

    computes = False

    def __init__(self) -> None:
        self.jobs: dict[Any, Callable[[], object]] = {}

    def launch(self, kernel: Any, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Do not run a kernel."""


@contextmanager
def collect_missing_kernels() -> Iterator[dict[Any, Callable[[], object]]]:
    """Run nothing inside `with`; the yielded dict receives a job for each kernel that must be compiled."""
    outer, missing = threads.local.observer, MissingKernels()
    threads.local.observer = missing
    try:
        with np.errstate(all="ignore"):  # arithmetic on memory that no kernel has filled
            yield missing.jobs
    finally:
        threads.local.observer = outer


# ---- how a kernel reads its argument block


class _ArrayListType(types.Type):
    def __init__(self, element):
        self.element = element
        super().__init__(name=f"ArrayList({element})")


@register_model(_ArrayListType)
class _ArrayListModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, WORD)


@intrinsic
def get_array(typing, arrays, i):
    """Array number i of an ArrayList, as a flat view."""
    flat = View(arrays.element, 1)

    def generate(context, builder, signature, args):
        table, number = args
        entries = builder.inttoptr(load_field(builder, table, DATA), WORD.as_pointer())
        return load_view(context, builder, flat, builder.load(builder.gep(entries, [number])))

    return flat(arrays, types.intp), generate


def _make_unpacker(element, static, kinds):
    """An intrinsic that returns the arguments of a kernel from the address of its argument block."""

    def numba_type(kind):
        if kind is Tile:
            return static
        if kind is ArrayList:
            return _ArrayListType(element)
        if isinstance(kind, Array):
            return View(kind.element or element, kind.ndim)
        return {int: types.int64, float: element}[kind]

    returned = types.Tuple([numba_type(kind) for kind in kinds])

    def generate(context, builder, signature, args):
        block = builder.inttoptr(args[0], WORD.as_pointer())
        values, position = [], 0
        for kind in returned:
            if kind is static:
                values.append(context.get_dummy_value())
                continue
            word = builder.load(builder.gep(block, [ir.Constant(WORD, position)]))
            values.append(_convert_argument(context, builder, kind, word))
            position += 1
        return context.make_tuple(builder, returned, values)

    @intrinsic
    def unpack(typing, block):
        return returned(types.int64), generate

    return unpack


def _convert_argument(context, builder, kind, word):
    """A kernel argument of a Numba type, from its word in the block."""
    if isinstance(kind, View):
        return load_view(context, builder, kind, word)
    if isinstance(kind, types.Float):
        return context.cast(builder, builder.bitcast(word, ir.DoubleType()), types.float64, kind)
    return word
