"""viz.filters, training_curves, lr_curve, confusion_matrix, confusion_counts, save, and names in all figures."""

import subprocess
import sys
from collections import OrderedDict
from itertools import combinations
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from figures import CLASSES, check_readable, drawn_strings, drawn_texts, image_arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

import minigrad as mg
from minigrad import viz
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.nn import Conv2d, Flatten, Linear, Sequential
from minigrad.train import History, RateSearch
from minigrad.viz import style
from minigrad.viz.probe import compute_probabilities

RNG = np.random.default_rng(0)
ONE_CHANNEL, COLOUR, DEEP = (
    [(1, 1, 5, 5), (6, 1, 5, 5), (100, 1, 3, 3)],
    [(8, 3, 3, 3)],
    [(64, 32, 3, 3), (2, 40, 1, 7)],
)
WEIGHTS = ONE_CHANNEL + COLOUR + DEEP


def weight(*shape):
    return RNG.normal(0, 0.1, shape)


def history(epochs, steps_per_epoch):
    steps = np.arange(epochs * steps_per_epoch)
    loss = (2.3 * np.exp(-steps / 150) + 0.03) * RNG.lognormal(0, 0.5, steps.size)
    return {"loss": list(loss), "accuracy": [0.99] * epochs, "steps_per_epoch": steps_per_epoch}


def run(epochs, steps, metrics=("accuracy",), validation=True, rest=0):
    """Return a History as that of train.fit, in which the last epoch is incomplete if `rest` is above 0."""
    n = epochs * steps + rest
    loss = (2.3 * np.exp(-np.arange(n) / (0.15 * n)) + 0.05) * RNG.lognormal(0, 0.4, n)
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "step": epoch * steps, "seconds": 2.5, "lr": 0.1, "train_loss": 2 / epoch}
        row |= {f"train_{metric}": 1 - 0.5 / (epoch + i) for i, metric in enumerate(metrics)}
        if validation:
            row["val_loss"] = 0.05 + 2 / epoch
            row |= {f"val_{metric}": 1 - 0.6 / (epoch + i) for i, metric in enumerate(metrics)}
        rows.append(row)
    return History(loss.tolist(), rows)


def worsening(epochs, steps):
    """Return a History whose validation loss rises."""
    history = run(epochs, steps)
    for row in history.rows:
        row["val_loss"] = 0.5 + 0.2 * row["epoch"]
    return history


def search(n=80):
    rates = np.geomspace(1e-6, 1, n)
    losses = 2.3 - 1.8 / (1 + np.exp(-3 * (np.log10(rates) + 2.5))) + 9 * rates.clip(0.1) - 0.9
    return RateSearch(rates.tolist(), losses.tolist(), 0.0032)


def guesses(n, classes, right):
    labels = RNG.integers(0, classes, n)
    return labels, np.where(RNG.random(n) < right, labels, RNG.integers(0, classes, n))


FIGURES = {
    **{f"filters {s}": lambda s=s: viz.filters(weight(*s)) for s in WEIGHTS},
    **{f"filters {s} and init": lambda s=s: viz.filters(weight(*s), weight(*s)) for s in WEIGHTS},
    "filters of a model": lambda: viz.filters(LeNet5()),
    "filters of a model and init": lambda: viz.filters(LeNet5(), LeNet5().state_dict()),
    "filters, long title": lambda: viz.filters(weight(6, 1, 5, 5), title="conv1 of a network with a long title " * 4),
    "curves, 1 epoch": lambda: viz.training_curves(history(1, 2800)),
    "curves, 3 epochs": lambda: viz.training_curves(history(3, 938)),
    "curves, 20 epochs": lambda: viz.training_curves(history(20, 140)),
    "curves, 1 step": lambda: viz.training_curves({"loss": [2.3], "accuracy": [0.1]}),
    "curves, loss only": lambda: viz.training_curves({"loss": [2.3, 1.2, 0.7]}),
    "curves, eight decades": lambda: viz.training_curves({"loss": list(10.0 ** -np.linspace(0, 8, 500))}),
    "curves, all right": lambda: viz.training_curves({"loss": [1.0, 0.0], "accuracy": [1.0, 1.0]}),
    "curves, all NaN": lambda: viz.training_curves({"loss": [np.nan] * 100, "accuracy": [0.0]}),
    "history, 1 epoch": lambda: viz.training_curves(run(1, 938)),
    "history, 3 epochs": lambda: viz.training_curves(run(3, 938)),
    "history, 50 epochs": lambda: viz.training_curves(run(50, 200)),
    "history, 1 step an epoch": lambda: viz.training_curves(run(4, 1)),
    "history, an incomplete epoch": lambda: viz.training_curves(run(2, 100, rest=70)),
    "history, no epoch": lambda: viz.training_curves(run(0, 0, rest=30)),
    "history, no validation": lambda: viz.training_curves(run(5, 100, validation=False)),
    "history, no metrics": lambda: viz.training_curves(run(5, 100, metrics=())),
    "history, rising validation loss": lambda: viz.training_curves(worsening(10, 100)),
    "history, five metrics": lambda: viz.training_curves(run(9, 50, ("accuracy", "top5", "top3", "mae", "f1"))),
    "search": lambda: viz.lr_curve(search()),
    "search, 3 rates": lambda: viz.lr_curve(RateSearch([0.01, 0.1, 1.0], [30.0, 1.5, 1.0], 0.1)),
    "confusion, 99 %": lambda: viz.confusion_matrix(*guesses(10_000, 10, 0.99)),
    "confusion, named": lambda: viz.confusion_matrix(*guesses(10_000, 10, 0.6), CLASSES),
    "confusion, 2 classes": lambda: viz.confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"]),
    "confusion, 1 class": lambda: viz.confusion_matrix([0, 0], [0, 0]),
    "confusion, large counts": lambda: viz.confusion_matrix(*guesses(2_000_000, 12, 0.9)),
    "confusion, 100 classes": lambda: viz.confusion_matrix(*guesses(5_000, 100, 0.7)),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_filters_training_curves_and_confusion_matrix_have_readable_text(name):
    check_readable(FIGURES[name]())


# --- filters


def test_filters_shows_one_input_channel_as_maps_in_order():
    w = weight(6, 1, 5, 4)
    np.testing.assert_array_equal(image_arrays(viz.filters(w)), w[:, 0])


def test_filters_shows_three_input_channels_as_colour_images_with_grey_at_zero():
    w = weight(8, 3, 3, 5)
    w[0, :, 0, 0] = 0
    arrays = image_arrays(viz.filters(w))
    shown = np.stack(arrays[::4])
    np.testing.assert_allclose(shown, np.moveaxis(0.5 + w / (2 * np.abs(w).max()), 1, -1))
    np.testing.assert_array_equal(shown[0, 0, 0], 0.5)
    for c in range(3):  # the slices, for those who cannot tell red from green
        np.testing.assert_array_equal(arrays[1 + c :: 4], w[:, c])


def test_filters_of_a_convolution_with_groups_stand_below_the_channels_that_they_read():
    layer = Conv2d(6, 6, 3, groups=3)
    figure = viz.filters(layer)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list("012345")
    positions = [tuple(np.floor(image.get_extent())[[2, 0]]) for image in figure.axes[0].images]
    assert positions == [(f, 2 * (f // 2) + c) for f in range(6) for c in range(2)]
    np.testing.assert_array_equal(image_arrays(figure), layer.weight.detach().numpy().reshape(12, 3, 3))
    names = drawn_strings(viz.filters(Conv2d(4, 8, 3, groups=4)))
    assert "5, reads 2" in names and "7, reads 3" in names


def test_filters_says_what_its_colours_mean():
    assert "grey is 0" in viz.filters(np.ones((2, 3, 5, 5)))._supxlabel.get_text()
    assert viz.filters(np.ones((2, 1, 5, 5)))._supxlabel is None
    assert viz.filters(np.ones((2, 4, 5, 5)))._supxlabel is None


def test_filters_draws_three_channels_in_colours_only_where_they_are_red_green_and_blue():
    model = Sequential(Conv2d(1, 3, 3), Conv2d(3, 6, 3))
    shapes = [np.shape(array) for axes in viz.filters(model).axes for array in [i.get_array() for i in axes.images]]
    assert (3, 3, 3) not in shapes
    assert [i.get_array().shape for i in viz.filters(Conv2d(3, 1, 3)).axes[0].images] == [(3, 3, 3)] + 3 * [(3, 3)]


def as_seen_with_deuteranopia(colour):
    """Return the linear RGB that a person without green cones sees.  Source: Machado et al. 2009, table 1."""
    matrix = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    rgb = np.array(to_rgb(colour))
    return matrix @ np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def test_colours_of_the_palette_differ_with_deuteranopia():
    seen = {colour: as_seen_with_deuteranopia(colour) for colour in style.PALETTE}
    ends = {
        f"{name} {x}": as_seen_with_deuteranopia(style.SIGNED(x)[:3]) for name in ["signed"] for x in (0.1, 0.5, 0.9)
    }
    for colours in (seen, ends):
        for (one, a), (other, b) in combinations(colours.items(), 2):
            assert np.linalg.norm(a - b) > 0.05, f"{one} and {other} look alike"
    red, green = as_seen_with_deuteranopia("#c00000"), as_seen_with_deuteranopia("#945800")
    assert np.linalg.norm(red - green) < 0.05  # the simulation does make colours look alike


def test_filters_shows_other_filters_as_rows_of_input_channels():
    w = weight(5, 4, 3, 3)
    figure = viz.filters(w)
    np.testing.assert_array_equal(image_arrays(figure), w.reshape(20, 3, 3))
    positions = [tuple(np.floor(image.get_extent())[[2, 0]]) for image in figure.axes[0].images]
    assert positions == list(np.ndindex(5, 4))


def test_filters_shows_init_before_the_trained_filters():
    w, init = weight(6, 1, 5, 5), weight(6, 1, 5, 5)
    figure = viz.filters(w, init)
    np.testing.assert_array_equal(image_arrays(figure, 0), init[:, 0])
    np.testing.assert_array_equal(image_arrays(figure, 1), w[:, 0])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["before training", "after training"]


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (4, 5, 3, 3)])
def test_filters_uses_one_colour_scale_with_zero_in_its_middle(shape):
    w, init = weight(*shape), weight(*shape)
    init[1, 0, 2, 2] = -0.75
    figure = viz.filters(w, init)
    assert {image.get_clim() for axes in figure.axes[:2] for image in axes.images} == {(-0.75, 0.75)}
    assert {"−0.75", "0", "+0.75", "weight"} <= set(drawn_strings(figure))


def test_filters_has_a_colour_scale_if_all_weights_are_zero():
    assert viz.filters(np.zeros((2, 1, 3, 3))).axes[0].images[0].get_clim() == (-1, 1)


def test_filters_numbers_every_filter():
    assert {f"filter {f}" for f in range(6)} <= set(drawn_strings(viz.filters(weight(6, 1, 5, 5))))
    deep = viz.filters(weight(16, 6, 5, 5)).axes[0]
    assert [label.get_text() for label in deep.get_yticklabels()] == [str(f) for f in range(16)]
    assert [label.get_text() for label in deep.get_xticklabels()] == [str(c) for c in range(6)]


def test_filters_shows_the_strongest_of_many_deep_filters():
    w = weight(64, 32, 3, 3)
    strong_filters, strong_channels = np.arange(3, 64, 4), np.arange(1, 25, 2)
    w[np.ix_(strong_filters, strong_channels)] *= 100
    figure = viz.filters(w)
    np.testing.assert_array_equal(image_arrays(figure), w[np.ix_(strong_filters, strong_channels)].reshape(-1, 3, 3))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(f) for f in strong_filters]
    assert "shown: the 16 strongest of 64 filters, the 12 strongest of 32 input channels" in drawn_strings(figure)


def test_filters_shows_the_strongest_of_many_filters_of_one_channel():
    w = weight(70, 1, 3, 3)
    w[:6] /= 100
    figure = viz.filters(w)
    np.testing.assert_array_equal(image_arrays(figure), w[6:, 0])
    assert "shown: the 64 strongest of 70 filters" in drawn_strings(figure)


def test_filters_counts_filters_in_its_title_unless_one_is_given():
    assert viz.filters(weight(1, 1, 5, 3)).get_suptitle() == "1 filter of 5×3 weights, 1 input channel"
    assert viz.filters(weight(16, 6, 5, 5)).get_suptitle() == "16 filters of 5×5 weights, 6 input channels"
    assert viz.filters(weight(6, 1, 5, 5), title="conv1").get_suptitle() == "conv1"


def test_filters_shows_all_convolutions_of_a_model():
    model = LeNet5()
    figure = viz.filters(model, LeNet5().state_dict())
    assert [place.get_suptitle().strip() for place in figure.subfigs] == [
        "conv1: 6 filters of 5×5 weights, 1 input channel",
        "conv2: 16 filters of 5×5 weights, 6 input channels",
    ]
    shown = np.stack(image_arrays(SimpleNamespace(axes=figure.axes[1:2])))
    np.testing.assert_array_equal(shown, model.conv1.weight.detach().numpy()[:, 0])


def test_filters_of_a_model_centres_a_sheet_that_is_narrower_than_others():
    figure = viz.filters(Sequential(Conv2d(1, 3, 3), Conv2d(3, 20, 3), Conv2d(20, 20, 3)))
    figure.draw_without_rendering()
    sheet, bar = figure.axes[0].get_position(), figure.axes[1].get_position()
    assert abs(sheet.x0 - (bar.x0 - sheet.x1)) < 0.05


def test_filters_refuses_a_model_without_convolutions_and_an_incomplete_init():
    with pytest.raises(ValidationError, match=r"filters: the model has no Conv2d, only Flatten, Linear; pass a CNN"):
        viz.filters(Sequential(Flatten(), Linear(4, 2)))
    with pytest.raises(ValidationError, match=r"filters: init has no 'conv2.weight'; pass the model's state_dict"):
        viz.filters(LeNet5(), {"conv1.weight": LeNet5().conv1.weight})


def test_filters_accepts_a_layer_on_any_device():
    class OnDevice:
        def __init__(self, array, attached=True):
            self.array, self.attached = array, attached

        def detach(self):
            return OnDevice(self.array, attached=False)

        def cpu(self):
            assert not self.attached
            return self.array

    w = weight(6, 1, 5, 5)
    np.testing.assert_array_equal(image_arrays(viz.filters(SimpleNamespace(weight=OnDevice(w)))), w[:, 0])


def test_filters_refuses_arrays_that_are_no_convolution_weight():
    with pytest.raises(ShapeError, match=r"filters: weight has shape \(10, 84\), not \(F, C, KH, KW\) with 4 sizes"):
        viz.filters(weight(10, 84))
    with pytest.raises(ShapeError, match=r"shape \(0, 1, 5, 5\), not .* 1 or more; pass a Conv2d layer or its weight"):
        viz.filters(weight(0, 1, 5, 5))
    with pytest.raises(DtypeError, match="filters: SimpleNamespace has no numeric weight; pass a Conv2d layer or a"):
        viz.filters(SimpleNamespace(bias=1))
    with pytest.raises(DtypeError, match="filters: SimpleNamespace has no numeric weight"):
        viz.filters(SimpleNamespace(weight=None))
    with pytest.raises(
        ShapeError, match=r"init has shape \(6, 1, 3, 3\) but weight has \(6, 1, 5, 5\); pass the weight"
    ):
        viz.filters(weight(6, 1, 5, 5), weight(6, 1, 3, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_filters_refuses_weights_that_are_not_finite(bad):
    w = weight(2, 1, 3, 3)
    w[1, 0, 0, :2] = bad
    with pytest.raises(ValidationError, match="filters: 2 of 18 weights are NaN or infinite; lower the learning rate"):
        viz.filters(w)
    with pytest.raises(ValidationError, match=r"filters\(init\): 2 of 18 weights"):
        viz.filters(np.ones((2, 1, 3, 3)), init=w)


# --- training curves


def curves(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines}


def test_training_curves_shows_the_loss_and_its_moving_mean():
    loss = RNG.random(300)
    shown = curves(viz.training_curves({"loss": loss}).axes[0])
    np.testing.assert_array_equal(shown["each step"], loss)
    for step in 0, 150, 299:
        around = loss[max(0, step - 3) : step + 3]
        assert shown["mean of 6 steps"][step] == pytest.approx(around.mean())


def test_training_curves_writes_final_loss_and_accuracy():
    figure = viz.training_curves({"loss": [2.0, 1.5, 1.25], "accuracy": [0.5, 0.9876]})
    assert {"1.25", "98.76 %", "Training: 3 steps, 2 epochs"} <= set(drawn_strings(figure))


def test_training_curves_shows_accuracy_in_percent_after_each_epoch():
    line = viz.training_curves({"loss": [1.0], "accuracy": [0.5, 0.75]}).axes[1].lines[0]
    np.testing.assert_array_equal(line.get_xydata(), [[1, 50], [2, 75]])


def test_training_curves_labels_its_axes():
    figure = viz.training_curves({"loss": [2.0, 1.0], "accuracy": [0.5], "steps_per_epoch": 2})
    assert {"step", "epoch", "training loss", "test accuracy (%)"} <= set(drawn_strings(figure))


def test_training_curves_adds_a_scale_of_epochs_above_the_steps():
    figure = viz.training_curves({"loss": np.ones(300), "steps_per_epoch": 100})
    FigureCanvasAgg(figure).draw()
    (epochs,) = figure.axes[0].child_axes
    np.testing.assert_allclose(epochs.get_xlim(), np.array(figure.axes[0].get_xlim()) / 100)


def test_training_curves_uses_a_log_scale_if_the_loss_falls_tenfold():
    assert viz.training_curves({"loss": [2.0, 0.1]}).axes[0].get_yscale() == "log"
    assert viz.training_curves({"loss": [2.0, 0.5]}).axes[0].get_yscale() == "linear"
    assert viz.training_curves({"loss": [2.0, 0.1, -1.0]}).axes[0].get_yscale() == "linear"


def test_training_curves_labels_a_short_log_scale_with_plain_numbers():
    """Below two decades matplotlib labels minor ticks by formulas, which pictures draw literally."""
    strings = drawn_strings(viz.training_curves({"loss": np.geomspace(3, 0.25, 200)}))
    assert {"0.3", "1", "3"} <= set(strings)
    assert not any("$" in text for text in strings)


def test_training_curves_leaves_a_gap_for_losses_that_are_not_finite():
    loss = np.ones(100)
    loss[[40, 41]] = np.nan, np.inf
    axes = viz.training_curves({"loss": loss}).axes[0]
    assert np.flatnonzero(np.isnan(curves(axes)["mean of 2 steps"])).tolist() == [40, 41]
    assert axes.get_xlabel() == "step\nNaN or infinite losses: 2, the first at step 41"


def test_training_curves_of_a_history_shows_the_validation_loss_at_the_ends_of_epochs():
    history = run(3, 200, rest=50)
    figure = viz.training_curves(history)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "validation: 0.717"]
    np.testing.assert_allclose(line.get_xydata(), [[200, 2.05], [400, 1.05], [600, 2 / 3 + 0.05]])
    assert axes.get_ylabel() == "loss (log scale)" and {"each step", "mean of 13 steps"} <= set(curves(axes))
    np.testing.assert_allclose(axes.child_axes[0].get_xlim(), np.array(axes.get_xlim()) / 200)


def test_training_curves_takes_epochs_for_equal_if_their_ends_are_unknown():
    line = viz.training_curves({"loss": np.ones(12), "val_loss": [2, 1, 3]}).axes[0].lines[-1]
    np.testing.assert_array_equal(line.get_xydata(), [[4, 2], [8, 1], [12, 3]])
    line = viz.training_curves({"loss": np.ones(12), "val_loss": [2, 1], "steps_per_epoch": 5}).axes[0].lines[-1]
    np.testing.assert_array_equal(line.get_xydata(), [[5, 2], [10, 1]])


def test_training_curves_has_no_scale_of_epochs_of_different_lengths():
    axes = viz.training_curves({"loss": np.ones(12), "val_loss": [2, 1], "step": [4, 10]}).axes[0]
    np.testing.assert_array_equal(axes.lines[-1].get_xdata(), [4, 10])
    assert axes.child_axes == []


def test_training_curves_of_a_history_shows_both_accuracies_with_a_legend():
    figure = viz.training_curves(run(4, 100))
    axes = figure.axes[1]
    assert axes.get_ylabel() == "accuracy (%)" and axes.get_ylim()[1] == 100
    np.testing.assert_allclose(curves(axes)["training: 87.50 %"], [50, 75, 100 - 50 / 3, 87.5])
    np.testing.assert_allclose(curves(axes)["validation: 85.00 %"], [40, 70, 80, 85])
    colours = [line.get_color() for line in axes.lines]
    assert colours == [style.BLUE, style.VERMILION] == [figure.axes[0].lines[i].get_color() for i in (1, 2)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training: 87.50 %", "validation: 85.00 %"]


def test_training_curves_shows_accuracies_in_one_panel_and_each_other_metric_in_its_own():
    figure = viz.training_curves(run(4, 100, ("accuracy", "top5", "mae")))
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["loss (log scale)", "accuracy, top5 (%)", "mae"]
    assert list(curves(figure.axes[1])) == [
        *("training accuracy: 87.50 %", "training top5: 90.00 %"),
        *("validation accuracy: 85.00 %", "validation top5: 88.00 %"),
    ]
    dashes = {line.get_label().split()[1]: line.get_linestyle() for line in figure.axes[1].lines}
    assert dashes == {"accuracy:": "-", "top5:": "--"}
    assert list(curves(figure.axes[2])) == ["training: 0.917", "validation: 0.9"]


def test_training_curves_draws_measurements_at_their_epochs():
    history = run(4, 100)
    for row in history.rows[:2]:  # as if validation data were given when the run was resumed
        del row["val_loss"], row["val_accuracy"]
    history.rows[3]["val_accuracy"] = np.nan
    loss, accuracy = viz.training_curves(history).axes[:2]
    np.testing.assert_array_equal(loss.lines[-1].get_xdata(), [300, 400])
    np.testing.assert_array_equal(accuracy.lines[-1].get_xydata(), [[3, 80], [4, np.nan]])


def test_training_curves_says_why_a_run_ended_early():
    history = run(2, 10)
    history.stopped = "stopped by a signal"
    assert viz.training_curves(history).get_suptitle() == "Training: 20 steps, 2 epochs\nstopped by a signal"


def test_lr_curve_marks_the_suggestion_on_the_curve():
    found = search()
    axes = viz.lr_curve(found).axes[0]
    curve, _, dot = axes.lines
    np.testing.assert_array_equal(curve.get_xydata(), np.transpose([found.rates, found.losses]))
    np.testing.assert_allclose(dot.get_xydata(), [[0.0032, np.interp(0.0032, found.rates, found.losses)]])
    assert axes.get_xscale() == "log" and "0.0032" in drawn_strings(axes.figure)


@pytest.mark.parametrize("rates, losses", [([0.1, 1.0], [2.0]), ([], []), ([[0.1]], [[2.0]])])
def test_lr_curve_refuses_a_bad_search(rates, losses):
    with pytest.raises(ShapeError, match=r"lr_curve: rates have shape .*, losses .*; pass the result of train.find_lr"):
        viz.lr_curve(RateSearch(rates, losses, 0.1))


@pytest.mark.parametrize(
    "history, error, message",
    [
        ({"loss": [1], "val_accuracy": [98.7]}, ValidationError, "accuracy 98.7 is not from 0 to 1; pass shares"),
        (
            {"loss": [1], "val_loss": [2, 1], "step": [1]},
            ShapeError,
            r"history\['step'\] has 1 entries for 2 epochs; add the last step of each",
        ),
        ({}, ValidationError, r"history has keys \[\], not 'loss'; add the loss of each step"),
        ({"losses": [1]}, ValidationError, r"history has keys \['losses'\], not 'loss'"),
        ({"loss": []}, ShapeError, r"history\['loss'\] has 0 entries, not 1 or more; add the loss"),
        ({"loss": 1.0}, ShapeError, r"history\['loss'\] has shape \(\), not \(n,\); pass a list of numbers"),
        ({"loss": [1], "accuracy": [[0.5]]}, ShapeError, r"history\['accuracy'\] has shape \(1, 1\), not \(n,\)"),
        (
            {"loss": [1], "accuracy": [98.7]},
            ValidationError,
            "accuracy 98.7 is not from 0 to 1; pass shares, not percent",
        ),
        ({"loss": [1], "accuracy": [np.nan]}, ValidationError, "accuracy nan is not from 0 to 1"),
        ({"loss": [1], "steps_per_epoch": 0}, ValidationError, "steps_per_epoch is 0, not 1 or more; pass the number"),
    ],
)
def test_training_curves_refuses_a_bad_history(history, error, message):
    with pytest.raises(error, match="training_curves: " + message):
        viz.training_curves(history)


# --- confusion matrix


def test_confusion_counts_equals_a_loop():
    labels, predictions = guesses(500, 7, 0.5)
    expected = np.zeros((8, 8), int)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    np.testing.assert_array_equal(viz.confusion_counts(labels, predictions, 8), expected)


def test_confusion_counts_does_not_overflow_small_integers():
    counts = viz.confusion_counts(np.array([25], np.uint8), np.array([24], np.int8), 26)
    assert counts[25, 24] == counts.sum() == 1


def test_confusion_matrix_writes_every_count_and_colours_errors_by_share_of_the_row():
    figure = viz.confusion_matrix([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0", "1", "1", "0", "0", "0"]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(shown.filled(0), [[0, 25, 0], [0, 0, 50], [0, 0, 0]])
    assert axes.images[0].get_clim() == (0, 50)
    assert {"true class", "predicted class", "errors, % of the true class"} <= set(drawn_strings(figure))


def test_confusion_matrix_shows_accuracy_and_class_names():
    figure = viz.confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"])
    assert figure.get_suptitle() == "Accuracy 66.67 %: 2 of 3 right (blue)"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "dog"]


def test_confusion_matrix_makes_one_error_in_ten_thousand_visible():
    labels = np.arange(10_000) % 10
    predictions = labels.copy()
    predictions[0] = 3
    image = viz.confusion_matrix(labels, predictions).axes[0].images[0]
    colours = image.to_rgba(image.get_array())
    assert np.abs(colours[0, 3] - colours[0, 4]).sum() > 1


@pytest.mark.parametrize("call", [viz.confusion_matrix, lambda *pair: viz.confusion_counts(*pair, 2)])
def test_confusion_matrix_and_counts_refuse_bad_labels_and_predictions(call):
    with pytest.raises(ShapeError, match="3 labels but 2 predictions; pass one prediction for each label"):
        call([0, 1, 1], [0, 1])
    with pytest.raises(ShapeError, match=r"predictions has shape \(2, 10\), not \(N,\) with N > 0; take argmax\(1\)"):
        call([0, 1], np.zeros((2, 10)))
    with pytest.raises(ShapeError, match=r"labels has shape \(0,\)"):
        call([], [])
    with pytest.raises(
        DtypeError, match=r"labels holds float64, not whole class numbers; convert it with astype\(int\)"
    ):
        call([0.0, 1.0], [0, 1])
    with pytest.raises(
        ValidationError, match="class numbers run from -1 to 1 but 2 classes are numbered 0 to 1; count"
    ):
        call([0, 1], [0, -1])


def test_confusion_matrix_refuses_a_class_number_without_a_name():
    with pytest.raises(
        ValidationError, match="run from 0 to 2 but 2 classes are numbered 0 to 1; count from 0 and pass"
    ):
        viz.confusion_matrix([0, 1, 2], [0, 1, 1], ["cat", "dog"])


# --- style


def test_save_creates_missing_folders(tmp_path):
    path = viz.save(style.figure(2, 1, "Loss"), tmp_path / "run 1" / "pictures" / "loss.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_figure_has_a_png_representation_for_notebooks():
    assert style.figure(2, 1)._repr_png_().startswith(b"\x89PNG")


def test_viz_does_not_change_matplotlib_settings():
    before = dict(matplotlib.rcParams)
    for draw in FIGURES["filters (6, 1, 5, 5)"], FIGURES["curves, 3 epochs"], FIGURES["confusion, 99 %"]:
        FigureCanvasAgg(draw()).draw()
    assert dict(matplotlib.rcParams) == before


def test_dir_of_viz_lists_public_names_only():
    assert dir(viz) == sorted(viz.__all__)
    assert all(callable(getattr(viz, name)) for name in viz.__all__)


def test_only_viz_imports_matplotlib_and_nothing_imports_pyplot():
    script = """
import sys, minigrad
assert "matplotlib" not in sys.modules
from minigrad import viz
viz.filters([[[[1.0]]]])._repr_png_()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# --- names in figures


class Named:
    def __str__(self):
        return "named"


NAMES = {
    "money": ["$", "a $ b", "$x$", r"$\frac{$", r"\$5", "{$}^"],
    "whole numbers": [3, 10, 200, -1, 0, 7],
    "objects": [Named(), 0.5, None, True, ("a", 1), np.int64(4)],
    "names of files": ["caf\udce9", "\ud83d", "a", "b", "c", "d"],
    "empty": ["", " ", "", "", "", ""],
}


def figures_with_names(classes):
    model, labels = Sequential(Flatten(), Linear(16, 6)), [0, 1, 2, 3, 4, 5]
    with mg.no_grad():  # the model always predicts class 0
        model[1].weight.zero_()
        model[1].bias.copy_(mg.tensor([5.0, 0, 0, 0, 0, 0]))
    yield viz.confusion_matrix(labels, labels[::-1], classes)
    yield viz.mistakes(model, RNG.random((6, 4, 4)), labels, n=6, classes=classes)


@pytest.mark.parametrize("kind", NAMES)
def test_confusion_matrix_and_mistakes_draw_class_names_literally(kind):
    """A `$` starts no formula, any object with a str() is a name, and a lone surrogate is escaped."""
    expected = {str(name).encode("utf-8", "backslashreplace").decode() for name in NAMES[kind]} - {"", " "}
    for figure in figures_with_names(NAMES[kind]):
        check_readable(figure)
        drawn = drawn_texts(figure)
        assert not any(text.get_parse_math() for text in drawn)
        shown = "\n".join(text.get_text() for text in drawn)
        assert all(name in shown for name in expected)


def test_figures_draw_names_of_layers_tensors_and_titles_literally():
    name = r"$\frac{$"
    model = Sequential(OrderedDict([(name, Conv2d(1, 2, 3)), ("flat", Flatten()), ("out", Linear(32, 3))]))
    image = RNG.random((1, 6, 6))
    tape = viz.FilterTape(model, every=1)
    tape.step(0.5)
    figures = [
        viz.filters(model, title=name),
        viz.filters(model),
        viz.feature_maps(model, image),
        viz.explain_pixel(model, image, name, 0, 1, 1).figure,
        viz.grad_cam(model, image),
        viz.top_patches(model, RNG.random((9, 1, 6, 6)), name, 0),
        viz.maximize_activation(model, name, 0, (1, 6, 6), steps=2),
        viz.draw(model, (1, 6, 6)),
        viz.filter_health(model, (RNG.random((9, 1, 6, 6)), [0, 1, 2] * 3)).figure,
        tape.contact_sheet(),
        tape.distances(),
        viz.autograd_graph(model(mg.randn(1, 1, 6, 6)).sum(), names={name: model[0].weight}),
        style.figure(4, 3, "50 $ and $ 60"),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        assert not any(text.get_parse_math() for text in drawn_texts(figure))
    assert drawn_strings(figures[-1]) == ["50 $ and $ 60"]


ARRAY = np.zeros((3, 1, 28, 28))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: viz.filters(m, m),
            ValidationError,
            "filters: init is a LeNet5; for a model, init is its state_dict()",
        ),
        (lambda m: viz.filters(m, ARRAY), ValidationError, "filters: init is an ndarray of shape (3, 1, 28, 28); for"),
        (
            lambda m: viz.dense_or_convolution(m),
            ValidationError,
            "layer_sizes: sizes is a LeNet5; pass sizes of images",
        ),
        (
            lambda m: viz.dense_or_convolution(ARRAY),
            ShapeError,
            "an image has size an ndarray of shape (1, 28, 28), not",
        ),
        (
            lambda m: viz.summary(m, ARRAY),
            ShapeError,
            "summary: input_shape is an ndarray of shape (3, 1, 28, 28), not",
        ),
        (lambda m: viz.draw(m, mg.zeros(1, 28, 28)), ShapeError, "input_shape is a Tensor of shape (1, 28, 28), not"),
        (lambda m: viz.prototypes(m, ARRAY), ShapeError, "input_shape is an ndarray of shape (3, 1, 28, 28), not"),
        (
            lambda m: viz.training_curves(list(range(1000))),
            ValidationError,
            "training_curves: history is a list of 1000: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 … , 993, 994,",
        ),
        (lambda m: viz.training_curves(None), ValidationError, "history is None; pass the History of train.fit"),
        (
            lambda m: viz.training_curves({"loss": "abc"}),
            DtypeError,
            "history['loss'] is 'abc'; pass a list of numbers",
        ),
        (lambda m: viz.lr_curve([1, 2]), ValidationError, "lr_curve: search is [1, 2]; pass the RateSearch"),
        (lambda m: viz.saliency(m, ARRAY[0], target=10), ValidationError, "target is 10 but the model has 10 classes"),
        (
            lambda m: viz.saliency(m, ARRAY[0], target=ARRAY),
            ValidationError,
            "target is an ndarray of shape (3, 1, 28,",
        ),
        (lambda m: viz.saliency(m, None), ValidationError, "saliency: images is None; pass (H, W)"),
        (lambda m: viz.mistakes(m, None, [1]), ValidationError, "mistakes: images is None; pass (N, C, H, W)"),
        (
            lambda m: viz.grad_cam(m, ARRAY[0], ARRAY),
            ValidationError,
            "there is no layer an ndarray of shape (3, 1, 28,",
        ),
        (
            lambda m: viz.feature_maps(m, np.full((28, 28), "a")),
            DtypeError,
            "images is an ndarray of shape (28, 28); pass",
        ),
        (lambda m: viz.FilterTape(m, 1).step("abc"), ValidationError, "FilterTape.step: loss is 'abc'; pass a number"),
    ],
)
def test_viz_names_what_was_passed_in_short_form(call, error, message):
    with pytest.raises(error) as caught:
        call(LeNet5())
    assert message in str(caught.value) and len(str(caught.value)) < 300


class Ends(mg.nn.Module):
    """A model of fixed scores, with a function of them at its end."""

    def __init__(self, scores, function):
        super().__init__()
        self.scores, self.function = mg.tensor(scores), function

    def forward(self, x):
        return self.function(self.scores + 0 * x.sum((1, 2, 3)).reshape(-1, 1))


@pytest.mark.parametrize(
    ("scores", "function", "expected"),
    [
        ([[2.0, 0.0]], lambda y: y, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]),
        ([[2.0, 0.0]], lambda y: y.softmax(1), [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]),
        ([[2.0, 0.0, 1.0]], lambda y: y.sigmoid(), [1 / (1 + np.exp(-2)), 0.5, 1 / (1 + np.exp(-1))]),
        ([[2.0]], lambda y: y, [1 / (1 + np.exp(-2))]),
        ([[2.0]], lambda y: y.sigmoid(), [1 / (1 + np.exp(-2))]),
    ],
)
def test_viz_shows_probabilities_of_scores_and_those_that_sigmoid_made(scores, function, expected):
    found = compute_probabilities("test", Ends(scores, function), np.ones((3, 1, 4, 4), np.float32))
    assert found == pytest.approx(np.tile(expected, (3, 1)), rel=1e-6)
