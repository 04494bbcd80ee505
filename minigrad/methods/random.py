"""Random numbers written to a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..checks import failed_check, number_in_range, whole_number
from ..errors import DtypeError, ValidationError
from ..ops.promotion import expect_fits
from ..streams import stream_of
from .base import Methods

if TYPE_CHECKING:
    from ..tensors import Tensor


class RandomNumbers(Methods):
    """Random numbers written to the tensor, from mg.manual_seed or from `generator=`, a mg.Generator.

    They are the same on every device.  In a function recorded by mg.graph, each replay draws new ones.
    """

    __slots__ = ()

    def normal_(self, mean: float = 0, std: float = 1, *, generator: Any = None) -> Tensor:
        """Numbers of the normal distribution."""
        number_in_range("normal_", "std", std, 0)
        mean = float(mean)  # read now: of a tensor, a recording refuses that
        return self._draw("normal_", lambda random, shape: random.normal(mean, std, shape), generator)

    def _draw(self, where: str, sample: Callable[..., Any], generator: Any, kinds: str = "f") -> Tensor:
        """sample(NumPy's generator, shape) written to the tensor, whose dtype must be of one of the kinds."""
        if self.dtype.kind not in kinds:
            raise DtypeError(f"{where}: expected a float tensor, got {self.dtype}; convert it with .float()")
        stream_of(generator)  # refuses what is no generator
        return self._change(ops.draw, sample=lambda shape: sample(stream_of(generator).generator, shape))

    def uniform_(self, from_: float = 0, to: float = 1, *, generator: Any = None) -> Tensor:
        """Numbers from the first to the second, which is excluded, all equally likely."""
        number_in_range("uniform_", "to", to, from_)
        below = np.nextafter(self.dtype.type(to), self.dtype.type(from_)) if self.dtype.kind == "f" else to

        def sample(random: np.random.Generator, shape: Any) -> Any:
            return np.minimum(random.uniform(from_, to, shape), below)  # rounding to float32 could give `to`

        return self._draw("uniform_", sample, generator)

    def exponential_(self, lambd: float = 1, *, generator: Any = None) -> Tensor:
        """Numbers of the exponential distribution with mean 1 / lambd."""
        if not lambd > 0:
            raise ValidationError(f"exponential_: lambd is {lambd}; use a number above 0")
        return self._draw("exponential_", lambda random, shape: random.exponential(1 / lambd, shape), generator)

    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Tensor:
        """1 with probability p, a number or a tensor that broadcasts, else 0."""
        if isinstance(p, Methods):
            return self.copy_(p.expand(self.shape).bernoulli(generator=generator).to(self.dtype))
        number_in_range("bernoulli_", "p", p, 0, 1)
        return self._draw("bernoulli_", lambda random, shape: random.random(shape) < p, generator, "fiub")

    def bernoulli(self, p: float | None = None, *, generator: Any = None) -> Tensor:
        """1 with the probability that each element is, or with probability p, else 0; without a gradient."""
        x = self.detach()
        if p is not None:
            return x.clone().bernoulli_(p, generator=generator)
        if x.dtype.kind != "f":
            raise DtypeError(f"bernoulli: expected a float tensor, got {x.dtype}; convert it with .float()")
        ((x >= 0) & (x <= 1))._expect_all("bernoulli: a probability is not between 0 and 1; clip them")
        return (x.double().clone().uniform_(generator=generator) < x).to(x.dtype)

    def _expect_all(self, message: str) -> None:
        """Raise a ValidationError unless all elements of this bool tensor are true."""
        self.device.expect_range(self.long().array, 1, 2, 1, failed_check, message)

    def random_(self, from_: int | None = None, to: int | None = None, *, generator: Any = None) -> Tensor:
        """Whole numbers: random_(), all that the dtype holds exactly from 0 on; random_(to); random_(from, to)."""
        low, high = (0, from_) if to is None else (from_ or 0, to)
        if high is None:
            kind = self.dtype.kind
            most = 2 if kind == "b" else 2 ** (np.finfo(self.dtype).nmant + 1) if kind == "f" else None
            high = np.iinfo(self.dtype).max + 1 if most is None else most
        first = whole_number("random_", "from", low)
        last = whole_number("random_", "to", high, first + 1) - 1
        for end in (first, last):
            expect_fits("random_", end, np.dtype(np.int64) if self.dtype.kind == "f" else self.dtype)

        def sample(random: np.random.Generator, shape: Any) -> Any:
            return random.integers(first, last, shape, endpoint=True)

        return self._draw("random_", sample, generator, "fiub")

    def multinomial(self, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
        """Positions in the last axis, drawn with probabilities in proportion to the elements; int64.

        self          (n) or (rows, n), weights of 0 or more
        num_samples   positions drawn from each row
        replacement   whether a position can be drawn again
        """
        if self.dtype.kind != "f" or self.ndim not in (1, 2):
            raise DtypeError(f"multinomial: weights are {self.dtype} {self.shape}, expected floats (n) or (rows, n)")
        weights = np.atleast_2d(self.detach().cpu().numpy()).astype(np.float64)
        count = whole_number("multinomial", "num_samples", num_samples, 1)
        most = weights.shape[1] if replacement else (weights > 0).sum(1).min(initial=weights.shape[1])
        if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(1) > 0).all()):
            raise ValidationError("multinomial: a weight is negative or not finite, or a row is 0; use weights from 0")
        if not replacement and count > most:
            raise ValidationError(f"multinomial: {count} samples of {most} weights above 0; use replacement=True")
        random = stream_of(generator).generator
        places: Any
        if replacement:
            ends = weights.cumsum(1)
            places = [np.searchsorted(row, random.random(count) * row[-1], "right") for row in ends]
        else:  # the first arrivals at these rates
            with np.errstate(divide="ignore"):
                places = np.argsort(random.exponential(size=weights.shape) / weights, 1, kind="stable")[:, :count]
        return self.new_tensor(np.asarray(places, np.int64).reshape(*self.shape[:-1], count), dtype=np.int64)
