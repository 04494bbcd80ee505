"""What the caller hands in, as NumPy arrays: tensors, layers, lists and arrays alike."""

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
