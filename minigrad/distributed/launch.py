"""init(): how a process becomes a rank of a job.

mpi4py is imported here, and only if a launcher started this process, so a program without one needs no MPI.
"""

import os
import platform
import shlex
import sys
from typing import Any

from ..checks import number_in_range
from ..errors import DeviceError
from ..runtime.threads import get_num_threads, set_num_threads
from ..streams import Stream, current_stream, is_seeded, replace_stream
from .collectives import gather
from .faults import watch
from .group import Group, current_group

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # set by mpiexec of MPICH and Open MPI, and srun


def init(required: bool = False, timeout: float | None = None, first_timeout: float | None = None) -> None:
    """Join the ranks of a job that `mpiexec` or `srun` started.  A program started without them is one rank.

    required        whether it is an error that no launcher started this program
    timeout         seconds   a rank that waits longer for another one ends the job and names it
    first_timeout   seconds   the same for the first two steps, in which kernels are compiled, and at the end

    What is None keeps its value, at first 20 and 600 seconds.  The ranks of a machine divide its cores: kernels run on
    at most cores / ranks threads, until set_num_threads says otherwise.  Ranks that have not called manual_seed
    continue with the seed of rank 0.  An error that a rank does not catch is printed with the rank and the step, and
    ends all ranks.  A second call only changes the times.
    Raises   DeviceError       mpi4py or its MPI library is missing; the launcher belongs to another MPI; or, if
                               required, there is no launcher.  The message has the commands that help
             ValidationError   a time is not above 0
    Example
    >>> from minigrad import distributed
    >>> distributed.init()
    >>> distributed.get_rank(), distributed.get_world_size()
    (0, 1)
    """
    group = current_group()
    for name, seconds in {"timeout": timeout, "first_timeout": first_timeout}.items():
        if seconds is not None:
            number_in_range("init", name, seconds, 1e-3)
            setattr(group, name, seconds)
    launched = launched_size()
    if launched is None and required:
        raise DeviceError(f"init: no MPI launcher started this program; {_advice()}")
    if launched is not None and not group.is_initialized:
        _join(group, _import_mpi(), launched)
    group.is_initialized = True


def launched_size() -> int | None:
    """Return the number of ranks that an MPI launcher says it has started; None without a launcher."""
    return next((int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdigit()), None)


def launch_command(ranks: int = 2) -> str:
    """Return the command that starts this program on several ranks."""
    return shlex.join(["mpiexec", "-n", str(ranks), "python", *sys.orig_argv[1:]])


def _advice() -> str:
    return f"pip install mpi4py mpich, then start it with: {launch_command()}"


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise DeviceError(f"init: an MPI launcher started this program, but {error}; {_advice()}") from None
    return MPI


def _join(group: Group, mpi: Any, launched: int) -> None:
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
    group.mpi, group.comm, group.rank, group.size = mpi, world.Dup(), world.rank, world.size
    group.end_comm = world.Dup()
    machine = world.Split_type(mpi.COMM_TYPE_SHARED)
    group.local_rank = machine.rank
    set_num_threads(min(get_num_threads(), _share_of_cores(machine)))
    machine.Free()
    watch()
    facts = gather(group, (os.getpid(), platform.node(), current_stream().seed))
    if group.rank == 0:
        listed = ", ".join(f"{rank}: {pid} on {name}" for rank, (pid, name, _) in enumerate(facts))
        print(f"minigrad: {group.size} ranks, with their processes: {listed}", file=sys.stderr, flush=True)
    if not is_seeded():
        replace_stream(Stream(facts[0][2]))


def _share_of_cores(machine: Any) -> int:
    """The number of cores for each rank of this machine, 1 or more."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set().union(*machine.allgather(own))
    return max(1, len(cores) // machine.size)
