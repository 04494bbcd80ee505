"""DistributedDataParallel: each rank trains on samples of its own, with the mean of all gradients."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from .. import streams
from ..checks import type_with_article
from ..errors import DtypeError, StateError
from ..nn.module import Module
from ..nn.parameter import Uninitialized
from .agreement import expect_agreement
from .collectives import broadcast
from .group import Group, current_group
from .reducer import Reducer


class DistributedDataParallel(Module):
    """A model that several ranks train together; each calls it with samples of its own.

    module              the model; it keeps its parameters, which have the prefix "module." here.  Save `model.module`
    device_ids, output_device, process_group, find_unused_parameters, gradient_as_bucket_view, static_graph
                        without effect: PyTorch's scripts give them
    broadcast_buffers   whether all ranks take the buffers of rank 0, after every backward pass
    bucket_cap_mb       MiB   gradients that are sent together; None for an eighth of all, 64 KiB to 25 MiB

    The constructor compares the ranks, and sends the parameters and buffers of rank 0 to all others.  Then the random
    numbers of each rank, as for dropout, follow from the seed and the rank.

    backward() leaves in .grad the mean over all ranks.  It is summed in the order of the ranks, so N ranks learn, to
    the last bit, what one process learns that adds up the gradients of N batches and divides them by N.  Gradients are
    sent while others are computed, if the step is recorded by mg.graph; in a plain loop, where the gradients of the
    model are one replay, they are sent after it.  A parameter that the backward pass of a rank does not reach counts as
    0 there; one that no rank reaches keeps its .grad.

    With one rank nothing is sent.  A deep copy is one of `module` alone.  On "cuda", gradients are copied to the host,
    which mg.graph cannot record.
    Raises   RankError         the versions, models or seeds of the ranks differ; the message names them
             StateError        the model is lazy and has no weights yet, or no parameter requires a gradient
             DtypeError        module is no Module
             DivergenceError   (in backward) a gradient of one rank has a nan; the message names parameter and rank
    Source   S. Li et al., "PyTorch Distributed: experiences on accelerating data parallel training", 2020
    Example
    >>> import minigrad as mg
    >>> from minigrad import distributed, nn
    >>> distributed.init()
    >>> model = DistributedDataParallel(nn.Linear(3, 2))
    >>> model(mg.ones(4, 3)).sum().backward()
    >>> model.module.bias.grad
    tensor([4., 4.])
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool = True, process_group: Any = None, bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False,
    ):  # fmt: skip
        super().__init__()
        if not isinstance(module, Module):
            raise DtypeError(f"DistributedDataParallel: module is {type_with_article(module)}, expected a Module")
        self.module, self.broadcast_buffers, self.require_backward_grad_sync = module, broadcast_buffers, True
        named = {name: p for name, p in module.named_parameters() if _is_ready(p) and p.requires_grad}
        if not named:
            raise StateError(
                "DistributedDataParallel: no parameter of the model requires a gradient; use it without the wrapper"
            )
        group = current_group()
        self._reducer: Any = None
        if group.size > 1:
            _compare(group, module)
            for tensor in [*module.parameters(), *module.buffers()]:
                broadcast(tensor)
            _take_own_stream(group)
            full = None if bucket_cap_mb is None else int(bucket_cap_mb * 2**20)
            self._reducer = Reducer(group, self, list(named), list(named.values()), full)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def shared_buffers(self) -> list[Any]:
        """The buffers that all ranks take from rank 0."""
        return list(self.module.buffers()) if self.broadcast_buffers else []

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, backward() adds this rank's gradients to .grad; the next one outside averages their sums.

        Example
        >>> import minigrad as mg
        >>> from minigrad import distributed, nn
        >>> model = distributed.DistributedDataParallel(nn.Linear(3, 2))
        >>> with model.no_sync():
        ...     model(mg.ones(4, 3)).sum().backward()
        >>> model(mg.ones(4, 3)).sum().backward()
        >>> model.module.bias.grad
        tensor([8., 8.])
        """
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self.module, memo)


def _is_ready(param: Any) -> bool:
    if isinstance(param, Uninitialized):
        raise StateError(
            "DistributedDataParallel: a lazy layer has no weights yet; call the model on a batch before it is wrapped"
        )
    return True


def _has_own_stream(group: Group) -> bool:
    """Whether the random numbers already follow from the rank, also after their state was set back."""
    return group.own_stream is not None and streams.current_stream().seed == group.own_stream.seed


def _compare(group: Group, module: Module) -> None:
    """Refuse ranks with other versions, models or seeds."""
    tensors = {name: (x.shape, str(x.dtype), x.requires_grad) for name, x in module._named_tensors()}
    expect_agreement(
        "DistributedDataParallel",
        versions={"minigrad": _hash_sources(), "numpy": np.__version__},
        model=type(module).__name__,
        tensor=tensors,
        seed=None if _has_own_stream(group) else streams.current_stream().seed,
    )


def _hash_sources() -> str:
    """A hash of the program text of minigrad, which tells more than its version number."""
    root = Path(__file__).parents[1]
    texts = [path.read_bytes() for path in sorted(root.glob("**/*.py"))]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def _take_own_stream(group: Group) -> None:
    """Let random numbers follow from the seed and the rank, unless they already do."""
    if not _has_own_stream(group):
        group.own_stream = streams.Stream(streams.derive_seed(), group.rank)
        streams.replace_stream(group.own_stream)
