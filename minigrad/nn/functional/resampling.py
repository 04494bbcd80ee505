"""Other numbers of pixels: interpolation and pixel shuffle."""

from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np

from ...checks import brief, whole_number
from ...errors import ShapeError, ValidationError
from ...ops.promotion import expect_float
from ...tensors import Tensor
from .arguments import expect_tensors, sum_along
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d

__all__ = ["interpolate", "pixel_shuffle", "pixel_unshuffle", "upsample"]
__dir__ = __all__.copy

SIDES = {  # by mode: the numbers of sides that an image may have
    "nearest": (1, 2),
    "nearest-exact": (1, 2),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "area": (1, 2),
}
WITH_CORNERS = ("linear", "bilinear", "bicubic")


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return images with another number of pixels.

    input          (N, C, H, W)  images, or (N, C, L), lines
    size           pixels        of the result: one number for all sides, or one for each
    scale_factor   above 0       in place of size: how many times larger; the size is rounded down
    mode           'nearest'     the pixel to the left or above; 'nearest-exact': the nearest pixel
                   'bilinear'    from 2 x 2 pixels; for lines 'linear'
                   'bicubic'     from 4 x 4 pixels
                   'area'        means, as adaptive_avg_pool2d
    align_corners  bool          whether the centres of the corner pixels keep their place, and not the corners
    recompute_scale_factor       whether the rounded size, and not scale_factor, gives the places of pixels
    returns        (N, C, OH, OW) or (N, C, OL)

    Raises   ShapeError        input is neither lines nor images, or the mode is not for them
             ValidationError   the mode is unknown, or a setting does not fit it
    Source   bicubic: R. Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75
    Example
    >>> import minigrad as mg
    >>> interpolate(mg.tensor([[[0.0, 4.0]]]), scale_factor=2, mode="linear", align_corners=False)
    tensor([[[0., 1., 3., 4.]]])
    """
    expect_tensors("interpolate", input)
    if input.dtype != np.uint8 or "nearest" not in mode:
        expect_float("interpolate", input.array)
    _check_mode(input, mode, align_corners, antialias)
    old = input.shape[2:]
    new, factors = _sizes(old, size, scale_factor)
    if mode == "area":
        return (adaptive_avg_pool1d if len(old) == 1 else adaptive_avg_pool2d)(input, new)
    if recompute_scale_factor:
        factors = [None] * len(old)
    rule = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    out = input
    for axis, (n, count, factor) in enumerate(zip(old, new, factors, strict=True), 2):
        if n != count:
            out = sum_along(out, axis, rule, count, factor, *([bool(align_corners)] if mode in WITH_CORNERS else []))
    return out


def _check_mode(x: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in SIDES:
        raise ValidationError(f"interpolate: mode is {brief(mode)}; use {', '.join(map(repr, SIDES))}")
    if x.ndim - 2 not in SIDES[mode]:
        wanted = " or ".join({1: "(N, C, L)", 2: "(N, C, H, W)"}[sides] for sides in SIDES[mode])
        raise ShapeError(f"interpolate: x has shape {x.shape}, mode {mode!r} is for {wanted}; change one of them")
    if 0 in x.shape[1:]:
        raise ShapeError(f"interpolate: x {x.shape} has no channels or no pixels; give it some")
    if align_corners is not None and mode not in WITH_CORNERS:
        raise ValidationError(
            f"interpolate: mode is {brief(mode)}, align_corners is for {', '.join(WITH_CORNERS)}; leave it out"
        )
    if antialias:
        raise ValidationError("interpolate: antialias=True is not supported; blur the images first, or use mode='area'")


def _sizes(old: tuple[int, ...], size: Any, scale_factor: Any) -> tuple[tuple[int, ...], list[float | None]]:
    """The new size of each side, and its factor if it was given."""
    if (size is None) == (scale_factor is None):
        raise ValidationError("interpolate: give either size or scale_factor")
    name, given = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    numbers = tuple(given) if isinstance(given, list | tuple) else (given,) * len(old)
    if len(numbers) != len(old) or any(isinstance(number, bool) or not number > 0 for number in numbers):
        raise ValidationError(
            f"interpolate: {name} is {brief(given)}; give one number above 0, or {len(old)}, one for each side"
        )
    if scale_factor is None:
        return tuple(map(int, numbers)), [None] * len(old)
    new = tuple(floor(n * factor) for n, factor in zip(old, numbers, strict=True))
    if 0 in new:
        raise ValidationError(f"interpolate: scale_factor {given!r} leaves no pixel of {old}; make it larger")
    return new, list(map(float, numbers))


upsample = interpolate  # its older name


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return images r times larger, in which each r x r block is made of r * r channels: sub-pixel convolution.

    input           (..., C * r * r, H, W)
    upscale_factor  r
    returns         (..., C, H * r, W * r)

    Source   W. Shi et al., "Real-time single image and video super-resolution", 2016
    Example
    >>> import minigrad as mg
    >>> pixel_shuffle(mg.arange(4.0).reshape(1, 4, 1, 1), 2)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    r = _check_factor("pixel_shuffle", input, upscale_factor)
    *lead, C, H, W = input.shape
    if C % (r * r):
        raise ShapeError(f"pixel_shuffle: {C} channels are not a multiple of {r} * {r}; use another upscale_factor")
    blocks = input.reshape(-1, C // (r * r), r, r, H, W).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(*lead, C // (r * r), H * r, W * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Return images r times smaller, in which the pixels of each r x r block are channels: pixel_shuffle backwards."""
    r = _check_factor("pixel_unshuffle", input, downscale_factor)
    *lead, C, H, W = input.shape
    if H % r or W % r:
        raise ShapeError(f"pixel_unshuffle: {H} x {W} pixels are not a multiple of {r}; use another downscale_factor")
    blocks = input.reshape(-1, C, H // r, r, W // r, r).permute(0, 1, 3, 5, 2, 4)
    return blocks.reshape(*lead, C * r * r, H // r, W // r)


def _check_factor(where: str, x: Tensor, factor: int) -> int:
    expect_tensors(where, x)
    if x.ndim < 3:
        raise ShapeError(f"{where}: x has shape {x.shape}, expected (..., C, H, W)")
    return whole_number(where, "factor", factor, least=1)
