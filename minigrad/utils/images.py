"""Many images as one, by torchvision's names."""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..checks import type_with_article, whole_number
from ..errors import DtypeError, ShapeError
from ..runtime.device import CPU
from ..tensors import Tensor, _make

__all__ = ["make_grid", "save_image"]
__dir__ = __all__.copy


def make_grid(
    tensor: Tensor | list[Tensor], nrow: int = 8, padding: int = 2, normalize: bool = False,
    value_range: tuple[float, float] | None = None, scale_each: bool = False, pad_value: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return images side by side, as one image (C, H, W).

    tensor        (N, C, H, W)   images; or one, as (C, H, W) or (H, W); or a list of them
    nrow          count          images in a row
    padding       pixels         between images
    normalize     map the values from lowest to highest to 0 to 1
    value_range   (lowest, highest), to which `normalize` limits values; None: those of the images
    scale_each    look for lowest and highest in each image, not in all
    pad_value     of the pixels between images
    returns       on the CPU; grey images get 3 equal channels

    Raises   DtypeError        tensor is neither a tensor nor a list of tensors, or to be normalised and not float
             ShapeError        images have another number of axes, or different shapes
             ValidationError   nrow is below 1, or padding below 0
    Example
    >>> import minigrad as mg
    >>> make_grid(mg.zeros(6, 1, 10, 10), nrow=3).shape
    (3, 26, 38)
    """
    nrow = whole_number("make_grid", "nrow", nrow, least=1)
    padding = whole_number("make_grid", "padding", padding, least=0)
    images = _as_batch(tensor)
    if normalize and images.dtype.kind != "f":
        raise DtypeError(f"make_grid: normalize needs floats, but the images are {images.dtype}; use .float()")
    if normalize:
        images = _scale(images, value_range, scale_each)
    if len(images) == 1:
        return _tensor(images[0])
    N, C, H, W = images.shape
    columns = min(nrow, N)
    rows = math.ceil(N / columns)
    grid = np.full((C, rows * (H + padding) + padding, columns * (W + padding) + padding), pad_value, images.dtype)
    for n, image in enumerate(images):
        row, column = divmod(n, columns)
        top, left = row * (H + padding) + padding, column * (W + padding) + padding
        grid[:, top : top + H, left : left + W] = image
    return _tensor(grid)


def _tensor(pixels: np.ndarray) -> Tensor:
    return _make(CPU.from_host(np.array(pixels, order="C")), CPU, None)


def _as_batch(tensor: Any) -> np.ndarray:
    """(N, C, H, W) of a tensor of 2 to 4 axes, or of a list; C is 3 for grey images."""
    given = tensor if isinstance(tensor, list | tuple) else [tensor]
    for image in given:
        if not isinstance(image, Tensor):
            raise DtypeError(f"make_grid: expected a tensor or a list of tensors, got {type_with_article(image)}")
    arrays = [image.detach().cpu().numpy() for image in given]
    if len({array.shape for array in arrays}) != 1:
        raise ShapeError(f"make_grid: images have shapes {[array.shape for array in arrays]}; give images of one shape")
    array = arrays[0] if given[0] is tensor else np.stack(arrays)
    if array.ndim not in (2, 3, 4):
        raise ShapeError(f"make_grid: the images have shape {array.shape}, expected (N, C, H, W)")
    array = array[(None,) * (4 - array.ndim)]
    return np.repeat(array, 3, axis=1) if array.shape[1] == 1 else array


def _scale(images: np.ndarray, value_range: tuple[float, float] | None, scale_each: bool) -> np.ndarray:
    """Map lowest to highest to 0 to 1, in all images or in each."""
    axes = (1, 2, 3) if scale_each else None
    low, high = value_range or (images.min(axis=axes, keepdims=True), images.max(axis=axes, keepdims=True))
    spread = np.maximum(np.subtract(high, low), 1e-5)
    return ((images.clip(low, high) - low) / spread).astype(images.dtype)


def save_image(
    tensor: Tensor | list[Tensor], fp: str | Path | BinaryIO, format: str | None = None, **settings: Any
) -> None:  # fmt: skip
    """Write images, floats from 0 to 1, as one picture file; `settings` are those of make_grid.

    fp       name or open file
    format   of the file, as 'PNG'; None: by the end of its name

    Raises   those of make_grid
    Example
    >>> import io
    >>> import minigrad as mg
    >>> file = io.BytesIO()
    >>> save_image(mg.zeros(2, 1, 8, 8), file, format="PNG")
    >>> Image.open(file).size
    (22, 12)
    """
    grid = make_grid(tensor, **settings)
    if not grid.is_floating_point():
        raise DtypeError(f"save_image: the images are {grid.dtype}, expected floats from 0 to 1; divide bytes by 255")
    pixels = grid.numpy().transpose(1, 2, 0)
    Image.fromarray((pixels * 255 + 0.5).clip(0, 255).astype(np.uint8)).save(fp, format=format)
