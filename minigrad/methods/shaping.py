"""Other shapes of the same elements."""

from __future__ import annotations

from .base import Methods


class Shaping(Methods):
    """Other shapes of the same elements."""

    __slots__ = ()
