"""Random numbers, all of which follow from one seed; see streams.py."""

import secrets

import numpy as np

from .checks import LARGEST_SEED, type_with_article, whole_number
from .errors import DtypeError
from .runtime.device import CPU, device as Device
from .runtime.threads import call_on_host, local
from .streams import Stream, current_stream, replace_stream
from .tensors import Tensor, tensor


class Generator:
    """Random numbers apart from those of the program, for the argument `generator=`.

    device   accepted for PyTorch's scripts; the numbers are the same on every device

    Without manual_seed they follow from the seed 67280421310721, as in PyTorch.
    Example
    >>> import minigrad as mg
    >>> first = mg.randperm(9, generator=mg.Generator().manual_seed(0))
    >>> bool((mg.randperm(9, generator=mg.Generator().manual_seed(0)) == first).all())
    True
    """

    _own: Stream | None  # None for the stream that the thread draws from

    def __init__(self, device: str | Device = CPU):
        self.device, self._own = Device(device), Stream(67280421310721)

    @property
    def _stream(self) -> Stream:
        return self._own or current_stream()

    def _restart(self, source: Stream) -> None:
        if self._own is None:
            replace_stream(source)
        else:
            self._own = source

    def manual_seed(self, seed: int) -> "Generator":
        """Restart the numbers from a seed, 0 to 2**64 - 1.

        If a data set or collate_fn calls mg.manual_seed while a DataLoader makes a batch, only the numbers for the rest
        of that batch restart.
        """
        number = whole_number("manual_seed", "seed", seed, least=0, most=LARGEST_SEED)
        call_on_host(lambda: self._restart(Stream(number)))
        return self

    def seed(self) -> int:
        """Restart the numbers from a seed that the system gives, and return it."""
        local.observer.refuse("choosing a seed", "choose it outside")
        return self.manual_seed(secrets.randbits(64)).initial_seed()

    def initial_seed(self) -> int:
        """The seed from which the numbers follow; while a DataLoader makes a batch, that of the batch."""
        return self._stream.seed

    def get_state(self) -> Tensor:
        """The state, a tensor (128,) uint8 for set_state."""
        local.observer.refuse("reading the state of random numbers", "read it outside")
        return tensor(self._stream.words().view(np.uint8))

    def set_state(self, new_state: Tensor) -> "Generator":
        """Restore a state from get_state."""
        local.observer.refuse("setting the state of random numbers", "set it outside")
        if not isinstance(new_state, Tensor) or new_state.dtype != np.uint8 or new_state.shape != (128,):
            is_tensor = isinstance(new_state, Tensor)
            given = f"{new_state.dtype} {new_state.shape}" if is_tensor else type_with_article(new_state)
            state = "state" if self._own else "rng_state"
            raise DtypeError(f"set_{state}: expected uint8 (128,), got {given}; give the result of get_{state}")
        self._restart(Stream.from_words(new_state.detach().cpu().numpy().copy().view(np.uint64)))
        return self


default_generator = Generator()
default_generator._own = None


manual_seed, seed = default_generator.manual_seed, default_generator.seed
initial_seed = default_generator.initial_seed


def get_rng_state() -> Tensor:
    """Return the state of the random numbers, a tensor (128,) uint8 for set_rng_state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Restore a state of the random numbers, (128,) uint8 from get_rng_state."""
    default_generator.set_state(new_state)
