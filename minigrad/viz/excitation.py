"""Pictures of what excites a unit: inputs found by gradient ascent, and patches of real images."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.checks import whole_number
from minigrad.data import DataLoader, Dataset
from minigrad.errors import ShapeError, ValidationError
from minigrad.viz import probe, style
from minigrad.viz.inputs import as_array, as_image_shape, check_index, check_scores, uses_model_info
from minigrad.viz.tracing import Layer, layer_index, trace

ACROSS = 8  # pictures in a row
CELL = 1.4  # inches across
MOST_PICTURES = 20  # in a figure
GREYS = colormaps["gray"]
NOISE = 0.01  # standard deviation of the initial pixels


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
def maximize_activation(
    model: Any, layer: str, channel: int | Sequence[int], input_shape: Sequence[int] | None = None, **settings: Any
) -> Figure:
    """Show the input that excites a unit most, found by gradient ascent from noise.

    model        a Module
    layer        name of a layer, or of a function called in a forward: "conv2", "relu"
    channel      number of a map or of a feature, or a list of numbers
    input_shape  (C, H, W)  of one image
    settings     steps, limits, rate, smooth, shrink, jitter and seed, as for activation_images
    returns      Figure: for each channel the part of the input in the unit's receptive field, with the activation

    The unit of a map is the one with the largest activation.  Padding in its receptive field is pale.

    Raises   as activation_images, and ValidationError for more than 20 channels

    >>> from minigrad.models import LeNet5
    >>> figure = maximize_activation(LeNet5(), "conv1", [0, 3], (1, 28, 28), steps=2)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:2]]
    ['channel 0', 'channel 3']
    """
    where = "maximize_activation"
    images = activation_images(model, layer, channel, input_shape, **settings)
    traced = _trace_layer(where, model, images, layer)
    channels = np.atleast_1d(channel).tolist()
    patches = [_best_patch(k, image, traced, k, c) for k, (image, c) in enumerate(zip(images, channels, strict=True))]
    names = [f"channel {c}\nactivation {patch.activation:.3g}" for c, patch in zip(channels, patches, strict=True)]
    title = f"Inputs that excite {layer} most"
    return _draw_inputs(where, title, np.stack([patch.cut() for patch in patches]), names)


@uses_model_info
def prototypes(model: Any, input_shape: Sequence[int] | None = None, **settings: Any) -> Figure:
    """Show for each class the input with the largest score, found by gradient ascent from noise.

    model        a Module that scores classes, (N, C, H, W) -> (N, classes)
    input_shape  (C, H, W)  of one image
    settings     as for prototype_images
    returns      Figure: a picture for each class, with its score and probability

    Raises   as prototype_images, and ValidationError for more than 20 classes
    Source   Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 2

    >>> from minigrad.models import LeNet5
    >>> figure = prototypes(LeNet5(num_classes=3), (1, 28, 28), steps=2)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:3]]
    ['class 0', 'class 1', 'class 2']
    """
    where = "prototypes"
    images = prototype_images(model, input_shape, **settings)
    predictions = [probe.predict(where, probe.run_recorded(where, model, image), k) for k, image in enumerate(images)]
    names = [
        f"class {k}\nscore {prediction.scores[k]:.3g}, {100 * prediction.probabilities[k]:.1f} %"
        for k, prediction in enumerate(predictions)
    ]
    return _draw_inputs(where, "Inputs that raise the score of each class most", images, names)


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
    normalize  (mean, std) of the pixels of a Dataset, as for DataLoader
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
    figure = style.figure(max(5.0, 1.3 * len(patches)), 3.9, f"Patches that excite {layer}, channel {channel} most")
    cells = figure.subplots(2, len(patches), squeeze=False)
    low, high = min(patch.pixels.min() for patch in patches), max(patch.pixels.max() for patch in patches)
    for (above, below), patch in zip(cells.T, patches, strict=True):
        _draw_patch(above, patch, Normalize(low, high))
        _draw_position(below, patch, Normalize(low, high))
    cells[0, 0].set_ylabel("patch", fontsize=style.LABEL)
    cells[1, 0].set_ylabel("position", fontsize=style.LABEL)
    return figure


@uses_model_info
def activation_images(
    model: Any,
    layer: str,
    channel: int | Sequence[int],
    input_shape: Sequence[int] | None = None,
    *,
    steps: int = 200,
    limits: tuple[float, float] = (-2.0, 2.0),
    rate: float = 0.1,
    smooth: float = 0.2,
    shrink: float = 0.1,
    jitter: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Compute inputs that excite units most.

    model, layer, channel, input_shape   as for maximize_activation
    steps    number of gradient steps
    limits   lowest and highest pixel value; results look most natural with the limits of real images, such as
             (-0.42, 2.82) for MNIST normalised by mean and standard deviation
    rate     pixel value   length of one step
    smooth   weight of the total variation, the squared differences of neighbouring pixels; 0 for none
    shrink   weight of the squared pixel values, which moves irrelevant pixels to 0
    jitter   pixels   largest shift of the image in each step; it keeps single pixels from growing alone
    seed     of the initial noise and of the jitter
    returns  (K, C, H, W)   an input for each channel

    The gradient is that of the activation; for a map, that of its central unit in the first step and of its largest
    activation in later steps.  It is divided by its root mean square over the receptive field, so the settings do not
    depend on the scale of the weights.

    Raises   ShapeError        input_shape is not (C, H, W), or does not fit the model
             ValidationError   model is no Module, no such layer or channel, or a setting is out of range
    Source   Erhan et al. 2009, "Visualizing higher-layer features of a deep network"; Mahendran & Vedaldi 2015,
             "Understanding deep image representations by inverting them" (total variation, jitter)

    >>> from minigrad.models import LeNet5
    >>> activation_images(LeNet5(), "conv2", 3, (1, 28, 28), steps=2).shape
    (1, 1, 28, 28)
    """
    where = "activation_images"
    ascent = _Ascent(steps, limits, rate, smooth, shrink, jitter, seed)
    _check_ascent(where, ascent)
    channels = np.atleast_1d(channel).tolist()
    shape = as_image_shape(where, input_shape)
    output = _trace_layer(where, model, np.zeros(shape), layer).output
    for c in channels:
        check_index(where, "channel", c, output.shape[1], f"layer {layer!r}")
    return _ascend(where, model, layer, channels, shape, ascent)


@uses_model_info
def prototype_images(model: Any, input_shape: Sequence[int] | None = None, **settings: Any) -> np.ndarray:
    """Compute for each class the input with the largest score.

    model, input_shape   as for prototypes
    settings             steps, limits, rate, smooth, shrink, jitter and seed, as for activation_images
    returns  (classes, C, H, W)

    Raises   as activation_images, and ShapeError for a model without scores

    >>> from minigrad.models import LeNet5
    >>> prototype_images(LeNet5(), (1, 28, 28), steps=2).shape
    (10, 1, 28, 28)
    """
    where = "prototype_images"
    blank = np.zeros(as_image_shape(where, input_shape))
    last = trace(where, model, probe.prepare_images(where, model, blank))[-1]
    check_scores(where, last.output.shape, 1)
    return activation_images(model, last.name, range(last.output.shape[1]), input_shape, **settings)


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
        traced = _trace_layer(where, model, batch, layer)
        check_index(where, "channel", channel, traced.output.shape[1], f"layer {layer!r}")
        best += [_best_patch(first + k, image, traced, k, channel) for k, image in enumerate(batch)]
        best = sorted(best, key=lambda patch: -patch.activation)[:n]
    return best


# ---- gradient ascent


class _Ascent(NamedTuple):
    """Settings of the gradient ascent; see activation_images."""

    steps: int
    limits: tuple[float, float]
    rate: float
    smooth: float
    shrink: float
    jitter: int
    seed: int


def _check_ascent(where: str, ascent: _Ascent) -> None:
    for name in "steps", "jitter", "seed":
        whole_number(where, name, getattr(ascent, name), 0)
    for name in "rate", "smooth", "shrink":
        if not getattr(ascent, name) >= 0:
            raise ValidationError(f"{where}: {name} is {getattr(ascent, name)}; use 0 or more")
    if not ascent.limits[0] < ascent.limits[1]:
        raise ValidationError(f"{where}: limits are {ascent.limits}; put the lower one first")


def _ascend(
    where: str, model: Any, layer: str, channels: list[int], shape: tuple[int, ...], ascent: _Ascent
) -> np.ndarray:
    """Return images, each of which excites one channel of a layer."""
    random = np.random.default_rng(ascent.seed)
    images = random.normal(0, NOISE, (len(channels), *shape))
    rate = min(ascent.rate, 1 / max(8 * ascent.smooth + ascent.shrink, 1))  # a longer step would overshoot the penalty
    for step in range(ascent.steps):
        shift = random.integers(-ascent.jitter, ascent.jitter, 2, endpoint=True)
        shifted = np.roll(images, shift, (2, 3))
        gradient = _normalized_gradient(where, model, layer, channels, shifted, central=step == 0)
        penalty = ascent.smooth * _variation_gradient(images) + ascent.shrink * images
        images = (images + rate * (np.roll(gradient, -shift, (2, 3)) - penalty)).clip(*ascent.limits)
    return images


def _normalized_gradient(
    where: str, model: Any, layer: str, channels: list[int], images: np.ndarray, central: bool
) -> np.ndarray:
    """Return the gradient of each unit's activation, with root mean square 1 over the unit's receptive field."""
    run = probe.run_recorded(where, model, images)
    index = layer_index(where, run.layers, layer)
    weights = _select_units(run.layers[index].output, channels, central)
    node = probe.layer_node(where, run, index)
    gradient = probe.compute_gradient(where, node, weights, by=run.image).astype(np.float64)
    squares, pixels = np.square(gradient).sum((1, 2, 3)), np.count_nonzero(gradient, (1, 2, 3))
    size = np.sqrt(squares / np.maximum(pixels, 1))
    return gradient / np.where(size > 0, size, 1)[:, None, None, None]


def _select_units(output: np.ndarray, channels: list[int], central: bool) -> np.ndarray:
    """Return weights of a layer's output: for image k, 1 at the central or the largest unit of map channels[k]."""
    maps = np.array(output)[np.arange(len(channels)), channels]
    sizes = maps.shape[1:]
    weights = np.zeros(output.shape, output.dtype)
    for k, c in enumerate(channels):
        unit = tuple(size // 2 for size in sizes) if central else np.unravel_index(maps[k].argmax(), sizes)
        weights[(k, c, *unit)] = 1
    return weights


def _variation_gradient(images: np.ndarray) -> np.ndarray:
    """Return the gradient of half the sum of squared differences between neighbouring pixels."""
    gradient = np.zeros_like(images)
    for axis in (2, 3):
        differences = np.moveaxis(np.diff(images, axis=axis), axis, 0)
        along_axis = np.moveaxis(gradient, axis, 0)
        along_axis[:-1] -= differences
        along_axis[1:] += differences
    return gradient


# ---- search in real images


def _load_batches(
    where: str, model: Any, images: Any, normalize: tuple[Any, Any] | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of the first image, and images (N, C, H, W), for each batch."""
    if len(images) == 0:
        raise ValidationError(f"{where}: there are 0 images; pass 1 or more")
    first = 0
    for batch in _read_dataset(images, normalize) if isinstance(images, Dataset) else _split_array(where, images):
        yield first, probe.prepare_images(where, model, batch)
        first += len(batch)


def _read_dataset(dataset: Dataset, normalize: tuple[Any, Any] | None) -> Iterator[np.ndarray]:
    for sample in DataLoader(dataset, probe.BATCH, normalize=normalize):
        yield as_array(sample[0] if isinstance(sample, tuple) else sample)


def _split_array(where: str, images: Any) -> Iterator[np.ndarray]:
    images = as_array(images)
    if images.ndim not in (3, 4):
        raise ShapeError(f"{where}: images have shape {images.shape}; pass (N, C, H, W), (N, H, W) or a Dataset")
    images = images if images.ndim == 4 else images[:, None]
    for first in range(0, len(images), probe.BATCH):
        yield images[first : first + probe.BATCH]


def _best_patch(number: int, image: np.ndarray, traced: Layer, k: int, channel: int) -> Patch:
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


def _trace_layer(where: str, model: Any, images: np.ndarray, name: str) -> Layer:
    layers = trace(where, model, probe.prepare_images(where, model, images))
    layer = layers[layer_index(where, layers, name)]
    if layer.output.ndim < 2:
        raise ShapeError(f"{where}: layer {name!r} makes {layer.output.shape}, without channels; choose another layer")
    return layer


# ---- drawing


def _draw_inputs(where: str, title: str, images: np.ndarray, names: list[str]) -> Figure:
    """Draw computed images below their names, on one colour scale with zero in its middle."""
    if len(images) > MOST_PICTURES:
        raise ValidationError(f"{where}: {len(images)} pictures are too many; choose at most {MOST_PICTURES}")
    in_colour = images.shape[1] == 3
    shown = images if in_colour else images.mean(1, keepdims=True)
    norm = style.zero_centred(shown[np.isfinite(shown)])
    colours = GREYS if in_colour else style.SIGNED.with_extremes(bad=style.PALE)
    down, across = style.grid_shape(len(images), ACROSS)
    figure = style.figure(max(5.0, CELL * across + 1.4), (CELL + 0.55) * down + 0.6, title)
    panels = style.add_panels(figure, down, across, len(images))
    for axes, image, name in zip(panels, shown, names, strict=True):
        pixels = _to_colours(image, norm) if in_colour else image[0]
        axes.imshow(pixels, cmap=colours, norm=norm, interpolation="nearest")
        axes.set_title(name, fontsize=style.SMALL)
        style.draw_thin_frame(axes)
    style.colour_bar(figure, ScalarMappable(norm, colours), panels, _scale_label(images.shape[1]))
    return figure


def _scale_label(channels: int) -> str:
    """Return the label of the colour scale of inputs."""
    if channels == 3:
        return "pixel value of each of\nred, green, blue"
    return "pixel value" if channels == 1 else f"pixel value, mean of\n{channels} channels"


def _draw_patch(axes: Axes, patch: Patch, norm: Normalize) -> None:
    axes.imshow(_to_colours(patch.cut(), norm), interpolation="nearest")
    axes.set_title(f"activation {patch.activation:.3g}", fontsize=style.SMALL)
    style.draw_thin_frame(axes)


def _draw_position(axes: Axes, patch: Patch, norm: Normalize) -> None:
    """Draw the whole image with a frame around the patch, and its number and position below it."""
    axes.imshow(_to_colours(patch.pixels, norm), interpolation="nearest")
    H, W = patch.pixels.shape[1:]
    top, left = max(patch.rows.start, 0), max(patch.columns.start, 0)
    height, width = min(patch.rows.stop, H) - top, min(patch.columns.stop, W) - left
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=style.ORANGE, lw=1.8, clip_on=False)
    )
    style.draw_thin_frame(axes)
    position = f"image {patch.image}\nrow {patch.rows.start}\ncolumn {patch.columns.start}"
    axes.set_xlabel(position, fontsize=style.SMALL)


def _to_colours(pixels: np.ndarray, norm: Normalize) -> np.ndarray:
    """Return pixels (C, H, W) as colours (H, W, 3): grey unless C is 3, pale where they are NaN."""
    levels = norm(pixels if len(pixels) == 3 else pixels.mean(0, keepdims=True)).data
    colours = np.moveaxis(np.broadcast_to(levels, (3, *levels.shape[1:])), 0, -1)
    return np.where(np.isnan(colours), to_rgb(style.PALE), colours)
