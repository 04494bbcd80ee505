"""DataLoader: batches of a data set, shuffled by a seed and made in a thread while the last one is being used."""

import operator
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from ..errors import DtypeError, LoaderError, ValidationError
from ..ops.images import gather_images
from ..random import derived_seed, stream
from ..runtime import memory
from ..runtime.device import CPU, device as Device
from ..runtime.threads import local
from ..tape import mode
from ..tensors import Tensor, _known_dtype, _make, float32, float64
from .collate import default_collate
from .dataset import ImageDataset, Subset, TensorDataset
from .order import chosen_seed, shuffled


class DataLoader:
    """Go through a data set in batches: `for images, labels in loader` is one epoch.

    dataset      anything with __len__ and __getitem__
    batch_size   samples in a batch; the last batch has what is left
    shuffle      a new random order in each epoch, which depends on the seed and the number of the epoch alone
    seed         of the shuffling and of random numbers that samples draw; if None, manual_seed fixes it
    drop_last    leave out the last batch where it is smaller
    normalize    (mean, std) of pixels in 0..1, numbers or one per channel: pixels become (pixel/255 - mean) / std
    pad          pixels of black margin on each side
    dtype        float32 or float64, of the pixels
    device       'cpu' (default), 'cuda', or 'numpy'; on 'cuda' the images of the whole data set lie there, as bytes
    prefetch     batches made ahead in a thread; 0 makes each when it is asked for
    collate_fn   makes a batch of a list of samples; default_collate if None

    Images in memory (MNIST, ImageDataset, and parts of them) are read by one kernel: normalize, pad and dtype are for
    these.  A TensorDataset is read by rows, any other data set sample by sample, in the prefetch thread.
    `len(loader)` is the number of batches, `loader.epoch` the number of epochs begun: set it to go on after a restart.
    What changes in the data set, as its length, counts from the next epoch; pixels that lie on 'cuda', or are copied
    because they are not contiguous, are read again when the data set is given another array.

    Random numbers that __getitem__ and collate_fn draw, with mg.rand, F.dropout and others, depend on the seed, the
    epoch and the number of the batch alone: not on prefetch, and not on what else the program draws.  For other
    libraries, mg.initial_seed() is a seed for the batch.

    An error in __getitem__ or collate_fn is raised where its batch is due; the iterator goes on with the next.

    Raises   ValidationError   a setting is out of its range, there are no samples, or no images for normalize and pad
             DtypeError        a setting is of the wrong kind
             DeviceError       there is no such device here
             LoaderError       __getitem__ or collate_fn raises StopIteration, or an iterator is used after a fork
    Example
    >>> import minigrad as mg
    >>> from minigrad.data import DataLoader, TensorDataset
    >>> pairs = TensorDataset(mg.tensor([[0.0], [1.0], [2.0]]), mg.tensor([0, 1, 2]))
    >>> for x, y in DataLoader(pairs, batch_size=2):
    ...     print(x.tolist(), y)
    [[0.0], [1.0]] tensor([0, 1])
    [[2.0]] tensor([2])
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        normalize: tuple[Any, Any] | None = None,
        pad: int = 0,
        dtype: Any = float32,
        device: str | Device = CPU,
        prefetch: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ):
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        self.batch_size = _whole("batch_size", batch_size, least=1)
        self.prefetch = _whole("prefetch", prefetch, least=0)
        self.epoch = 0
        dtype, pad = _known_dtype(dtype, "DataLoader"), _whole("pad", pad, least=0)
        pixels = {"normalize": normalize, "pad": pad, "dtype": dtype}
        self._reader = partial(_reader, collate_fn=collate_fn, device=Device(device), pixels=pixels)
        self._stored: tuple[Any, Any] = None, None
        self._look()
        self.seed = derived_seed() if seed is None and not shuffle else chosen_seed(seed, "DataLoader")

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        _refuse_recording()
        order = self._look()
        if self.shuffle:
            order = order[shuffled(len(order), self.seed, self.epoch)]
        make, size = partial(_make_batch, self._read, self.seed, self.epoch), self.batch_size
        batches = [(number, order[number * size :][:size]) for number in range(len(self))]
        self.epoch += 1
        return _Ahead(make, batches, self.prefetch) if self.prefetch else map(make, batches)

    def _look(self) -> np.ndarray:
        """The numbers of the samples there are now; what is read of other memory than before gets another reader."""
        source, numbers = _look_through(self.dataset)
        stored = source, source.images if isinstance(source, ImageDataset) else None
        if any(new is not old for new, old in zip(stored, self._stored, strict=True)):
            self._read, self._stored = self._reader(source), stored
        return numbers

    @property
    def epoch(self) -> int:
        """The number of epochs begun."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = _whole("epoch", value, least=0)


def _make_batch(read: Callable[[np.ndarray], Any], seed: int, epoch: int, batch: tuple[int, np.ndarray]) -> Any:
    """Read the samples of a batch, given with its number in the epoch, with random numbers of its own."""
    _refuse_recording()
    number, samples = batch
    try:
        with stream(seed, epoch, number):
            return read(samples)
    except StopIteration as error:
        raise LoaderError(
            f"DataLoader: __getitem__ or collate_fn raised StopIteration in batch {number}, which would end the epoch "
            "as if it was over; catch it there, as in next(iterator, None)"
        ) from error


def _refuse_recording() -> None:
    if local.observer is not None:
        local.observer.refuse("going through a DataLoader", "give its batches as arguments")


class _Ahead:
    """map(function, items), computed in a thread up to `depth` items ahead of the caller.

    The thread belongs to this one iterator, and records gradients or not as the caller did at the beginning.  Leaving
    the loop drops the iterator: the thread finishes the item in hand and ends.
    """

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any], depth: int):
        self.function, self.items, self.depth = function, iter(items), depth
        self.waiting: deque[Any] = deque()
        self.process = os.getpid()
        self.thread = ThreadPoolExecutor(1, "minigrad-data", setattr, (mode, "recording", mode.grad_enabled))
        # not waited for: the garbage collector may run this in any thread, holding locks that the item needs
        self.end = weakref.finalize(self, self.thread.shutdown, wait=False, cancel_futures=True)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        _refuse_recording()
        if os.getpid() != self.process:
            raise LoaderError(
                f"DataLoader: this iterator was begun in process {self.process}, whose thread makes its batches, and "
                f"is used in process {os.getpid()}; begin another there, with iter(loader)"
            )
        for item in islice(self.items, self.depth + 1 - len(self.waiting)):
            self.waiting.append(self.thread.submit(self.function, item))
        if not self.waiting:
            self.end()
            raise StopIteration
        batch = self.waiting.popleft()
        try:
            batch.exception()  # waits
        except BaseException:  # interrupted: the batch is still to come
            self.waiting.appendleft(batch)
            raise
        try:
            return batch.result()
        finally:
            del batch  # or its error and this frame keep each other, and the thread, until they are collected


# ---- which samples there are, and how they are read


def _look_through(dataset: Any) -> tuple[Any, np.ndarray]:
    """The data set behind any subsets, and the numbers of the samples in it."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DtypeError(f"DataLoader: {type(dataset).__name__} lacks __len__ or __getitem__; give a Dataset or a list")
    numbers = np.arange(len(dataset))
    if not numbers.size:
        raise ValidationError("DataLoader: the data set has 0 samples, expected at least 1; was a filter too strict?")
    while isinstance(dataset, Subset) and _as_stored(dataset):
        dataset, numbers = dataset.dataset, dataset.indices[numbers]
    return dataset, numbers


def _as_stored(dataset: Any) -> bool:
    """Whether samples are what the data set stores; a __getitem__ from outside may turn, crop or relabel them."""
    readers = ImageDataset.__getitem__, TensorDataset.__getitem__, Subset.__getitem__
    return getattr(type(dataset), "__getitem__", None) in readers


def _reader(source: Any, collate_fn: Any, device: Device, pixels: dict[str, Any]) -> Callable[[np.ndarray], Any]:
    """The function that reads samples by their numbers into a batch."""
    stored = collate_fn is None and _as_stored(source)
    if stored and isinstance(source, ImageDataset):
        return _image_reader(source, device, **pixels)
    if pixels["normalize"] is not None or pixels["pad"] or pixels["dtype"] != float32:
        raise ValidationError(
            "DataLoader: normalize, pad and dtype are for stored images, not for samples of "
            f"{type(source).__name__} or collate_fn; use ImageDataset, or do it in __getitem__"
        )
    if stored and isinstance(source, TensorDataset):
        return partial(_read_rows, source, device)
    return partial(_read_samples, source, collate_fn or partial(default_collate, device=device))


def _image_reader(
    source: Any, device: Device, normalize: Any, pad: int, dtype: np.dtype
) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    images = np.ascontiguousarray(source.images)
    images = images.reshape(len(images), -1, *images.shape[-2:])
    images, scale, shift = map(device.from_host, (images, *_scale_and_shift(normalize, images.shape[1], dtype)))

    def read(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = gather_images(device, images, numbers, scale, shift, pad)
        return _make(batch, device, None), _make(device.from_host(source.labels[numbers]), device, None)

    return read


def _read_rows(source: TensorDataset, device: Device, numbers: np.ndarray) -> tuple[Tensor, ...]:
    def rows(tensor: Tensor) -> Tensor:
        array = tensor.detach().numpy()
        batch = memory.empty_batch_innermost((len(numbers), *array.shape[1:]), array.dtype)
        batch[...] = array[numbers]
        return _make(device.from_host(batch), device, None)

    return tuple(map(rows, source.tensors))


def _read_samples(source: Any, collate: Callable[[list[Any]], Any], numbers: np.ndarray) -> Any:
    return collate([source[number] for number in numbers.tolist()])


# ---- settings


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DtypeError(f"DataLoader: {name} is {value!r}; give a whole number")
    if operator.index(value) < least:
        raise ValidationError(f"DataLoader: {name} is {value}; it must be at least {least}")
    return operator.index(value)


def _scale_and_shift(normalize: Any, channels: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(byte/255 - mean) / std as byte*scale + shift, (C,) each."""
    if dtype not in (float32, float64):
        raise DtypeError(f"DataLoader: dtype is {dtype}; use float32 or float64")
    mean, std = _mean_and_std(normalize, channels)
    if not (np.isfinite(mean).all() and (std > 0).all()):
        raise ValidationError(f"DataLoader: normalize has mean {mean} and std {std}; mean must be finite, std above 0")
    return (1 / (255 * std)).astype(dtype), ((0 - mean) / std).astype(dtype)


def _mean_and_std(normalize: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        pair = (0, 1) if normalize is None else normalize
        mean, std = (np.broadcast_to(np.asarray(values, np.float64), channels) for values in pair)
    except (TypeError, ValueError):
        raise ValidationError(
            f"DataLoader: normalize is {normalize!r} for images of {channels} channels; give "
            "(mean, std), each one number or one for each channel"
        ) from None
    return mean, std
