"""The ranks of a job: processes that an MPI launcher started, or this process alone."""

from typing import Any


class Group:
    """The ranks of this job, as one of them sees them.

    rank, size      the number of this process, and how many there are
    local_rank      the number of this process among those of its machine
    mpi             mpi4py's module MPI; None for one process
    comm            the communicator of functions that all ranks call in the same order; None for one process
    end_comm        another one, for the wait at the end of the program, which must not answer a barrier elsewhere
    timeout         seconds that a rank waits for others
    first_timeout   seconds that it waits where kernels may be compiled, and at the end
    step            the number of backward passes after which gradients were averaged
    own_stream      the random stream that this rank got; see data_parallel.py
    is_initialized  whether init() was called
    """

    mpi: Any = None
    comm: Any = None
    end_comm: Any = None
    own_stream: Any = None
    rank, size, local_rank, step = 0, 1, 0, 0
    timeout, first_timeout = 20.0, 600.0
    is_initialized = False

    def others(self) -> list[int]:
        """The numbers of all other ranks."""
        return [rank for rank in range(self.size) if rank != self.rank]

    def name(self) -> str:
        """This rank and its step, for messages."""
        return f"rank {self.rank} of {self.size}, step {self.step}"


_group = Group()


def current_group() -> Group:
    """The ranks of this job; one before init()."""
    return _group


def is_initialized() -> bool:
    """Return whether init() was called."""
    return _group.is_initialized


def get_rank() -> int:
    """Return the number of this process among all ranks of the job, from 0; 0 before init()."""
    return _group.rank


def get_world_size() -> int:
    """Return the number of ranks of the job; 1 before init()."""
    return _group.size


def get_local_rank() -> int:
    """Return the number of this process among the ranks on the same machine, from 0; 0 before init()."""
    return _group.local_rank
