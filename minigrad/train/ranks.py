"""What the ranks of a job do together in fit and evaluate: each has a part of every batch, and all have the same sums.

A rank is one of the processes that an MPI launcher started; see minigrad.distributed.  Without it there is one.
"""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .. import distributed
from ..distributed.group import current_group
from ..errors import RankError, ValidationError
from ..tensors import Tensor, tensor


class Part(NamedTuple):
    """What a rank learns from in a step.

    batch   a batch, or a part of one
    share   its samples * ranks / samples of the whole batch; 0 if the batch has fewer samples than there are ranks
    check   a number that follows from the samples of the whole batch, so it must be equal on all ranks
    """

    batch: Any
    share: float = 1.0
    check: int = 0


class Ranks(NamedTuple):
    """The number of this rank, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank prints and writes."""
        return self.rank == 0

    def parts(self, loader: Any, batch: int) -> Iterator[Part]:
        """This rank's parts of the batches of an epoch, from a batch on."""
        if self.size == 1:
            from_there = hasattr(loader, "iterate_from")
            batches = loader.iterate_from(batch) if from_there else islice(iter(loader), batch, None)
            return map(Part, batches)
        if hasattr(loader, "iterate_part"):
            return (Part(*part) for part in loader.iterate_part(batch, *self))
        return (self._part_of(whole) for whole in islice(iter(loader), batch, None))

    def _part_of(self, whole: Any) -> Part:
        """This rank's part of a batch that is there as a whole, cut like those of a DataLoader."""
        samples = len(whole[-1])
        start, end = (rank * samples // self.size for rank in (self.rank, self.rank + 1))
        mine = slice(start, end) if end > start else slice(1)
        check = 0
        for part in whole:
            check = zlib.crc32(np.ascontiguousarray(part.detach().cpu().numpy()).tobytes(), check)
        return Part([part[mine] for part in whole], (end - start) * self.size / samples, check)

    def gather(self, numbers: Iterable[float]) -> np.ndarray:
        """The numbers of all ranks, (ranks, numbers)."""
        own = np.array(list(numbers), np.float64)
        rows = np.zeros((self.size, len(own)))
        rows[self.rank] = own
        if self.size > 1:
            together = tensor(rows)
            distributed.all_reduce(together)
            rows = together.numpy()
        return rows

    def add(self, numbers: Iterable[float], check: int = 0) -> list[float]:
        """The sums of numbers over all ranks.

        Raises   RankError   the ranks have parts of different batches
        """
        *sums, checks = self.gather([*numbers, check]).T
        if (checks != checks[0]).any():
            raise RankError(
                "fit: the ranks have parts of different batches; give the loader shuffle=True, or its sampler a "
                "generator with a seed: generator=mg.Generator().manual_seed(0)"
            )
        return [float(part.sum()) for part in sums]

    def gather_objects(self, value: Any) -> list[Any]:
        """The values of all ranks."""
        found = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until the first rank has written its files, however long that takes."""
        if self.size > 1:
            distributed.barrier(timeout=current_group().first_timeout)


ALONE = Ranks()


def join(where: str, is_distributed: bool, *loaders: Any) -> Ranks:
    """Return the ranks that work together; all loaders get the seed of the first rank's.

    Raises   DeviceError       no MPI launcher started this program; the message has the command that does
             ValidationError   the batches have fewer samples than there are ranks
    """
    if not is_distributed:
        return ALONE
    distributed.init(required=True)
    ranks = Ranks(distributed.get_rank(), distributed.get_world_size())
    for loader in loaders:
        first = ranks.gather_objects(getattr(loader, "seed", None))[0]
        if isinstance(getattr(loader, "seed", None), int) and first is not None:
            loader.seed = first
        _expect_parts(where, loader, ranks.size)
    return ranks


def _expect_parts(where: str, loader: Any, ranks: int) -> None:
    """Refuse batches that cannot be divided among the ranks."""
    counts = {"batches of": getattr(loader, "batch_size", None)}
    with suppress(AttributeError, TypeError, NotImplementedError):  # no data set, or no length
        counts["a data set of"] = len(loader.dataset)
    for what, count in counts.items():
        if isinstance(count, int) and count < ranks:
            raise ValidationError(
                f"{where}: {what} {count} samples cannot be divided among {ranks} ranks; use {ranks} samples or "
                "more, or fewer ranks"
            )


def as_share(share: float) -> Tensor | None:
    """A share as a recording reads it; None if the ranks have equal parts."""
    return None if share == 1 else tensor(share)
