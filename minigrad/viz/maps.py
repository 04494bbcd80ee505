"""A picture of what every layer of a model makes of one image."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, to_numbers
from minigrad.viz.filter_grid import CELL_SHARE, strongest_indices
from minigrad.viz.formatting import format_count, format_number, shorten
from minigrad.viz.inputs import check_finite, name_classes, uses_model_info
from minigrad.viz.tracing import Layer, is_convolution, layer_index, trace

MOST_MAPS, MAPS_ACROSS = 16, 8
MOST_UNITS, MOST_CLASSES = 128, 12
SLOT, NAME = 1.1, 0.28  # inches across for a map; share of that for the number above it
STRIP, BARS = 0.5, 1.3  # inches, heights of a dense layer and of the scores
ABOVE, BELOW = 0.4, 0.3  # inches for the heading of a panel, and for the numbers below units
LEAST_ASPECT, MOST_ASPECT = 0.25, 2.0  # height by width of a map as it is drawn
NEARLY_BLACK = 0.01  # of brightness from 0 to 1
MOST_EDGE = 0.1  # share of the pixels at the edge of an image that differ from its background
LETTERS_OF_SCORE = 9  # in a line below the bar of a class
ADVICE = "pass finite pixels, and train with a lower learning rate"


class _Panel(NamedTuple):
    """What one layer made, and which part of it is shown.

    name, kind     of the layer; the image has an empty kind
    values         (C, H, W) maps, or (C, 1, 1) units
    shown          indices of maps or units
    probabilities  (C,) where the values are scores of classes; None otherwise
    names          of the classes
    chosen_in      name of the later layer whose strongest maps are shown; empty if it is this one
    """

    name: str
    kind: str
    values: np.ndarray
    shown: np.ndarray
    probabilities: np.ndarray | None = None
    names: Sequence[str] = ()
    chosen_in: str = ""

    @property
    def is_flat(self) -> bool:
        """Whether the layer has units without height and width."""
        return self.values[0].size == 1

    @property
    def is_colour_image(self) -> bool:
        """Whether it is the image, and has red, green and blue channels."""
        return not self.kind and len(self.values) == 3

    @property
    def slot_height(self) -> float:
        """Height of a map and its number, in widths of a slot."""
        _, H, W = self.values.shape
        return min(max(H / W, LEAST_ASPECT), MOST_ASPECT) * CELL_SHARE + NAME

    @property
    def height(self) -> float:
        """Height in inches, without heading and numbers."""
        if self.is_flat:
            return STRIP if self.probabilities is None else BARS
        return (1 if self.is_colour_image else -(-len(self.shown) // MAPS_ACROSS)) * self.slot_height * SLOT

    @property
    def heading(self) -> str:
        """Heading as in `conv1 (Conv2d): 6 maps of 28×28`."""
        C, H, W = self.values.shape
        if self.is_flat:
            noun, order = ("unit", "strongest") if self.probabilities is None else ("score", "highest")
            number = format_count(C, noun)
        else:
            number, order = f"{format_count(C, 'map' if self.kind else 'channel')} of {H}×{W}", "strongest"
        kind = f" ({self.kind})" if self.kind and self.kind != self.name else ""
        order += f" in {self.chosen_in}" if self.chosen_in else ""
        omitted = f", the {len(self.shown)} {order} shown" if len(self.shown) < C else ""
        return f"{self.name}{kind}: {number}{omitted}"


@uses_model_info
def feature_maps(
    model: Any,
    image: Any,
    layers: str | Sequence[str] | None = None,
    *,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show what each layer of a model makes of one image, in order, from the image to the scores.

    model    a Module; it does not change
    image    (H, W), (C, H, W) or (1, C, H, W)
    layers   name of a layer, or several names; all except those that only reshape if None
    classes  a name for each class; "class 0", ... if None
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns  Figure

    The maps of a layer share a colour scale: blue below zero, white at zero and red above, or from pale to brown if
    none is negative.  Layers that keep the channels of the one before, such as an activation or pooling, show the same
    channels, those that are strongest in the last of them, so that each can be followed.  A layer without height and
    width is a strip with a cell for each unit.  Scores at the end are bars with the probability of each class.  If
    there are too many maps or units, those with the largest sum of squares are shown; if there are too many classes,
    the most probable ones; the heading says so.

    Raises   ShapeError        not one image, or an image that does not fit the model
             ValidationError   model is no Module, no such layer, or NaN or infinite values in the image or a layer

    >>> from minigrad.models import LeNet5
    >>> figure = feature_maps(LeNet5(), np.zeros((28, 28)), ["conv1", "fc3"])
    >>> [axes.get_title(loc="left") for axes in figure.axes[::2]]
    ['image: 1 channel of 28×28', 'conv1 (Conv2d): 6 maps of 28×28', 'fc3 (Linear): 10 scores']
    """
    where = "feature_maps"
    image = probe.prepare_image(where, model, image)
    ran = trace(where, model, image)
    selected = _select_layers(where, ran, layers)
    panels = [_image_panel(where, image[0]), *(_layer_panel(where, layer, layer is ran[-1]) for layer in selected)]
    panels = _share_channels(panels, selected)
    if panels[-1].probabilities is not None:
        panels[-1] = panels[-1]._replace(names=name_classes(where, classes, len(panels[-1].values)))
    display = choose_display(where, image[0], normalize)
    heights = [panel.height for panel in panels]
    title = f"What the layers of {type(model).__name__} make of one image"
    total = sum(heights) + sum(ABOVE + BELOW * panel.is_flat for panel in panels) + 0.5
    figure = style.figure(MAPS_ACROSS * SLOT + 1.3, total, title)
    widths = [MAPS_ACROSS * SLOT, 0.2]
    rows = figure.subplots(len(panels), 2, width_ratios=widths, height_ratios=heights, squeeze=False)
    for (axes, beside), panel in zip(rows, panels, strict=True):
        _draw_panel(figure, axes, beside, panel, display)
    figure.supxlabel("\n".join(_explain_zero(image[0], selected, display)), fontsize=style.SMALL)
    return figure


# ---- what to show


def _image_panel(where: str, image: np.ndarray) -> _Panel:
    check_finite(where, "values of the image", image, ADVICE)
    return _Panel("image", "", image, strongest_indices(image, 0, MOST_MAPS))


def _select_layers(where: str, layers: list[Layer], names: str | Sequence[str] | None) -> list[Layer]:
    """Return the layers to show in the order in which they ran."""
    if names is None:
        return [layer for layer in layers if not _only_reshapes(layer)]
    names = [names] if isinstance(names, str) else names
    if not names:
        raise ValidationError(f"{where}: layers holds 0 names, not 1 or more; name a layer, or pass None for all")
    return [layers[index] for index in sorted({layer_index(where, layers, name) for name in names})]


def _only_reshapes(layer: Layer) -> bool:
    return all(step.op.view and step.output.size == step.inputs[0].size for step in layer.steps)


def _layer_panel(where: str, layer: Layer, last: bool) -> _Panel:
    """Return the panel of a layer; the last layer gives scores unless it is an activation."""
    output = np.asarray(layer.output)
    values = output[0] if output.ndim == 4 else output.reshape(-1, 1, 1)
    check_finite(where, f"values of {layer.name}", values, ADVICE)
    op = layer.steps[-1].op
    if last and output.ndim == 2 and len(values) > 1 and op.activation is None:
        probabilities = probe.scores_to_probabilities(values.ravel(), op)
        highest = np.sort(np.argsort(-probabilities, kind="stable")[:MOST_CLASSES])
        return _Panel(layer.name, layer.kind, values, highest, probabilities)
    most = MOST_UNITS if values[0].size == 1 else MOST_MAPS
    return _Panel(layer.name, layer.kind, values, strongest_indices(values, 0, most))


def _share_channels(panels: list[_Panel], layers: list[Layer]) -> list[_Panel]:
    """Show the same channels in a layer and in those after it that keep its channels: the strongest of the last."""
    shared = list(panels)
    for i in range(len(layers) - 1, 0, -1):
        panel, before = shared[i + 1], shared[i]
        kept = _keeps_channels(layers[i], layers[i - 1]) and len(panel.values) == len(before.values)
        if kept and panel.probabilities is None and not before.is_flat and not panel.is_flat:
            shared[i] = before._replace(shown=panel.shown, chosen_in=panel.chosen_in or panel.name)
    return shared


def _keeps_channels(layer: Layer, before: Layer) -> bool:
    """Whether channel c of a layer is made from channel c of the layer before it: an activation, pooling and so on."""
    reads = any(array is before.output for step in layer.steps for array in step.inputs)
    return reads and all(step.op.flops is None and not is_convolution(layer) for step in layer.steps)


def _explain_zero(image: np.ndarray, layers: list[Layer], display: Display) -> list[str]:
    """Return lines about a uniform background that is not 0, and about padding, which is 0.

    Of an image of several channels, the lines about padding, unless its edge is 0.
    """
    padding = [
        f"{layer.name} pads with 0, not with the background: its maps have a frame that the image lacks."
        for layer in layers
        if is_convolution(layer) and np.array_equal(layer.input[0], image) and np.any(layer.steps[0].settings["pads"])
    ]
    if len(image) > 1:
        return padding if image[:, [0, -1]].any() or image[:, :, [0, -1]].any() else []
    edge = np.concatenate([image[:, [0, -1]].reshape(len(image), -1), image[:, :, [0, -1]].reshape(len(image), -1)], 1)
    level = np.median(edge, 1)
    if (edge != level[:, None]).mean() > MOST_EDGE or not level[0]:
        return []
    value = format_number(float(level[0]), ".2f")
    black = ", shown black," if display.to_pixels(level[:, None, None])[0, 0] < NEARLY_BLACK else ""
    return [
        f"The background{black} is {value}, not 0: the first filters answer it with {value} × the sum of their weights "
        "+ their bias.",
        *padding,
    ]


# ---- colour scales, also for other pictures


def choose_scale(values: np.ndarray) -> ScalarMappable:
    """Return a colour scale with zero in its middle, or from zero on if no value is negative."""
    if values.min() < 0:
        return ScalarMappable(style.zero_centred(values), style.SIGNED)
    return ScalarMappable(Normalize(0, float(values.max()) or 1), style.AMOUNT)


def label_scale(bar: Colorbar, scale: ScalarMappable) -> None:
    """Label the ends of a colour bar, and zero if that is its middle."""
    ticks = np.linspace(*scale.get_clim(), 3 if scale.cmap is style.SIGNED else 2)
    bar.set_ticks(list(ticks), labels=[format_number(tick, ".2g") for tick in ticks])
    bar.ax.tick_params(labelsize=style.SMALL, length=2)


def imshow_settings(scale: ScalarMappable) -> dict[str, Any]:
    """Return a colour scale as keyword arguments of imshow."""
    return {"cmap": scale.cmap, "norm": scale.norm, "interpolation": "nearest"}


def _image_scale(display: Display) -> ScalarMappable:
    """Return a grey scale from the number that is shown black to the number that is shown white."""
    low, high = (float(to_numbers(display, brightness)[0]) for brightness in (0, 1))
    grey: Colormap = colormaps["gray"]
    return ScalarMappable(Normalize(low, high), grey)


# ---- drawing


def _draw_panel(figure: Figure, axes: Axes, beside: Axes, panel: _Panel, display: Display) -> None:
    """Draw a panel, and its colour bar beside it."""
    axes.set_title(panel.heading, fontsize=style.LABEL, fontweight="bold", loc="left")
    if panel.probabilities is not None:
        _draw_scores(axes, panel, panel.probabilities)
        beside.set_axis_off()
    elif panel.is_colour_image:
        name = "in colours" + (f" ({display.note})" if display.note else "").replace("\n", " ")
        _draw_cells(axes, panel, {name: display.to_pixels(panel.values)}, {"interpolation": "nearest"})
        beside.set_axis_off()
    else:
        is_grey_image = not panel.kind and len(panel.values) == 1
        scale = _image_scale(display) if is_grey_image else choose_scale(panel.values)
        if panel.is_flat:
            _draw_units(axes, panel, scale)
        else:
            maps = {f"channel {c}": panel.values[c] for c in panel.shown}
            _draw_cells(axes, panel, maps, imshow_settings(scale))
        label_scale(figure.colorbar(scale, cax=beside), scale)


def _draw_cells(axes: Axes, panel: _Panel, pictures: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    """Draw pictures of one size below their names, row by row."""
    axes.set(xlim=(0, MAPS_ACROSS), ylim=(panel.height / SLOT, 0), aspect="equal", anchor="W", autoscale_on=False)
    axes.set_axis_off()
    for i, (name, pixels) in enumerate(pictures.items()):
        row, left = divmod(i, MAPS_ACROSS)
        top, bottom = row * panel.slot_height + NAME, (row + 1) * panel.slot_height
        axes.imshow(pixels, extent=(left, left + CELL_SHARE, bottom, top), **settings)
        frame = Rectangle((left, top), CELL_SHARE, bottom - top, fill=False, edgecolor=style.GREY, linewidth=0.8)
        axes.add_patch(frame).set_clip_on(False)
        axes.text(left, top - 0.04, name, ha="left", va="bottom", fontsize=style.SMALL)


def _draw_units(axes: Axes, panel: _Panel, scale: ScalarMappable) -> None:
    """Draw a cell for each unit; about 16 of them are numbered."""
    axes.imshow(panel.values[panel.shown, :, 0].T, aspect="auto", **imshow_settings(scale))
    numbered = np.arange(0, len(panel.shown), -(-len(panel.shown) // 16))
    axes.set_xticks(numbered, [f"{unit}" for unit in panel.shown[numbered]])
    axes.set(yticks=[])
    axes.tick_params(labelsize=style.SMALL, length=2)
    axes.spines[:].set(color=style.GREY, linewidth=0.8)


def _draw_scores(axes: Axes, panel: _Panel, probabilities: np.ndarray) -> None:
    """Draw the score of each class as a bar above its number and probability; the most probable in another colour."""
    positions, scores = np.arange(len(panel.shown)), panel.values[panel.shown].ravel()
    best = panel.shown == probabilities.argmax()
    axes.bar(positions, scores, 0.6, color=np.where(best, style.VERMILION, style.BLUE))
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set_xticks(positions, [_name_score(panel, c) for c in panel.shown])
    axes.set_xlabel("class and its probability; orange: the most probable", fontsize=style.SMALL)
    axes.set_ylabel("score", fontsize=style.SMALL)
    axes.tick_params(labelsize=style.SMALL, length=2)
    style.tidy(axes)


def _name_score(panel: _Panel, c: int) -> str:
    """Return the name of a class, a word a line, and its probability."""
    assert panel.probabilities is not None
    name = panel.names[c] if panel.names else f"class {c}"
    words = name.replace(" ", "\n") if len(name) > LETTERS_OF_SCORE else name
    return "\n".join(
        [*(shorten(word, LETTERS_OF_SCORE) for word in words.split("\n")), f"{100 * panel.probabilities[c]:.1f} %"]
    )
