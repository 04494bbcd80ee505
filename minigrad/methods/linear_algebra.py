"""Products and norms of matrices and vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import ops, shapes
from ..checks import brief
from ..errors import DtypeError, ShapeError, ValidationError
from ..ops.promotion import expect_float
from .base import Methods, along

if TYPE_CHECKING:
    from ..tensors import Tensor


class LinearAlgebra(Methods):
    """Products and norms of matrices and vectors."""

    __slots__ = ()

    # ---- products

    def _product(self, where: str, other: Tensor, left: int, right: int) -> Tensor:
        """self @ other, which must have these numbers of axes."""
        _expect_tensor(where, other)
        if self.ndim != left or other.ndim != right or self.shape[:-2] != other.shape[:-2]:
            raise ShapeError(
                f"{where}: shapes {self.shape} and {other.shape}, expected {left} and {right} axes and equal batches; "
                "use matmul for other products"
            )
        return self.matmul(other)

    def mm(self, mat2: Tensor) -> Tensor:
        """The product of two matrices: (n, k), (k, m) -> (n, m)."""
        return self._product("mm", mat2, 2, 2)

    def bmm(self, mat2: Tensor) -> Tensor:
        """The products of two batches of matrices: (b, n, k), (b, k, m) -> (b, n, m)."""
        return self._product("bmm", mat2, 3, 3)

    def mv(self, vec: Tensor) -> Tensor:
        """The product of a matrix and a vector: (n, k), (k) -> (n)."""
        return self._product("mv", vec, 2, 1)

    def dot(self, other: Tensor) -> Tensor:
        """The sum of the products of two vectors' elements: (k), (k) -> ()."""
        return self._product("dot", other, 1, 1)

    vdot = dot

    def inner(self, other: Tensor) -> Tensor:
        """The products summed over the last axes: (..., k), (___, k) -> (..., ___)."""
        _expect_tensor("inner", other)
        if not self.ndim or not other.ndim:
            return self * other
        a, b = (x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) for x in (self, other))
        product = a @ b.transpose(0, 1)
        return product.reshape(self.shape[:-1] + other.shape[:-1])

    def outer(self, vec2: Tensor) -> Tensor:
        """All products of two vectors' elements: (n), (m) -> (n, m)."""
        _expect_tensor("outer", vec2)
        if self.ndim != 1 or vec2.ndim != 1:
            raise ShapeError(f"outer: shapes {self.shape} and {vec2.shape}, expected two vectors; reshape them")
        return self.unsqueeze(1) * vec2

    ger = outer

    def _add_product(self, product: Any, beta: float, alpha: float) -> Tensor:
        """beta * self + alpha * product; self is not read where beta is 0."""
        added = self.expand(product.shape)
        product = product if alpha == 1 else product * alpha
        return product if beta == 0 else (added if beta == 1 else added * beta) + product

    def addmm(self, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (mat1 @ mat2), for matrices."""
        return self._add_product(mat1.mm(mat2), beta, alpha)

    def addmv(self, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (mat @ vec)."""
        return self._add_product(mat.mv(vec), beta, alpha)

    def baddbmm(self, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (batch1 @ batch2), for batches of matrices."""
        return self._add_product(batch1.bmm(batch2), beta, alpha)

    def kron(self, other: Tensor) -> Tensor:
        """The Kronecker product: every element of self times the whole of `other`."""
        _expect_tensor("kron", other)
        ndim = max(self.ndim, other.ndim)
        a, b = ((1,) * (ndim - x.ndim) + x.shape for x in (self, other))
        left = self.reshape([size for n in a for size in (n, 1)])
        right = other.reshape([size for n in b for size in (1, n)])
        return (left * right).reshape([n * m for n, m in zip(a, b, strict=True)])

    def cross(self, other: Tensor, dim: int | None = None) -> Tensor:
        """The vector product along an axis of size 3; by default the first one of that size."""
        sizes = shapes.broadcast("cross", self.shape, other.shape)
        axis = shapes.axis_number(sizes.index(3) if dim is None and 3 in sizes else dim or 0, self.ndim, "cross")
        if self.ndim != other.ndim or not self.ndim or not self.shape[axis] == other.shape[axis] == 3:
            raise ShapeError(f"cross: shapes {self.shape} and {other.shape} along dim {axis}; both need size 3 there")
        first, second = (along(axis, order) for order in ([1, 2, 0], [2, 0, 1]))
        return self[first] * other[second] - self[second] * other[first]

    # ---- norms

    def norm(self, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The p-norm over axes: the sum of |x|**p, to the power of 1/p.

        p   a number; inf and -inf for the largest and the smallest |x|, 0 for the number of elements that are not 0;
            'fro' is 2

        The gradient is 0 where the norm is 0.
        """
        if isinstance(p, str) and p != "fro":
            raise ValidationError(f"norm: p is {brief(p)}; use 'fro' or a number")
        p = 2 if p is None or isinstance(p, str) else p
        x, over = self.to(dtype), (shapes.axes_tuple(dim, self.ndim, "norm"), keepdim)
        expect_float("norm", x)
        if p == 0:
            return x._run(ops.ne, 0).sum(*over, dtype=x.dtype)
        if p == 2:
            return (x * x).sum(*over)._run(ops.deviation)
        size = x.abs()
        if abs(p) == math.inf:
            return size.amax(*over) if p > 0 else size.amin(*over)
        if p == 1:
            return size.sum(*over)
        power = _power if p > 0 else pow
        return power(power(size, p).sum(*over), 1 / p)

    # ---- parts of matrices

    def _expect_matrices(self, where: str) -> None:
        if self.ndim < 2:
            raise ShapeError(f"{where}: the tensor has {self.ndim} dimensions {self.shape}, expected 2 or more")

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangles of matrices, and 0 elsewhere.

        diagonal   the last diagonal that is kept: 0 for the main one, 1 for the one above it
        """
        self._expect_matrices("tril")
        return self._run(ops.triangle, low=-self.shape[-2], high=diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangles of matrices, and 0 elsewhere; `diagonal` is the first one that is kept."""
        self._expect_matrices("triu")
        return self._run(ops.triangle, low=diagonal, high=self.shape[-1])

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """The diagonals of matrices with rows on axis dim1 and columns on axis dim2, as the last axis; a view.

        offset   0 for the main diagonal, 1 for the one above it, -1 for the one below
        """
        self._expect_matrices("diagonal")
        rows, cols = self._two_axes("diagonal", dim1, dim2, self.ndim)
        x = self.permute(*[axis for axis in range(self.ndim) if axis not in (rows, cols)], rows, cols)
        row, col = max(-offset, 0), max(offset, 0)
        count = max(min(self.shape[rows] - row, self.shape[cols] - col), 0)
        return x[..., row : row + count, col : col + count]._run(ops.diagonal)

    def _two_axes(self, where: str, dim1: int, dim2: int, ndim: int) -> tuple[int, int]:
        first, second = (shapes.axis_number(dim, ndim, where) for dim in (dim1, dim2))
        if first == second:
            raise ShapeError(f"{where}: dim1 {dim1} and dim2 {dim2} are the same axis; give two axes")
        return first, second

    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
        """Matrices of zeros with the last axis on a diagonal, the inverse of `diagonal`."""
        ndim = self.ndim + 1
        rows, cols = self._two_axes("diag_embed", dim1, dim2, ndim)
        out, order = self._run(ops.diag_embed), list(range(ndim - 2))
        if offset:
            below, right = (max(-offset, 0), max(offset, 0))
            out = out._run(ops.pad, widths=[(0, 0)] * (ndim - 2) + [(below, right), (right, below)], value=0)
        for axis, source in sorted([(rows, ndim - 2), (cols, ndim - 1)]):
            order.insert(axis, source)
        return out.permute(order)

    def diag(self, diagonal: int = 0) -> Tensor:
        """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
        if self.ndim not in (1, 2):
            raise ShapeError(f"diag: the tensor has {self.ndim} dimensions {self.shape}, expected 1 or 2; use diagonal")
        return self.diag_embed(diagonal) if self.ndim == 1 else self.diagonal(diagonal).clone()

    def trace(self) -> Tensor:
        """The sum of a matrix's diagonal."""
        if self.ndim != 2:
            raise ShapeError(f"trace: the tensor has {self.ndim} dimensions {self.shape}, expected 2")
        return self.diagonal().sum()


def _expect_tensor(where: str, value: Any) -> None:
    if not hasattr(value, "ndim"):
        raise DtypeError(f"{where}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")


def _power(x: Any, p: float) -> Any:
    """x**p for x of 0 or more, with a derivative of 0 at 0."""
    zero = x._run(ops.eq, 0)
    return zero._run(ops.where, 0.0, zero._run(ops.where, 1.0, x) ** p)
