"""Pooling: the largest or the mean of every window."""

from functools import cache

from ... import ops
from ...checks import whole_number
from ...shapes import pair
from ...tensors import Tensor, apply
from .arguments import Size, as_tuple

__all__ = ["avg_pool2d", "max_pool2d"]
__dir__ = __all__.copy


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the largest value of every window.

    x            (N, C, H, W)    images or feature maps
    kernel_size  pixels          side of the window, or (KH, KW)
    stride       pixels          step between windows; kernel_size if None
    padding      pixels          around the image, at most half of the window; its pixels are -inf
    dilation     pixels          distance between the pixels of a window
    ceil_mode    bool            whether windows may reach over the far edge: ceil in place of floor
    returns      (N, C, OH, OW)  OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    The gradient goes to the first largest pixel of each window.
    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
    Source   Zhou & Chellappa 1988; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> max_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    settings = _pool_settings(
        "max_pool2d", as_tuple(kernel_size), as_tuple(stride), as_tuple(padding), as_tuple(dilation)
    )
    return apply(ops.max_pool2d, x, ceil_mode=ceil_mode, **settings)


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window.

    x                  (N, C, H, W)    images or feature maps
    kernel_size        pixels          side of the window, or (KH, KW)
    stride             pixels          step between windows; kernel_size if None
    padding            pixels          zeros around the image, at most half of the window
    ceil_mode          bool            whether windows may reach over the far edge: ceil in place of floor
    count_include_pad  bool            whether the mean counts padding
    divisor_override   count           the divisor, in place of the number of pixels
    returns            (N, C, OH, OW)  OH = floor((H + 2*padding - KH) / stride) + 1

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
    Source   LeCun et al. 1989; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> avg_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    settings = _pool_settings("avg_pool2d", as_tuple(kernel_size), as_tuple(stride), as_tuple(padding))
    if divisor_override is not None:
        whole_number("avg_pool2d", "divisor_override", divisor_override, least=1)
    return apply(
        ops.avg_pool2d,
        x,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor_override,
        **settings,
    )


@cache
def _pool_settings(where, kernel_size, stride, padding, dilation=None):
    window = pair(kernel_size, "kernel_size", where)
    step = window if stride is None else pair(stride, "stride", where)
    rows, cols = pair(padding, "padding", where, least=0)
    settings = {"window": window, "stride": step, "pads": (rows, rows, cols, cols)}
    return settings if dilation is None else {**settings, "dilation": pair(dilation, "dilation", where)}
