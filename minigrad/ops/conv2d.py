"""Two-dimensional convolution, its input gradient and its weight gradient.

    out[n, f, oh, ow] = b[f] + sum over c, kh, kw of w[f, c, kh, kw] * x[n, c, h, v],
    h = oh*SH + kh*DH - top,  v = ow*SW + kw*DW - left

(what every framework calls convolution is a cross-correlation).  The three are one family: the gradient of each by each
of its inputs is another of the three.  With groups, channels and filters are cut into as many parts that do not mix.

Memory: x (C, H, W, N), w (F, C/groups, KH, KW), out (F, OH, OW, N).  The inner loops run over images; a tile holds
several filters (or channels) times several vectors of images.  Pixels outside the image are zero and skipped.  Weights
are first packed in the order in which tiles read them: 64 to 64 channels run at 372 GFLOP/s so, at 271 without.

The pixels of a row lie behind each other, image by image.  Where the stride is 1, `span` of them can be taken as one
row of span * N elements, whose every tap is a neighbouring row of x: full vectors even for a single image.  That needs
margins of zeros in memory; with span 1 taps outside the image are left out.

Source: V. Dumoulin & F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from functools import cache

import numpy as np

from ..errors import ShapeError
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
from .matmul import same_dtype, zero
from .op import Dispatch, op
from .reduction import add_parts

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
            columns[:, kh, kw] = x[tap(kh, kw, grid, stride, dilation)]
    return columns.reshape(C * window[0] * window[1], -1)


def tap(kh, kw, grid, stride, dilation):
    """The pixels that tap (kh, kw) of all windows reads, as an index into (C, H, W, N)."""
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
    for part in range(groups):
        filters = slice(part * F // groups, (part + 1) * F // groups)
        columns = im2col(x[part * C : (part + 1) * C], (KH, KW), grid, stride, pads, dilation)
        np.matmul(w[filters].reshape(F // groups, -1), columns, out=result[filters].reshape(F // groups, -1))
    if b is not None:
        result += b[:, None, None, None]


@kernel
def pack_kernel(task, w: Memory, packed: Memory, rows, size, group_step, row_step, K1, step1, K2, step2):
    """One block of weights, `rows` beside each other: packed (groups, blocks, K1, K2, rows).

    Steps in elements from one group, row, and so on, of w to the next; of `size` rows the last block overlaps.
    """
    blocks = (size + rows - 1) // rows
    start = task // blocks * group_step + smaller(task % blocks * rows, size - rows) * row_step
    at = task * K1 * K2 * rows
    for k1 in range(K1):
        for k2 in range(K2):
            for i in range(rows):
                packed[at + i] = w[start + i * row_step + k1 * step1 + k2 * step2]
            at += rows


def packed_filters(w, groups, rows):
    """w (F, C, KH, KW) in blocks of filters: (blocks, C, KH, KW, rows)."""
    F, C, KH, KW = w.shape
    taps = C * KH * KW
    return _packed(w, groups, rows, F // groups, F // groups * taps, taps, 1, 0, taps, 1)


def packed_channels(w, groups, rows):
    """w (F, C, KH, KW) in blocks of channels: (blocks, KH, KW, F/groups, rows)."""
    F, C, KH, KW = w.shape
    taps = C * KH * KW
    return _packed(w, groups, rows, C, F // groups * taps, KH * KW, KH * KW, 1, F // groups, taps)


def _packed(w, groups, rows, size, *steps):
    blocks = groups * -(-size // rows)
    packed = memory.empty((blocks, w.size // groups // size, rows), w.dtype)
    pack_kernel.run_small(blocks, packed.size, w, packed, rows, size, *steps)
    return packed


@kernel
def margin_kernel(task, x: Array4, out: Array4, top, left, phases):
    """One row of x (C, H, W, N) within margins of zeros, out (C, H + margins, phases * columns, N).

    Every phases-th pixel lies beside the next: first those of pixel 0, then those of pixel 1, and so on.
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


def with_margin(x, pads, phases=1):
    """x (C, H, W, N) with margins of zeros, and its columns in phases: (C, H', phases * W', N)."""
    if phases == 1 and not any(pads):
        return x
    C, H, W, N = x.shape
    top, bottom, left, right = pads
    columns = -(-(left + W + right) // phases)
    out = memory.empty((C, top + H + bottom, phases * columns, N), x.dtype)
    margin_kernel.run_small(C * out.shape[1], out.size, x, out, top, left, phases)
    return out


LONG_WINDOW = 512  # multiply-adds in a row; LeNet-5 has no more than 150


@helper
def _window_sum(tile, acc, x, w, at, pixel, ways, first_c, first_kh, stop_c, stop_kh, count):
    """acc + the sum over some channels and some rows of the window of weight times pixel.

    pixel   (first channel, row and column of the window's corner, first image)
    ways    (KH, KW, DH, DW, first tap of a row inside the image, last)
    """
    KH, KW, DH, DW, first_kw, last_kw = ways
    for c in range(first_c, stop_c):
        for kh in range(first_kh, stop_kh):
            row = at + (c * KH + kh) * KW * tile.rows
            for kw in range(first_kw, last_kw):
                place = (pixel[0] + c, pixel[1] + kh * DH, pixel[2] + kw * DW, pixel[3])
                acc = outer_fma(acc, w, row + kw * tile.rows, 1, x, place, count)
    return acc


@kernel
def conv2d_kernel(
    task,
    x: Array4,
    w: Memory,
    b: Array1,
    out: Array4,
    KH,
    KW,
    SH,
    SW,
    top,
    left,
    DH,
    DW,
    groups,
    span,
    bias,
    tile: Tile,
):
    """One row of outputs, oh = task.  x (C, H, W, N), w (blocks, C/groups, KH, KW, tile.rows), out (F, OH, OW, N)."""
    channels, H, W, N = x.shape
    F, OH, OW, _ = out.shape
    oh, filters, C, length = task, F // groups, channels // groups, span * N
    blocks, taps = (filters + tile.rows - 1) // tile.rows, C * KH * KW * tile.rows
    h = oh * SH - top
    first_kh, last_kh = larger((DH - 1 - h) // DH, 0), smaller((H - h + DH - 1) // DH, KH)
    for group in range(groups):
        for ow in range(0, OW, span):
            for start in range(0, length, tile.width):
                n = larger(smaller(start, length - tile.width), 0)
                v = ow * SW - left
                first_kw, last_kw = larger((DW - 1 - v) // DW, 0), smaller((W - v + DW - 1) // DW, KW)
                for block in range(blocks):  # within ow: all blocks read the same pixels, 396 GFLOP/s; outside, 369
                    f = group * filters + smaller(block * tile.rows, filters - tile.rows)
                    acc, at = broadcast_rows(tile, b, f * bias, bias), (group * blocks + block) * taps
                    pixel, ways = (group * C, h, v, n), (KH, KW, DH, DW, first_kw, last_kw)
                    if C * KH * KW <= LONG_WINDOW:
                        acc = _window_sum(tile, acc, x, w, at, pixel, ways, 0, first_kh, C, last_kh, length - n)
                        store(acc, out, (f, oh, ow, n), OH * OW * N, length - n)
                    else:
                        lost, few_c, few_kh = zeros(tile), larger(LONG_WINDOW // (KH * KW), 1), LONG_WINDOW // KW + 1
                        for c in range(0, C, few_c):
                            for kh in range(first_kh, last_kh, few_kh):
                                run, end_c, end_kh = zeros(tile), smaller(c + few_c, C), smaller(kh + few_kh, last_kh)
                                run = _window_sum(tile, run, x, w, at, pixel, ways, c, kh, end_c, end_kh, length - n)
                                acc, lost = compensated_add(acc, lost, run)
                        store(compensated_total(acc, lost), out, (f, oh, ow, n), OH * OW * N, length - n)


def conv2d_cpu(x, w, b, stride, pads, dilation, groups, out):
    N, F, OH, OW = out.shape
    if not out.size:
        return
    x, w, result = memory.move_batch_last(x), memory.contiguous(w), memory.move_batch_last(out)
    (KH, KW), (top, _, left, right) = w.shape[2:], pads
    if span_rows(F // groups, N, OW, KW, x.shape[2], stride[1], pads[2:], dilation[1], out.dtype):
        x, span, left = with_margin(x, (0, 0, left, right)), OW, 0
    else:
        span = 1
    bias, tile = zero(out.dtype) if b is None else memory.contiguous(b), choose_tile(F // groups, span * N, out.dtype)
    packed, biased = packed_filters(w, groups, tile[0]), int(b is not None)
    conv2d_kernel(OH, x, packed, bias, result, KH, KW, *stride, top, left, *dilation, groups, span, biased, tile)


@cache
def span_rows(rows, N, OW, KW, W, stride, pads, dilation, dtype):
    """Whether whole rows of outputs are faster than pixel by pixel: full vectors, but also taps outside the image."""
    if stride != 1:
        return False
    left, _ = pads
    inside = sum(0 <= ow - left + kw * dilation < W for ow in range(OW) for kw in range(KW))
    return min_tile_cost(rows, OW * N, dtype) * KW < min_tile_cost(rows, N, dtype) * inside


conv2d_dispatch = Dispatch("conv2d", conv2d_numpy, cpu=conv2d_cpu)


@op(sliding_window=True)
def conv2d(device, x, w, b, *, stride, pads, dilation, groups):
    shape = _out_shape(x.shape, w.shape, None if b is None else b.shape, stride, pads, dilation, groups)
    same_dtype("conv2d", x, w, b)
    out = memory.empty_batch_innermost(shape, x.dtype, device)
    conv2d_dispatch[device.type](x, w, b, stride, pads, dilation, groups, out)
    return out


conv2d.flops = lambda out, x, w, b: 2 * out.size * w[0].size


@cache
def _out_shape(x, w, b, stride, pads, dilation, groups):
    """(N, F, OH, OW), if the shapes fit together."""
    grid = window_grid(x, w[2:], stride, pads, dilation, "conv2d")
    if x[1] != w[1] * groups:
        raise ShapeError(
            f"conv2d: weight reads {w[1] * groups} channels but x has {x[1]} (x {x}, weight {w}, groups "
            f"{groups}); build the layer with in_channels={x[1]}"
        )
    if w[0] % groups:
        raise ShapeError(f"conv2d: {w[0]} filters do not divide into {groups} groups; use a divisor")
    if b is not None and b != w[:1]:
        raise ShapeError(f"conv2d: bias has shape {b}, weight has {w[0]} filters; use shape ({w[0]},)")
    return (x[0], w[0], *grid)


@conv2d.gradient
def conv2d_gradient(do, g, x, w, x_shape, w_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (
        lambda: do.conv2d_input(g, w, size=x_shape[2:], **settings),
        lambda: do.conv2d_weight(g, x, window=w_shape[2:], **settings),
        lambda: do.sum(g, axes=(0, 2, 3), keepdim=False),
    )


# ---- input gradient: every output sends its gradient back through the weights to the pixels it was made from


def conv2d_input_numpy(g, w, stride, pads, dilation, groups, dx):
    g, result = memory.move_batch_last(g), memory.move_batch_last(dx)
    (F, C, KH, KW), (_, H, W, N), grid = w.shape, result.shape, g.shape[1:3]
    top, bottom, left, right = pads
    padded = np.zeros((C * groups, H + top + bottom, W + left + right, N), g.dtype)
    for part in range(groups):
        filters = slice(part * F // groups, (part + 1) * F // groups)
        columns = w[filters].reshape(F // groups, -1).T @ g[filters].reshape(F // groups, -1)
        columns = columns.reshape(C, KH, KW, *grid, N)
        target = padded[part * C : (part + 1) * C]
        for kh in range(KH):
            for kw in range(KW):
                target[tap(kh, kw, grid, stride, dilation)] += columns[:, kh, kw]
    result[...] = padded[:, top : top + H, left : left + W]


@helper
def covering(table, pixel):
    """Of the windows that cover a pixel along a side: their number; of the first one, which tap lies on the pixel, and
    which window it is; and the steps of both to the next one.  The tap grows, the window falls."""
    at = 5 * pixel
    return table[at], table[at + 1], table[at + 2], table[at + 3], table[at + 4]


@helper
def _covering_sum(tile, acc, g, w, at, place, rows, cols, KW, filters, first_i, first_f, stop_i, stop_f, count):
    """acc + the sum of weight times gradient over some rows of the windows that hold a pixel, and over some filters.

    place   (first filter, row and column of the pixel, first image)
    """
    _, first_kh, first_oh, kh_step, oh_step = covering(rows, place[1])
    across, first_kw, first_ow, kw_step, ow_step = covering(cols, place[2])
    for i in range(first_i, stop_i):
        kh, oh = first_kh + i * kh_step, first_oh - i * oh_step
        for j in range(across):
            kw, ow = first_kw + j * kw_step, first_ow - j * ow_step
            tap = at + (kh * KW + kw) * filters * tile.rows
            for f in range(first_f, stop_f):
                value = (place[0] + f, oh, ow, place[3])
                acc = outer_fma(acc, w, tap + f * tile.rows, 1, g, value, count)
    return acc


@kernel
def conv2d_input_kernel(
    task, g: Array4, w: Memory, dx: Array4, rows: Ints, cols: Ints, KH, KW, groups, span, tile: Tile
):
    """One row of pixels, h = task.  g (F, OH, OW, N), w (blocks, KH, KW, F/groups, tile.rows), dx (C, H, W, N).

    rows, cols: the windows that cover each pixel along a side, see `covering`.
    """
    F, _, _, N = g.shape
    channels, H, W, _ = dx.shape
    h, filters, C, length = task, F // groups, channels // groups, span * N
    blocks = (C + tile.rows - 1) // tile.rows
    for group in range(groups):
        for v in range(0, W, span):
            for start in range(0, length, tile.width):
                n = larger(smaller(start, length - tile.width), 0)
                for block in range(blocks):
                    c = group * C + smaller(block * tile.rows, C - tile.rows)
                    acc, at = zeros(tile), (group * blocks + block) * KH * KW * filters * tile.rows
                    (down, _, _, _, _), place = covering(rows, h), (group * filters, h, v, n)
                    if KH * KW * filters <= LONG_WINDOW:
                        acc = _covering_sum(
                            tile, acc, g, w, at, place, rows, cols, KW, filters, 0, 0, down, filters, length - n
                        )
                        store(acc, dx, (c, h, v, n), H * W * N, length - n)
                    else:
                        lost, few = zeros(tile), larger(LONG_WINDOW // (KW * filters), 1)
                        for i in range(0, down, few):
                            for f in range(0, filters, LONG_WINDOW):
                                run, end_i, end_f = (
                                    zeros(tile),
                                    smaller(i + few, down),
                                    smaller(f + LONG_WINDOW, filters),
                                )
                                run = _covering_sum(
                                    tile, run, g, w, at, place, rows, cols, KW, filters, i, f, end_i, end_f, length - n
                                )
                                acc, lost = compensated_add(acc, lost, run)
                        store(compensated_total(acc, lost), dx, (c, h, v, n), H * W * N, length - n)


def conv2d_input_cpu(g, w, stride, pads, dilation, groups, dx):
    N, _, H, W = dx.shape
    if not dx.size:
        return
    (_, C, KH, KW), OW, reach = w.shape, g.shape[3], (w.shape[3] - 1) * dilation[1]
    rows, cols = window_tables(dx.shape, g.shape, w.shape, stride, pads, dilation)
    g, w, result, span = memory.move_batch_last(g), memory.contiguous(w), memory.move_batch_last(dx), 1
    before = reach - pads[2]  # of the first window that holds the first pixel
    if before >= 0 and span_rows(C, N, W, KW, OW, stride[1], (before, 0), dilation[1], dx.dtype):
        g, span = with_margin(g, (0, 0, before, W + reach - before - OW)), W
        cols = _row_table(KW, dilation[1])
    tile = choose_tile(C, span * N, dx.dtype)
    packed = packed_channels(w, groups, tile[0])
    conv2d_input_kernel(H, g, packed, result, rows, cols, KH, KW, groups, span, tile)


@cache
def _row_table(taps, dilation):
    """The taps of a whole row of pixels, the last window first."""
    return np.array([taps, 0, (taps - 1) * dilation, 1, dilation], np.int64)


@cache
def window_tables(image, grid, window, stride, pads, dilation):
    """The windows that cover each pixel, by rows and by columns, as tables for kernels; see `covering`."""
    rows = windows_covering(image[-2], grid[-2], window[-2], stride[0], pads[0], dilation[0])
    cols = windows_covering(image[-1], grid[-1], window[-1], stride[1], pads[2], dilation[1])
    return np.array(rows, np.int64), np.array(cols, np.int64)


conv2d_input_dispatch = Dispatch("conv2d_input", conv2d_input_numpy, cpu=conv2d_input_cpu)


@op
def conv2d_input(device, g, w, *, size, stride, pads, dilation, groups):
    """The gradient of conv2d by x, for images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((g.shape[0], w.shape[1] * groups, *size), g.dtype, device)
    conv2d_input_dispatch[device.type](g, w, stride, pads, dilation, groups, dx)
    return dx


conv2d_input.flops = lambda dx, g, w: 2 * g.size * w[0].size


@conv2d_input.gradient
def conv2d_input_gradient(do, h, g, w, w_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (lambda: do.conv2d(h, w, None, **settings), lambda: do.conv2d_weight(g, h, window=w_shape[2:], **settings))


# ---- weight gradient: every weight collects gradient times pixel over all positions and images


def conv2d_weight_numpy(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), memory.move_batch_last(x)
    F, C, KH, KW = dw.shape
    for part in range(groups):
        filters = slice(part * F // groups, (part + 1) * F // groups)
        columns = im2col(x[part * C : (part + 1) * C], (KH, KW), g.shape[1:3], stride, pads, dilation)
        dw[filters] = (g[filters].reshape(F // groups, -1) @ columns.T).reshape(F // groups, C, KH, KW)


@kernel
def conv2d_weight_kernel(task, g: Array4, x: Array4, taps: Ints, sums: Memory, SH, groups, height, tile: Tile):
    """One tile of filters x taps over `height` rows of outputs; the next task does other filters with the same taps.

    g (F, OH, OW, N), x (C, H, W, N) with its columns in phases; taps: where each (c, kh, kw) of the first group lies in
    x, in elements; sums (parts, F, taps).
    """
    F, OH, OW, N = g.shape
    T, filters, C, length, most = taps.shape[0], F // groups, x.shape[0] // groups, OW * N, LONG * tile.lanes
    rows, cols = (filters + tile.rows - 1) // tile.rows, (T + tile.cols - 1) // tile.cols
    part, block = task // (groups * rows * cols), task % (groups * rows * cols)
    group = block // (rows * cols)
    f = group * filters + smaller(block % rows * tile.rows, filters - tile.rows)
    t = smaller(block // rows % cols * tile.cols, T - tile.cols)
    first, stop = part * height, smaller((part + 1) * height, OH)
    if (stop - first) * length <= most:
        acc = _part_sums(tile, g, x, taps, f, group * C, t, SH, first, stop, 0, length)
    else:
        acc = lost = zeros(tile)
        together = larger(most // length, 1)  # rows
        for oh in range(first, stop, together):
            for n in range(0, length, most):
                last, end = smaller(oh + together, stop), smaller(n + most, length)
                run = _part_sums(tile, g, x, taps, f, group * C, t, SH, oh, last, n, end)
                acc, lost = compensated_add(acc, lost, run)
        acc = compensated_total(acc, lost)
    store_lane_sums(acc, sums, (part * F + f) * T + t, T)


@helper
def _part_sums(tile, g, x, taps, f, c, t, SH, first, last, start, stop):
    """Filters from f on times taps from t on, over the elements from `start` to `stop` of rows of outputs."""
    _, OH, OW, N = g.shape
    acc = zeros(tile)
    for oh in range(first, last):
        for n in range(start, stop, tile.lanes):
            acc = dot_fma(acc, g, (f, oh, 0, n), OH * OW * N, x, (c, oh * SH, 0, n), taps, t, stop - n)
    return acc


LONG = 4096  # vectors in a row; LeNet-5 has 2,304 for 64 images


def conv2d_weight_cpu(g, x, stride, pads, dilation, groups, dw):
    g, x = memory.move_batch_last(g), with_margin(memory.move_batch_last(x), pads, stride[1])
    (_, OH, OW, N), filters = g.shape, g.shape[0] // groups
    taps = _tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation)
    tile = choose_dot_tile(filters, len(taps), OW * N, dw.dtype)
    blocks = groups * -(-filters // tile[0]) * -(-len(taps) // tile[1])
    parts = _row_parts(OH, OW * N // lanes(dw.dtype), blocks, g.nbytes)
    sums = memory.empty((parts, dw.size), dw.dtype) if parts > 1 else dw
    conv2d_weight_kernel(parts * blocks, g, x, taps, sums, stride[0], groups, -(-OH // parts), tile)
    if parts > 1:
        add_parts(sums, dw)


PIECES = 24  # at least so many tasks, where there are few filters and taps
STEPS = 96  # a tile's sums are worth so many steps


CACHED = 2**19  # bytes of g, which stay in a core's second cache while one tap after the other passes over them


def _row_parts(OH, steps, blocks, size):
    """Into how many parts the rows of outputs, of so many steps each, are cut: at least two, so that a core reads rows
    which it has in its own cache (conv2 of LeNet-5: 94 us, 108 in one), if that leaves enough to add up."""
    wanted = min(max(-(-PIECES // blocks), 2, -(-size // CACHED)), OH, max(OH * steps // STEPS, 1))
    return -(-OH // -(-OH // wanted))


@cache
def _tap_offsets(weight, image, phases, dilation):
    """Where the taps (c, kh, kw) of a window lie in memory (C, H, phases * columns, N), in elements from its first."""
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
def conv2d_weight_gradient(do, h, g, x, x_shape, stride, pads, dilation, groups):
    settings = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    return (lambda: do.conv2d(x, h, None, **settings), lambda: do.conv2d_input(g, h, size=x_shape[2:], **settings))
