"""Adagrad and Adadelta: a step length for each weight, from the squares of its gradients."""

from typing import Any

from ..checks import number_in_range
from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params


class Adagrad(Optimizer):
    """Divide each gradient by the root of the sum of its squares so far.

    lr                         0 or more   length of the first step, in units of the parameter
    lr_decay                   0 or more   step t has the rate lr / (1 + (t - 1) * lr_decay)
    initial_accumulator_value  0 or more   at which the sums start
    eps                        0 or more   added to the root to avoid a division by 0

    The other settings and the errors are those of Optimizer.
    s = s + gradient**2;  w = w - rate * gradient / (sqrt(s) + eps)

    Source   J. Duchi et al., "Adaptive subgradient methods for online learning", 2011
    """

    _not_negative = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def __init__(
        self, params: Params, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, *, maximize: bool = False, **options: Any,
    ):  # fmt: skip
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**settings, "initial_accumulator_value": initial_accumulator_value}, **options)

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        lr, *others = self._first_numbers(group)
        return [lr / (1 + (self._count_step(states) - 1) * group["lr_decay"]), *others, group["eps"]]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        batch.run(kernels.adagrad, batch.state("sum", group["initial_accumulator_value"]))


class Adadelta(Optimizer):
    """Multiply each gradient by the ratio of two running roots: that of the last steps and that of the last gradients.

    lr    0 or more   factor of the step, which has the units of the parameter without it
    rho   0 to 1      share of the running means that is kept at each step
    eps   0 or more   added to both means

    The other settings and the errors are those of Optimizer.

    Source   M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1
    """

    _not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self, params: Params, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, *,
        maximize: bool = False, **options: Any,
    ):  # fmt: skip
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, **options)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        number_in_range("Adadelta", "rho", group["rho"], 0, 1)

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        self._count_step(states)
        return [*self._first_numbers(group), group["rho"], 1 - group["rho"], group["eps"]]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        batch.run(kernels.adadelta, batch.state("square_avg"), batch.state("acc_delta"))
