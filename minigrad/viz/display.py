"""How pictures show images: normalisation is undone, so that black, white and grey stay what they are."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from minigrad.checks import brief
from minigrad.errors import ValidationError
from minigrad.viz import style


class Display(NamedTuple):
    """How numbers that a model reads become brightness from 0, black, to 1, white: number * scale + shift.

    scale, shift   (C, 1, 1) or (1, 1, 1)
    note           what is not true of the colours; empty if nothing is
    """

    scale: np.ndarray
    shift: np.ndarray
    note: str = ""

    def to_pixels(self, image: np.ndarray) -> np.ndarray:
        """Return an image (C, H, W) for imshow: (H, W, 3) if C is 3, otherwise (H, W), the mean of channels."""
        pixels = (image * self.scale + self.shift).clip(0, 1)
        return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels.mean(0)

    def to_colours(self, image: np.ndarray) -> np.ndarray:
        """Return an image (C, H, W) as colours (H, W, 3); padding, which is NaN, is pale."""
        pixels = self.to_pixels(image)
        pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        return np.where(np.isnan(pixels), to_rgb(style.PALE), pixels)


def choose_display(where: str, images: np.ndarray, normalize: tuple[Any, Any] | None) -> Display:
    """Return how images of numbers (..., C, H, W) are shown.

    normalize   (mean, std) of pixels from 0 to 1, as given to DataLoader, one number or one for each channel.  If None,
                numbers from 0 to 1, and whole numbers from 0 to 255, are shown as they are; others are stretched from
                black to white, all channels alike, and the note says so.

    Raises   ValidationError   normalize is no (mean, std) for C channels, or a std is not above 0
    """
    if normalize is not None:
        mean, std = _read_normalize(where, normalize, images.shape[-3])
        return Display(std, mean)  # number * std + mean
    known = images[np.isfinite(images)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return _uniform(1, 0)
    if low >= 0 and high <= 255 and (known == np.rint(known)).all():
        return _uniform(1 / 255, 0)
    scale = 1 / ((high - low) or 1)
    note = "colours are not true:\nnormalize=(mean, std) is not known" if images.shape[-3] == 3 else ""
    return _uniform(scale, 0.5 - scale * (low + high) / 2, note)


def to_numbers(display: Display, brightness: float) -> np.ndarray:
    """Return the number that a model reads for a brightness from 0 to 1, for each channel, (C,) or (1,)."""
    return ((brightness - display.shift) / display.scale).ravel()


def show_image(axes: Axes, image: np.ndarray, display: Display) -> None:
    """Draw an image (C, H, W): in colours if C is 3, otherwise in grey; padding, which is NaN, is pale."""
    axes.imshow(display.to_colours(image), interpolation="nearest")
    style.draw_thin_frame(axes)
    if display.note:
        axes.set_xlabel(display.note, fontsize=style.SMALL)


def _uniform(scale: float, shift: float, note: str = "") -> Display:
    return Display(np.full((1, 1, 1), scale), np.full((1, 1, 1), shift), note)


def _read_normalize(where: str, normalize: tuple[Any, Any], C: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std, each (C, 1, 1) or (1, 1, 1)."""
    try:
        mean, std = (np.asarray(part, np.float64).reshape(-1, 1, 1) for part in normalize)
    except (TypeError, ValueError):
        raise ValidationError(f"{where}: normalize is {brief(normalize)}; give (mean, std)") from None
    if not {mean.size, std.size} <= {1, C}:
        raise ValidationError(
            f"{where}: normalize has {mean.size} means and {std.size} stds but the image has {C} channels; "
            "give one number, or one for each channel"
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValidationError(f"{where}: normalize is {brief(normalize)}; use a finite mean and a std above 0")
    return mean, std
