"""Denormal numbers are flushed to 0, or kept, on every thread."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.runtime import threads

TINY = {"float32": [1e-39, -3e-42, 1e-45], "float64": [1e-310, -3e-315, 5e-324]}


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("size", [3, 300_000])
@pytest.mark.parametrize("number", [1, 2])
def test_denormal_numbers_are_flushed_to_0(dtype, size, number):
    """In inputs and outputs, on every thread, in one task and in many; NumPy still computes with them."""
    if number > threads.numba.config.NUMBA_NUM_THREADS:
        pytest.skip("needs two threads")
    mg.set_num_threads(number)
    x = mg.tensor(np.resize(TINY[dtype], size), dtype=getattr(mg, dtype))
    least = float(np.finfo(dtype).tiny)
    assert mg.set_flush_denormal(True)
    assert not (x * 1e10).numpy().any()
    assert not (mg.full((size,), least, dtype=x.dtype) * 0.5).numpy().any()
    assert (x.numpy() * x.numpy().dtype.type(1)).all(), "NumPy computes with them"
    np.testing.assert_array_equal(x.clone().numpy(), x.numpy())  # a copy keeps them


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("size", [3, 300_000])
def test_set_flush_denormal_false_keeps_denormal_numbers(dtype, size):
    x = np.resize(np.array(TINY[dtype], dtype), size)
    np.testing.assert_array_equal((mg.tensor(x, dtype=getattr(mg, dtype)) * 3).numpy(), x * x.dtype.type(3))


def test_denormal_numbers_are_flushed_in_recorded_functions_too():
    def decay(x):
        for _ in range(4):
            x = x * 0.1
        return x

    x, recorded = mg.full((70_000,), 3e-36), mg.graph(decay)
    expected = decay(x).numpy()
    assert not expected.any()
    for _ in range(2):
        np.testing.assert_array_equal(recorded(x).numpy(), expected)


def test_exp_and_log_flush_denormal_numbers():
    x = mg.tensor([-87.3, -87.4, -95.0, -103.0])
    found = mg.exp(x).numpy()
    np.testing.assert_allclose(found[0], np.exp(np.float64(np.float32(-87.3))), rtol=4e-7)
    assert found[1:].tolist() == [0, 0, 0]
    assert mg.log(mg.tensor([1e-39, 0.0])).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("mode", [1, 0, None, "on"])
def test_set_flush_denormal_refuses_what_is_no_bool(mode):
    with pytest.raises(mg.errors.DtypeError, match="True or False"):
        mg.set_flush_denormal(mode)
