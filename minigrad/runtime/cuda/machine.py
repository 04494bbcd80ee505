"""The GPU in use: its properties, the one stream on which all work runs in order, copies, and its memory."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import DeviceError
from .. import fork
from ..threads import local
from . import driver
from .pool import Pool, Stats, at_address

STAGES = 2  # pinned buffers: one is filled while the other is being copied
ATTRIBUTE = "CU_DEVICE_ATTRIBUTE_"


def threads(wanted: int) -> int:
    """How many threads a block has; in the simulator, where each is one of Python's, few."""
    return min(wanted, 16) if driver.SIMULATED else wanted


class Machine:
    """The first GPU that CUDA_VISIBLE_DEVICES lets us see.

    Raises   DeviceError   no driver, no GPU, or one that is too old
    """

    def __init__(self) -> None:
        driver.check_driver()
        device = driver.call("cuDeviceGet", 0)
        self.name = driver.call("cuDeviceGetName", 256, device).rstrip(b"\0").decode()
        self.capability = tuple(_attribute(device, f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
        self.processors = _attribute(device, "MULTIPROCESSOR_COUNT")
        if self.capability < driver.OLDEST:
            raise DeviceError(
                f"device 'cuda': looked for a GPU of compute capability {_dotted(driver.OLDEST)} or more: found "
                f"{self.name} with {_dotted(self.capability)}; use device 'cpu'"
            )
        self.context = driver.call("cuDevicePrimaryCtxRetain", device)
        self._entered = threading.local()
        self.enter()
        self.stream = driver.call("cuStreamCreate", 1)  # 1: does not wait for the default stream
        self.stats = Stats()
        self.pool = Pool(self.stats)
        self._stages = [_Stage() for _ in range(STAGES)]
        self._copying = threading.Lock()
        self.threads = threads(256)  # of a block of simple kernels

    def enter(self) -> None:
        """Make the GPU current for this Python thread."""
        if not hasattr(self._entered, "done"):
            driver.call("cuCtxSetCurrent", self.context)
            self._entered.done = True

    def memory(self, nbytes: int) -> Any:
        """A block of memory, from the recording's own pool where a function is being recorded."""
        self.enter()
        return local.observer.pool(self).block(nbytes)

    def new_pool(self) -> Pool:
        """A pool for a recording."""
        return Pool(self.stats, self.pool)

    def send(self, address: int, array: np.ndarray) -> None:
        """Copy a C-contiguous host array to the device, through pinned memory: it can be changed at once."""
        self.enter()
        with self._copying:
            self._stages.append(stage := self._stages.pop(0))
            driver.call("cuMemcpyHtoDAsync", address, stage.filled(array), array.nbytes, self.stream)
            stage.mark(self.stream)

    def fetch(self, array: np.ndarray, address: int) -> None:
        """Copy from the device to a C-contiguous host array, and wait for it."""
        self.enter()
        driver.call("cuMemcpyDtoHAsync", array.__array_interface__["data"][0], address, array.nbytes, self.stream)
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self.enter()
        driver.call("cuStreamSynchronize", self.stream)

    def capture(self, work: Callable[[Any], None]) -> Any:
        """The launches that work(stream) makes, as a graph to be launched as a whole.

        The stream is one of its own, so that other threads may go on meanwhile.
        """
        self.enter()
        stream = driver.call("cuStreamCreate", 1)
        driver.call("cuStreamBeginCapture", stream, driver.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            work(stream)
        finally:
            graph = driver.call("cuStreamEndCapture", stream)
            driver.call("cuStreamDestroy", stream)
        made = driver.call("cuGraphInstantiate", graph, 0)
        driver.call("cuGraphDestroy", graph)
        return made

    def replay(self, graph: Any) -> None:
        """Launch a captured graph."""
        self.enter()
        driver.call("cuGraphLaunch", graph, self.stream)

    def elapsed(self, work: Callable[[], object], times: int = 1) -> float:
        """Seconds on the GPU that `work`, done `times` times, takes, by the GPU's own clock."""
        self.enter()
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
        """What there is, in words."""
        free, total = driver.call("cuMemGetInfo")
        version = driver.call("cuDriverGetVersion")
        return {
            "device": self.name,
            "compute capability": _dotted(self.capability),
            "multiprocessors": self.processors,
            "memory": f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            "driver": f"CUDA {version // 1000}.{version % 1000 // 10}",
            **driver.versions(),
        }


class _Stage:
    """Pinned host memory, and an event that says when a copy from it is done."""

    def __init__(self) -> None:
        self.size, self.event = 0, None

    def filled(self, array: np.ndarray) -> int:
        """The address of memory that holds the bytes of an array."""
        if self.event is not None:
            driver.call("cuEventSynchronize", self.event)
        if array.nbytes > self.size:
            if self.size:
                driver.call("cuMemFreeHost", self.address)
            self.size = max(array.nbytes, 4096)
            self.address = int(driver.call("cuMemAllocHost", self.size))
            self.bytes = at_address(self.address, self.size)
        self.bytes[: array.nbytes] = array.reshape(-1).view(np.uint8)
        return self.address

    def mark(self, stream: Any) -> None:
        """The copy was ordered."""
        if self.event is None:
            self.event = driver.call("cuEventCreate", 2)  # 2: no time is taken
        driver.call("cuEventRecord", self.event, stream)


def _attribute(device: Any, name: str) -> int:
    return int(driver.call("cuDeviceGetAttribute", getattr(driver.api.CUdevice_attribute, ATTRIBUTE + name), device))


def _dotted(capability: tuple[int, int]) -> str:
    return "{}.{}".format(*capability)


class _Lost:
    """Stands for the GPU in a process forked from one that used it."""

    def __getattr__(self, name: str) -> Any:
        raise DeviceError(
            "device 'cuda': this process was forked from one that used the GPU, where CUDA does not follow; start it "
            "with multiprocessing's method 'spawn', or use device 'cpu'"
        )


def _forked() -> None:
    if _made:
        _made[0] = _Lost()


_made: list[Any] = []
_making = threading.Lock()
fork.wait_for(lambda: _making)
fork.at_fork(after_in_child=_forked)


def machine() -> Machine:
    """The GPU, found when it is first asked for.

    Raises   DeviceError   as Machine
    """
    if not _made:
        with _making:
            if not _made:
                _made.append(Machine())
    return _made[0]
