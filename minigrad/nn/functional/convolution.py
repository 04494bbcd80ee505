"""Convolution."""

from functools import cache

from ... import ops
from ...checks import whole_number
from ...errors import ShapeError
from ...ops.conv2d import out_shape, transposed_size
from ...shapes import padding_around, per_side
from ...tensors import Tensor, apply
from .arguments import Size, as_images, as_tuple, expect_tensors, for_lines_and_images, without_height

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]
__dir__ = __all__.copy


def conv(
    sides: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over the images: an output is the sum of a window times the filter, plus the bias.

    x         (N, C, H, W)            images or feature maps; or (C, H, W), one image
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
    where = f"conv{sides}d"
    numbers = stride, padding, dilation, groups
    images, restore, shapes, settings = _prepare(where, sides, x, weight, bias, "F, C/groups", numbers)
    if sides == 1:  # as images of height 1; the operation checks those of 2 sides
        out_shape(where, *shapes, *settings.values())
        weight, settings = weight.unsqueeze(2), _of_images(**settings)
    return restore(apply(ops.conv2d, images, weight, bias, **settings))


def conv_transpose(
    sides: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Add a window of weights, times the pixel, to the result at every pixel's place: the gradient of conv2d by x.

    x               (N, C, H, W)            images or feature maps; or (C, H, W), one image
    weight          (C, F/groups, KH, KW)   a window for each channel and filter
    bias            (F)                     or None
    stride          pixels                  step between windows in the result
    padding         pixels                  cut off around the result
    output_padding  pixels                  added to the result below and on the right; less than stride or dilation
    groups, dilation                        as in conv2d
    returns         (N, F, OH, OW)          OH = (H - 1)*stride - 2*padding + dilation*(KH-1) + output_padding + 1

    Raises   ShapeError        channels differ, or the result would have no pixels
             ValidationError   a setting out of range
    Source   Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4
    Example
    >>> import minigrad as mg
    >>> conv_transpose2d(mg.tensor([[[[1.0, 2.0]]]]), mg.ones(1, 1, 2, 2), stride=2)
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """
    where = f"conv_transpose{sides}d"
    numbers = stride, padding, dilation, groups
    images, restore, shapes, settings = _prepare(where, sides, x, weight, bias, "C, F/groups", numbers)
    more = per_side(as_tuple(output_padding), "output_padding", where, 0, sides)
    size = transposed_size(where, *shapes, *settings.values(), more)
    if sides == 1:
        size, weight, settings = (1, *size), weight.unsqueeze(2), _of_images(**settings)
    return restore(apply(ops.conv_transpose2d, images, weight, bias, size=size, **settings))


conv1d, conv2d = for_lines_and_images(conv)
conv_transpose1d, conv_transpose2d = for_lines_and_images(conv_transpose)


def _prepare(where, sides, x, weight, bias, axes, numbers):
    """x as images, the function that restores its axes, the shapes of x, weight and bias, and the settings."""
    images, restore = as_images(where, x, sides)
    expect_tensors(where, weight, *([] if bias is None else [bias]))
    if weight.ndim != sides + 2:
        window = "KH, KW" if sides == 2 else "K"
        raise ShapeError(
            f"{where}: weight has {weight.ndim} dimensions {weight.shape}, expected {sides + 2} ({axes}, {window})"
        )
    settings = _settings(where, weight.shape[2:], *map(as_tuple, numbers))
    shapes = without_height(images.shape, sides), weight.shape, None if bias is None else bias.shape
    return images, restore, shapes, settings


@cache
def _settings(where, window, stride, padding, dilation, groups):
    whole_number(where, "groups", groups, least=1)
    step, spread = (
        per_side(stride, "stride", where, 1, len(window)),
        per_side(dilation, "dilation", where, 1, len(window)),
    )
    pads = padding_around(padding, window, step, spread, where)
    return {"stride": step, "pads": pads, "dilation": spread, "groups": groups}


def _of_images(stride, pads, dilation, groups):
    """The settings for lines as settings for images of height 1."""
    return {"stride": (1, *stride), "pads": (0, 0, *pads), "dilation": (1, *dilation), "groups": groups}
