"""Storage: a piece of memory, and how the tensors on it are related.

    y = x * 2                   # y is the only tensor on its storage
    v = y[0].reshape(-1)        # v is an alias on y's storage
    v.mul_(10)                  # writes to the shared memory; y gets a new history, and v follows it

The first tensor on a storage is its root.  Every other tensor is an alias.  Its Alias says how it follows from another
tensor on the storage, its base.
"""

from __future__ import annotations

import weakref
from typing import Any


def overlaps_itself(array: Any) -> bool:
    """Whether several elements of an array may share memory, as in an expanded tensor and in overlapping windows."""
    if array.flags.c_contiguous:
        return False
    reach = array.itemsize  # bytes of the axes seen so far, innermost first
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return bool(array.size)
            reach += (size - 1) * stride
    return False


class Storage:
    """One piece of memory.

    version   number of writes; a recorded operation keeps it, and its gradient refuses a later version
    aliases   weak references to the tensors besides the root; some may have left the storage by x.data = ...
    lent      whether another library (NumPy, DLPack) or a recording holds the address, so that the memory cannot move
    """

    version = 0
    aliases: list[weakref.ref[Any]] = []  # noqa: RUF012 - shared by all storages without aliases
    lent = False

    @property
    def shared(self) -> bool:
        """Whether another tensor or another library uses this memory."""
        return self.lent or any(reference() is not None for reference in self.aliases)

    def add(self, tensor: Any) -> None:
        """Add an alias.  References to deleted tensors are removed whenever the list has doubled."""
        if not self.aliases:
            self.aliases, self.room = [], 16
        elif len(self.aliases) == self.room:
            self.aliases = [reference for reference in self.aliases if reference() is not None]
            self.room = max(16, 2 * len(self.aliases))
        self.aliases.append(weakref.ref(tensor))


class Alias:
    """How a tensor follows from another tensor on the same storage.

    base       that tensor
    steps      the views between the two: ((operation, settings), ...)
    history    FOLLOWS: it has the graph of base.  UNRECORDED: it was made inside no_grad.  DETACHED: it left the graph
    node       the node of `base` at the last access
    """

    __slots__ = ("base", "history", "node", "steps")

    def __init__(self, base: Any, steps: tuple[Any, ...], history: str):
        self.base, self.steps, self.history, self.node = base, steps, history, base._node

    def found_in(self, array: Any) -> Any:
        """The alias's part of an array that has the base's shape."""
        for operation, settings in self.steps:
            array = operation.forward(self.base.device, array, **settings)
        return array


FOLLOWS, UNRECORDED, DETACHED = "follows", "unrecorded", "detached"
