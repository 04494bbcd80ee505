"""Layers that set random elements to 0 in training."""

from ..checks import number_in_range
from ..tensors import Tensor
from . import functional as F
from .layer import Layer

__all__ = ["Dropout"]
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

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        number_in_range("Dropout", "p", p, 0, 1)
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, self.inplace)
