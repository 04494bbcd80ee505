"""Rows of test_errors.py for the names around a script: printing, samplers, initial weights, containers."""

import minigrad as mg
from minigrad import data, nn
from minigrad.errors import DtypeError, ShapeError, ValidationError

x23, x234 = mg.zeros(2, 3), mg.zeros(2, 3, 4)

MESSAGES = [
    (
        lambda: mg.zeros(2, dtype=mg.float16),
        DtypeError,
        "zeros: dtype float16 is not supported; use float32, float64, int64, int32, uint8, bool",
    ),
    (
        lambda: mg.zeros(2, dtype=mg.bfloat16),
        DtypeError,
        "zeros: dtype bfloat16 is not supported; use float32, float64, int64, int32, uint8, bool",
    ),
    (
        lambda: mg.set_printoptions(profile="long"),
        ValidationError,
        "set_printoptions: no profile 'long'; use default, short, full",
    ),
    (lambda: nn.Linear(2, 2).half(), DtypeError, "half: Linear computes in float32 or float64; leave the call out"),
    (lambda: nn.Linear(2, 2).bfloat16(), DtypeError, "half: Linear computes in float32 or float64; leave the call out"),
    (
        lambda: nn.init.trunc_normal_(x23, std=0),
        ValidationError,
        "trunc_normal_: std is 0, a -2.0 and b 2.0; use std above 0, and a below b",
    ),
    (
        lambda: nn.init.eye_(x234),
        ShapeError,
        "eye_: a tensor of shape (2, 3, 4) has 3 dimension(s), expected 2; reshape it",
    ),
    (
        lambda: nn.init.sparse_(x234, 0.5),
        ShapeError,
        "sparse_: a tensor of shape (2, 3, 4) has 3 dimension(s), expected 2; reshape it",
    ),
    (
        lambda: nn.init.dirac_(x23),
        ShapeError,
        "dirac_: a tensor of shape (2, 3) has 2 dimension(s), expected 3 or 4 or 5; reshape it",
    ),
    (
        lambda: nn.init.dirac_(x234, groups=3),
        ValidationError,
        "dirac_: 2 filters in 3 groups; use a divisor of their number",
    ),
    (
        lambda: nn.ParameterDict([1]),
        DtypeError,
        "ParameterDict: expected a dict of parameters, got list; name each of them",
    ),
    (
        lambda: nn.ParameterList([1]),
        DtypeError,
        "ParameterList: '0' is a Parameter, so it cannot be an int; use None to leave it out",
    ),
    (
        lambda: data.DataLoader([1], sampler=[0], shuffle=True),
        ValidationError,
        "DataLoader: sampler and shuffle contradict each other; give one of them",
    ),
    (
        lambda: data.WeightedRandomSampler([1, -1], 1),
        ValidationError,
        "WeightedRandomSampler: weights of shape (2,) with 2 above 0 for 1 samples; give finite numbers (N,) of 0 or "
        "more, with enough above 0",
    ),
    (
        lambda: data.default_collate([None]),
        DtypeError,
        "default_collate: a sample is or has None; make it a tensor, an array, a number, a string, or a tuple, list or "
        "dict of these, or give the DataLoader a collate_fn",
    ),
    (
        lambda: data.default_collate([{"x": 1}, {"y": 1}]),
        ShapeError,
        "default_collate: samples of one batch have keys ['x'] and ['y']; make them equal, or give the DataLoader a "
        "collate_fn",
    ),
    (lambda: data.ConcatDataset([]), ValidationError, "ConcatDataset: no data sets; give at least one"),
]
