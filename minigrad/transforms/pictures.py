"""The same transforms for Pillow images, by Pillow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ..errors import ShapeError
from .images import PILLOW_MODES, InterpolationMode, Picture


def hflip(img: Picture) -> Picture:
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img: Picture) -> Picture:
    return img.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def crop(img: Picture, top: int, left: int, height: int, width: int) -> Picture:
    return img.crop((left, top, left + width, top + height))


def pad(img: Picture, sides: Sequence[int], fill: Any, mode: str) -> Picture:
    left, top, right, bottom = sides
    if mode == "constant":
        padded = ImageOps.expand(img, (left, top, right, bottom), colour(img, fill))
    else:
        img = img.crop((max(-left, 0), max(-top, 0), img.width - max(-right, 0), img.height - max(-bottom, 0)))
        margins = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
        pixels = np.asarray(img)
        padded = Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode))  # type: ignore[call-overload]
    if img.mode == "P":
        padded.putpalette(img.getpalette() or [])
    return padded


def colour(img: Picture, fill: Any) -> Any:
    """The colour of new pixels in the form that Pillow takes: a number, or one for each channel."""
    channels = len(img.getbands())
    numbers = [0] if fill is None else [fill] if np.ndim(fill) == 0 else list(fill)
    if len(numbers) not in (1, channels):
        raise ShapeError(f"fill: {len(numbers)} numbers for an image of {channels} channels; give 1 or {channels}")
    numbers = numbers * channels if len(numbers) == 1 else numbers
    numbers = [float(number) if img.mode == "F" else int(number) for number in numbers]
    return numbers[0] if channels == 1 else tuple(numbers)


def resize(img: Picture, size: tuple[int, int], mode: InterpolationMode) -> Picture:
    return img.resize(size[::-1], PILLOW_MODES[mode])


def affine(img: Picture, matrix: Sequence[float], mode: InterpolationMode, fill: Any) -> Picture:
    size = img.size
    return img.transform(size, Image.Transform.AFFINE, matrix, PILLOW_MODES[mode], fillcolor=colour(img, fill))


def rotate(img: Picture, angle: float, mode: InterpolationMode, expand: bool, center: Any, fill: Any) -> Picture:
    return img.rotate(angle, PILLOW_MODES[mode], expand, center, fillcolor=colour(img, fill))  # type: ignore[arg-type]


def perspective(img: Picture, coefficients: Sequence[float], mode: InterpolationMode, fill: Any) -> Picture:
    shade = colour(img, fill)
    return img.transform(img.size, Image.Transform.PERSPECTIVE, coefficients, PILLOW_MODES[mode], fillcolor=shade)


def adjust_brightness(img: Picture, factor: float) -> Picture:
    return ImageEnhance.Brightness(img).enhance(factor)


def adjust_contrast(img: Picture, factor: float) -> Picture:
    return ImageEnhance.Contrast(img).enhance(factor)


def adjust_saturation(img: Picture, factor: float) -> Picture:
    return ImageEnhance.Color(img).enhance(factor)


def adjust_sharpness(img: Picture, factor: float) -> Picture:
    return ImageEnhance.Sharpness(img).enhance(factor)


def adjust_hue(img: Picture, factor: float) -> Picture:
    if img.mode in ("L", "1", "I", "F"):
        return img
    h, s, v = img.convert("HSV").split()
    turned = np.asarray(h) + np.uint8(int(factor * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert(img.mode)


def adjust_gamma(img: Picture, gamma: float, gain: float) -> Picture:
    table = [int((256 - 1e-3) * gain * (level / 255) ** gamma) for level in range(256)]
    return img.convert("RGB").point(table * 3).convert(img.mode)


def to_grey(img: Picture, channels: int) -> Picture:
    grey = img.convert("L")
    return grey if channels == 1 else Image.merge("RGB", (grey, grey, grey))


autocontrast, equalize, invert = ImageOps.autocontrast, ImageOps.equalize, ImageOps.invert
posterize, solarize = ImageOps.posterize, ImageOps.solarize
