"""Error messages of normalisation, dropout and lazy layers; see test_errors.py."""

import minigrad as mg
from minigrad import nn, optim
from minigrad.errors import DtypeError, ShapeError, StateError, ValidationError
from minigrad.nn import functional as F

x, line, one, whole = mg.zeros(2, 3), mg.zeros(2, 3, 4), mg.ones(3), mg.tensor([[1, 2, 3]])
double = mg.ones(3, dtype=mg.float64)
NOT_READY = "a lazy layer has no weights yet; call the model on a batch, or load a state, first"

MESSAGES = [
    (lambda: F.batch_norm([1], None, None), DtypeError, "batch_norm: expected a Tensor, got list; use mg.tensor(...)"),
    (
        lambda: F.batch_norm(x, None, None),
        ValidationError,
        "batch_norm: running_mean is None; give running statistics, or training=True",
    ),
    (
        lambda: F.batch_norm(x, one, None),
        ValidationError,
        "batch_norm: only one of running_mean and running_var is given; give both, or none",
    ),
    (
        lambda: F.batch_norm(mg.zeros(1, 3), None, None, training=True),
        ValidationError,
        "batch_norm: training needs more than 1 value in each channel, x (1, 3) has 1; use more images, drop_last=True "
        "in the DataLoader, or eval()",
    ),
    (
        lambda: F.batch_norm(one, one, one),
        ShapeError,
        "batch_norm: x has 1 dimension(s) (3,), expected 2 or more (N, C, ...)",
    ),
    (
        lambda: F.batch_norm(x, one, one, weight=mg.ones(2)),
        ShapeError,
        "batch_norm: weight has shape (2,), expected (3,) for x (2, 3)",
    ),
    (
        lambda: F.batch_norm(x, one, double),
        DtypeError,
        "batch_norm: x is float32, running_var is float64; convert one with .to(mg.float32)",
    ),
    (
        lambda: F.layer_norm(whole, (3,)),
        DtypeError,
        "layer_norm: x is int64, expected floats; convert it with .float()",
    ),
    (
        lambda: F.layer_norm(x, (2,)),
        ShapeError,
        "layer_norm: x has shape (2, 3), normalized_shape is (2,); give the sizes of the last axes of x",
    ),
    (
        lambda: F.rms_norm(x, ()),
        ShapeError,
        "rms_norm: x has shape (2, 3), normalized_shape is (); give the sizes of the last axes of x",
    ),
    (
        lambda: F.group_norm(x, 2),
        ValidationError,
        "group_norm: x (2, 3) has 3 channels, no multiple of num_groups=2; use a divisor",
    ),
    (
        lambda: F.instance_norm(line, use_input_stats=False),
        ValidationError,
        "instance_norm: running_mean is None; give running statistics, or use_input_stats=True",
    ),
    (
        lambda: F.instance_norm(mg.zeros(2, 3, 1)),
        ValidationError,
        "instance_norm: x (2, 3, 1) has 1 pixel in each channel, expected 2 or more",
    ),
    (
        lambda: F.local_response_norm(line, 0),
        ValidationError,
        "local_response_norm: size is 0; use a whole number of 1 or more",
    ),
    (lambda: nn.BatchNorm2d(3)(x), ShapeError, "BatchNorm2d: x has 2 dimension(s) (2, 3), expected 4"),
    (
        lambda: nn.BatchNorm1d(2)(x),
        ShapeError,
        "BatchNorm1d: x (2, 3) has 3 channels, expected 2; build the layer with num_features=3",
    ),
    (
        lambda: nn.GroupNorm(2, 3),
        ValidationError,
        "GroupNorm: num_groups=2 does not divide num_channels=3; use a divisor",
    ),
    (lambda: F.dropout2d(x), ShapeError, "dropout2d: x has 2 dimension(s) (2, 3), expected 3 or 4"),
    (
        lambda: F.feature_alpha_dropout(one, training=True),
        ShapeError,
        "feature_alpha_dropout: x has 1 dimension(s) (3,), expected 2 or more",
    ),
    (
        lambda: F.alpha_dropout(whole, training=True),
        DtypeError,
        "alpha_dropout: x is int64, expected floats; convert it with .float()",
    ),
    (lambda: nn.Dropout1d(2), ValidationError, "Dropout1d: p is 2; use a number from 0 to 1"),
    (lambda: nn.LazyLinear(2).state_dict(), StateError, f"UninitializedParameter: {NOT_READY}"),
    (lambda: nn.LazyBatchNorm1d().running_mean + 1, StateError, f"UninitializedBuffer: {NOT_READY}"),
    (lambda: optim.SGD(nn.LazyLinear(2).parameters()), StateError, f"UninitializedParameter: {NOT_READY}"),
    (lambda: mg.graph(nn.LazyLinear(2))(x), StateError, f"UninitializedParameter: {NOT_READY}"),
    (lambda: nn.LazyConv2d(2, 3)(x), ShapeError, "LazyConv2d: x has 2 dimension(s) (2, 3), expected 3 or 4"),
]
