"""Activations: functions of each element, and softmax."""

from ... import ops
from ...functions import log_softmax, sigmoid, softmax, tanh
from ...tensors import Tensor, apply
from .arguments import in_place_or_new

__all__ = ["leaky_relu", "log_softmax", "relu", "sigmoid", "softmax", "tanh"]
__dir__ = __all__.copy


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    inplace   whether the result is written to x, which is returned

    Raises   GraphError   inplace, and x is a leaf that requires grad
    Example
    >>> import minigrad as mg
    >>> relu(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return in_place_or_new(inplace, ops.relu, x) if inplace else apply(ops.relu, x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere.

    inplace   whether the result is written to x, which is returned

    Raises   GraphError   inplace, and x is a leaf that requires grad
    Source   A. Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013
    Example
    >>> import minigrad as mg
    >>> leaky_relu(mg.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1,  2. ])
    """
    return in_place_or_new(inplace, ops.leaky_relu, x, negative_slope=float(negative_slope))
