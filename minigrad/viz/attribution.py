"""Pictures of a decision: which pixels of an image speak for a class, by gradients, by a layer's maps, by hiding."""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.tracing import Field, Fields, batch, convolutions, find

PANEL = 3.6  # inches across


def saliency(model: Any, image: Any, target: int | None = None) -> Figure:
    """Show how the score of a class would change if a pixel became brighter, beside the image.

    model    a Module that scores classes, (N, C, H, W) -> (N, classes)
    image    (H, W), (C, H, W) or (1, C, H, W)  as the model takes it
    target   class number; None takes the predicted class
    returns  Figure

    Red pixels speak for the class, blue ones against it.  Where an image has several channels, all become brighter.

    Raises   ShapeError        more than one image, one that does not fit the model, or a model without scores
             ValidationError   no Module, or there is no such class
    Source   Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 3

    >>> from minigrad.models import LeNet5
    >>> figure = saliency(LeNet5(), np.zeros((28, 28)), target=3)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['image', 'gradient of the score']
    """
    slopes, answer = _saliency("saliency", model, image, target)
    label = "change of the score\nper 1 of pixel value" + (",\nsum of channels" if len(slopes) > 1 else "")
    return _signed("Saliency", image, slopes.sum(0), "gradient of the score", label, answer)


def saliency_map(model: Any, image: Any, target: int | None = None) -> np.ndarray:
    """Compute the gradient of the score of a class by every pixel.

    model, image, target   as for saliency
    returns   (C, H, W)    change of the score per 1 of pixel value

    Raises   as saliency

    >>> from minigrad.nn import Flatten, Linear, Sequential
    >>> model = Sequential(Flatten(), Linear(4, 2))
    >>> slopes = saliency_map(model, np.zeros((1, 2, 2)), target=1)
    >>> bool((slopes.ravel() == model[1].weight[1].detach().numpy()).all())
    True
    """
    return _saliency("saliency_map", model, image, target)[0]


def grad_cam(model: Any, image: Any, layer: str | None = None, target: int | None = None) -> Figure:
    """Show where a layer saw what speaks for a class, beside the image.

    model    a Module that scores classes, (N, C, H, W) -> (N, classes)
    image    (H, W), (C, H, W) or (1, C, H, W)  as the model takes it
    layer    name of a layer that makes maps; None takes the last one of more than a pixel
    target   class number; None takes the predicted class
    returns  Figure

    The maps of the layer are added, each by the mean gradient of the score by it; what is negative is left out.

    Raises   ShapeError        more than one image, one that does not fit the model, or a model without scores
             ValidationError   no Module, no convolution, no such layer or class, or a layer that makes no maps
    Source   Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks", equations 1 and 2

    >>> from minigrad.models import LeNet5
    >>> figure = grad_cam(LeNet5(), np.eye(28), "conv1", target=3)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['image', 'what conv1 saw']
    """
    heat, answer, layer = _grad_cam("grad_cam", model, image, layer, target)
    norm = Normalize(0, heat.max() or 1.0)
    label = "sum of its maps ×\ntheir mean gradients"
    title = f"what {layer} saw" + ("" if heat.any() else ": nothing for this class")
    return _picture(_heading("Grad-CAM", answer), image, heat, title, label, norm, style.AMOUNT)


def grad_cam_map(model: Any, image: Any, layer: str | None = None, target: int | None = None) -> np.ndarray:
    """Compute the weighted sum of a layer's maps, without what is negative, for every pixel of the image.

    model, image, layer, target   as for grad_cam
    returns   (H, W)   0 and above; between the middles of the layer's receptive fields it is interpolated

    Raises   as grad_cam

    >>> from minigrad.models import LeNet5
    >>> grad_cam_map(LeNet5(), np.zeros((28, 28)), "conv1").shape
    (28, 28)
    """
    return _grad_cam("grad_cam_map", model, image, layer, target)[0]


def occlusion(
    model: Any,
    image: Any,
    target: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> Figure:
    """Show how much the score of a class falls when a part of the image is hidden, beside the image.

    model    a Module that scores classes, (N, C, H, W) -> (N, classes)
    image    (H, W), (C, H, W) or (1, C, H, W)  as the model takes it
    target   class number; None takes the predicted class
    size     pixels   side of the square that hides; a sixth of the shorter side of the image if None
    stride   pixels   step between its places; a quarter of its size if None
    fill              pixel value of the square; 0 is the mean of normalised images
    returns  Figure

    Red is what the score needs: hiding it makes the score fall.  Hiding what is blue makes it rise.

    Raises   ShapeError        more than one image, one that does not fit the model, or a model without scores
             ValidationError   no Module, no such class, or a size or stride out of its range
    Source   Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2

    >>> from minigrad.models import LeNet5
    >>> figure = occlusion(LeNet5(), np.zeros((28, 28)), size=7, stride=7)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['image', 'hidden by 7×7 pixels']
    """
    falls, answer, side = _occlusion("occlusion", model, image, target, size, stride, fill)
    return _signed(
        "Occlusion", image, falls, f"hidden by {side}×{side} pixels", "fall of the score\nwhen hidden", answer
    )


def occlusion_map(
    model: Any,
    image: Any,
    target: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> np.ndarray:
    """Compute how much the score of a class falls while each pixel is hidden: the mean over the squares that hide it.

    model, image, target, size, stride, fill   as for occlusion
    returns   (H, W)   fall of the score

    The last square of a row or column ends at the edge of the image, so that every pixel is hidden by one or more.

    Raises   as occlusion

    >>> from minigrad.models import LeNet5
    >>> bool((abs(occlusion_map(LeNet5(), np.zeros((28, 28)))) < 1e-6).all())
    True
    """
    return _occlusion("occlusion_map", model, image, target, size, stride, fill)[0]


# ---- the numbers


def _saliency(where: str, model: Any, image: Any, target: int | None) -> tuple[np.ndarray, probe.Answer]:
    run = probe.run(where, model, probe.one(where, image))
    answer = probe.answer(where, run, target)
    return probe.slope(where, run.root, _only(run, answer), by=run.image)[0], answer


def _only(run: probe.Run, answer: probe.Answer) -> np.ndarray:
    """Weights of the scores, (1, classes): 1 for the target."""
    weights = np.zeros(run.scores.shape, run.scores.dtype)
    weights[0, answer.target] = 1
    return weights


def _grad_cam(
    where: str, model: Any, image: Any, layer: str | None, target: int | None
) -> tuple[np.ndarray, probe.Answer, str]:
    convolutions(where, model)
    run = probe.run(where, model, probe.one(where, image))
    layer = _last_maps(run) if layer is None else layer
    place = find(where, run.layers, layer)
    maps = np.array(run.layers[place].output)
    if layer not in _with_maps(run):
        raise ValidationError(
            f"{where}: layer {layer!r} makes {maps.shape}, no maps (1, C, H, W) that the scores depend on; "
            f"choose one of {', '.join(_with_maps(run))}"
        )
    answer = probe.answer(where, run, target)
    slopes = probe.slope(where, run.root, _only(run, answer), by=probe.node(where, run, place))
    heat = np.maximum(np.einsum("c,chw->hw", slopes[0].mean((1, 2)), maps[0]), 0)
    return _spread(heat, run.layers[place].fields, run.image.shape[2:]), answer, layer


def _last_maps(run: probe.Run) -> str:
    """The last layer whose maps have more than one pixel; of all layers with maps where none has."""
    larger = [layer.name for layer in run.layers if np.prod(layer.output.shape[2:]) > 1]
    names = _with_maps(run)
    return ([name for name in names if name in larger] or names)[-1]


def _with_maps(run: probe.Run) -> list[str]:
    pairs = zip(run.layers, run.nodes, strict=True)
    return [layer.name for layer, node in pairs if layer.output.ndim == 4 and node is not None]


def _spread(heat: np.ndarray, fields: Fields, sizes: tuple[int, ...]) -> np.ndarray:
    """A layer's map for every pixel: interpolated between the middles of receptive fields, constant beyond the last."""
    for axis, length in enumerate(sizes):
        middles = _middles(None if fields is None else fields[axis], len(heat), length)
        heat = np.array([np.interp(np.arange(length), middles, line) for line in heat.T])
    return heat


def _middles(field: Field | None, count: int, length: int) -> np.ndarray:
    """The pixel in the middle of what each output of a map sees; of equal parts of the image where that is all."""
    outputs = np.arange(count)
    if field is None:
        return (outputs + 0.5) * length / count - 0.5
    return field.start + outputs * field.jump + (field.size - 1) / 2


def _occlusion(
    where: str, model: Any, image: Any, target: int | None, size: int | None, stride: int | None, fill: float
) -> tuple[np.ndarray, probe.Answer, int]:
    """The falls of the score, and the side of the square."""
    image = probe.one(where, image)
    answer = probe.answer(where, probe.run(where, model, image), target)
    side = min(image.shape[2:])
    size = _whole(where, "size", max(1, round(side / 6)) if size is None else size, side)
    stride = _whole(where, "stride", max(1, size // 4) if stride is None else stride, size)
    H, W = image.shape[2:]
    squares = [
        np.s_[top : top + size, left : left + size]
        for top, left in product(_starts(H, size, stride), _starts(W, size, stride))
    ]
    total, count = np.zeros((H, W)), np.zeros((H, W))
    for first in range(0, len(squares), probe.PART):
        part = squares[first : first + probe.PART]
        hidden = probe.scores(where, model, _hidden(image, part, fill))[:, answer.target]
        for square, score in zip(part, hidden, strict=True):
            total[square] += answer.scores[answer.target] - score
            count[square] += 1
    return total / count, answer, size


def _hidden(image: np.ndarray, squares: list[Any], fill: float) -> np.ndarray:
    """Copies of an image (1, C, H, W), one square of each filled."""
    copies = np.repeat(image, len(squares), axis=0)
    for copy, square in zip(copies, squares, strict=True):
        copy[:, *square] = fill
    return copies


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Where the squares begin along one side; the last one ends at the edge."""
    return [*range(0, length - size, stride), length - size]


def _whole(where: str, what: str, value: int, most: int) -> int:
    """A whole number of pixels from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise ValidationError(f"{where}: {what} is {value!r}; use a whole number of pixels from 1 to {most}")
    return int(value)


# ---- the pictures


def _signed(what: str, image: Any, values: np.ndarray, title: str, label: str, answer: probe.Answer) -> Figure:
    return _picture(_heading(what, answer), image, values, title, label, style.zero_centred(values), style.SIGNED)


def _picture(
    heading: str, image: Any, values: np.ndarray, title: str, label: str, norm: Normalize, colours: Colormap
) -> Figure:
    """The image, and beside it a map of the same size with its colour scale."""
    original = batch("picture", image)[0]
    height, width = np.array(values.shape) * PANEL / max(values.shape)
    figure = style.figure(2 * max(width, 2.0) + 1.8, max(height, 2.0) + 1.1, heading)
    left, right = figure.subplots(1, 2)
    probe.show(left, probe.pixels(original))
    left.set_title("image", fontsize=style.LABEL)
    shown = right.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
    right.set_title(title, fontsize=style.LABEL)
    probe.frame(right)
    _outline(right, original.mean(0))
    style.colour_bar(figure, shown, [right], label)
    return figure


def _outline(axes: Axes, brightness: np.ndarray) -> None:
    """A thin line around what is brighter than the middle between the darkest and the brightest pixel."""
    low, high = brightness.min(), brightness.max()
    if low < high and min(brightness.shape) > 1:
        axes.contour(brightness, levels=[(low + high) / 2], colors="black", linewidths=0.9, alpha=0.7)


def _heading(what: str, answer: probe.Answer) -> str:
    """As in `Saliency: class 7, probability 99.9 %`; names the predicted class too where that is another."""
    asked = f"{what}: class {answer.target}, probability {100 * answer.probabilities[answer.target]:.1f} %"
    if answer.target == answer.predicted:
        return asked
    return asked + f"\nPredicted: class {answer.predicted}, {100 * answer.probabilities[answer.predicted]:.1f} %"
