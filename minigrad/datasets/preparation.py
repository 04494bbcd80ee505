"""Images as a model wants them, by what its file says (see model_files.py)."""

import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..data.dataset import as_picture
from ..errors import DtypeError, ValidationError
from .image_files import MODES, as_mode, open_image


def needs_preparation(images: Any) -> bool:
    """Whether these are files, PIL images or bytes, and not numbers that a model takes as they are."""
    first = images[0] if isinstance(images, list | tuple) and images else images
    return isinstance(first, str | os.PathLike | Image.Image) or getattr(first, "dtype", None) == np.uint8


def prepare_images(where: str, model: Any, images: Any) -> np.ndarray:
    """Return images with the size, the channels and the normalisation that a model was trained with.

    model     a Module with model_info, as load_model returns
    images    a file, a PIL image, or bytes (H, W) or (C, H, W) uint8; a list of these, or bytes (N, C, H, W)
    returns   (N, C, H, W) float32

    An image is scaled so that it covers the model's size, and its middle is kept.

    Raises   ValidationError   the model does not say which size or normalisation it needs
             DtypeError        an image is of another kind
             DataError         a file is missing or damaged
    """
    info = getattr(model, "model_info", {})
    missing = [name for name in ("input_size", "normalize") if name not in info]
    if missing:
        raise ValidationError(
            f"{where}: the model does not say its {' and '.join(missing)}; give numbers that it was trained with, or "
            "save it by mg.save_model(model, file, input_size=(C, H, W), normalize=(mean, std))"
        )
    many = images if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4 else [images]
    C, H, W = info["input_size"]
    mode = {1: "L", 3: "RGB"}.get(C)
    if mode not in MODES:
        raise ValidationError(f"{where}: the model reads {C} channels; give numbers (N, {C}, {H}, {W})")
    pictures = [
        ImageOps.fit(_open(where, image, mode, 2 * max(H, W)), (W, H), Image.Resampling.BILINEAR) for image in many
    ]
    pixels = np.stack([np.asarray(picture, np.float32).reshape(H, W, C).transpose(2, 0, 1) for picture in pictures])
    pad = info.get("pad", 0)
    mean, std = (np.array(part, np.float32).reshape(-1, 1, 1) for part in info["normalize"])
    return (np.pad(pixels / 255, ((0, 0), (0, 0), (pad, pad), (pad, pad))) - mean) / std


def _open(where: str, image: Any, mode: str, reduce_to: int) -> Image.Image:
    """Return an image of any kind as a PIL image of a mode."""
    if isinstance(image, str | os.PathLike):
        return open_image(image, mode, reduce_to)
    if isinstance(image, Image.Image):
        return as_mode(image, mode, where)
    array = np.asarray(image.cpu() if hasattr(image, "cpu") else image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DtypeError(
            f"{where}: an image is {array.dtype} {array.shape}; give a file, a PIL image, or bytes (H, W) or (C, H, W)"
        )
    return as_mode(as_picture(array), mode, where)
