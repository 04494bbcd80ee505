"""Losses."""

from ... import ops
from ...checks import number_in_range
from ...errors import GraphError, ShapeError
from ...tape import is_grad_enabled
from ...tensors import Tensor, apply
from .arguments import check_reduction, expect_tensors

__all__ = ["cross_entropy", "mse_loss", "nll_loss"]
__dir__ = __all__.copy


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean negative log-likelihood of the true classes under softmax(x).

    x                (N, K) or (N, K, ...)  logits
    target           (N) or (N, ...)        classes, 0 to K-1
    weight           (K)                    of each class, or None
    ignore_index     class                  images of this class have loss 0 and gradient 0
    reduction        'mean', 'sum', 'none'  the mean weighs each image by its class's weight; nan over no images
    label_smoothing  0 to 1                 share of the target that is spread over all classes

    Raises   ShapeError        x and target do not fit
             ValidationError   a class out of range, or a setting
             GraphError        weight requires grad
    Source   label smoothing: Szegedy et al. 2016, section 7
    Example
    >>> import minigrad as mg
    >>> cross_entropy(mg.zeros(1, 10), mg.tensor([3]))
    tensor(2.3026)
    """
    number_in_range("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    expect_tensors("cross_entropy", x, target)
    check_reduction(reduction, "cross_entropy")
    _check_weight(weight, "cross_entropy")
    return apply(
        ops.cross_entropy, x, target, weight, ignore=ignore_index, smoothing=float(label_smoothing), reduction=reduction
    )


def nll_loss(
    x: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Mean negative log-likelihood of the true classes; applied to log_softmax(x) it is cross_entropy(x).

    x        (N, K) or (N, K, ...)   logarithms of probabilities
    others   as cross_entropy

    Raises   ShapeError        x and target do not fit
             ValidationError   a class out of range
             GraphError        weight requires grad
    Example
    >>> import minigrad as mg
    >>> nll_loss(mg.tensor([[-1.0, -2.0]]), mg.tensor([1]))
    tensor(2.)
    """
    expect_tensors("nll_loss", x, target)
    check_reduction(reduction, "nll_loss")
    _check_weight(weight, "nll_loss")
    return apply(ops.nll, x, target, weight, ignore=ignore_index, reduction=reduction)


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Mean squared error.

    x, target   of the same shape
    reduction   'mean', 'sum' or 'none'

    Raises   ShapeError   the shapes differ
    Example
    >>> import minigrad as mg
    >>> mse_loss(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 1.0]))
    tensor(2.)
    """
    expect_tensors("mse_loss", x, target)
    check_reduction(reduction, "mse_loss")
    if x.shape != target.shape:
        raise ShapeError(
            f"mse_loss: x is {x.shape}, target {target.shape}; make the shapes equal, because broadcasting "
            "would average over unrelated pairs"
        )
    difference = x - target
    squares = difference * difference
    return squares if reduction == "none" else squares.mean() if reduction == "mean" else squares.sum()


def _check_weight(weight: Tensor | None, where: str) -> None:
    if isinstance(weight, Tensor) and weight.requires_grad and is_grad_enabled():
        raise GraphError(
            f"{where}: weight requires grad, but the loss has no gradient with respect to class weights; "
            "give weight.detach()"
        )
