"""Losses, and distances between vectors.

`reduction` is 'mean', 'sum' or 'none'.  Input and target have one shape, if nothing else is said: broadcasting would
average over unrelated pairs.

Sources: P. Huber, "Robust estimation of a location parameter", 1964 (huber_loss); D. Nix & A. Weigend, "Estimating the
mean and variance of the target probability distribution", 1994 (gaussian_nll_loss); F. Schroff et al., "FaceNet", 2015
(triplet_margin_loss), with swap by V. Balntas et al., 2016; C. Szegedy et al., 2016, section 7 (label smoothing).
"""

from math import log, pi

from ... import ops
from ...checks import brief, failed_check, number_in_range
from ...creation import arange, ones_like, where
from ...errors import GraphError, ShapeError, ValidationError
from ...shapes import axis_number, broadcast
from ...tape import is_grad_enabled
from ...tensors import Tensor, apply
from .activation import logsigmoid
from .arguments import REDUCTIONS, check_reduction, expect_tensors, take_old_reduction

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "normalize",
    "pairwise_distance", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
]  # fmt: skip
__dir__ = __all__.copy


def _check(where: str, reduction: str, *tensors: Tensor) -> None:
    expect_tensors(where, *tensors)
    check_reduction(reduction, where)


def _check_pair(where: str, reduction: str, x: Tensor, target: Tensor) -> None:
    _check(where, reduction, x, target)
    if x.shape != target.shape:
        raise ShapeError(
            f"{where}: x is {x.shape}, target {target.shape}; make the shapes equal, because broadcasting would "
            "average over unrelated pairs"
        )


def _check_axes(where: str, reduction: str, *tensors: Tensor) -> None:
    _check(where, reduction, *tensors)
    if len({x.ndim for x in tensors}) > 1:
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ShapeError(f"{where}: tensors of shapes {shapes}; give equally many axes")


def _reduced(losses: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    losses = losses if weight is None else losses * weight
    if reduction in ("none", "mean"):
        return losses if reduction == "none" else losses.mean()
    return losses.sum() / losses.shape[0] if reduction == "batchmean" else losses.sum()


# ---- of classes


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Mean negative log-likelihood of the true classes under softmax(input).

    input            (N, K), (N, K, ...) or (K)  logits
    target           (N), (N, ...) or ()         classes, 0 to K-1; or their probabilities, like the input
    weight           (K)                         of each class, or None
    ignore_index     class                       images of this class have loss 0 and gradient 0
    reduction        'mean', 'sum', 'none'       the mean weighs each image by its class's weight; nan over no images
    label_smoothing  0 to 1                      share of the target that is spread over all classes

    Raises   ShapeError        input and target do not fit
             ValidationError   a class out of range, or a setting
             GraphError        weight requires grad
    Example
    >>> import minigrad as mg
    >>> cross_entropy(mg.zeros(1, 10), mg.tensor([3]))
    tensor(2.3026)
    """
    number_in_range("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    _check("cross_entropy", reduction, input, target)
    _check_weight(weight, "cross_entropy")
    if target.dtype.kind == "f" and target.shape == input.shape and input.ndim:
        return _reduced(_of_probabilities(input, target, weight, label_smoothing), reduction)
    settings = {"ignore": ignore_index, "smoothing": float(label_smoothing), "reduction": reduction}
    return _of_classes(ops.cross_entropy, input, target, weight, settings)


def _of_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    axis = 1 if input.ndim > 1 else 0
    classes = input.shape[axis]
    logs = input.log_softmax(axis)
    if weight is not None:
        if weight.shape != (classes,):
            raise ShapeError(
                f"cross_entropy: weight has shape {weight.shape}, x has {classes} classes; give one for each"
            )
        logs = logs * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    return -(logs * (target * (1 - smoothing) + smoothing / classes if smoothing else target)).sum(axis)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """cross_entropy of logarithms of probabilities: applied to log_softmax(x), it is cross_entropy(x)."""
    _check("nll_loss", reduction, input, target)
    _check_weight(weight, "nll_loss")
    return _of_classes(ops.nll, input, target, weight, {"ignore": ignore_index, "reduction": reduction})


def _of_classes(operation: ops.Op, input: Tensor, target: Tensor, weight: Tensor | None, settings: dict) -> Tensor:
    """The loss of images, or of one image (K) without an axis for images."""
    if input.ndim == 1 and not target.ndim:
        return apply(operation, input.unsqueeze(0), target.unsqueeze(0), weight, **settings).reshape(())
    return apply(operation, input, target, weight, **settings)


def _check_weight(weight: Tensor | None, where: str) -> None:
    if isinstance(weight, Tensor) and weight.requires_grad and is_grad_enabled():
        raise GraphError(
            f"{where}: weight requires grad, but the loss has no gradient with respect to class weights; "
            "give weight.detach()"
        )


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The sum over other classes of max(0, margin - the score of the true class + theirs)**p, divided by their number.

    input, target   (N, K) scores and (N) classes, or (K) and ()
    weight          (K)   of each class, or None
    """
    _check("multi_margin_loss", reduction, input, target)
    if p not in (1, 2):
        raise ValidationError(f"multi_margin_loss: p is {brief(p)}; use 1 or 2")
    if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
        raise ShapeError(f"multi_margin_loss: input {input.shape} and target {target.shape}; use (N, K) and (N)")
    own = target.unsqueeze(-1)
    terms = (margin - input.gather(-1, own) + input).clip(min=0) ** p
    terms = terms if weight is None else terms * weight[own]
    others = arange(input.shape[-1], device=input.device) != own
    return _reduced(where(others, terms, 0.0).sum(-1) / input.shape[-1], reduction)


# ---- of probabilities


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean of -target * log(input) - (1 - target) * log(1 - input), with logarithms of at least -100.

    input, target   0 to 1
    weight          factors of the losses, or None

    binary_cross_entropy_with_logits(x, target) is more accurate than binary_cross_entropy(x.sigmoid(), target).
    Raises   ValidationError   the input holds numbers outside 0 to 1
    """
    _check_pair("binary_cross_entropy", reduction, input, target)
    advice = "the input is not from 0 to 1; give probabilities, or logits to binary_cross_entropy_with_logits"
    _refuse(input.clip(0, 1) != input, f"binary_cross_entropy: {advice}")
    return _reduced(apply(ops.bce, input, target), reduction, weight)


def _refuse(wrong: Tensor, message: str) -> None:
    """Raise an error if any element is True, also in each replay of a recording."""
    wrong.device.expect_range(wrong.array, 0, 1, 0, failed_check, message)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Binary cross-entropy of sigmoid(input), without overflow.

    target       0 to 1
    weight       factors of the losses, or None
    pos_weight   factors of the targets' part, one for each class, or None

    Example
    >>> import minigrad as mg
    >>> binary_cross_entropy_with_logits(mg.tensor([0.0, 100.0]), mg.tensor([1.0, 0.0]), reduction="none")
    tensor([  0.6931, 100.    ])
    """
    _check_pair("binary_cross_entropy_with_logits", reduction, input, target)
    if pos_weight is None:
        losses = apply(ops.bce_logits, input, target)
    else:
        losses = (1 - target) * input - ((pos_weight - 1) * target + 1) * logsigmoid(input)
    return _reduced(losses, reduction, weight)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """binary_cross_entropy_with_logits, averaged over the classes of the last axis first."""
    _check_pair("multilabel_soft_margin_loss", reduction, input, target)
    return _reduced(binary_cross_entropy_with_logits(input, target, weight, "none").mean(-1), reduction)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Mean of log(1 + e**(-target * input)), with targets of 1 or -1."""
    _check_pair("soft_margin_loss", reduction, input, target)
    return _reduced(-logsigmoid(input * target), reduction)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """The Kullback-Leibler divergence: target * (log(target) - input), 0 where the target is 0.

    input       logarithms of probabilities; of any shape that broadcasts with the target's
    target      probabilities, or their logarithms if log_target
    reduction   also 'batchmean', the sum divided by the size of the first axis
    """
    expect_tensors("kl_div", input, target)
    check_reduction(reduction, "kl_div", ("batchmean", *REDUCTIONS))
    if log_target:
        return _reduced(target.exp() * (target - input), reduction)
    return _reduced(target * (where(target == 0, 1.0, target).log() - input), reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean negative log-likelihood of counts under a Poisson distribution, without log(target!).

    input   the logarithm of the expected count; the count itself if not log_input
    full    whether log(target!) is added, by Stirling's formula, for targets above 1
    eps     added to the input before its logarithm
    """
    _check_pair("poisson_nll_loss", reduction, input, target)
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        count = where(target > 1, target, 1.0)
        losses = losses + where(target > 1, count * count.log() - count + (2 * pi * count).log() * 0.5, 0.0)
    return _reduced(losses, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Mean of (log(var) + (input - target)**2 / var) / 2, with variances of at least eps.

    var    as the input, or with a last axis that is missing or of size 1, or one number
    full   whether log(2 pi) / 2 is added
    """
    _check("gaussian_nll_loss", reduction, input, target)
    var = var if isinstance(var, Tensor) else ones_like(input) * var
    if var.shape == input.shape[:-1] != input.shape:
        var = var.unsqueeze(-1)
    if var.ndim != input.ndim or any(size not in (1, most) for size, most in zip(var.shape, input.shape, strict=True)):
        raise ShapeError(f"gaussian_nll_loss: var has shape {var.shape}, input {input.shape}; make the shapes equal")
    _refuse(var < 0, "gaussian_nll_loss: var holds negative numbers; give variances, for example by exp or softplus")
    var = _at_least(var, eps)
    losses = (var.log() + (input - target) ** 2 / var) * 0.5
    return _reduced(losses + 0.5 * log(2 * pi) if full else losses, reduction)


def _at_least(x: Tensor, least: float) -> Tensor:
    """The larger of x and a number, with the gradient of x."""
    return x + where(x < least, least - x, 0.0).detach()


# ---- of numbers


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Mean squared error.

    Raises   ShapeError   the shapes of input and target differ
    Example
    >>> import minigrad as mg
    >>> mse_loss(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 1.0]))
    tensor(2.)
    """
    _check_pair("mse_loss", reduction, input, target)
    difference = input - target
    return _reduced(difference * difference, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Mean absolute error."""
    _check_pair("l1_loss", reduction, input, target)
    return _reduced((input - target).abs(), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Mean of d**2 / 2 for differences d up to delta, of delta * (|d| - delta / 2) beyond."""
    _check_pair("huber_loss", reduction, input, target)
    if not delta > 0:
        raise ValidationError(f"huber_loss: delta is {brief(delta)}; use a number above 0")
    d = input - target
    near = d.clip(-delta, delta)
    return _reduced(near * (d - near * 0.5), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """huber_loss with delta=beta, divided by beta; l1_loss if beta is 0."""
    _check_pair("smooth_l1_loss", reduction, input, target)
    number_in_range("smooth_l1_loss", "beta", beta, 0)
    return huber_loss(input, target, reduction, beta) / beta if beta else l1_loss(input, target, reduction)


# ---- of distances


def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """The vectors along an axis divided by their p-norms, which count as at least eps.

    Example
    >>> import minigrad as mg
    >>> normalize(mg.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    expect_tensors("normalize", input)
    return input / _norm(input, p, dim, True).clip(min=eps)


def _norm(x: Tensor, p: float, dim: int | tuple[int, ...], keepdim: bool) -> Tensor:
    if not p > 0:
        raise ValidationError(f"norm: p is {brief(p)}; use a number above 0, or inf")
    return x.norm(p, dim, keepdim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis."""
    expect_tensors("pairwise_distance", x1, x2)
    return _norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis, whose lengths count as at least eps."""
    expect_tensors("cosine_similarity", x1, x2)
    shape = broadcast("cosine_similarity", x1.shape, x2.shape)
    axis = axis_number(dim, len(shape), "cosine_similarity")
    first, second = (x / _at_least(x.norm(2, axis, True), eps) for x in (x1.expand(shape), x2.expand(shape)))
    return (first * second).sum(axis)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1; vectors (N, D) or (D)."""
    expect_tensors("cosine_embedding_loss", input1, input2)
    squares = [(x * x).sum(-1) + 1e-12 for x in (input1, input2)]
    cosine = (input1 * input2).sum(-1) / (squares[0] * squares[1]).sqrt()
    _check_pair("cosine_embedding_loss", reduction, cosine, target)
    losses = where(target == 1, 1 - cosine, 0.0) + where(target == -1, (cosine - margin).clip(min=0), 0.0)
    return _reduced(losses, reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """The input, a distance, where the target is 1, and max(0, margin - input) where it is -1."""
    _check_pair("hinge_embedding_loss", reduction, input, target)
    losses = where(target == -1, 0.0, input) + where(target == 1, 0.0, (margin - input).clip(min=0))
    return _reduced(losses, reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Mean of max(0, margin - target * (input1 - input2)); the target 1 asks for a larger input1, -1 for a smaller."""
    _check_axes("margin_ranking_loss", reduction, input1, input2, target)
    return _reduced((margin - target * (input1 - input2)).clip(min=0), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean of max(0, margin + distance to the positive - distance to the negative), distances by pairwise_distance.

    anchor, positive, negative   (N, D) or (D)
    swap                         whether the negative's distance to the positive counts where it is smaller
    """
    _check_axes("triplet_margin_loss", reduction, anchor, positive, negative)
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    far = far.minimum(pairwise_distance(positive, negative, p, eps)) if swap else far
    return _reduced((margin + near - far).clip(min=0), reduction)


for _name in __all__:
    globals()[_name] = take_old_reduction(globals()[_name])
