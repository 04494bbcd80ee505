"""Schedules that raise and lower the rate."""

import math
from collections.abc import Callable
from typing import Any

from ...checks import brief, number_in_range, whole_number
from ...errors import StateError, ValidationError
from ..optimizer import Optimizer
from .base import LRScheduler

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]
__dir__ = __all__.copy


class CosineAnnealingLR(LRScheduler):
    """Lower the rate along half a cosine wave: eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2.

    T_max     1 or more   steps from the base rate to eta_min; afterwards the rate rises again
    eta_min   a number    the lowest rate

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


class CosineAnnealingWarmRestarts(LRScheduler):
    """Lower the rate along half a cosine wave, again and again, each time T_mult times as slowly.

    T_0       1 or more   steps of the first wave
    T_mult    1 or more   factor of the length of the next wave
    eta_min   a number    the lowest rate

    step() takes t itself too, in fractions of an epoch: scheduler.step(epoch + batch / batches).
    Source   Loshchilov & Hutter 2017, equation 5
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_0 = whole_number("CosineAnnealingWarmRestarts", "T_0", T_0, least=1)
        self.T_mult = whole_number("CosineAnnealingWarmRestarts", "T_mult", T_mult, least=1)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        t = self.last_epoch + 1 if epoch is None else epoch
        number_in_range("CosineAnnealingWarmRestarts", "epoch", t, 0)
        self.T_cur, self.T_i = t, self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        super().step(math.floor(t))

    def get_lr(self) -> list[float]:
        self._current_rates()  # for its warning
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class _Cycle(LRScheduler):
    """A schedule that may lower momentum, or Adam's first beta, while the rate rises."""

    cycle_momentum: bool
    _momenta: Callable[[], list[float]]  # of all groups at t

    def _check_momentum(self, groups: list[dict[str, Any]]) -> None:
        if self.cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            where = type(self).__name__
            raise ValidationError(f"{where}: the optimiser has neither momentum nor betas; use cycle_momentum=False")

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        if not self.cycle_momentum:
            return
        for group, momentum in zip(self.optimizer.param_groups, self._momenta(), strict=True):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


class OneCycleLR(_Cycle):
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

    Raises   ValidationError   a setting is out of its range, or step() is called more than total_steps times
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
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ):  # fmt: skip
        self._check_optimizer(optimizer)
        groups = optimizer.param_groups
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        self.pct_start, self.anneal_strategy, self.cycle_momentum = pct_start, anneal_strategy, cycle_momentum
        self.three_phase = three_phase
        number_in_range("OneCycleLR", "pct_start", pct_start, 0, 1)
        if anneal_strategy not in ANNEAL:
            raise ValidationError(f"OneCycleLR: anneal_strategy is {brief(anneal_strategy)}; use 'cos' or 'linear'")
        self._check_momentum(groups)
        ends = {"max_lr": max_lr}
        ends |= {"base_momentum": base_momentum, "max_momentum": max_momentum} if cycle_momentum else {}
        per_group = {name: self._one_per_group(name, value, groups) for name, value in ends.items()}
        if last_epoch == -1:
            for number, group in enumerate(groups):
                group.update({name: values[number] for name, values in per_group.items()})
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValidationError(
                f"OneCycleLR: step {self.last_epoch} of {self.total_steps}; "
                "build it with the total_steps of the whole training"
            )
        return self._interpolate("initial_lr", "max_lr", "min_lr")

    def _momenta(self) -> list[float]:
        return self._interpolate("max_momentum", "base_momentum", "max_momentum")

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


ANNEAL: dict[str, Callable[[float, float, float], float]] = {
    "cos": lambda start, end, share: end + (start - end) / 2 * (math.cos(math.pi * share) + 1),
    "linear": lambda start, end, share: (end - start) * share + start,
}


def _count_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return whole_number("OneCycleLR", "total_steps", total_steps, least=1)
    if epochs is None or steps_per_epoch is None:
        raise ValidationError(
            f"OneCycleLR: total_steps is None, epochs is {epochs} and steps_per_epoch is {steps_per_epoch}; "
            "give total_steps, or both of the others"
        )
    factors = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    return math.prod(whole_number("OneCycleLR", name, value, least=1) for name, value in factors.items())


class CyclicLR(_Cycle):
    """Raise the rate linearly from base_lr to max_lr and lower it again, in cycles.  Call step() after every batch.

    base_lr, max_lr   0 or more, or one for each group
    step_size_up      1 or more   steps of a rise
    step_size_down    1 or more   steps of a fall; step_size_up if None
    mode              'triangular'; 'triangular2' halves each peak; 'exp_range' multiplies it by gamma ** t
    gamma             of 'exp_range'
    scale_fn          in place of mode, a function of the cycle's number (1, 2, ...); for scale_mode 'iterations' of t
    cycle_momentum    lower momentum, or Adam's first beta, from max_momentum to base_momentum while the rate rises

    Source   L. Smith, "Cyclical learning rates for training neural networks", 2017, section 3
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float], step_size_up: int = 2000,
        step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8, max_momentum: float | list[float] = 0.9, last_epoch: int = -1,
    ):  # fmt: skip
        self._check_optimizer(optimizer)
        groups = optimizer.param_groups
        if mode not in SCALES and scale_fn is None:
            raise ValidationError(
                f"CyclicLR: mode is {brief(mode)}; use {', '.join(map(repr, SCALES))}, or give scale_fn"
            )
        if scale_mode not in ("cycle", "iterations"):
            raise ValidationError(f"CyclicLR: scale_mode is {brief(scale_mode)}; use 'cycle' or 'iterations'")
        self.cycle_momentum = cycle_momentum
        self._check_momentum(groups)
        self.up = whole_number("CyclicLR", "step_size_up", step_size_up, least=1)
        self.down = self.up if step_size_down is None else whole_number("CyclicLR", "step_size_down", step_size_down, 1)
        self.mode, self.gamma, self.scale_fn = mode, gamma, scale_fn
        self.by_cycle = scale_mode == "cycle" if scale_fn else mode != "exp_range"
        self.max_lrs = self._one_per_group("max_lr", max_lr, groups)
        self.base_momenta = self._one_per_group("base_momentum", base_momentum, groups)
        self.max_momenta = self._one_per_group("max_momentum", max_momentum, groups)
        if last_epoch == -1:
            for group, rate in zip(groups, self._one_per_group("base_lr", base_lr, groups), strict=True):
                group["lr"] = group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._current_rates()  # for its warning
        return [base + self._rise(top - base) for base, top in zip(self.base_lrs, self.max_lrs, strict=True)]

    def _momenta(self) -> list[float]:
        return [top - self._rise(top - base) for base, top in zip(self.base_momenta, self.max_momenta, strict=True)]

    def _rise(self, height: float) -> float:
        """Return how much of a height is reached at t."""
        length = self.up + self.down
        cycle = math.floor(1 + self.last_epoch / length)
        x = 1.0 + self.last_epoch / length - cycle
        peak = self.up / length
        share = x / peak if x <= peak else (x - 1) / (peak - 1)
        scale = self.scale_fn or (lambda n: SCALES[self.mode](n, self.gamma))
        return height * share * scale(cycle if self.by_cycle else self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name != "scale_fn"}


SCALES: dict[str, Callable[[float, float], float]] = {
    "triangular": lambda cycle, gamma: 1.0,
    "triangular2": lambda cycle, gamma: 1 / 2.0 ** (cycle - 1),
    "exp_range": lambda t, gamma: gamma**t,
}
