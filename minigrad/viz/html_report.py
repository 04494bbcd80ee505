"""Write one HTML file with every picture of a trained model; it works offline and on a phone."""

import html
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from minigrad.notebook import Html, escape, inline_image, picture
from minigrad.runtime.files import write_whole
from minigrad.viz import probe
from minigrad.viz.attribution import grad_cam, occlusion, saliency
from minigrad.viz.confusion import confusion_matrix
from minigrad.viz.curves import training_curves
from minigrad.viz.excitation import prototypes
from minigrad.viz.filter_grid import filters
from minigrad.viz.filter_tape import FilterTape, check_tape
from minigrad.viz.formatting import format_count, format_name, format_shape
from minigrad.viz.health import filter_health
from minigrad.viz.inputs import as_array, as_labelled_images, check_labels, name_classes, uses_model_info
from minigrad.viz.maps import feature_maps
from minigrad.viz.model_summary import summary
from minigrad.viz.patches import patch_grid
from minigrad.viz.pixel import PixelExplanation, explain_pixel
from minigrad.viz.tracing import Layer, layer_index, named_convolutions, trace
from minigrad.viz.volumes import draw
from minigrad.viz.wrong_answers import mistakes

MOST_IMAGES = 1000  # images searched for patches, and used for filter health
MOST_LAYERS = 4  # convolutions whose patches are shown
MOST_PROTOTYPES, STEPS = 20, 80  # classes, and steps of gradient ascent
PIXELS_PER_INCH = 96  # of a browser: small letters of pictures are 12 pixels high
MOST_TRIED = 200  # pixels tried for one whose window is not uniform


class Animation(NamedTuple):
    """The bytes of an animated GIF."""

    gif: bytes


class Section(NamedTuple):
    """A heading, an introduction, which may be HTML, and pictures, animations and text tables."""

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
    normalize: tuple[Any, Any] | None = None,
) -> Path:
    """Write every picture of a trained model into one HTML file.

    model    a trained Module with at least one Conv2d; it does not change
    images   (N, C, H, W) or (N, H, W)  images that were not used for training
    labels   (N,)          their class numbers
    path     the file; missing folders are created
    init     state_dict() from before training, to show filters before and after
    history  of the training, as for training_curves
    tape     a FilterTape of the training, to show the filters as an animation
    classes  a name for each class number, of any type that has a str()
    title    heading; the class of the model and "in pictures" if None
    normalize  (mean, std) of pixels from 0 to 1, to show images in true colours
    returns  Path of the file

    The file needs no server, no network and no script.  On a narrow screen, wide pictures keep their size, so that
    their text can be read, and scroll sideways.  What the text says about the model is measured, for any model.

    Raises   ValidationError  the model has no Conv2d, a label is no class that the model scores, or tape has another
                              model's layers
             ShapeError       images, labels or the tape's weights have another shape, or do not match in number
    """
    named_convolutions("report", model)
    check_tape("report", tape, model)
    images, labels = as_labelled_images("report", images, labels)
    probabilities = probe.compute_probabilities("report", model, images)
    check_labels("report", labels, probabilities.shape[1])
    names = None if classes is None else list(classes)
    name_classes("report", names, probabilities.shape[1])
    subject = _Subject(model, images, labels, probabilities, names, normalize)
    sections = list(_make_sections(subject, init, history, tape))
    path = Path(path)
    write_whole(path, _render_file(title or f"{type(model).__name__} in pictures", sections).encode())
    return path


class _Subject(NamedTuple):
    """The model, images and their labels, its probabilities for them, the names of the classes, and normalisation."""

    model: Any
    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: list[Any] | None
    normalize: tuple[Any, Any] | None

    @property
    def example_number(self) -> int:
        """The number of the most certain right answer, or 0 if no answer is right."""
        right = self.probabilities.argmax(1) == self.labels
        return int(np.where(right, self.probabilities.max(1), -np.inf).argmax())

    @property
    def example(self) -> np.ndarray:
        """The image of the most certain right answer, or the first image if no answer is right."""
        return self.images[self.example_number]

    @property
    def names(self) -> list[str]:
        """A name for each class."""
        return name_classes("report", self.classes, self.probabilities.shape[1])

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
    layers = trace("report", subject.model, subject.images[:1])
    sizes = [layer.output.shape[1:] for layer in layers if layer.output.ndim == 4]
    return Section(
        "The network",
        "The image, the maps that each layer makes of it, in the order in which they run, and the scores of classes. "
        f"The image is {format_shape(shape)}, the first maps are {format_shape(sizes[0])}, the last "
        f"{format_shape(sizes[-1])}: channels × height × width.",
        [draw(subject.model, shape), str(summary(subject.model, shape))],
    )


def _training_section(history: Mapping[str, Any]) -> Section:
    return Section(
        "How it learned",
        "The loss measures at each step how wrong the answers are; an accuracy is the share of right answers on the "
        "data that the curve names.",
        [training_curves(history)],
    )


def _filter_section(subject: _Subject, init: Any) -> Section:
    convolutions = named_convolutions("report", subject.model)
    colour = convolutions[0][1].weight.shape[1] == 3
    texts = ["Each row or small picture is one filter: red weights are above 0, blue ones below."]
    texts += ["A filter of red, green and blue is also shown in colours, grey where weights are 0."] if colour else []
    texts += ["A filter that reads several maps has a cell for each of them."] if len(convolutions) > 1 else []
    texts += [] if init is None else [_describe_moves(convolutions, init)]
    return Section("The filters", " ".join(texts), [filters(subject.model, init)])


def _describe_moves(convolutions: list[tuple[str, Any]], init: Mapping[str, Any]) -> str:
    """Return how far the filters of each layer have moved from their start, as a share of its length."""
    moves = {}
    for name, layer in convolutions:
        start = as_array(init[f"{name}.weight"]).astype(np.float64) if f"{name}.weight" in init else np.zeros(())
        moves[name] = np.linalg.norm(as_array(layer.weight) - start) / (np.linalg.norm(start) or 1)
    if not any(moves.values()):
        return "No weight differs from before training: the model is untrained."
    parts = ", ".join(f"{name} {move:.0%}" for name, move in moves.items())
    return f"Distance of the weights from those before training, as a share of their length: {parts}."


def _tape_section(tape: FilterTape) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        animation = Animation(tape.gif(Path(folder) / "filters.gif").read_bytes())
    return Section(
        "How the filters changed",
        f"The filters of {tape.layers[0]} during training, and how far each filter of each layer moved from its "
        "initial weights.",
        [animation, tape.distances()],
    )


def _map_section(subject: _Subject) -> Section:
    figure = feature_maps(subject.model, subject.example, classes=subject.classes, normalize=subject.normalize)
    return Section(
        "What each layer makes of one image",
        Html(
            f"{_describe_example(subject)} Every filter slides over the maps of the layer before it and makes a map of "
            "the sums of products at all positions."
        ),
        [figure],
    )


def _describe_example(subject: _Subject) -> Html:
    i = subject.example_number
    answer, truth, chances = subject.probabilities[i].argmax(), subject.labels[i], subject.probabilities[i]
    names = [Html(f"<bdi>{escape(name)}</bdi>") for name in subject.names]  # of any direction of writing
    if answer == truth:
        return Html(f"Image {i}, the most certain right answer: {names[truth]}, {chances[truth]:.1%}.")
    return Html(f"No answer is right. Image {i} is {names[truth]}, the answer {names[answer]}.")


def _pixel_section(subject: _Subject) -> Section:
    name, image = subject.convolutions[0], subject.example
    layers = trace("report", subject.model, image)
    explanation = _choose_pixel(subject, layers[layer_index("report", layers, name)])
    fate = f", and {explanation.activation} makes {explanation.activated:.3g} of it" if explanation.activation else ""
    return Section(
        "The arithmetic of one pixel",
        f"The sum of a patch of the image times a filter of {name}, plus the bias if there is one, is one pixel of one "
        f"map: {explanation.value:.3g}{fate}.",
        [explanation.figure, explanation.text],
    )


def _choose_pixel(subject: _Subject, layer: Layer) -> PixelExplanation:
    """Explain the largest output pixel whose window lies on the image and is not uniform, or just the largest."""
    output = np.asarray(layer.output)[0]
    order = np.argsort(-output, axis=None, kind="stable")[:MOST_TRIED]
    first = None
    for place in order:
        position = [int(i) for i in np.unravel_index(place, output.shape)]
        pixel = explain_pixel(subject.model, subject.example, layer.name, *position, normalize=subject.normalize)
        first = first or pixel
        if pixel.inside.all() and np.ptp(pixel.patch, axis=(1, 2)).max() > 0:
            return pixel
    assert first is not None  # a map has at least one pixel
    return first


def _excitation_section(subject: _Subject) -> Section:
    images, names = subject.images[:MOST_IMAGES], subject.convolutions
    shown = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, MOST_LAYERS).round().astype(int))]
    items = [patch_grid(subject.model, images, shown, normalize=subject.normalize)]
    text = f"The patches of {format_count(len(images), 'real image', form=',')} to which each filter responds most."
    if len(subject.names) <= MOST_PROTOTYPES:
        settings: dict[str, Any] = {"classes": subject.classes, "normalize": subject.normalize, "steps": STEPS}
        items.append(prototypes(subject.model, images=images, labels=subject.labels[:MOST_IMAGES], **settings))
        text += (
            " Then inputs that were changed step by step to raise the score of each class, above the real image with "
            "the highest score. Such an input may look like nothing: only the score made it, no real image."
        )
    return Section("What excites a filter, and a class", text, items)


def _attribution_section(subject: _Subject) -> Section:
    settings: dict[str, Any] = {"classes": subject.classes, "normalize": subject.normalize}
    return Section(
        "Which pixels decide",
        "Three methods: where a small change moves the score most, where a layer's maps speak for the class, and where "
        "hiding a square lowers the score most.",
        [method(subject.model, subject.example, **settings) for method in (saliency, grad_cam, occlusion)],
    )


def _health_section(subject: _Subject) -> Section:
    health = filter_health(subject.model, (subject.images[:MOST_IMAGES], subject.labels[:MOST_IMAGES]))
    return Section(
        "Are the filters any good?",
        "A dead filter never responds; near-duplicates have almost the same weights; the worth of a filter is the "
        "accuracy that is lost without it.",
        [health.figure, str(health)],
    )


def _answer_section(subject: _Subject) -> Section:
    predictions = subject.probabilities.argmax(1)
    return Section(
        "Right and wrong answers",
        f"On the {format_count(len(subject.labels), 'image', form=',')} given to this report: which classes the model "
        "confuses, and its most certain errors.",
        [
            confusion_matrix(subject.labels, predictions, subject.classes or range(subject.probabilities.shape[1])),
            mistakes(
                subject.model, subject.images, subject.labels, classes=subject.classes, normalize=subject.normalize
            ),
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
body {{ margin: auto; padding: 1rem; overflow-wrap: anywhere }}
h1, h2 {{ line-height: 1.2 }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem }}
.picture {{ overflow-x: auto; margin: 1rem 0 }}
img {{ max-width: 100%; height: auto; display: block }}
.hint {{ display: none; color: #555; font-size: 14px }}
@media (max-width: 60rem) {{ .picture img {{ max-width: none }} .hint {{ display: block }} }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: .7rem; font-size: 13px; line-height: 1.35 }}
nav a {{ display: inline-block; margin: .2rem .8rem .2rem 0 }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="hint">Pictures keep their size, so that their text can be read: scroll them sideways.</p>
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
    title, text = escape(section.title), escape(section.text)
    return f'<section id="s{i}">\n<h2>{title}</h2>\n<p>{text}</p>\n{items}\n</section>'


def _render_item(item: Figure | Animation | str, title: str) -> str:
    if isinstance(item, str):
        return f"<pre>{html.escape(item)}</pre>"
    if isinstance(item, Animation):
        return f'<div class="picture">{inline_image(item.gif, "gif", title)}</div>'
    width = f"width:{item.get_figwidth() * PIXELS_PER_INCH:.0f}px"
    return f'<div class="picture">{picture(item, title, style=width)}</div>'
