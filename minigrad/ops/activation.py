"""Activations: each is one declaration, from which its kernels and its first and second derivative follow.

nn/functional/activation.py composes the others.
Sources: K. Fukushima, 1969, and V. Nair & G. Hinton, 2010 (relu); A. Maas et al., 2013 (leaky relu); K. He et al., 2015
(prelu); C. Dugas et al., 2000 (softplus); D. Clevert et al., 2016 (elu); D. Hendrycks & K. Gimpel, 2016 (gelu).
"""

import numpy as np

from ..runtime import math
from ..runtime.kernel import helper
from ..runtime.math import const, where
from .elementwise import activation, binary
from .promotion import as_float

relu = activation(  # nan stays nan
    "relu",
    "ReLU",
    formula=lambda x: where(x <= const(0, x), const(0, x), x),
    backward=lambda g, out: where(out <= const(0, out), const(0, out), g),
    reference=lambda x: np.maximum(x, 0),
    reference_backward=lambda g, out: np.where(out <= 0, 0, g),
)

leaky_relu = activation(
    "leaky_relu",
    "leaky ReLU",
    formula=lambda x, negative_slope: where(x > const(0, x), x, negative_slope * x),
    backward=lambda g, x, negative_slope: where(x > const(0, x), g, negative_slope * g),
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
    formula=lambda x, low, high: where(x < low, low, where(x > high, high, x)),
    backward=lambda g, x, low, high: where((x <= low) | (x >= high), const(0, g), g),
    reference=np.clip,
    reference_backward=lambda g, x, low, high: np.where((x <= low) | (x >= high), 0, g),
)

softplus = activation(
    "softplus",
    "softplus",
    formula=lambda x, beta, threshold: where(x * beta > threshold, x, math.log1p_exp(x * beta) / beta),
    backward=lambda g, x, beta, threshold: where(x * beta > threshold, g, g / (const(1, x) + math.exp(-x * beta))),
    reference=lambda x, beta, threshold: np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta),
    reference_backward=lambda g, x, beta, threshold: np.where(x * beta > threshold, g, g / (1 + np.exp(-x * beta))),
    second=lambda do, g, x, beta, threshold: do.where(
        do.gt(do.mul(x, beta), threshold), 0.0, do.mul(do.sigmoid_backward(g, do.sigmoid(do.mul(x, beta))), beta)
    ),
)


def _elu_second(do, g, x, alpha, scale, steepness):
    slope = do.mul(do.exp(do.mul(do.minimum(x, 0.0), steepness)), alpha * scale * steepness**2)
    return do.where(do.ge(x, 0.0), 0.0, do.mul(g, slope))


# scale * x above 0, and scale * alpha * (e**(steepness * x) - 1) below.  ELU has scale = steepness = 1, SELU its scale,
# CELU scale = 1 and steepness = 1 / alpha
elu = activation(
    "elu",
    "ELU",
    formula=lambda x, alpha, scale, steepness: where(
        x < const(0, x), alpha * scale * math.expm1(x * steepness), x * scale
    ),
    backward=lambda g, x, alpha, scale, steepness: where(
        x > const(0, x), g * scale, g * (alpha * scale * steepness) * math.exp(x * steepness)
    ),
    reference=lambda x, alpha, scale, steepness: np.where(x < 0, alpha * scale * np.expm1(x * steepness), x * scale),
    reference_backward=lambda g, x, alpha, scale, steepness: np.where(
        x > 0, g * scale, g * (alpha * scale * steepness) * np.exp(x * steepness)
    ),
    second=_elu_second,
)

# ---- shrinking towards 0; the slope is 0 or 1


def _shrinking(name, formula, reference):
    return activation(
        name,
        name,
        formula=formula,
        backward=lambda g, x, lambd: where(abs(x) <= lambd, const(0, g), g),
        reference=reference,
        reference_backward=lambda g, x, lambd: np.where(np.abs(x) <= lambd, 0, g),
    )


hardshrink = _shrinking(
    "hardshrink",
    lambda x, lambd: where(abs(x) <= lambd, const(0, x), x),
    lambda x, lambd: np.where(np.abs(x) <= lambd, 0, x),
)
softshrink = _shrinking(
    "softshrink",
    lambda x, lambd: x - math.smaller(lambd, math.larger(-lambd, x)),
    lambda x, lambd: x - np.clip(x, -lambd, lambd),
)

# ---- x times a function that goes from 0 to 1, or from -1 to 1


def _softsign_second(do, g, x):
    return do.mul(do.mul(g, -2.0), do.div(do.sign(x), do.pow(do.add(do.abs(x), 1.0), 3)))


softsign = activation(
    "softsign",
    "softsign",
    formula=lambda x: x / (const(1, x) + abs(x)),
    backward=lambda g, x: g / ((const(1, x) + abs(x)) * (const(1, x) + abs(x))),
    reference=lambda x: x / (1 + np.abs(x)),
    reference_backward=lambda g, x: g / (1 + np.abs(x)) ** 2,
    second=_softsign_second,
)


def _hardswish_second(do, g, x):
    return do.where(do.lt(do.abs(x), 3.0), do.div(g, 3.0), 0.0)


hardswish = activation(
    "hardswish",
    "hardswish",
    formula=lambda x: x * math.smaller(const(6, x), math.larger(const(0, x), x + const(3, x))) / const(6, x),
    backward=lambda g, x: where(
        abs(x) < const(3, x), g * (x / const(3, x) + const(0.5, x)), where(x <= const(-3, x), const(0, g), g)
    ),
    reference=lambda x: x * np.clip(x + 3, 0, 6) / 6,
    reference_backward=lambda g, x: np.where(np.abs(x) < 3, g * (x / 3 + 0.5), np.where(x <= -3, 0, g)),
    second=_hardswish_second,
)


@helper
def _sigmoid(x):
    return const(1, x) / (const(1, x) + math.exp(-x))


def _sigmoid_numpy(x):
    return 1 / (1 + np.exp(-x))


def _silu_second(do, g, x):
    """s (1 - s) (2 + x (1 - 2 s)), where s is sigmoid(x)."""
    s = do.sigmoid(x)
    return do.mul(do.sigmoid_backward(g, s), do.add(do.mul(x, do.sub(1.0, do.mul(s, 2.0))), 2.0))


silu = activation(
    "silu",
    "SiLU",
    formula=lambda x: x * _sigmoid(x),
    backward=lambda g, x: g * _sigmoid(x) * (const(1, x) + x * (const(1, x) - _sigmoid(x))),
    reference=lambda x: x * _sigmoid_numpy(x),
    reference_backward=lambda g, x: g * _sigmoid_numpy(x) * (1 + x * (1 - _sigmoid_numpy(x))),
    second=_silu_second,
)


@helper
def _mish_parts(x):
    """e**x, and n = e**x (e**x + 2), of an x of at most 20, for tanh(log(1 + e**x)) = n / (n + 2)."""
    e = math.exp(math.smaller(const(20, x), x))
    return e, e * (e + const(2, x))


@helper
def _mish(x):
    e, n = _mish_parts(x)
    return x * (n / (n + const(2, x)))


@helper
def _mish_slope(x):
    """t + x (1 - t**2) sigmoid(x) with t = n / (n + 2)."""
    e, n = _mish_parts(x)
    part = const(1, x) / (n + const(2, x))
    return (n + const(4, x) * math.smaller(const(20, x), x) * e * (e + const(1, x)) * part) * part


def _tanh_softplus(x):
    return np.tanh(np.logaddexp(0, x))


def _mish_second(do, g, x):
    """4 q (1 - q) s (2 + x (1 - s (3 - 4 q))): s is sigmoid(x), and q is sigmoid(-2 softplus(x)), (1 - t) / 2."""
    s, q = do.sigmoid(x), do.sigmoid(do.mul(do.softplus(x, beta=1.0, threshold=20.0), -2.0))
    bend = do.mul(x, do.sub(1.0, do.mul(s, do.sub(3.0, do.mul(q, 4.0)))))
    return do.mul(do.mul(do.sigmoid_backward(g, q), do.mul(s, 4.0)), do.add(bend, 2.0))


mish = activation(
    "mish",
    "Mish",
    formula=lambda x: _mish(x),
    backward=lambda g, x: g * _mish_slope(x),
    reference=lambda x: x * _tanh_softplus(x),
    reference_backward=lambda g, x: (
        g * (_tanh_softplus(x) + np.minimum(x, 20) * (1 - _tanh_softplus(x) ** 2) * _sigmoid_numpy(x))
    ),
    second=_mish_second,
)

# ---- x P(x), with the normal distribution function P and density p: derivatives P + x p, and (2 - x**2) p

DENSITY_AT_0 = (2 * math.pi) ** -0.5


def _gelu_second(do, g, x):
    square = do.mul(x, x)
    return do.mul(do.mul(g, do.sub(2.0, square)), do.mul(do.exp(do.mul(square, -0.5)), DENSITY_AT_0))


gelu = activation(
    "gelu",
    "GELU",
    formula=lambda x: x * math.normal(x),
    backward=lambda g, x: g * (math.normal(x) + x * math.exp(x * x * const(-0.5, x)) * const(DENSITY_AT_0, x)),
    reference=lambda x: x * math.normal(x),
    reference_backward=lambda g, x: g * (math.normal(x) + x * np.exp(x * x * -0.5) * DENSITY_AT_0),
    second=_gelu_second,
)

# ---- GELU, approximated: x * sigmoid(v) with v = LINEAR * x + CUBIC * x**3.  PyTorch writes (1 + tanh(v / 2)) / 2 for
# sigmoid(v), which is the same number

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

prelu = binary("prelu", lambda x, w: where(x > const(0, x), x, w * x), lambda x, w: np.where(x > 0, x, w * x))


@prelu.gradient
def prelu_gradient(do, g, a, b):
    return lambda: do.where(do.gt(a, 0.0), g, do.mul(g, b)), lambda: do.where(do.gt(a, 0.0), 0.0, do.mul(g, a))
