"""What an operation is: a forward function on arrays of one device, a gradient rule, and the kernels behind them.

    @op
    def mul(device, a, b):                    # checks, allocates, runs kernels; returns `out`, or `out, saved`
        ...

    @mul.gradient
    def mul_gradient(do, g, a, b):            # one small function for each input, called only if that input needs it
        return lambda: do.mul(g, b), lambda: do.mul(g, a)

The parameters of a rule name what it needs: an input of the forward (`*positions` gives a list), `a_shape` for a shape
alone, `shapes` for all of them, `out`, `saved`, and settings.  A rule is written in terms of other operations, through
`do`.  On arrays, `do.mul` computes.  Where the gradient itself is to be differentiated, `do.mul` runs on tensors and is
recorded on the tape.

A forward allocates through runtime/memory.py, and reads and writes elements only by kernels, `memory.copy` and
`call_on_host`.  So a recording sees all that it does (see ../replay.py).
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..runtime.elementwise import Elementwise, Memory
from ..runtime.threads import call_on_host, local

OPS: dict[str, "Op"] = {}
# by backend: a function that makes the implementation that a Dispatch lacks, or returns None
IMPLEMENTERS: dict[str, Callable[["Dispatch"], Callable[..., None] | None]] = {}


class Dispatch(dict[str, Callable[..., None]]):
    """The implementations of one kernel, by backend.  All have the same signature, outputs last.

    reference  for backend numpy: NumPy code that can be judged by reading it
    cpu        for backend cpu; the reference if it is left out
    formula    for an element-wise kernel in place of `cpu`: a function of numbers that every other backend compiles
    kinds      of the formula's arguments and result, see runtime/elementwise.py; all Memory if left out
    floats     position of the argument that selects the code of backend cpu: the kernel for floats, the reference for
               whole numbers and bool, which are small arrays of indices and masks
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., None],
        cpu: Callable[..., None] | None = None,
        formula: Callable[..., Any] | None = None,
        kinds: tuple[Any, ...] = (),
        floats: int | None = None,
    ):
        self.name, self.reference, self.formula = name, reference, formula
        self["numpy"] = on_host = partial(call_on_host, _without_warnings(reference))
        if formula is not None:
            self.kinds = kinds or (Memory,) * (formula.__code__.co_argcount + 1)
            cpu, floats = Elementwise(formula, self.kinds, name), -1 if self.kinds[-1] is Memory else 0  # out
        self["cpu"] = on_host if cpu is None else cpu if floats is None else _for_floats(cpu, on_host, floats)

    def register(self, backend: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """A decorator that makes a function the implementation for a backend."""

        def add(function: Callable[..., None]) -> Callable[..., None]:
            self[backend] = function
            return function

        return add

    def __missing__(self, backend: str) -> Callable[..., None]:
        made = IMPLEMENTERS[backend](self) if backend in IMPLEMENTERS else None
        if made is None:
            raise DeviceError(f"{self.name}: no kernel for device '{backend}'; there is one for {', '.join(self)}")
        self[backend] = made
        return made


def _without_warnings(reference: Callable[..., None]) -> Callable[..., None]:
    """The function without NumPy's warnings: infinity and nan are silent in kernels, too."""

    def run(*arguments):
        with np.errstate(all="ignore"):
            reference(*arguments)

    return run


def _for_floats(kernel, reference, position):
    """The kernel where the argument at `position` holds floats, else the reference."""

    def run(*arguments):
        (kernel if arguments[position].dtype.kind == "f" else reference)(*arguments)

    return run


class Op:
    """An operation; its inputs are the forward's positional parameters, its settings the keyword-only ones.

    name, inputs    of the operation and of its inputs; those of the forward if left out
    view            the output may share memory with the first input
    elementwise     an element of the output depends on the elements of the inputs at the same place only
    sliding_window  a pixel of the output depends on a window of the input, given by `stride`, `pads`, `dilation`
    moves           the output holds elements of the input, unchanged; pictures of a model leave it out
    activation      its name in pictures, if it is an activation: "ReLU"
    dispatch        of a binary operation: its kernel, for sums in place
    flops           function of (out, *inputs): multiplications and additions; None where they are few
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        name: str = "",
        inputs: Sequence[str] = (),
        view: bool = False,
        elementwise: bool = False,
        sliding_window: bool = False,
        moves: bool = False,
        activation: str | None = None,
    ):
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.name = name or forward.__name__.rstrip("_")  # sum_ is sum, without hiding the builtin
        self.forward, self.__doc__ = forward, forward.__doc__
        positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
        self.inputs = list(inputs) or positional
        self.rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)  # `*positions`: any number
        self.view, self.elementwise, self.sliding_window = view, elementwise, sliding_window
        self.moves, self.activation = moves, activation
        self.dispatch: Any = None
        self.flops: Callable[..., int] | None = None
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

    def gradient(self, rule: Callable[..., Any], needs: Sequence[str] | None = None) -> Callable[..., Any]:
        """Set the gradient rule; `needs` names its parameters after `do` and `g`, where it takes them as **needs."""
        names = list(inspect.signature(rule).parameters)[2:] if needs is None else list(needs)
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
        """Where a rule's argument comes from: (what, key); see `arguments`."""
        if name == self.rest:
            return "kept", slice(len(self.keeps), None)
        if name in self.inputs:
            return "kept", self.keeps.index(self.inputs.index(name))
        if name.removesuffix("_shape") in self.inputs:
            return "shapes", self.inputs.index(name.removesuffix("_shape"))
        return (name, None) if name in ("out", "saved", "shapes") else ("settings", name)

    def arguments(self, found: dict[str, Any]) -> dict[str, Any]:
        """The rule's arguments after `do` and `g`, by name, from "kept", "shapes", "out", "saved" and "settings"."""
        return {name: found[what] if key is None else found[what][key] for name, what, key in self.sources}


def op(forward: Callable[..., Any] | None = None, **properties: Any) -> Any:
    """A decorator that turns a forward into an operation, with properties of Op."""
    return partial(op, **properties) if forward is None else Op(forward, **properties)


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
        # most operations return only an array, so their forward itself can be called
        bound = partial(operation if operation.keeps_saved else operation.forward, self.device)
        setattr(self, name, bound)
        return bound


class ObservedOps(ArrayOps):
    """`do` on plain arrays of one device, where an observer sees each operation."""

    def __getattr__(self, name: str):
        return partial(_observed, find(name), self.device)


def _observed(operation: Op, device, *arrays, **settings):
    out = local.observer.run(operation, device, arrays, settings)
    return out[0] if type(out) is tuple else out
