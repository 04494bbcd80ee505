"""Parts of matrices: triangles and diagonals."""

import numpy as np

from ..runtime import memory
from ..runtime.elementwise import Index
from ..runtime.kernel import Ints, Memory
from ..runtime.math import const
from .op import Dispatch, op
from .sliding import view_of


def triangle_numpy(x, rows, cols, low, high, out):
    out[...] = np.triu(np.tril(x, high), low)


triangle_dispatch = Dispatch(
    "triangle",
    triangle_numpy,
    formula=lambda i, x, rows, cols, low, high: (
        x if i % cols - i // cols % rows >= low and i % cols - i // cols % rows <= high else const(0, x)
    ),
    kinds=(Index, Memory, Ints, Ints, Ints, Ints, Memory),
)


@op
def triangle(device, x, *, low, high):
    """x (..., rows, cols) where column - row is from `low` to `high`, and 0 elsewhere."""
    out = memory.empty_like(x)
    if out.size:
        triangle_dispatch[device.type](x, *x.shape[-2:], low, high, out)
    return out


@triangle.gradient
def triangle_gradient(do, g, low, high):
    return (lambda: do.triangle(g, low=low, high=high),)


def _diagonal_view(x):
    return view_of(x, lambda array: np.einsum("...ii->...i", array))


@op(view=True, moves=True)
def diagonal(device, x):
    """The diagonals of square matrices (..., n, n)."""
    return _diagonal_view(x)


@diagonal.gradient
def diagonal_gradient(do, g):
    return (lambda: do.diag_embed(g),)


@op
def diag_embed(device, x):
    """Matrices of zeros (..., n, n) with x (..., n) on their diagonals."""
    out = memory.full((*x.shape, x.shape[-1]), 0, x.dtype, device)
    memory.copy(_diagonal_view(out), x)
    return out


@diag_embed.gradient
def diag_embed_gradient(do, g):
    return (lambda: do.diagonal(g),)
