"""Two-dimensional pooling: the largest or the mean of every window, and their gradients.

    max: out[n, c, oh, ow] = the largest x[n, c, oh*SH + kh*DH - top, ow*SW + kw*DW - left]
    avg: the sum over the same pixels divided by their number (padding counted, or not)

Max pooling also returns argmax, uint16: the number kh*KW + kw of the first tap with the largest pixel.  The gradients
gather: each pixel reads the windows that cover it.  Given argmax, both poolings are linear, so their second gradients
are poolings, too.

Memory: x (C, H, W, N), out and argmax (C, OH, OW, N).  Consecutive tasks compute one row in all channels, as those of a
convolution do, so that most pixels are in the core's cache (1.7 times faster for LeNet-5's first pooling).

Source: Y.-T. Zhou & R. Chellappa, 1988 (max); Y. LeCun et al., 1989 (mean); sizes: Dumoulin & Visin, 2016, section 2.
"""

from functools import cache

import numpy as np

from ..errors import ShapeError, ValidationError
from ..runtime import memory, turn
from ..runtime.kernel import Array1, Array4, Ints, Shorts, Tile, kernel
from ..runtime.math import const, larger, smaller
from ..runtime.tile import (
    add_where_equal,
    choose_tile,
    divide,
    full,
    load,
    outer_fma,
    store,
    store_uint16,
    update_maximum,
    zeros,
)
from ..shapes import window_grid
from .conv2d import build_window_tables, tap_slices, taps_inside, windows_at
from .op import Dispatch, op
from .promotion import expect_float

MAX_TAPS = 2**16  # of a window of max pooling: argmax is uint16

# Settings travel as: window (KH, KW), stride (SH, SW), pads (top, bottom, left, right), dilation (DH, DW).


@cache
def out_shape(where, x, window, stride, pads, dilation, ceil_mode):
    """(N, C, OH, OW), or (N, C, OL) for lines.  Refuses settings that do not fit."""
    if 0 in x[2:]:
        raise ShapeError(f"{where}: x {x} has images without a pixel; every window must hold one")
    for side, before, name in zip(
        window, pads[::2], ("height", "width") if len(window) == 2 else ("length",), strict=True
    ):
        if before > side // 2:
            raise ValidationError(
                f"{where}: padding {before} is more than half of the window's {name} {side}; "
                "every window must hold a pixel"
            )
    return (*x[:2], *window_grid(x, window, stride, pads, dilation, where, ceil_mode))


def _pad_images(x, value, window, grid, stride, pads, dilation):
    """x (C, H, W, N) with margins of `value`, so that no window reaches beyond the array."""
    top, _, left, _ = pads
    bottom = max((grid[0] - 1) * stride[0] + (window[0] - 1) * dilation[0] + 1 - top - x.shape[1], 0)
    right = max((grid[1] - 1) * stride[1] + (window[1] - 1) * dilation[1] + 1 - left - x.shape[2], 0)
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


# ---- max


def max_pool2d_numpy(x, window, stride, pads, dilation, out, argmax):
    x, out, argmax = (memory.move_batch_last(array) for array in (x, out, argmax))
    grid = out.shape[1:3]
    padded = _pad_images(x, -np.inf, window, grid, stride, pads, dilation)
    taps = [padded[tap_slices(kh, kw, grid, stride, dilation)] for kh in range(window[0]) for kw in range(window[1])]
    out[...] = taps[0]
    for value in taps[1:]:
        np.maximum(out, value, out=out)
    # the number of the first largest tap is the number of taps before it
    argmax[...], before = 0, np.ones(out.shape, bool)
    nan = bool(np.isnan(out).any())
    for value in taps[:-1]:
        before &= (value != out) & ~np.isnan(value) if nan else value != out
        argmax += before
    if pads[0] or pads[2]:  # never a tap in the margin, not even where all pixels are -inf
        np.maximum(argmax, _first_inside(window, grid, stride, pads, dilation)[None, :, :, None], out=argmax)


def _first_inside(window, grid, stride, pads, dilation):
    """The number of the first tap of every window that lies inside the image, (OH, OW)."""
    kh = [max(-(-(pads[0] - oh * stride[0]) // dilation[0]), 0) for oh in range(grid[0])]
    kw = [max(-(-(pads[2] - ow * stride[1]) // dilation[1]), 0) for ow in range(grid[1])]
    return np.add.outer(np.array(kh) * window[1], np.array(kw)).astype(np.uint16)


@kernel
def max_pool2d_kernel(task, x: Array4, out: Array4, argmax: Shorts, KH, KW, SH, SW, top, left, DH, DW, tile: Tile):
    """One row of windows of one channel."""
    C, H, W, N = x.shape
    _, OH, OW, _ = out.shape
    oh, c = task // C, task % C
    h = oh * SH - top
    first_kh, stop_kh = taps_inside(h, H, KH, DH)
    for start in range(0, N, tile.width):
        n = smaller(start, N - tile.width)
        for ow in range(OW):
            v = ow * SW - left
            first_kw, stop_kw = taps_inside(v, W, KW, DW)
            best, best_tap = full(tile, const(-np.inf, x)), full(tile, const(0, x))
            if first_kh < stop_kh and first_kw < stop_kw:
                best = load(tile, x, (c, h + first_kh * DH, v + first_kw * DW, n), None)
                best_tap = full(tile, const(first_kh * KW + first_kw, x))
            for kh in range(first_kh, stop_kh):
                for kw in range(first_kw, stop_kw):
                    value = load(tile, x, (c, h + kh * DH, v + kw * DW, n), None)
                    best, best_tap = update_maximum(best, best_tap, value, const(kh * KW + kw, x))
            store(best, out, (c, oh, ow, n), 0)
            store_uint16(best_tap, argmax, ((c * OH + oh) * OW + ow) * N + n)


def max_pool2d_cpu(x, window, stride, pads, dilation, out, argmax):
    N, C, OH, _ = out.shape
    if out.size:
        x, out, argmax = (turn.move_batch_last(array) for array in (x, out, argmax))
        tile = choose_tile(1, N, x.dtype)
        max_pool2d_kernel(C * OH, x, out, argmax, *window, *stride, pads[0], pads[2], *dilation, tile)


max_pool2d_dispatch = Dispatch("max_pool2d", max_pool2d_numpy, cpu=max_pool2d_cpu)


@op(sliding_window=True)
def max_pool2d(device, x, *, window, stride, pads, dilation, ceil_mode):
    expect_float("max_pool2d", x)
    if window[0] * window[1] > MAX_TAPS:
        raise ValidationError(
            f"max_pool2d: a window of {window[0]}x{window[1]} has more than {MAX_TAPS} pixels; use amax"
        )
    shape = out_shape("max_pool2d", x.shape, window, stride, pads, dilation, ceil_mode)
    out = memory.empty_batch_innermost(shape, x.dtype, device)
    argmax = memory.empty_batch_innermost(shape, np.dtype(np.uint16), device)
    max_pool2d_dispatch[device.type](x, window, stride, pads, dilation, out, argmax)
    return out, argmax


@max_pool2d.gradient
def max_pool2d_gradient(do, g, saved, x_shape, window, stride, pads, dilation):
    settings = {"window": window, "stride": stride, "pads": pads, "dilation": dilation}
    return (lambda: do.max_pool2d_back(g, saved, size=x_shape[2:], **settings),)


def max_pool2d_back_numpy(g, argmax, window, stride, pads, dilation, dx):
    g, argmax, dx = (memory.move_batch_last(array) for array in (g, argmax, dx))
    grid, (_, H, W, _) = g.shape[1:3], dx.shape
    padded = _pad_images(np.zeros_like(dx), 0, window, grid, stride, pads, dilation)
    for kh in range(window[0]):
        for kw in range(window[1]):
            padded[tap_slices(kh, kw, grid, stride, dilation)] += np.where(argmax == kh * window[1] + kw, g, 0)
    dx[...] = padded[:, pads[0] : pads[0] + H, pads[2] : pads[2] + W]


@kernel
def max_pool2d_back_kernel(task, g: Array4, argmax: Shorts, dx: Array4, rows: Ints, cols: Ints, KW, tile: Tile):
    """One row of pixels of one channel: the sum of the gradients of the windows whose argmax is the pixel."""
    _, OH, OW, N = g.shape
    C, H, W, _ = dx.shape
    h, c = task // C, task % C
    down, first_kh, first_oh, kh_step, oh_step = windows_at(rows, h)
    for start in range(0, N, tile.width):
        n = smaller(start, N - tile.width)
        for v in range(W):
            acc, (across, first_kw, first_ow, kw_step, ow_step) = zeros(tile), windows_at(cols, v)
            for i in range(down):
                kh, oh = first_kh + i * kh_step, first_oh - i * oh_step
                for j in range(across):
                    kw, ow = first_kw + j * kw_step, first_ow - j * ow_step
                    at = ((c * OH + oh) * OW + ow) * N + n
                    acc = add_where_equal(acc, argmax, np.uint16(kh * KW + kw), g, at)
            store(acc, dx, (c, h, v, n), 0)


def max_pool2d_back_cpu(g, argmax, window, stride, pads, dilation, dx):
    N, C, H, _ = dx.shape
    if dx.size:
        tables = build_window_tables(dx.shape, g.shape, window, stride, pads, dilation)
        g, argmax, dx = (turn.move_batch_last(array) for array in (g, argmax, dx))
        max_pool2d_back_kernel(C * H, g, argmax, dx, *tables, window[1], choose_tile(1, N, dx.dtype))


max_pool2d_back_dispatch = Dispatch("max_pool2d_back", max_pool2d_back_numpy, cpu=max_pool2d_back_cpu)


@op
def max_pool2d_back(device, g, argmax, *, size, window, stride, pads, dilation):
    """The gradient of max_pool2d by x, for images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((*g.shape[:2], *size), g.dtype, device)
    max_pool2d_back_dispatch[device.type](g, argmax, window, stride, pads, dilation, dx)
    return dx


@max_pool2d_back.gradient
def max_pool2d_back_gradient(do, h, argmax, window, stride, pads, dilation):
    return lambda: do.max_pool2d_gather(h, argmax, window=window, stride=stride, pads=pads, dilation=dilation), None


def max_pool2d_gather_numpy(x, argmax, window, stride, pads, dilation, out):
    x, argmax, out = (memory.move_batch_last(array) for array in (x, argmax, out))
    padded = _pad_images(x, 0, window, out.shape[1:3], stride, pads, dilation)
    out[...] = 0
    for kh in range(window[0]):
        for kw in range(window[1]):
            pixels = padded[tap_slices(kh, kw, out.shape[1:3], stride, dilation)]
            np.copyto(out, pixels, where=argmax == kh * window[1] + kw)


max_pool2d_gather_dispatch = Dispatch("max_pool2d_gather", max_pool2d_gather_numpy)


@op
def max_pool2d_gather(device, x, argmax, *, window, stride, pads, dilation):
    """The pixel of x at the argmax of every window; 0 where a window has no pixel."""
    out = memory.empty_batch_innermost(argmax.shape, x.dtype, device)
    if out.size:
        max_pool2d_gather_dispatch[device.type](x, argmax, window, stride, pads, dilation, out)
    return out


@max_pool2d_gather.gradient
def max_pool2d_gather_gradient(do, g, argmax, x_shape, window, stride, pads, dilation):
    settings = {"window": window, "stride": stride, "pads": pads, "dilation": dilation}
    return lambda: do.max_pool2d_back(g, argmax, size=x_shape[2:], **settings), None


@op
def max_pool2d_places(device, x, places, *, window, stride, pads, dilation, ceil_mode):
    """The element of `places`, of the shape of x, at the first largest pixel of every window."""
    settings = {"window": window, "stride": stride, "pads": pads, "dilation": dilation}
    _, argmax = max_pool2d.forward(device, x, ceil_mode=ceil_mode, **settings)
    return max_pool2d_gather.forward(device, places, argmax, **settings)


# ---- average


@cache
def _divisors(image, window, grid, stride, pads, count_include_pad, divisor, dtype):
    """The divisor of every window's sum, (OH, OW)."""
    if divisor is not None:
        return np.full(grid, divisor, dtype)
    counts = []
    for axis in (0, 1):
        before, after, size = pads[2 * axis], pads[2 * axis + 1], image[axis]
        start = np.arange(grid[axis]) * stride[axis] - before
        low, high = (-before, size + after) if count_include_pad else (0, size)
        counts.append(np.minimum(start + window[axis], high) - np.maximum(start, low))
    return np.multiply.outer(*counts).astype(dtype)


@cache
def _inverse_divisors(*settings):
    """1 / divisor of every window, (OH, OW)."""
    return 1 / _divisors(*settings)


def avg_pool2d_numpy(x, window, stride, pads, divisors, out):
    x, out = memory.move_batch_last(x), memory.move_batch_last(out)
    grid = out.shape[1:3]
    padded = _pad_images(x, 0, window, grid, stride, pads, (1, 1))
    out[...] = 0
    for kh in range(window[0]):
        for kw in range(window[1]):
            out += padded[tap_slices(kh, kw, grid, stride, (1, 1))]
    out /= divisors[:, :, None]


@kernel
def avg_pool2d_kernel(task, x: Array4, divisors: Array1, out: Array4, KH, KW, SH, SW, top, left, tile: Tile):
    """One row of windows of one channel.  It divides: a sum times 1 / 9 may not be the mean of 9 equal numbers."""
    C, H, W, N = x.shape
    _, OH, OW, _ = out.shape
    oh, c = task // C, task % C
    h = oh * SH - top
    first_kh, stop_kh = larger(-h, 0), smaller(H - h, KH)
    for start in range(0, N, tile.width):
        n = smaller(start, N - tile.width)
        for ow in range(OW):
            v = ow * SW - left
            acc = zeros(tile)
            for kh in range(first_kh, stop_kh):
                for kw in range(larger(-v, 0), smaller(W - v, KW)):
                    acc = acc + load(tile, x, (c, h + kh, v + kw, n), None)
            store(divide(acc, divisors[oh * OW + ow]), out, (c, oh, ow, n), 0)


def avg_pool2d_cpu(x, window, stride, pads, divisors, out):
    N, C, OH, _ = out.shape
    if out.size:
        x, out, tile = turn.move_batch_last(x), turn.move_batch_last(out), choose_tile(1, N, x.dtype)
        avg_pool2d_kernel(C * OH, x, divisors, out, *window, *stride, pads[0], pads[2], tile)


avg_pool2d_dispatch = Dispatch("avg_pool2d", avg_pool2d_numpy, cpu=avg_pool2d_cpu)


@op(sliding_window=True)
def avg_pool2d(device, x, *, window, stride, pads, ceil_mode, count_include_pad, divisor):
    expect_float("avg_pool2d", x)
    shape = out_shape("avg_pool2d", x.shape, window, stride, pads, (1, 1), ceil_mode)
    out = memory.empty_batch_innermost(shape, x.dtype, device)
    divisors = _divisors(x.shape[2:], window, shape[2:], stride, pads, count_include_pad, divisor, x.dtype)
    avg_pool2d_dispatch[device.type](x, window, stride, pads, divisors, out)
    return out


@avg_pool2d.gradient
def avg_pool2d_gradient(do, g, x_shape, window, stride, pads, ceil_mode, count_include_pad, divisor):
    settings = {"window": window, "stride": stride, "pads": pads, "ceil_mode": ceil_mode}
    settings |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return (lambda: do.avg_pool2d_back(g, size=x_shape[2:], **settings),)


def avg_pool2d_back_numpy(g, window, stride, pads, weights, dx):
    g, dx = memory.move_batch_last(g), memory.move_batch_last(dx)
    grid, (_, H, W, _) = g.shape[1:3], dx.shape
    padded = _pad_images(np.zeros_like(dx), 0, window, grid, stride, pads, (1, 1))
    for kh in range(window[0]):
        for kw in range(window[1]):
            padded[tap_slices(kh, kw, grid, stride, (1, 1))] += g * weights[:, :, None]
    dx[...] = padded[:, pads[0] : pads[0] + H, pads[2] : pads[2] + W]


@kernel
def avg_pool2d_back_kernel(task, g: Array4, weights: Array1, dx: Array4, rows: Ints, cols: Ints, tile: Tile):
    """One row of pixels of one channel."""
    _, _, OW, N = g.shape
    C, H, W, _ = dx.shape
    h, c = task // C, task % C
    down, _, first_oh, _, oh_step = windows_at(rows, h)
    for start in range(0, N, tile.width):
        n = smaller(start, N - tile.width)
        for v in range(W):
            acc, (across, _, first_ow, _, ow_step) = zeros(tile), windows_at(cols, v)
            for i in range(down):
                oh = first_oh - i * oh_step
                for j in range(across):
                    ow = first_ow - j * ow_step
                    acc = outer_fma(acc, weights, oh * OW + ow, 0, g, (c, oh, ow, n))
            store(acc, dx, (c, h, v, n), 0)


def avg_pool2d_back_cpu(g, window, stride, pads, weights, dx):
    N, C, H, _ = dx.shape
    if dx.size:
        tables = build_window_tables(dx.shape, g.shape, window, stride, pads, (1, 1))
        g, dx = turn.move_batch_last(g), turn.move_batch_last(dx)
        avg_pool2d_back_kernel(C * H, g, weights, dx, *tables, choose_tile(1, N, dx.dtype))


avg_pool2d_back_dispatch = Dispatch("avg_pool2d_back", avg_pool2d_back_numpy, cpu=avg_pool2d_back_cpu)


@op
def avg_pool2d_back(device, g, *, size, window, stride, pads, ceil_mode, count_include_pad, divisor):
    """The gradient of avg_pool2d by x, for images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((*g.shape[:2], *size), g.dtype, device)
    weights = _inverse_divisors(size, window, g.shape[2:], stride, pads, count_include_pad, divisor, g.dtype)
    avg_pool2d_back_dispatch[device.type](g, window, stride, pads, weights, dx)
    return dx


@avg_pool2d_back.gradient
def avg_pool2d_back_gradient(do, h, window, stride, pads, ceil_mode, count_include_pad, divisor):
    settings = {"window": window, "stride": stride, "pads": pads, "ceil_mode": ceil_mode}
    return (lambda: do.avg_pool2d(h, count_include_pad=count_include_pad, divisor=divisor, **settings),)
