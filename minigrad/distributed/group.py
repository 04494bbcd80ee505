"""The ranks of a job: processes that an MPI launcher started, or this process alone.

mpi4py is imported by init() and only if a launcher started this process, so a program without one needs no MPI.
"""

import atexit
import os
import shlex
import sys
import traceback
from typing import Any

from ..checks import number_in_range
from ..errors import DeviceError

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # set by mpiexec of MPICH and Open MPI, and srun


class Group:
    """The ranks of this job, as one of them sees them.

    rank, size      the number of this process, and how many there are
    local_rank      the number of this process among those of its machine
    mpi             mpi4py's module MPI; None for one process
    comm            the communicator of functions that all ranks call in the same order; None for one process
    timeout         seconds that a rank waits for others
    first_timeout   seconds that it waits where kernels may be compiled, and at the end
    step            the number of backward passes after which gradients were averaged
    own_stream      the random stream that this rank got; see data_parallel.py
    """

    mpi: Any = None
    comm: Any = None
    own_stream: Any = None
    rank, size, local_rank, step = 0, 1, 0, 0
    timeout, first_timeout = 20.0, 600.0

    def others(self) -> list[int]:
        """The numbers of all other ranks."""
        return [rank for rank in range(self.size) if rank != self.rank]


_group = Group()
_initialized = False


def current_group() -> Group:
    """The ranks of this job; one before init()."""
    return _group


def init(required: bool = False, timeout: float = 20.0, first_timeout: float = 600.0) -> None:
    """Join the ranks of a job that `mpiexec` or `srun` started.  A program started without them is one rank.

    required        whether it is an error that no launcher started this program
    timeout         seconds   a rank that waits longer for another one ends the job and names it
    first_timeout   seconds   the same for the first two steps, in which kernels are compiled, and at the end

    An error that a rank does not catch is printed with the rank and the step, and ends all ranks.  A second call only
    changes the times.

    Raises   DeviceError       mpi4py or its MPI library is missing; the launcher belongs to another MPI; or, if
                               required, there is no launcher.  The message has the commands that help
             ValidationError   a time is not above 0
    Example
    >>> from minigrad import distributed
    >>> distributed.init()
    >>> distributed.get_rank(), distributed.get_world_size()
    (0, 1)
    """
    global _initialized
    number_in_range("init", "timeout", timeout, 1e-3)
    number_in_range("init", "first_timeout", first_timeout, 1e-3)
    if not _initialized:
        launched = launched_size()
        if launched is None and required:
            raise DeviceError(f"init: no MPI launcher started this program; {_advice()}")
        if launched is not None:
            _join(_import_mpi(), launched)
    _group.timeout, _group.first_timeout = timeout, first_timeout
    _initialized = True


def launched_size() -> int | None:
    """The number of ranks that the launcher says it has started; None without a launcher."""
    return next((int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdigit()), None)


def launch_command(ranks: int = 2) -> str:
    """The command that starts this program on several ranks."""
    return shlex.join(["mpiexec", "-n", str(ranks), "python", *sys.orig_argv[1:]])


def _advice() -> str:
    return f"pip install mpi4py mpich, then start it with: {launch_command()}"


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise DeviceError(f"init: an MPI launcher started this program, but {error}; {_advice()}") from None
    return MPI


def _join(mpi: Any, launched: int) -> None:
    """Become one of the ranks of the launcher."""
    world = mpi.COMM_WORLD
    if world.size != launched:
        library = mpi.Get_library_version().split("\n")[0].strip("\0 ")
        raise DeviceError(
            f"init: the launcher started {launched} ranks, but mpi4py's MPI ({library}) sees {world.size}; use the "
            "mpiexec of the same MPI, which pip puts beside python"
        )
    if launched == 1:
        return
    _group.mpi, _group.comm, _group.rank, _group.size = mpi, world.Dup(), world.rank, world.size
    _group.local_rank = world.Split_type(mpi.COMM_TYPE_SHARED).rank
    sys.excepthook = _end_all_ranks
    atexit.register(_wait_for_all)


def _end_all_ranks(kind: Any, error: Any, trace: Any) -> None:
    """Print the error of this rank, and end the job."""
    text = "".join(traceback.format_exception(kind, error, trace))
    where = f"rank {_group.rank} of {_group.size}, step {_group.step}"
    print(f"{text}minigrad: {where}: {kind.__name__}; ending all ranks", file=sys.stderr, flush=True)
    sys.stdout.flush()
    _group.comm.Abort(1)


def _wait_for_all() -> None:
    """At the end of the program, wait without using a core: MPI's own end would not sleep, nor give up."""
    from .collectives import barrier

    try:
        barrier(timeout=_group.first_timeout)
    except BaseException as error:
        _end_all_ranks(type(error), error, error.__traceback__)


def is_initialized() -> bool:
    """Return whether init() was called."""
    return _initialized


def get_rank() -> int:
    """Return the number of this process among all ranks of the job, from 0; 0 before init()."""
    return _group.rank


def get_world_size() -> int:
    """Return the number of ranks of the job; 1 before init()."""
    return _group.size


def get_local_rank() -> int:
    """Return the number of this process among the ranks on the same machine, from 0; 0 before init()."""
    return _group.local_rank
