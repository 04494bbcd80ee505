"""Cases of activations and of losses of each element."""

import numpy as np
from cases import draw_broadcastable_shapes, draw_call, draw_values, register_case, shapes
from hypothesis import strategies as st

from minigrad.nn import functional as F
from minigrad.runtime.math import erf_array


def _erf(x):
    """The error function of a number with a small imaginary part."""
    x = np.asarray(x)
    return erf_array(x.real) + 2j / np.pi**0.5 * np.exp(-(x.real**2)) * x.imag if x.dtype.kind == "c" else erf_array(x)


def _gelu_tanh(x):
    return x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x))) / 2


ACTIVATIONS = {  # name: run, reference
    "hardtanh": (
        lambda x: F.hardtanh(x, -np.pi / 4, np.e / 3),
        lambda x: np.where(x.real < -np.pi / 4, -np.pi / 4, np.where(x.real > np.e / 3, np.e / 3, x)),
    ),
    "softplus": (
        lambda x: F.softplus(x, 3.0, np.pi),
        lambda x: np.where(3 * x.real > np.pi, x, np.log(1 + np.exp(3 * x)) / 3),
    ),
    "celu": (lambda x: F.celu(x, 0.7), lambda x: np.where(x.real > 0, x, 0.7 * (np.exp(x / 0.7) - 1))),
    "gelu": (F.gelu, lambda x: x * (1 + _erf(x * 0.5**0.5)) / 2),
    "gelu_tanh": (lambda x: F.gelu(x, "tanh"), _gelu_tanh),
    "silu": (F.silu, lambda x: x / (1 + np.exp(-x))),
    "mish": (F.mish, lambda x: x * np.tanh(np.log(1 + np.exp(x)))),
    "softsign": (F.softsign, lambda x: x / (1 + np.where(x.real > 0, x, -x))),
    "hardswish": (F.hardswish, lambda x: x * (x + 3) / 6),
    "hardshrink": (lambda x: F.hardshrink(x, np.pi / 4), lambda x: np.where(abs(x.real) > np.pi / 4, x, 0)),
    "softshrink": (
        lambda x: F.softshrink(x, np.pi / 4),
        lambda x: np.where(x.real > np.pi / 4, x - np.pi / 4, np.where(x.real < -np.pi / 4, x + np.pi / 4, 0)),
    ),
}


def _register(name, run, reference):
    @register_case(name)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes))
        return draw_call(draw, run, reference, x)


for _name, _row in ACTIVATIONS.items():
    _register(_name, *_row)


@register_case("prelu")
def _prelu(draw):
    shape = draw(shapes)
    x, weight = draw_values(draw, shape, (draw(st.sampled_from((1, shape[1]))) if len(shape) > 1 else 1,))
    axes = (-1, *[1] * (len(shape) - 2))

    def reference(x, weight):
        return np.where(x.real > 0, x, x * (weight[0] if weight.size == 1 else weight.reshape(axes)))

    return draw_call(draw, F.prelu, reference, x, weight)


@register_case("binary_cross_entropy")
def _binary_cross_entropy(draw):
    shape = draw(shapes)
    x, t = draw_values(draw, shape, shape, low=0.1, high=0.9)
    return draw_call(
        draw,
        lambda x, t: F.binary_cross_entropy(x, t, reduction="none"),
        lambda x, t: -t * np.log(x) - (1 - t) * np.log(1 - x),
        x,
        t,
    )


@register_case("binary_cross_entropy_with_logits")
def _binary_cross_entropy_with_logits(draw):
    shape, _ = draw_broadcastable_shapes(draw, 2)
    x, t = draw_values(draw, shape, shape)
    return draw_call(
        draw,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none"),
        lambda x, t: (1 - t) * x + np.log(1 + np.exp(-x)),
        x,
        t,
    )
