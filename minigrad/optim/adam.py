"""Adam and AdamW: every weight has a step length of its own."""

from collections.abc import Iterable
from typing import Any

from ..errors import ValidationError
from ..ops import optimizer as kernels
from ..tensors import Tensor
from .optimizer import Optimizer, ParamBatch, at_least_zero


class Adam(Optimizer):
    """Step along the mean gradient, divided by the root of the mean squared gradient.

    params         tensors, or dicts of groups
    lr             0 or more        length of a step, in units of the parameter
    betas          from 0, below 1  what the running means of the gradient and of its square keep at each step
    eps            0 or more        added to the root, against division by 0
    weight_decay   0 or more        pull towards 0, added to the gradient
    amsgrad        True or False    divide by the largest mean square so far, so that steps never grow
    maximize       True or False    climb instead

    Raises   ValidationError   a setting out of its range, no parameters, or one twice
             DtypeError        the parameters are not float tensors
             GraphError        a parameter is the result of an operation
    Source   Kingma & Ba 2015, algorithm 1; amsgrad: Reddi et al. 2018, algorithm 2
    Example
    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.9, -1.9], requires_grad=True)
    """

    decoupled = False  # whether weight decay shrinks the weights, instead of joining their gradient

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings out of their range."""
        at_least_zero(self._name, group, "lr", "eps", "weight_decay")
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValidationError(f"{self._name}: betas are {group['betas']}; use two numbers from 0 to below 1")

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """What the kernel reads: what the means keep and take, the corrections of their start at 0, and the decays."""
        step = states[0].get("step", 0) + 1
        for state in states:
            state["step"] = step
        lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
        rate, root = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
        shrink, decay = (1 - lr * decay, 0.0) if self.decoupled else (1.0, decay)
        sign = -1.0 if group["maximize"] else 1.0
        return [beta1, 1 - beta1, beta2, 1 - beta2, rate, root, group["eps"], shrink, decay, sign, group["amsgrad"]]

    def update(self, group: dict[str, Any], bundle: ParamBatch) -> None:
        """Change the parameters of a bundle by one step."""
        means, squares = bundle.state("exp_avg"), bundle.state("exp_avg_sq")
        largest = bundle.state("max_exp_avg_sq") if group["amsgrad"] else squares
        bundle.run(kernels.adam_dispatch, means, squares, largest)


class AdamW(Adam):
    """Adam whose weight decay shrinks every weight by lr * weight_decay, whatever its gradients were.

    Settings and errors are Adam's, weight_decay is 0.01 if left out.

    Source   Loshchilov & Hutter 2019, algorithm 2
    Example
    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.85, -1.8 ], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
