"""Geometry of pixels (..., H, W) in NumPy: sizes, crops, padding and resampling, with PyTorch's conventions.

A resampling transform computes for each pixel of the result a place in the image.  Places count pixels from the centre
of the first pixel.  A pixel outside the image is 0, or `fill`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ValidationError
from .images import InterpolationMode, as_float, round_to

PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
NEAREST, NEAREST_EXACT = InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT


def hflip(x: np.ndarray) -> np.ndarray:
    return x[..., ::-1]


def vflip(x: np.ndarray) -> np.ndarray:
    return x[..., ::-1, :]


def crop(x: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of the image; what lies outside is 0."""
    H, W = x.shape[-2:]
    inside = x[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if top >= 0 and left >= 0 and top + height <= H and left + width <= W:
        return inside
    out = np.zeros((*x.shape[:-2], height, width), x.dtype)
    h, w = max(-top, 0), max(-left, 0)
    out[..., h : h + inside.shape[-2], w : w + inside.shape[-1]] = inside
    return out


def pad(x: np.ndarray, sides: Sequence[int], fill: Any, mode: str) -> np.ndarray:
    """A margin of (left, top, right, bottom) pixels; negative ones cut pixels off."""
    left, top, right, bottom = sides
    H, W = x.shape[-2:]
    x = x[..., max(-top, 0) : H - max(-bottom, 0), max(-left, 0) : W - max(-right, 0)]
    margins = [(0, 0)] * (x.ndim - 2) + [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
    if mode != "constant":
        _check_margins(x.shape[-2:], margins[-2:], mode)
        return np.pad(x, margins, mode)  # type: ignore[call-overload]
    if np.size(fill) == 1:
        return np.pad(x, margins, constant_values=np.asarray(fill).reshape(()).astype(x.dtype))
    inside = np.pad(np.ones(x.shape[-2:], bool), margins[-2:])
    return np.where(inside, np.pad(x, margins), np.asarray(fill, x.dtype)[:, None, None])


def _check_margins(sides: Sequence[int], margins: list[tuple[int, int]], mode: str) -> None:
    most = [side - (mode == "reflect") for side in sides]
    for name, limit, margin in zip(("height", "width"), most, margins, strict=True):
        if max(margin) > limit and mode != "edge":
            raise ValidationError(
                f"pad: a margin of {max(margin)} pixels by {mode!r} needs more than the image's {name} of "
                f"{limit + (mode == 'reflect')}; use at most {limit}"
            )


# ---- resize


def resize(x: np.ndarray, size: tuple[int, int], mode: InterpolationMode, antialias: bool) -> np.ndarray:
    """The image with (H, W) pixels, by two products with matrices of weights."""
    if mode in (NEAREST, NEAREST_EXACT):
        rows, columns = (_nearest(before, after, mode) for before, after in zip(x.shape[-2:], size, strict=True))
        return x[..., rows[:, None], columns]
    if mode not in (BILINEAR, BICUBIC):
        raise ValidationError(
            f"resize: interpolation {mode.value!r} is for Pillow images; for pixels use 'nearest', 'bilinear' or "
            "'bicubic'"
        )
    down, across = (
        _weights(before, after, mode, antialias).astype(as_float(x).dtype)
        for before, after in zip(x.shape[-2:], size, strict=True)
    )
    result = down @ (as_float(x) @ across.T)
    if mode is BICUBIC and x.dtype == np.uint8:
        result = result.clip(0, 255)
    return round_to(result, x.dtype)


def _nearest(before: int, after: int, mode: InterpolationMode) -> np.ndarray:
    half = 0.5 if mode is NEAREST_EXACT else 0
    return np.minimum((np.arange(after) + half) * (before / after), before - 1).astype(np.int64)


@lru_cache(256)
def _weights(before: int, after: int, mode: InterpolationMode, antialias: bool) -> np.ndarray:
    """(after, before): the share of each pixel in each pixel of the result.

    Source   bicubic: R. Keys 1981, with a = -0.5 as Pillow where antialias, else -0.75
    """
    scale = before / after
    stretch = max(scale, 1) if antialias else 1
    centres = scale * (np.arange(after) + 0.5)
    shape = _triangle if mode is BILINEAR else _cubic(-0.5 if antialias else -0.75)
    reach = (1 if mode is BILINEAR else 2) * stretch
    weights = np.zeros((after, before))
    for row, centre in enumerate(centres):
        taps = np.arange(math.floor(centre - reach + 0.5), math.floor(centre + reach + 0.5) + 1)
        taps = taps[(taps >= 0) & (taps < before)] if antialias else taps
        shares = shape((taps + 0.5 - centre) / stretch)
        np.add.at(weights[row], taps.clip(0, before - 1), shares)
    return weights / weights.sum(axis=1, keepdims=True)


def _triangle(distance: np.ndarray) -> np.ndarray:
    return (1 - abs(distance)).clip(0)


def _cubic(a: float) -> Any:
    def weight(distance: np.ndarray) -> np.ndarray:
        d = abs(distance)
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a
        return np.where(d < 1, near, np.where(d < 2, far, 0))

    return weight


# ---- resampling at given places


def resample(
    x: np.ndarray, columns: np.ndarray, rows: np.ndarray, mode: InterpolationMode, fill: Any = None
) -> np.ndarray:
    """The image at places (OH, OW), 'nearest' or 'bilinear'; fill is a number, one for each channel, or None for 0."""
    if mode not in (NEAREST, BILINEAR):
        raise ValidationError(f"resampling: interpolation is {mode.value!r}; use 'nearest' or 'bilinear' for pixels")
    flat = as_float(x).reshape(-1, *x.shape[-2:])
    taps = _nearest_tap(columns, rows) if mode is NEAREST else _four_taps(columns, rows)
    out = np.zeros((len(flat), *columns.shape), flat.dtype)
    coverage = np.zeros(columns.shape, flat.dtype)
    for w, h, weight in taps:
        inside = (w >= 0) & (w < x.shape[-1]) & (h >= 0) & (h < x.shape[-2])
        weight = (weight * inside).astype(flat.dtype)
        out += flat[:, h.clip(0, x.shape[-2] - 1), w.clip(0, x.shape[-1] - 1)] * weight
        coverage += weight
    out = out.reshape(*x.shape[:-2], *columns.shape)
    if fill is not None:  # as torchvision does, which multiplies pixels at the edge by their coverage twice
        out = out * coverage + (1 - coverage) * np.asarray(fill, flat.dtype).reshape(-1, 1, 1)
    return round_to(out, x.dtype)


def _nearest_tap(columns: np.ndarray, rows: np.ndarray) -> list[tuple[Any, Any, Any]]:
    return [(_whole(np.rint(columns)), _whole(np.rint(rows)), 1)]


def _four_taps(columns: np.ndarray, rows: np.ndarray) -> list[tuple[Any, Any, Any]]:
    left, top = np.floor(columns), np.floor(rows)
    right_share, lower_share = columns - left, rows - top
    return [
        (_whole(left + w), _whole(top + h), abs(1 - w - right_share) * abs(1 - h - lower_share))
        for h in (0, 1)
        for w in (0, 1)
    ]


def _whole(places: np.ndarray) -> np.ndarray:
    return np.nan_to_num(places, nan=-9).clip(-9, 2**30).astype(np.int64)


def _pixel_centres(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of the centres of pixels, counted from the middle of the image."""
    return np.arange(width)[None] + 0.5 - width / 2, np.arange(height)[:, None] + 0.5 - height / 2


def affine(
    x: np.ndarray, matrix: Sequence[float], mode: InterpolationMode, fill: Any, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The image at places matrix @ (x, y, 1), counted from the middles of result and image."""
    X, Y = (centres.astype(np.float32) for centres in _pixel_centres(*(size or x.shape[-2:])))
    places = []
    for (a, b, c), side in zip(np.reshape(matrix, (2, 3)).astype(np.float32), x.shape[:-3:-1], strict=True):
        half = np.float32(side / 2)  # places in halves of a side, as in torchvision, give its rounding
        share = X * (a / half) + Y * (b / half) + c / half
        places.append(((share + 1) * np.float32(side) - 1) / 2)
    return resample(x, places[0], places[1], mode, fill)


def rotated_size(matrix: Sequence[float], height: int, width: int) -> tuple[int, int]:
    """(H, W) of the smallest image that holds the rotated one."""
    corners = np.array([[x * width / 2, y * height / 2] for x in (-1, 1) for y in (-1, 1)])
    moved = corners @ np.reshape(matrix, (2, 3))[:, :2].T + np.array([matrix[2], matrix[5]])
    middle = np.array([width, height]) / 2
    ends = (moved.min(axis=0) + middle, moved.max(axis=0) + middle)
    low, high = (np.round(np.trunc(end.astype(np.float32) / 1e-4) * 1e-4, 4) for end in ends)  # 79.9999999 is 80
    across, down = (np.ceil(high) - np.floor(low)).astype(int)
    return int(down), int(across)


def perspective(x: np.ndarray, coefficients: Sequence[float], mode: InterpolationMode, fill: Any) -> np.ndarray:
    """The image at the places of a projective map, whose 8 numbers are Pillow's."""
    a, b, c, d, e, f, g, h = (np.float32(number) for number in coefficients)
    X, Y = np.arange(x.shape[-1], dtype=np.float32)[None] + 0.5, np.arange(x.shape[-2], dtype=np.float32)[:, None] + 0.5
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    below = g * X + h * Y + 1
    half = np.float32(0.5)
    return resample(x, (a * X + b * Y + c) / below - half, (d * X + e * Y + f) / below - half, mode, fill)


def displace(x: np.ndarray, displacement: np.ndarray, mode: InterpolationMode, fill: Any) -> np.ndarray:
    """The image at its own places plus a displacement (H, W, 2) in halves of its width and height."""
    H, W = x.shape[-2:]
    columns = np.arange(W, dtype=np.float32)[None] + displacement[..., 0] * np.float32(W / 2)
    rows = np.arange(H, dtype=np.float32)[:, None] + displacement[..., 1] * np.float32(H / 2)
    return resample(x, columns, rows, mode, fill)


# ---- smoothing


@lru_cache(256)
def blur_matrix(size: int, kernel_size: int, sigma: float) -> np.ndarray:
    """(size, size) float32: the product with it smooths lines of pixels by a Gaussian window; margins are reflected."""
    window = np.exp(-0.5 * ((np.arange(kernel_size) - (kernel_size - 1) / 2) / sigma) ** 2)
    taps = np.arange(size)[:, None] + np.arange(kernel_size) - kernel_size // 2
    taps = abs(taps)
    taps = np.where(taps >= size, 2 * (size - 1) - taps, taps)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], taps), window / window.sum())
    return matrix.astype(np.float32)


def gaussian_blur(x: np.ndarray, kernel_size: Sequence[int], sigma: Sequence[float]) -> np.ndarray:
    """The image smoothed by a window of (across, down) pixels."""
    down, across = blur_matrices(x.shape[-2:], kernel_size, sigma)
    return round_to(down @ (as_float(x) @ across.T), x.dtype)


def blur_matrices(
    sides: Sequence[int], kernel_size: Sequence[int], sigma: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The matrices that smooth the columns and the rows of an image of (H, W)."""
    H, W = sides
    across, down = kernel_size
    if across // 2 >= W or down // 2 >= H:
        raise ValidationError(
            f"gaussian_blur: a window of {across} x {down} does not fit in {W} x {H} pixels with reflected margins; "
            f"use at most {2 * W - 1} x {2 * H - 1}"
        )
    return blur_matrix(H, down, sigma[1]), blur_matrix(W, across, sigma[0])
