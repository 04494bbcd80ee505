"""The errors of activations and losses: (call, error, the whole message)."""

import minigrad as mg
from minigrad import nn
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from minigrad.nn import functional as F

T, zeros = mg.tensor, mg.zeros
x2, x23, logits = zeros(2), zeros(2, 3), zeros(2, 4)
whole = T([1, 2])
BROADCAST = "make the shapes equal, because broadcasting would average over unrelated pairs"
TENSOR = "expected a Tensor, got list; use mg.tensor(...)"

MESSAGES = [
    (lambda: F.silu(whole), DtypeError, "silu: expected a float tensor, got int64; convert it with .float()"),
    (lambda: F.gelu(whole), DtypeError, "gelu: expected a float tensor, got int64; convert it with .float()"),
    (lambda: F.softmin([1.0], 0), DtypeError, f"softmin: {TENSOR}"),
    (lambda: F.relu6([1.0], inplace=True), DtypeError, f"hardtanh: {TENSOR}"),
    (lambda: F.gelu(x2, "erf"), ValidationError, "gelu: approximate is 'erf'; use 'none' or 'tanh'"),
    (lambda: F.hardtanh(x2, 2, 1), ValidationError, "hardtanh: min_val 2 is above max_val 1; exchange them"),
    (lambda: F.softshrink(x2, -1), ValidationError, "softshrink: lambd is -1; use a number of 0 or more"),
    (
        lambda: F.celu(x2, 0.0),
        ValidationError,
        "celu: alpha is 0; use another number, because the input is divided by it",
    ),
    (lambda: F.rrelu(x2, 0.3, 0.1), ValidationError, "rrelu: upper is 0.1; use a number of 0.3 or more"),
    (lambda: F.glu(x23), ShapeError, "glu: dim -1 of (2, 3) has size 3; use an even size"),
    (lambda: F.glu(x23, 2), ShapeError, "glu: dim 2 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: F.prelu(x23, x2), ShapeError, "prelu: weight has shape (2,), input (2, 3); give 1 or 3 numbers"),
    (
        lambda: F.gumbel_softmax(whole),
        DtypeError,
        "exponential_: expected a float tensor, got int64; convert it with .float()",
    ),
    (
        lambda: nn.Softmax2d()(x23),
        ShapeError,
        "Softmax2d: x has 2 dimensions (2, 3), expected (N, C, H, W) or (C, H, W)",
    ),
    (
        lambda: F.cross_entropy(logits, zeros(2, 4), zeros(3)),
        ShapeError,
        "cross_entropy: weight has shape (3,), x has 4 classes; give one for each",
    ),
    (
        lambda: F.cross_entropy(logits, zeros(2, 3)),
        DtypeError,
        "cross_entropy: labels are float32, expected whole numbers (class indices); use labels.long(), or "
        "labels.argmax(1) for one-hot rows",
    ),
    (
        lambda: F.cross_entropy(zeros(4), T(4)),
        ValidationError,
        "cross_entropy: label 4 is out of range for 4 classes (0 to 3); build the last layer with more outputs, or "
        "use ignore_index",
    ),
    (lambda: F.multi_margin_loss(logits, T([0, 1]), p=3), ValidationError, "multi_margin_loss: p is 3; use 1 or 2"),
    (
        lambda: F.multi_margin_loss(logits, T([0])),
        ShapeError,
        "multi_margin_loss: input (2, 4) and target (1,); use (N, K) and (N)",
    ),
    (lambda: F.multi_margin_loss(logits, T([0, 4])), OutOfRangeError, "gather: index 4 is out of range for size 4"),
    (
        lambda: F.binary_cross_entropy(T([0.5, 1.5]), x2),
        ValidationError,
        "binary_cross_entropy: the input is not from 0 to 1; give probabilities, or logits to "
        "binary_cross_entropy_with_logits",
    ),
    (
        lambda: F.gaussian_nll_loss(x2, x2, T([1.0, -1.0])),
        ValidationError,
        "gaussian_nll_loss: var holds negative numbers; give variances, for example by exp or softplus",
    ),
    (
        lambda: F.gaussian_nll_loss(x23, x23, zeros(3)),
        ShapeError,
        "gaussian_nll_loss: var has shape (3,), input (2, 3); make the shapes equal",
    ),
    (
        lambda: F.binary_cross_entropy_with_logits(x23, x2),
        ShapeError,
        f"binary_cross_entropy_with_logits: x is (2, 3), target (2,); {BROADCAST}",
    ),
    (lambda: F.l1_loss(x2, [1.0, 2.0]), DtypeError, f"l1_loss: {TENSOR}"),
    (
        lambda: F.cosine_embedding_loss(x23, x23, zeros(3)),
        ShapeError,
        f"cosine_embedding_loss: x is (2,), target (3,); {BROADCAST}",
    ),
    (
        lambda: F.triplet_margin_loss(x23, x23, x2),
        ShapeError,
        "triplet_margin_loss: tensors of shapes (2, 3), (2, 3), (2,); give equally many axes",
    ),
    (
        lambda: F.kl_div(x2, x2, reduction="batch"),
        ValidationError,
        "kl_div: reduction is 'batch'; use 'batchmean', 'mean', 'sum' or 'none'",
    ),
    (lambda: F.huber_loss(x2, x2, delta=0), ValidationError, "huber_loss: delta is 0; use a number above 0"),
    (
        lambda: F.smooth_l1_loss(x2, x2, beta=-1),
        ValidationError,
        "smooth_l1_loss: beta is -1; use a number of 0 or more",
    ),
    (lambda: F.normalize(x23, p=0), ValidationError, "norm: p is 0; use a number above 0, or inf"),
    (
        lambda: F.cosine_similarity(x23, x2),
        ShapeError,
        "cosine_similarity: shapes (2, 3) and (2,) do not broadcast: axis -1 has sizes 2 and 3; make them equal, or "
        "one of them 1",
    ),
    (lambda: nn.L1Loss(reduction="avg"), ValidationError, "L1Loss: reduction is 'avg'; use 'mean', 'sum' or 'none'"),
    (
        lambda: F.cross_entropy(mg.zeros(2, 3), mg.tensor([0, 1]), None, -1),
        TypeError,
        "cross_entropy: too many arguments by position; give reduction= and those around it by name",
    ),
    (
        lambda: nn.MSELoss(average=False),
        TypeError,
        "MSELoss: got an unexpected keyword argument 'average'; it takes (reduction: str = 'mean')",
    ),
]
