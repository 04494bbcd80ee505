"""Functions of each element, comparison and logic."""

from __future__ import annotations

from .base import Methods


class Elementwise(Methods):
    """Functions of each element, comparison and logic."""

    __slots__ = ()
