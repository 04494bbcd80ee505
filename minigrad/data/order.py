"""The order of samples: shuffled by a seed and the number of the epoch alone, so that any epoch can be repeated."""

import numpy as np

from ..errors import ValidationError
from ..random import generator


def chosen_seed(seed: int | None, where: str) -> int:
    """The seed, or where it is None, one drawn from the shared generator and so fixed by manual_seed."""
    if seed is None:
        return int(generator().integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValidationError(f"{where}: seed is {seed!r}; use a whole number from 0 to 2**64 - 1, or None")
    return int(seed)


def shuffled(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """The numbers 0 ... n-1 in random order, (n,) int64."""
    # a counter-based generator: epochs start 2**128 draws apart, and none has to be drawn to reach a later one
    return np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128)).permutation(n)
