"""Test cases of normalisation; see cases.py."""

import numpy as np
from cases import draw_call, draw_values, register_case
from hypothesis import strategies as st

from minigrad.nn import functional as F


def _reference(x, weight, bias, axes, eps):
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axes, keepdims=True) + eps) * weight + bias


def _draw_channels(draw, C):
    """Return an input with C channels, of at least two images and two pixels, and its weight and bias."""
    N, pixels = draw(st.sampled_from((2, 17, 70))), draw(st.sampled_from(((2,), (3, 5), (2, 1, 3))))
    return draw_values(draw, (N, C, *pixels), (C,), (C,))


def _per_channel(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 2))


@register_case("batch_norm")
def _batch_norm(draw):
    x, weight, bias = _draw_channels(draw, draw(st.sampled_from((1, 3))))
    axes, eps = (0, *range(2, x.ndim)), draw(st.sampled_from((1e-5, 0.1)))
    return draw_call(
        draw,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=eps),
        lambda x, w, b: _reference(x, _per_channel(w, x), _per_channel(b, x), axes, eps),
        *(x, weight, bias),
        shape=x.shape,
        eps=eps,
    )


@register_case("group_norm")
def _group_norm(draw):
    x, weight, bias = _draw_channels(draw, 4)
    groups = draw(st.sampled_from((1, 2, 4)))

    def reference(x, w, b):
        parts = x.reshape(len(x), groups, -1)
        return _reference(parts, 1, 0, -1, 0.1).reshape(x.shape) * _per_channel(w, x) + _per_channel(b, x)

    run = lambda x, w, b: F.group_norm(x, groups, w, b, 0.1)  # noqa: E731
    return draw_call(draw, run, reference, x, weight, bias, shape=x.shape, groups=groups)


@register_case("layer_norm")
def _layer_norm(draw):
    last = draw(st.sampled_from(((5,), (3, 33), (80,))))
    x, weight, bias = draw_values(draw, (*draw(st.sampled_from(((), (3,), (2, 70)))), *last), last, last)
    axes = tuple(range(-len(last), 0))
    run = lambda x, w, b: F.layer_norm(x, last, w, b, 0.1)  # noqa: E731
    return draw_call(draw, run, lambda x, w, b: _reference(x, w, b, axes, 0.1), x, weight, bias, shape=x.shape)


@register_case("rms_norm")
def _rms_norm(draw):
    x, weight = draw_values(draw, (*draw(st.sampled_from(((), (3,), (2, 5)))), 7), (7,))
    reference = lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.1) * w  # noqa: E731
    return draw_call(draw, lambda x, w: F.rms_norm(x, (7,), w, 0.1), reference, x, weight, shape=x.shape)
