"""Pooling layers."""

from ..checks import whole_number
from ..errors import ValidationError
from ..shapes import pair
from ..tensors import Tensor
from . import functional as F
from .functional.arguments import Size
from .layer import Layer

__all__ = ["AvgPool2d", "MaxPool2d"]
__dir__ = __all__.copy


class _Pool2d(Layer):
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
