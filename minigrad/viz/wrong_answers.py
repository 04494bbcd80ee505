"""Pictures of what a model misread, the surest of its wrong answers first."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad.errors import ValidationError
from minigrad.viz import probe, style
from minigrad.viz.formatting import plain
from minigrad.viz.inputs import images_and_labels

ACROSS, MOST = 8, 64
LETTER = 0.085  # inches, width of a small letter
CELL = 1.15  # inches across


class _Shown(NamedTuple):
    """One image with its number, its class, and the answer with its probability."""

    number: int
    image: np.ndarray
    truth: str
    answer: str
    probability: float


def mistakes(model: Any, images: Any, labels: Any, n: int = 16, classes: Iterable[Any] | None = None) -> Figure:
    """Show the images that a model misread, with its answers, those that it was surest of first.

    model    a Module that scores classes, (N, C, H, W) -> (N, K); it stays as it is
    images   (N, C, H, W) or (N, H, W)  as the model takes them
    labels   (N,)    true class numbers, 0 to K-1
    n                how many to show, 1 to 64
    classes          a name for each of the K classes, strings or what has a str(); None names them 0, 1, ...
    returns  Figure

    If the model made no mistake, the right answers that it was least sure of are shown.

    Raises   ShapeError        no images, another number of labels, or a model without scores
             DtypeError        labels that are not whole numbers
             ValidationError   no Module, a label without a class, a class without a name, n out of its range, or
                               scores that are NaN or infinite

    >>> from minigrad.models import LeNet5
    >>> figure = mistakes(LeNet5(), np.zeros((3, 28, 28)), [0, 1, 2], n=2)
    >>> len(figure.axes)
    2
    """
    images, labels = images_and_labels("mistakes", images, labels)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= MOST:
        raise ValidationError(f"mistakes: n is {n!r}; use a whole number from 1 to {MOST}")
    chances = probe.probabilities("mistakes", model, images)
    names = _names(classes, labels, chances.shape[1])
    answers = chances.argmax(1)
    sure = chances[np.arange(len(answers)), answers]
    wrong = np.flatnonzero(answers != labels)
    order = wrong[np.argsort(-sure[wrong], kind="stable")] if wrong.size else np.argsort(sure, kind="stable")
    shown = [_Shown(int(i), images[i], names[labels[i]], names[answers[i]], sure[i]) for i in order[:n]]
    return _sheet(_heading(len(images), wrong.size, len(shown)), shown)


# ---- the numbers


def _names(classes: Iterable[Any] | None, labels: np.ndarray, K: int) -> list[str]:
    """A name for each class."""
    if labels.min() < 0 or labels.max() >= K:
        raise ValidationError(
            f"mistakes: labels run from {labels.min()} to {labels.max()} but the model scores {K} classes, "
            f"numbered 0 to {K - 1}; pass the labels that it was trained on"
        )
    names = [plain(name) for name in (range(K) if classes is None else classes)]
    if len(names) != K:
        raise ValidationError(f"mistakes: {len(names)} names in classes but the model scores {K}; name each one")
    return names


# ---- the picture


def _heading(images: int, wrong: int, shown: int) -> str:
    if not wrong:
        return f"No mistakes: all {images:,} right; the {shown} least certain answers"
    left_out = f", the {shown} surest shown" if shown < wrong else ""
    return f"Mistakes: {wrong:,} of {images:,} images ({100 * wrong / images:.2f} %){left_out}"


def _sheet(heading: str, shown: list[_Shown]) -> Figure:
    """The images in rows, each with its texts."""
    down = -(-len(shown) // ACROSS)
    across = -(-len(shown) // down)
    longest = max(len(line) for one in shown for line in _texts(one).splitlines())
    width, (H, W) = max(CELL, LETTER * longest), shown[0].image.shape[1:]
    height = CELL * min(max(H / W, 0.3), 2.0) + 0.85
    figure = style.figure(max(6.0, (width + 0.15) * across + 0.2), height * down + 0.6, heading)
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for axes, one in zip(cells, shown, strict=False):
        _draw(axes, one)
    for axes in cells[len(shown) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: Axes, one: _Shown) -> None:
    probe.show(axes, probe.pixels(one.image))
    axes.set_title(f"image {one.number}", fontsize=style.SMALL)
    axes.set_xlabel(_texts(one), fontsize=style.SMALL)


def _texts(one: _Shown) -> str:
    return f"true: {one.truth}\nanswer: {one.answer}\n{100 * one.probability:.1f} % sure"
