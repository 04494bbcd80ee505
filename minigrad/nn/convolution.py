"""Convolutional layers."""

from numpy.typing import DTypeLike

from ..checks import whole_number
from ..errors import ValidationError
from ..runtime.device import device as Device
from ..shapes import padding_2d, pair
from ..tensors import Tensor, float32
from . import functional as F
from .functional.arguments import Size
from .layer import WeightedLayer

__all__ = ["Conv2d"]
__dir__ = __all__.copy


class Conv2d(WeightedLayer):
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
