"""Normalisation, dropout of channels, and lazy layers: what the cases and the comparison with PyTorch leave out."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.runtime import threads


def _model():
    mg.manual_seed(0)
    norms = nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True), nn.BatchNorm2d(4, momentum=None)
    return nn.Sequential(nn.Conv2d(2, 4, 3), *norms, nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.RMSNorm(8))


def _train(record):
    """Train for five steps; return the losses, and the state as arrays."""
    model = _model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    run = mg.graph(step) if record else step
    mg.manual_seed(1)
    losses = [run(mg.randn(6, 2, 6, 6)).item() for _ in range(5)]
    return losses, {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def test_a_recording_moves_the_running_statistics_as_the_plain_call_does():
    plain, recorded = _train(False), _train(True)
    assert recorded[0] == plain[0]
    for name, expected in plain[1].items():
        np.testing.assert_array_equal(recorded[1][name], expected, name)
    assert recorded[1]["3.num_batches_tracked"] == 5


def test_results_do_not_depend_on_the_number_of_threads():
    found = []
    for number in (1, threads.numba.config.NUMBA_NUM_THREADS):
        mg.set_num_threads(number)
        mg.manual_seed(0)
        parts = []
        for shape, norm in (
            ((64, 6, 9, 9), lambda x: F.batch_norm(x, None, None, training=True)),
            ((300, 70), lambda x: F.layer_norm(x, (70,), mg.linspace(0.5, 1, 70).requires_grad_())),
            ((64, 8, 15), lambda x: F.group_norm(x, 2)),
        ):
            x = mg.randn(*shape).requires_grad_()
            out = norm(x)
            (out * mg.randn(*shape)).sum().backward()
            parts += [out.detach().numpy(), x.grad.numpy()]
        found.append(parts)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("layout", ["plain", "batch innermost"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6), nn.LayerNorm((6, 5, 4))])
def test_a_large_mean_costs_no_accuracy(layout, norm):
    values = np.random.default_rng(0).normal(1000, 1, (9, 6, 5, 4))
    x = mg.from_numpy(values.astype(np.float32))
    if layout == "batch innermost":
        x = mg.from_numpy(np.moveaxis(np.moveaxis(values, 0, -1).astype(np.float32).copy(), -1, 0))
    double = mg.from_numpy(np.asarray(x.numpy(), np.float64))
    expected = norm.double()(double).detach().numpy()
    np.testing.assert_allclose(norm.float()(x).detach().numpy(), expected, atol=2e-4)


def test_batch_norm_of_no_images_leaves_the_statistics():
    layer = nn.BatchNorm2d(3)
    assert layer(mg.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]


def test_eval_keeps_the_statistics_and_its_gradient_survives_a_later_batch():
    layer, x = nn.BatchNorm1d(2), mg.randn(5, 2)
    loss = layer.eval()(x).sum()
    assert layer.num_batches_tracked.item() == 0
    layer.train()(x + 7)
    loss.backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), x.sum(0).numpy(), rtol=1e-4)


def test_statistics_cannot_be_changed_by_reset_alone():
    layer = nn.BatchNorm1d(2)
    layer(mg.randn(5, 2))
    layer.reset_parameters()
    assert layer.running_mean.tolist() == [0, 0] and layer.num_batches_tracked.item() == 0


@pytest.mark.parametrize(
    "drop, shape, channels",
    [
        (F.dropout1d, (50, 3), (50, 1)),
        (F.dropout1d, (9, 50, 3), (9, 50, 1)),
        (F.dropout2d, (9, 50, 3), (9, 50, 1)),
        (F.dropout2d, (9, 50, 3, 2), (9, 50, 1, 1)),
        (F.dropout3d, (50, 2, 3, 2), (50, 1, 1, 1)),
        (F.dropout3d, (9, 50, 2, 3, 2), (9, 50, 1, 1, 1)),
    ],
)
def test_dropout_drops_whole_channels(drop, shape, channels):
    x = mg.ones(*shape, requires_grad=True)
    y = drop(x, 0.25)
    first = y.detach().numpy()[tuple(slice(size) for size in channels)]
    np.testing.assert_array_equal(y.detach().numpy(), np.broadcast_to(first, shape))
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert 0.05 < (first == 0).mean() < 0.5
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    assert drop(x, 0.25, training=False) is x


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)])
def test_alpha_dropout_keeps_mean_and_variance(layer):
    mg.manual_seed(3)
    x = mg.randn(300, 300, 2)
    y = layer(x)
    assert abs(y.mean().item()) < 0.02 and abs(y.var().item() - 1) < 0.02
    scale = 1 / np.sqrt(0.7 * (1 + 0.3 * 1.7580993408473766**2))
    kept = np.isclose(y.numpy(), x.numpy() * scale + 0.3 * 1.7580993408473766 * scale, atol=1e-5)
    assert abs(kept.mean() - 0.7) < 0.02
    if isinstance(layer, nn.FeatureAlphaDropout):
        np.testing.assert_array_equal(kept[..., 0], kept[..., 1])
    assert layer.eval()(x) is x
    assert F.alpha_dropout(x, 1, training=True).abs().max().item() == 0


def test_alpha_dropout_in_place():
    x = mg.ones(4, 5)
    assert F.alpha_dropout(x, 0.5, True, True) is x
    assert len(set(x.flatten().tolist())) == 2


def test_a_lazy_layer_becomes_the_ordinary_one():
    mg.manual_seed(0)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3, groups=2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    assert repr(lazy[3]) == "LazyLinear(in_features=0, out_features=3, bias=True)"
    assert isinstance(lazy[3], nn.Linear) and isinstance(lazy[3].weight, nn.UninitializedParameter)
    weight, model = lazy[3].weight, lazy.double()
    model(mg.zeros(2, 4, 5, 5, dtype=mg.float64))
    mg.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3))
    assert repr(model) == repr(plain)
    assert type(model[3]) is nn.Linear and type(weight) is nn.Parameter and model[3].weight is weight
    assert weight.dtype == mg.float64 and weight.requires_grad and not model[1].running_mean.requires_grad
    np.testing.assert_array_equal(weight.float().detach().numpy(), plain[3].weight.detach().numpy())
    optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize(
    "lazy, plain",
    [
        (lambda: nn.LazyConv1d(4, 3, groups=2), lambda: nn.Conv1d(4, 4, 3, groups=2)),
        (lambda: nn.LazyConvTranspose1d(4, 3), lambda: nn.ConvTranspose1d(4, 4, 3)),
        (lambda: nn.LazyConvTranspose2d(6, 3, groups=2), lambda: nn.ConvTranspose2d(4, 6, 3, groups=2)),
    ],
)
def test_lazy_convolutions_take_their_channels_from_a_batch_or_a_state(lazy, plain):
    x = mg.randn(2, 4, 7) if "1d" in repr(plain()) else mg.randn(2, 4, 7, 7)
    first, second, expected = lazy(), lazy(), plain()
    first(x)
    second.load_state_dict(expected.state_dict())
    assert repr(first) == repr(second) == repr(expected)
    np.testing.assert_array_equal(second(x).detach().numpy(), expected(x).detach().numpy())


def test_a_lazy_transposed_convolution_takes_the_size_of_its_output():
    assert nn.LazyConvTranspose2d(4, 3, stride=2)(mg.zeros(1, 2, 5, 5), output_size=[12, 12]).shape == (1, 4, 12, 12)


def test_a_lazy_model_loads_a_state():
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6, affine=False), nn.Flatten(), nn.Linear(54, 3))
    lazy = nn.Sequential(
        nn.LazyConv2d(6, 3, groups=2), nn.LazyBatchNorm2d(affine=False), nn.Flatten(), nn.LazyLinear(3)
    )
    plain(mg.randn(2, 4, 5, 5))
    lazy.load_state_dict(plain.state_dict())
    x = mg.randn(2, 4, 5, 5)
    np.testing.assert_array_equal(lazy.eval()(x).detach().numpy(), plain.eval()(x).detach().numpy())


def test_lazy_instance_norm_keeps_statistics():
    layer = nn.LazyInstanceNorm2d()
    layer(mg.randn(3, 2, 4, 4))
    assert type(layer) is nn.InstanceNorm2d and layer.num_features == 2
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
