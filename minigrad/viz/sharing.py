"""Why convolution: the same weights at every place, maps that move with the image, and few parameters."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from minigrad.checks import brief, whole_number
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Module
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, show_image
from minigrad.viz.filter_grid import strongest_indices
from minigrad.viz.formatting import format_count, format_number, format_shape
from minigrad.viz.inputs import check_index, is_whole, uses_model_info
from minigrad.viz.maps import choose_scale, imshow_settings, label_scale
from minigrad.viz.pixel import PixelExplanation, explain_pixel
from minigrad.viz.tracing import Layer, is_convolution, layer_index, trace

PANEL = 2.3  # inches across
FRAMES = style.GREEN, style.VERMILION  # of the largest sum, and of the smallest
PLACES = (
    "green frame: the largest sum\n\norange frame: the smallest sum\n\n"
    "frame in the image: all that\nthe sum depends on\n\n"
    "patch: what the layer reads\n\nthe weights in the\nmiddle are the same"
)
KEY = "red: above 0, blue: below 0, white: 0; both patches have one scale, and so have both products"
SIZES = ((1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 224, 224))  # MNIST, CIFAR, small photographs, ImageNet


# ---- the same weights at two places


@uses_model_info
def shared_weights(
    model: Any, image: Any, layer: str, channel: int, *, normalize: tuple[Any, Any] | None = None
) -> Figure:
    """Show that a filter uses the same weights at two places: where it answers most, and where it answers least.

    model      a Module; it does not change
    image      (H, W), (C, H, W) or (1, C, H, W)
    layer      name of a convolution
    channel    number of a filter
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns    Figure: image and map with both places framed, and patch × weights = products for each place

    Of several input channels, that with the largest products is shown; the sums are over all.  Padding is hatched.
    Raises   as explain_pixel

    >>> from minigrad.models import LeNet5
    >>> shared_weights(LeNet5(), np.eye(28), "conv1", 0).get_suptitle()
    'conv1, filter 0: the same 25 weights at 784 places'
    """
    where = "shared_weights"
    values = _convolution(where, model, image, layer, channel)
    places = [np.unravel_index(place, values.shape) for place in (values.argmax(), values.argmin())]
    pixels = [
        explain_pixel(model, image, layer, channel, int(row), int(col), normalize=normalize) for row, col in places
    ]
    kernel = pixels[0].kernel
    title = f"{layer}, filter {channel}: the same {kernel.size:,} weights at {values.size:,} places"
    figure = style.figure(3 * PANEL + 1.0, 3 * PANEL + 2.8, title, compress=False)
    panels = figure.subplots(3, 3)
    image = probe.prepare_image(where, model, image)[0]
    display = choose_display(where, image, normalize)
    _draw_places(panels[0], image, values, pixels, display._replace(note=""))
    c = int(strongest_indices(np.stack([pixel.products for pixel in pixels]), 1, 1)[0])
    scales = [
        style.zero_centred(*(getattr(pixel, name)[c] for pixel in pixels)) for name in ("patch", "kernel", "products")
    ]
    for line, pixel, colour in zip(panels[1:], pixels, FRAMES, strict=True):
        _draw_products(line, pixel, c, colour, scales)
    padded = "" if all(pixel.inside.all() for pixel in pixels) else "; hatched: zero padding"
    notes = [KEY + padded, display.note.replace("\n", " ")]
    figure.supxlabel("\n".join(filter(None, notes)), fontsize=style.SMALL)
    return figure


def _convolution(where: str, model: Any, image: Any, name: str, channel: int) -> np.ndarray:
    """Return the map of one filter, (OH, OW)."""
    layer = _find_convolution(where, model, probe.prepare_image(where, model, image), name)
    c = check_index(where, "channel", channel, layer.output.shape[1], f"layer {brief(name)}")
    return np.array(layer.output[0, c])


def _find_convolution(where: str, model: Any, image: np.ndarray, name: str) -> Layer:
    layers = trace(where, model, image)
    layer = layers[layer_index(where, layers, name)]
    if not is_convolution(layer):
        names = ", ".join(other.name for other in layers if is_convolution(other))
        raise ValidationError(f"{where}: {name} is a {layer.kind}, no convolution; choose one of {names or 'none'}")
    return layer


def _draw_places(
    panels: Any, image: np.ndarray, values: np.ndarray, pixels: list[PixelExplanation], display: Display
) -> None:
    """Draw the image and the map with a frame for each place."""
    show_image(panels[0], image, display)
    panels[1].imshow(values, **imshow_settings(choose_scale(values)))
    style.draw_thin_frame(panels[1])
    panels[2].set_axis_off()
    panels[0].set_title("image", fontsize=style.LABEL)
    panels[1].set_title(f"map {format_shape(values.shape)}", fontsize=style.LABEL)
    panels[2].text(0, 0.5, PLACES, va="center", fontsize=style.LABEL, transform=panels[2].transAxes)
    for pixel, colour in zip(pixels, FRAMES, strict=True):
        style.draw_frame(panels[0], pixel.rows, pixel.cols, colour)
        style.draw_frame(panels[1], [pixel.row], [pixel.col], colour)


def _draw_products(line: Any, pixel: PixelExplanation, c: int, colour: str, scales: list[Normalize]) -> None:
    """Draw patch × weights = products of one input channel, with the sum over all."""
    windows = pixel.patch[c], pixel.kernel[c], pixel.products[c]
    channel = f", channel {pixel.channels[c]}" if len(pixel.patch) > 1 else ""
    sum_here = f": sum {format_number(windows[2].sum())}" if channel else ""
    titles = f"patch{channel}", f"weights{channel}", f"products{channel}{sum_here}"
    for axes, window, title, norm in zip(line, windows, titles, scales, strict=True):
        axes.imshow(window, cmap=style.SIGNED, norm=norm, interpolation="nearest")
        axes.set_title(title, fontsize=style.LABEL)
        style.draw_thin_frame(axes)
    line[0].spines[:].set(color=colour, linewidth=2.2)
    for row, col in np.argwhere(~pixel.inside):
        hatched = Rectangle((col - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", lw=0, edgecolor=style.GREY)
        line[0].add_patch(hatched).set_alpha(0.6)
    bias = "no bias" if pixel.bias is None else f"plus bias {format_number(pixel.bias)}"
    of = "sum" if len(pixel.patch) == 1 else f"sum over all {len(pixel.patch)} channels"
    total = f"{of} {format_number(pixel.sum)}\n{bias}: {format_number(pixel.value)}"
    line[2].set_xlabel(total, fontsize=style.LABEL, color=colour)
    for axes, sign in zip(line[1:], "×=", strict=True):
        axes.set_ylabel(sign, fontsize=2 * style.TITLE, rotation=0, ha="right", va="center")


# ---- a shifted image, a shifted map


@uses_model_info
def shifted_maps(
    model: Any,
    image: Any,
    layer: str,
    channel: int,
    shift: tuple[int, int] = (0, 4),
    *,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show that the map of a convolution moves with the image: equivariance.

    model      a Module; it does not change
    image      (H, W), (C, H, W) or (1, C, H, W)
    layer      name of a convolution
    channel    number of a filter
    shift      (down, right)  pixels, multiples of the layer's step on the image; what enters repeats the edge
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns    Figure: image and map, the shifted image and its map, and the difference of the map moved likewise

    The difference is drawn where both windows lie on pixels of both images; elsewhere, at the edge and in padding, a
    shift does change a map, and the difference is hatched.
    Raises   ValidationError   layer is no convolution, channel is out of range, or shift is no multiple of the step
             ShapeError        not one image, or an image that does not fit the model

    >>> from minigrad.models import LeNet5
    >>> figure = shifted_maps(LeNet5(), np.eye(28), "conv1", 0, shift=(2, 3))
    >>> figure.axes[4].get_title()
    'largest difference: 0'
    """
    where = "shifted_maps"
    first = probe.prepare_image(where, model, image)
    step = _read_shift(where, _find_convolution(where, model, first, layer), shift)
    moved = _move(first, shift)
    maps = [_convolution(where, model, picture, layer, channel) for picture in (first, moved)]
    known = _known_units(_find_convolution(where, model, first, layer), first.shape[2:], shift)
    difference = np.where(known, maps[1] - np.roll(maps[0], step, (0, 1)), np.nan)
    largest = np.nanmax(np.abs(difference)) if known.any() else np.nan
    figure = style.figure(
        3 * PANEL + 1.4, 2 * PANEL + 1.8, f"{layer}, channel {channel}: shift the image, the map shifts"
    )
    panels = figure.subplots(2, 3)
    display, scale = choose_display(where, first[0], normalize), choose_scale(np.stack(maps))
    titles = ("image", "its map"), (f"shifted by {shift[0]} down, {shift[1]} right", "its map")
    for line, picture, values, names in zip(panels, (first, moved), maps, titles, strict=True):
        show_image(line[0], picture[0], display)
        line[1].imshow(values, **imshow_settings(scale))
        style.draw_thin_frame(line[1])
        for axes, name in zip(line, names, strict=False):
            axes.set_title(name, fontsize=style.LABEL)
    panels[0, 2].set_axis_off()
    panels[1, 2].patch.set(hatch="////", edgecolor=style.GREY)
    panels[1, 2].imshow(difference, cmap=style.SIGNED, norm=style.zero_centred(np.stack(maps)), interpolation="nearest")
    style.draw_thin_frame(panels[1, 2])
    panels[1, 2].set_title(f"largest difference: {largest:.1g}", fontsize=style.LABEL)
    panels[1, 2].set_xlabel(
        "from the first map, moved likewise\nwhite: none; hatched: not compared", fontsize=style.SMALL
    )
    panels[0, 2].remove()
    label_scale(style.colour_bar(figure, scale, list(panels[:, 1]), ""), scale)
    figure.supxlabel("not compared: the edge, where new pixels enter or padding is read", fontsize=style.SMALL)
    return figure


def _read_shift(where: str, layer: Layer, shift: tuple[int, int]) -> tuple[int, int]:
    """Return the shift in pixels of the map."""
    jumps = (1, 1) if layer.fields is None else tuple(field.jump for field in layer.fields)
    if len(shift) != 2 or not all(is_whole(part) for part in shift):
        raise ValidationError(f"{where}: shift is {shift}; give (down, right) in whole pixels")
    if any(part % jump for part, jump in zip(shift, jumps, strict=True)):
        raise ValidationError(
            f"{where}: shift is {shift} but {layer.name} steps over {jumps} pixels of the image; use multiples of them"
        )
    return shift[0] // jumps[0], shift[1] // jumps[1]


def _move(image: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Return an image (1, C, H, W) moved down and right; the edge is repeated where pixels enter."""
    H, W = image.shape[2:]
    rows, cols = (np.arange(length) - part for length, part in zip((H, W), shift, strict=True))
    return image[:, :, rows.clip(0, H - 1)[:, None], cols.clip(0, W - 1)]


def _known_units(layer: Layer, sizes: tuple[int, ...], shift: tuple[int, int]) -> np.ndarray:
    """Return (OH, OW), whether a unit's receptive field lies on pixels of the image, moved or not."""
    if layer.fields is None:
        return np.zeros(layer.output.shape[2:], bool)
    inside = []
    for field, count, length, part in zip(layer.fields, layer.output.shape[2:], sizes, shift, strict=True):
        first = field.start + np.arange(count) * field.jump
        inside.append((first >= max(part, 0)) & (first + field.size <= length + min(part, 0)))
    return inside[0][:, None] & inside[1]


# ---- parameters


class LayerSize(NamedTuple):
    """The parameters of a first layer that makes the same maps, as a convolution and fully connected.

    image        (C, H, W)
    maps         (F, OH, OW)
    convolution  filters * (C * KH * KW + 1)
    dense        F*OH*OW * (C*H*W + 1): every output has a weight for every pixel
    """

    image: tuple[int, ...]
    maps: tuple[int, ...]
    convolution: int
    dense: int


def layer_sizes(sizes: Sequence[Sequence[int]] = SIZES, filters: int = 6, kernel_size: int = 5) -> list[LayerSize]:
    """Count the parameters of a convolution, and of a fully connected layer that makes maps of the same size.

    sizes        (C, H, W) of each image
    filters      count
    kernel_size  pixels   side of the window
    returns      LayerSize of each image

    Raises   ValidationError   filters or kernel_size is below 1, or sizes is no list
             ShapeError        a size is not (C, H, W), or smaller than the window

    >>> layer_sizes([(1, 28, 28)])[0]
    LayerSize(image=(1, 28, 28), maps=(6, 24, 24), convolution=156, dense=2712960)
    """
    whole_number("layer_sizes", "filters", filters, 1)
    whole_number("layer_sizes", "kernel_size", kernel_size, 1)
    if isinstance(sizes, Module) or not isinstance(sizes, Iterable):
        raise ValidationError(f"layer_sizes: sizes is {brief(sizes)}; pass sizes of images, as [(1, 28, 28)]")
    rows = []
    for size in sizes:
        whole = isinstance(size, Sequence) and all(map(is_whole, size))
        if not whole or len(size) != 3 or min(size) < 1 or min(size[1:]) < kernel_size:
            raise ShapeError(
                f"layer_sizes: an image has size {brief(size)}, not (C, H, W) with H and W of {kernel_size} or more"
            )
        C, H, W = size
        maps = (filters, H - kernel_size + 1, W - kernel_size + 1)
        dense = int(np.prod(maps, dtype=object)) * (C * H * W + 1)
        rows.append(LayerSize((C, H, W), maps, filters * (C * kernel_size**2 + 1), dense))
    return rows


def _name_power(count: float, position: Any = None) -> str:
    """Return a power of ten in words, as in `10 thousand`."""
    for size, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if count >= size:
            return f"{count / size:,.0f}{name}"
    return f"{count:,.0f}"


def dense_or_convolution(sizes: Sequence[Sequence[int]] = SIZES, filters: int = 6, kernel_size: int = 5) -> Figure:
    """Show how many parameters a first layer needs for larger and larger images, as a convolution and fully connected.

    sizes, filters, kernel_size   as for layer_sizes
    returns   Figure

    Raises   as layer_sizes

    >>> dense_or_convolution().get_suptitle()
    'Parameters of a first layer that makes 6 maps'
    """
    rows = layer_sizes(sizes, filters, kernel_size)
    figure = style.figure(
        8.5, 0.75 * len(rows) + 1.5, f"Parameters of a first layer that makes {format_count(filters, 'map')}"
    )
    axes = figure.subplots()
    for y, row in enumerate(rows):
        axes.plot([row.convolution, row.dense], [y, y], color=style.GREY, linewidth=1)
        for count, colour, side in ((row.convolution, style.BLUE, "left"), (row.dense, style.VERMILION, "left")):
            axes.plot(count, y, "o", color=colour, markersize=9)
            axes.text(count, y - 0.18, f"{count:,}", ha=side, va="bottom", fontsize=style.SMALL, color=colour)
    axes.set_yticks(range(len(rows)), [f"image {format_shape(row.image)}" for row in rows])
    axes.set(xscale="log", ylim=(len(rows) - 0.5, -0.7), xlim=(10, 100 * max(row.dense for row in rows)))
    axes.set_xlabel("parameters (log scale)", fontsize=style.LABEL)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(_name_power)
    axes.minorticks_off()
    axes.tick_params(labelsize=style.SMALL)
    style.tidy(axes)
    window = format_shape((kernel_size, kernel_size))
    figure.supxlabel(
        f"blue: a convolution of {window} weights for each channel, the same at all places\n"
        "orange: a fully connected layer that makes the same maps, a weight for each pixel and each output",
        fontsize=style.SMALL,
    )
    return figure
