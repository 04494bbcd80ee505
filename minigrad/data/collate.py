"""Collating samples into a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ops.promotion import widest
from ..runtime import memory
from ..runtime.device import CPU, device as Device
from ..tensors import Tensor, tensor


def default_collate(samples: Sequence[Any], device: str | Device = CPU) -> Any:
    """Stack samples into one batch.  Samples are numbers, arrays or tensors of one shape, or tuples of these.

    samples  N samples of one type
    device   'cpu' (default), 'cuda' or 'numpy'
    returns  (N, ...) tensor, or for tuples and lists a tuple of tensors; Python floats become float64

    Raises   ShapeError   the shapes, or the lengths of tuples, differ
             DtypeError   the samples are not numbers
    Example
    >>> import numpy as np
    >>> images, labels = default_collate([(np.zeros((1, 28, 28)), 7), (np.ones((1, 28, 28)), 3)])
    >>> images.shape, labels
    ((2, 1, 28, 28), tensor([7, 3]))
    """
    first = samples[0]
    if isinstance(first, tuple | list):
        _check_equal("lengths", [len(sample) for sample in samples])
        return tuple(default_collate(column, device) for column in zip(*samples, strict=True))
    if isinstance(first, Tensor | np.ndarray):
        arrays = [sample.detach().numpy() if isinstance(sample, Tensor) else np.asarray(sample) for sample in samples]
        _check_equal("shapes", [array.shape for array in arrays])
        dtype = widest("default_collate", *{array.dtype for array in arrays})
        stacked = np.stack(arrays, axis=-1, dtype=dtype, casting="unsafe")
        return tensor(memory.move_batch_first(stacked), device=device)
    return tensor(list(samples), np.float64 if type(first) is float else None, device)


def _check_equal(what: str, values: list[Any]) -> None:
    other = next((value for value in values if value != values[0]), None)
    if other is not None:
        raise ShapeError(
            f"default_collate: samples of one batch have {what} {values[0]} and {other}; "
            "make them equal, or give the DataLoader a collate_fn"
        )
