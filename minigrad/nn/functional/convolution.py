"""Convolution."""

from functools import cache

from ... import ops
from ...checks import whole_number
from ...errors import ShapeError
from ...ops.conv2d import out_shape, transposed_size
from ...shapes import padding_around, per_side
from ...tensors import Tensor, apply
from .arguments import Size, as_images, as_tuple, expect_tensors, without_height

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]
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
    return _convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter along the lines x (N, C, L) or (C, L), with weights (F, C/groups, K); else as conv2d.

    Example
    >>> import minigrad as mg
    >>> conv1d(mg.ones(1, 1, 4), mg.ones(1, 1, 3), padding=1)
    tensor([[[2., 3., 3., 2.]]])
    """
    return _convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
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
    groups          count                   channels and filters are divided into this many groups, which do not mix
    dilation        pixels                  distance between the pixels of a window
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
    return _transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of conv1d by x, for x (N, C, L) or (C, L) and weights (C, F/groups, K); else as conv_transpose2d."""
    return _transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve(where, sides, x, weight, bias, stride, padding, dilation, groups):
    images, restore, kernel, b = _prepare(where, sides, x, weight, bias, "F, C/groups")
    settings = _settings(where, weight.shape[2:], as_tuple(stride), as_tuple(padding), as_tuple(dilation), groups)
    if sides == 1:
        out_shape(where, without_height(images.shape, 1), weight.shape, b, *settings.values())
        settings = _of_images(**settings)
    return restore(apply(ops.conv2d, images, kernel, bias, **settings))


def _transpose(where, sides, x, weight, bias, stride, padding, output_padding, groups, dilation):
    images, restore, kernel, b = _prepare(where, sides, x, weight, bias, "C, F/groups")
    settings = _settings(where, weight.shape[2:], as_tuple(stride), as_tuple(padding), as_tuple(dilation), groups)
    more = per_side(as_tuple(output_padding), "output_padding", where, 0, sides)
    shapes = without_height(images.shape, sides), weight.shape, b
    size, left_out = transposed_size(where, *shapes, *settings.values(), more), (0,) * sides
    if any(extra >= step for extra, step in zip(more, settings["stride"], strict=True)):
        # the windows of such a result would be more than there are pixels in x: leave out the rows that no window sees
        after = tuple(max(p - extra, 0) for p, extra in zip(settings["pads"][::2], more, strict=True))
        left_out = tuple(max(extra - p, 0) for p, extra in zip(settings["pads"][::2], more, strict=True))
        settings["pads"] = tuple(side for pair in zip(settings["pads"][::2], after, strict=True) for side in pair)
        size = tuple(side - rest for side, rest in zip(size, left_out, strict=True))
    later = any(left_out) and bias is not None
    settings = settings if sides == 2 else _of_images(**settings)
    size = size if sides == 2 else (1, *size)
    out = apply(ops.conv_transpose2d, images, kernel, None if later else bias, size=size, **settings)
    if any(left_out):
        widths = ((0, 0),) * (4 - sides) + tuple((0, rest) for rest in left_out)
        out = apply(ops.pad, out, widths=widths, value=0.0)
    return restore(out + bias.reshape(-1, 1, 1) if later else out)


def _prepare(where, sides, x, weight, bias, axes):
    """x as images, the function that restores its axes, the weight for images, and the shape of the bias."""
    images, restore = as_images(where, x, sides)
    expect_tensors(where, weight)
    if weight.ndim != sides + 2:
        window = "KH, KW" if sides == 2 else "K"
        raise ShapeError(
            f"{where}: weight has {weight.ndim} dimensions {weight.shape}, expected {sides + 2} ({axes}, {window})"
        )
    return images, restore, weight if sides == 2 else weight.unsqueeze(2), None if bias is None else bias.shape


def _settings(where, window, stride, padding, dilation, groups):
    return dict(_checked_settings(where, window, stride, padding, dilation, groups))


@cache
def _checked_settings(where, window, stride, padding, dilation, groups):
    whole_number(where, "groups", groups, least=1)
    step, spread = (
        per_side(value, name, where, 1, len(window)) for value, name in ((stride, "stride"), (dilation, "dilation"))
    )
    pads = padding_around(padding, window, step, spread, where)
    return {"stride": step, "pads": pads, "dilation": spread, "groups": groups}


def _of_images(stride, pads, dilation, groups):
    """The settings for lines as settings for images of height 1."""
    return {"stride": (1, *stride), "pads": (0, 0, *pads), "dilation": (1, *dilation), "groups": groups}
