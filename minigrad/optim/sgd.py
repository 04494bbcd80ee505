"""Stochastic gradient descent, with or without momentum."""

from typing import Any

from ..errors import ValidationError
from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params


class SGD(Optimizer):
    """Step against the gradient, or against its running sum.

    params         tensors, or dicts of groups
    lr             0 or more             factor of the step
    momentum       0 or more, often 0.9  share of the running sum that is kept at each step
    dampening      a number              share of the gradient that is not added to the running sum
    weight_decay   0 or more             share of the parameter that is added to the gradient
    nesterov       True or False         look ahead along the running sum; needs momentum, and no dampening
    maximize       True or False         step along the gradient
    options        foreach, fused, ...   see Optimizer

    d = gradient + weight_decay * w;  m = momentum * m + (1 - dampening) * d, at first m = d;  w = w - lr * m

    Raises   ValidationError   a setting is out of its range, there are no parameters, or one appears twice
             DtypeError        the parameters are not float tensors
             GraphError        a parameter is the result of an operation
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

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov, "maximize": maximize}, **options)

    def check(self, group: dict[str, Any]) -> None:
        """Check the settings of a group."""
        self._check_not_negative(group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValidationError(
                f"SGD: nesterov=True with momentum={group['momentum']} and dampening={group['dampening']}; "
                "use a momentum above 0, as 0.9, and dampening=0"
            )

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """Return lr, weight decay, sign, and the shares of the running sum and of the gradient."""
        first = states[0].get("momentum_buffer") is None
        sign, take = -1.0 if group["maximize"] else 1.0, 1.0 if first else 1 - group["dampening"]
        return [group["lr"], group["weight_decay"], sign, group["momentum"], take]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        """Change a batch of parameters by one step."""
        if group["momentum"] == 0:
            batch.run(kernels.sgd)
        else:
            batch.run(kernels.nesterov if group["nesterov"] else kernels.momentum, batch.state("momentum_buffer"))
