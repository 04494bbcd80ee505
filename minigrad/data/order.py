"""The order of samples, which depends only on a seed and the number of the epoch, so that any epoch can be repeated."""

from typing import Any

import numpy as np

from ..checks import LARGEST_SEED, whole_number
from ..streams import generator


def choose_seed(seed: int | None, where: str, source: Any = None) -> int:
    """Return the seed; None: one drawn from a mg.Generator, or the shared one, so that manual_seed fixes it."""
    if seed is None:
        return int(generator(source).integers(2**63))
    return whole_number(where, "seed", seed, least=0, most=LARGEST_SEED)


def draw_order(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Return the numbers 0 ... n-1 in random order, (n,) int64."""
    # The counter of Philox gives each epoch 2**128 draws, so that no earlier epoch has to be drawn.
    return np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128)).permutation(n)
