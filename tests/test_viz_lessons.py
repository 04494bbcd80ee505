"""viz.window_positions, slide_window, shared_weights, shifted_maps, dense_or_convolution, filter_step, patch_grid, and
how images are shown.
"""

import numpy as np
import pytest
from figures import check_readable, drawn_strings
from matplotlib.colors import to_rgb
from PIL import Image

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, viz
from minigrad.errors import ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.viz import style
from minigrad.viz.display import choose_display
from minigrad.viz.inputs import name_classes
from minigrad.viz.sliding import _make_slide

RNG = np.random.default_rng(0)
EDGE = np.outer([1, 2, 1], [-1, 0, 1])


def photo(channels=3):
    return RNG.normal(size=(channels, 12, 16)).astype(np.float32)


def model(channels=3, **settings):
    mg.manual_seed(0)
    conv = nn.Conv2d(channels, 4, 3, **settings)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


FIGURES = {
    "window_positions": lambda: viz.window_positions(RNG.normal(size=(7, 9)), EDGE, 2, 1),
    "window_positions, large": lambda: viz.window_positions(100 * RNG.normal(size=(16, 16)), EDGE, dilation=2),
    "window_positions, one": lambda: viz.window_positions([[1.0]], [[2.0]]),
    "shared_weights": lambda: viz.shared_weights(LeNet5(), np.eye(28), "conv1", 0),
    "shared_weights, colour": lambda: viz.shared_weights(model(), photo(), "0", 1, normalize=(0.5, 0.2)),
    "shifted_maps": lambda: viz.shifted_maps(LeNet5(), np.eye(28), "conv2", 0),
    "shifted_maps, colour": lambda: viz.shifted_maps(model(stride=2), photo(), "0", 1, (2, -4)),
    "dense_or_convolution": lambda: viz.dense_or_convolution(),
    "filter_step": lambda: viz.filter_step(LeNet5(), np.eye(28)[None], [3], "conv1", 0),
    "filter_step, deep": lambda: viz.filter_step(LeNet5(), np.eye(28)[None], [3], "conv2", 7),
    "patch_grid": lambda: viz.patch_grid(LeNet5(), RNG.normal(size=(9, 28, 28))),
    "patch_grid, colour": lambda: viz.patch_grid(model(padding=1), photo()[None], n=9),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_lessons_have_readable_text(name):
    check_readable(FIGURES[name]())


# ---- how images are shown


def test_display_undoes_normalisation_so_that_black_grey_and_white_stay():
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.1])
    levels = np.array([0.0, 0.5, 1.0])
    image = (levels[None, None] - mean[:, None, None]) / std[:, None, None]  # black, grey and white
    shown = choose_display("test", image, (mean, std)).to_pixels(image)
    np.testing.assert_allclose(shown, levels[None, :, None] * np.ones(3), atol=1e-12)
    stretched = choose_display("test", image, None)
    assert stretched.note.startswith("colours are not true") and np.ptp(stretched.to_pixels(image)[0, 1]) > 0.05


@pytest.mark.parametrize("pixels", [[0.0, 0.2, 0.7], [0.0, 51.0, 178.5]])
def test_display_takes_pixels_from_0_to_1_and_bytes_as_they_are(pixels):
    image = np.array(pixels).reshape(1, 1, 3)
    image = image if image.max() < 1 else np.rint(image)
    display = choose_display("test", image, None)
    np.testing.assert_allclose(display.to_pixels(image), [[0, 0.2, 0.7]], atol=2e-3)
    assert not display.note


def test_display_draws_padding_pale_and_constant_images_grey():
    display = choose_display("test", np.full((1, 2, 2), -0.42), None)
    np.testing.assert_allclose(display.to_colours(np.full((1, 2, 2), -0.42)), 0.5)
    assert (display.to_colours(np.full((1, 1, 1), np.nan)) > 0.8).all()


@pytest.mark.parametrize(
    "normalize, message",
    [
        (0.5, r"saliency|attribution: normalize is 0.5; give \(mean, std\)"),
        (([0.1, 0.2], 0.5), "normalize has 2 means and 1 stds but the image has 3 channels"),
        ((0.5, 0), "use a finite mean and a std above 0"),
    ],
)
def test_display_refuses_a_normalisation_that_does_not_fit(normalize, message):
    with pytest.raises(ValidationError, match=message):
        viz.saliency(model(), photo(), normalize=normalize)


def test_pictures_take_normalisation_and_class_names_from_the_model():
    net, image = model(), photo()
    names = ["striped red disc", "plain blue square", "x" * 40]
    net.model_info = {"class_names": names, "normalize": [[0.5], [0.25]], "input_size": [3, 12, 16]}
    expected = np.moveaxis((image * 0.25 + 0.5).clip(0, 1), 0, -1)
    figures = {
        "saliency": viz.saliency(net, image, target=0),
        "grad_cam": viz.grad_cam(net, image, target=0),
        "occlusion": viz.occlusion(net, image, target=0, size=6, stride=6),
        "feature_maps": viz.feature_maps(net, image),
        "explain_pixel": viz.explain_pixel(net, image, "0", 0, 1, 1).figure,
        "top_patches": viz.top_patches(net, image[None], "0", 0),
        "mistakes": viz.mistakes(net, image[None], [int(net(mg.tensor(image[None])).argmin().item())]),
        "prototypes": viz.prototypes(net, images=image[None], steps=0),
    }
    for name, figure in figures.items():
        pictures = [np.asarray(i.get_array()) for axes in figure.axes for i in axes.images]
        assert any(p.shape == expected.shape and np.allclose(p, expected, atol=1e-5) for p in pictures), name
        words = " ".join(drawn_strings(figure)).replace("\n", " ")
        assert "not true" not in words
        assert "striped red disc" in words or name in ("explain_pixel", "top_patches", "mistakes"), name
        assert "class 0" not in words and "x" * 40 not in words


def test_class_names_are_checked_and_long_ones_lose_their_middle():
    assert name_classes("test", ["ab", 12 * "long "], 2) == ["ab", "long long lon…ong long long "]
    with pytest.raises(ValidationError, match="saliency: 2 names in classes but the model scores 3; name each one"):
        viz.saliency(model(), photo(), classes=["a", "b"])


# ---- feature_maps


def test_feature_maps_shows_the_same_channels_of_a_convolution_its_activation_and_its_pooling():
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 40, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(40, 30, 3))
    cells = {}
    for axes in viz.feature_maps(net, RNG.normal(size=(12, 12))).axes:
        cells[axes.get_title(loc="left").split(" ")[0]] = [t.get_text() for t in axes.texts]
    assert len(cells["0"]) == 16 and cells["0"] == cells["1"] == cells["2"] != cells["3"]


def test_feature_maps_names_the_layer_whose_strongest_channels_are_shown():
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 40, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(40, 30, 3))
    headings = [axes.get_title(loc="left") for axes in viz.feature_maps(net, RNG.normal(size=(12, 12))).axes]
    assert "0 (Conv2d): 40 maps of 10×10, the 16 strongest in 2 shown" in headings
    assert "1 (ReLU): 40 maps of 10×10, the 16 strongest in 2 shown" in headings
    assert "2 (MaxPool2d): 40 maps of 5×5, the 16 strongest shown" in headings
    assert "3 (Conv2d): 30 maps of 3×3, the 16 strongest shown" in headings


def test_feature_maps_explains_a_background_that_is_not_zero_and_the_frame_of_padding():
    digit = np.full((28, 28), -0.42, np.float32)
    digit[8:20, 12:16] = 2.8
    conv = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
    text = viz.feature_maps(conv, digit, normalize=(0.1307, 0.3081))._supxlabel.get_text()
    assert "The background, shown black, is −0.42, not 0" in text and "0 pads with 0" in text
    second = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, padding=1))
    assert "pads" not in viz.feature_maps(second, digit)._supxlabel.get_text()  # it pads maps, not the image
    assert "pads" not in viz.feature_maps(nn.Sequential(nn.Conv2d(1, 2, 3)), digit)._supxlabel.get_text()
    assert viz.feature_maps(conv, np.maximum(digit, 0))._supxlabel.get_text() == ""


# ---- windows


@pytest.mark.parametrize("stride, padding, dilation", [(1, 0, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)])
def test_windows_compute_what_conv2d_computes(stride, padding, dilation):
    image, kernel = RNG.normal(size=(9, 11)), RNG.normal(size=(3, 2))
    slide = _make_slide("test", image, kernel, stride, padding, dilation)
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    expected = F.conv2d(mg.tensor(image[None, None]), mg.tensor(kernel[None, None]), **settings).numpy()[0, 0]
    np.testing.assert_allclose(slide.output, expected, atol=1e-12)
    assert slide.is_zero.sum() == slide.padded.size - image.size
    figure = viz.window_positions(image, kernel, **settings)
    assert figure.get_suptitle().endswith(f"= {len(expected)} rows")
    frames = [p for p in figure.axes[0].patches if p.get_hatch() is None]
    widths = [p.get_width() for p in frames[::6]]
    assert len(set(widths)) == len(widths) == 3  # no frame hides another where windows overlap
    blue = [(p.get_y() + p.get_height() / 2, p.get_x() + p.get_width() / 2) for p in frames[:6]]
    np.testing.assert_allclose(blue, [(dilation * y, dilation * x) for y in range(3) for x in range(2)])


def test_slide_window_adds_one_product_in_each_frame_of_the_first_windows(tmp_path):
    path = viz.slide_window(np.eye(4), np.ones((2, 2)), tmp_path / "new" / "slide.gif", stride=2, hold=1)
    with Image.open(path) as film:
        assert film.n_frames == 4 + 4 + 1 + 1
        film.seek(9)
        assert film.info["duration"] == 1250


@pytest.mark.parametrize(
    "arguments, settings, error, message",
    [
        ((np.zeros((17, 3)), EDGE), {}, ShapeError, r"image has shape \(17, 3\), not \(H, W\) with 1 to 16"),
        ((np.zeros((3, 3, 3)), EDGE), {}, ShapeError, r"image has shape \(3, 3, 3\)"),
        ((np.zeros((3, 3)), EDGE), {"dilation": 2}, ShapeError, "covers 5×5 pixels but the padded image has 3×3"),
        ((np.zeros((3, 3)), EDGE), {"stride": 0}, ValidationError, "stride is 0"),
        ((np.full((3, 3), np.nan), EDGE), {}, ValidationError, "9 of 9 values of image are NaN"),
    ],
)
def test_window_positions_refuses_bad_arguments(arguments, settings, error, message):
    with pytest.raises(error, match=f"window_positions: .*{message}"):
        viz.window_positions(*arguments, **settings)


def test_slide_window_refuses_a_speed_out_of_range(tmp_path):
    with pytest.raises(ValidationError, match="slide_window: frames_per_second is 0; use a number above 0"):
        viz.slide_window(np.eye(3), EDGE, tmp_path / "a.gif", frames_per_second=0)
    with pytest.raises(ValidationError, match="slide_window: hold is -1; use a number of seconds of 0 or more"):
        viz.slide_window(np.eye(3), EDGE, tmp_path / "a.gif", hold=-1)


# ---- sharing


def test_shared_weights_shows_the_same_weights_at_the_largest_and_the_smallest_sum():
    net, image = model(), photo()
    output = net[0](mg.tensor(image[None])).detach().numpy()[0, 2]
    figure = viz.shared_weights(net, image, "0", 2)
    first, second = (np.asarray(figure.axes[k].images[0].get_array()) for k in (4, 7))
    np.testing.assert_array_equal(first, second)
    assert figure.axes[5].get_xlabel().endswith(f": {output.max():.4g}".replace("-", "−"))
    assert figure.axes[8].get_xlabel().endswith(f": {output.min():.4g}".replace("-", "−"))
    assert figure.get_suptitle() == "0, filter 2: the same 27 weights at 140 places"
    assert figure.axes[5].get_xlabel().startswith("sum over all 3 channels")
    for column in (3, 4, 5):  # one scale for both places
        assert figure.axes[column].images[0].get_clim() == figure.axes[column + 3].images[0].get_clim()
    one = viz.shared_weights(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), np.eye(6), "0", 0)
    assert not any("channels" in axes.get_xlabel() for axes in one.axes)
    bare = viz.shared_weights(model(bias=False), photo(), "0", 2)
    total, last = bare.axes[5].get_xlabel().splitlines()
    assert last == f"no bias: {total.removeprefix('sum over all 3 channels ')}"
    check_readable(bare)
    assert "both patches have one scale, and so have both products" in figure._supxlabel.get_text()


def test_shared_weights_shows_the_channel_with_the_largest_products_and_its_sums():
    net = nn.Sequential(nn.Conv2d(2, 1, 3))
    with mg.no_grad():
        net[0].weight[0, 0], net[0].weight[0, 1] = 5, 0.5  # the large weights read a channel of zeros
    image = np.stack([np.zeros((6, 6)), np.eye(6)])
    figure = viz.shared_weights(net, image, "0", 0)
    assert figure.axes[3].get_title() == "patch, channel 1" and figure.axes[3].images[0].get_array().any()
    assert figure.axes[5].get_title() == "products, channel 1: sum 1.5"


@pytest.mark.parametrize("shift", [(0, 4), (2, 0), (-2, -4)])
@pytest.mark.parametrize("padding, stride", [(0, 1), (1, 2)])
def test_the_map_of_a_shifted_image_is_the_shifted_map(shift, padding, stride):
    figure = viz.shifted_maps(model(padding=padding, stride=stride), photo(), "0", 1, shift)
    difference = np.asarray(figure.axes[4].images[0].get_array())
    assert np.isfinite(difference).any() and np.nanmax(abs(difference)) < 1e-5


def test_shifted_maps_shows_a_difference_where_there_is_one():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)

        def forward(self, x):
            return self.conv(x * mg.arange(x.shape[3], dtype=mg.float32))

    figure = viz.shifted_maps(Positions(), np.ones((4, 8)), "conv", 0, (0, 2))
    assert not figure.axes[4].get_title().endswith(": 0")


def test_sharing_refuses_bad_arguments():
    net = model(stride=2)
    with pytest.raises(ValidationError, match=r"shifted_maps: shift is \(0, 3\) but 0 steps over \(2, 2\) pixels"):
        viz.shifted_maps(net, photo(), "0", 0, (0, 3))
    with pytest.raises(ValidationError, match=r"shifted_maps: shift is \(0.5, 1\); give \(down, right\)"):
        viz.shifted_maps(net, photo(), "0", 0, (0.5, 1))
    with pytest.raises(ValidationError, match="shared_weights: 1 is a ReLU, no convolution; choose one of 0"):
        viz.shared_weights(net, photo(), "1", 0)
    with pytest.raises(ShapeError, match=r"layer_sizes: an image has size \(1, 3, 9\), not .* of 5 or more"):
        viz.layer_sizes([(1, 3, 9)])


def test_layer_sizes_are_those_of_real_layers():
    (row,) = viz.layer_sizes([(3, 8, 9)], filters=2, kernel_size=3)
    count = lambda layer: sum(p.numel() for p in layer.parameters())  # noqa: E731
    assert row.convolution == count(nn.Conv2d(3, 2, 3))
    assert row.dense == count(nn.Linear(3 * 8 * 9, 2 * 6 * 7)) and row.maps == (2, 6, 7)
    assert viz.layer_sizes()[-1].dense == 43_713_621_600


# ---- learning


def test_filter_step_goes_against_the_gradient_and_leaves_the_model_as_it_is():
    net, images, labels = model(), np.stack([photo() for _ in range(8)]), np.arange(8) % 3
    before = {name: value.clone().numpy() for name, value in net.state_dict().items()}
    figure = viz.filter_step(net, images, labels, "0", 1, lr=0.5)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert net[0].weight.grad is None and net.training
    loss = F.cross_entropy(net(mg.tensor(images)), mg.tensor(labels))
    loss.backward()
    gradient = net[0].weight.grad.numpy()[1]
    weights, slope, step, new = (np.asarray(figure.axes[k].images[0].get_array()) for k in range(4))
    np.testing.assert_allclose(slope, gradient[0], atol=1e-6)
    np.testing.assert_allclose(step, -0.5 * gradient[0], atol=1e-6)
    np.testing.assert_allclose(new, weights + step, atol=1e-6)
    with mg.no_grad():
        net[0].weight[1] -= mg.tensor(0.5 * gradient)
    after = F.cross_entropy(net(mg.tensor(images)), mg.tensor(labels)).item()
    assert figure.get_suptitle().endswith(f"from {loss.item():.5g} to {after:.5g}")


def test_filter_step_chooses_a_step_of_about_a_twentieth_of_the_filter_and_refuses_bad_arguments():
    net, images = model(), np.stack([photo() for _ in range(4)])
    figure = viz.filter_step(net, images, [0, 1, 2, 0], "0", 0)
    step = np.stack([np.asarray(figure.axes[4 * c + 2].images[0].get_array()) for c in range(3)])
    assert 0.03 < np.linalg.norm(step) / np.linalg.norm(net[0].weight.detach().numpy()[0]) < 0.08
    assert figure._supxlabel is None
    with pytest.raises(ValidationError, match="filter_step: lr is 0; use a number above 0"):
        viz.filter_step(net, images, [0, 1, 2, 0], "0", 0, lr=0)
    with pytest.raises(ValidationError, match="filter_step: filter is 4 but layer '0' has 4 filters; use"):
        viz.filter_step(net, images, [0, 1, 2, 0], "0", 4)


def test_filter_step_says_which_of_many_input_channels_it_shows():
    figure = viz.filter_step(LeNet5(), RNG.normal(size=(2, 28, 28)), [3, 4], "conv2", 7)
    assert figure._supxlabel.get_text() == "shown: of 6 input channels, the 3 with the largest gradient"


# ---- patches


def test_patch_grid_shows_the_patches_that_patch_places_finds():
    net, images = model(padding=1), np.stack([photo() for _ in range(12)])
    figure = viz.patch_grid(net, images, n=3, normalize=(0.5, 0.2))
    strips = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(strips) == 4
    for c, strip in enumerate(strips):
        places = viz.patch_places(net, images, "0", c, n=3)
        for k, patch in enumerate(places):
            width = strip.shape[1] // 3
            colour = strip[width // 2, k * width + width // 2]
            np.testing.assert_allclose(colour, (patch.cut()[:, 1, 1] * 0.2 + 0.5).clip(0, 1), atol=1e-5)


def test_patch_grid_leaves_out_filters_that_nothing_excites():
    net = model()
    with mg.no_grad():
        net[0].weight[2] = 0
        net[0].bias[2] = -1
    figure = viz.patch_grid(net, photo()[None])
    assert len(figure.axes[0].images) == 3
    assert [t.get_text() for t in figure.axes[0].texts] == ["0", "1", "2", "never above 0", "3"]


def test_patch_grid_says_how_many_filters_it_leaves_out_and_what_is_pale():
    mg.manual_seed(0)
    many = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.ReLU())
    figure = viz.patch_grid(many, np.ones((1, 3, 12, 16), np.float32))  # some filters answer an edge most
    assert figure.axes[0].get_title(loc="left") == "0: the first 32 of 40 filters see 3×3 pixels"
    assert "pale: padding" in figure._supxlabel.get_text()
    inside = viz.patch_grid(nn.Sequential(nn.Conv2d(1, 2, 3)), RNG.uniform(size=(2, 1, 9, 9)))
    assert "pale" not in inside._supxlabel.get_text()


def test_patch_grid_says_what_a_strip_is():
    figure = viz.patch_grid(model(), photo()[None], n=1)
    text = figure._supxlabel.get_text().replace("\n", " ")
    assert text.startswith("after the number of a filter: the patches that excite it most, each from another image")
    check_readable(figure)


def test_patch_grid_frames_white_patches():
    net = nn.Sequential(nn.Conv2d(1, 1, 3))
    with mg.no_grad():
        net[0].weight[:] = 1
    (strip,) = (np.asarray(i.get_array()) for i in viz.patch_grid(net, np.ones((1, 1, 6, 6)), n=1).axes[0].images)
    grey = np.array(to_rgb(style.GREY))
    inner = strip[:, : strip.shape[1] - max(2, strip.shape[1] // 15)]
    for edge in inner[0], inner[-1], inner[:, 0], inner[:, -1]:
        np.testing.assert_allclose(edge, np.broadcast_to(grey, edge.shape))
    assert (strip[:, -1] == 1).all() and (strip[30, 30] == 1).all()


def test_patch_grid_of_a_residual_network_shows_receptive_fields_and_not_whole_images():
    net = nn.Sequential(mg.models.resnet.BasicBlock(3, 3), nn.Conv2d(3, 2, 3))
    figure = viz.patch_grid(net, np.stack([photo() for _ in range(3)]), n=1)
    sizes = [axes.get_title(loc="left").split(" see ")[1] for axes in figure.axes]
    assert sizes == ["3×3 pixels", "5×5 pixels", "7×7 pixels"]


def test_window_positions_explains_its_colours_inside_the_picture():
    figure = viz.window_positions(np.eye(5), np.ones((3, 3)), padding=1)
    figure.canvas.draw()
    box = figure._supxlabel.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert figure._supxlabel.get_text().endswith("hatched: padded zeros")
