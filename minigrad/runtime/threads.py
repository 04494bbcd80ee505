"""Threads: Numba's threading layer, the number of threads, and the state of each Python thread.

Kernels are serial functions.  The executor, which runs the tasks of any kernel in parallel, is the only function
compiled with parallel=True: that takes 0.7-2.7 s, a serial kernel 0.2-0.3 s.
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
from . import cache, executor, fork, target, view


class Observer:
    """Sees what a Python thread does while it is `local.observer`.  This class notes nothing."""

    computes = True  # whether kernels and functions on the host run
    keeps_awake = False  # whether launches will follow each other so quickly that threads do not fall asleep

    def launch(self, kernel: Any, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a launch; called in place of the launch."""
        kernel.replay(address, tasks, arguments)

    def host_call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """`call_on_host` has called a function."""

    def allocated(self, array: Any) -> None:
        """An array was allocated; its memory is uninitialised."""

    def pool(self, machine: Any) -> Any:
        """The pool from which GPU memory is allocated."""
        return machine.pool

    def keep(self, value: Any) -> None:
        """A launch uses a value that nothing else keeps."""

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation; called in place of its forward."""
        return operation.forward(device, *arrays, **settings)

    def uses(self, thing: Any) -> None:
        """The state of a dependency is read; see ../dependency.py."""

    def spoil(self, what: str) -> None:
        """Python changed a value, which a replay would not change."""

    def makes(self, thing: Any, constant: bool) -> None:
        """A tensor or a module was made; `constant` if it is a tensor of Python values, not of other tensors."""

    def writes(self, tensor: Any) -> None:
        """A tensor is about to be changed in place."""

    def read_grad(self, tensor: Any) -> None:
        """The gradient of a tensor is read."""

    def write_grad(self, tensor: Any) -> None:
        """The gradient of a tensor is replaced."""

    def refuse(self, where: str, advice: str) -> None:
        """Something is done that a replay could not do again."""


IDLE = Observer()  # local.observer of a thread that is not observed


class _Local(threading.local):
    """The state of each Python thread."""

    num_threads = 0  # the number that Numba was told in this thread; 0 before the first launch
    observer: Observer = IDLE
    in_module = False  # whether a module is being called, see nn/calls.py
    compile_ahead: Callable[[], object] | None = None  # is called once, when a kernel is missing; see ../precompile.py


local = _Local()
_max_threads = _num_threads = numba.config.NUMBA_NUM_THREADS
_float_control = executor.FLUSH_DENORMALS


def call_on_host(function: Callable[..., object], *arguments: Any) -> None:
    """Call a Python function on arrays; a replay of a recording calls it again.

    The recording does not depend on what the function reads, because each replay reads it again.
    """
    if not local.observer.computes:
        return
    observer, local.observer = local.observer, IDLE
    try:
        function(*arguments)
    finally:
        local.observer = observer
    observer.host_call(function, arguments)


def set_num_threads(threads: int) -> None:
    """Set the number of threads that run kernels.  Results are the same, to the last bit, for every number.

    threads   1 to the number of cores, or NUMBA_NUM_THREADS; 1 in a process forked from one that has run kernels

    Raises   ValidationError   threads is out of this range
    Example
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _num_threads
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _max_threads:
        advice = "; this process was forked, start it with the method 'spawn' for more" if _forked else ""
        raise ValidationError(
            f"set_num_threads: {threads!r} threads asked for; use a whole number from 1 to {_max_threads}{advice}"
        )
    _num_threads = threads


def get_num_threads() -> int:
    """Return the number of threads that run kernels.

    Example
    >>> get_num_threads() >= 1
    True
    """
    return _num_threads


def set_flush_denormal(mode: bool) -> bool:
    """Choose whether kernels on device 'cpu' treat denormal numbers, which they read or write, as 0.

    mode      True, the default: float32 below 1.2e-38 and float64 below 2.2e-308 in size count as 0.  False: they are
              computed as IEEE 754 says; a kernel that meets many of them takes up to a hundred times as long
    returns   whether this CPU can flush denormal numbers

    The mode holds for kernels in all threads.  Python and device 'numpy' always follow IEEE 754.  Elements that are
    only moved keep their values.

    Raises   DtypeError   mode is not a bool
    Example
    >>> import minigrad as mg
    >>> tiny = mg.tensor([1e-39])
    >>> (tiny * 1).item()
    0.0
    >>> supported = mg.set_flush_denormal(False)
    >>> (tiny * 1).item() > 0
    True
    >>> supported = mg.set_flush_denormal(True)
    """
    global _float_control
    if not isinstance(mode, bool):
        raise DtypeError(f"set_flush_denormal: mode is {mode!r}; give True or False")
    _float_control = executor.FLUSH_DENORMALS if mode else executor.IEEE
    return executor.FLUSH_DENORMALS != executor.IEEE


def threading_layer() -> str:
    """Return Numba's threading layer in use: 'tbb', 'omp' or 'workqueue'."""
    _get_executor()
    return numba.threading_layer()


LAYERS = ("default", "tbb", "omp", "workqueue", "safe", "threadsafe", "forksafe")  # Numba's names


def _start_layer() -> None:
    """Start Numba's threading layer.

    TBB supports launches from several Python threads at once.  Its package keeps the library outside the system's
    search path, so it is loaded here by path.  OpenMP by default spins between launches, which makes a launch take 10
    ms while another process is busy, and 40 us with the wait policy PASSIVE.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    layer = str(numba.config.THREADING_LAYER).lower()
    if layer not in LAYERS:
        raise ValidationError(f"minigrad: NUMBA_THREADING_LAYER is {layer!r}; unset it, or use {', '.join(LAYERS)}")
    if layer not in ("omp", "workqueue"):
        _load_tbb()
    try:
        numba.get_num_threads()
    except ValueError as error:
        raise DeviceError(
            f"minigrad: Numba cannot start the threading layer {layer!r}; install the package tbb, or set "
            f"NUMBA_THREADING_LAYER=workqueue ({error})"
        ) from error


def _load_tbb() -> None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or []:
            if file.name in ("libtbb.so.12", "tbb12.dll"):
                ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)


# ---- the executor

_start_lock = threading.Lock()
_executor: Callable[..., None] | None = None


def _get_executor():
    """The compiled executor, a function of (program, its size in bytes, threads, control word)."""
    global _executor
    if _executor is None:
        with _start_lock:
            if _executor is None:
                _executor = _make_executor()
    return _executor


def _make_executor():
    target.target_context()
    view.check_array_descriptor()
    _start_layer()  # before linking: the executor uses its symbols
    executor.add_symbols()
    with cache.compiler_lock:
        address = cache.load_function(cache.EXECUTOR)
        if address is None:
            signature = types.void(types.int64, types.int64, types.int64, types.int64)
            address = cache.save_function(cache.EXECUTOR, numba.cfunc(signature, parallel=True)(executor.execute))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)(address)
    return _add_lock(function) if numba.threading_layer() == "workqueue" else function


def _add_lock(function):
    """The function behind a lock: two launches at once abort the process in the workqueue layer."""
    lock = fork.Lock()

    def run(*arguments):
        with lock:
            function(*arguments)

    return run


def execute(program: bytes | int, size: int) -> None:
    """Run all launches of a program, given as bytes or by its address; `size` in bytes."""
    if local.num_threads != _num_threads:
        _get_executor()
        if not _forked:
            numba.set_num_threads(_num_threads)
        local.num_threads = _num_threads
    _get_executor()(program, size, _num_threads, _float_control)


# ---- forks


_forked = False  # whether this is a child of a process whose threading layer had started; it has none of its threads


def _use_one_thread() -> None:
    """After a fork, in the child: run kernels on the Python thread that launches them."""
    global _forked, _max_threads, _num_threads
    with contextlib.suppress(ValueError):  # raised if the layer was not started; then the child can start it
        numba.threading_layer()
        _forked, _max_threads, _num_threads = True, 1, 1


fork.wait_for(lambda: _start_lock)
fork.at_fork(after_in_child=_use_one_thread)
