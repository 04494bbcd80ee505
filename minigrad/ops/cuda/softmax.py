"""Softmax and its logarithm on the GPU: a thread for each (a, c) of memory (A, B, C).  The formulas are in
../softmax.py."""

from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import helper, kernel
from ...runtime.cuda.math import added, const, exp, larger, log, settled
from ..softmax import log_softmax_dispatch, softmax_dispatch, three_axes


@helper
def _largest(x, at, B, C):
    """The largest of a line: x[at], x[at + C], ..."""
    best = x[at]
    for b in range(1, B):
        best = larger(best, x[at + b * C])
    return best


@kernel
def softmax_kernel(x, out, AC, B, C):
    """Exponentials of what remains without the largest, their sum, quotient."""
    for i in range(cuda.grid(1), AC, cuda.gridsize(1)):
        at, total, lost = i // C * B * C + i % C, const(0, x), const(0, x)
        best = _largest(x, at, B, C)
        for b in range(B):
            e = exp(x[at + b * C] - best)
            out[at + b * C] = e
            total, lost = added(total, lost, e)
        total = settled(total, lost)
        for b in range(B):
            out[at + b * C] /= total


@kernel
def log_softmax_kernel(x, out, AC, B, C):
    """x minus the largest, minus the logarithm of the sum of exponentials."""
    for i in range(cuda.grid(1), AC, cuda.gridsize(1)):
        at, total, lost = i // C * B * C + i % C, const(0, x), const(0, x)
        best = _largest(x, at, B, C)
        for b in range(B):
            total, lost = added(total, lost, exp(x[at + b * C] - best))
        log_total = log(settled(total, lost))
        for b in range(B):
            out[at + b * C] = x[at + b * C] - best - log_total


def _run(kernel, x, axis, out):
    x, result = three_axes(x, out, axis=axis)
    A, B, C = result.shape
    kernel.each(A * C, x.reshape(-1), result.reshape(-1), A * C, B, C)


@softmax_dispatch.register("cuda")
def softmax_cuda(x, axis, out):
    _run(softmax_kernel, x, axis, out)


@log_softmax_dispatch.register("cuda")
def log_softmax_cuda(x, axis, out):
    _run(log_softmax_kernel, x, axis, out)
