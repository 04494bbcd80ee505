"""Activations: each is one declaration, from which its kernels and its first and second derivative follow.

nn/functional/activation.py composes the others.
Sources: K. Fukushima, 1969, and V. Nair & G. Hinton, 2010 (relu); A. Maas et al., 2013 (leaky relu); K. He et al., 2015
(prelu); C. Dugas et al., 2000 (softplus); D. Clevert et al., 2016 (elu); D. Hendrycks & K. Gimpel, 2016 (gelu).
"""

import numpy as np

from ..runtime import math
from ..runtime.kernel import helper
from ..runtime.math import const
from .elementwise import activation, binary
from .promotion import as_float

relu = activation(  # nan stays nan
    "relu",
    "ReLU",
    formula=lambda x: const(0, x) if x <= const(0, x) else x,
    backward=lambda g, out: const(0, out) if out <= const(0, out) else g,
    reference=lambda x: np.maximum(x, 0),
    reference_backward=lambda g, out: np.where(out <= 0, 0, g),
)

leaky_relu = activation(
    "leaky_relu",
    "leaky ReLU",
    formula=lambda x, negative_slope: x if x > const(0, x) else negative_slope * x,
    backward=lambda g, x, negative_slope: g if x > const(0, x) else negative_slope * g,
    reference=lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    reference_backward=lambda g, x, negative_slope: np.where(x > 0, g, negative_slope * g),
)

sigmoid = activation(  # its derivative is out * (1 - out)
    "sigmoid",
    "sigmoid",
    formula=lambda x: const(1, x) / (const(1, x) + math.exp(-x)),
    backward=lambda g, out: g * out * (const(1, out) - out),
    reference=lambda x: 1 / (1 + np.exp(-x)),
    reference_backward=lambda g, out: g * out * (1 - out),
    second=lambda do, g, out: do.mul(g, do.sub(1.0, do.mul(out, 2.0))),
    convert=as_float,
)

tanh = activation(  # its derivative is 1 - out**2
    "tanh",
    "tanh",
    formula=lambda x: math.tanh(x),
    backward=lambda g, out: g * (const(1, out) - out * out),
    reference=np.tanh,
    reference_backward=lambda g, out: g * (1 - out * out),
    second=lambda do, g, out: do.mul(g, do.mul(out, -2.0)),
    convert=as_float,
)

hardtanh = activation(
    "hardtanh",
    "hardtanh",
    formula=lambda x, low, high: low if x < low else high if x > high else x,
    backward=lambda g, x, low, high: g if (x > low) & (x < high) else const(0, g),
    reference=np.clip,
    reference_backward=lambda g, x, low, high: np.where((x > low) & (x < high), g, 0),
)


@helper
def log1p_exp(x):
    """log(1 + e**x), without overflow; log(1 + u) of a small u as in D. Goldberg, 1991, theorem 4."""
    u = math.exp(-abs(x))
    w = const(1, x) + u
    log1p = u if w == const(1, x) else math.log(w) * (u / (w - const(1, x)))
    return math.larger(x, const(0, x)) + log1p


softplus = activation(
    "softplus",
    "softplus",
    formula=lambda x, beta, threshold: x if x * beta > threshold else log1p_exp(x * beta) / beta,
    backward=lambda g, x, beta, threshold: g if x * beta > threshold else g / (const(1, x) + math.exp(-x * beta)),
    reference=lambda x, beta, threshold: np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta),
    reference_backward=lambda g, x, beta, threshold: np.where(x * beta > threshold, g, g / (1 + np.exp(-x * beta))),
    second=lambda do, g, x, beta, threshold: do.where(
        do.gt(do.mul(x, beta), threshold), 0.0, do.mul(do.sigmoid_backward(g, do.sigmoid(do.mul(x, beta))), beta)
    ),
)


def _elu_second(do, g, x, alpha, scale, steepness):
    slope = do.mul(do.exp(do.mul(do.minimum(x, 0.0), steepness)), alpha * scale * steepness**2)
    return do.where(do.ge(x, 0.0), 0.0, do.mul(g, slope))


elu = activation(  # scale * x above 0, scale * alpha * (e**(steepness * x) - 1) below
    "elu",
    "ELU",
    formula=lambda x, alpha, scale, steepness: (
        alpha * scale * math.expm1(x * steepness) if x < const(0, x) else x * scale
    ),
    backward=lambda g, x, alpha, scale, steepness: (
        g * scale if x > const(0, x) else g * (alpha * scale * steepness) * math.exp(x * steepness)
    ),
    reference=lambda x, alpha, scale, steepness: np.where(x < 0, alpha * scale * np.expm1(x * steepness), x * scale),
    reference_backward=lambda g, x, alpha, scale, steepness: np.where(
        x > 0, g * scale, g * (alpha * scale * steepness) * np.exp(x * steepness)
    ),
    second=_elu_second,
)

# ---- x P(x), with the normal distribution function P and density p: derivatives P + x p, and (2 - x**2) p

ROOT_HALF, DENSITY_AT_0 = 0.5**0.5, (2 * math.pi) ** -0.5


@helper
def _normal(x):
    return const(0.5, x) * (const(1, x) + math.erf(x * const(ROOT_HALF, x)))


def _normal_numpy(x):
    return 0.5 * (1 + math.erf_array(x * ROOT_HALF))


def _gelu_second(do, g, x):
    square = do.mul(x, x)
    return do.mul(do.mul(g, do.sub(2.0, square)), do.mul(do.exp(do.mul(square, -0.5)), DENSITY_AT_0))


gelu = activation(
    "gelu",
    "GELU",
    formula=lambda x: x * _normal(x),
    backward=lambda g, x: g * (_normal(x) + x * math.exp(x * x * const(-0.5, x)) * const(DENSITY_AT_0, x)),
    reference=lambda x: x * _normal_numpy(x),
    reference_backward=lambda g, x: g * (_normal_numpy(x) + x * np.exp(x * x * -0.5) * DENSITY_AT_0),
    second=_gelu_second,
)

# ---- the same, with sigmoid(v) in place of P, where v = LINEAR x + CUBIC x**3; (1 + tanh(v / 2)) / 2 is sigmoid(v)

LINEAR = (8 / math.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


@helper
def _sigmoid_of_cubic(x):
    return const(1, x) / (const(1, x) + math.exp(-x * (const(LINEAR, x) + const(CUBIC, x) * x * x)))


def _sigmoid_of_cubic_numpy(x):
    return 1 / (1 + np.exp(-x * (LINEAR + CUBIC * x * x)))


def _gelu_tanh_second(do, g, x):
    """s (1 - s) (2 v' + x (v'' + v'**2 (1 - 2 s)))."""
    square = do.mul(x, x)
    s = do.sigmoid(do.mul(x, do.add(do.mul(square, CUBIC), LINEAR)))
    slope = do.add(do.mul(square, 3 * CUBIC), LINEAR)
    bend = do.add(do.mul(x, 6 * CUBIC), do.mul(do.mul(slope, slope), do.sub(1.0, do.mul(s, 2.0))))
    return do.mul(do.sigmoid_backward(g, s), do.add(do.mul(slope, 2.0), do.mul(x, bend)))


gelu_tanh = activation(
    "gelu_tanh",
    "GELU (tanh)",
    formula=lambda x: x * _sigmoid_of_cubic(x),
    backward=lambda g, x: (
        g
        * _sigmoid_of_cubic(x)
        * (const(1, x) + x * (const(1, x) - _sigmoid_of_cubic(x)) * (const(LINEAR, x) + const(3 * CUBIC, x) * x * x))
    ),
    reference=lambda x: x * _sigmoid_of_cubic_numpy(x),
    reference_backward=lambda g, x: (
        g * _sigmoid_of_cubic_numpy(x) * (1 + x * (1 - _sigmoid_of_cubic_numpy(x)) * (LINEAR + 3 * CUBIC * x * x))
    ),
    second=_gelu_tanh_second,
)

prelu = binary("prelu", lambda x, w: x if x > const(0, x) else w * x, lambda x, w: np.where(x > 0, x, w * x))


@prelu.gradient
def prelu_gradient(do, g, a, b):
    return lambda: do.where(do.gt(a, 0.0), g, do.mul(g, b)), lambda: do.where(do.gt(a, 0.0), 0.0, do.mul(g, a))
