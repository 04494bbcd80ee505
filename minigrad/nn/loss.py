"""Losses as modules.  The settings are those of the function, which nn.functional explains; a bad reduction is refused
when the module is built."""

from typing import Any

from ..checks import number_in_range
from . import functional as F
from .functional.arguments import REDUCTIONS, check_reduction
from .layer import FunctionModule

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss",
    "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "PairwiseDistance", "PoissonNLLLoss", "SmoothL1Loss",
    "SoftMarginLoss", "TripletMarginLoss",
]  # fmt: skip
__dir__ = __all__.copy


class _Loss(FunctionModule):
    """A loss of `inputs` tensors with a reduction."""

    _reductions: tuple[str, ...] = REDUCTIONS

    def __init_subclass__(cls, inputs: int = 2, **named: Any) -> None:
        super().__init_subclass__(inputs=inputs, **named)

    def __init__(self, *settings: Any, **named: Any):
        super().__init__(*settings, **named)
        check_reduction(self.reduction, type(self).__name__, self._reductions)


class CrossEntropyLoss(_Loss, function=F.cross_entropy):
    """Return the mean negative log-likelihood of the true classes under softmax(x), as F.cross_entropy.

    x, target   (N, K) logits, and (N) classes from 0 to K-1 or their probabilities (N, K)

    Example
    >>> import minigrad as mg
    >>> CrossEntropyLoss(label_smoothing=0.1)(mg.zeros(1, 10), mg.tensor([3]))
    tensor(2.3026)
    """

    def __init__(self, *settings: Any, **named: Any):
        super().__init__(*settings, **named)
        number_in_range("CrossEntropyLoss", "label_smoothing", self.label_smoothing, 0, 1)


class NLLLoss(_Loss, function=F.nll_loss):
    """Return the mean negative log-probability of the true classes, as F.nll_loss; x are log-probabilities."""


class MSELoss(_Loss, function=F.mse_loss):
    """Return the mean squared difference of x and target, which have one shape, as F.mse_loss."""


class L1Loss(_Loss, function=F.l1_loss):
    """Return the mean absolute difference, as F.l1_loss."""


class SmoothL1Loss(_Loss, function=F.smooth_l1_loss):
    """Return the Huber loss with delta=beta, divided by beta, as F.smooth_l1_loss."""


class HuberLoss(_Loss, function=F.huber_loss):
    """Return squares of small differences and multiples of large ones, as F.huber_loss."""


class BCELoss(_Loss, function=F.binary_cross_entropy):
    """Return the binary cross-entropy of probabilities, as F.binary_cross_entropy."""


class BCEWithLogitsLoss(_Loss, function=F.binary_cross_entropy_with_logits):
    """Return the binary cross-entropy of logits, as F.binary_cross_entropy_with_logits."""


class KLDivLoss(_Loss, function=F.kl_div):
    """Return the Kullback-Leibler divergence of a target from log-probabilities, as F.kl_div."""

    _reductions = ("batchmean", *REDUCTIONS)


class PoissonNLLLoss(_Loss, function=F.poisson_nll_loss):
    """Return the mean negative log-likelihood of counts, as F.poisson_nll_loss."""


class GaussianNLLLoss(_Loss, function=F.gaussian_nll_loss, inputs=3):
    """Return the mean negative log-likelihood of numbers with means x and variances, as F.gaussian_nll_loss."""


class HingeEmbeddingLoss(_Loss, function=F.hinge_embedding_loss):
    """Return a loss of distances, with targets 1 and -1, as F.hinge_embedding_loss."""


class SoftMarginLoss(_Loss, function=F.soft_margin_loss):
    """Return the mean of log(1 + e**(-target * x)), as F.soft_margin_loss."""


class MultiLabelSoftMarginLoss(_Loss, function=F.multilabel_soft_margin_loss):
    """Return the binary cross-entropy of logits, averaged over classes, as F.multilabel_soft_margin_loss."""


class MultiMarginLoss(_Loss, function=F.multi_margin_loss):
    """Return a hinge loss of several classes, as F.multi_margin_loss."""


class CosineEmbeddingLoss(_Loss, function=F.cosine_embedding_loss, inputs=3):
    """Return a loss of the cosine of two vectors, with targets 1 and -1, as F.cosine_embedding_loss."""


class MarginRankingLoss(_Loss, function=F.margin_ranking_loss, inputs=3):
    """Return a loss of two scores, with targets 1 and -1, as F.margin_ranking_loss."""


class TripletMarginLoss(_Loss, function=F.triplet_margin_loss, inputs=3):
    """Return a loss of an anchor, a near and a far vector, as F.triplet_margin_loss."""


class CosineSimilarity(FunctionModule, function=F.cosine_similarity, inputs=2):
    """Return the cosine of the angle between vectors along `dim`, as F.cosine_similarity."""


class PairwiseDistance(FunctionModule, function=F.pairwise_distance, inputs=2):
    """Return the p-norm of x1 - x2 along the last axis, as F.pairwise_distance."""
