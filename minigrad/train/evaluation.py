"""Measuring a model on data that it does not learn from, and its answers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..checks import type_with_article
from ..creation import cat
from ..datasets.preparation import needs_preparation, prepare_images
from ..dtypes import float32
from ..errors import DtypeError, ValidationError
from ..runtime.device import device as Device
from ..tape import no_grad
from ..tensors import Tensor, tensor
from .metrics import Metric, accuracy, named, summed
from .ranks import join


def evaluate(
    model: Any, loader: Iterable[Any], loss: Any = None, metrics: Iterable[Metric] | Mapping[str, Metric] = (accuracy,),
    distributed: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Return the mean loss and metrics of a model over all samples, without changing it.

    model         in eval() mode meanwhile; without gradients
    loader        batches (inputs, targets); the model's device gets them
    loss          a function of (outputs, targets), or None
    metrics       functions of (outputs, targets); see minigrad.train.metrics
    distributed   True: all ranks of an MPI job call this, and each takes a part of every batch
    returns       {"loss": ..., "accuracy": ...}

    Raises   ValidationError   there are no batches
             DeviceError       distributed: no MPI launcher started this program
             RankError         the ranks have other batches
    Example
    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> model = mg.nn.Flatten()
    >>> evaluate(model, [(mg.tensor([[0.0, 9.0], [9.0, 0.0]]), mg.tensor([1, 1]))], F.cross_entropy)
    {'loss': 4.500123023986816, 'accuracy': 0.5}
    """
    measures = {} if loss is None else {"loss": loss}
    measures |= named(metrics)
    ranks, check = join("evaluate", distributed, loader), 0
    totals, samples = dict.fromkeys(measures, 0.0), 0.0
    with evaluating(model) as device:
        for part in ranks.parts(loader, 0):
            inputs, targets = split_batch("evaluate", part.batch, device)
            N, check = len(targets) * (part.share > 0), check ^ part.check
            if N:
                outputs = model(*inputs)
                for name, measure in measures.items():
                    totals[name] += summed(measure(outputs, targets), N).item()
            samples += N
    *sums, samples = ranks.add([*totals.values(), samples], check) if ranks.size > 1 else [*totals.values(), samples]
    if not samples:
        raise ValidationError("evaluate: the loader has no batches; check its data set")
    return {name: total / samples for name, total in zip(totals, sums, strict=True)}


class Predictions(NamedTuple):
    """The outputs of a model, and what they mean.

    outputs       (N, ...)           what the model returns, on the CPU
    targets       (N, ...) or None   the targets of the loader, if it has them
    class_names   K names or None    what the model's file says, see mg.save_model
    """

    outputs: Tensor
    targets: Tensor | None = None
    class_names: list[str] | None = None

    @property
    def labels(self) -> Tensor:
        """The number of the most likely class, (N,)."""
        return self.outputs.argmax(1)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each class, (N, K): softmax of the outputs, which are scores."""
        return self.outputs.softmax(1)

    @property
    def names(self) -> list[str]:
        """The name of the most likely class of each image."""
        labels = self.labels.tolist()
        return [str(label) if self.class_names is None else self.class_names[label] for label in labels]


def predict(model: Any, data: Any) -> Predictions:
    """Return the outputs of a model.

    data      batches (inputs, targets) or of inputs alone, or one tensor of inputs; or, for a model from mg.load_model,
              image files, PIL images or bytes (H, W), (C, H, W) or (N, C, H, W) uint8, one or a list of them, which
              are scaled, cropped and normalised as in its training
    returns   Predictions

    Raises   ValidationError   there are no batches, or the model does not say how images must be prepared
             DataError         an image file is missing or damaged
             DtypeError        the model returns no tensor
    Example
    >>> import minigrad as mg
    >>> predict(mg.nn.Flatten(), [mg.tensor([[1.0, 3.0]]), mg.tensor([[2.0, 0.0]])]).labels
    tensor([1, 0])
    """
    if needs_preparation(data):
        dtype = next((parameter.dtype for parameter in model.parameters()), float32)
        data = [tensor(prepare_images("predict", model, data), dtype=dtype)]
    if isinstance(data, Tensor | np.ndarray):
        data = [data if isinstance(data, Tensor) else tensor(data)]
    outputs, targets = [], []
    with evaluating(model) as device:
        for batch in data:
            if isinstance(batch, list | tuple) and len(batch) == 1:
                (batch,) = batch
            if isinstance(batch, Tensor):
                outputs.append(_one_tensor(model(batch.to(device))))
            else:
                inputs, truth = split_batch("predict", batch, device)
                outputs.append(_one_tensor(model(*inputs)))
                targets.append(truth.cpu())
    if not outputs:
        raise ValidationError("predict: the loader has no batches; check its data set")
    names = getattr(model, "model_info", {}).get("class_names")
    return Predictions(cat(outputs), cat(targets) if targets else None, names)


def _one_tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise DtypeError(
            f"predict: the model returns {type_with_article(output)}, expected one tensor; give a model that returns "
            "the part you need"
        )
    return output.cpu()


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
