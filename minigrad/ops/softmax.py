"""Softmax and its logarithm along one axis; the largest element is taken off first, so that nothing overflows.

Memory: as for reductions, (A, B, C) with the axis in the middle.
"""

import numpy as np

from ..runtime import math, memory
from ..runtime.kernel import Array3, helper, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import compensated_total
from .op import Dispatch, op
from .promotion import expect_float
from .reduction import RUN, SLICE, plan


def three_axes(*arrays, axis):
    """Arrays of one layout as memory (A, B, C) with `axis` in the middle; views, so that the last can be filled."""
    order, sizes, *_ = plan(arrays[-1].shape, arrays[-1].strides, (axis,))
    return [memory.contiguous(array.transpose(order)).reshape(sizes) for array in arrays]


def _fill(run, *arrays, axis):
    """Run a kernel over (A, B, C); the last array is filled."""
    *inputs, out = three_axes(*arrays, axis=axis)
    if out.size:
        run.run_small(out.shape[0] * -(-out.shape[2] // SLICE), out.size, *inputs, out)


def softmax_numpy(x, axis, out):
    np.exp(x - x.max(axis, keepdims=True), out=out)
    out /= out.sum(axis, np.float64, keepdims=True)


@helper
def _exponentials(x, out, at, B, C):
    """Fill a line of out, B elements C apart, with e**(x - the largest of the line); the largest, and their sum."""
    best, total, lost = x[at], const(0, x), const(0, x)
    for b in range(1, B):
        best = larger(best, x[at + b * C])
    for first in range(0, B, RUN):
        run, stop = const(0, x), smaller(first + RUN, B)
        for b in range(first, stop):
            out[at + b * C] = math.exp(x[at + b * C] - best)
        for b in range(first, stop):
            run += out[at + b * C]
        total, lost = compensated_add(total, lost, run)
    return best, compensated_total(total, lost)


@kernel
def softmax_kernel(task, x: Array3, out: Array3):
    """One slice of C: largest, exponentials, their sum, quotient."""
    _, B, C = x.shape
    slices = (C + SLICE - 1) // SLICE
    a, start = task // slices, task % slices * SLICE
    for c in range(start, smaller(start + SLICE, C)):
        _, total = _exponentials(x, out, a * B * C + c, B, C)
        for b in range(B):
            out[(a * B + b) * C + c] /= total


def log_softmax_numpy(x, axis, out):
    np.subtract(x, x.max(axis, keepdims=True), out=out)
    out -= np.log(np.exp(out).sum(axis, np.float64, keepdims=True))


@kernel
def log_softmax_kernel(task, x: Array3, out: Array3):
    """One slice of C: x minus the logarithm of the sum of exponentials."""
    _, B, C = x.shape
    slices = (C + SLICE - 1) // SLICE
    a, start = task // slices, task % slices * SLICE
    for c in range(start, smaller(start + SLICE, C)):
        best, total = _exponentials(x, out, a * B * C + c, B, C)
        log_total = math.log(total)
        for b in range(B):
            out[(a * B + b) * C + c] = (x[(a * B + b) * C + c] - best) - log_total


def softmax_cpu(x, axis, out):
    _fill(softmax_kernel, x, out, axis=axis)


def log_softmax_cpu(x, axis, out):
    _fill(log_softmax_kernel, x, out, axis=axis)


softmax_dispatch = Dispatch("softmax", softmax_numpy, cpu=softmax_cpu)
log_softmax_dispatch = Dispatch("log_softmax", log_softmax_numpy, cpu=log_softmax_cpu)


def _forward(columns, device, x, axis):
    expect_float(columns.name, x)
    lines = x if x.ndim else x.reshape(1)
    out = memory.empty_like(lines)
    if x.size:
        columns[device.type](lines, axis, out)
    return out.reshape(x.shape)


@op
def softmax(device, x, *, axis):
    return _forward(softmax_dispatch, device, x, axis)


@softmax.gradient
def softmax_gradient(do, g, out, axis):
    """out * (g - sum(g * out))."""
    return (lambda: do.mul(out, do.sub(g, do.sum(do.mul(g, out), axes=(axis,), keepdim=True))),)


@op
def log_softmax(device, x, *, axis):
    return _forward(log_softmax_dispatch, device, x, axis)


@log_softmax.gradient
def log_softmax_gradient(do, g, out, axis):
    """g - softmax * sum(g)."""
    return (lambda: do.sub(g, do.mul(do.exp(out), do.sum(g, axes=(axis,), keepdim=True))),)
