"""Every figure and table of viz accepts an activation that is declared outside of minigrad."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.ops.op import OPS, op
from minigrad.tensors import apply
from minigrad.viz.tracing import Field, trace

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def softshrink():
    """Declare softshrink(x), which is x moved by 0.5 towards 0, and 0 where |x| <= 0.5."""

    @op(elementwise=True, activation="softshrink")
    def new_softshrink(device, x):
        return np.sign(x) * np.maximum(np.abs(x) - np.float32(0.5), 0)

    @new_softshrink.gradient
    def new_softshrink_gradient(do, g, x):
        return (lambda: do.mul(g, do.cast(do.gt(do.abs(x), np.full((), 0.5, x.dtype)), dtype=x.dtype)),)

    yield new_softshrink
    del OPS["new_softshrink"]


@pytest.fixture
def model(softshrink):
    """Return a model that calls the activation in a layer, as a function, and last."""

    class Softshrink(nn.Module):
        def forward(self, x):
            return apply(softshrink, x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)
            self.act = Softshrink()
            self.second = nn.Conv2d(2, 2, 3)
            self.pool = nn.MaxPool2d(2)
            self.head = nn.Linear(18, 3)

        def forward(self, x):
            x = self.act(self.conv(x))
            x = apply(softshrink, self.pool(self.second(x)))
            return self.head(x.flatten(1))

    mg.manual_seed(0)
    return Net()


def set_filter(layer, f, weight, bias):
    with mg.no_grad():
        layer.weight[f] = weight
        layer.bias[f] = bias


def test_trace_and_receptive_fields_accept_a_new_activation(model):
    layers = trace("test", model, IMAGE)
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("conv", "Conv2d"),
        ("act", "Softshrink"),
        ("second", "Conv2d"),
        ("pool", "MaxPool2d"),
        ("new_softshrink", "new_softshrink"),
        ("reshape", "reshape"),
        ("head", "Linear"),
    ]
    fields = {layer.name: layer.fields for layer in layers}
    assert fields["act"] == fields["conv"] == 2 * (Field(-1, 1, 3),)
    assert fields["new_softshrink"] == fields["pool"] == 2 * (Field(-1, 2, 6),)
    assert layers[1].steps[0].op.activation == "softshrink"


def test_summary_and_draw_accept_a_new_activation(model):
    rows = {row.name: row for row in viz.summary(model, (1, 8, 8)).rows}
    assert rows["act"][1:] == ("Softshrink", (2, 8, 8), 0, 0, 4 * 2 * 64, (3, 3))
    assert rows["new_softshrink"].field == (6, 6)
    viz.draw(model, (1, 8, 8))


def test_explain_pixel_accepts_a_new_activation(model):
    set_filter(model.conv, 0, 0.0, -2.0)
    pixel = viz.explain_pixel(model, IMAGE, "conv", 0, 4, 4)
    assert (pixel.activation, pixel.following, pixel.activated) == ("new_softshrink", "act", -1.5)
    assert "Activation by act: softshrink(−2) = −1.5" in pixel.text
    assert (pixel.rows, pixel.cols) == (range(3, 6), range(3, 6))
    assert pixel.figure.axes


def test_filter_health_takes_zero_after_a_new_activation_for_dead(model):
    set_filter(model.conv, 0, 0.0, 0.4)
    set_filter(model.conv, 1, 0.0, 0.6)
    set_filter(model.second, 0, 0.0, -0.4)
    set_filter(model.second, 1, 0.0, -0.6)
    report = viz.filter_health(model, (IMAGE, [0]))
    assert [row.dead for row in report.rows] == [True, False, True, False]


def test_feature_maps_shows_no_scores_after_a_new_activation(model):
    headings = [axes.get_title(loc="left") for axes in viz.feature_maps(model, IMAGE).axes[::2]]
    assert "new_softshrink: 2 maps of 3×3" in headings and headings[-1] == "head (Linear): 3 scores"
    last = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), type(model.act)())
    headings = [axes.get_title(loc="left") for axes in viz.feature_maps(last, IMAGE).axes[::2]]
    assert headings[-1] == "2 (Softshrink): 3 units"


def test_attribution_excitation_and_autograd_graph_accept_a_new_activation(model):
    assert viz.saliency_map(model, IMAGE).shape == (1, 8, 8)
    assert viz.grad_cam_map(model, IMAGE, "act").shape == (8, 8)
    assert viz.activation_images(model, "act", 1, (1, 8, 8), steps=1).shape == (1, 1, 8, 8)
    assert len(viz.patch_places(model, IMAGE, "new_softshrink", 0)) == 1
    texts = [text.get_text() for text in viz.autograd_graph(model(mg.tensor(IMAGE))).axes[0].texts]
    assert "new_softshrink\n1×2×8×8" in texts
