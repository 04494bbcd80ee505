"""Data sets that work offline."""

from minigrad.datasets.mnist import MNIST

__all__ = ["MNIST"]
