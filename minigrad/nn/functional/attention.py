"""Attention: averages of values, weighted by how well keys fit queries."""

__all__: list[str] = []
__dir__ = __all__.copy
