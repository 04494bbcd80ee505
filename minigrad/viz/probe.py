"""Runs of a model that can be differentiated by the image, or by what a layer made, and leave the model as it was."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Module
from minigrad.ops.op import ArrayOps
from minigrad.tape import Node, enable_grad, no_grad, reachable, walk_back
from minigrad.tensors import Tensor, tensor
from minigrad.viz import style
from minigrad.viz.inputs import as_array
from minigrad.viz.tracing import HIDDEN, Layer, Watcher, batch, device_of, expect_module, in_use, trace

PART = 256  # images that run at once


class Run(NamedTuple):
    """What a model made of images, still to be differentiated, once.

    image    (N, C, H, W)  leaf of the tape
    scores   what the model returned
    root     its node of the tape
    layers   in the order in which they ran
    nodes    of the tape, one for the last operation of each layer; None where that does not reach the scores
    """

    image: Tensor
    scores: Tensor
    root: Node
    layers: list[Layer]
    nodes: list[Node | None]


class Answer(NamedTuple):
    """The class that is asked for, the class with the highest score, and the scores and probabilities of all."""

    target: int
    predicted: int
    scores: np.ndarray
    probabilities: np.ndarray


def run(where: str, model: Any, images: Any) -> Run:
    """Run a model in eval mode, recorded whatever the caller's mode.

    Raises   ValidationError   model is no Module, or its answer does not depend on the images
             ShapeError        images have another number of axes, or do not fit the model
    """
    image = tensor(fitting(where, model, images), device=device_of(model), requires_grad=True)
    tap = _Tap(model, image.array)
    with in_use(model), tap, enable_grad():
        scores = model(image)
    if getattr(scores, "node", None) is None:
        raise _unrelated(where)
    by_settings = {id(node.settings): node for node in reachable(scores.node)}
    nodes = [by_settings.get(id(settings)) for settings in tap.settings]
    return Run(image, scores, scores.node, tap.finished(), nodes)


def scores(where: str, model: Any, images: np.ndarray) -> np.ndarray:
    """What a model answers in eval mode, without gradients, some images at a time: (N, classes)."""
    images = fitting(where, model, images)
    with in_use(model), no_grad():
        parts = [images[first : first + PART] for first in range(0, len(images), PART)]
        return np.concatenate([as_array(model(tensor(part, device=device_of(model)))) for part in parts])


def probabilities(where: str, model: Any, images: np.ndarray) -> np.ndarray:
    """How probable a model finds each class, (N, K).

    Raises   ShapeError        the model returns no rows of scores
             ValidationError   scores that are NaN or infinite
    """
    last = trace(where, model, fitting(where, model, images[:1]))[-1]
    answers = scores(where, model, images).astype(np.float64)
    if answers.ndim != 2:
        raise ShapeError(f"{where}: the model returns shape {answers.shape}, not (N, K); pass one that scores classes")
    wrong = answers.size - np.isfinite(answers).sum()
    if wrong:
        raise ValidationError(
            f"{where}: {wrong} of {answers.size} scores are NaN or infinite; lower the learning rate and train again"
        )
    return chances(answers, last.steps[-1].operation)


def chances(scores: np.ndarray, operation: str) -> np.ndarray:
    """Probabilities (..., K) of scores, of their logarithms or of their softmax, by the model's last operation."""
    scores = scores.astype(np.float64)
    if operation == "softmax":
        return scores
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def node(where: str, run: Run, place: int) -> Node:
    """The node of a layer, to be differentiated.

    Raises   ValidationError   the scores do not depend on it
    """
    found = run.nodes[place]
    if found is None:
        raise ValidationError(
            f"{where}: the scores do not depend on layer {run.layers[place].name!r} by operations with a gradient; "
            "choose another layer"
        )
    return found


def slope(where: str, of: Node, weights: np.ndarray, by: Any) -> np.ndarray:
    """The gradient of the weighted sum of a node's output, by a leaf or another node; once for each run.

    Nothing behind `by`, and no other leaf, is reached, so that no parameter is given a gradient.

    Raises   ValidationError   the output does not depend on it
    """
    for node in reachable(of):
        node.edges = ["here" if edge is by else edge if type(edge) is Node else None for edge in node.edges]
    found = walk_back(of, of.device.from_host(weights), ArrayOps, keep=False)
    if not found:
        raise _unrelated(where)
    return np.array(of.device.to_host(found[0][1]))


def fitting(where: str, model: Any, images: Any) -> np.ndarray:
    """Images (N, C, H, W) of the dtype of the model's parameters."""
    expect_module(where, model)
    array = batch(where, images)
    return array.astype(next((parameter.dtype for parameter in model.parameters()), array.dtype), copy=False)


def one(where: str, image: Any) -> np.ndarray:
    """The one image there should be, (1, C, H, W).

    Raises   ShapeError   there are more
    """
    array = batch(where, image)
    if len(array) != 1:
        raise ShapeError(f"{where}: {len(array)} images in shape {array.shape}, not 1; pass images[i]")
    return array


def answer(where: str, run: Run, target: int | None) -> Answer:
    """What the model says about the one image, and which class is asked for; None asks for the predicted one.

    Raises   ShapeError        the model returns no row of scores
             ValidationError   there is no such class
    """
    shape = run.scores.shape
    if len(shape) != 2:
        raise ShapeError(f"{where}: the model returns shape {shape}, not (N, classes); pass one that scores classes")
    values = as_array(run.scores)[0].astype(np.float64)
    predicted = int(values.argmax())
    if target is not None:
        number(where, "target", target, len(values), "the model")
    likely = chances(values, run.layers[-1].steps[-1].operation)
    return Answer(predicted if target is None else int(target), predicted, values, likely)


def number(where: str, what: str, value: Any, count: int, owner: str) -> int:
    """A whole number from 0 to count - 1.

    Raises   ValidationError   it is not
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ValidationError(
            f"{where}: {what} is {value!r} but {owner} has {count}; use a whole number from 0 to {count - 1}"
        )
    return int(value)


def pixels(image: np.ndarray) -> np.ndarray:
    """An image (C, H, W) to be shown: (H, W, 3) of 0 to 1 if C is 3, otherwise the mean of its channels, (H, W)."""
    if len(image) != 3:
        return image.mean(0)
    low, high = image.min(), image.max()
    return np.moveaxis((image - low) / ((high - low) or 1), 0, -1)


def show(axes: Axes, shown: np.ndarray) -> None:
    """A picture of real pixels: grey from the darkest to the brightest, or in colours."""
    axes.imshow(shown, cmap="gray", interpolation="nearest")
    frame(axes)


def frame(axes: Axes) -> None:
    """A thin frame without scales."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=style.GREY, linewidth=0.8)


def _unrelated(where: str) -> ValidationError:
    return ValidationError(
        f"{where}: what the model returns does not depend on the image by operations with a gradient; "
        "return the scores as one Tensor"
    )


class _Tap(Watcher):
    """Sees every operation, and keeps the settings by which the tape knows the last one of each layer."""

    def __init__(self, model: Module, image: Any):
        super().__init__(model, image)
        self.settings: list[dict[str, Any]] = []

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        result = super().run(operation, device, arrays, settings)
        if operation.name not in HIDDEN:
            self.settings[len(self.layers) - 1 :] = [settings]
        return result
