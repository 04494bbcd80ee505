"""Sums, means, largest elements and their places, over any axes.

Every reduction is brought to three axes in memory, (A kept, B reduced, C kept), with C innermost: a sum over channels
of batch-innermost memory has long C, a sum over everything has A = C = 1.  Other patterns are copied to (A, B) first.
"""

from functools import cache
from itertools import pairwise
from math import prod

import numpy as np

from ..errors import DtypeError, ShapeError
from ..runtime import memory
from ..runtime.kernel import Array1, Array3, Ints, Tile, helper, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import compensated_total, lanes, outer_fma, store, sum_elements, zeros
from ..shapes import reduced
from .arithmetic import div, eq, neg, sub
from .op import Dispatch, op

SLICE = 512  # kept elements of C in one task


@cache
def plan(shape, strides, axes):
    """The order of axes that makes memory (A, B, C), the three sizes, the shape of the kept axes in that order, and how
    to turn them back.  Keeps the memory order where it has the form kept, reduced, kept; otherwise the reduced axes go
    last."""
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    kinds = [axis in axes for axis in order if shape[axis] != 1]
    changes = sum(a != b for a, b in pairwise(kinds))
    if changes > 2 or (changes == 2 and kinds[0]):
        order = [axis for axis in order if axis not in axes] + [axis for axis in order if axis in axes]
    places = [i for i, axis in enumerate(order) if axis in axes and shape[axis] != 1] or [len(order)]
    first, last = places[0], min(places[-1] + 1, len(order))
    sizes = [shape[axis] for axis in order]
    kept = [axis for axis in order if axis not in axes]
    back = tuple(sorted(range(len(kept)), key=kept.__getitem__))
    return (
        tuple(order),
        (prod(sizes[:first]), prod(sizes[first:last]), prod(sizes[last:])),
        tuple(shape[axis] for axis in kept),
        back,
    )


def _in_memory(run, x, axes, out):
    """Bring x to (A, B, C), call run(A, B, C, x, result) and put the result in its place."""
    order, sizes, kept, back = plan(x.shape, x.strides, axes)
    in_place = back == tuple(range(len(back))) and out.flags.c_contiguous
    result = out.reshape(kept) if in_place else memory.new_empty(out, kept, out.dtype)
    if result.size:
        run(*sizes, memory.contiguous(x.transpose(order)).reshape(sizes), result)
    if not in_place:
        memory.copy(out, result.transpose(back).reshape(out.shape))


def by_slices(kernel):
    """A cpu column that runs a kernel on (A, B, C), with a task for every slice of C."""

    def column(x, axes, out):
        def run(A, B, C, rows, result):
            kernel.run_small(A * -(-C // SLICE), rows.size, rows, result)

        _in_memory(run, x, axes, out)

    return column


RUN = 64  # additions in a row: longer ones lose digits


@kernel
def sum_kernel(task, x: Array3, one: Array1, out: Array1, tile: Tile):
    """out (A, C) = the sum over B of x (A, B, C), for as many neighbours on C as a tile is wide.

    Where C is 1, out (pieces, A): the sums of the first part of B, the second, and so on.
    """
    A, B, C = x.shape
    if C == 1:
        pieces = out.shape[0] // A
        piece, a, length = task // A, task % A, B // pieces
        out[task] = _row_sum(tile, x, a * B + piece * length, length, one)
        return
    slices = (C + tile.width - 1) // tile.width
    a, c = task // slices, task % slices * tile.width
    at, count = a * B * C + c, C - c
    if count < tile.width:
        total = _column_sum(tile, x, at, B, C, count, one)
    else:  # without masks: 1,000 rows of 256 take 57 us, 250 with them
        total = _column_sum(tile, x, at, B, C, None, one)
    store(total, out, a * C + c, 0, count)


@helper
def _column_sum(tile, x, at, rows, step, count, one):
    """The sums of `rows` rows, `step` from one to the next, of a tile's width."""
    total = lost = zeros(tile)
    for first in range(0, rows, RUN):
        run = zeros(tile)
        for row in range(first, smaller(first + RUN, rows)):
            run = outer_fma(run, one, 0, 0, x, at + row * step, count)
        total, lost = compensated_add(total, lost, run)
    return compensated_total(total, lost)


@helper
def _row_sum(tile, x, at, count, one):
    """The sum of `count` neighbours."""
    total = lost = const(0, x)
    for first in range(0, count, RUN * tile.width):
        run, stop = zeros(tile), smaller(first + RUN * tile.width, count)
        whole = stop - (stop - first) % tile.width
        for k in range(first, whole, tile.width):
            run = outer_fma(run, one, 0, 0, x, at + k, None)
        if whole < stop:
            run = outer_fma(run, one, 0, 0, x, at + whole, stop - whole)
        total, lost = compensated_add(total, lost, sum_elements(run))
    return compensated_total(total, lost)


def _sum(A, B, C, rows, result):
    tasks, tile = A * -(-C // (SUM_COLS * lanes(result.dtype))), (1, SUM_COLS, True)
    if C > 1 or B % PIECES or B < PIECES * PIECE:
        sum_kernel.run_small(tasks, rows.size, rows, one(result.dtype), result, tile)
        return
    parts = memory.empty((PIECES, A), result.dtype)  # a row of pixels belongs to one core, see elementwise.py
    sum_kernel(PIECES * A, rows, one(result.dtype), parts, tile)
    add_parts(parts, result)


def sum_cpu(x, axes, out):
    _in_memory(_sum, x, axes, out)


SUM_COLS = 4  # vectors side by side, enough to hide that an addition takes four cycles
PIECES = 4  # of long rows
PIECE = 4096  # elements that are worth a task


def add_parts(sums, out):
    """out = the sum over the first axis of sums (parts, ...)."""
    _sum(1, sums.shape[0], out.size, sums.reshape(1, sums.shape[0], -1), out)


@cache
def one(dtype):
    """A 1 for kernels to read."""
    return np.ones(1, dtype)


@kernel
def amax_kernel(task, x: Array3, out: Array1):
    """out (A, C) = the largest of x (A, B, C) over B; nan if there is one."""
    _, B, C = x.shape
    slices = (C + SLICE - 1) // SLICE
    a, start = task // slices, task % slices * SLICE
    for c in range(start, smaller(start + SLICE, C)):
        best = x[a * B * C + c]
        for b in range(1, B):
            value = x[(a * B + b) * C + c]
            best = value if value > best or value != value else best
        out[a * C + c] = best


@kernel
def argmax_kernel(task, x: Array3, out: Ints):
    """out (A, C) = where the first largest of x (A, B, C) is on B; the first nan if there is one."""
    _, B, C = x.shape
    slices = (C + SLICE - 1) // SLICE
    a, start = task // slices, task % slices * SLICE
    for c in range(start, smaller(start + SLICE, C)):
        best, place = x[a * B * C + c], 0
        for b in range(1, B):
            value = x[(a * B + b) * C + c]
            if value > best or (value != value and best == best):
                best, place = value, b
        out[a * C + c] = place


def sum_numpy(x, axes, out):
    """In float64, because NumPy adds up rows in one running total; it would use `out` for that, were it given."""
    out[...] = np.sum(x, axis=axes, dtype=np.result_type(out, np.int64), keepdims=x.ndim == out.ndim)


def amax_numpy(x, axes, out):
    np.amax(x, axis=axes, keepdims=x.ndim == out.ndim, out=out)


def argmax_numpy(x, axes, out):
    out[...] = np.argmax(x, axis=axes[0]).reshape(out.shape)


sum_dispatch = Dispatch("sum", sum_numpy, cpu=sum_cpu, floats=0)
amax_dispatch = Dispatch("amax", amax_numpy, cpu=by_slices(amax_kernel), floats=0)
argmax_dispatch = Dispatch("argmax", argmax_numpy, cpu=by_slices(argmax_kernel), floats=0)


# ---- sum, mean, and sum_to, which undoes broadcasting


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
    return (lambda: _spread(do, g, x_shape, axes),)


def _spread(do, g, shape, axes):
    """A gradient of reduced shape, repeated over the axes that were reduced."""
    return do.expand(do.reshape(g, shape=reduced(shape, axes, True)), shape=shape)


@op
def mean(device, x, *, axes, keepdim):
    if x.dtype.kind != "f":
        raise DtypeError(f"mean: expected a float tensor, got {x.dtype}; convert it with .float()")
    out = sum_(device, x, axes=axes, keepdim=keepdim)
    count = prod([x.shape[axis] for axis in axes])
    return div.forward(device, out, count)


@mean.gradient
def mean_gradient(do, g, x_shape, axes):
    count = prod([x_shape[axis] for axis in axes])
    return (lambda: _spread(do, do.div(g, count), x_shape, axes),)


@op
def sum_to(device, x, *, shape):
    """The sum over the axes along which `shape` was broadcast to x."""
    lead = x.ndim - len(shape)
    axes = tuple(axis for axis in range(x.ndim) if axis < lead or shape[axis - lead] == 1 != x.shape[axis])
    return sum_(device, x, axes=axes, keepdim=False).reshape(shape)


@sum_to.gradient
def sum_to_gradient(do, g, x_shape):
    return (lambda: do.expand(g, shape=x_shape),)


# ---- amax, amin, argmax, argmin


def _something(where, x, axes):
    empty = [axis for axis in axes if x.shape[axis] == 0]
    if empty:
        raise ShapeError(f"{where}: axis {empty[0]} of shape {x.shape} has no elements to choose from")


@op
def amax(device, x, *, axes, keepdim):
    _something("amax", x, axes)
    out = memory.empty(reduced(x.shape, axes, keepdim), x.dtype, device)
    amax_dispatch[device.type](x, axes, out)
    return out


@amax.gradient
def amax_gradient(do, g, x, out, x_shape, axes):
    """Equal largest elements share the gradient; so do nans, where there are some."""

    def share():
        ties = do.cast(do.eq(x, _spread(do, out, x_shape, axes)), dtype=g.dtype)
        ties = do.add(ties, do.cast(do.ne(x, x), dtype=g.dtype))
        return do.div(do.mul(_spread(do, g, x_shape, axes), ties), do.sum(ties, axes=axes, keepdim=True))

    return (share,)


def _turned(device, x):
    """x with the order of its elements turned round; done twice, x again."""
    if x.dtype.kind == "f":
        return neg.forward(device, x)
    if x.dtype.kind == "b":
        return eq.forward(device, x, False)
    return sub.forward(device, int(np.iinfo(x.dtype).max) if x.dtype.kind == "u" else -1, x)


@op
def amin(device, x, *, axes, keepdim):
    _something("amin", x, axes)
    return _turned(device, amax.forward(device, _turned(device, x), axes=axes, keepdim=keepdim))


amin.gradient(amax_gradient)


@op
def argmax(device, x, *, axis, keepdim):
    flat, axes = (memory.reshape(x, (x.size,)), (0,)) if axis is None else (x, (axis,))
    _something("argmax", flat, axes)
    shape = reduced(x.shape, tuple(range(x.ndim)) if axis is None else axes, keepdim)
    out = memory.empty(shape, np.dtype(np.int64), device)
    argmax_dispatch[device.type](flat if flat.ndim else flat.reshape(1), axes, out.reshape(()) if axis is None else out)
    return out


@op
def argmin(device, x, *, axis, keepdim):
    return argmax(device, _turned(device, x), axis=axis, keepdim=keepdim)
