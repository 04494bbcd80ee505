"""What a training run shows and writes: a bar for each epoch, a line after it, log.csv, and TensorBoard."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import ValidationError
from ..runtime.files import write_whole
from .history import History

POSTFIX_EVERY = 50  # steps between two changes of the numbers beside the bar


class ProgressBar:
    """A bar that counts the samples of an epoch, with the mean loss and metrics so far."""

    def __init__(self, run: Any, shown: bool):
        total = run.settings.get("samples")
        self.bar = tqdm(
            total=total, initial=run.samples, unit=" samples", unit_scale=True, disable=not shown, leave=False,
            desc=f"epoch {run.epoch + 1}/{run.epochs}",
        )  # fmt: skip
        self.steps = 0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def update(self, run: Any, samples: int) -> None:
        """Count samples that have been learned from."""
        self.bar.update(samples)
        if self.steps % POSTFIX_EVERY == 0:
            self.bar.set_postfix({name: f"{total / run.samples:.4g}" for name, total in run.totals.items()})
        self.steps += 1


def print_row(row: Mapping[str, float], epochs: int) -> None:
    """Print the measurements of an epoch in a line."""
    texts = []
    for kind, word in (("train_", "training"), ("val_", "validation")):
        found = [f"{name[len(kind) :]} {value:.4f}" for name, value in row.items() if name.startswith(kind)]
        texts += [f"{word} {', '.join(found)}"] if found else []
    print(f"epoch {row['epoch']:.0f}/{epochs}: {'; '.join(texts)}  ({row['seconds']:.1f} s)", flush=True)


def write_csv(path: Path, history: History) -> None:
    """Write a line of numbers for each epoch, below their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, history.columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history.rows)
    write_whole(str(path), text.getvalue().encode())


class TensorBoard:
    """Writes the rows of a history for TensorBoard.

    Raises   ValidationError   the package tensorboard is missing
    """

    def __init__(self, folder: Path):
        try:
            from tensorboard.summary import Writer  # type: ignore[import-not-found]
        except ImportError:
            raise ValidationError(
                "fit: tensorboard=True needs the package tensorboard; install it with pip install tensorboard"
            ) from None
        self.writer = Writer(str(folder))

    def write(self, row: Mapping[str, float]) -> None:
        """Write the measurements of an epoch."""
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name.replace("_", "/", 1), value, int(row["epoch"]))
        self.writer.flush()
