"""Convolution, its input gradient and its weight gradient on the GPU; the formulas are in ../conv2d.py.

Forward and input gradient: filters times windows, see windows.py.  With many filters, both pass through shared memory
as in matmul.py.  With few, a thread keeps a tile of filters x images in registers and reads pixels where they are; the
threads of a block lie along images on x, so that they read consecutive memory, and along positions of the output on y,
and only weights are in shared memory.  Where this gives few blocks, threads on y also share the taps of a window: each
adds up a part of them, and the block adds up the parts in a fixed order.

The weight gradient is a sum over positions and images: a product of g and the pixels under each tap, whose K is long.
It is divided into parts.  With many filters and taps, a block computes it as in matmul.py.  With few, the threads of a
block share K, each keeps a tile of filters x taps, and at the end the block adds up its tiles in a fixed order.
"""

from functools import cache, partial
from math import prod
from typing import NamedTuple

import numpy as np

from ...runtime import memory
from ...runtime.cuda import driver, tile
from ...runtime.cuda.array import ALIGNED, to_device_once
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu, limit_threads
from ...runtime.cuda.index import is_inside, join_index, split_index
from ...runtime.cuda.kernel import Kernel, kernel
from ...runtime.cuda.math import const
from ...runtime.cuda.product import Shape, locate_block, make_fetch_offsets, make_find_offsets, staged_product
from ..conv2d import conv2d_dispatch, conv2d_input_dispatch, conv2d_weight_dispatch, tap_offsets
from . import tf32
from .reduction import add_parts
from .windows import TAPS_AT_ONCE, forward_taps, input_taps, make_add_windows, make_fetch_windows

CHUNK = 64  # taps whose weights a block holds in shared memory
THREADS = limit_threads(128)  # of a block
TILES = ((16, 4), (8, 4), (8, 2), (4, 2), (4, 1))  # rows and images of a thread, the largest first
MAX_TAP_PARTS = 4  # of the taps of a window
MAX_SHARED_TILE = 16  # sums of a thread that shares taps: shared memory has room for those of a block
MIN_TAPS = 12  # of a part
MAX_WASTE = 1.25  # times the work of a tile of one image, for images that do not fill the tiles
MIN_ROWS = 24  # of a product whose factors pass through shared memory
SHAPE = Shape(8, 8, 8, 8, 1) if driver.SIMULATED else Shape(8, 16, 8, 8, 3)  # of its blocks
WEIGHT_SHAPE = SHAPE if driver.SIMULATED else Shape(8, 16, 8, 16, 2)  # of those of the weight gradient


# ---- forward and input gradient: sums over the taps of a window


@cache
def windows_kernel(shape: Shape, strided: bool, images_at_once: int) -> Kernel:
    """The kernel of a product of many filters and windows; a thread reads 1 image or 4 at once."""
    part, depth = staged_product(shape, True, False, images_at_once), shape.depth
    height, width, a_size, b_size = shape.height, shape.width, part.size_a, part.size_b
    count, step = width * depth // shape.threads // images_at_once, shape.threads * images_at_once // width
    fetch_first, fetch = (
        make_fetch_windows(count, step, guarded, strided, images_at_once) for guarded in (True, False)
    )

    def product(
        w, x, bias, out, taps, M, N, K, wm, biased, size, images, width_out, H, W, SH, SW, DOWN, RIGHT, top, left
    ):
        """out (groups * M, N) = for each group the filters (M, K), wm apart, times the windows of its images.

        N = positions * images, size = the elements of a group's images; windows are DOWN and RIGHT apart.
        """
        thread = cuda.threadIdx.x
        m0, n0, group = locate_block(cuda.blockIdx.x, M, N, height, width)
        a_shared = cuda.shared.array(a_size, w.dtype)
        b_shared = cuda.shared.array(b_size, w.dtype)
        (m, ka), (n, kb), (row, col) = part.locate_a(thread), part.locate_b(thread), part.corner(thread)
        window = min(n0 + n, N - images_at_once)
        position, image = window // images, group * size + window % images
        h, v = np.int32(position // width_out * DOWN - top), np.int32(position % width_out * RIGHT - left)
        sizes = h, v, np.int32(H), np.int32(W), np.int32(SH), np.int32(SW), np.int32(images), image
        acc, half, weights = part.zeros(w), 0, group * M * K
        rest = (K - 1) % depth + 1  # where the second step starts: only the first may be shorter
        first = taps[4 * min(ka, K - 1) + 3]
        next_a = part.fetch_first_a(w, weights + first, m0 + m, M, wm, ka, rest, 0)
        next_b = fetch_first(x, taps, kb, rest, *sizes)
        for k in range(rest, K + 1, depth):
            part.put_a(next_a, a_shared, half, m, ka)
            part.put_b(next_b, b_shared, half, n, kb)
            if k < K:
                next_a = part.fetch_a(w, weights + taps[4 * (k + ka) + 3], m0 + m, M, wm, 0, K, 0)
                next_b = fetch(x, taps, k + kb, K, *sizes)
            cuda.syncthreads()  # after the reads have started: the compiler delays none beyond it
            acc = part.multiply(acc, a_shared, b_shared, half, thread)
            half = 1 - half
        part.store(acc, out, 0, group * M + m0 + row, group * M + M, n0 + col, N, bias, biased, False)

    name = f"conv2d.windows-{shape}-{images_at_once}{'-strided' if strided else ''}"
    return Kernel(product, name, (shape.threads, shape.resident), writes=("out",))


@cache
def sums_kernel(rows: int, cols: int, block_positions: int, parts: int, strided: bool) -> Kernel:
    """The kernel of a product of few filters and windows: tiles of rows x cols, `block_positions` positions a block,
    each with its taps in `parts`."""
    registers, add, weights_size = tile.register_tile(rows, cols), make_add_windows(rows, cols, strided), CHUNK * rows
    shared_size = rows * cols * THREADS if parts > 1 else 1

    def sums(w, x, bias, out, taps, M, N, K, wm, biased, size, images, width_out, H, W, SH, SW, DOWN, RIGHT, top, left):
        """See windows_kernel."""
        lane, lanes, thread = cuda.threadIdx.x, cuda.blockDim.x, cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        part, blocks = cuda.threadIdx.y // block_positions, (M + rows - 1) // rows
        group, m = cuda.blockIdx.z // blocks, min(cuda.blockIdx.z % blocks * rows, M - rows)  # the last block overlaps
        positions, first_image = N // images, cuda.blockIdx.y * lanes * cols + lane
        position = cuda.blockIdx.x * block_positions + cuda.threadIdx.y % block_positions
        place = min(position, positions - 1)
        h, v = np.int32(place // width_out * DOWN - top), np.int32(place % width_out * RIGHT - left)
        offsets = registers.column_offsets(first_image, lanes, images - 1)
        sizes = h, v, np.int32(H), np.int32(W), np.int32(SH), np.int32(SW), np.int32(images), group * size
        weights = cuda.shared.array(weights_size, w.dtype)
        shared = cuda.shared.array(shared_size, w.dtype)
        acc = registers.broadcast_rows(bias, (group * M + m) * biased, biased, biased and part == 0)
        for start in range(0, K, CHUNK):
            cuda.syncthreads()
            for i in range(thread, weights_size, THREADS):
                k, at = start + i // rows, group * M * K + (m + i % rows) * wm
                weights[i] = w[at + taps[4 * k + 3]] if k < K else const(0, w)
            cuda.syncthreads()
            for k in range(part * TAPS_AT_ONCE, min(CHUNK, K - start), parts * TAPS_AT_ONCE):
                acc = add(acc, weights, k * rows, x, taps, start + k, offsets, *sizes)
        if parts > 1:
            registers.store_flat(acc, shared, thread, THREADS)
            cuda.syncthreads()
            for other in range(1, parts):
                acc = registers.add_flat(acc, shared, (thread + other * block_positions * lanes) % THREADS, THREADS)
        if position < positions and part == 0:
            count = (images - first_image + lanes - 1) // lanes
            skip = cuda.blockIdx.z % blocks * rows - m  # the rows that the block before has stored
            registers.store(acc, out, (group * M + m) * N + position * images, N, offsets, count, skip)

    name = f"conv2d.sums-{rows}x{cols}x{block_positions}x{parts}{'-strided' if strided else ''}"
    return Kernel(sums, name, writes=("out",))


class _Tiling(NamedTuple):
    """How a product of few filters and windows is divided.

    rows, cols        of a thread's tile
    block_positions   positions of a block
    parts             of the taps
    lanes             threads of a block along images
    grid              blocks
    """

    rows: int
    cols: int
    block_positions: int
    parts: int
    lanes: int
    grid: tuple[int, int, int]


def _tilings(M, N, K, positions, groups):
    """The tilings of a product of M rows, N images and K taps, the one with the most work for a thread first."""
    lanes = 1
    while lanes < min(N, 32, THREADS):
        lanes *= 2
    for max_rows, cols in TILES:
        rows, waste = tile.split_evenly(M, max_rows), -(-N // (lanes * cols)) * cols / -(-N // lanes)
        if cols > 1 and waste > MAX_WASTE:
            continue
        parts = 1
        while parts == 1 or (
            parts <= min(MAX_TAP_PARTS, THREADS // lanes) and rows * cols <= MAX_SHARED_TILE and parts * MIN_TAPS <= K
        ):
            block_positions = THREADS // lanes // parts
            grid = -(-positions // block_positions), -(-N // (lanes * cols)), groups * -(-M // rows)
            yield _Tiling(rows, cols, block_positions, parts, lanes, grid)
            parts *= 2


def _choose_tiling(M, N, K, positions, groups):
    """The first tiling with enough blocks, or else the last."""
    for tiling in _tilings(M, N, K, positions, groups):
        if prod(tiling.grid) >= 2 * current_gpu().multiprocessors:
            break
    return tiling


def _fill_sums(source, w, b, out, stride, pads, dilation, groups, gradient):
    """Fill `out` of the forward from x, or dx of the input gradient from g."""
    if not out.size:
        return
    source, w, out = memory.move_batch_last(source), memory.contiguous(w), memory.move_batch_last(out)
    if not source.size or not w.size:
        memory.copy(out, 0 if b is None else b.reshape(-1, 1, 1, 1))
        return
    (F, C, KH, KW), (_, H, W, images), (_, _, width_out, _) = w.shape, source.shape, out.shape
    M, K = (C, F // groups * KH * KW) if gradient else (F // groups, C * KH * KW)
    if gradient:
        taps = input_taps(F // groups, C, H, W, KH, KW, *dilation)
        steps, apart, corner = stride, (1, 1), (-pads[0], -pads[2])
    else:
        taps = forward_taps(C, H, W, KH, KW, *dilation)
        steps, apart, corner = (1, 1), stride, (pads[0], pads[2])
    if stride == (1, 1) and groups == 1 and tf32.is_worthwhile(out.dtype, out.size * K):
        weights = tf32.swap_channels(w) if gradient else w.reshape(F, -1)
        tf32.launch_windows(source, weights, b, out, taps, *corner)
        return
    arrays = [a.reshape(-1) for a in (w, source, w if b is None else b, out)]
    N, wm = out.size // (groups * M), KH * KW if gradient else K
    sizes = M, N, K, wm, int(b is not None), source.size // groups, images, width_out, H, W, *steps, *apart, *corner
    images_at_once = 1 if images % 4 or source.address % ALIGNED else 4
    strided = gradient and stride != (1, 1)
    shape = SHAPE.fit(out.dtype)
    kernel, grid, block = _choose_kernel(shape, M, N, K, images, images_at_once, groups, strided)
    kernel[grid, block](*arrays, to_device_once(taps).reshape(-1), *sizes)


def _choose_kernel(shape, M, N, K, images, images_at_once, groups, strided):
    """The kernel of a product of M filters and N windows of K taps, its grid and its block."""
    blocks = groups * shape.count_blocks(M, N)
    if M >= MIN_ROWS and blocks >= current_gpu().multiprocessors:
        return windows_kernel(shape, strided, images_at_once), blocks, shape.threads
    rows, cols, positions, parts, lanes, grid = _choose_tiling(M, images, K, N // images, groups)
    return sums_kernel(rows, cols, positions, parts, strided), grid, (lanes, THREADS // lanes)


@conv2d_dispatch.register("cuda")
def conv2d_cuda(x, w, b, stride, pads, dilation, groups, out):
    _fill_sums(x, w, None if b is None else memory.contiguous(b), out, stride, pads, dilation, groups, False)


@conv2d_input_dispatch.register("cuda")
def conv2d_input_cuda(g, w, b, stride, pads, dilation, groups, dx):
    _fill_sums(g, w, None if b is None else memory.contiguous(b), dx, stride, pads, dilation, groups, True)


# ---- weight gradient


@partial(kernel, writes=("out",))
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
MIN_PART = 256  # elements of a row in a part
BLOCKS = 8  # of a weight gradient, for each multiprocessor


@cache
def weight_kernel(rows: int, cols: int) -> Kernel:
    """The kernel of the weight gradient with few filters or taps, for tiles of rows filters x cols taps."""
    registers, row_length = tile.register_tile(rows, cols), WEIGHT_THREADS + 1  # one more: columns in different banks
    shared_size = rows * cols * row_length

    def weight(g, x, taps, sums, F, T, OH, length, group_pixels, row_pixels, height, width, across):
        """sums (parts, groups * F, T), each part over `height` rows of outputs and `width` elements of each.

        g (groups * F, OH, length), length = OW * N; x with margins; taps (T): the offsets of the first group's taps.
        across: the parts of a row.
        """
        thread, part = cuda.threadIdx.x, cuda.blockIdx.z
        blocks = (F + rows - 1) // rows
        group, f = cuda.blockIdx.y // blocks, min(cuda.blockIdx.y % blocks * rows, F - rows)
        first, filters = min(cuda.blockIdx.x * cols, T - cols), cuda.gridDim.y // blocks * F
        top, left = part // across * height, part % across * width
        offsets = registers.load_cols(taps, first)
        acc = registers.zeros(g)
        for oh in range(top, min(top + height, OH)):
            row, pixels = ((group * F + f) * OH + oh) * length, group * group_pixels + oh * row_pixels
            for i in range(left + thread, min(left + width, length), WEIGHT_THREADS):
                gradients = registers.load_strided_rows(g, row + i, OH * length)
                acc = registers.outer_fma(acc, gradients, registers.gather_cols(x, pixels + i, offsets))
        shared = cuda.shared.array(shared_size, g.dtype)
        registers.store_flat(acc, shared, thread, row_length)
        cuda.syncthreads()
        for i in range(thread, rows * cols, WEIGHT_THREADS):
            total = shared[i * row_length]
            for other in range(1, WEIGHT_THREADS):
                total += shared[i * row_length + other]
            row, col = f + i // cols, first + i % cols
            if row >= cuda.blockIdx.y % blocks * rows and col >= cuda.blockIdx.x * cols:  # others store the overlap
                sums[(part * filters + group * F + row) * T + col] = total

    return Kernel(weight, f"conv2d.weight-{rows}x{cols}", writes=("sums",))


@cache
def weight_product_kernel(shape: Shape) -> Kernel:
    """The kernel of the weight gradient with many filters and taps."""
    part, depth, step = staged_product(shape, True, True), shape.depth, shape.threads // shape.depth
    block_height, block_width, a_size, b_size = shape.height, shape.width, part.size_a, part.size_b
    find_taps, fetch_x = make_find_offsets(block_width // step, step), make_fetch_offsets(block_width // step)

    def weight(g, x, taps, sums, F, T, OH, length, group_pixels, row_pixels, height, width, across):
        """See weight_kernel."""
        thread, group, number = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.z
        m0, n0, _ = locate_block(cuda.blockIdx.x, F, T, block_height, block_width)
        a_shared = cuda.shared.array(a_size, g.dtype)
        b_shared = cuda.shared.array(b_size, g.dtype)
        (m, ka), (n, kb) = part.locate_a(thread), part.locate_b(thread)
        row, col = part.corner(thread)
        oh, left = number // across * height, number % across * width
        bottom, right = min(oh + height, OH), min(left + width, length)
        offsets = find_taps(taps, n0 + n, T)
        acc, half, k = part.zeros(g), 0, left
        gradients, pixels = group * F * OH * length, group * group_pixels
        next_a = part.fetch_first_a(g, gradients + oh * length, m0 + m, F, OH * length, k + ka, right, 1)
        next_b = fetch_x(x, pixels + oh * row_pixels, offsets, k + kb, right)
        while oh < bottom:
            part.put_a(next_a, a_shared, half, m, ka)
            part.put_b(next_b, b_shared, half, n, kb)
            k += depth
            if k >= right:
                k, oh = left, oh + 1
            below = min(oh, bottom - 1)
            next_a = part.fetch_first_a(g, gradients + below * length, m0 + m, F, OH * length, k + ka, right, 1)
            next_b = fetch_x(x, pixels + below * row_pixels, offsets, k + kb, right)
            cuda.syncthreads()  # after the reads have started: the compiler delays none beyond it
            acc = part.multiply(acc, a_shared, b_shared, half, thread)
            half = 1 - half
        at = (number * cuda.gridDim.y + group) * F * T
        part.store(acc, sums, at, m0 + row, F, n0 + col, T, g, 0, False)

    return Kernel(weight, f"conv2d.weight-{shape}", (shape.threads, shape.resident), writes=("sums",))


def _choose_weight_kernel(F, T, groups, dtype):
    """The kernel of a weight gradient of F filters and T taps in each group, its block, and its grid without parts."""
    if F >= MIN_ROWS and T >= MIN_ROWS:
        shape = WEIGHT_SHAPE.fit(dtype)
        return weight_product_kernel(shape), shape.threads, (shape.count_blocks(F, T), groups)
    rows, cols = tile.split_evenly(F, MAX_WEIGHT_TILE), tile.split_evenly(T, MAX_WEIGHT_TILE)
    return weight_kernel(rows, cols), WEIGHT_THREADS, (-(-T // cols), groups * -(-F // rows))


def _choose_parts(OH, length, blocks):
    """The rows and the elements of a row in a part of a sum over OH rows of `length`, and the parts of rows and row."""
    parts = max(BLOCKS * current_gpu().multiprocessors // blocks, 1)
    height = -(-OH // parts)
    down = -(-OH // height)
    width = max(-(-length // max(parts // down, 1)), min(MIN_PART, length))
    width = -(-width // WEIGHT_THREADS) * WEIGHT_THREADS
    return height, width, down, -(-length // width)


@cache
def _tap_offsets(*sizes):
    """tap_offsets in 32 bits if they fit: they take registers."""
    offsets = tap_offsets(*sizes)
    return to_device_once(offsets.astype(np.int32) if offsets.max() < 2**31 else offsets)


@conv2d_weight_dispatch.register("cuda")
def conv2d_weight_cuda(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), with_margin(memory.move_batch_last(x), pads, stride[1])
    (_, OH, OW, N), F, (C, H, W, _) = g.shape, g.shape[0] // groups, x.shape
    if not g.size or not dw.size:
        memory.copy(dw, 0)
        return
    taps = _tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation)
    run, block, tiles = _choose_weight_kernel(F, taps.size, groups, dw.dtype)
    height, width, down, across = _choose_parts(OH, OW * N, tiles[0] * tiles[1])
    parts = down * across
    sums = memory.new_empty(dw, (parts, *dw.shape), dw.dtype) if parts > 1 else dw
    arrays = [array.reshape(-1) for array in (g, x, taps, sums)]
    sizes = F, taps.size, OH, OW * N, C // groups * H * W * N, stride[0] * W * N, height, width, across
    run[(*tiles, parts), block](*arrays, *sizes)
    if parts > 1:
        add_parts(sums, dw)
