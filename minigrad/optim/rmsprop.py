"""RMSprop: a step length for each weight, from a running mean of its squared gradients."""

from typing import Any

from ..ops import optimizer as kernels
from .optimizer import Optimizer, ParamBatch, Params


class RMSprop(Optimizer):
    """Divide each gradient by the root of a running mean of its squares.

    params        tensors, or dicts of groups
    lr            0 or more   length of a step, in units of the parameter
    alpha         0 or more   share of the running mean that is kept at each step
    eps           0 or more   added to the root to avoid a division by 0
    weight_decay  0 or more   share of the parameter that is added to the gradient
    momentum      0 or more   share of the running sum of steps that is kept at each step
    centered      bool        divide by the running standard deviation instead
    maximize      bool        step along the gradient
    options       see Optimizer

    Raises   ValidationError   a setting is out of its range, there are no parameters, or one appears twice
             DtypeError        the parameters are not float tensors
    Source   G. Hinton, "Neural networks for machine learning", lecture 6e, 2012; centered: A. Graves, "Generating
             sequences with recurrent neural networks", 2013, equations 38-45, with eps outside the root as in PyTorch
    Example
    >>> import minigrad as mg
    >>> w = mg.tensor([3.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RMSprop([w], lr=0.1, alpha=0.75).step()
    >>> w
    tensor([2.8], requires_grad=True)
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**settings, "weight_decay": weight_decay, "maximize": maximize}, **options)

    def check(self, group: dict[str, Any]) -> None:
        """Check the settings of a group."""
        self._check_not_negative(group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """Return the numbers of the formula."""
        self._count_step(states)
        lr, alpha, sign = group["lr"], group["alpha"], -1.0 if group["maximize"] else 1.0
        return [lr, group["weight_decay"], sign, alpha, 1 - alpha, group["eps"], group["momentum"]]

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        """Change a batch of parameters by one step."""
        names = ["square_avg"]
        names += ["grad_avg"] if group["centered"] else []
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        dispatch = kernels.rmsprop[group["momentum"] > 0, bool(group["centered"])]
        batch.run(dispatch, *[batch.state(name) for name in names])
