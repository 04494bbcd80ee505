"""Methods of Tensor by subject.  ../tensors.py has those that the engine itself uses: arithmetic, sums, shapes."""

from .differentiation import Differentiation
from .elementwise import Elementwise
from .inspection import Inspection
from .linear_algebra import LinearAlgebra
from .random import RandomNumbers
from .reduction import Reductions
from .selection import Selection
from .shaping import Shaping

__all__ = [
    *("Differentiation", "Elementwise", "Inspection", "LinearAlgebra", "RandomNumbers", "Reductions", "Selection"),
    "Shaping",
]
