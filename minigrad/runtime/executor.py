"""The executor: one compiled function that runs a program on all threads.

A program is a sequence of launches.  Each is a block of eight-byte numbers: the length of the block in numbers, the
address of the kernel, the number of tasks, and the arguments that the kernel reads.  A negative number of tasks keeps
them all on one thread.

Every thread walks through the whole program.  It first runs its own part of the tasks of each launch.  This part is
the same in every run, so that data which the core wrote last is still in its caches.  Then it runs tasks that other
threads have not started, and waits until all tasks of the launch have finished.  If a thread starts late, the others
run its tasks.

A launch in a program costs 0.2 us.  With one parallel loop per launch it would cost 7 us, because threads that wait in
a threading layer fall asleep.
"""

import ctypes
import inspect
import sys

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .target import MACHINE
from .view import WORD

CACHE_LINE_BYTES = 64  # distance of counters: two in one cache line would slow each other down
POLLS_BEFORE_STEALING = 20  # of the counter of finished tasks: 0.2 us
POLLS_BEFORE_YIELDING = 2000  # of the same counter: 20 us
IEEE = {"x86_64": 0x1F80}.get(MACHINE, 0)  # the default control word of floating-point arithmetic
FLUSH_DENORMALS = IEEE | {"x86_64": 0x8040, "aarch64": 1 << 24}.get(MACHINE, 0)
YIELD = "minigrad_yield"  # symbol


def _instruction(signature):
    """A decorator that turns a function which emits LLVM code into an intrinsic."""

    def decorate(emit):
        def typed(typing, *parameters):
            def generate(context, builder, signature, args):
                value = emit(builder, *args)
                return context.get_dummy_value() if value is None else value

            return signature, generate

        typed.__signature__ = inspect.signature(emit)  # from which Numba takes the number of parameters
        return intrinsic(typed)

    return decorate


@_instruction(types.void(types.int64, types.int64, types.int64))
def _call(builder, kernel, block, task):
    """Call the C function at address `kernel` with (block, task)."""
    function = builder.inttoptr(kernel, ir.FunctionType(ir.VoidType(), [WORD, WORD]).as_pointer())
    builder.call(function, [block, task])


@_instruction(types.int64(types.int64))
def _load(builder, address):
    """The eight-byte number at an address."""
    return builder.load(builder.inttoptr(address, WORD.as_pointer()))


@_instruction(types.int64(types.int64, types.int64))
def _fetch_add(builder, address, number):
    """Atomically add to the number at an address; return its value before."""
    return builder.atomic_rmw("add", builder.inttoptr(address, WORD.as_pointer()), number, "acq_rel")


@_instruction(types.int64(types.int64))
def _load_acquire(builder, address):
    """The number at an address to which other threads add; what they wrote before they added is visible."""
    return builder.load_atomic(builder.inttoptr(address, WORD.as_pointer()), "acquire", 8)


@_instruction(types.void())
def _pause(builder):
    """Tell the core that this thread is waiting."""
    hints = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [ir.IntType(32)(1)])}
    if MACHINE in hints:
        _call_by_name(builder, *hints[MACHINE])


@_instruction(types.void())
def _yield(builder):
    """Give the core to another process that is ready to run."""
    _call_by_name(builder, YIELD, [])


@_instruction(types.int64())
def _read_control(builder):
    """The control word of this core's floating-point arithmetic: rounding, exceptions, denormal numbers."""
    if MACHINE == "aarch64":
        return _call_by_name(builder, "llvm.aarch64.get.fpcr", [], WORD)
    pointer = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
    if MACHINE == "x86_64":
        _call_by_name(builder, "llvm.x86.sse.stmxcsr", [pointer])
    return builder.zext(builder.load(pointer), WORD)


@_instruction(types.void(types.int64))
def _write_control(builder, word):
    """Set the control word of this core's floating-point arithmetic."""
    if MACHINE == "aarch64":
        _call_by_name(builder, "llvm.aarch64.set.fpcr", [word])
    elif MACHINE == "x86_64":
        pointer = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(word, ir.IntType(32)), pointer)
        _call_by_name(builder, "llvm.x86.sse.ldmxcsr", [pointer])


def _call_by_name(builder, name, arguments, result=None):
    kind = ir.FunctionType(result or ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def add_symbols() -> None:
    """Tell LLVM the addresses of the functions that the executor calls by name."""
    function = ctypes.windll.kernel32.SwitchToThread if sys.platform == "win32" else ctypes.CDLL(None).sched_yield
    binding.add_symbol(YIELD, ctypes.cast(function, ctypes.c_void_p).value)


_inline = numba.njit(inline="always", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inline
def _first_task(tasks, part, parts):
    """The first task of a part."""
    return (tasks * part + parts - 1) // parts


@_inline
def _wait_for(counter, number, polls):
    """Poll a counter; return whether it reaches a number within so many polls."""
    for _ in range(polls):
        if _load_acquire(counter) >= number:
            return True
        _pause()
    return False


@_inline
def _count_units(launch):
    """The number of units that threads take: tasks, or one for all tasks if they stay on one thread."""
    return max(_load(launch + 16), 1)


@_inline
def _run_unit(launch, unit):
    """Run one task of a launch, or all tasks if they stay on one thread."""
    kernel, tasks, block = _load(launch + 8), _load(launch + 16), launch + 24
    if tasks >= 0:
        _call(kernel, block, unit)
    else:
        for task in range(-tasks):
            _call(kernel, block, task)


@_inline
def _run_launch(launch, counters, thread, threads):
    """Run one thread's share of a launch.  Counters: for each part the units taken from it; the units finished."""
    total, finished, mine = _count_units(launch), counters + threads * CACHE_LINE_BYTES, 0
    for distance in range(threads):
        if distance == 1 and _wait_for(finished, total - mine, POLLS_BEFORE_STEALING):
            break
        part = (thread + distance) % threads
        first, stop = _first_task(total, part, threads), _first_task(total, part + 1, threads)
        unit = first + _fetch_add(counters + part * CACHE_LINE_BYTES, 1)
        while unit < stop:
            _run_unit(launch, unit)
            mine += 1
            unit = first + _fetch_add(counters + part * CACHE_LINE_BYTES, 1)
    _fetch_add(finished, mine)
    while not _wait_for(finished, total, POLLS_BEFORE_YIELDING):
        _yield()


@_inline
def _run_program(program, end, counters, thread, threads, control):
    """Run one thread's share of a program."""
    before = _read_control()
    _write_control(control)
    launch = program
    while launch < end:
        if _load_acquire(counters + threads * CACHE_LINE_BYTES) < _count_units(launch):
            _run_launch(launch, counters, thread, threads)
        counters += (threads + 1) * CACHE_LINE_BYTES
        launch += 8 * _load(launch)
    _write_control(before)


def execute(program, size, threads, control):
    """Run a program.

    program, size   its address and its size in bytes
    threads         number of threads
    control         control word of floating-point arithmetic for the kernels; restored on every thread afterwards
    """
    end, launch, launches, parallel_launches = program + size, program, 0, 0
    while launch < end:
        launches += 1
        parallel_launches += _load(launch + 16) > 1
        launch += 8 * _load(launch)
    if threads == 1 or not parallel_launches:
        before = _read_control()
        _write_control(control)
        launch = program
        while launch < end:
            for task in range(abs(_load(launch + 16))):
                _call(_load(launch + 8), launch + 24, task)
            launch += 8 * _load(launch)
        _write_control(before)
        return
    counters = np.empty(launches * (threads + 1) * CACHE_LINE_BYTES // 8, np.int64)
    for i in range(counters.size):  # np.zeros would become another parallel loop
        counters[i] = 0
    for thread in numba.prange(threads):
        _run_program(program, end, counters.ctypes.data, thread, threads, control)
