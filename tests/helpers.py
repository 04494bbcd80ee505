"""Helpers that several test files use."""

import gc
import importlib
import os
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

from minigrad import ops
from minigrad.ops.op import Dispatch
from minigrad.runtime.kernel import Kernel

DEVICES = ("cpu", "numpy")
ROOT = Path(__file__).parents[1]

# a short program that compiles a kernel, runs it on all threads, and prints 200000.0
DOUBLE_AND_SUM = "import minigrad as mg; print((mg.ones(100_000) * 2).sum().item())"


def run_python(code, **environment):
    """Run code in a new Python process with additional environment variables; return the words that it prints."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def error_of_python(code, **environment):
    """Run code that must fail in a new Python process; return the base class, class and message of its error."""
    text = f"try:\n{textwrap.indent(textwrap.dedent(code), '    ')}\nexcept Exception as error:\n"
    text += "    print(type(error).__mro__[1].__name__, type(error).__name__, error)"
    return " ".join(run_python(text, **environment))


def import_operations():
    """Import every module of minigrad.ops, without those for CUDA, which need a GPU."""
    for module in pkgutil.iter_modules(ops.__path__, "minigrad.ops."):
        if not module.ispkg:
            importlib.import_module(module.name)


def find_kernels():
    """Return every kernel of device cpu, by name."""
    import_operations()
    return {
        kernel.name: kernel
        for kernel in gc.get_objects()
        if isinstance(kernel, Kernel) and kernel.source.__module__.startswith("minigrad.")
    }


def find_dispatches():
    """Return every Dispatch, the implementations of one kernel by backend, by name."""
    import_operations()
    return {dispatch.name: dispatch for dispatch in gc.get_objects() if type(dispatch) is Dispatch}
