"""Storage: what all tensors on one piece of memory share.

    y = x * 2                   # y is the only tensor on its storage
    v = y[0].reshape(-1)        # v is an alias: it lies on y's storage
    v.mul_(10)                  # writes to the shared memory; y has a new history, and v finds it there

The first tensor on a storage is its root.  Every other one is an alias, and its Alias says how it follows from another
tensor on the storage, its base.
"""

from __future__ import annotations

import weakref
from typing import Any


class Storage:
    """One piece of memory.

    version   number of writes; a recorded operation notes it, and its gradient refuses a later one
    aliases   weak references to the tensors on it besides the root; some may have left it by x.data = ...
    lent      whether other libraries use the memory (NumPy, DLPack), so that it cannot move
    """

    version = 0
    aliases: list[weakref.ref[Any]] = []  # noqa: RUF012 - the empty list of all storages that have none
    lent = False

    @property
    def shared(self) -> bool:
        """Whether another tensor or another library uses this memory."""
        return self.lent or any(reference() is not None for reference in self.aliases)

    def add(self, tensor: Any) -> None:
        """Note an alias, and forget those that are gone whenever there are twice as many."""
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
    history    FOLLOWS: the graph of base is its graph, too.  UNRECORDED: it was made where gradients were switched off.
               DETACHED: it left the graph on purpose
    node       the node of `base` when the alias last looked
    """

    __slots__ = ("base", "history", "node", "steps")

    def __init__(self, base: Any, steps: tuple[Any, ...], history: str):
        self.base, self.steps, self.history, self.node = base, steps, history, base._node

    def found_in(self, array: Any) -> Any:
        """The alias's part of an array of the base's shape."""
        for operation, settings in self.steps:
            array = operation.forward(self.base.device, array, **settings)
        return array


FOLLOWS, UNRECORDED, DETACHED = "follows", "unrecorded", "detached"
