"""Joins: one launch in place of several, because a GPU waits a microsecond or two between launches.

Side by side: independent launches of few blocks, such as the gradients of a layer, become one launch.  cuda.blockIdx.z
says which of the kernels a block runs.

One after the other: neighbouring launches of one block each, such as those of a loss, become one launch.  All threads
of the block wait between the kernels, so each reads what the one before has written.

Each combination of kernels is compiled once.  So only kernels that declare `beside` or `shared` are joined, see Kernel.

The results are the same to the last bit, because each block does what it did before.
"""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from ..program import Launch
from ..source import define_function
from .driver import MAX_WORDS, cuda, helper
from .gpu import current_gpu
from .step import Step

MAX_SHARED = 48 * 1024  # bytes of shared memory of a launch
BLOCKS = 8  # of a launch, for each multiprocessor: more are busy long enough by themselves


def join_launches(launches: list[Launch]) -> list[Launch]:
    """The launches, of which those that can be joined are one."""
    groups: list[list[Step]] = []
    for step in map(Step, launches):
        group = _find_group(step, groups)
        if group is None:
            groups.append([step])
        else:
            group.append(step)
    return _join_neighbours([_join_side_by_side(group) for group in groups])


def _find_group(step: Step, groups: list[list[Step]]) -> list[Step] | None:
    """The launches beside which a later one can run, if none in between must come before it."""
    if not step.kernel.beside:
        return None
    for group in reversed(groups):
        if any(member.must_precede(step) for member in group):
            return None
        if _can_run_beside([*group, step]):
            return group
    return None


def _can_run_beside(steps: list[Step]) -> bool:
    blocks = prod(_joint_grid([step.prepared for step in steps]))
    small = blocks <= BLOCKS * current_gpu().multiprocessors
    return small and all(step.kernel.beside for step in steps) and _fit_together(steps)


def _fit_together(steps: list[Step]) -> bool:
    """Whether one launch can have the threads, the shared memory and the arguments of several."""
    sizes = [max(memory.dtype.itemsize for memory in step.written) for step in steps]
    shared = sum(step.kernel.shared * size for step, size in zip(steps, sizes, strict=True))
    arguments = sum(len(step.prepared.packed) + 16 for step in steps)
    same_block = len({step.prepared.block for step in steps}) == 1
    return same_block and shared <= MAX_SHARED and arguments <= 8 * MAX_WORDS


def _joint_grid(launches: Sequence[Any]) -> tuple[int, int, int]:
    across, down = (max(launch.grid[axis] for launch in launches) for axis in (0, 1))
    return across, down, len(launches)


def _join_side_by_side(steps: list[Step]) -> Launch:
    if len(steps) == 1:
        return steps[0].launch
    launches = [step.prepared for step in steps]
    grids = [size for launch in launches for size in launch.grid[:2]]
    return _join(steps, _side_by_side_kernel(_kernels(steps)), _joint_grid(launches), grids)


def _join_neighbours(launches: list[Launch]) -> list[Launch]:
    """The launches, of which neighbours of one block are one."""
    runs: list[list[Step]] = []
    for step in map(Step, launches):
        if runs and _can_follow(runs[-1], step):
            runs[-1].append(step)
        else:
            runs.append([step])
    return [run[0].launch if len(run) == 1 else _join(run, _sequence_kernel(_kernels(run)), (1, 1, 1)) for run in runs]


def _can_follow(run: list[Step], step: Step) -> bool:
    """Whether a launch can run after others in the same block."""
    steps = [*run, step]
    alone = all(step.kernel.shared is not None and prod(step.prepared.grid) == 1 for step in steps)
    return alone and _fit_together(steps)


def _kernels(steps: list[Step]) -> tuple[Any, ...]:
    return tuple([step.kernel for step in steps])


def _join(steps: list[Step], kernel: Any, grid: tuple[int, int, int], numbers: Sequence[int] = ()) -> Launch:
    """One launch of a kernel that takes the arguments of all steps and then the numbers."""
    first = steps[0]
    kinds = (*[kind for step in steps for kind in step.kinds], *[np.dtype(np.int64)] * len(numbers))
    packed = b"".join([step.prepared.packed for step in steps]) + b"".join([n.to_bytes(8, "little") for n in numbers])
    compiled = kernel.compiled.get(kinds) or kernel.prepare(kinds)
    firsts = [0, *accumulate(len(step.words) for step in steps)]
    arguments = tuple([use for step, at in zip(steps, firsts, strict=False) for use in step.uses_from(at)])
    prepared = first.prepared._replace(compiled=compiled, grid=grid, packed=packed)
    return first.launch._replace(kernel=kernel, address=prepared, arguments=arguments)


@cache
def _side_by_side_kernel(kernels: tuple[Any, ...]) -> Any:
    """A kernel whose blocks run one of several kernels each; it takes their arguments, and two sizes of each grid."""
    lines, sizes = [], []
    for number, call in enumerate(_calls(kernels)):
        sizes += [f"across{number}", f"down{number}"]
        lines += [
            f"    if cuda.blockIdx.z == {number}:",
            f"        if cuda.blockIdx.x < across{number} and cuda.blockIdx.y < down{number}:",
            f"            {call}",
        ]
    return _define(kernels, "&", lines, sizes)


@cache
def _sequence_kernel(kernels: tuple[Any, ...]) -> Any:
    """A kernel whose block runs several kernels, one after the other; it takes their arguments."""
    return _define(kernels, ";", [f"    {call}\n    cuda.syncthreads()" for call in _calls(kernels)])


def _names(kernels: tuple[Any, ...]) -> list[list[str]]:
    """For each kernel the names of its arguments in a joint kernel."""
    return [[f"a{number}_{i}" for i in range(len(kernel.parameters))] for number, kernel in enumerate(kernels)]


def _calls(kernels: tuple[Any, ...]) -> list[str]:
    """For each kernel the text that calls it."""
    return [f"body{number}({', '.join(names)})" for number, names in enumerate(_names(kernels))]


def _define(kernels: tuple[Any, ...], sign: str, lines: list[str], sizes: Sequence[str] = ()) -> Any:
    """A joint kernel."""
    parameters = [name for own in _names(kernels) for name in own]
    scope = {f"body{number}": helper(kernel.function) for number, kernel in enumerate(kernels)}
    text = "\n".join([f"def kernel({', '.join([*parameters, *sizes])}):", *lines])
    return kernels[0].derive(
        define_function(text, **scope, cuda=cuda, __name__=__name__),
        sign.join([kernel.name.removeprefix("cuda.") for kernel in kernels]),
        bounds=min([kernel.bounds for kernel in kernels if kernel.bounds], key=lambda bound: bound[1], default=None),
    )
