"""Pooling on the GPU: a thread for each output, or each pixel of a gradient; the formulas are in ../pool2d.py.

Memory is batch-innermost, so neighbouring threads compute the same window of neighbouring images.  In a gradient each
pixel reads from the windows that hold it, so that no two threads add to the same pixel.
"""

from functools import partial

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import to_device_once
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.index import is_inside, join_index, split_index
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const, precedes
from ..pool2d import (
    avg_pool2d_back_dispatch,
    avg_pool2d_dispatch,
    max_pool2d_back_dispatch,
    max_pool2d_dispatch,
    max_pool2d_gather_dispatch,
)


def _launch(kernel, arrays, images, outputs, window, stride, pads, dilation=()):
    """Launch a kernel on arrays, the last of which is filled; images (N, C, H, W), outputs (N, C, OH, OW)."""
    (N, _, H, W), (_, _, OH, OW) = images.shape, outputs.shape
    sizes = N, H, W, OH, OW, *window, *stride, pads[0], pads[2], *dilation
    kernel.launch_over(arrays[-1].size, *[_flatten(array) for array in arrays], *sizes)


def _flatten(array):
    """The memory of an array: batch-innermost for (N, C, H, W), as it is for a table (OH, OW)."""
    return (memory.move_batch_last(array) if array.ndim == 4 else array).reshape(-1)


@partial(kernel, writes=("out", "places"))
def max_pool2d_kernel(x, out, places, N, H, W, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """One window of one image: its largest pixel, and the number of that pixel's tap, the first of equals."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, oh, ow, n = split_index(i, OH, OW, N)
        best, place, found = const(-np.inf, x), 0, False
        for k in range(KH * KW):
            h, w = oh * SH - top + k // KW * DH, ow * SW - left + k % KW * DW
            if is_inside(h, w, H, W):
                value = x[join_index(c, h, w, n, H, W, N)]
                if not found or precedes(value, best):
                    best, place, found = value, k, True
        out[i] = best
        places[i] = place


@max_pool2d_dispatch.register("cuda")
def max_pool2d_cuda(x, window, stride, pads, dilation, out, places):
    _launch(max_pool2d_kernel, (x, out, places), x, out, window, stride, pads, dilation)


@partial(kernel, writes=("dx",))
def max_pool2d_back_kernel(g, places, dx, N, H, W, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """One pixel of one image: the sum of g over the windows whose largest pixel it is."""
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        c, row, column, n = split_index(i, H, W, N)
        h, w, total = row + top, column + left, const(0, g)
        for oh in range(max((h - (KH - 1) * DH + SH - 1) // SH, 0), min(h // SH + 1, OH)):
            for ow in range(max((w - (KW - 1) * DW + SW - 1) // SW, 0), min(w // SW + 1, OW)):
                down, right = h - oh * SH, w - ow * SW
                at = join_index(c, oh, ow, n, OH, OW, N)
                if down % DH == 0 and right % DW == 0 and places[at] == down // DH * KW + right // DW:
                    total += g[at]
        dx[i] = total


@max_pool2d_back_dispatch.register("cuda")
def max_pool2d_back_cuda(g, places, window, stride, pads, dilation, dx):
    _launch(max_pool2d_back_kernel, (g, places, dx), dx, g, window, stride, pads, dilation)


@partial(kernel, writes=("out",))
def max_pool2d_gather_kernel(x, places, out, N, H, W, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """One window of one image: the pixel at its place, or 0 if it is outside the image."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, oh, ow, n = split_index(i, OH, OW, N)
        place = np.int64(places[i])
        h, w = oh * SH - top + place // KW * DH, ow * SW - left + place % KW * DW
        out[i] = x[join_index(c, h, w, n, H, W, N)] if is_inside(h, w, H, W) else const(0, x)


@max_pool2d_gather_dispatch.register("cuda")
def max_pool2d_gather_cuda(x, places, window, stride, pads, dilation, out):
    _launch(max_pool2d_gather_kernel, (x, places, out), x, out, window, stride, pads, dilation)


@partial(kernel, writes=("out",))
def avg_pool2d_kernel(x, divisors, out, N, H, W, OH, OW, KH, KW, SH, SW, top, left):
    """One window of one image: the sum of its pixels, divided."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, oh, ow, n = split_index(i, OH, OW, N)
        h0, w0, total = oh * SH - top, ow * SW - left, const(0, x)
        for h in range(max(h0, 0), min(h0 + KH, H)):
            for w in range(max(w0, 0), min(w0 + KW, W)):
                total += x[join_index(c, h, w, n, H, W, N)]
        out[i] = total / divisors[oh * OW + ow]


@avg_pool2d_dispatch.register("cuda")
def avg_pool2d_cuda(x, window, stride, pads, divisors, out):
    _launch(avg_pool2d_kernel, (x, to_device_once(divisors), out), x, out, window, stride, pads)


@partial(kernel, writes=("dx",))
def avg_pool2d_back_kernel(g, shares, dx, N, H, W, OH, OW, KH, KW, SH, SW, top, left):
    """One pixel of one image: its share of g from every window that holds it."""
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        c, row, column, n = split_index(i, H, W, N)
        h, w, total = row + top, column + left, const(0, g)
        for oh in range(max((h - KH + SH) // SH, 0), min(h // SH + 1, OH)):
            for ow in range(max((w - KW + SW) // SW, 0), min(w // SW + 1, OW)):
                total += g[join_index(c, oh, ow, n, OH, OW, N)] * shares[oh * OW + ow]
        dx[i] = total


@avg_pool2d_back_dispatch.register("cuda")
def avg_pool2d_back_cuda(g, window, stride, pads, shares, dx):
    _launch(avg_pool2d_back_kernel, (g, to_device_once(shares), dx), dx, g, window, stride, pads)
