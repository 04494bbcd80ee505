"""Data sets: objects with a length whose samples are read by number."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from math import isclose
from typing import TYPE_CHECKING, Any, Generic, Protocol, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ..checks import index_in_range
from ..errors import DtypeError, ShapeError, ValidationError
from ..tensors import Tensor
from .display import show_classes
from .sampler import choose_seed, draw_order

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Sample = TypeVar("Sample", covariant=True, default=Any)  # so that Dataset means Dataset[Any]
    Batch = TypeVar("Batch", covariant=True, default=Any)
else:
    from typing import TypeVar

    Sample, Batch = TypeVar("Sample", covariant=True), TypeVar("Batch", covariant=True)


Transform: TypeAlias = Callable[[Any], Any]


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


class ImageDataset(Dataset[tuple[Any, Any]]):
    """Images in memory as bytes, each with a label.  A DataLoader normalises whole batches of them at once.

    images            (N, H, W) or (N, C, H, W)  uint8, from 0 (black) to 255
    labels            (N,)                       whole numbers
    transform         a function of a PIL image, as those of minigrad.transforms
    target_transform  a function of a label
    ds[i]             a float32 image (C, H, W) from 0 to 1, or what `transform` makes of it; and its label as an int

    Example
    >>> pictures = ImageDataset(np.zeros((10, 3, 32, 32), np.uint8), np.arange(10))
    >>> image, label = pictures[7]
    >>> image.shape, label
    ((3, 32, 32), 7)
    """

    def __init__(
        self, images: ArrayLike, labels: ArrayLike, transform: Transform | None = None,
        target_transform: Transform | None = None,
    ):  # fmt: skip
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
        if self.images.ndim == 4 and self.images.shape[-1] in (1, 3, 4) and min(self.images.shape[1:3]) > 4:
            raise ShapeError(
                f"ImageDataset: images {self.images.shape} look like (N, H, W, C), which would be images of "
                f"{self.images.shape[1]} channels; give (N, C, H, W), as images.transpose(0, 3, 1, 2)"
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
        image, label = self.images[index], int(self.labels[index])
        target = label if self.target_transform is None else self.target_transform(label)
        if self.transform is None:
            return image.reshape(-1, *image.shape[-2:]) / np.float32(255), target
        return self.transform(as_picture(image)), target

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self):,} images {self.images.shape[1:]}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the number of images of each class, and the first of them."""
        return show_classes(repr(self), self.labels, getattr(self, "classes", None), self.stored_image)

    def stored_image(self, index: int) -> np.ndarray:
        """Return the pixels of an image as they are stored, (H, W) or (C, H, W) uint8, without the transform."""
        return self.images[index]

    @property
    def byte_shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the bytes that a sample is made of; None if a subclass makes samples in another way."""
        if type(self).__getitem__ is not ImageDataset.__getitem__ or self.target_transform is not None:
            return None
        return (1, *self.images.shape[1:])[-3:]

    def labels_of(self, numbers: np.ndarray) -> np.ndarray:
        """The labels of samples, (N,) int64."""
        return self.labels[numbers]


def as_picture(image: np.ndarray) -> Image.Image:
    """Return an image (H, W) or (C, H, W) uint8, of 1, 3 or 4 channels, as a PIL image."""
    image = image.reshape(-1, *image.shape[-2:])
    if len(image) not in (1, 3, 4):
        raise ShapeError(
            f"ImageDataset: an image of {len(image)} channels is no PIL image, which has 1, 3 or 4; "
            "leave transform out, and change whole arrays in a data set of your own"
        )
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _as_one_array(images: ArrayLike) -> np.ndarray:
    """Return images as one array; refuse images of several sizes."""
    if isinstance(images, Sequence):
        sizes = list(dict.fromkeys(np.shape(image) for image in images))
        if len(sizes) > 1:
            raise ShapeError(
                f"ImageDataset: images have {len(sizes)} sizes, as {sizes[0]} and {sizes[1]}; make them equal, or use "
                "datasets.ImageFolder with size="
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

    def _repr_html_(self) -> str | None:
        """What a notebook shows of some images: as of all of them; None: the text alone."""
        source, numbers = find_source(self)
        if not hasattr(source, "stored_image"):
            return None
        labels, heading = all_labels("Subset", source)[numbers], f"Subset: {len(self):,} samples of {source!r}"
        return show_classes(
            heading, labels, getattr(source, "classes", None), lambda i: source.stored_image(numbers[i])
        )


def find_source(dataset: Any) -> tuple[Any, np.ndarray]:
    """Return the data set behind any subsets, and the numbers of the samples in it."""
    numbers = np.arange(len(dataset))
    while getattr(type(dataset), "__getitem__", None) is Subset.__getitem__:
        dataset, numbers = dataset.dataset, dataset.indices[numbers]
    return dataset, numbers


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
    dataset: SampleSource[Sample], lengths: Sequence[int | float], generator: Any = None, *, seed: int | None = None,
    stratify: Any = False,
) -> list[Subset[Sample]]:  # fmt: skip
    """Divide the samples at random into parts without common samples.

    lengths     numbers of samples, adding up to len(dataset); or shares, adding up to 1
    generator   a mg.Generator that draws the seed; None: a seed that manual_seed fixes
    seed        the same seed gives the same parts
    stratify    True: each part has the same share of every class, as nearly as its size allows; the labels are the
                `.targets` or `.labels` of the data set.  Or the labels themselves, one whole number for each sample
    returns     a Subset for each length; samples left over by rounding shares down go one each to the first parts

    Raises   ValidationError   lengths do not add up, or stratify=True and the data set has no labels
             ShapeError        stratify has not one label for each sample
    Example
    >>> [len(part) for part in random_split(range(10), [0.8, 0.2], seed=0)]
    [8, 2]
    >>> labels = [0, 0, 0, 0, 0, 0, 1, 1, 1]
    >>> [sorted(part) for part in random_split(labels, [6, 3], seed=0, stratify=labels)]
    [[0, 0, 0, 0, 1, 1], [0, 0, 1]]
    """
    sizes = _count_samples(list(lengths), len(dataset))
    order = draw_order(len(dataset), choose_seed(seed, "random_split", generator))
    if stratify is not False:
        order = _spread_classes(order, all_labels("random_split", dataset) if stratify is True else stratify)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _spread_classes(order: np.ndarray, labels: Any) -> np.ndarray:
    """Rearrange an order so that any stretch of it has the same share of each class."""
    labels = np.asarray(labels)
    if labels.shape != order.shape:
        raise ShapeError(
            f"random_split: stratify has shape {labels.shape} for {len(order)} samples; give each sample a label"
        )
    found, counts = np.unique(labels[order], return_inverse=True, return_counts=True)[1:]
    by_class = np.argsort(found, kind="stable")
    rank = np.empty(len(order), np.int64)  # of each sample among those of its class
    rank[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = (rank + 0.5) / counts[found]  # of each sample from 0 to 1; those of a class are equally far apart
    return order[np.argsort(place, kind="stable")]


def all_labels(where: str, dataset: Any) -> np.ndarray:
    """Return the label of each sample, (N,) int64, from the `.targets` or `.labels` of a data set or of its subsets.

    Raises   ValidationError   the data set has neither
    """
    if isinstance(dataset, Subset):
        return all_labels(where, dataset.dataset)[dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([all_labels(where, part) for part in dataset.datasets])
    for name in ("targets", "labels"):
        if getattr(dataset, name, None) is not None:
            return np.asarray(getattr(dataset, name)).astype(np.int64)
    raise ValidationError(
        f"{where}: a {type(dataset).__name__} has no .targets or .labels; give the label of each sample"
    )


def mean_and_std(dataset: SampleSource[Any]) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of the pixels of each channel, for `normalize` or Normalize.

    dataset   images in memory, or any data set whose samples are (image, label), images (C, H, W) of numbers
    returns   C means and C standard deviations, of pixels from 0 to 1 for images of bytes

    The deviation is that of all pixels, divided by their number.  Use the training images alone: the test images should
    not be known before the test.

    Raises   ShapeError        an image is not (C, H, W), or has another number of channels than the first
             DtypeError        dataset is no data set, as a DataLoader
             ValidationError   it is empty
    Example
    >>> mean_and_std(ImageDataset(np.array([[[0, 255]]], np.uint8), [0]))
    ([0.5], [0.5])
    """
    if not hasattr(dataset, "__getitem__"):
        kind = type(dataset).__name__
        raise DtypeError(f"mean_and_std: {kind} has no samples by number; give a data set, as loader.dataset")
    if not len(dataset):
        raise ValidationError("mean_and_std: the data set has 0 samples, expected 1 or more")
    total, squares, pixels = np.zeros(1), np.zeros(1), 0
    for index in range(len(dataset)):
        sample = dataset[index]
        image = sample[0] if isinstance(sample, tuple | list) else sample
        pixels_of = np.asarray(image.detach().cpu().numpy() if isinstance(image, Tensor) else image)
        array = pixels_of / (255.0 if pixels_of.dtype == np.uint8 else 1.0)
        if array.ndim != 3 or (index and len(array) != len(total)):
            raise ShapeError(
                f"mean_and_std: image {index} has shape {array.shape}, expected (C, H, W) with as many channels as "
                "image 0; make the modes equal, and let ToTensor() be the last transform"
            )
        total, squares = total + array.sum((1, 2)), squares + (array**2).sum((1, 2))
        pixels += array[0].size
    mean = total / pixels
    return mean.tolist(), np.sqrt(np.maximum(squares / pixels - mean**2, 0)).tolist()


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
