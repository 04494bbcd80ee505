"""Random numbers, all of which follow from one seed.

Values that are drawn once (initial weights, randn, shuffled orders) come from NumPy's Philox generator.  Masks drawn
inside kernels (dropout) come from a hash of the seed, the call and the element; they are the same on every device and
for any number of threads.
Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).

Both belong to a stream.  All threads draw from the program's stream, in the order of their calls.  Where that order
would depend on timing, a thread draws from another stream for a while: a DataLoader makes each batch with a stream
derived from its seed, the epoch and the number of the batch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from .checks import LARGEST_SEED, type_with_article, whole_number
from .errors import DtypeError
from .runtime import fork
from .runtime.threads import call_on_host, local
from .tensors import Tensor, tensor


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
_program = Stream(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
fork.wait_for(lambda: _program.generator.bit_generator.lock)  # NumPy holds it while it draws


def manual_seed(seed: int) -> None:
    """Restart all random numbers from `seed`, 0 to 2**64 - 1.

    If a data set or collate_fn calls this while a DataLoader makes a batch, only the random numbers for the rest of
    that batch restart.

    Raises   ValidationError   the seed is not a whole number from 0 to 2**64 - 1
    Example
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> first = mg.randn(3)
    >>> mg.manual_seed(0)
    >>> bool((mg.randn(3) == first).all())
    True
    """
    call_on_host(_restart, whole_number("manual_seed", "seed", seed, least=0, most=LARGEST_SEED))


def _restart(seed: int) -> None:
    _replace_stream(Stream(seed))


def initial_seed() -> int:
    """Return the current seed; while a DataLoader makes a batch, a seed of that batch, for use by other libraries.

    Example
    >>> import minigrad as mg
    >>> mg.manual_seed(7)
    >>> mg.initial_seed()
    7
    """
    return _current_stream().seed


def get_rng_state() -> Tensor:
    """Return the state of the random numbers, a tensor (128,) uint8 for set_rng_state.

    Raises   GraphError   mg.graph is recording
    Example
    >>> import minigrad as mg
    >>> state = mg.get_rng_state()
    >>> first = mg.rand(3)
    >>> mg.set_rng_state(state)
    >>> bool((mg.rand(3) == first).all())
    True
    """
    local.observer.refuse("reading the state of random numbers", "read it outside")
    source = _current_stream()
    counted = next(source.calls), next(source.children)
    source.calls, source.children = map(count, counted)
    state = source.generator.bit_generator.state
    words = [source.seed, *counted, *state["state"]["counter"], *state["state"]["key"], *state["buffer"]]
    words += [state["buffer_pos"], state["has_uint32"], state["uinteger"]]
    return tensor(np.array([int(word) for word in words], np.uint64).view(np.uint8))


def set_rng_state(new_state: Tensor) -> None:
    """Restore a state of the random numbers.

    new_state   (128,) uint8, from get_rng_state

    Raises   DtypeError   new_state has another dtype or shape, or is not a Tensor
             GraphError   mg.graph is recording
    """
    local.observer.refuse("setting the state of random numbers", "set it outside")
    if not isinstance(new_state, Tensor) or new_state.dtype != np.uint8 or new_state.shape != (128,):
        is_tensor = isinstance(new_state, Tensor)
        given = f"{new_state.dtype} {new_state.shape}" if is_tensor else type_with_article(new_state)
        raise DtypeError(f"set_rng_state: expected uint8 (128,), got {given}; give the result of get_rng_state")
    words = new_state.detach().cpu().numpy().copy().view(np.uint64)
    source = Stream(int(words[0]))
    source.calls, source.children = count(int(words[1])), count(int(words[2]))
    source.generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": words[3:7], "key": words[7:9]},
        "buffer": words[9:13],
        "buffer_pos": int(words[13]),
        "has_uint32": int(words[14]),
        "uinteger": int(words[15]),
    }
    _replace_stream(source)


@contextmanager
def use_stream(seed: int, *path: int) -> Iterator[None]:
    """Inside, this thread draws from the stream that follows from a seed and more numbers, each 0 or more."""
    before, _thread.stream = _thread.stream, Stream(seed, *path)
    try:
        yield
    finally:
        _thread.stream = before


def derive_seed() -> int:
    """Return another seed at each call, fixed by manual_seed, without drawing from the stream."""
    parent = _current_stream()
    return Stream(parent.seed, next(parent.children)).seed


def generator() -> np.random.Generator:
    """Return the NumPy generator of the current stream."""
    local.observer.refuse("drawing random numbers", "draw them outside, and give them as an argument")
    return _current_stream().generator


def next_key() -> np.ndarray:
    """Return a key (1) uint64 for one random kernel, a hash of the seed and of the number of such calls since."""
    key = np.empty(1, np.uint64)
    call_on_host(_fill_key, key)
    return key


def _fill_key(key: np.ndarray) -> None:
    source = _current_stream()
    key[:] = np.random.SeedSequence([source.seed, next(source.calls)]).generate_state(1, np.uint64)


def _current_stream() -> Stream:
    return _thread.stream or _program


def _replace_stream(source: Stream) -> None:
    """Replace the stream that this thread draws from."""
    global _program
    if _thread.stream is None:
        with _program.generator.bit_generator.lock:  # a fork waits for this lock, see above
            _program = source
    else:
        _thread.stream = source
