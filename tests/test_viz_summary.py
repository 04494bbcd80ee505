"""viz.summary, draw, autograd_graph and mistakes."""

from itertools import combinations

import numpy as np
import pytest
from figures import CLASSES, check_readable, drawn_strings, image_arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.errors import DtypeError, GraphError, ShapeError, ValidationError
from minigrad.models import LeNet5, resnet8
from minigrad.viz import style
from minigrad.viz.autograd import autograd_graph
from minigrad.viz.model_summary import summary
from minigrad.viz.tracing import trace
from minigrad.viz.volumes import _kind, _make_volumes, _Volume, draw
from minigrad.viz.wrong_answers import mistakes

RNG = np.random.default_rng(0)


def vgg():
    """Six convolutions on colour images."""
    layers, channels = [], 3
    for filters in 8, 16, 32:
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 10))


class Net(nn.Module):
    """Shortcuts, a layer that runs twice, a parameter that a function uses, and a layer that is not used."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.weight = nn.Parameter(mg.ones(3, 4))
        self.spare = nn.Linear(2, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for _ in range(2):
            x = x + F.relu(self.block(x))
        return x.mean((2, 3)) @ self.weight.T


class Scores(nn.Module):
    """Take the pixels of the image as scores, so that answers and probabilities are known."""

    def __init__(self, last=None):
        super().__init__()
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(x.flatten(1) * 1)


def loss(model, shape):
    return F.cross_entropy(model(mg.zeros(*shape)), mg.zeros(shape[0]).long())


def half_wrong(n, classes):
    """Return scores as images (N, 1, 1, K), and labels, half of which have the largest score."""
    scores = RNG.normal(size=(n, 1, 1, classes)).astype(np.float32)
    labels = scores.reshape(n, classes).argmax(1)
    return scores, np.where(np.arange(n) % 2, labels, (labels + 1) % classes)


FIGURES = {
    "draw LeNet-5": lambda: draw(LeNet5(), (1, 28, 28)),
    "draw LeNet-5 of 1998": lambda: draw(LeNet5(classic=True), (1, 28, 28)),
    "draw six convolutions": lambda: draw(vgg(), (3, 32, 32)),
    "draw without convolutions": lambda: draw(dense(), (1, 28, 28)),
    "draw shortcuts": lambda: draw(Net(), (1, 8, 8)),
    "draw one layer": lambda: draw(nn.Conv2d(3, 512, (7, 1), stride=(2, 1), dilation=2), (3, 224, 16)),
    "draw large and small": lambda: draw(nn.Conv2d(1, 1, 224), (1, 224, 224)),
    "autograd graph of LeNet-5": lambda: autograd_graph(loss(LeNet5(), (64, 1, 28, 28)), model=LeNet5()),
    "autograd graph of six convolutions": lambda: autograd_graph(loss(vgg(), (2, 3, 32, 32))),
    "autograd graph without convolutions": lambda: autograd_graph(dense()(mg.zeros(64, 1, 28, 28))),
    "autograd graph with shortcuts": lambda: autograd_graph(Net()(mg.zeros(5, 1, 8, 8)), model=Net()),
    "autograd graph, cut": lambda: autograd_graph(loss(vgg(), (2, 3, 32, 32)), most=8),
    "mistakes, many": lambda: mistakes(Scores(), *half_wrong(80, 10), n=64),
    "mistakes, named": lambda: mistakes(Scores(), *half_wrong(20, 10), classes=CLASSES),
    "mistakes, one": lambda: mistakes(Scores(), *half_wrong(1, 10)),
    "mistakes, long names": lambda: mistakes(Scores(), *half_wrong(20, 3), classes=[40 * c for c in "abc"]),
    "mistakes, names of three words": lambda: mistakes(
        Scores(), *half_wrong(20, 3), classes=3 * ["striped blue triangle"]
    ),
    "draw ResNet-8": lambda: draw(mg.models.resnet8(), (3, 32, 32)),
    "mistakes, tall": lambda: mistakes(LeNet5(), np.zeros((9, 28, 28)), np.arange(9), n=3),
    "mistakes, none": lambda: mistakes(Scores(), np.eye(3).reshape(3, 1, 1, 3), [0, 1, 2]),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_draw_autograd_graph_and_mistakes_have_readable_text(name):
    check_readable(FIGURES[name]())


# --- summary


def test_summary_of_lenet_equals_hand_calculation():
    found = summary(LeNet5(), (1, 28, 28))
    assert (found.parameters, found.multiply_adds, found.unused) == (61_706, 416_520, {})
    rows = {row.name: row for row in found.rows}
    assert rows["conv1"] == ("conv1", "Conv2d", (6, 28, 28), 156, 6 * 28 * 28 * 25, 4 * 6 * 28 * 28, (5, 5))
    assert rows["pool1"][3:] == (0, 0, 4 * 6 * 14 * 14, (6, 6))
    assert rows["conv2"][2:] == ((16, 10, 10), 2_416, 16 * 100 * 150, 4 * 1600, (14, 14))
    assert rows["fc3"][2:] == ((10,), 850, 840, 40, None)
    assert found.bytes == sum(row.bytes for row in found.rows)


def test_summary_counts_no_bytes_for_a_view():
    rows = {row.name: row for row in summary(LeNet5(), (1, 28, 28)).rows}
    assert (rows["reshape"].shape, rows["reshape"].bytes) == ((400,), 0)


def test_summary_counts_groups_strides_and_float64():
    model = nn.Sequential(nn.Conv2d(4, 6, (3, 2), stride=2, groups=2, bias=False)).double()
    (row,) = summary(model, (4, 9, 8)).rows
    assert row == ("0", "Conv2d", (6, 4, 4), 6 * 2 * 6, 6 * 16 * 2 * 6, 8 * 96, (3, 2))


def test_summary_counts_parameters_at_their_first_use_and_names_unused_ones():
    found = summary(Net(), (1, 8, 8))
    counts = {row.name: row.parameters for row in found.rows if row.parameters}
    assert counts == {"stem": 40, "block": 148, "matmul": 12}
    assert found.unused == {"spare.weight": 10, "spare.bias": 5}
    assert found.parameters == sum(p.numel() for p in Net().parameters())
    assert [row.multiply_adds for row in found.rows if row.name.startswith("block")] == 2 * [4 * 64 * 36]
    assert str(found).splitlines()[-1] == "the total has 15 parameters that no layer used: spare.weight, spare.bias"


def test_summary_counts_a_shared_parameter_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Flatten())
    model[1].weight = model[0].weight
    assert [row.parameters for row in summary(model, (2, 3, 4)).rows[:2]] == [20, 4]


def test_summary_prints_an_aligned_table_with_a_total():
    lines = str(summary(LeNet5(), (1, 28, 28))).splitlines()
    assert lines[0] == "LeNet5 on one image of 1×28×28"
    assert lines[4].split() == ["conv1", "Conv2d", "6×28×28", "156", "117,600", "18,816", "5×5"]
    assert lines[-1].split() == ["total", "61,706", "416,520", "39,496"]
    assert lines[4].index("117,600") == lines[-1].index("416,520")
    assert max(map(len, lines)) < 80
    assert repr(summary(nn.Linear(4, 1), (1, 1, 4))) == "Summary(1 layer, 5 parameters)"


@pytest.mark.parametrize("call", [summary, draw])
def test_summary_and_draw_refuse_bad_models_and_shapes(call):
    where = call.__name__
    for shape in (28, 28), (1, 28, 28, 1), (0, 28, 28), (1, -28, 28), (1.0, 28, 28), (True, 28, 28), 28:
        with pytest.raises(
            ShapeError, match=rf"{where}: input_shape is .*, not \(C, H, W\) with 3 whole numbers of 1 or more; pass"
        ):
            call(LeNet5(), shape)
    with pytest.raises(ShapeError, match=r"^conv1: conv2d: weight reads 1 channels but x has 3"):
        call(LeNet5(), (3, 28, 28))
    with pytest.raises(ShapeError, match=r"^fc1: Linear expects 400 features, got 256"):
        call(LeNet5(), (1, 24, 24))
    with pytest.raises(ValidationError, match=f"{where}: model is a builtin_function_or_method; pass an nn.Module"):
        call(max, (1, 28, 28))


# --- draw


def boxes(figure):
    """Return the width and height of the front of every volume."""
    fronts = [patch.get_xy() for patch in figure.axes[0].patches]
    return [
        tuple(np.ptp(xy, axis=0)) for xy in fronts if len(np.unique(xy.round(9), axis=0)) == 4 and _is_rectangle(xy)
    ]


def _is_rectangle(xy):
    return len(np.unique(xy[:, 0].round(9))) == 2 and len(np.unique(xy[:, 1].round(9))) == 2


def test_draw_sizes_volumes_by_channels_and_map_sizes():
    image, conv1, pool1, conv2, pool2, flat, fc1, fc2, fc3 = boxes(draw(LeNet5(), (1, 28, 28)))
    widths, heights = zip(image, conv1, conv2, strict=True)
    assert list(widths) == sorted(set(widths)) and conv1[0] == pytest.approx(pool1[0])
    assert image[1] == pytest.approx(conv1[1])
    assert conv1[1] > pool1[1] > conv2[1] > pool2[1]
    assert flat[1] > fc1[1] > fc2[1] > fc3[1]


def test_draw_writes_names_shapes_windows_and_strides():
    shown = drawn_strings(draw(LeNet5(), (1, 28, 28)))
    assert {"image", "1×28×28", "conv1", "Conv2d", "6×28×28", "pool2", "16×5×5", "fc3", "10"} <= set(shown)
    assert shown.count("5×5\nstride 1\npadding 2") == shown.count("5×5\nstride 1") == 1
    assert shown.count("2×2\nstride 2") == 2
    assert shown.count("+ ReLU") == 4


def test_draw_writes_dilation_and_groups():
    model = nn.Conv2d(4, 4, (3, 1), stride=(2, 1), padding=(0, 1), dilation=2, groups=2)
    assert "3×1\nstride 2×1\npadding 0×1\ndilation 2\n2 groups" in drawn_strings(draw(model, (4, 9, 9)))


def test_draw_refuses_too_many_volumes():
    model = nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(60)])
    with pytest.raises(ValidationError, match="draw: 61 volumes, more than 60; draw a part of the model, such as"):
        draw(model, (1, 4, 4))


# --- autograd_graph


def labels(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def arrows(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def test_autograd_graph_shows_operations_with_shapes_and_leaves_with_names():
    model = LeNet5()
    figure = autograd_graph(loss(model, (64, 1, 28, 28)), model=model)
    shown = labels(figure)
    assert {"conv2d\n64×6×28×28", "reshape\n64×400", "linear\n64×10", "cross_entropy\none number"} <= set(shown)
    assert {"conv1.weight\n6×1×5×5", "fc3.bias\n10", "x\n64×1×28×28", "labels\n64"} <= set(shown)
    assert figure.get_suptitle() == "Autograd graph: 13 operations, 10 leaves"
    assert len(shown) == 13 + 10 + 2 and len(arrows(figure)) == 12 + 10 + 2


def test_autograd_graph_shows_given_names_of_leaves_and_results():
    w = mg.ones(2, requires_grad=True)
    half = w * 2
    assert sorted(labels(autograd_graph(half.sum(), names={"half": half}))) == [
        "leaf\n2",
        "mul: half\n2",
        "sum\none number",
    ]
    assert "w\n2" in labels(autograd_graph(half, names={"w": w}))


def test_autograd_graph_draws_a_leaf_that_is_used_twice_as_one_box_with_two_arrows():
    w = mg.ones(3, requires_grad=True)
    figure = autograd_graph((w * w).sum())
    assert sorted(labels(figure)) == ["leaf\n3", "mul\n3", "sum\none number"]
    assert len(arrows(figure)) == 3


@pytest.mark.parametrize("model, shape", [(Net, (5, 1, 8, 8)), (vgg, (2, 3, 32, 32)), (LeNet5, (2, 1, 28, 28))])
def test_autograd_graph_boxes_do_not_overlap_and_stand_below_their_inputs(model, shape):
    figure = autograd_graph(model()(mg.zeros(*shape)))
    FigureCanvasAgg(figure).draw()
    extents = [box.get_window_extent() for box in figure.axes[0].patches if isinstance(box, FancyBboxPatch)]
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))
    for arrow in arrows(figure):
        (_, start), (_, end) = arrow._path_original.vertices[[0, -1]]
        assert start > end


def test_autograd_graph_arrows_do_not_cross_boxes():
    figure = autograd_graph(Net()(mg.zeros(5, 1, 8, 8)))
    FigureCanvasAgg(figure).draw()
    inner = [box.get_window_extent().padded(-2) for box in figure.axes[0].patches if isinstance(box, FancyBboxPatch)]
    for arrow in arrows(figure):
        line = arrow.get_transform().transform_path(arrow._path_original).to_polygons(closed_only=False)[0]
        assert not any(box.count_contains(line) for box in inner)


def test_autograd_graph_shows_the_last_operations_of_a_large_graph():
    x = mg.ones(2, requires_grad=True)
    for _ in range(50):
        x = x * 2
    figure = autograd_graph(x)
    assert figure.get_suptitle() == "Autograd graph: 50 operations, the last 40 shown, 0 leaves"
    assert labels(figure).count("earlier\nmul") == 1
    assert len(labels(autograd_graph(x, most=3))) == 4


def test_autograd_graph_refuses_bad_tensors_models_and_sizes():
    w = mg.ones(3, requires_grad=True)
    with pytest.raises(
        DtypeError, match="autograd_graph: expected a Tensor, got float; pass the loss, before backward"
    ):
        autograd_graph(1.0)
    for tensor in w, mg.ones(3), w.detach() * 2:
        with pytest.raises(
            GraphError, match=r"autograd_graph: nothing was recorded for this tensor of shape \(3,\); make it"
        ):
            autograd_graph(tensor)
    total = (w * w).sum()
    total.backward()
    with pytest.raises(GraphError, match=r"backward has freed the graph; draw it before, or call .*retain_graph=True"):
        autograd_graph(total)
    with pytest.raises(ValidationError, match="autograd_graph: model is a list; pass an nn.Module"):
        autograd_graph(w * w, model=[])
    for most in 0, 2.5, True:
        with pytest.raises(ValidationError, match=f"autograd_graph: most is {most}; use a whole number of 1 or more"):
            autograd_graph(w * w, most=most)
    with pytest.raises(ValidationError, match=r"picture would be \d+ inches wide, more than 24; pass a smaller most"):
        autograd_graph(mg.cat([mg.ones(3, requires_grad=True) for _ in range(60)]))


# --- mistakes


def test_draw_shows_connections_that_skip_layers():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return F.relu(self.b(F.relu(self.a(x))) + x)

    volumes = _make_volumes(
        _Volume(("image",), (), (1, 8, 8), "image"), trace("test", Block(), np.zeros((8, 8), np.float32))
    )
    assert [volume.caption[0] for volume in volumes] == ["image", "a", "b", "add"]
    assert [volume.sources for volume in volumes] == [(), (0,), (1,), (0, 2)]
    figure = draw(Block(), (1, 8, 8))
    assert "connections that skip layers" in figure._supxlabel.get_text()
    assert len(figure.axes[0].lines) == 1
    assert "skip" not in draw(LeNet5(), (1, 28, 28))._supxlabel.get_text()


def test_draw_keeps_a_skip_connection_that_ends_at_a_volume_apart_from_one_that_begins_there():
    axes = draw(mg.models.resnet8(), (3, 32, 32)).axes[0]
    begins = [line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] > 0]
    ends = [line.get_xdata()[-1] for line in axes.lines]
    assert len(begins) >= 3 and min(abs(b - e) for b in begins for e in ends) > 0.1


def test_draw_colours_every_kind_of_pooling_as_pooling():
    layers = trace("test", mg.models.resnet8(), np.zeros((3, 32, 32), np.float32))
    kinds = {layer.name: _kind(layer) for layer in layers}
    assert kinds["avgpool"] == "pooling" and kinds["conv1"] == "convolution" and kinds["layer1.0.add"] == "other"


def test_mistakes_wraps_long_names_and_is_no_wider_than_a_screen():
    names = ["a very long name of a class", "b" * 40, "קול ارض <b>"]
    answers = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]] * 6))
    figure = mistakes(Scores(), answers.reshape(18, 1, 1, 3), [1, 2, 0] * 6, classes=names)
    assert figure.get_size_inches()[0] <= 14
    check_readable(figure)
    assert all(max(map(len, axes.get_xlabel().splitlines())) <= 28 for axes in figure.axes if axes.get_xlabel())


def test_draw_follows_the_two_branches_of_a_residual_block():
    layers = trace("test", mg.models.resnet8(), np.zeros((3, 32, 32), np.float32))
    volumes = _make_volumes(_Volume(("image",), (), (3, 32, 32), "image"), layers)
    names = [volume.caption[0] for volume in volumes]
    read = {volume.caption[0]: {names[source] for source in volume.sources} for volume in volumes}
    assert read["layer2.0.conv1"] == read["layer2.0.downsample"] == {"layer1.0.add"}
    assert read["layer2.0.add"] == {"layer2.0.downsample", "layer2.0.conv2"}


def test_mistakes_shows_the_most_certain_errors_first_with_their_probabilities():
    scores = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.9, 0.0001], [0.25, 0.25, 0.5], [0.1, 0.1, 0.8]]))
    figure = mistakes(Scores(), scores.reshape(4, 1, 1, 3), [1, 0, 0, 2], n=2, classes=["cat", "dog", "owl"])
    assert figure.get_suptitle() == "Mistakes: 3 of 4 images (75.00 %); the 2 most certain"
    assert [axes.get_title() for axes in figure.axes] == ["image 1", "image 0"]
    assert figure.axes[0].get_xlabel() == "true: cat\nanswer: dog\n90.0 % sure"
    assert figure.axes[1].get_xlabel() == "true: dog\nanswer: cat\n70.0 % sure"
    pixels = (scores[:1] - scores[:2].min()) / np.ptp(scores[:2])
    np.testing.assert_allclose(image_arrays(figure, 1)[0][..., 0], pixels, rtol=1e-5)


def test_mistakes_takes_scores_of_a_softmax_as_probabilities():
    figure = mistakes(Scores(nn.Softmax(1)), np.log([[[0.6, 0.4]]]), [1])
    assert figure.axes[0].get_xlabel() == "true: class 1\nanswer: class 0\n60.0 % sure"


def test_mistakes_shows_the_least_certain_answers_if_all_are_right():
    figure = mistakes(Scores(), np.diag([3.0, 1, 2]).reshape(3, 1, 3), [0, 1, 2], n=2)
    assert figure.get_suptitle() == "No mistakes: all 3 right; the 2 least certain answers"
    assert [axes.get_title() for axes in figure.axes] == ["image 1", "image 2"]


def test_mistakes_does_not_change_the_model():
    model = nn.Sequential(LeNet5(), nn.Dropout())
    model[0].eval()
    mistakes(model, np.zeros((2, 28, 28)), [0, 1])
    assert [module.training for module in (model, *model)] == [True, False, True]
    assert all(p.grad is None for p in model.parameters())


def test_mistakes_refuses_bad_images_labels_classes_and_models():
    x = np.zeros((3, 28, 28))
    with pytest.raises(ShapeError, match="mistakes: 3 images but 2 labels; pass one label for each image"):
        mistakes(LeNet5(), x, [0, 1])
    for empty in np.zeros((0, 28, 28)), np.zeros((28, 28)):
        with pytest.raises(
            ShapeError, match=r"mistakes: images have shape .*; pass \(N, C, H, W\) or \(N, H, W\) with"
        ):
            mistakes(LeNet5(), empty, [])
    with pytest.raises(ShapeError, match=r"mistakes: labels has shape \(0,\), not \(N,\)"):
        mistakes(LeNet5(), x, [])
    with pytest.raises(DtypeError, match="mistakes: labels holds float64, not whole class numbers"):
        mistakes(LeNet5(), x, [0.0, 1.0, 2.0])
    with pytest.raises(
        ValidationError, match="labels run from 0 to 10 but the model scores 10 classes, numbered 0 to 9"
    ):
        mistakes(LeNet5(), x, [0, 10, 2])
    with pytest.raises(ValidationError, match="mistakes: 2 names in classes but the model scores 10; name each one"):
        mistakes(LeNet5(), x, [0, 1, 2], classes=["cat", "dog"])
    for n in 0, 65, 2.5, True:
        with pytest.raises(ValidationError, match=f"mistakes: n is {n}; use a whole number from 1 to 64"):
            mistakes(LeNet5(), x, [0, 1, 2], n=n)
    with pytest.raises(ShapeError, match="conv1: conv2d: weight reads 1 channels but x has 3"):
        mistakes(LeNet5(), np.zeros((2, 3, 28, 28)), [0, 1])
    with pytest.raises(
        ShapeError, match=r"mistakes: the model returns shape \(2, 6, 26, 26\) for 2 images, not \(N, classes\)"
    ):
        mistakes(nn.Conv2d(1, 6, 3), x[:2], [0, 1])
    with pytest.raises(ValidationError, match="mistakes: model is a builtin_function_or_method; pass an nn.Module"):
        mistakes(max, x, [0, 1, 2])
    with pytest.raises(ValidationError, match="mistakes: 2 of 6 scores are NaN or infinite; lower the learning rate"):
        mistakes(Scores(), np.array([[[0, np.nan, 1]], [[1, np.inf, 0]]]), [0, 1])


def test_draw_gives_a_window_the_colour_of_the_connection_that_feeds_it():
    figure = draw(resnet8(), (3, 32, 32))
    colours = {text.get_text(): to_hex(text.get_color()) for text in figure.axes[0].texts}
    assert colours["3×3\nstride 2\npadding 1"] == style.VERMILION.lower()
    assert colours["3×3\nstride 1\npadding 1"] == "#000000"
