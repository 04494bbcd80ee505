"""Activations as layers."""

from ..tensors import Tensor
from . import functional as F
from .layer import Layer

__all__ = ["LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]
__dir__ = __all__.copy


class ReLU(Layer):
    """Return max(x, 0); inplace=True writes the result to x.

    Example
    >>> import minigrad as mg
    >>> ReLU()(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Layer):
    """Return x where it is positive and negative_slope * x elsewhere; inplace=True writes the result to x.

    Example
    >>> import minigrad as mg
    >>> LeakyReLU(0.1)(mg.tensor([-1.0, 2.0]))
    tensor([-0.1,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Tanh(Layer):
    """Return the hyperbolic tangent, between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class Sigmoid(Layer):
    """Return 1 / (1 + e**-x), between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class _AlongDim(Layer):
    """A function along one axis."""

    _shown = ("dim",)

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim


class Softmax(_AlongDim):
    """Return e**x divided by its sum along `dim`: positive numbers that add up to 1.

    Example
    >>> import minigrad as mg
    >>> Softmax(dim=1)(mg.zeros(1, 4))
    tensor([[0.25, 0.25, 0.25, 0.25]])
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.dim)


class LogSoftmax(_AlongDim):
    """Return the logarithm of softmax along `dim`, computed without overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, self.dim)
