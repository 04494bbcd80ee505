"""What the caller hands in, as NumPy arrays: tensors, layers, lists and arrays alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.errors import DtypeError, ShapeError, ValidationError


def as_array(source: Any) -> np.ndarray:
    """The numbers of a tensor on any device, a list or an array."""
    return np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)


def conv_weight(where: str, source: Any) -> np.ndarray:
    """The (F, C, KH, KW) weight of a convolution layer, or the array itself, with every entry finite."""
    weight = as_array(getattr(source, "weight", source))
    if weight.dtype.kind not in "fiu":
        kind = type(source).__name__
        raise DtypeError(f"{where}: {kind} has no numeric weight; pass a Conv2d layer or a (F, C, KH, KW) array")
    if weight.ndim != 4 or weight.size == 0:
        raise ShapeError(
            f"{where}: weight has shape {weight.shape}, not (F, C, KH, KW) with 4 sizes of 1 or more; "
            "pass a Conv2d layer or its weight"
        )
    wrong = weight.size - np.isfinite(weight).sum()
    if wrong:
        raise ValidationError(f"{where}: {wrong} of {weight.size} weights are NaN or infinite; lower the learning rate")
    return weight


def class_numbers(where: str, name: str, source: Any) -> np.ndarray:
    """A (N,) array of class numbers."""
    numbers = as_array(source)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ShapeError(
            f"{where}: {name} has shape {numbers.shape}, not (N,) with N > 0; take argmax(1) of the scores"
        )
    if numbers.dtype.kind not in "iu":
        raise DtypeError(f"{where}: {name} holds {numbers.dtype}, not whole class numbers; convert it with astype(int)")
    return numbers.astype(np.int64)  # labels often come as uint8, where 25 * 11 overflows


def image_shape(where: str, input_shape: Any) -> tuple[int, int, int]:
    """(C, H, W), the sizes of one image."""
    sizes = tuple(input_shape) if isinstance(input_shape, Sequence | np.ndarray) else (input_shape,)
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1 for size in sizes)
    if len(sizes) != 3 or not whole:
        raise ShapeError(
            f"{where}: input_shape is {input_shape!r}, not (C, H, W) with 3 whole numbers of 1 or more; "
            "pass channels, height and width of one image; leave out the number of images"
        )
    return sizes


def images_and_labels(where: str, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W), also of (N, H, W), with a class number for each."""
    images = as_array(images)
    if images.ndim not in (3, 4) or images.size == 0:
        raise ShapeError(
            f"{where}: images have shape {images.shape}; pass (N, C, H, W) or (N, H, W) with sizes of 1 or more"
        )
    labels = class_numbers(where, "labels", labels)
    if len(images) != len(labels):
        raise ShapeError(f"{where}: {len(images)} images but {len(labels)} labels; pass one label for each image")
    return images if images.ndim == 4 else images[:, None], labels
