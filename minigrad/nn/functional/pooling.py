"""Pooling: the largest value, the mean or another norm of every window; and the way back from the largest values."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ... import ops
from ...checks import whole_number
from ...creation import arange, zeros
from ...errors import OutOfRangeError, ShapeError
from ...ops.axis_sums import build_terms
from ...ops.pool2d import out_shape
from ...ops.promotion import expect_float
from ...shapes import per_side
from ...tensors import Tensor, apply
from .arguments import Size, as_images, as_tuple, expect_tensors, without_height

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool1d_with_indices"]
__all__ += ["adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "lp_pool1d"]
__all__ += ["lp_pool2d", "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices"]
__all__ += ["max_unpool1d", "max_unpool2d"]
__dir__ = __all__.copy

Sides = int | Sequence[int | None] | None  # of a result: a number for both sides, or one for each; None keeps a side


# ---- max


def max_pool2d(
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
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Return the largest value of every window of lines (N, C, L) or (C, L); else as max_pool2d."""
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d_with_indices(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """max_pool2d with return_indices=True."""
    return max_pool2d(x, *args, **{**kwargs, "return_indices": True})  # type: ignore[return-value]


def max_pool1d_with_indices(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """max_pool1d with return_indices=True."""
    return max_pool1d(x, *args, **{**kwargs, "return_indices": True})  # type: ignore[return-value]


def _max_pool(where, sides, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices) -> Any:
    images, restore = as_images(where, x, sides)
    windows = as_tuple(kernel_size), as_tuple(stride), as_tuple(padding), as_tuple(dilation)
    settings = _pool_settings(where, without_height(images.shape, sides), sides, ceil_mode, *windows)
    out = restore(apply(ops.max_pool2d, images, **settings))
    return (out, restore(apply(ops.max_pool2d_indices, images, **settings))) if return_indices else out


@cache
def _pool_settings(where, shape, sides, ceil_mode, kernel_size, stride, padding, dilation=1):
    """The settings of a pooling as they are for images; checked for lines or images of `shape`."""
    window = per_side(kernel_size, "kernel_size", where, 1, sides)
    step = window if stride is None or stride == () else per_side(stride, "stride", where, 1, sides)
    margins = per_side(padding, "padding", where, 0, sides)
    spread = per_side(dilation, "dilation", where, 1, sides)
    pads = tuple(margin for margin in margins for _ in range(2))
    if sides == 1:
        out_shape(where, shape, window, step, pads, spread, ceil_mode)
        window, step, pads, spread = (1, *window), (1, *step), (0, 0, *pads), (1, *spread)
    return {"window": window, "stride": step, "pads": pads, "dilation": spread, "ceil_mode": bool(ceil_mode)}


# ---- mean


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

    x                  (N, C, H, W)    images or feature maps; or (C, H, W), one image
    kernel_size        pixels          side of the window, or (KH, KW)
    stride             pixels          step between windows; kernel_size if None
    padding            pixels          zeros around the image, at most half of the window
    ceil_mode          bool            whether windows may reach over the far edge: ceil in place of floor
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
        whole_number("avg_pool2d", "divisor_override", divisor_override, least=1)
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of every window of lines (N, C, L) or (C, L); else as avg_pool2d."""
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _avg_pool(where, sides, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor=None):
    images, restore = as_images(where, x, sides)
    windows = as_tuple(kernel_size), as_tuple(stride), as_tuple(padding)
    settings = dict(_pool_settings(where, without_height(images.shape, sides), sides, ceil_mode, *windows))
    settings = settings | {"count_include_pad": bool(count_include_pad), "divisor": divisor}
    settings.pop("dilation")
    return restore(apply(ops.avg_pool2d, images, **settings))


def lp_pool2d(
    x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """Return (the sum of x**norm_type over every window)**(1 / norm_type); windows as in avg_pool2d.

    Source   P. Sermanet et al., "Convolutional neural networks applied to house numbers digit classification", 2012
    Example
    >>> import minigrad as mg
    >>> lp_pool2d(mg.tensor([[[[3.0, 4.0]]]]), 2, (1, 2))
    tensor([[[[5.]]]])
    """
    pixels = int(np.prod(per_side(as_tuple(kernel_size), "kernel_size", "lp_pool2d")))
    return (avg_pool2d(x**norm_type, kernel_size, stride, 0, ceil_mode) * pixels) ** (1 / norm_type)


def lp_pool1d(
    x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """Do the same as lp_pool2d, on lines (N, C, L) or (C, L)."""
    (pixels,) = per_side(as_tuple(kernel_size), "kernel_size", "lp_pool1d", 1, 1)
    return (avg_pool1d(x**norm_type, kernel_size, stride, 0, ceil_mode) * pixels) ** (1 / norm_type)


# ---- results of a given size


def adaptive_avg_pool2d(x: Tensor, output_size: Sides) -> Tensor:
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
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_avg_pool1d(x: Tensor, output_size: Sides) -> Tensor:
    """Return the means of OL windows that cover the lines (N, C, L) or (C, L) evenly; else as adaptive_avg_pool2d."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_max_pool2d(x: Tensor, output_size: Sides, return_indices: bool = False) -> Tensor:
    """Return the largest values of OH x OW windows that cover the image evenly, as in adaptive_avg_pool2d.

    return_indices   whether to return (values, indices), with the index h * W + w of the largest pixel

    Example
    >>> import minigrad as mg
    >>> adaptive_max_pool2d(mg.arange(6.0).reshape(1, 1, 2, 3), (1, 2))
    tensor([[[[4., 5.]]]])
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, x, output_size, return_indices)


def adaptive_max_pool1d(x: Tensor, output_size: Sides, return_indices: bool = False) -> Tensor:
    """Do the same as adaptive_max_pool2d, on lines (N, C, L) or (C, L)."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool2d_with_indices(x: Tensor, output_size: Sides, return_indices: bool = True) -> Any:
    """adaptive_max_pool2d with return_indices=True."""
    return adaptive_max_pool2d(x, output_size, True)


def adaptive_max_pool1d_with_indices(x: Tensor, output_size: Sides, return_indices: bool = True) -> Any:
    """adaptive_max_pool1d with return_indices=True."""
    return adaptive_max_pool1d(x, output_size, True)


def _adaptive_avg_pool(where, sides, x, output_size):
    images, restore, size = _prepare_adaptive(where, sides, x, output_size)
    if size == (1, 1):
        return restore(images.mean((2, 3), keepdim=True))
    window = _even_window(images.shape[2:], size)
    if window is not None:
        settings = {"pads": (0, 0, 0, 0), "ceil_mode": False, "count_include_pad": True, "divisor": None}
        return restore(apply(ops.avg_pool2d, images, window=window, stride=window, **settings))
    return restore(_along_sides(images, size, "windows"))


def _adaptive_max_pool(where, sides, x, output_size, return_indices) -> Any:
    images, restore, size = _prepare_adaptive(where, sides, x, output_size)
    window = _even_window(images.shape[2:], size)
    source = images
    if window is None:  # make the windows equal by repeating pixels
        source = _along_sides(images, size, "equal windows")
        window = tuple(a // b if b else 1 for a, b in zip(source.shape[2:], size, strict=True))
    if 0 in size:
        out = zeros((*images.shape[:2], *size), dtype=x.dtype, device=x.device)
        return (restore(out), restore(out.long())) if return_indices else restore(out)
    settings = {"window": window, "stride": window, "pads": (0, 0, 0, 0), "dilation": (1, 1), "ceil_mode": False}
    out = restore(apply(ops.max_pool2d, source, **settings))
    if not return_indices:
        return out
    indices = apply(ops.max_pool2d_indices, source, **settings)
    if source is not images:
        table = Tensor(_place_of_each(images.shape[2:], size), dtype=np.int64, device=x.device)
        rows = indices.reshape(1, -1)
        indices = table.reshape(1, -1).gather(1, rows).reshape(indices.shape)
    return out, restore(indices)


def _prepare_adaptive(where, sides, x, output_size):
    """x as images, the function that restores its axes, and (OH, OW)."""
    images, restore = as_images(where, x, sides)
    expect_float(where, images.array)
    if 0 in images.shape[1:]:
        raise ShapeError(f"{where}: x {x.shape} has no channels or images without a pixel; every window must hold one")
    given = as_tuple(output_size)
    given = given if isinstance(given, tuple) else (given,) * sides
    old = images.shape[4 - sides :]
    kept = tuple(now if size is None else size for size, now in zip(given, old, strict=False))
    size = per_side(kept if len(given) == sides else given, "output_size", where, 0, sides)
    return images, restore, size if sides == 2 else (1, *size)


def _even_window(old, new):
    """The window that divides the sides evenly, or None."""
    if any(not b or a % b for a, b in zip(old, new, strict=True)):
        return None
    return tuple(a // b for a, b in zip(old, new, strict=True))


def _along_sides(images, size, rule):
    for axis, count in zip((2, 3), size, strict=True):
        if images.shape[axis] != count:
            terms = (rule, images.shape[axis], count)
            images = apply(ops.axis_sums, images, axis=axis, terms=terms, transposed=False)
    return images


@cache
def _place_of_each(old, new):
    """The index h * W + w of the pixel that each pixel of images with equal windows repeats."""
    rows, cols = (
        build_terms(("equal windows", a, b), False, np.dtype(np.float64))[1] if a != b else np.arange(a)
        for a, b in zip(old, new, strict=True)
    )
    return np.add.outer(rows * old[1], cols)


# ---- from the largest values back to images


def max_unpool2d(
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
    Source   M. Zeiler & R. Fergus, "Visualizing and understanding convolutional networks", 2014
    Example
    >>> import minigrad as mg
    >>> max_unpool2d(mg.tensor([[[5.0]]]), mg.tensor([[[3]]]), 2)
    tensor([[[0., 0.],
             [0., 5.]]])
    """
    return _max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Do the same as max_unpool2d, on lines (N, C, L) or (C, L)."""
    return _max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def _max_unpool(where, sides, x, indices, kernel_size, stride, padding, output_size):
    as_images(where, x, sides)
    expect_tensors(where, indices)
    if indices.shape != x.shape:
        raise ShapeError(f"{where}: x has shape {x.shape}, indices {indices.shape}; make them equal")
    window = per_side(as_tuple(kernel_size), "kernel_size", where, 1, sides)
    step = window if stride is None else per_side(as_tuple(stride), "stride", where, 1, sides)
    margins = per_side(as_tuple(padding), "padding", where, 0, sides)
    lines = zip(x.shape[-sides:], window, step, margins, strict=True)
    size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in lines)
    if output_size is not None:
        wanted = tuple(output_size)[len(output_size) - sides :] if len(output_size) == x.ndim else tuple(output_size)
        low, high = (tuple(n + sign * (s - 1) for n, s in zip(size, step, strict=True)) for sign in (-1, 1))
        if len(wanted) != sides or any(not a <= n <= b for a, n, b in zip(low, wanted, high, strict=True)):
            raise ShapeError(f"{where}: output_size is {tuple(output_size)}; use sizes from {low} to {high}")
        size = wanted
    pixels, lead = int(np.prod(size)), x.shape[:-sides]
    x.device.expect_range(indices.array, 0, pixels, 0, _index_error, where, size)
    count = int(np.prod(lead))
    out = zeros(count, pixels, dtype=x.dtype, device=x.device)
    places = indices.reshape(count, int(np.prod(x.shape[-sides:])))
    out[arange(count, device=x.device).reshape(-1, 1), places] = x.reshape(places.shape)
    return out.reshape(*lead, *size)


def _index_error(number, where, size):
    return OutOfRangeError(f"{where}: index {number} is out of range for {'x'.join(map(str, size))} pixels")
