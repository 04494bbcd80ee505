"""Batches of images that are cropped, flipped, padded, resampled and normalised in one pass.

    out[n, c, h, w] = value * scale[c] + shift[c],  value = images[numbers[n], c] at place (x, y), or fill[c]

Places have 32 bits after the point and count from the outer edges of the first pixel, so that pixel w has its centre at
w + 1/2.  A place takes three steps:

    x = ax*w + bx*h + cx,  y = ay*w + by*h + cy        an affine map, which also holds crops and flips of the result
    (x, y) += field[n, row, column]                    if there is a field; (row, column) is the pixel at (x, y)
    column' = sx * column + tx,  row' = sy * row + ty  crops, flips and pads of the image, before it is resampled

Outside of its window in the result (left, right, top, bottom), and in the image (x0, x1, y0, y1), a pixel is `fill`.
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
        return _read(image, row, x >> POINT, y >> POINT, fill, frame)
    inside = (x >= 0) & (x < width * ONE) & (y >= 0) & (y < height * ONE)
    x, y = x - HALF, y - HALF
    dx, dy = ((part & FRACTION).astype(fill.dtype) / ONE for part in (x, y))
    columns, rows = np.stack([x >> POINT, (x >> POINT) + 1]), np.stack([y >> POINT, (y >> POINT) + 1])
    if sampling == PILLOW:
        columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    taps = [[_read(image, row, columns[j], rows[i], fill, frame) for j in (0, 1)] for i in (0, 1)]
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


def _read(image, row, columns, rows, fill, frame):
    """The bytes (C, H, W) at whole places in the frame that is resampled."""
    inside = (columns >= 0) & (columns < frame[0]) & (rows >= 0) & (rows < frame[1])
    columns, rows = row[SX] * columns + row[TX], row[SY] * rows + row[TY]
    inside &= (columns >= row[X0]) & (columns < row[X1]) & (rows >= row[Y0]) & (rows < row[Y1])
    return np.where(inside, image[:, np.where(inside, rows, 0), np.where(inside, columns, 0)], fill)


# ---- kernels


def define_sampler(helper, const):
    """The functions of the kernels, for the CPU or for CUDA.

    m is the place of the image's row in maps, `plane` that of its channel in images.
    """

    @helper
    def read(images, plane, W, maps, m, column, row, width, height, fill):
        """The byte at a whole place in the frame that is resampled."""
        if column < 0 or column >= width or row < 0 or row >= height:
            return fill
        column, row = maps[m + SX] * column + maps[m + TX], maps[m + SY] * row + maps[m + TY]
        if column < maps[m + X0] or column >= maps[m + X1] or row < maps[m + Y0] or row >= maps[m + Y1]:
            return fill
        return const(images[plane + row * W + column], fill)

    @helper
    def mix(images, plane, W, maps, m, left, right, top, bottom, dx, dy, width, height, fill):
        """The mean of four pixels, in Pillow's order of operations."""
        a = read(images, plane, W, maps, m, left, top, width, height, fill)
        b = read(images, plane, W, maps, m, right, top, width, height, fill)
        c = read(images, plane, W, maps, m, left, bottom, width, height, fill)
        d = read(images, plane, W, maps, m, right, bottom, width, height, fill)
        upper, lower = a + (b - a) * dx, c + (d - c) * dx
        return upper + (lower - upper) * dy

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
    def sample(images, plane, W, maps, m, x, y, width, height, sampling, fill):
        """The value at a place."""
        if sampling == NEAREST:
            return read(images, plane, W, maps, m, x >> POINT, y >> POINT, width, height, fill)
        inside = x >= 0 and (x >> POINT) < width and y >= 0 and (y >> POINT) < height
        if sampling == PILLOW and not inside:
            return fill
        x, y = x - HALF, y - HALF
        unit = const(1.0 / ONE, fill)
        dx, dy = const(x & FRACTION, fill) * unit, const(y & FRACTION, fill) * unit
        left, top = x >> POINT, y >> POINT
        right, bottom = left + 1, top + 1
        if sampling == PILLOW:
            left, top, right, bottom = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
        value = mix(images, plane, W, maps, m, left, right, top, bottom, dx, dy, width, height, fill)
        if sampling == PILLOW:
            return const(np.int32(value), fill)
        coverage = covered(dx, left, width) * covered(dy, top, height)
        rest = (const(1, fill) - coverage) * fill
        value = (value - rest) * coverage + rest
        return const(np.int32(value + const(0.5, fill)), fill) if sampling == SOFT_ROUNDED else value

    return sample


sample = define_sampler(helper, const)


@kernel
def warp_kernel(
    task, images: Bytes, numbers: Ints, maps: Ints, field: Ints, fill: Array1, scale: Array1, shift: Array1,
    H, W, width, height, field_size, sampling, out: Array4,
):  # fmt: skip
    """One row h of BLOCK images: images (M, C, H, W), maps (N, 18), field (N, height, width, 2), out (C, OH, OW, N)."""
    C, OH, OW, N = out.shape
    h, first = task % OH, task // OH * BLOCK
    for n in range(first, min(first + BLOCK, N)):
        m = n * COLUMNS
        x, y = maps[m + BX] * h + maps[m + CX], maps[m + BY] * h + maps[m + CY]
        is_row = maps[m + TOP] <= h and h < maps[m + BOTTOM]
        for w in range(OW):
            visible = is_row and maps[m + LEFT] <= w and w < maps[m + RIGHT]
            px, py = x, y
            if field_size and visible:
                at = n * field_size + 2 * ((y >> POINT) * width + (x >> POINT))
                px, py = x + field[at], y + field[at + 1]
            for c in range(C):
                value = fill[c]
                if visible:
                    plane = (numbers[n] * C + c) * H * W
                    value = sample(images, plane, W, maps, m, px, py, width, height, sampling, value)
                out[((c * OH + h) * OW + w) * N + n] = value * scale[c] + shift[c]
            x += maps[m + AX]
            y += maps[m + AY]


def warp_cpu(images, numbers, maps, field, fill, scale, shift, frame, sampling, out):
    result = memory.move_batch_last(out)
    _, OH, _, N = result.shape
    field_size = field[:1].size
    tasks = OH * -(-N // BLOCK)
    sides = *images.shape[2:], *frame, field_size
    warp_kernel(tasks, images, numbers, maps, field, fill, scale, shift, *sides, sampling, result)


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
