"""Cases of running sums, sorting and parts of matrices; see cases.py.

A case calls several functions at once; parity_reduction.py and parity_linear_algebra.py have each alone.
"""

import numpy as np
from cases import PLAIN, draw_axis, draw_call, draw_values, register_case, shapes_with_axes, sizes
from hypothesis import strategies as st

import minigrad as mg


@register_case("cumsum, cumprod, prod")
def _running(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis = draw_axis(draw, x.shape)
    return draw_call(
        draw,
        lambda x: x.cumsum(axis) + 2 * x.cumprod(axis) + 3 * x.prod(axis, keepdim=True),
        lambda x: np.cumsum(x, axis) + 2 * np.cumprod(x, axis) + 3 * np.prod(x, axis, keepdims=True),
        x,
        dim=axis,
    )


@register_case("sort, topk, median")
def _sort(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis, descending = draw_axis(draw, x.shape), draw(st.booleans())

    def expected(x):
        rising = np.sort(x, axis)
        falling, middle = np.flip(rising, axis), np.take(rising, [(x.shape[axis] - 1) // 2], axis)
        return (falling if descending else rising) + 2 * np.take(falling, [0], axis) + 3 * middle

    return draw_call(
        draw,
        lambda x: (
            x.sort(axis, descending).values + 2 * x.topk(1, axis).values + 3 * x.median(axis, keepdim=True).values
        ),
        expected,
        x,
        dim=axis,
        descending=descending,
    )


@register_case("argsort", PLAIN)
def _argsort(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis, sign = draw_axis(draw, x.shape), draw(st.sampled_from((1.0, -1.0)))
    return draw_call(
        draw,
        lambda x: x.argsort(axis, descending=sign < 0),
        lambda x: np.argsort(sign * x, axis, kind="stable"),
        np.round(x),
        dim=axis,
        sign=sign,
    )  # rounded, so that the order of equals counts


@register_case("tril, triu, diagonal, diag_embed")
def _parts_of_matrices(draw):
    lead, rows, cols = draw(st.sampled_from(((), (2,)))), draw(sizes), draw(sizes)
    (x,) = draw_values(draw, (*lead, rows, cols))
    low, high = draw(st.integers(-3, 3)), draw(st.integers(-3, 3))
    offset = draw(st.integers(1 - rows, cols - 1))
    embed = lambda x: (x[..., None] * np.eye(x.shape[-1])).sum((-1, -2))  # noqa: E731
    return draw_call(
        draw,
        lambda x: x.tril(high) + 2 * x.triu(low) + x.diagonal(offset, -2, -1).diag_embed().sum((-1, -2), keepdim=True),
        lambda x: np.tril(x, high) + 2 * np.triu(x, low) + embed(np.diagonal(x, offset, -2, -1))[..., None, None],
        x,
        low=low,
        high=high,
        offset=offset,
    )


@register_case("einsum")
def _einsum(draw):
    i, j, k = draw(sizes), draw(sizes), draw(sizes)
    equation, *given = draw(
        st.sampled_from(
            (
                ("ij,jk->ki", (i, j), (j, k)),
                ("...ij,...jk", (2, i, j), (1, j, k)),
                ("iij,j->i", (i, i, j), (j,)),
                ("ij,kj,k->", (i, j), (k, j), (k,)),
            )
        )
    )
    run, expected = (lambda *x, library=library: library.einsum(equation, *x) for library in (mg, np))
    return draw_call(draw, run, expected, *draw_values(draw, *given), equation=equation)
