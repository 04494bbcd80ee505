"""Samplers: the order in which a DataLoader reads samples, as numbers, or as lists of numbers for batches."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from ..checks import LARGEST_SEED, whole_number
from ..distributed.group import get_rank, get_world_size
from ..errors import ValidationError
from ..streams import generator as numpy_generator

Item = TypeVar("Item", covariant=True)


class Sampler(Generic[Item]):
    """The base of samplers.  A subclass defines __iter__, and __len__ if the number of samples is known."""

    def __init__(self, data_source: Sized | None = None):
        pass

    def __iter__(self) -> Iterator[Item]:
        raise NotImplementedError(f"{type(self).__name__}: __iter__ is missing; define it to give numbers of samples")


class SequentialSampler(Sampler[int]):
    """All samples in order."""

    def __init__(self, data_source: Sized):
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self.data_source)


class _Counted(Sampler[int]):
    num_samples: Any

    def __len__(self) -> int:
        return self.num_samples


class RandomSampler(_Counted):
    """Samples in random order; with replacement, each is drawn from all.

    num_samples   how many; None: as many as there are; without replacement, all are drawn before one comes again
    generator     a mg.Generator; None: numbers that follow from mg.manual_seed
    """

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ):
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        if num_samples is not None:
            whole_number("RandomSampler", "num_samples", num_samples, least=1)
        self._wanted = num_samples

    @property
    def num_samples(self) -> int:
        """The number of samples in an epoch."""
        return len(self.data_source) if self._wanted is None else self._wanted

    def __iter__(self) -> Iterator[int]:
        n, random = len(self.data_source), numpy_generator(self.generator)
        if self.replacement:
            return iter(random.integers(n, size=self.num_samples).tolist())
        rounds = [random.permutation(n) for _ in range(-(-self.num_samples // n))]
        return iter(np.concatenate(rounds)[: self.num_samples].tolist())


class SubsetRandomSampler(RandomSampler):
    """The given samples in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None):
        super().__init__(indices, generator=generator)
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        return map(self.indices.__getitem__, super().__iter__())


class WeightedRandomSampler(_Counted):
    """Samples drawn with probabilities in proportion to weights.

    weights       (N,) numbers of 0 or more; they need not add up to 1
    num_samples   how many are drawn; without replacement, at most as many as there are weights above 0

    Example
    >>> list(WeightedRandomSampler([0, 1, 0], 4))
    [1, 1, 1, 1]
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None):
        self.weights, self.replacement, self.generator = np.asarray(weights, np.float64), replacement, generator
        self.num_samples = whole_number("WeightedRandomSampler", "num_samples", num_samples, least=1)
        usable, fits = np.count_nonzero(self.weights), np.isfinite(self.weights) & (self.weights >= 0)
        if not fits.all() or self.weights.ndim != 1 or usable < (1 if replacement else num_samples):
            raise ValidationError(
                f"WeightedRandomSampler: weights of shape {self.weights.shape} with {usable} above 0 for {num_samples} "
                "samples; give finite numbers (N,) of 0 or more, with enough above 0"
            )

    def __iter__(self) -> Iterator[int]:
        share = self.weights / self.weights.sum()
        drawn = numpy_generator(self.generator).choice(len(share), self.num_samples, self.replacement, share)
        return iter(drawn.tolist())


class DistributedSampler(Sampler[int]):
    """The samples of one rank: of an order that all ranks share, every num_replicas-th one.

    num_replicas   the number of ranks; None for all of the job
    rank           0 to num_replicas - 1; None for this one
    shuffle        whether each epoch has a random order, which follows from the seed and the number of set_epoch
    seed           the same on all ranks
    drop_last      samples that do not fill a round are left out, so that all ranks have as many; False: the first
                   samples come again

    Call set_epoch before each epoch: without it, all epochs have the same order.
    Raises   ValidationError   there are more ranks than samples, or no such rank
    Source   PyTorch's class of this name; the random order is another one
    Example
    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ):  # fmt: skip
        replicas, where = get_world_size() if num_replicas is None else num_replicas, "DistributedSampler"
        self.dataset, self.shuffle, self.drop_last, self.epoch = dataset, shuffle, drop_last, 0
        self.num_replicas = whole_number(where, "num_replicas", replicas, least=1)
        self.rank = whole_number(where, "rank", get_rank() if rank is None else rank, least=0, most=replicas - 1)
        self.seed = whole_number(where, "seed", seed, least=0, most=LARGEST_SEED)
        if len(dataset) < self.num_replicas:
            raise ValidationError(
                f"DistributedSampler: {self.num_replicas} ranks share {len(dataset)} samples, so some have none; start "
                "fewer ranks, or use more samples"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, 0 or more."""
        self.epoch = whole_number("DistributedSampler", "epoch", epoch, least=0)

    @property
    def num_samples(self) -> int:
        """The number of samples of this rank."""
        whole, rest = divmod(len(self.dataset), self.num_replicas)
        return whole + (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        n, total = len(self.dataset), self.num_samples * self.num_replicas
        order = draw_order(n, self.seed, self.epoch) if self.shuffle else np.arange(n)
        return iter(np.resize(order, total)[self.rank :: self.num_replicas].tolist())


class BatchSampler(Sampler[list[int]]):
    """Lists of the numbers that another sampler gives.

    Example
    >>> list(BatchSampler(range(5), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False):
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = whole_number("BatchSampler", "batch_size", batch_size, least=1)

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]  # an Iterable may lack it
        return whole + (rest > 0 and not self.drop_last)


# ---- orders that depend only on a seed and the number of the epoch, so that any epoch can be repeated


def choose_seed(seed: int | None, where: str, source: Any = None) -> int:
    """Return the seed; None: one drawn from a mg.Generator, or the shared one, so that manual_seed fixes it."""
    if seed is None:
        return int(numpy_generator(source).integers(2**63))
    return whole_number(where, "seed", seed, least=0, most=LARGEST_SEED)


def draw_order(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Return the numbers 0 ... n-1 in random order, (n,) int64."""
    # The counter of Philox gives each epoch 2**128 draws, so that no earlier epoch has to be drawn.
    return np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128)).permutation(n)
