"""Losses and distances, as PyTorch computes them."""

REDUCTIONS = ("mean", "sum", "none")


def _each(call, *others):
    """The call with every reduction, and others."""
    return [*(call.replace(")END", f", reduction='{name}')") for name in REDUCTIONS), *others]


def _signs(shape):
    """1 and -1, in the dtype of the inputs."""
    return f"(s := x({shape}).detach()) / s.abs()"


SIGNS3, SIGNS32 = _signs("3"), _signs("3, 2")
BITS32, BITS34 = (f"({_signs(shape)} + 1) / 2" for shape in ("3, 2", "3, 4"))

EXPRESSIONS = {
    "size_average": [
        "F.mse_loss(x(2, 3), x(2, 3), size_average=False)",
        "F.l1_loss(x(2, 3), x(2, 3), reduce=False)",
        "nn.MSELoss(size_average=False)(x(2, 3), x(2, 3))",
        "nn.NLLLoss(size_average=True)(x(2, 3), ints(3, 2))",
        "nn.CrossEntropyLoss(None, False)(x(2, 3), ints(3, 2))",
        "F.cross_entropy(x(2, 3), ints(3, 2), None, False)",
        "F.nll_loss(x(2, 3), ints(3, 2), None, False)",
        "nn.MSELoss(False)(x(2, 3), x(2, 3))",
        "F.huber_loss(x(2, 3), x(2, 3), 'sum')",
    ],
    "cross_entropy": _each(
        "F.cross_entropy(x(3, 4), ints(4, 3), positive(4).detach(), label_smoothing=0.2)END",
        "F.cross_entropy(x(3, 4), ints(4, 3), ignore_index=1)",
        "F.cross_entropy(x(2, 3, 2), ints(3, 2, 2), positive(3).detach(), ignore_index=0)",
        "F.cross_entropy(x(2, 3, 2, 2), ints(3, 2, 2, 2), reduction='none')",
        "F.cross_entropy(x(4), ints(4), label_smoothing=0.1)",
        "F.cross_entropy(x(4), ints(4), reduction='none')",
        "F.cross_entropy(x(3, 4), positive(3, 4))",
        "F.cross_entropy(x(3, 4), positive(3, 4), positive(4).detach(), label_smoothing=0.2, reduction='sum')",
        "F.cross_entropy(x(2, 3, 2), positive(2, 3, 2), positive(3).detach(), reduction='none')",
        "F.cross_entropy(x(4), positive(4), label_smoothing=0.3)",
        "F.cross_entropy(x(3, 4) * 1e4, ints(4, 3))",
        "layer(nn.CrossEntropyLoss(label_smoothing=0.1))(x(3, 4), ints(4, 3))",
        "layer(nn.CrossEntropyLoss(positive(4).detach(), ignore_index=1, reduction='sum'))(x(3, 4), ints(4, 3))",
    ),
    "nll_loss": _each(
        "F.nll_loss(x(3, 4), ints(4, 3), positive(4).detach(), ignore_index=1)END",
        "F.nll_loss(x(2, 3, 2, 2), ints(3, 2, 2, 2))",
        "F.nll_loss(x(4), ints(4))",
        "layer(nn.NLLLoss(positive(4).detach(), ignore_index=2))(x(3, 4), ints(4, 3))",
    ),
    "binary_cross_entropy": _each(
        "F.binary_cross_entropy(unit(3, 2).abs(), unit(3, 2).abs())END",
        f"F.binary_cross_entropy(unit(3, 2).abs(), {BITS32}, positive(2).detach())",
        f"layer(nn.BCELoss(positive(2).detach(), reduction='sum'))(unit(3, 2).abs(), {BITS32})",
    ),
    "binary_cross_entropy_with_logits": _each(
        "F.binary_cross_entropy_with_logits(x(3, 2), unit(3, 2).abs())END",
        "F.binary_cross_entropy_with_logits(x(3, 2) * 1e4, unit(3, 2).abs())",
        f"F.binary_cross_entropy_with_logits(x(3, 2), {BITS32}, positive(3, 1).detach())",
        "F.binary_cross_entropy_with_logits(x(3, 2), unit(3, 2).abs(), pos_weight=positive(2).detach())",
        "layer(nn.BCEWithLogitsLoss(positive(2).detach(), pos_weight=positive(2).detach()))(x(3, 2), unit(3, 2).abs())",
        f"layer(nn.BCEWithLogitsLoss(reduction='sum'))(x(3, 2), {BITS32})",
    ),
    "multilabel_soft_margin_loss": _each(
        f"F.multilabel_soft_margin_loss(x(3, 4), {BITS34}, positive(4).detach())END",
        f"layer(nn.MultiLabelSoftMarginLoss(positive(4).detach()))(x(3, 4), {BITS34})",
    ),
    "soft_margin_loss": _each(
        f"F.soft_margin_loss(x(3, 2), {SIGNS32})END", f"layer(nn.SoftMarginLoss())(x(3, 2) * 9, {SIGNS32})"
    ),
    "multi_margin_loss": _each(  # PyTorch has no second derivative
        "F.multi_margin_loss(x(3, 4).detach(), ints(4, 3), margin=0.7, weight=positive(4).detach())END",
        "F.multi_margin_loss(x(3, 4).detach(), ints(4, 3), p=2)",
        "F.multi_margin_loss(x(4).detach(), ints(4))",
        "layer(nn.MultiMarginLoss(2, 0.7, positive(4).detach()))(x(3, 4).detach(), ints(4, 3))",
    ),
    "mse_loss": _each("F.mse_loss(x(3, 2), x(3, 2))END", "layer(nn.MSELoss(reduction='sum'))(x(3, 2), x(3, 2))"),
    "l1_loss": [
        *_each("F.l1_loss(x(3, 2), x(3, 2).detach())END"),
        "layer(nn.L1Loss(reduction='sum'))(x(3, 2), x(3, 2).detach())",
    ],
    "smooth_l1_loss": _each(
        "F.smooth_l1_loss(x(3, 2), x(3, 2), beta=0.7)END",
        "F.smooth_l1_loss(x(3, 2), x(3, 2).detach(), beta=0.0)",
        "layer(nn.SmoothL1Loss(beta=0.5))(x(3, 2), x(3, 2))",
    ),
    "huber_loss": _each(
        "F.huber_loss(x(3, 2), x(3, 2), delta=0.7)END", "layer(nn.HuberLoss('sum', 0.5))(x(3, 2), x(3, 2))"
    ),
    "kl_div": _each(
        "F.kl_div(x(3, 2), positive(3, 2))END",
        "F.kl_div(x(3, 2), positive(3, 2), reduction='batchmean')",
        "F.kl_div(x(3, 2), x(3, 2), log_target=True)",
        "layer(nn.KLDivLoss(reduction='batchmean', log_target=True))(x(3, 2), x(3, 2))",
    ),
    "poisson_nll_loss": _each(
        "F.poisson_nll_loss(x(3, 2), positive(3, 2) * 2, full=True)END",
        "F.poisson_nll_loss(positive(3, 2), positive(3, 2), log_input=False, eps=0.1)",
        "layer(nn.PoissonNLLLoss(False, True, reduction='sum'))(positive(3, 2), positive(3, 2) * 2)",
    ),
    "gaussian_nll_loss": _each(
        "F.gaussian_nll_loss(x(3, 2), x(3, 2), positive(3, 2), full=True)END",
        "F.gaussian_nll_loss(x(3, 2), x(3, 2), positive(3), eps=0.9)",
        "F.gaussian_nll_loss(x(3, 2), x(3, 2), positive(3, 1))",
        "F.gaussian_nll_loss(x(3, 2), x(3, 2), 0.7)",
        "layer(nn.GaussianNLLLoss(full=True, reduction='sum'))(x(3, 2), x(3, 2), positive(3, 2))",
    ),
    "triplet_margin_loss": _each(
        "F.triplet_margin_loss(x(3, 4), x(3, 4), x(3, 4), margin=0.8)END",
        "F.triplet_margin_loss(x(3, 4), x(3, 4), x(3, 4), p=3, swap=True)",
        "F.triplet_margin_loss(x(4), x(4), x(4))",
        "layer(nn.TripletMarginLoss(margin=3.0, swap=True))(x(3, 4), x(3, 4), x(3, 4))",
    ),
    "margin_ranking_loss": _each(
        f"F.margin_ranking_loss(x(3), x(3), {SIGNS3}, 0.3)END",
        f"layer(nn.MarginRankingLoss(0.3))(x(3), x(3), {SIGNS3})",
    ),
    "hinge_embedding_loss": _each(
        f"F.hinge_embedding_loss(positive(3, 2), {SIGNS32}, 0.9)END",
        f"layer(nn.HingeEmbeddingLoss(0.9))(positive(3, 2), {SIGNS32})",
        "F.hinge_embedding_loss(positive(3, 2), x(3, 2).detach())",
    ),
    "cosine_embedding_loss": _each(
        f"F.cosine_embedding_loss(x(3, 4), x(3, 4), {SIGNS3}, 0.1)END",
        "F.cosine_embedding_loss(x(4), x(4), x(1)[0].detach() * 0 + 1)",
        f"layer(nn.CosineEmbeddingLoss(-0.5))(x(3, 4), x(3, 4), {SIGNS3})",
    ),
    "cosine_similarity": [
        "F.cosine_similarity(x(3, 4), x(3, 4))",
        "F.cosine_similarity(x(3, 4), x(4), dim=-1)",
        "F.cosine_similarity(x(2, 3), x(2, 3), dim=0, eps=3.0)",
        "layer(nn.CosineSimilarity(dim=0))(x(3, 4), x(3, 4))",
    ],
    "pairwise_distance": [
        "F.pairwise_distance(x(3, 4), x(3, 4))",
        "F.pairwise_distance(x(3, 4), x(1, 4), p=1.5, keepdim=True)",
        "F.pairwise_distance(x(3, 4), x(3, 4).detach(), p=float('inf'))",
        "layer(nn.PairwiseDistance(p=3, keepdim=True))(x(3, 4), x(3, 4))",
        "F.pairwise_distance(x(4), x(4))",
    ],
    "normalize": [
        "F.normalize(x(3, 4))",
        "F.normalize(x(3, 4), p=3.0, dim=0)",
        "F.normalize(x(3, 4), p=1)",
        "F.normalize(x(2, 3, 2), dim=(1, 2))",
        "F.normalize(x(3, 4), eps=9.0)",
    ],
}
