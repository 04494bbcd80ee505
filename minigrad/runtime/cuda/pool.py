"""Device memory, kept when it is freed: asking the driver costs as much as a small kernel, and stops the GPU.

All work runs on one stream, in order, so memory that is freed can be given out again at once: what used it runs before.
A pool of its own holds the memory of a recorded function, at the addresses that its replays will use.
"""

import threading
from collections import defaultdict

import numpy as np

from ...errors import DeviceError
from .. import fork
from . import driver

STEP = 512  # bytes: what addresses are multiples of
_lock = threading.RLock()  # a block may be freed by the garbage collector while another is made
fork.wait_for(lambda: _lock)


class OutOfMemoryError(DeviceError, MemoryError):
    """The GPU has no memory left."""


class Stats:
    """Bytes and calls of all pools."""

    def __init__(self) -> None:
        self.in_use = self.peak = self.held = self.allocations = self.frees = 0

    def use(self, size: int) -> None:
        """Note memory given out, or given back where `size` is negative."""
        self.in_use += size
        self.peak = max(self.peak, self.in_use)


Memory = tuple[int, np.ndarray]  # an address, and an array of bytes there


class Block:
    """Memory of the device; gives itself back.  `bytes` is an array at its address, never to be read by the host."""

    __slots__ = ("__weakref__", "address", "bytes", "nbytes", "pool")

    def __init__(self, pool: "Pool", memory: "Memory", nbytes: int):
        self.pool, self.address, self.bytes, self.nbytes = pool, *memory, nbytes

    def __del__(self) -> None:
        if _lock is not None:  # else Python is ending, and the driver frees everything
            self.pool.take_back((self.address, self.bytes))


class Pool:
    """Memory by size: `block` gives some out, which comes back by itself."""

    def __init__(self, stats: Stats, parent: "Pool | None" = None):
        self.stats, self.parent = stats, parent
        self.free: dict[int, list[Memory]] = defaultdict(list)

    def block(self, nbytes: int) -> Block:
        """Uninitialised memory of at least so many bytes.

        Raises   OutOfMemoryError   there is not enough, not even after everything that is kept was let go
        """
        size = rounded(nbytes)
        with _lock:
            kept = self.free[size]
            memory = kept.pop() if kept else self._ask(size)
            self.stats.use(size)
        return Block(self, memory, nbytes)

    def _ask(self, size: int) -> Memory:
        try:
            address = driver.call("cuMemAlloc", size)
        except DeviceError as error:
            if getattr(error, "code", None) != driver.OUT_OF_MEMORY:
                raise
            (self.parent or self).release()  # what a recording has freed is still used by its replays
            address = self._ask_again(size)
        self.stats.held += size
        self.stats.allocations += 1
        return int(address), at_address(int(address), size)

    def _ask_again(self, size: int):
        try:
            return driver.call("cuMemAlloc", size)
        except DeviceError:
            free, total = driver.call("cuMemGetInfo")
            raise OutOfMemoryError(
                f"device 'cuda': out of memory: {size:,} bytes asked for; {self.stats.in_use:,} in use here, "
                f"{free:,} of {total:,} free on the device; use a smaller batch, or let go of tensors"
            ) from None

    def take_back(self, memory: Memory) -> None:
        """Keep memory for the next who asks."""
        size = memory[1].nbytes
        with _lock:
            self.stats.use(-size)
            self.free[size].append(memory)

    def release(self) -> None:
        """Give what is kept back to the driver, once all work that may use it is done."""
        with _lock:
            kept = [memory for same in self.free.values() for memory in same]
            self.free.clear()
            if kept:
                driver.call("cuCtxSynchronize")
            for address, memory in kept:
                driver.call("cuMemFree", address)
                self.stats.held -= memory.nbytes
                self.stats.frees += 1

    def __del__(self) -> None:
        if self.parent is not None and _lock is not None:  # of a recording that is gone
            with _lock:
                for size, kept in self.free.items():
                    self.parent.free[size] += kept


def rounded(nbytes: int) -> int:
    """A size of block: at most an eighth more than asked for, so that similar sizes share blocks."""
    unit = max(STEP, 1 << max(nbytes.bit_length() - 4, 0))
    return max(-(-nbytes // unit), 1) * unit


class _At:
    """An address, as NumPy asks for it."""

    def __init__(self, address: int, size: int):
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}


def at_address(address: int, size: int) -> np.ndarray:
    """An array of bytes at an address; NumPy does not look at them."""
    return np.asarray(_At(address, size))
