"""Sums, means, extremes and the positions of extremes, over any axes.

A reduction sees its input as three axes of memory, (A kept, B reduced, C kept), C innermost.  A sum over channels of a
batch-innermost array has a long C; a sum over everything has A = C = 1.  Axes in another order are copied to (A, B).

A long sum is computed as partial sums, which are added with compensation for rounding; see math.compensated_add.
"""

from functools import cache
from itertools import pairwise
from math import prod

import numpy as np

from ..errors import ShapeError
from ..runtime import memory
from ..runtime.kernel import Array1, Array3, Ints, Tile, helper, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import choose_tile, compensated_total, lanes, load, store, sum_elements, zeros
from ..shapes import reduced
from .arithmetic import div, eq, neg, sub
from .op import Dispatch, op
from .promotion import expect_float

TERMS_PER_PARTIAL_SUM = 64
KEPT_PER_TASK = 512  # elements of C
SUM_VECTORS = 4  # accumulators side by side in a sum, because an addition takes four cycles
ROW_CHUNKS = 4  # of a long row (C = 1), as in runtime/elementwise.py: a core finds its chunk in its cache
CHUNK_ELEMENTS = 4096  # at least, or the row is one task


@cache
def plan_axes(shape, strides, axes):
    """How to see memory as (A, B, C): (order of axes, (A, B, C), shape of the kept axes in that order, the permutation
    that restores their logical order).

    The order is that of memory if it has the form kept, reduced, kept; otherwise the reduced axes go last.
    """
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    kinds = [axis in axes for axis in order if shape[axis] != 1]
    changes = sum(a != b for a, b in pairwise(kinds))
    if changes > 2 or (changes == 2 and kinds[0]):
        order.sort(key=lambda axis: axis in axes)
    positions = [i for i, axis in enumerate(order) if axis in axes and shape[axis] != 1] or [len(order)]
    first, stop = positions[0], min(positions[-1] + 1, len(order))
    sizes = [shape[axis] for axis in order]
    kept = [axis for axis in order if axis not in axes]
    back = tuple(sorted(range(len(kept)), key=kept.__getitem__))
    return (
        tuple(order),
        (prod(sizes[:first]), prod(sizes[first:stop]), prod(sizes[stop:])),
        tuple(shape[axis] for axis in kept),
        back,
    )


def reduce_three_axes(reduce, x, axes, out):
    """Fill `out` by reduce(A, B, C, x, result), with x as memory (A, B, C) and the result as memory (A, C)."""
    order, sizes, kept, back = plan_axes(x.shape, x.strides, axes)
    in_place = back == tuple(range(len(back))) and out.flags.c_contiguous
    result = out.reshape(kept) if in_place else memory.new_empty(out, kept, out.dtype)
    if result.size:
        reduce(*sizes, memory.contiguous(x.transpose(order)).reshape(sizes), result)
    if not in_place:
        memory.copy(out, result.transpose(back).reshape(out.shape))


def _reduce_by(kernel):
    """The cpu implementation by a kernel of (x, out) with one task for KEPT_PER_TASK elements of C."""

    def launch(A, B, C, x, result):
        kernel.run_small(A * -(-C // KEPT_PER_TASK), x.size, x, result)

    return lambda x, axes, out: reduce_three_axes(launch, x, axes, out)


@helper
def kept_range(task, C):
    """The elements of (A, C) in a task: a, the first c, and the c after the last."""
    tasks = (C + KEPT_PER_TASK - 1) // KEPT_PER_TASK
    start = task % tasks * KEPT_PER_TASK
    return task // tasks, start, smaller(start + KEPT_PER_TASK, C)


@kernel
def sum_kernel(task, x: Array3, out: Array1, tile: Tile):
    """out (A, C) = the sum over B of x (A, B, C), for one tile width of C.

    If C is 1: out (chunks, A) = the sums over chunks of B.
    """
    A, B, C = x.shape
    if C == 1:
        chunks = out.shape[0] // A
        chunk, a, length = task // A, task % A, B // chunks
        out[task] = _sum_row(tile, x, a * B + chunk * length, length)
        return
    tasks = (C + tile.width - 1) // tile.width
    a, c = task // tasks, smaller(task % tasks * tile.width, C - tile.width)
    store(_add_rows(tile, x, a * B * C + c, B, C), out, a * C + c, 0)


@helper
def _add_rows(tile, x, start, rows, step):
    """The sum of `rows` rows of a tile's width, `step` elements apart."""
    total = error = zeros(tile)
    for first in range(0, rows, TERMS_PER_PARTIAL_SUM):
        partial = zeros(tile)
        for row in range(first, smaller(first + TERMS_PER_PARTIAL_SUM, rows)):
            partial = partial + load(tile, x, start + row * step, None)
        total, error = compensated_add(total, error, partial)
    return compensated_total(total, error)


@helper
def _sum_row(tile, x, start, count):
    """The sum of `count` adjacent elements."""
    total = error = const(0, x)
    for first in range(0, count, TERMS_PER_PARTIAL_SUM * tile.width):
        partial, stop = zeros(tile), smaller(first + TERMS_PER_PARTIAL_SUM * tile.width, count)
        whole = stop - (stop - first) % tile.width
        for k in range(first, whole, tile.width):
            partial = partial + load(tile, x, start + k, None)
        if whole < stop:
            partial = partial + load(tile, x, start + whole, stop - whole)
        total, error = compensated_add(total, error, sum_elements(partial))
    return compensated_total(total, error)


def _sum(A, B, C, x, result):
    if C > 1:
        tile = choose_tile(1, C, result.dtype)
        sum_kernel.run_small(A * -(-C // (tile[1] * tile[2])), x.size, x, result, tile)
        return
    tile = 1, SUM_VECTORS, lanes(result.dtype)
    if B % ROW_CHUNKS or B < ROW_CHUNKS * CHUNK_ELEMENTS:
        sum_kernel.run_small(A, x.size, x, result, tile)
        return
    partials = memory.empty((ROW_CHUNKS, A), result.dtype)
    sum_kernel(ROW_CHUNKS * A, x, partials, tile)
    add_partial_sums(partials, result)


def sum_cpu(x, axes, out):
    reduce_three_axes(_sum, x, axes, out)


def add_partial_sums(partials, out):
    """out = the sum over the first axis of partials (chunks, ...)."""
    _sum(1, partials.shape[0], out.size, partials.reshape(1, partials.shape[0], -1), out)


@kernel
def amax_kernel(task, x: Array3, out: Array1):
    """out (A, C) = the largest of x (A, B, C) over B; nan if there is one."""
    _, B, C = x.shape
    a, start, stop = kept_range(task, C)
    for c in range(start, stop):
        best = x[a * B * C + c]
        for b in range(1, B):
            value = x[(a * B + b) * C + c]
            best = value if value > best or value != value else best
        out[a * C + c] = best


@kernel
def argmax_kernel(task, x: Array3, out: Ints):
    """out (A, C) = the position on B of the first largest of x (A, B, C); of the first nan if there is one."""
    _, B, C = x.shape
    a, start, stop = kept_range(task, C)
    for c in range(start, stop):
        best, position = x[a * B * C + c], 0
        for b in range(1, B):
            value = x[(a * B + b) * C + c]
            if value > best or (value != value and best == best):
                best, position = value, b
        out[a * C + c] = position


def sum_numpy(x, axes, out):
    """In float64, because NumPy keeps one running total per row; `out=` would set its dtype."""
    out[...] = np.sum(x, axis=axes, dtype=np.result_type(out, np.int64), keepdims=x.ndim == out.ndim)


def amax_numpy(x, axes, out):
    np.amax(x, axis=axes, keepdims=x.ndim == out.ndim, out=out)


def argmax_numpy(x, axes, out):
    out[...] = np.argmax(x, axis=axes[0]).reshape(out.shape)


sum_dispatch = Dispatch("sum", sum_numpy, cpu=sum_cpu, floats=0)
amax_dispatch = Dispatch("amax", amax_numpy, cpu=_reduce_by(amax_kernel), floats=0)
argmax_dispatch = Dispatch("argmax", argmax_numpy, cpu=_reduce_by(argmax_kernel), floats=0)


# ---- sum, mean, and sum_to, the reverse of broadcasting


@op
def sum_(device, x, *, axes, keepdim):
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.int64)
    out = memory.empty(reduced(x.shape, axes, keepdim), dtype, device)
    if not axes:
        memory.copy(out, x)
    else:
        sum_dispatch[device.type](x, axes, out)
    return out


@sum_.gradient
def sum_gradient(do, g, x_shape, axes):
    return (lambda: _expand_reduced(do, g, x_shape, axes),)


def _expand_reduced(do, g, shape, axes):
    """A gradient of the reduced shape, expanded over the axes that were reduced."""
    return do.expand(do.reshape(g, shape=reduced(shape, axes, True)), shape=shape)


@op
def mean(device, x, *, axes, keepdim):
    expect_float("mean", x)
    return div.forward(device, sum_(device, x, axes=axes, keepdim=keepdim), prod([x.shape[axis] for axis in axes]))


@mean.gradient
def mean_gradient(do, g, x_shape, axes):
    count = prod([x_shape[axis] for axis in axes])
    return (lambda: _expand_reduced(do, do.div(g, count), x_shape, axes),)


@op
def sum_to(device, x, *, shape):
    """The sum over the axes along which an array of `shape` was broadcast to x."""
    lead = x.ndim - len(shape)
    axes = tuple(axis for axis in range(x.ndim) if axis < lead or shape[axis - lead] == 1 != x.shape[axis])
    return sum_(device, x, axes=axes, keepdim=False).reshape(shape)


@sum_to.gradient
def sum_to_gradient(do, g, x_shape):
    return (lambda: do.expand(g, shape=x_shape),)


# ---- amax, amin, argmax, argmin


def _check_nonempty(where, x, axes):
    """Refuse an axis of size 0, which has no extreme."""
    empty = [axis for axis in axes if x.shape[axis] == 0]
    if empty:
        raise ShapeError(f"{where}: axis {empty[0]} of shape {x.shape} has no elements to choose from")


@op
def amax(device, x, *, axes, keepdim):
    _check_nonempty("amax", x, axes)
    out = memory.empty(reduced(x.shape, axes, keepdim), x.dtype, device)
    amax_dispatch[device.type](x, axes, out)
    return out


@amax.gradient
def amax_gradient(do, g, x, out, x_shape, axes):
    """Equal largest elements share the gradient; where the result is nan, all nans share it."""

    def by_x():
        ties = do.cast(do.eq(x, _expand_reduced(do, out, x_shape, axes)), dtype=g.dtype)
        ties = do.add(ties, do.cast(do.ne(x, x), dtype=g.dtype))
        return do.div(do.mul(_expand_reduced(do, g, x_shape, axes), ties), do.sum(ties, axes=axes, keepdim=True))

    return (by_x,)


def reverse_order(device, x):
    """A function of x that decreases as x grows and is its own inverse: -x, or ~x."""
    if x.dtype.kind == "f":
        return neg.forward(device, x)
    if x.dtype.kind == "b":
        return eq.forward(device, x, False)
    return sub.forward(device, int(np.iinfo(x.dtype).max) if x.dtype.kind == "u" else -1, x)


@op
def amin(device, x, *, axes, keepdim):
    _check_nonempty("amin", x, axes)
    return reverse_order(device, amax.forward(device, reverse_order(device, x), axes=axes, keepdim=keepdim))


amin.gradient(amax_gradient)


@op
def argmax(device, x, *, axis, keepdim):
    flat, axes = (memory.reshape(x, (x.size,)), (0,)) if axis is None or not x.ndim else (x, (axis,))
    _check_nonempty("argmax", flat, axes)
    shape = reduced(x.shape, tuple(range(x.ndim)) if axis is None else axes, keepdim)
    out = memory.empty(shape, np.dtype(np.int64), device)
    argmax_dispatch[device.type](flat, axes, out)
    return out


@op
def argmin(device, x, *, axis, keepdim):
    return argmax(device, reverse_order(device, x), axis=axis, keepdim=keepdim)
