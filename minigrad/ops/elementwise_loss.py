"""Binary cross-entropy of each element; nn/functional/loss.py composes the other losses of elements."""

import numpy as np

from ..runtime import math
from ..runtime.math import const
from .elementwise import binary

# ---- of a logit x and a target t: (1 - t) x + log(1 + e**-x), with the slope sigmoid(x) - t

bce_logits = binary(
    "bce_logits",
    lambda x, t: (const(1, x) - t) * x + math.log1p_exp(-x),
    lambda x, t: (1 - t) * x + np.logaddexp(0, -x),
)
bce_logits_slope = binary(
    "bce_logits_slope",
    lambda x, t: const(1, x) / (const(1, x) + math.exp(-x)) - t,
    lambda x, t: 1 / (1 + np.exp(-x)) - t,
)


@bce_logits.gradient
def bce_logits_gradient(do, g, a, b):
    return lambda: do.mul(do.bce_logits_slope(a, b), g), lambda: do.neg(do.mul(a, g))


@bce_logits_slope.gradient
def bce_logits_slope_gradient(do, g, a):
    return lambda: do.sigmoid_backward(g, do.sigmoid(a)), lambda: do.neg(g)


# ---- of a probability x: -t log(x) - (1 - t) log(1 - x), with logarithms of at least -100

LEAST_LOG, LEAST_VARIANCE = -100.0, 1e-12  # PyTorch's

bce = binary(
    "bce",
    lambda x, t: (
        (t - const(1, x)) * math.larger(const(LEAST_LOG, x), math.log1p(-x))
        - t * math.larger(const(LEAST_LOG, x), math.log(x))
    ),
    lambda x, t: (t - 1) * np.maximum(np.log1p(-x), LEAST_LOG) - t * np.maximum(np.log(x), LEAST_LOG),
)


@bce.gradient
def bce_gradient(do, g, a, b):
    """By the input (a - b) / (a (1 - a)), by the target log(1 - a) - log(a)."""
    rest = do.sub(1.0, a)
    return (
        lambda: do.div(do.mul(g, do.sub(a, b)), do.maximum(do.mul(rest, a), LEAST_VARIANCE)),
        lambda: do.mul(g, do.sub(do.log(rest), do.log(a))),
    )
