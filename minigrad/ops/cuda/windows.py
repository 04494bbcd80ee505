"""Windows of images as the columns of a matrix, for kernels that multiply it by filters.

Column n is the window at one position of one image, N images beside each other; row k is a tap of all windows.  A table
says where tap k reads: the first pixel of its channel, its distance down and to the right of the window's corner, and
its weight among those of a filter.  Taps outside the image are 0.

The input gradient has the same form: its taps are the outputs that a pixel is part of, to the left and above.
"""

from functools import cache

import numpy as np

from ...runtime.cuda import tile
from ...runtime.cuda.tile import define_function, return_tuple

TAPS_AT_ONCE = 4  # of a table, which is filled with taps that lie outside every image
OUTSIDE = -(2**30)  # rows below the corner of a window


@cache
def forward_taps(C, H, W, KH, KW, DH, DW):
    """The table of taps (c, kh, kw) of a window of images (C, H, W), int32 (taps, 4)."""
    c, kh, kw = np.indices((C, KH, KW)).reshape(3, -1)
    return _fill(c * H * W, kh * DH, kw * DW, np.arange(c.size))


@cache
def input_taps(F, C, OH, OW, KH, KW, DH, DW):
    """The table of taps (f, kh, kw) of a pixel among outputs (F, OH, OW), counted from the pixel's own position."""
    f, kh, kw = np.indices((F, KH, KW)).reshape(3, -1)
    return _fill(f * OH * OW, -kh * DH, -kw * DW, (f * C * KH + kh) * KW + kw)


def _fill(*columns):
    table = np.stack(columns, axis=1).astype(np.int32)
    unused = np.full((-len(table) % TAPS_AT_ONCE, 4), (0, OUTSIDE, OUTSIDE, 0), np.int32)
    return np.concatenate([table, unused])


def find_pixel(i, strided):
    """The text that reads tap `k{i}` of the table, and finds its pixel of an image (H, W): its number, `pixel{i}`, and
    whether it is `inside{i}`.

    h and w are the window's corner.  If `strided`, only rows and columns that are multiples of SH and SW are pixels.
    """
    inside = "(row >= 0) & (row < H * SH) & (col >= 0) & (col < W * SW)"
    lines = [
        f"c, down, right, _ = load_four(taps, position(4 * k{i}))",
        "row, col = word(h + down), word(w + right)",
        f"inside{i} = {inside} & (row % SH == 0) & (col % SW == 0)" if strided else f"inside{i} = {inside}",
        f"pixel{i} = word(c + {'row // SH' if strided else 'row'} * W + {'col // SW' if strided else 'col'})",
        f"pixel{i} = pixel{i} if inside{i} else word(0)",
    ]
    return [line if strided else line.replace(" * SH", "").replace(" * SW", "") for line in lines]


PARAMETERS = "h, w, H, W, SH, SW, images, image"  # of the functions below


@cache
def make_fetch_windows(count: int, step: int, guarded: bool, strided: bool, width: int = 1):
    """A function that reads `count` taps of the windows of `width` neighbouring images (1, or 4 at once), from tap k
    on, `step` apart; if `guarded`, those from K on are 0."""
    lines, values = [], []
    for i in range(count):
        tap = f"k + {i * step}"
        lines += [f"k{i} = min({tap}, K - 1)" if guarded else f"k{i} = {tap}", *find_pixel(i, strided)]
        at = f"position(image + wide(pixel{i}) * wide(images))"
        lines.append(f"x{i} = load_four(x, {at})" if width == 4 else f"x{i} = (x[{at}],)")
        if guarded:
            lines.append(f"inside{i} = inside{i} & ({tap} < K)")
        values += [f"x{i}[{number}] if inside{i} else const(0, x)" for number in range(width)]
    lines.append(return_tuple(values))
    return define_function(f"fetch(x, taps, k, K, {PARAMETERS})", lines, word=np.int32, wide=np.int64)


@cache
def make_add_windows(rows: int, cols: int, strided: bool):
    """A function that adds to a tile the products of TAPS_AT_ONCE taps: of `rows` weights in shared memory and the
    windows of `cols` images, whose distances from `image` are `offsets`."""
    numbers = range(TAPS_AT_ONCE)
    lines = []
    for i in numbers:
        lines += [f"k{i} = k + {i}", *find_pixel(i, strided), f"at{i} = image + wide(pixel{i}) * wide(images)"]
        lines.append(f"x{i} = gather(x, at{i}, offsets)")
    for i in numbers:
        values = ", ".join(f"x{i}[{col}] if inside{i} else const(0, x)" for col in range(cols))
        lines.append(f"acc = outer_fma(acc, load(weights, weight + {i * rows}), ({values},))")
    functions = tile.register_tile(rows, cols)
    names = {"gather": functions.gather_cols, "outer_fma": functions.outer_fma, "load": functions.load_rows}
    signature = f"add(acc, weights, weight, x, taps, k, offsets, {PARAMETERS})"
    return define_function(signature, [*lines, "return acc"], word=np.int32, wide=np.int64, **names)
