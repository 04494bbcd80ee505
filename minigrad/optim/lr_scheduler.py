"""Schedules of the learning rate, each by its closed formula of t, the number of times that step() was called.

Because a schedule sets the rate rather than multiplying it, of two on one optimiser the one that steps last wins.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from ..errors import DtypeError, StateError, ValidationError
from .optimizer import Optimizer, at_least_zero


class LRScheduler:
    """The base of all schedules: a subclass gives get_lr(), from `self.base_lrs` and `self.last_epoch`.

    optimizer    its groups' learning rates, kept as "initial_lr", are the base; step() changes "lr"
    last_epoch   -1 to begin; the last t to go on from, when the groups have their "initial_lr" already

    Raises   DtypeError   not an Optimizer
             StateError   last_epoch is given, but a group has no "initial_lr"
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> class Halving(LRScheduler):
    ...     def get_lr(self):
    ...         return [base / 2**self.last_epoch for base in self.base_lrs]
    >>> scheduler = Halving(SGD([mg.tensor([1.0])], lr=0.8))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.4]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self.optimizer = _optimizer(self, optimizer)
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise StateError(
                    f"{type(self).__name__}: last_epoch={last_epoch}, but parameter group {number} has no "
                    "'initial_lr'; load the optimiser's state_dict first, or leave last_epoch out"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        raise NotImplementedError(f"{type(self).__name__}: define get_lr()")

    def get_last_lr(self) -> list[float]:
        """The learning rate of every group, as last set here."""
        return self._last_lr

    def step(self) -> None:
        """Set the next learning rate; to be called after the optimiser's step."""
        self.last_epoch += 1
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, as plain numbers, strings and lists."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict; the optimiser's own brings the learning rate."""
        self.__dict__.update(state_dict)


class StepLR(LRScheduler):
    """Multiply the rate by gamma every step_size steps: base * gamma ** (t // step_size).

    step_size   1 or more
    gamma       0 or more

    Raises   ValidationError   a setting out of its range
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = StepLR(SGD([mg.tensor([1.0])], lr=1.0), step_size=2, gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        _at_least_one("StepLR", step_size=step_size)
        at_least_zero("StepLR", {"gamma": gamma}, "gamma")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiply the rate by gamma at every milestone: base * gamma ** (number of milestones <= t).

    milestones   steps, in any order
    gamma        0 or more

    Raises   ValidationError   gamma is below 0
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = MultiStepLR(SGD([mg.tensor([1.0])], lr=1.0), milestones=[1, 3], gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        at_least_zero("MultiStepLR", {"gamma": gamma}, "gamma")
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        return [base * self.gamma ** bisect_right(self.milestones, self.last_epoch) for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """Multiply the rate by gamma at every step: base * gamma ** t.

    gamma   0 or more

    Raises   ValidationError   gamma is below 0
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = ExponentialLR(SGD([mg.tensor([1.0])], lr=1.0), gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(3)]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        at_least_zero("ExponentialLR", {"gamma": gamma}, "gamma")
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """Lower the rate along half a cosine wave: eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2.

    T_max     1 or more   steps from the base rate to eta_min; after them it rises again
    eta_min   a rate      the lowest

    Raises   ValidationError   T_max is below 1
    Source   Loshchilov & Hutter 2017, equation 5, without restarts
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = CosineAnnealingLR(SGD([mg.tensor([1.0])], lr=1.0), T_max=2)
    >>> [round(scheduler.step() or scheduler.get_last_lr()[0], 6) for _ in range(3)]
    [0.5, 0.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        _at_least_one("CosineAnnealingLR", T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        return [_cosine(base, self.eta_min, self.last_epoch / self.T_max) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """Change the rate in a straight line, from base * start_factor to base * end_factor, and leave it there.

    start_factor   above 0, at most 1
    end_factor     0 to 1
    total_iters    1 or more   steps of the way

    Raises   ValidationError   a setting out of its range
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = LinearLR(SGD([mg.tensor([1.0])], lr=1.0), start_factor=0.5, total_iters=2)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(3)]
    [0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        _at_least_one("LinearLR", total_iters=total_iters)
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValidationError(
                f"LinearLR: start_factor is {start_factor} and end_factor {end_factor}; "
                "use a start above 0 and both at most 1"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        way = min(self.last_epoch, self.total_iters) / self.total_iters
        return [base * _line(self.start_factor, self.end_factor, way) for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """One climb of the rate to max_lr and a long descent, while momentum goes the other way; step() after every batch.

    max_lr                  above 0, or one for each group
    total_steps             1 or more      batches of the whole training; or else
    epochs, steps_per_epoch                their product
    pct_start               0 to 1         share of the climb
    anneal_strategy         'cos', 'linear'
    cycle_momentum          True or False  lower momentum, or Adam's first beta, while the rate is high
    base_momentum           0 to below 1   at max_lr
    max_momentum            0 to below 1   at both ends
    div_factor              above 0        the first rate is max_lr / div_factor
    final_div_factor        above 0        the last is the first / final_div_factor

    Raises   ValidationError   a setting out of its range, or a step after the last
    Source   Smith & Topin 2018, section 3
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> optimizer = SGD([mg.tensor([1.0])], lr=1.0, momentum=0.9)
    >>> scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear")
    >>> [round(scheduler.step() or scheduler.get_last_lr()[0], 6) for _ in range(4)]
    [0.52, 1.0, 0.500002, 4e-06]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        last_epoch: int = -1,
    ):
        groups = _optimizer(self, optimizer).param_groups
        self.max_lrs = list(max_lr) if isinstance(max_lr, list | tuple) else [max_lr] * len(groups)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        self.pct_start, self.anneal_strategy, self.cycle_momentum = pct_start, anneal_strategy, cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self._check(groups)
        if last_epoch == -1:
            for group, highest in zip(groups, self.max_lrs, strict=True):
                group["initial_lr"] = highest / div_factor
        super().__init__(optimizer, last_epoch)

    def _check(self, groups: list[dict[str, Any]]) -> None:
        if len(self.max_lrs) != len(groups):
            raise ValidationError(
                f"OneCycleLR: max_lr has {len(self.max_lrs)} rates, the optimiser {len(groups)} "
                "parameter groups; give one rate for each, or one number"
            )
        if not 0 <= self.pct_start <= 1:
            raise ValidationError(f"OneCycleLR: pct_start is {self.pct_start}; use a share from 0 to 1")
        if self.anneal_strategy not in ANNEAL:
            raise ValidationError(f"OneCycleLR: anneal_strategy is {self.anneal_strategy!r}; use 'cos' or 'linear'")
        if self.cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            raise ValidationError("OneCycleLR: the optimiser has neither momentum nor betas; use cycle_momentum=False")

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch."""
        return [
            self._cycle(base, highest, base / self.final_div_factor)
            for base, highest in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def step(self) -> None:
        """Set the next learning rate and momentum; to be called after the optimiser's step.

        Raises   ValidationError   it was called more than total_steps times
        """
        if self.last_epoch >= self.total_steps:
            raise ValidationError(
                f"OneCycleLR: step {self.last_epoch + 1} of {self.total_steps}; "
                "build it with the total_steps of the whole training"
            )
        super().step()
        if self.cycle_momentum:
            momentum = self._cycle(self.max_momentum, self.base_momentum, self.max_momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _cycle(self, start: float, peak: float, end: float) -> float:
        """The value at t on its way from start to peak to end."""
        climbed, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if self.last_epoch <= climbed:
            return ANNEAL[self.anneal_strategy](start, peak, _share(self.last_epoch, 0, climbed))
        return ANNEAL[self.anneal_strategy](peak, end, _share(self.last_epoch, climbed, last))


def _line(start: float, end: float, way: float) -> float:
    return start + (end - start) * way


def _cosine(start: float, end: float, way: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2


ANNEAL = {"cos": _cosine, "linear": _line}


def _share(t: float, start: float, end: float) -> float:
    """How much of the way from start to end is gone at t; all of an empty way."""
    return (t - start) / (end - start) if end > start else 1.0


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValidationError(
                f"OneCycleLR: total_steps is None, epochs {epochs} and steps_per_epoch "
                f"{steps_per_epoch}; give total_steps, or both of the others"
            )
        _at_least_one("OneCycleLR", epochs=epochs, steps_per_epoch=steps_per_epoch)
        return epochs * steps_per_epoch
    _at_least_one("OneCycleLR", total_steps=total_steps)
    return total_steps


def _at_least_one(where: str, **settings: int) -> None:
    for name, value in settings.items():
        if not value >= 1:
            raise ValidationError(f"{where}: {name} is {value}; use a whole number from 1 upwards")


def _optimizer(scheduler: LRScheduler, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise DtypeError(
            f"{type(scheduler).__name__}: optimizer is a {type(optimizer).__name__}; give an Optimizer, "
            "as SGD(model.parameters(), lr=0.1)"
        )
    return optimizer
