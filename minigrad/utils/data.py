"""minigrad.data under its name in PyTorch."""

from ..data import *  # noqa: F403
from ..data import __all__

__dir__ = __all__.copy
