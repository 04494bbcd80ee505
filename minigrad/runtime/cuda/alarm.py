"""Errors that only the GPU can find, as a label out of range: a kernel notes the first it meets, and Python raises it
when it next waits for a result.

The note lies in pinned host memory, which kernels can write and Python reads without a copy.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import driver
from .array import DeviceArray
from .driver import cuda
from .kernel import kernel
from .machine import machine
from .pool import at_address

NOTE = 16  # bytes: which check failed, and on what value


class _Note:
    """Pinned memory in the place of a block."""

    def __init__(self) -> None:
        machine().enter()
        self.nbytes, self.pool = NOTE, None
        self.address = int(driver.call("cuMemAllocHost", NOTE))
        self.bytes = at_address(self.address, NOTE)
        self.seen = np.ndarray(2, np.int64, self.bytes)
        self.seen[:] = 0
        self.checks: list[tuple[Any, ...]] = []


@cache
def _note() -> _Note:
    return _Note()


@kernel
def range_kernel(values, low, high, ignore, check, note):
    """Note a value that is neither from `low` to `high` - 1 nor `ignore`."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[i]
        if (value < low or value >= high) and value != ignore:
            note[0] = check
            note[1] = value


def expect_range(
    values: DeviceArray, low: int, high: int, ignore: int, error: Callable[..., Exception], *about: Any
) -> None:
    """Check whole numbers on the GPU; error(value, *about) is what will be raised for one that is out of range."""
    note, check = _note(), (error, *about)
    if check not in note.checks:
        note.checks.append(check)
    view = DeviceArray(np.ndarray(2, np.int64, note.bytes), note)  # type: ignore[arg-type]
    flat = values.reshape(-1)
    range_kernel.each(flat.size, flat, low, high, ignore, note.checks.index(check) + 1, view)


def raise_alarm() -> None:
    """Raise what a kernel has noted, once; the GPU has been waited for.

    Raises   what the check was given
    """
    note = _note()
    if note.seen[0]:
        check, value = note.seen.tolist()
        note.seen[:] = 0
        error, *about = note.checks[check - 1]
        raise error(value, *about)
