"""Two-dimensional convolution, its input gradient and its weight gradient; transposed convolution.

    out[n, f, oh, ow] = b[f] + sum over c, kh, kw of w[f, c, kh, kw] * x[n, c, h, v],
    h = oh*SH + kh*DH - top,  v = ow*SW + kw*DW - left

(deep learning calls this cross-correlation a convolution).  The three operations are closed under differentiation: the
gradient of each by each of its inputs is another of the three.  With groups, the channels and filters of one group do
not mix with those of another.

Memory: x (C, H, W, N), w (F, C/groups, KH, KW), out (F, OH, OW, N).  The inner loops run over images; a tile holds
several filters (or channels) times several vectors of images.  Taps outside the image are zero and are skipped.
Weights are first packed in the order in which tiles read them.

A row of pixels is contiguous.  Where the stride is 1, `span` pixels can be computed as one row of span * N elements:
each tap of them is also a row of x.  Vectors are then full even for a single image, but the margins of zeros must be in
memory.  With span 1, taps outside the image are left out.

Source: V. Dumoulin & F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from functools import cache

import numpy as np

from ..errors import ShapeError, ValidationError
from ..runtime import memory
from ..runtime.kernel import Array1, Array4, Ints, Memory, Tile, helper, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import (
    broadcast_rows,
    choose_dot_tile,
    choose_tile,
    compensated_total,
    dot_fma,
    lanes,
    min_tile_cost,
    outer_fma,
    store,
    store_lane_sums,
    zeros,
)
from ..shapes import window_grid, windows_covering
from .matmul import PRODUCTS_PER_PARTIAL_SUM, expect_same_dtype, zero_bias
from .op import Dispatch, op
from .reduction import add_partial_sums

VECTORS_PER_PARTIAL_SUM = 4096  # in the weight gradient; LeNet-5 has 2,304 for 64 images
MIN_TASKS = 24  # of a weight gradient, even with few filters and taps
MIN_CHUNK_STEPS = 96  # tile steps of a row chunk: adding its sums to the others costs about as much
CHUNK_BYTES = 2**19  # of g: they stay in a core's second-level cache while each tap reads them

# Settings travel as: stride (SH, SW), pads (top, bottom, left, right), dilation (DH, DW), groups.


# ---- forward


def im2col(x, window, grid, stride, pads, dilation):
    """Every window of x (C, H, W, N) as a column: (C*KH*KW, OH*OW*N)."""
    top, bottom, left, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(pads) else x
    C, _, _, N = x.shape
    columns = np.empty((C, *window, *grid, N), x.dtype)
    for kh in range(window[0]):
        for kw in range(window[1]):
            columns[:, kh, kw] = x[tap_slices(kh, kw, grid, stride, dilation)]
    return columns.reshape(C * window[0] * window[1], -1)


def tap_slices(kh, kw, grid, stride, dilation):
    """The index into (C, H, W, N) of the pixels under tap (kh, kw) of all windows."""
    h, w = kh * dilation[0], kw * dilation[1]
    return (
        slice(None),
        slice(h, h + (grid[0] - 1) * stride[0] + 1, stride[0]),
        slice(w, w + (grid[1] - 1) * stride[1] + 1, stride[1]),
    )


def conv2d_numpy(x, w, b, stride, pads, dilation, groups, out):
    x, result = memory.move_batch_last(x), memory.move_batch_last(out)
    F, C, KH, KW = w.shape
    grid = result.shape[1:3]
    for group in range(groups):
        filters = slice(group * F // groups, (group + 1) * F // groups)
        columns = im2col(x[group * C : (group + 1) * C], (KH, KW), grid, stride, pads, dilation)
        np.matmul(w[filters].reshape(F // groups, -1), columns, out=result[filters].reshape(F // groups, -1))
    if b is not None:
        result += b[:, None, None, None]


@kernel
def pack_kernel(task, w: Memory, packed: Memory, rows, size, group_step, row_step, K1, step1, K2, step2):
    """One block of `rows` rows of weights, interleaved: packed (groups, blocks, K1, K2, rows).

    group_step, row_step, step1, step2: strides of w, in elements.  The last block of `size` rows overlaps the one
    before.
    """
    blocks = (size + rows - 1) // rows
    start = task // blocks * group_step + smaller(task % blocks * rows, size - rows) * row_step
    at = task * K1 * K2 * rows
    for k1 in range(K1):
        for k2 in range(K2):
            for i in range(rows):
                packed[at + i] = w[start + i * row_step + k1 * step1 + k2 * step2]
            at += rows


def pack_filters(w, groups, rows):
    """w (F, C, KH, KW) in blocks of filters: (blocks, C, KH, KW, rows)."""
    F, C, KH, KW = w.shape
    taps = C * KH * KW
    return _pack(w, groups, rows, F // groups, F // groups * taps, taps, 1, 0, taps, 1)


def pack_channels(w, groups, rows):
    """w (F, C, KH, KW) in blocks of channels: (blocks, KH, KW, F/groups, rows)."""
    F, C, KH, KW = w.shape
    taps = C * KH * KW
    return _pack(w, groups, rows, C, F // groups * taps, KH * KW, KH * KW, 1, F // groups, taps)


def _pack(w, groups, rows, size, *steps):
    # packing makes a convolution of 64 to 64 channels 1.37 times faster (measured)
    blocks = groups * -(-size // rows)
    packed = memory.empty((blocks, w.size // groups // size, rows), w.dtype)
    pack_kernel.run_small(blocks, packed.size, w, packed, rows, size, *steps)
    return packed


@kernel
def pad_kernel(task, x: Array4, out: Array4, top, left, phases):
    """One row of x (C, H, W, N) with margins of zeros: out (C, H + margins, phases * columns, N).

    The columns are sorted by phase: first columns 0, phases, 2 * phases, ...; then 1, phases + 1, ...; and so on.  So
    the pixels that one tap reads with a stride of `phases` are contiguous.
    """
    C, H, W, N = x.shape
    _, rows, total, _ = out.shape
    row, c, columns = task // C, task % C, total // phases
    h = row - top
    for i in range(total):
        v, at = i % columns * phases + i // columns - left, ((c * rows + row) * total + i) * N
        if 0 <= h < H and 0 <= v < W:
            pixel = ((c * H + h) * W + v) * N
            for n in range(N):
                out[at + n] = x[pixel + n]
        else:
            for n in range(N):
                out[at + n] = const(0, x)


def pad_images(x, pads, phases=1):
    """x (C, H, W, N) with margins of zeros and its columns sorted by phase, (C, H', phases * W', N); see pad_kernel."""
    if phases == 1 and not any(pads):
        return x
    C, H, W, N = x.shape
    top, bottom, left, right = pads
    columns = -(-(left + W + right) // phases)
    out = memory.empty((C, top + H + bottom, phases * columns, N), x.dtype)
    pad_kernel.run_small(C * out.shape[1], out.size, x, out, top, left, phases)
    return out


@helper
def taps_inside(start, size, taps, dilation):
    """The first tap, and the one after the last, that lie inside an image side of `size`, for a window at `start`."""
    return larger((dilation - 1 - start) // dilation, 0), smaller((size - start + dilation - 1) // dilation, taps)


@helper
def _add_taps(tile, acc, x, w, w_start, corner, window, taps, count):
    """acc + the sum of weight times pixel over some taps of a window.

    corner  (c, h, v, n): first channel, the window's first row and column, first image
    window  (KH, KW, DH, DW)
    taps    (first c, stop c, first kh, stop kh, first kw, stop kw)
    """
    _, KW, DH, DW = window
    c, h, v, n = corner
    for i in range(taps[0], taps[1]):
        for kh in range(taps[2], taps[3]):
            row = w_start + (i * window[0] + kh) * KW * tile.rows
            for kw in range(taps[4], taps[5]):
                acc = outer_fma(acc, w, row + kw * tile.rows, 1, x, (c + i, h + kh * DH, v + kw * DW, n), count)
    return acc


@helper
def _add_many_taps(tile, acc, x, w, w_start, corner, window, taps, count):
    """_add_taps for a large window, by partial sums."""
    KH, KW, _, _ = window
    first_c, stop_c, first_kh, stop_kh, first_kw, stop_kw = taps
    error = zeros(tile)
    channels, rows = larger(PRODUCTS_PER_PARTIAL_SUM // (KH * KW), 1), PRODUCTS_PER_PARTIAL_SUM // KW + 1
    for c in range(first_c, stop_c, channels):
        for kh in range(first_kh, stop_kh, rows):
            chunk = (c, smaller(c + channels, stop_c), kh, smaller(kh + rows, stop_kh), first_kw, stop_kw)
            partial = _add_taps(tile, zeros(tile), x, w, w_start, corner, window, chunk, count)
            acc, error = compensated_add(acc, error, partial)
    return compensated_total(acc, error)


@kernel
def conv2d_kernel(
    task, x: Array4, w: Memory, b: Array1, out: Array4,
    KH, KW, SH, SW, top, left, DH, DW, groups, span, has_bias, tile: Tile,
):  # fmt: skip
    """One row of outputs, oh = task.  x (C, H, W, N), w (blocks, C/groups, KH, KW, tile.rows), out (F, OH, OW, N)."""
    channels, H, W, N = x.shape
    F, OH, OW, _ = out.shape
    oh, filters, C, length = task, F // groups, channels // groups, span * N
    blocks, products = (filters + tile.rows - 1) // tile.rows, C * KH * KW
    h = oh * SH - top
    first_kh, stop_kh = taps_inside(h, H, KH, DH)
    for group in range(groups):
        for ow in range(0, OW, span):
            for start in range(0, length, tile.width):
                n = larger(smaller(start, length - tile.width), 0)
                v = ow * SW - left
                first_kw, stop_kw = taps_inside(v, W, KW, DW)
                for block in range(blocks):  # the inner loop, because all blocks read the same pixels: 7 % faster
                    f = group * filters + smaller(block * tile.rows, filters - tile.rows)
                    acc = broadcast_rows(tile, b, f * has_bias, has_bias)  # b is one 0 if there is no bias
                    w_start = (group * blocks + block) * products * tile.rows
                    corner, window = (group * C, h, v, n), (KH, KW, DH, DW)
                    taps = (0, C, first_kh, stop_kh, first_kw, stop_kw)
                    if products <= PRODUCTS_PER_PARTIAL_SUM:  # a store in each branch: else LLVM spills the tile
                        acc = _add_taps(tile, acc, x, w, w_start, corner, window, taps, length - n)
                        store(acc, out, (f, oh, ow, n), OH * OW * N, length - n)
                    else:
                        acc = _add_many_taps(tile, acc, x, w, w_start, corner, window, taps, length - n)
                        store(acc, out, (f, oh, ow, n), OH * OW * N, length - n)


def conv2d_cpu(x, w, b, stride, pads, dilation, groups, out):
    N, F, OH, OW = out.shape
    if not out.size:
        return
    x, w, result = memory.move_batch_last(x), memory.contiguous(w), memory.move_batch_last(out)
    (KH, KW), (top, _, left, right), span = w.shape[2:], pads, 1
    if whole_rows_are_faster(F // groups, N, OW, KW, x.shape[2], stride[1], left, dilation[1], out.dtype):
        x, span, left = pad_images(x, (0, 0, left, right)), OW, 0
    bias, tile = _bias_or_zero(b, out.dtype), choose_tile(F // groups, span * N, out.dtype)
    packed, has_bias = pack_filters(w, groups, tile[0]), int(b is not None)
    conv2d_kernel(OH, x, packed, bias, result, KH, KW, *stride, top, left, *dilation, groups, span, has_bias, tile)


@cache
def whole_rows_are_faster(rows, N, OW, KW, W, stride, left, dilation, dtype):
    """Whether it is faster to compute whole rows of outputs, with full vectors but also with taps outside the image,
    than pixel by pixel."""
    if stride != 1:
        return False
    inside = sum(0 <= ow - left + kw * dilation < W for ow in range(OW) for kw in range(KW))
    return min_tile_cost(rows, OW * N, dtype) * KW < min_tile_cost(rows, N, dtype) * inside


conv2d_dispatch = Dispatch("conv2d", conv2d_numpy, cpu=conv2d_cpu)


@op(sliding_window=True)
def conv2d(device, x, w, b, *, stride, pads, dilation, groups):
    shape = out_shape("conv2d", x.shape, w.shape, None if b is None else b.shape, stride, pads, dilation, groups)
    expect_same_dtype("conv2d", x, w, b)
    out = memory.empty_batch_innermost(shape, x.dtype, device)
    conv2d_dispatch[device.type](x, w, b, stride, pads, dilation, groups, out)
    return out


conv2d.flops = lambda out, x, w, b: 2 * out.size * w[0].size


@cache
def out_shape(where, x, w, b, stride, pads, dilation, groups):
    """(N, F, OH, OW), or (N, F, OL) for lines.  Refuses shapes that do not fit together."""
    grid = window_grid(x, w[2:], stride, pads, dilation, where)
    _check_channels(where, x, w, b, w[1] * groups, w[0], groups)
    return (x[0], w[0], *grid)


def _check_channels(where, x, w, b, read, made, groups):
    """Refuse shapes of a convolution that reads `read` channels and makes `made`."""
    if x[1] != read:
        raise ShapeError(
            f"{where}: weight reads {read} channels but x has {x[1]} (x {x}, weight {w}, groups "
            f"{groups}); build the layer with in_channels={x[1]}"
        )
    if w[0] % groups:
        raise ShapeError(f"{where}: {w[0]} filters do not divide into {groups} groups; use a divisor")
    if b is not None and b != (made,):
        raise ShapeError(f"{where}: bias has shape {b}, weight has {made} filters; use shape ({made},)")


@conv2d.gradient
def conv2d_gradient(do, g, x, w, x_shape, w_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (
        lambda: do.conv2d_input(g, w, size=x_shape[2:], **settings),
        lambda: do.conv2d_weight(g, x, window=w_shape[2:], **settings),
        lambda: do.sum(g, axes=(0, 2, 3), keepdim=False),
    )


# ---- input gradient: a pixel collects weight times gradient over the outputs that read it


def conv2d_input_numpy(g, w, b, stride, pads, dilation, groups, dx):
    g, result = memory.move_batch_last(g), memory.move_batch_last(dx)
    (F, C, KH, KW), (_, H, W, N), grid = w.shape, result.shape, g.shape[1:3]
    top, bottom, left, right = pads
    padded = np.zeros((C * groups, H + top + bottom, W + left + right, N), g.dtype)
    for group in range(groups):
        filters = slice(group * F // groups, (group + 1) * F // groups)
        columns = w[filters].reshape(F // groups, -1).T @ g[filters].reshape(F // groups, -1)
        columns = columns.reshape(C, KH, KW, *grid, N)
        target = padded[group * C : (group + 1) * C]
        for kh in range(KH):
            for kw in range(KW):
                target[tap_slices(kh, kw, grid, stride, dilation)] += columns[:, kh, kw]
    result[...] = padded[:, top : top + H, left : left + W]
    if b is not None:
        result += b[:, None, None, None]


@helper
def windows_at(table, pixel):
    """The windows that cover a pixel along a side: (their number, the tap of the first window on the pixel, the first
    window, step of the tap, step of the window).  The tap increases, the window decreases."""
    at = 5 * pixel
    return table[at], table[at + 1], table[at + 2], table[at + 3], table[at + 4]


@helper
def _add_windows(tile, acc, g, w, w_start, start, tables, sizes, ranges, count):
    """acc + the sum of weight times gradient over some windows that cover a pixel, and over some filters.

    start   (f, h, v, n): first filter, row and column of the pixel, first image
    tables  the windows that cover each pixel, by rows and by columns
    sizes   (KW, filters)
    ranges  (first, stop) of the windows that cover the pixel's row, and (first, stop) of the filters
    """
    rows, cols = tables
    KW, filters = sizes
    first_f, h, v, n = start
    _, first_kh, first_oh, kh_step, oh_step = windows_at(rows, h)
    across, first_kw, first_ow, kw_step, ow_step = windows_at(cols, v)
    for i in range(ranges[0], ranges[1]):
        kh, oh = first_kh + i * kh_step, first_oh - i * oh_step
        for j in range(across):
            kw, ow = first_kw + j * kw_step, first_ow - j * ow_step
            tap = w_start + (kh * KW + kw) * filters * tile.rows
            for f in range(ranges[2], ranges[3]):
                acc = outer_fma(acc, w, tap + f * tile.rows, 1, g, (first_f + f, oh, ow, n), count)
    return acc


@helper
def _add_many_windows(tile, acc, g, w, w_start, start, tables, sizes, ranges, count):
    """_add_windows for many filters or a large window, by partial sums."""
    KW, filters = sizes
    first_i, stop_i, first_f, stop_f = ranges
    error, windows = zeros(tile), larger(PRODUCTS_PER_PARTIAL_SUM // (KW * filters), 1)
    for i in range(first_i, stop_i, windows):
        for f in range(first_f, stop_f, PRODUCTS_PER_PARTIAL_SUM):
            chunk = (i, smaller(i + windows, stop_i), f, smaller(f + PRODUCTS_PER_PARTIAL_SUM, stop_f))
            partial = _add_windows(tile, zeros(tile), g, w, w_start, start, tables, sizes, chunk, count)
            acc, error = compensated_add(acc, error, partial)
    return compensated_total(acc, error)


@kernel
def conv2d_input_kernel(
    task, g: Array4, w: Memory, b: Array1, dx: Array4, rows: Ints, cols: Ints,
    KH, KW, groups, span, has_bias, tile: Tile,
):  # fmt: skip
    """One row of pixels, h = task.  g (F, OH, OW, N), w (blocks, KH, KW, F/groups, tile.rows), dx (C, H, W, N).

    rows, cols: the windows that cover each pixel along a side; see windows_at.
    """
    F, _, _, N = g.shape
    channels, H, W, _ = dx.shape
    h, filters, C, length = task, F // groups, channels // groups, span * N
    blocks, products = (C + tile.rows - 1) // tile.rows, KH * KW * filters
    for group in range(groups):
        for v in range(0, W, span):
            for start in range(0, length, tile.width):
                n = larger(smaller(start, length - tile.width), 0)
                for block in range(blocks):
                    c = group * C + smaller(block * tile.rows, C - tile.rows)
                    acc = broadcast_rows(tile, b, c * has_bias, has_bias)
                    w_start = (group * blocks + block) * products * tile.rows
                    (down, _, _, _, _), first = windows_at(rows, h), (group * filters, h, v, n)
                    tables, sizes, ranges = (rows, cols), (KW, filters), (0, down, 0, filters)
                    if products <= PRODUCTS_PER_PARTIAL_SUM:  # two stores, as in conv2d_kernel
                        acc = _add_windows(tile, acc, g, w, w_start, first, tables, sizes, ranges, length - n)
                        store(acc, dx, (c, h, v, n), H * W * N, length - n)
                    else:
                        acc = _add_many_windows(tile, acc, g, w, w_start, first, tables, sizes, ranges, length - n)
                        store(acc, dx, (c, h, v, n), H * W * N, length - n)


def conv2d_input_cpu(g, w, b, stride, pads, dilation, groups, dx):
    N, _, H, W = dx.shape
    if not dx.size:
        return
    (_, C, KH, KW), OW, reach = w.shape, g.shape[3], (w.shape[3] - 1) * dilation[1]
    rows, cols = build_window_tables(dx.shape, g.shape, w.shape, stride, pads, dilation)
    g, w, result, span = memory.move_batch_last(g), memory.contiguous(w), memory.move_batch_last(dx), 1
    before = reach - pads[2]  # columns of g missing on the left of the first window that covers pixel 0
    if before >= 0 and whole_rows_are_faster(C, N, W, KW, OW, stride[1], before, dilation[1], dx.dtype):
        g, span = pad_images(g, (0, 0, before, W + reach - before - OW)), W
        cols = _build_row_table(KW, dilation[1])
    tile, bias, has_bias = choose_tile(C, span * N, dx.dtype), _bias_or_zero(b, dx.dtype), int(b is not None)
    packed = pack_channels(w, groups, tile[0])
    conv2d_input_kernel(H, g, packed, bias, result, rows, cols, KH, KW, groups, span, has_bias, tile)


def _bias_or_zero(b, dtype):
    return zero_bias(dtype) if b is None else memory.contiguous(b)


@cache
def _build_row_table(taps, dilation):
    """The table of windows_at for a whole row of pixels as one."""
    return np.array([taps, 0, (taps - 1) * dilation, 1, dilation], np.int64)


@cache
def build_window_tables(image, grid, window, stride, pads, dilation):
    """The windows that cover each pixel, by rows and by columns, as tables for windows_at."""
    rows = windows_covering(image[-2], grid[-2], window[-2], stride[0], pads[0], dilation[0])
    cols = windows_covering(image[-1], grid[-1], window[-1], stride[1], pads[2], dilation[1])
    return np.array(rows, np.int64), np.array(cols, np.int64)


conv2d_input_dispatch = Dispatch("conv2d_input", conv2d_input_numpy, cpu=conv2d_input_cpu)


@op
def conv2d_input(device, g, w, *, size, stride, pads, dilation, groups):
    """The gradient of conv2d by x, for images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((g.shape[0], w.shape[1] * groups, *size), g.dtype, device)
    conv2d_input_dispatch[device.type](g, w, None, stride, pads, dilation, groups, dx)
    return dx


conv2d_input.flops = lambda dx, g, w: 2 * g.size * w[0].size


@conv2d_input.gradient
def conv2d_input_gradient(do, h, g, w, g_shape, w_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (
        lambda: _conv2d_on_grid(do, h, w, g_shape, **settings),
        lambda: do.conv2d_weight(g, h, window=w_shape[2:], **settings),
    )


def _conv2d_on_grid(do, x, w, shape, **settings):
    """conv2d to (N, F, OH, OW) = shape, without the windows beyond, which a large output_padding makes room for."""
    out = do.conv2d(x, w, None, **settings)
    if out.shape == shape:
        return out
    return do.pad(out, widths=tuple((0, n - made) for n, made in zip(shape, out.shape, strict=True)), value=0.0)


# ---- transposed convolution: the input gradient of a convolution, as a layer


@op
def conv_transpose2d(device, x, w, b, *, size, stride, pads, dilation, groups):
    """x (N, F, OH, OW), w (F, C/groups, KH, KW) and b (C) or None to images (N, C, *size)."""
    expect_same_dtype("conv_transpose2d", x, w, b)
    out = memory.empty_batch_innermost((x.shape[0], w.shape[1] * groups, *size), x.dtype, device)
    conv2d_input_dispatch[device.type](x, w, b, stride, pads, dilation, groups, out)
    return out


conv_transpose2d.flops = lambda out, x, w, b: 2 * x.size * w[0].size


@conv_transpose2d.gradient
def conv_transpose2d_gradient(do, g, x, w, x_shape, w_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (
        lambda: _conv2d_on_grid(do, g, w, x_shape, **settings),
        lambda: do.conv2d_weight(x, g, window=w_shape[2:], **settings),
        lambda: do.sum(g, axes=(0, 2, 3), keepdim=False),
    )


@cache
def transposed_size(where, x, w, b, stride, pads, dilation, groups, output_padding):
    """The size of a transposed convolution's images, or lines.  Refuses shapes that do not fit together."""
    _check_channels(where, x, w, b, w[0], w[1] * groups, groups)
    for extra, step, spread in zip(output_padding, stride, dilation, strict=True):
        if extra >= max(step, spread):
            raise ValidationError(
                f"{where}: output_padding {extra} is not smaller than stride {step} or dilation {spread}; use at most "
                f"{max(step, spread) - 1}"
            )
    sides = zip(x[2:], w[2:], stride, pads[::2], pads[1::2], dilation, output_padding, strict=True)
    size = tuple((n - 1) * s - before - after + d * (k - 1) + 1 + o for n, k, s, before, after, d, o in sides)
    if min(size) < 1 or min(x[2:]) < 1:
        raise ShapeError(
            f"{where}: images of {'x'.join(map(str, x[2:]))} would become {'x'.join(map(str, size))}; use larger "
            f"images or less padding than {pads[::2]}"
        )
    return size


# ---- weight gradient: a weight collects gradient times pixel over all outputs and images


def conv2d_weight_numpy(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), memory.move_batch_last(x)
    F, C, KH, KW = dw.shape
    for group in range(groups):
        filters = slice(group * F // groups, (group + 1) * F // groups)
        columns = im2col(x[group * C : (group + 1) * C], (KH, KW), g.shape[1:3], stride, pads, dilation)
        dw[filters] = (g[filters].reshape(F // groups, -1) @ columns.T).reshape(F // groups, C, KH, KW)


@helper
def _add_positions(tile, g, x, taps, f, c, t, SH, first_oh, stop_oh, start, stop):
    """Sums of a tile of filters from f on times taps from t on, over elements `start` to `stop` of some output rows."""
    _, OH, OW, N = g.shape
    acc = zeros(tile)
    for oh in range(first_oh, stop_oh):
        for n in range(start, stop, tile.lanes):
            acc = dot_fma(acc, g, (f, oh, 0, n), OH * OW * N, x, (c, oh * SH, 0, n), taps, t, stop - n)
    return acc


@kernel
def conv2d_weight_kernel(task, g: Array4, x: Array4, taps: Ints, sums: Memory, SH, groups, height, tile: Tile):
    """One tile of filters x taps over `height` rows of outputs; the next task does other filters with the same taps.

    g (F, OH, OW, N), x (C, H, W, N) with its columns sorted by phase; taps: the offset in x of each (c, kh, kw) of the
    first group, in elements; sums (row chunks, F, taps).
    """
    F, OH, OW, N = g.shape
    T, filters, C, length = taps.shape[0], F // groups, x.shape[0] // groups, OW * N
    rows, cols = (filters + tile.rows - 1) // tile.rows, (T + tile.cols - 1) // tile.cols
    chunk, block = task // (groups * rows * cols), task % (groups * rows * cols)
    group = block // (rows * cols)
    f = group * filters + smaller(block % rows * tile.rows, filters - tile.rows)
    t = smaller(block // rows % cols * tile.cols, T - tile.cols)
    first, stop, most = chunk * height, smaller((chunk + 1) * height, OH), VECTORS_PER_PARTIAL_SUM * tile.lanes
    if (stop - first) * length <= most:
        acc = _add_positions(tile, g, x, taps, f, group * C, t, SH, first, stop, 0, length)
    else:
        acc = error = zeros(tile)
        step = larger(most // length, 1)
        for oh in range(first, stop, step):
            for n in range(0, length, most):
                stop_oh, stop_n = smaller(oh + step, stop), smaller(n + most, length)
                partial = _add_positions(tile, g, x, taps, f, group * C, t, SH, oh, stop_oh, n, stop_n)
                acc, error = compensated_add(acc, error, partial)
        acc = compensated_total(acc, error)
    store_lane_sums(acc, sums, (chunk * F + f) * T + t, T)


def conv2d_weight_cpu(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), pad_images(memory.move_batch_last(x), pads, stride[1])
    (_, OH, OW, N), filters = g.shape, g.shape[0] // groups
    taps = tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation)
    tile = choose_dot_tile(filters, len(taps), OW * N, dw.dtype)
    blocks = groups * -(-filters // tile[0]) * -(-len(taps) // tile[1])
    chunks = _count_row_chunks(OH, OW * N // lanes(dw.dtype), blocks, g.nbytes)
    sums = memory.empty((chunks, dw.size), dw.dtype) if chunks > 1 else dw
    conv2d_weight_kernel(chunks * blocks, g, x, taps, sums, stride[0], groups, -(-OH // chunks), tile)
    if chunks > 1:
        add_partial_sums(sums, dw)


def _count_row_chunks(OH, steps, blocks, size):
    """Number of row chunks for the weight gradient.

    steps, blocks, size: tile steps in a row of outputs, tiles, bytes of g
    """
    # at least two, so that each core reads rows that are in its cache: 1.15 times faster for conv2 of LeNet-5
    wanted = max(-(-MIN_TASKS // blocks), 2, -(-size // CHUNK_BYTES))
    wanted = min(wanted, OH, max(OH * steps // MIN_CHUNK_STEPS, 1))
    height = -(-OH // wanted)
    return -(-OH // height)


@cache
def tap_offsets(weight, image, phases, dilation):
    """The offsets of the taps (c, kh, kw) of a window in memory (C, H, phases * columns, N), in elements."""
    (C, KH, KW), (H, W, N) = weight, image
    c, kh, kw = np.ogrid[:C, :KH, :KW]
    column = kw * dilation[1]
    column = column % phases * (W // phases) + column // phases
    return np.ascontiguousarray((((c * H + kh * dilation[0]) * W + column) * N).ravel(), np.int64)


conv2d_weight_dispatch = Dispatch("conv2d_weight", conv2d_weight_numpy, cpu=conv2d_weight_cpu)


@op
def conv2d_weight(device, g, x, *, window, stride, pads, dilation, groups):
    """The gradient of conv2d by w, for a window (KH, KW)."""
    shape = (g.shape[1], x.shape[1] // groups, *window)
    if not g.size:
        return memory.full(shape, 0, g.dtype, device)
    dw = memory.empty(shape, g.dtype, device)
    conv2d_weight_dispatch[device.type](g, x, stride, pads, dilation, groups, dw)
    return dw


conv2d_weight.flops = lambda dw, g, x: 2 * g.size * dw[0].size


@conv2d_weight.gradient
def conv2d_weight_gradient(do, h, g, x, g_shape, x_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (
        lambda: _conv2d_on_grid(do, x, h, g_shape, **settings),
        lambda: do.conv2d_input(g, h, size=x_shape[2:], **settings),
    )
