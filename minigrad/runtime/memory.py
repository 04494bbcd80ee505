"""Allocation, copies and memory layouts of arrays on any device.

A tensor of images has shape (N, C, H, W); its memory is batch-innermost, (C, H, W, N).  The inner loops of kernels then
run over images, in full vectors for every number of channels and every image size.
"""

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from .threads import IDLE, call_on_host, local
from .view import data_address

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for later arrays; only glibc can.

    Each training step allocates and frees the same arrays.  Memory that is new from the system costs a page fault a
    page, in total a third of a LeNet-5 step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 512 * 2**20)


keep_freed_memory()


when_full: list[Callable[[], object]] = []  # give up memory that only saves time; called when a device has no more

MAX_AXES = 32
LAST_AXIS_FIRST = [tuple(range(n - 1, n)) + tuple(range(n - 1)) for n in range(MAX_AXES + 1)]  # arguments of transpose
FIRST_AXIS_LAST = [(*range(1, n), 0)[:n] for n in range(MAX_AXES + 1)]

ALIGNMENT = 64  # bytes: a cache line and the widest vector; a vector that crosses lines takes two reads
MIN_ALIGNED_SIZE = 4096  # bytes; smaller arrays are read too seldom for alignment to matter


def allocate_on_host(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised NumPy array in C order; aligned unless it is small."""
    size = prod(shape) * dtype.itemsize
    if size < MIN_ALIGNED_SIZE:
        array = block = np.empty(shape, dtype)
    else:
        block = np.empty(size + ALIGNMENT, np.uint8)
        start = -data_address(block) % ALIGNMENT
        array = np.ndarray(shape, dtype, block, start)
    if local.observer is not IDLE:
        local.observer.allocated(block)
    return array


def empty(shape: tuple[int, ...], dtype: np.dtype, device: Any = None) -> Any:
    """An uninitialised array in C order, on a device or, for None, the host."""
    return allocate_on_host(shape, dtype) if device is None else device.allocate(shape, dtype)


def empty_batch_innermost(shape: tuple[int, ...], dtype: np.dtype, device: Any = None) -> Any:
    """An uninitialised array of shape (N, ...), batch-innermost in memory."""
    return empty(shape[1:] + shape[:1], dtype, device).transpose(LAST_AXIS_FIRST[len(shape)])


def new_empty(array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An uninitialised array in C order, on the device of `array`."""
    return allocate_on_host(shape, dtype) if isinstance(array, np.ndarray) else array.new_empty(shape, dtype)


def empty_like(array: Any, dtype: np.dtype | None = None, shape: tuple[int, ...] | None = None) -> Any:
    """An uninitialised array in the memory order and on the device of `array`, by default of its dtype and shape."""
    dtype, shape = array.dtype if dtype is None else dtype, array.shape if shape is None else shape
    if array.flags.c_contiguous:
        return new_empty(array, shape, dtype)
    order, back = _orders(array.strides)
    return new_empty(array, tuple([shape[axis] for axis in order]), dtype).transpose(back)


def outermost_first(array: Any) -> tuple[int, ...]:
    """The axes in memory order, outermost first."""
    return _orders(array.strides)[0]


@lru_cache(4096)
def _orders(strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes, outermost first, and the place of each axis in that order."""
    order = tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))
    return order, tuple(sorted(range(len(order)), key=order.__getitem__))


def merge_axes(
    sizes: Sequence[int], steps: Sequence[Sequence[int]], keep_first: bool
) -> tuple[list[int], list[list[int]]]:
    """Merge neighbouring axes if the strides of every operand allow it, and drop axes of size 1.

    steps        strides of each operand, in any unit
    keep_first   if there are more than two axes, do not merge the first
    returns      the sizes and the strides of the merged axes; one axis of size 1 if none is left
    """
    axes = [axis for axis, size in enumerate(sizes) if size != 1]
    merged: list[tuple[int, list[int]]] = []  # sizes, and the strides of each operand
    for axis in axes:
        size, strides = sizes[axis], [step[axis] for step in steps]
        can_merge = merged and not (keep_first and len(axes) > 2 and axis == axes[1])
        if can_merge and merged[-1][1] == [stride * size for stride in strides]:
            merged[-1] = merged[-1][0] * size, strides
        else:
            merged.append((size, strides))
    merged = merged or [(1, [0] * len(steps))]
    by_operand = zip(*[strides for _, strides in merged], strict=True)
    return [size for size, _ in merged], [list(strides) for strides in by_operand]


def full(shape: tuple[int, ...], value: Any, dtype: np.dtype, device: Any = None) -> Any:
    """An array in C order, filled with one number."""
    out = empty(shape, dtype, device)
    copy(out, value)
    return out


def copy(target: Any, source: Any) -> None:
    """Overwrite an array with an array that broadcasts, or a number, converted to its dtype."""
    if isinstance(target, np.ndarray):
        call_on_host(overwrite, target, source)
    else:
        target.assign(source)


def overwrite(target: np.ndarray, source: Any) -> None:
    """Overwrite a host array; numbers out of range are converted as NumPy does, without its warnings."""
    with np.errstate(all="ignore"):
        np.copyto(target, source, "unsafe")


def is_array(value: Any) -> bool:
    """Whether a value is an array of any device."""
    return isinstance(value, np.ndarray) or hasattr(value, "owner")


def may_share_memory(a: Any, b: Any) -> bool:
    """Whether the memory of two arrays may overlap."""
    if isinstance(a, np.ndarray):
        if a.base is not None and isinstance(b, np.ndarray) and (a.base is b or a.base is b.base):
            return True  # NumPy needs a microsecond for it
        return isinstance(b, np.ndarray) and np.may_share_memory(a, b)
    if isinstance(b, np.ndarray):
        return False
    x, y = a.owner, b.owner  # the memory of two other libraries may overlap
    return x is y or (x.address < y.address + y.nbytes and y.address < x.address + x.nbytes)


def broadcast_to(array: Any, shape: tuple[int, ...]) -> Any:
    """A view of another shape, in which axes of size 1 repeat."""
    return np.broadcast_to(array, shape) if isinstance(array, np.ndarray) else array.spread(shape)


def owns_buffer(array: Any) -> bool:
    """Whether an array owns its whole buffer, apart from bytes for alignment."""
    base = array.base
    known = type(base) is np.ndarray or not isinstance(array, np.ndarray)
    return base is None or (known and base.nbytes <= array.nbytes + ALIGNMENT)


def move_batch_first(array: np.ndarray) -> np.ndarray:
    """A view (N, C, ...) of an array (C, ..., N)."""
    return array.transpose(LAST_AXIS_FIRST[array.ndim])


def move_batch_last(array: np.ndarray) -> np.ndarray:
    """An array (C, ..., N) in C order with the elements of an array (N, C, ...); a view if that is batch-innermost."""
    return contiguous(array.transpose(FIRST_AXIS_LAST[array.ndim]))


def contiguous(array: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is not in C order."""
    return array if array.flags.c_contiguous else convert(array, array.dtype)


def can_view_as(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether the array can be reshaped without a copy."""
    try:
        array.reshape(shape, copy=False)
    except ValueError:
        return False
    return True


def clone(array: Any) -> Any:
    """A copy in the same memory order."""
    out = empty_like(array)
    copy(out, array)
    return out


def reshape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The elements in another shape: a view if possible, otherwise a copy."""
    try:
        return array.reshape(shape, copy=False)
    except ValueError:
        return contiguous(array).reshape(shape)


def convert(array: Any, dtype: np.dtype) -> Any:
    """A copy of another dtype, in C order."""
    out = new_empty(array, array.shape, dtype)
    copy(out, array)
    return out
