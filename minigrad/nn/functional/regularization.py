"""Dropout: random elements or channels become 0 in training."""

from math import sqrt

from ... import ops
from ...checks import number_in_range
from ...creation import zeros
from ...errors import DtypeError, ShapeError
from ...streams import next_key
from ...tensors import Tensor, apply
from .arguments import expect_tensors, in_place_or_new

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]
__dir__ = __all__.copy

SELU_MINIMUM = -1.7580993408473766  # the limit of selu at -infinity


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
    return _drop("dropout", x, p, training, inplace)


def dropout1d(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of lines, (N, C, L) or (C, L), with probability p, as dropout2d."""
    return _drop("dropout1d", x, p, training, inplace, {2: 1, 3: 2})


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels with probability p and divide the others by 1 - p, in training.

    x   (N, C, H, W), or (N, C, L)

    Neighbouring pixels are alike, so that zeros at single pixels hide little.
    Raises   ShapeError        x has another number of axes
             ValidationError   p is not between 0 and 1
    Source   J. Tompson et al., "Efficient object localization using convolutional networks", 2015, section 3.2
    Example
    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> rows = F.dropout2d(mg.ones(1, 8, 2, 2)).flatten(2)
    >>> bool((rows == rows[:, :, :1]).all())
    True
    """
    return _drop("dropout2d", x, p, training, inplace, {3: 2, 4: 2})


def dropout3d(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of volumes, (N, C, D, H, W) or (C, D, H, W), with probability p, as dropout2d."""
    return _drop("dropout3d", x, p, training, inplace, {4: 1, 5: 2})


def alpha_dropout(x: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Set elements to the limit of selu at -infinity with probability p; then scale and shift all, in training.

    x   any shape, with mean 0 and variance 1, which the result has, too

    Raises   ValidationError   p is not between 0 and 1
    Source   G. Klambauer et al., "Self-normalizing neural networks", 2017, section 2
    """
    return _drop("alpha_dropout", x, p, training, inplace, alpha=True)


def feature_alpha_dropout(x: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Do the same as alpha_dropout to whole channels of x (N, C, ...)."""
    return _drop("feature_alpha_dropout", x, p, training, inplace, dict.fromkeys(range(2, x.ndim + 1), 2), alpha=True)


def _drop(where, x, p, training, inplace, kept=None, alpha=False):
    """Draw a mask and apply it; `kept` are the leading axes of the mask by the number of axes of x, all if None."""
    expect_tensors(where, x)
    if x.dtype.kind != "f":
        raise DtypeError(f"{where}: x is {x.dtype}, expected floats; convert it with .float()")
    number_in_range(where, "p", p, 0, 1)
    if kept is not None and x.ndim not in kept:
        expected = " or ".join(map(str, kept)) or "2 or more"
        raise ShapeError(f"{where}: x has {x.ndim} dimension(s) {x.shape}, expected {expected}")
    if not training or p == 0:
        return x
    like = x.detach()
    if kept is not None:
        axes = kept[x.ndim]
        like = zeros(*x.shape[:axes], *[1] * (x.ndim - axes), dtype=x.dtype, device=x.device)
    mask = apply(ops.dropout_mask, like, p=float(p), key=next_key())
    if not alpha or p == 1:
        return in_place_or_new(inplace, ops.mul, x, mask)
    scale = 1 / sqrt((1 - p) * (1 + p * SELU_MINIMUM**2))
    keep = (mask > 0).to(x.dtype)
    shift = (1 - keep) * (SELU_MINIMUM * scale) - p * SELU_MINIMUM * scale
    return in_place_or_new(inplace, ops.add, in_place_or_new(inplace, ops.mul, x, keep * scale), shift)
