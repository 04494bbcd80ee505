"""Pooling layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..checks import whole_number
from ..errors import ValidationError
from ..shapes import per_side
from ..tensors import Tensor
from . import functional as F
from .functional.arguments import Size, as_tuple
from .functional.pooling import Sides
from .layer import Layer

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d"]
__all__ += ["LPPool1d", "LPPool2d", "MaxPool1d", "MaxPool2d", "MaxUnpool1d", "MaxUnpool2d"]
__dir__ = __all__.copy


class _Pool(Layer):
    """A layer with pooling windows of one size and stride."""

    _shown: tuple[str, ...] = ("kernel_size", "stride", "padding")
    _sides = 2  # of an image; a line has 1

    def _set_up(self, kernel_size: Size, stride: Size | None, padding: Size) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding
        where = type(self).__name__
        window = per_side(as_tuple(kernel_size), "kernel_size", where, 1, self._sides)
        per_side(as_tuple(self.stride), "stride", where, 1, self._sides)
        margins = per_side(as_tuple(padding), "padding", where, 0, self._sides)
        if any(2 * side > size for side, size in zip(margins, window, strict=True)):
            raise ValidationError(
                f"{where}: padding {padding} is more than half of kernel_size {kernel_size}; use less padding, so that "
                "every window holds a pixel"
            )


class MaxPool2d(_Pool):
    """Return the largest value of every window, as F.max_pool2d.

    kernel_size     pixels   side of the window, or (KH, KW)
    stride          pixels   step between windows; kernel_size if None
    padding         pixels   margin around the image, at most half of the window; it is never the largest value
    dilation        pixels   distance between the pixels of a window
    return_indices  bool     whether to return (values, indices), which MaxUnpool2d takes
    ceil_mode       bool     whether to include windows that reach beyond the far edge
    x, returns      (N, C, H, W) or (C, H, W), (N, C, OH, OW) or (C, OH, OW)

    Raises   ShapeError        x has not 3 or 4 dimensions, or no window fits
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> MaxPool2d(2)(mg.zeros(8, 6, 28, 28)).shape
    (8, 6, 14, 14)
    """

    _shown = (*_Pool._shown, "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self._set_up(kernel_size, stride, padding)
        per_side(as_tuple(dilation), "dilation", type(self).__name__, 1, self._sides)
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        pool = F.max_pool2d if self._sides == 2 else F.max_pool1d
        windows = self.kernel_size, self.stride, self.padding, self.dilation
        return pool(x, *windows, self.ceil_mode, self.return_indices)


class MaxPool1d(MaxPool2d):
    """Return the largest value of every window of lines (N, C, L) or (C, L); the settings are those of MaxPool2d."""

    _sides = 1


class AvgPool2d(_Pool):
    """Return the mean of every window, as F.avg_pool2d.

    kernel_size        pixels   side of the window, or (KH, KW)
    stride             pixels   step between windows; kernel_size if None
    padding            pixels   zeros around the image, at most half of the window
    ceil_mode          bool     whether to include windows that reach beyond the far edge
    count_include_pad  bool     whether zeros of the padding count as pixels
    divisor_override   number   divisor in place of the number of pixels
    x, returns         (N, C, H, W) or (C, H, W), (N, C, OH, OW) or (C, OH, OW)

    Raises   ShapeError        x has not 3 or 4 dimensions, or no window fits
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
        super().__init__()
        self._set_up(kernel_size, stride, padding)
        if divisor_override is not None:
            whole_number("AvgPool2d", "divisor_override", divisor_override, least=1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        windows = self.kernel_size, self.stride, self.padding, self.ceil_mode
        return F.avg_pool2d(x, *windows, self.count_include_pad, self.divisor_override)


class AvgPool1d(_Pool):
    """Return the mean of every window of lines (N, C, L) or (C, L), as F.avg_pool1d; the settings are AvgPool2d's."""

    _sides = 1

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        sizes = [as_tuple(size) for size in (kernel_size, kernel_size if stride is None else stride, padding)]
        self._set_up(*[size if isinstance(size, tuple) else (size,) for size in sizes])
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class LPPool2d(Layer):
    """Return (the sum of x**norm_type over every window)**(1 / norm_type), as F.lp_pool2d."""

    _shown = ("norm_type", "kernel_size", "stride", "ceil_mode")
    _pool = staticmethod(F.lp_pool2d)

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(LPPool2d):
    """Do the same as LPPool2d, on lines (N, C, L) or (C, L)."""

    _pool = staticmethod(F.lp_pool1d)


class AdaptiveAvgPool2d(Layer):
    """Return the means of windows that cover the image evenly, as F.adaptive_avg_pool2d.

    output_size   pixels   of the result: one number, or (OH, OW); None keeps the size; 1 is the mean of each channel

    Example
    >>> import minigrad as mg
    >>> AdaptiveAvgPool2d(1)(mg.zeros(8, 6, 14, 14)).shape
    (8, 6, 1, 1)
    """

    _shown = ("output_size",)
    _pool = staticmethod(F.adaptive_avg_pool2d)

    def __init__(self, output_size: Sides):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, self.output_size)


class AdaptiveAvgPool1d(AdaptiveAvgPool2d):
    """Do the same as AdaptiveAvgPool2d, on lines (N, C, L) or (C, L)."""

    _pool = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveMaxPool2d(Layer):
    """Return the largest values of windows that cover the image evenly, as F.adaptive_max_pool2d.

    output_size      pixels   of the result: one number, or (OH, OW); None keeps the size
    return_indices   bool     whether to return (values, indices)
    """

    _shown = ("output_size",)
    _pool = staticmethod(F.adaptive_max_pool2d)

    def __init__(self, output_size: Sides, return_indices: bool = False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(AdaptiveMaxPool2d):
    """Do the same as AdaptiveMaxPool2d, on lines (N, C, L) or (C, L)."""

    _pool = staticmethod(F.adaptive_max_pool1d)


class MaxUnpool2d(_Pool):
    """Return images with the largest values of a pooling at their places, and 0 elsewhere, as F.max_unpool2d.

    Example
    >>> import minigrad as mg
    >>> values, indices = MaxPool2d(2, return_indices=True)(mg.tensor([[[1.0, 2.0], [4.0, 3.0]]]))
    >>> MaxUnpool2d(2)(values, indices)
    tensor([[[0., 0.],
             [4., 0.]]])
    """

    _unpool = staticmethod(F.max_unpool2d)

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_side(as_tuple(kernel_size), "kernel_size", name, 1, self._sides)
        self.stride = self.kernel_size if stride is None else per_side(as_tuple(stride), "stride", name, 1, self._sides)
        self.padding = per_side(as_tuple(padding), "padding", name, 0, self._sides)

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
        ) -> Tensor: ...

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._unpool(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(MaxUnpool2d):
    """Do the same as MaxUnpool2d, on lines (N, C, L) or (C, L)."""

    _sides, _unpool = 1, staticmethod(F.max_unpool1d)
