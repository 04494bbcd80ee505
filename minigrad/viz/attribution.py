"""Pictures of a decision: which pixels speak for a class, by gradients, by the maps of a layer, or by occlusion."""

import unicodedata
from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from minigrad.checks import brief, whole_number
from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.display import choose_display, show_image
from minigrad.viz.formatting import format_number
from minigrad.viz.inputs import as_image_batch, as_single_image, name_classes, uses_model_info
from minigrad.viz.probe import Prediction, Run
from minigrad.viz.tracing import Field, layer_index, named_convolutions

PANEL = 3.0  # inches, longer side of a picture
DARKEST, GREYS = 0.3, 0.6  # how bright black is below a map, and the range from there to white
LEFT_TO_RIGHT = "\u200e"  # an invisible letter, after which text runs on to the right


@uses_model_info
def saliency(
    model: Any,
    image: Any,
    target: int | None = None,
    *,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show how the score of a class would change if a pixel became brighter, beside the image and over it.

    model      a Module that scores classes, (N, C, H, W) -> (N, classes)
    image      (H, W), (C, H, W) or (1, C, H, W)
    target     class number; the predicted class if None
    classes    a name for each class; "class 0", ... if None
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns    Figure

    If the image has one channel, brighter red pixels raise the score and brighter blue pixels lower it.  If it has
    more, the picture shows the largest absolute gradient of the channels: their sum would hide a pixel that should
    become redder and less green.

    Raises   ShapeError        not one image, an image that does not fit the model, or a model without scores
             ValidationError   model is no Module, or target is no class
    Source   Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 3

    >>> from minigrad.models import LeNet5
    >>> figure = saliency(LeNet5(), np.zeros((28, 28)), target=3)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['image', 'gradient of the score', 'over the image']
    """
    gradient, prediction = _compute_saliency("saliency", model, image, target)
    labels = "gradient of the score", "change of the score\nper 1 of what the model reads"
    heading = _title("Saliency", prediction, classes)
    if len(gradient) == 1:
        meaning = "red: a brighter pixel raises the score, blue: it lowers the score"
        return _draw_signed(heading, image, normalize, gradient[0], *labels, meaning)
    largest = np.abs(gradient).max(0)
    labels = labels[0], f"{labels[1]},\nlargest of {len(gradient)} channels,\nwithout sign"
    meaning = "dark: a small change of the pixel's colour changes the score most"
    norm = Normalize(0, largest.max() or 1.0)
    return _draw(heading, image, normalize, largest, *labels, meaning, norm, style.AMOUNT)


@uses_model_info
def saliency_map(model: Any, image: Any, target: int | None = None) -> np.ndarray:
    """Compute the gradient of the score of a class by every pixel.

    model, image, target   as for saliency
    returns   (C, H, W)    change of the score per 1 of pixel value

    Raises   as saliency

    >>> from minigrad.nn import Flatten, Linear, Sequential
    >>> model = Sequential(Flatten(), Linear(4, 2))
    >>> gradient = saliency_map(model, np.zeros((1, 2, 2)), target=1)
    >>> bool((gradient.ravel() == model[1].weight[1].detach().numpy()).all())
    True
    """
    return _compute_saliency("saliency_map", model, image, target)[0]


@uses_model_info
def grad_cam(
    model: Any,
    image: Any,
    layer: str | None = None,
    target: int | None = None,
    *,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show where a layer found evidence for a class, beside the image and over it.

    model      a Module that scores classes, (N, C, H, W) -> (N, classes)
    image      (H, W), (C, H, W) or (1, C, H, W)
    layer      name of a layer that makes maps; the last one with maps of more than one pixel if None
    target     class number; the predicted class if None
    classes    a name for each class; "class 0", ... if None
    normalize  (mean, std) of the image's pixels, to show it in true colours
    returns    Figure

    The heat is the sum of the layer's maps, each weighted by its mean gradient of the score; negative sums become 0.
    A dot marks the centre of each unit's receptive field; beyond the outermost dots nothing was measured.

    Raises   ShapeError        not one image, an image that does not fit the model, or a model without scores
             ValidationError   model is no Module or has no convolution, layer makes no maps, or target is no class
    Source   Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks", equations 1 and 2

    >>> from minigrad.models import LeNet5
    >>> figure = grad_cam(LeNet5(), np.eye(28), "conv1", target=3)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['image', 'evidence in conv1', 'over the image']
    """
    evidence = _compute_grad_cam("grad_cam", model, image, layer, target)
    norm = Normalize(0, evidence.heat.max() or 1.0)
    label = "sum of its maps ×\ntheir mean gradients"
    title = f"evidence in {evidence.layer}" + ("" if evidence.heat.any() else ": none for this class")
    heading = _title("Grad-CAM", evidence.prediction, classes)
    meaning = (
        "dark: evidence for the class; dots: the centres of what the units of the layer see; "
        "beyond them, nothing was measured"
    )
    figure = _draw(heading, image, normalize, evidence.heat, title, label, meaning, norm, style.AMOUNT)
    x, y = np.meshgrid(*evidence.centres[::-1])
    figure.axes[1].plot(x.ravel(), y.ravel(), ".", color="black", markersize=2, scalex=False, scaley=False)
    return figure


@uses_model_info
def grad_cam_map(model: Any, image: Any, layer: str | None = None, target: int | None = None) -> np.ndarray:
    """Compute the weighted sum of a layer's maps, with negative sums set to 0, at every pixel of the image.

    model, image, layer, target   as for grad_cam
    returns   (H, W)   0 and above; interpolated between the centres of the layer's receptive fields; beyond the
                       outermost centres it falls to 0 within one step of the layer

    Raises   as grad_cam

    >>> from minigrad.models import LeNet5
    >>> grad_cam_map(LeNet5(), np.zeros((28, 28)), "conv1").shape
    (28, 28)
    """
    return _compute_grad_cam("grad_cam_map", model, image, layer, target).heat


@uses_model_info
def occlusion(
    model: Any,
    image: Any,
    target: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
    *,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show how much the score of a class falls when a part of the image is hidden, beside the image and over it.

    model    a Module that scores classes, (N, C, H, W) -> (N, classes)
    image    (H, W), (C, H, W) or (1, C, H, W)
    target   class number; the predicted class if None
    size     pixels   side of the square that hides; a sixth of the shorter side of the image if None
    stride   pixels   step between positions of the square, at most its size; a quarter of its size if None
    fill              pixel value of the square; 0 is the mean of normalised images
    classes           a name for each class; "class 0", ... if None
    normalize         (mean, std) of the image's pixels, to show it in true colours
    returns  Figure

    Hiding red pixels makes the score fall; hiding blue pixels makes it rise.

    Raises   ShapeError        not one image, an image that does not fit the model, or a model without scores
             ValidationError   model is no Module, target is no class, or size or stride is out of range
    Source   Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2

    >>> from minigrad.models import LeNet5
    >>> figure = occlusion(LeNet5(), np.zeros((28, 28)), size=7, stride=7)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['image', 'hidden by 7×7 pixels', 'over the image']
    """
    falls, prediction, size = _compute_occlusion("occlusion", model, image, target, size, stride, fill)
    title, label = f"hidden by {size}×{size} pixels", "fall of the score\nwhen hidden"
    square = f"{format_number(fill)}{_name_colour(as_image_batch('occlusion', image)[0], fill, normalize)}"
    meaning = f"red: the score falls when squares of {square} hide the pixel, blue: it rises"
    return _draw_signed(_title("Occlusion", prediction, classes), image, normalize, falls, title, label, meaning)


@uses_model_info
def occlusion_map(
    model: Any,
    image: Any,
    target: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> np.ndarray:
    """Compute how much the score of a class falls when a pixel is hidden: the mean over all squares that hide it.

    model, image, target, size, stride, fill   as for occlusion
    returns   (H, W)   fall of the score

    The last square of a row or column ends at the edge of the image, so every pixel is hidden at least once.

    Raises   as occlusion

    >>> from minigrad.models import LeNet5
    >>> bool((abs(occlusion_map(LeNet5(), np.zeros((28, 28)))) < 1e-6).all())
    True
    """
    return _compute_occlusion("occlusion_map", model, image, target, size, stride, fill)[0]


# ---- numbers


def _compute_saliency(where: str, model: Any, image: Any, target: int | None) -> tuple[np.ndarray, Prediction]:
    run = probe.run_recorded(where, model, as_single_image(where, image))
    prediction = probe.predict(where, run, target)
    return probe.compute_gradient(where, run.root, _target_weights(run, prediction), by=run.image)[0], prediction


def _target_weights(run: Run, prediction: Prediction) -> np.ndarray:
    """Return weights of the scores, (1, classes): 1 for the target, 0 for the others."""
    weights = np.zeros(run.scores.shape, run.scores.dtype)
    weights[0, prediction.target] = 1
    return weights


class _Evidence(NamedTuple):
    """The heat (H, W) of Grad-CAM, the rows and columns of the centres of receptive fields, and the layer's name."""

    heat: np.ndarray
    centres: list[np.ndarray]
    prediction: Prediction
    layer: str


def _compute_grad_cam(where: str, model: Any, image: Any, layer: str | None, target: int | None) -> _Evidence:
    named_convolutions(where, model)
    run = probe.run_recorded(where, model, as_single_image(where, image))
    layer = _last_layer_with_maps(run) if layer is None else layer
    index = layer_index(where, run.layers, layer)
    maps = np.array(run.layers[index].output)
    if layer not in _layers_with_maps(run):
        raise ValidationError(
            f"{where}: layer {brief(layer)} makes {maps.shape}, no maps (1, C, H, W) that the scores depend on; "
            f"choose one of {', '.join(_layers_with_maps(run))}"
        )
    prediction = probe.predict(where, run, target)
    node = probe.layer_node(where, run, index)
    gradient = probe.compute_gradient(where, run.root, _target_weights(run, prediction), by=node)
    heat = np.maximum(np.einsum("c,chw->hw", gradient[0].mean((1, 2)), maps[0]), 0)
    fields, sizes = run.layers[index].fields, run.image.shape[2:]
    centres = [
        _field_centres(None if fields is None else fields[axis], heat.shape[axis], sizes[axis]) for axis in (0, 1)
    ]
    for where_known, length in zip(centres, sizes, strict=True):
        heat = np.array([_interpolate(line, where_known, length) for line in heat.T])
    return _Evidence(heat, centres, prediction, layer)


def _last_layer_with_maps(run: Run) -> str:
    """Return the last layer whose maps have more than one pixel, or the last layer with maps if there is none."""
    larger = [layer.name for layer in run.layers if np.prod(layer.output.shape[2:]) > 1]
    names = _layers_with_maps(run)
    return ([name for name in names if name in larger] or names)[-1]


def _layers_with_maps(run: Run) -> list[str]:
    pairs = zip(run.layers, run.nodes, strict=True)
    return [layer.name for layer, node in pairs if layer.output.ndim == 4 and node is not None]


def _interpolate(line: np.ndarray, centres: np.ndarray, length: int) -> np.ndarray:
    """Return `length` pixels, interpolated between the centres; beyond the outermost they fall to 0 in one step."""
    step = centres[1] - centres[0] if len(centres) > 1 else length / 2
    positions = np.concatenate([[centres[0] - step], centres, [centres[-1] + step]])
    return np.interp(np.arange(length), positions, np.pad(line, 1))


def _field_centres(field: Field | None, count: int, length: int) -> np.ndarray:
    """Return the centre of each output's receptive field, or of equal parts of the image if the field is unknown."""
    outputs = np.arange(count)
    if field is None:
        return (outputs + 0.5) * length / count - 0.5
    return field.start + outputs * field.jump + (field.size - 1) / 2


def _compute_occlusion(
    where: str, model: Any, image: Any, target: int | None, size: int | None, stride: int | None, fill: float
) -> tuple[np.ndarray, Prediction, int]:
    """Return the falls of the score (H, W), the prediction and the side of the square."""
    image = as_single_image(where, image)
    prediction = probe.predict(where, probe.run_recorded(where, model, image), target)
    H, W = image.shape[2:]
    size = whole_number(where, "size", max(1, round(min(H, W) / 6)) if size is None else size, 1, min(H, W))
    stride = whole_number(where, "stride", max(1, size // 4) if stride is None else stride, 1, size)
    squares = [
        np.s_[top : top + size, left : left + size]
        for top, left in product(_square_starts(H, size, stride), _square_starts(W, size, stride))
    ]
    total, count = np.zeros((H, W)), np.zeros((H, W))
    for first in range(0, len(squares), probe.BATCH):
        batch = squares[first : first + probe.BATCH]
        scores = probe.compute_scores(where, model, _hide_squares(image, batch, fill))[:, prediction.target]
        for square, score in zip(batch, scores, strict=True):
            total[square] += prediction.scores[prediction.target] - score
            count[square] += 1
    return total / count, prediction, size


def _hide_squares(image: np.ndarray, squares: list[Any], fill: float) -> np.ndarray:
    """Return a copy of an image (1, C, H, W) for each square, with the square filled."""
    copies = np.repeat(image, len(squares), axis=0)
    for copy, square in zip(copies, squares, strict=True):
        copy[:, *square] = fill
    return copies


def _square_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where the squares start along one axis; the last one ends at the edge."""
    return [*range(0, length - size, stride), length - size]


# ---- drawing


def _draw_signed(
    heading: str, image: Any, normalize: tuple[Any, Any] | None, values: np.ndarray, title: str, label: str,
    meaning: str,
) -> Figure:  # fmt: skip
    return _draw(heading, image, normalize, values, title, label, meaning, style.zero_centred(values), style.SIGNED)


def _draw(
    heading: str, image: Any, normalize: tuple[Any, Any] | None, values: np.ndarray, title: str, label: str,
    meaning: str, norm: Normalize, colours: Colormap,
) -> Figure:  # fmt: skip
    """Draw the image, a map (H, W) with its colour scale, and the map over the image in pale colours.

    Over the image, a value has the more weight the farther it is from 0; the scale holds for the map alone.
    """
    original = as_image_batch("attribution", image)[0]
    height, width = np.array(values.shape) * PANEL / max(values.shape)
    figure = style.figure(3 * max(width, 2.0) + 1.9, max(height, 2.0) + 1.4, heading)
    left, middle, right = figure.subplots(1, 3)
    display = choose_display("attribution", original, normalize)
    show_image(left, original, display)
    left.set_title("image", fontsize=style.LABEL)
    middle.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
    style.colour_bar(figure, ScalarMappable(norm, colours), [middle], label)
    right.imshow(DARKEST + GREYS * display.to_colours(original), interpolation="nearest")
    vmax = norm.vmax or 1.0
    share = np.abs(values) / vmax
    strong = np.sign(values) * (0.5 + 0.5 * share) * vmax  # weak values are transparent instead of pale
    right.imshow(strong, cmap=colours, norm=norm, interpolation="nearest", alpha=0.85 * share)
    for axes, name in ((middle, title), (right, "over the image")):
        axes.set_title(name, fontsize=style.LABEL)
        style.draw_thin_frame(axes)
    figure.supxlabel(meaning, fontsize=style.SMALL)
    return figure


def _name_colour(image: np.ndarray, value: float, normalize: tuple[Any, Any] | None) -> str:
    """Return how an image (C, H, W) shows a number, as in ` (13 % white)`; empty if its colours are not true."""
    display = choose_display("occlusion", image, normalize)
    names = {1: ("white",), 3: ("red", "green", "blue")}.get(len(image), ())
    if display.note or not names:
        return ""
    levels = display.to_pixels(np.full((len(image), 1, 1), value)).ravel()
    colour = ", ".join(f"{100 * level:.0f} % {name}" for name, level in zip(names, levels, strict=True))
    return f" ({colour})"


def _title(method: str, prediction: Prediction, classes: Iterable[Any] | None) -> str:
    """Return a title as in `Saliency: class 7, probability 99.9 %`, with the predicted class if that is another."""
    target, predicted, _, probabilities = prediction
    names = name_classes(method.lower(), classes, len(probabilities))
    title = f"{method}: {names[target]}, probability {100 * probabilities[target]:.1f} %"
    if target == predicted:
        return title
    return f"{title}\nPredicted: {_close_name(names[predicted])}, {100 * probabilities[predicted]:.1f} %"


def _close_name(name: str) -> str:
    """Return a name for use before a number, which would stand before the name if that is Hebrew or Arabic."""
    runs_left = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return name + LEFT_TO_RIGHT if runs_left else name
