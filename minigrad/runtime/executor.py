"""The executor: one compiled function that runs a program on all threads.

A program is launches one behind the other, each as numbers of eight bytes: how many numbers, the kernel's address, how
many tasks (a negative number: so many, all on one thread), and then what the kernel reads.

Every thread goes through the whole program.  Of each launch it does its own part of the tasks, the same part every
time, so that a core finds in its caches what it left there; then it takes what the others have not begun; and once all
tasks are finished it goes on.  So a launch costs 0.2 us, where a parallel loop for each would cost 7 us: threads that
wait in a threading layer fall asleep.  A thread that comes late, or not at all, holds up nobody.
"""

import ctypes
import sys

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .target import MACHINE
from .view import WORD

LINE = 64  # bytes: counters in one cache line would slow each other down
PATIENCE = 20  # looks at the others before their tasks are taken: 0.2 us
SPINS = 2000  # looks before another process is given the core: 20 us
IEEE = {"x86_64": 0x1F80}.get(MACHINE, 0)  # what the control word of a core's arithmetic is by default
FLUSH = IEEE | {"x86_64": 0x8040, "aarch64": 1 << 24}.get(MACHINE, 0)  # the same, with denormal numbers taken for 0
YIELD = "minigrad_yield"


@intrinsic
def _call(typing, kernel, block, task):
    """Call the C function at address `kernel` with (block, task)."""

    def generate(context, builder, signature, args):
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [WORD, WORD]).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def _word(typing, address):
    """The eight-byte number at an address."""

    def generate(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], WORD.as_pointer()))

    return types.int64(types.int64), generate


@intrinsic
def _add(typing, address, number):
    """Add to the number at an address, in one go for all threads; returns what it was."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], WORD.as_pointer()), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _now(typing, address):
    """The number at an address that other threads add to; what they wrote before that is seen, too."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], WORD.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _pause(typing):
    """Tell the core that this thread only waits."""

    def generate(context, builder, signature, args):
        hints = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [ir.IntType(32)(1)])}
        if MACHINE in hints:
            _call_by_name(builder, *hints[MACHINE])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield(typing):
    """Let other processes have this core, if they want it."""

    def generate(context, builder, signature, args):
        _call_by_name(builder, YIELD, [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _control(typing):
    """The control word of this core's arithmetic: rounding, exceptions, denormal numbers."""

    def generate(context, builder, signature, args):
        if MACHINE == "aarch64":
            return _call_by_name(builder, "llvm.aarch64.get.fpcr", [], WORD)
        place = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
        if MACHINE == "x86_64":
            _call_by_name(builder, "llvm.x86.sse.stmxcsr", [place])
        return builder.zext(builder.load(place), WORD)

    return types.int64(), generate


@intrinsic
def _set_control(typing, word):
    """Set the control word of this core's arithmetic."""

    def generate(context, builder, signature, args):
        if MACHINE == "aarch64":
            _call_by_name(builder, "llvm.aarch64.set.fpcr", args)
        elif MACHINE == "x86_64":
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), place)
            _call_by_name(builder, "llvm.x86.sse.ldmxcsr", [place])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _call_by_name(builder, name, arguments, result=None):
    kind = ir.FunctionType(result or ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def name_symbols() -> None:
    """Tell LLVM where the functions are that the executor calls by name."""
    function = ctypes.windll.kernel32.SwitchToThread if sys.platform == "win32" else ctypes.CDLL(None).sched_yield
    binding.add_symbol(YIELD, ctypes.cast(function, ctypes.c_void_p).value)


_inline = numba.njit(inline="always", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inline
def _first(total, part, parts):
    """The first task of a part."""
    return (total * part + parts - 1) // parts


@_inline
def _reached(counter, number, looks):
    """Whether a counter reaches a number while it is looked at so many times."""
    for _ in range(looks):
        if _now(counter) >= number:
            return True
        _pause()
    return False


@_inline
def _total(launch):
    """How many tasks are shared out: one if all stay on a thread."""
    return max(_word(launch + 16), 1)


@_inline
def _run(launch, task):
    """One task of a launch, or all of one that stays on a thread."""
    kernel, tasks, block = _word(launch + 8), _word(launch + 16), launch + 24
    if tasks >= 0:
        _call(kernel, block, task)
    else:
        for each in range(-tasks):
            _call(kernel, block, each)


@_inline
def _share(launch, counters, thread, threads):
    """What one thread does of a launch.  Counters: for each part how many of its tasks are taken; tasks finished."""
    total, finished, mine = _total(launch), counters + threads * LINE, 0
    for turn in range(threads):
        if turn == 1 and _reached(finished, total - mine, PATIENCE):
            break
        part = (thread + turn) % threads
        first, stop = _first(total, part, threads), _first(total, part + 1, threads)
        task = first + _add(counters + part * LINE, 1)
        while task < stop:
            _run(launch, task)
            mine += 1
            task = first + _add(counters + part * LINE, 1)
    _add(finished, mine)
    while not _reached(finished, total, SPINS):
        _yield()


@_inline
def _go_through(program, end, counters, thread, threads, control):
    """One thread's way through a program."""
    before = _control()
    _set_control(control)
    launch = program
    while launch < end:
        if _now(counters + threads * LINE) < _total(launch):
            _share(launch, counters, thread, threads)
        counters += (threads + 1) * LINE
        launch += 8 * _word(launch)
    _set_control(before)


def execute(program, size, threads, control):
    """Run a program: its address, its size in bytes, how many threads, and the control word of their arithmetic, which
    each of them has only meanwhile."""
    end, launch, launches, wide = program + size, program, 0, 0
    while launch < end:
        launches += 1
        wide += _word(launch + 16) > 1
        launch += 8 * _word(launch)
    if threads == 1 or not wide:
        before = _control()
        _set_control(control)
        launch = program
        while launch < end:
            for task in range(abs(_word(launch + 16))):
                _call(_word(launch + 8), launch + 24, task)
            launch += 8 * _word(launch)
        _set_control(before)
        return
    counters = np.empty(launches * (threads + 1) * LINE // 8, np.int64)
    for i in range(counters.size):  # np.zeros would become a parallel loop of its own
        counters[i] = 0
    for thread in numba.prange(threads):
        _go_through(program, end, counters.ctypes.data, thread, threads, control)
