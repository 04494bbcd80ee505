"""Trace a model: the layers that ran on an image, in order, with the arrays they read and made.

Modules are found by forward hooks; functions called in a forward, such as F.relu, are found by observing operations.
Names are those of torch.fx: a module has its path ("features.0", "conv1"), a function has its own name below the path
of its module ("relu"), and a name that repeats gets a number ("relu_1").
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minigrad.checks import brief
from minigrad.errors import ValidationError
from minigrad.nn import Conv2d, Module
from minigrad.ops import conv2d
from minigrad.ops.movement import index, pad
from minigrad.ops.op import Op
from minigrad.runtime.device import CPU
from minigrad.runtime.memory import is_array, may_share_memory, overwrite
from minigrad.runtime.threads import IDLE, Observer, local
from minigrad.tape import no_grad
from minigrad.tensors import tensor
from minigrad.viz.inputs import as_image_batch, check_module


class Field(NamedTuple):
    """The receptive fields of a map along one axis: output i depends on `size` pixels of the image from start + i*jump.

    The range is not clipped to the image; pixels outside it are padding.
    """

    start: int
    jump: int
    size: int

    def after_window(self, window: int, stride: int, padding: int, dilation: int) -> "Field":
        """Return the field of a sliding window that reads this map; `padding` is that before the first pixel."""
        reach = (window - 1) * dilation
        return Field(self.start - padding * self.jump, self.jump * stride, self.size + reach * self.jump)

    def union(self, other: "Field") -> "Field":
        """Return the field of an output that depends on two maps of the same jump."""
        start = min(self.start, other.start)
        return Field(start, self.jump, max(self.start + self.size, other.start + other.size) - start)

    def pixels(self, i: int, length: int) -> range:
        """Return the pixels of an image of `length` pixels that output i depends on."""
        first = self.start + i * self.jump
        return range(max(first, 0), min(first + self.size, length))


Fields = tuple[Field, Field] | None  # along rows and columns; None where an output may depend on the whole image


class Step(NamedTuple):
    """One operation that ran.

    op        the operation
    inputs    its arrays; None for an optional input that is missing
    sources   positions of the inputs that depend on the images
    settings  its settings, by name
    output    the array it made
    fields    receptive fields of the output
    """

    op: Op
    inputs: tuple[Any, ...]
    sources: tuple[int, ...]
    settings: dict[str, Any]
    output: np.ndarray
    fields: Fields

    @property
    def window(self) -> tuple[int, int]:
        """(KH, KW) of a sliding-window operation."""
        return self.settings.get("window") or self.inputs[1].shape[2:]


class Layer(NamedTuple):
    """One module without children that ran, or one function called in a forward.

    name    path of the module, or name of the function
    kind    class of the module, or name of the function: "Conv2d", "relu"
    module  the module; None for a function
    steps   its operations, in order
    """

    name: str
    kind: str
    module: Module | None
    steps: tuple[Step, ...]

    @property
    def input(self) -> np.ndarray:
        """The array that the layer read, (N, ...)."""
        return self.steps[0].inputs[0]

    @property
    def output(self) -> np.ndarray:
        """The array that the layer made, (N, ...)."""
        return self.steps[-1].output

    @property
    def fields(self) -> Fields:
        """The receptive fields of the output; None where an output may depend on the whole image."""
        return self.steps[-1].fields


def trace(where: str, model: Any, images: Any) -> list[Layer]:
    """Run a model in eval mode without gradients and return its layers in the order in which they ran.

    where    name of the public function, for error messages
    model    a Module; its mode, hooks, gradients and parameters do not change
    images   (N, C, H, W), or one image (C, H, W) or (H, W)
    returns  list of Layer

    Raises   ValidationError  model is no Module, or it runs no operation on the images
             ShapeError       images have another number of axes, or do not fit the model
    """
    check_module(where, model)
    x = tensor(as_image_batch(where, images), device=tracing_device(model))
    observer = LayerObserver(model, x.array)
    with evaluating(model), observer, no_grad():
        model(x)
    if not observer.layers:
        raise ValidationError(
            f"{where}: {type(model).__name__} ran no operation on the images; return the result of one from forward"
        )
    return observer.finished_layers()


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Set eval mode, and move a model from a GPU to the CPU; restore mode and device at the end."""
    modes = [(module, module.training) for module in model.modules()]
    tensors = [*model.parameters(), *model.buffers()]
    moved = [(tensor, tensor.array, tensor.device) for tensor in tensors if tensor.device.index is not None]
    try:
        model.eval()
        for tensor, array, device in moved:
            tensor.array, tensor.device = device.to_host(array), CPU
        yield
    finally:
        for tensor, array, device in moved:
            tensor.array, tensor.device = array, device
        for module, training in modes:
            module.training = training


def tracing_device(model: Module) -> Any:
    """Return the device on which a model runs inside `evaluating`."""
    for parameter in model.parameters():
        return parameter.device if parameter.device.index is None else CPU
    return CPU


def layer_index(where: str, layers: Sequence[Layer], name: str) -> int:
    """Return the index of the layer called `name`.

    Raises   ValidationError   no layer has this name
    """
    names = [layer.name for layer in layers]
    if not isinstance(name, str) or name not in names:
        raise ValidationError(f"{where}: there is no layer {brief(name)}; choose one of {', '.join(names)}")
    return names.index(name)


def is_convolution(layer: Layer) -> bool:
    """Return whether a layer runs a convolution."""
    return any(step.op is conv2d for step in layer.steps)


def named_convolutions(where: str, model: Any) -> list[tuple[str, Conv2d]]:
    """Return path and module of every Conv2d of a model.

    Raises   ValidationError   model is no Module or has no Conv2d
    """
    check_module(where, model)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Conv2d)]
    if not found:
        kinds = sorted({type(module).__name__ for module in model.modules()} - {type(model).__name__})
        raise ValidationError(f"{where}: the model has no Conv2d, only {', '.join(kinds) or 'itself'}; pass a CNN")
    return found


def select_convolutions(where: str, model: Any, layers: str | Sequence[str] | None) -> dict[str, Conv2d]:
    """Return the Conv2d modules at the paths in `layers`, by path; all if it is None.

    Raises   ValidationError   as named_convolutions; or a path is no Conv2d, or layers is empty
    """
    found = dict(named_convolutions(where, model))
    names = list(found) if layers is None else [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if not isinstance(name, str) or name not in found:
            raise ValidationError(f"{where}: there is no convolution {brief(name)}; choose from {', '.join(found)}")
    if not names:
        raise ValidationError(f"{where}: layers names 0 of {len(found)} convolutions; name one or more, or give None")
    return {name: found[name] for name in names}


class LayerObserver(Observer):
    """Inside `with`, note every operation and the module that ran it."""

    def __init__(self, model: Module, image: Any):
        self.layers: list[Any] = []  # Layers whose steps are still lists
        self._fields: dict[int, tuple[Any, Fields]] = {id(image): (image, (Field(0, 1, 1), Field(0, 1, 1)))}
        # (path, module, number of the call) of the forwards that are running, outermost first.  The first entry is for
        # operations in hooks of the model itself.
        self._running: list[tuple[str, Module, int]] = [("", model, 0)]
        self._calls = 0  # number of module calls so far
        self._last_call: int | None = None  # the call of the last layer, if that is a module without children
        self._names: set[str] = set()  # names of the layers so far
        self._paths = {path for path, _ in model.named_modules()}
        self._model = model
        self._handles: list[Any] = []

    def __enter__(self) -> "LayerObserver":
        self._previous, local.observer = local.observer, self
        for path, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._make_enter_hook(path)))
            self._handles.append(module.register_forward_hook(self._leave_module))
        return self

    def __exit__(self, *_: object) -> None:
        local.observer = self._previous
        for handle in self._handles:
            handle.remove()

    def finished_layers(self) -> list[Layer]:
        """Return the layers with their steps as tuples."""
        return [layer._replace(steps=tuple(layer.steps)) for layer in self.layers]

    def _make_enter_hook(self, path: str) -> Any:
        def enter_module(module: Module, args: Any) -> None:
            self._calls += 1
            self._running.append((path, module, self._calls))

        return enter_module

    def _leave_module(self, module: Module, args: Any, out: Any) -> None:
        self._running.pop()

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation and note its step; operations that only move elements are left out."""
        local.observer = IDLE
        try:
            result = operation.forward(device, *arrays, **settings)
        finally:
            local.observer = self
        out = result[0] if type(result) is tuple else result
        sources = tuple(i for i, array in enumerate(arrays) if id(array) in self._fields)
        step = Step(operation, tuple(arrays), sources, dict(settings), out, None)
        step = step._replace(fields=_fields_of(step, [self._fields[id(arrays[i])][1] for i in sources]))
        if sources:
            self._fields[id(out)] = out, step.fields  # a reference to the array keeps its id unique
        if not operation.moves:
            self._add_step(step)
        return result

    def writes(self, tensor: Any) -> None:
        """Copy the values that an in-place change overwrites into the steps that read or made them."""
        steps = [step for layer in self.layers for step in layer.steps]
        seen = {id(array): array for step in steps for array in (*step.inputs, step.output) if is_array(array)}
        for array in seen.values():
            if may_share_memory(array, tensor.array):
                before = array.copy(order="K")
                if id(array) in self._fields:
                    self._fields[id(before)] = before, self._fields[id(array)][1]
                self._replace_array(array, before)

    def host_call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """After an in-place change, record the overwritten array as the output of the step that computed its values."""
        if function is overwrite and id(arguments[1]) in self._fields:
            self._fields[id(arguments[0])] = arguments[0], self._fields[id(arguments[1])][1]
            self._replace_array(arguments[1], arguments[0])

    def _replace_array(self, old: Any, new: Any) -> None:
        """Replace an array in all steps."""
        for layer in self.layers:
            for i, step in enumerate(layer.steps):
                inputs = tuple([new if array is old else array for array in step.inputs])
                layer.steps[i] = step._replace(inputs=inputs, output=new if step.output is old else step.output)

    def _add_step(self, step: Step) -> None:
        """Add a step to the last layer if the same call of a module ran both, otherwise to a new layer."""
        path, module, call = self._running[-1]
        leaf = not any(True for _ in module.children())
        if leaf and self._last_call == call:
            self.layers[-1].steps.append(step)
            return
        self._last_call = call if leaf else None
        name = path or type(module).__name__.lower() if leaf else f"{path}.{step.op.name}".lstrip(".")
        kind = type(module).__name__ if leaf else step.op.name
        name = self._unique_name(name, path if leaf else "")
        self.layers.append(Layer(name, kind, module if leaf else None, [step]))  # type: ignore[arg-type]  # see finished_layers

    def _unique_name(self, name: str, path: str) -> str:
        """Return the name with the first number that makes it unique among layers and among paths of other modules."""
        numbered = (f"{name}_{use}" if use else name for use in count())
        unique = next(n for n in numbered if n not in self._names and (n == path or n not in self._paths))
        self._names.add(unique)
        return unique


def _fields_of(step: Step, known: list[Fields]) -> Fields:
    """Return the receptive fields of a step's output from those of the inputs that depend on the image."""
    pairs = [pair for pair in known if pair is not None]
    if not known or len(pairs) < len(known) or step.output.ndim != 4:
        return None
    rows, cols = pairs[0]
    if step.op.sliding_window:
        if step.sources != (0,):  # the weight depends on the image
            return None
        (KH, KW), dilation = step.window, step.settings.get("dilation", (1, 1))
        stride, (top, _, left, _) = step.settings["stride"], step.settings["pads"]
        return rows.after_window(KH, stride[0], top, dilation[0]), cols.after_window(KW, stride[1], left, dilation[1])
    if step.op in (index, pad):
        return _fields_of_part(step, rows, cols)
    broadcast = any(step.inputs[i].shape[-2:] != step.output.shape[-2:] for i in step.sources)
    is_local = step.op.elementwise or step.settings.get("statistics") == "given"  # as BatchNorm2d in eval mode
    if not is_local or broadcast or any((r.jump, c.jump) != (rows.jump, cols.jump) for r, c in pairs):
        return None
    for other_rows, other_cols in pairs[1:]:
        rows, cols = rows.union(other_rows), cols.union(other_cols)
    return rows, cols


def _fields_of_part(step: Step, rows: Field, cols: Field) -> Fields:
    """Return the fields after slices of a map, as in x[:, :, ::2, ::2], or after constant padding."""
    x = step.inputs[0]
    if step.op is pad:
        (top, _), (left, _) = step.settings["widths"][2:]
        return rows.after_window(1, 1, top, 1), cols.after_window(1, 1, left, 1)
    key = step.settings["key"]
    if x.ndim != 4 or not isinstance(key, tuple) or not all(isinstance(part, slice) for part in key):
        return None
    parts = [part.indices(size) for part, size in zip((*key, *4 * [slice(None)]), x.shape, strict=False)][2:]
    if any(stride < 1 for _, _, stride in parts):
        return None
    (top, _, down), (left, _, right) = parts
    return rows.after_window(1, down, -top, 1), cols.after_window(1, right, -left, 1)
