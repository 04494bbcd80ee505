"""What pictures say beside their axes: which colours, parts and numbers they show, in words that are true of them."""

import numpy as np
import pytest
from figures import check_readable, drawn_strings

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, viz
from minigrad.models import LeNet5
from minigrad.viz import filter_tape

RNG = np.random.default_rng(0)


def grouped():
    """A convolution in two groups of 4 input channels, after one that makes these channels."""
    mg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def photo(channels=1):
    return RNG.uniform(size=(channels, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("name", ["שש", "خمسة"])
def test_a_number_after_a_name_that_is_read_to_the_left_stays_after_it(name):
    model, image = LeNet5(), np.eye(28)
    predicted = int(model(mg.tensor(image[None, None], dtype=mg.float32)).detach().numpy().argmax())
    names = [name if k == predicted else "two" for k in range(10)]
    title = viz.saliency(model, image, target=(predicted + 1) % 10, classes=names).get_suptitle()
    assert f"\nPredicted: {name}\u200e, " in title  # a mark after which text runs on to the right
    assert title.startswith("Saliency: two, ")


@pytest.mark.parametrize(
    "channels, normalize, colour",
    [
        (1, (0.13, 0.3), "squares of 0 (13 % white) hide"),
        (1, (0.5, 0.1), "squares of 0 (50 % white) hide"),
        (3, ((0.55, 0.5, 0.45), (0.2, 0.3, 0.2)), "squares of 0 (55 % red, 50 % green, 45 % blue) hide"),
        (3, None, "squares of 0 (0 % red, 0 % green, 0 % blue) hide"),
        (2, (0.5, 0.1), "squares of 0 hide"),
    ],
)
def test_occlusion_tells_the_colour_of_its_squares(channels, normalize, colour):
    model = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    figure = viz.occlusion(model, photo(channels), size=6, stride=6, normalize=normalize)
    assert colour in figure.get_supxlabel()


@pytest.mark.parametrize("filter, first", [(0, 0), (2, 0), (3, 4), (5, 4)])
def test_filter_step_numbers_the_input_channels_that_a_filter_of_a_group_reads(filter, first):
    model, image = grouped(), photo()[None]
    figure = viz.filter_step(model, image, [1], "2", filter)
    labels = [axes.get_ylabel() for axes in figure.axes[::4]]
    loss = F.cross_entropy(model(mg.tensor(image)), mg.tensor([1]))
    loss.backward()
    strength = np.square(model[2].weight.grad.numpy()[filter]).sum((1, 2))
    assert labels == [f"channel {first + c}" for c in sorted(np.argsort(-strength, kind="stable")[:3])]


def test_explain_pixel_tells_which_input_channels_it_shows():
    line = "shown: the 3 input channels with the largest products"
    texts = [
        viz.explain_pixel(LeNet5(), np.eye(28), name, 0, 3, 3).figure.get_supxlabel() for name in ("conv1", "conv2")
    ]
    assert [line in text for text in texts] == [False, True]


def test_feature_maps_tells_what_the_numbers_below_scores_are():
    figure = viz.feature_maps(LeNet5(), np.eye(28), ["conv1", "fc3"])
    assert "class and its probability; orange: the most probable" in drawn_strings(figure)
    check_readable(figure)


def test_shared_weights_tells_patches_from_frames_in_the_image():
    text = "\n".join(drawn_strings(viz.shared_weights(LeNet5(), np.eye(28), "conv2", 1)))
    assert "frame in the image: all that\nthe sum depends on" in text and "patch: what the layer reads" in text


@pytest.mark.parametrize("channels, told", [(1, False), (3, True)])
def test_gif_tells_what_the_colours_of_filters_are(channels, told, tmp_path, monkeypatch):
    figures, make = [], filter_tape._make_gif_figure
    monkeypatch.setattr(filter_tape, "_make_gif_figure", lambda *a: figures.append(make(*a)) or figures[-1])
    tape = viz.FilterTape(nn.Conv2d(channels, 4, 3), every=1)
    tape.step(1.0)
    tape.gif(tmp_path / "film.gif")
    assert ("grey is 0" in figures[0][0].get_supxlabel()) == told
    check_readable(figures[0][0])


def test_draw_tells_what_the_height_of_a_bar_is():
    assert "height of a bar: number of units" in viz.draw(LeNet5(), (1, 28, 28)).get_supxlabel()
