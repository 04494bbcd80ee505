"""The exchange of gradients: buckets of them, of which each rank gets the mean over all ranks.

A bucket is one flat vector, cut into as many slices as there are ranks.  In the first round each rank sends slice r to
rank r.  Rank r then has slice r of all ranks; it adds them in the order of the ranks and divides by their number.  In
the second round it sends the means to all others.  So each element is added by one rank only, all ranks get the same
bits, and these are the bits of one process that adds up the gradients of the ranks one after the other.

The messages are made once for each bucket, as MPI's persistent requests, and started again for every exchange.  MPI
sends them while kernels run; whatever it must do in between it does when the next bucket starts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DivergenceError, StateError
from ..ops.rank_mean import rank_mean_dispatch
from ..runtime.memory import allocate_on_host
from .group import Group
from .waiting import wait

SLICE_BYTES = 64  # slices are a multiple of a cache line, so that two ranks never write to the same one


class Bucket:
    """Gradients of one dtype that are exchanged together.

    params    tensors
    names     of the parameters, for messages
    views     for each parameter its part of the vector, in its shape
    used      for each parameter one element behind the gradients: 1 on a rank whose backward pass reached it, else 0;
              after the exchange their mean
    """

    def __init__(self, group: Group, comm: Any, tag: int, names: list[str], params: list[Any]):
        self.group, self.names, self.params = group, names, params
        self.device = params[0].device
        self.backend = "cpu" if self.device.type == "cuda" else self.device.type  # that computes means
        dtype, count = params[0].dtype, sum(p.numel() for p in params)
        unit = SLICE_BYTES // dtype.itemsize
        length = -(-(count + len(params)) // (group.size * unit)) * unit  # of a slice
        self.own = allocate_on_host((group.size, length), dtype)
        self.own[...] = 0
        self.received = allocate_on_host((group.size, length), dtype)
        flat = self.own.reshape(-1)
        ends = np.cumsum([p.numel() for p in params])
        parts = np.split(flat[:count], ends[:-1])
        self.views = [part.reshape(p.shape) for part, p in zip(parts, params, strict=True)]
        self.ends, self.used = ends, flat[count : count + len(params)]
        self._make_messages(comm, 2 * tag)
        self.round = 0  # of the exchange that is going on; 0 if there is none

    def _make_messages(self, comm: Any, tag: int) -> None:
        own, received, rank, others = self.own, self.received, self.group.rank, self.group.others()
        self.ranks = others * 2
        first = [comm.Recv_init(received[r], r, tag) for r in others]
        first += [comm.Send_init(own[r], r, tag) for r in others]
        second = [comm.Recv_init(own[r], r, tag + 1) for r in others]
        second += [comm.Send_init(own[rank], r, tag + 1) for r in others]
        self.rounds: Any = (None, first, second)

    def check_params(self) -> None:
        """Refuse parameters that were converted since."""
        for name, p in zip(self.names, self.params, strict=True):
            if p.dtype != self.own.dtype or p.device is not self.device:
                raise StateError(
                    f"DistributedDataParallel: {name} is now {p.dtype} on '{p.device}', but was {self.own.dtype} on "
                    f"'{self.device}' when the model was wrapped; convert the model before"
                )

    def start(self, gradients: Sequence[Any], reached: Sequence[bool]) -> None:
        """Send this rank's gradients.

        gradients   NumPy arrays; None for zeros
        reached     for each, whether the backward pass reached its parameter
        """
        for view, gradient in zip(self.views, gradients, strict=True):
            np.copyto(view, 0 if gradient is None else gradient)
        self.used[:] = reached
        self._start_round(1)

    def _start_round(self, number: int) -> None:
        self.round = number
        self.group.mpi.Prequest.Startall(self.rounds[number])

    def go_on(self) -> None:
        """Let MPI send what it can.  If the first round is complete, compute the means and start the second one."""
        if self.round and self.group.mpi.Request.Testall(self.rounds[self.round]) and self.round == 1:
            self._average()

    def _average(self) -> None:
        rank = self.group.rank
        mean = self.own[rank]
        self.received[rank] = mean
        rank_mean_dispatch[self.backend](self.received, self.group.size, mean)
        if np.isnan(mean.sum()):
            self._find_nan()
        self._start_round(2)

    def finish_first(self, limit: float) -> None:
        """Wait until the second round has started."""
        if self.round == 1:
            wait(self.group, self.rounds[1], self.ranks, self._what(), limit)
            self._average()

    def finish(self, limit: float) -> None:
        """Wait until the vector holds the means."""
        wait(self.group, self.rounds[2], self.ranks, self._what(), limit)
        self.round = 0

    def _what(self) -> str:
        return f"the gradients of {self.names[0]} to {self.names[-1]}"

    def _find_nan(self) -> None:
        """Raise an error that names the ranks and the parameter whose gradients have a nan."""
        with_nan = np.isnan(self.received)
        if with_nan.any():
            ranks = np.flatnonzero(with_nan.any(1))
            place = self.group.rank * self.own.shape[1] + int(np.flatnonzero(with_nan.any(0))[0])
            name = self.names[min(int(np.searchsorted(self.ends, place, side="right")), len(self.names) - 1)]
            raise DivergenceError(
                f"DistributedDataParallel: the gradient of {name} has a nan on rank {', '.join(map(str, ranks))} in "
                f"step {self.group.step}; lower the learning rate, or look at that rank's data"
            )


class SharedBuffers:
    """Buffers of a model, which all ranks take from rank 0 while gradients are exchanged.

    buffers   tensors on the host or the GPU
    """

    def __init__(self, group: Group, comm: Any, buffers: list[Any]):
        self.group, self.comm, self.buffers = group, comm, buffers
        ends = np.cumsum([b.numel() * b.dtype.itemsize for b in buffers])
        self.bytes = np.zeros(int(ends[-1]) if buffers else 0, np.uint8)
        parts = np.split(self.bytes, ends[:-1])
        self.parts = list(zip(parts, [b.dtype for b in buffers], [b.shape for b in buffers], strict=False))
        self.request: Any = None

    def start(self, values: Sequence[Any]) -> None:
        """Send the values of rank 0, NumPy arrays, to all others."""
        if self.group.rank == 0:
            for (part, _, _), value in zip(self.parts, values, strict=True):
                part[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        self.request = self.comm.Ibcast(self.bytes, 0)

    def finish(self, limit: float) -> list[np.ndarray]:
        """Wait for the values of rank 0, and return them."""
        wait(self.group, [self.request], [0], "the buffers of rank 0", limit)
        return [part.view(dtype).reshape(shape) for part, dtype, shape in self.parts]
