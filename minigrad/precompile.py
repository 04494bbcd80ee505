"""Compiling kernels in advance."""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence

from .runtime import cache, threads
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
    start = time.perf_counter()
    _compile([threads._get_executor, *jobs.values()])
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return len(jobs)


def _compile(jobs: Sequence[Callable[[], object]]) -> None:
    """Run all jobs, with a progress bar; on Linux in one process per core.

    The others leave their kernels in the cache.  This process runs all jobs: it loads what it does not compile itself.
    """
    from tqdm import tqdm  # imported here, because most programs have nothing to compile

    can_fork = sys.platform == "linux" and cache.folder() is not None and threading.active_count() == 1
    workers = min(os.cpu_count() or 1, len(jobs)) if can_fork else 1
    children = [_fork(jobs[i::workers]) for i in range(1, workers)]
    with tqdm(total=len(jobs), unit=" kernels", leave=False) as bar:
        for job in jobs[::workers]:
            job()
            bar.update()
        for i, child in enumerate(children, 1):
            os.waitpid(child, 0)
            for job in jobs[i::workers]:
                job()
                bar.update()


def _fork(jobs: Sequence[Callable[[], object]]) -> int:
    """Run jobs in a child of this process; return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which belong to libraries here
        child = os.fork()
    if child:
        return child
    try:
        for job in jobs:
            job()
    finally:
        os._exit(0)  # without the parent's clean-up
