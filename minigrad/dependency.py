"""What a recorded function depends on, besides its arguments.

A Dependency is an object whose state a replay assumes to be unchanged: a tensor, a module, an optimiser, a setting.
`_replay_state()` returns the part of its state on which the recording relies. The recording keeps these states, and can
be replayed while they are equal.

A change of such a state calls `changed()`; a dependency with `_replay_counted = False` is compared at every call.
States are compared only after a change, because comparing those of LeNet-5 takes 0.24 ms, and its step of 64 images 3.7
ms (2 cores of an AMD EPYC, November 2026).
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np

_numbers = count(1)


class _Changes:
    count = 0


def changed() -> None:
    """Count a change of a state on which a recording may rely; called after the change."""
    _Changes.count = next(_numbers)


def change_count() -> int:
    """The number of the last change."""
    return _Changes.count


class Dependency:
    """An object on whose state a recording can rely."""

    __slots__ = ()

    _replay_counted = True  # whether every change of its state calls changed(); otherwise it is compared at each call

    @property
    def _replay_key(self) -> Any:
        """Equal for two objects that stand for the same dependency."""
        return Identity(self)

    def _replay_state(self) -> Any:
        """A snapshot of the state on which a recording relies."""
        raise NotImplementedError

    def _replay_parts(self) -> Iterable["Dependency"]:
        """The dependencies inside it."""
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


COMPARED_BY_VALUE = (bool, int, str, bytes, type(None))
LARGE_ARRAY = 2**16  # bytes from which on a NumPy array is compared by identity
CONTAINERS = (tuple, list, set, frozenset)


def snapshot(value: Any) -> Any:
    """A copy of a value that can be compared and hashed: numbers, strings and small NumPy arrays with their types, also
    in containers; every other object by identity.

    Unlike ==, it tells 0.0 from -0.0, and nan equals nan.
    """
    kind = type(value)
    if kind in COMPARED_BY_VALUE:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if isinstance(value, np.generic):
        return kind, value.tobytes()
    if isinstance(value, CONTAINERS):
        return (kind, *map(snapshot, value))
    if isinstance(value, dict):
        return (kind, *[(snapshot(key), snapshot(part)) for key, part in value.items()])
    if kind is np.ndarray and value.nbytes <= LARGE_ARRAY and not value.dtype.hasobject:
        return kind, value.shape, value.dtype.str, value.tobytes()
    if kind is slice:
        return kind, snapshot((value.start, value.stop, value.step))
    return Identity(value)


def changed_parts(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """The names of the parts in which two snapshots differ."""
    if before == after:
        return
    if _is_dict(before) and _is_dict(after) and [k for k, _ in before[1:]] == [k for k, _ in after[1:]]:
        for (key, old), (_, new) in zip(before[1:], after[1:], strict=True):
            part = str(key[1]) if type(key) is tuple else type(key.value).__name__
            yield from changed_parts(old, new, f"{name}.{part}" if name else part)
    else:
        yield name


def _is_dict(value: Any) -> bool:
    return type(value) is tuple and len(value) > 1 and isinstance(value[0], type) and issubclass(value[0], dict)


def can_change_unseen(value: Any) -> bool:
    """Whether a value can change without a call of changed(), as a list does, and `snapshot` would show that."""
    if isinstance(value, tuple):
        return any(map(can_change_unseen, value))
    return isinstance(value, list | dict | set | np.ndarray) and not isinstance(value, CountedDict)


def _counted(name: str) -> Any:
    """The method of dict, followed by changed()."""
    method = getattr(dict, name)

    def run(self: "CountedDict", *args: Any, **named: Any) -> Any:
        result = method(self, *args, **named)
        changed()
        return result

    return run


class CountedDict(dict[Any, Any]):
    """A dict that counts its changes."""


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(CountedDict, _name, _counted(_name))
