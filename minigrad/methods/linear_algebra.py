"""Products and norms of matrices and vectors."""

from __future__ import annotations

from .base import Methods


class LinearAlgebra(Methods):
    """Products and norms of matrices and vectors."""

    __slots__ = ()
