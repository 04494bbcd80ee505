"""Data sets: published ones, folders of images, and pictures that are drawn."""

import sys

from ..names import explain_unknown_names
from .cifar import CIFAR10, CIFAR100
from .folder import DatasetFolder, ImageFolder
from .image_files import open_image
from .mnist import EMNIST, KMNIST, MNIST, QMNIST, FashionMNIST
from .shapes import ColorShapes
from .stl10 import STL10
from .svhn import SVHN

__all__ = ["CIFAR10", "CIFAR100", "EMNIST", "KMNIST", "MNIST", "QMNIST", "STL10", "SVHN", "ColorShapes"]
__all__ += ["DatasetFolder", "FashionMNIST", "ImageFolder", "open_image"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__])
