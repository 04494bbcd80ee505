"""Tools around training, by PyTorch's names."""

import sys

from ..names import explain_unknown_names
from . import checkpoint, data

__all__ = ["checkpoint", "data"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__], checkpoint, data)
