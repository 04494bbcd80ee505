"""Generated calls of attention and of tables of vectors."""

import numpy as np
from cases import draw_call, draw_values, register_case
from hypothesis import strategies as st

from minigrad import ops
from minigrad.nn import functional as F
from minigrad.tensors import apply, tensor

sizes = st.integers(1, 4)


def _softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


@register_case("attention_weights")
def _attention_weights(draw):
    N, L, S, E = (draw(sizes) for _ in range(4))
    q, k, mask = draw_values(draw, (N, L, E), (N, S, E), (N, L, S))

    def reference(q, k, mask):
        return _softmax(0.5 * (q @ k.swapaxes(1, 2)) + mask)

    return draw_call(
        draw, lambda q, k, mask: apply(ops.attention_weights, q, k, mask, scale=0.5), reference, q, k, mask
    )


@register_case("softmax_back")
def _softmax_back(draw):
    slope, y = draw_values(draw, *[(draw(sizes), draw(sizes), draw(sizes))] * 2)
    axis = draw(st.integers(0, 2))

    def reference(slope, y):
        return y * (slope - (slope * y).sum(axis, keepdims=True))

    return draw_call(
        draw, lambda slope, y: apply(ops.softmax_back, slope, y, axis=axis), reference, slope, y, axis=axis
    )


@register_case("embedding")
def _embedding(draw):
    rows, width = draw(sizes), draw(st.sampled_from([1, 3, 20]))
    (table,) = draw_values(draw, (rows, width))
    ids = np.array(draw(st.lists(st.integers(0, rows - 1), max_size=9)), np.int64)

    def run(table):
        return F.embedding(tensor(ids, device=table.device), table)

    return draw_call(draw, run, lambda table: table[ids], table, ids=ids)
