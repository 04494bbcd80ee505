"""Normalisation on the GPU: a block for each row of memory (P, G, S, T); the formulas are in ../normalization.py."""

from ...runtime import memory
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.gpu import limit_threads
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const, sqrt
from ..elementwise import fill_by
from ..normalization import BATCH, GIVEN, RMS, norm_back_dispatch, norm_dispatch, normalise
from ..op import Dispatch
from ..reduction import sum_dispatch
from .reduction import sum_threads

THREADS = limit_threads(256)  # that share a row
normalise_dispatch = Dispatch("normalise", fill_by(normalise), formula=normalise)


@helper
def _sum_block(shared, total, lost):
    """The sum of the totals of all threads, for each of them."""
    cuda.syncthreads()
    shared[cuda.threadIdx.x] = compensated_total(total, lost)
    sum_threads(shared, THREADS)
    cuda.syncthreads()
    return shared[0]


@kernel
def statistics_kernel(x, running_mean, running_var, mode, moves, momentum, eps, mean, rstd, B):
    """The mean and the rstd of x (rows, B); the running statistics move."""
    row, thread = cuda.blockIdx.x, cuda.threadIdx.x
    shared, center, moment = cuda.shared.array(THREADS, mean.dtype), const(0, mean), const(0, mean)
    if mode == GIVEN:
        center, moment = running_mean[row], running_var[row]
    else:
        for power in range(2 if mode == RMS else 1, 3):
            total, lost = const(0, mean), const(0, mean)
            for b in range(thread, B, THREADS):
                d = x[row * B + b] - center
                total, lost = compensated_add(total, lost, d if power == 1 else d * d)
            moment = _sum_block(shared, total, lost) / const(B, mean)
            if power == 1:
                center = moment
    if not thread:
        mean[row], rstd[row] = center, const(1, mean) / sqrt(moment + const(eps, mean))
        if moves:
            share, keep = const(momentum, mean), const(1 - momentum, mean)
            running_mean[row] = keep * running_mean[row] + share * center
            running_var[row] = keep * running_var[row] + share * (moment * const(B, mean) / const(B - 1, mean))


@kernel
def norm_back_kernel(g, x, mean, rstd, weight, dx, products, B, G, S, mode):
    """dx of x (rows, B), and g * xhat."""
    row, thread, T = cuda.blockIdx.x, cuda.threadIdx.x, B // S
    shared, w, center, scale = cuda.shared.array(THREADS, dx.dtype), row % G * S, mean[row], rstd[row]
    shift, lost_shift, slope, lost_slope = const(0, dx), const(0, dx), const(0, dx), const(0, dx)
    for b in range(thread, B, THREADS):
        k = row * B + b
        u, xhat = g[k] * weight[w + b // T], (x[k] - center) * scale
        products[k] = g[k] * xhat
        shift, lost_shift = compensated_add(shift, lost_shift, u)
        slope, lost_slope = compensated_add(slope, lost_slope, u * xhat)
    shift = _sum_block(shared, shift, lost_shift) / const(B, dx)
    slope = _sum_block(shared, slope, lost_slope) / const(B, dx)
    for b in range(thread, B, THREADS):
        k = row * B + b
        u = g[k] * weight[w + b // T]
        if mode != GIVEN:
            u -= (x[k] - center) * scale * slope
        dx[k] = scale * (u - shift if mode == BATCH else u)


@norm_dispatch.register("cuda")
def norm_cuda(x, running_mean, running_var, weight, bias, mode, moves, momentum, eps, mean, rstd, out):
    P, G, S, T = x.shape
    arrays = [array.reshape(-1) for array in (x, running_mean, running_var, mean, rstd)]
    statistics_kernel[P * G, THREADS](*arrays[:3], mode, moves, momentum, eps, *arrays[3:], S * T)
    normalise_dispatch["cuda"](x, mean, rstd, weight, bias, out)


@norm_back_dispatch.register("cuda")
def norm_back_cuda(g, x, mean, rstd, weight, mode, dx, dweight, dbias):
    P, G, S, T = x.shape
    products = memory.empty_like(x)
    inputs = [array.reshape(-1) for array in (g, x, mean, rstd, weight, dx, products)]
    norm_back_kernel[P * G, THREADS](*inputs, S * T, G, S, mode)
    sum_dispatch["cuda"](products, (0, 3), dweight)
    sum_dispatch["cuda"](g, (0, 3), dbias)
