"""The functions of the CUDA driver that minigrad calls, without a GPU: memory is the host's, and a kernel is a Python
function that Numba's simulator runs, thread by thread.

Names, arguments and results are those of `cuda.bindings.driver`, so that all above is the same with and without a GPU.
Work happens at once: a stream is only a number, an event a time.
"""

import ctypes
import enum
import threading
import time
from itertools import count
from typing import Any

import numpy as np

TOTAL = 2**30  # bytes of the device, to try what happens when they run out
FILL = 0xFF  # of memory that holds nothing yet: as floats, nan

_numbers = count(1)
_lock = threading.RLock()  # the simulator runs one kernel at a time
_memory: dict[int, np.ndarray] = {}
_streams: dict[int, list[Any] | None] = {}  # what a stream has captured, None if it runs at once
_graphs: dict[int, list[Any]] = {}
_events: dict[int, float] = {}


class CUdevice_attribute(enum.IntEnum):
    """What is asked of a device."""

    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CUstreamCaptureMode(enum.IntEnum):
    """Whose other calls a capture forbids."""

    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


ATTRIBUTES = {16: 2, 75: 9, 76: 0}


def cuInit(flags):
    return (0,)


def cuDriverGetVersion():
    return 0, 0


def cuDeviceGetCount():
    return 0, 1


def cuDeviceGet(ordinal):
    return 0, ordinal


def cuDeviceGetName(length, device):
    return 0, b"Numba's simulator"


def cuDeviceGetAttribute(attribute, device):
    return 0, ATTRIBUTES[int(attribute)]


def cuDevicePrimaryCtxRetain(device):
    return 0, 1


def cuCtxSetCurrent(context):
    return (0,)


# ---- memory


def cuMemGetInfo():
    return 0, TOTAL - sum(block.nbytes for block in _memory.values()), TOTAL


def cuMemAlloc(size):
    with _lock:
        if size > cuMemGetInfo()[1]:
            return 2, 0
        block = np.full(size, FILL, np.uint8)
        _memory[block.ctypes.data] = block
        return 0, block.ctypes.data


def cuMemFree(address):
    with _lock:
        del _memory[int(address)]
    return (0,)


def cuCtxSynchronize():
    return (0,)


def cuMemAllocHost(size):
    block = np.zeros(size, np.uint8)
    _pinned[block.ctypes.data] = block
    return 0, block.ctypes.data


def cuMemFreeHost(address):
    del _pinned[int(address)]
    return (0,)


_pinned: dict[int, np.ndarray] = {}


def _copy(target, source, size, stream):
    _do(stream, lambda: ctypes.memmove(int(target), int(source), size))
    return (0,)


cuMemcpyHtoDAsync = cuMemcpyDtoHAsync = cuMemcpyDtoDAsync = _copy  # noqa: N816


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


def cuEventSynchronize(event):
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
    made = next(_numbers)
    _graphs[made] = _graphs[graph]
    return 0, made


def cuGraphLaunch(graph, stream):
    with _lock:
        for work in _graphs[graph]:
            work()
    return (0,)


def cuGraphDestroy(graph):
    del _graphs[graph]
    return (0,)


cuGraphExecDestroy = cuGraphDestroy  # noqa: N816


def _do(stream, work):
    """Run something now, or keep it where the stream is being captured."""
    if _streams[stream] is not None:
        _streams[stream].append(work)
    else:
        with _lock:
            work()


# ---- kernels


def cuModuleLoadData(image):
    """Here the image is the Python function and the kinds of its arguments."""
    return 0, image


def cuModuleGetFunction(module, name):
    return 0, module


def cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, addresses, extra):
    if gx > 2**31 - 1 or max(gy, gz) > 65_535 or bx * by * bz > 1024 or min(gx, gy, gz, bx, by, bz) < 1:
        return (1,)
    body, kinds = function
    arguments = _decoded(kinds, addresses)
    _do(stream, lambda: _run(body, (gx, gy, gz), (bx, by, bz), arguments))
    return (0,)


def _run(body, grid, block, arguments):
    """Run all blocks one after the other; the threads of a block take turns, from one barrier to the next.

    Numba's own simulator starts threads for each block and asks them again and again whether they have come to a
    barrier, which takes ten times as long.  What a kernel sees of `cuda` is its.
    """
    from numba.cuda.simulator.kernel import _push_kernel_context
    from numba.cuda.simulator.kernelapi import FakeCUDAModule, swapped_cuda_module

    module = FakeCUDAModule(grid, block, 0)
    team: list[_Thread] = []
    for z, y, x in np.ndindex(*reversed(block)):
        team.append(_Thread(team, (x, y, z), grid, body, arguments))
    with _push_kernel_context(module), swapped_cuda_module(body, module):
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
    """One thread of a block, for all blocks; it runs while it has the turn."""

    def __init__(self, team, place, grid, body, arguments):
        from numba.cuda.simulator.kernelapi import Dim3

        super().__init__(daemon=True)
        self.team, self.number, self.grid, self.body, self.arguments = team, len(team), grid, body, arguments
        self.threadIdx, self.thread_id, self.dim3 = Dim3(*place), self.number, Dim3
        self.turn, self.barriers, self.error, self.done = threading.Lock(), 0, None, False
        self.turn.acquire()

    def run(self):
        """All blocks, with a barrier between one and the next."""
        self.turn.acquire()
        try:
            with np.errstate(all="ignore"):
                for place in np.ndindex(*self.grid):
                    self.blockIdx = self.dim3(*place)
                    self.body(*self.arguments)
                    self.syncthreads()
        except BaseException as error:
            self.error = error
        self.done = True
        self._pass_on()

    def syncthreads(self):
        """Let all others come as far."""
        self.barriers += 1
        self._pass_on()
        self.turn.acquire()
        if any(thread.error for thread in self.team):
            raise RuntimeError("another thread of the block failed")

    def _pass_on(self):
        """Give the turn to the next thread that has not ended, perhaps this one."""
        behind = self.team[self.number + 1 :] + self.team[: self.number + 1]
        waiting = [thread for thread in behind if not thread.done]
        if waiting:
            waiting[0].turn.release()


def _decoded(kinds, addresses):
    """The arguments of a launch from the addresses of its words, laid out as Numba's kernels read them."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
    from numba.cuda.simulator.kernel import FakeWithinKernelCUDAArray

    words = iter((ctypes.c_void_p * _words(kinds)).from_address(addresses))

    def word(kind=ctypes.c_int64):
        return kind.from_address(next(words)).value

    found = []
    for kind in kinds:
        if not isinstance(kind, tuple):
            found.append(np.dtype(kind).type(word(np.ctypeslib.as_ctypes_type(kind))))
            continue
        dtype, ndim = kind
        _, _, size, itemsize, data = (word() for _ in range(5))
        shape, strides = tuple([word() for _ in range(ndim)]), tuple([word() for _ in range(ndim)])
        assert itemsize == dtype.itemsize
        array = np.empty(shape, dtype)
        if size:
            buffer = (ctypes.c_char * (size * itemsize)).from_address(data)
            array = np.ndarray(shape, dtype, buffer)
        assert array.strides == strides or not size, "kernels take arrays in C order"
        found.append(FakeWithinKernelCUDAArray(FakeCUDAArray(array)))
    return [int(value) if isinstance(value, np.integer) else value for value in found]


def _words(kinds):
    return sum(5 + 2 * kind[1] if isinstance(kind, tuple) else 1 for kind in kinds)
