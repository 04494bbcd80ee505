"""Stochastic gradient descent, with or without momentum."""

from typing import Any

from ..errors import ValidationError
from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params, is_nonzero


class SGD(Optimizer):
    """Step against the gradient, or against its running sum.

    lr          0 or more             factor of the step
    momentum    0 or more, often 0.9  share of the running sum that is kept at each step
    dampening   a number              share of the gradient that is not added to the running sum
    nesterov    True or False         look ahead along the running sum; needs momentum, and no dampening

    The other settings and the errors are those of Optimizer.
    d = gradient + weight_decay * w;  m = momentum * m + (1 - dampening) * d, at first m = d;  w = w - lr * m

    Source   Polyak 1964; Sutskever et al. 2013, section 2; lr multiplies m, as in PyTorch
    Example
    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w
    tensor([ 0.46, -0.92], requires_grad=True)
    """

    _not_negative = ("lr", "momentum", "weight_decay")

    def __init__(
        self, params: Params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False, **options: Any,
    ):  # fmt: skip
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov, "maximize": maximize}, **options)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValidationError(
                f"SGD: nesterov=True with momentum={group['momentum']} and dampening={group['dampening']}; "
                "use a momentum above 0, as 0.9, and dampening=0"
            )

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        first = states[0].get("momentum_buffer") is None
        return [*self._first_numbers(group), group["momentum"], 1.0 if first else 1 - group["dampening"]]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        if is_nonzero(group, "momentum"):
            batch.run(kernels.nesterov if group["nesterov"] else kernels.momentum, batch.state("momentum_buffer"))
        else:
            batch.run(kernels.sgd)
