"""Compiling kernels in advance."""

import os
import signal
import sys
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

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
    if jobs:
        _compile([threads._get_executor, *jobs.values()], _count_workers())
    return len(jobs)


@contextmanager
def compile_together(step: Callable[[], object]) -> Iterator[None]:
    """Inside `with`, at the first kernel that is missing, compile all kernels that `step` launches, on all cores.

    step   is called without running its kernels; if it fails, those that it has launched by then are compiled
    """
    before = threads.local.compile_ahead
    threads.local.compile_ahead = partial(_compile_kernels_of, step)
    try:
        yield
    finally:
        threads.local.compile_ahead = before


def _compile_kernels_of(step: Callable[[], object]) -> None:
    if _count_workers() == 1:
        return
    with collect_missing_kernels() as jobs, suppress(Exception):
        step()
    if len(jobs) > 1:
        with suppress(OSError):  # no pipe: then each kernel is compiled where it is launched
            _compile([threads._get_executor, *jobs.values()], _count_workers())


def _count_workers() -> int:
    """The number of processes that can compile at the same time: on Linux one for each core of this process.

    It is 1 if there is no cache folder, or if there are other Python threads: a fork could find their locks held.  The
    thread of a tqdm bar does not count, because no bar is drawn in the children.
    """
    others = [thread for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"][1:]
    if sys.platform != "linux" or cache.folder() is None or others:
        return 1
    return len(os.sched_getaffinity(0))


def _compile(jobs: Sequence[Callable[[], object]], workers: int) -> None:
    """Run all jobs in some processes, with a progress bar.

    The others leave their kernels in the cache.  This process runs all jobs: it loads what it does not compile itself.
    """
    from tqdm import tqdm  # imported here, because most programs have nothing to compile

    stored = f"; they will be stored in {cache.folder()}" if cache.folder() else ""
    print(f"compiling {len(jobs) - 1} kernels for this machine{stored}", file=sys.stderr, flush=True)
    start, workers = time.perf_counter(), min(workers, len(jobs))
    waiting, source = os.pipe()  # the numbers of the jobs that no process has taken
    os.write(source, array("H", range(len(jobs))).tobytes())
    os.close(source)
    children: list[int] = []
    try:
        with suppress(OSError):  # the system has no room for more processes
            for _ in range(1, workers):
                children.append(_fork(jobs, waiting))
        with tqdm(total=len(jobs), unit=" kernels", leave=False) as bar:
            for number in _take_jobs(jobs, waiting):
                bar.n = number  # jobs are taken in order
                bar.refresh()
    except BaseException:
        for child in children:
            os.kill(child, signal.SIGTERM)
        raise
    finally:
        os.close(waiting)
        for child in children:
            with suppress(ChildProcessError):  # the program ignores the signal SIGCHLD
                os.waitpid(child, 0)
    for job in jobs:
        job()
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def _take_jobs(jobs: Sequence[Callable[[], object]], waiting: int) -> Iterator[int]:
    """Run jobs that are waiting, until there are none; yield the number of each after it."""
    while taken := os.read(waiting, 2):
        number = array("H", taken)[0]
        jobs[number]()
        yield number + 1


def _fork(jobs: Sequence[Callable[[], object]], waiting: int) -> int:
    """Run jobs that are waiting in a child of this process; return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which belong to libraries here
        child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # not the program's handlers
            signal.signal(number, signal.SIG_DFL)
        for _ in _take_jobs(jobs, waiting):
            pass
    finally:
        os._exit(0)  # without the parent's clean-up
