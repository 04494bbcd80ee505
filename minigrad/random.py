"""Random numbers: one seed for everything.

Values that are drawn once (initial weights, randn, shuffles) come from NumPy's Philox generator; masks drawn inside
kernels (dropout) from a hash of seed, call and element, the same on every device and for any number of threads.
Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
"""

import threading
from itertools import count

import numpy as np

from .errors import ValidationError
from .runtime import fork
from .runtime.threads import host, local

_lock = threading.Lock()
_seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
_generator = np.random.Generator(np.random.Philox(_seed))
_calls = count()
fork.wait_for(lambda: _generator.bit_generator.lock)  # NumPy holds it while it draws
fork.wait_for(lambda: _lock)


def manual_seed(seed: int) -> None:
    """Start all random numbers anew from `seed`, 0 to 2**64 - 1.

    Raises   ValidationError   the seed is not a whole number in range
    Example
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> first = mg.randn(3)
    >>> mg.manual_seed(0)
    >>> bool((mg.randn(3) == first).all())
    True
    """
    global _seed, _generator, _calls
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ValidationError(f"manual_seed: {seed!r} is not a seed; use a whole number from 0 to 2**64 - 1")
    with _lock:
        _seed, _generator, _calls = seed, np.random.Generator(np.random.Philox(seed)), count()


def initial_seed() -> int:
    """The seed in force."""
    return _seed


def generator() -> np.random.Generator:
    """The shared generator, for values drawn with NumPy."""
    if local.recording is not None:
        local.recording.refuse("drawing random numbers", "draw them outside, and give them as an argument")
    return _generator


def next_key() -> np.ndarray:
    """A key (1) uint64 for one random kernel: the seed and the number of such calls since it was set, mixed."""
    key = np.empty(1, np.uint64)
    host(_draw, key)
    return key


def _draw(key: np.ndarray) -> None:
    with _lock:
        key[:] = np.random.SeedSequence([_seed, next(_calls)]).generate_state(1, np.uint64)
