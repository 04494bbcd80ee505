"""What a recorded launch reads and writes, and so which launches must stay in their order.

A kernel that does not declare what it writes may write all its arrays.  If it takes int64 numbers, which may be
addresses, it may read and write everything.
"""

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..program import Launch

ADDRESSES = np.dtype(np.int64)


class Memory(NamedTuple):
    """The memory of an array: the addresses of its first byte and of the one after its last, and the dtype."""

    start: int
    stop: int
    dtype: np.dtype

    def overlaps(self, others: Iterable["Memory"]) -> bool:
        """Whether it shares bytes with one of the others."""
        return any(self.start < other.stop and other.start < self.stop for other in others)


class Step:
    """A launch, and the memory of its arrays, by the number of the parameter."""

    def __init__(self, launch: Launch):
        self.launch, self.kernel, self.prepared = launch, launch.kernel, launch.address
        self.kinds = self.prepared.compiled.kinds
        self.words = struct.unpack(f"<{len(self.prepared.packed) // 8}q", self.prepared.packed)
        self.arrays: dict[int, Memory] = {}
        at = 0
        for number, kind in enumerate(self.kinds):
            if isinstance(kind, tuple):
                size, itemsize, address = self.words[at + 2 : at + 5]
                self.arrays[number] = Memory(address, address + size * itemsize, kind[0])
            at += 5 + 2 * kind[1] if isinstance(kind, tuple) else 1
        self.written = [self.arrays[number] for number in self.kernel.written] or list(self.arrays.values())

    def uses_from(self, first: int) -> list[Any]:
        """The uses of arrays, for words that start at `first` instead of 0; see Use in kernel.py."""
        return [use._replace(word=first + use.word) for use in self.launch.arguments]

    def must_precede(self, other: "Step") -> bool:
        """Whether a later launch cannot run before this one."""
        if not self.kernel.written and any(memory.dtype == ADDRESSES for memory in self.arrays.values()):
            return True
        writes = any(memory.overlaps(other.arrays.values()) for memory in self.written)
        return writes or any(memory.overlaps(self.arrays.values()) for memory in other.written)
