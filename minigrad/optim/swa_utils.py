"""Averages of a model's weights over the steps of training."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from ..checks import number_in_range
from ..nn import Module
from ..tape import no_grad
from ..tensors import Tensor, tensor

__all__ = ["AveragedModel", "get_ema_avg_fn", "get_swa_avg_fn", "update_bn"]
__dir__ = __all__.copy

Average = Callable[[Tensor, Tensor, int], Tensor]


def get_swa_avg_fn() -> Average:
    """Return the function of (average, new, count) that gives all models the same weight.

    Source   P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018, equation 1
    """
    return lambda average, new, count: average + (new - average) / (count + 1)


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """Return the function of an exponential moving average, of which each step keeps the share `decay`, 0 to 1."""
    number_in_range("get_ema_avg_fn", "decay", decay, 0, 1)
    return lambda average, new, count: average * decay + new * (1 - decay)


class AveragedModel(Module):
    """A copy of a model whose parameters are averages over the calls of update_parameters.

    model         the model to copy
    device        of the copy; that of the model if None
    avg_fn        a function of (average, new, count); equal weights if None, see get_ema_avg_fn
    use_buffers   True: buffers are averaged; False: the last ones are copied

    Example
    >>> import minigrad as mg
    >>> model = mg.nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.5))
    >>> for weight in (0.0, 1.0):
    ...     _ = mg.nn.init.constant_(model.weight, weight)
    ...     averaged.update_parameters(model)
    >>> averaged(mg.ones(1)).item()
    0.5
    """

    def __init__(self, model: Module, device: Any = None, avg_fn: Average | None = None, *, use_buffers: bool = False):
        super().__init__()
        self.module = deepcopy(model) if device is None else deepcopy(model).to(device)
        self.register_buffer("n_averaged", tensor(0))
        self.avg_fn, self.use_buffers = avg_fn or get_swa_avg_fn(), use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Include the present parameters of a model in the average."""
        count = int(self.n_averaged.item())
        pairs = list(zip(self.module.parameters(), model.parameters(), strict=True))
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        for average, new in pairs + buffers * self.use_buffers:
            new = new.detach().to(average.device)
            average.copy_(new if count == 0 else self.avg_fn(average.detach(), new, count))
        for average, new in buffers * (not self.use_buffers):
            average.copy_(new)
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of all batch normalisations again, as means over the batches of a loader."""
    momenta = {layer: layer.momentum for layer in model.modules() if hasattr(layer, "reset_running_stats")}
    for layer in momenta:
        layer.reset_running_stats()
        layer.momentum = None
    was_training = model.training
    model.train()
    for batch in loader:
        images = batch[0] if isinstance(batch, list | tuple) else batch
        model(images if device is None else images.to(device))
    for layer, momentum in momenta.items():
        layer.momentum = momentum
    model.train(was_training)
