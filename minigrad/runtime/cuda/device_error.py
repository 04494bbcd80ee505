"""Errors that only a kernel can detect, such as a label out of range.

A kernel reports the first error, and Python raises it when it next waits for the GPU.  The report lies in pinned host
memory, which kernels can write and Python reads without a copy.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..memory import contiguous
from . import driver
from .array import DeviceArray
from .driver import cuda
from .gpu import current_gpu
from .kernel import kernel
from .pool import bytes_at

REPORT_BYTES = 16  # two int64: the number of the check, 0 if none has failed, and the value


class _Report:
    """Pinned memory, with the attributes of a Block."""

    def __init__(self) -> None:
        current_gpu().make_current()
        self.nbytes, self.pool = REPORT_BYTES, None
        self.address = int(driver.call("cuMemAllocHost", REPORT_BYTES))
        self.bytes = bytes_at(self.address, REPORT_BYTES)
        self.numbers = np.ndarray(2, np.int64, self.bytes)
        self.numbers[:] = 0
        self.checks: list[tuple[Any, ...]] = []  # (error, *details); check number i + 1 is checks[i]


@cache
def _get_report() -> _Report:
    return _Report()


@kernel
def range_kernel(values, low, high, ignore, check, report):
    """Report a value that is neither in low ... high - 1 nor `ignore`."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[i]
        if (value < low or value >= high) and value != ignore:
            report[0] = check
            report[1] = value


def expect_range(
    values: DeviceArray, low: int, high: int, ignore: int, error: Callable[..., Exception], *details: Any
) -> None:
    """Check whole numbers on the GPU; error(value, *details) is raised later for a value out of range."""
    report, check = _get_report(), (error, *details)
    if check not in report.checks:
        report.checks.append(check)
    view = DeviceArray(np.ndarray(2, np.int64, report.bytes), report)  # type: ignore[arg-type]
    flat = contiguous(values).reshape(-1)
    range_kernel.launch_over(flat.size, flat, low, high, ignore, report.checks.index(check) + 1, view)


def raise_device_error() -> None:
    """Raise the error that a kernel has reported, once; call this after waiting for the GPU.

    Raises   the exception that was given to expect_range
    """
    report = _get_report()
    if report.numbers[0]:
        check, value = report.numbers.tolist()
        report.numbers[:] = 0
        error, *details = report.checks[check - 1]
        raise error(value, *details)
