"""Data-parallel training on several processes and machines, by MPI.

    from minigrad import distributed

    distributed.init()                                             # mpiexec -n 2 python train.py
    model = distributed.DistributedDataParallel(model)             # .grad is the mean over all ranks
    sampler = mg.data.DistributedSampler(train_set)                # each rank has samples of its own

A rank is one of these processes.  mpi4py and an MPI are needed where several are started: pip install mpi4py mpich.
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
