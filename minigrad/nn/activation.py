"""Activations as layers.  The settings are those of the function, which nn.functional explains."""

from numpy.typing import DTypeLike

from ..creation import full
from ..errors import ShapeError
from ..runtime.device import CPU, device as Device
from ..tensors import Tensor, float32
from . import functional as F, init
from .layer import FunctionLayer, Layer
from .parameter import Parameter

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax",
    "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip
__dir__ = __all__.copy


class ReLU(FunctionLayer, function=F.relu):
    """Return max(x, 0); inplace=True writes the result to x."""


class LeakyReLU(FunctionLayer, function=F.leaky_relu):
    """Return x where it is positive and negative_slope * x elsewhere."""


class ReLU6(FunctionLayer, function=F.relu6):
    """Return x limited to 0..6."""


class Hardtanh(FunctionLayer, function=F.hardtanh):
    """Return x limited to min_val..max_val, -1..1 by default."""


class Hardsigmoid(FunctionLayer, function=F.hardsigmoid):
    """Return relu6(x + 3) / 6, an approximation of sigmoid."""


class Hardswish(FunctionLayer, function=F.hardswish):
    """Return x * relu6(x + 3) / 6, an approximation of SiLU."""


class Threshold(FunctionLayer, function=F.threshold):
    """Return x where it is above `threshold` and `value` elsewhere."""


class Hardshrink(FunctionLayer, function=F.hardshrink):
    """Return 0 from -lambd to lambd and x elsewhere."""


class Softshrink(FunctionLayer, function=F.softshrink):
    """Return x moved towards 0 by lambd, and 0 from -lambd to lambd."""


class ELU(FunctionLayer, function=F.elu):
    """Return x where it is positive and alpha * (e**x - 1) elsewhere."""


class CELU(FunctionLayer, function=F.celu):
    """Return x where it is positive and alpha * (e**(x / alpha) - 1) elsewhere."""


class SELU(FunctionLayer, function=F.selu):
    """Return 1.0507 * ELU(1.6733)(x), which keeps a mean of 0 and a variance of 1."""


class GELU(FunctionLayer, function=F.gelu):
    """Return x times the normal distribution function of x; approximate='tanh' computes it by tanh."""


class SiLU(FunctionLayer, function=F.silu):
    """Return x * sigmoid(x), also called swish."""


class Mish(FunctionLayer, function=F.mish):
    """Return x * tanh(softplus(x))."""


class Softplus(FunctionLayer, function=F.softplus):
    """Return log(1 + e**(beta * x)) / beta, and x where beta * x is above `threshold`."""


class Softsign(FunctionLayer, function=F.softsign):
    """Return x / (1 + |x|)."""


class Tanh(FunctionLayer, function=F.tanh):
    """Return the hyperbolic tangent, between -1 and 1."""


class Tanhshrink(FunctionLayer, function=F.tanhshrink):
    """Return x - tanh(x)."""


class Sigmoid(FunctionLayer, function=F.sigmoid):
    """Return 1 / (1 + e**-x), between 0 and 1."""


class LogSigmoid(FunctionLayer, function=F.logsigmoid):
    """Return the logarithm of sigmoid, without overflow."""


class GLU(FunctionLayer, function=F.glu):
    """Return the first half of an axis times sigmoid of the second half."""


class Softmax(FunctionLayer, function=F.softmax):
    """Return e**x divided by its sum along `dim`: positive numbers that add up to 1."""


class Softmin(FunctionLayer, function=F.softmin):
    """Return softmax of -x along `dim`."""


class LogSoftmax(FunctionLayer, function=F.log_softmax):
    """Return the logarithm of softmax along `dim`, computed without overflow."""


class Softmax2d(Layer):
    """Return softmax over the channels of every pixel of x (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: x has {x.ndim} dimensions {x.shape}, expected (N, C, H, W) or (C, H, W)")
        return F.softmax(x, -3)


class RReLU(FunctionLayer, function=F.rrelu):
    """Return LeakyReLU with slopes drawn between lower and upper in training, and with their mean after eval()."""


class PReLU(Layer):
    """Return x where it is positive and weight * x elsewhere, with learned weights.

    num_parameters   1, or the number of channels of x (N, C, ...)
    init             the first value of the weights
    """

    _shown = ("num_parameters",)

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: str | Device = CPU, dtype: DTypeLike = float32
    ):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), init, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Set the weights to their first value."""
        init.constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)
