"""Pictures of convolution filters: what each one looks for, before and after training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.errors import ShapeError
from minigrad.viz import style
from minigrad.viz.arrays import conv_weight

MOST_THUMBNAILS, THUMBNAILS_ACROSS = 64, 8
MOST_FILTERS, MOST_CHANNELS = 16, 12
FILLED = 0.8  # share of its place that a cell covers; the rest keeps cells apart and holds their labels


class Sheet(NamedTuple):
    """Which filters and input channels a panel shows, and in how many places."""

    filters: np.ndarray
    channels: np.ndarray
    rows: int
    columns: int
    place: float  # inches across
    labels: float  # inches beside and under the places for the axis labels


def filters(weight: Any, init: Any = None, title: str | None = None) -> Figure:
    """Show the filters of a convolution layer, all on one colour scale with zero in its middle.

    weight   (F, C, KH, KW)  array or tensor, or a layer that has one as .weight
    init     (F, C, KH, KW)  the same before training, shown beside it; None shows weight alone
    title                    heading; None says how many filters there are and of what size
    returns  Figure

    With C = 1 each filter is one map, blue below zero and red above; with C = 3 it is one colour image, grey at zero;
    a deeper filter fills a row, with a cell for every input channel.  Of many, those with the largest sum of squares
    are shown, and the picture says so.

    Raises   DtypeError       weight holds no numbers, as in a layer without weights
             ShapeError       weight is not 4-dimensional, or init has another shape
             ValidationError  a weight is NaN or infinite

    >>> figure = filters(np.ones((6, 1, 5, 5)))
    >>> len(figure.axes[0].images)
    6
    """
    stages = _stages(weight, init)
    learned = stages[-1]
    draw, sheet = plan_sheet(learned)
    down, across = (len(stages), 1) if sheet.columns > sheet.rows else (1, len(stages))
    width = across * (sheet.columns * sheet.place + sheet.labels) + 1.0
    height = down * (sheet.rows * sheet.place + sheet.labels + 0.4) + 0.4
    figure = style.figure(max(5.0, width), height, title or _heading(learned.shape))
    panels = figure.subplots(down, across, squeeze=False).ravel()
    norm = style.zero_centred(*stages)
    for panel, stage in zip(panels, stages, strict=True):
        draw(panel, stage, sheet, norm)
    if init is not None:
        panels[0].set_title("before training", fontsize=style.LABEL, pad=14)
        panels[1].set_title("after training", fontsize=style.LABEL, pad=14)
    weight_bar(figure, panels, norm, colour=learned.shape[1] == 3)
    say_what_is_left_out(figure, learned.shape, sheet)
    return figure


def _stages(weight: Any, init: Any) -> list[np.ndarray]:
    """The weights to show, in order of time."""
    learned = conv_weight("filters", weight)
    if init is None:
        return [learned]
    initial = conv_weight("filters(init)", init)
    if initial.shape != learned.shape:
        raise ShapeError(
            f"filters: init has shape {initial.shape} but weight has {learned.shape}; pass the same layer's weight, "
            "copied before training"
        )
    return [initial, learned]


def plan_sheet(weight: np.ndarray) -> tuple[Callable[..., None], Sheet]:
    """The function that draws a panel, and the sheet it fills."""
    if weight.shape[1] in (1, 3):
        shown = strongest(weight, 0, MOST_THUMBNAILS)
        columns = min(len(shown), THUMBNAILS_ACROSS)
        rows = -(-len(shown) // columns)
        return _thumbnails, Sheet(shown, np.arange(weight.shape[1]), rows, columns, place=1.0, labels=0.1)
    shown = strongest(weight, 0, MOST_FILTERS)
    channels = strongest(weight[shown], 1, MOST_CHANNELS)
    return _slices, Sheet(shown, channels, len(shown), len(channels), place=0.45, labels=0.6)


def strongest(weight: np.ndarray, axis: int, most: int) -> np.ndarray:
    """The indices along an axis with the largest sums of squares, at most so many, in rising order."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    strength = np.square(weight, dtype=np.float64).sum(axis=others)
    return np.sort(np.argsort(-strength, kind="stable")[:most])


def _thumbnails(axes: Axes, weight: np.ndarray, sheet: Sheet, norm: Normalize) -> None:
    """Each filter as one picture under its number, rows filled from the left."""
    _open(axes, sheet)
    axes.set_axis_off()
    for place, f in enumerate(sheet.filters):
        row, column = divmod(place, sheet.columns)
        pixels = weight[f, 0] if len(weight[f]) == 1 else np.moveaxis(norm(weight[f]).data, 0, -1)
        draw_cell(axes, row, column, pixels, norm)
        axes.text(column + 0.5, row + 0.08, f"filter {f}", ha="center", va="bottom", fontsize=style.SMALL)


def _slices(axes: Axes, weight: np.ndarray, sheet: Sheet, norm: Normalize) -> None:
    """A row for every filter, a column for every input channel."""
    _open(axes, sheet)
    for row, column in np.ndindex(sheet.rows, sheet.columns):
        draw_cell(axes, row, column, weight[sheet.filters[row], sheet.channels[column]], norm)
    axes.set_xticks(np.arange(sheet.columns) + 0.5, sheet.channels)
    axes.set_yticks(np.arange(sheet.rows) + 0.5, sheet.filters)
    axes.set_xlabel("input channel", fontsize=style.LABEL)
    axes.set_ylabel("filter", fontsize=style.LABEL)
    axes.tick_params(length=0, labelsize=style.SMALL)
    axes.spines[:].set_visible(False)


def _open(axes: Axes, sheet: Sheet) -> None:
    """Places of one unit each, counted from the upper left."""
    axes.set(xlim=(0, sheet.columns), ylim=(sheet.rows, 0), aspect="equal", autoscale_on=False)


def draw_cell(axes: Axes, row: int, column: int, pixels: np.ndarray, norm: Normalize) -> None:
    """One slice in the middle of its place, square pixels, with a thin frame."""
    height, width = np.array(pixels.shape[:2]) / max(pixels.shape[:2]) * FILLED
    left, top = column + (1 - width) / 2, row + (1 - height) / 2
    axes.imshow(
        pixels, cmap=style.SIGNED, norm=norm, interpolation="nearest", extent=(left, left + width, top + height, top)
    )
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=style.GREY, linewidth=0.8))


def weight_bar(figure: Figure, panels: np.ndarray, norm: Normalize, colour: bool) -> None:
    """The scale: blue to red for maps, grey levels where red, green and blue are the three input channels."""
    label = "weight on each of\nred, green, blue" if colour else "weight"
    scale = ScalarMappable(norm, "gray" if colour else style.SIGNED)
    bar = style.colour_bar(figure, scale, list(panels), label)
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    bar.set_ticks([low, 0, high], labels=[f"−{high:.2g}", "0", f"+{high:.2g}"])


def _heading(shape: tuple[int, ...]) -> str:
    """How many filters of what size, as in `6 filters of 5×5 weights, 1 input channel`."""
    F, C, KH, KW = shape
    return f"{counted(F, 'filter')} of {KH}×{KW} weights, {counted(C, 'input channel')}"


def say_what_is_left_out(figure: Figure, shape: tuple[int, ...], sheet: Sheet) -> None:
    """A line under the panels naming what was too much to show."""
    counts = (len(sheet.filters), shape[0], "filters"), (len(sheet.channels), shape[1], "input channels")
    left_out = [f"the {n} strongest of {of} {what}" for n, of, what in counts if n < of]
    if left_out:
        figure.supxlabel("shown: " + ", ".join(left_out), fontsize=style.SMALL)


def counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
