"""Memory layouts.  Tensors are logically (N, C, H, W); an activation's memory is batch-innermost, (C, H, W, N).

Every inner loop of a kernel then runs over images: full vectors for any channel count and image size.
"""

import contextlib
import ctypes
from math import prod
from typing import Any

import numpy as np

from .threads import call_on_host, local

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's numbers, malloc.h


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next arrays instead of giving it back to the system.

    Every step allocates and frees the same arrays; taken anew from the system, each page of them costs a page fault, a
    third of a LeNet-5 step.  Only glibc has such a switch.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 512 * 2**20)


keep_freed_memory()


FIRST = [tuple(range(n - 1, n)) + tuple(range(n - 1)) for n in range(33)]  # the last axis moved to the front
LAST = [(*range(1, n), 0)[:n] for n in range(33)]  # the first axis moved to the end


ALIGNMENT = 64  # bytes: a cache line, and the widest vector; a vector across two lines costs two reads
SMALL = 4096  # bytes: what is read once or twice, where it does not matter


def host_memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised NumPy array in C order; large ones are aligned."""
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        array = block = np.empty(shape, dtype)
    else:
        block = np.empty(size + ALIGNMENT, np.uint8)
        start = -block.__array_interface__["data"][0] % ALIGNMENT
        array = np.ndarray(shape, dtype, block, start)
    local.observer.allocated(block)
    return array


def empty(shape: tuple[int, ...], dtype: np.dtype, device: Any = None) -> Any:
    """An uninitialised array in C order, on a device or, for None, the host."""
    return host_memory(shape, dtype) if device is None else device.allocate(shape, dtype)


def empty_batch_last(shape: tuple[int, ...], dtype: np.dtype, device: Any = None) -> Any:
    """An uninitialised activation of logical shape (N, ...), batch-innermost in memory."""
    return empty(shape[1:] + shape[:1], dtype, device).transpose(FIRST[len(shape)])


def beside(array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An uninitialised array in C order, on the device of `array`."""
    return host_memory(shape, dtype) if isinstance(array, np.ndarray) else array.new_empty(shape, dtype)


def empty_like(array: Any, dtype: np.dtype | None = None, shape: tuple[int, ...] | None = None) -> Any:
    """An uninitialised array in the same memory order and on the same device; of the same shape, if none is given."""
    dtype, shape = array.dtype if dtype is None else dtype, array.shape if shape is None else shape
    if array.flags.c_contiguous:
        return beside(array, shape, dtype)
    order = outermost_first(array)
    inside = beside(array, tuple([shape[axis] for axis in order]), dtype)
    return inside.transpose(sorted(range(array.ndim), key=order.__getitem__))


def outermost_first(array: Any) -> tuple[int, ...]:
    """The axes in the order of the memory."""
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def filled(shape: tuple[int, ...], value: Any, dtype: np.dtype, device: Any = None) -> Any:
    """An array in C order, full of one number."""
    out = empty(shape, dtype, device)
    copy(out, value)
    return out


def copy(target: Any, source: Any) -> None:
    """Overwrite an array with one that broadcasts, or a number, turned into its dtype."""
    if isinstance(target, np.ndarray):
        call_on_host(overwrite, target, source)
    else:
        target.assign(source)


def overwrite(target: np.ndarray, source: Any) -> None:
    """Overwrite a host array; numbers that do not fit become what NumPy makes of them, without its warnings."""
    with np.errstate(all="ignore"):
        np.copyto(target, source, "unsafe")


def is_array(value: Any) -> bool:
    """Whether a value is an array, of any device."""
    return isinstance(value, np.ndarray) or hasattr(value, "owner")


def shares(a: Any, b: Any) -> bool:
    """Whether two arrays may lie in the same memory."""
    if isinstance(a, np.ndarray):
        if a.base is not None and isinstance(b, np.ndarray) and (a.base is b or a.base is b.base):
            return True  # as NumPy would find in a microsecond
        return isinstance(b, np.ndarray) and np.may_share_memory(a, b)
    return getattr(a, "owner", None) is getattr(b, "owner", a)


def spread(array: Any, shape: tuple[int, ...]) -> Any:
    """A view whose sizes of 1 are stretched."""
    return np.broadcast_to(array, shape) if isinstance(array, np.ndarray) else array.spread(shape)


def owns(array: Any) -> bool:
    """Whether an array owns its whole buffer, apart from bytes for alignment."""
    base = array.base
    known = type(base) is np.ndarray or not isinstance(array, np.ndarray)
    return base is None or (known and base.nbytes <= array.nbytes + ALIGNMENT)


def batch_first(array: np.ndarray) -> np.ndarray:
    """The logical (N, C, ...) view of memory (C, ..., N)."""
    return array.transpose(FIRST[array.ndim])


def batch_last(array: np.ndarray) -> np.ndarray:
    """The (C, ..., N) memory behind an array (N, C, ...): a view where it is laid out so, otherwise a copy."""
    return contiguous(array.transpose(LAST[array.ndim]))


def contiguous(array: np.ndarray) -> np.ndarray:
    """The array in C order: itself where it is, otherwise a copy."""
    return array if array.flags.c_contiguous else converted(array, array.dtype)


def is_view(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether the elements in another shape are a view of the same memory."""
    try:
        array.reshape(shape, copy=False)
    except ValueError:
        return False
    return True


def duplicate(array: Any) -> Any:
    """A copy in the same memory order."""
    out = empty_like(array)
    copy(out, array)
    return out


def reshaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The elements in another shape: a view where the memory allows it, otherwise a copy."""
    try:
        return array.reshape(shape, copy=False)
    except ValueError:
        return contiguous(array).reshape(shape)


def converted(array: Any, dtype: np.dtype) -> Any:
    """A copy in C order, of another dtype."""
    out = beside(array, array.shape, dtype)
    copy(out, array)
    return out
