"""What transforms take: Pillow images, and tensors and arrays of pixels (..., C, H, W)."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from ..checks import brief, type_with_article
from ..errors import DtypeError, ShapeError, ValidationError
from ..tensors import Tensor, _make

Picture = Image.Image
CHANNELS = (1, 3, 4)  # of grey, RGB and RGBA images
CHW = "(..., C, H, W)"


class InterpolationMode(Enum):
    """How a pixel between pixels is computed; 'box', 'hamming' and 'lanczos' are for Pillow images only."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


PILLOW_MODES = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.NEAREST_EXACT: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
    InterpolationMode.BOX: Image.Resampling.BOX,
    InterpolationMode.HAMMING: Image.Resampling.HAMMING,
    InterpolationMode.LANCZOS: Image.Resampling.LANCZOS,
}
_BY_NUMBER = {int(number): mode for mode, number in reversed(PILLOW_MODES.items())}


def known_mode(where: str, mode: Any) -> InterpolationMode:
    """Return an InterpolationMode, given as one, by its name or as Pillow's number."""
    if isinstance(mode, InterpolationMode):
        return mode
    if isinstance(mode, int) and mode in _BY_NUMBER:
        return _BY_NUMBER[mode]
    names = [known.value for known in InterpolationMode]
    if mode in names:
        return InterpolationMode(mode)
    raise ValidationError(f"{where}: interpolation is {brief(mode)}; use an InterpolationMode, or {', '.join(names)}")


def is_picture(image: Any) -> bool:
    """Whether an image is Pillow's."""
    return isinstance(image, Picture)


def is_image(value: Any) -> bool:
    """Whether a value is something that a transform can take: a Pillow image, a tensor or an array."""
    return isinstance(value, Picture | Tensor | np.ndarray)


def pixels_of(where: str, image: Any, least: int = 2) -> np.ndarray:
    """Return the pixels (..., H, W) of a tensor or an array.

    least   number of axes; with 3 or more, the third axis from the end holds channels
    """
    if is_picture(image):
        raise DtypeError(f"{where}: the image is a Pillow image, expected a tensor; put ToTensor() before")
    if not isinstance(image, Tensor | np.ndarray):
        raise DtypeError(
            f"{where}: the image is {type_with_article(image)}, expected a Pillow image, a tensor or an array (C, H, W)"
        )
    if isinstance(image, Tensor) and image.requires_grad:
        raise DtypeError(f"{where}: transforms record no gradients, but the image requires them; call detach() first")
    array = image if isinstance(image, np.ndarray) else image.detach().cpu().numpy()
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{where}: pixels are {array.dtype}; use uint8, or floats from 0 to 1")
    if array.ndim < least:
        raise ShapeError(f"{where}: the image has shape {array.shape}, expected {'(..., H, W)' if least == 2 else CHW}")
    refuse_channels_last(where, array.shape)
    return array


def refuse_channels_last(where: str, shape: Sequence[int]) -> None:
    """Refuse (..., H, W, C): the last axis is as short as channels are, and the third last too long for them."""
    if len(shape) >= 3 and shape[-1] in CHANNELS and shape[-3] > 4 and shape[-2] > 4:
        raise ShapeError(
            f"{where}: shape {tuple(shape)} looks like (H, W, C), expected (C, H, W); use to_tensor for an array, "
            "or permute(2, 0, 1)"
        )


def like(image: Any, pixels: np.ndarray) -> Any:
    """Return pixels as what `image` is: an array, or a tensor on its device; never in the memory of `image`."""
    pixels = np.ascontiguousarray(pixels)
    if isinstance(image, np.ndarray):
        return pixels.copy() if np.may_share_memory(pixels, image) else pixels
    return _make(image.device.from_host(pixels.copy() if pixels.base is not None else pixels), image.device, None)


def apply(
    where: str, image: Any, on_picture: Callable[..., Any], on_pixels: Callable[..., np.ndarray], *arguments: Any,
    least: int = 2,
) -> Any:  # fmt: skip
    """Call the function for Pillow images or that for pixels (..., H, W)."""
    if is_picture(image):
        return on_picture(image, *arguments)
    return like(image, on_pixels(pixels_of(where, image, least), *arguments))


def get_dimensions(img: Any) -> list[int]:
    """Return [C, H, W] of an image.

    Example
    >>> get_dimensions(np.zeros((3, 4, 5), np.uint8))
    [3, 4, 5]
    """
    if is_picture(img):
        return [len(img.getbands()), img.height, img.width]
    shape = pixels_of("get_dimensions", img).shape
    return [1 if len(shape) == 2 else shape[-3], *shape[-2:]]


def get_image_size(img: Any) -> list[int]:
    """Return [W, H] of an image.

    Example
    >>> get_image_size(np.zeros((3, 4, 5), np.uint8))
    [5, 4]
    """
    return get_dimensions(img)[:0:-1]


def get_image_num_channels(img: Any) -> int:
    """Return the number of channels of an image.

    Example
    >>> get_image_num_channels(np.zeros((3, 4, 5), np.uint8))
    3
    """
    return get_dimensions(img)[0]


def get_size(img: Any) -> list[int]:
    """Return [H, W] of an image.

    Example
    >>> get_size(np.zeros((3, 4, 5), np.uint8))
    [4, 5]
    """
    return get_dimensions(img)[1:]


def largest_value(dtype: Any) -> int:
    """Return the value of white: 1 for floats, the largest number for whole numbers."""
    dtype = np.dtype(dtype)
    return 1 if dtype.kind in "fb" else int(np.iinfo(dtype).max)


def round_to(pixels: np.ndarray, dtype: Any) -> np.ndarray:
    """Return computed pixels in the dtype of the image; whole numbers are rounded to even."""
    return np.rint(pixels).astype(dtype) if np.dtype(dtype).kind in "iu" else pixels.astype(dtype, copy=False)


def as_float(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as floats: those of whole numbers as float32."""
    return pixels if pixels.dtype.kind == "f" else pixels.astype(np.float32)
