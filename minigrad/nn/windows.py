"""Layers for windows of images as columns of a matrix."""

from . import functional as F
from .layer import FunctionLayer

__all__ = ["Fold", "Unfold"]
__dir__ = __all__.copy


class Unfold(FunctionLayer, function=F.unfold):
    """Every window of the images as a column: (N, C, H, W) becomes (N, C*KH*KW, windows)."""


class Fold(FunctionLayer, function=F.fold):
    """Columns of windows added up to images: (N, C*KH*KW, windows) becomes (N, C, *output_size)."""
