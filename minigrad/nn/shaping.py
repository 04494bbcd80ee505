"""Layers that give the same elements another shape."""

from ..tensors import Tensor
from . import functional as F
from .layer import Layer

__all__ = ["Flatten"]
__dir__ = __all__.copy


class Flatten(Layer):
    """Merge the axes start_dim to end_dim into one; by default all axes but the first.

    Example
    >>> import minigrad as mg
    >>> Flatten()(mg.zeros(8, 16, 5, 5)).shape
    (8, 400)
    """

    _shown = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_dim, self.end_dim)
