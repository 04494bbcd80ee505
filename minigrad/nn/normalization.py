"""Normalisation: zero mean and unit variance over some axes."""

__all__: list[str] = []
__dir__ = __all__.copy
