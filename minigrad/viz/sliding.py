"""How a window slides over an image: stride, padding and dilation in one picture, and an animation of the sums."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from minigrad.checks import whole_number
from minigrad.errors import ShapeError
from minigrad.viz import style
from minigrad.viz.animation import Stage, check_speed, write_gif
from minigrad.viz.formatting import format_count, format_number
from minigrad.viz.inputs import as_array, check_finite

MOST_PIXELS = 16  # along an image: more would leave no room for numbers
CELL, LEAST_WIDTH = 0.36, 1.0  # inches across: a cell, and all of a grid
SLOW_WINDOWS = 2  # windows of the animation whose products appear one by one
GIF_DOTS_PER_INCH = 90
WINDOWS = style.BLUE, style.VERMILION, style.GREEN  # the first, the next and the last


class _Slide(NamedTuple):
    """A convolution of one channel, with all that its pictures show.

    padded   (H, W)     image between rows and columns of zeros
    is_zero  (H, W)     whether a pixel is such a zero
    kernel   (KH, KW)
    output   (OH, OW)
    """

    padded: np.ndarray
    is_zero: np.ndarray
    kernel: np.ndarray
    output: np.ndarray
    stride: int
    padding: int
    dilation: int

    def window(self, row: int, col: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (KH, 1) and columns (KW,) of the window of an output pixel, in the padded image."""
        KH, KW = self.kernel.shape
        rows, cols = (self.stride * i + self.dilation * np.arange(K) for i, K in ((row, KH), (col, KW)))
        return rows[:, None], cols

    @property
    def settings(self) -> str:
        """Text as in `stride 2, padding 1`."""
        dilation = f", dilation {self.dilation}" if self.dilation > 1 else ""
        return f"stride {self.stride}, padding {self.padding}{dilation}"

    @property
    def formula(self) -> str:
        """The number of positions along the height, as in `(9 + 2×1 − 3) // 2 + 1 = 5 rows`."""
        H, KH = len(self.padded) - 2 * self.padding, len(self.kernel)
        reach = f"{KH}" if self.dilation == 1 else f"({self.dilation}×({KH} − 1) + 1)"
        return f"({H} + 2×{self.padding} − {reach}) // {self.stride} + 1 = {format_count(len(self.output), 'row')}"


def window_positions(image: Any, kernel: Any, stride: int = 1, padding: int = 0, dilation: int = 1) -> Figure:
    """Show where a window lies for its first, its second and its last output pixel, with the padded zeros.

    image     (H, W)     at most 16 pixels along each side
    kernel    (KH, KW)   weights of the window
    stride    pixels     step between windows
    padding   pixels     zeros on each side, hatched
    dilation  pixels     step between the pixels of a window
    returns   Figure     image, kernel and output, with every number; what belongs together has one colour

    Raises   ShapeError        image or kernel is not two-dimensional, the image is too large, or no window fits
             ValidationError   a setting is out of range, or a value is NaN or infinite

    >>> print(window_positions(np.eye(5), np.ones((3, 3)), stride=2, padding=1).get_suptitle())
    A 3×3 window: stride 2, padding 1
    (5 + 2×1 − 3) // 2 + 1 = 3 rows
    """
    slide = _make_slide("window_positions", image, kernel, stride, padding, dilation)
    KH, KW = slide.kernel.shape
    figure, (left, middle, right) = _make_figure(slide, f"A {KH}×{KW} window: {slide.settings}\n{slide.formula}")
    _draw_grids(slide, left, middle, right)
    OH, OW = slide.output.shape
    places = list(dict.fromkeys([(0, 0), divmod(min(1, OH * OW - 1), OW), (OH - 1, OW - 1)]))
    for i, ((row, col), colour) in enumerate(zip(places, WINDOWS, strict=False)):
        rows, cols = slide.window(row, col)
        for y, x in np.broadcast(rows, cols):
            _frame(left, y, x, colour, shrink=0.05 + 0.08 * i)  # windows overlap: one frame inside the other
        _frame(right, row, col, colour, shrink=0.05)
    figure.supxlabel(
        "blue: the first window and its sum\norange: the next, green: the last"
        + "\nhatched: padded zeros" * (padding > 0),
        fontsize=style.SMALL,
    )
    return figure


def slide_window(
    image: Any,
    kernel: Any,
    path: str | Path,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    frames_per_second: float = 4,
    hold: float = 2.0,
) -> Path:
    """Write an animated GIF of a window that slides over an image while its sum of products grows.

    image, kernel, stride, padding, dilation   as for window_positions
    path               file to write; missing folders are created
    frames_per_second  above 0, at most 50
    hold               seconds added to the last frame
    returns            Path of the file

    The products of the first two windows appear one by one, those of the others together.

    Raises   as window_positions, and ValidationError for frames_per_second or hold out of range

    >>> from tempfile import mkdtemp
    >>> slide_window(np.eye(3), np.ones((2, 2)), mkdtemp() + "/slide.gif").name
    'slide.gif'
    """
    check_speed("slide_window", frames_per_second, hold)
    slide = _make_slide("slide_window", image, kernel, stride, padding, dilation)
    return write_gif(path, list(_render_frames(slide)), frames_per_second, hold)


# ---- numbers


def _make_slide(where: str, image: Any, kernel: Any, stride: int, padding: int, dilation: int) -> _Slide:
    pixels, weights = (_as_grid(where, name, grid) for name, grid in (("image", image), ("kernel", kernel)))
    whole_number(where, "stride", stride, 1)
    whole_number(where, "padding", padding, 0, MOST_PIXELS)
    whole_number(where, "dilation", dilation, 1)
    padded = np.pad(pixels, padding)
    is_zero = np.pad(np.zeros(pixels.shape, bool), padding, constant_values=True)
    reach = [dilation * (K - 1) + 1 for K in weights.shape]
    if any(size < need for size, need in zip(padded.shape, reach, strict=True)):
        raise ShapeError(
            f"{where}: the window covers {reach[0]}×{reach[1]} pixels but the padded image has {padded.shape[0]}×"
            f"{padded.shape[1]}; use more padding or a smaller window"
        )
    sizes = [(size - need) // stride + 1 for size, need in zip(padded.shape, reach, strict=True)]
    slide = _Slide(padded, is_zero, weights, np.zeros(sizes), stride, padding, dilation)
    for place in np.ndindex(*sizes):
        slide.output[place] = (padded[slide.window(*place)] * weights).sum()
    return slide


def _as_grid(where: str, name: str, source: Any) -> np.ndarray:
    grid = as_array(source).astype(np.float64)
    if grid.ndim != 2 or not grid.size or max(grid.shape) > MOST_PIXELS:
        raise ShapeError(
            f"{where}: {name} has shape {grid.shape}, not (H, W) with 1 to {MOST_PIXELS} numbers along each side; "
            "cut a part out"
        )
    check_finite(where, f"values of {name}", grid, "pass finite numbers")
    return grid


# ---- drawing


def _make_figure(slide: _Slide, title: str) -> tuple[Figure, list[Axes]]:
    """Make a figure with axes for the image, the kernel and the output, with cells of one size."""
    grids = [slide.padded, slide.kernel, slide.output]
    longest = max(len(_short(value)) for grid in grids for value in grid.ravel())
    cell = max(CELL, style.LETTER * longest + 0.08)
    widths = [max(cell * grid.shape[1], LEAST_WIDTH) for grid in grids]
    height = cell * max(grid.shape[0] for grid in grids)
    figure = style.figure(max(6.0, sum(widths) + 1.0), height + 1.5, title, compress=False)
    return figure, list(figure.subplots(1, 3, width_ratios=widths))


def _draw_grids(slide: _Slide, left: Axes, middle: Axes, right: Axes) -> None:
    H, W = (size - 2 * slide.padding for size in slide.padded.shape)
    _draw_grid(left, slide.padded, f"image {H}×{W}", hatched=slide.is_zero)
    _draw_grid(middle, slide.kernel, "weights")
    _draw_grid(right, slide.output, "sums {}×{}".format(*slide.output.shape))


def _draw_grid(axes: Axes, values: np.ndarray, title: str, hatched: np.ndarray | None = None) -> list[Any]:
    """Draw a cell with its number for each value, blue below zero and red above; return the texts."""
    axes.imshow(values, cmap=style.SIGNED, norm=style.zero_centred(2 * values), interpolation="nearest")
    axes.set_title(title, fontsize=style.LABEL)
    style.draw_thin_frame(axes)
    for edge in np.argwhere(hatched) if hatched is not None else ():
        corner = Rectangle((edge[1] - 0.5, edge[0] - 0.5), 1, 1, fill=False, hatch="////", lw=0, edgecolor=style.GREY)
        axes.add_patch(corner).set_alpha(0.6)
    return [
        axes.text(x, y, _short(value), ha="center", va="center", fontsize=style.SMALL - 1)
        for (y, x), value in np.ndenumerate(values)
    ]


def _short(value: float) -> str:
    """Return a number with at most three digits, to fit a cell."""
    return format_number(value, ".2g") if abs(value) < 100 else format_number(value, ".0f")


def _frame(axes: Axes, y: int, x: int, colour: str, shrink: float) -> Rectangle:
    """Draw a frame inside a cell."""
    side = 1 - 2 * shrink
    frame = Rectangle((x - side / 2, y - side / 2), side, side, fill=False, edgecolor=colour, linewidth=1.6)
    axes.add_patch(frame).set_clip_on(False)
    return frame


def _render_frames(slide: _Slide) -> Iterator[Image.Image]:
    """Yield the frames of the animation; the layout is made once."""
    figure, (left, middle, right) = _make_figure(slide, f"A sliding window: {slide.settings}")
    figure.set_dpi(GIF_DOTS_PER_INCH)
    _draw_grids(slide, left, middle, right)
    sums = {place: right.texts[i] for i, place in enumerate(np.ndindex(*slide.output.shape))}
    pixels = right.images[0]
    shown = np.full(slide.output.shape, np.nan)
    line = figure.supxlabel("pixel × weight = product, added to the sum\n ", fontsize=style.LABEL)
    stage = Stage(figure, [pixels, *sums.values(), line])
    for number, place in enumerate(np.ndindex(*slide.output.shape)):
        terms = [value for _, _, value in _products(slide, place)]
        counts = range(1, len(terms) + 1) if number < SLOW_WINDOWS else [len(terms)]
        for count in counts:
            frames = _mark(slide, left, middle, place, count)
            line.set_text(_describe_sum(slide, place, count))
            shown[place] = sum(terms[:count])
            pixels.set_data(np.ma.masked_invalid(shown))
            sums[place].set_text(_short(float(shown[place])))
            done = [text for text, value in zip(sums.values(), shown.ravel(), strict=True) if np.isfinite(value)]
            yield stage.render([pixels, *done, line, *frames])
            for frame in frames:
                frame.remove()


def _products(slide: _Slide, place: tuple[int, ...]) -> list[tuple[float, float, float]]:
    """Return pixel, weight and product for each cell of a window, row by row."""
    patch = slide.padded[slide.window(*place)]
    return list(zip(patch.ravel(), slide.kernel.ravel(), (patch * slide.kernel).ravel(), strict=True))


def _mark(slide: _Slide, left: Axes, middle: Axes, place: tuple[int, ...], count: int) -> list[Rectangle]:
    """Frame the pixels of a window, and fill the last one that was added, and its weight."""
    rows, cols = slide.window(*place)
    frames = [
        _frame(left, y, x, style.GREEN if i < count else style.GREY, 0.06)
        for i, (y, x) in enumerate(np.broadcast(rows, cols))
    ]
    frames[count - 1].set(edgecolor=style.VERMILION, linewidth=3)
    y, x = divmod(count - 1, slide.kernel.shape[1])
    return [*frames, _frame(middle, y, x, style.VERMILION, 0.06)]


def _describe_sum(slide: _Slide, place: tuple[int, ...], count: int) -> str:
    terms = _products(slide, place)[:count]
    pixel, weight, product = map(_short, terms[-1])
    total = _short(sum(value for _, _, value in terms))
    done = "the sum" if count == slide.kernel.size else "so far"
    return f"{pixel} × {weight} = {product}\n{done}, row {place[0]}, column {place[1]}: {total}"
