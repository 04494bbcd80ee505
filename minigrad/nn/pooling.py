"""Pooling layers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..checks import whole_number
from ..errors import ValidationError
from ..shapes import per_side
from ..tensors import Tensor
from .functional import pooling
from .functional.arguments import Size, as_tuple
from .functional.pooling import Sides
from .layer import Layer

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d"]
__all__ += ["LPPool1d", "LPPool2d", "MaxPool1d", "MaxPool2d", "MaxUnpool1d", "MaxUnpool2d"]
__dir__ = __all__.copy


class _Pool(Layer):
    """A layer that calls a function of pooling with the settings that it keeps."""

    _sides = 2  # of an image; a line has 1
    _tuples = False  # whether sizes are kept as tuples even if they are given as numbers
    _function: Callable[..., Any]
    _shown: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def _keep(self, **settings: Any) -> None:
        where = type(self).__name__
        sizes = {
            name: per_side(as_tuple(settings[name]), name, where, int(name != "padding"), self._sides)
            for name in ("kernel_size", "stride", "padding", "dilation")
            if settings.get(name) is not None
        }
        if any(2 * side > k for side, k in zip(sizes.get("padding", ()), sizes.get("kernel_size", ()), strict=False)):
            raise ValidationError(
                f"{where}: padding {settings['padding']} is more than half of kernel_size {settings['kernel_size']}; "
                "use less padding, so that every window holds a pixel"
            )
        settings |= sizes if self._tuples else {}
        self._settings = tuple(settings)
        vars(self).update(settings)

    def forward(self, *inputs: Any) -> Any:
        return self._function(self._sides, *inputs, **{name: getattr(self, name) for name in self._settings})


class _MaxPool(_Pool):
    _function, _shown = staticmethod(pooling.max_pool), (*_Pool._shown, "dilation", "ceil_mode")

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
        windows = {"kernel_size": kernel_size, "stride": kernel_size if stride is None else stride, "padding": padding}
        self._keep(**windows, dilation=dilation, return_indices=return_indices, ceil_mode=ceil_mode)


class MaxPool2d(_MaxPool):
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


class MaxPool1d(_MaxPool):
    """Return the largest value of every window of lines; the settings are those of MaxPool2d."""

    _sides = 1


class _AvgPool(_Pool):
    _function = staticmethod(pooling.avg_pool)

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
        if divisor_override is not None:
            whole_number(type(self).__name__, "divisor_override", divisor_override, least=1)
        windows = {"kernel_size": kernel_size, "stride": kernel_size if stride is None else stride, "padding": padding}
        divided = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
        self._keep(**windows, ceil_mode=ceil_mode, **divided)


class AvgPool2d(_AvgPool):
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


class AvgPool1d(_AvgPool):
    """Return the mean of every window of lines; the settings are those of AvgPool2d."""

    _sides, _tuples = 1, True


class _LPPool(_Pool):
    _function, _shown = staticmethod(pooling.lp_pool), ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False):
        super().__init__()
        self._keep(norm_type=norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode)


class LPPool2d(_LPPool):
    """Return (the sum of x**norm_type over every window)**(1 / norm_type), as F.lp_pool2d."""


class LPPool1d(_LPPool):
    """LPPool2d for lines (N, C, L) or (C, L)."""

    _sides = 1


class _AdaptiveAvgPool(_Pool):
    _function, _shown = staticmethod(pooling.adaptive_avg_pool), ("output_size",)

    def __init__(self, output_size: Sides):
        super().__init__()
        self._keep(output_size=output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Return the means of windows that cover the image evenly, as F.adaptive_avg_pool2d.

    output_size   pixels   of the result: one number, or (OH, OW); None keeps the size; 1 is the mean of each channel
    """


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """AdaptiveAvgPool2d for lines (N, C, L) or (C, L)."""

    _sides = 1


class _AdaptiveMaxPool(_Pool):
    _function, _shown = staticmethod(pooling.adaptive_max_pool), ("output_size",)

    def __init__(self, output_size: Sides, return_indices: bool = False):
        super().__init__()
        self._keep(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Return the largest values of windows that cover the image evenly, as F.adaptive_max_pool2d.

    output_size      pixels   of the result: one number, or (OH, OW); None keeps the size
    return_indices   bool     whether to return (values, indices)
    """


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """AdaptiveMaxPool2d for lines (N, C, L) or (C, L)."""

    _sides = 1


class _MaxUnpool(_Pool):
    _tuples = True

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        super().__init__()
        self._keep(kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding)

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
        ) -> Tensor: ...

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return pooling.max_unpool(self._sides, x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Return images with the largest values of a pooling at their places, and 0 elsewhere, as F.max_unpool2d.

    x, indices    as MaxPool2d returns them with return_indices=True; the settings are those of that MaxPool2d
    output_size   (OH, OW) of the pooling's images, if windows did not divide them
    """


class MaxUnpool1d(_MaxUnpool):
    """MaxUnpool2d for lines (N, C, L) or (C, L)."""

    _sides = 1
