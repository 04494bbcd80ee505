"""Data sets that need no download."""

from .mnist import MNIST

__all__ = ["MNIST"]


def __dir__() -> list[str]:
    return __all__
