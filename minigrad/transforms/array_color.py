"""Colours of pixels (..., C, H, W) in NumPy, with torchvision's formulas and rounding."""

from typing import Any

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from .images import as_float, largest_value, round_to

GREY = np.array([0.2989, 0.587, 0.114], np.float32)  # of red, green and blue


def expect_channels(where: str, x: np.ndarray, *allowed: int) -> int:
    """Return the number of channels; refuse one that is not allowed."""
    channels = x.shape[-3] if x.ndim >= 3 else 0
    if channels not in allowed:
        numbers = " or ".join(map(str, allowed))
        raise ShapeError(f"{where}: the image {x.shape} has {channels} channels, expected {numbers} as (..., C, H, W)")
    return channels


def blend(x: np.ndarray, other: Any, share: float) -> np.ndarray:
    """share * x + (1 - share) * other, limited to the range of pixels."""
    pixels = as_float(x)
    weight = pixels.dtype.type(share)
    mixed = weight * pixels + (1 - weight) * other
    return mixed.clip(0, largest_value(x.dtype)).astype(x.dtype)


def grey_of(x: np.ndarray) -> np.ndarray:
    """(..., 1, H, W) of RGB, in the dtype of x; that of a grey image is the image."""
    if x.shape[-3] == 1:
        return x
    r, g, b = (as_float(x)[..., c : c + 1, :, :] for c in range(3))
    return (GREY[0] * r + GREY[1] * g + GREY[2] * b).astype(x.dtype)


def to_grey(x: np.ndarray, channels: int) -> np.ndarray:
    expect_channels("rgb_to_grayscale", x, 1, 3)
    return np.broadcast_to(grey_of(x), (*x.shape[:-3], channels, *x.shape[-2:]))


def adjust_brightness(x: np.ndarray, factor: float) -> np.ndarray:
    return blend(x, np.float32(0), factor)


def adjust_contrast(x: np.ndarray, factor: float) -> np.ndarray:
    expect_channels("adjust_contrast", x, 1, 3)
    grey = as_float(grey_of(x))
    return blend(x, grey.mean(axis=(-3, -2, -1), keepdims=True), factor)


def adjust_saturation(x: np.ndarray, factor: float) -> np.ndarray:
    return x if expect_channels("adjust_saturation", x, 1, 3) == 1 else blend(x, as_float(grey_of(x)), factor)


def adjust_hue(x: np.ndarray, factor: float) -> np.ndarray:
    """Turn the circle of colours by `factor`, of which 1 is a full turn."""
    if expect_channels("adjust_hue", x, 1, 3) == 1 or x.size == 0:
        return x
    h, s, v = _rgb_to_hsv(convert_dtype(x, np.float32))
    return convert_dtype(_hsv_to_rgb((h + np.float32(factor)) % 1, s, v), x.dtype)


def _rgb_to_hsv(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, g, b = (x[..., c, :, :] for c in range(3))
    high, low = x.max(axis=-3), x.min(axis=-3)
    grey, spread = high == low, high - low
    divisor = np.where(grey, 1, spread)
    rc, gc, bc = ((high - channel) / divisor for channel in (r, g, b))
    h = np.where(high == r, bc - gc, np.where(high == g, 2 + rc - bc, 4 + gc - rc))
    return (h / 6 + 1) % 1, spread / np.where(grey, 1, high), high


def _hsv_to_rgb(h: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
    sector = np.floor(h * 6)
    f = h * 6 - sector
    sector = sector.astype(np.int64) % 6
    p, q, t = ((v * (1 - s * part)).clip(0, 1) for part in (1, f, 1 - f))
    red, green, blue = (v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q)
    return np.stack([np.choose(sector, channel) for channel in (red, green, blue)], axis=-3)


def adjust_gamma(x: np.ndarray, gamma: float, gain: float) -> np.ndarray:
    pixels = x if x.dtype.kind == "f" else convert_dtype(x, np.float32)
    return convert_dtype((gain * pixels**gamma).clip(0, 1).astype(pixels.dtype), x.dtype)


def adjust_sharpness(x: np.ndarray, factor: float) -> np.ndarray:
    expect_channels("adjust_sharpness", x, 1, 3)
    return x if min(x.shape[-2:]) <= 2 else blend(x, as_float(_softened(x)), factor)


def _softened(x: np.ndarray) -> np.ndarray:
    """The image with each inner pixel replaced by a mean in which it counts five times and its neighbours once."""
    pixels = as_float(x)
    H, W = x.shape[-2:]
    total = 4 * pixels[..., 1:-1, 1:-1]
    for h in range(3):
        for w in range(3):
            total = total + pixels[..., h : H - 2 + h, w : W - 2 + w]
    soft = x.copy()
    soft[..., 1:-1, 1:-1] = round_to(total / 13, x.dtype)
    return soft


def autocontrast(x: np.ndarray) -> np.ndarray:
    expect_channels("autocontrast", x, 1, 3)
    white, pixels = largest_value(x.dtype), as_float(x)
    low, high = (find(axis=(-2, -1), keepdims=True) for find in (pixels.min, pixels.max))
    flat = low == high
    scale = np.where(flat, 1, white / np.where(flat, 1, high - low)).astype(pixels.dtype)
    return ((pixels - np.where(flat, 0, low)) * scale).clip(0, white).astype(x.dtype)


def equalize(x: np.ndarray) -> np.ndarray:
    _expect_bytes("equalize", x)
    expect_channels("equalize", x, 1, 3)
    planes = x.reshape(-1, *x.shape[-2:])
    return np.stack([_equalized(plane) for plane in planes]).reshape(x.shape)


def _equalized(plane: np.ndarray) -> np.ndarray:
    counts = np.bincount(plane.ravel(), minlength=256)
    step = int(counts[counts > 0][:-1].sum()) // 255
    if step == 0:
        return plane
    table = (np.cumsum(counts) + step // 2) // step
    return np.concatenate([[0], table[:-1]]).clip(0, 255).astype(np.uint8)[plane]


def invert(x: np.ndarray) -> np.ndarray:
    return (largest_value(x.dtype) - x).astype(x.dtype)


def posterize(x: np.ndarray, bits: int) -> np.ndarray:
    _expect_bytes("posterize", x)
    return x & np.uint8(256 - 2 ** (8 - bits))


def solarize(x: np.ndarray, threshold: float) -> np.ndarray:
    if threshold > largest_value(x.dtype):
        raise ValidationError(
            f"solarize: threshold is {threshold}, above the largest value {largest_value(x.dtype)} of {x.dtype} pixels"
        )
    return np.where(x >= threshold, invert(x), x)


def _expect_bytes(where: str, x: np.ndarray) -> None:
    if x.dtype != np.uint8:
        raise DtypeError(f"{where}: pixels are {x.dtype}, expected uint8; convert them by convert_image_dtype")


def convert_dtype(x: np.ndarray, dtype: Any) -> np.ndarray:
    """The pixels in another dtype, scaled so that white stays white."""
    dtype = np.dtype(dtype)
    before, after = largest_value(x.dtype), largest_value(dtype)
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "f":
        return _from_float(x, dtype, after)
    if dtype.kind == "f":
        return x.astype(dtype) / dtype.type(before)
    if before > after:
        return (x // ((before + 1) // (after + 1))).astype(dtype)
    return x.astype(dtype) * dtype.type((after + 1) // (before + 1))


def _from_float(x: np.ndarray, dtype: np.dtype, white: int) -> np.ndarray:
    if dtype.kind == "f":
        return x.astype(dtype)
    if dtype.itemsize > 4 or (dtype.itemsize == 4 and x.dtype == np.float32):
        raise DtypeError(f"convert_image_dtype: {x.dtype} does not hold the numbers of {dtype} exactly; use uint8")
    return (x * x.dtype.type(white + 1 - 1e-3)).astype(dtype)
