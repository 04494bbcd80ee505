"""Normalisation on the GPU: a block for each row of memory (P, G, S, T); the formulas are in ../normalization.py."""

from ...runtime import memory
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.gpu import limit_threads
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const
from ..normalization import BATCH, GIVEN, RMS, moments_dispatch, norm_back_dispatch
from ..reduction import sum_dispatch
from .reduction import sum_threads

THREADS = limit_threads(256)  # that share a row


@helper
def _sum_block(shared, total, lost):
    """The sum of the totals of all threads, for each of them."""
    cuda.syncthreads()
    shared[cuda.threadIdx.x] = compensated_total(total, lost)
    sum_threads(shared, THREADS)
    cuda.syncthreads()
    return shared[0]


@kernel
def moments_kernel(x, out, B, first_power):
    """out (2, rows) = the mean, or 0 if first_power is 2, and the variance of x (rows, B)."""
    row, thread, rows = cuda.blockIdx.x, cuda.threadIdx.x, cuda.gridDim.x
    shared, center = cuda.shared.array(THREADS, out.dtype), const(0, out)
    for power in range(first_power, 3):
        total, lost = const(0, out), const(0, out)
        for b in range(thread, B, THREADS):
            d = x[row * B + b] - center
            total, lost = compensated_add(total, lost, d if power == 1 else d * d)
        moment = _sum_block(shared, total, lost) / const(B, out)
        if power == 1:
            center = moment
        elif not thread:
            out[row], out[rows + row] = center, moment


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


@moments_dispatch.register("cuda")
def moments_cuda(x, mode, out):
    P, G, S, T = x.shape
    moments_kernel[P * G, THREADS](x.reshape(-1), out.reshape(-1), S * T, 2 if mode == RMS else 1)


@norm_back_dispatch.register("cuda")
def norm_back_cuda(g, x, mean, rstd, weight, mode, dx, sums):
    P, G, S, T = x.shape
    products = memory.empty_like(x)
    inputs = [array.reshape(-1) for array in (g, x, mean, rstd, weight, dx, products)]
    norm_back_kernel[P * G, THREADS](*inputs, S * T, G, S, mode)
    sum_dispatch["cuda"](products, (0, 3), sums[0])
    sum_dispatch["cuda"](g, (0, 3), sums[1])
