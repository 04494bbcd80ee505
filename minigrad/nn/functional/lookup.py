"""Rows of a table by their index."""

from ...errors import DtypeError, ValidationError
from ...tensors import Tensor, int64
from .arguments import expect_tensors

__all__ = ["one_hot"]
__dir__ = __all__.copy


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Return 1 at the place that each element names, 0 elsewhere, on a new last axis.

    input        int64   classes from 0
    num_classes  count   size of the new axis; -1: the largest class + 1
    returns      int64   (*input.shape, num_classes)

    Raises   DtypeError        the input is not int64
             OutOfRangeError   a class is negative or too large
             ValidationError   num_classes is -1, and there is no element to tell it
             GraphError        num_classes is -1 while mg.graph records
    Example
    >>> import minigrad as mg
    >>> one_hot(mg.tensor([1, 0]), 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    expect_tensors("one_hot", input)
    if input.dtype != int64:
        raise DtypeError(f"one_hot: classes are {input.dtype}, expected int64; convert them with .long()")
    if num_classes < 0 and not input.numel():
        raise ValidationError("one_hot: there are no classes to count; give num_classes")
    count = int(input.max()) + 1 if num_classes < 0 else num_classes
    return input.new_zeros(*input.shape, count).scatter(-1, input.unsqueeze(-1), 1)
