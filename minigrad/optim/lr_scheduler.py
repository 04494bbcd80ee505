"""Learning-rate schedules.  Each step() computes the next rate from the current rate, as PyTorch's schedules do.

Therefore the factors of two schedules on one optimiser multiply, and the next step continues from a rate set by hand.
If nothing else changes the rate, it follows the closed formula in the docstring of each schedule, where t is the number
of calls of step().  OneCycleLR is the exception: it ignores the current rate.
"""

import math
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ..checks import number_in_range, type_with_article, whole_number
from ..errors import DtypeError, StateError, ValidationError
from ..runtime.threads import local
from .optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LinearLR", "MultiStepLR", "OneCycleLR", "StepLR"]
__dir__ = __all__.copy


class LRScheduler:
    """The base of all schedules.  A subclass defines get_lr().

    optimizer    step() changes "lr" of its parameter groups; the first rates are kept there as "initial_lr"
    last_epoch   -1 for a new schedule; the last t of a schedule to continue, whose groups have "initial_lr" and "lr"

    get_lr() may read `self.last_epoch`, which is t, `self.base_lrs`, and the current rates, as
    `group["lr"] for group in self.optimizer.param_groups`.

    Raises   DtypeError   optimizer is not an Optimizer
             StateError   last_epoch is given, but a group has no "initial_lr"
    Example
    >>> import minigrad as mg
    >>> class Halving(LRScheduler):
    ...     def get_lr(self):
    ...         return [base / 2**self.last_epoch for base in self.base_lrs]
    >>> scheduler = Halving(mg.optim.SGD([mg.tensor([1.0])], lr=0.8))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.4]
    """

    _is_initial = False  # True while the constructor sets the first rate
    _is_stepping = False  # True while step() calls get_lr()

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self._check_optimizer(optimizer)
        self.optimizer = optimizer
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
        """Return the next learning rate of every group; get_last_lr() returns the current one."""
        raise NotImplementedError(f"{type(self).__name__}: define get_lr()")

    def _get_closed_form_lr(self) -> list[float]:
        """Return the learning rate of every group at t by the closed formula, if there is one."""
        return self.get_lr()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of every group that this schedule set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rate.  Call it after the optimiser's step.

        epoch   a value of t to jump to, for old scripts; the rate follows the closed formula

        Raises   StateError   a group was added to the optimiser after the schedule, which needs its base rate
                 GraphError   mg.graph is recording
        """
        local.observer.refuse("a step of a schedule", "call it after the recorded function")
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else epoch
        self._is_stepping = True
        try:
            self._set_rates(self.get_lr() if epoch is None else self._get_closed_form_lr())
        except BaseException:
            self.last_epoch = before
            raise
        finally:
            del self._is_stepping

    def _set_rates(self, rates: list[float]) -> None:
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise StateError(
                f"{type(self).__name__}: {len(rates)} rates at t = {self.last_epoch} for {len(groups)} parameter "
                "groups; a group was added after the schedule was made: make the schedule after all groups"
            )
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = list(rates)

    def _current_rates(self) -> list[float]:
        """Return the learning rates from which get_lr() computes the next ones."""
        if not self._is_stepping:
            warnings.warn(
                f"{type(self).__name__}: get_lr() outside step() does not return the current rate; use get_last_lr()",
                stacklevel=3,
            )
        return [group["lr"] for group in self.optimizer.param_groups]

    def _check_optimizer(self, optimizer: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DtypeError(
                f"{type(self).__name__}: optimizer is {type_with_article(optimizer)}; give an Optimizer, "
                "as SGD(model.parameters(), lr=0.1)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state except the optimiser, as plain numbers, strings, lists and dicts."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state_dict; load the optimiser's state_dict as well, which has the learning rate."""
        self.__dict__.update(state_dict)


class _FactorLR(LRScheduler):
    """A schedule whose step to t multiplies all rates by _factor(t); _total_factor(t) is the product of all factors."""

    _factor: Callable[[int], float]
    _total_factor: Callable[[int], float]

    def get_lr(self) -> list[float]:
        factor = self._factor(self.last_epoch)
        return [lr * factor for lr in self._current_rates()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self._total_factor(self.last_epoch) for base in self.base_lrs]


class StepLR(_FactorLR):
    """Multiply the rate by gamma every step_size steps: base * gamma ** (t // step_size).

    step_size   1 or more
    gamma       0 or more

    Raises   ValidationError   a setting is out of its range
    Example
    >>> import minigrad as mg
    >>> scheduler = StepLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), step_size=2, gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        number_in_range("StepLR", "gamma", gamma, 0)
        self.step_size, self.gamma = whole_number("StepLR", "step_size", step_size, least=1), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        return self.gamma if t and t % self.step_size == 0 else 1

    def _total_factor(self, t: int) -> float:
        return self.gamma ** (t // self.step_size)


class MultiStepLR(_FactorLR):
    """Multiply the rate by gamma at every milestone: base * gamma ** (number of milestones <= t).

    milestones   values of t, in any order; a value given twice counts twice
    gamma        0 or more

    Raises   ValidationError   gamma is below 0, or a milestone is not a whole number
    Example
    >>> import minigrad as mg
    >>> scheduler = MultiStepLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), milestones=[1, 3], gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        number_in_range("MultiStepLR", "gamma", gamma, 0)
        steps: list[Any] = [int(step) if isinstance(step, float) and step % 1 == 0 else step for step in milestones]
        self.milestones = Counter(whole_number("MultiStepLR", "a milestone", step) for step in steps)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        return self.gamma ** self.milestones[t]

    def _total_factor(self, t: int) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones.elements()), t)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.milestones = Counter(self.milestones)  # load() returns a dict


class ExponentialLR(_FactorLR):
    """Multiply the rate by gamma at every step: base * gamma ** t.

    gamma   0 or more

    Raises   ValidationError   gamma is below 0
    Example
    >>> import minigrad as mg
    >>> scheduler = ExponentialLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), gamma=0.5)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(3)]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        number_in_range("ExponentialLR", "gamma", gamma, 0)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        return 1 if self._is_initial else self.gamma

    def _total_factor(self, t: int) -> float:
        return self.gamma**t


class CosineAnnealingLR(LRScheduler):
    """Lower the rate along half a cosine wave: eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2.

    T_max     1 or more   steps from the base rate to eta_min; afterwards the rate rises again
    eta_min   a number    the lowest rate

    Raises   ValidationError   T_max is below 1
    Source   Loshchilov & Hutter 2017, equation 5, without restarts
    Example
    >>> import minigrad as mg
    >>> scheduler = CosineAnnealingLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), T_max=2)
    >>> [round(scheduler.step() or scheduler.get_last_lr()[0], 6) for _ in range(3)]
    [0.5, 0.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        number_in_range("CosineAnnealingLR", "T_max", T_max, 1)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates, before = self._current_rates(), self.last_epoch - 1
        if self._is_initial:
            return rates
        if (before - self.T_max) % (2 * self.T_max) == 0:  # the rate is eta_min, from which no factor leads up
            rise = 1 - math.cos(math.pi / self.T_max)
            return [lr + (base - self.eta_min) * rise / 2 for base, lr in zip(self.base_lrs, rates, strict=False)]
        factor = self._height(self.last_epoch) / self._height(before)
        return [factor * (lr - self.eta_min) + self.eta_min for lr in rates]

    def _height(self, t: float) -> float:
        """Return the height of the wave at t, from 2 to 0."""
        return 1 + math.cos(math.pi * t / self.T_max)

    def _get_closed_form_lr(self) -> list[float]:
        height = self._height(self.last_epoch)
        return [self.eta_min + (base - self.eta_min) * height / 2 for base in self.base_lrs]


class LinearLR(_FactorLR):
    """Change the rate linearly from base * start_factor to base * end_factor in total_iters steps, and then keep it.

    start_factor   above 0, at most 1
    end_factor     0 to 1
    total_iters    1 or more   number of steps

    Raises   ValidationError   a setting is out of its range
    Example
    >>> import minigrad as mg
    >>> scheduler = LinearLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), start_factor=0.5, total_iters=2)
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
        self.total_iters = whole_number("LinearLR", "total_iters", total_iters, least=1)
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValidationError(
                f"LinearLR: start_factor is {start_factor} and end_factor is {end_factor}; "
                "use a start_factor above 0, and at most 1 for both"
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        slope = self.end_factor - self.start_factor
        if t == 0:
            return self.start_factor
        if self._is_initial or t > self.total_iters:
            return 1
        return 1.0 + slope / (self.total_iters * self.start_factor + (t - 1) * slope)

    def _total_factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(self.total_iters, t) / self.total_iters


class OneCycleLR(LRScheduler):
    """Raise the rate to max_lr and then lower it, while momentum changes the other way.  Call step() after every batch.

    max_lr                  above 0, or one for each group
    total_steps             1 or more      batches of the whole training; or give the next two
    epochs, steps_per_epoch 1 or more      whose product is total_steps
    pct_start               0 to 1         share of the steps in which the rate rises
    anneal_strategy         'cos', 'linear'
    cycle_momentum          True or False  lower momentum, or Adam's first beta, while the rate is high
    base_momentum           0 to below 1   at max_lr, or one for each group
    max_momentum            0 to below 1   at both ends, or one for each group
    div_factor              above 0        the first rate is max_lr / div_factor
    final_div_factor        above 0        the last rate is the first rate / final_div_factor
    three_phase             True or False  return to the first rate in as many steps as the rise, then fall to the last

    The parameter groups, and therefore the optimiser's state_dict, keep the end points as "initial_lr", "max_lr",
    "min_lr", "base_momentum" and "max_momentum".

    Raises   ValidationError   a setting is out of its range, or step() is called after the last step
             StateError        a group was added to the optimiser after the schedule was made
    Source   Smith & Topin 2018, section 3
    Example
    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0])], lr=1.0, momentum=0.9)
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
        self._check_optimizer(optimizer)
        groups = optimizer.param_groups
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        self.pct_start, self.anneal_strategy, self.cycle_momentum = pct_start, anneal_strategy, cycle_momentum
        self.three_phase = three_phase
        self._check_settings(groups)
        ends = {"max_lr": _one_per_group("max_lr", max_lr, groups)}
        if cycle_momentum:
            ends["base_momentum"] = _one_per_group("base_momentum", base_momentum, groups)
            ends["max_momentum"] = _one_per_group("max_momentum", max_momentum, groups)
        if last_epoch == -1:
            for number, group in enumerate(groups):
                group.update({name: values[number] for name, values in ends.items()})
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def _check_settings(self, groups: list[dict[str, Any]]) -> None:
        number_in_range("OneCycleLR", "pct_start", self.pct_start, 0, 1)
        if self.anneal_strategy not in ANNEAL:
            raise ValidationError(f"OneCycleLR: anneal_strategy is {self.anneal_strategy!r}; use 'cos' or 'linear'")
        if self.cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            raise ValidationError("OneCycleLR: the optimiser has neither momentum nor betas; use cycle_momentum=False")

    def get_lr(self) -> list[float]:
        """Return the learning rate of every group at t = last_epoch.

        Raises   ValidationError   t is above total_steps
        """
        if self.last_epoch > self.total_steps:
            raise ValidationError(
                f"OneCycleLR: step {self.last_epoch} of {self.total_steps}; "
                "build it with the total_steps of the whole training"
            )
        return self._interpolate("initial_lr", "max_lr", "min_lr")

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rate and momentum.  Call it after the optimiser's step.

        epoch   a value of t to jump to, for old scripts

        Raises   ValidationError   it is called more than total_steps times
                 StateError        a group was added to the optimiser after the schedule was made
        """
        super().step(epoch)
        if not self.cycle_momentum:
            return
        momenta = self._interpolate("max_momentum", "base_momentum", "max_momentum")
        for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _interpolate(self, first: str, peak: str, last: str) -> list[float]:
        """Return a setting of every group at t, between the end points that the group keeps under these names."""
        rise_end, end = float(self.pct_start * self.total_steps) - 1, self.total_steps - 1
        phases = [(rise_end, first, peak), (end, peak, last)]
        if self.three_phase:
            phases[1:] = (2 * rise_end, peak, first), (end, first, last)
        now = next((i for i, (stop, _, _) in enumerate(phases) if self.last_epoch <= stop), len(phases) - 1)
        stop, a, b = phases[now]
        start = phases[now - 1][0] if now else 0
        share = (self.last_epoch - start) / (stop - start) if stop > start else 1.0
        anneal, numbers = ANNEAL[self.anneal_strategy], range(len(self.optimizer.param_groups))
        return [anneal(self._end_point(number, a), self._end_point(number, b), share) for number in numbers]

    def _end_point(self, number: int, name: str) -> float:
        group = self.optimizer.param_groups[number]
        if name not in group:
            raise StateError(
                f"OneCycleLR: parameter group {number} has no {name!r}, perhaps because it was added after the "
                "schedule was made; make the schedule after all groups, or load the optimiser's state_dict first"
            )
        return group[name]


def _anneal_linear(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


def _anneal_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


ANNEAL = {"cos": _anneal_cosine, "linear": _anneal_linear}


def _one_per_group(name: str, value: float | list[float], groups: list[dict[str, Any]]) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValidationError(
            f"OneCycleLR: {name} has {len(values)} numbers, but the optimiser has {len(groups)} "
            "parameter groups; give one number for each, or one for all"
        )
    return values


def _count_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return whole_number("OneCycleLR", "total_steps", total_steps, least=1)
    if epochs is None or steps_per_epoch is None:
        raise ValidationError(
            f"OneCycleLR: total_steps is None, epochs is {epochs} and steps_per_epoch is {steps_per_epoch}; "
            "give total_steps, or both of the others"
        )
    return whole_number("OneCycleLR", "epochs", epochs, least=1) * whole_number(
        "OneCycleLR", "steps_per_epoch", steps_per_epoch, least=1
    )
