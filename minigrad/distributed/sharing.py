"""Objects that the ranks of a machine share: loaded once, with one copy of their arrays in memory."""

import mmap
import os
import pickle
import tempfile
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVar

from .collectives import barrier, gather
from .group import Group, current_group

T = TypeVar("T")
ALIGNMENT = 64  # bytes, a cache line


def load_once(make: Callable[[], T]) -> T:
    """Call a function on one rank of each machine, and return its result on all of them.

    make      returns an object that can be pickled, as a data set; it is called by the first rank of each machine
    returns   the object, whose arrays are one read-only copy in memory for all ranks of a machine

    The arrays lie in a file without a name in the folder for temporary files, which the system keeps in memory as far
    as it is used.  With one rank, `make` is called and nothing is copied.  All ranks call this together.

    Raises   RankError   the first rank takes longer than init()'s first_timeout
    Example
    >>> from minigrad import datasets
    >>> digits = load_once(lambda: datasets.MNIST(train=False))
    >>> len(digits)
    10000
    """
    group = current_group()
    if group.size == 1:
        return make()
    root = _first_of_machine(group)
    note = _write(make()) if group.rank == root else None
    barrier(timeout=group.first_timeout)
    path, text, sizes = gather(group, note)[root]
    with open(path, "rb") as file:
        shared = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    starts = [0, *accumulate(size + -size % ALIGNMENT for size in sizes)]
    value: T = pickle.loads(text, buffers=[shared[start:][:size] for start, size in zip(starts, sizes, strict=False)])
    barrier()
    if group.rank == root:
        os.remove(path)
    return value


def _first_of_machine(group: Group) -> int:
    """The lowest rank on this machine."""
    machine = group.comm.Split_type(group.mpi.COMM_TYPE_SHARED)
    root: int = machine.bcast(group.rank)
    machine.Free()
    return root


def _write(value: Any) -> tuple[str, bytes, list[int]]:
    """Write the arrays of an object to a file; return its path, the pickled rest, and the bytes of each array."""
    buffers: list[Any] = []
    text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    with tempfile.NamedTemporaryFile(prefix="minigrad-", delete=False) as file:
        for part in parts:
            file.write(part)
            file.write(bytes(-part.nbytes % ALIGNMENT))
        file.write(bytes(1))  # an empty file cannot be mapped
    return file.name, text, [part.nbytes for part in parts]
