"""Collating samples into a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import type_with_article
from ..errors import DtypeError, ShapeError
from ..ops.promotion import widest
from ..runtime import memory
from ..runtime.device import CPU, device as Device
from ..tensors import Tensor, tensor


def default_collate(samples: Sequence[Any], device: str | Device = CPU) -> Any:
    """Stack samples into one batch.  Samples are numbers, arrays or tensors of one shape, strings, or tuples, lists and
    dicts of these.

    samples  N samples of one type
    device   'cpu' (default), 'cuda' or 'numpy'
    returns  (N, ...) tensor; a list of the strings; for tuples and lists a tuple of such batches; for dicts and named
             tuples one of these; Python floats become float64

    Example
    >>> import numpy as np
    >>> images, labels = default_collate([(np.zeros((1, 28, 28)), 7), (np.ones((1, 28, 28)), 3)])
    >>> images.shape, labels
    ((2, 1, 28, 28), tensor([7, 3]))
    """
    first = samples[0]
    if isinstance(first, tuple | list):
        _check_equal("lengths", [len(sample) for sample in samples])
        columns = [default_collate(column, device) for column in zip(*samples, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    if isinstance(first, Mapping):
        _check_equal("keys", [sorted(sample, key=str) for sample in samples])
        return {key: default_collate([sample[key] for sample in samples], device) for key in first}
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, Tensor | np.ndarray | np.generic):
        arrays = [sample.detach().numpy() if isinstance(sample, Tensor) else np.asarray(sample) for sample in samples]
        _check_equal("shapes", [array.shape for array in arrays])
        dtype = widest("default_collate", *{array.dtype for array in arrays})
        stacked = np.stack(arrays, axis=-1, dtype=dtype, casting="unsafe")
        return tensor(memory.move_batch_first(stacked), device=device)
    if not isinstance(first, int | float):
        raise DtypeError(
            f"default_collate: a sample is or has {type_with_article(first)}; make it a tensor, an array, a number, a "
            "string, or a tuple, list or dict of these, or give the DataLoader a collate_fn"
        )
    return tensor(list(samples), np.float64 if type(first) is float else None, device)


def default_convert(data: Any, device: str | Device = CPU) -> Any:
    """Return a sample with its arrays and NumPy numbers as tensors; in tuples, lists and dicts too."""
    if isinstance(data, np.ndarray | np.generic) and data.dtype.kind in "fiub":
        return tensor(data, device=device)
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, Mapping):
        return {key: default_convert(part, device) for key, part in data.items()}
    if isinstance(data, tuple | list):
        parts = [default_convert(part, device) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return data


def _check_equal(what: str, values: list[Any]) -> None:
    for position, value in enumerate(values):
        if value != values[0]:
            raise UnequalSamplesError(f"{what} {values[0]} and {value}", position)


class UnequalSamplesError(ShapeError):
    """Two samples of a batch do not stack: the first one, and the one at `position`."""

    def __init__(self, found: str, position: int):
        self.found, self.position = found, position
        advice = "make them equal, or give the DataLoader a collate_fn"
        super().__init__(f"default_collate: samples of one batch have {found}; {advice}")
