"""Copies into another memory order: rows become columns, as where images become batch-innermost.

NumPy copies such an array element by element, on one thread.  Here squares of vectors are transposed in registers, and
every cache line that is read is used whole.
"""

from functools import cache

import numpy as np

from . import memory
from .kernel import FLOATS, Memory, Tile, kernel
from .math import smaller
from .tile import lanes, transpose

LINE_BYTES = 64  # of a cache line
MIN_SIZE = 1024  # elements; NumPy copies fewer in less time than a launch takes


@kernel
def turn_kernel(task, x: Memory, out: Memory, M, N, x_batch, step, height, tile: Tile):
    """`height` rows of one matrix of out (batches, M, N), in C order, from x (batches, N, M).

    A matrix of x has N rows of M contiguous elements.  x_batch, step: strides of x from matrix to matrix and from row
    to row, in elements.
    """
    blocks = (M + height - 1) // height
    batch, first = task // blocks, task % blocks * height
    stop = smaller(first + height, M)
    source, target = batch * x_batch, batch * M * N
    if tile.lanes > M or tile.lanes > N:
        for m in range(first, stop):
            for n in range(N):
                out[target + m * N + n] = x[source + n * step + m]
    else:
        for left in range(0, N, tile.lanes):
            n = smaller(left, N - tile.lanes)  # the last square overlaps the one before
            for top in range(first, stop, tile.lanes):
                m = smaller(top, M - tile.lanes)
                transpose(tile, x, source + n * step + m, step, out, target + m * N + n, N)


def move_batch_last(array: np.ndarray) -> np.ndarray:
    """As memory.move_batch_last, by a kernel."""
    return contiguous(array.transpose(memory.FIRST_AXIS_LAST[array.ndim]))


def contiguous(array: np.ndarray) -> np.ndarray:
    """As memory.contiguous, by a kernel if the array is one turned matrix or several of one size."""
    if array.flags.c_contiguous:
        return array
    plan = _plan(array.shape, array.strides, array.itemsize)
    if plan is None or array.size < MIN_SIZE or array.dtype.char not in FLOATS:
        return memory.convert(array, array.dtype)
    out, (batches, M, N, x_batch, step) = memory.empty(array.shape, array.dtype), plan
    vector = lanes(out.dtype)
    height = max(LINE_BYTES // out.itemsize, vector)
    turn_kernel.run_small(batches * -(-M // height), out.size, array, out, M, N, x_batch, step, height, (1, 1, vector))
    return out


@cache
def _plan(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, int, int, int, int] | None:
    """Batches, rows and columns of a turned matrix, and its strides from matrix to matrix and from row to row, in
    elements; None if the array is not one."""
    sizes, (steps,) = memory.merge_axes(shape, [strides], keep_first=False)
    if len(sizes) not in (2, 3) or steps[-2] != itemsize or steps[-1] <= 0 or steps[-1] % itemsize:
        return None
    (batches, batch_step), (M, _), (N, step) = [(1, 0), *zip(sizes, steps, strict=True)][-3:]
    return None if batch_step % itemsize else (batches, M, N, batch_step // itemsize, step // itemsize)
