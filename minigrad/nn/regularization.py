"""Layers that set random elements or channels to 0 in training."""

from typing import Any

from ..checks import number_in_range
from ..tensors import Tensor
from . import functional as F
from .layer import Layer

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]
__dir__ = __all__.copy


class Dropout(Layer):
    """In training, set each element to 0 with probability p and divide the others by 1 - p; after eval() do nothing.

    Raises   ValidationError   p is not between 0 and 1
    Source   N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014
    Example
    >>> import minigrad as mg
    >>> Dropout(0.5).eval()(mg.ones(2))
    tensor([1., 1.])
    """

    _shown = ("p", "inplace")
    _function: Any = staticmethod(F.dropout)

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        number_in_range(type(self).__name__, "p", p, 0, 1)
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, self.p, self.training, self.inplace)


class Dropout1d(Dropout):
    """In training, drop whole channels of x (N, C, L) or (C, L), as functional.dropout1d."""

    _function = staticmethod(F.dropout1d)


class Dropout2d(Dropout):
    """In training, drop whole channels of x (N, C, H, W) or (N, C, L), as functional.dropout2d."""

    _function = staticmethod(F.dropout2d)


class Dropout3d(Dropout):
    """In training, drop whole channels of x (N, C, D, H, W) or (C, D, H, W), as functional.dropout3d."""

    _function = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """In training, drop elements and keep mean 0 and variance 1, for networks of SELU; see functional.alpha_dropout."""

    _function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout for whole channels of x (N, C, ...)."""

    _function = staticmethod(F.feature_alpha_dropout)
