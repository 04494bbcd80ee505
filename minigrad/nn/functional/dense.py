"""Dense layers."""

from math import prod

from ... import ops
from ...errors import ShapeError
from ...tensors import Tensor, apply
from .arguments import expect_tensors

__all__ = ["linear"]
__dir__ = __all__.copy


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias: each output is a weighted sum of all features.

    x        (..., IN)    features
    weight   (OUT, IN)
    bias     (OUT)        or None
    returns  (..., OUT)

    Raises   ShapeError   the number of features differs
    Example
    >>> import minigrad as mg
    >>> linear(mg.ones(1, 3), mg.ones(2, 3), mg.tensor([0.0, 1.0]))
    tensor([[3., 4.]])
    """
    if isinstance(x, Tensor) and x.array.ndim == 2:
        return apply(ops.linear, x, weight, bias)
    expect_tensors("linear", x, weight)
    if not x.ndim:
        raise ShapeError("linear: x is a single number, expected (..., in_features)")
    flat = apply(ops.linear, x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight, bias)
    return flat.reshape(*x.shape[:-1], flat.shape[-1])
