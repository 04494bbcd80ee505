"""Softmax and its logarithm along one axis; the largest element is subtracted first, so that no exponential overflows.

Memory: as for reductions, (A, B, C) with the axis in the middle.
"""

import numpy as np

from ..runtime import math, memory
from ..runtime.kernel import Array3, helper, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import compensated_total
from .op import Dispatch, op
from .promotion import expect_float
from .reduction import KEPT_PER_TASK, TERMS_PER_PARTIAL_SUM, kept_range, plan_axes


def as_three_axes(*arrays, axis):
    """Arrays as memory (A, B, C), `axis` in the middle; the last gives the layout and stays a view, to be filled."""
    order, sizes, *_ = plan_axes(arrays[-1].shape, arrays[-1].strides, (axis,))
    return [memory.contiguous(array.transpose(order)).reshape(sizes) for array in arrays]


def _run_by(kernel):
    """The cpu implementation by a kernel of (*inputs, out) with one task for KEPT_PER_TASK elements of C."""

    def implementation(*arguments):
        *inputs, axis, out = arguments
        *inputs, out = as_three_axes(*inputs, out, axis=axis)
        kernel.run_small(out.shape[0] * -(-out.shape[2] // KEPT_PER_TASK), out.size, *inputs, out)

    return implementation


def softmax_numpy(x, axis, out):
    np.exp(x - x.max(axis, keepdims=True), out=out)
    out /= out.sum(axis, np.float64, keepdims=True)


@helper
def fill_exponentials(x, out, start, B, step):
    """Fill B elements of `out`, `step` apart, with e**(x - the largest of them); return the largest, and the sum."""
    best, total, error = x[start], const(0, x), const(0, x)
    for b in range(1, B):
        best = larger(best, x[start + b * step])
    for first in range(0, B, TERMS_PER_PARTIAL_SUM):
        partial, stop = const(0, x), smaller(first + TERMS_PER_PARTIAL_SUM, B)
        for b in range(first, stop):
            out[start + b * step] = math.exp(x[start + b * step] - best)
        for b in range(first, stop):
            partial += out[start + b * step]
        total, error = compensated_add(total, error, partial)
    return best, compensated_total(total, error)


@kernel
def softmax_kernel(task, x: Array3, out: Array3):
    """out = e**(x - largest) / the sum of these over B, for a range of C."""
    _, B, C = x.shape
    a, start, stop = kept_range(task, C)
    for c in range(start, stop):
        _, total = fill_exponentials(x, out, a * B * C + c, B, C)
        for b in range(B):
            out[(a * B + b) * C + c] /= total


def log_softmax_numpy(x, axis, out):
    np.subtract(x, x.max(axis, keepdims=True), out=out)
    out -= np.log(np.exp(out).sum(axis, np.float64, keepdims=True))


@kernel
def log_softmax_kernel(task, x: Array3, out: Array3):
    """out = x - largest - log(the sum of e**(x - largest) over B), for a range of C."""
    _, B, C = x.shape
    a, start, stop = kept_range(task, C)
    for c in range(start, stop):
        best, total = fill_exponentials(x, out, a * B * C + c, B, C)
        log_total = math.log(total)
        for b in range(B):
            out[(a * B + b) * C + c] = (x[(a * B + b) * C + c] - best) - log_total


softmax_dispatch = Dispatch("softmax", softmax_numpy, cpu=_run_by(softmax_kernel))
log_softmax_dispatch = Dispatch("log_softmax", log_softmax_numpy, cpu=_run_by(log_softmax_kernel))


def _compute(dispatch, device, x, axis):
    expect_float(dispatch.name, x)
    with_axis = x if x.ndim else x.reshape(1)
    out = memory.empty_like(with_axis)
    if x.size:
        dispatch[device.type](with_axis, axis, out)
    return out.reshape(x.shape)


@op
def softmax(device, x, *, axis):
    return _compute(softmax_dispatch, device, x, axis)


@softmax.gradient
def softmax_gradient(do, g, out, axis):
    return (lambda: do.softmax_back(g, out, axis=axis),)


def softmax_back_numpy(slope, y, axis, out):
    np.multiply(y, slope - (slope * y).sum(axis, np.float64, keepdims=True), out=out)


@kernel
def softmax_back_kernel(task, slope: Array3, y: Array3, out: Array3):
    """out = y * (slope - the sum of slope * y over B), for a range of C."""
    _, B, C = out.shape
    a, start, stop = kept_range(task, C)
    for c in range(start, stop):
        at, total, error = a * B * C + c, const(0, y), const(0, y)
        for first in range(0, B, TERMS_PER_PARTIAL_SUM):
            partial = const(0, y)
            for b in range(first, smaller(first + TERMS_PER_PARTIAL_SUM, B)):
                partial += slope[at + b * C] * y[at + b * C]
            total, error = compensated_add(total, error, partial)
        total = compensated_total(total, error)
        for b in range(B):
            out[at + b * C] = y[at + b * C] * (slope[at + b * C] - total)


softmax_back_dispatch = Dispatch("softmax_back", softmax_back_numpy, cpu=_run_by(softmax_back_kernel))


@op
def softmax_back(device, slope, y, *, axis):
    """The gradient of softmax, whose output is y, where `slope` is the gradient of y."""
    out = memory.empty_like(y)
    if out.size:
        slope, y, result = (array if y.ndim else array.reshape(1) for array in (slope, y, out))
        softmax_back_dispatch[device.type](slope, y, axis, result)
    return out


@softmax_back.gradient
def softmax_back_gradient(do, g, slope, y, axis):
    """It is linear in slope, by a symmetric matrix, and quadratic in y."""

    def by_y():
        sums = [do.sum(do.mul(x, y), axes=(axis,), keepdim=True) for x in (slope, g)]
        return do.sub(do.mul(g, do.sub(slope, sums[0])), do.mul(slope, sums[1]))

    return lambda: do.softmax_back(g, y, axis=axis), by_y


@op
def log_softmax(device, x, *, axis):
    return _compute(log_softmax_dispatch, device, x, axis)


@log_softmax.gradient
def log_softmax_gradient(do, g, out, axis):
    """g - softmax * sum(g)."""
    return (lambda: do.sub(g, do.mul(do.exp(out), do.sum(g, axes=(axis,), keepdim=True))),)
