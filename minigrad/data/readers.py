"""How a DataLoader reads the samples of a batch: sample by sample, or whole batches of bytes by one kernel."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..checks import brief, type_with_article
from ..errors import DtypeError, ShapeError, ValidationError
from ..ops.images import gather_images
from ..runtime import memory
from ..runtime.device import device as Device
from ..streams import use_stream
from ..tensors import Tensor, _make, float32, float64
from ..transforms.batch import plan_batch
from .collate import UnequalSamplesError, default_collate
from .dataset import ConcatDataset, ImageDataset, Subset, TensorDataset, find_source

Normalize: TypeAlias = tuple[ArrayLike, ArrayLike] | None
Seeds: TypeAlias = Callable[[], np.ndarray]  # of the samples of a batch, (N,) uint64
Reader: TypeAlias = Callable[[list[Any], Seeds], Any]  # numbers of samples and their seeds -> a batch


def unwrap_subsets(dataset: Any) -> tuple[Any, np.ndarray]:
    """Return the data set behind any subsets, and the numbers of the samples in it."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        kind = type_with_article(dataset)
        raise DtypeError(f"DataLoader: dataset is {kind} without __len__ or __getitem__; give a Dataset or a list")
    if not len(dataset):
        raise ValidationError("DataLoader: the data set has 0 samples, expected 1 or more; check how it was filtered")
    return find_source(dataset)


def choose_reader(
    source: Any, collate_fn: Callable[[list[Any]], Any] | None, device: Device, pixels: dict[str, Any]
) -> Reader:
    """Return the function that reads batches of a data set: the fastest that gives the samples of __getitem__."""
    shape = None if collate_fn is not None else getattr(source, "byte_shape", None)
    if shape is not None and source.transform is None:
        return _normalizing_reader(source, device, shape, **pixels)
    if pixels["normalize"] is not None or pixels["pad"] or pixels["dtype"] != float32:
        raise ValidationError(
            "DataLoader: normalize, pad and dtype apply to images in memory and to an ImageFolder with size=, without "
            f"transform or collate_fn, not to these samples of {type(source).__name__}; do it in the transform, or in "
            "__getitem__"
        )
    plan = None if shape is None else plan_batch(source.transform, shape)
    if plan is not None:
        return _transforming_reader(source, device, plan)
    if collate_fn is None and type(source).__getitem__ is TensorDataset.__getitem__:
        return partial(_read_rows, source, device)
    return partial(_read_samples, source, collate_fn or partial(default_collate, device=device))


def _normalizing_reader(
    source: Any, device: Device, shape: tuple[int, int, int], normalize: Normalize, pad: int, dtype: np.dtype
) -> Reader:
    scale, shift = map(device.from_host, _scale_and_shift(normalize, shape[0], dtype))
    fetch = _fetch_bytes(source, device)

    def read(numbers: list[int], seeds: Seeds) -> tuple[Tensor, Tensor]:
        images, labels, places = fetch(numbers)
        return _make(gather_images(device, images, places, scale, shift, pad), device, None), labels

    return read


def _transforming_reader(source: Any, device: Device, plan: Any) -> Reader:
    fetch = _fetch_bytes(source, device)

    def read(numbers: list[int], seeds: Seeds) -> tuple[Tensor, Tensor]:
        images, labels, places = fetch(numbers)
        return _make(plan(device, images, places, seeds()), device, None), labels

    return read


def _fetch_bytes(source: Any, device: Device) -> Callable[[list[int]], tuple[Any, Tensor, np.ndarray]]:
    """Return a function of numbers of samples: images (M, C, H, W) uint8, labels, and the places of the samples there.

    Images in memory are moved to the device once, those of files for each batch.
    """
    kept = None
    if isinstance(source, ImageDataset):
        images = np.ascontiguousarray(source.images)
        kept = device.from_host(images.reshape(len(images), -1, *images.shape[-2:]))

    def fetch(numbers: list[int]) -> tuple[Any, Tensor, np.ndarray]:
        places = np.asarray(numbers, np.int64)
        labels = _make(device.from_host(source.labels_of(places)), device, None)
        if kept is not None:
            return kept, labels, places
        images = device.from_host(np.stack([source.read_bytes(number) for number in numbers]))
        return images, labels, np.arange(len(numbers))

    return fetch


def _read_rows(source: TensorDataset, device: Device, numbers: list[int], seeds: Seeds) -> tuple[Tensor, ...]:
    def rows(tensor: Tensor) -> Tensor:
        array = tensor.detach().numpy()
        batch = memory.empty_batch_innermost((len(numbers), *array.shape[1:]), array.dtype)
        batch[...] = array[numbers]
        return _make(device.from_host(batch), device, None)

    return tuple(map(rows, source.tensors))


def _read_samples(source: Any, collate: Callable[[list[Any]], Any], numbers: list[Any], seeds: Seeds) -> Any:
    samples = [_read_sample(source, *which) for which in zip(numbers, seeds().tolist(), strict=True)]
    try:
        return collate(samples)
    except UnequalSamplesError as error:
        names = [_name_of(source, numbers[position]) for position in (0, error.position)]
        if not all(names):
            raise
        raise ShapeError(
            f"DataLoader: samples of one batch have {error.found} ({' and '.join(names)}); give ImageFolder size=, or "
            "a transform that makes them equal"
        ) from None


def _read_sample(source: Any, number: Any, seed: int) -> Any:
    with use_stream(seed):
        return source[number]


def _name_of(source: Any, number: Any) -> str:
    """Return the file of a sample, found through subsets and concatenations; "" if it has none."""
    if isinstance(source, Subset):
        return _name_of(source.dataset, int(source.indices[number]))
    if isinstance(source, ConcatDataset):
        return _name_of(*source.locate(number))
    return str(source.name_of(number)) if hasattr(source, "name_of") else ""


def _scale_and_shift(normalize: Normalize, channels: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return (scale, shift), (C,) each, with (byte/255 - mean) / std = byte*scale + shift."""
    if dtype not in (float32, float64):
        raise DtypeError(f"DataLoader: dtype is {dtype}; use float32 or float64")
    try:
        pair = (0, 1) if normalize is None else normalize
        mean, std = (np.broadcast_to(np.asarray(values, np.float64), channels) for values in pair)
    except (TypeError, ValueError):
        raise ValidationError(
            f"DataLoader: normalize is {brief(normalize)} for images of {channels} channels; give "
            "(mean, std), each one number or one for each channel"
        ) from None
    if not (np.isfinite(mean).all() and (std > 0).all()):
        raise ValidationError(
            f"DataLoader: normalize has mean {mean} and std {std}; use a finite mean and a std above 0"
        )
    return (1 / (255 * std)).astype(dtype), ((0 - mean) / std).astype(dtype)
