"""Patches of real images that excite a unit most, for one filter or for all filters of a model."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.checks import brief, whole_number
from minigrad.data import DataLoader, Dataset
from minigrad.errors import ShapeError, ValidationError
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, show_image
from minigrad.viz.formatting import format_count, format_number, format_shape
from minigrad.viz.inputs import as_array, check_index, uses_model_info
from minigrad.viz.tracing import Layer, layer_index, select_convolutions, trace

MOST_PICTURES = 20  # in a figure
MOST_FILTERS, BLOCKS = 32, 4  # filters of a layer in a grid, and filters beside each other
PATCH = 0.42  # inches across in a grid
STRIPS = "after the number of a filter: the patches that excite it most, each from another image, the best first"


class Patch(NamedTuple):
    """A part of an image that excites a unit.

    image       number of the image
    activation  of the unit
    rows        rows of the image in the unit's receptive field; those below 0 and from H on are padding
    columns     likewise
    pixels      (C, H, W)  the whole image
    """

    image: int
    activation: float
    rows: range
    columns: range
    pixels: np.ndarray

    def cut(self) -> np.ndarray:
        """Return the pixels in the unit's receptive field, (C, rows, columns); NaN in the padding."""
        H, W = self.pixels.shape[1:]
        rows, columns = np.array(self.rows)[:, None], np.array(self.columns)
        inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
        return np.where(inside, self.pixels[:, rows.clip(0, H - 1), columns.clip(0, W - 1)], np.nan)


@uses_model_info
def top_patches(
    model: Any, images: Any, layer: str, channel: int, n: int = 9, normalize: tuple[Any, Any] | None = None
) -> Figure:
    """Show the parts of real images that excite a unit most, and their positions in the images.

    model      a Module
    images     (N, C, H, W) or (N, H, W), or a Dataset of images
    layer      name of a layer, or of a function called in a forward: "conv2", "relu"
    channel    number of a map or of a feature
    n          number of patches, 1 to 20, each from another image
    normalize  (mean, std) that makes pixels from 0 to 1 the numbers that the model reads: applied to a Dataset, and
               undone for the picture
    returns    Figure: in the first row the patches, as large as the unit's receptive field; in the second row the
               images, with the patches framed

    Padding in the receptive field is pale.

    Raises   as patch_places, and ValidationError for more than 20 patches

    >>> from minigrad.models import LeNet5
    >>> figure = top_patches(LeNet5(), np.eye(28)[None], "conv1", 2, n=1)
    >>> figure.get_suptitle()
    'Patches that excite conv1, channel 2 most'
    """
    whole_number("top_patches", "n", n, 1, MOST_PICTURES)
    patches = patch_places(model, images, layer, channel, n, normalize)
    display = choose_display("top_patches", np.stack([patch.pixels for patch in patches]), normalize)
    figure = style.figure(max(5.0, 1.3 * len(patches)), 3.9, f"Patches that excite {layer}, channel {channel} most")
    cells = figure.subplots(2, len(patches), squeeze=False)
    for (above, below), patch in zip(cells.T, patches, strict=True):
        _draw_patch(above, patch, display._replace(note=""))
        _draw_position(below, patch, display._replace(note=""))
    _write_below(figure, display, padded=any(np.isnan(patch.cut()).any() for patch in patches))
    cells[0, 0].set_ylabel("patch", fontsize=style.LABEL)
    cells[1, 0].set_ylabel("position", fontsize=style.LABEL)
    return figure


@uses_model_info
def patch_grid(
    model: Any,
    images: Any,
    layers: str | Sequence[str] | None = None,
    n: int = 5,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show the patches of real images that excite every filter of every convolution most, from early to deep layers.

    model      a Module
    images     (N, C, H, W) or (N, H, W), or a Dataset of images
    layers     path of a convolution, or a list of paths; all if None
    n          1 to 9   patches of each filter, each from another image
    normalize  as for top_patches
    returns    Figure: a panel for each layer, with a strip of patches for each filter; of many filters, the first 32

    Patches are as large as the receptive field, which grows with depth; padding is pale.  A filter that no image
    excites above 0, so that ReLU removes all it finds, has no patches, and its strip says so.

    Raises   as patch_places, and ValidationError for a layer that is no convolution or n out of range

    >>> from minigrad.models import LeNet5
    >>> figure = patch_grid(LeNet5(), np.eye(28)[None], n=1)
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['conv1: 6 filters see 5×5 pixels', 'conv2: 16 filters see 14×14 pixels']
    """
    whole_number("patch_grid", "n", n, 1, 9)
    names = list(select_convolutions("patch_grid", model, layers))
    strips, display = _find_strips("patch_grid", model, images, names, n, normalize)
    heights = [-(-len(filters) // BLOCKS) for filters in strips.values()]
    width = PATCH * (n + 2) * BLOCKS + 0.6
    figure = style.figure(width, PATCH * sum(heights) + 0.5 * len(heights) + 0.8, "What excites each filter most")
    panels = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, filters) in zip(panels, strips.items(), strict=True):
        _draw_strips(axes, filters, n, display)
        shape = next((format_shape((len(p.rows), len(p.columns))) for strip in filters for p in strip), "no")
        count = _count_filters(model, name, len(filters))
        axes.set_title(f"{name}: {count} see {shape} pixels", fontsize=style.LABEL, loc="left")
    patches = [patch for filters in strips.values() for strip in filters for patch in strip]
    _write_below(figure, display, padded=any(np.isnan(patch.cut()).any() for patch in patches), words=STRIPS)
    return figure


def _count_filters(model: Any, name: str, shown: int) -> str:
    """Return text as in `6 filters`, or `the first 32 of 64 filters`."""
    count = len(dict(model.named_modules())[name].weight)
    return format_count(count, "filter") if shown == count else f"the first {shown} of {count} filters"


def _write_below(figure: Figure, display: Display, padded: bool, words: str = "") -> None:
    """Write below a figure what it shows, what is pale in it, and what is not true of its colours, if there is any."""
    notes = [words] + ["pale: padding"] * padded + [display.note.replace("\n", " ")]
    if any(notes):
        text = style.wrap("; ".join(filter(None, notes)), int(figure.get_figwidth() * 72 / (0.6 * style.SMALL)))
        figure.supxlabel(text, fontsize=style.SMALL)


@uses_model_info
def patch_places(
    model: Any, images: Any, layer: str, channel: int, n: int = 9, normalize: tuple[Any, Any] | None = None
) -> list[Patch]:
    """Find the parts of real images that excite a unit most: the best patch of every image, and of these the best n.

    model, images, layer, channel, normalize   as for top_patches
    n        number of patches
    returns  at most n Patches, sorted by descending activation

    Raises   ShapeError        images have another number of axes, or do not fit the model
             ValidationError   model is no Module, no images, no such layer or channel, or n is below 1

    >>> from minigrad.nn import Conv2d, Sequential
    >>> patch = patch_places(Sequential(Conv2d(1, 2, 3)), np.zeros((4, 8, 8)), "0", 1, n=1)[0]
    >>> patch.image, patch.rows, patch.columns, patch.cut().shape
    (0, range(0, 3), range(0, 3), (1, 3, 3))
    """
    where = "patch_places"
    whole_number(where, "n", n, 1)
    best: list[Patch] = []
    for first, batch in _load_batches(where, model, images, normalize):
        traced = trace_layer(where, model, batch, layer)
        check_index(where, "channel", channel, traced.output.shape[1], f"layer {brief(layer)}")
        best += [best_patch(first + k, image, traced, k, channel) for k, image in enumerate(batch)]
        best = sorted(best, key=lambda patch: -patch.activation)[:n]
    return best


# ---- search in real images


def _load_batches(
    where: str, model: Any, images: Any, normalize: tuple[Any, Any] | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of the first image, and images (N, C, H, W), for each batch."""
    if len(images) == 0:
        raise ValidationError(f"{where}: there are 0 images; pass 1 or more")
    first = 0
    for batch in _read_dataset(images, normalize) if isinstance(images, Dataset) else split_array(where, images):
        yield first, probe.prepare_images(where, model, batch)
        first += len(batch)


def _read_dataset(dataset: Dataset, normalize: tuple[Any, Any] | None) -> Iterator[np.ndarray]:
    for sample in DataLoader(dataset, probe.BATCH, normalize=normalize):
        yield as_array(sample[0] if isinstance(sample, tuple) else sample)


def split_array(where: str, images: Any) -> Iterator[np.ndarray]:
    """Yield batches (n, C, H, W) of images (N, C, H, W) or (N, H, W)."""
    images = as_array(images)
    if images.ndim not in (3, 4):
        raise ShapeError(f"{where}: images have shape {images.shape}; pass (N, C, H, W), (N, H, W) or a Dataset")
    images = images if images.ndim == 4 else images[:, None]
    for first in range(0, len(images), probe.BATCH):
        yield images[first : first + probe.BATCH]


def best_patch(number: int, image: np.ndarray, traced: Layer, k: int, channel: int) -> Patch:
    """Return the patch of the largest activation in image k of a traced batch."""
    values = np.array(traced.output[k, channel])
    rows, columns = _receptive_field(traced, int(values.argmax()), image.shape[1:])
    return Patch(number, float(values.max()), rows, columns, image)


def _receptive_field(traced: Layer, unit: int, sizes: tuple[int, ...]) -> tuple[range, range]:
    """Return rows and columns of a unit's receptive field, including padding; the image if the field is unknown."""
    if traced.fields is None:
        return range(sizes[0]), range(sizes[1])
    position = np.unravel_index(unit, traced.output.shape[2:])
    starts = [field.start + int(i) * field.jump for field, i in zip(traced.fields, position, strict=True)]
    rows, columns = (range(start, start + field.size) for field, start in zip(traced.fields, starts, strict=True))
    return rows, columns


def trace_layer(where: str, model: Any, images: np.ndarray, name: str) -> Layer:
    layers = trace(where, model, probe.prepare_images(where, model, images))
    layer = layers[layer_index(where, layers, name)]
    if layer.output.ndim < 2:
        raise ShapeError(
            f"{where}: layer {brief(name)} makes {layer.output.shape}, without channels; choose another layer"
        )
    return layer


def _find_strips(
    where: str, model: Any, images: Any, names: list[str], n: int, normalize: tuple[Any, Any] | None
) -> tuple[dict[str, list[list[Patch]]], Display]:
    """Return the best patches of the filters of each layer, and how the images are shown."""
    best: dict[str, list[list[Patch]]] = {}
    display = None
    for first, batch in _load_batches(where, model, images, normalize):
        display = display or choose_display(where, batch, normalize)
        layers = trace(where, model, batch)
        for name in names:
            layer = layers[layer_index(where, layers, name)]
            filters = best.setdefault(name, [[] for _ in range(min(layer.output.shape[1], MOST_FILTERS))])
            for c, strip in enumerate(filters):
                strip += _best_patches(first, batch, layer, c, n)
                strip.sort(key=lambda patch: -patch.activation)
                del strip[n:]
    assert display is not None  # _load_batches refuses no images
    return best, display


def _best_patches(first: int, batch: np.ndarray, layer: Layer, channel: int, n: int) -> list[Patch]:
    """Return the patches of the n images of a batch that excite a channel most, above 0."""
    strongest = np.asarray(layer.output)[:, channel].max((1, 2))
    order = [int(k) for k in np.argsort(-strongest, kind="stable")[:n] if strongest[k] > 0]
    return [best_patch(first + k, batch[k], layer, k, channel) for k in order]


# ---- drawing


def _draw_strips(axes: Axes, filters: list[list[Patch]], n: int, display: Display) -> None:
    """Draw the patches of each filter beside its number, four filters in a row."""
    axes.set(xlim=(0, (n + 2) * BLOCKS), ylim=(-(-len(filters) // BLOCKS), 0), aspect="equal", autoscale_on=False)
    axes.set_axis_off()
    for f, strip in enumerate(filters):
        row, left = f // BLOCKS, f % BLOCKS * (n + 2)
        axes.text(left + 1.4, row + 0.5, str(f), ha="right", va="center", fontsize=style.SMALL)
        cells = [_to_cell(patch, display) for patch in strip]
        if cells:
            extent = (left + 1.55, left + 1.55 + len(cells), row + 0.96, row + 0.04)
            axes.imshow(np.concatenate(cells, axis=1), extent=extent, interpolation="nearest", aspect="equal")
        else:
            axes.text(left + 1.6, row + 0.5, "never above 0", va="center", fontsize=style.SMALL, color=style.GREY)
    axes.set(xlim=(0, (n + 2) * BLOCKS), ylim=(-(-len(filters) // BLOCKS), 0))


def _to_cell(patch: Patch, display: Display) -> np.ndarray:
    """Return a patch as colours (rows, columns, 3) in a grey frame, with a white edge on its right."""
    pixels = display.to_colours(patch.cut())
    big = max(1, 60 // pixels.shape[1])  # each pixel becomes big x big, so that the edge is thin
    pixels = pixels.repeat(big, axis=0).repeat(big, axis=1)
    edge = max(2, pixels.shape[1] // 15)
    line = max(1, edge // 4)
    for side in np.s_[:line], np.s_[-line:], np.s_[:, :line], np.s_[:, -edge - line : -edge]:
        pixels[side] = to_rgb(style.GREY)
    pixels[:, -edge:] = 1
    return pixels


def _draw_patch(axes: Axes, patch: Patch, display: Display) -> None:
    show_image(axes, patch.cut(), display)
    axes.set_title(f"activation {format_number(patch.activation, '.3g')}", fontsize=style.SMALL)


def _draw_position(axes: Axes, patch: Patch, display: Display) -> None:
    """Draw the whole image with a frame around the patch, and its number and position below it."""
    show_image(axes, patch.pixels, display)
    H, W = patch.pixels.shape[1:]
    top, left = max(patch.rows.start, 0), max(patch.columns.start, 0)
    height, width = min(patch.rows.stop, H) - top, min(patch.columns.stop, W) - left
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=style.ORANGE, lw=1.8, clip_on=False)
    )
    spans = [f"{noun} {part[0]} to {part[-1]}" for noun, part in (("rows", patch.rows), ("columns", patch.columns))]
    axes.set_xlabel("\n".join([f"image {patch.image}", *spans]).replace("-", "−"), fontsize=style.SMALL)
