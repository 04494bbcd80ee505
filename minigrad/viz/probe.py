"""Run a model for its scores, its probabilities, or the gradient of a layer by the image; the model does not change."""

from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ValidationError
from minigrad.nn import Module
from minigrad.ops import sigmoid, softmax
from minigrad.ops.op import ArrayOps, Op
from minigrad.tape import Node, enable_grad, no_grad, reachable, walk_back
from minigrad.tensors import Tensor, tensor
from minigrad.viz.inputs import (
    as_array,
    as_image_batch,
    as_single_image,
    check_finite,
    check_index,
    check_module,
    check_scores,
)
from minigrad.viz.tracing import Layer, LayerObserver, evaluating, trace, tracing_device

BATCH = 256  # images that run at once


class Run(NamedTuple):
    """A forward pass of which one gradient can be computed.

    image    (N, C, H, W)  leaf of the tape
    scores   what the model returned
    root     tape node of the scores
    layers   in the order in which they ran
    nodes    tape node of the last operation of each layer; None where the scores do not depend on it
    """

    image: Tensor
    scores: Tensor
    root: Node
    layers: list[Layer]
    nodes: list[Node | None]


class Prediction(NamedTuple):
    """The class that the caller chose, the class with the highest score, and score and probability of every class."""

    target: int
    predicted: int
    scores: np.ndarray
    probabilities: np.ndarray


def run_recorded(where: str, model: Any, images: Any) -> Run:
    """Run a model in eval mode and record the operations, also inside no_grad.

    Raises   ValidationError   model is no Module, or what it returns does not depend on the images
             ShapeError        images have another number of axes, or do not fit the model
    """
    image = tensor(prepare_images(where, model, images), device=tracing_device(model), requires_grad=True)
    observer = _NodeObserver(model, image.array)
    with evaluating(model), observer, enable_grad():
        scores = model(image)
    if getattr(scores, "node", None) is None:
        raise _no_gradient(where)
    nodes_by_settings = {id(node.settings): node for node in reachable(scores.node)}
    nodes = [nodes_by_settings.get(id(settings)) for settings in observer.settings]
    return Run(image, scores, scores.node, observer.finished_layers(), nodes)


def compute_scores(where: str, model: Any, images: np.ndarray) -> np.ndarray:
    """Return what a model returns for images in eval mode, (N, ...), computed in batches without gradients."""
    images = prepare_images(where, model, images)
    with evaluating(model), no_grad():
        batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
        return np.concatenate([as_array(model(tensor(batch, device=tracing_device(model)))) for batch in batches])


def compute_probabilities(where: str, model: Any, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class for each image, (N, classes).

    Raises   ShapeError        the model returns no scores (N, classes)
             ValidationError   a score is NaN or infinite
    """
    last = trace(where, model, prepare_images(where, model, images[:1]))[-1]
    scores = compute_scores(where, model, images).astype(np.float64)
    check_scores(where, scores.shape, len(images))
    check_finite(where, "scores", scores, "lower the learning rate and train again")
    return scores_to_probabilities(scores, last.steps[-1].op)


def scores_to_probabilities(scores: np.ndarray, last_op: Op) -> np.ndarray:
    """Return the probability of each class: the softmax of scores (..., classes), or, of one score, its sigmoid.

    Where the model's last operation is a softmax or a sigmoid, the scores are probabilities already.
    """
    scores = scores.astype(np.float64)
    if last_op in (softmax, sigmoid):
        return scores
    if scores.shape[-1] == 1:
        return 1 / (1 + np.exp(-scores.clip(-500, 500)))
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def layer_node(where: str, run: Run, index: int) -> Node:
    """Return the tape node of a layer.

    Raises   ValidationError   the scores do not depend on the layer
    """
    node = run.nodes[index]
    if node is None:
        raise ValidationError(
            f"{where}: the scores do not depend on layer {run.layers[index].name!r} through operations with a "
            "gradient; choose another layer"
        )
    return node


def compute_gradient(where: str, output: Node, weights: np.ndarray, by: Any) -> np.ndarray:
    """Return the gradient of the weighted sum of a node's output by a leaf or another node; works once for each run.

    No parameter gets a gradient.

    Raises   ValidationError   the output does not depend on `by`
    """
    found = walk_back([(output, output.device.from_host(weights))], ArrayOps, keep=False, wanted=[by])
    if not found:
        raise _no_gradient(where)
    return np.array(output.device.to_host(found[0][1]))


def prepare_images(where: str, model: Any, images: Any) -> np.ndarray:
    """Return images as (N, C, H, W) with the dtype of the model's parameters."""
    check_module(where, model)
    array = as_image_batch(where, images)
    return array.astype(next((parameter.dtype for parameter in model.parameters()), array.dtype), copy=False)


def prepare_image(where: str, model: Any, image: Any) -> np.ndarray:
    """Return one image as (1, C, H, W) with the dtype of the model's parameters."""
    check_module(where, model)
    return prepare_images(where, model, as_single_image(where, image))


def predict(where: str, run: Run, target: int | None) -> Prediction:
    """Return the prediction for the one image of a run; a target of None is the predicted class.

    Raises   ShapeError        the model returns no scores (1, classes)
             ValidationError   the target is no class
    """
    check_scores(where, run.scores.shape, 1)
    scores = as_array(run.scores)[0].astype(np.float64)
    predicted = int(scores.argmax())
    target = predicted if target is None else check_index(where, "target", target, len(scores), "the model")
    return Prediction(target, predicted, scores, scores_to_probabilities(scores, run.layers[-1].steps[-1].op))


def _no_gradient(where: str) -> ValidationError:
    return ValidationError(
        f"{where}: what the model returns does not depend on the image through operations with a gradient; "
        "return the scores as one Tensor"
    )


class _NodeObserver(LayerObserver):
    """Also keep, for the last operation of each layer, the settings that identify its tape node."""

    def __init__(self, model: Module, image: Any):
        super().__init__(model, image)
        self.settings: list[dict[str, Any]] = []

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        result = super().run(operation, device, arrays, settings)
        if not operation.moves:
            self.settings[len(self.layers) - 1 :] = [settings]
        return result
