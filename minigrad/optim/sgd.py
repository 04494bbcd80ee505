"""Stochastic gradient descent, with or without momentum."""

from collections.abc import Iterable
from typing import Any

from ..errors import ValidationError
from ..ops import optimizer as kernels
from ..tensors import Tensor
from .optimizer import Optimizer, ParamBatch, at_least_zero


class SGD(Optimizer):
    """Step against the gradient, or against its running sum.

    params         tensors, or dicts of groups
    lr             0 or more             length of a step, in units of the gradient
    momentum       0 or more, often 0.9  share of the last step that goes on
    dampening      a number              share of the gradient that is left out of the running sum
    weight_decay   0 or more             pull towards 0, in units of the parameter, added to the gradient
    nesterov       True or False         look ahead along the running sum; needs momentum, and no dampening
    maximize       True or False         climb instead

    d = gradient + weight_decay * w;  m = momentum * m + (1 - dampening) * d, at first m = d;  w = w - lr * m

    Raises   ValidationError   a setting out of its range, no parameters, or one twice
             DtypeError        the parameters are not float tensors
             GraphError        a parameter is the result of an operation
    Source   Polyak 1964; Sutskever et al. 2013, section 2; in the order of PyTorch, where lr multiplies m
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
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings out of their range."""
        at_least_zero("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValidationError(
                f"SGD: nesterov=True with momentum={group['momentum']} and dampening="
                f"{group['dampening']}; use a momentum above 0, as 0.9, and dampening=0"
            )

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """What the kernels read: lr, decay, sign, and what momentum keeps of the sum and takes of the gradient."""
        first = states[0].get("momentum_buffer") is None
        sign, take = -1.0 if group["maximize"] else 1.0, 1.0 if first else 1 - group["dampening"]
        return [group["lr"], group["weight_decay"], sign, group["momentum"], take, group["nesterov"]]

    def update(self, group: dict[str, Any], bundle: ParamBatch) -> None:
        """Change the parameters of a bundle by one step."""
        if group["momentum"] == 0:
            bundle.run(kernels.sgd_dispatch)
        else:
            bundle.run(kernels.momentum_dispatch, bundle.state("momentum_buffer"))
