"""Convolution, its input gradient and its weight gradient on the GPU; the formulas are in ../conv2d.py.

Forward and input gradient: a thread keeps a tile of filters x images in registers.  The threads of a block lie along
images on x, so that they read consecutive memory, and along positions of the output on y.  A block goes through the
taps of its windows in chunks.  It first writes to shared memory the weights of a chunk and, for each of its positions,
the pixel that each tap reads, or -1 for one outside the image; then each thread adds tap by tap.  The input gradient is
the same sum over other taps.

The weight gradient is a sum over positions and images.  The threads of a block share them, each keeps a tile of
filters x taps, and at the end the block adds up its threads' tiles in a fixed order.
"""

from functools import cache

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import to_device_once
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.gpu import current_gpu, limit_threads
from ...runtime.cuda.index import is_inside, join_index, split_index
from ...runtime.cuda.kernel import Kernel, kernel
from ...runtime.cuda.math import const
from ...runtime.cuda.tile import register_tile, split_evenly
from ..conv2d import conv2d_dispatch, conv2d_input_dispatch, conv2d_weight_dispatch, tap_offsets
from . import tf32
from .reduction import add_parts

CHUNK = 32  # taps whose weights and pixels a block holds in shared memory
THREADS = limit_threads(128)  # of a block
TILES = ((16, 4), (8, 4), (8, 2), (4, 2), (4, 1))  # rows and images of a thread, the largest first


# ---- forward and input gradient: sums over the taps of a window


@helper
def _forward_weight(k, row, w, taps, C, F, KH, KW):
    """Weight k of filter `row`, counted through all groups."""
    return w[row * taps + k]


@helper
def _forward_pixel(k, position, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """The index (c, h, v) of the pixel that tap k of the window at `position` reads, or -1."""
    h = position // OW * SH - top + k // KW % KH * DH
    v = position % OW * SW - left + k % KW * DW
    return ((group * C + k // (KH * KW)) * H + h) * W + v if is_inside(h, v, H, W) else -1


@helper
def _input_weight(k, row, w, taps, C, F, KH, KW):
    """The weight from channel `row`, counted through all groups, to the output that is tap k of a pixel."""
    return w[((row // C * F + k // (KH * KW)) * C + row % C) * (KH * KW) + k % (KH * KW)]


@helper
def _input_pixel(k, position, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW):
    """The index (f, oh, ow) of the output that is tap k of the pixel at `position`, or -1."""
    h = position // W + top - k // KW % KH * DH
    v = position % W + left - k % KW * DW
    if h < 0 or h % SH or h // SH >= OH or v < 0 or v % SW or v // SW >= OW:
        return -1
    return ((group * F + k // (KH * KW)) * OH + h // SH) * OW + v // SW


@cache
def sums_kernel(rows: int, cols: int, block_positions: int, gradient: bool) -> Kernel:
    """The kernel of the forward or input gradient: tiles of rows x cols, and `block_positions` positions in a block."""
    tile = register_tile(rows, cols)
    get_weight, get_pixel = (_input_weight, _input_pixel) if gradient else (_forward_weight, _forward_pixel)
    weights_size, pixels_size = CHUNK * rows, CHUNK * block_positions

    def sums(
        source, w, b, out, N, M, positions, taps, biased, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW
    ):  # fmt: skip
        """out (groups * M, positions, N) = for each of the M rows of a group the sum over its taps of weight * pixel of
        source (.., .., N).  C and F are the channels and filters of a group."""
        lane, lanes, thread = cuda.threadIdx.x, cuda.blockDim.x, cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        blocks = (M + rows - 1) // rows
        group, m = cuda.blockIdx.z // blocks, min(cuda.blockIdx.z % blocks * rows, M - rows)  # the last block overlaps
        first_position, first_image = cuda.blockIdx.x * block_positions, cuda.blockIdx.y * lanes * cols + lane
        weights = cuda.shared.array(weights_size, w.dtype)
        pixels = cuda.shared.array(pixels_size, np.int32)
        images = tile.column_offsets(first_image, lanes, N - 1)
        acc = tile.broadcast_rows(b, (group * M + m) * biased, biased, biased)
        for start in range(0, taps, CHUNK):
            count = min(CHUNK, taps - start)
            cuda.syncthreads()
            for i in range(thread, count * rows, THREADS):
                weights[i] = get_weight(start + i // rows, group * M + m + i % rows, w, taps, C, F, KH, KW)
            for i in range(thread, count * block_positions, THREADS):
                k, position = start + i // block_positions, min(first_position + i % block_positions, positions - 1)
                pixels[i] = get_pixel(k, position, group, C, H, W, F, OH, OW, KH, KW, SH, SW, top, left, DH, DW)
            cuda.syncthreads()
            for k in range(count):
                pixel = pixels[k * block_positions + cuda.threadIdx.y]
                if pixel >= 0:
                    values = tile.gather_cols(source, pixel * N, images)
                    acc = tile.outer_fma(acc, tile.load_rows(weights, k * rows), values)
        position = first_position + cuda.threadIdx.y
        if position < positions:
            count = (N - first_image + lanes - 1) // lanes
            tile.store(acc, out, ((group * M + m) * positions + position) * N, positions * N, images, count)

    return Kernel(sums, f"conv2d.{'input' if gradient else 'forward'}-{rows}x{cols}x{block_positions}")


def _choose_tile(M, N, positions, groups):
    """The rows and columns of a tile, the threads of a block along images and positions, and the grid."""
    lanes = 1
    while lanes < min(N, 32, THREADS):
        lanes *= 2
    block_positions = THREADS // lanes
    for max_rows, cols in TILES:
        rows = split_evenly(M, max_rows)
        grid = -(-positions // block_positions), -(-N // (lanes * cols)), groups * -(-M // rows)
        enough_blocks = grid[0] * grid[1] * grid[2] >= 2 * current_gpu().multiprocessors
        if enough_blocks and (cols == 1 or lanes * cols <= 2 * N):
            break
    return rows, cols, (lanes, block_positions), grid


def _fill_sums(source, w, b, out, stride, pads, dilation, groups, gradient):
    """Fill `out` of the forward from x, or dx of the input gradient from g."""
    if not out.size:
        return
    source, w, out = memory.move_batch_last(source), memory.contiguous(w), memory.move_batch_last(out)
    images, outputs = (out, source) if gradient else (source, out)
    (F, C, KH, KW), (_, H, W, N), (_, OH, OW, _) = w.shape, images.shape, outputs.shape
    M, taps = (C, F // groups * KH * KW) if gradient else (F // groups, C * KH * KW)
    if stride == (1, 1) and groups == 1 and tf32.is_worthwhile(out.dtype, out.size * taps):
        if gradient:
            tap_table = tf32.input_taps(F, OH, OW, KH, KW, *dilation)
            tf32.launch_windows(source, tf32.swap_channels(w), b, out, tap_table, -pads[0], -pads[2])
        else:
            tap_table = tf32.forward_taps(C, H, W, KH, KW, *dilation)
            tf32.launch_windows(source, w.reshape(F, -1), b, out, tap_table, pads[0], pads[2])
        return
    positions, arrays = out.shape[1] * out.shape[2], [a.reshape(-1) for a in (source, w, w if b is None else b, out)]
    rows, cols, block, grid = _choose_tile(M, N, positions, groups)
    sizes = C, H, W, F // groups, OH, OW, KH, KW, *stride, pads[0], pads[2], *dilation
    run = sums_kernel(rows, cols, block[1], gradient)[grid, block]
    run(*arrays, N, M, positions, taps, int(b is not None), *sizes)


@conv2d_dispatch.register("cuda")
def conv2d_cuda(x, w, b, stride, pads, dilation, groups, out):
    _fill_sums(x, w, None if b is None else memory.contiguous(b), out, stride, pads, dilation, groups, False)


@conv2d_input_dispatch.register("cuda")
def conv2d_input_cuda(g, w, b, stride, pads, dilation, groups, dx):
    _fill_sums(g, w, None if b is None else memory.contiguous(b), dx, stride, pads, dilation, groups, True)


# ---- weight gradient


@kernel
def margin_kernel(x, out, H, W, N, rows, columns, top, left, phases):
    """x (C, H, W, N) within margins of zeros, out (C, rows, phases * columns, N), where every phases-th pixel lies
    beside the next."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, row, column, n = split_index(i, rows, phases * columns, N)
        h, v = row - top, column % columns * phases + column // columns - left
        out[i] = x[join_index(c, h, v, n, H, W, N)] if is_inside(h, v, H, W) else const(0, x)


def with_margin(x, pads, phases):
    """x (C, H, W, N) with margins of zeros, and its columns in phases: (C, H', phases * W', N)."""
    if phases == 1 and not any(pads):
        return x
    C, H, W, N = x.shape
    top, bottom, left, right = pads
    columns, rows = -(-(left + W + right) // phases), top + H + bottom
    out = memory.new_empty(x, (C, rows, phases * columns, N), x.dtype)
    margin_kernel.launch_over(out.size, x.reshape(-1), out.reshape(-1), H, W, N, rows, columns, top, left, phases)
    return out


WEIGHT_THREADS = limit_threads(64)  # of a block of the weight gradient
MAX_WEIGHT_TILE = 8  # filters, and taps, of a thread


@cache
def weight_kernel(rows: int, cols: int) -> Kernel:
    """The kernel of the weight gradient, for tiles of rows filters x cols taps."""
    tile, row_length = register_tile(rows, cols), WEIGHT_THREADS + 1  # one more, so that columns lie in different banks
    shared_size = rows * cols * row_length

    def weight(g, x, taps, sums, F, OH, length, T, group_pixels, row_pixels, height):
        """sums (parts, groups * F, T), each part over `height` rows of outputs.

        g (groups * F, OH, length), length = OW * N; x with margins; taps (T): the offsets of the first group's taps.
        """
        thread, part = cuda.threadIdx.x, cuda.blockIdx.z
        blocks = (F + rows - 1) // rows
        group, f = cuda.blockIdx.y // blocks, min(cuda.blockIdx.y % blocks * rows, F - rows)
        first, filters = min(cuda.blockIdx.x * cols, T - cols), cuda.gridDim.y // blocks * F
        offsets = tile.load_cols(taps, first)
        acc = tile.zeros(g)
        for oh in range(part * height, min((part + 1) * height, OH)):
            row, pixels = ((group * F + f) * OH + oh) * length, group * group_pixels + oh * row_pixels
            for i in range(thread, length, WEIGHT_THREADS):
                gradients = tile.load_strided_rows(g, row + i, OH * length)
                acc = tile.outer_fma(acc, gradients, tile.gather_cols(x, pixels + i, offsets))
        shared = cuda.shared.array(shared_size, g.dtype)
        tile.store_flat(acc, shared, thread, row_length)
        cuda.syncthreads()
        for i in range(thread, rows * cols, WEIGHT_THREADS):
            total = shared[i * row_length]
            for other in range(1, WEIGHT_THREADS):
                total += shared[i * row_length + other]
            sums[(part * filters + group * F + f + i // cols) * T + first + i % cols] = total

    return Kernel(weight, f"conv2d.weight-{rows}x{cols}")


@conv2d_weight_dispatch.register("cuda")
def conv2d_weight_cuda(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), with_margin(memory.move_batch_last(x), pads, stride[1])
    (_, OH, OW, N), F, (C, H, W, _) = g.shape, g.shape[0] // groups, x.shape
    taps = to_device_once(tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation))
    rows, cols = split_evenly(F, MAX_WEIGHT_TILE), split_evenly(taps.size, MAX_WEIGHT_TILE)
    tiles = -(-taps.size // cols), groups * -(-F // rows)
    parts = min(-(-8 * current_gpu().multiprocessors // (tiles[0] * tiles[1])), OH)
    height = -(-OH // parts)
    parts = -(-OH // height)
    sums = memory.new_empty(dw, (parts, *dw.shape), dw.dtype) if parts > 1 else dw
    arrays = [array.reshape(-1) for array in (g, x, taps, sums)]
    sizes = F, OH, OW * N, taps.size, C // groups * H * W * N, stride[0] * W * N, height
    weight_kernel(rows, cols)[(*tiles, parts), WEIGHT_THREADS](*arrays, *sizes)
    if parts > 1:
        add_parts(sums, dw)
