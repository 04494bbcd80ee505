"""Batches of images that are cropped, flipped, padded, resampled and normalised in one pass.

    out[n, c, h, w] = value * scale[c] + shift[c],  value = images[numbers[n], c] at place (x, y), or fill[c]

Places have 32 bits after the point and count from the outer edges of the first pixel, so that pixel w has its centre at
w + 1/2.  A place takes three steps:

    x = ax*w + bx*h + cx,  y = ay*w + by*h + cy        an affine map, which also holds crops and flips of the result
    (x, y) += field[n, row, column]                    if there is a field; (row, column) is the pixel at (x, y)
    column' = sx * column + tx,  row' = sy * row + ty  crops, flips and pads of the image, before it is resampled

A pixel is `fill` outside of the window in the result (left, right, top, bottom), and outside of the window in the frame
that is resampled (x0, x1, y0, y1).  The frame is the image after those first crops, flips and pads.
These 18 numbers of each image are a row of `maps`.  Whole numbers make crops, flips, pads and nearest pixels exact, on
every device.
"""

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import memory
from ..runtime.kernel import Array1, Array4, Bytes, Ints, helper, kernel
from ..runtime.math import const
from .op import Dispatch

AX, BX, CX, AY, BY, CY, LEFT, RIGHT, TOP, BOTTOM, SX, TX, SY, TY, X0, X1, Y0, Y1 = range(18)  # the columns of maps
COLUMNS = 18
NEAREST, PILLOW, SOFT, SOFT_ROUNDED = range(4)  # how a place becomes a value
POINT = 32  # bits after the point
ONE, HALF, FRACTION = 1 << POINT, 1 << (POINT - 1), (1 << POINT) - 1
BLOCK = 64  # images of one task, whose row of results stays in the first cache


# ---- reference implementation


def warp_numpy(images, numbers, maps, field, fill, scale, shift, frame, sampling, out):
    N, C, H, W = out.shape
    h, w = np.arange(H)[:, None], np.arange(W)
    for n in range(N):
        row = maps[n]
        x, y = row[AX] * w + row[BX] * h + row[CX], row[AY] * w + row[BY] * h + row[CY]
        visible = (w >= row[LEFT]) & (w < row[RIGHT]) & (h >= row[TOP]) & (h < row[BOTTOM])
        if field.size:
            places = np.where(visible, y >> POINT, 0), np.where(visible, x >> POINT, 0)
            x, y = x + field[n, ..., 0][places], y + field[n, ..., 1][places]
        values = _sample(images[numbers[n]], row, x, y, fill[:, None, None], frame, sampling)
        out[n] = np.where(visible, values, fill[:, None, None]) * scale[:, None, None] + shift[:, None, None]


def _sample(image, row, x, y, fill, frame, sampling):
    """The values (C, H, W) at places (H, W)."""
    width, height = frame
    if sampling == NEAREST:
        return _read(image, row, x >> POINT, y >> POINT, fill)
    inside = (x >= 0) & (x < width * ONE) & (y >= 0) & (y < height * ONE)
    x, y = x - HALF, y - HALF
    dx, dy = ((part & FRACTION).astype(fill.dtype) / ONE for part in (x, y))
    columns, rows = np.stack([x >> POINT, (x >> POINT) + 1]), np.stack([y >> POINT, (y >> POINT) + 1])
    if sampling == PILLOW:
        columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    taps = [[_read(image, row, columns[j], rows[i], fill) for j in (0, 1)] for i in (0, 1)]
    upper, lower = (left + (right - left) * dx for left, right in taps)
    value = upper + (lower - upper) * dy
    if sampling == PILLOW:
        return np.where(inside, np.floor(value), fill)
    across, down = (
        (1 - part) * ((first >= 0) & (first < side)) + part * ((first >= -1) & (first < side - 1))
        for part, first, side in ((dx, columns[0], width), (dy, rows[0], height))
    )
    value = _cover(value, across * down, fill)
    return np.floor(value + 0.5) if sampling == SOFT_ROUNDED else value


def _cover(value, coverage, fill):
    """Where the image covers a pixel in part: the covered sum, times the coverage again, as torchvision does."""
    return (value - (1 - coverage) * fill) * coverage + (1 - coverage) * fill


def _read(image, row, columns, rows, fill):
    """The bytes (C, H, W) at whole places in the frame that is resampled."""
    inside = (columns >= row[X0]) & (columns < row[X1]) & (rows >= row[Y0]) & (rows < row[Y1])
    columns, rows = row[SX] * columns + row[TX], row[SY] * rows + row[TY]
    return np.where(inside, image[:, np.where(inside, rows, 0), np.where(inside, columns, 0)], fill)


# ---- kernels


def define_sampler(helper, const):
    """The function of bilinear kernels, for the CPU or for CUDA.

    A pixel of the frame stands at start + row*down + column*across in `images`, if it is in the window of `columns` by
    `rows` pixels from (x0, y0) on.
    """

    @helper
    def read(images, start, down, across, x0, y0, columns, rows, column, row, fill):
        """A byte of the frame that is resampled."""
        if column < x0 or column >= x0 + columns or row < y0 or row >= y0 + rows:
            return fill
        return const(images[start + row * down + column * across], fill)

    @helper
    def covered(part, first, side):
        """The share of two neighbouring pixels that lies in the frame."""
        share = const(0, part)
        if first >= 0 and first < side:
            share += const(1, part) - part
        if first >= -1 and first < side - 1:
            share += part
        return share

    @helper
    def soften(value, left, top, dx, dy, width, height, sampling, fill):
        """The value of a pixel that the frame covers in part, as torchvision computes it for pixels."""
        coverage = covered(dx, left, width) * covered(dy, top, height)
        rest = (const(1, fill) - coverage) * fill
        value = (value - rest) * coverage + rest
        return const(np.int32(value + const(0.5, fill)), fill) if sampling == SOFT_ROUNDED else value

    @helper
    def sample(images, start, down, across, x0, y0, columns, rows, x, y, width, height, sampling, fill):
        """The mean of the four pixels around a place, in Pillow's order of operations."""
        if sampling == PILLOW and (x < 0 or (x >> POINT) >= width or y < 0 or (y >> POINT) >= height):
            return fill
        x, y = x - HALF, y - HALF
        unit = const(1.0 / ONE, fill)
        dx, dy = const(x & FRACTION, fill) * unit, const(y & FRACTION, fill) * unit
        left, top = x >> POINT, y >> POINT
        if left >= x0 and left + 1 < x0 + columns and top >= y0 and top + 1 < y0 + rows:
            at = start + top * down + left * across
            a, b = const(images[at], fill), const(images[at + across], fill)
            c, d = const(images[at + down], fill), const(images[at + down + across], fill)
        else:
            right, bottom = left + 1, top + 1
            if sampling == PILLOW:
                left, top, right, bottom = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
            a = read(images, start, down, across, x0, y0, columns, rows, left, top, fill)
            b = read(images, start, down, across, x0, y0, columns, rows, right, top, fill)
            c = read(images, start, down, across, x0, y0, columns, rows, left, bottom, fill)
            d = read(images, start, down, across, x0, y0, columns, rows, right, bottom, fill)
        upper, lower = a + (b - a) * dx, c + (d - c) * dx
        value = upper + (lower - upper) * dy
        if sampling == PILLOW:
            return const(np.int32(value), fill)
        return soften(value, left, top, dx, dy, width, height, sampling, fill)

    return sample


sample = define_sampler(helper, const)


@kernel
def nearest_kernel(
    task, images: Bytes, numbers: Ints, maps: Ints, field: Ints, fill: Array1, scale: Array1, shift: Array1,
    H, W, width, field_size, out: Array4,
):  # fmt: skip
    """Row h of channel c of BLOCK images: images (M, C, H, W), field (N, height, width, 2), out (C, OH, OW, N)."""
    C, OH, OW, N = out.shape
    first, c, h = task // (C * OH) * BLOCK, task // OH % C, task % OH
    factor, offset, black = scale[c], shift[c], fill[c] * scale[c] + shift[c]
    for n in range(first, min(first + BLOCK, N)):
        m, line = n * COLUMNS, (c * OH + h) * OW * N + n
        ax, ay, x0, y0, across = maps[m + AX], maps[m + AY], maps[m + X0], maps[m + Y0], maps[m + SX]
        columns, rows, down = maps[m + X1] - x0, maps[m + Y1] - y0, maps[m + SY] * W
        start = (numbers[n] * C + c) * H * W + maps[m + TY] * W + maps[m + TX]
        left, right = maps[m + LEFT], maps[m + RIGHT]
        if h < maps[m + TOP] or h >= maps[m + BOTTOM]:
            left, right = OW, OW
        for w in range(left):
            out[line + w * N] = black
        for w in range(right, OW):
            out[line + w * N] = black
        x, y = maps[m + BX] * h + maps[m + CX] + ax * left, maps[m + BY] * h + maps[m + CY] + ay * left
        for w in range(left, right):
            px, py = x, y
            if field_size:
                at = n * field_size + 2 * ((y >> POINT) * width + (x >> POINT))
                px, py = x + field[at], y + field[at + 1]
            column, row, value = px >> POINT, py >> POINT, black
            if np.uint64(column - x0) < np.uint64(columns) and np.uint64(row - y0) < np.uint64(rows):
                value = const(images[start + row * down + column * across], factor) * factor + offset
            out[line + w * N] = value
            x, y = x + ax, y + ay


@kernel
def bilinear_kernel(
    task, images: Bytes, numbers: Ints, maps: Ints, field: Ints, fill: Array1, scale: Array1, shift: Array1,
    H, W, width, height, field_size, sampling, out: Array4,
):  # fmt: skip
    """The same as nearest_kernel, with the mean of four pixels."""
    C, OH, OW, N = out.shape
    first, c, h = task // (C * OH) * BLOCK, task // OH % C, task % OH
    factor, offset, new = scale[c], shift[c], fill[c]
    for n in range(first, min(first + BLOCK, N)):
        m, line = n * COLUMNS, (c * OH + h) * OW * N + n
        ax, ay, x0, y0, across = maps[m + AX], maps[m + AY], maps[m + X0], maps[m + Y0], maps[m + SX]
        columns, rows, down = maps[m + X1] - x0, maps[m + Y1] - y0, maps[m + SY] * W
        start = (numbers[n] * C + c) * H * W + maps[m + TY] * W + maps[m + TX]
        left, right = maps[m + LEFT], maps[m + RIGHT]
        if h < maps[m + TOP] or h >= maps[m + BOTTOM]:
            left, right = OW, OW
        for w in range(left):
            out[line + w * N] = new * factor + offset
        for w in range(right, OW):
            out[line + w * N] = new * factor + offset
        x, y = maps[m + BX] * h + maps[m + CX] + ax * left, maps[m + BY] * h + maps[m + CY] + ay * left
        for w in range(left, right):
            px, py = x, y
            if field_size:
                at = n * field_size + 2 * ((y >> POINT) * width + (x >> POINT))
                px, py = x + field[at], y + field[at + 1]
            value = sample(
                images, start, down, across, x0, y0, columns, rows, px, py, width, height, sampling, new
            )  # fmt: skip
            out[line + w * N] = value * factor + offset
            x, y = x + ax, y + ay


def warp_cpu(images, numbers, maps, field, fill, scale, shift, frame, sampling, out):
    result = memory.move_batch_last(out)
    C, OH, _, N = result.shape
    field_size = field[:1].size
    tasks = C * OH * -(-N // BLOCK)
    arrays, (width, height) = (images, numbers, maps, field, fill, scale, shift), frame
    if sampling == NEAREST:
        nearest_kernel(tasks, *arrays, *images.shape[2:], width, field_size, result)
    else:
        bilinear_kernel(tasks, *arrays, *images.shape[2:], width, height, field_size, sampling, result)


warp_dispatch = Dispatch("warp", warp_numpy, cpu=warp_cpu)


def warp_images(device, images, numbers, maps, field, fill, scale, shift, frame, sampling, size):
    """The batch (N, C, OH, OW), in the dtype of `scale`.

    images   (M, C, H, W) uint8, on the device, as fill, scale and shift
    numbers  (N,) int64            of the images
    maps     (N, 18) int64         see above
    field    (N, height, width, 2) int64, displacements, of the size of the frame; or of size 0
    fill     (C,)                  in the units of bytes
    frame    (width, height)       that is resampled
    size     (OH, OW)

    Raises   DtypeError        images are not C-contiguous uint8 (M, C, H, W)
             ShapeError        fill, scale or shift has not one number for each channel
             ValidationError   a number is out of range
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not images.flags.c_contiguous:
        raise DtypeError(
            f"warp: expected C-contiguous uint8 (M, C, H, W), got {images.dtype} {images.shape}; use "
            "np.ascontiguousarray"
        )
    M, C = images.shape[:2]
    if not fill.shape == scale.shape == shift.shape == (C,):
        raise ShapeError(
            f"warp: {C} channels, but fill, scale, shift have shapes {fill.shape}, {scale.shape}, {shift.shape}; give "
            f"{C} numbers in each"
        )
    outside = numbers[(numbers < 0) | (numbers >= M)]
    if outside.size:
        raise ValidationError(f"warp: number {outside[0]} is out of range for {M} images; use 0 to {M - 1}")
    out = memory.empty_batch_innermost((len(numbers), C, *size), scale.dtype, device)
    warp_dispatch[device.type](images, numbers, maps, field, fill, scale, shift, frame, sampling, out)
    return out
