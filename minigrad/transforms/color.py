"""Transforms that change colours, light and sharpness."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import brief, number_in_range, whole_number
from ..errors import ValidationError
from . import functional as F
from .base import Draws, OccasionalTransform, Parameters, RandomTransform, Transform, draw_one
from .geometry import interval
from .images import InterpolationMode, get_dimensions, known_mode


class Grayscale(Transform):
    """Make an image grey; see rgb_to_grayscale.

    num_output_channels   1, or 3 for three equal ones

    Raises   ValidationError   num_output_channels is not 1 or 3
    Example
    >>> Grayscale()(np.zeros((3, 4, 6), np.uint8)).shape
    (1, 4, 6)
    """

    _shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1):
        if num_output_channels not in (1, 3):
            raise ValidationError(f"Grayscale: num_output_channels is {brief(num_output_channels)}; use 1 or 3")
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, self.num_output_channels)


class RandomGrayscale(OccasionalTransform):
    """Make an image grey with probability p; its number of channels stays.

    Example
    >>> RandomGrayscale(p=1)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    def __init__(self, p: float = 0.1):
        super().__init__(p)

    def change(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, get_dimensions(img)[0])


class ColorJitter(RandomTransform):
    """Change brightness, contrast, saturation and hue by random amounts, in a random order.

    brightness, contrast, saturation   number x of 0 or more, for factors from 1 - x (at least 0) to 1 + x; or
                                       (lowest, highest)
    hue                                0 to 0.5, for -hue to hue; or (lowest, highest)

    A setting of 0 changes nothing.
    Raises   ValidationError   a setting is out of its range
    Example
    >>> ColorJitter(brightness=0.2)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    _shown = ("brightness", "contrast", "saturation", "hue")

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0):
        self.brightness = _factors("brightness", brightness, 1, 0)
        self.contrast = _factors("contrast", contrast, 1, 0)
        self.saturation = _factors("saturation", saturation, 1, 0)
        self.hue = _factors("hue", hue, 0, -0.5, 0.5)

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        settings = (self.brightness, self.contrast, self.saturation, self.hue)
        order = draws.order(4)
        columns = [draws.uniform(*setting) if setting else np.full(len(order), np.nan) for setting in settings]
        return {"order": order, "factors": np.stack(columns, axis=1)}

    def apply(self, img: Any, order: np.ndarray, factors: np.ndarray) -> Any:
        adjust = F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue
        for number in order:
            if not np.isnan(factors[number]):
                img = adjust[number](img, float(factors[number]))
        return img

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> tuple[Any, ...]:
        """Return a random order of 0 to 3 and four factors, None where a setting is None."""
        given = (setting or 0 for setting in (brightness, contrast, saturation, hue))
        drawn = ColorJitter(*given).draw(draw_one(), ())
        factors = [None if np.isnan(factor) else float(factor) for factor in drawn["factors"][0]]
        return drawn["order"][0], *factors


def _factors(
    name: str, value: Any, middle: float, least: float, most: float | None = None
) -> tuple[float, float] | None:
    """(lowest, highest); None where both are `middle`."""
    if np.ndim(value) == 0:
        number_in_range("ColorJitter", name, value, 0, most)
        value = (max(middle - value, least), middle + value)
    low, high = (float(number) for number in interval("ColorJitter", name, value, least, most))
    return None if low == high == middle else (low, high)


class GaussianBlur(RandomTransform):
    """Smooth by a Gaussian window of random width; see gaussian_blur.

    kernel_size   pixels, odd   one number, or (across, down)
    sigma         pixels        one number, or (lowest, highest)

    Raises   ValidationError   a setting is out of its range
    Example
    >>> GaussianBlur(3)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    _shown = ("kernel_size", "sigma")

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)):
        self.kernel_size = F.two_sides("GaussianBlur", kernel_size)
        for size in self.kernel_size:
            if size % 2 == 0:
                raise ValidationError(f"GaussianBlur: kernel_size is {brief(kernel_size)}; use odd numbers")
        self.sigma = interval("GaussianBlur", "sigma", sigma if np.ndim(sigma) else (sigma, sigma), 1e-9)

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        return {"sigma": draws.uniform(*self.sigma)}

    def apply(self, img: Any, sigma: float) -> Any:
        return F.gaussian_blur(img, self.kernel_size, float(sigma))

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """Return a random sigma for functional.gaussian_blur."""
        return float(draw_one().uniform(sigma_min, sigma_max)[0])


class RandomInvert(OccasionalTransform):
    """Exchange black and white with probability p; see invert.

    Example
    >>> RandomInvert(p=1)(np.zeros((1, 1, 1), np.uint8)).item()
    255
    """

    def change(self, img: Any) -> Any:
        return F.invert(img)


class RandomPosterize(OccasionalTransform):
    """Keep only the highest bits of each pixel with probability p; see posterize.

    bits   0 to 8

    Example
    >>> RandomPosterize(1, p=1)(np.full((1, 1, 1), 255, np.uint8)).item()
    128
    """

    _shown = ("bits", "p")

    def __init__(self, bits: int, p: float = 0.5):
        super().__init__(p)
        self.bits = whole_number("RandomPosterize", "bits", bits, 0, 8)

    def change(self, img: Any) -> Any:
        return F.posterize(img, self.bits)


class RandomSolarize(OccasionalTransform):
    """Invert all pixels from a threshold on, with probability p; see solarize.

    Example
    >>> RandomSolarize(128, p=1)(np.full((1, 1, 1), 250, np.uint8)).item()
    5
    """

    _shown = ("threshold", "p")

    def __init__(self, threshold: float, p: float = 0.5):
        super().__init__(p)
        self.threshold = threshold

    def change(self, img: Any) -> Any:
        return F.solarize(img, self.threshold)


class RandomAdjustSharpness(OccasionalTransform):
    """Sharpen or smooth with probability p; see adjust_sharpness.

    Example
    >>> RandomAdjustSharpness(2, p=1)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    _shown = ("sharpness_factor", "p")

    def __init__(self, sharpness_factor: float, p: float = 0.5):
        super().__init__(p)
        number_in_range("RandomAdjustSharpness", "sharpness_factor", sharpness_factor, 0)
        self.sharpness_factor = sharpness_factor

    def change(self, img: Any) -> Any:
        return F.adjust_sharpness(img, self.sharpness_factor)


class RandomAutocontrast(OccasionalTransform):
    """Stretch each channel from black to white, with probability p; see autocontrast.

    Example
    >>> RandomAutocontrast(p=1)(np.array([[[10, 20]]], np.uint8))
    array([[[  0, 255]]], dtype=uint8)
    """

    def change(self, img: Any) -> Any:
        return F.autocontrast(img)


class RandomEqualize(OccasionalTransform):
    """Make the levels of each channel about equally frequent, with probability p; see equalize.

    Example
    >>> RandomEqualize(p=1)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    def change(self, img: Any) -> Any:
        return F.equalize(img)


class TrivialAugmentWide(RandomTransform):
    """Apply one of 14 changes with a random strength.

    num_magnitude_bins   2 or more   number of strengths
    interpolation        NEAREST or BILINEAR; for Pillow images also BICUBIC
    fill                 number      of the pixels from outside the image, or one for each channel; None: 0

    Images are uint8, with 1 or 3 channels.
    Raises   ValidationError   num_magnitude_bins is below 2
    Source   S. Müller & F. Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", 2021
    Example
    >>> TrivialAugmentWide()(np.zeros((3, 8, 8), np.uint8)).shape
    (3, 8, 8)
    """

    CHANGES = (  # (name, strengths from and to, whether half of them are negative)
        ("Identity", 0, 0, False),
        ("ShearX", 0, 0.99, True),
        ("ShearY", 0, 0.99, True),
        ("TranslateX", 0, 32, True),
        ("TranslateY", 0, 32, True),
        ("Rotate", 0, 135, True),
        ("Brightness", 0, 0.99, True),
        ("Color", 0, 0.99, True),
        ("Contrast", 0, 0.99, True),
        ("Sharpness", 0, 0.99, True),
        ("Posterize", 8, 2, False),
        ("Solarize", 255, 0, False),
        ("AutoContrast", 0, 0, False),
        ("Equalize", 0, 0, False),
    )

    def __init__(
        self, num_magnitude_bins: int = 31, interpolation: Any = InterpolationMode.NEAREST, fill: Any = None
    ):  # fmt: skip
        self.num_magnitude_bins = whole_number("TrivialAugmentWide", "num_magnitude_bins", num_magnitude_bins, 2)
        self.interpolation, self.fill = known_mode("TrivialAugmentWide", interpolation), fill

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        change = draws.integers(0, len(self.CHANGES))
        _, first, last, signed = (np.array(column)[change] for column in zip(*self.CHANGES, strict=True))
        steps = draws.integers(0, self.num_magnitude_bins) / (self.num_magnitude_bins - 1)
        sign = np.where(signed & draws.happens(0.5), -1, 1)
        return {"change": change, "strength": sign * (first + (last - first) * steps)}

    def apply(self, img: Any, change: int, strength: float) -> Any:
        name, strength = self.CHANGES[change][0], float(strength)
        if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
            return self._move(img, name, strength)
        changes = {
            "Identity": lambda: img,
            "Brightness": lambda: F.adjust_brightness(img, 1 + strength),
            "Color": lambda: F.adjust_saturation(img, 1 + strength),
            "Contrast": lambda: F.adjust_contrast(img, 1 + strength),
            "Sharpness": lambda: F.adjust_sharpness(img, 1 + strength),
            "Posterize": lambda: F.posterize(img, round(strength)),
            "Solarize": lambda: F.solarize(img, strength),
            "AutoContrast": lambda: F.autocontrast(img),
            "Equalize": lambda: F.equalize(img),
        }
        return changes[name]()

    def _move(self, img: Any, name: str, strength: float) -> Any:
        if name == "Rotate":
            return F.rotate(img, strength, self.interpolation, fill=self.fill)
        along_x = name.endswith("X")
        if name.startswith("Translate"):
            moves = (int(strength), 0) if along_x else (0, int(strength))
            return F.affine(img, 0.0, moves, 1.0, (0.0, 0.0), self.interpolation, self.fill)
        angle = float(np.degrees(np.arctan(strength)))
        shears = (angle, 0.0) if along_x else (0.0, angle)
        return F.affine(img, 0.0, (0, 0), 1.0, shears, self.interpolation, self.fill, center=[0, 0])

    def __repr__(self) -> str:
        bins, mode = self.num_magnitude_bins, self.interpolation
        return f"{type(self).__name__}(num_magnitude_bins={bins}, interpolation={mode}, fill={self.fill})"
