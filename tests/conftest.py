"""Settings for every test: the Hypothesis profile, the random seeds, the number of threads."""

import functools
import os

import pytest
from hypothesis import settings

import minigrad as mg
from minigrad.runtime.kernel import Kernel

collect_ignore = ["compiled_for_cuda.py"]  # test_cuda.py runs it
if not mg.cuda.is_available():
    collect_ignore.append("on_cuda.py")  # test_cuda.py runs it in the simulator

# tests that read the machine code of a kernel use the code that other tests run
Kernel._compile = functools.cache(Kernel._compile)

settings.register_profile(
    "minigrad",
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=int(os.environ.get("MINIGRAD_EXAMPLES", "25")),
)
settings.load_profile("minigrad")


@functools.cache
def _first_state(generator):
    """The state in which a file left its random generator when it was imported."""
    return generator.bit_generator.state


@pytest.fixture(autouse=True)
def _reset_seed_and_threads(request):
    """Set the random seed, and that of the file's RNG, before every test, so that no test depends on which ran before;
    restore the number of threads after it."""
    mg.manual_seed(0)
    generator = getattr(getattr(request.node, "module", None), "RNG", None)
    if generator is not None:
        generator.bit_generator.state = _first_state(generator)
    threads = mg.get_num_threads()
    yield
    mg.set_num_threads(threads)


@pytest.fixture
def ieee():
    """Compute with denormal numbers during the test; the default is to flush them to 0."""
    mg.set_flush_denormal(False)
    yield
    mg.set_flush_denormal(True)
