"""Activations and their layers, beyond the numbers that test_parity.py compares with PyTorch's."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import GraphError
from minigrad.nn import functional as F

X = np.linspace(-4.03, 4.1, 12).reshape(3, 4)
IN_PLACE = {
    "celu": (0.7,), "elu": (), "hardsigmoid": (), "hardswish": (), "hardtanh": (), "leaky_relu": (0.2,), "mish": (),
    "relu": (), "relu6": (), "rrelu": (), "selu": (), "silu": (), "threshold": (0.1, 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_writes_to_the_tensor_and_keeps_the_gradient(name):
    gradients = []
    for inplace in (False, True):
        leaf = mg.tensor(X, requires_grad=True)
        whole = leaf * 1.5
        out = getattr(F, name)(whole, *IN_PLACE[name], inplace=inplace)
        assert (out is whole) == inplace
        out.square().sum().backward()
        gradients.append(leaf.grad.numpy())
    np.testing.assert_array_equal(*gradients)
    leaf = mg.tensor(X, requires_grad=True)
    with pytest.raises(GraphError, match="in place"):
        getattr(F, name)(leaf, *IN_PLACE[name], inplace=True)
    np.testing.assert_array_equal(leaf.detach().numpy(), X)


@pytest.mark.parametrize("name", ["hardswish", "mish", "relu", "silu"])
def test_in_place_on_a_view_changes_the_rest_of_nothing(name):
    whole = mg.tensor(X)
    getattr(F, name)(whole[1], inplace=True)
    expected = X.copy()
    expected[1] = getattr(F, name)(mg.tensor(X[1])).numpy()
    np.testing.assert_array_equal(whole.numpy(), expected)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "rrelu", "elu", "celu", "selu", "hardtanh"])
def test_functions_with_an_underscore_change_their_input(name):
    x = mg.tensor(X)
    assert getattr(F, f"{name}_")(x) is x
    np.testing.assert_array_equal(x.numpy(), getattr(F, name)(mg.tensor(X)).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "softplus", "logsigmoid", "elu", "softsign", "hardswish"])
def test_large_numbers_give_limits(name, dtype):
    x = mg.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    out = getattr(F, name)(x)
    out.sum().backward()
    below = {"logsigmoid": (-1e4, 1), "elu": (-1, 0), "softsign": (-1, 0)}.get(name, (0, 0))
    above = {"logsigmoid": (0, 0), "softsign": (1, 0)}.get(name, (1e4, 1))
    tolerance = {"rtol": 1e-6, "atol": 2e-4}
    np.testing.assert_allclose(out.detach().numpy(), [below[0], above[0]], **tolerance)
    np.testing.assert_allclose(x.grad.numpy(), [below[1], above[1]], **tolerance)


@pytest.mark.parametrize("function", [F.softmax, F.softmin, F.log_softmax])
@pytest.mark.parametrize(("shape", "dim"), [((3,), 0), ((2, 3), 1), ((2, 3, 2), 0), ((1, 2, 1, 1), 1)])
def test_softmax_without_dim_warns_and_uses_pytorchs(function, shape, dim):
    x = mg.randn(*shape)
    with pytest.warns(UserWarning, match=rf"dim was left out, so dim {dim} is used") as caught:
        found = function(x)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(found.numpy(), function(x, dim).numpy())


def test_softmax_converts_first():
    assert F.softmax(mg.tensor([1, 2]), 0, dtype=mg.float64).dtype == mg.float64
    assert mg.log_softmax(mg.zeros(2), 0, dtype=mg.float64).dtype == mg.float64


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_rrelu_draws_slopes_in_training_only(device):
    layer, x = nn.RReLU(0.1, 0.3), mg.full((1000,), -1.0, device=device)
    slopes = -layer(x).numpy()
    assert 0.1 < slopes.min() < 0.11 and 0.29 < slopes.max() < 0.3
    assert slopes.mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(layer.eval()(x).numpy(), -0.2, rtol=1e-6)
    mg.manual_seed(0)
    np.testing.assert_array_equal(-F.rrelu(x.cpu(), 0.1, 0.3, training=True).numpy(), slopes)


def test_gumbel_softmax_chooses_by_probability():
    logits = mg.tensor(np.log([[0.2, 0.8]] * 20000), requires_grad=True)
    choice = F.gumbel_softmax(logits, hard=True)
    assert choice.detach().mean(0).tolist() == pytest.approx([0.2, 0.8], abs=0.01)
    np.testing.assert_allclose(choice.sum(1).detach().numpy(), 1)
    (choice * mg.tensor([1.0, 2.0])).sum().backward()
    assert logits.grad.abs().sum().item() > 0


def test_replays_draw_new_numbers():
    @mg.graph
    def draw(x):
        return F.rrelu(x, training=True), F.gumbel_softmax(x, dim=0)

    x = mg.full((8,), -1.0)
    slopes, choices = zip(*[[out.clone() for out in draw(x)] for _ in range(4)], strict=True)
    for drawn in (slopes, choices):
        assert len({out.numpy().tobytes() for out in drawn}) == 4


# ---- layers


def test_layers_show_their_settings():
    shown = {
        "ReLU()": nn.ReLU(),
        "ReLU6(inplace=True)": nn.ReLU6(True),
        "Hardtanh(min_val=-2, max_val=2, inplace=True)": nn.Hardtanh(-2, 2, inplace=True),
        "GELU(approximate='tanh')": nn.GELU("tanh"),
        "Softmax(dim=1)": nn.Softmax(1),
        "PReLU(num_parameters=3)": nn.PReLU(3),
        "RReLU(lower=0.1, upper=0.3)": nn.RReLU(0.1, 0.3),
        "CrossEntropyLoss()": nn.CrossEntropyLoss(label_smoothing=0.1),
    }
    assert list(shown) == [repr(layer) for layer in shown.values()]


def test_layers_can_be_copied_and_pickled():
    for layer in (nn.GELU("tanh"), nn.Hardtanh(0.0, 0.5), nn.PReLU(4)):
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            np.testing.assert_array_equal(other(mg.tensor(X)).detach().numpy(), layer(mg.tensor(X)).detach().numpy())


def test_layers_refuse_unknown_settings_and_accept_changed_ones():
    with pytest.raises(TypeError, match=r"^ELU: got an unexpected keyword argument 'beta'; it takes \(alpha"):
        nn.ELU(beta=1)
    with pytest.raises(TypeError, match=r"^Threshold: missing a required argument: 'threshold'"):
        nn.Threshold()
    layer = nn.LeakyReLU()
    layer.negative_slope = 0.5
    assert layer(mg.tensor([-1.0])).tolist() == [-0.5]


def test_prelu_starts_at_a_quarter_and_has_state():
    layer = nn.PReLU(3, dtype=mg.float64)
    assert layer.weight.tolist() == [0.25] * 3 and layer.weight.dtype == mg.float64
    assert list(layer.state_dict()) == ["weight"]
    layer.load_state_dict({"weight": mg.zeros(3)})
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.25] * 3
