"""Tools around training, by PyTorch's and torchvision's names."""

import sys

from ..names import explain_unknown_names
from . import checkpoint, data
from .images import make_grid, save_image

__all__ = ["checkpoint", "data", "make_grid", "save_image"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__], checkpoint, data)
