"""Compile kernels before they are needed, with a line that says so."""

import sys
import time
from collections.abc import Callable

from .runtime import cache
from .runtime.kernel import collect_missing_kernels


def warmup(step: Callable[[], object]) -> int:
    """Compile every kernel that `step` will launch and that is not on disk yet; return how many those were.

    step   runs without its kernels, so it computes nothing: give it a model and data of its own, never one in training

    Prints a line and a progress bar if there is something to compile, and nothing otherwise.
    Example
    >>> import minigrad as mg
    >>> count = mg.warmup(lambda: mg.relu(mg.zeros(4)))
    >>> mg.warmup(lambda: mg.relu(mg.zeros(4)))
    0
    """
    with collect_missing_kernels() as jobs:
        step()
    if not jobs:
        return 0
    print(
        f"compiling {len(jobs)} kernels for this machine, once: the next start finds them in {cache.folder()}"
        if cache.folder()
        else f"compiling {len(jobs)} kernels for this machine",
        file=sys.stderr,
        flush=True,
    )
    from tqdm import tqdm  # here, because few imports of minigrad come to this

    start = time.perf_counter()
    for job in tqdm(jobs.values(), unit=" kernels", leave=False):
        job()
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return len(jobs)
