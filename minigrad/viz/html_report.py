"""Write one HTML file with every picture of a trained model; it works offline and on a phone."""

import html
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from minigrad.notebook import inline_image, picture
from minigrad.runtime.files import write_whole
from minigrad.viz import probe
from minigrad.viz.attribution import grad_cam, occlusion, saliency
from minigrad.viz.confusion import confusion_matrix
from minigrad.viz.curves import training_curves
from minigrad.viz.excitation import prototypes, top_patches
from minigrad.viz.filter_grid import filters
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.formatting import format_name
from minigrad.viz.health import filter_health
from minigrad.viz.inputs import as_labelled_images, check_labels, uses_model_info
from minigrad.viz.maps import feature_maps
from minigrad.viz.model_summary import summary
from minigrad.viz.pixel import explain_pixel
from minigrad.viz.tracing import layer_index, named_convolutions, trace
from minigrad.viz.volumes import draw
from minigrad.viz.wrong_answers import mistakes

MOST_IMAGES = 1000  # images searched for patches, and used for filter health
MOST_LAYERS = 3  # convolutions whose top patches are shown


class Animation(NamedTuple):
    """The bytes of an animated GIF."""

    gif: bytes


class Section(NamedTuple):
    """A heading, an introduction, and pictures, animations and text tables."""

    title: str
    text: str
    items: Sequence[Figure | Animation | str]


@uses_model_info
def report(
    model: Any,
    images: Any,
    labels: Any,
    path: str | Path,
    init: Mapping[str, Any] | None = None,
    history: Mapping[str, Any] | None = None,
    tape: FilterTape | None = None,
    classes: Iterable[Any] | None = None,
    title: str | None = None,
) -> Path:
    """Write every picture of a trained model into one HTML file.

    model    a trained Module with at least one Conv2d; it does not change
    images   (N, C, H, W) or (N, H, W)  test images
    labels   (N,)          their class numbers
    path     the file; missing folders are created
    init     state_dict() from before training, to show filters before and after
    history  of the training, as for training_curves
    tape     a FilterTape of the training, to show the filters as an animation
    classes  a name for each class number, of any type that has a str()
    title    heading; the class of the model if None
    returns  Path of the file

    The file needs no server, no network and no script.  On a narrow screen, wide pictures scroll sideways.

    Raises   ValidationError  the model has no Conv2d, or a label is no class that the model scores
             ShapeError       images or labels have another shape, or do not match in number
    """
    named_convolutions("report", model)
    images, labels = as_labelled_images("report", images, labels)
    probabilities = probe.compute_probabilities("report", model, images)
    check_labels("report", labels, probabilities.shape[1])
    subject = _Subject(model, images, labels, probabilities, None if classes is None else list(classes))
    sections = list(_make_sections(subject, init, history, tape))
    path = Path(path)
    write_whole(path, _render_file(title or f"{type(model).__name__}: what it learned", sections).encode())
    return path


class _Subject(NamedTuple):
    """The model, its test images and their labels, its probabilities for them, and the names of the classes."""

    model: Any
    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: list[Any] | None

    @property
    def example(self) -> np.ndarray:
        """The image of the most certain right answer, or the first image if no answer is right."""
        right = self.probabilities.argmax(1) == self.labels
        certainty = np.where(right, self.probabilities.max(1), -np.inf)
        return self.images[certainty.argmax()]

    @property
    def convolutions(self) -> list[str]:
        """The paths of the convolutions."""
        return [name for name, _ in named_convolutions("report", self.model)]


# ---- sections


def _make_sections(subject: _Subject, init: Any, history: Any, tape: FilterTape | None) -> Iterator[Section]:
    yield _network_section(subject)
    if history is not None:
        yield _training_section(history)
    yield _filter_section(subject, init)
    if tape is not None:
        yield _tape_section(tape)
    yield _map_section(subject)
    yield _pixel_section(subject)
    yield _excitation_section(subject)
    yield _attribution_section(subject)
    yield _health_section(subject)
    yield _answer_section(subject)


def _network_section(subject: _Subject) -> Section:
    shape = subject.images.shape[1:]
    return Section(
        "The network",
        "From left to right: the image, the maps that each layer makes of it, and the scores of the classes. Maps "
        "become smaller and more numerous.",
        [draw(subject.model, shape), str(summary(subject.model, shape))],
    )


def _training_section(history: Mapping[str, Any]) -> Section:
    return Section(
        "How it learned",
        "The loss measures at each step how wrong the answers are; the accuracy is the share of right answers on "
        "images that were not used for training.",
        [training_curves(history)],
    )


def _filter_section(subject: _Subject, init: Any) -> Section:
    return Section(
        "The filters",
        "Each small picture is one filter. Bright pixels raise its result where it is red and lower it where it is "
        "blue. Training turns random numbers into detectors of edges, corners and blobs.",
        [filters(subject.model, init)],
    )


def _tape_section(tape: FilterTape) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        animation = Animation(tape.gif(Path(folder) / "filters.gif").read_bytes())
    return Section(
        "How the filters changed",
        "The filters during training, and how far each one moved from its initial weights.",
        [animation, tape.distances()],
    )


def _map_section(subject: _Subject) -> Section:
    return Section(
        "What each layer makes of one image",
        "Every filter slides over the maps of the layer before it and makes a map of where it found its pattern.",
        [feature_maps(subject.model, subject.example)],
    )


def _pixel_section(subject: _Subject) -> Section:
    name, image = subject.convolutions[0], subject.example
    layers = trace("report", subject.model, image)
    output = layers[layer_index("report", layers, name)].output[0, 0]
    row, col = np.unravel_index(np.abs(output).argmax(), output.shape)  # the largest pixel of channel 0
    explanation = explain_pixel(subject.model, image, name, 0, int(row), int(col))
    return Section(
        "The arithmetic of one pixel",
        "The sum of a patch of the image times the filter, plus the bias, is one pixel of one map.",
        [explanation.figure, explanation.text],
    )


def _excitation_section(subject: _Subject) -> Section:
    images = subject.images[:MOST_IMAGES]
    patches = [top_patches(subject.model, images, name, 0) for name in subject.convolutions[:MOST_LAYERS]]
    return Section(
        "What excites a filter, and a class",
        "First, the patches of real images to which a filter responds most; then images, made from noise, that raise "
        "the score of each class most. Deeper layers respond to larger and more specific patterns.",
        [*patches, prototypes(subject.model, subject.images.shape[1:])],
    )


def _attribution_section(subject: _Subject) -> Section:
    return Section(
        "Which pixels decide",
        "Three methods: where a small change moves the score most, where the last filters found evidence for the "
        "class, and where hiding a patch lowers the score most.",
        [method(subject.model, subject.example) for method in (saliency, grad_cam, occlusion)],
    )


def _health_section(subject: _Subject) -> Section:
    health = filter_health(subject.model, (subject.images[:MOST_IMAGES], subject.labels[:MOST_IMAGES]))
    return Section(
        "Are the filters any good?",
        "A dead filter never responds; near-duplicates detect the same pattern; the worth of a filter is the accuracy "
        "that is lost without it.",
        [health.figure, str(health)],
    )


def _answer_section(subject: _Subject) -> Section:
    predictions = subject.probabilities.argmax(1)
    return Section(
        "Right and wrong answers",
        "Which classes the model confuses, and its most certain errors.",
        [
            confusion_matrix(subject.labels, predictions, subject.classes),
            mistakes(subject.model, subject.images, subject.labels, classes=subject.classes),
        ],
    )


# ---- HTML

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem }}
body {{ margin: auto; padding: 1rem }}
h1, h2 {{ line-height: 1.2 }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem }}
.picture {{ overflow-x: auto; margin: 1rem 0 }}
img {{ max-width: max(100%, 44rem); height: auto; display: block }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: .7rem; font-size: 13px; line-height: 1.35 }}
nav a {{ display: inline-block; margin: .2rem .8rem .2rem 0 }}
</style>
</head>
<body>
<h1>{title}</h1>
<nav>{links}</nav>
{sections}
</body>
</html>
"""


def _render_file(title: str, sections: Sequence[Section]) -> str:
    links = "\n".join(f'<a href="#s{i}">{html.escape(section.title)}</a>' for i, section in enumerate(sections))
    body = "\n".join(_render_section(i, section) for i, section in enumerate(sections))
    return TEMPLATE.format(title=html.escape(format_name(title)), links=links, sections=body)


def _render_section(i: int, section: Section) -> str:
    items = "\n".join(_render_item(item, section.title) for item in section.items)
    title, text = html.escape(section.title), html.escape(section.text)
    return f'<section id="s{i}">\n<h2>{title}</h2>\n<p>{text}</p>\n{items}\n</section>'


def _render_item(item: Figure | Animation | str, title: str) -> str:
    if isinstance(item, str):
        return f"<pre>{html.escape(item)}</pre>"
    if isinstance(item, Animation):
        return f'<div class="picture">{inline_image(item.gif, "gif", title)}</div>'
    return f'<div class="picture">{picture(item, title, style="")}</div>'
