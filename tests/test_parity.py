"""Public names give PyTorch's numbers: values, first and second derivatives, and the state of layers.

The expressions are in parity_*.py.  PyTorch's results are stored in vectors/; where PyTorch is installed, it evaluates
other random inputs beside minigrad.
"""

import importlib.util

import numpy as np
import parity
import pytest

import minigrad as mg

TABLE = [
    pytest.param(theme, expression, id=f"{theme}-{expression}")
    for theme in parity.THEMES
    for expressions in parity.load_expressions(theme).values()
    for expression in expressions
]
VECTORS = {theme: parity.load_vectors(theme) for theme in parity.THEMES}
INPUTS = ("x(", "positive(", "unit(")  # an expression without these makes its tensors on the CPU
SINGLE = 1e-6  # the error of float32 numbers, relative to the largest


def assert_equal_results(ours, theirs, relative):
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (expected.shape, expected.dtype), name
        if expected.dtype.kind == "f":
            share = max(relative, SINGLE if expected.dtype == np.float32 else 0)
            scale = share * max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1)
            np.testing.assert_allclose(ours[name], expected, share, scale, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], expected, name)


@pytest.mark.parametrize("theme, expression", TABLE)
def test_values_and_derivatives_equal_pytorchs(theme, expression):
    expected = VECTORS[theme][expression]
    assert_equal_results(parity.evaluate(mg, expression), expected, 1e-9)
    if any(made in expression for made in INPUTS):
        assert_equal_results(parity.evaluate(mg, expression, device="numpy"), expected, 1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compares with PyTorch")
@pytest.mark.parametrize("theme, expression", TABLE)
def test_other_inputs_give_pytorchs_numbers(theme, expression):
    import torch

    for seed in (1, 2):
        ours, theirs = (parity.evaluate(library, expression, seed=seed) for library in (mg, torch))
        assert_equal_results(ours, theirs, 1e-9)
    single = parity.evaluate(mg, expression, dtype="float32")
    assert_equal_results(single, parity.evaluate(torch, expression, dtype="float32"), 1e-5)
