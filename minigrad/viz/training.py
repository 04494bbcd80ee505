"""Pictures of a training run: loss and accuracy over time, and which classes the model confuses."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from minigrad.errors import ShapeError, ValidationError
from minigrad.viz import style
from minigrad.viz.formatting import format_count, format_name
from minigrad.viz.inputs import as_array, as_class_numbers

MOST_COUNTED = 30  # classes up to which every cell of a confusion matrix shows its count


def training_curves(history: Mapping[str, Any]) -> Figure:
    """Show the loss of every step and the accuracy after every epoch.

    history  a dictionary with
             "loss"             one number for each training step
             "accuracy"         share of right answers on the test set after each epoch, 0 to 1; optional
             "steps_per_epoch"  adds a scale of epochs above the steps; optional
    returns  Figure

    The smooth curve is a moving mean over a fiftieth of the run.  NaN and infinite losses leave a gap, and the label
    below the chart counts them.

    Raises   ShapeError       a series is not one-dimensional, or there is no loss
             ValidationError  a key is missing, or a value is out of range

    >>> figure = training_curves({"loss": [2.3, 1.1, 0.6], "accuracy": [0.91], "steps_per_epoch": 3})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['training loss', 'test accuracy (%)']
    """
    loss, accuracy, steps_per_epoch = _read_loss(history), _read_accuracy(history), _read_steps_per_epoch(history)
    panels = 2 if accuracy.size else 1
    figure = style.figure(5.5 * panels, 4, _heading(loss, accuracy))
    axes = figure.subplots(1, panels, squeeze=False).ravel()
    _draw_loss(axes[0], loss)
    if steps_per_epoch:
        _add_epoch_scale(axes[0], steps_per_epoch)
    if accuracy.size:
        _draw_accuracy(axes[1], accuracy)
    return figure


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


def _read_loss(history: Mapping[str, Any]) -> np.ndarray:
    """Return the losses; infinite ones become NaN."""
    if "loss" not in history:
        raise ValidationError(
            f"training_curves: history has keys {list(history)}, not 'loss'; add the loss of each step"
        )
    loss = _as_series("loss", history["loss"])
    if loss.size == 0:
        raise ShapeError("training_curves: history['loss'] has 0 entries, not 1 or more; add the loss of each step")
    return np.where(np.isfinite(loss), loss, np.nan)


def _read_accuracy(history: Mapping[str, Any]) -> np.ndarray:
    accuracy = _as_series("accuracy", history.get("accuracy", ()))
    wrong = accuracy[~((accuracy >= 0) & (accuracy <= 1))]
    if wrong.size:
        raise ValidationError(f"training_curves: accuracy {wrong[0]:g} is not from 0 to 1; pass shares, not percent")
    return accuracy


def _read_steps_per_epoch(history: Mapping[str, Any]) -> float:
    """Return the number of steps in an epoch, or 0 if the history has none."""
    steps = history.get("steps_per_epoch", 0)
    if "steps_per_epoch" in history and not steps >= 1:
        raise ValidationError(f"training_curves: steps_per_epoch is {steps}, not 1 or more; pass the number of batches")
    return steps


def _as_series(name: str, values: Any) -> np.ndarray:
    series = as_array(values).astype(np.float64)
    if series.ndim != 1:
        raise ShapeError(
            f"training_curves: history['{name}'] has shape {series.shape}, not (n,); pass a list of numbers"
        )
    return series


# ---- curves


def _heading(loss: np.ndarray, accuracy: np.ndarray) -> str:
    """Return the length of the run, as in `Training: 2,814 steps, 3 epochs`."""
    counts = (loss.size, "step"), (accuracy.size, "epoch")
    return "Training: " + ", ".join(format_count(n, noun, form=",") for n, noun in counts if n)


def _draw_loss(axes: Axes, loss: np.ndarray) -> None:
    """Draw the loss of every step faintly and its moving mean; on a log scale if the mean falls more than tenfold."""
    steps, window = np.arange(1, loss.size + 1), max(1, loss.size // 50)
    smooth = _moving_mean(loss, window)
    if window > 1:
        axes.plot(steps, loss, color=style.BLUE, alpha=0.3, linewidth=0.7, label="each step")
    marker = "o" if loss.size < 20 else None
    axes.plot(steps, smooth, color=style.BLUE, linewidth=2, marker=marker, label=f"mean of {window} steps")
    if window > 1:
        axes.legend(fontsize=style.SMALL, frameon=False, loc="upper right")
    _label_chart(axes, loss.size, "step" + _gap_line(loss), "training loss")
    if falls_tenfold(loss, smooth):
        style.use_log_scale(axes, "training loss")
    _label_end(axes, steps, smooth, "{:.3g}")


def _add_epoch_scale(axes: Axes, steps_per_epoch: float) -> None:
    """Add a scale of epochs above the steps."""
    conversions: Any = (lambda step: step / steps_per_epoch, lambda epoch: epoch * steps_per_epoch)
    scale = axes.secondary_xaxis("top", functions=conversions)
    scale.set_xlabel("epoch", fontsize=style.LABEL)
    scale.tick_params(labelsize=style.SMALL)
    scale.xaxis.set_major_locator(_whole_number_locator())


def _draw_accuracy(axes: Axes, accuracy: np.ndarray) -> None:
    """Draw the accuracy after every epoch in percent, on a scale from just below the lowest value to 100."""
    epochs, percent = np.arange(1, accuracy.size + 1), 100 * accuracy
    axes.plot(epochs, percent, color=style.VERMILION, linewidth=2, marker="o", markersize=5, clip_on=False)
    _label_chart(axes, accuracy.size, "epoch", "test accuracy (%)")
    axes.set_ylim(np.clip(100 - 1.1 * (100 - percent.min()), 0, 99), 100)
    _label_end(axes, epochs, percent, "{:.2f} %")


def _label_chart(axes: Axes, n: int, x: str, y: str) -> None:
    """Label both axes, and give the horizontal one a scale of whole numbers from 1 to n."""
    margin = max(0.5, 0.04 * n)
    axes.set_xlim(1 - margin, n + margin)
    axes.set_xlabel(x, fontsize=style.LABEL)
    axes.set_ylabel(y, fontsize=style.LABEL)
    axes.tick_params(labelsize=style.SMALL)
    axes.xaxis.set_major_locator(_whole_number_locator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    style.tidy(axes)


def _whole_number_locator() -> MaxNLocator:
    return MaxNLocator(6, integer=True, min_n_ticks=1)


def _label_end(axes: Axes, x: np.ndarray, y: np.ndarray, form: str) -> None:
    """Write the last number of a curve to the right of its end."""
    known = np.flatnonzero(np.isfinite(y))
    if known.size:
        last = known[-1]
        axes.annotate(
            form.format(y[last]), (x[last], y[last]), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=style.LABEL, fontweight="bold", color=axes.lines[-1].get_color(),
        )  # fmt: skip


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the finite numbers around each position; positions of NaN stay NaN."""
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), np.ones(window), "same")
    count = np.convolve(finite, np.ones(window), "same")
    return np.divide(total, count, out=np.full(values.shape, np.nan), where=finite)


def falls_tenfold(loss: np.ndarray, smooth: np.ndarray) -> bool:
    """Return whether a loss that is never negative falls so far that only a log scale shows its end."""
    known = smooth[np.isfinite(smooth)]
    return known.size > 0 and not (loss < 0).any() and known.max() > 10 * known.min() > 0


def _gap_line(loss: np.ndarray) -> str:
    """Return a line of text about the losses that cannot be drawn; empty if there are none."""
    gaps = np.flatnonzero(np.isnan(loss))
    return f"\nNaN or infinite losses: {gaps.size:,}, the first at step {gaps[0] + 1:,}" if gaps.size else ""


# ---- the confusion matrix


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
