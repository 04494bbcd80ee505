"""Threads: which threading layer Numba uses, how many threads, and the one parallel function of the project.

Kernels are serial; `launch` runs the tasks of any of them in parallel, by address.  It is the only function compiled
with parallel=True, because that costs 0.7-2.7 s where a serial kernel costs 0.2-0.3 s.
"""

import contextlib
import ctypes
import importlib.metadata
import os
import threading
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..errors import ValidationError
from . import cache


class _Local(threading.local):
    """What each Python thread has for itself."""

    count = 0  # the number of threads that Numba was told for it; 0 if not yet
    rehearsal: dict[Any, Any] | None = None  # kernels to compile, while they are only collected and not run


_chosen = numba.config.NUMBA_NUM_THREADS
local = _Local()


def set_num_threads(threads: int) -> None:
    """Run kernels on `threads` threads, 1 to the number of cores.  Results do not depend on it, to the last bit.

    Raises   ValidationError   fewer than 1 or more than the machine has
    Example
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _chosen
    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= most:
        raise ValidationError(f"set_num_threads: {threads!r} threads asked for; use a whole number from 1 to {most}")
    _chosen = threads


def get_num_threads() -> int:
    """How many threads kernels run on.

    Example
    >>> get_num_threads() >= 1
    True
    """
    return _chosen


def threading_layer() -> str:
    """Numba's threading layer in use: 'tbb', 'omp' or 'workqueue'."""
    _launcher()
    return numba.threading_layer()


@intrinsic
def _call(typing, kernel, block, task):
    """Call the C function at address `kernel` with (block, task)."""

    def generate(context, builder, signature, args):
        word = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [word, word]).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _launch(kernel, block, tasks):
    if tasks <= 1:  # one task, or a negative number: so many, all on this thread
        for task in range(abs(tasks)):
            _call(kernel, block, task)
        return
    for task in numba.prange(tasks):
        _call(kernel, block, task)


def _prefer_tbb() -> None:
    """Choose the threading layer, before Numba does.

    TBB is right when several Python threads launch at once and after a fork; its package keeps the library where the
    system does not look, so it is loaded here by path.  OpenMP spins between launches, which costs 10 ms a launch when
    another process is busy; told to wait passively it costs 40 us.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.get("NUMBA_THREADING_LAYER"):
        return
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or []:
            if file.name in ("libtbb.so.12", "tbb12.dll"):
                ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
    numba.config.THREADING_LAYER_PRIORITY = ["tbb", "omp", "workqueue"]


_starting = threading.Lock()


def _launcher():
    """The launcher; made once, also when two threads ask for it at the same time."""
    if not _made:
        with _starting:
            if not _made:
                _made.append(_make_launcher())
    return _made[0]


_made: list[Any] = []


def _make_launcher():
    """The compiled launcher as a function of (kernel address, argument block, number of tasks)."""
    _prefer_tbb()
    numba.get_num_threads()  # starts the threading layer, whose symbols the launcher links against
    address = cache.load("launch")
    if address is None:
        signature = types.void(types.int64, types.int64, types.int64)
        address = cache.save("launch", numba.cfunc(signature, parallel=True)(_launch))
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64)(address)
    return _locked(function) if numba.threading_layer() == "workqueue" else function


def _locked(function):
    """The workqueue layer aborts the process when two threads launch at once: one after the other, then."""
    lock = threading.Lock()

    def run(*arguments):
        with lock:
            function(*arguments)

    return run


def launch(kernel: int, block: bytes, tasks: int) -> None:
    """Run tasks 0 ... tasks-1 of the kernel at address `kernel` with one argument block; all on the calling thread if
    `tasks` is negative."""
    if local.count != _chosen and not _ready():
        return
    _launcher()(kernel, block, tasks)


def _ready() -> bool:
    """Tell Numba the number of threads for this Python thread; False if kernels are not to run here."""
    if local.rehearsal is not None:
        return False
    _launcher()
    numba.set_num_threads(_chosen)
    local.count = _chosen
    return True
