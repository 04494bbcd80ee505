"""Pooling on the GPU: a thread for each output, and for each pixel of a gradient.  The formulas are in ../pool2d.py.

Memory is batch-innermost, so neighbouring threads do the same window of neighbouring images.  A gradient is gathered:
each pixel asks the windows that hold it, so that nothing is added by two threads at once.
"""

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import constant
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const
from ..pool2d import (
    avg_pool2d_back_dispatch,
    avg_pool2d_dispatch,
    max_pool2d_back_dispatch,
    max_pool2d_dispatch,
    max_pool2d_taken_dispatch,
)


def _flat(*arrays):
    """The memory behind arrays, batch-innermost."""
    return [memory.batch_last(array).reshape(-1) for array in arrays]


@kernel
def max_pool2d_kernel(x, out, places, N, H, W, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """One window of one image: the largest, and the number of its tap, the first of equals."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        n, window = i % N, i // N
        h0, v0, c = window // OW % OH * SH - top, window % OW * SW - left, window // (OW * OH)
        best, place, found = const(-np.inf, x), 0, False
        for k in range(KH * KW):
            h, v = h0 + k // KW * DH, v0 + k % KW * DW
            if h >= 0 and h < H and v >= 0 and v < W:
                value = x[((c * H + h) * W + v) * N + n]
                if not found or value > best or (value != value and best == best):
                    best, place, found = value, k, True
        out[i] = best
        places[i] = place


@max_pool2d_dispatch.register("cuda")
def max_pool2d_cuda(x, window, stride, pads, dilation, out, places):
    (N, _, OH, OW), (_, _, H, W) = out.shape, x.shape
    sizes = N, H, W, OH, OW, *window, *stride, pads[0], pads[2], *dilation
    max_pool2d_kernel.each(out.size, *_flat(x, out, places), *sizes)


@kernel
def max_pool2d_back_kernel(g, places, dx, N, H, W, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """One pixel of one image: what the windows that chose it send back."""
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, pixel = i % N, i // N
        h0, v0, c = pixel // W % H + top, pixel % W + left, pixel // (W * H)
        total = const(0, g)
        for k in range(KH * KW):
            h, v = h0 - k // KW * DH, v0 - k % KW * DW
            if h >= 0 and v >= 0 and h % SH == 0 and v % SW == 0 and h // SH < OH and v // SW < OW:
                at = ((c * OH + h // SH) * OW + v // SW) * N + n
                if places[at] == k:
                    total += g[at]
        dx[i] = total


@max_pool2d_back_dispatch.register("cuda")
def max_pool2d_back_cuda(g, places, window, stride, pads, dilation, dx):
    (N, _, H, W), (_, _, OH, OW) = dx.shape, g.shape
    sizes = N, H, W, OH, OW, *window, *stride, pads[0], pads[2], *dilation
    max_pool2d_back_kernel.each(dx.size, *_flat(g, places, dx), *sizes)


@kernel
def max_pool2d_taken_kernel(x, places, out, N, H, W, OH, OW, KW, SH, SW, top, left, DH, DW):
    """One window of one image: the pixel that it chose, or 0 if it holds none."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        n, window, place = i % N, i // N, np.int64(places[i])
        h = window // OW % OH * SH - top + place // KW * DH
        v, c = window % OW * SW - left + place % KW * DW, window // (OW * OH)
        inside = h >= 0 and h < H and v >= 0 and v < W
        out[i] = x[((c * H + h) * W + v) * N + n] if inside else const(0, x)


@max_pool2d_taken_dispatch.register("cuda")
def max_pool2d_taken_cuda(x, places, window, stride, pads, dilation, out):
    (N, _, OH, OW), (_, _, H, W) = out.shape, x.shape
    sizes = N, H, W, OH, OW, window[1], *stride, pads[0], pads[2], *dilation
    x, taken, result = _flat(x, places, out)
    max_pool2d_taken_kernel.each(out.size, x, taken, result, *sizes)


@kernel
def avg_pool2d_kernel(x, divisors, out, N, H, W, OH, OW, KH, KW, SH, SW, top, left):
    """One window of one image."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        n, window = i % N, i // N
        h0, v0, c = window // OW % OH * SH - top, window % OW * SW - left, window // (OW * OH)
        total = const(0, x)
        for h in range(max(h0, 0), min(h0 + KH, H)):
            for v in range(max(v0, 0), min(v0 + KW, W)):
                total += x[((c * H + h) * W + v) * N + n]
        out[i] = total / divisors[window % (OH * OW)]


@avg_pool2d_dispatch.register("cuda")
def avg_pool2d_cuda(x, window, stride, pads, divisors, out):
    (N, _, OH, OW), (_, _, H, W) = out.shape, x.shape
    sizes = N, H, W, OH, OW, *window, *stride, pads[0], pads[2]
    x, result = _flat(x, out)
    avg_pool2d_kernel.each(out.size, x, constant(divisors).reshape(-1), result, *sizes)


@kernel
def avg_pool2d_back_kernel(g, shares, dx, N, H, W, OH, OW, KH, KW, SH, SW, top, left):
    """One pixel of one image: its share from every window that holds it."""
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, pixel = i % N, i // N
        h, v, c = pixel // W % H + top, pixel % W + left, pixel // (W * H)
        total = const(0, g)
        for oh in range(max((h - KH + SH) // SH, 0), min(h // SH + 1, OH)):
            for ow in range(max((v - KW + SW) // SW, 0), min(v // SW + 1, OW)):
                total += g[((c * OH + oh) * OW + ow) * N + n] * shares[oh * OW + ow]
        dx[i] = total


@avg_pool2d_back_dispatch.register("cuda")
def avg_pool2d_back_cuda(g, window, stride, pads, shares, dx):
    (N, _, H, W), (_, _, OH, OW) = dx.shape, g.shape
    sizes = N, H, W, OH, OW, *window, *stride, pads[0], pads[2]
    g, result = _flat(g, dx)
    avg_pool2d_back_kernel.each(dx.size, g, constant(shares).reshape(-1), result, *sizes)
