"""Pictures of convolution filters, before and after training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from minigrad.checks import brief
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Module
from minigrad.viz import style
from minigrad.viz.formatting import format_count
from minigrad.viz.inputs import as_conv_weight
from minigrad.viz.tracing import named_convolutions

MOST_THUMBNAILS, THUMBNAILS_ACROSS = 64, 8
MOST_FILTERS, MOST_CHANNELS = 16, 12  # of filters that read maps; with groups, twice as many channels
SLICES = 0.5  # height of the three slices of a colour filter, in slots
COLOUR_NOTE = "in colours: weights on red, green and blue together, grey is 0; R, G, B: each alone, on the scale beside"
CELL_SHARE = 0.8  # share of its slot that a filter covers; the rest separates filters and holds their labels


class Sheet(NamedTuple):
    """The filters and input channels that a panel shows, and its layout.

    filters, channels   indices of those shown
    rows, columns       number of slots
    slot                inches, side of a slot
    labels              inches for the axis labels, beside and below the slots
    height              height of a row, in slots
    groups              number of groups of the convolution: filters of one group read the same input channels
    """

    filters: np.ndarray
    channels: np.ndarray
    rows: int
    columns: int
    slot: float
    labels: float
    height: float = 1.0
    groups: int = 1


class _Layer(NamedTuple):
    """A layer to draw.

    name     path of the layer; empty for a single one
    stages   its weights before training, if known, and after it
    draw     function that draws a stage
    sheet    layout of a stage
    """

    name: str
    stages: list[np.ndarray]
    draw: Callable[..., None]
    sheet: Sheet

    @property
    def is_colour(self) -> bool:
        """Whether the filters are drawn as colour images."""
        return self.draw is _draw_thumbnails and self.stages[-1].shape[1] == 3

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of panels, one for each stage: wide panels are stacked."""
        n = len(self.stages)
        return (n, 1) if self.sheet.columns > self.sheet.rows else (1, n)

    @property
    def width(self) -> float:
        """Width in inches."""
        return self.grid[1] * (self.sheet.columns * self.sheet.slot + self.sheet.labels) + 1.0

    @property
    def height(self) -> float:
        """Height in inches."""
        sheet = self.sheet
        return self.grid[0] * (sheet.rows * sheet.height * sheet.slot + sheet.labels + 0.4) + 0.4

    @property
    def heading(self) -> str:
        """Heading as in `conv1: 6 filters of 5×5 weights, 1 input channel`."""
        F, C, KH, KW = self.stages[-1].shape
        name = f"{self.name}: " if self.name else ""
        groups = f" each, in {self.sheet.groups} groups" if self.sheet.groups > 1 else ""
        return f"{name}{format_count(F, 'filter')} of {KH}×{KW} weights, {format_count(C, 'input channel')}{groups}"


def filters(source: Any, init: Any = None, title: str | None = None) -> Figure:
    """Show the filters of a convolution, or of all convolutions of a model, on a colour scale with zero in its middle.

    source   a layer, its weight (F, C, KH, KW) as an array or tensor, or a model
    init     the same before training, shown beside it; for a model, its state_dict() from before training
    title    heading; if None, the number and size of the filters
    returns  Figure

    A filter with C = 1 is one map, blue below zero and red above.  A filter that reads red, green and blue is a colour
    image, grey at zero, above its three slices in blue and red, since not everyone can tell red from green.  C = 3
    means that, except in a later convolution of a model and in one with groups.  Other filters fill a row, with a cell
    for each input channel; a filter of a convolution with groups has cells only for the channels that it reads.
    If there are too many, those with the largest sum of squares are shown, and the picture says so.

    Raises   DtypeError       weight is not numeric, as in a layer without weights
             ShapeError       weight is not 4-dimensional, or init has another shape
             ValidationError  a weight is NaN or infinite, a model has no convolution, or init lacks one of its weights

    >>> figure = filters(np.ones((6, 1, 5, 5)))
    >>> len(figure.axes[0].images)
    6
    """
    layers = _collect_layers(source, init)
    single, heights = len(layers) == 1, [layer.height for layer in layers]
    heading = title or (layers[0].heading if single else f"The filters of {format_count(len(layers), 'convolution')}")
    width, height = max(5.0, *(layer.width for layer in layers)), sum(heights) + 0.6 * len(layers) * (not single)
    figure = style.figure(width, height, heading, compress=single)
    if single:
        _draw_layer(figure, layers[0])
        return figure
    parts = figure.subfigures(len(layers), 1, squeeze=False, height_ratios=heights).ravel()
    for part, layer in zip(parts, layers, strict=True):
        part.suptitle(layer.heading + "\n", fontsize=style.LABEL)
        _draw_layer(part, layer)
    return figure


# ---- layers


def _collect_layers(source: Any, init: Any) -> list[_Layer]:
    if not isinstance(source, Module) or not any(True for _ in source.children()):
        return [_make_layer("", source, init, reads_image=True)]
    found = named_convolutions("filters", source)
    if init is not None and not isinstance(init, Mapping):
        raise ValidationError(
            f"filters: init is {brief(init)}; for a model, init is its state_dict() from before training, copied"
        )
    for name, _ in found:
        if init is not None and f"{name}.weight" not in init:
            raise ValidationError(
                f"filters: init has no {name + '.weight'!r}; pass the model's state_dict() from before training"
            )
    return [
        _make_layer(name, layer, init and init[f"{name}.weight"], reads_image=i == 0)
        for i, (name, layer) in enumerate(found)
    ]


def _make_layer(name: str, weight: Any, init: Any, reads_image: bool) -> _Layer:
    stages = _collect_stages(weight, init)
    return _Layer(name, stages, *plan_sheet(stages[-1], getattr(weight, "groups", 1), reads_image))


def _collect_stages(weight: Any, init: Any) -> list[np.ndarray]:
    """Return the weight before training, if given, and after it."""
    trained = as_conv_weight("filters", weight)
    if init is None:
        return [trained]
    initial = as_conv_weight("filters(init)", init)
    if initial.shape != trained.shape:
        raise ShapeError(
            f"filters: init has shape {initial.shape} but weight has {trained.shape}; pass the weight of the same "
            "layer, copied before training"
        )
    return [initial, trained]


# ---- selection and layout, also for other pictures of filters


def plan_sheet(weight: np.ndarray, groups: int = 1, reads_image: bool = True) -> tuple[Callable[..., None], Sheet]:
    """Return the function that draws a panel of filters, and the panel's layout.

    weight       (F, C, KH, KW), with C channels read by each filter
    groups       of the convolution
    reads_image  whether three channels are red, green and blue
    """
    colour = is_colour(weight, groups, reads_image)
    if weight.shape[1] == 1 or colour:
        shown, height = strongest_indices(weight, 0, MOST_THUMBNAILS), 1 + SLICES if colour else 1.0
        columns = min(len(shown), THUMBNAILS_ACROSS)
        rows, channels = -(-len(shown) // columns), np.arange(weight.shape[1] * groups)
        return _draw_thumbnails, Sheet(shown, channels, rows, columns, 1.0, 0.1, height, groups)
    shown = strongest_indices(weight, 0, MOST_FILTERS)
    most = MOST_CHANNELS if groups == 1 else 2 * MOST_CHANNELS
    channels = strongest_indices(spread_groups(weight, groups)[shown], 1, most)
    return _draw_slices, Sheet(shown, channels, len(shown), len(channels), slot=0.45, labels=0.6, groups=groups)


def is_colour(weight: np.ndarray, groups: int = 1, reads_image: bool = True) -> bool:
    """Return whether filters (F, C, KH, KW) read red, green and blue, and are drawn in colours."""
    return weight.shape[1] == 3 and groups == 1 and reads_image


def spread_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return filters (F, C * groups, KH, KW) of all input channels; NaN where a filter does not read the channel.

    >>> spread_groups(np.ones((2, 1, 1, 1)), groups=2)[:, :, 0, 0].tolist()
    [[1.0, nan], [nan, 1.0]]
    """
    if groups == 1:
        return weight
    F, C, KH, KW = weight.shape
    spread = np.full((F, groups, C, KH, KW), np.nan)
    spread[np.arange(F), np.arange(F) // (F // groups)] = weight
    return spread.reshape(F, groups * C, KH, KW)


def strongest_indices(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """Return at most `most` indices along an axis, those with the largest sums of squares, in ascending order."""
    others = tuple(other for other in range(values.ndim) if other != axis)
    strength = np.nansum(np.square(values, dtype=np.float64), axis=others)
    return np.sort(np.argsort(-strength, kind="stable")[:most])


def to_colours(weight: np.ndarray, norm: Normalize) -> np.ndarray:
    """Return a filter of red, green and blue (3, KH, KW) as a colour image (KH, KW, 3)."""
    return np.moveaxis(norm(weight).data, 0, -1)


# ---- drawing


def _draw_layer(figure: Figure | SubFigure, layer: _Layer) -> None:
    """Draw the stages of a layer and their colour scale."""
    panels = list(figure.subplots(*layer.grid, squeeze=False).ravel())
    norm, shape = style.zero_centred(*layer.stages), layer.stages[-1].shape
    for panel, stage in zip(panels, layer.stages, strict=True):
        layer.draw(panel, stage, layer.sheet, norm)
    for panel, when in zip(panels, ("before", "after") if len(panels) > 1 else (), strict=False):
        panel.set_title(f"{when} training", fontsize=style.LABEL, pad=14)
    add_weight_scale(figure, panels, norm)
    for panel in panels:
        panel.set_anchor("C")  # the colour scale moves narrow panels to the right, away from their heading
    note_omissions(figure, shape, layer.sheet, COLOUR_NOTE if layer.is_colour else "")


def _draw_thumbnails(axes: Axes, weight: np.ndarray, sheet: Sheet, norm: Normalize) -> None:
    """Draw each filter as one picture below its number, row by row; of a colour filter also its three slices."""
    set_slots(axes, sheet.rows * sheet.height, sheet.columns)
    axes.set_axis_off()
    for i, f in enumerate(sheet.filters):
        row, column = i // sheet.columns * sheet.height, i % sheet.columns
        if weight.shape[1] == 3:
            draw_cell(axes, row, column, to_colours(weight[f], norm), norm)
            _draw_colour_slices(axes, row + 1, column, weight[f], norm)
        else:
            draw_cell(axes, row, column, weight[f, 0], norm)
        name = f"filter {f}" if sheet.groups == 1 else f"{f}, reads {f // (len(weight) // sheet.groups)}"
        axes.text(column + 0.5, row + 0.08, name, ha="center", va="bottom", fontsize=style.SMALL)


def _draw_colour_slices(axes: Axes, top: float, column: int, w: np.ndarray, norm: Normalize) -> None:
    """Draw the slices of a filter for red, green and blue below it, each above the letter of its colour."""
    side = CELL_SHARE * 0.31
    for i, (weights, name) in enumerate(zip(w, "RGB", strict=True)):
        left = column + (1 - CELL_SHARE) / 2 + i * CELL_SHARE * 0.345
        _draw_square(axes, left, top - 0.06, side, side * w.shape[1] / w.shape[2], weights, norm)
        axes.text(left + side / 2, top + side, name, ha="center", va="top", fontsize=style.SMALL - 2)


def _draw_slices(axes: Axes, weight: np.ndarray, sheet: Sheet, norm: Normalize) -> None:
    """Draw a row for each filter with a cell for each input channel."""
    set_slots(axes, sheet.rows, sheet.columns)
    spread = spread_groups(weight, sheet.groups)
    for row, column in np.ndindex(sheet.rows, sheet.columns):
        w = spread[sheet.filters[row], sheet.channels[column]]
        if not np.isnan(w).any():
            draw_cell(axes, row, column, w, norm)
    label_slots(axes, sheet.filters, sheet.channels)
    axes.set_xlabel("input channel", fontsize=style.LABEL)
    axes.set_ylabel("filter", fontsize=style.LABEL)


def set_slots(axes: Axes, rows: float, columns: int) -> None:
    """Scale axes to square slots of one unit, numbered from the upper left."""
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", autoscale_on=False)


def label_slots(axes: Axes, rows: Sequence[Any] | np.ndarray, columns: Sequence[Any] | np.ndarray) -> None:
    """Label the rows and columns of slots, without ticks and frame."""
    axes.set_xticks(np.arange(len(columns)) + 0.5, [str(name) for name in columns])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [str(name) for name in rows])
    axes.tick_params(length=0, labelsize=style.SMALL)
    axes.spines[:].set_visible(False)


def draw_cell(axes: Axes, row: float, column: float, pixels: np.ndarray, norm: Normalize) -> None:
    """Draw a picture in the middle of its slot, with square pixels and a thin frame."""
    height, width = np.array(pixels.shape[:2]) / max(pixels.shape[:2]) * CELL_SHARE
    _draw_square(axes, column + (1 - width) / 2, row + (1 - height) / 2, width, height, pixels, norm)


def _draw_square(
    axes: Axes, left: float, top: float, width: float, height: float, pixels: np.ndarray, norm: Normalize
) -> None:
    axes.imshow(
        pixels, cmap=style.SIGNED, norm=norm, interpolation="nearest", extent=(left, left + width, top + height, top)
    )
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=style.GREY, linewidth=0.8))


def add_weight_scale(figure: Figure | SubFigure, panels: list[Axes], norm: Normalize) -> None:
    """Add the colour scale of weights, from blue to red."""
    bar = style.colour_bar(figure, ScalarMappable(norm, style.SIGNED), panels, "weight")
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    bar.set_ticks([low, 0, high], labels=[f"−{high:.2g}", "0", f"+{high:.2g}"])


def note_omissions(figure: Figure | SubFigure, shape: tuple[int, ...], sheet: Sheet, colours: str = "") -> None:
    """Write below the panels what their colours mean, and how many filters and input channels are not shown."""
    channels = shape[1] * sheet.groups
    counts = (len(sheet.filters), shape[0], "filters"), (len(sheet.channels), channels, "input channels")
    omitted = [f"the {n} strongest of {of} {what}" for n, of, what in counts if n < of]
    lines = [colours, "shown: " + ", ".join(omitted) if omitted else ""]
    if any(lines):
        figure.supxlabel("\n".join(filter(None, lines)), fontsize=style.SMALL)
