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
            F.cross_entropy(ROWS, LABELS, WEIGHT, ignore_index=1, reduction="sum", label_smoothing=0.1),
        ),
        (
            nn.NLLLoss(WEIGHT, ignore_index=1, reduction="none"),
            LABELS,
            F.nll_loss(ROWS, LABELS, WEIGHT, ignore_index=1, reduction="none"),
        ),
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


def test_weights_of_bce_are_buffers():
    loss = nn.BCEWithLogitsLoss(WEIGHT, pos_weight=2 * WEIGHT)
    assert list(loss.state_dict()) == ["weight", "pos_weight"]
    assert not list(nn.BCEWithLogitsLoss().state_dict())


def test_inputs_can_be_named():
    assert nn.MSELoss()(input=ROWS, target=ROWS).item() == 0
    assert nn.TripletMarginLoss()(anchor=ROWS, positive=ROWS, negative=ROWS).item() == pytest.approx(1)


PAIRS = {  # losses of two tensors of one shape
    "mse_loss": {}, "l1_loss": {}, "huber_loss": {}, "smooth_l1_loss": {}, "soft_margin_loss": {}, "kl_div": {},
    "binary_cross_entropy": {}, "binary_cross_entropy_with_logits": {}, "hinge_embedding_loss": {},
    "poisson_nll_loss": {"full": True},
}  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("name", PAIRS)
def test_empty_batches_have_mean_nan_and_sum_0(name, device):
    x, target = mg.zeros(0, 3, device=device).requires_grad_(), mg.zeros(0, 3, device=device)
    means, sums, losses = (getattr(F, name)(x, target, reduction=how, **PAIRS[name]) for how in ("mean", "sum", "none"))
    assert np.isnan(means.item()) and sums.item() == 0 and losses.shape == (0, 3)
    means.backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_neither_overflow_nor_lose_the_gradient(dtype):
    x = mg.tensor([-1e4, 1e4, -1e4, 1e4], dtype=dtype, requires_grad=True)
    target = mg.tensor([0.0, 1.0, 1.0, 0.0], dtype=dtype)
    for loss in (
        F.binary_cross_entropy_with_logits(x, target, reduction="none"),
        F.binary_cross_entropy_with_logits(x, target, reduction="none", pos_weight=mg.ones(4, dtype=dtype)),
        F.soft_margin_loss(x, target * 2 - 1, reduction="none"),
    ):
        x.grad = None
        loss.sum().backward()
        assert loss.tolist() == [0, 0, 1e4, 1e4]
        assert x.grad.tolist() == [0, 0, -1, 1]


def test_logits_keep_small_losses_accurate():
    x = mg.tensor([20.0, 80.0], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, mg.ones(2), reduction="none")
    np.testing.assert_allclose(loss.detach().numpy(), np.exp([-20.0, -80.0]), rtol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_nan_stays_nan(name):
    if name != "binary_cross_entropy":  # which refuses what is no probability
        out = getattr(F, name)(mg.tensor([np.nan, 0.5]), mg.ones(2), reduction="none")
        assert np.isnan(out.numpy()).tolist() == [True, False]


def test_a_replay_refuses_what_is_no_probability():
    loss = mg.graph(lambda x: F.binary_cross_entropy(x, mg.ones(2)))
    good, bad = mg.tensor([0.5, 1.0]), mg.tensor([0.5, 1.5])
    for _ in range(3):
        assert loss(good).item() == pytest.approx(np.log(2) / 2)
    with pytest.raises(mg.errors.ValidationError, match="not from 0 to 1"):
        loss(bad)
    with pytest.raises(mg.errors.ValidationError, match="not from 0 to 1"):
        F.binary_cross_entropy(mg.tensor([np.nan]), mg.ones(1))


def test_cross_entropy_of_one_hot_probabilities_equals_that_of_classes():
    one_hot = mg.tensor(np.eye(4, dtype=np.float32)[[1, 3]])
    for settings in ({}, {"label_smoothing": 0.2}, {"reduction": "sum"}, {"reduction": "none"}):
        np.testing.assert_allclose(
            F.cross_entropy(ROWS, one_hot, **settings).numpy(), F.cross_entropy(ROWS, LABELS, **settings).numpy(), 1e-5
        )
    with pytest.raises(mg.errors.DtypeError, match="labels are float32"):
        F.cross_entropy(ROWS, one_hot[:, :2])


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_an_image_without_an_axis_for_images_has_one_loss(loss):
    for how in ("mean", "sum", "none"):
        lone = loss(ROWS[0], LABELS[0], WEIGHT, reduction=how)
        assert lone.shape == ()
        assert lone.item() == pytest.approx(loss(ROWS[:1], LABELS[:1], WEIGHT, reduction=how).sum().item())
