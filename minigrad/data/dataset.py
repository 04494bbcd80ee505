"""Data sets: objects with a length whose samples are read by number."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import isclose
from typing import TYPE_CHECKING, Any, Generic, Protocol, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ..checks import index_in_range
from ..errors import DtypeError, ShapeError, ValidationError
from ..tensors import Tensor
from .sampler import choose_seed, draw_order

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Sample = TypeVar("Sample", covariant=True, default=Any)  # so that Dataset means Dataset[Any]
    Batch = TypeVar("Batch", covariant=True, default=Any)
else:
    from typing import TypeVar

    Sample, Batch = TypeVar("Sample", covariant=True), TypeVar("Batch", covariant=True)


class SampleSource(Protocol[Sample]):
    """What a DataLoader reads: a Dataset, a list, a tensor, or any other object with these two methods."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


class Dataset(Generic[Sample]):
    """The base of data sets.  A subclass defines __len__ and __getitem__; a DataLoader makes batches of its samples.

    Example
    >>> class Squares(Dataset[tuple[int, int]]):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index, index**2
    >>> Squares()[3]
    (3, 9)
    """

    def __len__(self) -> int:
        where = type(self).__name__
        raise NotImplementedError(f"{where}: __len__ is missing; define it to return the number of samples")

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ is missing; define it to return a sample")

    def __iter__(self) -> Iterator[Sample]:
        """Iterate over all samples; an IndexError in a sample is not taken for the end."""
        for index in range(len(self)):
            yield self[index]

    def __add__(self, other: SampleSource[Any]) -> "ConcatDataset":
        return ConcatDataset([self, other])


class ImageDataset(Dataset[tuple[np.ndarray, int]]):
    """Images in memory as bytes, each with a label.  A DataLoader normalises whole batches of them at once.

    images  (N, H, W) or (N, C, H, W)  uint8, from 0 (black) to 255
    labels  (N,)                       whole numbers
    ds[i]   a float32 image (C, H, W) from 0 to 1, and its label as an int

    Example
    >>> pictures = ImageDataset(np.zeros((10, 3, 32, 32), np.uint8), np.arange(10))
    >>> image, label = pictures[7]
    >>> image.shape, label
    ((3, 32, 32), 7)
    """

    def __init__(self, images: ArrayLike, labels: ArrayLike, transform=None, target_transform=None):
        self.transform, self.target_transform = transform, target_transform
        self.images, labels = _as_one_array(images), np.asarray(labels)
        if self.images.dtype != np.uint8:
            raise DtypeError(f"ImageDataset: images are {self.images.dtype}, expected uint8; use TensorDataset")
        if labels.dtype.kind not in "iu":
            raise DtypeError(f"ImageDataset: labels are {labels.dtype}, expected whole numbers; number the classes")
        if self.images.ndim not in (3, 4):
            raise ShapeError(
                f"ImageDataset: images have {self.images.ndim} dimensions {self.images.shape}, expected 3 "
                "(N, H, W) or 4 (N, C, H, W); reshape them"
            )
        if labels.shape != self.images.shape[:1]:
            raise ShapeError(
                f"ImageDataset: labels have shape {labels.shape} for {len(self.images)} images; give each image a label"
            )
        self.labels = labels.astype(np.int64, copy=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex) -> tuple[np.ndarray, int]:
        advice = "; for many samples, index .images and .labels"
        index = index_in_range(type(self).__name__, index, len(self), "images", advice)
        image = self.images[index]
        if self.transform is not None:
            from PIL import Image

            return self.transform(Image.fromarray(image if image.ndim == 2 else image.transpose(1, 2, 0))), int(
                self.labels[index]
            )
        return image.reshape(-1, *image.shape[-2:]) / np.float32(255), int(self.labels[index])


def _as_one_array(images: Any) -> np.ndarray:
    """Return images as an array; refuse a list of images of mixed sizes."""
    shapes = {np.shape(image) for image in images} if isinstance(images, list | tuple) else set()
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise ShapeError(
            f"ImageDataset: images have shapes {a} and {b}; resize them to one size, or read their files with "
            "datasets.ImageFolder(root, size=...)"
        )
    return np.asarray(images)


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of one length; sample i is the tuple of row i of each.

    tensors  (N, ...) each; arrays are copied into tensors

    Example
    >>> import minigrad as mg
    >>> pairs = TensorDataset(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([0, 1]))
    >>> pairs[1]
    (tensor([3., 4.]), tensor(1))
    """

    def __init__(self, *tensors: Tensor | ArrayLike):
        self.tensors = tuple(tensor if isinstance(tensor, Tensor) else Tensor(tensor) for tensor in tensors)
        if not tensors:
            raise ValidationError("TensorDataset: no tensors; give at least one")
        shapes = [tensor.shape for tensor in self.tensors]
        if () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ShapeError(
                f"TensorDataset: shapes {', '.join(map(str, shapes))} do not have the same number of rows; "
                "make the first axes equal"
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class Subset(Dataset[Sample]):
    """Some samples of a data set, in the given order.

    dataset  the whole data set
    indices  numbers of its samples, 0 to len(dataset) - 1
    """

    def __init__(self, dataset: SampleSource[Sample], indices: Sequence[int] | np.ndarray):
        numbers, n = np.asarray(indices), len(dataset)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise DtypeError(
                f"Subset: indices are {numbers.dtype} {numbers.shape}, expected whole numbers (N,); give a list of them"
            )
        outside = numbers[(numbers < 0) | (numbers >= n)]
        if outside.size:
            raise ValidationError(f"Subset: index {outside[0]} is out of range for {n} samples; use 0 to {n - 1}")
        self.dataset, self.indices = dataset, numbers.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[int(self.indices[index_in_range("Subset", index, len(self), "samples")])]


class ConcatDataset(Dataset[Any]):
    """The samples of several data sets, one after the other."""

    def __init__(self, datasets: Iterable[SampleSource[Any]]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValidationError("ConcatDataset: no data sets; give at least one")
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        part, number = self.locate(index)
        return part[number]

    def locate(self, index: int) -> tuple[SampleSource[Any], int]:
        """Return the data set that a sample is in, and its number there."""
        index = index_in_range("ConcatDataset", index, len(self), "samples")
        part = bisect_right(self.cumulative_sizes, index)
        return self.datasets[part], index - [0, *self.cumulative_sizes][part]


class IterableDataset(Generic[Sample]):
    """The base of data sets whose samples come one after the other; a subclass defines __iter__."""

    def __iter__(self) -> Iterator[Sample]:
        raise NotImplementedError(f"{type(self).__name__}: __iter__ is missing; define it to iterate over samples")


def random_split(
    dataset: SampleSource[Sample], lengths: Sequence[int | float], generator: Any = None, *, seed: int | None = None
) -> list[Subset[Sample]]:
    """Divide the samples at random into parts without common samples.

    lengths     numbers of samples, adding up to len(dataset); or shares, adding up to 1
    generator   a mg.Generator that draws the seed; None: a seed that manual_seed fixes
    seed        the same seed gives the same parts
    returns     a Subset for each length; samples left over by rounding shares down go one each to the first parts

    Example
    >>> [len(part) for part in random_split(range(10), [0.8, 0.2], seed=0)]
    [8, 2]
    """
    sizes = _count_samples(list(lengths), len(dataset))
    order = draw_order(len(dataset), choose_seed(seed, "random_split", generator))
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _count_samples(lengths: list[int | float], n: int) -> list[int]:
    shares = any(isinstance(length, float) for length in lengths)
    total, unit = (1, n) if shares else (n, 1)
    if not lengths or min(lengths) < 0 or not isclose(sum(lengths), total):
        raise ValidationError(
            f"random_split: lengths {lengths} add up to {sum(lengths)}; use lengths of 0 or more that add up to "
            f"{n} samples, or shares that add up to 1"
        )
    sizes = [int(length * unit) for length in lengths]
    for part in range(n - sum(sizes)):
        sizes[part % len(sizes)] += 1
    return sizes
