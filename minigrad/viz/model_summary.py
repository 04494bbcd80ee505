"""A table of a model: output, parameters, multiply-adds, memory and receptive field of each layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.nn import Module, Parameter
from minigrad.notebook import Html, stack, table
from minigrad.viz import probe
from minigrad.viz.formatting import format_count, format_shape, format_table
from minigrad.viz.inputs import as_image_shape, uses_model_info
from minigrad.viz.tracing import Layer, Step, trace

HEAD = ("layer", "kind", "output", "parameters", "multiply-adds", "bytes", "field")
TEXT_COLUMNS = {0, 1, 2}  # the others hold numbers


class Row(NamedTuple):
    """One layer, or one function called in a forward, for one image.

    name           path of the layer, or name of the function
    kind           class of the layer, or name of the function: "Conv2d", "relu"
    shape          of its output, without the axis of images
    parameters     number of parameters that no earlier layer has used
    multiply_adds  number of multiply-adds of convolutions, dense layers and matrix products
    bytes          size of its output; 0 if it shares the memory of the input
    field          receptive field in pixels, (rows, columns), not clipped to the image; None if an output may depend on
                   the whole image
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    bytes: int
    field: tuple[int, int] | None


class Summary:
    """The result of summary: rows to read and a table to print.

    rows           a Row for each layer, in the order in which they ran
    parameters     number of parameters of the model; a shared one counts once
    multiply_adds  number of multiply-adds for one image
    bytes          size of the outputs of all layers for one image
    unused         path -> number of elements, for the parameters that no layer used
    """

    def __init__(self, title: str, rows: list[Row], unused: dict[str, int]):
        self.rows, self.unused, self._title = rows, unused, title
        self.parameters = sum(row.parameters for row in rows) + sum(unused.values())
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self.bytes = sum(row.bytes for row in rows)

    def __str__(self) -> str:
        head, *body, last = format_table(self._lines(), TEXT_COLUMNS)
        rule = "-" * max(map(len, [head, *body, last]))
        return "\n".join([self._title, "", head, rule, *body, rule, last, *self._unused_lines()])

    def __repr__(self) -> str:
        layers = format_count(len(self.rows), "layer", form=",")
        return f"Summary({layers}, {format_count(self.parameters, 'parameter', form=',')})"

    def _repr_html_(self) -> Html:
        """What a notebook shows."""
        return stack(self._title, table(self._lines(), TEXT_COLUMNS), *self._unused_lines())

    def _lines(self) -> list[tuple[str, ...]]:
        """Return the cells of the table."""
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", f"{self.bytes:,}", "")
        return [HEAD, *map(_format_row, self.rows), total]

    def _unused_lines(self) -> list[str]:
        """Return a line about unused parameters, if there are any."""
        if not self.unused:
            return []
        count = format_count(sum(self.unused.values()), "parameter", form=",")
        return [f"the total has {count} that no layer used: {', '.join(self.unused)}"]


@uses_model_info
def summary(model: Any, input_shape: Sequence[int] | None = None) -> Summary:
    """List the layers of a model: output, parameters, multiply-adds, memory and receptive field of each.

    model        a Module; it does not change
    input_shape  (C, H, W)   channels, height and width of an image; may be left out for a model from load_model
    returns      Summary     print it, or read its rows

    Layers and functions called in a forward stand in the order in which they ran.  A layer without effect outside of
    training, such as Dropout, is left out.  A parameter counts where it is used first.

    Raises   ShapeError        input_shape is not three whole numbers of 1 or more, or does not fit the model
             ValidationError   model is no Module, or runs no operation on the image
    Source   receptive fields: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks"
    Example
    >>> from minigrad import nn
    >>> print(summary(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5)), (1, 4, 4)))
    Sequential on one image of 1×4×4
    <BLANKLINE>
    layer  kind     output  parameters  multiply-adds  bytes  field
    ---------------------------------------------------------------
    0      Conv2d   2×2×2           20             72     32    3×3
    1      Flatten  8                0              0      0  image
    2      Linear   5               45             40     20  image
    ---------------------------------------------------------------
    total                           65            112     52
    """
    layers = trace_blank_image("summary", model, input_shape)
    return summarise(model, layers, as_image_shape("summary", input_shape))


def trace_blank_image(where: str, model: Any, input_shape: Any) -> list[Layer]:
    """Return the layers of a model that ran on an image of zeros; errors are those of summary."""
    blank = np.zeros(as_image_shape(where, input_shape), np.float32)
    return trace(where, model, probe.prepare_images(where, model, blank))


def summarise(model: Module, layers: list[Layer], input_shape: Sequence[int]) -> Summary:
    """Return the Summary of traced layers."""
    left = {id(parameter): parameter for parameter in model.parameters()}
    rows = [_make_row(layer, left) for layer in layers]
    unused = {path: parameter.numel() for path, parameter in model.named_parameters() if id(parameter) in left}
    return Summary(f"{type(model).__name__} on one image of {format_shape(input_shape)}", rows, unused)


def _make_row(layer: Layer, left: dict[int, Parameter]) -> Row:
    """Return the row of a layer, and remove its parameters from those that are left."""
    used = [key for key, parameter in left.items() if _uses(layer, parameter)]
    parameters = sum(left.pop(key).numel() for key in used)
    multiply_adds = sum(map(_count_multiply_adds, layer.steps))
    field = None if layer.fields is None else (layer.fields[0].size, layer.fields[1].size)
    shape = tuple(layer.output.shape[1:])
    return Row(layer.name, layer.kind, shape, parameters, multiply_adds, _count_bytes(layer), field)


def _uses(layer: Layer, parameter: Parameter) -> bool:
    """Return whether a parameter belongs to the layer, or is read by one of its operations."""
    if layer.module is not None and any(own is parameter for own in layer.module.parameters()):
        return True
    return any(_share_memory(parameter.array, array) for step in layer.steps for array in step.inputs)


def _share_memory(one: Any, other: Any) -> bool:
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return one is other or (both and np.may_share_memory(one, other))


def _count_multiply_adds(step: Step) -> int:
    return 0 if step.op.flops is None else int(step.op.flops(step.output, *step.inputs)) // 2


def _count_bytes(layer: Layer) -> int:
    """Return the memory that the layer's output needs: none if it is a view of the input."""
    is_view = all(step.op.view for step in layer.steps) and _share_memory(layer.input, layer.output)
    return 0 if is_view else int(layer.output.nbytes)


def _format_row(row: Row) -> tuple[str, ...]:
    field = "image" if row.field is None else format_shape(row.field)
    numbers = (f"{number:,}" for number in (row.parameters, row.multiply_adds, row.bytes))
    return (row.name, row.kind, format_shape(row.shape), *numbers, field)
