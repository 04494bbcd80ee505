"""Dtypes by PyTorch's names, and how a tensor lies in memory."""

from __future__ import annotations

from .base import Methods


class Inspection(Methods):
    """Dtypes by PyTorch's names, and how a tensor lies in memory."""

    __slots__ = ()
