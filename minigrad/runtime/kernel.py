"""How a Python function becomes a kernel: compiled once per dtype and tile, kept on disk, run as tasks.

    @kernel
    def scale_rows(task, x: Array2, factor: float, out: Array2):
        for n in range(x.shape[1]):
            out[task, n] = factor * x[task, n]

    scale_rows(tasks, x, 2.0, out)        # runs task 0 ... tasks-1, on all threads

A kernel is serial and does one task of many.  Its first parameter is the task; every other one says by its annotation
what it is: an array of so many dimensions, C-contiguous, of the kernel's element type (`Array1` ... `Array4`);
`Memory`, the same as a flat view that follows no particular strides; `Ints`, `Shorts` and `Bytes`, flat int64, uint16
and uint8; `ArrayList`, a list of C-contiguous arrays; `float`, a number of the kernel's element type; `Tile`, the shape
of a register tile (see tile.py); no annotation, a whole number.  The element type is that of the first `ArrayN`,
`Memory` or `ArrayList` argument.

Arguments travel in one block of eight-byte numbers, the launch (see threads.py).  An array is passed as the address of
its NumPy object, from which the kernel reads data and shape: finding them in Python would cost a microsecond an array.
"""

import inspect
import re
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from ..errors import DtypeError
from . import cache, threads, tile
from .fingerprint import fingerprint
from .source import define
from .view import WORD, View, member, view_of


class Array1: ...


class Array2: ...


class Array3: ...


class Array4: ...


class Memory: ...


class Ints: ...


class Bytes: ...


class Shorts: ...


class ArrayList: ...


Tile = tile.TileShape
DIMENSIONS = {Array1: 1, Array2: 2, Array3: 3, Array4: 4, Memory: 1, Ints: 1, Bytes: 1, Shorts: 1}
INTEGERS = {Ints: types.int64, Bytes: types.uint8, Shorts: types.uint16}
FLOATS = {"f": types.float32, "d": types.float64}
SERIAL_WORK = 32768  # elements touched: about 20 us
FASTMATH = {"contract", "nsz"}  # what keeps nan, infinity, the order of additions and quotients as they are
OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": FASTMATH,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

listeners: list[Callable[[str, float], None]] = []  # called with (name, seconds) after each kernel is compiled


def helper(function):
    """A function that kernels call; its text becomes part of each of them."""
    return numba.njit(inline="always", **OPTIONS)(function)


class Kernel:
    """A kernel and its compiled forms, one for each element type and tile."""

    def __init__(self, function: Callable[..., Any], name: str = "", module: str = ""):
        self.function, self.module = function, module or function.__module__
        self.name = f"{self.module.rpartition('.')[2]}.{name or function.__name__}"
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self.names = [parameter.name for parameter in parameters]
        self.kinds = [int if p.annotation is p.empty else p.annotation for p in parameters]
        self.compiled: dict[Any, int] = {}
        self.__doc__ = function.__doc__
        self.run = _caller(self)

    def __call__(self, tasks: int, *arguments: Any) -> None:
        """Run tasks 0 ... tasks-1."""
        self.run(tasks, *arguments)

    def run_small(self, tasks: int, work: int, *arguments: Any) -> None:
        """Run tasks 0 ... tasks-1, on this thread alone if `work` (elements, or multiply-adds / 32) is so little that
        waking another one, some 20 us, would not pay."""
        self.run(tasks if work > SERIAL_WORK else -tasks, *arguments)

    def args_to_keep(self, arguments: tuple[Any, ...], memory: Any) -> tuple[Any, ...]:
        """What a recording keeps of the arguments of a launch."""
        return arguments

    def replay(self, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a launch that a recording was given."""
        fields = [id(a.table) if type(a) is Arrays else id(a) if type(a) is np.ndarray else a for a in arguments]
        program = self.packed(address, tasks, fields)
        threads.execute(program, len(program))

    def packed(self, address: int, tasks: int, fields: Sequence[Any]) -> bytes:
        """A launch as the executor reads it."""
        return self.pack(len(fields) + 3, address, tasks, *fields)

    def prepare(self, char: str, shape: tuple[int, int, bool] | None) -> int:
        """The address of the kernel for an element type and a tile: from disk, or compiled and kept."""
        name = self._file(char, shape)
        with cache.compiling:  # one thread at a time
            address = self.compiled.get((char, shape)) or cache.load(name)
            if address is None:
                if type(threads.local.observer) is Rehearsal:
                    threads.local.observer.jobs[self, char, shape] = lambda: self.prepare(char, shape)
                    return 0
                start = time.perf_counter()
                address = cache.save(name, self._compile(FLOATS[char], shape))
                for listener in listeners:
                    listener(self.name, time.perf_counter() - start)
            self.compiled[char, shape] = address
        return address

    def _file(self, char, shape):
        form = "" if shape is None else "-{}x{}{}".format(shape[0], shape[1], "m" if shape[2] else "")
        name = re.sub(r"[^\w.]", "", self.name)[:100]  # a lambda's <> and long names are not for every file system
        return f"{name}-{char}{form}-{fingerprint(self.function, self.kinds)}"

    def _compile(self, element, shape):
        """The kernel as a C function of (block, task).

        Its text is inlined into an entry that reads the arguments: compiled as a function of its own, it would be
        optimised twice, which is most of the time.
        """
        static = None if shape is None else tile.TileShape(element, *shape)
        names = ", ".join(self.names)
        entry = define(
            f"def entry(block, task):\n    {names}, = unpack(block)\n    body(task, {names})",
            unpack=_unpacker(element, static, self.kinds),
            body=helper(self.function),
        )
        return numba.cfunc(types.void(types.int64, types.int64), error_model="numpy", fastmath=FASTMATH)(entry)

    def llvm(self, char: str = "f", shape: tuple[int, int, bool] | None = None) -> str:
        """The optimised LLVM code, for tests that count instructions."""
        return self._compile(FLOATS[char], shape).inspect_llvm()


kernel = Kernel


def _caller(kernel: Kernel) -> Callable[..., None]:
    """The function that packs a kernel's arguments and launches it, written out for its parameters; see source.py."""
    named = list(zip(kernel.names, kernel.kinds, strict=True))
    arrays = [name for name, kind in named if kind in DIMENSIONS]
    lists = [name for name, kind in named if kind is ArrayList]
    floats = [name for name, kind in named if (kind in DIMENSIONS and kind not in INTEGERS) or kind is ArrayList]
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
    kernel.pack = struct.Struct("qqq" + "".join("d" if kind is float else "q" for _, kind in passed)).pack
    return define(
        text,
        kernel=kernel,
        compiled=kernel.compiled,
        prepare=kernel.prepare,
        ndarray=np.ndarray,
        local=threads.local,
        IDLE=threads.IDLE,
        execute=threads.execute,
        pack=kernel.pack,
        refuse=_refuse_arguments,
    )


def _refuse_arguments(kernel: Kernel, arrays: dict[str, Any]) -> None:
    name, value = next((name, value) for name, value in arrays.items() if type(value) is not np.ndarray)
    raise DtypeError(f"{kernel.name}: argument {name!r} is a {type(value).__name__}, expected a NumPy array")


class Arrays:
    """A list of C-contiguous arrays of one dtype, as a kernel's `ArrayList` argument."""

    def __init__(self, arrays: list[np.ndarray]):
        for array in arrays:
            if type(array) is not np.ndarray:
                raise DtypeError(f"Arrays: expected NumPy arrays, got {type(array).__name__}; use np.asarray")
            if not array.flags.c_contiguous:
                raise DtypeError(f"Arrays: an array {array.shape} is not C-contiguous; use np.ascontiguousarray")
        self.arrays = arrays
        self.table = np.array([id(array) for array in arrays], np.int64)


class Rehearsal(threads.Observer):
    """Runs no kernel; those that must be compiled are kept as jobs."""

    def __init__(self) -> None:
        self.jobs: dict[Any, Callable[[], object]] = {}


@contextmanager
def missing() -> Iterator[dict[Any, Callable[[], object]]]:
    """Inside, this thread's kernels are looked up but not run; those that must be compiled are collected as jobs."""
    before, rehearsal = threads.local.observer, Rehearsal()
    threads.local.observer = rehearsal
    try:
        with np.errstate(all="ignore"):  # arithmetic on memory that no kernel has filled
            yield rehearsal.jobs
    finally:
        threads.local.observer = before


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
def item(typing, arrays, i):
    """Array number i of an ArrayList, flat."""
    flat = View(arrays.element, 1)

    def generate(context, builder, signature, args):
        table, number = args
        entries = builder.inttoptr(member(builder, table, 0), WORD.as_pointer())
        return view_of(context, builder, flat, builder.load(builder.gep(entries, [number])))

    return flat(arrays, types.intp), generate


def _unpacker(element, static, kinds):
    """An intrinsic that turns the address of an argument block into the kernel's arguments."""

    def numba_type(kind):
        if kind is Tile:
            return static
        if kind is ArrayList:
            return _ArrayListType(element)
        if kind in DIMENSIONS:
            return View(INTEGERS.get(kind, element), DIMENSIONS[kind])
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
            values.append(_argument(context, builder, kind, word))
            position += 1
        return context.make_tuple(builder, returned, values)

    @intrinsic
    def unpack(typing, block):
        return returned(types.int64), generate

    return unpack


def _argument(context, builder, kind, word):
    """A kernel argument of type `kind` from its word in the block."""
    if isinstance(kind, View):
        return view_of(context, builder, kind, word)
    if isinstance(kind, types.Float):
        return context.cast(builder, builder.bitcast(word, ir.DoubleType()), types.float64, kind)
    return word
