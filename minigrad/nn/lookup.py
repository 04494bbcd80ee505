"""Rows of a table by their index."""

__all__: list[str] = []
__dir__ = __all__.copy
