"""The reducer: it averages the gradients of a model over all ranks, while backward() still computes others.

A hook on each parameter notes that its gradient is complete.  When all gradients of a bucket are, their exchange
starts.  When the backward pass has ended, the other buckets start, and all means are awaited and written to .grad.

All this is done by host calls, see runtime/threads.py.  A recording of mg.graph has them between its kernels, and its
replays make them again: the recorded program is cut where buckets are complete.
"""

from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..creation import zeros_like
from ..errors import RankError
from ..runtime.threads import call_on_host, local
from ..tape import HookHandle, gradient_hooks, when_backward_ends
from .exchange import Bucket, SharedBuffers
from .group import Group

SMALLEST_BUCKET, LARGEST_BUCKET = 2**16, 25 * 2**20  # bytes
SMALLEST_LAST = 2**13  # bytes; the last buckets may be smaller, because nothing hides their exchange
WANTED_BUCKETS = 8  # more would start earlier, and cost more messages


class Reducer:
    """The gradients of a model, in buckets.

    model          the DistributedDataParallel
    buckets        in the order in which backward() is expected to complete them
    places         for each parameter, by id: its bucket, and its number there
    complete       for each bucket the gradients that the running backward pass has completed, by number
    started        for each bucket whether it has started in the running backward pass
    accumulated    for each bucket the numbers of parameters that got gradients inside no_sync()
    """

    def __init__(self, group: Group, model: Any, names: list[str], params: list[Any], bucket_bytes: int | None):
        self.group, self.model, comm = group, ref(model), group.comm.Dup()
        groups = split_into_buckets(params, bucket_bytes)
        self.buckets = [
            Bucket(group, comm, tag, [names[i] for i in numbers], [params[i] for i in numbers])
            for tag, numbers in enumerate(groups)
        ]
        self.places = {id(p): (b, i) for b, bucket in enumerate(self.buckets) for i, p in enumerate(bucket.params)}
        self.shared = SharedBuffers(group, comm, model.shared_buffers())
        self.complete: list[dict[int, Any]] = [{} for _ in self.buckets]
        self.accumulated: list[set[int]] = [set() for _ in self.buckets]
        self.started = [False] * len(self.buckets)
        self.order = np.zeros(1)  # an argument of all host calls, so that a recording keeps them in order
        for p in params:
            HookHandle(gradient_hooks(p, "complete"), self.note_gradient)

    # ---- during a backward pass

    def note_gradient(self, param: Any, gradient: Any) -> None:
        """The gradient of a parameter, an array, is complete; it is not yet in .grad."""
        model: Any = self.model()
        if model is None:  # the parameters live on without the DistributedDataParallel
            return
        local.observer.uses(model)
        b, i = self.places[id(param)]
        self.complete[b][i] = gradient
        if not model.require_backward_grad_sync:
            when_backward_ends(self.note_accumulated)
            return
        when_backward_ends(self.finish)
        params = self.buckets[b].params
        if len(self.complete[b]) == len(params) and not any(map(_has_gradient, params)):
            self._start(b, [self.complete[b][i] for i in range(len(params))])
        elif param.ndim > 1 and any(self.started):  # after a kernel that takes long enough for messages to arrive
            call_on_host(self._go_on, self.order)

    def _go_on(self, *_: Any) -> None:
        """Let the exchanges that are going on take their next step, if messages have arrived."""
        for bucket in self.buckets:
            bucket.go_on()

    def note_accumulated(self) -> None:
        """A backward pass inside no_sync() has ended."""
        call_on_host(self._add_to_accumulated, self._forget_complete(), self.order, self._gradients())

    def _forget_complete(self) -> list[set[int]]:
        """The numbers of the parameters that the backward pass has reached, which has ended."""
        reached, self.complete = [set(found) for found in self.complete], [{} for _ in self.buckets]
        return reached

    def _add_to_accumulated(self, reached: list[set[int]], *_: Any) -> None:
        for known, more in zip(self.accumulated, reached, strict=True):
            known |= more

    def _start(self, b: int, gradients: list[Any]) -> None:
        if not any(self.started):
            self._start_buffers()
        self.started[b] = True
        self.buckets[b].check_params()
        if self.buckets[b].device.type == "cuda":
            local.observer.refuse("averaging gradients on 'cuda'", "call the step without mg.graph")
        call_on_host(self._send, b, frozenset(self.complete[b]), self.order, gradients)

    def _send(self, b: int, complete: frozenset[int], order: Any, gradients: list[Any]) -> None:
        bucket, reached = self.buckets[b], complete | self.accumulated[b]
        if bucket.round:
            raise RankError(
                "DistributedDataParallel: a backward pass starts after one that failed while it exchanged gradients; "
                "start the job again"
            )
        self._go_on()
        hosts = [_on_host(p.device, g) for p, g in zip(bucket.params, gradients, strict=True)]
        bucket.start(hosts, [i in reached for i in range(len(hosts))])
        self.accumulated[b] = set()

    def _start_buffers(self) -> None:
        if self.shared.buffers:
            arrays = [b.array for b in self.shared.buffers]
            call_on_host(self._send_buffers, self.order, arrays)

    def _send_buffers(self, order: Any, arrays: list[Any]) -> None:
        devices = [b.device for b in self.shared.buffers]
        self.shared.start([_on_host(device, x) for device, x in zip(devices, arrays, strict=True)])

    # ---- at its end

    def finish(self) -> None:
        """Start what has not started, wait for all means, and write them to the gradients."""
        for b, bucket in enumerate(self.buckets):
            if not self.started[b]:
                self._start(b, [p._grad.array if _has_gradient(p) else None for p in bucket.params])
        reached = self._forget_complete()
        self.started = [False] * len(self.buckets)
        call_on_host(self._wait, self.order, self._gradients())
        used = [self._used(b, reached[b]) for b in range(len(self.buckets))]
        for bucket, numbers in zip(self.buckets, used, strict=True):
            for i in numbers:
                self._expect_gradient(bucket.params[i])
        call_on_host(self._write_means, used, self.order, self._gradients())
        self._take_buffers()

    def _wait(self, *_: Any) -> None:
        limit = self.group.timeout if self.group.step >= 2 else self.group.first_timeout
        for bucket in self.buckets:
            bucket.finish_first(limit)
        for bucket in self.buckets:
            bucket.finish(limit)
        self.group.step += 1

    def _used(self, b: int, reached: set[int]) -> list[int]:
        """The numbers of the parameters of a bucket that some rank's backward pass reached."""
        if not local.observer.computes:
            return sorted(reached)
        return np.flatnonzero(self.buckets[b].used).tolist()

    def _expect_gradient(self, param: Any) -> None:
        """Make a gradient for a parameter that only other ranks reached, and count a write to it."""
        if not _has_gradient(param):
            param.grad = zeros_like(param).detach()
        param._grad._storage.version += 1

    def _write_means(self, expected: list[list[int]], order: Any, gradients: list[list[Any]]) -> None:
        used = [self._used(b, set()) for b in range(len(self.buckets))]
        if used != expected:
            raise RankError(
                "DistributedDataParallel: other parameters get gradients than when mg.graph recorded this step; call "
                "the step without mg.graph, or let every rank use the same layers"
            )
        for bucket, numbers, arrays in zip(self.buckets, used, gradients, strict=True):
            for i in numbers:
                _overwrite(bucket.params[i].device, arrays[i], bucket.views[i])

    def _take_buffers(self) -> None:
        buffers = self.shared.buffers
        if not buffers:
            return
        for b in buffers:
            local.observer.uses(b)
            local.observer.writes(b)
        call_on_host(self._write_buffers, self.order, [b.array for b in buffers])
        for b in buffers:
            b._storage.version += 1

    def _write_buffers(self, order: Any, arrays: list[Any]) -> None:
        values = self.shared.finish(self.group.timeout)
        for buffer, array, value in zip(self.shared.buffers, arrays, values, strict=True):
            if self.group.rank:
                _overwrite(buffer.device, array, value)

    def _gradients(self) -> list[list[Any]]:
        return [[_array(p._grad) for p in bucket.params] for bucket in self.buckets]


def split_into_buckets(params: Sequence[Any], bucket_bytes: int | None = None) -> list[list[int]]:
    """The numbers of the parameters of each bucket, the last parameters first.

    bucket_bytes   a bucket is full when it has so many; None for a share of all bytes, at the end for half of the rest
    """
    rest = sum(map(_bytes, params))
    most = min(max(rest // WANTED_BUCKETS, SMALLEST_BUCKET), LARGEST_BUCKET)
    buckets: list[list[int]] = []
    open_buckets: dict[Any, list[int]] = {}  # by device and dtype
    for i in reversed(range(len(params))):
        kind = params[i].device, params[i].dtype
        if kind not in open_buckets:
            open_buckets[kind] = []
            buckets.append(open_buckets[kind])
        open_buckets[kind].append(i)
        size = sum(_bytes(params[k]) for k in open_buckets[kind])
        full = min(most, rest // 2) if bucket_bytes is None else bucket_bytes
        if size >= full and (bucket_bytes is not None or rest - size >= SMALLEST_LAST):
            del open_buckets[kind]
            rest -= size
    return buckets


def _bytes(param: Any) -> int:
    return param.numel() * param.dtype.itemsize


def _has_gradient(param: Any) -> bool:
    local.observer.read_grad(param)
    return param._grad is not None


def _array(gradient: Any) -> Any:
    return None if gradient is None else gradient.array


def _on_host(device: Any, array: Any) -> Any:
    return array if array is None or isinstance(array, np.ndarray) else device.to_host(array)


def _overwrite(device: Any, array: Any, values: np.ndarray) -> None:
    """Write host values to an array of any device."""
    if isinstance(array, np.ndarray):
        np.copyto(array, values)
    else:
        array.assign(device.from_host(values))
