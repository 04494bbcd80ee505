"""Programs on the GPU: the launches of a recording, captured as a CUDA graph and replayed.

While a function is recorded, its memory comes from the recording's own pool.  Later launches reuse what earlier ones
freed, in the same order in every replay, so the addresses in all launches stay valid.  A recording holds launches with
packed arguments.  Some are combined, see epilogue.py and joining.py.  The capture launches them again, on a separate
stream.

Calls of Python functions come first.  They send numbers that change with each replay, such as dropout keys and the
settings of optimisers, into memory that the recording's pool does not reuse.
"""

import os
from collections.abc import Sequence
from typing import Any

from ..memory import copy
from ..program import Launch
from .epilogue import add_epilogues
from .gpu import current_gpu
from .joining import join_launches


class CudaProgram:
    """A recording that can be replayed on other inputs.

    recording           the recorded steps; emptied
    inputs              the arrays that the launches read; each replay copies its inputs into them
    readable_in_place   ignored: all inputs are copied
    """

    def __init__(self, recording: Any, inputs: list[Any], readable_in_place: list[bool]):
        self.inputs, self.pool, self.kept = inputs, recording.memory, recording.kept
        self.host_calls = [step for step in recording.steps if not isinstance(step, Launch)]
        launches = [step for step in recording.steps if isinstance(step, Launch)]
        self.launches = join_launches(add_epilogues(launches))
        recording.steps.clear()
        self.process = os.getpid()
        self.graph = current_gpu().capture_graph(
            lambda stream: [step.address.enqueue(stream) for step in self.launches]
        )

    def __call__(self, inputs: Sequence[Any]) -> None:
        """Run on inputs of the same shapes, strides and dtypes; by one thread at a time."""
        for target, source in zip(self.inputs, inputs, strict=True):
            copy(target, source)
        for function, arguments in self.host_calls:
            function(*arguments)
        current_gpu().launch_graph(self.graph)

    def __del__(self) -> None:
        # current_gpu is None while Python exits; a forked process has no graph to destroy
        if hasattr(self, "graph") and current_gpu is not None and os.getpid() == self.process:
            current_gpu().destroy_graph(self.graph)
