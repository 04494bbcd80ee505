"""One pixel of a feature map, calculated by hand: window times kernel, summed, plus bias, through the activation."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.filter_grid import strongest
from minigrad.viz.formatting import counted
from minigrad.viz.maps import colours, finite, number_scale, shades
from minigrad.viz.tracing import Layer, Step, find, is_convolution, trace

MOST_CHANNELS = 3  # input channels that are drawn and written out
MOST_NUMBERS = 7  # pixels across a window whose cells carry their numbers
CELL, PANEL = 0.62, 2.4  # inches: a cell with its number, and a picture or a window without numbers
ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "leaky ReLU", "sigmoid": "sigmoid", "tanh": "tanh"}


class _Place(NamedTuple):
    """Where the window of an output pixel lies on the layer's input.

    rows, cols   (KH,), (KW,)   of its taps; outside the input lies padding
    inside       (KH, KW)       whether a tap lies on the input
    channels     range          of the input channels that the filter reads
    """

    rows: np.ndarray
    cols: np.ndarray
    inside: np.ndarray
    channels: range


@dataclass(frozen=True, eq=False)
class PixelExplanation:
    """How one output pixel of a convolution came to be.  print() shows `text`; the arrays are float64.

    layer, channel, row, col    which pixel it is
    patch       (C, KH, KW)  pixels in its window, for each input channel that the filter reads; 0 where padded
    inside      (KH, KW)     whether a pixel of the window lies on the input, or is padding
    kernel      (C, KH, KW)  weights of filter `channel`
    products    (C, KH, KW)  patch * kernel
    sum                      of all products
    bias                     of the filter; None if the layer has none
    value                    sum + bias
    computed                 the same pixel, as the layer computed it
    activation               "relu", "leaky_relu", "sigmoid" or "tanh" where that follows at once; None else
    activated                its result; None without activation
    following                name of the layer that reads the pixel next; None if there is none
    channels                 numbers of the input channels that the filter reads
    rows, cols               ranges of image pixels, from the first to the last that the value depends on
    text                     the calculation, step by step
    figure                   the same as a matplotlib Figure

    With more than three input channels, text and figure show those with the largest sum of squared products, and the
    sum of the others.
    """

    layer: str
    channel: int
    row: int
    col: int
    patch: np.ndarray
    inside: np.ndarray
    kernel: np.ndarray
    products: np.ndarray
    bias: float | None
    computed: float
    activation: str | None
    activated: float | None
    following: str | None
    channels: range
    rows: range
    cols: range
    _image: np.ndarray
    _input: np.ndarray
    _output: np.ndarray
    _place: _Place

    @cached_property
    def sum(self) -> float:
        """The sum of all products."""
        return float(self.products.sum())

    @property
    def value(self) -> float:
        """Sum plus bias."""
        return self.sum + (self.bias or 0.0)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"PixelExplanation({self._name}: {self.value:.6g})"

    @property
    def text(self) -> str:
        """The calculation, step by step."""
        lines = [*_window_lines(self), *_product_lines(self), *_value_lines(self)]
        return "\n".join([f"{self._name}: {_number(self.value)}", "", *lines])

    @cached_property
    def figure(self) -> Figure:
        """Where the window lies, and for each input channel window × kernel = products."""
        return _figure(self)

    @property
    def _name(self) -> str:
        return f"layer {self.layer}, channel {self.channel}, row {self.row}, column {self.col}"

    @property
    def _shown(self) -> np.ndarray:
        """Places of the input channels that are drawn."""
        return strongest(self.products, 0, MOST_CHANNELS)

    @property
    def _rest(self) -> float:
        """Sum of the products of the channels that are not drawn."""
        return float(np.delete(self.products, self._shown, axis=0).sum())


def explain_pixel(model: Any, image: Any, layer: str, channel: int, row: int, col: int) -> PixelExplanation:
    """Calculate one output pixel of a convolution by hand, from its window to its activation.

    model      a Module, which stays as it is
    image      (H, W), (C, H, W) or (1, C, H, W)  as the model takes it
    layer      name of a convolution: its path, or the name of a function in a forward
    channel    map of its output, from 0
    row, col   pixel of that map, from 0
    returns    PixelExplanation

    Raises   ShapeError        more than one image, or one that does not fit the model
             ValidationError   no Module, no convolution, no such layer, or a channel, row or col out of range

    >>> from minigrad.nn import Conv2d, Sequential, init
    >>> model = Sequential(Conv2d(1, 1, 3, padding=1))
    >>> _ = init.constant_(model[0].weight, 0.5), init.constant_(model[0].bias, -1.0)
    >>> pixel = explain_pixel(model, np.ones((4, 4)), "0", channel=0, row=0, col=0)
    >>> pixel.sum, pixel.bias, pixel.value
    (2.0, -1.0, 1.0)
    >>> pixel.rows, pixel.cols
    (range(0, 2), range(0, 2))
    """
    where = "explain_pixel"
    image = probe.fitting(where, model, probe.one(where, image))
    layers = trace(where, model, image)
    found = _convolution(where, layers, layer)
    step = [step for step in found.steps if step.operation == "conv2d"][-1]
    asked = {"channel": channel, "row": row, "col": col}
    numbers = [
        probe.number(where, what, value, count, f"the output of {layer}")
        for (what, value), count in zip(asked.items(), step.output.shape[1:], strict=True)
    ]
    return _explanation(layers, found, step, image[0], *numbers)


# ---- the numbers


def _convolution(where: str, layers: list[Layer], name: str) -> Layer:
    """The convolution called so."""
    names = [layer.name for layer in layers if is_convolution(layer)]
    if not names:
        kinds = sorted({layer.kind for layer in layers})
        raise ValidationError(f"{where}: the model ran 0 convolutions, only {', '.join(kinds)}; pass a CNN")
    layer = layers[find(where, layers, name)]
    if not is_convolution(layer):
        raise ValidationError(f"{where}: {name} is a {layer.kind}, no convolution; choose one of {', '.join(names)}")
    return layer


def _explanation(
    layers: list[Layer], layer: Layer, step: Step, image: np.ndarray, channel: int, row: int, col: int
) -> PixelExplanation:
    x, weight, bias = step.inputs
    finite("explain_pixel", f"what {layer.name} reads", np.asarray(x))
    finite("explain_pixel", f"the weight of {layer.name}", np.asarray(weight))
    place = _place(step, channel, row, col)
    patch = _patch(np.asarray(x)[0], place)
    kernel = np.asarray(weight)[channel].astype(np.float64)
    following, reader = _reader(layers, step)
    activation = reader.operation if reader is not None and reader.operation in ACTIVATIONS else None
    rows, cols = _field(step, image.shape, row, col)
    return PixelExplanation(
        layer=layer.name, channel=channel, row=row, col=col,
        patch=patch, inside=place.inside, kernel=kernel, products=patch * kernel,
        bias=None if bias is None else float(np.asarray(bias)[channel]),
        computed=float(step.output[0, channel, row, col]),
        activation=activation,
        activated=float(reader.output[0, channel, row, col]) if reader is not None and activation else None,
        following=following, channels=place.channels, rows=rows, cols=cols,
        _image=image, _input=np.array(x[0]), _output=np.array(step.output[0, channel]), _place=place,
    )  # fmt: skip


def _place(step: Step, channel: int, row: int, col: int) -> _Place:
    _, _, H, W = step.inputs[0].shape
    F, C, KH, KW = step.inputs[1].shape
    stride, pads, dilation = (step.settings[name] for name in ("stride", "pads", "dilation"))
    rows = row * stride[0] - pads[0] + dilation[0] * np.arange(KH)
    cols = col * stride[1] - pads[2] + dilation[1] * np.arange(KW)
    inside = ((rows >= 0) & (rows < H))[:, None] & ((cols >= 0) & (cols < W))
    first = channel // (F // step.settings["groups"]) * C
    return _Place(rows, cols, inside, range(first, first + C))


def _patch(x: np.ndarray, place: _Place) -> np.ndarray:
    """The pixels of x (C, H, W) in the window; 0 outside."""
    _, H, W = x.shape
    taken = x[place.channels.start : place.channels.stop]
    taken = taken[:, place.rows.clip(0, H - 1)[:, None], place.cols.clip(0, W - 1)]
    return np.where(place.inside, taken, 0).astype(np.float64)


def _reader(layers: list[Layer], step: Step) -> tuple[str | None, Step | None]:
    """The first operation that reads what a step made, and its layer's name."""
    for layer in layers:
        for other in layer.steps:
            if any(array is step.output for array in other.inputs):
                return layer.name, other
    return None, None


def _field(step: Step, shape: tuple[int, ...], row: int, col: int) -> tuple[range, range]:
    """The rows and columns of the image (C, H, W) that an output pixel depends on; all where that is not known."""
    _, H, W = shape
    if step.fields is None:
        return range(H), range(W)
    return step.fields[0].pixels(row, H), step.fields[1].pixels(col, W)


# ---- in words


def _number(value: float, digits: int = 4) -> str:
    """So many digits, and a real minus sign."""
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def _term(value: float) -> str:
    """A number behind a plus sign: in brackets where negative."""
    return f"({_number(value)})" if value < 0 else _number(value)


def _span(what: str, numbers: Any) -> str:
    """As in `rows 3 to 7`, `rows 3 to 7 in steps of 2`, `row 3`, or `no row`."""
    if not len(numbers):
        return f"no {what}"
    first, last = int(numbers[0]), int(numbers[-1])
    if first == last:
        return f"{what} {_number(first)}"
    step = int(numbers[1]) - first
    return f"{what}s {_number(first)} to {_number(last)}" + (f" in steps of {step}" if step > 1 else "")


def _window_lines(pixel: PixelExplanation) -> list[str]:
    """Where the window lies, on the layer's input and on the image."""
    C, H, W = pixel._input.shape
    padded = int((~pixel.inside).sum())
    padding = f", {padded} of {pixel.inside.size} pixels are zero padding" if padded else ""
    read = _span("channel", pixel.channels) if len(pixel.channels) < C else counted(C, "channel")
    return [
        f"1. Window: {_span('row', pixel._place.rows)}, {_span('column', pixel._place.cols)}{padding}",
        f"   of what {pixel.layer} reads: {read} of {H}×{W}",
        f"   In the image: {_span('row', pixel.rows)}, {_span('column', pixel.cols)}",
    ]


def _product_lines(pixel: PixelExplanation) -> list[str]:
    """Patch × kernel = products of the strongest input channels, and the sum of the others."""
    KH, KW = pixel.inside.shape
    unwritten = "" if _numbered(pixel) else f" ({KH}×{KW} of them: see .patch, .kernel, .products)"
    lines = [f"2. Products of patch and kernel, pixel by pixel{unwritten}"]
    for c in pixel._shown:
        lines.append(f"   input channel {pixel.channels[c]}, sum {_number(pixel.products[c].sum())}")
        lines += _table(pixel, c) if _numbered(pixel) else []
    return lines + ([f"   {_others(pixel)}, sum {_number(pixel._rest)}"] if _others(pixel) else [])


def _table(pixel: PixelExplanation, c: int) -> list[str]:
    """The three windows of an input channel beside each other."""
    patch = [
        [_number(value, 3) if inside else "pad" for value, inside in zip(*line, strict=True)]
        for line in zip(pixel.patch[c], pixel.inside, strict=True)
    ]
    others = [
        [[_number(value, 3) for value in line] for line in window[c]] for window in (pixel.kernel, pixel.products)
    ]
    middle = len(patch) // 2
    rows = zip(*(_aligned(window) for window in (patch, *others)), strict=True)
    return [
        f"     {left}  {'×' if i == middle else ' '} {kernel}  {'=' if i == middle else ' '} {right}"
        for i, (left, kernel, right) in enumerate(rows)
    ]


def _aligned(window: list[list[str]]) -> list[str]:
    """Its lines, every number as wide as the widest."""
    width = max(len(cell) for line in window for cell in line)
    return [" ".join(cell.rjust(width) for cell in line) for line in window]


def _others(pixel: PixelExplanation) -> str:
    """As in `the other 3 input channels`; empty if all are shown."""
    left = len(pixel.channels) - len(pixel._shown)
    return f"the other {counted(left, 'input channel')}" if left else ""


def _value_lines(pixel: PixelExplanation) -> list[str]:
    """Sum, bias, activation, and what the layer itself computed."""
    return [
        f"3. Sum of all products: {_number(pixel.sum)}",
        f"4. {_bias(pixel)}",
        f"5. {_next(pixel)}",
        f"{pixel.layer} itself computed {_number(pixel.computed)}: "
        f"a difference of {abs(pixel.value - pixel.computed):.1g} by rounding",
    ]


def _bias(pixel: PixelExplanation) -> str:
    if pixel.bias is None:
        return f"No bias: the value is {_number(pixel.value)}"
    return f"Plus bias: {_number(pixel.sum)} + {_term(pixel.bias)} = {_number(pixel.value)}"


def _next(pixel: PixelExplanation) -> str:
    if pixel.activated is not None:
        name = ACTIVATIONS[pixel.activation or ""]
        return f"Activation by {pixel.following}: {name}({_number(pixel.value)}) = {_number(pixel.activated)}"
    return "No activation follows at once; " + (f"next is {pixel.following}" if pixel.following else "it is the end")


# ---- drawn


def _figure(pixel: PixelExplanation) -> Figure:
    shown, (width, height) = pixel._shown, _size(pixel)
    title = f"{pixel._name}: {_number(pixel.value)}"
    tall = PANEL + 3.4 + len(shown) * (height + 0.5)
    figure = style.figure(3 * width + 2.2, tall, title, compress=False)  # or one narrow picture made all columns narrow
    panels = figure.subplots(1 + len(shown), 3, height_ratios=[PANEL] + [height] * len(shown))
    scales = _scales(pixel)
    _draw_image(panels[0, 0], pixel)
    _draw_input(panels[0, 1], pixel, scales[0])
    _draw_output(panels[0, 2], pixel)
    for line, c in zip(panels[1:], shown, strict=True):
        _draw_products(line, pixel, c, scales)
    for column, (scale, label) in enumerate(zip(scales, ("pixel", "weight", "product"), strict=True)):
        bar = figure.colorbar(scale, ax=list(panels[1:, column]), location="bottom", aspect=16, shrink=0.7)
        number_scale(bar, scale)
        bar.set_label(label, fontsize=style.SMALL)
    figure.supxlabel(_equation(pixel), fontsize=style.LABEL)
    return figure


def _size(pixel: PixelExplanation) -> tuple[float, float]:
    """Inches for a window, as wide as a picture, or wider where its numbers need it."""
    KH, KW = pixel.inside.shape
    cell = max(PANEL / max(KH, KW), CELL if _numbered(pixel) else 0)
    return max(KW * cell, PANEL), max(KH * cell, CELL)


def _numbered(pixel: PixelExplanation) -> bool:
    """Whether cells are large enough for their numbers."""
    return max(pixel.inside.shape) <= MOST_NUMBERS


def _scales(pixel: PixelExplanation) -> list[ScalarMappable]:
    """The colours of pixels, of weights and of products, each the same for all channels that are drawn."""
    reads = pixel._input[[pixel.channels[c] for c in pixel._shown]]
    signed = [style.zero_centred(values[pixel._shown]) for values in (pixel.kernel, pixel.products)]
    return [ScalarMappable(*shades(reads)), *(ScalarMappable(norm, style.SIGNED) for norm in signed)]


def _draw_image(axes: Axes, pixel: PixelExplanation) -> None:
    """The image, and on it a frame around what the value depends on."""
    probe.show(axes, probe.pixels(pixel._image))
    of = "" if len(pixel._image) in (1, 3) else f", mean of {len(pixel._image)} channels"
    _caption(axes, f"the image{of}, framed:\nwhat the value depends on", pixel.rows, pixel.cols)


def _draw_input(axes: Axes, pixel: PixelExplanation, scale: ScalarMappable) -> None:
    """The strongest input channel with the window; where that stands out, hatched padding."""
    c, place = pixel.channels[strongest(pixel.products, 0, 1)[0]], pixel._place
    axes.imshow(pixel._input[c], **colours(scale))
    probe.frame(axes)
    _caption(axes, f"what the layer reads,\nchannel {c}: window framed", place.rows, place.cols)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left, right = min(left, place.cols[0] - 1), max(right, place.cols[-1] + 1)
    top, bottom = min(top, place.rows[0] - 1), max(bottom, place.rows[-1] + 1)
    _hatch(axes, left, top, right, bottom)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    if any(len(taps) > 1 and taps[1] - taps[0] > 1 for taps in (place.rows, place.cols)):
        x, y = np.meshgrid(place.cols, place.rows)
        axes.plot(x.ravel(), y.ravel(), "s", color=style.GREEN, markersize=3)


def _draw_output(axes: Axes, pixel: PixelExplanation) -> None:
    """The map that the layer makes, and on it the pixel in question."""
    axes.imshow(pixel._output, **colours(ScalarMappable(*shades(pixel._output))))
    probe.frame(axes)
    _caption(axes, f"what the layer makes,\nchannel {pixel.channel}: pixel framed", [pixel.row], [pixel.col])


def _caption(axes: Axes, title: str, rows: Any, cols: Any) -> None:
    """A title, a frame around rows and columns if there are any, and their numbers under the picture."""
    axes.set_title(title, fontsize=style.LABEL)
    axes.set_xlabel(f"{_span('row', rows)}\n{_span('column', cols)}", fontsize=style.SMALL)
    if not len(rows) or not len(cols):
        return
    corner, width, height = (cols[0] - 0.5, rows[0] - 0.5), cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=style.GREEN, linewidth=2)).set_clip_on(False)


def _draw_products(line: np.ndarray, pixel: PixelExplanation, c: int, scales: list[ScalarMappable]) -> None:
    """Patch × kernel = products, for one input channel."""
    windows = np.ma.array(pixel.patch[c], mask=~pixel.inside), pixel.kernel[c], pixel.products[c]
    titles = "patch", "kernel", f"products, sum {_number(pixel.products[c].sum())}"
    for axes, window, title, scale in zip(line, windows, titles, scales, strict=True):
        axes.imshow(window, **colours(scale))
        axes.set_title(title, fontsize=style.LABEL)
        probe.frame(axes)
        if _numbered(pixel):
            _write(axes, np.ma.getdata(window), scale)
    line[0].set_ylabel(f"channel {pixel.channels[c]}", fontsize=style.LABEL)
    for axes, sign in zip(line[1:], "×=", strict=True):
        axes.set_ylabel(sign, fontsize=2 * style.TITLE, rotation=0, ha="right", va="center")
    for row, col in np.argwhere(~pixel.inside):
        _hatch(line[0], col - 0.5, row - 0.5, col + 0.5, row + 0.5)


def _write(axes: Axes, window: np.ndarray, scale: ScalarMappable) -> None:
    """The number in every cell, white where that is dark."""
    largest = np.abs(scale.get_clim()).max()
    for (row, col), value in np.ndenumerate(window):
        red, green, blue, _ = scale.to_rgba(value)
        colour = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
        axes.text(col, row, _written(value, largest), ha="center", va="center", fontsize=style.SMALL, color=colour)


def _written(value: float, largest: float) -> str:
    """A number as short as a cell, with as many decimals as give the largest number three digits."""
    decimals = 2 - math.floor(math.log10(largest))
    if not 0 <= decimals <= 5:
        return _number(value, 1)
    decimals = min(decimals, 4)
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _hatch(axes: Axes, left: float, top: float, right: float, bottom: float) -> None:
    """Padding, behind the pixels."""
    look: dict[str, Any] = {
        "fill": False,
        "edgecolor": style.GREY,
        "hatch": "////",
        "linewidth": 0,
        "alpha": 0.4,
        "zorder": -1,
    }
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, **look))


def _equation(pixel: PixelExplanation) -> str:
    """The lines under the picture: the sum over channels, the bias, the activation."""
    first, *others = [pixel.products[c].sum() for c in pixel._shown]
    sums = [_number(first), *map(_term, others)]
    if _others(pixel):
        sums.append(f"{_term(pixel._rest)} from {_others(pixel)}")
    total = " + ".join(sums) + (f" = {_number(pixel.sum)}" if len(sums) > 1 else "")
    padding = "" if pixel.inside.all() else "hatched: zero padding outside of what the layer reads"
    return "\n".join(filter(None, (padding, f"Sum of all products: {total}", _bias(pixel), _next(pixel))))
