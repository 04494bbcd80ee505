"""Replaces the CUDA driver where there is no GPU: device memory is host memory, and kernels run as Python functions.

Functions have the names, arguments and results of those in `cuda.bindings.driver`, so the rest of the backend is the
same with and without a GPU.  Work runs at once: a stream is a number, and an event is a time.
"""
# ruff: noqa: N816 - the names are the driver's

import ctypes
import enum
import functools
import re
import sys
import threading
import time
from itertools import count
from typing import Any

import numpy as np

TOTAL_BYTES = 2**30  # of device memory, so that tests can run out of it
FILL_BYTE = 0xFF  # of uninitialised memory: as floats, nan

NEED_NO_CONTEXT = {"cuInit", "cuDriverGetVersion", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"}  # and cuDeviceGet...
INVALID_CONTEXT = 201  # the error of a thread without a current context

_thread = threading.local()  # .context, the current one
_numbers = count(1)
_lock = threading.RLock()  # the simulator runs one kernel at a time
_memory: dict[int, np.ndarray] = {}  # by address
_pinned: dict[int, np.ndarray] = {}  # by address
_streams: dict[int, list[Any] | None] = {}  # the work that a stream has captured; None if it does not capture
_graphs: dict[int, list[Any]] = {}
_events: dict[int, float] = {}


class CUdevice_attribute(enum.IntEnum):
    """Properties of a device."""

    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CUstreamCaptureMode(enum.IntEnum):
    """In which threads a capture forbids other calls."""

    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


ATTRIBUTES = {16: 2, 75: 9, 76: 0}  # 2 multiprocessors, compute capability 9.0


def _return(*values):
    """A function of the driver that only returns values."""
    return lambda *arguments: (0, *values)


cuInit = cuCtxSynchronize = cuEventSynchronize = _return()
cuDriverGetVersion = cuDeviceGet = _return(0)
cuDeviceGetCount = cuDevicePrimaryCtxRetain = _return(1)
cuDeviceGetName = _return(b"Numba's simulator")


def cuDeviceGetAttribute(attribute, device):
    return 0, ATTRIBUTES[int(attribute)]


def cuCtxSetCurrent(context):
    _thread.context = context
    return (0,)


# ---- memory


def cuMemGetInfo():
    return 0, TOTAL_BYTES - sum(block.nbytes for block in _memory.values()), TOTAL_BYTES


def cuMemAlloc(size):
    with _lock:
        if size > cuMemGetInfo()[1]:
            return 2, 0
        block = np.full(size, FILL_BYTE, np.uint8)
        _memory[block.ctypes.data] = block
        return 0, block.ctypes.data


def cuMemFree(address):
    with _lock:
        del _memory[int(address)]
    return (0,)


def cuMemAllocHost(size):
    block = np.zeros(size, np.uint8)
    _pinned[block.ctypes.data] = block
    return 0, block.ctypes.data


def cuMemFreeHost(address):
    del _pinned[int(address)]
    return (0,)


def cuMemcpyHtoDAsync(target, source, size, stream):
    _run_or_capture(stream, lambda: ctypes.memmove(int(target), int(source), size))
    return (0,)


cuMemcpyDtoHAsync = cuMemcpyHtoDAsync


# ---- streams, events and graphs


def cuStreamCreate(flags):
    stream = next(_numbers)
    _streams[stream] = None
    return 0, stream


def cuStreamDestroy(stream):
    del _streams[stream]
    return (0,)


def cuStreamSynchronize(stream):
    return (0,) if _streams[stream] is None else (900,)


def cuEventCreate(flags):
    return 0, next(_numbers)


def cuEventRecord(event, stream):
    _events[event] = time.perf_counter()
    return (0,)


def cuEventDestroy(event):
    _events.pop(event, None)
    return (0,)


def cuEventElapsedTime(start, end):
    return 0, 1e3 * (_events[end] - _events[start])


def cuStreamBeginCapture(stream, mode):
    _streams[stream] = []
    return (0,)


def cuStreamEndCapture(stream):
    graph = next(_numbers)
    _graphs[graph], _streams[stream] = _streams[stream] or [], None
    return 0, graph


def cuGraphInstantiate(graph, flags):
    executable = next(_numbers)
    _graphs[executable] = _graphs[graph]
    return 0, executable


def cuGraphLaunch(graph, stream):
    with _lock:
        for work in _graphs[graph]:
            work()
    return (0,)


def cuGraphDestroy(graph):
    del _graphs[graph]
    return (0,)


cuGraphExecDestroy = cuGraphDestroy


def _run_or_capture(stream, work):
    """Run work now, or add it to the capture of its stream."""
    if _streams[stream] is not None:
        _streams[stream].append(work)
    else:
        with _lock:
            work()


# ---- kernels


def make_cuda():
    """What kernels see as `cuda`: Numba's fake module, which each launch sets to its own grid and block."""
    global _cuda
    from numba.cuda.simulator.kernelapi import FakeCUDAModule

    _cuda = FakeCUDAModule((1, 1, 1), (1, 1, 1), 0)
    return _cuda


def cuModuleLoadData(image):
    """The image is a Python function and the types of its arguments."""
    return 0, image


def cuModuleGetFunction(module, name):
    return 0, module


class _SharedMemory:
    """The shared memory of a launch: for each line of the source that asks for it an array of each size and dtype."""

    def __init__(self):
        self.arrays = {}

    def array(self, shape, dtype):
        """Return the array for the line that calls this."""
        caller = sys._getframe(1)
        key = caller.f_code, caller.f_lineno, shape, np.dtype(dtype)
        return self.arrays.setdefault(key, np.empty(shape, dtype))


def cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, addresses, extra):
    if gx > 2**31 - 1 or max(gy, gz) > 65_535 or bx * by * bz > 1024 or min(gx, gy, gz, bx, by, bz) < 1:
        return (1,)
    body, kinds = function
    arguments = _unpack_arguments(kinds, addresses)
    _run_or_capture(stream, lambda: _run_kernel(body, (gx, gy, gz), (bx, by, bz), arguments))
    return (0,)


def _run_kernel(body, grid, block, arguments):
    """Run all blocks one after the other; the threads of a block take turns, from one barrier to the next.

    Numba's own simulator starts new threads for each block and polls them for barriers, which takes ten times as long.
    """
    _cuda.__init__(grid, block, 0)
    _cuda._shared = _SharedMemory()
    team: list[_Thread] = []
    for z, y, x in np.ndindex(*reversed(block)):
        team.append(_Thread(team, (x, y, z), grid, body, arguments))
    for thread in team:
        thread.start()
    team[0].turn.release()
    for thread in team:
        thread.join()
    errors = [thread.error for thread in team if thread.error is not None]
    if errors:
        raise next((error for error in errors if type(error) is not RuntimeError), errors[0])
    assert len({thread.barriers for thread in team}) == 1, "threads of a block met different numbers of barriers"


class _Thread(threading.Thread):
    """One thread index, in all blocks; it runs while it has the turn."""

    def __init__(self, team, index, grid, body, arguments):
        from numba.cuda.simulator.kernelapi import Dim3

        super().__init__(daemon=True)
        self.team, self.number, self.grid, self.body, self.arguments = team, len(team), grid, body, arguments
        self.threadIdx, self.thread_id, self.dim3 = Dim3(*index), self.number, Dim3
        self.turn, self.barriers, self.error, self.done = threading.Lock(), 0, None, False
        self.turn.acquire()

    def run(self):
        """Run all blocks, with a barrier after each."""
        self.turn.acquire()
        try:
            with np.errstate(all="ignore"):
                for index in np.ndindex(*self.grid):
                    self.blockIdx = self.dim3(*index)
                    self.body(*self.arguments)
                    self.syncthreads()
        except BaseException as error:
            self.error = error
        self.done = True
        self._pass_turn()

    def syncthreads(self):
        """Wait until all other threads have reached this barrier."""
        self.barriers += 1
        self._pass_turn()
        self.turn.acquire()
        if any(thread.error for thread in self.team):
            raise RuntimeError("another thread of the block failed")

    def _pass_turn(self):
        """Give the turn to the next thread that is not done, which may be this one."""
        following = self.team[self.number + 1 :] + self.team[: self.number + 1]
        waiting = [thread for thread in following if not thread.done]
        if waiting:
            waiting[0].turn.release()


def _unpack_arguments(kinds, addresses):
    """The arguments of a launch from the addresses of its words, in the layout that Numba's kernels read."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
    from numba.cuda.simulator.kernel import FakeWithinKernelCUDAArray

    words = iter((ctypes.c_void_p * _count_words(kinds)).from_address(addresses))

    def read_word(kind=ctypes.c_int64):
        return kind.from_address(next(words)).value

    arguments = []
    for kind in kinds:
        if not isinstance(kind, tuple):
            arguments.append(np.dtype(kind).type(read_word(np.ctypeslib.as_ctypes_type(kind))))
            continue
        dtype, ndim = kind
        _, _, size, itemsize, data = (read_word() for _ in range(5))
        shape, strides = tuple([read_word() for _ in range(ndim)]), tuple([read_word() for _ in range(ndim)])
        assert itemsize == dtype.itemsize
        array = np.empty(shape, dtype)
        if size:
            buffer = (ctypes.c_char * (size * itemsize)).from_address(data)
            array = np.ndarray(shape, dtype, buffer)
        assert array.strides == strides or not size, "kernels take arrays in C order"
        arguments.append(FakeWithinKernelCUDAArray(FakeCUDAArray(array)))
    return [int(value) if isinstance(value, np.integer) else value for value in arguments]


def _count_words(kinds):
    return sum(5 + 2 * kind[1] if isinstance(kind, tuple) else 1 for kind in kinds)


# ---- contexts


def _need_context(function):
    """The function, which fails in a thread without a current context, as the driver's do."""

    @functools.wraps(function)
    def checked(*arguments):
        return function(*arguments) if hasattr(_thread, "context") else (INVALID_CONTEXT,)

    return checked


for _name, _function in list(globals().items()):
    if re.match("cu[A-Z]", _name) and not _name.startswith("cuDeviceGet") and _name not in NEED_NO_CONTEXT:
        globals()[_name] = _need_context(_function)
