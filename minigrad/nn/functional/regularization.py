"""Dropout: random elements become 0 in training."""

from ... import ops
from ...checks import number_in_range
from ...errors import DtypeError
from ...streams import next_key
from ...tensors import Tensor, apply
from .arguments import expect_tensors, in_place_or_new

__all__ = ["dropout"]
__dir__ = __all__.copy


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zero each element with probability p and divide the others by 1 - p; otherwise return x.

    inplace   whether the result is written to x, which is returned

    The same seed gives the same zeros on every device.
    Raises   ValidationError   p is not between 0 and 1
             GraphError        inplace, and x is a leaf that requires grad
    Source   N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014
    Example
    >>> import minigrad as mg
    >>> dropout(mg.ones(2), 0.5, training=False)
    tensor([1., 1.])
    """
    expect_tensors("dropout", x)
    if x.dtype.kind != "f":
        raise DtypeError(f"dropout: x is {x.dtype}, expected floats; convert it with .float()")
    number_in_range("dropout", "p", p, 0, 1)
    if not training or p == 0:
        return x
    mask = apply(ops.dropout_mask, x.detach(), p=float(p), key=next_key())
    return in_place_or_new(inplace, ops.mul, x, mask)
