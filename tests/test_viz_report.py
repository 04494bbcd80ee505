"""viz.report: one HTML file with all pictures, which needs no network and opens in a browser."""

import base64
import re
import subprocess
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from browser import BROWSER, Browser
from PIL import Image

import minigrad as mg
from minigrad import nn, optim, viz
from minigrad.errors import ShapeError, ValidationError

TITLES = [
    "The network",
    "How it learned",
    "The filters",
    "How the filters changed",
    "What each layer makes of one image",
    "The arithmetic of one pixel",
    "What excites a filter, and a class",
    "Which pixels decide",
    "Are the filters any good?",
    "Right and wrong answers",
]


class Report(HTMLParser):
    """The headings, pictures, tables and addresses in an HTML file."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.pictures, self.tables, self.addresses, self._inside = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._inside = tag
        self.addresses += [value for key, value in attributes.items() if key in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.pictures.append(attributes)

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "h2":
            self.headings.append(data)
        if self._inside == "pre":
            self.tables.append(data)


@pytest.fixture(scope="module")
def subject():
    """A small trained network with its images, labels, history and tape."""
    mg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3))
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)
    images[np.arange(60), 0, 2 * labels + 1] += 3  # a bright line whose row is the class
    init = {name: value.clone() for name, value in model.state_dict().items()}
    tape, optimizer = viz.FilterTape(model, every=5), optim.Adam(model.parameters(), lr=0.01)
    history = {"loss": [], "accuracy": [0.9]}
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(mg.tensor(images)), mg.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history["loss"].append(loss.item())
        tape.step(loss)
    return {
        "model": model, "images": images, "labels": labels, "init": init, "history": history, "tape": tape,
        "classes": ["low", "middle", "<high>"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def path(subject, tmp_path_factory):
    return viz.report(**subject, path=tmp_path_factory.mktemp("report") / "new folder" / "report.html")


def test_report_has_all_sections_with_their_pictures(path):
    report = Report(path.read_text())
    assert report.headings == TITLES
    assert len(report.tables) == 3  # layers, one pixel, filter health
    assert all(picture["alt"] for picture in report.pictures)
    for picture in report.pictures:
        kind, data = re.fullmatch(r"data:image/(png|gif);base64,(.+)", picture["src"]).groups()
        with Image.open(BytesIO(base64.b64decode(data))) as image:
            assert image.format == kind.upper()
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_report_says_only_what_is_true_of_the_model(subject, path, tmp_path):
    text = path.read_text()
    moved = np.linalg.norm(subject["model"][0].weight.detach().numpy() - subject["init"]["0.weight"].numpy())
    share = moved / np.linalg.norm(subject["init"]["0.weight"].numpy())
    assert f"as a share of their length: 0 {share:.0%}." in text
    assert "the first maps are 3×6×6, the last 3×3×3" in text and "On the 60 images given to this report" in text
    for claim in ("edges", "corners", "test images", "Maps become smaller"):
        assert claim not in text
    untrained = {**subject, "init": subject["model"].state_dict(), "tape": None, "history": None}
    text = viz.report(**untrained, path=tmp_path / "a.html").read_text()
    assert "No weight differs from before training: the model is untrained." in text


def test_report_explains_a_pixel_that_the_activation_keeps(path):
    (value,) = re.findall(r"is one pixel of one map: ([^,]+), and relu makes", path.read_text())
    assert float(value) > 0


def test_report_keeps_the_size_of_pictures_so_that_a_phone_shows_readable_text(path):
    report = Report(path.read_text())
    widths = [
        float(re.search(r"width:(\d+)px", picture["style"])[1]) for picture in report.pictures if picture["style"]
    ]
    assert len(widths) > 10 and min(widths) > 400
    assert "@media (max-width: 60rem) { .picture img { max-width: none }" in path.read_text()


def test_report_loads_nothing_from_the_network(path):
    report = Report(path.read_text())
    assert all(address.startswith(("data:", "#s")) for address in report.addresses)
    assert "default-src 'none'" in path.read_text()
    assert "<script" not in path.read_text()


def test_report_escapes_its_title_and_omits_optional_sections(subject, tmp_path):
    path = viz.report(**{**subject, "tape": None, "init": None, "history": None}, path=tmp_path / "a.html", title="<b>")
    text = path.read_text()
    assert "<title>&lt;b&gt;</title>" in text
    assert Report(text).headings == [
        title for title in TITLES if title not in ("How it learned", "How the filters changed")
    ]


def test_report_does_not_change_the_model(subject, tmp_path):
    model = subject["model"]
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    model.train()
    viz.report(model, subject["images"], subject["labels"], tmp_path / "report.html")
    assert model.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desk"])
def test_report_fits_the_width_of_a_browser(path, tmp_path, width):
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    quiet += ["--no-first-run", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}"]
    shot = tmp_path / "shot.png"
    command = [BROWSER, *quiet, f"--window-size={width},9000", f"--screenshot={shot}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[1] == width
    assert (pixels < 128).any(axis=1).sum() > 1000  # rows with content
    assert (pixels[:, -8:] > 230).all()  # nothing overflows to the right


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_report_shows_names_as_text_and_never_scrolls_sideways(subject, tmp_path):
    """Names with markup or of the other direction, and a title of one long word."""
    names = ['<b>low</b> $x$ "a"', "עברית <i>", "ع & 'c'"]
    changed = {**subject, "classes": names, "tape": None, "history": None, "title": "wide" * 100}
    path = viz.report(**changed, path=tmp_path / "report.html")
    with Browser() as browser:
        for width in (390, 768, 1280):
            page = browser.open(path.as_uri(), width, 900)
            assert page.run("document.documentElement.scrollWidth <= innerWidth")
            room = "document.querySelector('body').getBoundingClientRect().right + 1"
            assert page.run(f"[...document.querySelectorAll('.picture, pre, p, h1, h2')].every("
                            f"e => e.getBoundingClientRect().right < {room})")  # fmt: skip
            images = "[...document.querySelectorAll('.picture')].every(box => box.scrollWidth <= box.clientWidth)"
            assert page.run(images) == (width == 1280)  # wide pictures scroll in their own box
            assert page.run("[...document.querySelectorAll('bdi')].map(e => e.textContent)")[0] in names
            assert page.run("document.querySelectorAll('p b, p i').length") == 0
            assert page.problems() == ([], [])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"labels": np.zeros(59, int)}, ShapeError, "60 images but 59 labels"),
        (
            {"labels": np.full(60, 3)},
            ValidationError,
            "labels run from 3 to 3 but the model scores 3 classes, numbered 0 to 2",
        ),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3))}, ValidationError, "no Conv2d"),
        ({"images": np.zeros((60, 2, 8, 8), np.float32)}, ShapeError, "weight reads 1 channels but x has 2"),
    ],
)
def test_report_refuses_bad_input_and_writes_nothing(subject, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        viz.report(**{**subject, **change}, path=tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_report_writes_class_names_and_title_literally(tmp_path):
    """Names with `$` or HTML, integers, and lone surrogates from file names."""
    model, images, labels = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3)),
        mg.randn(6, 1, 6, 6),
        [0, 1, 2] * 2,
    )
    path = viz.report(
        model, images, labels, tmp_path / "report.html", classes=["$a", 5, "<b>"], title="$x$ <i> caf\udce9"
    )
    text = path.read_text(encoding="utf-8")
    assert "<h1>$x$ &lt;i&gt; caf\\udce9</h1>" in text and "<b>" not in text
