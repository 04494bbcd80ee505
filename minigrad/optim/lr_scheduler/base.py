"""The bases of all schedules."""

import warnings
from collections.abc import Callable
from typing import Any

from ...checks import type_with_article
from ...errors import DtypeError, StateError, ValidationError
from ...runtime.threads import local
from ..optimizer import Optimizer


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
        self._first_step()

    def _first_step(self) -> None:
        self._is_initial = True
        try:
            self.step()
        finally:
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

    def _one_per_group(self, name: str, value: Any, groups: list[dict[str, Any]]) -> list[float]:
        """Return a setting as a list with one number for each group."""
        values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
        if len(values) != len(groups):
            raise ValidationError(
                f"{type(self).__name__}: {name} has {len(values)} numbers, but the optimiser has {len(groups)} "
                "parameter groups; give one number for each, or one for all"
            )
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state except the optimiser, as plain numbers, strings, lists and dicts."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state_dict; load the optimiser's state_dict as well, which has the learning rate."""
        self.__dict__.update(state_dict)


class FactorLR(LRScheduler):
    """A schedule whose step to t multiplies all rates by _factor(t); _total_factor(t) is the product of all factors."""

    _factor: Callable[[int], float]
    _total_factor: Callable[[int], float]

    def get_lr(self) -> list[float]:
        factor = self._factor(self.last_epoch)
        return [lr * factor for lr in self._current_rates()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self._total_factor(self.last_epoch) for base in self.base_lrs]
