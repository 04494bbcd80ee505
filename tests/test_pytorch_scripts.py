"""Programs written for PyTorch run when their import lines change, and compute PyTorch's numbers."""

import numpy as np
import pytest
from pytorch_scripts import NAMES, load_vectors, run

VECTORS = load_vectors()
IN_FLOAT32 = ("mnist", "resnet20", "text_cnn", "unet", "vae", "vision_transformer")  # each compiles kernels again


def assert_close(found, expected, tolerance):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        scale = np.abs(array).max(initial=1e-4)  # a bias before a normalisation has a gradient of rounding errors
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_script_computes_pytorchs_numbers(name):
    assert_close(run(name, "minigrad"), VECTORS[name], 1e-9)


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_script_computes_pytorchs_losses_in_float32(name):
    found, expected = run(name, "minigrad", "float32"), VECTORS[name]
    losses = [key for key in expected if key.startswith("loss")]
    assert losses
    assert_close({key: found[key] for key in losses}, {key: expected[key] for key in losses}, 1e-5)
