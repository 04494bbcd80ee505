"""Layers: each is its function with its settings; pooling takes the windows that PyTorch takes."""

import inspect

import numpy as np
import pytest
from cases import window_starts
from helpers import DEVICES

import minigrad as mg
from minigrad import nn
from minigrad.errors import ValidationError
from minigrad.nn import functional as F

X = mg.tensor(np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32))
LABELS = mg.tensor([1, 3])
WEIGHT = mg.tensor([1.0, 2.0, 3.0, 4.0])
ROWS = X[:, :, 0, 0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), F.max_pool2d(X, 3, 2, 1, ceil_mode=True)),
        (nn.MaxPool2d(2, dilation=2), F.max_pool2d(X, 2, dilation=2)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), F.avg_pool2d(X, 3, 2, 1, count_include_pad=False)),
        (nn.AvgPool2d(2, divisor_override=3), F.avg_pool2d(X, 2, divisor_override=3)),
        (nn.ReLU(), F.relu(X)),
        (nn.LeakyReLU(0.2), F.leaky_relu(X, 0.2)),
        (nn.Tanh(), F.tanh(X)),
        (nn.Sigmoid(), F.sigmoid(X)),
        (nn.Softmax(1), F.softmax(X, 1)),
        (nn.LogSoftmax(1), F.log_softmax(X, 1)),
        (nn.Flatten(2), F.flatten(X, 2)),
        (nn.Identity(), X),
        (nn.Dropout(0.5).eval(), X),
    ],
    ids=lambda case: repr(case) if isinstance(case, nn.Module) else "",
)
def test_layers_equal_their_functions(layer, expected):
    np.testing.assert_array_equal(layer(X).numpy(), expected.numpy())


NUMBERED = {  # H, W, kernel_size, stride, padding, dilation: PyTorch's results with ceil_mode for pixels 0, 1, 2, ...
    (2, 2, 3, 3, 0, 1): ([[3.0]], [[1.5]], [[1.5]]),
    (2, 2, 3, 2, 0, 1): ([[3.0]], [[1.5]], [[1.5]]),
    (3, 3, 5, 4, 1, 1): ([[8.0]], [[1.44]], [[4.0]]),
    (1, 5, 3, 3, 1, 1): ([[1.0, 4.0]], [[1 / 9, 1.0]], [[0.5, 3.0]]),
    (4, 4, 3, 3, 1, 1): ([[5.0, 7.0], [13.0, 15.0]], [[10 / 9, 2.0], [14 / 3, 50 / 9]], [[2.5, 4.5], [10.5, 12.5]]),
    (2, 4, 2, 3, 0, 2): ([[2.0, 3.0]], None, None),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", NUMBERED, ids=str)
def test_pooling_with_ceil_mode_equals_pytorchs(case, device):
    """There may be a window even if the padded image is smaller than a window, by less than a stride."""
    H, W, size, stride, padding, dilation = case
    x = mg.arange(float(H * W), device=device).reshape(1, 1, H, W)
    largest, counted, uncounted = NUMBERED[case]
    assert F.max_pool2d(x, size, stride, padding, dilation, ceil_mode=True).tolist() == [[largest]]
    for include, expected in ((True, counted), (False, uncounted)):
        if expected:
            found = F.avg_pool2d(x, size, stride, padding, True, include).numpy()
            np.testing.assert_allclose(found, [[expected]], rtol=1e-6)


def pool_by_windows(x, g, window, stride, padding, ceil_mode, divisor):
    """Return the pooling of an image (H, W) and the gradient of (g * result).sum(), computed window by window.

    divisor   None for the largest pixel of a window, or a function (pixels in the image, pixels with padding) that
              returns the divisor of their sum
    """
    begins = [
        window_starts(size, k, s, p, p, ceil_mode)
        for size, k, s, p in zip(x.shape, window, stride, padding, strict=True)
    ]
    out, dx = np.zeros([len(side) for side in begins]), np.zeros(x.shape)
    g = g[: len(begins[0]), : len(begins[1])]
    for index in np.ndindex(out.shape):
        taps = [range(side[at], side[at] + k) for side, at, k in zip(begins, index, window, strict=True)]
        pixels = [(h, w) for h in taps[0] for w in taps[1] if 0 <= h < x.shape[0] and 0 <= w < x.shape[1]]
        padded = [sum(-p <= t < size + p for t in tap) for tap, size, p in zip(taps, x.shape, padding, strict=True)]
        if divisor is None:
            chosen = max(pixels, key=lambda pixel: x[pixel])  # the first of equals
            out[index] = x[chosen]
            dx[chosen] += g[index]
        else:
            out[index] = sum(x[pixel] for pixel in pixels) / divisor(len(pixels), padded[0] * padded[1])
            for pixel in pixels:
                dx[pixel] += g[index] / divisor(len(pixels), padded[0] * padded[1])
    return out, dx


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_of_small_images_equals_a_loop_over_windows(kind, device):
    """Values and gradients of 150 random settings; most have windows that extend beyond the image."""
    random = np.random.default_rng(7)
    for _ in range(150):
        window, stride = random.integers(1, 6, 2), random.integers(1, 6, 2)
        padding = np.minimum(random.integers(0, 3, 2), window // 2)
        ceil_mode = bool(random.random() < 0.8)
        fits = window - 2 * padding - (stride - 1) * ceil_mode
        H, W = np.maximum(fits, 1) + random.integers(0, 4, 2)
        x, g = np.round(2 * random.normal(size=(H, W))), random.normal(size=(9, 9))
        given = {"kernel_size": tuple(window), "stride": tuple(stride), "padding": tuple(padding)}
        divisor = None
        if kind == "avg":
            include, override = bool(random.random() < 0.5), random.choice([0, 0, 3])
            given |= {"count_include_pad": include, "divisor_override": int(override) or None}

            def divisor(inside, padded, override=override, include=include):
                return override or (padded if include else inside)

        out, dx = pool_by_windows(x, g, window, stride, padding, ceil_mode, divisor)
        leaf = mg.tensor(x.reshape(1, 1, H, W), device=device, requires_grad=True)
        found = getattr(F, f"{kind}_pool2d")(leaf, ceil_mode=ceil_mode, **given)
        note = f"{H}x{W} pixels, {given}, ceil_mode={ceil_mode}"
        np.testing.assert_allclose(found.detach().numpy()[0, 0], out, rtol=1e-12, atol=1e-12, err_msg=note)
        found.backward(mg.tensor(g[: out.shape[0], : out.shape[1]].reshape(found.shape), device=device))
        np.testing.assert_allclose(leaf.grad.numpy()[0, 0], dx, rtol=1e-12, atol=1e-12, err_msg=note)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("images", [1, 17, 64])
def test_avg_pool2d_of_ones_is_exactly_1(images, device):
    """A sum of 41 ones times the rounded inverse of 41 is not 1."""
    for side in range(1, 60):
        assert (F.avg_pool2d(mg.ones(images, 1, 1, side, device=device), (1, side)).numpy() == 1).all(), side


def test_conv2d_layer_uses_all_its_settings():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
    expected = F.conv2d(X, layer.weight, layer.bias, stride=2, padding=2, dilation=2, groups=2)
    np.testing.assert_array_equal(layer(X).detach().numpy(), expected.detach().numpy())
    assert nn.Conv2d(4, 6, 3, padding="same")(X).shape == (2, 6, 6, 6)


def test_layers_make_parameters_with_the_given_device_and_dtype():
    wanted = {"device": "numpy", "dtype": mg.float64}
    model = nn.Sequential(nn.Linear(2, 2, **wanted), nn.Conv2d(1, 1, 3, **wanted))
    assert {(param.device.type, param.dtype) for param in model.parameters()} == {("numpy", mg.float64)}


def test_dropout_layer_drops_in_training_only():
    layer = nn.Dropout(0.5)
    zeros = (layer(mg.ones(1000)) == 0).numpy().mean()
    assert 0.4 < zeros < 0.6
    assert layer.eval()(X) is X


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(0, 3), "Linear: in_features is 0; use a whole number of 1 or more"),
        (lambda: nn.Linear(3, 2.5), "Linear: out_features is 2.5; use a whole number of 1 or more"),
        (lambda: nn.Conv2d(True, 6, 5), "Conv2d: in_channels is True; use a whole number of 1 or more"),
        (lambda: nn.Conv2d(1, 6, 0), "Conv2d: kernel_size is 0; use a whole number of 1 or more"),
        (
            lambda: nn.Conv2d(1, 6, (3, 3, 3)),
            r"Conv2d: kernel_size is \(3, 3, 3\); use a whole number of 1 or more, or a pair of them",
        ),
        (lambda: nn.Conv2d(1, 6, 5, padding=-1), "Conv2d: padding is -1; use a whole number of 0 or more"),
        (
            lambda: nn.Conv2d(1, 6, 5, padding="full"),
            "Conv2d: padding is 'full'; use a number, a pair, 'same' or 'valid'",
        ),
        (lambda: nn.Conv2d(1, 6, 5, stride=2, padding="same"), "Conv2d: padding='same' needs stride 1"),
        (
            lambda: nn.Conv2d(3, 6, 5, groups=2),
            "Conv2d: groups=2 does not divide in_channels=3 and out_channels=6; use a divisor of both",
        ),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size is 0; use a whole number of 1 or more"),
        (lambda: nn.MaxPool2d(2, dilation=0), "MaxPool2d: dilation is 0; use a whole number of 1 or more"),
        (
            lambda: nn.AvgPool2d(2, padding=2),
            "AvgPool2d: padding 2 is more than half of kernel_size 2; use less padding",
        ),
        (
            lambda: nn.AvgPool2d(2, divisor_override=0),
            "AvgPool2d: divisor_override is 0; use a whole number of 1 or more",
        ),
        (lambda: nn.Dropout(1.5), "Dropout: p is 1.5; use a number from 0 to 1"),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2),
            "CrossEntropyLoss: label_smoothing is 2; use a number from 0 to 1",
        ),
        (
            lambda: nn.CrossEntropyLoss(reduction="avg"),
            "CrossEntropyLoss: reduction is 'avg'; use 'mean', 'sum' or 'none'",
        ),
        (lambda: nn.MSELoss("max"), "MSELoss: reduction is 'max'; use 'mean', 'sum' or 'none'"),
    ],
)
def test_layers_and_losses_refuse_invalid_settings(build, message):
    with pytest.raises(ValidationError, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "shape", "bound"),
    [
        (nn.Conv1d(6, 4, 5, groups=2), (4, 3, 5), 1 / 15**0.5),
        (nn.ConvTranspose1d(6, 4, 5, groups=2), (6, 2, 5), 1 / 10**0.5),
        (nn.ConvTranspose2d(6, 4, (2, 3)), (6, 4, 2, 3), 1 / 24**0.5),
    ],
)
def test_initial_weights_of_convolutions_are_pytorchs(layer, shape, bound):
    """Uniform within 1 / sqrt(fan-in), where the fan-in of a transposed convolution is counted from its outputs."""
    assert [(name, value.shape) for name, value in layer.state_dict().items()] == [("weight", shape), ("bias", (4,))]
    largest = abs(layer.weight.detach()).max().item()
    assert 0.5 * bound < largest <= bound
    assert abs(layer.bias.detach()).max().item() <= bound


def test_layers_of_lines_are_not_layers_of_images():
    assert not isinstance(nn.Conv1d(1, 1, 1), nn.Conv2d)
    assert not isinstance(nn.MaxPool1d(2), nn.MaxPool2d)
    assert inspect.signature(F.conv1d) == inspect.signature(F.conv2d)
    assert F.max_pool1d.__name__ == "max_pool1d"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv1d(2, 4, 3, padding="same", groups=2), "2, 4, kernel_size=(3,), stride=(1,), padding=same, groups=2"),
        (
            nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, bias=False),
            "2, 4, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1), bias=False",
        ),
        (nn.AvgPool1d(3), "kernel_size=(3,), stride=(3,), padding=(0,)"),
        (nn.AvgPool2d(3), "kernel_size=3, stride=3, padding=0"),
        (nn.MaxUnpool2d(2), "kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)"),
        (nn.LPPool2d(2, 3), "norm_type=2, kernel_size=3, stride=None, ceil_mode=False"),
        (nn.ConstantPad1d(1, 0.5), "padding=(1, 1), value=0.5"),
        (nn.ReflectionPad2d(1), "(1, 1, 1, 1)"),
        (nn.AdaptiveAvgPool2d((2, None)), "output_size=(2, None)"),
    ],
)
def test_repr_of_convolutions_and_poolings_is_pytorchs(layer, text):
    assert repr(layer) == f"{type(layer).__name__}({text})"


def test_empty_batches_pass_through_convolution_and_pooling():
    x = mg.zeros(0, 2, 6, 6)
    assert nn.ConvTranspose2d(2, 3, 2, stride=2)(x).shape == (0, 3, 12, 12)
    assert F.adaptive_avg_pool2d(x, (4, 1)).shape == (0, 2, 4, 1)
    assert F.pad(x, (1, 1, 0, 2), "circular").shape == (0, 2, 8, 8)
    values, indices = F.adaptive_max_pool2d(x, 3, return_indices=True)
    assert F.max_unpool2d(values, indices, 2).shape == x.shape
