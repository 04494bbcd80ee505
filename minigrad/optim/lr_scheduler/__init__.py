"""Learning-rate schedules.  Each step() computes the next rate from the current rate, as PyTorch's schedules do.

Therefore the factors of two schedules on one optimiser multiply, and the next step continues from a rate set by hand.
If nothing else changes the rate, it follows the closed formula in the docstring of each schedule, where t is the number
of calls of step().  OneCycleLR is the exception: it ignores the current rate.
"""

from . import combined, cyclic, factor
from .base import LRScheduler, LRScheduler as _LRScheduler
from .combined import *  # noqa: F403
from .cyclic import *  # noqa: F403
from .factor import *  # noqa: F403

__all__ = ["LRScheduler"]
__all__ += combined.__all__
__all__ += cyclic.__all__
__all__ += factor.__all__
__dir__ = __all__.copy
