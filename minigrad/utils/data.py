"""minigrad.data under its name in PyTorch."""

from ..data import *  # noqa: F403
from ..data import __all__
from ..names import explain_unknown_names

__dir__ = __all__.copy
explain_unknown_names(__name__)
