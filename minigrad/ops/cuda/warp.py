"""Batches of images that are cropped, flipped, resampled and normalised, on the GPU; the formulas are in ../warp.py."""

from ...runtime import memory
from ...runtime.cuda.array import to_device_each_replay
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.index import split_index
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const
from ..warp import (
    AX,
    AY,
    BOTTOM,
    BX,
    BY,
    COLUMNS,
    CX,
    CY,
    LEFT,
    NEAREST,
    POINT,
    RIGHT,
    SX,
    SY,
    TOP,
    TX,
    TY,
    X0,
    X1,
    Y0,
    Y1,
    define_sampler,
    warp_dispatch,
)

sample = define_sampler(helper, const)


@helper
def find_value(images, numbers, maps, field, c, h, w, n, new, C, H, W, width, height, field_size, sampling):
    """The value of one pixel, before it is normalised."""
    m = n * COLUMNS
    if h < maps[m + TOP] or h >= maps[m + BOTTOM] or w < maps[m + LEFT] or w >= maps[m + RIGHT]:
        return new
    x = maps[m + AX] * w + maps[m + BX] * h + maps[m + CX]
    y = maps[m + AY] * w + maps[m + BY] * h + maps[m + CY]
    if field_size > 0:
        at = n * field_size + 2 * ((y >> POINT) * width + (x >> POINT))
        x, y = x + field[at], y + field[at + 1]
    x0, y0, across, down = maps[m + X0], maps[m + Y0], maps[m + SX], maps[m + SY] * W
    columns, rows = maps[m + X1] - x0, maps[m + Y1] - y0
    start = (numbers[n] * C + c) * H * W + maps[m + TY] * W + maps[m + TX]
    if sampling == NEAREST:
        column, row = x >> POINT, y >> POINT
        if column < x0 or column >= x0 + columns or row < y0 or row >= y0 + rows:
            return new
        return const(images[start + row * down + column * across], new)
    return sample(images, start, down, across, x0, y0, columns, rows, x, y, width, height, sampling, new)


@kernel
def warp_kernel(
    images, numbers, maps, field, fill, scale, shift, out, N, C, H, W, OH, OW, width, height, field_size, sampling
):
    """One pixel of one image: images (M, C, H, W), maps (N, 18), field (N, height, width, 2), out (C, OH, OW, N)."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, h, w, n = split_index(i, OH, OW, N)
        value = find_value(
            images, numbers, maps, field, c, h, w, n, fill[c], C, H, W, width, height, field_size, sampling
        )  # fmt: skip
        out[i] = value * scale[c] + shift[c]


@warp_dispatch.register("cuda")
def warp_cuda(images, numbers, maps, field, fill, scale, shift, frame, sampling, out):
    result = memory.move_batch_last(out)
    field_size = field[:1].size
    changing = numbers, maps.reshape(-1), field.reshape(-1) if field_size else numbers  # an array needs some element
    arrays = images.reshape(-1), *map(to_device_each_replay, changing), fill, scale, shift, result.reshape(-1)
    C, OH, OW, N = result.shape
    sizes = N, C, *images.shape[2:], OH, OW, *frame, field_size, sampling
    warp_kernel.launch_over(result.size, *arrays, *sizes)
