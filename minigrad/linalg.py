"""Norms of vectors and matrices, by the names of torch.linalg."""

from math import inf
from typing import Any

from .checks import brief
from .errors import ShapeError, ValidationError
from .methods.base import numpy_names
from .shapes import axes_tuple
from .tensors import Tensor

__all__ = ["matrix_norm", "norm", "vector_norm"]
__dir__ = __all__.copy


@numpy_names
def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the `ord`-norm over axes, or of all elements; see Tensor.norm."""
    return x.norm(ord, dim, keepdim, dtype)


@numpy_names
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Return the norms of matrices.

    ord   'fro': the root of the sum of squares.  1 and -1: the largest and smallest sum of |x| over a column; inf and
          -inf: over a row

    Raises   ValidationError   ord is another one: norms of singular values are not supported
    """
    if ord not in ("fro", 1, -1, inf, -inf):
        raise ValidationError(f"matrix_norm: ord is {brief(ord)}; use 'fro', 1, -1, inf or -inf")
    if not isinstance(dim, tuple | list) or len(dim) != 2:
        raise ShapeError(f"matrix_norm: dim is {brief(dim)}; give two axes")
    axes_tuple(dim, A.ndim, "matrix_norm")
    if ord == "fro":
        return A.norm(2, dim, keepdim, dtype)
    rows, cols = dim if ord in (1, -1) else (dim[1], dim[0])
    sums = A.norm(1, rows, keepdim=True, dtype=dtype)
    out = sums.amax(cols, keepdim=True) if ord > 0 else sums.amin(cols, keepdim=True)
    return out if keepdim else out.sum(tuple(dim))


@numpy_names
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the norm of a vector or of matrices.

    ord   None: the root of the sum of squares over `dim`, or of all elements.  Otherwise as for matrix_norm for a
          matrix or two axes, and as for vector_norm for a vector or one axis
    """
    axes = tuple(range(A.ndim)) if dim is None else tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    if ord is None:
        return A.norm(2, dim, keepdim, dtype)
    if len(axes) > 2:
        raise ShapeError(f"norm: ord {ord!r} over {len(axes)} axes; give dim= of one or two axes")
    return (matrix_norm if len(axes) == 2 else vector_norm)(A, ord, axes, keepdim, dtype=dtype)
