"""The error function in kernels and in reference implementations, compared with math.erf."""

import math

import numpy as np
import pytest

from minigrad.runtime import math as kernel_math
from minigrad.runtime.elementwise import Elementwise

erf_kernel = Elementwise(lambda x: kernel_math.erf(x), name="erf")
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
GRID = np.concatenate([np.linspace(-6, 6, 1_000_001), np.geomspace(1e-37, 1, 100_001), -np.geomspace(1e-37, 1, 1001)])


def erf(x):
    """Return math.erf of every element, as float64."""
    return np.array([math.erf(value) for value in x.tolist()])


@pytest.mark.parametrize("dtype", EPSILON)
def test_erf_in_a_kernel_is_accurate(dtype):
    x = GRID.astype(dtype)
    found, expected = np.empty_like(x), erf(x)
    erf_kernel(x, found)
    error = np.abs(found - expected)
    assert error.max() < 3e-7
    relative = error[expected != 0] / np.abs(expected[expected != 0])
    assert relative.max() <= 3 * EPSILON[dtype], x[expected != 0][relative.argmax()]


@pytest.mark.parametrize("dtype", EPSILON)
def test_erf_in_a_kernel_of_special_values(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 3e38, -3e38], dtype)
    found = np.empty_like(x)
    erf_kernel(x, found)
    np.testing.assert_allclose(found, erf(x), rtol=3 * EPSILON[dtype])
    assert np.signbit(found[:2]).tolist() == [False, True]


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3, 4)])
def test_erf_array_keeps_shape_and_dtype(dtype, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    found = kernel_math.erf_array(x)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(found.ravel(), erf(x.ravel()).astype(dtype))


def test_erf_array_of_complex_numbers_gives_the_derivative():
    x, step = np.linspace(-3, 3, 101), 1e-30
    found = kernel_math.erf_array(x + 1j * step)
    np.testing.assert_array_equal(found.real, erf(x))
    np.testing.assert_allclose(found.imag / step, 2 / math.sqrt(math.pi) * np.exp(-(x**2)), rtol=1e-14)
