"""What a recorded function depends on, besides its arguments.

A Dependency is an object that a recorded function uses and a replay does not read again: a tensor, a module, an
optimiser, a setting.  `_replay_state()` returns the part of its state on which the recording relies.  The recording
keeps these states, and can be replayed while they are equal.

Every change of such a state calls `changed()`.  States are compared only after a change, because comparing those of
LeNet-5 takes 0.24 ms, and its step of 64 images 3.7 ms (2 cores of an AMD EPYC, November 2026).
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np

_numbers = count(1)


class _Changes:
    count = 0


def changed() -> None:
    """Count a change of what a recording may depend on; called after it."""
    _Changes.count = next(_numbers)


def change_count() -> int:
    """The number of the last change."""
    return _Changes.count


class Dependency:
    """What a recording can depend on."""

    __slots__ = ()

    _replay_counted = True  # whether changed() is called for every change of its state; else it is always compared

    @property
    def _replay_key(self) -> Any:
        """Equal for two objects that stand for the same thing."""
        return Identity(self)

    def _replay_state(self) -> Any:
        """What a recording takes for granted, frozen."""
        raise NotImplementedError

    def _replay_parts(self) -> Iterable["Dependency"]:
        """The things that belong to it."""
        return ()

    def _replay_name(self, part: str) -> str:
        """The name of a part of the state, for messages."""
        return f"{part} of {type(self).__name__}" if part else type(self).__name__


class Identity:
    """An object that is compared by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Identity and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


EXACT = (bool, int, str, bytes, type(None))
LARGE = 2**16  # bytes of a NumPy array from which on it is compared by identity
CONTAINERS = (tuple, list, set, frozenset)


def frozen(value: Any) -> Any:
    """A value as something to compare and to hash: numbers, strings and small NumPy arrays with their types, also in
    containers, as they are now; every other object by identity.

    Unlike ==, it tells 0.0 from -0.0, and nan equals nan.
    """
    kind = type(value)
    if kind in EXACT:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if isinstance(value, np.generic):
        return kind, value.tobytes()
    if isinstance(value, CONTAINERS):
        return (kind, *map(frozen, value))
    if isinstance(value, dict):
        return (kind, *[(frozen(key), frozen(part)) for key, part in value.items()])
    if kind is np.ndarray and value.nbytes <= LARGE and not value.dtype.hasobject:
        return kind, value.shape, value.dtype.str, value.tobytes()
    if kind is slice:
        return kind, frozen((value.start, value.stop, value.step))
    return Identity(value)


def differences(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The parts in which two frozen values differ: (name, before, after)."""
    if before == after:
        return
    if _is_dict(before) and _is_dict(after) and [k for k, _ in before[1:]] == [k for k, _ in after[1:]]:
        for (key, old), (_, new) in zip(before[1:], after[1:], strict=True):
            part = str(key[1]) if type(key) is tuple else type(key.value).__name__
            yield from differences(old, new, f"{name}.{part}" if name else part)
    else:
        yield name, before, after


def _is_dict(value: Any) -> bool:
    return type(value) is tuple and len(value) > 1 and isinstance(value[0], type) and issubclass(value[0], dict)


def mutable(value: Any) -> bool:
    """Whether a value can change while it stays the same object, and `frozen` would show that."""
    if isinstance(value, tuple):
        return any(map(mutable, value))
    return isinstance(value, list | dict | set | np.ndarray) and not isinstance(value, CountedDict)


class CountedDict(dict[Any, Any]):
    """A dict that counts its changes."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        changed()

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        changed()

    def pop(self, *args: Any) -> Any:
        """dict.pop."""
        found = super().pop(*args)
        changed()
        return found

    def popitem(self) -> tuple[Any, Any]:
        """dict.popitem."""
        found = super().popitem()
        changed()
        return found

    def clear(self) -> None:
        """dict.clear."""
        super().clear()
        changed()

    def setdefault(self, *args: Any) -> Any:
        """dict.setdefault."""
        found = super().setdefault(*args)
        changed()
        return found

    def update(self, *args: Any, **named: Any) -> None:
        """dict.update."""
        super().update(*args, **named)
        changed()

    def __ior__(self, other: Any) -> "CountedDict":  # type: ignore[override,misc]
        self.update(other)
        return self
