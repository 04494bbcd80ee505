"""Pooling: the largest value, the mean or another norm of every window; and the way back from the largest values."""

from collections.abc import Sequence
from functools import cache
from math import prod

from ... import ops
from ...checks import whole_number
from ...creation import arange, zeros
from ...errors import OutOfRangeError, ShapeError
from ...ops.pool2d import out_shape
from ...ops.promotion import expect_float
from ...shapes import per_side
from ...tensors import Tensor, apply
from .arguments import (
    Size,
    as_images,
    as_tuple,
    chosen_size,
    expect_tensors,
    for_lines_and_images,
    sum_along,
    without_height,
)

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d"]
__all__ += ["avg_pool2d", "lp_pool1d", "lp_pool2d", "max_pool1d", "max_pool2d", "max_unpool1d", "max_unpool2d"]
__dir__ = __all__.copy

Sides = int | Sequence[int | None] | None  # of a result: a number for both sides, or one for each; None keeps a side


def max_pool(
    sides: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Return the largest value of every window.

    x               (N, C, H, W)    images or feature maps; or (C, H, W), one image
    kernel_size     pixels          side of the window, or (KH, KW)
    stride          pixels          step between windows; kernel_size if None
    padding         pixels          around the image, at most half of the window; its pixels are -inf
    dilation        pixels          distance between the pixels of a window
    ceil_mode       bool            whether windows may reach over the far edge: ceil in place of floor
    return_indices  bool            whether to return (values, indices), with the index h * W + w of the largest pixel
    returns         (N, C, OH, OW)  OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    The gradient goes to the first largest pixel of each window.
    Raises   ShapeError        x has not 3 or 4 dimensions, or no window fits
             ValidationError   a setting out of range
    Source   Zhou & Chellappa 1988; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> max_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    images, restore, settings = _prepare(sides, "max_pool", x, kernel_size, stride, padding, ceil_mode, dilation)
    return _largest(images, _places(images) if return_indices else None, restore, settings)


def _places(images):
    """h * W + w for every pixel of images."""
    _, _, H, W = images.shape
    return arange(H * W, device=images.device).reshape(1, 1, H, W)


def _largest(images, places, restore, settings):
    out = restore(apply(ops.max_pool2d, images, **settings))
    if places is None:
        return out
    return out, restore(apply(ops.max_pool2d_places, images, places.expand(images.shape), **settings))


def avg_pool(
    sides: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window.

    x                  (N, C, H, W)    images or feature maps; or (C, H, W), one image
    kernel_size, stride, ceil_mode     as in max_pool2d
    padding            pixels          zeros around the image, at most half of the window
    count_include_pad  bool            whether the mean counts padding
    divisor_override   count           the divisor, in place of the number of pixels
    returns            (N, C, OH, OW)  OH = floor((H + 2*padding - KH) / stride) + 1

    Raises   ShapeError        x has not 3 or 4 dimensions, or no window fits
             ValidationError   a setting out of range
    Source   LeCun et al. 1989; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> avg_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    if divisor_override is not None:
        whole_number(f"avg_pool{sides}d", "divisor_override", divisor_override, least=1)
    images, restore, settings = _prepare(sides, "avg_pool", x, kernel_size, stride, padding, ceil_mode)
    settings = {name: value for name, value in settings.items() if name != "dilation"}
    divided = {"count_include_pad": bool(count_include_pad), "divisor": divisor_override}
    return restore(apply(ops.avg_pool2d, images, **settings, **divided))


def lp_pool(
    sides: int, x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """Return (the sum of x**norm_type over every window)**(1 / norm_type); windows as in avg_pool2d.

    Source   Sermanet et al. 2012
    """
    pixels = prod(per_side(as_tuple(kernel_size), "kernel_size", f"lp_pool{sides}d", 1, sides))
    return (avg_pool(sides, x**norm_type, kernel_size, stride, 0, ceil_mode) * pixels) ** (1 / norm_type)


def _prepare(sides, name, x, kernel_size, stride, padding, ceil_mode, dilation=1):
    """x as images, the function that restores its axes, and the settings of the pooling."""
    where = f"{name}{sides}d"
    images, restore = as_images(where, x, sides)
    sizes = as_tuple(kernel_size), as_tuple(stride), as_tuple(padding), as_tuple(dilation)
    return images, restore, _settings(where, without_height(images.shape, sides), sides, bool(ceil_mode), *sizes)


@cache
def _settings(where, shape, sides, ceil_mode, kernel_size, stride, padding, dilation):
    window, step, margins = _window(where, sides, kernel_size, stride, padding)
    spread = per_side(dilation, "dilation", where, 1, sides)
    pads = tuple(margin for margin in margins for _ in range(2))
    if sides == 1:  # as images of height 1; the operation checks those of 2 sides
        out_shape(where, shape, window, step, pads, spread, ceil_mode)
        window, step, pads, spread = (1, *window), (1, *step), (0, 0, *pads), (1, *spread)
    return {"window": window, "stride": step, "pads": pads, "dilation": spread, "ceil_mode": ceil_mode}


def _window(where, sides, kernel_size, stride, padding):
    window = per_side(as_tuple(kernel_size), "kernel_size", where, 1, sides)
    step = window if stride is None or stride == () else per_side(as_tuple(stride), "stride", where, 1, sides)
    return window, step, per_side(as_tuple(padding), "padding", where, 0, sides)


# ---- results of a given size


def adaptive_avg_pool(sides: int, x: Tensor, output_size: Sides) -> Tensor:
    """Return the means of OH x OW windows that cover the image evenly.

    x            (N, C, H, W)    images or feature maps; or (C, H, W), one image
    output_size  pixels          of the result: one number, or (OH, OW); None keeps the size
    returns      (N, C, OH, OW)  window i has the rows from floor(i*H / OH) to before ceil((i+1)*H / OH)

    Raises   ShapeError        x has not 3 or 4 dimensions, or no pixels
             ValidationError   an output_size below 0
    Example
    >>> import minigrad as mg
    >>> adaptive_avg_pool2d(mg.arange(6.0).reshape(1, 1, 2, 3), (1, 2))
    tensor([[[[2., 3.]]]])
    """
    images, restore, size = _prepare_adaptive(f"adaptive_avg_pool{sides}d", sides, x, output_size)
    if size == (1, 1):
        return restore(images.mean((2, 3), keepdim=True))
    window = _even_window(images.shape[2:], size)
    return restore(_along_sides(images, size, "windows") if window is None else avg_pool(2, images, window))


def adaptive_max_pool(sides: int, x: Tensor, output_size: Sides, return_indices: bool = False) -> Tensor:
    """Return the largest values of OH x OW windows that cover the image evenly, as in adaptive_avg_pool2d.

    return_indices   whether to return (values, indices), with the index h * W + w of the largest pixel
    """
    images, restore, size = _prepare_adaptive(f"adaptive_max_pool{sides}d", sides, x, output_size)
    places, window = _places(images) if return_indices else None, _even_window(images.shape[2:], size)
    if window is None:  # make the windows equal by repeating pixels
        images = _along_sides(images, size, "equal windows")
        places = None if places is None else _along_sides(places, size, "equal windows")
        window = _even_window(images.shape[2:], size)
    _, _, settings = _prepare(2, "max_pool", images, window, None, 0, False)
    return _largest(images, places, restore, settings)


def _prepare_adaptive(where, sides, x, output_size):
    """x as images, the function that restores its axes, and (OH, OW)."""
    images, restore = as_images(where, x, sides)
    expect_float(where, images.array)
    if 0 in images.shape[1:]:
        raise ShapeError(f"{where}: x {x.shape} has no channels or images without a pixel; every window must hold one")
    given = as_tuple(output_size)
    given = given if isinstance(given, tuple) else (given,) * sides
    kept = tuple(now if size is None else size for size, now in zip(given, x.shape[-sides:], strict=False))
    size = per_side(kept if len(given) == sides else given, "output_size", where, 1, sides)
    return images, restore, size if sides == 2 else (1, *size)


def _even_window(old, new):
    """The window that divides the sides evenly, or None."""
    sides = list(zip(old, new, strict=True))
    return None if any(a % b for a, b in sides) else tuple(a // b for a, b in sides)


def _along_sides(images, size, rule):
    return sum_along(sum_along(images, 2, rule, size[0]), 3, rule, size[1])


# ---- from the largest values back to images


def max_unpool(
    sides: int,
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return images that hold every value at its index, and 0 elsewhere.

    x, indices   (N, C, H, W)    as max_pool2d returns them with return_indices; or (C, H, W)
    kernel_size, stride, padding of that pooling
    output_size  (OH, OW)        of the pooling's images; (H - 1)*stride - 2*padding + KH if None
    returns      (N, C, OH, OW)

    Of several values with the same index one is kept.
    Raises   ShapeError        the shapes differ, or no images of output_size are pooled to x
             OutOfRangeError   an index lies outside of the images
    Source   Zeiler & Fergus 2014
    Example
    >>> import minigrad as mg
    >>> max_unpool2d(mg.tensor([[[5.0]]]), mg.tensor([[[3]]]), 2)
    tensor([[[0., 0.],
             [0., 5.]]])
    """
    where = f"max_unpool{sides}d"
    as_images(where, x, sides)
    expect_tensors(where, indices)
    if indices.shape != x.shape:
        raise ShapeError(f"{where}: x has shape {x.shape}, indices {indices.shape}; make them equal")
    window, step, margins = _window(where, sides, kernel_size, stride, padding)
    lines = zip(x.shape[-sides:], window, step, margins, strict=True)
    size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in lines)
    if output_size is not None:
        least, most = ([n + sign * (s - 1) for n, s in zip(size, step, strict=True)] for sign in (-1, 1))
        size = chosen_size(where, output_size, x.ndim, least, most)
    pixels, lead = prod(size), x.shape[:-sides]
    x.device.expect_range(indices.array, 0, pixels, 0, _index_error, where, size)
    out = zeros(*lead, pixels, dtype=x.dtype, device=x.device)
    return out.scatter(-1, indices.flatten(-sides), x.flatten(-sides)).reshape(*lead, *size)


def _index_error(number, where, size):
    return OutOfRangeError(f"{where}: index {number} is out of range for {'x'.join(map(str, size))} pixels")


max_pool1d, max_pool2d = for_lines_and_images(max_pool)
avg_pool1d, avg_pool2d = for_lines_and_images(avg_pool)
lp_pool1d, lp_pool2d = for_lines_and_images(lp_pool)
adaptive_avg_pool1d, adaptive_avg_pool2d = for_lines_and_images(adaptive_avg_pool)
adaptive_max_pool1d, adaptive_max_pool2d = for_lines_and_images(adaptive_max_pool)
max_unpool1d, max_unpool2d = for_lines_and_images(max_unpool)
