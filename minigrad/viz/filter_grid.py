"""Pictures of convolution filters: what each one looks for, before and after training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Module
from minigrad.viz import style
from minigrad.viz.formatting import counted
from minigrad.viz.inputs import conv_weight
from minigrad.viz.tracing import convolutions

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


class _Layer(NamedTuple):
    """The weights of one layer, before training if known and after it, and how they are drawn."""

    name: str
    stages: list[np.ndarray]
    draw: Callable[..., None]
    sheet: Sheet

    @property
    def grid(self) -> tuple[int, int]:
        """Panels below and beside each other: wide ones below."""
        n = len(self.stages)
        return (n, 1) if self.sheet.columns > self.sheet.rows else (1, n)

    @property
    def width(self) -> float:
        """Inches."""
        return self.grid[1] * (self.sheet.columns * self.sheet.place + self.sheet.labels) + 1.0

    @property
    def height(self) -> float:
        """Inches."""
        return self.grid[0] * (self.sheet.rows * self.sheet.place + self.sheet.labels + 0.4) + 0.4

    @property
    def heading(self) -> str:
        """How many filters of what size, as in `conv1: 6 filters of 5×5 weights, 1 input channel`."""
        F, C, KH, KW = self.stages[-1].shape
        name = f"{self.name}: " if self.name else ""
        return f"{name}{counted(F, 'filter')} of {KH}×{KW} weights, {counted(C, 'input channel')}"


def filters(source: Any, init: Any = None, title: str | None = None) -> Figure:
    """Show the filters of a convolution, or of all convolutions of a model, on a colour scale with zero in its middle.

    source   a layer, its weight (F, C, KH, KW) as an array or tensor, or a model: one layer below the other
    init     the same before training, shown beside it: for a model its state_dict() from then; None shows source alone
    title    heading; None says how many filters there are and of what size
    returns  Figure

    With C = 1 each filter is one map, blue below zero and red above; with C = 3 it is one colour image, grey at zero;
    a deeper filter fills a row, with a cell for every input channel.  Of many, those with the largest sum of squares
    are shown, and the picture says so.

    Raises   DtypeError       weight holds no numbers, as in a layer without weights
             ShapeError       weight is not 4-dimensional, or init has another shape
             ValidationError  a weight is NaN or infinite, a model has no convolution, or init lacks one of its weights

    >>> figure = filters(np.ones((6, 1, 5, 5)))
    >>> len(figure.axes[0].images)
    6
    """
    layers = _layers(source, init)
    one, heights = len(layers) == 1, [layer.height for layer in layers]
    heading = title or (layers[0].heading if one else f"The filters of {counted(len(layers), 'convolution')}")
    width, height = max(5.0, *(layer.width for layer in layers)), sum(heights) + 0.6 * len(layers) * (not one)
    figure = style.figure(width, height, heading, compress=one)
    if one:
        _draw_layer(figure, layers[0])
        return figure
    places = figure.subfigures(len(layers), 1, squeeze=False, height_ratios=heights).ravel()
    for place, layer in zip(places, layers, strict=True):
        place.suptitle(layer.heading + "\n", fontsize=style.LABEL)
        _draw_layer(place, layer)
    return figure


def _layers(source: Any, init: Any) -> list[_Layer]:
    """What is to be drawn."""
    if not isinstance(source, Module) or not any(True for _ in source.children()):
        return [_layer("", source, init)]
    found = convolutions("filters", source)
    for name, _ in found:
        if init is not None and f"{name}.weight" not in init:
            raise ValidationError(
                f"filters: init has no {name + '.weight'!r}; pass the model's state_dict() from before training"
            )
    return [_layer(name, layer, init and init[f"{name}.weight"]) for name, layer in found]


def _layer(name: str, weight: Any, init: Any) -> _Layer:
    stages = _stages(weight, init)
    return _Layer(name, stages, *plan_sheet(stages[-1]))


def _draw_layer(figure: Figure | SubFigure, layer: _Layer) -> None:
    """The panels of a layer and their scale."""
    panels = figure.subplots(*layer.grid, squeeze=False).ravel()
    norm, shape = style.zero_centred(*layer.stages), layer.stages[-1].shape
    for panel, stage in zip(panels, layer.stages, strict=True):
        layer.draw(panel, stage, layer.sheet, norm)
    for panel, when in zip(panels, ("before", "after") if len(panels) > 1 else (), strict=False):
        panel.set_title(f"{when} training", fontsize=style.LABEL, pad=14)
    weight_bar(figure, panels, norm, colour=shape[1] == 3)
    say_what_is_left_out(figure, shape, layer.sheet)


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


def weight_bar(figure: Figure | SubFigure, panels: np.ndarray, norm: Normalize, colour: bool) -> None:
    """The scale: blue to red for maps, grey levels where red, green and blue are the three input channels."""
    label = "weight on each of\nred, green, blue" if colour else "weight"
    scale = ScalarMappable(norm, "gray" if colour else style.SIGNED)
    bar = style.colour_bar(figure, scale, list(panels), label)
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    bar.set_ticks([low, 0, high], labels=[f"−{high:.2g}", "0", f"+{high:.2g}"])


def say_what_is_left_out(figure: Figure | SubFigure, shape: tuple[int, ...], sheet: Sheet) -> None:
    """A line under the panels naming what was too much to show."""
    counts = (len(sheet.filters), shape[0], "filters"), (len(sheet.channels), shape[1], "input channels")
    left_out = [f"the {n} strongest of {of} {what}" for n, of, what in counts if n < of]
    if left_out:
        figure.supxlabel("shown: " + ", ".join(left_out), fontsize=style.SMALL)
