"""Convolutional layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import DTypeLike

from ..checks import brief, whole_number
from ..errors import ValidationError
from ..runtime.device import device as Device
from ..shapes import padding_around, per_side
from ..tensors import Tensor, float32
from .functional.arguments import Size, chosen_size
from .functional.convolution import conv, conv_transpose
from .functional.shaping import MODES, pad
from .layer import WeightedLayer

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]
__dir__ = __all__.copy


class _Convolution(WeightedLayer):
    """What convolutions of lines and images, transposed or not, have in common."""

    _sides = 2  # of an image; a line has 1
    _modes: tuple[str, ...] = ("zeros", *MODES[1:])  # of padding

    def _set_up(self, channels: tuple[int, int], groups: int, padding_mode: str, **sizes: Any) -> None:
        """Check and keep the settings; sizes: kernel_size, stride, dilation, padding and perhaps output_padding."""
        where = type(self).__name__
        self.in_channels = whole_number(where, "in_channels", channels[0], least=1)
        self.out_channels = whole_number(where, "out_channels", channels[1], least=1)
        self.groups = whole_number(where, "groups", groups, least=1)
        if channels[0] % groups or channels[1] % groups:
            raise ValidationError(
                f"{where}: groups={groups} does not divide in_channels={channels[0]} and "
                f"out_channels={channels[1]}; use a divisor of both"
            )
        if padding_mode not in self._modes:
            raise ValidationError(
                f"{where}: padding_mode is {brief(padding_mode)}; use {', '.join(map(repr, self._modes))}"
            )
        self.padding_mode = padding_mode
        for name, value in sizes.items():
            least = int("padding" not in name)
            setattr(self, name, value if isinstance(value, str) else per_side(value, name, where, least, self._sides))
        self._pads = padding_around(self.padding, self.kernel_size, self.stride, self.dilation, where)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        none, one = (0,) * self._sides, (1,) * self._sides
        for name, usual in (("padding", none), ("dilation", one), ("output_padding", none), ("groups", 1)):
            value = getattr(self, name, usual)
            text += "" if value == usual else f", {name}={value}"
        text += ", bias=False" if self.bias is None else ""
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class _Conv(_Convolution):
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
        padding_mode: str = "zeros",
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        sizes = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "padding": padding}
        self._set_up((in_channels, out_channels), groups, padding_mode, **sizes)
        self._add_parameters((out_channels, in_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        padding: Size | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = pad(x, self._pads[-2:] + self._pads[:-2], self.padding_mode), 0  # the last axis first
        return conv(self._sides, x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Slide filters over images; each filter makes one feature map.

    in_channels   C    channels of the images
    out_channels  F    number of filters
    bias               whether each filter has a bias
    padding_mode       'zeros', or as in F.pad 'reflect', 'replicate' or 'circular'
    device, dtype      of the parameters
    kernel_size, stride, padding, dilation, groups   as in F.conv2d
    weight        (F, C/groups, KH, KW)
    x             (N, C, H, W)    or (C, H, W), one image
    returns       (N, F, OH, OW)  OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    Raises   ShapeError        x has another number of channels, or no window fits
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Conv2d(1, 6, kernel_size=5, padding=2)(mg.zeros(8, 1, 28, 28)).shape
    (8, 6, 28, 28)
    """


class Conv1d(_Conv):
    """Slide filters along lines (N, C, L) or (C, L); the settings are those of Conv2d, for one side.

    weight   (F, C/groups, K)
    """

    _sides = 1


class _ConvTranspose(_Convolution):
    _modes = ("zeros",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        sizes = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "padding": padding}
        self._set_up((in_channels, out_channels), groups, padding_mode, **sizes, output_padding=output_padding)
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self._add_parameters(shape, bias, device, dtype, out_channels)

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor: ...

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        more = self.output_padding if output_size is None else self._padding_for(x, output_size)
        return conv_transpose(
            self._sides, x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

    def _padding_for(self, x: Tensor, wanted: Sequence[int]) -> tuple[int, ...]:
        """The output_padding with which the result has the wanted sides."""
        sides = zip(x.shape[-self._sides :], self.kernel_size, self.stride, self._pads[::2], self.dilation, strict=True)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in sides]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        size = chosen_size(type(self).__name__, wanted, x.ndim, least, most)
        return tuple(a - b for a, b in zip(size, least, strict=True))


class ConvTranspose2d(_ConvTranspose):
    """Add a window of weights, times the pixel, to the result at every pixel's place, as F.conv_transpose2d.

    in_channels, out_channels   C, F   channels of the images and of the result
    kernel_size to padding_mode        as in Conv2d, output_padding as in F.conv_transpose2d; only zeros are padded
    device, dtype                      of the parameters
    weight        (C, F/groups, KH, KW)
    output_size   (OH, OW)        of the result, in place of output_padding
    x, returns    (N, C, H, W) or (C, H, W), (N, F, OH, OW) or (F, OH, OW)

    Raises   ShapeError        x has another number of channels, or no output_padding gives output_size
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.ConvTranspose2d(6, 3, kernel_size=2, stride=2)(mg.zeros(8, 6, 14, 14)).shape
    (8, 3, 28, 28)
    """


class ConvTranspose1d(_ConvTranspose):
    """Do the same as ConvTranspose2d, along lines (N, C, L) or (C, L), with a weight (C, F/groups, K)."""

    _sides = 1
