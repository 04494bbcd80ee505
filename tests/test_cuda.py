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


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason='needs the compiler: pip install -e ".[cuda]"'
)
@pytest.mark.parametrize("capability", ["8.0", "9.0"])
def test_every_cuda_kernel_compiles_without_spills(capability, tmp_path):
    text = run_python("compiled_for_cuda.py", capability, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert int(re.search(r"(\d+) kernels compiled", text)[1]) > 100


@pytest.mark.skipif(mg.cuda.is_available(), reason="there is a GPU")
def test_cuda_device_without_a_gpu_says_what_is_missing():
    parts = "Python package|NVIDIA's driver|an NVIDIA GPU"
    with pytest.raises(DeviceError, match=f"^device 'cuda': looked for (the )?({parts}).*: (it|the driver) is "):
        mg.ones(2).cuda()
    assert mg.cuda.device_count() == 0
    for function in (mg.cuda.synchronize, mg.cuda.memory_stats, mg.cuda.report, mg.cuda.get_device_name):
        with pytest.raises(DeviceError, match="^device 'cuda': looked for"):
            function()
