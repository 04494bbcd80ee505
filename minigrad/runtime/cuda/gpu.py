"""The GPU in use: its properties, its memory, copies, and the one stream on which all work runs in order."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import DeviceError
from .. import fork
from ..threads import local
from . import driver
from .pool import Block, Pool, Stats, bytes_at

STAGING_BUFFERS = 2  # Python fills one while the GPU copies from the other
STAGING_BYTES = 2**24  # of a buffer, at most: larger arrays are copied in parts, because pinned memory is scarce
NON_BLOCKING = 1  # flag of cuStreamCreate: no waiting for the default stream
DISABLE_TIMING = 2  # flag of cuEventCreate


def limit_threads(count: int) -> int:
    """The threads of a block: `count`, but few in the simulator, where each is a thread of Python."""
    return min(count, 16) if driver.SIMULATED else count


class Gpu:
    """The first GPU that CUDA_VISIBLE_DEVICES allows.

    Raises   DeviceError   no driver, no GPU, or one that is too old
    """

    def __init__(self) -> None:
        driver.check_driver()
        device = driver.call("cuDeviceGet", 0)
        self.name = driver.call("cuDeviceGetName", 256, device).partition(b"\0")[0].decode()  # the rest is undefined
        self.capability = tuple(_get_attribute(device, f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
        self.multiprocessors = _get_attribute(device, "MULTIPROCESSOR_COUNT")
        if self.capability < driver.OLDEST_CAPABILITY:
            raise DeviceError(
                f"device 'cuda': looked for a GPU of compute capability {_dotted(driver.OLDEST_CAPABILITY)} or more: "
                f"found {self.name} with {_dotted(self.capability)}; use device 'cpu'"
            )
        self.context = driver.call("cuDevicePrimaryCtxRetain", device)
        self.make_current()
        self.stream = driver.call("cuStreamCreate", NON_BLOCKING)
        self.stats = Stats()
        self.pool = Pool(self.stats)
        self._staging = [_StagingBuffer() for _ in range(STAGING_BUFFERS)]
        self._copying = threading.Lock()
        self.block_threads = limit_threads(256)  # of kernels that share nothing within a block

    def make_current(self) -> None:
        """Make the GPU's context current in this Python thread."""
        driver.call("cuCtxSetCurrent", self.context)

    def allocate(self, nbytes: int) -> Block:
        """Return uninitialised memory, from the pool of the recording if a function is being recorded."""
        return local.observer.pool(self).allocate(nbytes)

    def new_pool(self) -> Pool:
        """A pool for a recording."""
        return Pool(self.stats, self.pool)

    def copy_to_device(self, address: int, array: np.ndarray) -> None:
        """Copy a C-contiguous host array to the device, through pinned memory: the array may change at once."""
        data = array.reshape(-1).view(np.uint8)
        with self._copying:
            for start in range(0, data.size, STAGING_BYTES):
                part = data[start : start + STAGING_BYTES]
                self._staging.append(buffer := self._staging.pop(0))
                driver.call("cuMemcpyHtoDAsync", address + start, buffer.fill(part), part.size, self.stream)
                buffer.record_copy(self.stream)

    def copy_to_host(self, array: np.ndarray, address: int) -> None:
        """Copy from the device to a C-contiguous host array, and wait for the copy."""
        driver.call("cuMemcpyDtoHAsync", array.__array_interface__["data"][0], address, array.nbytes, self.stream)
        self.synchronize()

    def synchronize(self) -> None:
        """Wait for all work of minigrad."""
        driver.call("cuStreamSynchronize", self.stream)

    def synchronize_all(self) -> None:
        """Wait for all work on all streams, also that of other libraries."""
        driver.call("cuCtxSynchronize")

    def capture_graph(self, work: Callable[[Any], object]) -> Any:
        """Return the launches of work(stream) as a graph.

        They are captured on a new stream, so that other threads can continue on theirs.
        """
        stream = driver.call("cuStreamCreate", NON_BLOCKING)
        try:
            graph = _capture(stream, work)
        finally:
            driver.api.cuStreamDestroy(stream)  # its status must not hide the error of a failed capture
        try:
            return driver.call("cuGraphInstantiate", graph, 0)
        finally:
            driver.api.cuGraphDestroy(graph)

    def destroy_graph(self, graph: Any) -> None:
        """Free a captured graph; a replay that runs ends first."""
        driver.call("cuGraphExecDestroy", graph)

    def launch_graph(self, graph: Any) -> None:
        """Launch a captured graph."""
        driver.call("cuGraphLaunch", graph, self.stream)

    def measure_seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """The seconds that the GPU takes to run `work` `times` times, by its own clock."""
        start, end = driver.call("cuEventCreate", 0), driver.call("cuEventCreate", 0)
        driver.call("cuEventRecord", start, self.stream)
        for _ in range(times):
            work()
        driver.call("cuEventRecord", end, self.stream)
        driver.call("cuEventSynchronize", end)
        seconds = driver.call("cuEventElapsedTime", start, end) / 1e3
        driver.call("cuEventDestroy", start)
        driver.call("cuEventDestroy", end)
        return seconds

    def report(self) -> dict[str, Any]:
        """The GPU, its memory, and the versions of the driver and the packages."""
        free, total = driver.call("cuMemGetInfo")
        return {
            "device": self.name,
            "compute capability": _dotted(self.capability),
            "multiprocessors": self.multiprocessors,
            "memory": f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            "driver": f"CUDA {driver.dotted_version(driver.call('cuDriverGetVersion'))}",
            **driver.versions(),
        }


class _StagingBuffer:
    """Pinned host memory, and an event that marks the end of the last copy from it."""

    def __init__(self) -> None:
        self.size, self.event = 0, None

    def fill(self, array: np.ndarray) -> int:
        """Wait for the last copy, copy an array of bytes into the buffer, and return its address."""
        if self.event is not None:
            driver.call("cuEventSynchronize", self.event)
        if array.nbytes > self.size:
            self._grow(array.nbytes)
        self.bytes[: array.nbytes] = array
        return self.address

    def _grow(self, nbytes: int) -> None:
        if self.size:
            self.size = 0  # if the allocation fails, the buffer has no memory
            driver.call("cuMemFreeHost", self.address)
        size = max(nbytes, 4096)
        self.address = int(driver.call("cuMemAllocHost", size))
        self.size, self.bytes = size, bytes_at(self.address, size)

    def record_copy(self, stream: Any) -> None:
        """Record the event after a copy from the buffer."""
        if self.event is None:
            self.event = driver.call("cuEventCreate", DISABLE_TIMING)
        driver.call("cuEventRecord", self.event, stream)


def _capture(stream: Any, work: Callable[[Any], object]) -> Any:
    """Return the graph of the launches of work(stream)."""
    driver.call("cuStreamBeginCapture", stream, driver.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    try:
        work(stream)
    except BaseException:
        status, graph = driver.api.cuStreamEndCapture(stream)
        if not status:
            driver.api.cuGraphDestroy(graph)
        raise
    return driver.call("cuStreamEndCapture", stream)


def _get_attribute(device: Any, name: str) -> int:
    attribute = getattr(driver.api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(driver.call("cuDeviceGetAttribute", attribute, device))


def _dotted(capability: tuple[int, int]) -> str:
    return "{}.{}".format(*capability)


class _UnusableAfterFork:
    """Replaces the GPU in a process that was forked after its parent had used the GPU."""

    def __getattr__(self, name: str) -> Any:
        raise DeviceError(
            "device 'cuda': this process was forked from one that used the GPU, which CUDA does not support; start it "
            "with multiprocessing's method 'spawn', or use device 'cpu'"
        )


def _disable_after_fork() -> None:
    _thread.gpu = None
    if _gpus:
        _gpus[0] = _UnusableAfterFork()


class _Thread(threading.local):
    """The state of each Python thread: the GPU whose context is current; None before its first use."""

    gpu: Any = None


_thread = _Thread()


_gpus: list[Any] = []  # the GPU, after its first use
_opening = threading.Lock()
fork.wait_for(lambda: _opening)
fork.at_fork(after_in_child=_disable_after_fork)


def current_gpu() -> Gpu:
    """The GPU, opened by the first call; its context is current in the calling thread.

    The functions of the driver need a current context.  So every use of the GPU begins here, in its own thread.

    Raises   DeviceError   see Gpu
    """
    gpu = _thread.gpu
    if gpu is None:
        with _opening:
            if not _gpus:
                _gpus.append(Gpu())
        gpu = _gpus[0]
        gpu.make_current()
        _thread.gpu = gpu
    return gpu
