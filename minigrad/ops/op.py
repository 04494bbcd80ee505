"""What an operation is: a forward on arrays of one device, a rule for its gradient, and kernels with a column a device.

    @op
    def mul(device, a, b):                    # checks, allocates, runs kernels; returns `out`, or `out, saved`
        ...

    @mul.gradient
    def mul_gradient(do, g, a, b):            # one small function for each input, called only if that input wants it
        return lambda: do.mul(g, b), lambda: do.mul(g, a)

A rule names what it needs: an input of the forward by its name (kept for it; all of `*positions` as a list), `a_shape`
for a shape alone, `out`, `saved`, and settings.  It is written in terms of other operations, through `do`: with plain
arrays, `do.mul` just computes; when a graph of the gradient itself is wanted, `do.mul` works on tensors and is noted.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..runtime.elementwise import elementwise
from ..runtime.threads import call_on_host, local

OPS: dict[str, "Op"] = {}


class Dispatch(dict[str, Callable[..., None]]):
    """A kernel: functions of one signature, `out` last, one for each device, by the device's type.

    formula   where the kernel computes element by element, the scalar function from which columns are made
    """

    def __init__(self, name: str, formula: Callable[..., Any] | None = None, **columns: Callable[..., None]):
        super().__init__(columns)
        self.name, self.formula = name, formula
        self["numpy"] = _quiet(columns["numpy"])
        if formula is not None and "cpu" not in columns:
            self["cpu"] = elementwise(formula)

    def run(self, device, *arguments: Any) -> None:
        """Run the column of a device, outside any operation."""
        device.run(self[device.type], *arguments)

    def register(self, device: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """A decorator that makes a function the implementation for a device."""

        def add(function: Callable[..., None]) -> Callable[..., None]:
            self[device] = function
            return function

        return add

    def __missing__(self, device: str):
        LATE.get(device, lambda columns: None)(self)
        found = self.get(device)
        if found is None:
            raise DeviceError(f"{self.name}: no kernel for device '{device}'; there is one for {', '.join(self)}")
        return found


def _find_cuda(columns: Dispatch) -> None:
    """Make the cuda column from the formula, or load the pages on which it stands."""
    if columns.formula is not None:
        columns["cuda"] = importlib.import_module("minigrad.runtime.cuda.elementwise").elementwise(columns.formula)
    else:
        importlib.import_module("minigrad.ops.cuda")


LATE = {"cuda": _find_cuda}  # columns that are found when first asked for, as a GPU is


def by_numpy(column: Callable[..., None]) -> Callable[..., None]:
    """A cpu column that leaves the work to NumPy: for what is rare, or only moves elements."""

    quiet = _quiet(column)

    @wraps(column)
    def run(*arguments: Any) -> None:
        call_on_host(quiet, *arguments)

    return run


def _quiet(column):
    """Infinities and nans come without NumPy's warnings, as they do from any other column."""

    def quiet(*arguments):
        with np.errstate(all="ignore"):
            column(*arguments)

    return quiet


class Op:
    """An operation; its inputs are the forward's positional parameters, its settings the keyword-only ones.

    view            the output may share memory with the first input
    elementwise     an element of the output depends on the elements of the inputs at the same place only
    sliding_window  a pixel of the output depends on a window of the input, as `stride`, `pads`, `dilation` say
    moves           the output holds elements of the input, unchanged; pictures of a model leave it out
    activation      its name in pictures, if it is an activation: "ReLU"
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        view: bool = False,
        elementwise: bool = False,
        sliding_window: bool = False,
        moves: bool = False,
        activation: str | None = None,
    ):
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.name = forward.__name__.rstrip("_")  # sum_ is sum, without hiding the builtin
        self.__doc__ = forward.__doc__
        self.forward = forward
        self.inputs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)  # `*positions`: any number
        self.view, self.elementwise, self.sliding_window = view, elementwise, sliding_window
        self.moves, self.activation = moves, activation
        self.launches = False  # whether all its work is launches and calls of `host`
        self.flops: Callable[..., int] | None = None  # of (out, *inputs): multiplications and additions
        self.rule: Callable[..., tuple[Callable[[], Any] | None, ...]] | None = None
        self.sources: list[tuple[str, str, Any]] = []
        self.keeps: tuple[int, ...] = ()
        self.keeps_out = self.keeps_saved = self.keeps_rest = False
        OPS[self.name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, device, *arrays: Any, **settings: Any) -> Any:
        """The output alone."""
        out = self.forward(device, *arrays, **settings)
        return out[0] if type(out) is tuple else out

    def gradient(self, rule):
        """Set the gradient rule; its parameter names tell what the tape must keep."""
        names = list(inspect.signature(rule).parameters)[2:]
        self.rule = rule
        self.keeps = tuple(i for i, name in enumerate(self.inputs) if name in names and name != self.rest)
        self.keeps_rest = self.rest in names
        self.keeps_out = "out" in names and "out" not in self.inputs
        self.keeps_saved = "saved" in names
        self.sources = [(name, *self._source(name)) for name in names]
        return rule

    def kept_of(self, arrays: Sequence[Any]) -> tuple[int, ...]:
        """The positions of the inputs that the gradient rule needs."""
        return (*self.keeps, *range(len(self.inputs) - 1, len(arrays))) if self.keeps_rest else self.keeps

    def input_name(self, position: int) -> str:
        """The name of an input."""
        return self.inputs[min(position, len(self.inputs) - 1)]

    def _source(self, name: str) -> tuple[str, Any]:
        """Where a rule's argument comes from."""
        if name == self.rest:
            return "rest", slice(len(self.keeps), None)
        if name in self.inputs:
            return "kept", self.keeps.index(self.inputs.index(name))
        if name.removesuffix("_shape") in self.inputs:
            return "shape", self.inputs.index(name.removesuffix("_shape"))
        return (name, None) if name in ("out", "saved", "shapes") else ("setting", name)

    def arguments(self, kept: Sequence[Any], shapes, out, saved, settings: dict[str, Any]) -> dict[str, Any]:
        """The rule's arguments after `do` and `g`, by name."""
        places = {
            "kept": kept,
            "rest": kept,
            "shape": shapes,
            "setting": settings,
            "out": out,
            "saved": saved,
            "shapes": shapes,
        }
        return {name: places[kind] if key is None else places[kind][key] for name, kind, key in self.sources}


def op(forward: Callable[..., Any] | None = None, **properties: Any) -> Any:
    """A decorator that makes an operation of its forward, with properties of Op."""
    return partial(op, **properties) if forward is None else Op(forward, **properties)


def launches(operation: Op) -> Op:
    """Mark an operation that works on arrays by kernels and `host` alone, so that a recording notes these; any other is
    called again as a whole when the recording is replayed."""
    operation.launches = True
    return operation


def find(name: str) -> Op:
    """The operation called `name`.

    Raises   AttributeError   there is none
    """
    try:
        return OPS[name]
    except KeyError:
        raise AttributeError(name) from None


class ArrayOps:
    """`do` on plain arrays of one device."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name: str):
        operation = find(name)
        # most operations return an array and nothing else: their forward itself will do
        bound = partial(operation if operation.keeps_saved else operation.forward, self.device)
        setattr(self, name, bound)
        return bound


class RecordedOps(ArrayOps):
    """`do` on plain arrays of one device, under the eyes of a recording."""

    def __getattr__(self, name: str):
        return partial(_under_recording, find(name), self.device)


def _under_recording(operation: Op, device, *arrays, **settings):
    out = local.observer.run(operation, device, arrays, settings)
    return out[0] if type(out) is tuple else out
