"""DataLoader: batches of a data set, shuffled by a seed and made in threads while the previous batch is in use."""

import operator
import os
import threading
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any, Generic, NamedTuple, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import DTypeLike

from ..checks import whole_number
from ..errors import LoaderError, ValidationError
from ..notebook import MOST_IMAGES
from ..runtime.device import CPU, device as Device
from ..runtime.threads import local
from ..streams import derive_seed, mix, sample_seeds, use_stream
from ..tape import mode
from ..tensors import Tensor, _known_dtype, float32
from .collate import default_collate, default_convert
from .dataset import Batch, IterableDataset, Sample, SampleSource
from .display import show_loader
from .readers import Normalize, Reader, choose_reader, unwrap_subsets
from .sampler import BatchSampler, RandomSampler, SequentialSampler, choose_seed, draw_order

Column: TypeAlias = Tensor | np.ndarray | np.generic | float  # what default_collate stacks into one tensor


class _Settings(TypedDict, total=False):  # keyword arguments of DataLoader for type checkers
    sampler: Iterable[Any] | None
    batch_sampler: Iterable[Sequence[Any]] | None
    generator: Any
    num_workers: int
    pin_memory: bool
    worker_init_fn: Callable[[int], Any] | None
    persistent_workers: bool
    prefetch_factor: int | None
    timeout: float
    multiprocessing_context: Any
    pin_memory_device: str
    in_order: bool
    seed: int | None
    drop_last: bool
    normalize: Normalize
    pad: int
    dtype: DTypeLike
    device: str | Device
    prefetch: int


CONTRADICTIONS = [("batch_sampler", name) for name in ("batch_size", "shuffle", "sampler", "drop_last")]
CONTRADICTIONS += [("IterableDataset", name) for name in ("shuffle", "sampler", "batch_sampler")]
CONTRADICTIONS += [("sampler", "shuffle"), ("batch_size=None", "drop_last")]


class DataLoader(Generic[Batch]):
    """Iterate over a data set in batches: `for images, labels in loader` is one epoch.

    dataset      an object with __len__ and __getitem__, or an IterableDataset
    batch_size   samples in a batch; the last batch has the rest; None: single samples, without a batch axis
    shuffle      use another random order in each epoch; it depends only on the seed and the number of the epoch
    sampler      gives the numbers of the samples, in place of shuffle; a batch_sampler gives lists of numbers
    generator    a mg.Generator that draws the seed of each epoch
    seed         of the shuffling and of random numbers that samples draw; None: derived from mg.manual_seed
    drop_last    leave out the last batch if it is smaller
    normalize    (mean, std) of pixels from 0 to 1, numbers or one per channel: pixels become (pixel/255 - mean) / std
    pad          pixels of black margin on each side
    dtype        float32 or float64, of the pixels
    device       'cpu' (default), 'cuda' or 'numpy'; 'cuda' keeps the images of the whole data set on the GPU, as bytes
    prefetch     number of batches made in advance by a thread; 0: each batch is made when it is asked for
    num_workers  threads that make batches, each one batch at a time, to decode files on several cores; 0: one thread
    prefetch_factor   batches made in advance by each of num_workers threads; None: 2
    worker_init_fn    called with the number of each such thread when it starts; get_worker_info() describes the thread
    collate_fn   makes a batch of a list of samples; None: default_collate

    Batches come in order, whatever the number of threads.  PyTorch's pin_memory, persistent_workers, timeout,
    multiprocessing_context, pin_memory_device and in_order change nothing.  Samples of an IterableDataset are read when
    a batch is asked for.

    One kernel makes batches of images in memory (MNIST, ImageDataset, and subsets of them) and of an ImageFolder with
    size=; normalize, pad and dtype apply only to them.  It also does their transform, if that is a Compose of crops,
    pads, flips, at most one rotation, affine, perspective or elastic change, ToTensor and Normalize.  A TensorDataset
    is read by rows, any other data set sample by sample, in the threads.
    `len(loader)` is the number of batches.  `loader.epoch` is the number of epochs begun; set it to repeat or to resume
    one, and continue in its middle with `loader.iterate_from(batch)`.
    A change in the data set, such as a new length, takes effect in the next epoch.  Images that were copied, to the GPU
    or because they are not contiguous, are copied again if the data set has another array.

    Random numbers that __getitem__ draws from minigrad depend only on the seed, the epoch and the number of the sample
    (and how often it came before in the epoch), those of collate_fn on the number of the batch.  They do not depend on
    threads, on prefetch or on other random numbers of the program.  For other libraries, mg.initial_seed() is a seed of
    the sample.

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
        self: "DataLoader[tuple[Tensor, ...]]", dataset: SampleSource[tuple[Column, ...]], batch_size: int = 1,
        shuffle: bool = False, *, collate_fn: None = None, **settings: Unpack[_Settings],
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, dataset: SampleSource[Sample] | IterableDataset[Sample], batch_size: int | None = 1,
        shuffle: bool | None = False, *, collate_fn: Callable[[list[Sample]], Batch] | None = None,
        **settings: Unpack[_Settings],
    ) -> None: ...  # fmt: skip
    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = False, *,
        sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Sequence[Any]] | None = None,
        generator: Any = None, seed: int | None = None, drop_last: bool = False, normalize: Normalize = None,
        pad: int = 0, dtype: DTypeLike = float32, device: str | Device = CPU, prefetch: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None, num_workers: int = 0, pin_memory: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], Any] | None = None, multiprocessing_context: Any = None,
        prefetch_factor: int | None = None, persistent_workers: bool = False, pin_memory_device: str = "",
        in_order: bool = True,
    ):  # fmt: skip
        self.dataset, self.shuffle, self.drop_last = dataset, bool(shuffle), drop_last
        streams = isinstance(dataset, IterableDataset)
        given = {"IterableDataset": streams, "shuffle": self.shuffle, "drop_last": drop_last}
        given |= {"sampler": sampler is not None, "batch_sampler": batch_sampler is not None}
        given |= {"batch_size": batch_size not in (1, None), "batch_size=None": batch_size is None}
        for pair in CONTRADICTIONS:
            if all(given[name] for name in pair):
                raise ValidationError(f"DataLoader: {' and '.join(pair)} contradict each other; give one of them")
        self.num_workers = whole_number("DataLoader", "num_workers", num_workers, least=0)
        self.worker_init_fn = worker_init_fn
        factor = 2 if prefetch_factor is None else whole_number("DataLoader", "prefetch_factor", prefetch_factor, 1)
        self.batch_size = batch_size
        self._size = 1 if batch_size is None else whole_number("DataLoader", "batch_size", batch_size, least=1)
        self.prefetch = max(whole_number("DataLoader", "prefetch", prefetch, least=0), factor * self.num_workers)
        self.epoch = 0
        pad = whole_number("DataLoader", "pad", pad, least=0)
        pixels = {"normalize": normalize, "pad": pad, "dtype": _known_dtype(dtype, "DataLoader")}
        device = Device(device)
        if batch_size is None and batch_sampler is None:
            convert = collate_fn or partial(default_convert, device=device)
            collate_fn = lambda samples: convert(samples[0])  # noqa: E731 - a batch is one sample
        self.collate_fn = collate_fn
        self._collate = collate_fn or partial(default_collate, device=device)
        self._choose_reader = partial(choose_reader, collate_fn=collate_fn, device=device, pixels=pixels)
        self._read_from: list[Any] = [None]  # what self._read reads: the data set, its images, its transforms
        if not streams:
            self._update_reader()
        self.generator, self.batch_sampler, self._sampler = generator, batch_sampler, sampler
        self.seed = derive_seed() if seed is None and not shuffle else choose_seed(seed, "DataLoader")

    def __len__(self) -> int:
        return len(self._group(self.sampler))

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate_from(0)

    def iterate_from(self, batch: int) -> Iterator[Batch]:
        """Iterate over an epoch from this batch on; the samples of earlier ones are not read.

        batch   number of the first batch, from 0

        Example
        >>> import minigrad as mg
        >>> [x.tolist() for x in DataLoader(mg.arange(6), 2).iterate_from(1)]
        [[2, 3], [4, 5]]
        """
        return self._iterate(batch, _make_batch, 0, 1)

    def iterate_part(self, batch: int, rank: int, ranks: int) -> Iterator[tuple[Batch, float, int]]:
        """Iterate over one of several equal parts of each batch, as of the ranks that train together.

        rank, ranks   the number of the part, and how many there are
        yields        the part; its share: its samples * ranks / those of the whole batch; and a check sum of the
                      numbers of the samples of the whole batch

        Parts of one batch differ by one sample at most.  If there are fewer samples than parts, some get the first one,
        with share 0.  The parts have the samples of an ordinary epoch, with the same random numbers; only those of the
        part are read.

        Raises   ValidationError   the data set is an IterableDataset
        Example
        >>> import minigrad as mg
        >>> loader = DataLoader(mg.arange(5), 3)
        >>> [[(x.tolist(), round(share, 2)) for x, share, _ in loader.iterate_part(0, rank, 2)] for rank in range(2)]
        [[([0], 0.67), ([3], 1.0)], [([1, 2], 1.33), ([4], 1.0)]]
        """
        if isinstance(self.dataset, IterableDataset):
            raise ValidationError("DataLoader: an IterableDataset has no parts; make one for each rank, or a Dataset")
        return self._iterate(batch, _make_part, rank, ranks)

    def _iterate(self, batch: int, make: Callable[..., Any], rank: int, ranks: int) -> Iterator[Any]:
        _refuse_recording()
        whole_number("DataLoader", "batch", batch, least=0)
        seed = self.seed if self.generator is None else choose_seed(None, "DataLoader", self.generator)
        epoch = self.epoch
        self.epoch += 1
        if isinstance(self.dataset, IterableDataset):
            return islice(self._iterate_stream(iter(self.dataset), seed, epoch), batch, None)
        numbers = self._update_reader()
        groups = self._group(draw_order(len(numbers), seed, epoch).tolist() if self.shuffle else iter(self.sampler))
        if self._read_from[0] is not self.dataset:  # a Subset, whose samples have other numbers in the data set
            groups = (numbers[list(group)].tolist() for group in groups)
        once = self._sampler is None and self.batch_sampler is None
        jobs = (job.part(rank, ranks) for job in islice(_plan_jobs(groups, once), batch, None))
        make = partial(make, self._read, seed, epoch)
        return _Prefetcher(make, jobs, self) if self.prefetch else map(make, jobs)

    def _group(self, order: Iterable[Any]) -> Any:
        """Return the numbers of the samples in each batch."""
        return self.batch_sampler if self.batch_sampler is not None else BatchSampler(order, self._size, self.drop_last)

    def _iterate_stream(self, samples: Iterator[Any], seed: int, epoch: int) -> Iterator[Any]:
        for number in count():
            with use_stream(seed, epoch, number):
                group = list(islice(samples, self._size))
                if not group or (len(group) < self._size and self.drop_last):
                    return
                batch = self._collate(group)
            yield batch

    def _update_reader(self) -> np.ndarray:
        """Return the numbers of all samples; choose a new reader if the data set, its images or transforms changed."""
        source, numbers = unwrap_subsets(self.dataset)
        transform = getattr(source, "transform", None)
        parts = [transform, *getattr(transform, "transforms", ())]
        settings = [value for part in parts for value in getattr(part, "__dict__", {}).values()]
        read_from = [source, getattr(source, "images", None), *parts, *settings]
        known = self._read_from
        if len(read_from) != len(known) or any(new is not old for new, old in zip(read_from, known, strict=True)):
            self._read, self._read_from = self._choose_reader(source), read_from
        return numbers

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings and the first images of the next epoch, which does not begin."""
        if isinstance(self.dataset, IterableDataset):
            return show_loader(self, None, "that of the data set", None)
        given = self._sampler if self.batch_sampler is None else self.batch_sampler
        order = (
            "shuffled" if self.shuffle else "that of the data set" if given is None else f"by {type(given).__name__}"
        )
        batches = None
        with suppress(TypeError, NotImplementedError):  # a sampler without a length
            batches = len(self)
        return show_loader(self, batches, order, self._preview)

    def _preview(self) -> Any:
        """Make a batch of the first samples of the next epoch; of the data set, if a sampler or generator must be asked
        for their order.
        """
        numbers = self._update_reader()
        if self.shuffle and self.generator is None:
            numbers = numbers[draw_order(len(numbers), self.seed, self.epoch)]
        most = MOST_IMAGES if self.batch_sampler is not None else min(MOST_IMAGES, self._size)
        return _make_batch(self._read, self.seed, self.epoch, Job(0, numbers[:most].tolist(), None))

    @property
    def sampler(self) -> Any:
        """The sampler that was given, or one that follows from shuffle."""
        default: Any = RandomSampler if self.shuffle else SequentialSampler
        return default(self.dataset) if self._sampler is None else self._sampler

    @property
    def normalize(self) -> Any:
        """(mean, std) that images in memory are normalised with, or None."""
        return self._choose_reader.keywords["pixels"]["normalize"]

    @property
    def epoch(self) -> int:
        """The number of epochs begun."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = whole_number("DataLoader", "epoch", value, least=0)


class Job(NamedTuple):
    """A batch to make, or a part of one.

    number    in the epoch
    samples   their numbers
    repeats   how often each came before; None: no sample comes twice
    share     how many samples there are, for each that an equal part of the batch would have
    check     a check sum of the numbers of all samples of the batch
    """

    number: int
    samples: list[Any]
    repeats: list[int] | None
    share: float = 1.0
    check: int = 0

    def part(self, rank: int, ranks: int) -> "Job":
        """One of several parts of equal size, with the first sample if it would be empty."""
        if ranks == 1:
            return self
        whole = len(self.samples)
        start, end = rank * whole // ranks, (rank + 1) * whole // ranks
        mine = slice(start, end) if end > start else slice(1)
        repeats = None if self.repeats is None else self.repeats[mine]
        check = zlib.crc32(repr(self.samples).encode())
        share = (end - start) * ranks / whole
        return self._replace(samples=self.samples[mine], repeats=repeats, share=share, check=check)


def _plan_jobs(groups: Iterable[Iterable[Any]], once: bool) -> Iterator[Job]:
    """Yield the batches of an epoch; `once`: each sample comes once at most."""
    seen: Counter[int] = Counter()
    for number, group in enumerate(groups):
        samples, repeats = list(group), None
        if not once:
            repeats = []
            for name in map(_number_of, samples):
                repeats.append(seen[name])
                seen[name] += 1
        yield Job(number, samples, repeats)


def _number_of(key: Any) -> int:
    """The number of a sample, or a hash of a key that is no whole number, equal in every process."""
    try:
        return operator.index(key)
    except TypeError:
        return zlib.crc32(repr(key).encode())


def _seeds_of(job: Job, seed: int, epoch: int) -> np.ndarray:
    """The seeds of the samples, (N,) uint64; a sample that comes again has another one each time."""
    seeds = sample_seeds(seed, epoch, np.array(list(map(_number_of, job.samples)), np.int64))
    if job.repeats is None:
        return seeds
    repeats = np.array(job.repeats, np.uint64)
    return np.where(repeats == 0, seeds, mix(seeds, repeats))


def _make_batch(read: Reader, seed: int, epoch: int, job: Job) -> Any:
    """Read the samples of a batch."""
    _refuse_recording()
    try:
        with use_stream(seed, epoch, job.number):
            return read(job.samples, partial(_seeds_of, job, seed, epoch))
    except StopIteration as error:
        raise LoaderError(
            f"DataLoader: __getitem__ or collate_fn raised StopIteration in batch {job.number}, which would end the "
            "epoch; catch it there, as in next(iterator, None)"
        ) from error


def _make_part(read: Reader, seed: int, epoch: int, job: Job) -> tuple[Any, float, int]:
    """Read the samples of a part of a batch, and return them with its share and the check sum of the batch."""
    return _make_batch(read, seed, epoch, job), job.share, job.check


def _refuse_recording() -> None:
    local.observer.refuse("iterating over a DataLoader", "give its batches as arguments")


# ---- threads


class WorkerInfo(NamedTuple):
    """A thread that makes batches: its number, the number of such threads, its seed and the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Worker(threading.local):
    info: WorkerInfo | None = None


_worker = _Worker()


def get_worker_info() -> WorkerInfo | None:
    """Return what this thread is, in a thread that num_workers asked for; None elsewhere."""
    return _worker.info


def _start_worker(ids: Iterator[int], loader: DataLoader[Any], grad_enabled: bool) -> None:
    """Set up a new thread: whether it records gradients, and its number, if num_workers asked for it."""
    mode.grad_enabled = grad_enabled
    if loader.num_workers:
        number = next(ids)
        _worker.info = WorkerInfo(number, loader.num_workers, int(mix(loader.seed, number)), loader.dataset)
        if loader.worker_init_fn is not None:
            loader.worker_init_fn(number)


class _Prefetcher(Iterator[Any]):
    """map(function, items), computed in threads, up to `prefetch` items of the loader ahead of the caller.

    Each iterator has its own threads, in which gradients are recorded if they were when the iterator was made.  When
    the iterator is dropped, the threads finish their current items and end.
    """

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any], loader: DataLoader[Any]):
        self.function, self.items, self.depth = function, iter(items), loader.prefetch
        self.pending: deque[Future[Any]] = deque()
        self.process = os.getpid()
        start = partial(_start_worker, count(), loader, mode.grad_enabled)
        self.thread = ThreadPoolExecutor(max(1, loader.num_workers), "minigrad-data", start)
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
