"""Record what a model computes for one image, as a list of operations that a browser can repeat."""

from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ValidationError
from minigrad.nn import Module
from minigrad.runtime.device import CPU
from minigrad.runtime.memory import is_array
from minigrad.tape import no_grad
from minigrad.tensors import Tensor, tensor
from minigrad.viz.inputs import check_module, check_scores
from minigrad.viz.tracing import Fields, LayerObserver, evaluating, tracing_device


class Value(NamedTuple):
    """The image (0), or the output of call number - 1."""

    number: int


class Call(NamedTuple):
    """One operation that depends on the image.

    op        its name
    layer     name of the layer that ran it, as in viz.feature_maps; the name of the operation if it only moves elements
    kind      class of the module, or name of the function
    inputs    a Value, an array of weights, a number or None for each
    settings  by name
    output    (1, ...)
    fields    receptive fields of the output; None where it may depend on the whole image
    """

    op: str
    layer: str
    kind: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any]
    output: np.ndarray
    fields: Fields


class Program(NamedTuple):
    """What a model computes.

    calls    in the order in which they ran
    result   number of the value that the model returns
    names    id of the array of a parameter or buffer -> its name in state_dict
    image    (1, C, H, W)
    """

    calls: tuple[Call, ...]
    result: int
    names: dict[int, str]
    image: np.ndarray

    def value(self, number: int) -> np.ndarray:
        """Return the image (0), or the output of a call."""
        return self.image if number == 0 else self.calls[number - 1].output


def record_program(where: str, model: Any, image: np.ndarray) -> Program:
    """Run a model on images (N, C, H, W) in eval mode and return what it computes.

    Raises   ValidationError   model is no Module, or does not return scores that depend on the image
             ShapeError        the image does not fit the model, or the scores are not (N, classes)
    """
    check_module(where, model)
    x = tensor(image, device=tracing_device(model))
    observer = ProgramObserver(model, x.array)
    with evaluating(model), observer, no_grad():
        scores = model(x)
        names = {id(weight.array): name for name, weight in (*model.named_parameters(), *model.named_buffers())}
    if not isinstance(scores, Tensor):
        raise ValidationError(
            f"{where}: the model returns a {type(scores).__name__}, not a tensor of scores; pass a model that scores "
            "classes"
        )
    check_scores(where, scores.shape, len(image))
    return observer.finished_program(where, x.array, scores.array, names)


class ProgramObserver(LayerObserver):
    """Inside `with`, note every operation with its arrays, also those that only move elements."""

    def __init__(self, model: Module, image: Any):
        super().__init__(model, image)
        self._calls_made: list[Any] = []  # (operation, layer, kind, arrays, settings, output)

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation and note its call."""
        result = super().run(operation, device, arrays, settings)
        out = result[0] if type(result) is tuple else result
        if not any(out is array for array in arrays):
            layer = None if operation.moves else self.layers[-1]
            name, kind = (operation.name, operation.name) if layer is None else (layer.name, layer.kind)
            self._calls_made.append([operation.name, name, kind, tuple(arrays), dict(settings), out])
        return result

    def _replace_array(self, old: Any, new: Any) -> None:
        """Replace an array in all steps and calls."""
        super()._replace_array(old, new)
        for call in self._calls_made:
            call[3] = tuple([new if array is old else array for array in call[3]])
            call[5] = new if call[5] is old else call[5]

    def finished_program(self, where: str, image: Any, scores: Any, names: dict[int, str]) -> Program:
        """Return the calls that depend on the image.

        Raises   ValidationError   the scores do not depend on it
        """
        values, calls = {id(image): Value(0)}, []
        for op, layer, kind, arrays, settings, out in self._calls_made:
            if any(id(array) in values for array in arrays):
                inputs = tuple([values.get(id(array), array) for array in arrays])
                fields = self._fields.get(id(out), (None, None))[1]
                calls.append(Call(op, layer, kind, inputs, settings, _on_host(out), fields))
                values[id(out)] = Value(len(calls))
        if id(scores) not in values or not calls:
            raise ValidationError(f"{where}: what the model returns does not depend on the image; compute scores of it")
        return Program(tuple(calls), values[id(scores)].number, names, _on_host(image))


def _on_host(array: Any) -> np.ndarray:
    return np.asarray(CPU.to_host(array) if is_array(array) else array)
