"""A picture of the images that a model classifies wrongly, its most confident errors first."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from minigrad.checks import whole_number
from minigrad.viz import probe, style
from minigrad.viz.display import Display, choose_display, show_image
from minigrad.viz.inputs import as_labelled_images, check_labels, name_classes, uses_model_info

ACROSS, MOST_IMAGES = 8, 64
CELL = 1.15  # inches across
LETTERS = 20  # in a line below an image


class _Answer(NamedTuple):
    """An image to show: its number, its pixels, the names of its class and of the answer, and the probability."""

    number: int
    image: np.ndarray
    truth: str
    answer: str
    probability: float

    @property
    def text(self) -> str:
        """The lines below the image."""
        lines = [f"true: {self.truth}", f"answer: {self.answer}", f"{100 * self.probability:.1f} % sure"]
        return style.wrap("\n".join(lines), LETTERS)


@uses_model_info
def mistakes(
    model: Any,
    images: Any,
    labels: Any,
    n: int = 16,
    classes: Iterable[Any] | None = None,
    normalize: tuple[Any, Any] | None = None,
) -> Figure:
    """Show the images that a model classifies wrongly, with its answers, the most confident first.

    model      a Module that scores classes, (N, C, H, W) -> (N, K); it does not change
    images     (N, C, H, W) or (N, H, W)
    labels     (N,)    true class numbers, 0 to K-1
    n                  number of images to show, 1 to 64
    classes            a name for each of the K classes, of any type that has a str(); "class 0", ... if None
    normalize          (mean, std) of the images' pixels, to show them in true colours
    returns    Figure

    If the model makes no mistake, its least confident right answers are shown.

    Raises   ShapeError        no images, another number of labels, or a model without scores
             DtypeError        labels are not whole numbers
             ValidationError   model is no Module, a label without a class, a class without a name, n out of range, or
                               NaN or infinite scores

    >>> from minigrad.models import LeNet5
    >>> figure = mistakes(LeNet5(), np.zeros((3, 28, 28)), [0, 1, 2], n=2)
    >>> len(figure.axes)
    2
    """
    images, labels = as_labelled_images("mistakes", images, labels)
    whole_number("mistakes", "n", n, 1, MOST_IMAGES)
    probabilities = probe.compute_probabilities("mistakes", model, images)
    check_labels("mistakes", labels, probabilities.shape[1])
    names = name_classes("mistakes", classes, probabilities.shape[1])
    answers = probabilities.argmax(1)
    confidence = probabilities[np.arange(len(answers)), answers]
    wrong = np.flatnonzero(answers != labels)
    order = (
        wrong[np.argsort(-confidence[wrong], kind="stable")] if wrong.size else np.argsort(confidence, kind="stable")
    )
    shown = [_Answer(int(i), images[i], names[labels[i]], names[answers[i]], confidence[i]) for i in order[:n]]
    display = choose_display("mistakes", images[order[:n]], normalize)
    return _draw(_heading(len(images), wrong.size, len(shown)), shown, display)


def _heading(images: int, wrong: int, shown: int) -> str:
    if not wrong:
        return f"No mistakes: all {images:,} right; the {shown} least certain answers"
    omitted = f"; the {shown} most certain" if shown < wrong else ""
    return f"Mistakes: {wrong:,} of {images:,} images ({100 * wrong / images:.2f} %){omitted}"


def _draw(heading: str, shown: list[_Answer], display: Display) -> Figure:
    """Draw the images in rows, each with its text."""
    H, W = shown[0].image.shape[1:]
    figure, panels = style.gallery(
        heading, [f"image\n{answer.text}" for answer in shown], len(shown), ACROSS, CELL, H / W
    )
    for axes, answer in zip(panels[0], shown, strict=True):
        show_image(axes, answer.image, display._replace(note=""))
        axes.set_title(f"image {answer.number}", fontsize=style.SMALL)
        axes.set_xlabel(answer.text, fontsize=style.SMALL)
    figure.supxlabel(display.note.replace("\n", " "), fontsize=style.SMALL)
    return figure
