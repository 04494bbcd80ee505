"""A model as a table: what each layer makes, learns, costs and sees."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.nn import Module, Parameter
from minigrad.ops.op import find
from minigrad.viz import probe
from minigrad.viz.formatting import counted, table, times
from minigrad.viz.inputs import image_shape
from minigrad.viz.tracing import Layer, Step, trace

HEAD = ("layer", "kind", "output", "parameters", "multiply-adds", "bytes", "sees")
WORDS = {0, 1, 2}  # columns of words, the others hold numbers


class Row(NamedTuple):
    """What is known about one layer, or one function in a forward, for one image.

    name           path of the layer, or name of the function
    kind           "Conv2d", "relu": class of the layer or name of the function
    shape          of its output, without the axis of images
    parameters     count, without those that a layer before it has used
    multiply_adds  count, of convolutions, dense layers and matrix products
    bytes          of its output; 0 where that lies in the memory of what came in
    field          receptive field in pixels, (rows, columns), before it is cut off at the edges of the image; None
                   where an output may see the whole image
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    bytes: int
    field: tuple[int, int] | None


class Summary:
    """What summary found: rows to read, a table to print.

    rows           a Row for each layer, in the order in which they ran
    parameters     count of all of the model, each once
    multiply_adds  count for one image
    bytes          of the outputs of all layers for one image
    unused         path -> count, of the parameters that no layer has used
    """

    def __init__(self, title: str, rows: list[Row], unused: dict[str, int]):
        self.rows, self.unused, self._title = rows, unused, title
        self.parameters = sum(row.parameters for row in rows) + sum(unused.values())
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self.bytes = sum(row.bytes for row in rows)

    def __str__(self) -> str:
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", f"{self.bytes:,}", "")
        head, *body, last = table([HEAD, *map(_written, self.rows), total], WORDS)
        rule = "-" * max(map(len, [head, *body, last]))
        return "\n".join([self._title, "", head, rule, *body, rule, last, *self._remark()])

    def __repr__(self) -> str:
        return (
            f"Summary({counted(len(self.rows), 'layer', form=',')}, {counted(self.parameters, 'parameter', form=',')})"
        )

    def _remark(self) -> list[str]:
        """A line on the parameters that play no part, where there are some."""
        if not self.unused:
            return []
        count = counted(sum(self.unused.values()), "parameter", form=",")
        return [f"the total has {count} that no layer used: {', '.join(self.unused)}"]


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """List the layers of a model: output, parameters, multiply-adds, memory and receptive field of each.

    model        a Module, which stays as it is
    input_shape  (C, H, W)   channels, height and width of an image, as the model takes it
    returns      Summary     print it, or read its rows

    Layers stand in the order in which they ran, functions in a forward among them; one that does nothing outside of
    training, such as Dropout, is left out.  A parameter is counted where it is used first.

    Raises   ShapeError        input_shape is not three whole numbers of 1 or more, or does not fit the model
             ValidationError   model is no Module, or it did nothing to the image
    Source   receptive fields: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks"
    Example
    >>> from minigrad import nn
    >>> print(summary(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5)), (1, 4, 4)))
    Sequential on one image of 1×4×4
    <BLANKLINE>
    layer  kind     output  parameters  multiply-adds  bytes   sees
    ---------------------------------------------------------------
    0      Conv2d   2×2×2           20             72     32    3×3
    1      Flatten  8                0              0      0  image
    2      Linear   5               45             40     20  image
    ---------------------------------------------------------------
    total                           65            112     52
    """
    return summarised(model, run("summary", model, input_shape), input_shape)


def run(where: str, model: Any, input_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model that was run on one black image.

    Raises   as summary
    """
    return trace(where, model, probe.fitting(where, model, np.zeros(image_shape(where, input_shape), np.float32)))


def summarised(model: Module, layers: list[Layer], input_shape: Sequence[int]) -> Summary:
    """The Summary of layers that ran."""
    left = {id(parameter): parameter for parameter in model.parameters()}
    rows = [_row(layer, left) for layer in layers]
    unused = {path: parameter.numel() for path, parameter in model.named_parameters() if id(parameter) in left}
    return Summary(f"{type(model).__name__} on one image of {times(input_shape)}", rows, unused)


def _row(layer: Layer, left: dict[int, Parameter]) -> Row:
    """The row of a layer, whose parameters are taken out of those that are left."""
    taken = [key for key, parameter in left.items() if _uses(layer, parameter)]
    parameters = sum(left.pop(key).numel() for key in taken)
    multiply_adds = sum(map(_multiply_adds, layer.steps))
    field = None if layer.fields is None else (layer.fields[0].size, layer.fields[1].size)
    shape = tuple(layer.output.shape[1:])
    return Row(layer.name, layer.kind, shape, parameters, multiply_adds, _bytes(layer), field)


def _uses(layer: Layer, parameter: Parameter) -> bool:
    """Whether a parameter belongs to the layer, or is read by one of its operations."""
    if layer.module is not None and any(own is parameter for own in layer.module.parameters()):
        return True
    return any(_shared(parameter.array, array) for step in layer.steps for array in step.inputs)


def _shared(one: Any, other: Any) -> bool:
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return one is other or (both and np.may_share_memory(one, other))


def _multiply_adds(step: Step) -> int:
    flops = find(step.operation).flops
    return 0 if flops is None else int(flops(step.output, *step.inputs)) // 2


def _bytes(layer: Layer) -> int:
    """Memory that the layer's output needs."""
    views = all(find(step.operation).view for step in layer.steps)
    return 0 if views and _shared(layer.input, layer.output) else int(layer.output.nbytes)


# ---- the table


def _written(row: Row) -> tuple[str, ...]:
    field = "image" if row.field is None else times(row.field)
    numbers = (f"{number:,}" for number in (row.parameters, row.multiply_adds, row.bytes))
    return (row.name, row.kind, times(row.shape), *numbers, field)
