"""Other numbers of pixels: interpolation, pixel shuffle, windows as columns."""

__all__: list[str] = []
__dir__ = __all__.copy
