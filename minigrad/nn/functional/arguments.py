"""Checks of arguments that several functions share."""

from ...errors import DtypeError, ValidationError
from ...ops.op import Op
from ...tensors import Tensor, apply

Size = int | tuple[int, int]  # of a window, a step or a margin: one number for both sides, or a pair


def in_place_or_new(inplace: bool, operation: Op, x: Tensor, *others: Tensor, **settings: float) -> Tensor:
    """operation(x, *others), in the memory of x if `inplace`."""
    if inplace:
        expect_tensors(operation.name, x)
        return x._change(operation, *others, **settings)
    return apply(operation, x, *others, **settings)


def expect_tensors(where: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")


def as_tuple(setting):
    """A setting given as a list, as a tuple."""
    return tuple(setting) if isinstance(setting, list) else setting


def check_reduction(reduction: str, where: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValidationError(f"{where}: reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
