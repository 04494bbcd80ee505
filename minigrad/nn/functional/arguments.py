"""Checks of arguments that several functions share."""

from collections.abc import Callable

from ...errors import DtypeError, ValidationError
from ...ops.op import Op
from ...ops.promotion import expect_float
from ...tensors import Tensor, apply

Size = int | tuple[int, int]  # of a window, a step or a margin: one number for both sides, or a pair


def in_place_or_new(inplace: bool, operation: Op, x: Tensor, *others: Tensor, **settings: float) -> Tensor:
    """operation(x, *others), in the memory of x if `inplace`."""
    if inplace:
        expect_tensors(operation.name, x)
        return x._change(operation, *others, **settings)
    return apply(operation, x, *others, **settings)


def composed(where: str, inplace: bool, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function(x), written to x if `inplace`; x keeps its old value for the gradient."""
    expect_tensors(where, x)
    expect_float(where, x)
    return x.copy_(function(x.clone())) if inplace else function(x)


def expect_tensors(where: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")


def as_tuple(setting):
    """A setting given as a list, as a tuple."""
    return tuple(setting) if isinstance(setting, list) else setting


REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, where: str, known: tuple[str, ...] = REDUCTIONS) -> None:
    if reduction not in known:
        *first, last = map(repr, known)
        raise ValidationError(f"{where}: reduction is {reduction!r}; use {', '.join(first)} or {last}")
