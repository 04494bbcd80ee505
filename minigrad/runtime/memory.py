"""Memory layouts.  Tensors are logically (N, C, H, W); an activation's memory is batch-innermost, (C, H, W, N).

Every inner loop of a kernel then runs over images: full vectors for any channel count and image size.
"""

import contextlib
import ctypes

import numpy as np

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


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised activation of logical shape (N, ...), batch-innermost in memory."""
    return np.empty(shape[1:] + shape[:1], dtype).transpose(FIRST[len(shape)])


def batch_first(array: np.ndarray) -> np.ndarray:
    """The logical (N, C, ...) view of memory (C, ..., N)."""
    return array.transpose(FIRST[array.ndim])


def batch_last(array: np.ndarray) -> np.ndarray:
    """The (C, ..., N) memory behind an array (N, C, ...): a view where it is laid out so, otherwise a copy."""
    view = array.transpose(LAST[array.ndim])
    return view if view.flags.c_contiguous else np.ascontiguousarray(view)


def contiguous(array: np.ndarray) -> np.ndarray:
    """The array in C order: itself where it is, otherwise a copy."""
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
