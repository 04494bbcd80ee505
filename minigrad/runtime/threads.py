"""Threads: which threading layer Numba uses, how many threads, and what each knows for itself.

Kernels are serial; the executor runs the tasks of any of them in parallel, by address.  It is the only function
compiled with parallel=True, because that costs 0.7-2.7 s where a serial kernel costs 0.2-0.3 s.
"""

import contextlib
import ctypes
import importlib.metadata
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import types

from ..errors import DeviceError, DtypeError, ValidationError
from . import cache, executor, fork, target


class Observer:
    """Sees what a Python thread does while it stands in `local.observer`.  This one takes note of nothing."""

    def launch(self, kernel: Any, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """A kernel is to run."""

    def host_call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """A Python function was called that changes arrays, checks them, or depends on more than them."""

    def allocated(self, array: Any) -> None:
        """An array was made that holds nothing yet."""

    def pool(self, machine: Any) -> Any:
        """Where memory of the GPU comes from meanwhile."""
        return machine.pool

    def keep(self, value: Any) -> None:
        """Something is used that would be gone otherwise."""

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """An operation is to run."""
        return operation.forward(device, *arrays, **settings)

    def uses(self, thing: Any) -> None:
        """What is done depends on the state of a thing; see ../dependency.py."""

    def spoil(self, what: str) -> None:
        """Something was changed in Python that a replay would not change."""

    def makes(self, thing: Any, constant: bool) -> None:
        """A tensor or a module was made; a constant tensor of what Python knows, every other one of tensors."""

    def writes(self, tensor: Any) -> None:
        """A tensor is about to be changed in place."""

    def read_grad(self, tensor: Any) -> None:
        """The gradient of a tensor is used."""

    def write_grad(self, tensor: Any) -> None:
        """The gradient of a tensor is replaced."""

    def refuse(self, where: str, advice: str) -> None:
        """Something is done that could not be repeated."""


IDLE = Observer()  # stands in `local.observer` while nothing is observed


class _Local(threading.local):
    """What each Python thread has for itself."""

    count = 0  # the number of threads that Numba was told for it; 0 if not yet
    observer: Observer = IDLE


def call_on_host(function: Callable[..., object], *arguments: Any) -> None:
    """Call a Python function on arrays, and again whenever a recording of it is replayed.

    As it is called again, the recording does not depend on what it reads.
    """
    observer = local.observer
    local.observer = IDLE
    try:
        function(*arguments)
    finally:
        local.observer = observer
    observer.host_call(function, arguments)


local = _Local()
_most = _chosen = numba.config.NUMBA_NUM_THREADS
_control = executor.FLUSH


def set_num_threads(threads: int) -> None:
    """Run kernels on `threads` threads, 1 to the number of cores.  Results do not depend on it, to the last bit.

    A process that was forked from one that had run kernels has one thread for them.

    Raises   ValidationError   fewer than 1 or more than there are
    Example
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _chosen
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _most:
        advice = "; this process was forked, start it with the method 'spawn' for more" if _forked else ""
        raise ValidationError(
            f"set_num_threads: {threads!r} threads asked for; use a whole number from 1 to {_most}{advice}"
        )
    _chosen = threads


def get_num_threads() -> int:
    """How many threads kernels run on.

    Example
    >>> get_num_threads() >= 1
    True
    """
    return _chosen


def set_flush_denormal(mode: bool) -> bool:
    """Take denormal numbers for 0 on device 'cpu', in what kernels read and in what they write; returns whether this
    CPU can.

    mode   True, as at the start: float32 below 1.2e-38 and float64 below 2.2e-308 in size count as 0.  False: they are
           computed with, as IEEE 754 says, and a kernel that meets many of them takes up to a hundred times as long

    It holds in all threads and for kernels only: outside, and on device 'numpy', arithmetic is IEEE 754's.  Elements
    that are only moved keep their values.

    Raises   DtypeError   mode is not a bool
    Example
    >>> import minigrad as mg
    >>> tiny = mg.tensor([1e-39])
    >>> (tiny * 1).item()
    0.0
    >>> kept = mg.set_flush_denormal(False)
    >>> (tiny * 1).item() > 0
    True
    >>> able = mg.set_flush_denormal(True)
    """
    global _control
    if not isinstance(mode, bool):
        raise DtypeError(f"set_flush_denormal: mode is {mode!r}; give True or False")
    _control = executor.FLUSH if mode else executor.IEEE
    return executor.FLUSH != executor.IEEE


def threading_layer() -> str:
    """Numba's threading layer in use: 'tbb', 'omp' or 'workqueue'."""
    _executor()
    return numba.threading_layer()


def _start_layer() -> None:
    """Start Numba's threading layer.

    TBB is right when several Python threads launch at once; its package keeps the library where the system does not
    look, so it is loaded here by path.  OpenMP spins between launches, which costs 10 ms a launch when another process
    is busy; told to wait passively it costs 40 us.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    asked = str(numba.config.THREADING_LAYER).lower()
    if asked not in LAYERS:
        raise ValidationError(f"minigrad: NUMBA_THREADING_LAYER is {asked!r}; unset it, or use {', '.join(LAYERS)}")
    if asked not in ("omp", "workqueue"):
        _load_tbb()
    try:
        numba.get_num_threads()
    except ValueError as error:
        raise DeviceError(
            f"minigrad: Numba cannot start the threading layer {asked!r}; install the package tbb, or set "
            f"NUMBA_THREADING_LAYER=workqueue ({error})"
        ) from error


LAYERS = ("default", "tbb", "omp", "workqueue", "safe", "threadsafe", "forksafe")  # Numba's names


def _load_tbb() -> None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or []:
            if file.name in ("libtbb.so.12", "tbb12.dll"):
                ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)


_starting = threading.Lock()
_made: list[Any] = []


def _executor():
    """The compiled function of (program, its size in bytes, threads, control word); made once, also when two threads
    ask at once."""
    if not _made:
        with _starting:
            if not _made:
                _made.append(_make_executor())
    return _made[0]


def _make_executor():
    target.context()
    _start_layer()  # whose symbols the executor links against
    executor.name_symbols()
    with cache.compiling:
        address = cache.load(cache.EXECUTOR)
        if address is None:
            signature = types.void(types.int64, types.int64, types.int64, types.int64)
            address = cache.save(cache.EXECUTOR, numba.cfunc(signature, parallel=True)(executor.execute))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)(address)
    return _one_at_a_time(function) if numba.threading_layer() == "workqueue" else function


def _one_at_a_time(function):
    """The workqueue layer aborts the process when two threads launch at once: one after the other, then."""
    lock = fork.Lock()

    def run(*arguments):
        with lock:
            function(*arguments)

    return run


def execute(program: bytes | int, size: int) -> None:
    """Run all launches of a program, given as bytes or by its address; `size` in bytes."""
    if local.count != _chosen:  # this Python thread has not told Numba yet
        _executor()
        if not _forked:
            numba.set_num_threads(_chosen)
        local.count = _chosen
    _executor()(program, size, _chosen, _control)


# ---- forks


_forked = False  # from a process that had threads for its kernels: they are not here, and the layer counts on them


def _alone() -> None:
    """In a process just forked: run kernels on the Python thread that launches them, without the threading layer."""
    global _forked, _most, _chosen
    with contextlib.suppress(ValueError):  # the layer was not started, so it can be
        numba.threading_layer()
        _forked, _most, _chosen = True, 1, 1


fork.wait_for(lambda: _starting)
fork.at_fork(after_in_child=_alone)
