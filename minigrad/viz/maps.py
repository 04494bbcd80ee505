"""Pictures of one image on its way through a model: what every layer makes of it."""

from collections.abc import Sequence
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
from minigrad.viz.filter_grid import FILLED, strongest
from minigrad.viz.formatting import counted
from minigrad.viz.tracing import Layer, find, trace

MOST_MAPS, ACROSS = 16, 8
MOST_UNITS, MOST_CLASSES = 128, 12
PLACE, NAME = 1.1, 0.28  # inches across, for a map; share of that which its number takes above it
STRIP, BARS = 0.5, 1.3  # inches, heights of a dense layer and of the scores
ABOVE, BELOW = 0.4, 0.3  # inches for the heading of a panel, and for the numbers under units
FLATTEST, TALLEST = 0.25, 2.0  # height by width of a map, as it is drawn
RESHAPES = {"reshape", "Flatten", "Identity"}
ACTIVATIONS = {"relu", "leaky_relu", "sigmoid", "tanh"}  # a model that ends with one gives no scores


class _Panel(NamedTuple):
    """What one layer made, and which of it is shown.

    name, kind  of the layer; the image has no kind
    values      (C, H, W) maps, or (C, 1, 1) units
    shown       indices of maps or units
    chances     (C,) probabilities, where the values are scores of classes; None else
    """

    name: str
    kind: str
    values: np.ndarray
    shown: np.ndarray
    chances: np.ndarray | None = None

    @property
    def flat(self) -> bool:
        """Whether it holds units, without height and width."""
        return self.values[0].size == 1

    @property
    def coloured(self) -> bool:
        """Whether it is an image of red, green and blue."""
        return not self.kind and len(self.values) == 3

    @property
    def tall(self) -> float:
        """Height of the place of a map and its number; its width is 1."""
        _, H, W = self.values.shape
        return min(max(H / W, FLATTEST), TALLEST) * FILLED + NAME

    @property
    def height(self) -> float:
        """Inches, without heading and numbers."""
        if self.flat:
            return STRIP if self.chances is None else BARS
        return (1 if self.coloured else -(-len(self.shown) // ACROSS)) * self.tall * PLACE

    @property
    def heading(self) -> str:
        """As in `conv1 (Conv2d): 6 maps of 28×28`."""
        C, H, W = self.values.shape
        if self.flat:
            what, order = ("unit", "strongest") if self.chances is None else ("score", "highest")
            number = counted(C, what)
        else:
            number, order = f"{counted(C, 'map' if self.kind else 'channel')} of {H}×{W}", "strongest"
        kind = f" ({self.kind})" if self.kind and self.kind != self.name else ""
        left_out = f", the {len(self.shown)} {order} shown" if len(self.shown) < C else ""
        return f"{self.name}{kind}: {number}{left_out}"


def feature_maps(model: Any, image: Any, layers: str | Sequence[str] | None = None) -> Figure:
    """Show what each layer of a model makes of one image, in order, from the image to the scores.

    model    a Module, which stays as it is
    image    (H, W), (C, H, W) or (1, C, H, W)  as the model takes it
    layers   name of a layer, or several names; None shows all but those that only reshape
    returns  Figure

    The maps of a layer share a colour scale: blue below zero, white at zero and red above, or from pale to brown where
    none is negative.  Layers without height and width are strips with a cell for each unit; scores at the end are bars
    with the probability of each class.  Of many maps or units those with the largest sum of squares are shown, of many
    classes the most probable, and the heading of the layer says so.

    Raises   ShapeError        more than one image, or one that does not fit the model
             ValidationError   no Module, no such layer, or NaN or infinite values in the image or a layer

    >>> from minigrad.models import LeNet5
    >>> figure = feature_maps(LeNet5(), np.zeros((28, 28)), ["conv1", "fc3"])
    >>> [axes.get_title(loc="left") for axes in figure.axes[::2]]
    ['image: 1 channel of 28×28', 'conv1 (Conv2d): 6 maps of 28×28', 'fc3 (Linear): 10 scores']
    """
    where = "feature_maps"
    image = probe.fitting(where, model, probe.one(where, image))
    panels = [_image_panel(where, image[0]), *_panels(where, trace(where, model, image), layers)]
    heights = [panel.height for panel in panels]
    title = f"What the layers of {type(model).__name__} make of one image"
    total = sum(heights) + sum(ABOVE + BELOW * panel.flat for panel in panels) + 0.5
    figure = style.figure(ACROSS * PLACE + 1.3, total, title)
    rows = figure.subplots(len(panels), 2, width_ratios=[ACROSS * PLACE, 0.2], height_ratios=heights, squeeze=False)
    for (axes, beside), panel in zip(rows, panels, strict=True):
        _draw(figure, axes, beside, panel)
    return figure


# ---- what to show


def _image_panel(where: str, image: np.ndarray) -> _Panel:
    finite(where, "the image", image)
    return _Panel("image", "", image, strongest(image, 0, MOST_MAPS))


def _panels(where: str, layers: list[Layer], names: str | Sequence[str] | None) -> list[_Panel]:
    chosen = _chosen(where, layers, names)
    return [_panel(where, layer, last=layer is layers[-1]) for layer in chosen]


def _chosen(where: str, layers: list[Layer], names: str | Sequence[str] | None) -> list[Layer]:
    """The layers to show, in the order in which they ran."""
    if names is None:
        return [layer for layer in layers if layer.kind not in RESHAPES]
    names = [names] if isinstance(names, str) else names
    if not names:
        raise ValidationError(f"{where}: layers holds 0 names, not 1 or more; name a layer, or pass None for all")
    return [layers[place] for place in sorted({find(where, layers, name) for name in names})]


def _panel(where: str, layer: Layer, last: bool) -> _Panel:
    output = np.asarray(layer.output)
    values = output[0] if output.ndim == 4 else output.reshape(-1, 1, 1)
    finite(where, layer.name, values)
    if last and output.ndim == 2 and len(values) > 1 and layer.steps[-1].operation not in ACTIVATIONS:
        chances = probe.chances(values.ravel(), layer.steps[-1].operation)
        return _Panel(layer.name, layer.kind, values, _highest(chances), chances)
    return _Panel(
        layer.name, layer.kind, values, strongest(values, 0, MOST_UNITS if values[0].size == 1 else MOST_MAPS)
    )


def finite(where: str, what: str, values: np.ndarray) -> None:
    wrong = values.size - np.isfinite(values).sum()
    if wrong:
        raise ValidationError(
            f"{where}: {wrong} of {values.size} values of {what} are NaN or infinite; "
            "pass finite pixels, and train with a lower learning rate"
        )


def _highest(chances: np.ndarray) -> np.ndarray:
    """The most probable classes, in order of their numbers."""
    return np.sort(np.argsort(-chances, kind="stable")[:MOST_CLASSES])


# ---- drawing


def _draw(figure: Figure, axes: Axes, beside: Axes, panel: _Panel) -> None:
    """A panel, and the legend of its colours beside it."""
    axes.set_title(panel.heading, fontsize=style.LABEL, fontweight="bold", loc="left")
    if panel.chances is not None:
        _bars(axes, panel, panel.chances)
    elif panel.coloured:
        _cells(axes, panel, {"in colours": probe.pixels(panel.values)}, interpolation="nearest")
    else:
        scale = ScalarMappable(*_scale(panel))
        (_strip if panel.flat else _maps)(axes, panel, scale)
        number_scale(figure.colorbar(scale, cax=beside), scale)
        return
    beside.set_axis_off()


def _scale(panel: _Panel) -> tuple[Normalize, Colormap]:
    """Greys for an image of one channel, otherwise by sign."""
    if not panel.kind and len(panel.values) == 1:
        low, high = float(panel.values.min()), float(panel.values.max())
        return Normalize(low, high if high > low else low + 1), colormaps["gray"]
    return shades(panel.values)


def shades(values: np.ndarray) -> tuple[Normalize, Colormap]:
    """Zero in the middle, or where nothing is negative, from zero on."""
    if values.min() < 0:
        return style.zero_centred(values), style.SIGNED
    return Normalize(0, float(values.max()) or 1), style.AMOUNT


def number_scale(bar: Colorbar, scale: ScalarMappable) -> None:
    """Numbers at the ends of a scale, and at zero where that is its middle."""
    ticks = np.linspace(*scale.get_clim(), 3 if scale.cmap is style.SIGNED else 2)
    bar.set_ticks(list(ticks), labels=[f"{tick:.2g}".replace("-", "−") for tick in ticks])
    bar.ax.tick_params(labelsize=style.SMALL, length=2)


def colours(scale: ScalarMappable) -> dict[str, Any]:
    """A scale as imshow takes it."""
    return {"cmap": scale.cmap, "norm": scale.norm, "interpolation": "nearest"}


def _maps(axes: Axes, panel: _Panel, scale: ScalarMappable) -> None:
    """The maps that are shown, under their numbers."""
    _cells(axes, panel, {f"channel {c}": panel.values[c] for c in panel.shown}, **colours(scale))


def _cells(axes: Axes, panel: _Panel, pictures: dict[str, np.ndarray], **colours: Any) -> None:
    """Pictures of one size under their names, rows filled from the left."""
    axes.set(xlim=(0, ACROSS), ylim=(panel.height / PLACE, 0), aspect="equal", anchor="W", autoscale_on=False)
    axes.set_axis_off()
    for place, (name, pixels) in enumerate(pictures.items()):
        row, left = divmod(place, ACROSS)
        top, bottom = row * panel.tall + NAME, (row + 1) * panel.tall
        axes.imshow(pixels, extent=(left, left + FILLED, bottom, top), **colours)
        frame = Rectangle((left, top), FILLED, bottom - top, fill=False, edgecolor=style.GREY, linewidth=0.8)
        axes.add_patch(frame).set_clip_on(False)
        axes.text(left, top - 0.04, name, ha="left", va="bottom", fontsize=style.SMALL)


def _strip(axes: Axes, panel: _Panel, scale: ScalarMappable) -> None:
    """A cell for each unit, every so many of them numbered."""
    axes.imshow(panel.values[panel.shown, :, 0].T, aspect="auto", **colours(scale))
    places = np.arange(0, len(panel.shown), -(-len(panel.shown) // 16))
    axes.set_xticks(places, [f"{unit}" for unit in panel.shown[places]])
    axes.set(yticks=[])
    axes.tick_params(labelsize=style.SMALL, length=2)
    axes.spines[:].set(color=style.GREY, linewidth=0.8)


def _bars(axes: Axes, panel: _Panel, chances: np.ndarray) -> None:
    """The score of each class as a bar, over its number and probability; the most probable in a colour of its own."""
    places, scores = np.arange(len(panel.shown)), panel.values[panel.shown].ravel()
    best = panel.shown == chances.argmax()
    axes.bar(places, scores, 0.6, color=np.where(best, style.VERMILION, style.BLUE))
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set_xticks(places, [f"class {c}\n{100 * chances[c]:.1f} %" for c in panel.shown])
    axes.set_ylabel("score", fontsize=style.SMALL)
    axes.tick_params(labelsize=style.SMALL, length=2)
    style.tidy(axes)
