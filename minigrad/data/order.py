"""The order of samples, which depends only on a seed and the number of the epoch, so that any epoch can be repeated."""

import numpy as np

from ..checks import LARGEST_SEED, whole_number
from ..streams import generator


def choose_seed(seed: int | None, where: str) -> int:
    """Return the seed; None: one drawn from the shared generator, so that manual_seed fixes it.

    Raises   ValidationError   the seed is not a whole number from 0 to 2**64 - 1
    """
    if seed is None:
        return int(generator().integers(2**63))
    return whole_number(where, "seed", seed, least=0, most=LARGEST_SEED)


def draw_order(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Return the numbers 0 ... n-1 in random order, (n,) int64."""
    # The counter of Philox gives each epoch 2**128 draws, so that no earlier epoch has to be drawn.
    return np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128)).permutation(n)
