"""Metrics: how good answers are, as functions of outputs and targets, and a report by class.

A metric is a function of the outputs of a model and of the targets of a batch.  It returns one number for each sample,
or one number for the batch: its mean.  Its name in logs is that of the function.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..checks import brief, whole_number
from ..errors import DtypeError, ShapeError, ValidationError
from ..notebook import Html, stack, table
from ..tensors import Tensor

Metric: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return whether the class with the highest score is the right one, for each sample.

    outputs   (N, K) or (N, K, ...)   scores of K classes
    targets   (N,) or (N, ...)        class numbers
    returns   (N,) or (N, ...) bool

    Example
    >>> import minigrad as mg
    >>> accuracy(mg.tensor([[0.1, 0.9], [0.8, 0.2]]), mg.tensor([1, 1]))
    tensor([ True, False])
    """
    _check_classes("accuracy", outputs, targets)
    return outputs.argmax(1) == targets


def top_k(k: int) -> Metric:
    """Return a metric named "top<k>": whether the right class is among the k with the highest scores.

    Example
    >>> import minigrad as mg
    >>> top_k(2)(mg.tensor([[0.1, 0.9, 0.5], [0.8, 0.2, 0.5]]), mg.tensor([2, 1]))
    tensor([ True, False])
    """
    whole_number("top_k", "k", k, least=1)

    def metric(outputs: Tensor, targets: Tensor) -> Tensor:
        _check_classes(metric.__name__, outputs, targets)
        return (outputs.topk(min(k, outputs.shape[1]), 1)[1] == targets.unsqueeze(1)).any(1)

    metric.__name__ = f"top{k}"
    return metric


def _check_classes(where: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim < 2 or targets.shape != (outputs.shape[0], *outputs.shape[2:]):
        raise ShapeError(
            f"{where}: outputs {outputs.shape} and targets {targets.shape}; expected scores (N, K) and class numbers "
            "(N,).  For other tasks give metrics=() or metrics of your own"
        )


def named(metrics: Metric | Iterable[Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics by name.

    Raises   DtypeError        a metric is no function
             ValidationError   two have one name, or one is named "loss"
    """
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        given = [metrics] if callable(metrics) else list(metrics)
        pairs = [(getattr(metric, "__name__", "metric"), metric) for metric in given]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or "loss" in names:
        raise ValidationError(
            f"metrics: names {', '.join(names)}; give each another name, not 'loss', as a dict {{name: function}}"
        )
    for name, metric in pairs:
        if not callable(metric):
            raise DtypeError(
                f"metrics: {name} is {brief(metric)}; give functions of (outputs, targets), as train.accuracy"
            )
    return dict(pairs)


def summed(value: Tensor, samples: int) -> Tensor:
    """Return the sum over the samples of a batch, of one number for each, or of a mean."""
    if not isinstance(value, Tensor):
        raise DtypeError(f"metrics: a metric returns a {type(value).__name__}, expected a tensor; leave out .item()")
    if value.ndim == 0:
        return value * samples
    if len(value) != samples:
        raise ShapeError(
            f"metrics: a metric returns shape {value.shape} for {samples} samples; return one number, or one for each"
        )
    return value.sum() if value.ndim == 1 else value.float().flatten(1).mean(1).sum()


# ---- report


class ClassReport(NamedTuple):
    """How well each of K classes is recognised.

    confusion   (K, K)  row: true class, column: predicted class
    precision   (K,)    share of the answers "this class" that are right; nan if there are none
    recall      (K,)    share of the samples of this class that were recognised; nan if there are none
    f1          (K,)    harmonic mean of both
    classes     K names
    accuracy    share of right answers
    """

    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    classes: list[str]
    accuracy: float

    def __str__(self) -> str:
        width = max(5, *map(len, self.classes))
        lines = ["{:<{width}}  {:>9}  {:>6}  {:>6}  {:>7}".format(*cells, width=width) for cells in self._lines()]
        return "\n".join([*lines, self._total()])

    def _repr_html_(self) -> Html:
        """What a notebook shows."""
        return stack(table(self._lines(), text_columns={0}), self._total())

    def _lines(self) -> list[tuple[str, ...]]:
        """Return the cells of the table."""
        lines: list[tuple[str, ...]] = [("class", "precision", "recall", "f1", "samples")]
        for name, *shares, count in zip(
            self.classes, self.precision, self.recall, self.f1, self.confusion.sum(1), strict=True
        ):
            lines.append((name, *map(_percent, shares), f"{count:,}"))
        return lines

    def _total(self) -> str:
        right, total = np.trace(self.confusion), self.confusion.sum()
        return f"{right:,} of {total:,} right: {_percent(self.accuracy, 2)}"


def _percent(share: float, digits: int = 1) -> str:
    return "–" if np.isnan(share) else f"{share:.{digits}%}"


def class_report(labels: Any, predictions: Any, classes: Iterable[Any] | None = None) -> ClassReport:
    """Count right and wrong answers by class.

    labels       (N,)   true class numbers
    predictions  (N,)   predicted class numbers, or scores (N, K)
    classes      a name for each class; None: numbers

    Raises   as viz.confusion_counts, and DtypeError if labels or predictions are no numbers
    Example
    >>> print(class_report([0, 0, 1], [0, 1, 1], ["cat", "dog"]))
    class  precision  recall      f1  samples
    cat       100.0%   50.0%   66.7%        2
    dog        50.0%  100.0%   66.7%        1
    2 of 3 right: 66.67%
    """
    from ..viz.confusion import confusion_counts  # imported here, because matplotlib takes a while

    labels, predictions = (np.asarray(x.cpu() if isinstance(x, Tensor) else x) for x in (labels, predictions))
    predictions = predictions.argmax(1) if predictions.ndim == 2 else predictions
    for name, numbers in {"labels": labels, "predictions": predictions}.items():
        if numbers.dtype.kind not in "biuf":
            raise DtypeError(
                f"class_report: {name} are {numbers.dtype}, expected numbers of classes; names go to `classes`"
            )
    highest = max(labels.max(initial=0), predictions.max(initial=0))
    names = [str(number) for number in range(highest + 1)] if classes is None else [str(name) for name in classes]
    confusion = confusion_counts(labels, predictions, len(names))
    right = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        precision, recall = right / confusion.sum(0), right / confusion.sum(1)
        f1 = 2 * right / (confusion.sum(0) + confusion.sum(1))
    return ClassReport(confusion, precision, recall, f1, names, float(right.sum() / confusion.sum()))
