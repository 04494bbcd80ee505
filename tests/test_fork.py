"""Forked processes compute on one thread and never hang."""

import os

import pytest
from helpers import run_python

FORKS = """
    import os, signal, sys, threading, time
    import numpy as np
    import minigrad as mg
    from minigrad.nn import functional as F

    def step(seed):
        random = np.random.default_rng(seed)
        x = mg.tensor(random.normal(size=(16, 3, 12, 12)), dtype=mg.float32, requires_grad=True)
        w = mg.tensor(random.normal(size=(8, 3, 3, 3)), dtype=mg.float32, requires_grad=True)
        y = (F.conv2d(x, w, padding=1).flatten(1) @ mg.ones(8 * 144, 64)).relu().sum()
        y.backward()
        return y.item(), w.grad.numpy().tobytes()

    def compute(seed):
        while not done:
            step(seed), mg.randn(2000), recorded(square)

    def child():
        mg.randn(5)
        return step(0) == expected and recorded(square).item() == 300**3 and mg.get_num_threads() == 1

    square, recorded = mg.ones(300, 300), mg.graph(lambda x: (x @ x).sum())
    recorded(square)
    expected, done, ends = step(0), False, []
    workers = [threading.Thread(target=compute, args=(seed,)) for seed in range(1, 5)]
    for worker in workers: worker.start()
    for _ in range(25):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # a child that hangs fails
            os._exit(0 if child() else 1)
        ends.append(os.waitpid(pid, 0)[1])
    done = True
    for worker in workers: worker.join()
    print("ends", *sorted(set(ends)))
"""
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@NEEDS_FORK
def test_fork_while_other_threads_compute():
    """Every child computes the same bits on one thread, and ends."""
    assert run_python(FORKS)[-2:] == ["ends", "0"]


POOL = """
    import multiprocessing, os
    import minigrad as mg
    x = mg.ones(100_000)
    (x + x).sum()
    def work(number):
        return (x * number).sum().item() == 100_000 * number, os.getpid()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, range(1, 9)).get(timeout=120)
    print(all(right for right, _ in found), len({process for _, process in found}) <= 2, (x + x)[1].item())
"""


@NEEDS_FORK
def test_a_pool_of_forked_processes_computes():
    """A pool would replace a worker that dies, for ever."""
    assert run_python(POOL)[-3:] == ["True", "True", "2.0"]


EARLY_FORK = """
    import os, signal, threading
    import minigrad as mg
    mg.set_num_threads(1)
    compiling = threading.Thread(target=lambda: (mg.rand(4) * 2 - 1).exp())
    if {compiling}: compiling.start()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        right = mg.tanh(mg.zeros(100_000)).sum().item() == 0
        os._exit(0 if right else 1)
    print(os.waitpid(pid, 0)[1])
    if {compiling}: compiling.join()
"""


@NEEDS_FORK
@pytest.mark.parametrize("compiling", [False, True], ids=["before the first kernel", "while one is compiled"])
def test_a_child_forked_before_or_during_the_first_compilation_computes(compiling, tmp_path):
    assert run_python(EARLY_FORK.format(compiling=compiling), MINIGRAD_CACHE_DIR=str(tmp_path)) == ["0"]


HELD = """
    import os, signal, threading, time
    from minigrad import streams, tensors
    from minigrad.datasets import folder
    from minigrad.runtime import cache, fork, threads

    lock, taken = {lock}, threading.Event()

    def hold():
        with lock:
            taken.set()
            time.sleep(0.5)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        with lock: os._exit(0)
    print(os.waitpid(pid, 0)[1])
    holder.join()
    with lock: print("free")
"""
LOCKS = [
    "cache.compiler_lock",
    "threads._start_lock",
    "tensors._adding",
    "streams._program.generator.bit_generator.lock",
    "fork.Lock()",
    "folder._Cache(100).lock",
]


@NEEDS_FORK
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_another_thread_holds_at_the_fork_is_free_in_the_child(lock):
    assert run_python(HELD.format(lock=lock)) == ["0", "free"]


def test_arrays_become_tensors_without_an_import():
    """A child cannot import what a thread of its parent was importing at the fork: the module is locked for ever."""
    code = """
        import sys
        import numpy as np
        import minigrad as mg
        before = set(sys.modules)
        mg.from_numpy(np.ones(3)), mg.tensor(np.ones(3)), mg.as_tensor(np.ones(3))
        print(sorted(set(sys.modules) - before))
    """
    assert run_python(code) == ["[]"]


@NEEDS_FORK
def test_set_num_threads_is_refused_in_a_forked_process():
    code = """
        import os
        import minigrad as mg
        mg.ones(3) + 1
        if not (pid := os.fork()):
            try:
                mg.set_num_threads(2)
            except mg.errors.ValidationError as error:
                os._exit(5 if "forked" in str(error) else 6)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run_python(code)[-1:] == ["5"]


@NEEDS_FORK
def test_cuda_is_refused_in_a_forked_process():
    code = """
        import os
        import minigrad as mg
        x = mg.ones(3, device="cuda")
        if not (pid := os.fork()):
            try:
                x + x
            except mg.errors.DeviceError as error:
                os._exit(5 if "forked" in str(error) else 6)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run_python(code, NUMBA_ENABLE_CUDASIM="1")[-1:] == ["5"]
