"""Schedules of the learning rate: each step() makes the next rate of the rate in force, as PyTorch's do.

So the factors of two schedules on one optimiser multiply, and a rate set by hand is what the next step goes on from.
Where nobody else changes the rate, it follows the closed formula in each schedule's docstring, of t, the number of
calls of step().  OneCycleLR alone sets its rate whatever it was before.
"""

import math
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..errors import DtypeError, StateError, ValidationError
from ..runtime.threads import local
from .optimizer import Optimizer, at_least_zero


class LRScheduler:
    """The base of all schedules: a subclass gives get_lr().

    optimizer    its groups' learning rates, kept as "initial_lr", are the base; step() changes "lr"
    last_epoch   -1 to begin; the last t to go on from, when the groups have their "initial_lr" and "lr" already

    get_lr() may read `self.last_epoch`, which is t, `self.base_lrs`, and the rates in force, as
    `group["lr"] for group in self.optimizer.param_groups`.

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

    _is_initial = False  # while the constructor sets the first rate
    _is_stepping = False

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
        self._is_initial = True
        self.step()
        del self._is_initial

    def get_lr(self) -> list[float]:
        """The next learning rate of every group, for step() to set; get_last_lr() gives the one in force."""
        raise NotImplementedError(f"{type(self).__name__}: define get_lr()")

    def get_last_lr(self) -> list[float]:
        """The learning rate of every group, as last set here."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rate; to be called after the optimiser's step.

        epoch   for old scripts: set the rate of t = epoch instead, by the closed formula where there is one

        Raises   StateError   a group was added to the optimiser, and the schedule needs its base rate
                 GraphError   called inside a function that mg.graph records
        """
        local.observer.refuse("a step of a schedule", "call it after the recorded function")
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else epoch
        formula = self.get_lr if epoch is None else getattr(self, "_get_closed_form_lr", self.get_lr)
        self._is_stepping = True
        try:
            self._set(formula())
        except BaseException:
            self.last_epoch = before
            raise
        finally:
            del self._is_stepping

    def _set(self, rates: list[float]) -> None:
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise StateError(
                f"{type(self).__name__}: {len(rates)} rates at t = {self.last_epoch} for {len(groups)} parameter "
                "groups; a group added after the schedule was made has no base rate: make the schedule after it"
            )
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = list(rates)

    def _rates(self) -> list[float]:
        """The learning rates in force, for a get_lr() that goes on from them."""
        if not self._is_stepping:
            warnings.warn(
                f"{type(self).__name__}: get_lr() outside step() is not the rate in force; use get_last_lr()",
                stacklevel=3,
            )
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, as plain numbers, strings, lists and dicts."""
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
        """The next learning rate of every group."""
        rates = self._rates()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return rates
        return [lr * self.gamma for lr in rates]

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiply the rate by gamma at every milestone: base * gamma ** (number of milestones <= t).

    milestones   steps, in any order; one given twice counts twice
    gamma        0 or more

    Raises   ValidationError   gamma is below 0, or a milestone no whole number
    Example
    >>> import minigrad as mg
    >>> from minigrad.optim import SGD
    >>> scheduler = MultiStepLR(SGD([mg.tensor([1.0])], lr=1.0), milestones=[1, 3], gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        at_least_zero("MultiStepLR", {"gamma": gamma}, "gamma")
        steps = list(milestones)
        if any(step != int(step) for step in steps):
            raise ValidationError(f"MultiStepLR: milestones are {steps}; use whole numbers of steps")
        self.milestones, self.gamma = Counter(map(int, steps)), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The next learning rate of every group."""
        return [lr * self.gamma ** self.milestones[self.last_epoch] for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[float]:
        reached = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**reached for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict; the optimiser's own brings the learning rate."""
        super().load_state_dict(state_dict)
        self.milestones = Counter(self.milestones)  # a file gives a dict


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
        """The next learning rate of every group."""
        return [lr if self._is_initial else lr * self.gamma for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[float]:
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
        if not T_max >= 1:
            raise ValidationError(f"CosineAnnealingLR: T_max is {T_max}; use a number from 1 upwards")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The next learning rate of every group."""
        rates, before = self._rates(), self.last_epoch - 1
        if self._is_initial:
            return rates
        if (before - self.T_max) % (2 * self.T_max) == 0:  # at eta_min, which says nothing about the base
            rise = 1 - math.cos(math.pi / self.T_max)
            return [lr + (base - self.eta_min) * rise / 2 for base, lr in zip(self.base_lrs, rates, strict=False)]
        factor = self._height(self.last_epoch) / self._height(before)
        return [factor * (lr - self.eta_min) + self.eta_min for lr in rates]

    def _height(self, t: float) -> float:
        """How high the wave is at t, from 2 to 0."""
        return 1 + math.cos(math.pi * t / self.T_max)

    def _get_closed_form_lr(self) -> list[float]:
        height = self._height(self.last_epoch)
        return [self.eta_min + (base - self.eta_min) * height / 2 for base in self.base_lrs]


class LinearLR(LRScheduler):
    """Change the rate in a straight line, from base * start_factor to base * end_factor, and then no more.

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
        """The next learning rate of every group."""
        rates, slope = self._rates(), self.end_factor - self.start_factor
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in rates]
        if self._is_initial or self.last_epoch > self.total_iters:
            return rates
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * slope
        return [lr * (1.0 + slope / before) for lr in rates]

    def _get_closed_form_lr(self) -> list[float]:
        rise = (self.end_factor - self.start_factor) * min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * (self.start_factor + rise) for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """One climb of the rate to max_lr and a long descent, while momentum goes the other way; step() after every batch.

    max_lr                  above 0, or one for each group
    total_steps             1 or more      batches of the whole training; or else
    epochs, steps_per_epoch                their product
    pct_start               0 to 1         share of the climb
    anneal_strategy         'cos', 'linear'
    cycle_momentum          True or False  lower momentum, or Adam's first beta, while the rate is high
    base_momentum           0 to below 1   at max_lr, or one for each group
    max_momentum            0 to below 1   at both ends, or one for each group
    div_factor              above 0        the first rate is max_lr / div_factor
    final_div_factor        above 0        the last is the first / final_div_factor
    three_phase             True or False  descend to the first rate as fast as it climbed, and then on to the last

    The ends of each group's way are kept in the group, as "initial_lr", "max_lr", "min_lr", "base_momentum" and
    "max_momentum", and so in the optimiser's state_dict.

    Raises   ValidationError   a setting out of its range, or a step after the last
             StateError        a group was added to the optimiser after the schedule was made
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
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        groups = _optimizer(self, optimizer).param_groups
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        self.pct_start, self.anneal_strategy, self.cycle_momentum = pct_start, anneal_strategy, cycle_momentum
        self.three_phase = three_phase
        self._check(groups)
        ends = {"max_lr": _for_each_group("max_lr", max_lr, groups)}
        if cycle_momentum:
            ends["base_momentum"] = _for_each_group("base_momentum", base_momentum, groups)
            ends["max_momentum"] = _for_each_group("max_momentum", max_momentum, groups)
        if last_epoch == -1:
            for number, group in enumerate(groups):
                group.update({name: values[number] for name, values in ends.items()})
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def _check(self, groups: list[dict[str, Any]]) -> None:
        if not 0 <= self.pct_start <= 1:
            raise ValidationError(f"OneCycleLR: pct_start is {self.pct_start}; use a share from 0 to 1")
        if self.anneal_strategy not in ANNEAL:
            raise ValidationError(f"OneCycleLR: anneal_strategy is {self.anneal_strategy!r}; use 'cos' or 'linear'")
        if self.cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            raise ValidationError("OneCycleLR: the optimiser has neither momentum nor betas; use cycle_momentum=False")

    def get_lr(self) -> list[float]:
        """The learning rate of every group at t = self.last_epoch.

        Raises   ValidationError   t is above total_steps
        """
        if self.last_epoch > self.total_steps:
            raise ValidationError(
                f"OneCycleLR: step {self.last_epoch} of {self.total_steps}; "
                "build it with the total_steps of the whole training"
            )
        return self._between("initial_lr", "max_lr", "min_lr")

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rate and momentum; to be called after the optimiser's step.

        epoch   for old scripts: set those of t = epoch instead

        Raises   ValidationError   it was called more than total_steps times
                 StateError        a group was added to the optimiser after the schedule was made
        """
        super().step(epoch)
        if not self.cycle_momentum:
            return
        momenta = self._between("max_momentum", "base_momentum", "max_momentum")
        for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _between(self, first: str, peak: str, last: str) -> list[float]:
        """For every group, the value at t on its way between those that the group keeps under these names."""
        climbed, end = float(self.pct_start * self.total_steps) - 1, self.total_steps - 1
        way = [(climbed, first, peak), (end, peak, last)]
        if self.three_phase:
            way[1:] = (2 * climbed, peak, first), (end, first, last)
        now = next((i for i, (stop, _, _) in enumerate(way) if self.last_epoch <= stop), len(way) - 1)
        stop, a, b = way[now]
        share = _share(self.last_epoch, way[now - 1][0] if now else 0, stop)
        anneal, numbers = ANNEAL[self.anneal_strategy], range(len(self.optimizer.param_groups))
        return [anneal(self._end(number, a), self._end(number, b), share) for number in numbers]

    def _end(self, number: int, name: str) -> float:
        group = self.optimizer.param_groups[number]
        if name not in group:
            raise StateError(
                f"OneCycleLR: parameter group {number} has no {name!r}, as if it was added after the schedule was "
                "made; make the schedule after it, or load the optimiser's state_dict first"
            )
        return group[name]


def _line(start: float, end: float, way: float) -> float:
    return (end - start) * way + start


def _cosine(start: float, end: float, way: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * way) + 1)


ANNEAL = {"cos": _cosine, "linear": _line}


def _share(t: float, start: float, end: float) -> float:
    """How much of the way from start to end is gone at t; all of an empty way."""
    return (t - start) / (end - start) if end > start else 1.0


def _for_each_group(name: str, value: float | list[float], groups: list[dict[str, Any]]) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValidationError(
            f"OneCycleLR: {name} has {len(values)} numbers, the optimiser {len(groups)} "
            "parameter groups; give one for each, or one number"
        )
    return values


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
        if not (hasattr(value, "__index__") and value >= 1):
            raise ValidationError(f"{where}: {name} is {value}; use a whole number from 1 upwards")


def _optimizer(scheduler: LRScheduler, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise DtypeError(
            f"{type(scheduler).__name__}: optimizer is a {type(optimizer).__name__}; give an Optimizer, "
            "as SGD(model.parameters(), lr=0.1)"
        )
    return optimizer
