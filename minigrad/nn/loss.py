"""Losses as modules.  The settings and the documentation are those of the function in nn.functional; a bad reduction is
refused when the module is built."""

from typing import Any

from ..checks import number_in_range
from . import functional as F
from .functional.arguments import REDUCTIONS, check_reduction, count_tensors, new_style
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

    def __init__(self, *settings: Any, size_average: bool | None = None, reduce: bool | None = None, **named: Any):
        first = count_tensors(list(self._settings.parameters))
        settings, reduction = new_style(type(self).__name__, first, settings, size_average, reduce)
        super().__init__(*settings, **named, **reduction)
        check_reduction(self.reduction, type(self).__name__, self._reductions)


class CrossEntropyLoss(_Loss, function=F.cross_entropy):
    def __init__(self, *settings: Any, **named: Any):
        super().__init__(*settings, **named)
        number_in_range("CrossEntropyLoss", "label_smoothing", self.label_smoothing, 0, 1)


class KLDivLoss(_Loss, function=F.kl_div):
    _reductions = ("batchmean", *REDUCTIONS)


# fmt: off
class NLLLoss(_Loss, function=F.nll_loss): ...
class MSELoss(_Loss, function=F.mse_loss): ...
class L1Loss(_Loss, function=F.l1_loss): ...
class SmoothL1Loss(_Loss, function=F.smooth_l1_loss): ...
class HuberLoss(_Loss, function=F.huber_loss): ...
class BCELoss(_Loss, function=F.binary_cross_entropy): ...
class BCEWithLogitsLoss(_Loss, function=F.binary_cross_entropy_with_logits): ...
class PoissonNLLLoss(_Loss, function=F.poisson_nll_loss): ...
class GaussianNLLLoss(_Loss, function=F.gaussian_nll_loss, inputs=3): ...
class HingeEmbeddingLoss(_Loss, function=F.hinge_embedding_loss): ...
class SoftMarginLoss(_Loss, function=F.soft_margin_loss): ...
class MultiLabelSoftMarginLoss(_Loss, function=F.multilabel_soft_margin_loss): ...
class MultiMarginLoss(_Loss, function=F.multi_margin_loss): ...
class CosineEmbeddingLoss(_Loss, function=F.cosine_embedding_loss, inputs=3): ...
class MarginRankingLoss(_Loss, function=F.margin_ranking_loss, inputs=3): ...
class TripletMarginLoss(_Loss, function=F.triplet_margin_loss, inputs=3): ...
class CosineSimilarity(FunctionModule, function=F.cosine_similarity, inputs=2): ...
class PairwiseDistance(FunctionModule, function=F.pairwise_distance, inputs=2): ...
# fmt: on
