"""The losses as modules: settings checked when they are built, and a call of F."""

from ..errors import ValidationError
from ..tensors import Tensor
from . import functional as F
from .module import Module


class _Loss(Module):
    """A number that says how wrong a prediction is; `reduction` makes one of many."""

    def __init__(self, reduction: str):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValidationError(f"{type(self).__name__}: reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
        self.reduction = reduction


class _ClassLoss(_Loss):
    """A loss on classes, which may have weights; one class may be left out."""

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class CrossEntropyLoss(_ClassLoss):
    """How surprised softmax(x) is by the true classes; F.cross_entropy has the details.

    weight           (K)                    of each class, or None
    ignore_index     class                  that does not count
    reduction        'mean', 'sum', 'none'  the mean weighs each image by its class's weight
    label_smoothing  0 to 1                 share of the target spread over all classes
    x, target        (N, K), (N)            logits and classes, 0 to K-1

    Raises   ShapeError        x and target do not fit
             ValidationError   a class or a setting out of range
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
        if not 0 <= label_smoothing <= 1:
            raise ValidationError(f"CrossEntropyLoss: label_smoothing is {label_smoothing}; it is a share, 0 to 1")
        self.label_smoothing = label_smoothing

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """F.cross_entropy with these settings."""
        return F.cross_entropy(x, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_ClassLoss):
    """The negative of the log-probability of the true classes; after LogSoftmax it is CrossEntropyLoss.

    Settings as CrossEntropyLoss, without smoothing.

    Raises   ShapeError        x and target do not fit
             ValidationError   a class or a setting out of range
    Example
    >>> import minigrad as mg
    >>> NLLLoss()(mg.tensor([[-1.0, -2.0]]), mg.tensor([1]))
    tensor(2.)
    """

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(weight, ignore_index, reduction)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """F.nll_loss with these settings."""
        return F.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """The squared difference, averaged.

    reduction   'mean', 'sum' or 'none'

    Raises   ShapeError        the shapes differ
             ValidationError   an unknown reduction
    Example
    >>> import minigrad as mg
    >>> MSELoss()(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 1.0]))
    tensor(2.)
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """F.mse_loss."""
        return F.mse_loss(x, target, self.reduction)
