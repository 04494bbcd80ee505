"""Read the images of a page from a Dataset or a DataLoader, with labels, class names and normalisation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minigrad.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset
from minigrad.data.dataset import find_source
from minigrad.errors import ValidationError
from minigrad.transforms import Normalize
from minigrad.viz.inputs import as_array

MOST_IMAGES = 200  # images in the page; fewer if they have many pixels
MOST_PIXELS = 1_000_000  # of all images together
BATCH = 50  # samples read at once


class Samples(NamedTuple):
    """Images (N, C, H, W) as the model reads them, and what is known of them; None where it is not."""

    images: Any
    labels: Any
    classes: Any
    normalize: Any


def read_samples(where: str, model: Any, images: Any, labels: Any, classes: Any, normalize: Any) -> Samples:
    """Return the images of a Dataset or a DataLoader; arrays as they are.  What the caller gave comes first.

    Of a Dataset, evenly spaced samples are read, so that a folder sorted by classes shows all of them.  Of a
    DataLoader, the first batches; its epoch does not count.

    Raises   ValidationError   labels are given too, or there are no samples
    """
    if not isinstance(images, Dataset | IterableDataset | DataLoader):
        return Samples(images, labels, classes, normalize)
    if labels is not None:
        raise ValidationError(
            f"{where}: labels are given, but images are a {type(images).__name__}, whose samples have their own; leave "
            "labels out, or pass images as an array"
        )
    if isinstance(images, DataLoader):
        loader, source, known = images, images.dataset, images.normalize
    else:
        loader, source, known = _make_loader(where, model, images, normalize)
    source = source if isinstance(source, IterableDataset) else find_source(source)[0]
    known = _normalization_of(getattr(source, "transform", None)) or known
    found, labels = _read(loader)
    return Samples(found, labels, getattr(source, "classes", None) if classes is None else classes, known or normalize)


def most_images(size: int) -> int:
    """Return how many images of `size` numbers a page holds."""
    return max(1, min(MOST_IMAGES, MOST_PIXELS // size))


def _make_loader(where: str, model: Any, dataset: Any, normalize: Any) -> tuple[DataLoader, Any, Any]:
    """Return a loader of evenly spaced samples, the data set, and the normalisation that the loader does."""
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, BATCH), dataset, None
    if not len(dataset):
        raise ValidationError(f"{where}: the {type(dataset).__name__} has 0 samples; pass one with 1 or more")
    source, _ = find_source(dataset)
    in_memory = getattr(source, "byte_shape", None) is not None and source.transform is None
    settings = {}
    if in_memory or isinstance(source, ConcatDataset):  # whose samples a loader refuses to normalise, with a message
        settings = {"normalize": normalize, "pad": getattr(model, "model_info", {}).get("pad", 0)}
    (first, _) = _read(DataLoader(Subset(dataset, [0]), 1, **settings))
    numbers = np.unique(np.linspace(0, len(dataset) - 1, most_images(first[0].size)).round().astype(int))
    return DataLoader(Subset(dataset, numbers), BATCH, **settings), source, settings.get("normalize")


def _normalization_of(transform: Any) -> Any:
    """Return (mean, std) of the last Normalize of a transform; None if there is none."""
    parts = [part for part in getattr(transform, "transforms", [transform]) if isinstance(part, Normalize)]
    return (parts[-1].mean, parts[-1].std) if parts else None


def _read(loader: DataLoader) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images and labels of the first batches; labels are None if they are no class numbers."""
    epoch, found, labels = loader.epoch, [], []
    try:
        for images, numbers in _split(loader):
            found.append(images)
            labels.append(numbers)
            if sum(map(len, found)) >= most_images(images[0].size):
                break
    finally:
        loader.epoch = epoch
    known = all(numbers is not None and numbers.ndim == 1 and numbers.dtype.kind in "iu" for numbers in labels)
    return np.concatenate(found), np.concatenate(labels) if known else None  # type: ignore[arg-type]  # none is None


def _split(loader: DataLoader) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield the images and the labels of each batch."""
    for batch in loader:
        parts = batch if isinstance(batch, tuple | list) else [batch]
        yield as_array(parts[0]), as_array(parts[1]) if len(parts) > 1 else None
