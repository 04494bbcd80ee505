"""Calculate one pixel of a feature map by hand: window times kernel, the sum, the bias and the activation."""

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
from minigrad.notebook import Html, picture, preformatted, stack
from minigrad.ops import conv2d
from minigrad.ops.op import find
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, show_image
from minigrad.viz.filter_grid import strongest_indices
from minigrad.viz.formatting import format_count, format_number
from minigrad.viz.inputs import check_finite, check_index, uses_model_info
from minigrad.viz.maps import ADVICE, choose_scale, imshow_settings, label_scale
from minigrad.viz.tracing import Layer, Step, is_convolution, layer_index, trace

MOST_CHANNELS = 3  # input channels that are drawn and written out
MOST_NUMBERS = 7  # pixels across the largest window whose cells hold their numbers
CELL, PANEL = 0.62, 2.4  # inches: a cell with its number; a picture, or a window without numbers


class _Window(NamedTuple):
    """The position of an output pixel's window on the layer's input.

    rows, cols   (KH,), (KW,)   of its pixels; outside the input lies padding
    inside       (KH, KW)       whether a pixel lies on the input
    channels     range          of the input channels that the filter reads
    """

    rows: np.ndarray
    cols: np.ndarray
    inside: np.ndarray
    channels: range


@dataclass(frozen=True, eq=False)
class PixelExplanation:
    """The calculation of one output pixel of a convolution.  print() shows `text`; arrays are float64.

    layer, channel, row, col    position of the pixel
    patch       (C, KH, KW)  pixels in its window, for each input channel that the filter reads; 0 in the padding
    inside      (KH, KW)     whether a pixel of the window lies on the input, not in the padding
    kernel      (C, KH, KW)  weights of filter `channel`
    products    (C, KH, KW)  patch * kernel
    sum                      of all products
    bias                     of the filter; None if the layer has none
    value                    sum + bias
    computed                 the same pixel, as the layer computed it
    activation               name of the activation that reads the pixel next, such as "relu"; None if it is none
    activated                result of the activation; None if there is none
    following                name of the layer that reads the pixel next; None if there is none
    channels                 numbers of the input channels that the filter reads
    rows, cols               ranges of image pixels, from the first to the last that the value depends on
    text                     the calculation, step by step
    figure                   the calculation as a matplotlib Figure

    Of more than three input channels, text and figure show those with the largest sum of squared products, and the sum
    of the others.
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
    _window: _Window
    _display: Display

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

    def _repr_html_(self) -> Html:
        """What a notebook shows: the figure and the text."""
        return stack(picture(self.figure), preformatted(self.text))

    @property
    def text(self) -> str:
        """The calculation, step by step."""
        lines = [*_window_lines(self), *_product_lines(self), *_value_lines(self)]
        return "\n".join([f"{self._name}: {format_number(self.value)}", "", *lines])

    @cached_property
    def figure(self) -> Figure:
        """The position of the window, and window × kernel = products for each input channel."""
        return _draw(self)

    @property
    def _name(self) -> str:
        return f"layer {self.layer}, channel {self.channel}, row {self.row}, column {self.col}"

    @property
    def _shown(self) -> np.ndarray:
        """Indices of the input channels that are shown."""
        return strongest_indices(self.products, 0, MOST_CHANNELS)

    @property
    def _sum_of_others(self) -> float:
        """Sum of the products of the channels that are not shown."""
        return float(np.delete(self.products, self._shown, axis=0).sum())

    @property
    def _has_numbers(self) -> bool:
        """Whether cells are large enough for their numbers."""
        return max(self.inside.shape) <= MOST_NUMBERS


@uses_model_info
def explain_pixel(
    model: Any, image: Any, layer: str, channel: int, row: int, col: int, *, normalize: tuple[Any, Any] | None = None
) -> PixelExplanation:
    """Calculate one output pixel of a convolution by hand, from its window to its activation.

    model      a Module; it does not change
    image      (H, W), (C, H, W) or (1, C, H, W)
    layer      name of a convolution: its path, or the name of a function called in a forward
    channel    map of its output, from 0
    row, col   pixel of that map, from 0
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns    PixelExplanation

    Raises   ShapeError        not one image, or an image that does not fit the model
             ValidationError   model is no Module, layer is no convolution, or channel, row or col is out of range

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
    image = probe.prepare_image(where, model, image)
    layers = trace(where, model, image)
    found = _find_convolution(where, layers, layer)
    step = [step for step in found.steps if step.op is conv2d][-1]
    position = [
        check_index(where, name, value, count, f"the output of {layer}")
        for name, value, count in zip(
            ("channel", "row", "col"), (channel, row, col), step.output.shape[1:], strict=True
        )
    ]
    display = choose_display(where, image[0], normalize)
    return _explain(layers, found, step, image[0], display, *position)


# ---- numbers


def _find_convolution(where: str, layers: list[Layer], name: str) -> Layer:
    names = [layer.name for layer in layers if is_convolution(layer)]
    if not names:
        kinds = sorted({layer.kind for layer in layers})
        raise ValidationError(f"{where}: the model ran 0 convolutions, only {', '.join(kinds)}; pass a CNN")
    layer = layers[layer_index(where, layers, name)]
    if not is_convolution(layer):
        raise ValidationError(f"{where}: {name} is a {layer.kind}, no convolution; choose one of {', '.join(names)}")
    return layer


def _explain(
    layers: list[Layer], layer: Layer, step: Step, image: np.ndarray, display: Display, channel: int, row: int, col: int
) -> PixelExplanation:
    x, weight, bias = step.inputs
    check_finite("explain_pixel", f"values that {layer.name} reads", np.asarray(x), ADVICE)
    check_finite("explain_pixel", f"values of the weight of {layer.name}", np.asarray(weight), ADVICE)
    window = _locate_window(step, channel, row, col)
    patch = _read_patch(np.asarray(x)[0], window)
    kernel = np.asarray(weight)[channel].astype(np.float64)
    following, reader = _find_reader(layers, step)
    activation = None if reader is None or reader.op.activation is None else reader
    rows, cols = _receptive_field(step, image.shape, row, col)
    return PixelExplanation(
        layer=layer.name, channel=channel, row=row, col=col,
        patch=patch, inside=window.inside, kernel=kernel, products=patch * kernel,
        bias=None if bias is None else float(np.asarray(bias)[channel]),
        computed=float(step.output[0, channel, row, col]),
        activation=None if activation is None else activation.op.name,
        activated=None if activation is None else float(activation.output[0, channel, row, col]),
        following=following, channels=window.channels, rows=rows, cols=cols,
        _image=image, _input=np.array(x[0]), _output=np.array(step.output[0, channel]), _window=window,
        _display=display,
    )  # fmt: skip


def _locate_window(step: Step, channel: int, row: int, col: int) -> _Window:
    _, _, H, W = step.inputs[0].shape
    F, C, KH, KW = step.inputs[1].shape
    stride, pads, dilation = (step.settings[name] for name in ("stride", "pads", "dilation"))
    rows = row * stride[0] - pads[0] + dilation[0] * np.arange(KH)
    cols = col * stride[1] - pads[2] + dilation[1] * np.arange(KW)
    inside = ((rows >= 0) & (rows < H))[:, None] & ((cols >= 0) & (cols < W))
    first = channel // (F // step.settings["groups"]) * C
    return _Window(rows, cols, inside, range(first, first + C))


def _read_patch(x: np.ndarray, window: _Window) -> np.ndarray:
    """Return the pixels of x (C, H, W) in the window; 0 in the padding."""
    _, H, W = x.shape
    channels = x[window.channels.start : window.channels.stop]
    patch = channels[:, window.rows.clip(0, H - 1)[:, None], window.cols.clip(0, W - 1)]
    return np.where(window.inside, patch, 0).astype(np.float64)


def _find_reader(layers: list[Layer], step: Step) -> tuple[str | None, Step | None]:
    """Return the first step that reads the output of a step, after the name of its layer."""
    for layer in layers:
        for other in layer.steps:
            if any(array is step.output for array in other.inputs):
                return layer.name, other
    return None, None


def _receptive_field(step: Step, shape: tuple[int, ...], row: int, col: int) -> tuple[range, range]:
    """Return rows and columns of the image (C, H, W) that an output pixel depends on; all if the field is unknown."""
    _, H, W = shape
    if step.fields is None:
        return range(H), range(W)
    return step.fields[0].pixels(row, H), step.fields[1].pixels(col, W)


# ---- text


def _format_term(value: float) -> str:
    """Return a number for use after a plus sign: in brackets if negative."""
    return f"({format_number(value)})" if value < 0 else format_number(value)


def _format_span(noun: str, numbers: Any) -> str:
    """Return text as in `rows 3 to 7`, `rows 3 to 7 in steps of 2`, `row 3`, or `no row`."""
    if not len(numbers):
        return f"no {noun}"
    first, last = int(numbers[0]), int(numbers[-1])
    if first == last:
        return f"{noun} {format_number(first)}"
    step = int(numbers[1]) - first
    return f"{noun}s {format_number(first)} to {format_number(last)}" + (f" in steps of {step}" if step > 1 else "")


def _window_lines(pixel: PixelExplanation) -> list[str]:
    """Return the position of the window, on the layer's input and on the image."""
    C, H, W = pixel._input.shape
    padded = int((~pixel.inside).sum())
    padding = f", {padded} of {pixel.inside.size} pixels are zero padding" if padded else ""
    channels = _format_span("channel", pixel.channels) if len(pixel.channels) < C else format_count(C, "channel")
    return [
        f"1. Window: {_format_span('row', pixel._window.rows)}, {_format_span('column', pixel._window.cols)}{padding}",
        f"   in the input of {pixel.layer}: {channels} of {H}×{W}",
        f"   In the image: {_format_span('row', pixel.rows)}, {_format_span('column', pixel.cols)}",
    ]


def _product_lines(pixel: PixelExplanation) -> list[str]:
    """Return patch × kernel = products of the strongest input channels, and the sum of the others."""
    KH, KW = pixel.inside.shape
    hidden = "" if pixel._has_numbers else f" ({KH}×{KW} numbers: see .patch, .kernel, .products)"
    lines = [f"2. Products of patch and kernel, pixel by pixel{hidden}"]
    for c in pixel._shown:
        lines.append(f"   input channel {pixel.channels[c]}, sum {format_number(pixel.products[c].sum())}")
        lines += _number_lines(pixel, c) if pixel._has_numbers else []
    others = _name_others(pixel)
    return lines + ([f"   {others}, sum {format_number(pixel._sum_of_others)}"] if others else [])


def _number_lines(pixel: PixelExplanation, c: int) -> list[str]:
    """Return patch, kernel and products of an input channel side by side."""
    windows = [
        [[format_number(value, ".3g") for value in line] for line in window[c]]
        for window in (pixel.patch, pixel.kernel, pixel.products)
    ]
    for row, col in np.argwhere(~pixel.inside):
        windows[0][row][col] = "pad"
    middle = len(windows[0]) // 2
    return [
        f"     {patch}  {'×' if i == middle else ' '} {kernel}  {'=' if i == middle else ' '} {products}"
        for i, (patch, kernel, products) in enumerate(zip(*map(_align, windows), strict=True))
    ]


def _align(window: list[list[str]]) -> list[str]:
    """Return the lines of a window, every number as wide as the widest."""
    width = max(len(cell) for line in window for cell in line)
    return [" ".join(cell.rjust(width) for cell in line) for line in window]


def _name_others(pixel: PixelExplanation) -> str:
    """Return text as in `the other 3 input channels`; empty if all are shown."""
    n = len(pixel.channels) - len(pixel._shown)
    return "the other input channel" if n == 1 else f"the other {n} input channels" if n else ""


def _value_lines(pixel: PixelExplanation) -> list[str]:
    """Return sum, bias, activation, and the value that the layer computed."""
    return [
        f"3. Sum of all products: {format_number(pixel.sum)}",
        f"4. {_describe_bias(pixel)}",
        f"5. {_describe_next(pixel)}",
        f"{pixel.layer} itself computed {format_number(pixel.computed)}: "
        f"a difference of {abs(pixel.value - pixel.computed):.1g} by rounding",
    ]


def _describe_bias(pixel: PixelExplanation) -> str:
    if pixel.bias is None:
        return f"No bias: the value is {format_number(pixel.value)}"
    return f"Plus bias: {format_number(pixel.sum)} + {_format_term(pixel.bias)} = {format_number(pixel.value)}"


def _describe_next(pixel: PixelExplanation) -> str:
    if pixel.activation is not None and pixel.activated is not None:
        label = find(pixel.activation).activation
        result = f"{label}({format_number(pixel.value)}) = {format_number(pixel.activated)}"
        return f"Activation by {pixel.following}: {result}"
    return f"No activation reads it; the next layer is {pixel.following}" if pixel.following else "No layer reads it"


def _describe_padding(pixel: PixelExplanation) -> str:
    """Return what the hatched pixels are; where the layer reads a normalised grey image, also how bright 0 is."""
    text = "hatched: zero padding around the input of the layer"
    brightness = float(pixel._display.shift.ravel()[0])
    reads_image = pixel._input.shape == pixel._image.shape and np.array_equal(pixel._input, pixel._image)
    if not reads_image or pixel._display.note or len(pixel._image) != 1 or not brightness:
        return text
    return f"{text};\n0 is the grey {brightness:.2f} of 0 (black) to 1 (white), so a black background ends in a frame"


def _describe_sum(pixel: PixelExplanation) -> str:
    """Return the sum of all products as a sum over input channels."""
    first, *others = [pixel.products[c].sum() for c in pixel._shown]
    terms = [format_number(first), *map(_format_term, others)]
    if _name_others(pixel):
        terms.append(f"{_format_term(pixel._sum_of_others)} from {_name_others(pixel)}")
    total = f" = {format_number(pixel.sum)}" if len(terms) > 1 else ""
    return f"Sum of all products: {' + '.join(terms)}{total}"


# ---- drawing


def _draw(pixel: PixelExplanation) -> Figure:
    shown, (width, height) = pixel._shown, _window_size(pixel)
    title = f"{pixel._name}: {format_number(pixel.value)}"
    total = PANEL + 3.6 + len(shown) * (height + 0.5)
    figure = style.figure(3 * width + 2.2, total, title, compress=False)  # compressed, a narrow picture narrows all
    panels = figure.subplots(1 + len(shown), 3, height_ratios=[PANEL] + [height] * len(shown))
    scales = _choose_scales(pixel)
    _draw_image(panels[0, 0], pixel)
    _draw_input(panels[0, 1], pixel, scales[0])
    _draw_output(panels[0, 2], pixel)
    for line, c in zip(panels[1:], shown, strict=True):
        _draw_products(line, pixel, c, scales)
    for column, (scale, label) in enumerate(zip(scales, ("pixel", "weight", "product"), strict=True)):
        bar = figure.colorbar(scale, ax=list(panels[1:, column]), location="bottom", aspect=16, shrink=0.7)
        label_scale(bar, scale)
        bar.set_label(label, fontsize=style.SMALL)
    padding = "" if pixel.inside.all() else _describe_padding(pixel)
    chosen = f"shown: the {len(shown)} input channels with the largest products" if _name_others(pixel) else ""
    lines = (padding, chosen, _describe_sum(pixel), _describe_bias(pixel), _describe_next(pixel))
    figure.supxlabel("\n".join(filter(None, lines)), fontsize=style.LABEL)
    return figure


def _window_size(pixel: PixelExplanation) -> tuple[float, float]:
    """Return width and height of a drawn window in inches: as wide as a picture, or wider if its numbers need it."""
    KH, KW = pixel.inside.shape
    cell = max(PANEL / max(KH, KW), CELL if pixel._has_numbers else 0)
    return max(KW * cell, PANEL), max(KH * cell, CELL)


def _choose_scales(pixel: PixelExplanation) -> list[ScalarMappable]:
    """Return the colour scales of pixels, weights and products, the same for all channels that are shown."""
    shown = pixel._shown
    signed = [style.zero_centred(values[shown]) for values in (pixel.kernel, pixel.products)]
    pixels = choose_scale(pixel._input[[pixel.channels[c] for c in shown]])
    return [pixels, *(ScalarMappable(norm, style.SIGNED) for norm in signed)]


def _draw_image(axes: Axes, pixel: PixelExplanation) -> None:
    """Draw the image with a frame around the pixels that the value depends on."""
    show_image(axes, pixel._image, pixel._display)
    of = "" if len(pixel._image) in (1, 3) else f", mean of {len(pixel._image)} channels"
    _caption(axes, f"the image{of}, framed:\nwhat the value depends on", pixel.rows, pixel.cols)
    if pixel._display.note:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{pixel._display.note}", fontsize=style.SMALL)


def _draw_input(axes: Axes, pixel: PixelExplanation, scale: ScalarMappable) -> None:
    """Draw the strongest input channel with the window, and hatched padding if the window reaches it."""
    c, window = pixel.channels[strongest_indices(pixel.products, 0, 1)[0]], pixel._window
    axes.imshow(pixel._input[c], **imshow_settings(scale))
    style.draw_thin_frame(axes)
    _caption(axes, f"input of the layer,\nchannel {c}: window framed", window.rows, window.cols)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left, right = min(left, window.cols[0] - 0.5), max(right, window.cols[-1] + 0.5)
    top, bottom = min(top, window.rows[0] - 0.5), max(bottom, window.rows[-1] + 0.5)
    _hatch(axes, left, top, right, bottom)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    if any(len(pixels) > 1 and pixels[1] - pixels[0] > 1 for pixels in (window.rows, window.cols)):  # dilated
        x, y = np.meshgrid(window.cols, window.rows)
        axes.plot(x.ravel(), y.ravel(), "s", color=style.GREEN, markersize=3)


def _draw_output(axes: Axes, pixel: PixelExplanation) -> None:
    """Draw the map that the layer makes, with a frame around the pixel and the ends of its colour scale."""
    scale = choose_scale(pixel._output)
    axes.imshow(pixel._output, **imshow_settings(scale))
    style.draw_thin_frame(axes)
    _caption(axes, f"output of the layer,\nchannel {pixel.channel}: pixel framed", [pixel.row], [pixel.col])
    low, high = (format_number(limit, ".2g") for limit in scale.get_clim())
    axes.set_xlabel(f"{axes.get_xlabel()}\ncolours: {low} to {high}", fontsize=style.SMALL)


def _caption(axes: Axes, title: str, rows: Any, cols: Any) -> None:
    """Add a title, a frame around rows and columns, and their numbers below the picture."""
    axes.set_title(title, fontsize=style.LABEL)
    axes.set_xlabel(f"{_format_span('row', rows)}\n{_format_span('column', cols)}", fontsize=style.SMALL)
    style.draw_frame(axes, rows, cols, style.GREEN)


def _draw_products(line: np.ndarray, pixel: PixelExplanation, c: int, scales: list[ScalarMappable]) -> None:
    """Draw patch × kernel = products of one input channel."""
    windows = np.ma.array(pixel.patch[c], mask=~pixel.inside), pixel.kernel[c], pixel.products[c]
    titles = "patch", "kernel", f"products, sum {format_number(pixel.products[c].sum())}"
    for axes, window, title, scale in zip(line, windows, titles, scales, strict=True):
        axes.imshow(window, **imshow_settings(scale))
        axes.set_title(title, fontsize=style.LABEL)
        style.draw_thin_frame(axes)
        if pixel._has_numbers:
            _write_numbers(axes, np.ma.getdata(window), scale)
    line[0].set_ylabel(f"channel {pixel.channels[c]}", fontsize=style.LABEL)
    for axes, sign in zip(line[1:], "×=", strict=True):
        axes.set_ylabel(sign, fontsize=2 * style.TITLE, rotation=0, ha="right", va="center")
    for row, col in np.argwhere(~pixel.inside):
        _hatch(line[0], col - 0.5, row - 0.5, col + 0.5, row + 0.5)


def _write_numbers(axes: Axes, window: np.ndarray, scale: ScalarMappable) -> None:
    """Write the number in every cell, white on dark cells."""
    form = _number_format(np.abs(scale.get_clim()).max())
    for (row, col), value in np.ndenumerate(window):
        red, green, blue, _ = scale.to_rgba(value)
        colour = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
        text = format_number(value, form)
        axes.text(col, row, text, ha="center", va="center", fontsize=style.SMALL, color=colour)


def _number_format(largest: float) -> str:
    """Return the format of numbers in cells: as many decimals as give the largest number three digits, at most 4."""
    decimals = 2 - math.floor(math.log10(largest))
    return f".{min(decimals, 4)}f" if 0 <= decimals <= 5 else ".1g"


def _hatch(axes: Axes, left: float, top: float, right: float, bottom: float) -> None:
    """Hatch a rectangle of padding, behind the pixels."""
    rectangle = Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=0, zorder=-1)
    rectangle.set(edgecolor=style.GREY, hatch="////", alpha=0.4)
    axes.add_patch(rectangle)
