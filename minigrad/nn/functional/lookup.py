"""Rows of a table by their index."""

from ... import ops
from ...errors import DtypeError, OutOfRangeError, ValidationError
from ...tape import no_grad
from ...tensors import Tensor, apply, int64
from .arguments import expect_tensors

__all__ = ["embedding", "one_hot"]
__dir__ = __all__.copy


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of a table with the given numbers.

    input        any shape      whole numbers from 0 to num_embeddings - 1
    weight       (num_embeddings, embedding_dim)
    padding_idx  number         of a row that gets no gradient; negative numbers count from the end
    max_norm     above 0        rows that are read and have a larger norm are first shortened to it, in `weight` itself
    norm_type    p              of that norm
    returns      (*input.shape, embedding_dim)

    Example
    >>> import minigrad as mg
    >>> embedding(mg.tensor([2, 0]), mg.arange(6.0).reshape(3, 2))
    tensor([[4., 5.],
            [0., 1.]])
    """
    expect_tensors("embedding", input, weight)
    if scale_grad_by_freq or sparse:
        name = "sparse" if sparse else "scale_grad_by_freq"
        raise ValidationError(f"embedding: {name}=True is not supported; gradients are dense sums")
    skip = -1
    if padding_idx is not None:
        skip = padding_idx + len(weight) if padding_idx < 0 else padding_idx
        if not 0 <= skip < len(weight):
            raise OutOfRangeError(f"embedding: padding_idx is {padding_idx}, the weight has {len(weight)} rows")
    if max_norm is not None:
        _shorten_rows(weight, input, max_norm, norm_type)
    return apply(ops.embedding, weight, input, skip=skip)


@no_grad()
def _shorten_rows(weight: Tensor, ids: Tensor, max_norm: float, p: float) -> None:
    flat = ids.reshape(-1)
    rows = weight[flat]
    norms = (rows.abs() ** p).sum(1, keepdim=True) ** (1 / p)
    weight[flat] = rows.where(norms <= max_norm, rows * (max_norm / (norms + 1e-7)))


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Return 1 at the place that each element names, 0 elsewhere, on a new last axis.

    input        int64   classes from 0
    num_classes  count   size of the new axis; -1: the largest class + 1
    returns      int64   (*input.shape, num_classes)

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
