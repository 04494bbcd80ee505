"""PyTorch's package of tools."""

import sys

from ..names import explain_unknown_names
from . import data

__all__ = ["data"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__], data)
