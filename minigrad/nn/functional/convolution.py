"""Convolution."""

from functools import cache

from ... import ops
from ...checks import whole_number
from ...errors import ShapeError
from ...shapes import padding_2d, pair
from ...tensors import Tensor, apply
from .arguments import Size, as_tuple, expect_tensors

__all__ = ["conv2d"]
__dir__ = __all__.copy


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over the images: an output is the sum of a window times the filter, plus the bias.

    x         (N, C, H, W)            images or feature maps
    weight    (F, C/groups, KH, KW)   F filters
    bias      (F)                     or None
    stride    pixels                  step between windows, one number or (rows, columns)
    padding   pixels                  zeros around the image; 'same' keeps the size (stride 1), 'valid' is 0
    dilation  pixels                  distance between the pixels of a window
    groups    count                   channels and filters are divided into this many groups, which do not mix
    returns   (N, F, OH, OW)          OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    Raises   ShapeError        channels differ, or no window fits
             ValidationError   a setting out of range
    Source   Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
    Example
    >>> import minigrad as mg
    >>> image = mg.ones(1, 1, 3, 3)
    >>> conv2d(image, mg.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    expect_tensors("conv2d", x, weight)
    if weight.ndim != 4:
        raise ShapeError(
            f"conv2d: weight has {weight.ndim} dimensions {weight.shape}, expected 4 (F, C/groups, KH, KW)"
        )
    settings = _conv_settings(weight.shape[2:], as_tuple(stride), as_tuple(padding), as_tuple(dilation), groups)
    return apply(ops.conv2d, x, weight, bias, **settings)


@cache
def _conv_settings(window, stride, padding, dilation, groups):
    whole_number("conv2d", "groups", groups, least=1)
    step, spread = pair(stride, "stride", "conv2d"), pair(dilation, "dilation", "conv2d")
    pads = padding_2d(padding, window, step, spread, "conv2d")
    return {"stride": step, "pads": pads, "dilation": spread, "groups": groups}
