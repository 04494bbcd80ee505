"""Elements by position or mask."""

from __future__ import annotations

from .base import Methods


class Selection(Methods):
    """Elements by position or mask."""

    __slots__ = ()
