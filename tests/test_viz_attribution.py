"""viz.saliency, grad_cam, occlusion, maximize_activation, prototypes, top_patches and the numbers behind them."""

import numpy as np
import pytest
from figures import check_readable
from matplotlib.colors import to_rgb

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, optim
from minigrad.errors import MinigradError, ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.viz import style
from minigrad.viz.attribution import grad_cam, grad_cam_map, occlusion, occlusion_map, saliency, saliency_map
from minigrad.viz.excitation import activation_images, maximize_activation, prototype_images, prototypes
from minigrad.viz.patches import patch_places, top_patches
from minigrad.viz.tracing import trace

RNG = np.random.default_rng(0)
QUICK = {"steps": 3}


class Small(nn.Module):
    """Functions and layers, padding and stride, dropout, any number of channels."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.first = nn.Conv2d(channels, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6 * 3 * 4, classes)

    def forward(self, x):
        x = F.relu(self.second(F.max_pool2d(F.tanh(self.first(x)), 2)))
        return self.last(self.drop(x.flatten(1)))


class Mean(nn.Module):
    """One convolution, and the mean of each of its maps as a score: every number can be calculated by hand."""

    def __init__(self, weight, **settings):
        super().__init__()
        weight = np.asarray(weight, np.float32)
        self.conv = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:], bias=False, **settings)
        self.conv.load_state_dict({"weight": weight})

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def photo(channels=3, n=None):
    shape = (channels, 12, 16) if n is None else (n, channels, 12, 16)
    return RNG.normal(size=shape).astype(np.float32)


def scores(model, images):
    images = np.asarray(images, np.float32 if next(model.parameters()).dtype == np.float32 else np.float64)
    model.eval()
    with mg.no_grad():
        return model(mg.tensor(images.reshape(-1, *images.shape[-3:]))).numpy()


def check_overlay(figure, values, colours):
    """The third panel shows the values over the image in pale colours; a value of 0 leaves them as they are."""
    below, above = figure.axes[2].images
    np.testing.assert_allclose(np.asarray(below.get_array()), 0.3 + 0.6 * colours, atol=1e-6)
    np.testing.assert_array_equal(np.sign(above.get_array()), np.sign(values))
    np.testing.assert_allclose(above.get_alpha(), 0.85 * abs(values) / abs(values).max(), rtol=1e-5)
    assert above.get_clim() == figure.axes[1].images[0].get_clim() and above.cmap == figure.axes[1].images[0].cmap
    assert figure.axes[2].get_title() == "over the image"


def colours_of(image):
    """Return an image (C, H, W) as (H, W, 3), stretched from black to white; grey unless C is 3."""
    pixels = (image - image.min()) / np.ptp(image)
    return np.moveaxis(pixels if len(image) == 3 else np.repeat(pixels.mean(0)[None], 3, 0), 0, -1)


def shown(figure, panel):
    return np.asarray(figure.axes[panel].images[0].get_array())


CALLS = {
    "saliency": lambda m, c, s: saliency(m, np.ones((c, *s))),
    "saliency, other class": lambda m, c, s: saliency(m, np.eye(*s) * np.ones((c, 1, 1)), target=1),
    "grad_cam": lambda m, c, s: grad_cam(m, np.eye(*s) * np.ones((c, 1, 1))),
    "occlusion": lambda m, c, s: occlusion(m, np.eye(*s) * np.ones((c, 1, 1)), size=4, stride=4),
    "prototypes": lambda m, c, s: prototypes(m, (c, *s), **QUICK),
    "maximize_activation, one": lambda m, c, s: maximize_activation(m, _first(m), 2, (c, *s), **QUICK),
    "maximize_activation, all": lambda m, c, s: maximize_activation(m, _first(m), range(5), (c, *s), **QUICK),
    "top_patches": lambda m, c, s: top_patches(m, RNG.normal(size=(12, c, *s)), _first(m), 1),
    "top_patches, one": lambda m, c, s: top_patches(m, RNG.normal(size=(1, c, *s)), _first(m), 1),
}
MODELS = {
    "LeNet-5": (LeNet5, 1, (28, 28)),
    "colour": (Small, 3, (12, 16)),
    "five channels": (lambda: Small(5), 5, (12, 16)),
}


def _first(model):
    return next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", MODELS)
def test_attribution_and_excitation_figures_have_readable_text(kind, name):
    make, channels, sizes = MODELS[kind]
    figure = CALLS[name](make(), channels, sizes)
    check_readable(figure)


@pytest.mark.parametrize("name", CALLS)
def test_attribution_and_excitation_do_not_change_the_model(name):
    model = Small()
    model.second.eval()
    F.cross_entropy(model(mg.tensor(photo(n=2))), mg.tensor([0, 1])).backward()
    model.first.bias.grad = None
    model.first.weight.requires_grad = False
    hook = model.first.register_forward_hook(lambda *_: None)

    def state():
        return (
            [parameter.numpy().copy() for parameter in model.state_dict().values()],
            [parameter.grad is None or parameter.grad.numpy().copy() for parameter in model.parameters()],
            [parameter.requires_grad for parameter in model.parameters()],
            [module.training for module in model.modules()],
            [[*module._forward_hooks, *module._forward_pre_hooks] for module in model.modules()],
        )

    before = state()
    CALLS[name](model, 3, (12, 16))
    np.testing.assert_equal(state(), before)
    assert list(model.first._forward_hooks) == [hook.number]


@pytest.mark.parametrize("name", CALLS)
def test_attribution_and_excitation_do_not_change_the_model_after_an_error(name):
    model = Small()
    with pytest.raises(MinigradError, match="channels"):
        CALLS[name](model, 2, (12, 16))
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_saliency_map_works_inside_no_grad():
    model, image = Small(), photo()
    with mg.no_grad():
        inside = saliency_map(model, image)
    np.testing.assert_array_equal(inside, saliency_map(model, image))


# --- saliency


@pytest.mark.parametrize("target", [None, 1])
def test_saliency_map_equals_finite_differences(target):
    model, image = Small().double(), photo().astype(np.float64)
    k = scores(model, image).argmax() if target is None else target
    slopes = saliency_map(model, image, target)
    assert slopes.shape == image.shape
    for _ in range(30):
        pixel = tuple(RNG.integers(0, image.shape))
        step = np.zeros_like(image)
        step[pixel] = 1e-6
        difference = (scores(model, image + step) - scores(model, image - step))[0, k] / 2e-6
        assert slopes[pixel] == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_saliency_shows_the_largest_gradient_of_the_channels_beside_the_image():
    model, image = Small(), photo()
    figure = saliency(model, image, target=2)
    largest = abs(saliency_map(model, image, target=2)).max(0)
    np.testing.assert_allclose(shown(figure, 1), largest, rtol=1e-6)
    assert figure.axes[1].images[0].get_clim() == (0, pytest.approx(largest.max()))
    np.testing.assert_allclose(shown(figure, 0), np.moveaxis((image - image.min()) / np.ptp(image), 0, -1), atol=1e-6)
    assert figure.axes[3].get_ylabel().endswith("largest of 3 channels,\nwithout sign")
    check_overlay(figure, largest, colours_of(image))
    assert figure.axes[0].get_xlabel().startswith("colours are not true")


def test_saliency_of_one_channel_has_a_sign_on_a_scale_around_zero():
    model, image = Small(1), photo()[:1]
    figure, gradient = saliency(model, image, target=2), saliency_map(model, image, target=2)[0]
    np.testing.assert_allclose(shown(figure, 1), gradient, rtol=1e-6)
    low, high = figure.axes[1].images[0].get_clim()
    assert high == -low == pytest.approx(abs(gradient).max())


def test_saliency_does_not_cancel_a_pixel_that_should_become_redder_and_less_green():
    opponent = Mean([[[[1.0]], [[-1.0]], [[0.0]]]])
    assert (shown(saliency(opponent, np.ones((3, 4, 4))), 1) > 0).all()


def test_saliency_and_occlusion_titles_name_target_probability_and_predicted_class():
    model, image = Small(), photo()
    chances = np.exp(scores(model, image)[0])
    chances *= 100 / chances.sum()
    best, worst = chances.argmax(), chances.argmin()
    asked = f"Saliency: class {best}, probability {chances[best]:.1f} %"
    assert saliency(model, image).get_suptitle() == asked
    other = f"Occlusion: class {worst}, probability {chances[worst]:.1f} %"
    predicted = f"Predicted: class {best}, {chances[best]:.1f} %"
    assert occlusion(model, image, target=int(worst)).get_suptitle() == f"{other}\n{predicted}"


def test_saliency_takes_scores_of_a_softmax_as_probabilities():
    model = nn.Sequential(Small(), nn.Softmax(1))
    image = photo()
    best = scores(model, image).max()
    assert f"probability {100 * best:.1f} %" in saliency(model, image).get_suptitle()


def test_saliency_map_accepts_two_three_or_four_axes_and_integers():
    model = Small(1)
    image = RNG.integers(0, 255, (12, 16), dtype=np.uint8)
    expected = saliency_map(model, image)
    np.testing.assert_array_equal(saliency_map(model, image[None]), expected)
    np.testing.assert_array_equal(saliency_map(model, mg.tensor(image[None, None].astype(float))), expected)


# --- Grad-CAM


def test_grad_cam_map_of_known_weights():
    """Scores are means of maps, so only map k has a gradient, 1 / 12 at each pixel."""
    model, image = Mean([[[[1.0]]], [[[-2.0]]]]), RNG.normal(size=(3, 4))
    expected = np.maximum(-2 * image, 0) / 12
    np.testing.assert_allclose(grad_cam_map(model, image, "conv", target=1), expected, rtol=1e-5)
    np.testing.assert_allclose(grad_cam_map(model, image, target=0), np.maximum(image, 0) / 12, rtol=1e-5)


def test_grad_cam_map_is_centred_on_receptive_fields():
    """With a window of one pixel and stride 3, outputs lie on pixels 0, 3 and 6; one pixel is bright."""
    model, image = Mean([[[[1.0]]]], stride=3), np.zeros((7, 7))
    image[3, 6] = 9
    heat = grad_cam_map(model, image)
    slope = np.maximum(1 - abs(np.arange(7) - 3) / 3, 0)[:, None] * np.maximum(1 - abs(np.arange(7) - 6) / 3, 0)
    np.testing.assert_allclose(heat, slope, atol=1e-6)


def test_grad_cam_equals_the_formula_in_a_deep_model():
    model, image = Small().double(), photo().astype(np.float64)
    maps = next(layer for layer in trace("test", model, image) if layer.name == "relu").output[0]
    weight = model.last.weight.detach().numpy()[2].reshape(maps.shape).mean((1, 2))
    heat = np.maximum(np.einsum("c,chw->hw", weight, maps), 0)
    figure = grad_cam(model, image, target=2)

    def hats(length, count):
        """Interpolation weights: output i depends on 8 pixels from -3 + 4 i on, so pixel p is output (p - 0.5) / 4."""
        along = (np.arange(length) - 0.5) / 4
        return np.maximum(1 - abs(along[:, None] - np.arange(count)), 0)

    np.testing.assert_allclose(shown(figure, 1), hats(12, 3) @ heat @ hats(16, 4).T, atol=1e-12)
    assert figure.axes[1].get_title() == "evidence in relu"
    assert figure.axes[1].images[0].get_clim() == (0, shown(figure, 1).max())
    check_overlay(figure, shown(figure, 1), shown(figure, 0))
    assert "dots: the centres" in figure._supxlabel.get_text()
    assert figure._supxlabel.get_text().endswith("beyond them, nothing was measured")
    x, y = figure.axes[1].lines[0].get_data()
    assert sorted(set(x)) == [0.5, 4.5, 8.5, 12.5] and sorted(set(y)) == [0.5, 4.5, 8.5]


def test_grad_cam_heat_falls_to_zero_beyond_the_outermost_units():
    """The units of LeNet-5's second convolution are centred on pixels 7.5 to 20.5, 2 apart."""
    model = LeNet5()
    with mg.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
    heat = grad_cam_map(model, np.ones((28, 28)), "conv2")
    assert heat[14, 14] > 0 and heat[0, 14] == heat[-1, 14] == heat[14, 0] == 0


def test_grad_cam_title_says_if_there_is_no_evidence():
    model = Mean([[[[-1.0]]]])
    assert grad_cam(model, np.ones((4, 4))).axes[1].get_title() == "evidence in conv: none for this class"


def test_grad_cam_refuses_layers_without_maps():
    model, image = Small(), photo()
    with pytest.raises(ValidationError, match="grad_cam: there is no layer 'third'; choose one of first, tanh"):
        grad_cam(model, image, "third")
    with pytest.raises(
        ValidationError, match=r"'last' makes \(1, 4\), no maps .* choose one of first, tanh, .*, relu$"
    ):
        grad_cam(model, image, "last")
    dense = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(
        ValidationError, match="grad_cam_map: the model has no Conv2d, only Flatten, Linear; pass a CNN"
    ):
        grad_cam_map(dense, np.ones((2, 2)))


# --- occlusion


@pytest.mark.parametrize("size, stride, fill", [(4, 3, 0.0), (12, 1, -1.0), (1, 1, 2.0), (5, 5, 0.5)])
def test_occlusion_map_equals_hiding_one_square_at_a_time(size, stride, fill):
    model, image = Small().double(), photo().astype(np.float64)
    total, count = np.zeros((12, 16)), np.zeros((12, 16))
    for top in sorted({*range(0, 12 - size + 1, stride), 12 - size}):
        for left in sorted({*range(0, 16 - size + 1, stride), 16 - size}):
            square = np.s_[top : top + size, left : left + size]
            hidden = image.copy()
            hidden[:, *square] = fill
            total[square] += (scores(model, image) - scores(model, hidden))[0, 1]
            count[square] += 1
    falls = occlusion_map(model, image, 1, size, stride, fill)
    np.testing.assert_allclose(falls, total / count, rtol=1e-9, atol=1e-12)


def test_occlusion_shows_the_fall_of_the_score_on_a_scale_around_zero():
    model, image = Small(), photo()
    figure = occlusion(model, image, target=3)
    falls = occlusion_map(model, image, target=3, size=2, stride=1)
    np.testing.assert_array_equal(shown(figure, 1), falls)
    assert figure.axes[1].images[0].get_clim() == (-abs(falls).max(), abs(falls).max())
    assert figure.axes[1].get_title() == "hidden by 2×2 pixels"
    assert figure.axes[3].get_ylabel() == "fall of the score\nwhen hidden"
    check_overlay(figure, falls, colours_of(image))
    assert "red: the score falls when squares of 0 hide the pixel" in figure._supxlabel.get_text()
    assert "squares of −0.5" in occlusion(model, image, fill=-0.5)._supxlabel.get_text()


@pytest.mark.parametrize("size, stride, wrong", [(13, 1, "size is 13"), (0, 1, "size is 0"), (4, 5, "stride is 5")])
def test_occlusion_refuses_size_and_stride_out_of_range(size, stride, wrong):
    with pytest.raises(ValidationError, match=f"occlusion: {wrong}; use a whole number from 1 to"):
        occlusion(Small(), photo(), size=size, stride=stride)


# --- errors of all three


@pytest.mark.parametrize("call", [saliency, saliency_map, grad_cam, grad_cam_map, occlusion, occlusion_map])
def test_attribution_refuses_bad_images_targets_and_models(call):
    model = Small()
    where = call.__name__
    for target in (4, -1, 1.5):
        with pytest.raises(
            ValidationError, match=f"{where}: target is {target} but the model has 4 classes; .* from 0 to 3"
        ):
            call(model, photo(), target=target)
    with pytest.raises(ShapeError, match=rf"{where}: 2 images in shape \(2, 3, 12, 16\), not 1; pass images\[i\]"):
        call(model, photo(n=2))
    with pytest.raises(ShapeError, match="first: .*3 channels"):
        call(model, photo(1))
    with pytest.raises(ShapeError, match="last: Linear expects 72 features"):
        call(model, np.zeros((3, 20, 20)))
    with pytest.raises(ShapeError, match=rf"{where}: image has shape \(3,\); pass \(H, W\), \(C, H, W\)"):
        call(model, np.zeros(3))
    with pytest.raises(ValidationError, match=f"{where}: model is a int; pass an nn.Module"):
        call(3, photo())
    with pytest.raises(
        ShapeError, match=rf"{where}: the model returns shape \(1, 2, 4, 4\) for 1 image, not \(N, classes\)"
    ):
        call(nn.Sequential(nn.Conv2d(1, 2, 1)), np.ones((4, 4)))


def test_saliency_refuses_a_model_without_gradient():
    class Constant(nn.Module):
        def forward(self, x):
            return mg.ones(1, 2)

    class Detached(nn.Linear):
        def forward(self, x):
            return (x.detach() * 0).flatten(1).sum(1, keepdim=True) + self.bias

    for model in Constant(), Detached(4, 2):
        with pytest.raises(ValidationError, match="saliency: what the model returns does not depend on the image"):
            saliency(model, np.ones((2, 2)))


# --- inputs that excite a unit


def activations(model, layer, images):
    """Return the largest value of every channel, (N, channels)."""
    made = next(found for found in trace("test", model, np.asarray(images, np.float32)) if found.name == layer).output
    return made.reshape(*made.shape[:2], -1).max(2)


@pytest.mark.parametrize("layer, channel", [("first", 3), ("tanh", 1), ("second", 4), ("last", 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_activation_images_excite_a_unit_more_than_random_images(channels, layer, channel):
    model = Small(channels)
    image = activation_images(model, layer, channel, (channels, 12, 16), smooth=0, shrink=0.01)
    assert image.shape == (1, channels, 12, 16)
    random = RNG.normal(size=(100, channels, 12, 16)).clip(-2, 2)
    best, others = activations(model, layer, image)[0, channel], activations(model, layer, random)[:, channel]
    assert best - np.median(others) > 1.1 * (others.max() - np.median(others))


def test_maximize_activation_finds_the_filter_of_a_linear_unit():
    weight = RNG.normal(size=(1, 1, 5, 5))
    image = activation_images(Mean(weight), "conv", 0, (1, 15, 15), smooth=0, shrink=1, limits=(-9, 9))
    figure = maximize_activation(Mean(weight), "conv", 0, (1, 15, 15), smooth=0, shrink=1, limits=(-9, 9))
    found = weight[0, 0] / np.sqrt(np.square(weight).mean())
    scale = np.ptp(image)
    np.testing.assert_allclose(shown(figure, 0)[..., 0], (found - image.min()) / scale, atol=1e-3)
    assert np.count_nonzero(abs(image) > 1e-3) == 25
    activation = float((found * weight[0, 0]).sum())
    assert figure.axes[0].get_title() == f"channel 0\nactivation {activation:.3g}"
    assert figure.get_suptitle().endswith("to excite conv:\nthe 5×5 pixels that a unit sees")


def test_prototype_images_score_higher_than_digits():
    digits, normal = datasets.MNIST(train=False), (0.1307, 0.3081)
    model = LeNet5()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for images, labels in data.DataLoader(digits, 100, normalize=normal):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images = next(iter(data.DataLoader(digits, 300, normalize=normal)))[0].numpy()
    found = prototype_images(model, images=images)
    assert found.dtype == np.float32 and found.min() >= images.min() and found.max() <= images.max()
    assert (scores(model, found).argmax(1) == np.arange(10)).all()
    assert (scores(model, found).diagonal() > scores(model, images).max(0)).all()
    units = activation_images(model, "conv2", range(16), (1, 28, 28), limits=(-2.82, 2.82))
    assert (activations(model, "conv2", units).diagonal() > 1.2 * activations(model, "conv2", images).max(0)).all()


def test_activation_images_depend_on_their_seed_only():
    model = Small()
    mg.manual_seed(5)
    expected = mg.rand(3).numpy()
    mg.manual_seed(5)
    first, repeated, other = (
        activation_images(model, "last", 1, (3, 12, 16), seed=seed, steps=5) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, repeated)
    assert (first != other).any()
    np.testing.assert_array_equal(mg.rand(3).numpy(), expected)


def test_activation_images_respect_smooth_and_limits():
    model = Small()
    rough = activation_images(model, "last", 0, (3, 12, 16), smooth=0)
    smooth = activation_images(model, "last", 0, (3, 12, 16), smooth=5)
    assert abs(rough).max() <= 2

    def variation(image):
        return np.square(np.diff(image)).sum() / np.square(image).sum()

    assert variation(smooth) < 0.5 * variation(rough)


def true_minus(value):
    return f"{value:.3g}".replace("-", "−")


def test_prototypes_tell_the_true_class_of_the_best_real_images():
    model, images = Small(), RNG.normal(size=(20, 3, 12, 16)).astype(np.float32)
    names, labels = ["cat", "a dog $1$", "owl", "yak"], RNG.integers(0, 4, 20)
    figure = prototypes(model, images=images, labels=labels, classes=names, steps=0)
    real = scores(model, images)
    chances = np.exp(real) / np.exp(real).sum(1, keepdims=True)
    for k in range(4):
        best = real[:, k].argmax()
        answer = real[best].argmax()
        taken = f"\ntaken for {names[answer]}" if answer != k else ""
        expected = f"\nscore {true_minus(real[best, k])}, {100 * chances[best, k]:.1f} %"
        title = f"best real image\ntrue: {names[labels[best]]}{taken}{expected}"
        assert figure.axes[4 + k].get_title() == title
    with pytest.raises(ValidationError, match="prototypes: labels are given without images; pass the images"):
        prototypes(model, (3, 12, 16), labels=labels, steps=0)
    with pytest.raises(ShapeError, match="prototypes: 20 images but 2 labels"):
        prototypes(model, images=images, labels=[0, 1], steps=0)
    with pytest.raises(ValidationError, match="prototypes: labels run from 0 to 7 but the model scores 4 classes"):
        prototypes(model, images=images, labels=[7] + 19 * [0], steps=0)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_prototypes_show_score_and_probability(channels):
    model = Small(channels)
    figure = prototypes(model, (channels, 12, 16), **QUICK)
    images = prototype_images(model, (channels, 12, 16), **QUICK)
    reached = scores(model, images)
    for k in range(4):
        pixels = (images[k] - images.min()) / np.ptp(images)
        expected = np.moveaxis(pixels, 0, -1) if channels == 3 else np.repeat(pixels.mean(0)[..., None], 3, 2)
        np.testing.assert_allclose(shown(figure, k), expected, atol=1e-6)
        chance = 100 * np.exp(reached[k, k]) / np.exp(reached[k]).sum()
        assert figure.axes[k].get_title() == f"class {k}\nscore {true_minus(reached[k, k])}, {chance:.1f} %"


def test_prototypes_mark_classes_for_which_the_ascent_failed():
    """Without a step, the result is the noise or the real image from which the ascent started."""
    model, images = Small(), RNG.normal(size=(20, 3, 12, 16)).astype(np.float32)
    names = ["cat", "dog", "owl", "yak"]
    figure = prototypes(model, images=images, classes=names, steps=0, normalize=([0.5, 0.4, 0.3], 0.25))
    found, real = prototype_images(model, images=images, steps=0), scores(model, images)
    taken = scores(model, found).argmax(1)
    assert (taken != np.arange(4)).any()
    for k, axes in enumerate(figure.axes[:4]):
        assert axes.get_title().startswith(f"{names[k]}\nscore {true_minus(scores(model, found)[k, k])}")
        assert (f"taken for {names[taken[k]]}" in axes.get_xlabel()) == (taken[k] != k)
        best = real[:, k].argmax()
        wrong = f"\ntaken for {names[real[best].argmax()]}" if real[best].argmax() != k else ""
        assert figure.axes[4 + k].get_title().startswith(f"best real image{wrong}\nscore {true_minus(real[best, k])}")
        pixels = np.moveaxis(images[best], 0, -1) * 0.25 + [0.5, 0.4, 0.3]
        np.testing.assert_allclose(shown(figure, 4 + k), pixels.clip(0, 1), atol=1e-6)
    assert f"failed for {(taken != np.arange(4)).sum()} of 4" in figure.get_suptitle()


def test_prototypes_say_if_a_real_image_has_a_higher_score():
    model, images = Small(1), RNG.normal(size=(50, 1, 12, 16)).astype(np.float32)
    figure = prototypes(model, images=100 * images, steps=0, limits=(-0.1, 0.1))
    best = scores(model, 100 * images).max(0)
    for k, axes in enumerate(figure.axes[:4]):
        assert f"a real image has {true_minus(best[k])}" in axes.get_xlabel()


def test_activation_images_take_their_limits_from_images_or_normalisation():
    model, images = Small(), RNG.uniform(-1, [[[[0.5]], [[1]], [[2]]]], (9, 3, 12, 16)).astype(np.float32)
    settings = {"steps": 60, "rate": 1, "smooth": 0, "shrink": 0}
    found = activation_images(model, "first", 0, images=images, **settings)
    assert (found.max((0, 2, 3)) <= images.max((0, 2, 3)) + 1e-6).all() and found[:, 2].max() > 1.5
    found = activation_images(model, "first", 0, (3, 12, 16), normalize=([0.5, 0.4, 0.3], 0.1), **settings)
    np.testing.assert_allclose(found.max((0, 2, 3)), [5, 6, 7], rtol=1e-5)
    np.testing.assert_allclose(found.min((0, 2, 3)), [-5, -4, -3], rtol=1e-5)
    with pytest.raises(ValidationError, match="activation_images: starts is 0"):
        activation_images(model, "first", 0, (3, 12, 16), starts=0)


def test_activation_images_return_the_best_of_several_starts():
    model, shape = Small(), (3, 12, 16)
    best = lambda starts: scores_of(model, activation_images(model, "second", 1, shape, starts=starts, steps=20))  # noqa: E731
    assert best(4) >= best(1)


def scores_of(model, image):
    return next(layer for layer in trace("test", model, image) if layer.name == "second").output[0, 1].max()


def test_maximize_activation_and_prototypes_refuse_bad_arguments():
    model, shape = Small(), (3, 12, 16)
    for channel in (6, -1):
        with pytest.raises(
            ValidationError, match=f"channel is {channel} but layer 'second' has 6 channels; .* from 0 to 5"
        ):
            maximize_activation(model, "second", channel, shape)
    with pytest.raises(ValidationError, match="there is no layer 'third'; choose one of first, tanh"):
        maximize_activation(model, "third", 0, shape)
    with pytest.raises(ShapeError, match=r"input_shape is \(1, 3, 12, 16\), not \(C, H, W\) .* without the number"):
        maximize_activation(model, "first", 0, (1, *shape))
    with pytest.raises(ShapeError, match=r"prototype_images: input_shape is \(12, 16\), not \(C, H, W\)"):
        prototypes(model, (12, 16))
    with pytest.raises(ShapeError, match="first: .*3 channels"):
        maximize_activation(model, "first", 0, (2, 12, 16))
    with pytest.raises(ValidationError, match="activation_images: smooth is -1; use 0 or more"):
        maximize_activation(model, "first", 0, shape, smooth=-1)
    with pytest.raises(ValidationError, match=r"activation_images: limits are \(2, 1\); put the lower one first"):
        maximize_activation(model, "first", 0, shape, limits=(2, 1))
    with pytest.raises(ValidationError, match="prototypes: 21 pictures are too many; choose at most 20"):
        prototypes(Small(classes=21), shape, steps=0)
    with pytest.raises(
        ShapeError, match=r"prototype_images: the model returns shape \(1, 2, 4, 4\) for 1 image, not \(N, classes\)"
    ):
        prototypes(nn.Sequential(nn.Conv2d(1, 2, 1)), (1, 4, 4))


def test_activation_images_refuse_a_layer_without_effect_on_the_scores():
    class Aside(Mean):
        def forward(self, x):
            F.relu(x)
            return super().forward(x)

    with pytest.raises(
        ValidationError, match="the scores do not depend on layer 'relu' through .*; choose another layer"
    ):
        activation_images(Aside([[[[1.0]]]]), "relu", 0, (1, 4, 4))


def test_activation_images_refuse_a_layer_without_channels():
    class Total(nn.Module):
        def forward(self, x):
            return x.sum((1, 2, 3))

    with pytest.raises(ShapeError, match=r"layer 'total' makes \(1,\), without channels; choose another layer"):
        activation_images(Total(), "total", 0, (1, 4, 4))


# --- the patches that excite a unit


@pytest.mark.parametrize("padding, stride", [(0, 1), (2, 1), (1, 3)])
def test_patch_places_equals_a_search_over_all_positions(padding, stride):
    weight, images = RNG.normal(size=(2, 3, 4, 3)), photo(n=300)
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    found = []
    for i in range(300):
        found += [
            (-(padded[i, :, r : r + 4, c : c + 3] * weight[1]).sum(), i, r - padding, c - padding)
            for r in range(0, padded.shape[2] - 3, stride)
            for c in range(0, padded.shape[3] - 2, stride)
        ]
    best = {}
    for value, i, row, column in sorted(found):
        best.setdefault(i, (value, row, column))
    patches = patch_places(Mean(weight, padding=padding, stride=stride), images, "conv", 1)
    assert len(patches) == 9
    for patch, (i, (value, row, column)) in zip(patches, list(best.items())[:9], strict=True):
        assert (patch.image, patch.rows.start, patch.columns.start) == (i, row, column)
        assert patch.activation == pytest.approx(-value, rel=1e-4)
        np.testing.assert_allclose((np.nan_to_num(patch.cut()) * weight[1]).sum(), -value, rtol=1e-4)


def test_top_patches_shows_patches_and_their_positions():
    images = photo(1, n=20)
    model = Small(1)
    figure = top_patches(model, images, "second", 2, n=4)
    patches = patch_places(model, images, "second", 2, n=4)
    low, high = min(p.pixels.min() for p in patches), max(p.pixels.max() for p in patches)
    for k, patch in enumerate(patches):
        cut = (patch.cut()[0] - low) / (high - low)
        colours = np.where(np.isnan(cut)[..., None], to_rgb(style.PALE), cut[..., None])
        np.testing.assert_allclose(shown(figure, k), colours, atol=1e-5)
        np.testing.assert_allclose(
            shown(figure, 4 + k)[..., 0], (images[patch.image, 0] - low) / (high - low), atol=1e-5
        )
        assert figure.axes[k].get_title() == f"activation {true_minus(patch.activation)}"
        rows, columns = (f"{part.start} to {part.stop - 1}" for part in (patch.rows, patch.columns))
        place = f"image {patch.image}\nrows {rows}\ncolumns {columns}".replace("-", "−")
        assert figure.axes[4 + k].get_xlabel() == place
        frame = figure.axes[4 + k].patches[0]
        assert frame.get_x() == max(patch.columns.start, 0) - 0.5
        assert frame.get_y() + frame.get_height() == min(patch.rows.stop, 12) - 0.5


def test_patch_places_of_a_dense_layer_are_whole_images():
    images = photo(n=5)
    patches = patch_places(Small(), images, "last", 0, n=2)
    assert [(patch.rows, patch.columns) for patch in patches] == [(range(12), range(16))] * 2
    np.testing.assert_array_equal(patches[0].cut(), images[patches[0].image])


def test_patch_places_reads_a_dataset():
    pixels = RNG.integers(0, 256, (300, 3, 12, 16), dtype=np.uint8)
    model = Small()
    found = patch_places(model, data.ImageDataset(pixels, np.zeros(300, int)), "second", 1, normalize=(0.5, 0.25))
    expected = patch_places(model, (pixels / 255 - 0.5) / 0.25, "second", 1)
    assert [patch[:4:2] for patch in found] == [patch[:4:2] for patch in expected]
    np.testing.assert_allclose(found[0].pixels, expected[0].pixels, atol=1e-5)


def test_patch_places_and_top_patches_refuse_bad_arguments():
    model, images = Small(), photo(n=2)
    with pytest.raises(ValidationError, match="patch_places: there are 0 images; pass 1 or more"):
        top_patches(model, images[:0], "first", 0)
    with pytest.raises(ValidationError, match="there are 0 images"):
        top_patches(model, data.ImageDataset(np.zeros((0, 12, 16), np.uint8), np.zeros(0, int)), "first", 0)
    with pytest.raises(
        ValidationError, match="patch_places: channel is 5 but layer 'first' has 5 channels; .* from 0 to 4"
    ):
        top_patches(model, images, "first", 5)
    with pytest.raises(ValidationError, match="patch_places: there is no layer 'third'; choose one of first, tanh"):
        top_patches(model, images, "third", 0)
    with pytest.raises(ValidationError, match="top_patches: n is 0; use a whole number from 1 to 20"):
        top_patches(model, images, "first", 0, n=0)
    with pytest.raises(ValidationError, match="top_patches: n is 21; use a whole number from 1 to 20"):
        top_patches(model, images, "first", 0, n=21)
    with pytest.raises(
        ShapeError, match=r"images have shape \(12, 16\); pass \(N, C, H, W\), \(N, H, W\) or a Dataset"
    ):
        top_patches(model, images[0, 0], "first", 0)
    with pytest.raises(ShapeError, match="first: .*3 channels"):
        top_patches(model, photo(1, n=2), "first", 0)
