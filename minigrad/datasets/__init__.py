"""Data sets: published ones, folders of images, and pictures that are drawn."""

from .folder import DatasetFolder, ImageFolder
from .mnist import MNIST

__all__ = ["MNIST", "DatasetFolder", "ImageFolder"]
__dir__ = __all__.copy
