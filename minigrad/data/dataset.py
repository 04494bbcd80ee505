"""Data sets: anything with a length whose samples are read by number."""

import operator
from collections.abc import Iterator, Sequence
from math import isclose
from typing import Any, SupportsIndex

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..tensors import Tensor
from .order import chosen_seed, shuffled


class Dataset:
    """Samples read by number: write __len__ and __getitem__, and DataLoader makes batches of them.

    Raises   NotImplementedError   a subclass lacks one of the two
    Example
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index, index**2
    >>> Squares()[3]
    (3, 9)
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: __len__ is missing; write one that counts the samples")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ is missing; write one that returns a sample")

    def __iter__(self) -> Iterator[Any]:
        """All samples in order; without it, Python would take an IndexError inside a sample for the end."""
        for index in range(len(self)):
            yield self[index]


class ImageDataset(Dataset):
    """Images in memory as bytes, each with a label; DataLoader normalises whole batches of them at once.

    images  (N, H, W) or (N, C, H, W)  uint8, 0 black to 255
    labels  (N,)                       whole numbers
    ds[i]   a float32 image (C, H, W) in 0..1, and its label as an int

    Raises   DtypeError   images are not uint8, or labels not whole numbers
             ShapeError   other dimensions, or another number of labels than of images
    Example
    >>> pictures = ImageDataset(np.zeros((10, 3, 32, 32), np.uint8), np.arange(10))
    >>> image, label = pictures[7]
    >>> image.shape, label
    ((3, 32, 32), 7)
    """

    def __init__(self, images: Any, labels: Any):
        self.images, labels = np.asarray(images), np.asarray(labels)
        if self.images.dtype != np.uint8:
            raise DtypeError(f"ImageDataset: images are {self.images.dtype}, expected uint8; try TensorDataset")
        if labels.dtype.kind not in "iu":
            raise DtypeError(f"ImageDataset: labels are {labels.dtype}, expected whole numbers; number the classes")
        if self.images.ndim not in (3, 4):
            raise ShapeError(
                f"ImageDataset: images have {self.images.ndim} dimensions {self.images.shape}, expected 3 "
                "(N, H, W) or 4 (N, C, H, W); reshape them"
            )
        if labels.shape != self.images.shape[:1]:
            raise ShapeError(
                f"ImageDataset: labels have shape {labels.shape} for {len(self.images)} images; give one label an image"
            )
        self.labels = labels.astype(np.int64, copy=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex) -> tuple[np.ndarray, int]:
        where = type(self).__name__
        if not hasattr(index, "__index__"):
            raise DtypeError(
                f"{where}: index is a {type(index).__name__}, expected a whole number; for many samples, "
                "index .images and .labels"
            )
        if not -len(self) <= operator.index(index) < len(self):
            raise IndexError(
                f"{where}: index {index} is out of range for {len(self)} images; the last is {len(self) - 1}"
            )
        image = self.images[index]
        return image.reshape(-1, *image.shape[-2:]) / np.float32(255), int(self.labels[index])


class TensorDataset(Dataset):
    """Tensors of one length, read row by row: sample i is the tuple of row i of each.

    tensors  (N, ...) each; arrays are copied into tensors

    Raises   ShapeError        a tensor without rows, or of another length
             ValidationError   no tensors
    Example
    >>> import minigrad as mg
    >>> pairs = TensorDataset(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([0, 1]))
    >>> pairs[1]
    (tensor([3., 4.]), tensor(1))
    """

    def __init__(self, *tensors: Any):
        self.tensors = tuple(tensor if isinstance(tensor, Tensor) else Tensor(tensor) for tensor in tensors)
        if not tensors:
            raise ValidationError("TensorDataset: no tensors; give at least one")
        shapes = [tensor.shape for tensor in self.tensors]
        if () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ShapeError(
                f"TensorDataset: shapes {', '.join(map(str, shapes))} are not rows of one length; "
                "make the first axes equal"
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class Subset(Dataset):
    """Some samples of a data set, in an order of their own.

    dataset  the whole
    indices  numbers of its samples, 0 to len(dataset) - 1

    Raises   DtypeError        indices are not whole numbers
             ValidationError   an index is out of range
    Example
    >>> Subset(["a", "b", "c"], [2, 0])[0]
    'c'
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray):
        self.dataset = dataset
        self.indices = _sample_numbers(indices, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]


def random_split(dataset: Any, lengths: Sequence[int | float], seed: int | None = None) -> list[Subset]:
    """Deal the samples out at random to parts that share none.

    lengths  samples in each part, adding up to len(dataset); or shares, adding up to 1
    seed     the same seed gives the same parts; drawn anew if None, and then fixed by manual_seed
    returns  a Subset for each length; of shares, samples left over by rounding down go one each to the first parts

    Raises   ValidationError   lengths are negative or do not add up, or the seed is out of range
    Example
    >>> [len(part) for part in random_split(range(10), [0.8, 0.2], seed=0)]
    [8, 2]
    """
    sizes = _sizes(list(lengths), len(dataset))
    order = shuffled(len(dataset), chosen_seed(seed, "random_split"))
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _sample_numbers(indices: Any, n: int) -> np.ndarray:
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise DtypeError(f"Subset: indices are {numbers.dtype} {numbers.shape}, expected a list of whole numbers")
    outside = numbers[(numbers < 0) | (numbers >= n)]
    if outside.size:
        raise ValidationError(f"Subset: index {outside[0]} is out of range for {n} samples; use 0 to {n - 1}")
    return numbers.astype(np.int64)


def _sizes(lengths: list[int | float], n: int) -> list[int]:
    """Numbers of samples, from numbers of samples or shares."""
    shares = any(isinstance(length, float) for length in lengths)
    total, unit = (1, n) if shares else (n, 1)
    if not lengths or min(lengths) < 0 or not isclose(sum(lengths), total):
        raise ValidationError(
            f"random_split: lengths {lengths} add up to {sum(lengths)}, expected none below 0 and a "
            f"sum of {n} samples, or of 1 for shares"
        )
    sizes = [int(length * unit) for length in lengths]
    for part in range(n - sum(sizes)):
        sizes[part % len(sizes)] += 1
    return sizes
