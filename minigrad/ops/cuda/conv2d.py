"""Convolution on the GPU: its three kernels.  The formulas are in ../conv2d.py.

A thread keeps a tile of filters x images in registers; the threads of a block stand side by side along the images, so
that what they read lies behind each other, and above each other along positions of the output.  A block goes through
the taps of its windows in chunks: it first writes down in shared memory the weights of a chunk and, for each of its
positions, where each tap lies in memory, or -1 for one outside the image; then each thread adds tap by tap.  The input
gradient is the same sum over other taps.

The weight gradient is a sum over positions and images: the threads of a block share these among themselves, each
keeps a tile of filters x taps, and at the end the block adds up its threads' tiles in a fixed order.
"""

from functools import cache

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import constant
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import Kernel, helper, kernel
from ...runtime.cuda.machine import machine, threads
from ...runtime.cuda.math import const
from ...runtime.cuda.tile import split, tile
from ..conv2d import _tap_offsets, conv2d_dispatch, conv2d_input_dispatch, conv2d_weight_dispatch
from . import tensor_cores
from .reduction import add_parts

CHUNK = 32  # taps that a block looks up at a time
THREADS = threads(128)  # of a block
TILES = ((16, 4), (8, 4), (8, 2), (4, 2), (4, 1))  # rows and images of a thread, the most work first


# ---- forward and input gradient: sums over the taps of a window


@helper
def _forward_weight(k, row, w, taps, C, F, KH, KW):
    """Weight number k of filter `row`, which counts through all groups."""
    return w[row * taps + k]


@helper
def _forward_pixel(k, place, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """The pixel (c, h, v) under tap k of window `place`, or -1."""
    h = place // OW * SH - top + k // KW % KH * DH
    v = place % OW * SW - left + k % KW * DW
    if h < 0 or h >= H or v < 0 or v >= W:
        return -1
    return ((group * C + k // (KH * KW)) * H + h) * W + v


@helper
def _input_weight(k, row, w, taps, C, F, KH, KW):
    """The weight between channel `row`, which counts through all groups, and the output that is tap k of a pixel."""
    return w[((row // C * F + k // (KH * KW)) * C + row % C) * (KH * KW) + k % (KH * KW)]


@helper
def _input_pixel(k, place, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """The window (f, oh, ow) of which pixel `place` is tap k, or -1."""
    h = place // W + top - k // KW % KH * DH
    v = place % W + left - k % KW * DW
    if h < 0 or h % SH or h // SH >= OH or v < 0 or v % SW or v // SW >= OW:
        return -1
    return ((group * F + k // (KH * KW)) * OH + h // SH) * OW + v // SW


@cache
def sums_kernel(rows: int, cols: int, across: int, gradient: bool) -> Kernel:
    """The kernel for tiles of rows x cols and `across` positions in a block; of the input gradient or the forward."""
    t, weight, pixel = (
        tile(rows, cols),
        _input_weight if gradient else _forward_weight,
        _input_pixel if gradient else _forward_pixel,
    )
    weights_room, pixels_room = CHUNK * rows, CHUNK * across

    def sums(
        source, w, b, out, N, M, places, taps, biased, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW
    ):  # fmt: skip
        """out (groups * M, places, N) from source (.., .., N): for each of M rows of a group the sum over its taps of
        weight times pixel.  C, F: channels and filters of a group."""
        lane, lanes, thread = cuda.threadIdx.x, cuda.blockDim.x, cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        blocks = (M + rows - 1) // rows
        group, m = cuda.blockIdx.z // blocks, min(cuda.blockIdx.z % blocks * rows, M - rows)  # the last one overlaps
        first_place, first_image = cuda.blockIdx.x * across, cuda.blockIdx.y * lanes * cols + lane
        weights = cuda.shared.array(weights_room, w.dtype)
        pixels = cuda.shared.array(pixels_room, np.int32)
        images = t.places(first_image, lanes, N - 1)
        acc = t.start(b, (group * M + m) * biased, biased, biased)
        for start in range(0, taps, CHUNK):
            count = min(CHUNK, taps - start)
            cuda.syncthreads()
            for i in range(thread, count * rows, THREADS):
                weights[i] = weight(start + i // rows, group * M + m + i % rows, w, taps, C, F, KH, KW)
            for i in range(thread, count * across, THREADS):
                place = min(first_place + i % across, places - 1)
                pixels[i] = pixel(
                    start + i // across, place, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW
                )
            cuda.syncthreads()
            for k in range(count):
                at = pixels[k * across + cuda.threadIdx.y]
                if at >= 0:
                    acc = t.fma(acc, t.neighbours(weights, k * rows), t.pick(source, at * N, images))
        place = first_place + cuda.threadIdx.y
        if place < places:
            count = (N - first_image + lanes - 1) // lanes
            t.store(acc, out, ((group * M + m) * places + place) * N, places * N, images, count)

    return Kernel(sums, f"conv2d.{'input' if gradient else 'forward'}-{rows}x{cols}x{across}")


def _launch_sums(source, w, b, out, M, places, groups, gradient, *sizes):
    """Choose a tile and run; M rows of outputs in each group."""
    N, taps = out.shape[-1], w.size // (M * groups)
    lanes = 1
    while lanes < min(N, 32, THREADS):
        lanes *= 2
    across = THREADS // lanes
    for most, cols in TILES:
        rows = split(M, most)
        grid = -(-places // across), -(-N // (lanes * cols)), groups * -(-M // rows)
        if grid[0] * grid[1] * grid[2] >= 2 * machine().processors and (cols == 1 or lanes * cols <= 2 * N):
            break
    run = sums_kernel(rows, cols, across, gradient)
    flat = [array.reshape(-1) for array in (source, w, w if b is None else b, out)]
    run[grid, (lanes, across)](*flat, N, M, places, taps, int(b is not None), *sizes)


@conv2d_dispatch.register("cuda")
def conv2d_cuda(x, w, b, stride, pads, dilation, groups, out):
    if not out.size:
        return
    x, w, result = memory.batch_last(x), memory.contiguous(w), memory.batch_last(out)
    (F, C, KH, KW), (_, H, W, _), (_, OH, OW, _) = w.shape, x.shape, result.shape
    sizes = C, H, W, F // groups, OH, OW, KH, KW, *stride, pads[0], pads[2], *dilation
    b = None if b is None else memory.contiguous(b)
    if stride == (1, 1) and groups == 1 and tensor_cores.wanted(out.dtype, out.size * w[0].size):
        taps = tensor_cores.forward_taps(C, H, W, KH, KW, *dilation)
        tensor_cores.windows(x, w.reshape(F, -1), b, result, taps, pads[0], pads[2])
        return
    _launch_sums(x, w, b, result, F // groups, OH * OW, groups, False, *sizes)


@conv2d_input_dispatch.register("cuda")
def conv2d_input_cuda(g, w, stride, pads, dilation, groups, dx):
    if not dx.size:
        return
    g, w, result = memory.batch_last(g), memory.contiguous(w), memory.batch_last(dx)
    (F, C, KH, KW), (_, H, W, _), (_, OH, OW, _) = w.shape, result.shape, g.shape
    sizes = C, H, W, F // groups, OH, OW, KH, KW, *stride, pads[0], pads[2], *dilation
    if stride == (1, 1) and groups == 1 and tensor_cores.wanted(dx.dtype, dx.size * w[:, 0].size):
        taps = tensor_cores.input_taps(F, OH, OW, KH, KW, *dilation)
        tensor_cores.windows(g, tensor_cores.turned(w), None, result, taps, -pads[0], -pads[2])
        return
    _launch_sums(g, w, None, result, C, H * W, groups, True, *sizes)


# ---- weight gradient


@kernel
def margin_kernel(x, out, H, W, N, rows, columns, top, left, phases):
    """x (C, H, W, N) within margins of zeros, out (C, rows, phases * columns, N), every phases-th pixel beside the
    next."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        n, pixel = i % N, i // N
        place, line = pixel % (phases * columns), pixel // (phases * columns)
        v, h = place % columns * phases + place // columns - left, line % rows - top
        inside = h >= 0 and h < H and v >= 0 and v < W
        out[i] = x[((line // rows * H + h) * W + v) * N + n] if inside else const(0, x)


def with_margin(x, pads, phases):
    """x (C, H, W, N) with margins of zeros, and its columns in phases: (C, H', phases * W', N)."""
    if phases == 1 and not any(pads):
        return x
    C, H, W, N = x.shape
    top, bottom, left, right = pads
    columns, rows = -(-(left + W + right) // phases), top + H + bottom
    out = memory.beside(x, (C, rows, phases * columns, N), x.dtype)
    margin_kernel.each(out.size, x.reshape(-1), out.reshape(-1), H, W, N, rows, columns, top, left, phases)
    return out


TEAM = threads(64)  # threads that add up one tile
GRADIENT_TILE = 8  # most filters, and most taps, of a thread


@cache
def weight_kernel(rows: int, cols: int) -> Kernel:
    """The kernel for tiles of rows filters x cols taps."""
    t, line = tile(rows, cols), TEAM + 1  # one more than a line holds, so that columns lie in different banks
    room = rows * cols * line

    def weight(g, x, taps, sums, F, OH, length, T, group_pixels, row_pixels, height):
        """sums (parts, groups * F, T): over `height` rows of outputs.  g (groups * F, OH, length), x with margins;
        taps (T): where each tap of the first group lies in x; length = OW * N."""
        thread, part = cuda.threadIdx.x, cuda.blockIdx.z
        blocks = (F + rows - 1) // rows
        group, f = cuda.blockIdx.y // blocks, min(cuda.blockIdx.y % blocks * rows, F - rows)
        first, filters = min(cuda.blockIdx.x * cols, T - cols), cuda.gridDim.y // blocks * F
        offsets = t.beside(taps, first)
        acc = t.zeros(g)
        for oh in range(part * height, min((part + 1) * height, OH)):
            row, pixels = ((group * F + f) * OH + oh) * length, group * group_pixels + oh * row_pixels
            for i in range(thread, length, TEAM):
                acc = t.fma(acc, t.apart(g, row + i, OH * length), t.pick(x, pixels + i, offsets))
        shared = cuda.shared.array(room, g.dtype)
        t.spill(acc, shared, thread, line)
        cuda.syncthreads()
        for value in range(thread, rows * cols, TEAM):
            total = shared[value * line]
            for other in range(1, TEAM):
                total += shared[value * line + other]
            sums[(part * filters + group * F + f + value // cols) * T + first + value % cols] = total

    return Kernel(weight, f"conv2d.weight-{rows}x{cols}")


@conv2d_weight_dispatch.register("cuda")
def conv2d_weight_cuda(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.batch_last(g), with_margin(memory.batch_last(x), pads, stride[1])
    (_, OH, OW, N), F, (C, H, W, _) = g.shape, g.shape[0] // groups, x.shape
    taps = constant(_tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation))
    rows, cols = split(F, GRADIENT_TILE), split(taps.size, GRADIENT_TILE)
    tiles = -(-taps.size // cols), groups * -(-F // rows)
    parts = min(-(-8 * machine().processors // (tiles[0] * tiles[1])), OH)
    height = -(-OH // parts)
    parts = -(-OH // height)
    sums = memory.beside(dw, (parts, *dw.shape), dw.dtype) if parts > 1 else dw
    flat = [array.reshape(-1) for array in (g, x, taps, sums)]
    sizes = F, OH, OW * N, taps.size, C // groups * H * W * N, stride[0] * W * N, height
    weight_kernel(rows, cols)[(*tiles, parts), TEAM](*flat, *sizes)
    if parts > 1:
        add_parts(sums, dw)
