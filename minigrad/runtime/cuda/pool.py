"""A pool of device memory: freed blocks are kept, because an allocation by the driver stops the GPU.

All work runs on one stream, in order, so a freed block can be reused at once: the work that used it runs before the
work that uses it next.  Each recording has its own pool, which holds memory at the addresses that its replays use.
"""

import contextlib
import ctypes
import threading
from collections import defaultdict
from functools import lru_cache

import numpy as np

from ...errors import DeviceError
from .. import fork
from ..memory import when_full
from . import driver

ALIGNMENT = 512  # bytes: all addresses are multiples
_lock = threading.RLock()  # the garbage collector may free a block while this thread allocates another
fork.wait_for(lambda: _lock)


class OutOfMemoryError(DeviceError, MemoryError):
    """The GPU has no free memory."""


class Stats:
    """Bytes and driver calls, summed over all pools."""

    def __init__(self) -> None:
        self.in_use = self.peak = self.held = self.allocations = self.frees = 0

    def add_in_use(self, size: int) -> None:
        """Count memory that was allocated, or freed if `size` is negative."""
        self.in_use += size
        if self.in_use > self.peak:
            self.peak = self.in_use


Memory = tuple[int, np.ndarray]  # an address, and an array of bytes at it


class Block:
    """Device memory that returns to its pool when deleted.

    bytes   an array at its address; the host must not read it
    """

    __slots__ = ("__weakref__", "address", "bytes", "nbytes", "pool")

    def __init__(self, pool: "Pool", memory: "Memory", nbytes: int):
        self.pool, self.address, self.bytes, self.nbytes = pool, *memory, nbytes

    def __del__(self) -> None:
        if _lock is not None:  # None while Python exits; the driver then frees everything
            self.pool.recycle((self.address, self.bytes))


class Pool:
    """Free memory, by size."""

    def __init__(self, stats: Stats, parent: "Pool | None" = None):
        self.stats, self.parent = stats, parent
        self.free: dict[int, list[Memory]] = defaultdict(list)

    def allocate(self, nbytes: int) -> Block:
        """Return uninitialised memory of at least `nbytes` bytes.

        Raises   OutOfMemoryError   there is not enough, even after all unused memory was returned to the driver
        """
        size = round_up(nbytes)
        with _lock:
            unused = self.free.get(size)
            memory = unused.pop() if unused else self._allocate_from_driver(size)
            self.stats.add_in_use(size)
        return Block(self, memory, nbytes)

    def _allocate_from_driver(self, size: int) -> Memory:
        try:
            address = driver.call("cuMemAlloc", size)
        except DeviceError as error:
            if getattr(error, "code", None) != driver.OUT_OF_MEMORY:
                raise
            (self.parent or self).release_unused()  # not a recording's own: its replays use the memory that it freed
            address = self._retry(size)
        self.stats.held += size
        self.stats.allocations += 1
        return int(address), bytes_at(int(address), size)

    def _retry(self, size: int):
        """Allocate after unused memory was returned, and if need be after all memory that only saves time was."""
        with contextlib.suppress(DeviceError):
            return driver.call("cuMemAlloc", size)
        for give_up in when_full:
            give_up()
        (self.parent or self).release_unused()
        try:
            return driver.call("cuMemAlloc", size)
        except DeviceError:
            free, total = driver.call("cuMemGetInfo")
            raise OutOfMemoryError(
                f"device 'cuda': out of memory: {size:,} bytes requested; {self.stats.in_use:,} in use by minigrad, "
                f"{free:,} of {total:,} free on the device; use a smaller batch, or delete tensors"
            ) from None

    def recycle(self, memory: Memory) -> None:
        """Keep memory for a later allocation of its size."""
        size = memory[1].nbytes
        with _lock:
            self.stats.add_in_use(-size)
            self.free[size].append(memory)

    def release_unused(self) -> None:
        """Return all unused memory to the driver, after the work that may use it.

        Raises   DeviceError   the driver refuses; what it has not taken back stays in the pool
        """
        with _lock:
            if not any(self.free.values()):
                return
            driver.call("cuCtxSynchronize")
            for unused in list(self.free.values()):
                while unused:
                    address, memory = unused[-1]
                    driver.call("cuMemFree", address)
                    unused.pop()
                    self.stats.held -= memory.nbytes
                    self.stats.frees += 1

    def __del__(self) -> None:
        if self.parent is not None and _lock is not None:  # the pool of a deleted recording
            with _lock:
                for size, unused in self.free.items():
                    self.parent.free[size] += unused


@lru_cache(4096)
def round_up(nbytes: int) -> int:
    """The block size for `nbytes`: at most an eighth larger, or ALIGNMENT, so that similar sizes share blocks."""
    unit = max(ALIGNMENT, 1 << max(nbytes.bit_length() - 4, 0))
    return max(-(-nbytes // unit), 1) * unit


def bytes_at(address: int, size: int) -> np.ndarray:
    """An array of the bytes at an address, which this does not read."""
    return np.ndarray(size, np.uint8, (ctypes.c_char * size).from_address(address))
