"""Layers.  Each checks its settings when it is built, holds its parameters, and calls a function of nn.functional."""

from math import isqrt, prod
from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from ..checks import number_in_range, whole_number
from ..creation import zeros
from ..errors import ShapeError, ValidationError
from ..runtime.device import device as Device
from ..shapes import padding_2d, pair
from ..tensors import Tensor, float32
from . import functional as F, init
from .functional import Size
from .module import Module
from .parameter import Parameter


class _Layer(Module):
    """A layer from a tensor to a tensor, whose repr() shows the attributes named in `_shown`."""

    _shown: tuple[str, ...] = ()

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)


class _WeightedLayer(_Layer):
    """A layer with `weight` and an optional `bias`."""

    weight: Parameter
    bias: Parameter | None

    def _add_parameters(self, shape: tuple[int, ...], bias: bool, device: str | Device, dtype: DTypeLike) -> None:
        self.weight = Parameter(zeros(shape, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(zeros(shape[0], device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)


# ---- dense


class Linear(_WeightedLayer):
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


class Flatten(_Layer):
    """Merge the axes start_dim to end_dim into one; by default all axes but the first.

    Example
    >>> import minigrad as mg
    >>> Flatten()(mg.zeros(8, 16, 5, 5)).shape
    (8, 400)
    """

    _shown = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_dim, self.end_dim)


class Identity(_Layer):
    """Return the input unchanged; all settings are accepted and ignored."""

    def __init__(self, *args: object, **kwargs: object):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


# ---- convolution and pooling


class Conv2d(_WeightedLayer):
    """Slide filters over images; each filter makes one feature map.

    in_channels   C           channels of the images
    out_channels  F           number of filters
    kernel_size   pixels      side of the filters, or (KH, KW)
    stride        pixels      step between windows, one number or a pair
    padding       pixels      zeros around the image, a number or a pair; 'same' keeps the size, 'valid' is 0
    dilation      pixels      distance between the pixels of a window
    groups        number      channels and filters are cut into this many independent groups
    bias          bool        whether each filter has a bias
    device, dtype             of the parameters
    weight        (F, C/groups, KH, KW)
    x, returns    (N, C, H, W), (N, F, OH, OW) with OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    Raises   ShapeError        x has another number of channels, or no window fits
             ValidationError   a setting is out of range
    Source   Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Conv2d(1, 6, kernel_size=5, padding=2)(mg.zeros(8, 1, 28, 28)).shape
    (8, 6, 28, 28)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        self.in_channels = whole_number("Conv2d", "in_channels", in_channels, least=1)
        self.out_channels = whole_number("Conv2d", "out_channels", out_channels, least=1)
        self.groups = whole_number("Conv2d", "groups", groups, least=1)
        if in_channels % groups or out_channels % groups:
            raise ValidationError(
                f"Conv2d: groups={groups} does not divide in_channels={in_channels} and "
                f"out_channels={out_channels}; use a divisor of both"
            )
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2d")
        self.stride = pair(stride, "stride", "Conv2d")
        self.dilation = pair(dilation, "dilation", "Conv2d")
        padding_2d(padding, self.kernel_size, self.stride, self.dilation, "Conv2d")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", "Conv2d", least=0)
        self._add_parameters((out_channels, in_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class _Pool2d(_Layer):
    """A layer with pooling windows of one size and stride."""

    _shown: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        where = type(self).__name__
        window = pair(kernel_size, "kernel_size", where)
        pair(self.stride, "stride", where)
        if any(2 * side > size for side, size in zip(pair(padding, "padding", where, least=0), window, strict=True)):
            raise ValidationError(
                f"{where}: padding {padding} is more than half of kernel_size {kernel_size}; use less padding, so that "
                "every window holds a pixel"
            )


class MaxPool2d(_Pool2d):
    """Return the largest value of every window, as F.max_pool2d.

    kernel_size  pixels   side of the window, or (KH, KW)
    stride       pixels   step between windows; kernel_size if None
    padding      pixels   margin around the image, at most half of the window; it is never the largest value
    dilation     pixels   distance between the pixels of a window
    ceil_mode    bool     whether to include windows that reach beyond the far edge
    x, returns   (N, C, H, W), (N, C, OH, OW)

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> MaxPool2d(2)(mg.zeros(8, 6, 28, 28)).shape
    (8, 6, 14, 14)
    """

    _shown = (*_Pool2d._shown, "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        pair(dilation, "dilation", "MaxPool2d")
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool2d(_Pool2d):
    """Return the mean of every window, as F.avg_pool2d.

    kernel_size        pixels   side of the window, or (KH, KW)
    stride             pixels   step between windows; kernel_size if None
    padding            pixels   zeros around the image, at most half of the window
    ceil_mode          bool     whether to include windows that reach beyond the far edge
    count_include_pad  bool     whether zeros of the padding count as pixels
    divisor_override   number   divisor in place of the number of pixels
    x, returns         (N, C, H, W), (N, C, OH, OW)

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> AvgPool2d(2)(mg.zeros(8, 6, 28, 28)).shape
    (8, 6, 14, 14)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        if divisor_override is not None:
            whole_number("AvgPool2d", "divisor_override", divisor_override, least=1)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        windows = self.kernel_size, self.stride, self.padding, self.ceil_mode
        return F.avg_pool2d(x, *windows, self.count_include_pad, self.divisor_override)


# ---- activations


class ReLU(_Layer):
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


class LeakyReLU(_Layer):
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


class Tanh(_Layer):
    """Return the hyperbolic tangent, between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class Sigmoid(_Layer):
    """Return 1 / (1 + e**-x), between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class _AlongDim(_Layer):
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


# ---- regularisation


class Dropout(_Layer):
    """In training, set each element to 0 with probability p and divide the others by 1 - p; after eval() do nothing.

    Raises   ValidationError   p is not between 0 and 1
    Source   N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014
    Example
    >>> import minigrad as mg
    >>> Dropout(0.5).eval()(mg.ones(2))
    tensor([1., 1.])
    """

    _shown = ("p", "inplace")

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        number_in_range("Dropout", "p", p, 0, 1)
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, self.inplace)
