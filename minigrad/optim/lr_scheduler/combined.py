"""Schedules made of other schedules, and one that reads the loss."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ...checks import brief, number_in_range, whole_number
from ...errors import ValidationError
from ..optimizer import Optimizer
from .base import LRScheduler

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]
__dir__ = __all__.copy


class _Combined(LRScheduler):
    """A schedule with inner schedules, whose state_dict() holds theirs."""

    _schedulers: list[LRScheduler]

    def _check_schedulers(self, optimizer: Any, schedulers: Sequence[LRScheduler]) -> None:
        where = type(self).__name__
        self._check_optimizer(optimizer)
        if not schedulers:
            raise ValidationError(f"{where}: there are 0 schedules; give at least one")
        for number, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                advice = "whose step needs the loss; step it by itself"
                raise ValidationError(f"{where}: schedule {number} is ReduceLROnPlateau, {advice}")
            if scheduler.optimizer is not optimizer:
                raise ValidationError(f"{where}: schedule {number} belongs to another optimiser; make all for one")
        self.optimizer, self._schedulers = optimizer, list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Combined):
    """Use one schedule after another: schedule k from step milestones[k - 1] on, where its own t is 0.

    schedulers   schedules of this optimiser
    milestones   rising steps, one fewer than schedules

    Example
    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0])], lr=1.0)
    >>> from minigrad.optim.lr_scheduler import ExponentialLR, LinearLR
    >>> warmup, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(4)]
    [0.75, 1.0, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ):
        self._check_schedulers(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ValidationError(
                f"SequentialLR: milestones are {list(milestones)} for {len(schedulers)} schedules; give rising steps, "
                "one fewer than schedules"
            )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:
            _take_back_first_step(scheduler)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._first_step()
        self._last_lr = first.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        if epoch is not None:
            raise ValidationError(f"SequentialLR: step got epoch={epoch}; it only goes forward, leave epoch out")
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        starts = number > 0 and self._milestones[number - 1] == self.last_epoch
        self._schedulers[number].step(*[0] * starts)
        self._last_lr = self._schedulers[number].get_last_lr()


def _take_back_first_step(scheduler: LRScheduler) -> None:
    """Undo the step that the constructor of a schedule, and of those inside it, made."""
    if isinstance(scheduler, _Combined):
        for inner in scheduler._schedulers:
            _take_back_first_step(inner)
    scheduler.last_epoch -= 1


class ChainedScheduler(_Combined):
    """Step several schedules of one optimiser together, so that their factors multiply."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        given = optimizer or (schedulers[0].optimizer if schedulers else None)
        self._check_schedulers(given, schedulers)
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        for scheduler in self._schedulers:
            scheduler.step() if epoch is None else scheduler.step(epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by factor when a number that should improve has not improved for more than `patience` steps.

    mode            'min': smaller is better; 'max': larger is better
    factor          0 or more, below 1
    patience        0 or more   steps without improvement that are allowed
    threshold       0 or more   the least improvement that counts
    threshold_mode  'rel': of a share of the best number; 'abs': of the number itself
    cooldown        0 or more   steps after a reduction in which nothing is counted
    min_lr          0 or more, or one for each group
    eps             0 or more   smaller changes of the rate are left out

    Call step(loss) with a number or a tensor of one element, after each epoch.
    Example
    >>> import minigrad as mg
    >>> scheduler = ReduceLROnPlateau(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), factor=0.5, patience=1)
    >>> [scheduler.step(loss) or scheduler.get_last_lr()[0] for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | list[float] = 0, eps: float = 1e-8,
    ):  # fmt: skip
        where = "ReduceLROnPlateau"
        self._check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValidationError(f"{where}: mode is {brief(mode)}; use 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValidationError(f"{where}: threshold_mode is {brief(threshold_mode)}; use 'rel' or 'abs'")
        if not 0 <= factor < 1:
            raise ValidationError(f"{where}: factor is {brief(factor)}; use a number from 0 to below 1")
        number_in_range(where, "threshold", threshold, 0)
        groups = optimizer.param_groups
        self.min_lrs = self._one_per_group("min_lr", min_lr, groups)
        self.optimizer, self.mode, self.factor = optimizer, mode, factor
        self.patience = whole_number(where, "patience", patience, least=0)
        self.cooldown = whole_number(where, "cooldown", cooldown, least=0)
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.last_epoch, self._last_lr = 0, [group["lr"] for group in groups]
        self.best, self.num_bad_epochs, self.cooldown_counter = math.inf if mode == "min" else -math.inf, 0, 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Read the number of this epoch, and lower the rate if it is time."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        relative = self.threshold_mode == "rel"
        needed = self.best * (1 - sign * self.threshold) if relative else self.best - sign * self.threshold
        return sign * current < sign * needed
