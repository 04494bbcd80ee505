"""What a training run measured, and the table of it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..checks import brief
from ..errors import ValidationError
from ..notebook import Html, picture, stack, table


class History(Mapping[str, list[float]]):
    """The loss of every step, and a row of measurements for every epoch.

    rows              a dict for each epoch: "epoch" from 1, "step" at its end, "seconds", "lr", "train_loss",
                      "train_<metric>", and with validation data "val_loss", "val_<metric>"
    stopped           why the run ended before its last epoch; None if it did not
    history["loss"]   the training loss of each step; history["val_accuracy"] and so on: a column of the rows

    Example
    >>> history = History(loss=[2.0, 1.0], rows=[{"epoch": 1, "train_loss": 1.5, "val_accuracy": 0.5}])
    >>> history["val_accuracy"], history["loss"]
    ([0.5], [2.0, 1.0])
    >>> print(history)
    epoch  train_loss  val_accuracy
        1         1.5           0.5
    """

    def __init__(self, loss: list[float] | None = None, rows: list[dict[str, float]] | None = None):
        self.loss, self.rows = [] if loss is None else loss, [] if rows is None else rows
        self.stopped: str | None = None

    def __getitem__(self, name: str) -> list[float]:
        if name == "loss":
            return self.loss
        if name not in self.columns:
            raise KeyError(f"history has no {name!r}, but {', '.join(self)}")
        return [row[name] for row in self.rows if name in row]

    def __iter__(self) -> Iterator[str]:
        return iter(["loss", *self.columns])

    def __len__(self) -> int:
        return 1 + len(self.columns)

    @property
    def columns(self) -> list[str]:
        """The names of the measurements of an epoch."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def best(self, monitor: str, mode: str | None = None) -> dict[str, float]:
        """Return the row of the epoch that was best by one of its columns; the first of equal ones.

        monitor   a column, as "val_accuracy"
        mode      "min" or "max": which value is best; None: "min" for a loss, "max" for an accuracy

        Raises   ValidationError   mode is None, and the column is neither a loss nor an accuracy
        """
        sign = 1 if direction(monitor, mode) == "min" else -1
        return min(self.rows, key=lambda row: math.inf if math.isnan(row[monitor]) else sign * row[monitor])

    def __str__(self) -> str:
        lines = self._lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)

    def _repr_html_(self) -> Html:
        """What a notebook shows: the curves and the table."""
        from ..viz.curves import training_curves  # imported here, because matplotlib takes a while

        curves = picture(training_curves(self)) if self.loss else Html("no steps")
        return stack(curves, table(self._lines()) if self.rows else "")

    def _lines(self) -> list[list[str]]:
        """Return the cells of the table."""
        return [self.columns] + [[_cell(row.get(name)) for name in self.columns] for row in self.rows]

    def __repr__(self) -> str:
        return f"History({len(self.loss):,} steps, {len(self.rows)} epochs)"


def direction(monitor: str, mode: str | None = None) -> str:
    """Return "min" or "max": which value of a column is best.

    Raises   ValidationError   its name does not tell, or mode is something else
    """
    if mode not in (None, "min", "max"):
        raise ValidationError(f"fit: monitor_mode is {brief(mode)}; use 'min' or 'max'")
    if mode is not None:
        return mode
    measure = monitor.partition("_")[2]
    if measure == "loss" or measure == "accuracy" or (measure[:3] == "top" and measure[3:].isdecimal()):
        return "min" if measure == "loss" else "max"
    raise ValidationError(f"fit: is a low or a high {monitor} better?  Give monitor_mode='min' or 'max'")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
