"""Data sets that need no download."""

from .mnist import MNIST

__all__ = ["MNIST"]
__dir__ = __all__.copy
