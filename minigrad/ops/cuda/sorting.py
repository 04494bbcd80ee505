"""Sorting on the GPU: a stable merge sort of all lines at once; the operation is in ../sorting.py.

Sorted blocks of 1, 2, 4, ... elements are merged in pairs.  One thread moves one element.  Its place among the merged
elements is its place in its block plus the number of elements of the other block that come first, found by bisection.
"""

from ...runtime import memory
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.kernel import kernel
from ..sorting import argsort_dispatch
from .movement import copy_rows, to_rows


@kernel
def count_kernel(order, B):
    """order (rows, B) = 0, 1, ..., B - 1 in each row."""
    for i in range(cuda.grid(1), order.size, cuda.gridsize(1)):
        order[i] = i % B


@helper
def _is_less(a, b, descending):
    """Whether a comes before b, and is not equal; nan is the largest."""
    if descending:
        a, b = b, a
    return a < b or (b != b and a == a)


@kernel
def merge_kernel(x, order, out, B, width, descending):
    """out = order (rows, B), in which blocks of `width` are sorted by x, with pairs of blocks merged."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        row, b = i // B * B, i % B
        pair, is_right = b // (2 * width) * 2 * width, b // width % 2
        middle, stop = min(pair + width, B), min(pair + 2 * width, B)
        value, low, high = x[row + order[i]], pair if is_right else middle, middle if is_right else stop
        start = low
        while low < high:  # find the first element of the other block that does not come first
            half = (low + high) // 2
            other = x[row + order[row + half]]
            if _is_less(other, value, descending) or (is_right and not _is_less(value, other, descending)):
                low = half + 1
            else:
                high = half
        place = pair + (b - (middle if is_right else pair)) + low - start
        out[row + place] = order[i]


@argsort_dispatch.register("cuda")
def argsort_cuda(x, axis, descending, out):
    rows, B = to_rows(x, axis), x.shape[axis]
    order, other = (memory.new_empty(out, rows.shape, out.dtype) for _ in range(2))
    count_kernel.launch_over(rows.size, order.reshape(-1), B)
    width = 1
    while width < B:
        lines = rows.reshape(-1), order.reshape(-1), other.reshape(-1)
        merge_kernel.launch_over(rows.size, *lines, B, width, int(descending))
        order, other, width = other, order, 2 * width
    copy_rows(order, axis, out)
