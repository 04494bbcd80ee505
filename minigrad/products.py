"""Functions of several tensors: sums of products, grids, distances and places in sorted numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from .checks import brief, number_in_range
from .creation import _check_tensors, stack
from .errors import ShapeError, ValidationError
from .shapes import axis_number, broadcast, given_sizes
from .tensors import Tensor, int64, tensor

__all__ = ["bucketize", "cartesian_prod", "cdist", "einsum", "meshgrid", "searchsorted", "tensordot"]
__all__ += ["tril_indices", "triu_indices"]
__dir__ = __all__.copy


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return products of elements, summed over axes, as a subscript for each axis tells.

    equation   "ij,jk->ik": subscripts of the operands, then those of the result.  A subscript that the result lacks is
               summed over, one that an operand has twice takes a diagonal, and '...' stands for axes that broadcast.
               Without '->', the result has the axes of '...', then the subscripts that occur once, in alphabetical
               order
    operands   tensors, or one list of them; they are multiplied from left to right

    Example
    >>> import minigrad as mg
    >>> einsum("ij,j->i", mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.ones(2))
    tensor([3., 7.])
    """
    tensors = _check_tensors("einsum", given_sizes(operands))
    inputs, output = _read_equation(equation, tensors)
    labels = [*output, *sorted(set().union(*inputs) - set(output))]
    aligned = [_align(labels, *operand) for operand in zip(inputs, tensors, strict=True)]
    broadcast("einsum", *[x.shape for x in aligned])
    out = aligned[0]
    for i, x in enumerate(aligned[1:], 1):
        needed = set(output).union(*inputs[i + 1 :])
        out = _multiply(out, x, [axis for axis, label in enumerate(labels) if label not in needed])
    return _sum(out, range(len(output), len(labels))).reshape(out.shape[: len(output)])


def _read_equation(equation: str, tensors: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's axes and of the result's; "-1" is the last axis of '...', "-2" the one before."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    *terms, result = [term.partition("...") for term in (*left.split(","), right)]
    if len(terms) != len(tensors) or not all(part.isalpha() for a, _, b in (*terms, result) for part in (a, b) if part):
        raise ValidationError(
            f"einsum: equation {equation!r} for {len(tensors)} operands; use letters and '...', with a comma between "
            "operands, as in 'ij,jk->ik'"
        )
    inputs, most = [], 0
    for (before, dots, after), x in zip(terms, tensors, strict=True):
        free = x.ndim - len(before) - len(after)
        if free < 0 or (free and not dots):
            raise ShapeError(
                f"einsum: subscripts {before + dots + after!r} for a tensor of {x.ndim} dimensions {x.shape}; give one "
                "for each axis"
            )
        inputs.append([*before, *_dots(free), *after])
        most = max(most, free)
    counts = Counter(label for labels in inputs for label in labels)
    once = sorted(label for label, count in counts.items() if count == 1 and label.isalpha())
    before, dots, after = result if arrow else ("", "...", "".join(once))
    output = [*before, *_dots(most if dots else 0), *after]
    if len(set(output)) < len(output) or not counts.keys() >= set(output):
        raise ValidationError(f"einsum: the result of {equation!r} has a subscript twice, or one that no operand has")
    return inputs, output


def _dots(count: int) -> list[str]:
    return [str(axis) for axis in range(-count, 0)]


def _align(labels: list[str], term: list[str], x: Tensor) -> Tensor:
    """An operand with an axis for each of `labels`, of size 1 where it has none."""
    for label in set(term):
        while term.count(label) > 1:
            first = term.index(label)
            second = term.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                sizes = f"{x.shape[first]} and {x.shape[second]}"
                raise ShapeError(f"einsum: subscript {label!r} has sizes {sizes}; make them equal")
            x = x.diagonal(0, first, second)
            term = [other for axis, other in enumerate(term) if axis not in (first, second)] + [label]
    order = [term.index(label) for label in labels if label in term]
    return x.permute(order).reshape([x.shape[term.index(label)] if label in term else 1 for label in labels])


def _sum(x: Tensor, axes: Iterable[int]) -> Tensor:
    """The sum over axes that have more than one element, which stay."""
    summed = [axis for axis in axes if x.shape[axis] != 1]
    return x.sum(summed, keepdim=True, dtype=x.dtype) if summed else x


def _multiply(a: Tensor, b: Tensor, summed: list[int]) -> Tensor:
    """The sum of a * b over axes, which stay, as a product of matrices."""
    a, b = (_sum(x, [axis for axis in summed if y.shape[axis] == 1]) for x, y in ((a, b), (b, a)))
    axes = range(a.ndim)
    rows = [axis for axis in axes if b.shape[axis] == 1 and axis not in summed]
    cols = [axis for axis in axes if a.shape[axis] == 1 and axis not in [*summed, *rows]]
    batch = [axis for axis in axes if axis not in [*summed, *rows, *cols]]
    B, R, C, K = (prod(x.shape[axis] for axis in group) for x, group in ((a, batch), (a, rows), (b, cols), (a, summed)))
    order = batch + rows + cols + summed
    out = a.permute(order).reshape(B, R, K) @ b.permute(batch + summed + rows + cols).reshape(B, K, C)
    sizes = [1 if axis in summed else a.shape[axis] if axis not in cols else b.shape[axis] for axis in order]
    return out.reshape(sizes).permute([order.index(axis) for axis in axes])


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Return the products of two tensors, summed over pairs of axes.

    dims   the number of pairs, last axes of a with first axes of b; or two lists, of a's axes and of b's
    returns   the other axes of a, then those of b

    Example
    >>> import minigrad as mg
    >>> tensordot(mg.ones(2, 3), mg.ones(3, 4), 1).shape
    (2, 4)
    """
    _check_tensors("tensordot", (a, b))
    pairs: Sequence[Sequence[int]] = [range(-dims, 0), range(dims)] if isinstance(dims, int) else dims
    left, right = (
        [axis_number(axis, x.ndim, "tensordot") for axis in ([axes] if isinstance(axes, int) else axes)]
        for axes, x in zip(pairs, (a, b), strict=True)
    )
    if [a.shape[i] for i in left] != [b.shape[j] for j in right]:
        raise ShapeError(f"tensordot: axes {left} of {a.shape} and {right} of {b.shape} differ in size")
    a_kept, b_kept = ([axis for axis in range(x.ndim) if axis not in axes] for x, axes in ((a, left), (b, right)))
    rows, cols = [a.shape[i] for i in a_kept], [b.shape[j] for j in b_kept]
    summed = prod(a.shape[i] for i in left)
    out = a.permute(a_kept + left).reshape(prod(rows), summed) @ b.permute(right + b_kept).reshape(summed, prod(cols))
    return out.reshape(rows + cols)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Return the coordinates of all points of a grid: one tensor for each axis, all of the grid's shape.

    tensors    vectors, or one list of them: the coordinates along each axis
    indexing   'ij', or 'xy' to exchange the first two axes of the grid

    Example
    >>> import minigrad as mg
    >>> meshgrid(mg.tensor([1, 2]), mg.tensor([5, 6]))[0]
    tensor([[1, 1],
            [2, 2]])
    """
    vectors = _check_tensors("meshgrid", given_sizes(tensors))
    if indexing not in ("ij", "xy"):
        raise ValidationError(f"meshgrid: indexing is {brief(indexing)}; use 'ij' or 'xy'")
    if any(vector.ndim > 1 for vector in vectors):
        raise ShapeError(f"meshgrid: shapes {', '.join(str(vector.shape) for vector in vectors)}; give vectors")
    shape = [vector.numel() for vector in vectors]
    lines = [vector.reshape([-1 if j == i else 1 for j in range(len(shape))]) for i, vector in enumerate(vectors)]
    grids = [line.expand(shape) for line in lines]
    return tuple([grid.transpose(0, 1) for grid in grids] if indexing == "xy" and len(grids) > 1 else grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Return all combinations of one element of each vector, one in a row; a single vector as it is."""
    return stack([grid.reshape(-1) for grid in meshgrid(*tensors)], 1) if len(tensors) > 1 else tensors[0]


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Tensor:
    """Return the p-norms of all differences of rows: (..., n, k), (..., m, k) -> (..., n, m)."""
    number_in_range("cdist", "p", p, 0)
    if x1.shape[-1:] != x2.shape[-1:]:
        raise ShapeError(f"cdist: rows of {x1.shape} and {x2.shape} differ in size; make the last axes equal")
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1)


def searchsorted(sorted_sequence: Tensor, input: Any, *, right: bool = False) -> Tensor:
    """Return for each number the position in a sorted last axis before which it would be inserted.

    sorted_sequence   (..., n)   in rising order
    input             (..., m)   numbers; of any shape for a sequence of one axis
    right             whether equal elements stay before the position
    returns           like input, int64

    Example
    >>> import minigrad as mg
    >>> searchsorted(mg.tensor([1, 3, 5]), mg.tensor([0, 3, 9]))
    tensor([0, 1, 3])
    """
    sequence = sorted_sequence if sorted_sequence.ndim == 1 else sorted_sequence.unsqueeze(-2)
    numbers = input.unsqueeze(-1) if hasattr(input, "ndim") else input
    return (~(sequence > numbers if right else sequence >= numbers)).sum(-1)


def bucketize(input: Any, boundaries: Tensor, *, right: bool = False) -> Tensor:
    """Return for each number the interval between sorted boundaries in which it lies; see searchsorted."""
    return searchsorted(boundaries, input, right=right)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = "cpu") -> Tensor:
    """Return the rows and the columns of the lower triangle of a matrix, up to a diagonal: (2, count)."""
    return tensor(np.stack(np.tril_indices(row, offset, col)), dtype=dtype, device=device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = "cpu") -> Tensor:
    """Return the rows and the columns of the upper triangle of a matrix, from a diagonal on: (2, count)."""
    return tensor(np.stack(np.triu_indices(row, offset, col)), dtype=dtype, device=device)
