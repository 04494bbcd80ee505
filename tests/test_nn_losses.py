"""Losses as modules: each is its function with its settings."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

X = mg.tensor(np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32))
LABELS = mg.tensor([1, 3])
WEIGHT = mg.tensor([1.0, 2.0, 3.0, 4.0])
ROWS = X[:, :, 0, 0]


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        (
            nn.CrossEntropyLoss(WEIGHT, ignore_index=1, reduction="sum", label_smoothing=0.1),
            LABELS,
            F.cross_entropy(ROWS, LABELS, WEIGHT, 1, "sum", 0.1),
        ),
        (nn.NLLLoss(WEIGHT, ignore_index=1, reduction="none"), LABELS, F.nll_loss(ROWS, LABELS, WEIGHT, 1, "none")),
        (nn.MSELoss("sum"), ROWS * 2, F.mse_loss(ROWS, ROWS * 2, "sum")),
    ],
    ids=["CrossEntropyLoss", "NLLLoss", "MSELoss"],
)
def test_losses_equal_their_functions(loss, target, expected):
    np.testing.assert_array_equal(loss(ROWS, target).numpy(), expected.numpy())


def test_class_weights_are_a_buffer():
    loss = nn.CrossEntropyLoss(WEIGHT)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == mg.float64
    assert not list(nn.CrossEntropyLoss().state_dict())
