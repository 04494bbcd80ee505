"""Two-dimensional convolution, its input gradient and its weight gradient; transposed convolution.

    out[n, f, oh, ow] = b[f] + sum over c, kh, kw of w[f, c, kh, kw] * x[n, c, h, v],
    h = oh*SH + kh*DH - top,  v = ow*SW + kw*DW - left

(deep learning calls this cross-correlation a convolution).  The three operations are closed under differentiation: the
gradient of each by each of its inputs is another of the three.  With groups, the channels and filters of one group do
not mix with those of another.

Memory: x (C, H, W, N), w (F, C/groups, KH, KW), out (F, OH, OW, N).  The inner loops run over images; a tile holds
several filters (or channels) times several vectors of images.  Taps outside the image are zero.
Weights are first packed in the order in which tiles read them.

The gradient by x is a convolution of g for each phase of the pixels: those that windows cover at equal distances.

Pixels of different channels are far apart, often by a power of two, so that caches can hold only a few of them.  A task
first copies the pixels that it reads into a panel, side by side; the panel stays in its core's second-level cache.

Where the stride is 1, `span` pixels can be computed as one row of span * N elements: each tap of them is also a row of
the panel.  Vectors are then full even for a single image, but margins of zeros are read.  With span 1, taps outside the
image are left out.

Source: V. Dumoulin & F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np

from ..errors import ShapeError, ValidationError
from ..runtime import memory, threads, turn
from ..runtime.kernel import Array1, Array4, Ints, Memory, Tile, helper, is_parallel, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import (
    broadcast_rows,
    choose_dot_tile,
    choose_tile,
    compensated_total,
    copy_row,
    dot_fma,
    lanes,
    outer_fma,
    step_cycles,
    store,
    store_lane_sums,
    zeros,
)
from ..shapes import window_grid, windows_covering
from .matmul import PRODUCTS_PER_PARTIAL_SUM, expect_same_dtype, zero_bias
from .op import Dispatch, op
from .reduction import add_partial_sums

VECTORS_PER_PARTIAL_SUM = 4096  # in the weight gradient; LeNet-5 has 2,304 for 64 images
ELEMENTS_PER_WORK = 32  # products that take about as long as touching one element
MIN_TASKS = 24  # of a weight gradient, even with few filters and taps
MIN_CHUNK_STEPS = 96  # tile steps of a row chunk: adding its sums to the others costs about as much
PANEL_BYTES = 2**18  # of a panel: half a core's second-level cache
COPY_CYCLES = 0.6  # of an element that is copied into a panel; those of products are tile.step_cycles
TILE_CYCLES = 30  # of a tile besides its products
CHUNK_BYTES = 2**19  # of g in a chunk; so many stay in a core's second-level cache while each tap reads them

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
def pack_kernel(task, w: Memory, packed: Memory, start, rows, filters, K1, K2, K3, step, step_f, step1, step2, step3):
    """One block of `rows` filters, interleaved, from packed[start] on: (groups, blocks, K1, K2, K3, rows).

    step, step_f, step1, step2, step3: strides of w from group to group, filter to filter, and so on, in elements.  The
    last block of a group overlaps the one before.
    """
    blocks = (filters + rows - 1) // rows
    first, at = smaller(task % blocks * rows, filters - rows), start + task * K1 * K2 * K3 * rows
    for k1 in range(K1):
        for k2 in range(K2):
            for k3 in range(K3):
                weight = task // blocks * step + first * step_f + k1 * step1 + k2 * step2 + k3 * step3
                for i in range(rows):
                    packed[at + i] = w[weight + i * step_f]
                at += rows


def pack_weights(w, taps, rows):
    """w (groups, filters, C, KH, KW) as tiles read it: for each phase of rows and of columns, the blocks of `rows`
    filters (groups, blocks, KH, KW, C, rows) of its taps."""
    groups, filters, C = w.shape[:3]
    blocks, start = -(-filters // rows), 0
    packed = memory.empty((groups * blocks * rows * w[0, 0].size,), w.dtype)
    for down in taps[0]:
        for across in taps[1]:
            part = w[:, :, :, down, across].transpose(0, 1, 3, 4, 2)
            if part.size:
                steps = [stride // w.itemsize for stride in part.strides]
                sizes = start, rows, filters, *part.shape[2:], *steps
                pack_kernel.run_small(groups * blocks, part.size, part, packed, *sizes)
            start += groups * blocks * rows * part[0, 0].size
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
    first, stop = 0, taps
    if start < 0:  # divisions are slow, and most windows lie inside
        first = (dilation - 1 - start) // dilation
    if start + (taps - 1) * dilation >= size:
        stop = (size - start + dilation - 1) // dilation
    return first, stop


class Plan(NamedTuple):
    """How conv2d_kernel computes convolutions of certain sizes.

    taps     for each phase of rows and of columns: the slices of w
    tables   for rows and for columns: see STRIDE
    tasks    of the kernel
    panel    elements of a task's panel
    sizes    the kernel's arguments from `height` to `copied`
    """

    taps: tuple[list[slice], list[slice]]
    tables: tuple[np.ndarray, np.ndarray]
    tasks: int
    panel: int
    sizes: tuple[int, ...]
    tile: tuple[int, int, int]


@cache
def _plan(image, out, filters, window, side, stride, pads, dilation, groups, dtype, threads, parallel):
    """The fastest Plan, by an estimate of cycles, for images (C, H, W, N) and the shape of `out`.

    side   _forward_side or _gradient_side
    """
    sides = [side(*size) for size in zip(image[1:3], out[1:3], window, stride, pads[::2], dilation, strict=True)]
    tables, taps = zip(*(_make_table(*side) for side in sides), strict=True)
    (SH, _, step_h, _, _, _, reach_h, _, _, OH), (SW, _, step_w, _, _, _, reach_w, apart, _, OW) = (
        [int(n) for n in table[:FIRST_PHASE]] for table in tables
    )
    (_, H, W, N), C = image, image[0] // groups
    inside_h, inside_w = map(_count_taps, tables)
    wanted = 4 * threads if parallel else 1  # units

    def layout(tile, whole, height, across, parts):
        """Units of `height` rows, `across` columns and `parts` tiles of images, or of whole rows."""
        rows, cols, vector = tile
        width, strips = cols * vector, -(-OW // across)
        down, along = (height - 1) * SH + reach_h, (across - 1) * SW + reach_w
        copied = whole or C * filters > 1 or window == (1, 1) or step_h * step_w > 1  # else read too seldom
        if not copied:
            steps = N, H * W * N, W * N, 0
        elif whole:
            steps = N, along * N, C * along * N, 0
        else:
            steps = C * width, width, along * C * width, down * along * C * width
        if whole:
            parts, sets = -(-across * N // width), 1
            tiles, fmas = OH * strips * parts, inside_h * strips * parts * window[1]
        else:
            vectors, sets = -(-N // width), -(-N // (parts * width))
            tiles, fmas = out[1] * out[2] * vectors, inside_h * inside_w * vectors
        units, blocks = groups * -(-OH // height) * strips * sets, groups * -(-filters // rows)
        size = C * down * along * N + width if whole else C * down * along * parts * width
        cycles = blocks * (fmas * C * step_cycles(rows, cols) + tiles * TILE_CYCLES)
        cycles += units * size * copied * COPY_CYCLES
        sizes = height, across, parts, across if whole else 1, *steps, int(copied)
        return _Layout(whole, max(size * dtype.itemsize / PANEL_BYTES, 1), cycles, units, size, sizes, tile)

    def cost(choice):
        units = choice.units
        balance = -(-units // threads) * threads / units * (1 + max(wanted / units - 1, 0) / 50) if parallel else 1
        return choice.overflow, choice.cycles * balance, choice

    choices = []
    for height in _parts(OH):
        for across in _parts(OW):
            tile = choose_tile(filters, N, dtype)
            for parts in _parts(-(-N // (tile[1] * tile[2]))):
                choices.append(layout(tile, False, height, across, parts))
            if SW == step_w == apart == 1 and across > 1:
                choices.append(layout(choose_tile(filters, across * N, dtype), True, height, across, 1))
    # `whole` decides where sums of many products are divided, so it must not depend on the number of threads
    whole = min(choices, key=lambda choice: (choice.overflow, choice.cycles, choice)).whole
    best = min((choice for choice in choices if choice.whole == whole), key=cost)
    return Plan(taps, tables, min(best.units, wanted), best.size, best.sizes, best.tile)


class _Layout(NamedTuple):
    """One way to divide a convolution into units.

    whole      whether tiles run over rows of several pixels, with `span` above 1; else over the images of one pixel
    overflow   size of a panel beside PANEL_BYTES, at least 1
    cycles     estimate for one thread
    units      their number
    size       of a panel, in elements
    sizes, tile   see Plan
    """

    whole: bool
    overflow: float
    cycles: float
    units: int
    size: int
    sizes: tuple[int, ...]
    tile: tuple[int, int, int]


def _parts(size):
    """Sizes of the parts into which a side is divided: into a few equal ones, or into small ones."""
    return {-(-size // n) for n in range(1, 13)} | {n for n in (1, 2, 3, 4, 6, 8, 12) if n <= size}


def _count_taps(table):
    """The taps inside the image of all windows along a side, from its table."""
    stride, spread, first, stop, count = *table[[STRIDE, SPREAD, FIRST, STOP]], 0
    for taps, shift, _, outputs in table[FIRST_PHASE:].reshape(-1, 4):
        steps = shift + np.add.outer(np.arange(outputs) * stride, np.arange(taps) * spread)
        count += int(((steps >= first) & (steps < stop)).sum())
    return count


def _forward_side(size, outputs, window, stride, before, dilation):
    """One side of a convolution, for _make_table."""
    dilation = stride if window == 1 else dilation  # then only the pixels that are read become steps
    step = gcd(stride, dilation)
    return size, stride // step, dilation // step, step, 1, ((range(window), -before, 0, outputs),)


def _gradient_side(outputs, size, window, stride, before, dilation):
    """One side of a gradient by x, for _make_table: a convolution of g for each phase of the pixels."""
    common, phases = gcd(stride, dilation), []
    for first in range(min(stride, size)):
        taps = [k for k in range(window) if (first + before - k * dilation) % stride == 0][::-1]
        start = (first + before - taps[0] * dilation) // stride if taps else 0
        taps = range(taps[0], taps[-1] - 1, -stride // common) if taps else range(0)
        phases.append((taps, start, first, -(-(size - first) // stride)))
    return outputs, 1, dilation // common, 1, stride, tuple(phases)


def _make_table(size, stride, spread, step, apart, phases):
    """One side of a convolution as kernels read it, and the slices of w.

    size    of the images that are read
    phases  (taps, pixel under the first tap of the first output, first output, number of outputs)
    """
    margin = max([-start for taps, start, _, _ in phases if taps], default=0)
    rows = [(len(taps), margin + start if taps else 0, first, outputs) for taps, start, first, outputs in phases]
    reach = max(max(taps - 1, 0) * spread + shift + 1 for taps, shift, _, _ in rows)
    inside = -(-margin // step), -(-(size + margin) // step)
    most = max(outputs for *_, outputs in rows)
    table = [stride, spread, step, margin, *inside, reach, apart, len(rows), most, *(n for row in rows for n in row)]
    ends = [taps[-1] + taps.step if taps else 0 for taps, *_ in phases]
    slices = [
        slice(taps.start, None if end < 0 else end, taps.step) for (taps, *_), end in zip(phases, ends, strict=True)
    ]
    return np.array(table, np.int64), slices


# What _make_table returns, before the phases.  Output i of a phase reads at tap k the step i*stride + shift + k*spread;
# step u is pixel u*step - margin.  An output reads fewer than `reach` steps from i*stride on.
STRIDE, SPREAD, STEP, MARGIN, FIRST, STOP, REACH, APART, PHASES, MOST, FIRST_PHASE = range(11)


@helper
def _fill_panel(tile, x, panels, panel, rows, cols, corner, C, sizes, steps):
    """Copy the pixels that a unit of conv2d_kernel reads.  corner: first channel, row and column of outputs, part."""
    _, _, _, N = x.shape
    SH, step_h, margin_h = rows[STRIDE], rows[STEP], rows[MARGIN]
    SW, step_w, margin_w = cols[STRIDE], cols[STEP], cols[MARGIN]
    first_c, i, j, first_part, stop_part = corner
    height, across, span = sizes
    pixel_step, channel_step, row_step, part_step = steps
    top, left, right = i * SH, j * SW, (j + across - 1) * SW + cols[REACH]
    bottom, start, stop = top + (height - 1) * SH + rows[REACH], larger(left, cols[FIRST]), smaller(right, cols[STOP])
    for c in range(C):
        for u in range(larger(top, rows[FIRST]), smaller(bottom, rows[STOP])):
            row, h = panel + (u - top) * row_step + c * channel_step, u * step_h - margin_h
            if span == 1:
                for v in range(start, stop):
                    for part in range(first_part, stop_part):
                        n = smaller(part * tile.width, N - tile.width)
                        to = row + (v - left) * pixel_step + (part - first_part) * part_step
                        copy_row(tile, x, (first_c + c, h, v * step_w - margin_w, n), panels, to)
            else:
                source = (((first_c + c) * x.shape[1] + h) * x.shape[2] - margin_w) * N
                for n in range((start - left) * N):
                    panels[row + n] = const(0, x)
                for n in range(start * N, stop * N):
                    panels[row - left * N + n] = x[source + n]
                for n in range((larger(start, stop) - left) * N, (right - left) * N):
                    panels[row + n] = const(0, x)


@helper
def _add_taps(tile, acc, w, w_at, x, x_at, taps, steps):
    """acc + the sum of weight times pixel over some taps of a window, in a panel.

    taps    (first kh, stop kh, first run, stop run, first i, stop i); a run is one tap or some neighbours
    steps   elements from tap to tap: in w for kh and run, in x for kh, run and i
    """
    for kh in range(taps[0], taps[1]):
        for run in range(taps[2], taps[3]):
            weight, pixel = w_at + kh * steps[0] + run * steps[1], x_at + kh * steps[2] + run * steps[3]
            for i in range(taps[4], taps[5]):
                acc = outer_fma(acc, w, weight + i * tile.rows, 1, x, pixel + i * steps[4])
    return acc


@helper
def _add_many_taps(tile, acc, w, w_at, x, x_at, taps, steps):
    """_add_taps for a large window, by partial sums."""
    first_kh, stop_kh, first_run, stop_run, first, stop = taps
    error = zeros(tile)
    height = larger(PRODUCTS_PER_PARTIAL_SUM * tile.rows // steps[0], 1)
    length = larger(PRODUCTS_PER_PARTIAL_SUM // larger(stop_run - first_run, 1), 1)
    for kh in range(first_kh, stop_kh, height):
        for i in range(first, stop, length):
            chunk = (kh, smaller(kh + height, stop_kh), first_run, stop_run, i, smaller(i + length, stop))
            partial = _add_taps(tile, zeros(tile), w, w_at, x, x_at, chunk, steps)
            acc, error = compensated_add(acc, error, partial)
    return compensated_total(acc, error)


@kernel
def conv2d_kernel(
    task, x: Array4, w: Memory, b: Array1, out: Array4, panels: Memory, rows: Ints, cols: Ints, shares, groups,
    has_bias, height, across, parts, span, pixel_step, channel_step, row_step, part_step, copied, tile: Tile,
):  # fmt: skip
    """One of `shares` equal shares of a convolution, or of a gradient by x as convolutions of g.

    x (C, H, W, N), w as packed by pack_weights, out (F, OH, OW, N).  A task works by units: one group, `height` rows
    and `across` columns of outputs, `parts` tiles of images.  It first copies the pixels that a unit reads into its
    panel, where those of a tile are contiguous.  Where `copied` is 0, panels is x.
    """
    (channels, _, _, N), (F, _, _, _) = x.shape, out.shape
    SH, DH, first_h, stop_h, OH = rows[STRIDE], rows[SPREAD], rows[FIRST], rows[STOP], rows[MOST]
    SW, DW, first_w, stop_w, OW = cols[STRIDE], cols[SPREAD], cols[FIRST], cols[STOP], cols[MOST]
    C, filters, length = channels // groups, F // groups, span * N
    blocks, tiles = (filters + tile.rows - 1) // tile.rows, (length + tile.width - 1) // tile.width
    bands, strips, sets = (OH + height - 1) // height, (OW + across - 1) // across, (tiles + parts - 1) // parts
    units = groups * bands * strips * sets
    for unit in range(units * task // shares, units * (task + 1) // shares):
        group, i0 = unit // (sets * strips * bands), unit // (sets * strips) % bands * height
        j0, first_part = unit // sets % strips * across, unit % sets * parts
        if span > 1:  # rows of span * N elements: the last strip overlaps the one before
            j0 = smaller(j0, OW - across)
        stop_part, start, panel = smaller(first_part + parts, tiles), 0, task * (panels.shape[0] // shares)
        top, left = i0 * SH, j0 * SW
        if copied:
            sizes, strides = (height, across, span), (pixel_step, channel_step, row_step, part_step)
            corner = (group * C, i0, j0, first_part, stop_part)
            _fill_panel(tile, x, panels, panel, rows, cols, corner, C, sizes, strides)
        else:
            panel, top, left = group * C * channel_step, rows[MARGIN], cols[MARGIN]
        for p in range(rows[PHASES] * cols[PHASES]):
            at_h, at_w = FIRST_PHASE + p // cols[PHASES] * 4, FIRST_PHASE + p % cols[PHASES] * 4
            KH, KW = rows[at_h], cols[at_w]
            steps = (KW * C * tile.rows, C * tile.rows, DH * row_step, DW * pixel_step, channel_step)
            for line in range(i0 * blocks, smaller(i0 + height, rows[at_h + 3]) * blocks):
                oh, block = line // blocks, line % blocks
                u, to_h = oh * SH + rows[at_h + 1], rows[at_h + 2] + oh * rows[APART]
                first_kh, stop_kh = taps_inside(u - first_h, stop_h - first_h, KH, DH)
                f = group * filters + smaller(block * tile.rows, filters - tile.rows)
                w_at = start + (group * blocks + block) * KH * steps[0]
                for part in range(first_part, stop_part):
                    n = smaller(part * tile.width, length - tile.width)
                    for ow in range(j0, smaller(j0 + across, cols[at_w + 3]), span):
                        v, first_kw, stop_kw = ow * SW + cols[at_w + 1], 0, KW
                        if span == 1:
                            first_kw, stop_kw = taps_inside(v - first_w, stop_w - first_w, KW, DW)
                        at = panel + (u - top) * row_step + (v - left) * pixel_step
                        at += (part - first_part) * part_step if part_step else n
                        taps = (first_kh, stop_kh, first_kw, stop_kw, 0, C)
                        if DW * pixel_step == C * channel_step:  # the taps of a row are one run
                            taps = (first_kh, stop_kh, 0, 1, first_kw * C, stop_kw * C)
                        acc = broadcast_rows(tile, b, f * has_bias, has_bias)  # b is one 0 if there is no bias
                        to = (f, to_h, cols[at_w + 2] + ow * cols[APART], n)
                        if KH * KW * C <= PRODUCTS_PER_PARTIAL_SUM:  # two stores: else LLVM spills the tile
                            acc = _add_taps(tile, acc, w, w_at, panels, at, taps, steps)
                            store(acc, out, to, out.shape[1] * out.shape[2] * N)
                        else:
                            acc = _add_many_taps(tile, acc, w, w_at, panels, at, taps, steps)
                            store(acc, out, to, out.shape[1] * out.shape[2] * N)
            start += groups * blocks * KH * KW * C * tile.rows


def conv2d_cpu(x, w, b, stride, pads, dilation, groups, out):
    x, result = turn.move_batch_last(x), turn.move_batch_last(out)
    w = memory.contiguous(w).reshape(groups, -1, *w.shape[1:])
    _convolve(x, w, b, _forward_side, stride, pads, dilation, result)


def _convolve(x, w, b, side, stride, pads, dilation, out):
    """out (F, OH, OW, N) of x (C, H, W, N) and w (groups, F/groups, C/groups, KH, KW)."""
    if not out.size:
        return
    groups, filters, _, *window = w.shape
    if window == [1, 1] and stride == (1, 1) and not any(pads):  # a matrix product
        x, out = x.reshape(len(x), 1, 1, -1), out.reshape(len(out), 1, 1, -1)
    settings = (side, stride, pads, dilation, groups)
    parallel = is_parallel(out.size * w[0, 0].size // ELEMENTS_PER_WORK)
    plan = _plan(x.shape, out.shape, filters, tuple(window), *settings, out.dtype, threads.get_num_threads(), parallel)
    bias, has_bias = zero_bias(out.dtype) if b is None else memory.contiguous(b), int(b is not None)
    packed = pack_weights(w, plan.taps, plan.tile[0])
    panels = memory.empty((plan.tasks, plan.panel), out.dtype) if plan.sizes[-1] else x
    conv2d_kernel(
        plan.tasks, x, packed, bias, out, panels, *plan.tables, plan.tasks, groups, has_bias, *plan.sizes, plan.tile
    )


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
        last = (0, len(x) - 1, *range(1, len(x) - 1))
        raise ShapeError(
            f"{where}: weight reads {read} channels but x has {x[1]} (x {x}, weight {w}, groups {groups}); "
            + (f"if its last axis is that of the channels, give x.permute{last}" if x[-1] == read else
               f"build the layer with in_channels={x[1]}")
        )  # fmt: skip
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


def conv2d_input_cpu(g, w, b, stride, pads, dilation, groups, dx):
    g, result = turn.move_batch_last(g), turn.move_batch_last(dx)
    w = memory.contiguous(w).reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
    _convolve(g, w, b, _gradient_side, stride, pads, dilation, result)


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
    acc, step, whole = zeros(tile), OH * OW * N, stop - (stop - start) % tile.lanes
    for oh in range(first_oh, stop_oh):
        for n in range(start, whole, tile.lanes):
            acc = dot_fma(acc, g, (f, oh, 0, n), step, x, (c, oh * SH, 0, n), taps, t, None)
        if whole < stop:
            acc = dot_fma(acc, g, (f, oh, 0, whole), step, x, (c, oh * SH, 0, whole), taps, t, stop - whole)
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
    g, x = turn.move_batch_last(g), pad_images(turn.move_batch_last(x), pads, stride[1])
    (_, OH, OW, N), filters = g.shape, g.shape[0] // groups
    taps = tap_offsets(dw.shape[1:], x.shape[1:], stride[1], dilation)
    tile = choose_dot_tile(filters, len(taps), dw.dtype)
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
