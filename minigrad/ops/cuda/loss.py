"""Losses of classification on the GPU: a thread for each image, and one block that adds them up; the formulas are in
../loss.py."""

from functools import partial

import numpy as np

from ...runtime.cuda.block import sum_threads
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.gpu import limit_threads
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const, exp, larger, log
from ..loss import cross_entropy_back_dispatch, cross_entropy_dispatch, nll_dispatch, reduce_dispatch

REDUCE_THREADS = limit_threads(256)  # that add up all losses


@helper
def _is_counted(label, ignore, K):
    """Whether an image counts; one whose label is no class, which expect_range reports, does not."""
    return label != ignore and label >= 0 and label < K


@partial(kernel, shared=0)
def cross_entropy_kernel(x, labels, weight, smoothing, ignore, losses, factors, sums, counted, slopes, K, M):
    """One image after the other: softmax, the loss from the log of its sum, the sum of the target, and the slopes."""
    rest, whole = smoothing / const(K, x), const(0, x)
    for k in range(K):
        whole += rest * weight[k]
    for m in range(cuda.grid(1), M, cuda.gridsize(1)):
        y = labels[m]
        counted[m] = _is_counted(y, ignore, K)
        if not counted[m]:
            losses[m] = factors[m] = sums[m] = const(0, x)
            for k in range(K):
                slopes[k * M + m] = const(0, x)
            continue
        best, total, lost, loss = x[m], const(0, x), const(0, x), const(0, x)
        for k in range(1, K):
            best = larger(best, x[k * M + m])
        for k in range(K):
            e = exp(x[k * M + m] - best)
            slopes[k * M + m] = e
            total, lost = compensated_add(total, lost, e)
        total = compensated_total(total, lost)
        log_total, own = log(total), (const(1, x) - smoothing) * weight[y]
        share = (own + whole) / total
        for k in range(K):
            slopes[k * M + m] = slopes[k * M + m] * share - rest * weight[k]
            if rest > const(0, x):
                loss -= rest * weight[k] * (x[k * M + m] - best - log_total)
        slopes[y * M + m] -= own
        losses[m] = loss - own * (x[y * M + m] - best - log_total)
        factors[m], sums[m] = weight[y], own + whole


@cross_entropy_dispatch.register("cuda")
def cross_entropy_cuda(x, labels, weight, smoothing, ignore, losses, factors, sums, counted, slopes):
    K, M = x.shape
    filled = losses, factors, sums, counted, slopes.reshape(-1)
    cross_entropy_kernel.launch_over(M, x.reshape(-1), labels, weight, float(smoothing), ignore, *filled, K, M)


@partial(kernel, shared=0)
def cross_entropy_back_kernel(g, slopes, counted, total, step, dx, M):
    """slopes * g / total; `step` is 1 if each image has its own g, else 0."""
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        dx[i] = slopes[i] * (g[i % M * step] / total[0]) if counted[i % M] else const(0, dx)


@cross_entropy_back_dispatch.register("cuda")
def cross_entropy_back_cuda(g, slopes, counted, total, dx):
    arrays = slopes.reshape(-1), counted, total
    cross_entropy_back_kernel.launch_over(dx.size, g, *arrays, int(g.size > 1), dx.reshape(-1), slopes.shape[1])


@partial(kernel, shared=2 * REDUCE_THREADS)
def reduce_kernel(losses, factors, mean, total, out, M):
    """One block: the sum of the losses, divided by that of the factors if `mean` is 1; a mean over nothing is nan."""
    thread = cuda.threadIdx.x
    sums = cuda.shared.array(REDUCE_THREADS, losses.dtype)
    divisors = cuda.shared.array(REDUCE_THREADS, losses.dtype)
    loss, loss_lost, divisor, divisor_lost = const(0, losses), const(0, losses), const(0, losses), const(0, losses)
    for m in range(thread, M, REDUCE_THREADS):
        loss, loss_lost = compensated_add(loss, loss_lost, losses[m])
        divisor, divisor_lost = compensated_add(divisor, divisor_lost, factors[m])
    sums[thread], divisors[thread] = compensated_total(loss, loss_lost), compensated_total(divisor, divisor_lost)
    sum_threads(sums, REDUCE_THREADS)
    sum_threads(divisors, REDUCE_THREADS)
    if not thread:
        total[0] = const(1, losses)
        if mean:
            total[0] = divisors[0] if divisors[0] != const(0, losses) else const(np.nan, losses)
        out[0] = sums[0] / total[0]


@reduce_dispatch.register("cuda")
def reduce_cuda(losses, factors, mean, total, out):
    reduce_kernel[1, REDUCE_THREADS](losses, factors, int(mean), total, out.reshape(1), losses.size)


@partial(kernel, shared=0)
def nll_kernel(x, labels, weight, ignore, losses, factors, places, counted, K, M):
    """One image after the other: its loss, the weight of its class, and its label, or 0 if it is ignored."""
    for m in range(cuda.grid(1), M, cuda.gridsize(1)):
        y = labels[m]
        counted[m] = _is_counted(y, ignore, K)
        if counted[m]:
            places[m], factors[m], losses[m] = y, weight[y], -weight[y] * x[y * M + m]
        else:
            places[m] = 0
            factors[m] = losses[m] = const(0, x)


@nll_dispatch.register("cuda")
def nll_cuda(x, labels, weight, ignore, *filled):
    K, M = x.shape
    nll_kernel.launch_over(M, x.reshape(-1), labels, weight, ignore, *filled, K, M)
