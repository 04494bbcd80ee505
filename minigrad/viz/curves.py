"""Curves of training: loss and metrics over time, and the loss by learning rate."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from minigrad.checks import brief
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.viz import style
from minigrad.viz.formatting import format_count, format_name
from minigrad.viz.inputs import as_array

COLOURS = {"training": style.BLUE, "validation": style.VERMILION, "test": style.VERMILION}
DASHES = ("-", "--", ":", "-.")  # of the metrics that share a panel
PARTS = {"train_": "training", "val_": "validation"}  # by the beginning of a key
SHARES = re.compile(r"accuracy|top\d+")  # metrics from 0 to 1, drawn together in percent


def training_curves(history: Mapping[str, Any]) -> Figure:
    """Show the loss of every step, the validation loss, and metrics after every epoch.

    history  the History of train.fit; or a dictionary with
             "loss"             one number for each training step
             "val_loss"         the loss on other data after each epoch; optional
             "train_accuracy", "val_accuracy", "val_top5", ...   metrics after each epoch; optional
             "accuracy"         share of right answers on the test set after each epoch, 0 to 1; optional
             "step"             the number of steps until the end of each epoch; optional
             "steps_per_epoch"  the same if all epochs are equal; adds a scale of epochs above the steps; optional
    returns  Figure

    The smooth curve is a moving mean over a fiftieth of the run.  The training loss of an epoch, "train_loss", is not
    drawn, because the smooth curve shows it.  Validation losses stand at the last step of their epoch; without "step"
    and "steps_per_epoch", epochs are taken to be equal.  The loss has a log scale if it falls more than tenfold.

    Accuracies and top-k accuracies share a panel in percent, from just below the lowest to 100.  Every other metric has
    a panel of its own.  Training is blue, validation vermilion.  A training metric of a History is the mean over the
    epoch, while the model learned; a validation metric is that of the model at its end.

    NaN and infinite numbers leave a gap, and the label below the loss counts those of the steps.

    Raises   ShapeError       a series is not one-dimensional, or there is no loss
             ValidationError  history is no dictionary, a key is missing, or a value is out of range
             DtypeError       a series holds something else than numbers

    >>> figure = training_curves({"loss": [2.3, 1.1, 0.6], "accuracy": [0.91], "steps_per_epoch": 3})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['training loss', 'test accuracy (%)']
    """
    loss, curves = _read_loss(history), _read_curves(history)
    epochs = max([len(getattr(history, "rows", ())), *[int(curve.epochs[-1]) for curve in curves]])
    ends, per_epoch = _find_ends(history, loss.size, epochs)
    panels = _group_by_panel([curve for curve in curves if curve.metric != "loss"])
    rows, columns = style.grid_shape(1 + len(panels), most_columns=2)
    figure = style.figure(5.5 * columns, 4 * rows, _heading(history, loss.size, epochs))
    axes = style.add_panels(figure, rows, columns, 1 + len(panels))
    _draw_loss(axes[0], loss, [curve for curve in curves if curve.metric == "loss"], ends, per_epoch)
    for panel, group in zip(axes[1:], panels, strict=True):
        _draw_metrics(panel, group)
    return figure


def lr_curve(search: Any) -> Figure:
    """Show the loss by learning rate, and mark the suggested rate, at which it falls fastest.

    search   the RateSearch of train.find_lr
    returns  Figure

    The loss has a log scale if it falls more than tenfold.

    Raises   ShapeError       there are not as many losses as rates, or none
             ValidationError  search is no RateSearch

    >>> from minigrad.train import RateSearch
    >>> lr_curve(RateSearch([0.001, 0.01, 0.1], [2.3, 1.9, 0.8], suggestion=0.01)).get_suptitle()
    'Learning rate: the loss falls fastest at 0.01'
    """
    if not all(hasattr(search, name) for name in ("rates", "losses", "suggestion")):
        raise ValidationError(f"lr_curve: search is {brief(search)}; pass the RateSearch that train.find_lr returns")
    rates, losses = as_array(search.rates).astype(np.float64), as_array(search.losses).astype(np.float64)
    if rates.shape != losses.shape or rates.ndim != 1 or not rates.size:
        raise ShapeError(
            f"lr_curve: rates have shape {rates.shape}, losses {losses.shape}; pass the result of train.find_lr"
        )
    figure = style.figure(6.5, 4, f"Learning rate: the loss falls fastest at {search.suggestion:.2g}")
    axes = figure.subplots()
    axes.plot(rates, losses, color=style.BLUE, linewidth=2, marker="o" if rates.size < 20 else None)
    _mark_rate(axes, search.suggestion, rates, losses)
    axes.set_xlabel("learning rate (log scale)", fontsize=style.LABEL)
    axes.set_ylabel("training loss, smooth", fontsize=style.LABEL)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=9))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=style.SMALL)
    style.tidy(axes)
    if falls_tenfold(losses, losses):
        style.use_log_scale(axes, "training loss, smooth")
    return figure


# ---- input


class _Curve(NamedTuple):
    """A measurement after each epoch.

    metric, part     as "accuracy" and "validation"
    epochs, values   (E,)   numbers of the epochs, from 1; what was measured, NaN where it is not finite
    """

    metric: str
    part: str
    epochs: np.ndarray
    values: np.ndarray

    @property
    def is_share(self) -> bool:
        """Whether the values are from 0 to 1, and drawn in percent."""
        return SHARES.fullmatch(self.metric) is not None

    @property
    def drawn(self) -> np.ndarray:
        """The values in the unit of the picture."""
        return 100 * self.values if self.is_share else self.values

    @property
    def name(self) -> str:
        """Text such as "validation accuracy"."""
        return f"{self.part} {format_name(self.metric)}"

    @property
    def last(self) -> str:
        """The last value."""
        return f"{self.drawn[-1]:.2f} %" if self.is_share else f"{self.drawn[-1]:.3g}"


def _read_loss(history: Mapping[str, Any]) -> np.ndarray:
    """Return the losses; infinite ones become NaN."""
    if not isinstance(history, Mapping):
        raise ValidationError(
            f"training_curves: history is {brief(history)}; pass the History of train.fit, or {{'loss': numbers}}"
        )
    if "loss" not in history:
        raise ValidationError(
            f"training_curves: history has keys {brief(list(history))}, not 'loss'; add the loss of each step"
        )
    loss = _as_series("loss", history["loss"])
    if loss.size == 0:
        raise ShapeError("training_curves: history['loss'] has 0 entries, not 1 or more; add the loss of each step")
    return loss


def _read_curves(history: Mapping[str, Any]) -> list[_Curve]:
    """Return what was measured after each epoch."""
    curves = []
    for key in history:
        part = "test" if key == "accuracy" else next((PARTS[start] for start in PARTS if key.startswith(start)), None)
        if part is not None and key != "train_loss":
            epochs, values = _read_column(history, key)
            metric = key if part == "test" else key.partition("_")[2]
            curve = _Curve(metric, part, epochs, values)
            _check_shares(curve)
            curves += [curve] if values.size else []
    return curves


def _read_column(history: Mapping[str, Any], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of epochs and what was measured after them; not every epoch of a History has all columns."""
    values, rows = _as_series(key, history[key]), getattr(history, "rows", None)
    if rows is None:
        return np.arange(1, values.size + 1), values
    return np.array([row["epoch"] for row in rows if key in row]), values


def _check_shares(curve: _Curve) -> None:
    """Refuse accuracies in percent; a History may hold NaN."""
    values = curve.values
    wrong = values[(values < 0) | (values > 1) | (np.isnan(values) & (curve.part == "test"))]
    if curve.is_share and wrong.size:
        name = curve.metric
        raise ValidationError(f"training_curves: {name} {wrong[0]:g} is not from 0 to 1; pass shares, not percent")


def _find_ends(history: Mapping[str, Any], steps: int, epochs: int) -> tuple[np.ndarray, float]:
    """Return the number of steps until the end of each epoch, and those of one; 0 if epochs may differ."""
    counts = np.arange(1, epochs + 1)
    if "step" not in history:
        per_epoch = _read_steps_per_epoch(history)
        return (per_epoch or steps / max(1, epochs)) * counts, per_epoch
    ends = _as_series("step", history["step"])
    if ends.size < epochs:
        raise ShapeError(
            f"training_curves: history['step'] has {ends.size} entries for {epochs} epochs; add the last step of each"
        )
    return ends, float(ends[0]) if np.array_equal(ends, ends[0] * np.arange(1, ends.size + 1)) else 0


def _read_steps_per_epoch(history: Mapping[str, Any]) -> float:
    """Return the number of steps in an epoch, or 0 if the history has none."""
    steps = history.get("steps_per_epoch", 0)
    if "steps_per_epoch" in history and not steps >= 1:
        raise ValidationError(f"training_curves: steps_per_epoch is {steps}, not 1 or more; pass the number of batches")
    return steps


def _as_series(name: str, values: Any) -> np.ndarray:
    """Return numbers (n,), of which infinite ones become NaN."""
    series = as_array(values)
    if series.dtype.kind not in "fiub":
        raise DtypeError(f"training_curves: history['{name}'] is {brief(values)}; pass a list of numbers")
    series = series.astype(np.float64)
    if series.ndim != 1:
        raise ShapeError(
            f"training_curves: history['{name}'] has shape {series.shape}, not (n,); pass a list of numbers"
        )
    return np.where(np.isfinite(series), series, np.nan)


def _group_by_panel(curves: list[_Curve]) -> list[list[_Curve]]:
    """Return the curves that share a panel: all accuracies, and those of every other metric."""
    groups: dict[str, list[_Curve]] = {"": []}
    for curve in curves:
        groups.setdefault("" if curve.is_share else curve.metric, []).append(curve)
    return [group for group in groups.values() if group]


def _heading(history: Mapping[str, Any], steps: int, epochs: int) -> str:
    """Return the length of the run, as in `Training: 2,814 steps, 3 epochs`, and why it stopped early."""
    counts = ", ".join(format_count(n, noun, form=",") for n, noun in ((steps, "step"), (epochs, "epoch")) if n)
    stopped = getattr(history, "stopped", None)
    return f"Training: {counts}" + (f"\n{stopped}" if stopped else "")


# ---- the loss


def _draw_loss(axes: Axes, loss: np.ndarray, validation: list[_Curve], ends: np.ndarray, per_epoch: float) -> None:
    """Draw the loss of every step, its moving mean, and the validation loss at the ends of epochs."""
    window = max(1, loss.size // 50)
    smooth = _moving_mean(loss, window)
    _draw_steps(axes, loss, smooth, f"mean of {window} steps" if window > 1 else "each step")
    for curve in validation:
        _draw_line(axes, ends[curve.epochs - 1], curve.values, COLOURS[curve.part], f"{curve.part}: {curve.last}")
    _label_chart(axes, loss.size, "step" + _gap_line(loss), "loss" if validation else "training loss")
    if per_epoch:
        _add_epoch_scale(axes, per_epoch)
    if falls_tenfold(np.concatenate([loss, *[curve.values for curve in validation]]), smooth):
        style.use_log_scale(axes, axes.get_ylabel())
    if window > 1 or validation:
        axes.legend(fontsize=style.SMALL, frameon=False, loc="best")
    if not validation:
        _label_end(axes, np.arange(1, loss.size + 1), smooth, "{:.3g}")


def _draw_steps(axes: Axes, loss: np.ndarray, smooth: np.ndarray, label: str) -> None:
    """Draw the loss of every step faintly, and its moving mean."""
    steps = np.arange(1, loss.size + 1)
    if loss.size >= 100:
        axes.plot(steps, loss, color=style.BLUE, alpha=0.3, linewidth=0.7, label="each step")
    axes.plot(steps, smooth, color=style.BLUE, linewidth=2, marker="o" if loss.size < 20 else None, label=label)


def _add_epoch_scale(axes: Axes, steps_per_epoch: float) -> None:
    """Add a scale of epochs above the steps."""
    conversions: Any = (lambda step: step / steps_per_epoch, lambda epoch: epoch * steps_per_epoch)
    scale = axes.secondary_xaxis("top", functions=conversions)
    scale.set_xlabel("epoch", fontsize=style.LABEL)
    scale.tick_params(labelsize=style.SMALL)
    scale.xaxis.set_major_locator(_whole_number_locator())


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the finite numbers around each position; positions of NaN stay NaN."""
    finite = np.isfinite(values)
    total = _window_sums(np.where(finite, values, 0.0), window)
    count = _window_sums(finite, window)
    return np.divide(total, count, out=np.full(values.shape, np.nan), where=finite)


def _window_sums(values: np.ndarray, window: int) -> np.ndarray:
    """Return the sum of the `window` numbers around each position, as np.convolve does.

    A window is the end of one block of `window` numbers and the start of the next, so that two running sums give all
    windows: a million steps take 0.1 s, with np.convolve 150 s (2 cores of an AMD EPYC, November 2026).
    """
    blocks = np.zeros((-(-values.size // window) + 2, window))
    blocks.ravel()[window // 2 : window // 2 + values.size] = values
    from_start = blocks.cumsum(1).ravel()
    to_end = blocks[:, ::-1].cumsum(1)[:, ::-1].ravel()
    first = np.arange(values.size)
    return to_end[first] + np.where(first % window, from_start[first + window - 1], 0)


def falls_tenfold(loss: np.ndarray, smooth: np.ndarray) -> bool:
    """Return whether a loss that is never negative falls so far that only a log scale shows its end."""
    known = smooth[np.isfinite(smooth)]
    return known.size > 0 and not (loss < 0).any() and known.max() > 10 * known.min() > 0


def _gap_line(loss: np.ndarray) -> str:
    """Return a line of text about the losses that cannot be drawn; empty if there are none."""
    gaps = np.flatnonzero(np.isnan(loss))
    return f"\nNaN or infinite losses: {gaps.size:,}, the first at step {gaps[0] + 1:,}" if gaps.size else ""


# ---- metrics


def _draw_metrics(axes: Axes, curves: list[_Curve]) -> None:
    """Draw metrics after every epoch: parts of the data by colours, metrics by dashes."""
    metrics = list(dict.fromkeys(curve.metric for curve in curves))
    for curve in curves:
        dash = DASHES[metrics.index(curve.metric) % len(DASHES)]
        label = f"{curve.name if len(metrics) > 1 else curve.part}: {curve.last}"
        _draw_line(axes, curve.epochs, curve.drawn, COLOURS[curve.part], label, dash)
    first, unit = curves[0], " (%)" if curves[0].is_share else ""
    subject = ", ".join(map(format_name, metrics)) if len(curves) > 1 else first.name
    _label_chart(axes, max(curve.epochs[-1] for curve in curves), "epoch", subject + unit)
    if first.is_share:
        lowest = np.concatenate([[100.0], *[curve.drawn for curve in curves]])
        axes.set_ylim(np.clip(100 - 1.1 * (100 - np.nanmin(lowest)), 0, 99), 100)
    if len(curves) > 1:
        axes.legend(fontsize=style.SMALL, frameon=False, loc="lower right" if first.is_share else "best")
    else:
        _label_end(axes, first.epochs, first.drawn, "{:.2f} %" if first.is_share else "{:.3g}")


def _draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, dash: str = "-") -> None:
    size = 5 if x.size <= 20 else 3
    axes.plot(x, y, dash, color=colour, linewidth=2, marker="o", markersize=size, clip_on=False, label=label)


# ---- axes


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


def _mark_rate(axes: Axes, rate: float, rates: np.ndarray, losses: np.ndarray) -> None:
    """Mark a rate with a line, a dot on the curve, and its value above it: the curve falls to the right of the dot."""
    loss = float(np.interp(rate, rates, losses))
    axes.axvline(rate, color=style.VERMILION, linewidth=1, linestyle="--")
    axes.plot([rate], [loss], "o", color=style.VERMILION, markersize=8)
    axes.annotate(
        f"{rate:.2g}", (rate, loss), xytext=(8, 8), textcoords="offset points", fontsize=style.LABEL,
        fontweight="bold", color=style.VERMILION,
    )  # fmt: skip
