"""viz.filter_health: ablation, dead and duplicated filters, classic filters, the table and the figure."""

import numpy as np
import pytest
from figures import check_readable, drawn_strings, image_arrays

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, ops
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.viz.health import filter_health

NORMAL = (0.1307, 0.3081)
SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


class Net(nn.Module):
    """A residual network with a shared activation, and a layer that runs twice."""

    def __init__(self, channels=1, filters=4, size=5):
        super().__init__()
        self.stem = nn.Conv2d(channels, filters, size, padding=size // 2)
        self.block = nn.Conv2d(filters, filters, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.activation = nn.ReLU()
        self.head = nn.Linear(filters, 3)

    def forward(self, x):
        x = self.activation(self.stem(x))
        for _ in range(2):
            x = x + self.activation(self.block(x))
        return self.head(self.drop(x).mean((2, 3)))


def pictures(n=40, channels=1):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, channels, 8, 8)).astype(np.float32), rng.integers(0, 3, n)


def set_filter(layer, f, weight, bias=0.0):
    with mg.no_grad():
        layer.weight[f] = mg.tensor(np.broadcast_to(weight, layer.weight.shape[1:]).astype(np.float32))
        layer.bias[f] = bias


def accuracy_without(model, path, f, x, y):
    """Return the accuracy when the weights and the bias of a filter, and so its output, are zero."""
    layer = getattr(model, path)
    weight, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()
    set_filter(layer, f, 0.0)
    with mg.no_grad():
        right = (model(mg.tensor(x)).argmax(1).numpy() == y).mean()
        layer.weight.copy_(mg.tensor(weight))
        layer.bias.copy_(mg.tensor(bias))
    return right


# --- ablation


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_size", [7, 40])
def test_filter_health_worth_equals_brute_force(channels, batch_size):
    model, (x, y) = Net(channels).eval(), pictures(channels=channels)
    with mg.no_grad():
        model.head.bias.sub_(model(mg.tensor(x)).mean(0))  # otherwise all images would be of one class
        y = np.where(np.arange(40) % 5, model(mg.tensor(x)).argmax(1).numpy(), 0)
    report = filter_health(model, (x, y), batch_size=batch_size)
    whole = (model(mg.tensor(x)).argmax(1).numpy() == y).mean()
    assert report.accuracy == pytest.approx(whole)
    expected = [whole - accuracy_without(model, row.layer, row.filter, x, y) for row in report.rows]
    assert [row.worth for row in report.rows] == pytest.approx(expected)
    assert len({round(worth, 6) for worth in expected}) > 2, "otherwise the test is too weak"


@pytest.mark.parametrize("classic", [False, True])
def test_filter_health_worth_equals_brute_force_for_lenet(classic):
    model, digits = LeNet5(classic=classic).eval(), datasets.MNIST(train=False)
    x = ((digits.images[:60, None] / 255 - NORMAL[0]) / NORMAL[1]).astype(np.float32)
    with mg.no_grad():
        y = model(mg.tensor(x)).argmax(1).numpy()
    report = filter_health(model, (x, y))
    assert report.accuracy == 1
    expected = [1 - accuracy_without(model, row.layer, row.filter, x, y) for row in report.rows]
    assert [row.worth for row in report.rows] == pytest.approx(expected)
    assert max(expected) > 0


def test_filter_health_runs_the_layers_before_the_filters_once(monkeypatch):
    """Of four convolutions, the last with ten filters, none runs once more for each filter."""
    model = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)], nn.Conv2d(1, 10, 8), nn.Flatten())
    runs = []
    forward = ops.conv2d.forward
    monkeypatch.setattr(ops.conv2d, "forward", lambda *args, **settings: runs.append(1) or forward(*args, **settings))
    filter_health(model, pictures(), layers="3")
    assert len(runs) == 3 * 4, "once to trace, once to count right answers, once to ablate"


def test_filter_health_does_not_change_the_model():
    model = Net()
    model.block.eval()
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    attributes = [sorted(vars(m)) for m in model.modules()]
    filter_health(model, pictures())
    assert modes == [m.training for m in model.modules()] and True in modes and False in modes
    assert hooks == [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()]
    assert attributes == [sorted(vars(m)) for m in model.modules()]
    assert all(p.grad is None for p in model.parameters())
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_filter_health_accepts_a_model_with_in_place_operations():
    class InPlace(Net):
        def forward(self, x):
            x = self.stem(x)
            x += 1
            x *= 2
            return self.head(self.activation(x).mean((2, 3)))

    model, (x, y) = InPlace().eval(), pictures()
    with mg.no_grad():
        model.head.weight.mul_(20.0)
        expected = []
        for f in range(4):
            z = model.stem(mg.tensor(x))
            z[:, f] = 0.0
            right = model.head(F.relu((z + 1) * 2).mean((2, 3))).argmax(1).numpy() == y
            expected.append(right.mean())
    report = filter_health(model, (x, y), layers="stem")
    assert [report.accuracy - row.worth for row in report.rows] == pytest.approx(expected)


def test_filter_health_is_the_same_on_another_device():
    model, given = Net(), pictures()
    before = str(filter_health(model, given))
    assert str(filter_health(model.to("numpy"), given)) == before


def test_filter_health_runs_the_model_at_most_twice_more_than_there_are_filters():
    model, digits, seen = LeNet5(), datasets.MNIST(train=False), []
    hook = model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    report = filter_health(model, digits, normalize=NORMAL)
    hook.remove()
    assert report.images == 1000 and len(report.rows) == 22
    assert sum(seen) <= (22 + 2) * 1000


# --- dead and duplicated filters


def test_filter_health_finds_dead_filters():
    model = LeNet5()
    set_filter(model.conv1, 2, 0.01, bias=-50)
    set_filter(model.conv2, 7, 0.0, bias=0)
    x, y = mg.randn(50, 1, 28, 28), np.zeros(50, int)
    report = filter_health(model, (x, y))
    inside = model.pool1(F.relu(model.conv1(x)))
    maps = F.relu(model.conv1(x)).detach().numpy(), F.relu(model.conv2(inside)).detach().numpy()
    dead = [not map[:, f].any() for map in maps for f in range(map.shape[1])]
    assert [row.dead for row in report.rows] == dead
    assert dead[2] and dead[6 + 7] and not all(dead)
    assert all(row.worth == 0 for row in report.rows if row.dead)
    assert f" {sum(dead)} dead, 0 with a near-duplicate" in str(report)


def test_filter_health_does_not_call_a_filter_dead_that_has_one_nonzero_pixel():
    model, (x, y) = Net(), pictures()
    x[33, 0, 4, 4] = 100
    centre = np.zeros((5, 5))
    centre[2, 2] = 1
    set_filter(model.stem, 1, centre, bias=-99)
    assert not any(row.dead for row in filter_health(model, (x, y), batch_size=8, layers="stem").rows)
    x[33, 0, 4, 4] = 98
    assert [row.filter for row in filter_health(model, (x, y), layers="stem").rows if row.dead] == [1]


def test_filter_health_does_not_call_a_negative_filter_dead_without_relu():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten())
    set_filter(model[0], 0, 0.01, bias=-3)
    assert not any(row.dead for row in filter_health(model, pictures()).rows)


def test_filter_health_finds_duplicates_of_any_norm():
    model = LeNet5()
    w = model.conv1.weight.detach().numpy().copy()
    set_filter(model.conv1, 4, 3 * w[1] + 0.001)
    set_filter(model.conv1, 5, -w[0])
    report = filter_health(model, datasets.MNIST(train=False), max_images=20, layers="conv1")
    assert [row.twin for row in report.rows] == [None, 4, None, None, 1, None], "an opposite is no duplicate"
    assert report.rows[1].remark == "like filter 4" and report.rows[1].similarity > 0.99
    flat = model.conv1.weight.detach().numpy().reshape(6, -1).astype(np.float64)
    cosines = flat @ flat.T / np.outer(*[np.linalg.norm(flat, axis=1)] * 2) - 2 * np.eye(6)
    np.testing.assert_allclose([row.similarity for row in report.rows], cosines.max(axis=1))
    np.testing.assert_allclose([row.norm for row in report.rows], np.linalg.norm(flat, axis=1))


def test_filter_health_similar_sets_the_cosine_of_duplicates():
    model, (x, y) = Net(), pictures()
    set_filter(model.stem, 0, SOBEL.sum() + np.eye(5))
    set_filter(model.stem, 1, np.eye(5) + 0.2)
    cosine = filter_health(model, (x, y), layers="stem").rows[0].similarity
    for similar, twin in (cosine - 0.01, 1), (cosine + 0.01, None):
        assert filter_health(model, (x, y), layers="stem", similar=similar).rows[0].twin == twin


def test_filter_health_finds_no_duplicate_of_a_single_filter():
    model = nn.Sequential(nn.Conv2d(1, 1, 8), nn.Flatten())
    (row,) = filter_health(model, (pictures()[0], np.zeros(40, int))).rows
    assert row.twin is None and np.isnan(row.similarity)


# --- classic filters


def sobel(angle):
    """Return Sobel's filter, bright towards an angle that is a multiple of 45 degrees."""
    diagonal = np.array([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    return np.rot90(SOBEL if angle % 90 == 0 else diagonal, angle // 90)


CLASSICS = {
    **{f"Sobel {angle}°": sobel(angle) for angle in range(0, 360, 45)},
    "Laplacian": np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]),
    "−Laplacian": np.array([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]]),
    "blur": np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]),
    "line 0°": np.array([[-1.0, -1, -1], [2, 2, 2], [-1, -1, -1]]),
    "line 45°": np.array([[-1.0, -1, 2], [-1, 2, -1], [2, -1, -1]]),
    "−line 90°": np.array([[1.0, -2, 1], [1, -2, 1], [1, -2, 1]]),
    "corner 45°": np.array([[-4.0, 5, 5], [-4, 5, 5], [-4, -4, -4]]),
}


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("name", CLASSICS)
def test_filter_health_finds_classic_filters_at_any_position(name, place):
    model, window = Net(), np.zeros((5, 5))
    window[place[0] : place[0] + 3, place[1] : place[1] + 3] = 0.3 * CLASSICS[name]
    set_filter(model.stem, 2, window)
    row = filter_health(model, pictures(), layers="stem").rows[2]
    assert row.classic == name
    assert row.score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["Sobel 0°", "Laplacian"])
def test_filter_health_finds_classic_filters_in_noise_and_in_many_channels(name):
    model, (x, y) = Net(channels=3, size=3), pictures(channels=3)
    noise = np.random.default_rng(1).normal(0, 0.1, (3, 3, 3))
    set_filter(model.stem, 0, np.array([1.0, -0.5, 0.2])[:, None, None] * CLASSICS[name])
    set_filter(model.stem, 1, CLASSICS[name] + noise)
    rows = filter_health(model, (x, y), layers="stem").rows
    assert [row.classic for row in rows[:2]] == [name, name]
    assert rows[0].score == pytest.approx(1, abs=1e-6) and 0.9 < rows[1].score < 1


def test_filter_health_score_is_the_cosine_and_chance_is_below_it():
    model, (x, y) = Net(size=3), pictures()
    mixed = SOBEL / np.linalg.norm(SOBEL) + 0.3 * np.ones((3, 3)) / 3
    set_filter(model.stem, 0, mixed)
    report = filter_health(model, (x, y), layers="stem")
    assert report.rows[0].classic == "Sobel 0°"
    assert report.rows[0].score == pytest.approx(1 / np.sqrt(1.09))
    assert 0.8 < report.chance["stem"] == report.least["stem"] < 0.95


@pytest.mark.parametrize("shape", [(1, 5, 5), (6, 3, 3), (3, 7, 7)])
def test_filter_health_names_no_filter_of_another_200_random_ones_but_one_or_two(shape):
    C, size = shape[:2]
    model = nn.Sequential(nn.Conv2d(C, 200, size), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weight = np.random.default_rng(7).normal(size=(200, *shape)).astype(np.float32)
    model[0].load_state_dict({"weight": weight, "bias": np.zeros(200, np.float32)})
    report = filter_health(model, (np.zeros((1, C, 8, 8), np.float32), [0]))
    assert sum(row.classic != "none" for row in report.rows) <= 6
    assert np.mean([row.score > report.chance["0"] for row in report.rows]) <= 0.03


def test_filter_health_names_a_pattern_only_if_it_has_half_of_the_squared_weights():
    """In 16 channels chance is far below: the pattern in one channel, and independent noise in the others."""
    model, noise = Net(channels=16, size=3), np.random.default_rng(2).normal(size=(2, 16, 3, 3))
    for f, share in enumerate((0.35, 0.65)):
        noise[f, 0] = 0
        noise[f] *= np.sqrt((1 - share) / np.square(noise[f]).sum())
        noise[f, 0] = np.sqrt(share) * SOBEL / np.linalg.norm(SOBEL)
        set_filter(model.stem, f, noise[f])
    report = filter_health(model, pictures(channels=16), layers="stem")
    assert [row.classic for row in report.rows[:2]] == ["none", "Sobel 0°"]
    assert report.rows[0].score > report.chance["stem"] and report.least["stem"] == pytest.approx(0.5**0.5)


def test_filter_health_finds_gabor_filters():
    x, y = np.meshgrid(np.arange(5) - 2, np.arange(5) - 2)
    stripes = np.sin(2 * np.pi * x / 3) * np.exp(-(x**2 + y**2) / 4)
    model = Net()
    set_filter(model.stem, 0, stripes)
    row = filter_health(model, pictures(), layers="stem").rows[0]
    assert row.classic == "Gabor 0° sine" and row.score > 0.95


@pytest.mark.parametrize("size", [1, 2])
def test_filter_health_finds_no_classic_filter_for_small_windows_and_zero_filters(size):
    model = nn.Sequential(nn.Conv2d(1, 3, size), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten())
    set_filter(model[2], 1, 0.0)
    rows = filter_health(model, pictures()).rows
    assert [row.classic for row in rows[:3]] == ["none"] * 3 and np.isnan([row.score for row in rows[:3]]).all()
    assert rows[4].classic == "none" and rows[4].score == 0 and np.isnan(rows[4].similarity)


# --- data


def test_filter_health_is_the_same_for_arrays_datasets_and_loaders():
    model, digits = LeNet5(), datasets.MNIST(train=False)
    x = ((digits.images[:50, None] / 255 - NORMAL[0]) / NORMAL[1]).astype(np.float32)
    first = data.Subset(digits, np.arange(50))
    reports = [
        filter_health(model, (x, digits.labels[:50])),
        filter_health(model, (mg.tensor(x), mg.tensor(digits.labels[:50])), batch_size=8),
        filter_health(model, first, normalize=NORMAL),
        filter_health(model, data.DataLoader(digits, 20, normalize=NORMAL), max_images=50),
    ]
    assert [report.images for report in reports] == [50] * 4
    assert len({report.accuracy for report in reports}) == 1
    assert len({str(report) for report in reports}) == 1


def test_filter_health_takes_max_images_evenly_spaced():
    x, y = pictures()
    y = np.repeat([0, 1], 20)
    x[:] = np.where(y == 0, -1, 1)[:, None, None, None]
    model = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())
    set_filter(model[0], 0, -1.0)
    set_filter(model[0], 1, 1.0)
    report = filter_health(model, (x, y), max_images=10)
    assert report.images == 10 and report.accuracy == 1
    report = filter_health(model, (x, 0 * y), max_images=10)
    assert report.accuracy == 0.5, "five images of each half"


@pytest.mark.parametrize(
    "given, error, message",
    [
        ((np.zeros((0, 1, 8, 8)), []), ValidationError, r"images have shape \(0, 1, 8, 8\), 0 numbers; pass 1"),
        ([], ValidationError, "the dataset has 0 images; pass"),
        (7, ValidationError, r"data is a int; pass \(images, labels\), a Dataset or a DataLoader with 1 or more"),
        (
            (np.zeros((4, 1, 8, 8)), [0, 1, 2]),
            ShapeError,
            r"images have shape \(4, 1, 8, 8\) and labels \(3,\), not \(N, C, H, W\) and \(N,\); pass one label",
        ),
        ((np.zeros((2, 8, 8)), [0, 1]), ShapeError, r"images have shape \(2, 8, 8\) and labels \(2,\), not"),
        ((np.zeros((2, 1, 8, 8)), [0.0, 1.0]), DtypeError, "labels holds float64, not whole class numbers"),
    ],
)
def test_filter_health_refuses_bad_images_and_labels(given, error, message):
    with pytest.raises(error, match="filter_health: " + message):
        filter_health(Net(), given)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"layers": "conv9"}, "there is no convolution 'conv9'; choose from stem, block"),
        ({"layers": ()}, "layers names 0 of 2 convolutions; name one or more, or give None"),
        ({"similar": 0}, "similar is 0; use a cosine above 0 and at most 1"),
        ({"max_images": 0}, "max_images is 0; use a whole number of 1 or more"),
        ({"batch_size": -1}, "batch_size is -1; use a whole number of 1 or more"),
        ({"normalize": NORMAL}, r"normalize is \(0.1307, 0.3081\) but the images of a tuple are not normalised"),
    ],
)
def test_filter_health_refuses_settings_out_of_range(settings, message):
    with pytest.raises(ValidationError, match="filter_health: " + message):
        filter_health(Net(), pictures(), **settings)


def test_filter_health_refuses_a_model_without_convolutions_or_scores():
    with pytest.raises(ValidationError, match="filter_health: the model has no Conv2d, only Linear; pass a CNN"):
        filter_health(nn.Sequential(nn.Linear(2, 2)), pictures())
    with pytest.raises(ShapeError, match=r"the model returns shape \(40, 2, 6, 6\) for 40 images, not \(N, classes\)"):
        filter_health(nn.Sequential(nn.Conv2d(1, 2, 3)), pictures())


def test_filter_health_refuses_weights_that_are_not_finite():
    model = Net()
    set_filter(model.stem, 0, np.nan)
    with pytest.raises(ValidationError, match="filter_health: 25 of 100 weights are NaN or infinite; lower"):
        filter_health(model, pictures())


# --- table and picture


def model_with_bad_filters():
    model = Net()
    set_filter(model.stem, 0, np.pad(SOBEL, 1))
    set_filter(model.stem, 1, np.pad(SOBEL, 1), bias=0.1)
    set_filter(model.block, 2, -1.0, bias=-50)
    return model


def test_health_report_prints_a_line_for_each_filter():
    report = filter_health(model_with_bad_filters(), pictures())
    lines = str(report).splitlines()
    assert lines[0].startswith("8 filters: 1 dead, 2 with a near-duplicate; accuracy ")
    assert lines[0].endswith(" % on 40 images")
    assert lines[2].split() == ["layer", "filter", "norm", "worth", "resembles", "score", "cosine", "remark"]
    assert [line.split()[:2] for line in lines[3:11]] == [[row.layer, str(row.filter)] for row in report.rows]
    assert [line.split("  ")[-1] for line in (lines[3], lines[4], lines[9])] == [
        "like filter 1",
        "like filter 0",
        "dead",
    ]
    assert lines[3].index("Sobel 0°") == lines[4].index("Sobel 0°") == lines[2].index("resembles")
    assert repr(report) == "HealthReport(8 filters of stem, block)"


def test_health_report_figure_shows_filters_classic_filters_scores_and_worth():
    model = model_with_bad_filters()
    report = filter_health(model, pictures())
    stem, likeness, worth = report.figure.axes[:3]
    shown = image_arrays(report.figure)
    np.testing.assert_array_equal(shown[0], model.stem.weight.detach().numpy()[0, 0])
    np.testing.assert_allclose(shown[1], np.pad(SOBEL, 1) / 2)
    assert [bar.get_width() for bar in likeness.patches] == [row.score for row in report.rows[:4]]
    assert [bar.get_width() for bar in worth.patches] == pytest.approx([100 * row.worth for row in report.rows[:4]])
    assert [label.get_text() for label in likeness.get_yticklabels()] == [row.classic for row in report.rows[:4]]
    assert {"like filter 1", "like filter 0", "dead", "accuracy lost without it (points)"} <= set(
        drawn_strings(report.figure)
    )
    assert report.figure is report.figure


def test_health_report_figure_shows_the_strongest_filters_and_those_with_a_remark():
    model = Net(filters=40)
    set_filter(model.stem, 3, 0.0, bias=-1)
    report = filter_health(model, pictures(), layers="stem")
    shown = [label.get_text() for label in report.figure.axes[0].get_yticklabels()]
    assert len(shown) == 16 and "filter 3" in shown
    words = "shown: 16 of 40 filters, of each layer first those that are dead or duplicates, then those"
    assert any(text.startswith(words) for text in drawn_strings(report.figure))


FIGURES = {
    "residual": (model_with_bad_filters, pictures),
    "3 channels": (lambda: Net(3), lambda: pictures(channels=3)),
    "1x1": (lambda: Net(size=1), pictures),
    "many": (lambda: Net(filters=40), pictures),
    "one filter": (lambda: nn.Sequential(nn.Conv2d(1, 1, 8), nn.Flatten()), lambda: (pictures()[0], np.zeros(40, int))),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_health_report_figure_has_readable_text(name):
    model, given = FIGURES[name]
    figure = filter_health(model(), given()).figure
    check_readable(figure)
