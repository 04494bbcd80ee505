"""Helpers that several test files use."""

import gc
import importlib.util
import os
import pkgutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
from cases import leaf

import minigrad as mg
from minigrad import ops
from minigrad.ops.op import Dispatch
from minigrad.runtime.elementwise import Elementwise
from minigrad.runtime.kernel import Kernel

DEVICES = ("cpu", "numpy")
TOLERANCES = {"float32": 3e-6, "float64": 1e-13}  # share of the largest number, for sums of some dozen terms
ROOT = Path(__file__).parents[1]

# a short program that compiles a kernel, runs it on all threads, and prints 200000.0
DOUBLE_AND_SUM = "import minigrad as mg; print((mg.ones(100_000) * 2).sum().item())"


def process_environment(**variables):
    """Return environment variables with which a new Python process imports the modules that this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **variables}


def run_python(code, **variables):
    """Run code in a new Python process with additional environment variables; return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        text=True,
        env=process_environment(**variables),
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def error_of_python(code, **variables):
    """Run code that must fail in a new Python process; return the base class, class and message of its error."""
    text = f"try:\n{textwrap.indent(textwrap.dedent(code), '    ')}\nexcept Exception as error:\n"
    text += "    print(type(error).__mro__[1].__name__, type(error).__name__, error)"
    return " ".join(run_python(text, **variables))


def load_example(name):
    """Return a script of the folder examples/ as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run_in_threads(function, *arguments):
    """Call function(argument) for every argument at the same time, each in its own thread."""
    workers = [threading.Thread(target=function, args=(argument,)) for argument in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def import_operations():
    """Import every module of minigrad.ops, without those for CUDA, which need a GPU."""
    for module in pkgutil.iter_modules(ops.__path__, "minigrad.ops."):
        if not module.ispkg:
            importlib.import_module(module.name)


def find_kernels():
    """Return every kernel of device cpu, by name."""
    import_operations()
    for implementation in gc.get_objects():
        if isinstance(implementation, Elementwise):
            implementation.kernel  # noqa: B018 - made at its first use
    return {
        kernel.name: kernel
        for kernel in gc.get_objects()
        if isinstance(kernel, Kernel) and kernel.module.startswith("minigrad.")
    }


def find_dispatches():
    """Return every Dispatch, the implementations of one kernel by backend, by name."""
    import_operations()
    return {dispatch.name: dispatch for dispatch in gc.get_objects() if isinstance(dispatch, Dispatch)}


# ---- test cases: values and gradients


def parameter(*numbers, dtype=None):
    """Return a leaf tensor of these numbers that requires a gradient."""
    return mg.tensor(list(numbers), dtype, requires_grad=True)


def random_gradient(shape, seed=1):
    """Return a random gradient with respect to a result of this shape, as an array."""
    return np.asarray(np.random.default_rng(seed).normal(size=shape))


def results(call, dtype, device):
    """Return the value of a call and the gradients with respect to its inputs, as arrays."""
    leaves = call.leaves(dtype, device)
    out = call.run(*leaves)
    out.backward(mg.tensor(random_gradient(out.shape), dtype=out.dtype, device=device))
    assert out.device == device
    return [out.detach().numpy(), *[x.grad.numpy() for x in leaves]]


def assert_close(actual, expected, dtype, slack=1, note=""):
    """Check that arrays are equal up to slack * TOLERANCES[dtype], relative to their largest number or 1."""
    assert actual.shape == expected.shape, note
    assert actual.dtype == expected.dtype, note
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=slack * TOLERANCES[dtype] * scale, err_msg=str(note))


def with_weights(call):
    """Return the inputs of a call and random weights with the shape of its result."""
    return [*call.inputs, random_gradient(call.reference(*call.inputs).shape)]


def directional_derivative(leaves, directions):
    """Return the sum over all leaves of gradient * direction, as a tensor, and reset the gradients to None."""
    total = (leaves[-1] * 0.0).sum()  # so that the sum is in the graph even if every gradient is constant
    for x, direction in zip(leaves, directions, strict=True):
        if x.grad is not None:
            total = total + (x.grad * mg.as_tensor(direction, device=x.device)).sum()
        x.grad = None
    return total


def derivative(call, arrays, order, create_graph, device="cpu"):
    """Return the order-th derivative of (weights * result).sum() along random directions, and its leaves.

    arrays   the inputs of the call and, last, the weights, which are an input too; see `with_weights`
    order    1 or more; each further derivative has its own direction
    """
    leaves = [leaf(x, device=device) for x in arrays]
    directions = [[random_gradient(x.shape, 10 * i + seed) for seed, x in enumerate(arrays)] for i in range(order)]
    call.run(*leaves[:-1]).backward(leaves[-1], create_graph=create_graph or order > 1)
    total = directional_derivative(leaves, directions[0])
    for i in range(1, order):
        total.backward(create_graph=create_graph or i < order - 1)
        total = directional_derivative(leaves, directions[i])
    return total, leaves
