"""Two-dimensional pooling: the largest or the mean of every window, and their gradients.

    max: out[n, c, oh, ow] = the largest x[n, c, oh*SH + kh*DH - top, ow*SW + kw*DW - left]; the first one of equals
    avg: the sum over the same pixels divided by their number (padding counted, or not)

Memory: x (C, H, W, N), out (C, OH, OW, N).  The gradients are gathered: each pixel asks the windows that hold it.  Both
poolings are linear once the largest pixels are known, so their second gradients are poolings again.
Tasks go through all channels of a row before the next row, as the tasks of a convolution do: a core then finds most
pixels in its own cache (LeNet-5's first pooling: 17 us, 29 channel by channel).

Source: Y.-T. Zhou & R. Chellappa, 1988 (max); Y. LeCun et al., 1989 (mean); sizes: Dumoulin & Visin, 2016, section 2.
"""

from functools import cache

import numpy as np

from ..errors import ShapeError, ValidationError
from ..runtime import memory
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
from .conv2d import covering, tap, window_tables
from .matmul import expect_floats
from .op import Dispatch, op
from .reduction import one

# Settings travel as: window (KH, KW), stride (SH, SW), pads (top, bottom, left, right), dilation (DH, DW).


@cache
def _out_shape(where, x, window, stride, pads, dilation, ceil_mode):
    """(N, C, OH, OW), if the settings fit."""
    if len(x) == 4 and 0 in x[2:]:
        raise ShapeError(f"{where}: x {x} has images without a pixel; every window must hold one")
    for side, before, name in ((window[0], pads[0], "height"), (window[1], pads[2], "width")):
        if before > side // 2:
            raise ValidationError(
                f"{where}: padding {before} is more than half of the window's {name} {side}; "
                "every window must hold a pixel"
            )
    return (*x[:2], *window_grid(x, window, stride, pads, dilation, where, ceil_mode))


def _stretched(x, value, window, grid, stride, pads, dilation):
    """x (C, H, W, N) with margins of `value`, large enough for every window."""
    top, _, left, _ = pads
    below = max((grid[0] - 1) * stride[0] + (window[0] - 1) * dilation[0] + 1 - top - x.shape[1], 0)
    behind = max((grid[1] - 1) * stride[1] + (window[1] - 1) * dilation[1] + 1 - left - x.shape[2], 0)
    return np.pad(x, ((0, 0), (top, below), (left, behind), (0, 0)), constant_values=value)


# ---- max


def max_pool2d_numpy(x, window, stride, pads, dilation, out, places):
    x, result, taken = memory.move_batch_last(x), memory.move_batch_last(out), memory.move_batch_last(places)
    grid = result.shape[1:3]
    padded = _stretched(x, -np.inf, window, grid, stride, pads, dilation)
    taps = [padded[tap(kh, kw, grid, stride, dilation)] for kh in range(window[0]) for kw in range(window[1])]
    result[...] = taps[0]
    for value in taps[1:]:
        np.maximum(result, value, out=result)
    # the place of the first largest is the number of taps before it
    taken[...], before = 0, np.ones(result.shape, bool)
    nan = bool(np.isnan(result).any())
    for value in taps[:-1]:
        before &= (value != result) & ~np.isnan(value) if nan else value != result
        taken += before
    if pads[0] or pads[2]:  # the margin is never taken, not even where all pixels are -inf
        np.maximum(taken, _first_inside(window, grid, stride, pads, dilation)[None, :, :, None], out=taken)


def _first_inside(window, grid, stride, pads, dilation):
    """For every window the number of its first tap that lies inside the image."""
    kh = [max(-(-(pads[0] - oh * stride[0]) // dilation[0]), 0) for oh in range(grid[0])]
    kw = [max(-(-(pads[2] - ow * stride[1]) // dilation[1]), 0) for ow in range(grid[1])]
    return np.add.outer(np.array(kh) * window[1], np.array(kw)).astype(np.uint16)


@kernel
def max_pool2d_kernel(task, x: Array4, out: Array4, places: Shorts, KH, KW, SH, SW, top, left, DH, DW, tile: Tile):
    """One row of windows of one channel, and for each the number of the tap that was the largest."""
    C, H, W, N = x.shape
    _, OH, OW, _ = out.shape
    oh, c = task // C, task % C
    h = oh * SH - top
    first_kh, last_kh = larger((DH - 1 - h) // DH, 0), smaller((H - h + DH - 1) // DH, KH)
    for start in range(0, N, tile.width):
        n = larger(smaller(start, N - tile.width), 0)
        for ow in range(OW):
            v = ow * SW - left
            first_kw, last_kw = larger((DW - 1 - v) // DW, 0), smaller((W - v + DW - 1) // DW, KW)
            best, place = full(tile, const(-np.inf, x)), full(tile, const(0, x))
            if first_kh < last_kh and first_kw < last_kw:
                best = load(tile, x, (c, h + first_kh * DH, v + first_kw * DW, n), N - n)
                place = full(tile, const(first_kh * KW + first_kw, x))
            for kh in range(first_kh, last_kh):
                for kw in range(first_kw, last_kw):
                    value = load(tile, x, (c, h + kh * DH, v + kw * DW, n), N - n)
                    best, place = update_maximum(best, place, value, const(kh * KW + kw, x))
            store(best, out, (c, oh, ow, n), 0, N - n)
            store_uint16(place, places, ((c * OH + oh) * OW + ow) * N + n, N - n)


def max_pool2d_cpu(x, window, stride, pads, dilation, out, places):
    N, C, OH, _ = out.shape
    if out.size:
        x, result, taken = (memory.move_batch_last(array) for array in (x, out, places))
        tile = choose_tile(1, N, x.dtype)
        max_pool2d_kernel(C * OH, x, result, taken, *window, *stride, pads[0], pads[2], *dilation, tile)


max_pool2d_dispatch = Dispatch("max_pool2d", max_pool2d_numpy, cpu=max_pool2d_cpu)


@op(sliding_window=True)
def max_pool2d(device, x, *, window, stride, pads, dilation, ceil_mode):
    expect_floats("max_pool2d", x)
    if window[0] * window[1] > 65536:
        raise ValidationError(f"max_pool2d: a window of {window[0]}x{window[1]} has more than 65536 pixels; use amax")
    out = memory.empty_batch_innermost(
        _out_shape("max_pool2d", x.shape, window, stride, pads, dilation, ceil_mode), x.dtype, device
    )
    places = memory.empty_batch_innermost(out.shape, np.dtype(np.uint16), device)
    max_pool2d_dispatch[device.type](x, window, stride, pads, dilation, out, places)
    return out, places


@max_pool2d.gradient
def max_pool2d_gradient(do, g, saved, x_shape, window, stride, pads, dilation):
    return (
        lambda: do.max_pool2d_back(
            g, saved, size=x_shape[2:], window=window, stride=stride, pads=pads, dilation=dilation
        ),
    )


def max_pool2d_back_numpy(g, places, window, stride, pads, dilation, dx):
    g, taken, result = memory.move_batch_last(g), memory.move_batch_last(places), memory.move_batch_last(dx)
    grid, (_, H, W, _) = g.shape[1:3], result.shape
    padded = _stretched(np.zeros_like(result), 0, window, grid, stride, pads, dilation)
    for kh in range(window[0]):
        for kw in range(window[1]):
            padded[tap(kh, kw, grid, stride, dilation)] += np.where(taken == kh * window[1] + kw, g, 0)
    result[...] = padded[:, pads[0] : pads[0] + H, pads[2] : pads[2] + W]


@kernel
def max_pool2d_back_kernel(task, g: Array4, places: Shorts, dx: Array4, rows: Ints, cols: Ints, KW, tile: Tile):
    """One row of pixels of one channel: what the windows that chose a pixel send back to it."""
    _, OH, OW, N = g.shape
    C, H, W, _ = dx.shape
    h, c = task // C, task % C
    down, first_kh, first_oh, kh_step, oh_step = covering(rows, h)
    for start in range(0, N, tile.width):
        n = larger(smaller(start, N - tile.width), 0)
        for v in range(W):
            acc, (across, first_kw, first_ow, kw_step, ow_step) = zeros(tile), covering(cols, v)
            for i in range(down):
                kh, oh = first_kh + i * kh_step, first_oh - i * oh_step
                for j in range(across):
                    kw, ow = first_kw + j * kw_step, first_ow - j * ow_step
                    at = ((c * OH + oh) * OW + ow) * N + n
                    acc = add_where_equal(acc, places, np.uint16(kh * KW + kw), g, at, N - n)
            store(acc, dx, (c, h, v, n), 0, N - n)


def max_pool2d_back_cpu(g, places, window, stride, pads, dilation, dx):
    N, C, H, _ = dx.shape
    if dx.size:
        tables = window_tables(dx.shape, g.shape, window, stride, pads, dilation)
        g, taken, result = (memory.move_batch_last(array) for array in (g, places, dx))
        max_pool2d_back_kernel(C * H, g, taken, result, *tables, window[1], choose_tile(1, N, dx.dtype))


max_pool2d_back_dispatch = Dispatch("max_pool2d_back", max_pool2d_back_numpy, cpu=max_pool2d_back_cpu)


@op
def max_pool2d_back(device, g, places, *, size, window, stride, pads, dilation):
    """g sent to the pixels in `places`, of images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((*g.shape[:2], *size), g.dtype, device)
    max_pool2d_back_dispatch[device.type](g, places, window, stride, pads, dilation, dx)
    return dx


@max_pool2d_back.gradient
def max_pool2d_back_gradient(do, h, places, window, stride, pads, dilation):
    return lambda: do.max_pool2d_taken(h, places, window=window, stride=stride, pads=pads, dilation=dilation), None


def max_pool2d_taken_numpy(x, places, window, stride, pads, dilation, out):
    x, taken, result = (memory.move_batch_last(array) for array in (x, places, out))
    padded = _stretched(x, 0, window, result.shape[1:3], stride, pads, dilation)
    result[...] = 0
    for kh in range(window[0]):
        for kw in range(window[1]):
            pixels = padded[tap(kh, kw, result.shape[1:3], stride, dilation)]
            np.copyto(result, pixels, where=taken == kh * window[1] + kw)


max_pool2d_taken_dispatch = Dispatch("max_pool2d_taken", max_pool2d_taken_numpy)


@op
def max_pool2d_taken(device, x, places, *, window, stride, pads, dilation):
    """The pixel of x in `places` for every window; 0 where a window holds no pixel."""
    out = memory.empty_batch_innermost(places.shape, x.dtype, device)
    if out.size:
        max_pool2d_taken_dispatch[device.type](x, places, window, stride, pads, dilation, out)
    return out


@max_pool2d_taken.gradient
def max_pool2d_taken_gradient(do, g, places, x_shape, window, stride, pads, dilation):
    settings = {"window": window, "stride": stride, "pads": pads, "dilation": dilation}
    return lambda: do.max_pool2d_back(g, places, size=x_shape[2:], **settings), None


# ---- average


@cache
def _divisors(image, window, grid, stride, pads, count_include_pad, divisor, dtype):
    """By what the sum of every window is divided, (OH, OW)."""
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
def _shares(*settings):
    """1 / divisor of every window, (OH, OW)."""
    return 1 / _divisors(*settings)


def avg_pool2d_numpy(x, window, stride, pads, divisors, out):
    x, result = memory.move_batch_last(x), memory.move_batch_last(out)
    grid = result.shape[1:3]
    padded = _stretched(x, 0, window, grid, stride, pads, (1, 1))
    result[...] = 0
    for kh in range(window[0]):
        for kw in range(window[1]):
            result += padded[tap(kh, kw, grid, stride, (1, 1))]
    result /= divisors[:, :, None]


@kernel
def avg_pool2d_kernel(
    task, x: Array4, one: Array1, divisors: Array1, out: Array4, KH, KW, SH, SW, top, left, tile: Tile
):
    """One row of windows of one channel; a quotient, since a sum times 1 / 9 may not be the mean of 9 equal numbers."""
    C, H, W, N = x.shape
    _, OH, OW, _ = out.shape
    oh, c = task // C, task % C
    h = oh * SH - top
    first_kh, last_kh = larger(-h, 0), smaller(H - h, KH)
    for start in range(0, N, tile.width):
        n = larger(smaller(start, N - tile.width), 0)
        for ow in range(OW):
            v = ow * SW - left
            acc = zeros(tile)
            for kh in range(first_kh, last_kh):
                for kw in range(larger(-v, 0), smaller(W - v, KW)):
                    acc = outer_fma(acc, one, 0, 0, x, (c, h + kh, v + kw, n), N - n)
            store(divide(acc, divisors[oh * OW + ow]), out, (c, oh, ow, n), 0, N - n)


def avg_pool2d_cpu(x, window, stride, pads, divisors, out):
    N, C, OH, _ = out.shape
    if out.size:
        x, result, tile = memory.move_batch_last(x), memory.move_batch_last(out), choose_tile(1, N, x.dtype)
        avg_pool2d_kernel(C * OH, x, one(x.dtype), divisors, result, *window, *stride, pads[0], pads[2], tile)


avg_pool2d_dispatch = Dispatch("avg_pool2d", avg_pool2d_numpy, cpu=avg_pool2d_cpu)


@op(sliding_window=True)
def avg_pool2d(device, x, *, window, stride, pads, ceil_mode, count_include_pad, divisor):
    expect_floats("avg_pool2d", x)
    out = memory.empty_batch_innermost(
        _out_shape("avg_pool2d", x.shape, window, stride, pads, (1, 1), ceil_mode), x.dtype, device
    )
    divisors = _divisors(x.shape[2:], window, out.shape[2:], stride, pads, count_include_pad, divisor, x.dtype)
    avg_pool2d_dispatch[device.type](x, window, stride, pads, divisors, out)
    return out


@avg_pool2d.gradient
def avg_pool2d_gradient(do, g, x_shape, window, stride, pads, ceil_mode, count_include_pad, divisor):
    settings = {"window": window, "stride": stride, "pads": pads, "ceil_mode": ceil_mode}
    settings |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return (lambda: do.avg_pool2d_back(g, size=x_shape[2:], **settings),)


def avg_pool2d_back_numpy(g, window, stride, pads, shares, dx):
    g, result = memory.move_batch_last(g), memory.move_batch_last(dx)
    grid, (_, H, W, _) = g.shape[1:3], result.shape
    padded = _stretched(np.zeros_like(result), 0, window, grid, stride, pads, (1, 1))
    for kh in range(window[0]):
        for kw in range(window[1]):
            padded[tap(kh, kw, grid, stride, (1, 1))] += g * shares[:, :, None]
    result[...] = padded[:, pads[0] : pads[0] + H, pads[2] : pads[2] + W]


@kernel
def avg_pool2d_back_kernel(task, g: Array4, shares: Array1, dx: Array4, rows: Ints, cols: Ints, tile: Tile):
    """One row of pixels of one channel."""
    _, _, OW, N = g.shape
    C, H, W, _ = dx.shape
    h, c = task // C, task % C
    down, _, first_oh, _, oh_step = covering(rows, h)
    for start in range(0, N, tile.width):
        n = larger(smaller(start, N - tile.width), 0)
        for v in range(W):
            acc, (across, _, first_ow, _, ow_step) = zeros(tile), covering(cols, v)
            for i in range(down):
                oh = first_oh - i * oh_step
                for j in range(across):
                    ow = first_ow - j * ow_step
                    acc = outer_fma(acc, shares, oh * OW + ow, 0, g, (c, oh, ow, n), N - n)
            store(acc, dx, (c, h, v, n), 0, N - n)


def avg_pool2d_back_cpu(g, window, stride, pads, shares, dx):
    N, C, H, _ = dx.shape
    if dx.size:
        tables = window_tables(dx.shape, g.shape, window, stride, pads, (1, 1))
        g, result = memory.move_batch_last(g), memory.move_batch_last(dx)
        avg_pool2d_back_kernel(C * H, g, shares, result, *tables, choose_tile(1, N, dx.dtype))


avg_pool2d_back_dispatch = Dispatch("avg_pool2d_back", avg_pool2d_back_numpy, cpu=avg_pool2d_back_cpu)


@op
def avg_pool2d_back(device, g, *, size, window, stride, pads, ceil_mode, count_include_pad, divisor):
    """g divided among the pixels of each window, for images of `size` (H, W)."""
    dx = memory.empty_batch_innermost((*g.shape[:2], *size), g.dtype, device)
    shares = _shares(size, window, g.shape[2:], stride, pads, count_include_pad, divisor, g.dtype)
    avg_pool2d_back_dispatch[device.type](g, window, stride, pads, shares, dx)
    return dx


@avg_pool2d_back.gradient
def avg_pool2d_back_gradient(do, h, window, stride, pads, ceil_mode, count_include_pad, divisor):
    settings = {"window": window, "stride": stride, "pads": pads, "ceil_mode": ceil_mode}
    return (lambda: do.avg_pool2d(h, count_include_pad=count_include_pad, divisor=divisor, **settings),)
