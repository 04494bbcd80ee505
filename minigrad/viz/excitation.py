"""Pictures of what excites a unit: inputs found by climbing its gradient, and the real patches it answers to most."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.data import DataLoader, Dataset
from minigrad.errors import ShapeError, ValidationError
from minigrad.viz import probe, style
from minigrad.viz.inputs import as_array, image_shape
from minigrad.viz.tracing import Layer, find, trace

ACROSS = 8  # pictures in a row
CELL = 1.4  # inches across
MOST = 20  # pictures of a figure
GREYS = colormaps["gray"]
START = 0.01  # standard deviation of the noise that the climb starts from


class Patch(NamedTuple):
    """A part of an image that excites a unit.

    image       number of the image
    activation  of the unit there
    rows        of the image, those that the unit sees; below 0 and from H on lies padding
    columns     likewise
    pixels      (C, H, W)  the whole image, as the model took it
    """

    image: int
    activation: float
    rows: range
    columns: range
    pixels: np.ndarray

    def cut(self) -> np.ndarray:
        """What the unit sees, (C, KH, KW); NaN where that is padding."""
        H, W = self.pixels.shape[1:]
        rows, columns = np.array(self.rows)[:, None], np.array(self.columns)
        inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
        return np.where(inside, self.pixels[:, rows.clip(0, H - 1), columns.clip(0, W - 1)], np.nan)


def maximize_activation(
    model: Any, layer: str, channel: int | Sequence[int], input_shape: Sequence[int], **settings: Any
) -> Figure:
    """Show the input that excites a unit most, found by climbing the gradient from noise.

    model        a Module
    layer        name of a layer, or of a function in forward, as trace names them: "conv2", "relu"
    channel      number of a map or of a feature, or a list of them
    input_shape  (C, H, W)  of one image that the model takes
    settings     steps, limits, rate, smooth, shrink, jitter and seed, as for activation_images
    returns      Figure: for each channel the part of the input that the unit sees, with the activation

    Of a map, the unit is the one that answers most; what it sees outside the image, its padding, is pale.

    Raises   as activation_images, and ValidationError for more than 20 channels

    >>> from minigrad.models import LeNet5
    >>> figure = maximize_activation(LeNet5(), "conv1", [0, 3], (1, 28, 28), steps=2)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:2]]
    ['channel 0', 'channel 3']
    """
    images = activation_images(model, layer, channel, input_shape, **settings)
    made = _layer("maximize_activation", model, images, layer)
    channels = np.atleast_1d(channel).tolist()
    patches = [_best(k, image, made, k, c) for k, (image, c) in enumerate(zip(images, channels, strict=True))]
    names = [f"channel {c}\nactivation {patch.activation:.3g}" for c, patch in zip(channels, patches, strict=True)]
    return _sheet(
        "maximize_activation", f"Inputs that excite {layer} most", np.stack([patch.cut() for patch in patches]), names
    )


def prototypes(model: Any, input_shape: Sequence[int], **settings: Any) -> Figure:
    """Show for each class the input that raises its score most: what the model takes to be the purest example.

    model        a Module that scores classes, (N, C, H, W) -> (N, classes)
    input_shape  (C, H, W)  of one image that the model takes
    settings     as for prototype_images
    returns      Figure: a picture for each class, with its score and probability

    Raises   as prototype_images, and ValidationError for more than 20 classes
    Source   Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 2

    >>> from minigrad.models import LeNet5
    >>> figure = prototypes(LeNet5(num_classes=3), (1, 28, 28), steps=2)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:3]]
    ['class 0', 'class 1', 'class 2']
    """
    images = prototype_images(model, input_shape, **settings)
    answers = [probe.answer("prototypes", probe.run("prototypes", model, image), k) for k, image in enumerate(images)]
    names = [
        f"class {k}\nscore {answer.scores[k]:.3g}, {100 * answer.probabilities[k]:.1f} %"
        for k, answer in enumerate(answers)
    ]
    return _sheet("prototypes", "Inputs that raise the score of each class most", images, names)


def top_patches(
    model: Any, images: Any, layer: str, channel: int, n: int = 9, normalize: tuple[Any, Any] | None = None
) -> Figure:
    """Show the parts of real images that excite a unit most, and where in which image they are.

    model      a Module
    images     (N, C, H, W) or (N, H, W)  as the model takes them, or a Dataset of images
    layer      name of a layer, or of a function in forward, as trace names them: "conv2", "relu"
    channel    number of a map or of a feature
    n          number of patches, 1 to 20, from different images
    normalize  (mean, std) of the pixels of a Dataset, as for DataLoader
    returns    Figure: above each patch, as large as the unit's receptive field; below it the image, the patch framed

    What a unit sees outside the image, its padding, is pale.

    Raises   as patch_places, and ValidationError for more than 20 patches

    >>> from minigrad.models import LeNet5
    >>> figure = top_patches(LeNet5(), np.eye(28)[None], "conv1", 2, n=1)
    >>> figure.get_suptitle()
    'Patches that excite conv1, channel 2 most'
    """
    _count("top_patches", n, "patches")
    patches = patch_places(model, images, layer, channel, n, normalize)
    figure = style.figure(max(5.0, 1.3 * len(patches)), 3.9, f"Patches that excite {layer}, channel {channel} most")
    cells = figure.subplots(2, len(patches), squeeze=False)
    low, high = min(patch.pixels.min() for patch in patches), max(patch.pixels.max() for patch in patches)
    for (above, below), patch in zip(cells.T, patches, strict=True):
        _draw_patch(above, patch, Normalize(low, high))
        _draw_place(below, patch, Normalize(low, high))
    cells[0, 0].set_ylabel("what it sees", fontsize=style.LABEL)
    cells[1, 0].set_ylabel("where that is", fontsize=style.LABEL)
    return figure


def activation_images(
    model: Any,
    layer: str,
    channel: int | Sequence[int],
    input_shape: Sequence[int],
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
    steps    number of steps up
    limits   lowest and highest pixel value; with those of real images, (-0.42, 2.82) for MNIST normalised by mean and
             standard deviation, the results look most like them
    rate     pixel value   of one step
    smooth   weight of the total variation, the squared differences of neighbours, 0 for none
    shrink   weight of the squared pixel values, which draws what does not matter to 0
    jitter   pixels   each step moves the image by up to so many, so that no pixel grows by itself
    seed     of the noise at the start and of the jitter
    returns  (K, C, H, W)   an input for each channel

    A step goes up by the gradient of the activation, of a map by that of its largest one, the middle one at first.  It
    is divided by its root mean square over the pixels that the unit sees, so that no setting depends on the size of
    weights.

    Raises   ShapeError        input_shape is not (C, H, W), or does not fit the model
             ValidationError   no Module, no such layer or channel, or a setting out of its range
    Source   Erhan et al. 2009, "Visualizing higher-layer features of a deep network"; Mahendran & Vedaldi 2015,
             "Understanding deep image representations by inverting them" (total variation, jitter)

    >>> from minigrad.models import LeNet5
    >>> activation_images(LeNet5(), "conv2", 3, (1, 28, 28), steps=2).shape
    (1, 1, 28, 28)
    """
    climb = _Climb(steps, limits, rate, smooth, shrink, jitter, seed)
    _check(climb)
    channels = np.atleast_1d(channel).tolist()
    made = _layer("activation_images", model, np.zeros(image_shape("activation_images", input_shape)), layer).output
    for c in channels:
        probe.number("activation_images", "channel", c, made.shape[1], f"layer {layer!r}")
    return _climbed(model, layer, channels, tuple(input_shape), climb)


def prototype_images(model: Any, input_shape: Sequence[int], **settings: Any) -> np.ndarray:
    """Compute for each class the input that raises its score most.

    model, input_shape   as for prototypes
    settings             steps, limits, rate, smooth, shrink, jitter and seed, as for activation_images
    returns  (classes, C, H, W)

    Raises   as activation_images, and ShapeError for a model without scores

    >>> from minigrad.models import LeNet5
    >>> prototype_images(LeNet5(), (1, 28, 28), steps=2).shape
    (10, 1, 28, 28)
    """
    blank = np.zeros(image_shape("prototype_images", input_shape))
    last = trace("prototype_images", model, probe.fitting("prototype_images", model, blank))[-1]
    if last.output.ndim != 2:
        raise ShapeError(
            f"prototype_images: the model returns shape {last.output.shape}, not (N, classes); "
            "pass one that scores classes"
        )
    return activation_images(model, last.name, range(last.output.shape[1]), input_shape, **settings)


def patch_places(
    model: Any, images: Any, layer: str, channel: int, n: int = 9, normalize: tuple[Any, Any] | None = None
) -> list[Patch]:
    """Find the parts of real images that excite a unit most: of every image the best place, and of these the best n.

    model, images, layer, channel, normalize   as for top_patches
    n        number of patches
    returns  at most n Patches, the most exciting first; of equal ones the first

    Raises   ShapeError        images have another number of axes, or do not fit the model
             ValidationError   no Module, no images, no such layer or channel, or n below 1

    >>> from minigrad.nn import Conv2d, Sequential
    >>> patch = patch_places(Sequential(Conv2d(1, 2, 3)), np.zeros((4, 8, 8)), "0", 1, n=1)[0]
    >>> patch.image, patch.rows, patch.columns, patch.cut().shape
    (0, range(0, 3), range(0, 3), (1, 3, 3))
    """
    _at_least("patch_places", "n", n, 1)
    best: list[Patch] = []
    for first, part in _parts(model, images, normalize):
        made = _layer("patch_places", model, part, layer)
        probe.number("patch_places", "channel", channel, made.output.shape[1], f"layer {layer!r}")
        best += [_best(first + k, image, made, k, channel) for k, image in enumerate(part)]
        best = sorted(best, key=lambda patch: -patch.activation)[:n]
    return best


# ---- the climb


class _Climb(NamedTuple):
    """Settings of the climb; see activation_images."""

    steps: int
    limits: tuple[float, float]
    rate: float
    smooth: float
    shrink: float
    jitter: int
    seed: int


def _check(climb: _Climb) -> None:
    for name in "steps", "rate", "smooth", "shrink", "jitter", "seed":
        _at_least("activation_images", name, getattr(climb, name), 0)
    if not climb.limits[0] < climb.limits[1]:
        raise ValidationError(f"activation_images: limits are {climb.limits}; put the lower one first")


def _climbed(model: Any, layer: str, channels: list[int], shape: tuple[int, ...], climb: _Climb) -> np.ndarray:
    """Images, each of which excites one channel of a layer."""
    random = np.random.default_rng(climb.seed)
    images = random.normal(0, START, (len(channels), *shape))
    rate = min(climb.rate, 1 / max(8 * climb.smooth + climb.shrink, 1))  # with longer steps the pull overshoots
    for step in range(climb.steps):
        shift = random.integers(-climb.jitter, climb.jitter, 2, endpoint=True)
        up = _uphill(model, layer, channels, np.roll(images, shift, (2, 3)), middle=step == 0)
        pull = climb.smooth * _roughness_slope(images) + climb.shrink * images
        images = (images + rate * (np.roll(up, -shift, (2, 3)) - pull)).clip(*climb.limits)
    return images


def _uphill(model: Any, layer: str, channels: list[int], images: np.ndarray, middle: bool) -> np.ndarray:
    """The direction in which each unit's activation grows fastest, of root mean square 1 over what the unit sees."""
    run = probe.run("activation_images", model, images)
    place = find("activation_images", run.layers, layer)
    weights = _choice(run.layers[place].output, channels, middle)
    node = probe.node("activation_images", run, place)
    slopes = probe.slope("activation_images", node, weights, by=run.image).astype(np.float64)
    squares, seen = np.square(slopes).sum((1, 2, 3)), np.count_nonzero(slopes, (1, 2, 3))
    size = np.sqrt(squares / np.maximum(seen, 1))
    return slopes / np.where(size > 0, size, 1)[:, None, None, None]


def _choice(made: np.ndarray, channels: list[int], middle: bool) -> np.ndarray:
    """Weights like a layer's output: of image k, 1 for the largest or the middle unit of the map channels[k]."""
    maps = np.array(made)[np.arange(len(channels)), channels]
    sizes = maps.shape[1:]
    weights = np.zeros(made.shape, made.dtype)
    for k, c in enumerate(channels):
        place = tuple(size // 2 for size in sizes) if middle else np.unravel_index(maps[k].argmax(), sizes)
        weights[(k, c, *place)] = 1
    return weights


def _roughness_slope(images: np.ndarray) -> np.ndarray:
    """The gradient of half the sum of squared differences between neighbours."""
    slope = np.zeros_like(images)
    for axis in (2, 3):
        steps = np.moveaxis(np.diff(images, axis=axis), axis, 0)
        moved = np.moveaxis(slope, axis, 0)
        moved[:-1] -= steps
        moved[1:] += steps
    return slope


# ---- the search


def _parts(model: Any, images: Any, normalize: tuple[Any, Any] | None) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first image, and images (N, C, H, W), again and again."""
    if len(images) == 0:
        raise ValidationError("patch_places: there are 0 images; pass 1 or more")
    parts = _read(images, normalize) if isinstance(images, Dataset) else _sliced(as_array(images))
    first = 0
    for part in parts:
        yield first, probe.fitting("patch_places", model, part)
        first += len(part)


def _read(dataset: Dataset, normalize: tuple[Any, Any] | None) -> Iterator[np.ndarray]:
    for sample in DataLoader(dataset, probe.PART, normalize=normalize):
        yield as_array(sample[0] if isinstance(sample, tuple) else sample)


def _sliced(images: np.ndarray) -> Iterator[np.ndarray]:
    if images.ndim not in (3, 4):
        raise ShapeError(f"patch_places: images have shape {images.shape}; pass (N, C, H, W), (N, H, W) or a Dataset")
    images = images if images.ndim == 4 else images[:, None]
    for first in range(0, len(images), probe.PART):
        yield images[first : first + probe.PART]


def _best(number: int, image: np.ndarray, made: Layer, k: int, channel: int) -> Patch:
    """The most exciting patch of image k of those that a layer saw."""
    values = np.array(made.output[k, channel])
    rows, columns = _seen(made, int(values.argmax()), image.shape[1:])
    return Patch(number, float(values.max()), rows, columns, image)


def _seen(made: Layer, place: int, sizes: tuple[int, ...]) -> tuple[range, range]:
    """Rows and columns that a place of a map sees, all of the image where the layer's fields are not known."""
    if made.fields is None:
        return range(sizes[0]), range(sizes[1])
    at = np.unravel_index(place, made.output.shape[2:])
    starts = [field.start + int(i) * field.jump for field, i in zip(made.fields, at, strict=True)]
    rows, columns = (range(start, start + field.size) for field, start in zip(made.fields, starts, strict=True))
    return rows, columns


def _layer(where: str, model: Any, images: np.ndarray, name: str) -> Layer:
    layers = trace(where, model, probe.fitting(where, model, images))
    found = layers[find(where, layers, name)]
    if found.output.ndim < 2:
        raise ShapeError(f"{where}: layer {name!r} makes {found.output.shape}, without channels; choose another layer")
    return found


def _at_least(where: str, name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValidationError(f"{where}: {name} is {value}; use {least} or more")


def _count(where: str, count: int, what: str) -> None:
    if count > MOST:
        raise ValidationError(f"{where}: {count} {what} are too many for one picture; choose at most {MOST}")


# ---- the pictures


def _sheet(where: str, title: str, images: np.ndarray, names: list[str]) -> Figure:
    """Computed images under their names, on one scale with zero in its middle."""
    _count(where, len(images), "pictures")
    shown = images if images.shape[1] == 3 else images.mean(1, keepdims=True)
    norm, colours = (
        style.zero_centred(shown[np.isfinite(shown)]),
        GREYS if images.shape[1] == 3 else style.SIGNED.with_extremes(bad=style.PALE),
    )
    down = -(-len(images) // ACROSS)
    across = -(-len(images) // down)
    figure = style.figure(max(5.0, CELL * across + 1.4), (CELL + 0.55) * down + 0.6, title)
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for axes, image, name in zip(cells, shown, names, strict=False):
        pixels = _coloured(image, norm) if len(image) == 3 else image[0]
        axes.imshow(pixels, cmap=colours, norm=norm, interpolation="nearest")
        axes.set_title(name, fontsize=style.SMALL)
        probe.frame(axes)
    for axes in cells[len(images) :]:
        axes.set_axis_off()
    style.colour_bar(figure, ScalarMappable(norm, colours), list(cells), _meaning(images.shape[1]))
    return figure


def _meaning(channels: int) -> str:
    """What the colours of a sheet say."""
    if channels == 3:
        return "pixel value of each of\nred, green, blue"
    return "pixel value" if channels == 1 else f"pixel value, mean of\n{channels} channels"


def _draw_patch(axes: Axes, patch: Patch, norm: Normalize) -> None:
    axes.imshow(_coloured(patch.cut(), norm), interpolation="nearest")
    axes.set_title(f"activation {patch.activation:.3g}", fontsize=style.SMALL)
    probe.frame(axes)


def _draw_place(axes: Axes, patch: Patch, norm: Normalize) -> None:
    """The whole image, with a frame around the patch, and its number and place below."""
    axes.imshow(_coloured(patch.pixels, norm), interpolation="nearest")
    H, W = patch.pixels.shape[1:]
    top, left = max(patch.rows.start, 0), max(patch.columns.start, 0)
    height, width = min(patch.rows.stop, H) - top, min(patch.columns.stop, W) - left
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=style.ORANGE, lw=1.8, clip_on=False)
    )
    probe.frame(axes)
    place = f"image {patch.image}\nrow {patch.rows.start}\ncolumn {patch.columns.start}"
    axes.set_xlabel(place, fontsize=style.SMALL)


def _coloured(pixels: np.ndarray, norm: Normalize) -> np.ndarray:
    """Real pixels as colours (H, W, 3), grey where there are not three channels; pale where there is none."""
    levels = norm(pixels if len(pixels) == 3 else pixels.mean(0, keepdims=True)).data
    colours = np.moveaxis(np.broadcast_to(levels, (3, *levels.shape[1:])), 0, -1)
    return np.where(np.isnan(colours), to_rgb(style.PALE), colours)
