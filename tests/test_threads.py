"""Threads: launches from several threads, the number of threads, workers that sleep, settings of the environment."""

import ctypes
import importlib
import threading
import time

import numpy as np
import pytest
from helpers import DOUBLE_AND_SUM, error_of_python, run_in_threads, run_python

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.runtime import executor, threads
from minigrad.runtime.elementwise import Elementwise

conv2d = importlib.import_module("minigrad.ops.conv2d")
square_minus = Elementwise(lambda a, b: a * a - b)


def test_launches_from_several_threads_do_not_affect_each_other():
    """Kernels that are launched from several Python threads do not affect each other."""
    inputs = [np.arange(200_000, dtype=np.float32) + offset for offset in range(4)]
    expected = [np.empty_like(x) for x in inputs]
    for x, out in zip(inputs, expected, strict=True):
        square_minus(x, x, out)
    different = []

    def work(number):
        out = np.empty_like(inputs[number])
        for _ in range(30):
            square_minus(inputs[number], inputs[number], out)
            if not np.array_equal(out, expected[number]):
                different.append(number)

    run_in_threads(work, *range(4))
    assert not different


def test_set_num_threads_affects_every_python_thread():
    mg.set_num_threads(1)
    seen = []

    def note_number():
        mg.ones(3) * 2
        seen.append(mg.get_num_threads())

    worker = threading.Thread(target=note_number)
    worker.start()
    worker.join()
    assert seen == [1]


PROGRAM = """
    import numpy as np
    from minigrad.runtime import threads
    from minigrad.runtime.kernel import Array1, Memory, kernel
    @kernel
    def count(task, x: Array1, out: Memory):
        out[task] = out[task] + x[0]
    x, sizes = np.ones(1, np.float32), [1, 2, 3, 64, -5, 7, -1, 1000] * 20
    count(1, x, np.zeros(1, np.float32))
    arrays = [np.zeros(abs(size), np.float32) for size in sizes]
    address = count.compiled["f", None]
    program = b"".join(count.pack(5, address, n, id(x), id(a)) for n, a in zip(sizes, arrays, strict=True))
    for _ in range(50):
        threads.execute(program, len(program))
    print(threads.get_num_threads(), all((array == 50).all() for array in arrays))
"""


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_execute_runs_every_task_of_a_program_once_with_any_number_of_threads(number):
    """Also with more threads than cores, some of which start late."""
    assert run_python(PROGRAM, NUMBA_NUM_THREADS=str(number)) == [str(number), "True"]


LAUNCHES = """
    import threading
    import numpy as np
    import minigrad as mg
    x = mg.tensor(np.arange(100_000.0), dtype=mg.float32)
    expected, wrong, start = x.numpy() * 2, [], threading.Barrier({threads})
    def work():
        start.wait()
        for _ in range({times}):
            if not np.array_equal((x + x).numpy(), expected):
                wrong.append(1)
    workers = [threading.Thread(target=work) for _ in range({threads})]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    print(len(wrong))
"""


@pytest.mark.parametrize("number, times", [(2, 500), (12, 100)])
def test_the_first_launches_come_from_several_threads(number, times):
    """Also from more threads than there are slots for programs."""
    assert number != 12 or number > executor.SLOTS
    code = LAUNCHES.format(threads=number, times=times)
    assert run_python(code, NUMBA_NUM_THREADS="3") == ["0"]


def test_workers_sleep_when_there_is_nothing_to_run():
    x = mg.ones(300_000)
    for _ in range(3):
        assert (x + x).sum().item() == 600_000
        found = threads._get_executor()
        lines = [found.lines + i * executor.CACHE_LINE_BYTES for i in range(len(found.semaphores))]
        marks = [ctypes.c_int64.from_address(line + executor.ASLEEP) for line in lines]
        assert len(marks) == mg.get_num_threads() - 1
        for _ in range(10_000):
            if all(mark.value for mark in marks):
                break
            time.sleep(0.001)
        else:
            pytest.fail("a worker does not sleep")
    assert len(found.slots) == executor.SLOTS


@pytest.mark.parametrize(
    "name, value, kind, advice",
    [
        ("NUMBA_NUM_THREADS", "0", "ValidationError", "'0'; unset it, or use a whole number from 1 to 1024"),
        ("NUMBA_NUM_THREADS", "-2", "ValidationError", "'-2'; unset it"),
        ("NUMBA_NUM_THREADS", "abc", "ValidationError", "'abc'; unset it"),
        ("NUMBA_NUM_THREADS", "1000000", "ValidationError", "'1000000'; unset it"),
        ("NUMBA_DISABLE_JIT", "1", "DeviceError", "NUMBA_DISABLE_JIT is set"),
    ],
)
def test_invalid_environment_variables_of_numba_are_named(name, value, kind, advice):
    said = error_of_python(DOUBLE_AND_SUM, **{name: value})
    assert said.startswith(f"MinigradError {kind} ")
    assert name in said and advice in said


@pytest.mark.parametrize(
    "image, weight, padding", [((12, 176, 3, 3), (6, 176, 3, 3), 1), ((12, 128, 6, 6), (32, 128, 5, 5), 2)]
)
def test_sums_of_many_products_have_the_same_bits_recorded_and_on_any_number_of_threads(image, weight, padding):
    """A convolution is divided by the number of threads, but not its sums."""
    random = np.random.default_rng(0)
    x, w = (mg.tensor(random.normal(size=shape), dtype=mg.float32) for shape in (image, weight))
    recorded = mg.graph(lambda x: F.conv2d(x, w, padding=padding))
    results = set()
    for number in range(1, threads.numba.config.NUMBA_NUM_THREADS + 1):
        mg.set_num_threads(number)
        results |= {y.numpy().tobytes() for y in (F.conv2d(x, w, padding=padding), recorded(x), recorded(x))}
    assert len(results) == 1


def test_the_form_of_a_convolution_does_not_depend_on_the_number_of_threads():
    random = np.random.default_rng(0)
    for _ in range(60):
        (C, F, N, side, window), dtype = random.integers(1, (300, 40, 50, 20, 6)).tolist(), np.dtype("f4")
        pads = (window // 2,) * 4
        out = side + 2 * pads[0] - window + 1
        if out < 1:
            continue
        shapes = (C, side, side, N), (F, out, out, N), F, (window, window)
        settings = conv2d._forward_side, (1, 1), pads, (1, 1), 1, dtype
        plans = [conv2d._plan(*shapes, *settings, n, parallel) for n in (1, 2, 4, 16) for parallel in (False, True)]
        assert len({plan.sizes[3] > 1 for plan in plans}) == 1
