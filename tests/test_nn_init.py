"""nn.init: bounds and spread of initial weights, seeds, gains, refused arguments."""

from math import sqrt

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import init

FILTERS = (64, 32, 5, 5)  # fan_in 800, fan_out 1600
FAN_IN, FAN_OUT = 800, 1600


def fill_zeros(fill, *settings, shape=FILTERS, **named):
    """Return an array that a function of nn.init filled, with seed 0."""
    mg.manual_seed(0)
    return fill(mg.zeros(*shape), *settings, **named).numpy()


@pytest.mark.parametrize(
    ("fill", "settings", "bound"),
    [
        (init.uniform_, {"a": -3, "b": 3}, 3),
        (init.kaiming_uniform_, {}, sqrt(2) * sqrt(3 / FAN_IN)),
        (init.kaiming_uniform_, {"a": sqrt(5)}, 1 / sqrt(FAN_IN)),
        (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "tanh"}, 5 / 3 * sqrt(3 / FAN_OUT)),
        (init.xavier_uniform_, {}, sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.xavier_uniform_, {"gain": 2.0}, 2 * sqrt(6 / (FAN_IN + FAN_OUT))),
    ],
)
def test_uniform_fills_its_interval(fill, settings, bound):
    x = fill_zeros(fill, **settings)
    assert np.abs(x).max() <= np.float32(bound)
    assert np.abs(x).max() > 0.999 * bound
    assert x.std() == pytest.approx(bound / sqrt(3), rel=0.01)
    assert x.mean() == pytest.approx(0, abs=0.01 * bound)


@pytest.mark.parametrize(
    ("fill", "settings", "mean", "std"),
    [
        (init.normal_, {}, 0, 1),
        (init.normal_, {"mean": 2.0, "std": 0.5}, 2, 0.5),
        (init.kaiming_normal_, {}, 0, sqrt(2 / FAN_IN)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "relu"}, 0, sqrt(2 / FAN_OUT)),
        (init.xavier_normal_, {}, 0, sqrt(2 / (FAN_IN + FAN_OUT))),
    ],
)
def test_normal_has_its_mean_and_standard_deviation(fill, settings, mean, std):
    x = fill_zeros(fill, **settings)
    assert x.mean() == pytest.approx(mean, abs=0.02 * std)
    assert x.std() == pytest.approx(std, rel=0.01)
    assert np.abs(x - mean).max() > 3 * std


def test_uniform_is_between_0_and_1_by_default():
    x = fill_zeros(init.uniform_)
    assert 0 <= x.min() < 0.001
    assert 0.999 < x.max() <= 1


@pytest.mark.parametrize(
    ("fill", "settings", "value"), [(init.zeros_, (), 0), (init.ones_, (), 1), (init.constant_, (0.25,), 0.25)]
)
def test_zeros_ones_and_constant_fill_a_tensor_and_return_it(fill, settings, value):
    x = mg.full((2, 3), 7.0)
    assert fill(x, *settings) is x
    assert x.tolist() == [[value] * 3] * 2


def test_init_functions_write_parameters_in_place_without_gradients():
    weight = nn.Parameter(mg.zeros(3, 3))
    array = weight.array
    assert init.uniform_(weight) is weight
    assert weight.array is array
    assert (weight.is_leaf, weight.requires_grad) == (True, True)
    assert (weight != 0).all()


def test_one_seed_gives_the_same_weights_on_every_device_and_in_every_dtype():
    weights = []
    for device, dtype in (("cpu", mg.float32), ("numpy", mg.float32), ("cpu", mg.float64)):
        mg.manual_seed(7)
        layers = nn.Conv2d(1, 6, 5, device=device, dtype=dtype), nn.Linear(9, 4, device=device, dtype=dtype)
        weights.append(np.concatenate([p.detach().numpy().ravel() for layer in layers for p in layer.parameters()]))
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2].astype(np.float32))


@pytest.mark.parametrize(
    ("layer", "fan_in"), [(nn.Linear(100, 2000), 100), (nn.Conv2d(8, 2000, 5, groups=2), 100)], ids=["Linear", "Conv2d"]
)
def test_layers_start_uniform_within_one_over_the_root_of_fan_in(layer, fan_in):
    mg.manual_seed(0)
    layer.reset_parameters()
    for param in layer.parameters():
        largest = abs(param.detach().numpy()).max()
        assert 0.99 / sqrt(fan_in) < largest <= np.float32(1 / sqrt(fan_in))


@pytest.mark.parametrize(
    ("nonlinearity", "param", "gain"),
    [
        ("linear", None, 1),
        ("conv2d", None, 1),
        ("sigmoid", None, 1),
        ("tanh", None, 5 / 3),
        ("relu", None, sqrt(2)),
        ("selu", None, 0.75),
        ("leaky_relu", None, sqrt(2 / 1.0001)),
        ("leaky_relu", 1, 1),
        ("leaky_relu", 0, sqrt(2)),
    ],
)
def test_calculate_gain_equals_pytorchs(nonlinearity, param, gain):
    assert init.calculate_gain(nonlinearity, param) == pytest.approx(gain)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: init.calculate_gain("softplus"),
            "calculate_gain: no gain is known for 'softplus'; use linear, .* or leaky_relu",
        ),
        (lambda x: init.kaiming_uniform_(x, mode="fan_avg"), "kaiming: mode is 'fan_avg'; use 'fan_in' or 'fan_out'"),
        (lambda x: init.normal_(x, std=-1), "normal_: std is -1; use a number of 0 or more"),
    ],
)
def test_init_functions_refuse_invalid_arguments(call, message):
    with pytest.raises(ValidationError, match=message):
        call(mg.zeros(2, 2))


@pytest.mark.parametrize(
    "fill", [init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_]
)
def test_kaiming_and_xavier_refuse_a_vector(fill):
    with pytest.raises(
        ShapeError, match=r"init: weights of shape \(5,\) have 1 dimension\(s\), expected 2 or more, whose"
    ):
        fill(mg.zeros(5))
