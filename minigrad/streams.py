"""Streams of random numbers, all of which follow from one seed.

Values that are drawn once (initial weights, randn, shuffled orders) come from NumPy's Philox generator.  Masks drawn
inside kernels (dropout) come from a hash of the seed, the call and the element; they are the same on every device and
for any number of threads.
Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).

Both belong to a stream.  All threads draw from the program's stream, in the order of their calls.  Where that order
would depend on timing, a thread draws from another stream for a while: a DataLoader reads each sample with a stream
derived from its seed, the epoch and the number of the sample.
"""

import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from .errors import DtypeError
from .runtime import fork
from .runtime.threads import call_on_host, local


class Stream:
    """The random numbers that follow from a seed, or from a seed and more numbers.

    calls      counts the keys drawn for kernels
    children   counts the seeds derived from this stream
    """

    def __init__(self, seed: int, *path: int):
        self._root_seed, self._path = seed, path
        self.calls, self.children = count(), count()

    @property
    def seed(self) -> int:
        """The seed with which manual_seed gives the same numbers."""
        return self._set_once("_seed", self._derive_seed) if self._path else self._root_seed

    @property
    def generator(self) -> np.random.Generator:
        """The generator of values."""
        return self._set_once("_generator", lambda: np.random.Generator(np.random.Philox(self.seed)))

    def words(self) -> np.ndarray:
        """The state as (16,) uint64."""
        counted = next(self.calls), next(self.children)
        self.calls, self.children = map(count, counted)
        state = self.generator.bit_generator.state
        found = [self.seed, *counted, *state["state"]["counter"], *state["state"]["key"], *state["buffer"]]
        found += [state["buffer_pos"], state["has_uint32"], state["uinteger"]]
        return np.array([int(word) for word in found], np.uint64)

    @classmethod
    def from_words(cls, words: np.ndarray) -> "Stream":
        """The stream with a state that `words` returned."""
        made = cls(int(words[0]))
        made.calls, made.children = count(int(words[1])), count(int(words[2]))
        made.generator.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": words[3:7], "key": words[7:9]},
            "buffer": words[9:13],
            "buffer_pos": int(words[13]),
            "has_uint32": int(words[14]),
            "uinteger": int(words[15]),
        }
        return made

    def _set_once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return an attribute that is made when it is first read, and only once even if two threads read it."""
        value = self.__dict__.get(name)
        return self.__dict__.setdefault(name, make()) if value is None else value

    def _derive_seed(self) -> int:
        return int(np.random.SeedSequence(self._root_seed, spawn_key=self._path).generate_state(1, np.uint64)[0])


class _ThreadLocal(threading.local):
    """The stream of this Python thread; None while it draws from the program's."""

    stream: Stream | None = None


_thread = _ThreadLocal()
_program = _unseeded = Stream(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
fork.wait_for(lambda: _program.generator.bit_generator.lock)  # NumPy holds it while it draws


class use_stream:
    """Inside, this thread draws from the stream that follows from a seed and more numbers, each 0 or more."""

    def __init__(self, seed: int, *path: int):
        self.own = Stream(seed, *path)

    def __enter__(self) -> None:
        self.before, _thread.stream = _thread.stream, self.own

    def __exit__(self, *error: object) -> None:
        _thread.stream = self.before


def derive_seed() -> int:
    """Return another seed at each call, fixed by manual_seed, without drawing from the stream."""
    parent = current_stream()
    return Stream(parent.seed, next(parent.children)).seed


def generator(own: Any = None) -> np.random.Generator:
    """Return the NumPy generator of a mg.Generator or, for None, of the current stream."""
    local.observer.refuse("drawing random numbers", "draw them outside, and give them as an argument")
    return stream_of(own).generator


def stream_of(own: Any) -> Stream:
    """Return the stream of a mg.Generator or, for None, the current one."""
    if own is not None and not hasattr(own, "_stream"):
        raise DtypeError(f"generator: expected a mg.Generator or None, got {type(own).__name__}; use mg.Generator()")
    return current_stream() if own is None else own._stream


def next_key() -> np.ndarray:
    """Return a key (1) uint64 for one random kernel, a hash of the seed and of the number of such calls since."""
    key = np.empty(1, np.uint64)
    call_on_host(_fill_key, key)
    return key


def _fill_key(key: np.ndarray) -> None:
    source = current_stream()
    key[:] = np.random.SeedSequence([source.seed, next(source.calls)]).generate_state(1, np.uint64)


def current_stream() -> Stream:
    return _thread.stream or _program


# ---- seeds by hashing, for many samples at once

MASK = 2**64 - 1


def mix(seeds: Any, numbers: Any) -> np.ndarray:
    """Hash seeds with whole numbers: arrays that broadcast, or numbers; returns uint64 of that shape.

    Source   G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64)
    """
    z = np.atleast_1d(_as_words(seeds)) + GOLDEN * (np.atleast_1d(_as_words(numbers)) + ONE)
    for shift, factor in ((S30, MIX_A), (S27, MIX_B)):
        z ^= z >> shift
        z *= factor
    z ^= z >> S31
    return z if np.ndim(seeds) or np.ndim(numbers) else z.reshape(())


ONE, GOLDEN = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)
MIX_A, MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def _as_words(numbers: Any) -> np.ndarray:
    return np.asarray(numbers & MASK if isinstance(numbers, int) else numbers).astype(np.uint64, copy=False)


def sample_seeds(seed: int, epoch: int, samples: Any) -> np.ndarray:
    """The seeds of the streams with which a DataLoader reads samples of these numbers, uint64 like `samples`."""
    return mix(mix(seed, epoch), samples)


def next_seed() -> int:
    """Return the seed of the next random transform of this stream: a hash of its seed and of their number so far."""
    stream = current_stream()
    return int(mix(stream.seed, next(stream.calls)))


def is_seeded() -> bool:
    """Whether the program has chosen a seed."""
    return _program is not _unseeded


def replace_stream(source: Stream) -> None:
    """Replace the stream that this thread draws from."""
    global _program
    if _thread.stream is None:
        with _program.generator.bit_generator.lock:  # a fork waits for this lock, see above
            _program = source
    else:
        _thread.stream = source
