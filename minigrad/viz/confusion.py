"""Which classes a model confuses: counts, and a picture of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad.errors import ShapeError, ValidationError
from minigrad.viz import style
from minigrad.viz.formatting import format_name
from minigrad.viz.inputs import as_class_numbers

MOST_COUNTED = 30  # classes up to which every cell of a confusion matrix shows its count


def confusion_matrix(labels: Any, predictions: Any, classes: Iterable[Any] | None = None) -> Figure:
    """Show which classes a model confuses: right answers on a blue diagonal, errors beside it.

    labels       (N,)  true class numbers
    predictions  (N,)  predicted class numbers
    classes            a name for each class number, of any type that has a str(); if None, 0, 1, ... up to the largest
                       number
    returns      Figure

    The darker a cell off the diagonal, the larger its share of its row, the true class.

    Raises   as confusion_counts

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"]).get_suptitle()
    'Accuracy 66.67 %: 2 of 3 right (blue)'
    """
    labels, predictions = _as_pair("confusion_matrix", labels, predictions)
    named = range(1 + max(labels.max(), predictions.max())) if classes is None else classes
    names = [format_name(name) for name in named]
    counts = _count("confusion_matrix", labels, predictions, len(names))
    right, total = np.trace(counts), counts.sum()
    cell = max(0.5, 0.09 * len(f"{counts.max():,}") + 0.12) if len(names) <= MOST_COUNTED else 0.16
    longest = 0.08 * max(map(len, names))
    side = cell * len(names) + longest
    title = f"Accuracy {100 * right / total:.2f} %: {right:,} of {total:,} right (blue)"
    figure = style.figure(max(4.5, side + 1.5), max(3.0, side + 1.0), title)
    axes = figure.subplots()
    _draw_counts(figure, axes, counts)
    _label_classes(axes, names, vertical=longest > cell - 0.1)
    return figure


def confusion_counts(labels: Any, predictions: Any, n: int) -> np.ndarray:
    """Count how often the model predicted each class for each true class.

    labels       (N,)    true class numbers, 0 to n-1
    predictions  (N,)    predicted class numbers
    n                    number of classes
    returns      (n, n)  row: true class, column: predicted class

    Raises   DtypeError       class numbers are not whole
             ShapeError       labels or predictions are not (N,), or differ in length
             ValidationError  a class number outside 0 to n-1

    >>> confusion_counts([0, 0, 1], [0, 1, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    return _count("confusion_counts", *_as_pair("confusion_counts", labels, predictions), n)


# ---- input


def _as_pair(where: str, labels: Any, predictions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions as class numbers, one prediction for each label."""
    labels, predictions = as_class_numbers(where, "labels", labels), as_class_numbers(where, "predictions", predictions)
    if labels.size != predictions.size:
        raise ShapeError(
            f"{where}: {labels.size} labels but {predictions.size} predictions; pass one prediction for each label"
        )
    return labels, predictions


def _count(where: str, labels: np.ndarray, predictions: np.ndarray, n: int) -> np.ndarray:
    low, high = min(labels.min(), predictions.min()), max(labels.max(), predictions.max())
    if low < 0 or high >= n:
        raise ValidationError(
            f"{where}: class numbers run from {low} to {high} but {n} classes are numbered 0 to {n - 1}; "
            "count from 0 and pass the number or a name of every class"
        )
    return np.bincount(labels * n + predictions, minlength=n * n).reshape(n, n)


# ---- picture


def _draw_counts(figure: Figure, axes: Axes, counts: np.ndarray) -> None:
    """Draw errors in the colour of their share of the row, in percent; the diagonal has another colour."""
    errors = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, np.nan)
    most = np.nanmax(errors, initial=0) or 1.0
    image = axes.imshow(errors, cmap=style.AMOUNT.with_extremes(bad=style.PALE), vmin=0, vmax=most)
    style.colour_bar(figure, image, [axes], "errors, % of the true class")
    if len(counts) <= MOST_COUNTED:
        _write_counts(axes, counts, dark=errors > 0.75 * most)


def _write_counts(axes: Axes, counts: np.ndarray, dark: np.ndarray) -> None:
    """Write the count in every cell: bold on the diagonal, faint if zero, white on dark cells."""
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if dark[row, column] else "black" if count else style.GREY
        weight = "bold" if row == column else "normal"
        axes.text(
            column, row, f"{count:,}", ha="center", va="center", fontsize=style.SMALL, color=colour, fontweight=weight
        )


def _label_classes(axes: Axes, names: list[str], vertical: bool) -> None:
    positions = np.arange(len(names))
    axes.set_xticks(positions, names, rotation=90 if vertical else 0)
    axes.set_yticks(positions, names)
    axes.set_xlabel("predicted class", fontsize=style.LABEL)
    axes.set_ylabel("true class", fontsize=style.LABEL)
    axes.tick_params(length=0, labelsize=style.SMALL)
