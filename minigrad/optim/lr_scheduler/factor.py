"""Schedules that multiply the rate by a factor in each step."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, TypeAlias

from ...checks import brief, number_in_range, whole_number
from ...errors import ValidationError
from ..optimizer import Optimizer
from .base import FactorLR, LRScheduler

__all__ = ["ConstantLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "PolynomialLR"]
__all__ += ["StepLR"]
__dir__ = __all__.copy

LambdaOrLambdas: TypeAlias = Callable[[int], float] | Sequence[Callable[[int], float]]


class StepLR(FactorLR):
    """Multiply the rate by gamma every step_size steps: base * gamma ** (t // step_size).

    step_size   1 or more
    gamma       0 or more

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


class MultiStepLR(FactorLR):
    """Multiply the rate by gamma at every milestone: base * gamma ** (number of milestones <= t).

    milestones   values of t, in any order; a value given twice counts twice
    gamma        0 or more
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


class ExponentialLR(FactorLR):
    """Multiply the rate by gamma at every step: base * gamma ** t.

    gamma   0 or more
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        number_in_range("ExponentialLR", "gamma", gamma, 0)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        return 1 if self._is_initial else self.gamma

    def _total_factor(self, t: int) -> float:
        return self.gamma**t


class LinearLR(FactorLR):
    """Change the rate linearly from base * start_factor to base * end_factor in total_iters steps, and then keep it.

    start_factor   above 0, at most 1
    end_factor     0 to 1
    total_iters    1 or more   number of steps

    Example
    >>> import minigrad as mg
    >>> scheduler = LinearLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), start_factor=0.5, total_iters=2)
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(3)]
    [0.75, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ):  # fmt: skip
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


class ConstantLR(FactorLR):
    """Multiply the rate by factor until step total_iters.

    factor        0 to 1
    total_iters   0 or more   number of steps
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1):
        number_in_range("ConstantLR", "factor", factor, 0, 1)
        self.factor, self.total_iters = factor, whole_number("ConstantLR", "total_iters", total_iters, least=0)
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        return self.factor if t == 0 else 1.0 / self.factor if t == self.total_iters else 1

    def _total_factor(self, t: int) -> float:
        return self.factor + (t >= self.total_iters) * (1 - self.factor)


class PolynomialLR(FactorLR):
    """Lower the rate to 0 in total_iters steps: base * (1 - t / total_iters) ** power.

    total_iters   1 or more
    power         0 or more   1 for a straight line
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        number_in_range("PolynomialLR", "power", power, 0)
        self.total_iters, self.power = whole_number("PolynomialLR", "total_iters", total_iters, least=1), power
        super().__init__(optimizer, last_epoch)

    def _factor(self, t: int) -> float:
        if self._is_initial or t > self.total_iters:
            return 1
        return ((1.0 - t / self.total_iters) / (1.0 - (t - 1) / self.total_iters)) ** self.power

    def _total_factor(self, t: int) -> float:
        return (1.0 - min(self.total_iters, t) / self.total_iters) ** self.power


class _LambdaSchedule(LRScheduler):
    """A schedule by functions of t, one for each group or one for all.

    state_dict() holds the attributes of a callable object, and None in place of a function.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: LambdaOrLambdas, last_epoch: int = -1):
        self._check_optimizer(optimizer)
        groups = len(optimizer.param_groups)
        self.lr_lambdas: list[Any] = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups or not all(map(callable, self.lr_lambdas)):
            raise ValidationError(
                f"{type(self).__name__}: lr_lambda is {brief(lr_lambda)}, and the optimiser has {groups} parameter "
                "groups; give one function of t, or a list with one for each group"
            )
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lr_lambdas": [_attributes(function) for function in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                vars(function).update(attributes)


def _attributes(function: Callable[[int], float]) -> dict[str, Any] | None:
    return None if isinstance(function, FunctionType) else dict(vars(function))


class LambdaLR(_LambdaSchedule):
    """Multiply the first rate by a function of t: base * lr_lambda(t).

    lr_lambda   a function of t, or a list with one for each group; of an object, state_dict() has the attributes

    Example
    >>> import minigrad as mg
    >>> scheduler = LambdaLR(mg.optim.SGD([mg.tensor([1.0])], lr=1.0), lambda t: 1 / (1 + t))
    >>> [scheduler.step() or scheduler.get_last_lr()[0] for _ in range(3)]
    [0.5, 0.3333333333333333, 0.25]
    """

    def get_lr(self) -> list[float]:
        self._current_rates()  # for its warning
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]


class MultiplicativeLR(_LambdaSchedule):
    """Multiply the current rate by a function of t in every step; otherwise as LambdaLR."""

    def get_lr(self) -> list[float]:
        rates = self._current_rates()
        if self._is_initial:
            return rates
        return [rate * function(self.last_epoch) for rate, function in zip(rates, self.lr_lambdas, strict=True)]
