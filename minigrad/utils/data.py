"""minigrad.data under its names in PyTorch."""

import sys

from ..data import *  # noqa: F403
from ..data import __all__

__dir__ = __all__.copy

for _name in ("dataloader", "dataset", "distributed", "sampler"):
    sys.modules[f"{__name__}.{_name}"] = sys.modules[__name__]
