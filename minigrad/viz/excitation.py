"""Inputs that excite a unit or raise the score of a class, found by gradient ascent."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad.checks import brief, whole_number
from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, show_image, to_numbers
from minigrad.viz.formatting import format_number, format_shape
from minigrad.viz.inputs import (
    as_image_shape,
    as_labelled_images,
    check_index,
    check_labels,
    check_scores,
    name_classes,
    uses_model_info,
)
from minigrad.viz.patches import MOST_PICTURES, best_patch, split_array, trace_layer
from minigrad.viz.tracing import layer_index, trace

ACROSS = 8  # pictures in a row
CELL = 1.4  # inches across
LETTERS = 24  # in a line above or below a picture
NOISE = 0.01  # standard deviation of the initial pixels
UNKNOWN_LIMITS = (-2.0, 2.0)  # of pixels, where neither images nor normalisation are known


@uses_model_info
def maximize_activation(
    model: Any,
    layer: str,
    channel: int | Sequence[int],
    input_shape: Sequence[int] | None = None,
    *,
    images: Any = None,
    normalize: tuple[Any, Any] | None = None,
    **settings: Any,
) -> Figure:
    """Show inputs that excite units, found by gradient ascent.

    model        a Module
    layer        name of a layer, or of a function called in a forward: "conv2", "relu"
    channel      number of a map or of a feature, or a list of numbers
    input_shape  (C, H, W)  of one image; that of `images` if None
    images       (N, C, H, W)  real images, as for activation_images
    normalize    (mean, std) of pixels from 0 to 1, to show the inputs in true colours
    settings     steps, limits, rate, smooth, shrink, jitter, starts and seed, as for activation_images
    returns      Figure: for each channel the part of the input in the unit's receptive field, with the activation

    The unit of a map is the one with the largest activation.  Padding in its receptive field is pale.  If a real image
    excites the unit more, the picture says so: the ascent is local, and keeps pixels smooth.

    Raises   as activation_images, and ValidationError for more than 20 channels

    >>> from minigrad.models import LeNet5
    >>> figure = maximize_activation(LeNet5(), "conv1", [0, 3], (1, 28, 28), steps=2)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:2]]
    ['channel 0', 'channel 3']
    """
    where = "maximize_activation"
    channels = np.atleast_1d(channel).tolist()
    _check_count(where, len(channels))
    found = activation_images(model, layer, channel, input_shape, images=images, normalize=normalize, **settings)
    traced = trace_layer(where, model, found, layer)
    patches = [best_patch(k, image, traced, k, c) for k, (image, c) in enumerate(zip(found, channels, strict=True))]
    real = _best_real(where, model, layer, channels, images)
    cells = [
        _Cell(
            patch.cut(),
            f"channel {c}\nactivation {format_number(patch.activation, '.3g')}",
            _compare(patch.activation, best),
        )
        for patch, c, best in zip(patches, channels, real.values, strict=True)
    ]
    display = choose_display(where, found if images is None else real.images, normalize)
    _, *field = cells[0].image.shape
    title = f"Inputs made by gradient ascent to excite {layer}:\nthe {format_shape(field)} pixels that a unit sees"
    return _draw_cells(title, [cells], display)


@uses_model_info
def prototypes(
    model: Any,
    input_shape: Sequence[int] | None = None,
    *,
    images: Any = None,
    labels: Any = None,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
    **settings: Any,
) -> Figure:
    """Show for each class an input made by gradient ascent to raise its score, above the best real image.

    model        a Module that scores classes, (N, C, H, W) -> (N, classes)
    input_shape  (C, H, W)  of one image; that of `images` if None
    images       (N, C, H, W)  real images, for limits, starts and comparison; None to show computed inputs alone
    labels       (N,)          class numbers of the images, to tell the true class of each real image
    classes      a name for each class; "class 0", ... if None
    normalize    (mean, std) of pixels from 0 to 1, to show the inputs in true colours
    settings     as for prototype_images
    returns      Figure: a picture for each class, with its score and probability

    Where the ascent failed, because the model takes its result for another class or gives a real image a higher score,
    the text is orange and says so.  Where the model takes the best real image for another class, its text says so.

    Raises   as prototype_images, and ValidationError for more than 20 classes, labels without images, or a label
             that is no class
             ShapeError   another number of labels than of images
    Source   Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 2

    >>> from minigrad.models import LeNet5
    >>> figure = prototypes(LeNet5(num_classes=3), (1, 28, 28), steps=2, classes=["cat", "dog", "owl"])
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:3]]
    ['cat', 'dog', 'owl']
    """
    where = "prototypes"
    found = prototype_images(model, input_shape, images=images, normalize=normalize, **settings)
    _check_count(where, len(found))
    names = name_classes(where, classes, len(found))
    truths = _name_truths(where, images, labels, names)
    probabilities = probe.compute_probabilities(where, model, found)
    scores, taken = probe.compute_scores(where, model, found), probabilities.argmax(1)
    last = trace(where, model, found[:1])[-1].name
    real = _best_real(where, model, last, range(len(found)), images)
    cells = []
    for k, name in enumerate(names):
        failures = [f"taken for {names[taken[k]]}"] if taken[k] != k else []
        failures += [_compare(scores[k, k], real.values[k])]
        text = f"{name}\nscore {format_number(scores[k, k], '.3g')}, {100 * probabilities[k, k]:.1f} %"
        cells.append(_Cell(found[k], text, "\n".join(filter(None, failures))))
    rows = [cells] if images is None else [cells, _describe_real(where, model, real, names, truths)]
    failed = sum(bool(cell.failure) for cell in cells)
    title = "Inputs made by gradient ascent to raise the score of each class,\nwith its score and probability"
    note = f"\n(failed for {failed} of {len(cells)}: orange)" if failed else ""
    return _draw_cells(title + note, rows, choose_display(where, found if images is None else real.images, normalize))


@uses_model_info
def activation_images(
    model: Any,
    layer: str,
    channel: int | Sequence[int],
    input_shape: Sequence[int] | None = None,
    *,
    images: Any = None,
    normalize: tuple[Any, Any] | None = None,
    steps: int = 200,
    limits: tuple[Any, Any] | None = None,
    rate: float = 0.1,
    smooth: float = 0.2,
    shrink: float = 0.1,
    jitter: int = 2,
    starts: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Compute inputs that excite units more than their neighbours do: a local maximum, not the largest of all.

    model, layer, channel, input_shape   as for maximize_activation
    images   (N, C, H, W) or (N, H, W)   real images; the ascent also starts from the one that excites the unit most
    normalize  (mean, std) of pixels from 0 to 1
    steps    number of gradient steps
    limits   lowest and highest pixel value, each a number or one for each channel.  If None, those of `images`; without
             images, black and white by `normalize`; without it, -2 and 2
    rate     pixel value   length of one step
    smooth   weight of the total variation, the squared differences of neighbouring pixels; 0 for none
    shrink   weight of the squared pixel values, which moves irrelevant pixels to 0
    jitter   pixels   largest shift of the image in each step; it keeps single pixels from growing alone
    starts   count    ascents from noise; of all results, that with the largest activation is returned
    seed     of the initial noise and of the jitter
    returns  (K, C, H, W)   an input for each channel, with the dtype of the model's parameters

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
    shape = as_image_shape(where, _shape_of(input_shape, images))
    limits = _choose_limits(where, shape, images, normalize) if limits is None else limits
    ascent = _Ascent(steps, _as_limits(where, limits, shape[0]), rate, smooth, shrink, jitter, starts, seed)
    _check_ascent(where, ascent)
    channels = np.atleast_1d(channel).tolist()
    output = trace_layer(where, model, np.zeros(shape), layer).output
    for c in channels:
        check_index(where, "channel", c, output.shape[1], f"layer {brief(layer)}")
    begin = _make_starts(where, model, layer, channels, shape, images, ascent)
    found = _ascend(where, model, layer, channels * len(begin), begin.reshape(-1, *shape), ascent)
    found = probe.prepare_images(where, model, found).reshape(begin.shape)
    best = np.stack([_excitements(where, model, layer, row) for row in found])[:, range(len(channels)), channels]
    return found[best.argmax(0), range(len(channels))]


@uses_model_info
def prototype_images(
    model: Any,
    input_shape: Sequence[int] | None = None,
    *,
    images: Any = None,
    normalize: tuple[Any, Any] | None = None,
    **settings: Any,
) -> np.ndarray:
    """Compute for each class an input with a large score.

    model, input_shape, images   as for prototypes
    normalize  (mean, std) of pixels from 0 to 1
    settings   steps, limits, rate, smooth, shrink, jitter, starts and seed, as for activation_images
    returns    (classes, C, H, W), with the dtype of the model's parameters

    Raises   as activation_images, and ShapeError for a model without scores

    >>> from minigrad.models import LeNet5
    >>> prototype_images(LeNet5(), (1, 28, 28), steps=2).shape
    (10, 1, 28, 28)
    """
    where = "prototype_images"
    blank = np.zeros(as_image_shape(where, _shape_of(input_shape, images)))
    last = trace(where, model, probe.prepare_images(where, model, blank))[-1]
    check_scores(where, last.output.shape, 1)
    return activation_images(
        model, last.name, range(last.output.shape[1]), blank.shape, images=images, normalize=normalize, **settings
    )


# ---- gradient ascent


class _Ascent(NamedTuple):
    """Settings of the gradient ascent; see activation_images."""

    steps: int
    limits: tuple[np.ndarray, np.ndarray]
    rate: float
    smooth: float
    shrink: float
    jitter: int
    starts: int
    seed: int


def _shape_of(input_shape: Any, images: Any) -> Any:
    """Return the shape of one image: `input_shape`, or that of the images if it is None."""
    if input_shape is not None or images is None:
        return input_shape
    shape = tuple(images.shape[1:])
    return shape if len(shape) == 3 else (1, *shape)


def _choose_limits(
    where: str, shape: tuple[int, ...], images: Any, normalize: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """Return the lowest and the highest pixel value of each channel."""
    if images is not None:
        pixels = np.concatenate(list(split_array(where, images)))
        return pixels.min((0, 2, 3)), pixels.max((0, 2, 3))
    if normalize is not None:
        display = choose_display(where, np.zeros(shape), normalize)
        return to_numbers(display, 0.0), to_numbers(display, 1.0)
    return UNKNOWN_LIMITS


def _as_limits(where: str, limits: tuple[Any, Any], C: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.asarray(limit, np.float64).reshape(-1, 1, 1) for limit in limits)
    if not {low.size, high.size} <= {1, C} or not (low < high).all():
        raise ValidationError(
            f"{where}: limits are {limits}; put the lower one first, each a number or an array of {C}"
        )
    return low, high


def _check_ascent(where: str, ascent: _Ascent) -> None:
    for name in "steps", "jitter", "seed":
        whole_number(where, name, getattr(ascent, name), 0)
    whole_number(where, "starts", ascent.starts, 1)
    for name in "rate", "smooth", "shrink":
        if not getattr(ascent, name) >= 0:
            raise ValidationError(f"{where}: {name} is {getattr(ascent, name)}; use 0 or more")


def _make_starts(
    where: str, model: Any, layer: str, channels: list[int], shape: tuple[int, ...], images: Any, ascent: _Ascent
) -> np.ndarray:
    """Return the images from which the ascents start, (starts, K, C, H, W): noise, and the best real images."""
    random = np.random.default_rng(ascent.seed)
    noise = random.normal(0, NOISE, (ascent.starts, len(channels), *shape))
    if images is None:
        return noise
    return np.concatenate([noise, _best_real(where, model, layer, channels, images).images[None]])


def _ascend(where: str, model: Any, layer: str, channels: list[int], images: np.ndarray, ascent: _Ascent) -> np.ndarray:
    """Return images, each of which excites one channel of a layer."""
    random = np.random.default_rng(ascent.seed)
    rate = min(ascent.rate, 1 / max(8 * ascent.smooth + ascent.shrink, 1))  # a longer step would overshoot the penalty
    for step in range(ascent.steps):
        shift = random.integers(-ascent.jitter, ascent.jitter, 2, endpoint=True)
        shifted = np.roll(images, shift, (2, 3))
        gradient = _normalized_gradient(where, model, layer, channels, shifted, central=step == 0)
        penalty = ascent.smooth * _variation_gradient(images) + ascent.shrink * images
        images = (images + rate * (np.roll(gradient, -shift, (2, 3)) - penalty)).clip(*ascent.limits)
    return images.clip(*ascent.limits)


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


# ---- real images


class _Real(NamedTuple):
    """For each of K channels, the real image that excites it most, (K, C, H, W), its activation and number (K,)."""

    images: np.ndarray
    values: np.ndarray
    numbers: np.ndarray


def _best_real(where: str, model: Any, layer: str, channels: Sequence[int], images: Any) -> _Real:
    """Return the best real images; without images, activations of minus infinity."""
    if images is None:
        return _Real(np.zeros(0), np.full(len(channels), -np.inf), np.zeros(0, np.int64))
    batches = [probe.prepare_images(where, model, batch) for batch in split_array(where, images)]
    values = np.concatenate([_excitements(where, model, layer, batch) for batch in batches])[:, channels]
    numbers = values.argmax(0)
    return _Real(np.concatenate(batches)[numbers], values.max(0), numbers)


def _excitements(where: str, model: Any, layer: str, images: np.ndarray) -> np.ndarray:
    """Return the largest activation of each channel for each image, (N, channels)."""
    output = np.asarray(trace_layer(where, model, images, layer).output)
    return output.reshape(*output.shape[:2], -1).max(2)


def _compare(made: float, real: float) -> str:
    return f"a real image has {format_number(real, '.3g')}" if real > made else ""


def _name_truths(where: str, images: Any, labels: Any, names: list[str]) -> list[str] | None:
    """Return the name of the true class of each image, or None if the labels are not known."""
    if labels is None:
        return None
    if images is None:
        raise ValidationError(f"{where}: labels are given without images; pass the images that they belong to")
    _, numbers = as_labelled_images(where, images, labels)
    check_labels(where, numbers, len(names))
    return [names[k] for k in numbers]


def _describe_real(where: str, model: Any, real: _Real, names: list[str], truths: list[str] | None) -> list["_Cell"]:
    """Return cells of the best real images, with the score and the probability of the class they are best for."""
    probabilities = probe.compute_probabilities(where, model, real.images)
    cells = []
    for k, (image, score, number) in enumerate(zip(*real, strict=True)):
        text = "best real image" if truths is None else f"best real image\ntrue: {truths[number]}"
        taken = probabilities[k].argmax()
        text += f"\ntaken for {names[taken]}" if taken != k else ""
        text += f"\nscore {format_number(score, '.3g')}, {100 * probabilities[k, k]:.1f} %"
        cells.append(_Cell(image, text, ""))
    return cells


# ---- drawing


class _Cell(NamedTuple):
    """An image (C, H, W), the text above it, and what failed; empty if nothing did."""

    image: np.ndarray
    text: str
    failure: str


def _check_count(where: str, count: int) -> None:
    if count > MOST_PICTURES:
        raise ValidationError(f"{where}: {count} pictures are too many; choose at most {MOST_PICTURES}")


def _draw_cells(title: str, rows: list[list[_Cell]], display: Display) -> Figure:
    """Draw images below their text, in rows of which all cells at one position belong together."""
    rows = [
        [cell._replace(text=style.wrap(cell.text, LETTERS), failure=style.wrap(cell.failure, LETTERS)) for cell in row]
        for row in rows
    ]
    cells = [cell for row in rows for cell in row]
    C, H, W = cells[0].image.shape
    lines = [f"{cell.text}\n{cell.failure}" for cell in cells]
    figure, panels = style.gallery(title, lines, len(rows[0]), ACROSS, CELL, H / W, rows=len(rows))
    for line, row in zip(panels, rows, strict=True):
        for axes, cell in zip(line, row, strict=True):
            _draw_cell(axes, cell, display)
    padding = "pale: padding" if any(np.isnan(cell.image).any() for cell in cells) else ""
    what = "mean of the channels" if C not in (1, 3) else display.note.replace("\n", " ")
    if padding or what:
        figure.supxlabel("; ".join(filter(None, (padding, what))), fontsize=style.SMALL)
    return figure


def _draw_cell(axes: Axes, cell: _Cell, display: Display) -> None:
    show_image(axes, cell.image, display._replace(note=""))
    axes.set_title(cell.text, fontsize=style.SMALL)
    if cell.failure:
        axes.set_xlabel(cell.failure, fontsize=style.SMALL, color=style.VERMILION)
        axes.spines[:].set(color=style.VERMILION, linewidth=1.6)
