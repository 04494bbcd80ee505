"""Dense layers."""

from math import isqrt, prod

from numpy.typing import DTypeLike

from ..checks import whole_number
from ..errors import ShapeError
from ..runtime.device import device as Device
from ..tensors import Tensor, float32
from . import functional as F
from .layer import Layer, WeightedLayer

__all__ = ["Identity", "Linear"]
__dir__ = __all__.copy


class Linear(WeightedLayer):
    """Compute x @ weight.T + bias: every output is a weighted sum of all features.

    in_features    IN     number of input features
    out_features   OUT    number of output features
    bias           bool   whether to add a bias
    device, dtype         of the parameters
    weight         (OUT, IN)
    x, returns     (..., IN), (..., OUT)

    Raises   ShapeError        x has another number of features
             ValidationError   a number of features is below 1
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Linear(400, 120)(mg.zeros(8, 400)).shape
    (8, 120)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        self.in_features = whole_number("Linear", "in_features", in_features, least=1)
        self.out_features = whole_number("Linear", "out_features", out_features, least=1)
        self._add_parameters((self.out_features, self.in_features), bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and x.ndim and x.shape[-1] != self.in_features:
            raise ShapeError(f"Linear expects {_explain_features(x, self.in_features)}")
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _explain_features(x: Tensor, features: int) -> str:
    """Return both numbers of features, as C x H x W if x was flattened from images, and what to do."""
    if x.ndim > 2 and prod(x.shape[1:]) == features:
        return f"{features} features, got {x.shape[-1]} in x {x.shape}; flatten it first, with x.flatten(1)"
    before: tuple[int, ...] = x.node.shapes[0] if x.node is not None and x.node.op.name == "reshape" else ()
    if len(before) != 4 or prod(before[1:]) != x.shape[-1]:
        return (
            f"{features} features, got {x.shape[-1]} in x {x.shape}; "
            f"build the layer with in_features={x.shape[-1]}, or give it other features"
        )
    _, C, H, W = before
    side = isqrt(features // C)
    planned = f" = {C}x{side}x{side}" if C * side * side == features else ""
    return (
        f"{features} features{planned}, got {x.shape[-1]} = {C}x{H}x{W}; "
        "check the padding of the layers before it and the size of the images"
    )


class Identity(Layer):
    """Return the input unchanged; all settings are accepted and ignored."""

    def __init__(self, *args: object, **kwargs: object):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x
