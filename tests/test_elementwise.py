"""Every activation, found by its declaration: both backends agree, first and second derivatives are right.

A new activation needs no test of its own for this: it is called by its public function in nn/functional/, with that
function's defaults.
"""

from functools import partial

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.ops.elementwise import activation
from minigrad.ops.op import OPS
from minigrad.runtime.math import const
from minigrad.tensors import apply

ACTIVATIONS = [name for name, operation in OPS.items() if operation.activation]
X = np.linspace(-8, 8, 641) + 1e-3 * np.sqrt(2)  # no point is a kink, and none lies closer than STEP to one
STEP = 1e-5
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30]


def public_function(name):
    return partial(F.gelu, approximate="tanh") if name == "gelu_tanh" else getattr(F, name)


def derivatives(name, x, device="cpu"):
    """Value, first and second derivative of a public function, element by element."""
    leaf = mg.tensor(x, device=device, requires_grad=True)
    value = public_function(name)(leaf)
    value.sum().backward(create_graph=True)
    first, leaf.grad = leaf.grad, None
    if first.requires_grad:
        first.sum().backward()
    second = leaf.grad if leaf.grad is not None else mg.zeros_like(leaf)
    return value.detach().numpy(), first.detach().numpy(), second.detach().numpy()


def test_activations_are_found():
    assert {"relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh"} <= set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_has_a_public_function_and_a_label(name):
    assert callable(public_function(name))
    assert OPS[name].activation.strip()
    assert OPS[name].elementwise


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_its_gradient_equal_the_reference(name, dtype):
    x = np.array([*X, *SPECIAL], dtype)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    for found, expected in zip(derivatives(name, x), derivatives(name, x, "numpy"), strict=True):
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activation_equal_central_differences(name, device):
    _, first, second = derivatives(name, X, device)
    (after, slope_after, _), (before, slope_before, _) = derivatives(name, X + STEP), derivatives(name, X - STEP)
    np.testing.assert_allclose(first, (after - before) / (2 * STEP), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(second, (slope_after - slope_before) / (2 * STEP), rtol=1e-6, atol=1e-8)


def test_a_declaration_gives_settings_derivatives_and_kernels():
    """x**2 where x exceeds `low`, and 0 elsewhere; the derivative depends on x, and the second one is 2."""
    try:
        squared_above = activation(
            "squared_above",
            "squared",
            formula=lambda x, low: x * x if x > low else const(0, x),
            backward=lambda g, x, low: const(2, x) * g * x if x > low else const(0, x),
            reference=lambda x, low: np.where(x > low, x * x, 0),
            reference_backward=lambda g, x, low: np.where(x > low, 2 * g * x, 0),
            second=lambda do, g, x, low: do.where(do.gt(x, low), do.mul(g, 2.0), 0.0),
        )
        for device in ("cpu", "numpy"):
            x = mg.tensor([-1.0, 1.0, 3.0], device=device, requires_grad=True)
            out = apply(squared_above, x, low=2.0)
            assert out.tolist() == [0, 0, 9]
            out.sum().backward(create_graph=True)
            assert x.grad.tolist() == [0, 0, 6]
            first, x.grad = x.grad, None
            (first * mg.tensor([1.0, 1.0, 5.0], device=device)).sum().backward()
            assert x.grad.tolist() == [0, 0, 10]
    finally:
        del OPS["squared_above"], OPS["squared_above_backward"]
