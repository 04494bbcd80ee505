"""Errors that only a kernel can detect, such as a label out of range.

A kernel counts the failures of each check in pinned host memory, which kernels can write and Python reads without a
copy.  Python knows the counts for which it has raised an error, and raises another when it next waits for the GPU and
finds new ones.  Only kernels change the counts, so no failure is lost, whatever thread waits.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import fork
from ..memory import contiguous
from . import driver
from .array import DeviceArray
from .block import sum_threads
from .driver import cuda
from .gpu import current_gpu, limit_threads
from .kernel import kernel
from .pool import bytes_at

CHECKS = 64  # of a page
BLOCKS = 15  # of a launch; each has its own count, so that no two blocks change the same number
THREADS = limit_threads(256)


class _Page:
    """Pinned memory for the numbers of some checks, with the attributes of a Block.

    numbers   (CHECKS, BLOCKS + 1)   for each check the failures that each block has counted, and the last wrong value
    """

    pool = None

    def __init__(self) -> None:
        self.nbytes = CHECKS * (BLOCKS + 1) * 8
        current_gpu()  # makes its context current
        self.address = int(driver.call("cuMemAllocHost", self.nbytes))
        self.bytes = bytes_at(self.address, self.nbytes)
        self.numbers = np.ndarray((CHECKS, BLOCKS + 1), np.int64, self.bytes)
        self.numbers[...] = 0
        self.seen = self.numbers[:, :BLOCKS].copy()  # failures for which an error was raised
        self.checks: list[tuple[Any, ...]] = []  # (error, *details)

    def add_check(self, check: tuple[Any, ...]) -> DeviceArray:
        """Return the numbers of a new check as an array for kernels."""
        self.checks.append(check)
        row = self.numbers[len(self.checks) - 1]
        return DeviceArray(row, self, row.ctypes.data)  # type: ignore[arg-type]

    def take_failure(self) -> tuple[tuple[Any, ...], int] | None:
        """Return a check that has failed since it was last asked for, and the wrong value."""
        count = len(self.checks)
        failures = self.numbers[:count, :BLOCKS]
        failed = np.flatnonzero(failures != self.seen[:count])
        if not failed.size:
            return None
        first = int(failed[0]) // BLOCKS
        self.seen[first] = failures[first]
        return self.checks[first], int(self.numbers[first, BLOCKS])


_pages: list[_Page] = []
_arrays: dict[tuple[Any, ...], DeviceArray] = {}  # by check
_lock = threading.Lock()
fork.wait_for(lambda: _lock)


@partial(kernel, shared=THREADS)
def range_kernel(values, low, high, ignore, numbers):
    """Each block that finds a value that is neither in low ... high - 1 nor `ignore` adds 1 to its count."""
    thread, failures = cuda.threadIdx.x, cuda.shared.array(THREADS, np.int64)
    failures[thread] = 0
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[i]
        if (value < low or value >= high) and value != ignore:
            failures[thread] = 1
            numbers[BLOCKS] = value
    sum_threads(failures, THREADS)
    cuda.syncthreads()  # the compiler lets all threads read the sum
    if not thread and failures[0] > 0:
        numbers[cuda.blockIdx.x] += 1


def expect_range(
    values: DeviceArray, low: int, high: int, ignore: int, error: Callable[..., Exception], *details: Any
) -> None:
    """Check whole numbers on the GPU; error(value, *details) is raised later for a value out of range."""
    flat = contiguous(values).reshape(-1)
    grid = min(-(-flat.size // THREADS), BLOCKS)
    range_kernel[grid, THREADS](flat, low, high, ignore, _numbers_of((error, *details)))


def _numbers_of(check: tuple[Any, ...]) -> DeviceArray:
    """The numbers of a check; equal checks share them."""
    with _lock:
        if check not in _arrays:
            if not _pages or len(_pages[-1].checks) == CHECKS:
                _pages.append(_Page())
            _arrays[check] = _pages[-1].add_check(check)
        return _arrays[check]


def raise_device_error() -> None:
    """Raise the error of a check that has failed, once; call this after waiting for the GPU.

    Raises   the exception that was given to expect_range
    """
    with _lock:
        found = next(filter(None, (page.take_failure() for page in _pages)), None)
    if found is not None:
        (error, *details), value = found
        raise error(value, *details)
