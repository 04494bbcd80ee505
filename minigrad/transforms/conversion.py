"""Conversions between Pillow images, arrays and tensors."""

from typing import Any

import numpy as np
from PIL import Image

from ..checks import type_with_article
from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime.device import CPU
from ..tensors import Tensor, _known_dtype, _make, float32
from . import array_color
from .images import Picture, is_picture, like, pixels_of

PIXEL_DTYPES = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16L": np.uint16, "I;16B": np.uint16}
MODES = {  # by number of channels: the modes of Pillow, the first of which is the default
    1: ("L", "I", "F", "I;16"),
    2: ("LA",),
    3: ("RGB", "YCbCr", "HSV"),
    4: ("RGBA", "CMYK", "RGBX"),
}
GREY_MODES = {"uint8": "L", "int32": "I", "float32": "F", "uint16": "I;16", "int16": "I;16"}  # by dtype


def _tensor(pixels: np.ndarray) -> Tensor:
    """A tensor on new memory in C order."""
    return _make(CPU.from_host(np.array(pixels, order="C")), CPU, None)


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    """(C, H, W) of (H, W) or (H, W, C)."""
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def to_tensor(pic: Any) -> Tensor:
    """Return a Pillow image or an array (H, W) or (H, W, C) as a tensor (C, H, W).

    pic       Pillow image   of 8 bits a channel, or mode '1': floats from 0 to 1
                             of mode 'I', 'I;16' or 'F': its numbers, as int32, int32 or float32
              array          uint8: floats from 0 to 1; of another dtype: its numbers
    returns   (C, H, W)

    Raises   DtypeError   pic is neither
             ShapeError   the array has another number of axes, or looks like (C, H, W)
    Example
    >>> to_tensor(np.full((2, 2), 51, np.uint8))
    tensor([[[0.2, 0.2],
             [0.2, 0.2]]])
    """
    if is_picture(pic):
        pixels = np.asarray(pic, PIXEL_DTYPES.get(pic.mode, np.uint8))
        pixels = pixels * np.uint8(255) if pic.mode == "1" else pixels
    elif isinstance(pic, np.ndarray):
        pixels = _expect_channels_last("to_tensor", pic)
    else:
        raise DtypeError(f"to_tensor: expected a Pillow image or an array (H, W, C), got {type_with_article(pic)}")
    pixels = _channels_first(pixels)
    if pixels.dtype == np.uint8:
        return _tensor(pixels / np.float32(255))
    return _tensor(pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels)


def _expect_channels_last(where: str, array: np.ndarray) -> np.ndarray:
    shape = array.shape
    if array.ndim not in (2, 3):
        raise ShapeError(f"{where}: the array has shape {shape}, expected (H, W) or (H, W, C)")
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[1] > 4 and shape[2] > 4:
        raise ShapeError(
            f"{where}: shape {shape} looks like (C, H, W), expected (H, W, C); use mg.tensor, or transpose(1, 2, 0)"
        )
    return array


def pil_to_tensor(pic: Any) -> Tensor:
    """Return the numbers of a Pillow image as a tensor (C, H, W): uint8, or bool for mode '1', or as to_tensor.

    Raises   DtypeError   pic is no Pillow image
    Example
    >>> pil_to_tensor(Image.new("L", (2, 1), 7))
    tensor([[[7, 7]]], dtype=uint8)
    """
    if not is_picture(pic):
        raise DtypeError(f"pil_to_tensor: expected a Pillow image, got {type_with_article(pic)}; use to_tensor")
    pixels = np.asarray(pic)
    return _tensor(_channels_first(pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels))


def to_image(inpt: Any) -> Tensor:
    """Return a Pillow image, an array (H, W) or (H, W, C), or a tensor as a tensor (C, H, W), with its own numbers.

    Raises   DtypeError   inpt is none of them
             ShapeError   the array has another number of axes, or looks like (C, H, W)
    Example
    >>> to_image(np.zeros((4, 5, 3), np.uint8)).shape
    (3, 4, 5)
    """
    if is_picture(inpt):
        return pil_to_tensor(inpt)
    if isinstance(inpt, np.ndarray):
        return _tensor(_channels_first(_expect_channels_last("to_image", inpt)))
    if not isinstance(inpt, Tensor):
        raise DtypeError(f"to_image: expected a Pillow image, an array or a tensor, got {type_with_article(inpt)}")
    return inpt


def to_pil_image(pic: Any, mode: str | None = None) -> Picture:
    """Return a tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W), as a Pillow image.

    pic    uint8; or floats from 0 to 1, which are multiplied by 255 and rounded down
           one channel may also be int32, and with mode 'F' float32
    mode   of Pillow; None: 'L', 'LA', 'RGB' or 'RGBA', by the number of channels

    Raises   DtypeError        pic is neither, or its dtype has no such image
             ShapeError        it has another number of axes or channels
             ValidationError   the mode does not fit the number of channels or the dtype
    Example
    >>> to_pil_image(np.zeros((4, 5, 3), np.uint8)).size
    (5, 4)
    """
    pixels = _pixels_last(pic)
    if pixels.dtype.kind == "f" and mode != "F":
        pixels = (pixels * pixels.dtype.type(255)).astype(np.uint8)
    channels = pixels.shape[-1]
    default = GREY_MODES.get(str(pixels.dtype)) if channels == 1 else MODES[channels][0]
    if default is None or (channels > 1 and pixels.dtype != np.uint8):
        raise DtypeError(f"to_pil_image: pixels of {channels} channels are {pixels.dtype}; use uint8 or floats")
    if mode is not None and mode not in (MODES[channels] if channels > 1 else (default,)):
        fits = ", ".join(MODES[channels] if channels > 1 else (default,))
        raise ValidationError(
            f"to_pil_image: mode {mode!r} does not fit {channels} channels of {pixels.dtype}; use {fits}"
        )
    return _picture(pixels[:, :, 0] if channels == 1 else pixels, mode or default)


def _picture(pixels: np.ndarray, mode: str) -> Picture:
    pixels = np.ascontiguousarray(pixels.view(np.uint16) if pixels.dtype == np.int16 else pixels)
    if mode in ("L", "LA", "RGB", "RGBA", "I", "F", "I;16"):
        return Image.fromarray(pixels)
    return Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())


def _pixels_last(pic: Any) -> np.ndarray:
    """The pixels (H, W, C) of a tensor (C, H, W) or an array (H, W, C)."""
    if not isinstance(pic, Tensor | np.ndarray):
        raise DtypeError(f"to_pil_image: expected a tensor or an array, got {type_with_article(pic)}")
    if pic.ndim not in (2, 3):
        raise ShapeError(f"to_pil_image: the image has shape {pic.shape}, expected 2 or 3 axes; give one image")
    if isinstance(pic, np.ndarray):
        pixels = np.atleast_3d(pic)
    else:
        array = pic.detach().cpu().numpy()
        pixels = array[:, :, None] if array.ndim == 2 else array.transpose(1, 2, 0)
    if pixels.shape[-1] not in MODES:
        order = "(C, H, W)" if isinstance(pic, Tensor) else "(H, W, C)"
        raise ShapeError(
            f"to_pil_image: {pixels.shape[-1]} channels in shape {tuple(pic.shape)}, expected 1 to 4 as {order}"
        )
    return pixels


def convert_image_dtype(image: Any, dtype: Any = float32) -> Any:
    """Return pixels in another dtype, scaled so that white stays white: 255 in uint8, 1 in floats.

    Raises   DtypeError   the dtype is unknown, or float pixels do not hold the numbers of a larger whole one
    Example
    >>> convert_image_dtype(np.array([[0, 51, 255]], np.uint8))
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    known = _known_dtype(dtype, "convert_image_dtype")
    return like(image, array_color.convert_dtype(pixels_of("convert_image_dtype", image, 1), known))


def to_dtype(inpt: Any, dtype: Any = float32, scale: bool = False) -> Any:
    """Return pixels in another dtype; scale: as convert_image_dtype, otherwise with the same numbers.

    Example
    >>> to_dtype(np.array([[0, 255]], np.uint8), scale=True)
    array([[0., 1.]], dtype=float32)
    """
    if scale:
        return convert_image_dtype(inpt, dtype)
    return like(inpt, pixels_of("to_dtype", inpt, 1).astype(_known_dtype(dtype, "to_dtype")))


def normalize(tensor: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    """Return (tensor - mean) / std, with one mean and std for each channel.

    tensor     (..., C, H, W)   floats
    mean, std  (C,) or (1,)     or numbers
    inplace    also change the tensor

    Of tensors this records gradients, as no other transform does.
    Raises   DtypeError        the pixels are no floats
             ShapeError        mean or std has another length
             ValidationError   std has a 0
    Example
    >>> normalize(np.ones((1, 1, 2), np.float32), [0.5], [0.25])
    array([[[2., 2.]]], dtype=float32)
    """
    is_tensor = isinstance(tensor, Tensor)
    pixels = pixels_of("normalize", tensor.detach() if is_tensor else tensor, 3)
    if pixels.dtype.kind != "f":
        raise DtypeError(f"normalize: pixels are {pixels.dtype}, expected floats; convert them by ToTensor first")
    shift, scale = (numbers[:, None, None] for numbers in per_channel(mean, std, pixels.shape[-3], pixels.dtype))
    if is_tensor:
        result = (tensor - like(tensor, shift)) / like(tensor, scale)
        return tensor.copy_(result) if inplace else result
    return np.divide(tensor - shift, scale, out=tensor if inplace else None)


def per_channel(mean: Any, std: Any, channels: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std of Normalize as (1,) or (C,) each."""
    shift, scale = (np.atleast_1d(np.asarray(numbers, dtype)) for numbers in (mean, std))
    for name, numbers in (("mean", shift), ("std", scale)):
        if numbers.shape not in ((1,), (channels,)):
            raise ShapeError(
                f"normalize: {name} has shape {numbers.shape} for an image of {channels} channels; give {channels} "
                "numbers"
            )
    if (scale == 0).any():
        raise ValidationError(f"normalize: std is {scale.tolist()}; use numbers other than 0")
    return shift, scale
