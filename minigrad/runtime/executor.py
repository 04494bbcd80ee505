"""The executor: three compiled functions that run a program on all threads, and the memory that they share.

A program is a sequence of launches.  Each is a block of eight-byte numbers: the length of the block in numbers, the
address of the kernel, the number of tasks, and the arguments that the kernel reads.  A negative number of tasks keeps
them all on one thread.

Every thread walks through the whole program.  It first runs its own part of the tasks of each launch.  This part is
the same in every run, so that data which the core wrote last is still in its caches.  Then it runs tasks that other
threads have not started, and waits until all tasks of the launch have finished.  If a thread starts late, the others
run its tasks.

The thread that launches opens its slot, runs the program, closes the slot, and waits until no worker is inside.
Workers enter any open slot.  One that has found none for a while sleeps, and whoever opens a slot wakes it.

A launch in a program costs 0.2 us; waking a worker takes 10-20 us.  Libraries of threads let workers spin for a
millisecond or two.  The gaps between the launches of a plain loop are shorter, so a second core would never rest.
"""

import ctypes
import inspect
import sys

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .target import MACHINE
from .view import WORD

CACHE_LINE_BYTES = 64  # distance of counters: two in one cache line would slow each other down
POLLS_BEFORE_STEALING = 20  # of the counter of finished tasks: 0.2 us
POLLS_BEFORE_YIELDING = 2000  # of the same counter: 20 us
POLLS_BEFORE_SLEEPING = 1000  # of all slots: 50-100 us

# offsets in the shared memory, in bytes: eight-byte numbers, those that threads write in cache lines of their own
SLOTS = 8  # programs that can run at the same time on several threads
OPEN, INSIDE, PROGRAM, END, COUNTERS, CAPACITY, THREADS, CONTROL = 0, 64, 128, 136, 144, 152, 160, 168  # in a slot
SLOT_BYTES = 192
ASLEEP, SEMAPHORE, WAIT, POST = 0, 8, 16, 24  # in a worker's line: whether it sleeps; where; addresses of functions
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


@_instruction(types.void(*[types.int64] * 7))
def _call_run(builder, run, program, end, counters, thread, threads, control):
    """Call the compiled function `run_share`, which is at the address `run`."""
    function = builder.inttoptr(run, ir.FunctionType(ir.VoidType(), [WORD] * 6).as_pointer())
    builder.call(function, [program, end, counters, thread, threads, control])


@_instruction(types.int64(types.int64))
def _load(builder, address):
    """The eight-byte number at an address."""
    return builder.load(builder.inttoptr(address, WORD.as_pointer()))


@_instruction(types.int64(types.int64, types.int64))
def _fetch_add(builder, address, number):
    """Atomically add to the number at an address; return its value before."""
    return builder.atomic_rmw("add", builder.inttoptr(address, WORD.as_pointer()), number, "seq_cst")


@_instruction(types.int64(types.int64, types.int64))
def _exchange(builder, address, number):
    """Atomically replace the number at an address; return its value before."""
    return builder.atomic_rmw("xchg", builder.inttoptr(address, WORD.as_pointer()), number, "seq_cst")


@_instruction(types.int64(types.int64))
def _load_atomic(builder, address):
    """The number at an address that other threads change; what they wrote before they changed it is visible."""
    return builder.load_atomic(builder.inttoptr(address, WORD.as_pointer()), "seq_cst", 8)


@_instruction(types.void(types.int64, types.int64))
def _store(builder, address, number):
    """Set the number at an address."""
    builder.store(number, builder.inttoptr(address, WORD.as_pointer()))


@_instruction(types.void(types.int64, types.int64, types.int64))
def _call_system(builder, function, handle, number):
    """Call function(handle, number, 0) of the operating system; those that take fewer arguments ignore the others."""
    kind = ir.FunctionType(ir.IntType(32), [WORD, WORD, WORD])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [handle, number, ir.Constant(WORD, 0)])


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
        if _load_atomic(counter) >= number:
            return True
        _pause()
    return False


@_inline
def _count_units(launch):
    """The number of units that threads take: tasks, or one for all tasks if they stay on one thread; 0 for no task."""
    tasks = _load(launch + 16)
    return tasks if tasks >= 0 else 1


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
    """Run one thread's share of a launch.

    counters   address of threads + 1 lines: for each part the number of units taken from it; the units finished
    """
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


def run_share(program, end, counters, thread, threads, control):
    """Run one thread's share of a program."""
    before = _read_control()
    _write_control(control)
    launch = program
    while launch < end:
        if _load_atomic(counters + threads * CACHE_LINE_BYTES) < _count_units(launch):
            _run_launch(launch, counters, thread, threads)
        counters += (threads + 1) * CACHE_LINE_BYTES
        launch += 8 * _load(launch)
    _write_control(before)


def execute(run, slot, program, size, threads, control, workers):
    """Run a program; return 0, or the bytes of counters that it needs, if the slot has fewer.

    run             address of run_share
    slot            address of the slot of this call
    program, size   its address and its size in bytes
    threads         number of threads
    control         control word of floating-point arithmetic for the kernels; restored on every thread afterwards
    workers         address of the workers' lines
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
        return 0
    needed, counters = launches * (threads + 1) * CACHE_LINE_BYTES, _load(slot + COUNTERS)
    if needed > _load(slot + CAPACITY):
        return needed
    for i in range(0, needed, 8):
        _store(counters + i, 0)
    _store(slot + PROGRAM, program)
    _store(slot + END, end)
    _store(slot + THREADS, threads)
    _store(slot + CONTROL, control)
    _fetch_add(slot + OPEN, 1)
    for worker in range(threads - 1):
        line = workers + worker * CACHE_LINE_BYTES
        if _load_atomic(line + ASLEEP) and _exchange(line + ASLEEP, 0):
            _call_system(_load(line + POST), _load(line + SEMAPHORE), 1)
    _call_run(run, program, end, counters, 0, threads, control)
    _fetch_add(slot + OPEN, -1)
    polls = 0
    while _load_atomic(slot + INSIDE):
        polls += 1
        if polls < POLLS_BEFORE_YIELDING:
            _pause()
        else:
            _yield()
    return 0


@_inline
def _help(run, slot, thread):
    """Run one worker's share of the program in a slot, if it is open; return whether it was."""
    if not _load_atomic(slot + OPEN) or thread >= _load_atomic(slot + THREADS):
        return False
    _fetch_add(slot + INSIDE, 1)
    # from here on an open slot stays as it is: it is changed only when it is closed and no worker is inside
    found = _load_atomic(slot + OPEN) and thread < _load(slot + THREADS)
    if found:
        program, end, counters = _load(slot + PROGRAM), _load(slot + END), _load(slot + COUNTERS)
        _call_run(run, program, end, counters, thread, _load(slot + THREADS), _load(slot + CONTROL))
    _fetch_add(slot + INSIDE, -1)
    return found


def serve(run, slots, thread, line):
    """The life of a worker, on a thread of its own, until the process ends.

    run      address of run_share
    slots    address of the slots
    thread   number of the thread, from 1 on
    line     address of the worker's line
    """
    polls = 0
    while True:
        found = False
        for i in range(SLOTS):
            if _help(run, slots + i * SLOT_BYTES, thread):
                found = True
        # It marked itself as asleep, and looked at all slots once more: here it finds a slot that was opened before the
        # mark, and whoever opens one later sees the mark and wakes it.
        if polls == POLLS_BEFORE_SLEEPING:
            polls = 0
            if not found or not _exchange(line + ASLEEP, 0):  # who has taken the mark away also wakes the worker
                _call_system(_load(line + WAIT), _load(line + SEMAPHORE), -1)
            continue
        polls = 0 if found else polls + 1
        if polls == POLLS_BEFORE_SLEEPING:
            _exchange(line + ASLEEP, 1)
        _pause()
