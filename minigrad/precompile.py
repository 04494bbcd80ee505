"""Compiling kernels in advance."""

import sys
import time
from collections.abc import Callable

from .runtime import cache
from .runtime.kernel import collect_missing_kernels


def warmup(step: Callable[[], object]) -> int:
    """Compile the kernels that `step` launches and that are not on disk; return their number.

    step   is called without running its kernels, so it computes nothing; give it a model and data that are not in use

    If there are kernels to compile, a line and a progress bar are printed.
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
    stored = f"; they will be stored in {cache.folder()}" if cache.folder() else ""
    print(f"compiling {len(jobs)} kernels for this machine{stored}", file=sys.stderr, flush=True)
    from tqdm import tqdm  # imported here, because most programs have nothing to compile

    start = time.perf_counter()
    for job in tqdm(jobs.values(), unit=" kernels", leave=False):
        job()
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return len(jobs)
