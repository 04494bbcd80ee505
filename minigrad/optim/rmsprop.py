"""RMSprop: a step length for each weight, from a running mean of its squared gradients."""

from typing import Any

from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params, is_nonzero


class RMSprop(Optimizer):
    """Divide each gradient by the root of a running mean of its squares.

    lr         0 or more      length of a step, in units of the parameter
    alpha      0 or more      share of the running mean that is kept at each step
    eps        0 or more      added to the root to avoid a division by 0
    momentum   0 or more      share of the running sum of steps that is kept at each step
    centered   True or False  divide by the running standard deviation instead

    The other settings and the errors are those of Optimizer.

    Source   G. Hinton, "Neural networks for machine learning", lecture 6e, 2012; centered: A. Graves, "Generating
             sequences with recurrent neural networks", 2013, equations 38-45, with eps outside the root as in PyTorch
    """

    _not_negative = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, *, maximize: bool = False, **options: Any,
    ):  # fmt: skip
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**settings, "weight_decay": weight_decay, "maximize": maximize}, **options)

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        self._count_step(states)
        alpha = group["alpha"]
        return [*self._first_numbers(group), alpha, 1 - alpha, group["eps"], group["momentum"]]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        centered, has_momentum = bool(group["centered"]), is_nonzero(group, "momentum")
        names = ["square_avg", *["grad_avg"] * centered, *["momentum_buffer"] * has_momentum]
        batch.run(kernels.rmsprop[has_momentum, centered], *map(batch.state, names))
