"""DataLoader: batches of a data set, shuffled by a seed and made in a thread while the previous batch is in use."""

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..checks import type_with_article, whole_number
from ..errors import DtypeError, LoaderError, ValidationError
from ..ops.images import gather_images
from ..runtime import memory
from ..runtime.device import CPU, device as Device
from ..runtime.threads import local
from ..streams import derive_seed, use_stream
from ..tape import mode
from ..tensors import Tensor, _known_dtype, _make, float32, float64
from .collate import default_collate
from .dataset import Batch, ImageDataset, Sample, SampleSource, Subset, TensorDataset
from .order import choose_seed, draw_order

Column: TypeAlias = Tensor | np.ndarray | np.generic | float  # what default_collate stacks into one tensor
Normalize: TypeAlias = tuple[ArrayLike, ArrayLike] | None
Reader: TypeAlias = Callable[[np.ndarray], Any]  # reads the samples of these numbers into a batch


class _Settings(TypedDict, total=False):  # keyword arguments of DataLoader for type checkers
    seed: int | None
    drop_last: bool
    normalize: Normalize
    pad: int
    dtype: DTypeLike
    device: str | Device
    prefetch: int


class DataLoader(Generic[Batch]):
    """Iterate over a data set in batches: `for images, labels in loader` is one epoch.

    dataset      an object with __len__ and __getitem__
    batch_size   samples in a batch; the last batch has the rest
    shuffle      use another random order in each epoch; it depends only on the seed and the number of the epoch
    seed         of the shuffling and of random numbers that samples draw; None: derived from mg.manual_seed
    drop_last    leave out the last batch if it is smaller
    normalize    (mean, std) of pixels from 0 to 1, numbers or one per channel: pixels become (pixel/255 - mean) / std
    pad          pixels of black margin on each side
    dtype        float32 or float64, of the pixels
    device       'cpu' (default), 'cuda' or 'numpy'; 'cuda' keeps the images of the whole data set on the GPU, as bytes
    prefetch     number of batches made in advance by a thread; 0: each batch is made when it is asked for
    collate_fn   makes a batch of a list of samples; None: default_collate

    One kernel reads images in memory (MNIST, ImageDataset, and subsets of them); normalize, pad and dtype apply only to
    them.  A TensorDataset is read by rows, any other data set sample by sample, in the prefetch thread.
    `len(loader)` is the number of batches.  `loader.epoch` is the number of epochs begun; set it to resume.
    A change in the data set, such as a new length, takes effect in the next epoch.  Images that were copied, to the GPU
    or because they are not contiguous, are copied again if the data set has another array.

    Random numbers that __getitem__ and collate_fn draw from minigrad depend only on the seed, the epoch and the number
    of the batch.  They do not depend on prefetch or on other random numbers of the program.  For other libraries,
    mg.initial_seed() is a seed of the batch.

    An error in __getitem__ or collate_fn is raised when its batch is asked for; the iterator continues with the next.

    Raises   ValidationError   a setting is out of its range, there are no samples, or normalize, pad or dtype is given
                               for samples that are not images in memory
             DtypeError        dataset has no __len__ or __getitem__, or dtype is not a float dtype
             DeviceError       the device is not available
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

    @overload
    def __init__(
        self: "DataLoader[tuple[Tensor, Tensor]]",
        dataset: SampleSource[tuple[Column, Column]],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        collate_fn: None = None,
        **settings: Unpack[_Settings],
    ) -> None: ...
    @overload
    def __init__(
        self: "DataLoader[tuple[Tensor, ...]]",
        dataset: SampleSource[tuple[Column, ...]],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        collate_fn: None = None,
        **settings: Unpack[_Settings],
    ) -> None: ...
    @overload
    def __init__(
        self,
        dataset: SampleSource[Sample],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        collate_fn: Callable[[list[Sample]], Batch] | None = None,
        **settings: Unpack[_Settings],
    ) -> None: ...
    def __init__(
        self,
        dataset: SampleSource[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        normalize: Normalize = None,
        pad: int = 0,
        dtype: DTypeLike = float32,
        device: str | Device = CPU,
        prefetch: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ):
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        self.batch_size = whole_number("DataLoader", "batch_size", batch_size, least=1)
        self.prefetch = whole_number("DataLoader", "prefetch", prefetch, least=0)
        self.epoch = 0
        pad = whole_number("DataLoader", "pad", pad, least=0)
        pixels = {"normalize": normalize, "pad": pad, "dtype": _known_dtype(dtype, "DataLoader")}
        self._choose_reader = partial(_choose_reader, collate_fn=collate_fn, device=Device(device), pixels=pixels)
        self._read_from: tuple[Any, Any] = None, None  # the data set and the images that self._read reads
        self._update_reader()
        self.seed = derive_seed() if seed is None and not shuffle else choose_seed(seed, "DataLoader")

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        _refuse_recording()
        order = self._update_reader()
        if self.shuffle:
            order = order[draw_order(len(order), self.seed, self.epoch)]
        make, size = partial(_make_batch, self._read, self.seed, self.epoch), self.batch_size
        batches = [(number, order[number * size :][:size]) for number in range(len(self))]
        self.epoch += 1
        return _Prefetcher(make, batches, self.prefetch) if self.prefetch else map(make, batches)

    def _update_reader(self) -> np.ndarray:
        """Return the numbers of all samples; choose a new reader if the data set or its images were replaced."""
        source, numbers = _unwrap_subsets(self.dataset)
        read_from = source, source.images if isinstance(source, ImageDataset) else None
        if any(new is not old for new, old in zip(read_from, self._read_from, strict=True)):
            self._read, self._read_from = self._choose_reader(source), read_from
        return numbers

    @property
    def epoch(self) -> int:
        """The number of epochs begun."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = whole_number("DataLoader", "epoch", value, least=0)


def _make_batch(read: Reader, seed: int, epoch: int, batch: tuple[int, np.ndarray]) -> Any:
    """Read the samples of a batch, given as (number in the epoch, numbers of the samples), with their own stream."""
    _refuse_recording()
    number, samples = batch
    try:
        with use_stream(seed, epoch, number):
            return read(samples)
    except StopIteration as error:
        raise LoaderError(
            f"DataLoader: __getitem__ or collate_fn raised StopIteration in batch {number}, which would end the epoch; "
            "catch it there, as in next(iterator, None)"
        ) from error


def _refuse_recording() -> None:
    local.observer.refuse("iterating over a DataLoader", "give its batches as arguments")


class _Prefetcher(Iterator[Any]):
    """map(function, items), computed in a thread up to `depth` items ahead of the caller.

    Each iterator has its own thread, in which gradients are recorded if they were when the iterator was made.  When the
    iterator is dropped, the thread finishes the current item and ends.
    """

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any], depth: int):
        self.function, self.items, self.depth = function, iter(items), depth
        self.pending: deque[Future[Any]] = deque()
        self.process = os.getpid()
        self.thread = ThreadPoolExecutor(1, "minigrad-data", setattr, (mode, "grad_enabled", mode.grad_enabled))
        # wait=False, because the garbage collector may call this in any thread, which may hold locks that an item needs
        self.shut_down = weakref.finalize(self, self.thread.shutdown, wait=False, cancel_futures=True)

    def __next__(self) -> Any:
        _refuse_recording()
        if os.getpid() != self.process:
            raise LoaderError(
                f"DataLoader: this iterator belongs to process {self.process}, whose thread makes its batches, but is "
                f"used in process {os.getpid()}; make a new one there, with iter(loader)"
            )
        for item in islice(self.items, self.depth + 1 - len(self.pending)):
            self.pending.append(self.thread.submit(self.function, item))
        if not self.pending:
            self.shut_down()
            raise StopIteration
        batch = self.pending.popleft()
        try:
            batch.exception()  # waits
        except BaseException:  # the wait was interrupted, so the batch is still pending
            self.pending.appendleft(batch)
            raise
        try:
            return batch.result()
        finally:
            del batch  # otherwise its error and this frame refer to each other, and keep the thread


# ---- reading samples


def _unwrap_subsets(dataset: Any) -> tuple[Any, np.ndarray]:
    """Return the data set behind any subsets, and the numbers of the samples in it."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DtypeError(
            f"DataLoader: dataset is {type_with_article(dataset)} without __len__ or __getitem__; give a Dataset or a "
            "list"
        )
    numbers = np.arange(len(dataset))
    if not numbers.size:
        raise ValidationError("DataLoader: the data set has 0 samples, expected 1 or more; check how it was filtered")
    while isinstance(dataset, Subset) and _has_stored_samples(dataset):
        dataset, numbers = dataset.dataset, dataset.indices[numbers]
    return dataset, numbers


def _has_stored_samples(dataset: Any) -> bool:
    """Whether __getitem__ is minigrad's; another one may rotate, crop or relabel the samples."""
    readers = ImageDataset.__getitem__, TensorDataset.__getitem__, Subset.__getitem__
    return getattr(type(dataset), "__getitem__", None) in readers


def _choose_reader(
    source: Any, collate_fn: Callable[[list[Any]], Any] | None, device: Device, pixels: dict[str, Any]
) -> Reader:
    stored = collate_fn is None and _has_stored_samples(source)
    if stored and isinstance(source, ImageDataset):
        return _image_reader(source, device, **pixels)
    if pixels["normalize"] is not None or pixels["pad"] or pixels["dtype"] != float32:
        raise ValidationError(
            "DataLoader: normalize, pad and dtype apply to images in memory, not to samples of "
            f"{type(source).__name__} or collate_fn; use ImageDataset, or do it in __getitem__"
        )
    if stored and isinstance(source, TensorDataset):
        return partial(_read_rows, source, device)
    return partial(_read_samples, source, collate_fn or partial(default_collate, device=device))


def _image_reader(source: ImageDataset, device: Device, normalize: Normalize, pad: int, dtype: np.dtype) -> Reader:
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


def _scale_and_shift(normalize: Normalize, channels: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return (scale, shift), (C,) each, with (byte/255 - mean) / std = byte*scale + shift."""
    if dtype not in (float32, float64):
        raise DtypeError(f"DataLoader: dtype is {dtype}; use float32 or float64")
    try:
        pair = (0, 1) if normalize is None else normalize
        mean, std = (np.broadcast_to(np.asarray(values, np.float64), channels) for values in pair)
    except (TypeError, ValueError):
        raise ValidationError(
            f"DataLoader: normalize is {normalize!r} for images of {channels} channels; give "
            "(mean, std), each one number or one for each channel"
        ) from None
    if not (np.isfinite(mean).all() and (std > 0).all()):
        raise ValidationError(
            f"DataLoader: normalize has mean {mean} and std {std}; use a finite mean and a std above 0"
        )
    return (1 / (255 * std)).astype(dtype), ((0 - mean) / std).astype(dtype)
