"""viz.page and viz.live without a browser: what is in the file, what is refused, and who may read and send."""

import base64
import hashlib
import http.client
import json
import re
import subprocess
import sys
import threading
from time import monotonic, sleep

import numpy as np
import pytest
from helpers import process_environment
from PIL import Image

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, optim, train, transforms, viz
from minigrad.errors import GraphError, ShapeError, ValidationError
from minigrad.models import LeNet5, resnet8
from minigrad.ops.op import OPS
from minigrad.viz import page as write_page
from minigrad.viz.__main__ import _parse, _Training, main as run_main
from minigrad.viz.page import payload as limits
from minigrad.viz.page.bundle import known_operations, read_scripts
from minigrad.viz.page.encoding import encode_images, to_base64
from minigrad.viz.page.live import live as serve

STRANGE = ["</script><script>alert(1)</script>", "$x^2$ \"quoted\" & 'single'", "שלום <b>עולם</b>", "caf\udce9"]


class Scores(nn.Module):
    """A convolution and three or more scores."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


def images(n=2, shape=(1, 8, 8), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def data_of(path):
    """Return what the scripts of a page read."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    return json.loads(text)


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# ---- the file


def test_page_holds_weights_and_images_exactly(tmp_path):
    model, x = Scores(), images(8)
    data = data_of(write_page(model, x, tmp_path / "lab.html"))
    for name, value in model.state_dict().items():
        assert (floats(data["weights"][name]["float32"]) == value.numpy().ravel()).all()
    assert (floats(data["images"]["float32"]).reshape(x.shape) == x).all()
    assert [step["op"] for step in data["steps"]] == ["conv2d", "relu", "mean", "linear"]
    assert data["shape"] == [1, 8, 8] and data["classes"] == ["0", "1", "2", "3"]


def test_page_stores_images_of_few_values_as_bytes_without_loss():
    mean = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    x = (np.random.default_rng(0).integers(0, 256, (50, 3, 6, 7)) / 255 - mean).astype(np.float32)
    encoded = encode_images(x)
    numbers = np.frombuffer(base64.b64decode(encoded["bytes"]), np.uint8)
    values = floats(encoded["values"]).reshape(3, 256)
    assert (values[np.arange(3).reshape(3, 1, 1), numbers.reshape(x.shape)] == x).all()


def test_page_of_lenet5_with_200_digits_and_a_full_tape_with_gradients_is_below_1500_kb(tmp_path):
    model = LeNet5()
    tape = viz.FilterTape(model, every=1, gradients=True)
    for _ in range(63):
        model.conv1.weight.grad = mg.randn(6, 1, 5, 5)
        tape.step(1.0)
    bytes_of_digits = np.random.default_rng(0).integers(0, 256, (200, 1, 28, 28)).astype(np.float32)
    path = write_page(model, bytes_of_digits, tmp_path / "lab.html", tape=tape, labels=[0] * 200)
    assert path.stat().st_size < 1_500_000
    data = data_of(path)
    assert data["tape"]["frames"] == 64
    assert data["tape"]["steps"][0] == 0 and data["tape"]["steps"][-1] == 63
    last = floats(data["tape"]["weights"]["conv1"]["float32"]).reshape(-1, 6, 1, 5, 5)[-1]
    assert (last == model.conv1.weight.detach().numpy()).all()
    shown, known = data["tape"]["gradients"]["conv1"], model.conv1.weight.grad.numpy()
    assert np.abs(decode_frames(shown)[-1] - known).max() <= np.abs(known).max() / 60_000
    assert np.isnan(decode_frames(shown)[0]).all() and np.isnan(decode_frames(data["tape"]["gradients"]["conv2"])).all()


def decode_frames(encoded):
    """Return frames as the page reads them."""
    numbers = np.frombuffer(base64.b64decode(encoded["int16"]), "<i2").reshape(encoded["shape"]).astype(np.float64)
    scales = np.array([np.nan if scale is None else scale for scale in encoded["scales"]]).reshape(-1, 1, 1, 1, 1)
    return np.where(numbers == -32768, np.nan, numbers * scales)


def test_page_takes_a_tape_of_an_older_file_without_gradients(tmp_path):
    tape = viz.FilterTape(Scores(), every=1)
    tape.step(1.0)
    data = data_of(write_page(Scores(), images(), tmp_path / "lab.html", tape=tape))
    assert data["tape"]["gradients"] == {} and list(data["tape"]["weights"]) == ["conv"]


def test_page_does_not_change_the_model(tmp_path):
    model = Scores()
    model.train()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    write_page(model, images(), tmp_path / "lab.html")
    assert model.training
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())


def test_page_keeps_names_as_text_that_cannot_end_the_data(tmp_path):
    path = write_page(Scores(), images(), tmp_path / "lab.html", classes=STRANGE, title=STRANGE[0])
    text = path.read_text("utf-8")
    assert text.count("<script") == 2 and "alert(1)</script>" not in text
    assert "<title>&lt;/script&gt;" in text
    assert data_of(path)["classes"] == [*STRANGE[:3], "caf\\udce9"]


def test_page_allows_only_its_own_script_and_style_and_no_network(tmp_path):
    text = write_page(Scores(), images(), tmp_path / "lab.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    for kind, element in ("script-src", "<script>"), ("style-src", "<style>"):
        content = text.split(element)[1].split("</" + element[1:])[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r'(src|href)="(?!data:,)', text.split("<script>")[0])


def test_page_names_a_layer_that_it_does_not_know_and_stores_what_python_computed(tmp_path):
    class Sorted(Scores):
        def forward(self, x):
            return mg.sort(super().forward(x), dim=1)[0]

    x, model = images(3), Sorted()
    data = data_of(write_page(model, x, tmp_path / "lab.html"))
    assert data["notes"] and "cannot compute" in data["notes"][0]
    unknown = [step for step in data["steps"] if step.get("unknown")]
    assert [step["op"] for step in unknown] == ["argsort", "gather"]
    stored = floats(unknown[-1]["stored"]["float32"]).reshape(unknown[-1]["stored"]["shape"])
    assert np.allclose(stored[:, 0], model(mg.tensor(x)).detach().numpy(), rtol=1e-5)


def test_every_operation_of_the_page_is_one_of_python():
    assert known_operations() <= set(OPS) and "argsort" not in known_operations()
    assert {
        "conv2d",
        "max_pool2d",
        "linear",
        "norm",
        "relu",
        "elu",
        "add",
        "mean",
        "softmax",
        "cat",
    } <= known_operations()


def test_page_says_that_weights_are_nan(tmp_path):
    model = Scores()
    with mg.no_grad():
        model.conv.weight[0, 0, 0, 0] = np.nan
    notes = data_of(write_page(model, images(), tmp_path / "lab.html"))["notes"]
    assert notes == [
        "conv.weight: 1 of 27 numbers are NaN or infinite. The training diverged; lower the learning rate and train "
        "again."
    ]


def test_page_says_once_that_many_weights_are_nan_and_names_unknown_operations_once(tmp_path):
    class Sorted(Scores):
        def forward(self, x):
            return mg.sort(mg.sort(super().forward(x), dim=1)[0], dim=1)[0]

    model = Sorted()
    with mg.no_grad():
        model.conv.weight[...] = np.nan
        model.head.bias[0] = np.inf
    broken, unknown = data_of(write_page(model, images(), tmp_path / "lab.html"))["notes"]
    assert broken.startswith(
        "conv.weight and 1 other array: 28 of 31 numbers are NaN or infinite. The training diverged"
    )
    assert unknown.startswith("argsort (argsort) and 3 other operations: this page cannot compute them.")


def test_page_of_images_with_nan_takes_the_range_of_the_others(tmp_path):
    x = images()
    x[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    known = x[np.isfinite(x)]
    subject = subject_of(x)
    assert np.allclose([known.min() * subject.std + subject.mean, known.max() * subject.std + subject.mean], [[0], [1]])


@pytest.mark.filterwarnings("error")
def test_page_refuses_images_that_are_nan():
    with pytest.raises(ValidationError, match="page: all 128 numbers of the images are NaN or infinite"):
        subject_of(np.full((2, 1, 8, 8), np.nan))


def test_page_takes_normalisation_from_the_caller_or_from_the_images(tmp_path):
    data = data_of(write_page(Scores(), images(), tmp_path / "lab.html", normalize=(0.5, 0.25)))
    assert data["mean"] == [0.5] and data["std"] == [0.25]
    x = images()
    data = data_of(write_page(Scores(), x, tmp_path / "lab.html"))
    pixels = x * data["std"][0] + data["mean"][0]
    assert np.allclose([pixels.min(), pixels.max()], [0, 1], atol=1e-6)
    data = data_of(write_page(Scores(), np.abs(x).clip(0, 1), tmp_path / "lab.html"))
    assert (data["mean"], data["std"]) == ([0.0], [1.0])


def test_page_is_shown_by_scripts_without_repeated_names():
    """The modules are functions that return their exports; every import finds its module before it."""
    text = read_scripts()
    made = [match.start() for match in re.finditer(r'^modules\["', text, re.M)]
    assert len(made) > 15
    for use in re.finditer(r'= modules\["([^"]+)"\];', text):
        assert text.index(f'modules["{use[1]}"] = (') < use.start()
    assert "import " not in re.sub(r"//.*", "", text)


# ---- images of data sets


class Digits(data.ImageDataset):
    """Ten images for each of four classes, sorted by class, with names."""

    classes = ("a", "b", "c", "d")

    def __init__(self, transform=None, each=10):
        pixels = np.random.default_rng(0).integers(0, 256, (4 * each, 8, 8)).astype(np.uint8)
        super().__init__(pixels, np.repeat(np.arange(4), each), transform)


def subject_of(images, **settings):
    given = {"labels": None, "classes": None, "normalize": None} | settings
    return limits.make_subject("page", Scores(), images, **given)


def test_page_reads_a_data_set_with_its_labels_names_and_the_normalisation(tmp_path):
    digits = Digits()
    path = write_page(Scores(), digits, tmp_path / "lab.html", normalize=(0.5, 0.25))
    shown = data_of(path)
    assert shown["labels"] == digits.labels.tolist() and shown["classes"] == ["a", "b", "c", "d"]
    subject = subject_of(digits, normalize=(0.5, 0.25))
    assert np.allclose(subject.images[:, 0], (digits.images / 255 - 0.5) / 0.25, atol=1e-6)
    assert (subject.mean, subject.std) == (0.5, 0.25)
    assert subject_of(digits, classes="wxyz").classes == ["w", "x", "y", "z"]


def test_page_shows_samples_of_all_classes_of_a_sorted_data_set():
    subject = subject_of(Digits(each=500))
    assert len(subject.images) == 200 and np.bincount(subject.labels).tolist() == [50] * 4


def test_page_knows_the_normalisation_of_a_transform():
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))])
    subject = subject_of(Digits(transform))
    assert np.allclose(subject.images[:, 0], (Digits().images / 255 - 0.5) / 0.25, atol=1e-6)
    assert (subject.mean, subject.std) == (0.5, 0.25)


def test_page_reads_the_first_batches_of_a_loader_and_its_epoch_does_not_count():
    loader = data.DataLoader(Digits(), 8, shuffle=True, seed=3, normalize=(0.5, 0.25))
    x, y = next(iter(data.DataLoader(Digits(), 8, shuffle=True, seed=3, normalize=(0.5, 0.25))))
    subject = subject_of(loader)
    assert loader.epoch == 0 and loader.normalize == (0.5, 0.25)
    assert len(subject.images) == 40 and (subject.images[:8] == x.numpy()).all()
    assert (subject.labels[:8] == y.numpy()).all() and subject.classes == ["a", "b", "c", "d"]
    assert (subject.mean, subject.std) == (0.5, 0.25)


def test_page_reads_images_without_labels_and_streams():
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(images(3))

    for source in data.TensorDataset(mg.tensor(images(3))), Stream():
        subject = subject_of(source)
        assert (subject.images == images(3)).all() and subject.labels is None


def test_page_reads_an_image_folder(tmp_path):
    for name in "cat", "dog":
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / name / "one.png")
    model = Scores(classes=2)
    subject = limits.make_subject(
        "page", model, datasets.ImageFolder(tmp_path, size=8, mode="L"), None, None, (0.5, 0.5)
    )
    assert subject.classes == ["cat", "dog"] and subject.labels.tolist() == [0, 1]
    assert np.allclose(subject.images, (90 / 255 - 0.5) / 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (Digits(), {"labels": [0]}, "page: labels are given, but images are a Digits, whose samples have their own"),
        (data.Subset(Digits(), []), {}, "page: the Subset has 0 samples; pass one with 1 or more"),
        (Digits() + Digits(), {"normalize": (0.5, 0.25)}, "normalize, pad and dtype apply to images in memory"),
    ],
)
def test_page_refuses_data_sets(source, settings, message):
    with pytest.raises(ValidationError, match=message):
        subject_of(source, **settings)


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((0, 1, 8, 8))}, ShapeError, "page: image has shape \\(0, 1, 8, 8\\)"),
        ({"labels": [0]}, ShapeError, "page: 2 images but 1 labels; pass one label for each image"),
        ({"labels": [0, 9]}, ValidationError, "page: labels run from 0 to 9 but the model scores 4 classes"),
        ({"classes": ["a"]}, ShapeError, "page: 1 class names but the model scores 4 classes; name every class"),
        ({"normalize": (0, (1, 2))}, ShapeError, "page: normalize is .* but the images have 1 channel"),
        ({"normalize": 3}, ShapeError, "page: normalize is 3 but the images have 1 channel; pass"),
        (
            {"normalize": np.ones((3, 4))},
            ShapeError,
            "page: normalize is an ndarray of shape \\(3, 4\\) but the images",
        ),
        ({"images": None}, ValidationError, "page: images is None; pass"),
        ({"normalize": (0, 0)}, ValidationError, "page: normalize is \\(0, 0\\); use finite means"),
        ({"model": "lenet"}, ValidationError, "page: model is a str; pass an nn.Module"),
    ],
)
def test_page_refuses(tmp_path, change, error, message):
    arguments = {"model": Scores(), "images": images(), "path": tmp_path / "lab.html"} | change
    with pytest.raises(error, match=message):
        write_page(**arguments)
    assert not (tmp_path / "lab.html").exists()


class Returns(nn.Module):
    """A model that returns what a function of the image returns."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: (x, x), ValidationError, "page: the model returns a tuple, not a tensor of scores"),
        (lambda x: x, ShapeError, "page: the model returns shape \\(1, 1, 8, 8\\)"),
        (lambda x: mg.zeros(1, 3), ValidationError, "page: what the model returns does not depend on the image"),
    ],
)
def test_page_refuses_a_model_without_scores(tmp_path, function, error, message):
    with pytest.raises(error, match=message):
        write_page(Returns(function), images(), tmp_path / "lab.html")


# ---- the tape of another model


class OtherNames(Scores):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1)
        self.conv, self.first = self.first, self.conv

    def forward(self, x):
        return self.head(F.relu(self.first(x)).mean((2, 3)))


class OtherShapes(Scores):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 5)


@pytest.mark.parametrize(
    ("tape", "error", "message"),
    [
        (LeNet5, ValidationError, r"the tape has the layer conv1 but Scores has conv; pass a tape of this model"),
        (OtherShapes, ShapeError, r"on the tape, conv has weights \(3, 1, 5, 5\), in Scores \(3, 1, 3, 3\)"),
        (OtherNames, ShapeError, r"on the tape, conv has weights \(1, 1, 1, 1\), in Scores \(3, 1, 3, 3\)"),
        (Scores, None, ""),
    ],
)
def test_page_embed_and_report_refuse_the_tape_of_another_model(tmp_path, tape, error, message):
    tape = viz.FilterTape(tape(), every=1)
    tape.step(1.0)
    calls = {
        "page": lambda: write_page(Scores(), images(), tmp_path / "lab.html", tape=tape),
        "embed": lambda: viz.embed(Scores(), images(), tape=tape),
        "report": lambda: viz.report(Scores(), images(), [0, 1], tmp_path / "report.html", tape=tape),
    }
    if error is None:
        calls["page"]()
        return
    for name, call in calls.items():
        with pytest.raises(error, match=f"{name}: {message}"):
            call()
    assert not list(tmp_path.iterdir())


def test_page_refuses_what_is_no_tape():
    with pytest.raises(ValidationError, match="embed: tape is a dict; pass a FilterTape"):
        viz.embed(Scores(), images(), tape={})


# ---- a fixed program and scores


class Computed(nn.Module):
    """A dense layer, and a function of the image and its scores."""

    def __init__(self, function, classes=3):
        super().__init__()
        self.linear, self.function, self.calls = nn.Linear(64, classes), function, 0

    def forward(self, x):
        self.calls += 1
        return self.function(x, self.linear(x.flatten(1)))


def grey(*levels):
    """Return an image of one level for each of these."""
    return np.array(levels, np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.float32)


def negate_if_bright(x, y):
    return -5 * y if float(x.mean().item()) > 0.3 else y


CHANGES_WITH_THE_IMAGE = {
    "branch": (negate_if_bright, "it runs 4 operations, not 3"),
    "other operation": (lambda x, y: y.relu() if x.max().item() > 0.3 else y.tanh(), "operation 4 is relu, not tanh"),
    "number": (lambda x, y: y * x.mean().item(), "operation 4, mul, reads other numbers"),
    "shape": (lambda x, y: y + x[x > 0.3].sum(), "operation 4, take, makes shape"),
    "setting": (lambda x, y: y.roll(int(x.max().item() > 0.3), 1), "operation"),
}


@pytest.mark.parametrize("name", CHANGES_WITH_THE_IMAGE)
@pytest.mark.parametrize("levels", [(0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1), (0.1, 0.9), (0.1,)])
def test_page_refuses_a_forward_that_depends_on_values(tmp_path, name, levels):
    """One of the images, or the first with black and white exchanged, goes another way than the first."""
    function, message = CHANGES_WITH_THE_IMAGE[name]
    with pytest.raises(
        ValidationError, match=rf"page: forward computes something else for image .*: {message}.*report"
    ):
        write_page(Computed(function), grey(*levels), tmp_path / "lab.html")
    assert not (tmp_path / "lab.html").exists()


def test_page_names_the_image_whose_forward_differs(tmp_path):
    with pytest.raises(ValidationError, match="for image 4 than for image 0: it runs 4 operations, not 3"):
        write_page(Computed(negate_if_bright), grey(0.1, 0.2, 0.1, 0.1, 0.9, 0.9, 0.9), tmp_path / "lab.html")


@pytest.mark.parametrize(
    "function", [lambda x, y: y + mg.rand(1, 3), lambda x, y: F.dropout(y, 0.5), lambda x, y: y * mg.rand(1).item()]
)
def test_page_refuses_a_forward_that_draws_random_numbers(tmp_path, function):
    with pytest.raises(ValidationError, match="page: forward computes .* called again with the same image.*random"):
        write_page(Computed(function), grey(0.5), tmp_path / "lab.html")


def test_page_refuses_a_forward_that_counts_its_calls(tmp_path):
    model = Computed(None)
    model.function = lambda x, y: y * model.calls
    with pytest.raises(ValidationError, match="called again .*: operation 3, mul, reads other numbers.*keeps a state"):
        write_page(model, grey(0.5), tmp_path / "lab.html")


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: mg.where(x.mean() > 0.3, -5 * y, y),
        lambda x, y: y + mg.arange(3) * 0.5,
        lambda x, y: y[:, [0, 2, 1]] * float("nan"),
    ],
)
def test_page_takes_a_forward_whose_constants_stay(tmp_path, function):
    write_page(Computed(function), grey(0.1, 0.9), tmp_path / "lab.html")


def test_embed_and_live_refuse_a_forward_that_depends_on_values():
    for function in viz.embed, viz.live:
        with pytest.raises(ValidationError, match=f"{function.__name__}: forward computes something else for image 1"):
            function(Computed(negate_if_bright), grey(0.1, 0.9))


def test_page_holds_scores_of_images_over_all_of_them(tmp_path):
    model, x = Scores(), images(40)
    scores = data_of(write_page(model, x, tmp_path / "lab.html"))["scores"]
    assert list(scores) == ["13", "26", "39"]
    for number, encoded in scores.items():
        expected = model.eval()(mg.tensor(x[[int(number)]])).detach().numpy()[0]
        assert np.allclose(floats(encoded["float32"]), expected, rtol=1e-5)
    assert data_of(write_page(model, x[:1], tmp_path / "lab.html"))["scores"] == {}


@pytest.mark.parametrize(
    ("function", "classes", "message"),
    [
        (lambda x, y: y, 1, "Computed scores one class; the page compares the scores of two or more"),
        (lambda x, y: y.sigmoid(), 3, "Computed returns the output of sigmoid, a probability of each class alone"),
        (lambda x, y: y.sigmoid().reshape(1, -1), 3, "returns the output of sigmoid"),
        (lambda x, y: y.softmax(0), 3, "probabilities that add up to 3, not 1; take softmax over the classes"),
        (lambda x, y: y.exp() / y.exp().sum(), 3, "numbers that add up to 1, made by div"),
    ],
)
def test_page_refuses_what_is_no_score(tmp_path, function, classes, message):
    with pytest.raises(ValidationError, match=message):
        write_page(Computed(function, classes), grey(0.5), tmp_path / "lab.html")


@pytest.mark.parametrize("function", [lambda x, y: y.softmax(1), lambda x, y: y.log_softmax(1), lambda x, y: y.tanh()])
def test_page_takes_scores_and_the_probabilities_of_softmax(tmp_path, function):
    write_page(Computed(function), grey(0.5), tmp_path / "lab.html")


def test_page_refuses_a_model_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_WEIGHTS", 40)
    with pytest.raises(ValidationError, match="page: Scores has 46 weights, more than the 40 of a page"):
        write_page(Scores(), images(), tmp_path / "lab.html")
    monkeypatch.setattr(limits, "MOST_WEIGHTS", 46)
    monkeypatch.setattr(limits, "MOST_PRODUCTS", 900)
    with pytest.raises(ValidationError, match="page: Scores needs 984 multiplications for an image, more than the 900"):
        write_page(Scores(), images(), tmp_path / "lab.html")


# ---- live


@pytest.fixture
def session():
    model = Scores()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with serve(model, images(), optimizer=optimizer) as opened:
        opened.model, opened.optimizer = model, optimizer
        yield opened


def ask(session, path, method="GET", body=None, **headers):
    """Return status and text of a request; a header that is None is left out."""
    host, token = session.url.removeprefix("http://").split("/")[:2]
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest(method, path.replace("TOKEN", token), skip_host=True)
    sent = {"Host": host, "Content-Length": str(len(body or b""))} | headers
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value.replace("HOST", host))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def command(session, **fields):
    return ask(session, "/TOKEN/control", "POST", json.dumps(fields).encode(), Origin="http://HOST")


def test_live_serves_the_page_to_who_knows_the_token(session):
    status, text = ask(session, "/TOKEN/")
    assert status == 200 and "connect-src 'self'" in text
    assert session.url.startswith("http://127.0.0.1:") and len(session.url.split("/")[3]) >= 32
    assert repr(session) == f"Live({session.url}, 0 steps)"


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {}, 403),
        ("/wrong/", "GET", {}, 403),
        ("/TOKENx/", "GET", {}, 403),
        ("/TOKEN/", "GET", {"Host": "evil.example"}, 403),
        ("/TOKEN/", "GET", {"Host": None}, 403),
        ("/TOKEN/", "GET", {"Origin": "http://evil.example"}, 403),
        ("/TOKEN/events", "GET", {"Origin": "null"}, 403),
        ("/TOKEN/other", "GET", {}, 404),
        ("/TOKEN/control", "POST", {}, 403),
        ("/TOKEN/control", "POST", {"Origin": "http://evil.example"}, 403),
        ("/wrong/control", "POST", {"Origin": "http://HOST"}, 403),
        ("/TOKEN/other", "POST", {"Origin": "http://HOST"}, 404),
    ],
)
def test_live_refuses_other_hosts_origins_and_tokens(session, path, method, headers, status):
    assert ask(session, path, method, b'{"command":"pause"}' if method == "POST" else None, **headers)[0] == status
    assert not session._paused


def test_live_refuses_commands_that_it_does_not_know(session):
    assert command(session, command="stop") == (
        400,
        "there is no command 'stop'; use play, pause, step, rate, watch, freeze, put, restart",
    )
    assert command(session, command=["pause"])[0] == 400
    assert command(session, command="rate", value="fast")[0] == 400
    assert command(session, command="rate", value=-1)[0] == 400
    assert ask(session, "/TOKEN/control", "POST", b"[1]", Origin="http://HOST") == (400, "a command is an object")
    assert ask(session, "/TOKEN/control", "POST", b"{", Origin="http://HOST") == (400, "a command is JSON")
    most = 1000 + 6 * 9  # a filter of 9 weights
    assert ask(session, "/TOKEN/control", "POST", b" " * most, Origin="http://HOST") == (400, "a command is JSON")
    long = ask(session, "/TOKEN/control", "POST", b" " * (most + 1), Origin="http://HOST")
    assert long == (400, f"a command has at most {most} bytes")


def wait_until(condition):
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def test_live_pauses_makes_one_step_and_plays(session):
    assert command(session, command="pause")[0] == 200
    training = threading.Thread(target=lambda: [session.step(1.0) for _ in range(3)], daemon=True)
    training.start()
    wait_until(lambda: session._count == 1)
    sleep(0.2)
    assert session._count == 1
    assert command(session, command="step")[0] == 200
    wait_until(lambda: session._count == 2)
    sleep(0.2)
    assert session._count == 2
    assert command(session, command="play")[0] == 200
    training.join(60)
    assert session._count == 3


def test_live_changes_the_learning_rate_at_the_next_step(session):
    assert command(session, command="rate", value=0.5)[0] == 200
    assert session.optimizer.param_groups[0]["lr"] == 0.1
    session.step(1.0)
    assert session.optimizer.param_groups[0]["lr"] == 0.5


def test_live_without_an_optimizer_refuses_a_learning_rate():
    with serve(Scores(), images()) as session:
        assert "got no optimizer" in command(session, command="rate", value=0.5)[1]


def test_live_sends_the_weights_and_their_gradient(session):
    F.cross_entropy(session.model(mg.tensor(images())), mg.tensor([0, 1])).backward()
    session.step(mg.tensor(1.25))
    lines = []

    def read():
        session._server.stream(lines.append)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wait_until(lambda: lines)
    message = json.loads(lines[0].decode().removeprefix("data: "))
    assert (message["step"], message["loss"], message["whole"]) == (1, 1.25, True)
    for name, value in session.model.state_dict().items():
        assert message["weights"][name] == to_base64(value.numpy())
    assert message["gradients"]["conv.weight"]["float32"] == to_base64(session.model.conv.weight.grad.numpy())
    session.close()
    reader.join(60)
    assert json.loads(lines[-1].decode().removeprefix("data: "))["finished"]


def test_live_serves_a_finished_training_until_it_is_closed(session):
    session.step(1.0)
    session.finish()
    assert json.loads(session._server._whole)["finished"]
    assert ask(session, "/TOKEN/")[0] == 200
    session.close()
    with pytest.raises(ConnectionRefusedError):
        ask(session, "/TOKEN/")


def test_live_sends_no_loss_that_json_cannot_hold(session):
    session.step(float("nan"))
    assert json.loads(session._server._whole)["loss"] is None


# ---- live: filters


def train_steps(session, optimizer, steps=3, graph=False):
    """Train on random images; call Live.step after each step."""
    x, labels, model = mg.tensor(images(8)), mg.tensor([0, 1, 2, 3] * 2), session.model

    def step():
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = mg.graph(step) if graph else step
    for _ in range(steps):
        session.step(run())


def state_of(session):
    return {name: value.numpy().copy() for name, value in session.model.state_dict().items()}


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_live_keeps_a_frozen_filter_and_its_bias_and_trains_the_others(session, name, graph):
    optimizer = session._filters._optimizer = OPTIMIZERS[name](session.model.parameters())
    train_steps(session, optimizer, graph=graph)
    assert command(session, command="freeze", name="conv.weight", filter=1, value=True) == (200, "ok")
    train_steps(session, optimizer, 1, graph)  # the command takes effect after this step
    before = state_of(session)
    train_steps(session, optimizer, 5, graph)
    after = state_of(session)
    for parameter in "conv.weight", "conv.bias":
        assert (after[parameter][1] == before[parameter][1]).all()
        assert (after[parameter][0] != before[parameter][0]).all()
    assert session._describe([], [])["frozen"] == {"conv.weight": [1]}
    assert command(session, command="freeze", name="conv.weight", filter=1, value=False) == (200, "ok")
    train_steps(session, optimizer, 1, graph)
    assert (state_of(session)["conv.weight"][1] == before["conv.weight"][1]).all()
    train_steps(session, optimizer, 1, graph)
    assert (state_of(session)["conv.weight"][1] != before["conv.weight"][1]).all()


def test_live_releases_a_filter_from_rest(session):
    """With momentum, the first step after a release is that of the gradient alone."""
    optimizer = session._filters._optimizer = optim.SGD(session.model.parameters(), lr=0.1, momentum=0.9)
    train_steps(session, optimizer, 5)
    command(session, command="freeze", name="conv.weight", filter=0, value=True)
    train_steps(session, optimizer, 5)
    command(session, command="freeze", name="conv.weight", filter=0, value=False)
    train_steps(session, optimizer, 1)
    before = state_of(session)
    train_steps(session, optimizer, 1)
    gradient = session.model.conv.weight.grad.numpy()
    moved = state_of(session)["conv.weight"] - before["conv.weight"]
    assert np.allclose(moved[0], -0.1 * gradient[0], atol=1e-7)
    assert not np.allclose(moved[1], -0.1 * gradient[1], atol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_live_puts_a_filter_into_the_model_which_trains_on_from_it(session, frozen):
    weights = np.arange(9, dtype=np.float32).reshape(1, 3, 3) / 7
    if frozen:
        command(session, command="freeze", name="conv.weight", filter=2, value=True)
    put = command(session, command="put", name="conv.weight", filter=2, weights=to_base64(weights))
    assert put == (200, "ok")
    train_steps(session, session.optimizer, 1)
    assert (state_of(session)["conv.weight"][2] == weights).all()
    train_steps(session, session.optimizer, 1)
    assert (state_of(session)["conv.weight"][2] == weights).all() == frozen


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": "freeze", "name": "head.weight", "filter": 0, "value": True}, "there is no convolution 'head."),
        ({"command": "freeze", "name": ["conv"], "filter": 0, "value": True}, "there is no convolution ['conv']; use"),
        (
            {"command": "freeze", "name": "conv.weight", "filter": 3, "value": True},
            "conv.weight has 3 filters, not num",
        ),
        ({"command": "freeze", "name": "conv.weight", "filter": True, "value": True}, "not number True; use 0 to 2"),
        ({"command": "freeze", "name": "conv.weight", "filter": 0, "value": 1}, "value is 1; use true to freeze"),
        ({"command": "put", "name": "none", "filter": 0}, "there is no convolution 'none'; use one of conv.weight"),
        ({"command": "put", "name": "conv.weight", "filter": 0, "weights": "%"}, "are float32 numbers in base64"),
        ({"command": "put", "name": "conv.weight", "filter": 0, "weights": [1]}, "are float32 numbers in base64"),
        (
            {"command": "put", "name": "conv.weight", "filter": 0, "weights": "AAAAAA=="},
            "has 9 weights (1, 3, 3), but 1",
        ),
        (
            {
                "command": "put",
                "name": "conv.weight",
                "filter": 0,
                "weights": to_base64(np.full(9, np.nan, np.float32)),
            },
            "9 of 9 weights are NaN or infinite",
        ),
        ({"command": "watch", "name": "conv.bias"}, "there is no convolution 'conv.bias'"),
        ({"command": "restart", "value": 1}, "the page cannot restart the training: viz.live got no restart"),
    ],
)
def test_live_refuses_commands_about_filters(session, fields, message):
    before = state_of(session)
    status, text = command(session, **fields)
    assert status == 400 and message in text
    train_steps(session, optim.SGD(session.model.parameters(), lr=0.0), 2)
    assert all((value == before[name]).all() for name, value in state_of(session).items())


def test_live_refuses_to_change_a_finished_training(session):
    session.finish()
    for fields in {"command": "rate", "value": 1}, {"command": "freeze", "name": "conv.weight", "filter": 0}:
        assert command(session, **fields) == (400, "the training is finished")


def test_live_says_why_there_is_no_gradient(session):
    def told():
        return session._describe([], ["conv.weight"])["gradients"]["conv.weight"]

    assert told() == {"none": "there was no training step yet"}
    train_steps(session, session.optimizer, 1, graph=True)
    assert told() == {"float32": to_base64(session.model.conv.weight.grad.numpy())}
    session.optimizer.zero_grad()
    assert "the training clears it after its step" in told()["none"]
    session.model.conv.weight.requires_grad_(False)
    assert told() == {"none": "this layer is not trained, because its requires_grad is False"}


def test_live_sends_the_convolution_that_is_watched():
    model = LeNet5()
    with serve(model, images(1, (1, 28, 28))) as session:
        assert session._watched == "conv1.weight"
        assert command(session, command="watch", name="conv2.weight") == (200, "ok")
        session.step(1.0)
        session._server.watchers, session._next = 1, 0.0
        session.step(1.0)
        message = json.loads(session._server._last)
        assert (message["whole"], message["watched"], list(message["weights"])) == (
            False,
            "conv2.weight",
            ["conv2.weight"],
        )
        session._server.watchers = 0


# ---- live: another seed


def test_live_restarts_with_a_seed():
    model, seeds = Scores(), []
    with serve(model, images(), restart=seeds.append) as session:
        command(session, command="freeze", name="conv.weight", filter=0, value=True)
        session.step(1.0)
        assert command(session, command="restart", value=7) == (200, "ok")
        session.step(1.0)
        told = session._describe([], [])
        assert seeds == [7] and (told["run"], told["step"], told["loss"]) == (1, 0, None)
        assert told["frozen"] == {"conv.weight": []}
        for wrong in -1, 2**32, 1.5, "7", None:
            assert "seed is" in command(session, command="restart", value=wrong)[1]


def test_live_restarts_a_finished_training():
    seeds = []
    with serve(Scores(), images(), restart=seeds.append) as session:
        session.step(1.0)
        session.finish()
        waiting = threading.Thread(target=session.wait, daemon=True)
        waiting.start()
        sleep(0.1)
        assert waiting.is_alive() and not seeds
        assert command(session, command="restart", value=5) == (200, "ok")
        waiting.join(60)
        assert seeds == [5] and not session._finished and session._count == 0


def test_live_does_what_is_asked_while_it_is_paused(session):
    command(session, command="pause")
    training = threading.Thread(target=session.step, args=(1.0,), daemon=True)
    training.start()
    weights = np.ones((1, 3, 3), np.float32)
    command(session, command="put", name="conv.weight", filter=0, weights=to_base64(weights))
    wait_until(lambda: (session.model.conv.weight.detach().numpy()[0] == 1).all())
    wait_until(
        lambda: (
            json.loads(session._server._whole)["weights"]["conv.weight"] == to_base64(state_of(session)["conv.weight"])
        )
    )
    command(session, command="play")
    training.join(60)
    assert not training.is_alive()


def test_live_step_inside_a_recording_is_refused(session):
    @mg.graph
    def step(x):
        session.step(1.0)
        return x * 2

    with pytest.raises(GraphError, match="Live.step"):
        step(mg.zeros(2))


def test_live_is_a_callback_of_fit(session):
    loader = data.DataLoader(data.TensorDataset(mg.tensor(images(4)), mg.tensor([0, 1, 2, 3])), 2)
    train.fit(session.model, loader, F.cross_entropy, session.optimizer, 2, on_step=session, progress=False)
    assert session._count == 4


def test_live_refuses_a_port_out_of_range():
    with pytest.raises(ValidationError, match="live: port is 70000; use a whole number from 0 to 65535"):
        serve(Scores(), images(), port=70000)


def test_live_names_a_port_that_is_in_use(session):
    port = session._server.port
    with pytest.raises(ValidationError, match=f"live: port {port} cannot be opened: .*; use another one, or 0 for any"):
        serve(Scores(), images(), port=port)


@pytest.mark.parametrize("loss", ["abc", mg.zeros(2, 3)])
def test_live_names_a_loss_that_is_no_number(session, loss):
    with pytest.raises(ValidationError, match="Live.step: loss is .*; pass a number, or a Tensor of one element"):
        session.step(loss)


# ---- python -m minigrad.viz


def test_program_restarts_as_if_it_had_begun_with_the_seed():
    args = _parse(["--seed", "1"])
    training, other = _Training(args), _Training(_parse(["--seed", "4"]))
    for _ in range(2):
        training.step(*next(training.batches()))
    training.optimizer.param_groups[0]["lr"] = 0.02
    training.restart(4)
    other.optimizer.param_groups[0]["lr"] = 0.02
    for _ in range(3):
        losses = [float(each.step(*next(each.batches()))) for each in (training, other)]
        assert losses[0] == losses[1]
    for name, value in training.model.state_dict().items():
        assert (value.numpy() == other.model.state_dict()[name].numpy()).all()


def run_program(*arguments):
    command = [sys.executable, "-m", "minigrad.viz", *map(str, arguments)]
    return subprocess.run(command, env=process_environment(), capture_output=True, text=True, timeout=600)


def test_program_writes_a_page_of_a_saved_model(tmp_path):
    file = tmp_path / "model.safetensors"
    names = {"input_size": (1, 28, 28), "normalize": (0.1307, 0.3081), "class_names": [f"digit {i}" for i in range(10)]}
    mg.save_model(LeNet5(), file, **names)
    run = run_program(file, "--write", tmp_path / "lab.html")
    assert run.returncode == 0, run.stderr
    data = data_of(tmp_path / "lab.html")
    assert data["classes"][3] == "digit 3" and data["mean"] == [0.1307] and len(data["labels"]) == 200


def test_program_opens_a_page_of_a_saved_model(tmp_path, monkeypatch, capsys):
    mg.save_model(LeNet5(), tmp_path / "model.safetensors")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    assert run_main([str(tmp_path / "model.safetensors")]) == 0
    assert opened == [(tmp_path / "lab.html").as_uri()] and len(data_of(tmp_path / "lab.html")["labels"]) == 200
    assert run_main([str(tmp_path / "model.safetensors"), "--no-browser"]) == 0
    assert len(opened) == 1 and capsys.readouterr().out == 2 * f"{tmp_path / 'lab.html'}\n"


@pytest.mark.parametrize(
    ("make", "size", "message"),
    [
        (lambda: resnet8(num_classes=4), (3, 32, 32), r"reads images \(3, 32, 32\) and scores 4 classes; this program"),
        (lambda: resnet8(num_classes=10), (3, 32, 32), r"reads images \(3, 32, 32\) and scores 10 classes; .*MNIST"),
        (lambda: LeNet5(num_classes=4), (1, 28, 28), r"reads images \(1, 28, 28\) and scores 4 classes; .*viz.page\("),
    ],
)
def test_program_refuses_a_model_of_other_images_than_digits(tmp_path, capsys, make, size, message):
    mg.save_model(make(), tmp_path / "model.safetensors", input_size=size, normalize=(0.5, 0.25))
    assert run_main([str(tmp_path / "model.safetensors"), "--no-browser"]) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.safetensors"], "missing.safetensors"),
        (["missing.safetensors", "--write", "lab.html"], "missing.safetensors"),
        (["--seed", "-1"], "--seed of 0 or more"),
        (["--lr", "0"], "--lr above 0"),
        (["--port", "99999"], "--port from 0 to 65535"),
    ],
)
def test_program_refuses_with_a_message_and_no_traceback(arguments, message):
    run = run_program(*arguments)
    assert run.returncode in (1, 2) and message in run.stderr and "Traceback" not in run.stderr
