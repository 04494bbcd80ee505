"""minigrad: a small tensor and autograd engine whose kernels are written in Python and compiled by Numba."""

from .tensor import Tensor
from .tensor import Tensor as tensor
