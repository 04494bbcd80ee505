"""A report: one HTML file with every picture of a trained model, to be read offline, also on a phone."""

import base64
import html
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from minigrad.errors import ValidationError
from minigrad.runtime.files import write_whole
from minigrad.viz import probe
from minigrad.viz.attribution import grad_cam, occlusion, saliency
from minigrad.viz.excitation import prototypes, top_patches
from minigrad.viz.filter_grid import filters
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.formatting import plain
from minigrad.viz.health import filter_health
from minigrad.viz.inputs import images_and_labels
from minigrad.viz.maps import feature_maps
from minigrad.viz.model_summary import summary
from minigrad.viz.pixel import explain_pixel
from minigrad.viz.tracing import convolutions, find, trace
from minigrad.viz.training import confusion_matrix, training_curves
from minigrad.viz.volumes import draw
from minigrad.viz.wrong_answers import mistakes

SEARCHED = 1000  # images in which patches are looked for and on which filters are judged


class Film(NamedTuple):
    """The bytes of an animated GIF."""

    gif: bytes


class Section(NamedTuple):
    """A heading, what the reader is to see, and pictures, films and text tables."""

    title: str
    words: str
    items: Sequence[Figure | Film | str]


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
    """Write all that there is to see of a trained model into one HTML file.

    model    a trained Module with at least one Conv2d; it is not changed
    images   (N, C, H, W) or (N, H, W)  test images as the model takes them
    labels   (N,)          their class numbers
    path     the file, whose folder is made
    init     state_dict() from before training: filters are shown before and after
    history  of the training, as training_curves takes it
    tape     a FilterTape of the training: the filters' way as a film
    classes  a name for each class number, strings or what has a str()
    title    heading; None names the model's class
    returns  Path of the file

    The file needs no server, no network and no script.  On a narrow screen wide pictures are moved sideways.

    Raises   ValidationError  the model has no Conv2d, or a class number none of the model's outputs
             ShapeError       images or labels have another shape, or do not fit together
    """
    convolutions("report", model)
    images, labels = images_and_labels("report", images, labels)
    chances = probe.probabilities("report", model, images)
    if labels.min() < 0 or labels.max() >= chances.shape[1]:
        raise ValidationError(
            f"report: labels run from {labels.min()} to {labels.max()}, the model answers 0 to {chances.shape[1] - 1}"
        )
    names = None if classes is None else list(classes)
    subject = _Subject(model, images, labels, chances, names)
    sections = list(_sections(subject, init, history, tape))
    path = Path(path)
    write_whole(path, _page(title or f"{type(model).__name__}: what it learned", sections).encode())
    return path


class _Subject(NamedTuple):
    """The model, its test images, their class numbers, its probabilities for them, and the names of the classes."""

    model: Any
    images: np.ndarray
    labels: np.ndarray
    chances: np.ndarray
    classes: list[Any] | None

    @property
    def example(self) -> int:
        """The image that is answered right with the greatest certainty, or the first if none is right."""
        right = self.chances.argmax(1) == self.labels
        certainty = np.where(right, self.chances.max(1), -np.inf)
        return int(certainty.argmax())


# ---- what stands in it


def _sections(subject: _Subject, init: Any, history: Any, tape: FilterTape | None) -> Iterator[Section]:
    yield _network(subject)
    if history is not None:
        yield Section(
            "How it learned",
            "The loss is how wrong the answers are, step by step; the accuracy is the share of right answers on images "
            "that were not learned from.",
            [training_curves(history)],
        )
    yield _filters(subject, init)
    if tape is not None:
        yield _film(tape)
    yield _maps(subject)
    yield _pixel(subject)
    yield _excited(subject)
    yield _deciding(subject)
    yield _health(subject)
    yield _answers(subject)


def _network(subject: _Subject) -> Section:
    shape = subject.images.shape[1:]
    return Section(
        "The network",
        "From left to right: the image, the maps that each layer makes of it, and the scores of the classes. Maps "
        "shrink while their number grows.",
        [draw(subject.model, shape), str(summary(subject.model, shape))],
    )


def _filters(subject: _Subject, init: Any) -> Section:
    return Section(
        "The filters",
        "Each small picture is one filter: where it is red, bright pixels count for it, where it is blue, against it. "
        "Training turns random numbers into detectors of edges, corners and blobs.",
        [filters(subject.model, init)],
    )


def _film(tape: FilterTape) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        film = Film(tape.gif(Path(folder) / "filters.gif").read_bytes())
    return Section(
        "How the filters changed",
        "The filters during training, and how far each one moved from where it started.",
        [film, tape.distances()],
    )


def _maps(subject: _Subject) -> Section:
    return Section(
        "What each layer makes of one image",
        "Every filter slides over what the layer before made and leaves a map of where it found its pattern.",
        [feature_maps(subject.model, subject.images[subject.example])],
    )


def _pixel(subject: _Subject) -> Section:
    name, _ = convolutions("report", subject.model)[0]
    explained = explain_pixel(subject.model, subject.images[subject.example], name, 0, *_middle(subject, name))
    return Section(
        "The arithmetic of one pixel",
        "A patch of the image times the filter, number by number, added up, plus the bias: one pixel of one map.",
        [explained.figure, explained.text],
    )


def _middle(subject: _Subject, name: str) -> tuple[int, int]:
    """A row and column of a layer's map where channel 0 answers most."""
    layers = trace("report", subject.model, subject.images[subject.example])
    maps = layers[find("report", layers, name)].output[0, 0]
    row, col = np.unravel_index(np.abs(maps).argmax(), maps.shape)
    return int(row), int(col)


def _excited(subject: _Subject) -> Section:
    names = [name for name, _ in convolutions("report", subject.model)]
    searched = subject.images[:SEARCHED]
    pictures = [top_patches(subject.model, searched, name, 0) for name in names[:3]]
    return Section(
        "What excites a filter, and a class",
        "The real patches that a filter answers most to; and pictures, made from noise, that the model takes for each "
        "class with the greatest certainty.  The deeper the layer, the larger and more particular its patterns.",
        [*pictures, prototypes(subject.model, subject.images.shape[1:])],
    )


def _deciding(subject: _Subject) -> Section:
    image = subject.images[subject.example]
    return Section(
        "Which pixels decide",
        "Three ways to ask: where a small change moves the score most, where the last filters saw the class, and where "
        "a covered patch costs the most certainty.",
        [look(subject.model, image) for look in (saliency, grad_cam, occlusion)],
    )


def _health(subject: _Subject) -> Section:
    health = filter_health(subject.model, (subject.images[:SEARCHED], subject.labels[:SEARCHED]))
    return Section(
        "Are the filters any good?",
        "A dead filter never answers; twins see the same; the loss of accuracy without a filter is what it is worth.",
        [health.figure, str(health)],
    )


def _answers(subject: _Subject) -> Section:
    predictions = subject.chances.argmax(1)
    return Section(
        "Right and wrong answers",
        "Which classes are taken for which, and the errors of which the model was surest.",
        [
            confusion_matrix(subject.labels, predictions, subject.classes),
            mistakes(subject.model, subject.images, subject.labels, classes=subject.classes),
        ],
    )


# ---- the page

PAGE = """<!doctype html>
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


def _page(title: str, sections: Sequence[Section]) -> str:
    links = "\n".join(f'<a href="#s{i}">{html.escape(section.title)}</a>' for i, section in enumerate(sections))
    body = "\n".join(_section(i, section) for i, section in enumerate(sections))
    return PAGE.format(title=html.escape(plain(title)), links=links, sections=body)


def _section(i: int, section: Section) -> str:
    items = "\n".join(_item(item, section.title) for item in section.items)
    heading, words = html.escape(section.title), html.escape(section.words)
    return f'<section id="s{i}">\n<h2>{heading}</h2>\n<p>{words}</p>\n{items}\n</section>'


def _item(item: Figure | Film | str, title: str) -> str:
    if isinstance(item, str):
        return f"<pre>{html.escape(item)}</pre>"
    if isinstance(item, Film):
        return _image(item.gif, "gif", title)
    buffer = BytesIO()
    item.savefig(buffer, format="png")
    return _image(buffer.getvalue(), "png", item.get_suptitle() or title)


def _image(data: bytes, kind: str, words: str) -> str:
    inside = base64.b64encode(data).decode()
    image = f'<img alt="{html.escape(" ".join(words.split()))}" src="data:image/{kind};base64,{inside}">'
    return f'<div class="picture">{image}</div>'
