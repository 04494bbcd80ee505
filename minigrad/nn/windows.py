"""Layers for windows of images as columns of a matrix."""

from . import functional as F
from .layer import FunctionLayer

__all__ = ["Fold", "Unfold"]
__dir__ = __all__.copy


class Unfold(FunctionLayer, function=F.unfold):
    """Every window of the images as a column: (N, C, H, W) becomes (N, C*KH*KW, windows).

    Example
    >>> import minigrad as mg
    >>> Unfold(2)(mg.zeros(1, 3, 4, 4)).shape
    (1, 12, 9)
    """


class Fold(FunctionLayer, function=F.fold):
    """Columns of windows added up to images: (N, C*KH*KW, windows) becomes (N, C, *output_size).

    Example
    >>> import minigrad as mg
    >>> Fold((4, 4), 2)(mg.zeros(1, 12, 9)).shape
    (1, 3, 4, 4)
    """
