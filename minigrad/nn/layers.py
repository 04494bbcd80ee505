"""The layers: settings checked when a layer is built, parameters with their initial values, and a call of F."""

from math import isqrt, prod
from typing import Any

from ..creation import zeros
from ..errors import ShapeError, ValidationError
from ..shapes import padding_2d, pair
from ..tensors import Tensor, float32
from . import functional as F, init
from .functional import Size
from .module import Module
from .parameter import Parameter


class _Weighted(Module):
    """A layer with `weight` and, unless left out, `bias`."""

    def _add_parameters(self, weight: tuple[int, ...], bias: bool, device: Any, dtype: Any) -> None:
        self.weight = Parameter(zeros(weight, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(zeros(weight[0], device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)


def _check_counts(where: str, **counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValidationError(f"{where}: {name} is {value!r}; it must be a whole number of at least 1")


# ---- dense


class Linear(_Weighted):
    """Every output is a weighted sum of all features, plus bias: x @ weight.T + bias.

    in_features    count of features in
    out_features   count of features out
    bias           whether a bias is added
    weight         (OUT, IN)
    x, returns     (..., IN), (..., OUT)

    Raises   ShapeError        x has another number of features
             ValidationError   a count below 1
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Linear(400, 120)(mg.zeros(8, 400)).shape
    (8, 120)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = "cpu", dtype: Any = float32
    ):
        super().__init__()
        _check_counts("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self._add_parameters((out_features, in_features), bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """F.linear with this weight and bias."""
        if x.ndim and x.shape[-1] != self.in_features:
            raise ShapeError(f"Linear expects {_misfit(x, self.in_features)}")
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _misfit(x: Tensor, features: int) -> str:
    """Both numbers of features, as maps where x was flattened from one, and what to do."""
    before = _before_reshape(x)
    if x.ndim > 2 and prod(x.shape[1:]) == features:
        return f"{features} features, got {x.shape[-1]} in x {x.shape}; flatten it first, with x.flatten(1)"
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
        "did a layer before it lose its padding, or are the images of another size?"
    )


def _before_reshape(x: Tensor) -> tuple[int, ...]:
    """The shape x had before it was flattened, where that was recorded."""
    return x.node.shapes[0] if x.node is not None and x.node.op.name == "reshape" else ()


class Flatten(Module):
    """Axes start_dim to end_dim made into one; by default everything but the batch.

    Example
    >>> import minigrad as mg
    >>> Flatten()(mg.zeros(8, 16, 5, 5)).shape
    (8, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """x.flatten."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Its input, unchanged; a placeholder that takes any settings."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


# ---- convolution and pooling


class Conv2d(_Weighted):
    """Slide filters over images; each filter gives one feature map.

    in_channels   C, channels of the images
    out_channels  F, number of filters
    kernel_size   pixels      side of the filters, or (KH, KW)
    stride        pixels      step between windows, one number or a pair
    padding       pixels      of zeros around the image, a number or a pair; 'same' keeps the size, 'valid' is 0
    dilation      pixels      distance between the pixels of a window
    groups        count       parts that do not mix; divides both channel counts
    bias          bool        whether each filter has a bias
    weight        (F, C/groups, KH, KW)
    x, returns    (N, C, H, W), (N, F, OH, OW) with OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    Raises   ShapeError        x has other channels, or no window fits
             ValidationError   a setting out of range
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
        device: Any = "cpu",
        dtype: Any = float32,
    ):
        super().__init__()
        _check_counts("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValidationError(
                f"Conv2d: groups={groups} does not divide in_channels={in_channels} and "
                f"out_channels={out_channels}; use a divisor of both"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2d")
        self.stride, self.dilation = pair(stride, "stride", "Conv2d"), pair(dilation, "dilation", "Conv2d")
        padding_2d(padding, self.kernel_size, self.stride, self.dilation, "Conv2d")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", "Conv2d", least=0)
        self._add_parameters((out_channels, in_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """F.conv2d with this weight, bias and settings."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The settings that are not PyTorch's defaults, for repr()."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class _Pool2d(Module):
    """Windows of one size and step."""

    def __init__(self, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        where = type(self).__name__
        window = pair(kernel_size, "kernel_size", where)
        pair(self.stride, "stride", where)
        if any(2 * side > size for side, size in zip(pair(padding, "padding", where, least=0), window, strict=True)):
            raise ValidationError(
                f"{where}: padding {padding} is more than half of kernel_size {kernel_size}; "
                "every window must hold a pixel"
            )

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """Keep the largest value of every window; F.max_pool2d has the details.

    kernel_size  pixels   side of the window, or (KH, KW)
    stride       pixels   step between windows; kernel_size if None
    padding      pixels   around the image, at most half of the window
    dilation     pixels   distance between the pixels of a window
    ceil_mode    bool     also windows that reach over the far edge
    x, returns   (N, C, H, W), (N, C, OH, OW)

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
    Example
    >>> import minigrad as mg
    >>> MaxPool2d(2)(mg.zeros(8, 6, 28, 28)).shape
    (8, 6, 14, 14)
    """

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
        """F.max_pool2d with these settings."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"{super().extra_repr()}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(_Pool2d):
    """The mean of every window; F.avg_pool2d has the details.

    kernel_size        pixels   side of the window, or (KH, KW)
    stride             pixels   step between windows; kernel_size if None
    padding            pixels   of zeros around the image, at most half of the window
    ceil_mode          bool     also windows that reach over the far edge
    count_include_pad  bool     whether padding counts as pixels
    divisor_override   count    divide by this instead
    x, returns         (N, C, H, W), (N, C, OH, OW)

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
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
            _check_counts("AvgPool2d", divisor_override=divisor_override)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """F.avg_pool2d with these settings."""
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


# ---- activations


class ReLU(Module):
    """max(x, 0); with inplace=True written to x.

    Example
    >>> import minigrad as mg
    >>> ReLU()(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """F.relu."""
        return F.relu(x, self.inplace)

    def extra_repr(self) -> str:
        """The setting, for repr()."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """x where positive, negative_slope * x elsewhere; with inplace=True written to x.

    Example
    >>> import minigrad as mg
    >>> LeakyReLU(0.1)(mg.tensor([-1.0, 2.0]))
    tensor([-0.1,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        """F.leaky_relu."""
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Tanh(Module):
    """The hyperbolic tangent, between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """F.tanh."""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e**-x), between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """F.sigmoid."""
        return F.sigmoid(x)


class _AlongDim(Module):
    """A function along one axis."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The setting, for repr()."""
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """e**x divided by its sum along `dim`: positive, adding up to 1.

    Example
    >>> import minigrad as mg
    >>> Softmax(dim=1)(mg.zeros(1, 4))
    tensor([[0.25, 0.25, 0.25, 0.25]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """F.softmax."""
        return F.softmax(x, self.dim)


class LogSoftmax(_AlongDim):
    """The logarithm of softmax along `dim`, computed so that nothing overflows."""

    def forward(self, x: Tensor) -> Tensor:
        """F.log_softmax."""
        return F.log_softmax(x, self.dim)


# ---- regularisation


class Dropout(Module):
    """In training, zero each element with probability p and divide the others by 1 - p; nothing after eval().

    Raises   ValidationError   p is not between 0 and 1
    Source   N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014
    Example
    >>> import minigrad as mg
    >>> Dropout(0.5).eval()(mg.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValidationError(f"Dropout: p is {p}; it is a probability, 0 to 1")
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        """F.dropout."""
        return F.dropout(x, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The settings, for repr()."""
        return f"p={self.p}, inplace={self.inplace}"
