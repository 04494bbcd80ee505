"""Batches of images that are cropped, flipped, padded, resampled and normalised in one pass.

    out[n, c, h, w] = value * scale[c] + shift[c],  value = images[numbers[n], c] at place (x, y), or fill[c]

Places have 32 bits after the point and count from the outer edges of the first pixel, so that pixel w has its centre at
w + 1/2.  A place takes three steps:

    x = ax*w + bx*h + cx,  y = ay*w + by*h + cy        an affine map, which also holds crops and flips of the result
    x = (a*X + b*Y + c) / z,  y = (d*X + e*Y + f) / z  a projection, if there is one, of the centre (X, Y) of the pixel
                                                   at (x, y), with z = g*X + h*Y + 1; or the displacements of that pixel
    column' = sx * column + tx,  row' = sy * row + ty  crops, flips and pads of the image, before it is resampled

A pixel is `fill` outside of the window in the result (left, wide, top, high), and outside of the window in the frame
(x0, across, y0, down).  A window is its first column, columns, first row, rows.  The frame, which is resampled, is the
image after those first crops, flips and pads.  These 18 numbers of each image are a column of `maps`.  Whole
numbers make crops, flips, pads and nearest pixels exact, on every device.  Means of four pixels are computed in floats.
"""

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import memory
from ..runtime.kernel import Array1, Array4, Bytes, Doubles, Ints, Singles, Words, helper, kernel
from ..runtime.math import const, floor, larger, smaller, where
from ..runtime.scratch import scratch
from .op import Dispatch

AX, BX, CX, AY, BY, CY, LEFT, WIDE, TOP, HIGH, SX, TX, SY, TY, X0, ACROSS, Y0, DOWN = range(18)  # the rows of maps
ROWS = 18
NEAREST, PILLOW, SOFT, SOFT_ROUNDED = range(4)  # how a place becomes a value
AFFINE, PROJECTED, DISPLACED = range(3)  # how a place is found
POINT = 32  # bits after the point
ONE, HALF, FRACTION = 1 << POINT, 1 << (POINT - 1), (1 << POINT) - 1
SHARE = 24  # bits of a fraction that weigh the pixels of a mean, as many as float32 holds exactly
LARGEST_PLACE = 2.0**20  # pixels; places of a projection beyond are as far outside
BLOCK = 64  # images of one task


# ---- reference implementation


def warp_numpy(images, numbers, maps, projection, field, fill, scale, shift, frame, sampling, out):
    N, C, H, W = out.shape
    h, w = np.arange(H)[:, None], np.arange(W)
    for n in range(N):
        row = maps[:, n]
        x, y = row[AX] * w + row[BX] * h + row[CX], row[AY] * w + row[BY] * h + row[CY]
        if projection.size:
            x, y = _project(projection[:, n], x >> POINT, y >> POINT)
        if field.size:
            places = (y >> POINT).clip(0, frame[1] - 1), (x >> POINT).clip(0, frame[0] - 1)
            x, y = (
                place + (part[places] * np.float32(side * HALF)).astype(int)
                for place, part, side in zip((x, y), field[..., n], frame, strict=True)
            )
        values = _sample(images[numbers[n]], row, x, y, fill[:, None, None], frame, sampling)
        visible = _within(w, row[LEFT], row[WIDE]) & _within(h, row[TOP], row[HIGH])
        out[n] = np.where(visible, values, fill[:, None, None]) * scale[:, None, None] + shift[:, None, None]


def _project(numbers, columns, rows):
    """The places (x, y) to which a projective map moves pixels; nan is outside."""
    a, b, c, d, e, f, g, h = numbers
    X, Y = columns + 0.5, rows + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.stack([a * X + b * Y + c, d * X + e * Y + f]) / (g * X + h * Y + 1)
    return np.floor(np.nan_to_num(places, nan=-LARGEST_PLACE).clip(-LARGEST_PLACE, LARGEST_PLACE) * ONE).astype(int)


def _within(x, first, count):
    return (x >= first) & (x < first + count)


def _sample(image, row, x, y, fill, frame, sampling):
    """The values (C, H, W) at places (H, W)."""
    width, height = frame
    inside = _within(x >> POINT, 0, width) & _within(y >> POINT, 0, height)
    if sampling == NEAREST:
        return np.where(inside, _read(image, row, x >> POINT, y >> POINT, fill), fill)
    (left, right, dx, across), (upper, lower, dy, down) = (
        _neighbours(place - HALF, side, fill.dtype) for place, side in ((x, width), (y, height))
    )
    taps = [[_read(image, row, column, line, fill) for column in (left, right)] for line in (upper, lower)]
    above, below = (first + (second - first) * dx for first, second in taps)
    value = above + (below - above) * dy
    if sampling == PILLOW:
        return np.where(inside, np.floor(value), fill)
    coverage = across * down
    value = value * coverage**2 + (1 - coverage) * fill  # as torchvision, which multiplies by the coverage twice
    return np.floor(value + 0.5) if sampling == SOFT_ROUNDED else value


def _neighbours(place, side, dtype):
    """Of places on one axis: the two pixels beside them in the frame, the share of the second, and their coverage."""
    whole, share = place >> POINT, ((place & FRACTION) >> (POINT - SHARE)).astype(dtype) / (1 << SHARE)
    outside = np.maximum(-whole - share, whole + share - (side - 1)).clip(0, 1)
    first = whole.clip(0, side - 1)
    return first, (first + 1).clip(0, side - 1), np.where(_within(whole, 0, side - 1), share, 0), 1 - outside


def _read(image, row, columns, rows, fill):
    """The bytes (C, H, W) at whole places in the frame that is resampled."""
    inside = _within(columns, row[X0], row[ACROSS]) & _within(rows, row[Y0], row[DOWN])
    columns, rows = row[SX] * columns + row[TX], row[SY] * rows + row[TY]
    return np.where(inside, image[:, np.where(inside, rows, 0), np.where(inside, columns, 0)], fill)


# ---- kernels: places


def define_place(helper, floor, larger, smaller):
    """The function that finds the place of a pixel of the result, for the CPU or for CUDA."""

    @helper
    def fixed(place):
        """A place with POINT bits after the point."""
        return np.int64(floor(larger(smaller(place, LARGEST_PLACE), -LARGEST_PLACE) * ONE))

    @helper
    def find_place(maps, projection, field, kind, width, height, N, n, h, w):
        """The place (x, y) of pixel (h, w) of image n."""
        x = maps[AX * N + n] * w + maps[BX * N + n] * h + maps[CX * N + n]
        y = maps[AY * N + n] * w + maps[BY * N + n] * h + maps[CY * N + n]
        if kind == PROJECTED:
            X, Y = (x >> POINT) + 0.5, (y >> POINT) + 0.5
            below = projection[6 * N + n] * X + projection[7 * N + n] * Y + 1.0
            x = fixed((projection[n] * X + projection[N + n] * Y + projection[2 * N + n]) / below)
            y = fixed((projection[3 * N + n] * X + projection[4 * N + n] * Y + projection[5 * N + n]) / below)
        elif kind == DISPLACED:
            column, row = min(max(x >> POINT, 0), width - 1), min(max(y >> POINT, 0), height - 1)
            at = (row * width + column) * N + n
            x += np.int64(field[at] * (np.float32(width) * np.float32(HALF)))
            y += np.int64(field[width * height * N + at] * (np.float32(height) * np.float32(HALF)))
        return x, y

    @helper
    def in_window(maps, N, n, x, y):
        """Whether a place is in the window of the frame."""
        column, row = (x >> POINT) - maps[X0 * N + n], (y >> POINT) - maps[Y0 * N + n]
        return column >= 0 and column < maps[ACROSS * N + n] and row >= 0 and row < maps[DOWN * N + n]

    return find_place, in_window


find_place, in_window = define_place(helper, floor, larger, smaller)


# ---- nearest pixels: one image after the other, in whole numbers


@helper
def visible_columns(maps, N, n, h):
    """The first and last + 1 visible column of row h."""
    if h < maps[TOP * N + n] or h >= maps[TOP * N + n] + maps[HIGH * N + n]:
        return 0, 0
    return maps[LEFT * N + n], maps[LEFT * N + n] + maps[WIDE * N + n]


@helper
def columns_inside(maps, N, n, h, x, y):
    """The same, of the columns whose places are in the frame, too; x and y are the place of column 0."""
    left, right = visible_columns(maps, N, n, h)
    ax, ay = maps[AX * N + n], maps[AY * N + n]
    while left < right and not in_window(maps, N, n, x + ax * left, y + ay * left):
        left += 1
    while left < right and not in_window(maps, N, n, x + ax * (right - 1), y + ay * (right - 1)):
        right -= 1
    return left, right


@helper
def fill_row(out, line, N, left, right, OW, new):
    """Fill the columns outside of left ... right-1."""
    for w in range(left):
        out[line + w * N] = new
    for w in range(right, OW):
        out[line + w * N] = new


@kernel
def nearest_kernel(
    task, images: Bytes, numbers: Ints, maps: Ints, fill: Array1, scale: Array1, shift: Array1, H, W, out: Array4
):
    """Row h of channel c of BLOCK images by an affine map: images (M, C, H, W), out (C, OH, OW, N)."""
    C, OH, OW, N = out.shape
    first, c, h = task // (C * OH) * BLOCK, task // OH % C, task % OH
    factor, offset, new = scale[c], shift[c], fill[c] * scale[c] + shift[c]
    for n in range(first, min(first + BLOCK, N)):
        x, y = maps[BX * N + n] * h + maps[CX * N + n], maps[BY * N + n] * h + maps[CY * N + n]
        left, right = columns_inside(maps, N, n, h, x, y)
        line, ax, ay = (c * OH + h) * OW * N + n, maps[AX * N + n], maps[AY * N + n]
        fill_row(out, line, N, left, right, OW, new)
        start, down = ((numbers[n] * C + c) * H + maps[TY * N + n]) * W + maps[TX * N + n], maps[SY * N + n] * W
        x, y = x + ax * left, y + ay * left
        if maps[SX * N + n] < 0:  # -(x >> POINT), without a product for each pixel
            x, ax, start = ~x, -ax, start + 1
        if (ax | ay) & FRACTION == 0:  # crops and flips: whole steps
            at, step = start + (y >> POINT) * down + (x >> POINT), (ay >> POINT) * down + (ax >> POINT)
            for w in range(left, right):
                out[line + w * N] = const(images[at], factor) * factor + offset
                at += step
        else:
            for w in range(left, right):
                out[line + w * N] = const(images[start + (y >> POINT) * down + (x >> POINT)], factor) * factor + offset
                x, y = x + ax, y + ay


@kernel
def moved_kernel(
    task, images: Bytes, numbers: Ints, maps: Ints, projection: Doubles, field: Singles, fill: Array1, scale: Array1,
    shift: Array1, H, W, width, height, kind, out: Array4,
):  # fmt: skip
    """The same with a projection or displacements."""
    C, OH, OW, N = out.shape
    first, c, h = task // (C * OH) * BLOCK, task // OH % C, task % OH
    factor, offset, new = scale[c], shift[c], fill[c] * scale[c] + shift[c]
    for n in range(first, min(first + BLOCK, N)):
        left, right = visible_columns(maps, N, n, h)
        line, across, down = (c * OH + h) * OW * N + n, maps[SX * N + n], maps[SY * N + n] * W
        fill_row(out, line, N, left, right, OW, new)
        start = ((numbers[n] * C + c) * H + maps[TY * N + n]) * W + maps[TX * N + n]
        for w in range(left, right):
            x, y = find_place(maps, projection, field, kind, width, height, N, n, h, w)
            value = new
            if in_window(maps, N, n, x, y):
                value = const(images[start + (y >> POINT) * down + (x >> POINT) * across], factor) * factor + offset
            out[line + w * N] = value


# ---- means of four pixels: the frames of all images, then one column of BLOCK images after the other, in floats


@kernel
def frame_kernel(task, images: Bytes, numbers: Ints, maps: Ints, fill: Array1, H, W, width, height, frames: Bytes):
    """One channel of one image as it is resampled: images (M, C, H, W), frames (C, N, height, width)."""
    N = numbers.shape[0]
    c, n, new = task // N, task % N, np.uint8(fill[task // N] + const(0.5, fill))
    sx, x0, across = maps[SX * N + n], maps[X0 * N + n], maps[ACROSS * N + n]
    for h in range(height):
        line, row = (task * height + h) * width, maps[SY * N + n] * h + maps[TY * N + n]
        start = ((numbers[n] * fill.shape[0] + c) * H + row) * W + maps[TX * N + n]
        end = x0 + across if 0 <= h - maps[Y0 * N + n] < maps[DOWN * N + n] else x0
        if end - x0 < width:
            for w in range(width):
                frames[line + w] = new
        for w in range(x0, end):
            frames[line + w] = images[start + sx * w]


@kernel
def pack_kernel(task, frames: Bytes, fill: Array1, width, height, packed: Words):
    """One frame: each number holds a pixel, and those beside, below, and beside and below it, if they exist."""
    begin, end = task * width * height, (task + 1) * width * height
    for i in range(begin, end - width - 1):
        packed[i] = frames[i] | frames[i + 1] << 8 | frames[i + width] << 16 | frames[i + width + 1] << 24
    if height > 1:
        packed[end - width - 1] = frames[end - width - 1] | frames[end - 1] << 16
    for i in range(end - width, end - 1):
        packed[i] = frames[i] | frames[i + 1] << 8
    packed[end - 1] = frames[end - 1]


@helper
def read_maps(maps, first, count, h, N, start, step, window):
    """Copy what row h needs: places of the first pixel of some images, steps to the next, and windows of columns."""
    unit = const(1.0 / ONE, start)
    for n in range(count):
        m = first + n
        start[0, n] = const(maps[BX * N + m] * h + maps[CX * N + m] - HALF, start) * unit
        start[1, n] = const(maps[BY * N + m] * h + maps[CY * N + m] - HALF, start) * unit
        step[0, n] = const(maps[AX * N + m], start) * unit
        step[1, n] = const(maps[AY * N + m], start) * unit
        window[0, n] = maps[LEFT * N + m]
        window[1, n] = maps[WIDE * N + m] if 0 <= h - maps[TOP * N + m] < maps[HIGH * N + m] else 0


@helper
def next_places(start, step, w, count, places):
    """The places of the next column by the affine map, from the centre of the first pixel."""
    for n in range(count):
        places[0, n] = start[0, n] + step[0, n] * const(w, start)
        places[1, n] = start[1, n] + step[1, n] * const(w, start)


@helper
def settle(place, side, sampling):
    """A place that, rounded to float32, is on the same side of the borders of the frame, where that decides."""
    if sampling != PILLOW:
        return larger(smaller(place, LARGEST_PLACE), -LARGEST_PLACE)
    return where(place >= 0.0, where(place < side, smaller(place, side * (1.0 - 2.0**-20)), -1.0), -1.0)


@helper
def project(projection, first, count, N, width, height, sampling, places):
    """Replace places of pixels by those of a projective map."""
    for n in range(count):
        m, x, y = first + n, np.float64(places[0, n]) + 0.5, np.float64(places[1, n]) + 0.5
        below = projection[6 * N + m] * x + projection[7 * N + m] * y + 1.0
        column = (projection[m] * x + projection[N + m] * y + projection[2 * N + m]) / below
        row = (projection[3 * N + m] * x + projection[4 * N + m] * y + projection[5 * N + m]) / below
        places[0, n] = settle(column, np.float64(width), sampling) - 0.5
        places[1, n] = settle(row, np.float64(height), sampling) - 0.5


@helper
def displace(field, first, count, N, width, height, places):
    """Add the displacements of pixels to their places."""
    half_x, half_y = const(width * 0.5, places), const(height * 0.5, places)
    for n in range(count):
        column, row = clip(places[0, n], width - 1), clip(places[1, n], height - 1)
        at = (np.int64(row) * width + np.int64(column)) * N + first + n
        places[0, n] += const(field[at], places) * half_x
        places[1, n] += const(field[width * height * N + at], places) * half_y


@helper
def clip(place, most):
    """A place from 0 to `most`."""
    return smaller(larger(place, const(0, place)), const(most, place))


@helper
def read_means(packed, begin, places, width, height, count, shares, cells, values):
    """The means of four pixels, in Pillow's order of operations; outside of the frame, those of the nearest ones."""
    for n in range(count):
        x, y = clip(places[0, n], width - 1), clip(places[1, n], height - 1)
        column, row = np.int32(x), np.int32(y)
        shares[0, n], shares[1, n] = x - const(column, x), y - const(row, y)
        cells[0, n] = n * (width * height) + row * width + column
    for n in range(count):
        four = packed[begin + cells[0, n]]
        a, b = const(np.int32(four & 255), values), const(np.int32(four >> 8 & 255), values)
        c, d = const(np.int32(four >> 16 & 255), values), const(np.int32(four >> 24 & 255), values)
        upper, lower = a + (b - a) * shares[0, n], c + (d - c) * shares[0, n]
        values[0, n] = upper + (lower - upper) * shares[1, n]


@helper
def cut(places, width, height, count, new, values):
    """Round means down, as Pillow does; new pixels where the place is outside of the frame."""
    half, right, bottom = const(0.5, values), const(width - 0.5, values), const(height - 0.5, values)
    for n in range(count):
        x, y, value = places[0, n], places[1, n], const(np.int32(values[0, n]), values)
        value = where(x >= -half, where(x < right, value, new), new)
        values[0, n] = where(y >= -half, where(y < bottom, value, new), new)


@helper
def coverage(place, most):
    """The share of the two pixels beside a place that lies in the frame: 1 minus the distance from it."""
    zero, one = const(0, place), const(1, place)
    return larger(one - larger(larger(-place, place - const(most, place)), zero), zero)


@helper
def soften(places, width, height, rounds, count, new, values):
    """Mix means with new pixels, as torchvision does for pixels: by the square of what the frame covers."""
    for n in range(count):
        covered = coverage(places[0, n], width - 1) * coverage(places[1, n], height - 1)
        value = values[0, n] * (covered * covered) + (const(1, new) - covered) * new
        values[0, n] = where(rounds, const(np.int32(value + const(0.5, new)), new), value)


@kernel
def means_kernel(
    task, packed: Words, maps: Ints, projection: Doubles, field: Singles, fill: Array1, scale: Array1, shift: Array1,
    width, height, kind, sampling, out: Array4,
):  # fmt: skip
    """Row h of channel c of BLOCK images: packed (C, N, height, width), out (C, OH, OW, N)."""
    C, OH, OW, N = out.shape
    first, c, h = task // (C * OH) * BLOCK, task // OH % C, task % OH
    new, factor, offset, count = fill[c], scale[c], shift[c], min(BLOCK, N - first)
    start, step, places = scratch(new, 2, BLOCK), scratch(new, 2, BLOCK), scratch(new, 2, BLOCK)
    shares, values = scratch(new, 2, BLOCK), scratch(new, 1, BLOCK)
    window, cells = scratch(np.int32(0), 2, BLOCK), scratch(np.int32(0), 1, BLOCK)
    read_maps(maps, first, count, h, N, start, step, window)
    for w in range(OW):
        next_places(start, step, w, count, places)
        if kind == PROJECTED:
            project(projection, first, count, N, width, height, sampling, places)
        elif kind == DISPLACED:
            displace(field, first, count, N, width, height, places)
        read_means(packed, (c * N + first) * width * height, places, width, height, count, shares, cells, values)
        if sampling == PILLOW:
            cut(places, width, height, count, new, values)
        else:
            soften(places, width, height, sampling == SOFT_ROUNDED, count, new, values)
        line = ((c * OH + h) * OW + w) * N + first
        for n in range(count):
            value = where(np.uint32(w - window[0, n]) < np.uint32(window[1, n]), values[0, n], new)
            out[line + n] = value * factor + offset


def warp_cpu(images, numbers, maps, projection, field, fill, scale, shift, frame, sampling, out):
    result, sides = memory.move_batch_last(out), images.shape[2:]
    C, OH, _, N = result.shape
    tasks, kind, colours = C * OH * -(-N // BLOCK), kind_of(projection, field), (fill, scale, shift)
    if sampling != NEAREST:
        packed = pack_frames(images, numbers, maps, fill, frame)
        means_kernel(tasks, packed, maps, projection, field, *colours, *frame, kind, sampling, result)
    elif kind == AFFINE:
        nearest_kernel(tasks, images, numbers, maps, *colours, *sides, result)
    else:
        moved_kernel(tasks, images, numbers, maps, projection, field, *colours, *sides, *frame, kind, result)


def pack_frames(images, numbers, maps, fill, frame):
    """The frames (C, N, height, width) of the images, as pack_kernel makes them."""
    size = len(fill), len(numbers), *frame[::-1]
    frames, packed = (memory.allocate_on_host(size, np.dtype(kind)) for kind in (np.uint8, np.int32))
    tasks = size[0] * size[1]
    frame_kernel(tasks, images, numbers, maps, fill, *images.shape[2:], *frame, frames)
    pack_kernel(tasks, frames, fill, *frame, packed)
    return packed


def kind_of(projection, field):
    """How places of pixels are found."""
    return PROJECTED if projection.size else DISPLACED if field.size else AFFINE


warp_dispatch = Dispatch("warp", warp_numpy, cpu=warp_cpu)


def warp_images(device, images, numbers, maps, projection, field, fill, scale, shift, frame, sampling, size):
    """The batch (N, C, OH, OW), in the dtype of `scale`.

    images   (M, C, H, W) uint8, on the device, as fill, scale and shift
    numbers     (N,) int64         of the images
    maps        (18, N) int64      see above
    projection  (8, N) float64     see above; or of size 0
    field       (2, height, width, N) float32, displacements (x, y) in halves of the frame's sides; or of size 0
    fill        (C,)               in the units of bytes
    frame       (width, height)    that is resampled
    size        (OH, OW)

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
    warp_dispatch[device.type](images, numbers, maps, projection, field, fill, scale, shift, frame, sampling, out)
    return out
