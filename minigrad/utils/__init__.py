"""Tools around training, by PyTorch's names."""

from . import checkpoint

__all__ = ["checkpoint"]
