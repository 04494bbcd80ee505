"""Softmax and its logarithm on the GPU: a thread for each (a, c) of memory (A, B, C); the formulas are in
../softmax.py."""

from functools import partial

from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const, exp, larger, log
from ..softmax import as_three_axes, log_softmax_dispatch, softmax_back_dispatch, softmax_dispatch


@helper
def _find_largest(x, at, B, C):
    """The largest of the B elements x[at], x[at + C], ..."""
    best = x[at]
    for b in range(1, B):
        best = larger(best, x[at + b * C])
    return best


@kernel
def softmax_kernel(x, out, AC, B, C):
    """exp(x - the largest), divided by their sum."""
    for i in range(cuda.grid(1), AC, cuda.gridsize(1)):
        at, total, lost = i // C * B * C + i % C, const(0, x), const(0, x)
        best = _find_largest(x, at, B, C)
        for b in range(B):
            e = exp(x[at + b * C] - best)
            out[at + b * C] = e
            total, lost = compensated_add(total, lost, e)
        total = compensated_total(total, lost)
        for b in range(B):
            out[at + b * C] /= total


@kernel
def log_softmax_kernel(x, out, AC, B, C):
    """x - the largest - log of the sum of exp(x - the largest)."""
    for i in range(cuda.grid(1), AC, cuda.gridsize(1)):
        at, total, lost = i // C * B * C + i % C, const(0, x), const(0, x)
        best = _find_largest(x, at, B, C)
        for b in range(B):
            total, lost = compensated_add(total, lost, exp(x[at + b * C] - best))
        log_total = log(compensated_total(total, lost))
        for b in range(B):
            out[at + b * C] = x[at + b * C] - best - log_total


@kernel
def softmax_back_kernel(slope, y, out, AC, B, C):
    """y * (slope - the sum of slope * y)."""
    for i in range(cuda.grid(1), AC, cuda.gridsize(1)):
        at, total, lost = i // C * B * C + i % C, const(0, y), const(0, y)
        for b in range(B):
            total, lost = compensated_add(total, lost, slope[at + b * C] * y[at + b * C])
        total = compensated_total(total, lost)
        for b in range(B):
            out[at + b * C] = y[at + b * C] * (slope[at + b * C] - total)


def _launch(kernel, *arguments):
    *inputs, axis, out = arguments
    arrays = as_three_axes(*inputs, out, axis=axis)
    A, B, C = arrays[-1].shape
    kernel.launch_over(A * C, *[array.reshape(-1) for array in arrays], A * C, B, C)


softmax_dispatch.register("cuda")(partial(_launch, softmax_kernel))
log_softmax_dispatch.register("cuda")(partial(_launch, log_softmax_kernel))
softmax_back_dispatch.register("cuda")(partial(_launch, softmax_back_kernel))
