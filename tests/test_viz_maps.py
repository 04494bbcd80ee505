"""viz.feature_maps and viz.explain_pixel."""

from itertools import product

import numpy as np
import pytest
from figures import check_readable, drawn_strings

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.errors import ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.viz import style
from minigrad.viz.maps import feature_maps
from minigrad.viz.pixel import explain_pixel
from minigrad.viz.tracing import trace

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.normal(0, 1, shape).astype(np.float32)


class Residual(nn.Module):
    """Functions in its forward, groups, stride, dilation and a convolution without bias."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=2, dilation=2)
        self.b = nn.Conv2d(8, 8, (3, 1), stride=(2, 3), padding=(1, 0), groups=4)
        self.c = nn.Conv2d(8, 8, 1, bias=False)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        h = self.b(F.leaky_relu(self.a(x), 0.1))
        h = F.relu(self.c(h) + h)
        return F.log_softmax(self.fc(self.drop(h).mean((2, 3))), 1)


def wide(channels, outputs):
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3), nn.Sigmoid(), nn.Conv2d(64, 64, 3), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(64 * 9, 300), nn.Tanh(), nn.Linear(300, outputs),
    )  # fmt: skip


MODELS = {
    "LeNet-5": (LeNet5, (28, 28)),
    "LeNet-5 of 1998": (lambda: LeNet5(classic=True), (1, 28, 28)),
    "residual": (Residual, (3, 13, 32)),
    "64 channels, 2 in": (lambda: wide(2, 1000), (2, 10, 10)),
    "64 channels, 20 in": (lambda: wide(20, 2), (20, 10, 10)),
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), (3, 4)),
    "7×7 window": (lambda: nn.Sequential(nn.Conv2d(1, 2, 7, padding=3), nn.ReLU()), (1, 9, 9)),
    "11×11 window": (lambda: nn.Sequential(nn.Conv2d(3, 2, 11, stride=4, padding=2), nn.ReLU()), (3, 30, 30)),
    "one pixel": (lambda: nn.Sequential(nn.Conv2d(1, 1, 1), nn.LeakyReLU()), (1, 1)),
    "flat image": (lambda: nn.Sequential(nn.Conv2d(1, 3, (1, 5)), nn.Tanh()), (1, 4, 90)),
    "tall image": (lambda: nn.Sequential(nn.Conv2d(1, 3, (5, 1)), nn.Tanh()), (1, 90, 4)),
}
PIXELS = {
    "LeNet-5": [("conv1", 2, 0, 27), ("conv2", 15, 9, 0)],
    "residual": [("a", 7, 0, 31), ("b", 5, 6, 10), ("c", 0, 3, 3)],
    "64 channels, 2 in": [("0", 63, 0, 0), ("2", 1, 5, 5)],
    "64 channels, 20 in": [("0", 63, 0, 0), ("2", 1, 5, 5)],
    "7×7 window": [("0", 1, 0, 8)],
    "11×11 window": [("0", 1, 0, 0)],
    "one pixel": [("0", 0, 0, 0)],
    "flat image": [("0", 2, 3, 80)],
    "tall image": [("0", 2, 80, 3)],
}
ASKED = [(name, *asked) for name, pixels in PIXELS.items() for asked in pixels]


def model_and_image(name):
    model, shape = MODELS[name]
    mg.manual_seed(0)
    return model(), noise(*shape)


FIGURES = {
    **{f"maps of {name}": lambda name=name: feature_maps(*model_and_image(name)) for name in MODELS},
    **{
        f"pixel of {asked}": lambda asked=asked: explain_pixel(*model_and_image(asked[0]), *asked[1:]).figure
        for asked in ASKED
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_feature_maps_and_explain_pixel_have_readable_text(name):
    check_readable(FIGURES[name]())


# --- feature maps


def panels(figure):
    """Heading of each panel -> its axes."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes[::2]}


def images(axes):
    return np.stack([image.get_array() for image in axes.images])


def test_feature_maps_shows_layers_in_the_order_in_which_they_ran():
    assert list(panels(feature_maps(*model_and_image("residual")))) == [
        "image: 3 channels of 13×32",
        "a (Conv2d): 8 maps of 13×32",
        "leaky_relu: 8 maps of 13×32",
        "b (Conv2d): 8 maps of 7×11",
        "c (Conv2d): 8 maps of 7×11",
        "add: 8 maps of 7×11",
        "relu: 8 maps of 7×11",
        "mean: 8 units",
        "fc (Linear): 5 units",
        "log_softmax: 5 scores",
    ]


def test_feature_maps_shows_the_output_of_each_layer():
    model, image = model_and_image("LeNet-5")
    shown = panels(feature_maps(model, image))
    conv1 = model.conv1(mg.tensor(image.reshape(1, 1, 28, 28))).detach().numpy()
    np.testing.assert_array_equal(images(shown["image: 1 channel of 28×28"])[0], image)
    np.testing.assert_array_equal(images(shown["conv1 (Conv2d): 6 maps of 28×28"]), conv1[0])
    fc1 = next(layer for layer in trace("test", model, image) if layer.name == "fc1").output
    np.testing.assert_array_equal(images(shown["fc1 (Linear): 120 units"])[0], fc1)


def test_feature_maps_uses_one_scale_for_a_layer_centred_on_zero_if_signed():
    shown = panels(feature_maps(*model_and_image("LeNet-5")))
    conv1, relu = shown["conv1 (Conv2d): 6 maps of 28×28"], shown["activation (ReLU): 6 maps of 14×14"]
    assert {image.get_clim() for image in conv1.images} == {(-abs(images(conv1)).max(), abs(images(conv1)).max())}
    assert {image.get_clim() for image in relu.images} == {(0, images(relu).max())}
    assert {image.get_cmap().name for image in conv1.images} == {style.SIGNED.name}
    assert {image.get_cmap().name for image in relu.images} == {style.AMOUNT.name}


def test_feature_maps_shows_an_image_of_three_channels_in_colours():
    model, image = model_and_image("residual")
    (shown,) = images(panels(feature_maps(model, image))["image: 3 channels of 13×32"])
    low, high = image.min(), image.max()
    np.testing.assert_allclose(shown, np.moveaxis((image - low) / (high - low), 0, -1), atol=1e-6)


def test_feature_maps_shows_the_strongest_of_many_maps_and_units():
    model, image = model_and_image("64 channels, 2 in")
    figure = feature_maps(model, image)
    maps = trace("test", model, image)[2].output[0]
    strongest = np.sort(np.argsort(-np.square(maps).sum((1, 2)), kind="stable")[:16])
    axes = panels(figure)["2 (Conv2d): 64 maps of 6×6, the 16 strongest in 3 shown"]
    np.testing.assert_array_equal(images(axes), maps[strongest])
    assert [text.get_text() for text in axes.texts] == [f"channel {c}" for c in strongest]
    assert "5 (Linear): 300 units, the 128 strongest shown" in panels(figure)


@pytest.mark.parametrize("end", [None, nn.Softmax(1), nn.LogSoftmax(1)])
def test_feature_maps_shows_scores_with_the_probability_of_each_class(end):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), *([end] if end else []))
    model[1].load_state_dict({"weight": mg.zeros(3, 4), "bias": mg.tensor([0.0, float(np.log(2)), 0.0])})
    axes = feature_maps(model, np.ones((2, 2))).axes[-2]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "class 0\n25.0 %", "class 1\n50.0 %", "class 2\n25.0 %"
    ]  # fmt: skip


def test_feature_maps_shows_the_most_probable_of_many_classes():
    model, image = model_and_image("64 channels, 2 in")
    scores = model(mg.tensor(image[None])).detach().numpy()[0]
    axes = panels(feature_maps(model, image))["7 (Linear): 1000 scores, the 12 highest shown"]
    shown = [label.get_text().split()[1] for label in axes.get_xticklabels()]
    assert shown == [str(c) for c in sorted(np.argsort(-scores)[:12])]


def test_feature_maps_shows_no_probability_for_outputs_that_are_no_scores():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Sigmoid())
    assert list(panels(feature_maps(model, noise(2, 2))))[-1] == "2 (Sigmoid): 3 units"
    assert list(panels(feature_maps(*model_and_image("no convolution"))))[-1] == "1 (Linear): 1 unit"


def test_feature_maps_shows_the_given_layers():
    model, image = model_and_image("LeNet-5")
    names = [
        heading.split()[0].rstrip(":") for heading in panels(feature_maps(model, image, ["fc3", "conv2", "reshape"]))
    ]
    assert names == ["image", "conv2", "reshape", "fc3"]
    assert len(panels(feature_maps(model, image, "conv2"))) == 2


def test_feature_maps_and_explain_pixel_do_not_change_the_model():
    model, image = model_and_image("residual")
    model.fc.eval()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    feature_maps(model, image), explain_pixel(model, image, "a", 0, 0, 0)
    assert (model.training, model.drop.training, model.fc.training) == (True, True, False)
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_feature_maps_refuses_bad_layers_images_and_models():
    model, image = model_and_image("LeNet-5")
    with pytest.raises(ValidationError, match="feature_maps: there is no layer 'conv9'; choose one of conv1, pool1"):
        feature_maps(model, image, ["conv1", "conv9"])
    with pytest.raises(
        ValidationError, match="feature_maps: layers holds 0 names, not 1 or more; name a layer, or pass"
    ):
        feature_maps(model, image, [])
    with pytest.raises(ShapeError, match=r"feature_maps: 2 images in shape \(2, 1, 28, 28\), not 1; pass images\[i\]"):
        feature_maps(model, noise(2, 1, 28, 28))
    with pytest.raises(ShapeError, match="weight reads 1 channels but x has 3"):
        feature_maps(model, noise(3, 28, 28))
    with pytest.raises(ValidationError, match="feature_maps: model is a function; pass an nn.Module"):
        feature_maps(lambda x: x, image)
    with pytest.raises(ValidationError, match="feature_maps: 784 of 784 values of the image are NaN or infinite; pass"):
        feature_maps(model, image * np.nan)
    nn.init.constant_(model.fc1.bias, np.inf)
    with pytest.raises(
        ValidationError, match="feature_maps: 120 of 120 values of fc1 are NaN .* a lower learning rate"
    ):
        feature_maps(model, image)


# --- one pixel


@pytest.mark.parametrize("name, layer, channel, row, col", ASKED)
def test_explain_pixel_value_equals_the_output_of_the_layer(name, layer, channel, row, col):
    model, image = model_and_image(name)
    pixel = explain_pixel(model, image, layer, channel, row, col)
    (output,) = [step.output for step in trace("test", model, image) if step.name == layer]
    assert pixel.value == pytest.approx(output[0, channel, row, col], abs=1e-5)
    assert pixel.computed == output[0, channel, row, col]
    assert pixel.sum == pytest.approx((pixel.patch * pixel.kernel).sum())


def test_explain_pixel_equals_every_output_of_a_strided_dilated_grouped_padded_convolution():
    model = nn.Sequential(nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(3, 1), dilation=(2, 3), groups=2))
    image = noise(4, 6, 7)
    output = trace("test", model, image)[0].output[0]
    values = [explain_pixel(model, image, "0", *place).value for place in np.ndindex(output.shape)]
    np.testing.assert_allclose(values, output.ravel(), atol=1e-5)


def test_explain_pixel_marks_padding():
    pixel = explain_pixel(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), np.ones((4, 4)), "0", 0, 0, 3)
    np.testing.assert_array_equal(pixel.inside, [[0, 0, 0], [1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(pixel.patch[0], pixel.inside)
    assert "rows −1 to 1, columns 2 to 4, 5 of 9 pixels are zero padding" in pixel.text
    assert "     pad pad pad " in pixel.text
    assert "hatched: zero padding around the input of the layer" in "\n".join(drawn_strings(pixel.figure))


@pytest.mark.parametrize("padding, row, edge", [(0, 0, -0.5), (2, 0, -2.5), (2, 1, -1.5)])
def test_explain_pixel_hatches_only_the_padding_that_the_window_reads(padding, row, edge):
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=padding))
    axes = explain_pixel(net, noise(8, 8), "0", 0, row, 3).figure.axes[1]
    assert axes.get_ylim() == (7.5, edge) and axes.get_xlim() == (-0.5, 7.5)


def test_explain_pixel_tells_the_scale_of_the_output():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    with mg.no_grad():
        net[0].weight[:] = -2
    axes = explain_pixel(net, np.array([[1.5, 0], [-3, 0]]), "0", 0, 0, 1).figure.axes[2]
    assert axes.get_xlabel() == "row 0\ncolumn 1\ncolours: −6 to 6"


def test_explain_pixel_of_a_window_inside_the_padding():
    pixel = explain_pixel(nn.Sequential(nn.Conv2d(1, 1, 1, padding=2)), noise(3, 3), "0", 0, 6, 0)
    assert (pixel.value, len(pixel.rows), len(pixel.cols)) == (pixel.bias, 0, 0)
    assert "In the image: no row, no column" in pixel.text
    assert "no row\nno column" in drawn_strings(pixel.figure)


def test_explain_pixel_of_a_filter_in_a_group():
    model, image = model_and_image("residual")
    pixel = explain_pixel(model, image, "b", 5, 0, 0)
    assert pixel.channels == range(4, 6)
    assert "in the input of b: channels 4 to 5 of 13×32" in pixel.text


def test_explain_pixel_applies_only_an_activation_that_reads_the_pixel():
    model, image = model_and_image("residual")
    pixel = explain_pixel(model, image, "a", 0, 5, 5)
    assert (pixel.activation, pixel.following) == ("leaky_relu", "leaky_relu")
    assert pixel.activated == pytest.approx(pixel.value * (0.1 if pixel.value < 0 else 1), abs=1e-6)
    assert "No activation reads it; the next layer is add" in explain_pixel(model, image, "c", 0, 0, 0).text
    last = explain_pixel(nn.Sequential(nn.Conv2d(1, 1, 1)), noise(2, 2), "0", 0, 0, 0)
    assert (last.activation, last.activated, last.following) == (None, None, None)


@pytest.mark.parametrize("layer, value", [(nn.ReLU(), 0.0), (nn.Tanh(), -0.7615942), (nn.Sigmoid(), 0.2689414)])
def test_explain_pixel_text_goes_from_products_to_activation(layer, value):
    model = nn.Sequential(nn.Conv2d(1, 1, 2), layer)
    nn.init.constant_(model[0].weight, 0.5)
    nn.init.constant_(model[0].bias, -3.0)
    pixel = explain_pixel(model, np.ones((2, 2)), "0", 0, 0, 0)
    assert pixel.activated == pytest.approx(value)
    for line in (
        "layer 0, channel 0, row 0, column 0: −1",
        "1. Window: rows 0 to 1, columns 0 to 1",
        "     1 1  × 0.5 0.5  = 0.5 0.5",
        "3. Sum of all products: 2",
        "4. Plus bias: 2 + (−3) = −1",
        f"(−1) = {value:.4g}".replace("-", "−"),
        "0 itself computed −1: a difference of 0 by rounding",
    ):
        assert line in str(pixel)


def test_explain_pixel_shows_the_strongest_of_many_input_channels_and_sums_the_others():
    pixel = explain_pixel(*model_and_image("64 channels, 20 in"), "2", 0, 0, 0)
    strength = np.square(pixel.products).sum((1, 2))
    shown = sorted(np.argsort(-strength)[:3])
    rest = f"{np.delete(pixel.products, shown, 0).sum():.4g}".replace("-", "−")
    assert f"the other 61 input channels, sum {rest}" in pixel.text
    assert [axes.get_ylabel() for axes in pixel.figure.axes[3:12:3]] == [f"channel {c}" for c in shown]
    assert "No bias" in explain_pixel(*model_and_image("residual"), "c", 0, 0, 0).text


def test_explain_pixel_str_and_repr():
    pixel = explain_pixel(*model_and_image("LeNet-5"), "conv1", 0, 0, 0)
    assert str(pixel) == pixel.text
    assert repr(pixel) == f"PixelExplanation(layer conv1, channel 0, row 0, column 0: {pixel.value:.6g})"


# --- receptive fields


def pixel_effects(model, image, name):
    """Return (OH, OW, H, W): whether any change of a pixel changes some channel of a layer's output."""
    (_, H, W), changes = image.shape, (-100.0, -1.0, 1.0, 100.0)
    before = next(layer for layer in trace("test", model, image) if layer.name == name).output
    found = np.zeros((*before.shape[2:], H, W), bool)
    for change in changes:
        changed = np.repeat(image[None], H * W, axis=0).reshape(H, W, *image.shape)
        for h, w in np.ndindex(H, W):
            changed[h, w, :, h, w] += change
        after = next(x for x in trace("test", model, changed.reshape(-1, *image.shape)) if x.name == name).output
        found |= np.moveaxis((abs(after - before) > 1e-6).any(1).reshape(H, W, *before.shape[2:]), (0, 1), (2, 3))
    return found


def hull(pixels):
    """Return the ranges of rows and columns from the first to the last True in (H, W)."""
    rows, cols = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return range(rows[0], rows[-1] + 1), range(cols[0], cols[-1] + 1)


@pytest.mark.parametrize("name, places", [("conv1", [0, 1, 13, 26, 27]), ("conv2", range(10))])
def test_explain_pixel_receptive_fields_of_lenet_equal_brute_force(name, places):
    model, image = LeNet5(), noise(1, 28, 28)
    found = pixel_effects(model, image, name)
    for row, col in product(places, places):
        pixel = explain_pixel(model, image, name, 0, row, col)
        assert (pixel.rows, pixel.cols) == hull(found[row, col])


def test_explain_pixel_receptive_fields_of_a_strided_dilated_padded_network_equal_brute_force():
    """Where a dilated window reaches into padding, the first pixel inside may lie between two pixels that it reads."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.AvgPool2d(2, stride=1),
        nn.Conv2d(3, 4, (3, 2), padding=(2, 1), dilation=(2, 1)),
    ).double()  # fmt: skip
    image = RNG.normal(0, 0.1, (2, 14, 13))
    found = pixel_effects(model, image, "4")
    for row, col in np.ndindex(found.shape[:2]):
        pixel = explain_pixel(model, image, "4", 0, row, col)
        rows, cols = hull(found[row, col])
        assert pixel.cols == cols
        assert set(rows) <= set(pixel.rows)
        if pixel.inside.all():
            assert pixel.rows == rows


def test_explain_pixel_gives_the_whole_image_if_the_field_is_unknown():
    class Reshaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.conv(x.reshape(1, 1, 6, 4))

    pixel = explain_pixel(Reshaped(), noise(4, 6), "conv", 0, 0, 0)
    assert (pixel.rows, pixel.cols) == (range(4), range(6))


# --- errors


def test_explain_pixel_refuses_layers_that_are_no_convolution():
    model, image = model_and_image("LeNet-5")
    with pytest.raises(ValidationError, match="explain_pixel: there is no layer 'conv3'; choose one of conv1, pool1"):
        explain_pixel(model, image, "conv3", 0, 0, 0)
    with pytest.raises(
        ValidationError, match="explain_pixel: fc1 is a Linear, no convolution; choose one of conv1, con"
    ):
        explain_pixel(model, image, "fc1", 0, 0, 0)
    with pytest.raises(
        ValidationError, match="explain_pixel: the model ran 0 convolutions, only Flatten, Linear; pass a"
    ):
        explain_pixel(*model_and_image("no convolution"), "1", 0, 0, 0)


@pytest.mark.parametrize(
    "asked, message",
    [
        ((16, 0, 0), "channel is 16 but the output of conv2 has 16 channels; use a whole number from 0 to 15"),
        ((0, 10, 0), "row is 10 but the output of conv2 has 10 rows; use a whole number from 0 to 9"),
        ((0, 0, -1), "col is -1 but the output of conv2 has 10 columns; use a whole number from 0 to 9"),
        ((0, 0, 1.5), "col is 1.5 but the output of conv2 has 10 columns"),
    ],
)
def test_explain_pixel_refuses_positions_out_of_range(asked, message):
    with pytest.raises(ValidationError, match="explain_pixel: " + message):
        explain_pixel(*model_and_image("LeNet-5"), "conv2", *asked)


def test_explain_pixel_refuses_images_that_do_not_fit():
    model, image = model_and_image("LeNet-5")
    with pytest.raises(ShapeError, match=r"explain_pixel: image has shape \(784,\); pass \(H, W\), \(C, H, W\) or"):
        explain_pixel(model, image.ravel(), "conv1", 0, 0, 0)
    with pytest.raises(ShapeError, match="weight reads 1 channels but x has 3"):
        explain_pixel(model, noise(3, 28, 28), "conv1", 0, 0, 0)
    with pytest.raises(ValidationError, match="explain_pixel: 784 of 784 values that conv1 reads are NaN or infinite"):
        explain_pixel(model, image * np.nan, "conv1", 0, 0, 0)
    nn.init.constant_(model.conv1.weight, np.nan)
    with pytest.raises(ValidationError, match="explain_pixel: 150 of 150 values of the weight of conv1 are NaN"):
        explain_pixel(model, image, "conv1", 0, 0, 0)


@pytest.mark.parametrize(("padding", "edge", "told"), [(1, 0.5, True), (0, 0.5, False), (1, 0.0, False)])
def test_feature_maps_says_that_a_colour_image_is_padded_with_zeros(padding, edge, told):
    image = np.full((3, 8, 8), edge)
    image[:, 3:5, 3:5] = 0.9
    figure = feature_maps(nn.Sequential(nn.Conv2d(3, 2, 3, padding=padding)), image)
    note = "0 pads with 0, not with the background: its maps have a frame that the image lacks."
    assert (note in drawn_strings(figure)) == told
