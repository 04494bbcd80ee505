"""Pooling layers.  The settings are those of the functions in functional/pooling.py."""

from collections.abc import Callable
from typing import Any

from ..checks import whole_number
from ..errors import ValidationError
from ..shapes import per_side
from ..tensors import Tensor
from . import functional as F
from .functional.arguments import as_tuple
from .layer import FunctionModule, Layer

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d"]
__all__ += ["LPPool1d", "LPPool2d", "MaxPool1d", "MaxPool2d", "MaxUnpool1d", "MaxUnpool2d"]
__dir__ = __all__.copy


class _Pool(FunctionModule, Layer):
    """A function of pooling as a layer, which checks its settings."""

    _sides = 2  # of an image; a line has 1
    _tuples = False  # whether sizes are kept as tuples even if they are given as numbers

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **named: Any) -> None:
        super().__init_subclass__(function, **named)
        if function is not None:
            cls._sides = int(function.__name__[-2])
            if "_shown" not in vars(cls):
                cls._shown = tuple(name for name in cls._settings.parameters if name != "return_indices")

    def __init__(self, *settings: Any, **named: Any):
        super().__init__(*settings, **named)
        where, given = type(self).__name__, {name: getattr(self, name) for name in self._settings.parameters}
        if "padding" in given and given["stride"] is None:
            self.stride = given["stride"] = given["kernel_size"]
        sizes = {
            name: per_side(as_tuple(given[name]), name, where, int(name != "padding"), self._sides)
            for name in ("kernel_size", "stride", "padding", "dilation")
            if given.get(name) is not None
        }
        if any(2 * side > k for side, k in zip(sizes.get("padding", ()), sizes.get("kernel_size", ()), strict=False)):
            raise ValidationError(
                f"{where}: padding {given['padding']} is more than half of kernel_size {given['kernel_size']}; "
                "use less padding, so that every window holds a pixel"
            )
        if given.get("divisor_override") is not None:
            whole_number(where, "divisor_override", given["divisor_override"], least=1)
        if self._tuples:
            vars(self).update(sizes)


MAX_SETTINGS = "kernel_size stride padding dilation return_indices ceil_mode"


class MaxPool2d(_Pool, function=F.max_pool2d, settings=MAX_SETTINGS):
    """Return the largest value of every window, as F.max_pool2d.

    kernel_size, stride, padding, dilation, return_indices, ceil_mode   as there
    x, returns      (N, C, H, W) or (C, H, W), (N, C, OH, OW) or (C, OH, OW)

    Raises   ShapeError        x has not 3 or 4 dimensions, or no window fits
             ValidationError   a setting is out of range
    Example
    >>> import minigrad as mg
    >>> MaxPool2d(2)(mg.zeros(8, 6, 28, 28)).shape
    (8, 6, 14, 14)
    """


class MaxPool1d(_Pool, function=F.max_pool1d, settings=MAX_SETTINGS):
    """Return the largest value of every window of lines; the settings are those of MaxPool2d."""


class AvgPool2d(_Pool, function=F.avg_pool2d):
    """Return the mean of every window, as F.avg_pool2d.

    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override   as there
    """

    _shown = ("kernel_size", "stride", "padding")


class AvgPool1d(_Pool, function=F.avg_pool1d):
    """Return the mean of every window of lines; the settings are those of AvgPool2d."""

    _tuples, _shown = True, AvgPool2d._shown


class LPPool2d(_Pool, function=F.lp_pool2d):
    """Return (the sum of x**norm_type over every window)**(1 / norm_type), as F.lp_pool2d."""


class LPPool1d(_Pool, function=F.lp_pool1d):
    """LPPool2d for lines (N, C, L) or (C, L)."""


class AdaptiveAvgPool2d(_Pool, function=F.adaptive_avg_pool2d):
    """Return the means of windows that cover the image evenly, as F.adaptive_avg_pool2d.

    output_size   pixels   of the result: one number, or (OH, OW); None keeps the size; 1 is the mean of each channel
    """


class AdaptiveAvgPool1d(_Pool, function=F.adaptive_avg_pool1d):
    """AdaptiveAvgPool2d for lines (N, C, L) or (C, L)."""


class AdaptiveMaxPool2d(_Pool, function=F.adaptive_max_pool2d):
    """Return the largest values of windows that cover the image evenly, as F.adaptive_max_pool2d.

    output_size      pixels   of the result: one number, or (OH, OW); None keeps the size
    return_indices   bool     whether to return (values, indices)
    """


class AdaptiveMaxPool1d(_Pool, function=F.adaptive_max_pool1d):
    """AdaptiveMaxPool2d for lines (N, C, L) or (C, L)."""


class _MaxUnpool(_Pool):
    _tuples = True

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:  # type: ignore[override]
        return super().forward(x, indices, output_size=output_size)


class MaxUnpool2d(_MaxUnpool, function=F.max_unpool2d, settings="kernel_size stride padding"):
    """Return images with the largest values of a pooling at their places, and 0 elsewhere, as F.max_unpool2d.

    x, indices    as MaxPool2d returns them with return_indices=True; the settings are those of that MaxPool2d
    output_size   (OH, OW) of the pooling's images, if windows did not divide them
    """


class MaxUnpool1d(_MaxUnpool, function=F.max_unpool1d, settings="kernel_size stride padding"):
    """MaxUnpool2d for lines (N, C, L) or (C, L)."""
