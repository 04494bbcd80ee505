"""What a notebook shows: the HTML of each class that has one, and a notebook that runs from start to end."""

import base64
import io
import random
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import process_environment
from PIL import Image

import minigrad as mg
from minigrad import data, datasets, notebook, train, viz
from minigrad.errors import ValidationError
from minigrad.nn import Conv2d, LazyLinear, functional as F

RNG = np.random.default_rng(0)
EMPTY = {"img", "br"}  # elements without an end tag


class Page(HTMLParser):
    """The texts and the images of some HTML, whose elements must be closed in order."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.images, self.open, self.tags, self.elements = [], [], [], set(), []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.elements.append((tag, dict(attributes)))
        self.open += [] if tag in EMPTY else [tag]
        if tag == "img":
            kind, encoded = dict(attributes)["src"].split(",")
            assert kind == "data:image/png;base64"
            self.images.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts += [text.strip()] if text.strip() else []


def show(value):
    """Return the Page of a value."""
    page = Page(value._repr_html_())
    assert page.tags <= {"div", "table", "tr", "th", "td", "pre", "img"}
    return page


NASTY = ["<script>alert(1)</script>", "salt & pepper"]


@pytest.fixture(scope="module")
def run():
    """A small model, its loader and the History of its training."""
    mg.manual_seed(0)
    digits = data.Subset(datasets.MNIST(train=False), range(96))
    loader = data.DataLoader(digits, 32, shuffle=True)
    model = mg.models.LeNet5()
    optimizer = mg.optim.Adam(model.parameters())
    history = train.fit(model, loader, F.cross_entropy, optimizer, 2, validation=loader, progress=False)
    return model, loader, history


# ---- tensors


@pytest.mark.parametrize("shape", [(5, 1, 9, 12), (5, 3, 9, 12), (3, 9, 12), (1, 9, 12), (9, 12)])
def test_a_tensor_of_images_is_shown_as_text_and_pictures(shape):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    page = show(mg.tensor(pixels))
    assert repr(mg.tensor(pixels)) in page.texts
    expected = pixels.reshape((-1, *((1,) * (3 - len(shape))), *shape[-3:]))
    assert len(page.images) == len(expected)
    for shown, image in zip(page.images, expected, strict=True):
        np.testing.assert_array_equal(shown, image[0] if len(image) == 1 else image.transpose(1, 2, 0))


@pytest.mark.parametrize(
    "shape",
    [(), (28,), (64, 10), (10, 84), (4, 4), (2, 9, 9), (5, 2, 9, 9), (6, 1, 5, 5), (0, 1, 9, 9), (2, 1, 1, 9, 9)],
)
def test_other_tensors_are_shown_as_text_alone(shape):
    assert mg.zeros(shape)._repr_html_() is None


def test_numbers_from_0_to_1_are_black_to_white():
    page = show(mg.tensor(np.linspace(0.2, 1, 64).reshape(8, 8)))
    assert (page.images[0].min(), page.images[0].max()) == (51, 255)
    assert page.texts[1:] == []


def test_other_numbers_share_one_scale_which_is_named():
    images = mg.zeros(2, 1, 8, 8)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = -1, 3
    page = show(images)
    assert [image[0, 0] for image in page.images] == [0, 255] and page.images[0][1, 1] == 64
    assert page.texts[-1] == "black is -1, white is 3"


def test_nan_and_infinite_pixels_are_counted():
    image = mg.ones(8, 8)
    image[0, 0], image[1, 1] = np.nan, -np.inf
    page = show(image)
    assert page.texts[-1] == "nan or infinite: 2 numbers, drawn black"
    assert np.count_nonzero(page.images[0] == 0) == 2
    assert "64 numbers" in show(image * np.nan).texts[-1]


def test_of_many_images_the_first_16_are_shown():
    page = show(mg.rand(64, 1, 8, 8))
    assert len(page.images) == 16 and page.texts[-1] == "the first 16 of 64 images"


def test_a_large_image_is_reduced():
    (image,) = show(mg.rand(3, 500, 2000)).images
    assert image.shape == (80, 320, 3)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_tensors_that_require_grad_or_are_views_are_shown(device):
    x = mg.rand(2, 8, 8, 3, device=device, requires_grad=True)
    y = (x * 1).permute(0, 3, 1, 2)
    assert len(show(y).images) == len(show(x.permute(0, 3, 1, 2)).images) == 2
    assert len(show(mg.nn.Parameter(mg.rand(8, 8))).images) == 1


def test_a_tensor_inside_a_recording_is_refused_as_its_text_is():
    @mg.graph
    def f(x):
        x._repr_html_()
        return x * 2

    with pytest.raises(mg.errors.GraphError, match="reading the values of a tensor"):
        f(mg.rand(8, 8))


def test_a_lazy_parameter_is_shown_as_text():
    weight = LazyLinear(3).weight
    assert weight._repr_html_() is None and repr(weight) == "<UninitializedParameter>"


# ---- data


def test_an_image_dataset_shows_the_images_of_each_class():
    images = RNG.integers(0, 256, (6, 8, 9), np.uint8)
    pictures = data.ImageDataset(images, [1, 0, 1, 1, 0, 1])
    pictures.classes = [*NASTY, "none"]
    page = show(pictures)
    assert page.texts[0] == repr(pictures) == "ImageDataset: 6 images (8, 9)"
    assert page.texts[4:] == [NASTY[0], "2", NASTY[1], "4", "none", "0"]
    np.testing.assert_array_equal(page.images, images[[1, 4, 0, 2, 3, 5]])


def test_a_data_set_is_shown_without_its_transforms():
    def refuse(image):
        raise AssertionError

    pictures = data.ImageDataset(np.zeros((2, 3, 8, 8), np.uint8), [0, 7], transform=refuse)
    assert show(pictures).texts[-4:] == ["0", "1", "7", "1"]


def test_of_many_classes_the_first_20_are_shown():
    page = show(data.ImageDataset(np.zeros((100, 8, 8), np.uint8), np.arange(100)))
    assert len(page.images) == 20 and page.texts[-1] == "and 80 more classes"


def test_images_of_other_numbers_of_channels_are_counted():
    page = show(data.ImageDataset(np.zeros((2, 2, 8, 8), np.uint8), [0, 1]))
    assert page.images == [] and page.texts[-2:] == ["1", "1"]


def test_a_subset_shows_its_own_images():
    digits = datasets.MNIST(train=False)
    part = data.Subset(data.Subset(digits, range(100, 200)), [5, 8])
    page = show(part)
    assert page.texts[0].startswith("Subset: 2 samples of MNIST(train=False)")
    by_class = sorted([105, 108], key=lambda i: digits.labels[i])
    np.testing.assert_array_equal(page.images, digits.images[by_class])
    assert data.Subset([1, 2, 3], [0])._repr_html_() is None


def test_an_image_folder_shows_its_images_and_which_are_damaged(tmp_path):
    for name, colour in ("A & B", (255, 0, 0)), ("<C>", (0, 0, 255)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (20, 10), colour).save(tmp_path / name / f"{number}.png")
    folder = datasets.ImageFolder(tmp_path)
    page = show(folder)
    assert page.texts[4:] == ["<C>", "2", "A & B", "2"]
    assert [image[0, 0].tolist() for image in page.images] == [[0, 0, 255]] * 2 + [[255, 0, 0]] * 2
    (tmp_path / "<C>" / "0.png").write_bytes(b"?")
    page = show(folder)
    assert len(page.images) == 3 and any("0.png: is not an image" in text for text in page.texts)


def test_an_image_folder_with_a_loader_of_its_own_is_shown(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8), 7).save(tmp_path / "a" / "0.png")
    assert len(show(datasets.ImageFolder(tmp_path, loader=Image.open)).images) == 1
    assert show(datasets.ImageFolder(tmp_path, loader=lambda path: [1.5])).images == []


# ---- loaders


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_shows_its_settings_and_the_first_images_of_the_next_epoch(shuffle):
    loader = data.DataLoader(datasets.ColorShapes(50), 20, shuffle=shuffle, seed=1, normalize=(0.5, 0.5))
    page = show(loader)
    assert page.texts[:8] == [
        *("data set", "ColorShapes, 50 samples", "batches", "3 of 20 samples", "order"),
        *("shuffled" if shuffle else "that of the data set", "a batch", "float32 (20, 3, 32, 32), int64 (20,)"),
    ]
    images, labels = next(iter(loader))
    expected = notebook.as_pixels(images[:16].numpy()).images.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(page.images, expected)
    assert page.texts[8:24] == [datasets.shapes.CLASSES[label] for label in labels[:16].tolist()]


class Noisy(data.Dataset):
    """Images that draw random numbers from every source."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return mg.rand(1, 8, 8) * random.random() * np.random.rand(), index


@pytest.mark.parametrize("settings", [{}, {"shuffle": True}, {"shuffle": True, "num_workers": 2}, {"generator": 1}])
def test_showing_a_loader_begins_no_epoch_and_draws_no_random_numbers(settings):
    def numbers(shown):
        mg.manual_seed(3), random.seed(3), np.random.seed(3)
        given = {"generator": mg.Generator().manual_seed(3), "shuffle": True} if "generator" in settings else settings
        loader = data.DataLoader(Noisy(), 4, **given, prefetch=0)
        pages = [show(loader) for _ in range(2 * shown)]
        assert all(len(page.images) == 4 for page in pages) and loader.epoch == 0
        if "num_workers" in settings:  # whose threads share the numbers of Python and NumPy
            return mg.rand(1).item(), random.random(), np.random.rand(), [y.tolist() for _, y in loader]
        batches = [(x.tolist(), y.tolist()) for x, y in loader]
        return mg.rand(1).item(), random.random(), np.random.rand(), batches

    assert numbers(shown=True) == numbers(shown=False)


def test_a_loader_with_a_sampler_shows_the_first_samples_of_the_data_set():
    class OneUse:
        def __iter__(self):
            raise AssertionError

        def __len__(self):
            return 2

    page = show(data.DataLoader(datasets.ColorShapes(9), batch_sampler=OneUse()))
    assert page.texts[3] == "2 of N samples" and page.texts[7] == "float32 (N, 3, 32, 32), int64 (N,)"
    assert "by OneUse" in page.texts and len(page.images) == 9
    page = show(data.DataLoader(datasets.ColorShapes(9), 20, sampler=iter(range(9))))
    assert page.texts[3] == "an unknown number of 9 samples" and len(page.images) == 9


def test_a_loader_of_a_stream_shows_its_settings_alone():
    class Stream(data.IterableDataset):
        def __iter__(self):
            raise AssertionError

    page = show(data.DataLoader(Stream(), 2))
    assert "an unknown number of 2 samples" in page.texts and page.images == []


def test_a_loader_whose_samples_raise_shows_the_error():
    class Broken(Noisy):
        def __getitem__(self, index):
            raise ValueError("<broken>")

    assert "cannot be made: <broken>" in show(data.DataLoader(Broken(), 2)).texts


def test_a_loader_of_other_samples_shows_their_kinds():
    page = show(data.DataLoader([{"x": 1.0, "name": "a"}] * 3, 2))
    assert page.texts[-1] == "float64 (2,), list" and page.images == []
    page = show(data.DataLoader(datasets.ColorShapes(9), None))
    assert page.texts[7:] == ["float32 (3, 32, 32), int", "plain red disc"] and len(page.images) == 1
    assert page.texts[3] == "9 of one sample, without an axis of samples"


@pytest.mark.parametrize(
    "targets, captions",
    [([0.125, 1 / 3], ["0.125", "0.3333"]), ([True, False], ["True", "False"]), ([[0, 1], [1, 0]], [])],
)
def test_a_loader_shows_targets_of_other_kinds(targets, captions):
    pairs = data.TensorDataset(mg.rand(2, 1, 8, 8), mg.tensor(targets))
    assert show(data.DataLoader(pairs, 2)).texts[8:] == captions


# ---- training and pictures


def test_a_history_shows_its_curves_and_its_table(run):
    page = show(run[2])
    assert page.texts[: len(run[2].columns)] == run[2].columns
    assert page.texts[-len(run[2].columns) :][:2] == ["2", "6"]
    (image,) = page.images
    assert image.shape == (480, 1320, 4)


def test_a_history_without_steps_or_epochs_is_shown():
    assert show(train.History()).texts == ["no steps"]
    assert len(show(train.History([1.0, 0.5])).images) == 1


def test_a_search_shows_its_curve():
    search = train.RateSearch([0.01, 0.1, 1.0], [2.0, 1.5, 1.0], 0.1)
    assert len(show(search).images) == 1


def test_a_class_report_shows_its_table():
    page = show(train.class_report([0, 0, 1], [0, 1, 1], NASTY))
    assert page.texts[:10] == [
        *("class", "precision", "recall", "f1", "samples"),
        *(NASTY[0], "100.0%", "50.0%", "66.7%", "2"),
    ]
    assert page.texts[-1] == "2 of 3 right: 66.67%"
    assert "–" in show(train.class_report([0, 0], [0, 0], NASTY)).texts


def test_a_summary_shows_its_table():
    class Conv(Conv2d):
        pass

    Conv.__name__ = NASTY[0]
    page = show(viz.summary(mg.nn.Sequential(Conv(1, 2, 3)), (1, 5, 5)))
    assert page.texts[0] == "Sequential on one image of 1×5×5"
    assert page.texts[8:15] == ["0", NASTY[0], "2×3×3", "20", "162", "72", "3×3"]
    assert page.texts[-4:] == ["total", "20", "162", "72"]


def test_a_pixel_and_filter_health_show_their_picture_and_their_text(run):
    model, loader, _ = run
    pixel = viz.explain_pixel(model, RNG.random((28, 28)), "conv1", 0, 3, 4)
    page = show(pixel)
    assert page.texts == [pixel.text] and len(page.images) == 1
    health = viz.filter_health(model, loader, layers="conv1", max_images=20)
    page = show(health)
    assert len(page.images) == 1 and page.texts[:2] == ["layer", "filter"] and page.texts.count("conv1") == 6
    assert page.texts[-1] == str(health).split("\n\n")[-1]


def test_an_embedded_page_is_the_file_of_viz_page_in_a_frame(run, tmp_path):
    images = mg.rand(3, 1, 28, 28)
    settings = {"labels": [3, 1, 2], "classes": [*NASTY, *"שבגדהוזח"], "title": 'A "title" & <b>'}
    embedded = viz.embed(run[0], images, height=500, **settings)
    assert repr(embedded) == "EmbeddedPage('A \"title\" & <b>', height=500)"
    page = Page(embedded._repr_html_())
    ((tag, attributes),) = page.elements
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts" and "height:500px" in attributes["style"]
    assert attributes["title"] == settings["title"]
    assert attributes["srcdoc"] == viz.page(run[0], images, tmp_path / "a.html", **settings).read_text("utf-8")
    for height in (99, 10_001, 2.5):
        with pytest.raises(ValidationError, match=f"^embed: height is {height}; use a whole number from 100 to 10000"):
            viz.embed(run[0], images, height=height)


def test_the_page_of_lenet5_and_200_digits_adds_less_than_a_megabyte_to_a_notebook(run):
    images, _ = next(iter(data.DataLoader(datasets.MNIST(train=False), 200, normalize=(0.1307, 0.3081))))
    assert 0.6e6 < len(viz.embed(run[0], images)._repr_html_()) < 0.9e6


def test_a_live_page_is_shown_by_its_address_until_it_is_closed(run):
    with viz.live(run[0], mg.rand(1, 1, 28, 28)) as session:
        page = Page(session._repr_html_())
        frame, link = (attributes for tag, attributes in page.elements if tag in ("iframe", "a"))
        assert frame["src"] == link["href"] == session.url and "sandbox" not in frame
        assert page.texts[0] == session.url
    assert session._repr_html_() is None


def test_descriptions_of_pictures_are_escaped():
    figure = viz.style.figure(1, 1, '"><script>')
    page = Page(notebook.picture(figure))
    assert page.texts == [] and page.tags == {"img"} and len(page.images) == 1


def test_text_with_lone_surrogates_can_be_sent():
    assert notebook.escape("caf\udce9<").encode() == rb"caf\udce9&lt;"


# ---- a notebook

CELLS = [  # (code, whether it shows HTML)
    ("import sys, minigrad as mg\nfrom minigrad import data, datasets, models, train", False),
    ("digits = datasets.MNIST(train=False)\ndigits", True),
    ("first = data.Subset(digits, range(320))\nloader = data.DataLoader(first, 32, shuffle=True)\nloader", True),
    ("images, labels = next(iter(loader))\nimages", True),
    ("images[0]", True),
    ("assert 'matplotlib' not in sys.modules\nmodel = models.LeNet5()\nmodel", False),
    ("from minigrad import viz\nviz.summary(model, (1, 28, 28))", True),
    ("loss = mg.nn.functional.cross_entropy\noptimizer = mg.optim.Adam(model.parameters(), lr=1e-3)", False),
    ("train.find_lr(model, loader, loss, optimizer, steps=20)", True),
    ("history = train.fit(model, loader, loss, optimizer, 2, validation=loader)", False),
    ("history", True),
    ("viz.explain_pixel(model, images[0], 'conv1', 0, 10, 10)", True),
    ("viz.filter_health(model, loader, layers='conv1', max_images=50)", True),
    ("viz.embed(model, images)", True),
    ("lab = viz.live(model, images)\nlab", True),
    ("lab.close()\nlab", False),
    ("answers = train.predict(model, loader)\ntrain.class_report(answers.targets, answers.outputs)", True),
]


def test_a_notebook_runs_and_shows_what_it_computes():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code, _ in CELLS])
    nbclient.NotebookClient(written, timeout=300, kernel_name="python3").execute(env=process_environment())
    for cell, (code, has_html) in zip(written.cells, CELLS, strict=True):
        kinds = {kind for output in cell.outputs for kind in output.get("data", ())}
        assert ("text/html" in kinds) == has_html, code
        streams = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert not re.search("error|warning|traceback", streams, re.IGNORECASE), streams
        assert has_html <= ("text/plain" in kinds)
    nbformat.validate(written)
    assert "epoch 2/2: training loss" in "".join(output.get("text", "") for output in written.cells[9].outputs)
