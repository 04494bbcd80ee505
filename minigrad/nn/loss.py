"""Losses as modules.  Each checks its settings when it is built and calls a function of nn.functional."""

from typing import TYPE_CHECKING

from ..checks import number_in_range
from ..errors import ValidationError
from ..tensors import Tensor
from . import functional as F
from .module import Module

__all__ = ["CrossEntropyLoss", "MSELoss", "NLLLoss"]
__dir__ = __all__.copy


class _Loss(Module):
    """A loss with a reduction."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, target: Tensor) -> Tensor: ...

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValidationError(f"{type(self).__name__}: reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
        self.reduction = reduction


class _ClassLoss(_Loss):
    """A loss of classes, with optional class weights and a class to ignore."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class CrossEntropyLoss(_ClassLoss):
    """Return the mean negative log-likelihood of the true classes under softmax(x), as F.cross_entropy.

    weight           (K)                    weight of each class, or None
    ignore_index     class                  targets of this class do not count
    reduction        'mean', 'sum', 'none'  the mean is weighted by the classes' weights
    label_smoothing  0 to 1                 share of the target that is spread over all classes
    x, target        (N, K), (N)            logits, and classes from 0 to K-1

    Raises   ShapeError        x and target do not fit
             ValidationError   a class or a setting is out of range
    Example
    >>> import minigrad as mg
    >>> CrossEntropyLoss()(mg.zeros(1, 10), mg.tensor([3]))
    tensor(2.3026)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, ignore_index, reduction)
        number_in_range("CrossEntropyLoss", "label_smoothing", label_smoothing, 0, 1)
        self.label_smoothing = label_smoothing

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(x, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_ClassLoss):
    """Return the mean negative log-probability of the true classes, as F.nll_loss; x are log-probabilities.

    The settings are those of CrossEntropyLoss, without label_smoothing.

    Raises   ShapeError        x and target do not fit
             ValidationError   a class or a setting is out of range
    Example
    >>> import minigrad as mg
    >>> NLLLoss()(mg.tensor([[-1.0, -2.0]]), mg.tensor([1]))
    tensor(2.)
    """

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """Return the mean squared difference of x and target.

    reduction   'mean', 'sum' or 'none'

    Raises   ShapeError        the shapes differ
             ValidationError   the reduction is unknown
    Example
    >>> import minigrad as mg
    >>> MSELoss()(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 1.0]))
    tensor(2.)
    """

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(x, target, self.reduction)
