"""Batches of images that are cropped, flipped, resampled and normalised, on the GPU; the formulas are in ../warp.py."""

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import to_device_each_replay
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.index import split_index
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const, floor, larger, smaller
from ..warp import (
    FRACTION,
    HALF,
    HIGH,
    LEFT,
    NEAREST,
    PILLOW,
    POINT,
    SHARE,
    SOFT_ROUNDED,
    SX,
    SY,
    TOP,
    TX,
    TY,
    WIDE,
    define_place,
    kind_of,
    warp_dispatch,
)

find_place, in_window = define_place(helper, floor, larger, smaller)


@helper
def read(images, maps, N, n, start, W, column, row, new):
    """A pixel of the frame."""
    if not in_window(maps, N, n, column << POINT, row << POINT):
        return new
    x, y = maps[SX * N + n] * column + maps[TX * N + n], maps[SY * N + n] * row + maps[TY * N + n]
    return const(images[start + y * W + x], new)


@helper
def neighbour(place, side, like):
    """On one axis: the first of the two pixels of the frame beside a place, the share of the second, the coverage."""
    whole, unit, one, zero = place >> POINT, const(1.0 / (1 << SHARE), like), const(1, like), const(0, like)
    share = const((place & FRACTION) >> (POINT - SHARE), like) * unit
    if whole < 0:
        return 0, zero, share if whole == -1 else zero
    if whole >= side - 1:
        return side - 1, zero, one - share if whole == side - 1 else zero
    return whole, share, one


@helper
def mean(images, maps, N, n, start, W, x, y, width, height, sampling, new):
    """The mean of the four pixels around a place, in Pillow's order of operations."""
    if sampling == PILLOW and (x < 0 or (x >> POINT) >= width or y < 0 or (y >> POINT) >= height):
        return new
    left, dx, across = neighbour(x - HALF, width, new)
    top, dy, down = neighbour(y - HALF, height, new)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a = read(images, maps, N, n, start, W, left, top, new)
    b = read(images, maps, N, n, start, W, right, top, new)
    c = read(images, maps, N, n, start, W, left, bottom, new)
    d = read(images, maps, N, n, start, W, right, bottom, new)
    upper, lower = a + (b - a) * dx, c + (d - c) * dx
    value, coverage = upper + (lower - upper) * dy, across * down
    if sampling == PILLOW:
        return const(np.int32(value), new)
    value = value * (coverage * coverage) + (const(1, new) - coverage) * new
    return const(np.int32(value + const(0.5, new)), new) if sampling == SOFT_ROUNDED else value


@kernel
def warp_kernel(
    images, numbers, maps, projection, field, fill, scale, shift, out, N, C, H, W, OH, OW, width, height, kind, sampling
):
    """One pixel of one image: images (M, C, H, W), out (C, OH, OW, N); the others as in ../warp.py."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, h, w, n = split_index(i, OH, OW, N)
        column, row, value = w - maps[LEFT * N + n], h - maps[TOP * N + n], fill[c]
        if column >= 0 and column < maps[WIDE * N + n] and row >= 0 and row < maps[HIGH * N + n]:
            x, y = find_place(maps, projection, field, kind, width, height, N, n, h, w)
            start = (numbers[n] * C + c) * H * W
            if sampling == NEAREST:
                value = read(images, maps, N, n, start, W, x >> POINT, y >> POINT, fill[c])
            else:
                value = mean(images, maps, N, n, start, W, x, y, width, height, sampling, fill[c])
        out[i] = value * scale[c] + shift[c]


@warp_dispatch.register("cuda")
def warp_cuda(images, numbers, maps, projection, field, fill, scale, shift, frame, sampling, out):
    result, kind = memory.move_batch_last(out), kind_of(projection, field)
    C, OH, OW, N = result.shape
    numbers, maps, projection, field = (  # an array needs some element
        to_device_each_replay(array.reshape(-1) if array.size else np.zeros(1, array.dtype))
        for array in (numbers, maps, projection, field)
    )
    arrays = images.reshape(-1), numbers, maps, projection, field, fill, scale, shift, result.reshape(-1)
    sizes = N, C, *images.shape[2:], OH, OW, *frame, kind, sampling
    warp_kernel.launch_over(result.size, *arrays, *sizes)
