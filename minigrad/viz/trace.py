"""What a model did to an image: its layers by name and in order, with what each made and what it was made from.

Layers of our own are known by hooks; functions in a forward, such as F.relu, by watching the operations.  Names are
those of torch.fx: a layer's path ("features.0", "conv1"), a function's name below its module's path ("relu"), and a
number from the second use on ("relu_1").
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Conv2d, Module
from minigrad.runtime.device import CPU
from minigrad.runtime.memory import is_array, may_share_memory, overwrite
from minigrad.runtime.threads import IDLE, Observer, local
from minigrad.tape import no_grad
from minigrad.tensors import tensor
from minigrad.viz.arrays import as_array

HIDDEN = {"permute", "transfer", "cast", "expand", "clone"}  # operations that only turn or copy what is there


class Field(NamedTuple):
    """Which input pixels an output pixel depends on, along one side: pixel i on `size` of them from start + i*jump on.

    Before clipping to the image; outside it lies padding.
    """

    start: int
    jump: int
    size: int

    def through(self, window: int, stride: int, before: int, dilation: int) -> "Field":
        """The field behind a sliding window."""
        reach = (window - 1) * dilation + 1
        return Field(self.start - before * self.jump, self.jump * stride, self.size + (reach - 1) * self.jump)

    def joined(self, other: "Field") -> "Field":
        """The field of a sum of two maps."""
        start = min(self.start, other.start)
        return Field(start, self.jump, max(self.start + self.size, other.start + other.size) - start)

    def pixels(self, i: int, length: int) -> range:
        """The input pixels of output pixel i, of an image so long."""
        first = self.start + i * self.jump
        return range(max(first, 0), min(first + self.size, length))


Fields = tuple[Field, Field] | None  # by rows and by columns; None where an output may see the whole image


class Step(NamedTuple):
    """One operation: its name, arrays (None where an input is left out) and settings, the array it made, and on which
    pixels of the image that depends."""

    operation: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any]
    output: np.ndarray
    fields: Fields


class Layer(NamedTuple):
    """What one layer, or one function in a forward, did.

    name    path, or name of the function
    kind    "Conv2d", "ReLU", "relu": class of the layer or name of the function
    module  the layer; None for a function
    steps   its operations, the first that reads and the last that writes
    """

    name: str
    kind: str
    module: Module | None
    steps: tuple[Step, ...]

    @property
    def input(self) -> np.ndarray:
        """What went in, (N, ...)."""
        return self.steps[0].inputs[0]

    @property
    def output(self) -> np.ndarray:
        """What came out, (N, ...)."""
        return self.steps[-1].output

    @property
    def fields(self) -> Fields:
        """Its receptive fields by rows and by columns; None where an output may see the whole image."""
        return self.steps[-1].fields


def trace(where: str, model: Any, images: Any) -> list[Layer]:
    """Run a model, in eval mode and without gradients, and return its layers in the order in which they ran.

    where   name of the public function, for errors
    model   a Module; its mode, hooks, gradients and parameters stay as they are
    images  (N, C, H, W), or one image (C, H, W) or (H, W)

    Raises   ValidationError  model is no Module, or it did nothing to the images
             ShapeError       images have another number of axes, or do not fit the model
    """
    expect_module(where, model)
    x = tensor(batch(where, images), device=device_of(model))
    watcher = Watcher(model, x.array)
    with in_use(model), watcher, no_grad():
        model(x)
    if not watcher.layers:
        raise ValidationError(
            f"{where}: {type(model).__name__} did nothing to the images; return what forward computes"
        )
    return watcher.finished()


def expect_module(where: str, model: Any) -> None:
    """Refuse what is no Module."""
    if not isinstance(model, Module):
        raise ValidationError(f"{where}: model is a {type(model).__name__}; pass an nn.Module")


@contextmanager
def in_use(model: Module) -> Iterator[None]:
    """Eval mode, and every module's own mode again afterwards; a model on a GPU is on the CPU meanwhile."""
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


def batch(where: str, images: Any) -> np.ndarray:
    """Images as floats (N, C, H, W)."""
    array = as_array(images)
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ShapeError(
            f"{where}: image has shape {array.shape}; pass (H, W), (C, H, W) or (N, C, H, W) with sizes of 1 or more"
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def find(where: str, layers: Sequence[Layer], name: str) -> int:
    """The place of the layer called `name`.

    Raises   ValidationError   there is none; those that there are, are listed
    """
    names = [layer.name for layer in layers]
    if name not in names:
        raise ValidationError(f"{where}: there is no layer {name!r}; there are {', '.join(names)}")
    return names.index(name)


def convolutions(where: str, model: Any) -> list[tuple[str, Conv2d]]:
    """The paths and layers of all convolutions of a model, in order.

    Raises   ValidationError   model is no Module or has no convolution
    """
    expect_module(where, model)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Conv2d)]
    if not found:
        kinds = sorted({type(module).__name__ for module in model.modules()} - {type(model).__name__})
        raise ValidationError(f"{where}: the model has no Conv2d, only {', '.join(kinds) or 'itself'}; pass a CNN")
    return found


def chosen_convolutions(where: str, model: Any, layers: str | Sequence[str] | None) -> dict[str, Conv2d]:
    """The convolutions that `layers` names, by path; all if it is None.

    Raises   ValidationError   as convolutions, and where a name is none of theirs
    """
    found = dict(convolutions(where, model))
    wanted = list(found) if layers is None else [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        if name not in found:
            raise ValidationError(f"{where}: there is no convolution {name!r}; there are {', '.join(found)}")
    if not wanted:
        raise ValidationError(f"{where}: layers names 0 of {len(found)} convolutions; name one or more, or give None")
    return {name: found[name] for name in wanted}


def is_convolution(layer: Layer) -> bool:
    """Whether a layer, or a function in a forward, is a convolution."""
    return any(step.operation == "conv2d" for step in layer.steps)


def device_of(model: Module) -> Any:
    """Where a model runs while it is looked at."""
    for parameter in model.parameters():
        return parameter.device if parameter.device.index is None else CPU
    return CPU


class Watcher(Observer):
    """Sees every operation between `with`, and which module it belongs to."""

    def __init__(self, model: Module, image: Any):
        self.layers: list[Any] = []
        self._fields: dict[int, tuple[Any, Fields]] = {id(image): (image, (Field(0, 1, 1), Field(0, 1, 1)))}
        # modules whose forward runs, outermost first, and which call; what hooks of the model do is the model's own
        self._open: list[tuple[str, Module, int]] = [("", model, 0)]
        self._entered = 0  # calls of modules so far
        self._last: int | None = None  # the call that the last layer belongs to
        self._names: set[str] = set()  # of the layers so far
        self._paths = {path for path, _ in model.named_modules()}
        self._model = model
        self._handles: list[Any] = []

    def __enter__(self) -> "Watcher":
        self._before, local.observer = local.observer, self
        for path, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entering(path)))
            self._handles.append(module.register_forward_hook(self._leaving))
        return self

    def __exit__(self, *_: object) -> None:
        local.observer = self._before
        for handle in self._handles:
            handle.remove()

    def finished(self) -> list[Layer]:
        """The layers, with their steps for good."""
        return [layer._replace(steps=tuple(layer.steps)) for layer in self.layers]

    def _entering(self, path: str) -> Any:
        def hook(module: Module, args: Any) -> None:
            self._entered += 1
            self._open.append((path, module, self._entered))

        return hook

    def _leaving(self, module: Module, args: Any, out: Any) -> None:
        self._open.pop()

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run an operation and note what it did."""
        local.observer = IDLE
        try:
            result = operation.forward(device, *arrays, **settings)
        finally:
            local.observer = self
        out = result[0] if type(result) is tuple else result
        known = {i: self._fields[id(array)][1] for i, array in enumerate(arrays) if id(array) in self._fields}
        fields = _fields_of(operation.name, settings, arrays, out, known)
        if known:
            self._fields[id(out)] = out, fields  # keeps the array, so that no other can have its id
        if operation.name not in HIDDEN:
            self._note(Step(operation.name, tuple(arrays), dict(settings), out, fields))
        return result

    def writes(self, tensor: Any) -> None:
        """Keep the values that a change in place overwrites: steps have read and made them."""
        steps = [step for layer in self.layers for step in layer.steps]
        seen = {id(array): array for step in steps for array in (*step.inputs, step.output) if is_array(array)}
        for array in seen.values():
            if may_share_memory(array, tensor.array):
                before = array.copy(order="K")
                if id(array) in self._fields:
                    self._fields[id(before)] = before, self._fields[id(array)][1]
                self._exchange(array, before)

    def host_call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """An array changed in place is the output of the step that made what was written to it."""
        if function is overwrite and id(arguments[1]) in self._fields:
            self._fields[id(arguments[0])] = arguments[0], self._fields[id(arguments[1])][1]
            self._exchange(arguments[1], arguments[0])

    def _exchange(self, old: Any, new: Any) -> None:
        """Put one array in place of another in all steps."""
        for layer in self.layers:
            for i, step in enumerate(layer.steps):
                inputs = tuple([new if array is old else array for array in step.inputs])
                layer.steps[i] = step._replace(inputs=inputs, output=new if step.output is old else step.output)

    def _note(self, step: Step) -> None:
        path, module, call = self._open[-1]
        leaf = not any(True for _ in module.children())
        if leaf and self._last == call:
            self.layers[-1].steps.append(step)
            return
        self._last = call if leaf else None
        name = path or type(module).__name__.lower() if leaf else f"{path}.{step.operation}".lstrip(".")
        kind = type(module).__name__ if leaf else step.operation
        name = self._unused(name, path if leaf else "")
        self.layers.append(Layer(name, kind, module if leaf else None, [step]))  # type: ignore[arg-type]  # a tuple in the end

    def _unused(self, name: str, path: str) -> str:
        """The name, with a number from its second use on; never that of another layer or module."""
        numbered = (f"{name}_{use}" if use else name for use in count())
        free = next(n for n in numbered if n not in self._names and (n == path or n not in self._paths))
        self._names.add(free)
        return free


# ---- receptive fields

WINDOWS = {"conv2d", "max_pool2d", "avg_pool2d"}
ELEMENTWISE = {
    "abs", "add", "cast", "clip", "clone", "div", "dropout_mask", "exp", "leaky_relu", "log", "maximum", "minimum",
    "mul", "neg", "pow", "relu", "sigmoid", "sqrt", "sub", "tanh", "transfer", "where",
}  # fmt: skip


def _fields_of(
    operation: str, settings: dict[str, Any], inputs: Sequence[Any], output: Any, known: dict[int, Fields]
) -> Fields:
    """The fields of an operation's output, from those of its inputs that come from the image, by position."""
    pairs = [pair for pair in known.values() if pair is not None]
    if not known or len(pairs) < len(known) or output.ndim != 4:
        return None
    if operation in WINDOWS:
        if set(known) != {0}:  # weights made from the image
            return None
        window = settings.get("window") or inputs[1].shape[2:]
        (rows, cols), dilation = pairs[0], settings.get("dilation", (1, 1))
        stride, pads = settings["stride"], settings["pads"]
        return (
            rows.through(window[0], stride[0], pads[0], dilation[0]),
            cols.through(window[1], stride[1], pads[2], dilation[1]),
        )
    spread = any(inputs[i].shape[-2:] != output.shape[-2:] for i in known)  # one pixel for several
    uneven = any(pair[axis].jump != pairs[0][axis].jump for pair in pairs for axis in (0, 1))
    if operation not in ELEMENTWISE or spread or uneven:
        return None
    rows, cols = pairs[0]
    for pair in pairs[1:]:
        rows, cols = rows.joined(pair[0]), cols.joined(pair[1])
    return rows, cols
