"""Programs on the GPU: what a function launched, noted while it ran, captured as CUDA graphs and replayed.

While a function is recorded its memory comes from a pool of the recording: what is freed on the way is given out again,
always in the same order, so the addresses of all launches stay right for every replay.  What is noted are launches with
packed arguments; capturing orders them once more, on a stream of its own.  So nothing can go wrong inside a capture
that did not go wrong before it.

Calls of `host` send numbers that Python works out anew for every replay: keys of dropout, settings of optimisers.  They
come first, into memory that the pool of the recording does not give out.
"""

from collections.abc import Sequence
from typing import Any

from ..memory import copy
from ..program import Launch
from . import driver
from .machine import machine


class CudaProgram:
    """A recording, to be run again on other inputs.

    recording   what was noted; emptied
    inputs      the arrays that stood for the inputs meanwhile, into which new ones are copied
    """

    def __init__(self, recording: Any, inputs: list[Any], readable_in_place: list[bool]):
        self.inputs, self.pool, self.kept = inputs, recording.memory, recording.kept
        self.before = [step for step in recording.steps if not isinstance(step, Launch)]
        self.launches = [step for step in recording.steps if isinstance(step, Launch)]
        recording.steps.clear()
        self.graph = machine().capture(lambda stream: [step.address.on(stream) for step in self.launches])

    def __call__(self, inputs: Sequence[Any]) -> None:
        """Run on inputs of the same shapes, strides and dtypes; not twice at once."""
        for mine, given in zip(self.inputs, inputs, strict=True):
            copy(mine, given)
        for function, arguments in self.before:
            function(*arguments)
        machine().replay(self.graph)

    def __del__(self) -> None:
        if hasattr(self, "graph") and driver is not None:  # else Python is ending
            driver.call("cuGraphExecDestroy", self.graph)
