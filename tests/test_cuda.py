"""Device 'cuda' without a GPU: on_cuda.py passes in Numba's simulator, every kernel compiles to machine code without
spills, stack or float64, and a computer without a GPU gets a helpful error."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.errors import DeviceError

HERE = Path(__file__).parent


def run_python(*command, **variables):
    """Run Python with `command` in the folder of the tests, expect success, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *command], cwd=HERE, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.simulator
def test_everything_that_must_hold_on_a_gpu_holds_in_the_simulator():
    options = "-n", "auto", "-p", "no:cacheprovider", "-W", "error"
    text = run_python("-m", "pytest", "on_cuda.py", *options, NUMBA_ENABLE_CUDASIM="1")
    assert re.search(r"\d+ passed", text) and "skipped" not in text


needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason='needs the compiler: pip install -e ".[cuda]"'
)


@needs_compiler
@pytest.mark.parametrize(("arguments", "least"), [(("9.0",), 300), (("7.5", "large"), 60)])
def test_every_cuda_kernel_compiles_without_spills(arguments, least, tmp_path):
    text = run_python("compiled_for_cuda.py", *arguments, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert int(re.search(r"(\d+) kernels compiled", text)[1]) >= least


TWO_THREADS = """
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minigrad.runtime.cuda import driver
from minigrad.runtime.cuda.driver import cuda, helper
from numba.cuda import dispatcher

def compile_for(capability):
    @helper
    def double(x):
        return x * 2

    def double_kernel(x, n):
        if n:
            x[0] = double(x[0])

    text, _ = driver.compile_kernel(double_kernel, ((np.dtype("f4"), 1), np.dtype("i8")), capability)
    return re.search(r"\\.target sm_(\\d+)", text)[1]

before = dispatcher.get_current_device
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(compile_for, [(8, 0), (9, 0), (10, 0), (12, 0)] * 3))
assert found == ["80", "90", "100", "120"] * 3, found
assert dispatcher.get_current_device is before
assert hasattr(np, "row_stack") == (np.lib.NumpyVersion(np.__version__) < "2.5.0"), "minigrad changed NumPy"
"""


@needs_compiler
def test_threads_compile_at_once_for_several_gpus():
    run_python("-W", "ignore", "-c", TWO_THREADS)


@pytest.mark.skipif(mg.cuda.is_available(), reason="there is a GPU")
def test_cuda_device_without_a_gpu_says_what_is_missing():
    parts = "Python package|NVIDIA's driver|an NVIDIA GPU"
    with pytest.raises(DeviceError, match=f"^device 'cuda': looked for (the )?({parts}).*: (it|the driver) is "):
        mg.ones(2).cuda()
    assert mg.cuda.device_count() == 0
    for function in (mg.cuda.synchronize, mg.cuda.memory_stats, mg.cuda.report, mg.cuda.get_device_name):
        with pytest.raises(DeviceError, match="^device 'cuda': looked for"):
            function()
