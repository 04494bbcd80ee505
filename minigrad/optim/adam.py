"""Adam and AdamW: gradient descent with a step length for each weight."""

from typing import Any

from ..errors import ValidationError
from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params


class Adam(Optimizer):
    """Step against the mean gradient, divided by the root of the mean squared gradient.

    lr        0 or more        length of a step, in units of the parameter
    betas     from 0, below 1  shares of the running means of the gradient and of its square kept at each step
    eps       0 or more        added to the root to avoid a division by 0
    amsgrad   True or False    divide by the root of the largest mean square so far

    The other settings and the errors are those of Optimizer.

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

    _not_negative = ("lr", "eps", "weight_decay")
    decoupled = False  # whether weight decay shrinks the weights instead of changing their gradients

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False, **options: Any,
    ):  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "amsgrad": amsgrad, "maximize": maximize}, **options)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValidationError(f"{self._name}: betas are {group['betas']}; use two numbers from 0 to below 1")

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """Return the numbers of the formula, with the corrections of the means for their start at 0."""
        step = self._count_step(states)
        lr, decay, sign = self._first_numbers(group)
        beta1, beta2 = group["betas"]
        rate, root = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
        shrink, decay = (1 - lr * decay, 0.0) if self.decoupled else (1.0, decay)
        return [rate, decay, sign, beta1, 1 - beta1, beta2, 1 - beta2, root, group["eps"], shrink]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        names = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * bool(group["amsgrad"])]
        batch.run(kernels.amsgrad if group["amsgrad"] else kernels.adam, *map(batch.state, names))


class AdamW(Adam):
    """Adam whose weight decay shrinks every weight by the factor 1 - lr * weight_decay, whatever its gradients are.

    The settings and errors are those of Adam, but the default of weight_decay is 0.01.

    Source   Loshchilov & Hutter 2019, algorithm 2
    """

    decoupled = True

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, **options: Any,
    ):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **options)
