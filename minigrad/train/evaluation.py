"""Measuring a model on data that it does not learn from, and its answers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..creation import cat
from ..errors import DtypeError, ValidationError
from ..runtime.device import device as Device
from ..tape import no_grad
from ..tensors import Tensor
from .metrics import Metric, accuracy, named, summed


def evaluate(
    model: Any, loader: Iterable[Any], loss: Any = None, metrics: Iterable[Metric] | Mapping[str, Metric] = (accuracy,)
) -> dict[str, float]:
    """Return the mean loss and metrics of a model over all samples, without changing it.

    model     in eval() mode meanwhile; without gradients
    loader    batches (inputs, targets); the model's device gets them
    loss      a function of (outputs, targets), or None
    metrics   functions of (outputs, targets); see minigrad.train.metrics
    returns   {"loss": ..., "accuracy": ...}

    Raises   ValidationError   there are no batches
    Example
    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> model = mg.nn.Flatten()
    >>> evaluate(model, [(mg.tensor([[0.0, 9.0], [9.0, 0.0]]), mg.tensor([1, 1]))], F.cross_entropy)
    {'loss': 4.500123023986816, 'accuracy': 0.5}
    """
    measures = {} if loss is None else {"loss": loss}
    measures |= named(metrics)
    totals, samples = dict.fromkeys(measures, 0.0), 0
    with evaluating(model) as device:
        for batch in loader:
            inputs, targets = split_batch("evaluate", batch, device)
            outputs, N = model(*inputs), len(targets)
            for name, measure in measures.items():
                totals[name] += summed(measure(outputs, targets), N).item()
            samples += N
    if not samples:
        raise ValidationError("evaluate: the loader has no batches; check its data set")
    return {name: total / samples for name, total in totals.items()}


class Predictions(NamedTuple):
    """The outputs of a model for all samples of a loader, and their targets; None if the loader has none."""

    outputs: Tensor
    targets: Tensor | None


def predict(model: Any, loader: Iterable[Any]) -> Predictions:
    """Return the outputs of a model for all samples.

    loader    batches (inputs, targets), or tensors of inputs alone
    returns   outputs (N, ...) and targets (N, ...) or None, on the CPU

    Raises   ValidationError   there are no batches
    Example
    >>> import minigrad as mg
    >>> predict(mg.nn.Flatten(), [mg.ones(2, 1, 2), mg.zeros(1, 1, 2)]).outputs.shape
    (3, 2)
    """
    outputs, targets = [], []
    with evaluating(model) as device:
        for batch in loader:
            if isinstance(batch, Tensor):
                outputs.append(model(batch.to(device)).cpu())
            else:
                inputs, truth = split_batch("predict", batch, device)
                outputs.append(model(*inputs).cpu())
                targets.append(truth.cpu())
    if not outputs:
        raise ValidationError("predict: the loader has no batches; check its data set")
    return Predictions(cat(outputs), cat(targets) if targets else None)


@contextmanager
def evaluating(model: Any) -> Iterator[Device]:
    """Inside, every part of the model is in eval() mode and nothing is recorded; yield the model's device."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield device_of(model)
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: Any) -> Device:
    """The device of a model's first parameter; 'cpu' if it has none."""
    return Device(next((parameter.device for parameter in model.parameters()), "cpu"))


def split_batch(where: str, batch: Any, device: Device) -> tuple[list[Tensor], Tensor]:
    """Return the inputs and the targets of a batch, on a device.

    Raises   DtypeError   the batch is no tuple or list of tensors, the last of which is the targets
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2 or not all(isinstance(part, Tensor) for part in batch):
        kinds = [type(part).__name__ for part in batch] if isinstance(batch, tuple | list) else type(batch).__name__
        raise DtypeError(
            f"{where}: a batch is {kinds}, expected tensors (inputs, targets); give the DataLoader a collate_fn that "
            "returns them"
        )
    *inputs, targets = [part.to(device) for part in batch]
    return inputs, targets
