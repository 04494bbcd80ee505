"""Threads: the number of threads, the executor and its workers, and the state of each Python thread.

Kernels are serial functions.  The executor runs the tasks of any kernel, on the thread that launches it and on workers.
"""

import _thread
import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from ..checks import brief
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

    observer: Observer = IDLE
    in_module = False  # whether a module is being called, see nn/calls.py
    compile_ahead: Callable[[], object] | None = None  # is called once, when a kernel is missing; see ../precompile.py


local = _Local()
_max_threads = _num_threads = numba.config.NUMBA_NUM_THREADS
_float_control = executor.FLUSH_DENORMALS


def call_unobserved(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function whose launches no observer sees."""
    observer, local.observer = local.observer, IDLE
    try:
        return function(*arguments)
    finally:
        local.observer = observer


def call_on_host(function: Callable[..., object], *arguments: Any) -> None:
    """Call a Python function on arrays; a replay of a recording calls it again.

    The recording does not depend on what the function reads, because each replay reads it again.
    """
    if local.observer.computes:
        call_unobserved(function, *arguments)
        local.observer.host_call(function, arguments)


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
        raise DtypeError(f"set_flush_denormal: mode is {brief(mode)}; give True or False")
    _float_control = executor.FLUSH_DENORMALS if mode else executor.IEEE
    return executor.FLUSH_DENORMALS != executor.IEEE


# ---- the executor and its workers


class _Semaphore:
    """A semaphore of the operating system.

    handle       its handle or address
    wait, post   addresses of the functions for it
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            system = ctypes.WinDLL("kernel32")
            self.handle = self._create(system.CreateSemaphoreW, 0, 0, 2**30, 0)
            functions = system.WaitForSingleObject, system.ReleaseSemaphore
        elif sys.platform == "darwin":
            system = ctypes.CDLL(None)
            self.handle = self._create(system.dispatch_semaphore_create, 0)
            functions = system.dispatch_semaphore_wait, system.dispatch_semaphore_signal
        else:
            system, self.memory = ctypes.CDLL(None), ctypes.create_string_buffer(64)
            self.handle = ctypes.addressof(self.memory)
            system.sem_init(self.memory, 0, 0)
            functions = system.sem_wait, system.sem_post
        self.wait, self.post = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)

    def _create(self, function: Any, *arguments: int) -> int:
        function.restype, function.argtypes = ctypes.c_size_t, [ctypes.c_size_t] * len(arguments)
        return function(*arguments)


@functools.cache
def _compiled_functions() -> tuple[int, Any, Any]:
    """The executor's functions: the address of run_share; `execute` and `serve`, to be called."""
    with cache.compiler_lock:  # a fork waits for it
        target.target_context()
        view.check_array_descriptor()
        executor.add_symbols()
    address, number = ctypes.c_size_t, ctypes.c_int64
    execute = ctypes.CFUNCTYPE(number, address, address, ctypes.c_void_p, number, number, number, address)
    serve = ctypes.CFUNCTYPE(None, address, address, number, address)
    functions = [
        _load_or_compile(function, returned)
        for function, returned in (
            (executor.run_share, types.void),
            (executor.execute, types.int64),
            (executor.serve, types.void),
        )
    ]
    return functions[0], execute(functions[1]), serve(functions[2])


def _load_or_compile(function: Any, returned: Any) -> int:
    with cache.compiler_lock:
        address = cache.load_function(function.__name__)
        if address is None:
            arguments = [types.int64] * function.__code__.co_argcount
            address = cache.save_function(function.__name__, numba.cfunc(returned(*arguments))(function))
    return address


class _Executor:
    """The executor: its functions, the memory that its threads share, and the workers, which start when needed.

    lines        address of the workers' lines
    slots        addresses of the slots that are free
    counters     memory of the counters, by slot
    semaphores   one for each worker
    """

    def __init__(self) -> None:
        self.run_share, self.execute, self.serve = _compiled_functions()
        line = executor.CACHE_LINE_BYTES
        self.memory = np.zeros((executor.SLOTS * executor.SLOT_BYTES + (_max_threads + 1) * line) // 8, np.int64)
        self.first = -(-view.data_address(self.memory) // line) * line
        self.lines = self.first + executor.SLOTS * executor.SLOT_BYTES
        self.slots = list(range(self.first, self.lines, executor.SLOT_BYTES))
        self.counters: dict[int, np.ndarray] = {}
        self.semaphores: list[_Semaphore] = []
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # workers use the memory until the process has ended

    def start_workers(self, count: int) -> None:
        """Start workers until there are `count`."""
        with _start_lock:
            while len(self.semaphores) < count:
                semaphore, number = _Semaphore(), len(self.semaphores) + 1
                line = self.lines + (number - 1) * executor.CACHE_LINE_BYTES
                _write(line + executor.SEMAPHORE, semaphore.handle)
                _write(line + executor.WAIT, semaphore.wait)
                _write(line + executor.POST, semaphore.post)
                try:  # not a threading.Thread: it runs no Python, and the end of the process does not wait for it
                    _thread.start_new_thread(self.serve, (self.run_share, self.first, number, line))
                except RuntimeError as error:
                    raise DeviceError(f"minigrad: {error}; use mg.set_num_threads({number})") from error
                self.semaphores.append(semaphore)

    def provide_counters(self, slot: int, size: int) -> None:
        """Give a slot memory for counters, `size` in bytes."""
        _write(slot + executor.CAPACITY, 0)
        self.counters[slot] = np.empty(size // 8 + 8, np.int64)
        _write(slot + executor.COUNTERS, -(-view.data_address(self.counters[slot]) // 64) * 64)
        _write(slot + executor.CAPACITY, size)


def _write(address: int, number: int) -> None:
    ctypes.c_int64.from_address(address).value = number


_start_lock = threading.RLock()  # a signal handler may launch kernels while this thread holds it
_executor: _Executor | None = None


def _get_executor() -> _Executor:
    global _executor
    if _executor is None:
        _compiled_functions()  # before the lock: compiling takes another one
        with _start_lock:
            made = _executor or _Executor()
            _executor = _executor or made
    return _executor


def execute(program: bytes | int, size: int) -> None:
    """Run all launches of a program, given as bytes or by its address; `size` in bytes."""
    found, threads = _executor or _get_executor(), _num_threads
    if len(found.semaphores) < threads - 1:
        found.start_workers(threads - 1)
    try:
        slot = found.slots.pop()
    except IndexError:  # as many programs are running as there are slots
        found.execute(found.run_share, 0, program, size, 1, _float_control, 0)
        return
    try:
        while needed := found.execute(found.run_share, slot, program, size, threads, _float_control, found.lines):
            found.provide_counters(slot, needed)
    finally:
        found.slots.append(slot)


# ---- forks

_forked = False  # whether this is a child of a process that had workers; it has none of them


def _use_one_thread() -> None:
    """After a fork, in the child: run kernels on the Python thread that launches them."""
    global _forked, _max_threads, _num_threads, _executor
    if _executor is not None:
        _forked, _max_threads, _num_threads, _executor = True, 1, 1, None


fork.wait_for(lambda: _start_lock)
fork.at_fork(after_in_child=_use_one_thread)
