"""Random numbers: one seed for everything.

Values that are drawn once (initial weights, randn, shuffles) come from NumPy's Philox generator; masks drawn inside
kernels (dropout) from a hash of seed, call and element, the same on every device and for any number of threads.
Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).

Both belong to a stream.  All threads draw from the program's, in the order in which they come.  Where that order would
depend on time, a thread has a stream of its own for a while: a DataLoader makes each batch with one, derived from its
seed, the epoch and the number of the batch.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np

from .errors import DtypeError, ValidationError
from .runtime import fork
from .runtime.threads import call_on_host, local
from .tensors import Tensor, tensor


class Stream:
    """The random numbers that follow from a seed, or from a seed and more numbers; made when they are first drawn.

    calls     counts the keys drawn
    children  counts the seeds derived, which takes nothing from the stream
    """

    def __init__(self, seed: int, *path: int):
        self._origin, self._path = seed, path
        self.calls, self.children = count(), count()

    @property
    def seed(self) -> int:
        """The seed that gives the same numbers to manual_seed."""
        return self._kept("_seed", self._derived) if self._path else self._origin

    @property
    def generator(self) -> np.random.Generator:
        """The generator of values."""
        return self._kept("_generator", lambda: np.random.Generator(np.random.Philox(self.seed)))

    def _kept(self, name, make):
        found = self.__dict__.get(name)  # set once, also where two threads come here at once
        return self.__dict__.setdefault(name, make()) if found is None else found

    def _derived(self) -> int:
        return int(np.random.SeedSequence(self._origin, spawn_key=self._path).generate_state(1, np.uint64)[0])


class _Own(threading.local):
    """The stream that a Python thread has for itself, if it has one."""

    stream: Stream | None = None


_own = _Own()
_program = Stream(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
fork.wait_for(lambda: _program.generator.bit_generator.lock)  # NumPy holds it while it draws


def manual_seed(seed: int) -> None:
    """Start all random numbers anew from `seed`, 0 to 2**64 - 1.

    Called by a data set or collate_fn while a DataLoader makes a batch, it starts the rest of that batch's own random
    numbers anew, and no others.

    Raises   ValidationError   the seed is not a whole number in range
    Example
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> first = mg.randn(3)
    >>> mg.manual_seed(0)
    >>> bool((mg.randn(3) == first).all())
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ValidationError(f"manual_seed: {seed!r} is not a seed; use a whole number from 0 to 2**64 - 1")
    call_on_host(_start, seed)


def _start(seed: int) -> None:
    _become(Stream(seed))


def initial_seed() -> int:
    """The seed in force; while a DataLoader makes a batch, that batch's own, for libraries that draw by themselves.

    Example
    >>> import minigrad as mg
    >>> mg.manual_seed(7)
    >>> mg.initial_seed()
    7
    """
    return _current().seed


def get_rng_state() -> Tensor:
    """Where the random numbers stand, as a tensor (128,) uint8; with set_rng_state they go on from there.

    Raises   GraphError   inside a recorded function
    Example
    >>> import minigrad as mg
    >>> state = mg.get_rng_state()
    >>> first = mg.rand(3)
    >>> mg.set_rng_state(state)
    >>> bool((mg.rand(3) == first).all())
    True
    """
    local.observer.refuse("reading the state of random numbers", "read it outside")
    source = _current()
    counted = next(source.calls), next(source.children)
    source.calls, source.children = map(count, counted)
    state = source.generator.bit_generator.state
    words = [source.seed, *counted, *state["state"]["counter"], *state["state"]["key"], *state["buffer"]]
    words += [state["buffer_pos"], state["has_uint32"], state["uinteger"]]
    return tensor(np.array([int(word) for word in words], np.uint64).view(np.uint8))


def set_rng_state(new_state: Tensor) -> None:
    """Go on with the random numbers from where they stood at a call of get_rng_state.

    new_state   (128,) uint8, from get_rng_state

    Raises   DtypeError   not such a tensor
             GraphError   inside a recorded function
    """
    local.observer.refuse("setting the state of random numbers", "set it outside")
    if not isinstance(new_state, Tensor) or new_state.dtype != np.uint8 or new_state.shape != (128,):
        given = f"{new_state.dtype} {new_state.shape}" if isinstance(new_state, Tensor) else type(new_state).__name__
        raise DtypeError(f"set_rng_state: expected uint8 (128,), got {given}; give what get_rng_state returned")
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
    _become(source)


@contextmanager
def stream(seed: int, *path: int) -> Iterator[None]:
    """Inside, this thread draws from a stream of its own, derived from a seed and more numbers, 0 or more each."""
    before, _own.stream = _own.stream, Stream(seed, *path)
    try:
        yield
    finally:
        _own.stream = before


def derived_seed() -> int:
    """Another seed at each call, fixed by manual_seed; the stream goes on as if nothing was drawn."""
    parent = _current()
    return Stream(parent.seed, next(parent.children)).seed


def generator() -> np.random.Generator:
    """The generator of this thread's stream, for values drawn with NumPy."""
    local.observer.refuse("drawing random numbers", "draw them outside, and give them as an argument")
    return _current().generator


def next_key() -> np.ndarray:
    """A key (1) uint64 for one random kernel: the seed and the number of such calls since it was set, mixed."""
    key = np.empty(1, np.uint64)
    call_on_host(_draw, key)
    return key


def _draw(key: np.ndarray) -> None:
    source = _current()
    key[:] = np.random.SeedSequence([source.seed, next(source.calls)]).generate_state(1, np.uint64)


def _current() -> Stream:
    return _own.stream or _program


def _become(source: Stream) -> None:
    """Put another stream in place of the one that this thread draws from."""
    global _program
    if _own.stream is None:
        with _program.generator.bit_generator.lock:  # no fork comes between, see below
            _program = source
    else:
        _own.stream = source
