"""Reductions, running sums, sorting and counting."""

from __future__ import annotations

from .base import Methods


class Reductions(Methods):
    """Reductions, running sums, sorting and counting."""

    __slots__ = ()
