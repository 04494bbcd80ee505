"""What holds for every test: one Hypothesis profile, one seed, all threads."""

import os

import pytest
from hypothesis import settings

import minigrad as mg

collect_ignore = ["compiled_for_cuda.py"]  # a script of test_cuda.py
if not mg.cuda.is_available():
    collect_ignore.append("on_cuda.py")  # which test_cuda.py runs in the simulator

settings.register_profile(
    "minigrad",
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=int(os.environ.get("MINIGRAD_EXAMPLES", "25")),
)
settings.load_profile("minigrad")


@pytest.fixture(autouse=True)
def _same_start():
    """Every test draws the same random numbers, and leaves the number of threads as it found it."""
    mg.manual_seed(0)
    threads = mg.get_num_threads()
    yield
    mg.set_num_threads(threads)


@pytest.fixture
def ieee():
    """Denormal numbers are computed with, not taken for 0."""
    mg.set_flush_denormal(False)
    yield
    mg.set_flush_denormal(True)
