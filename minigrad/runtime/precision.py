"""How exactly the GPU multiplies float32 matrices: as float32, or as TF32 on its tensor cores."""

from ..dependency import Dependency, changed
from ..errors import ValidationError
from .threads import local

CHOICES = ("highest", "high")


class _Setting(Dependency):
    float32 = "highest"

    def _replay_state(self) -> str:
        return self.float32

    def _replay_name(self, part: str) -> str:
        return "the precision of float32 products"


_setting = _Setting()


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how the GPU multiplies float32 matrices and computes large convolutions.

    precision   "highest": in float32, the default; "high": as TF32 on tensor cores (compute capability 8.0 and newer),
                which keeps 10 of the 23 bits behind the first of each factor and adds up in float32.  The error of a
                product is at most 2**-10 of the sum of the factors' sizes, |a| @ |b|, and typically a tenth of that

    Dense layers and matmul take it, and convolutions with stride 1 and one group, forward and by their input, from a
    million multiply-adds on.  Gradients by the weights of convolutions and float64 stay as they are.

    Raises   ValidationError   another word
    Example
    >>> set_float32_matmul_precision("high")
    >>> get_float32_matmul_precision()
    'high'
    >>> set_float32_matmul_precision("highest")
    """
    if precision not in CHOICES:
        raise ValidationError(f"set_float32_matmul_precision: {precision!r} is unknown; use 'highest' or 'high'")
    _setting.float32 = precision
    changed()


def get_float32_matmul_precision() -> str:
    """How the GPU multiplies float32 matrices: "highest" or "high".

    Example
    >>> get_float32_matmul_precision()
    'highest'
    """
    local.observer.uses(_setting)
    return _setting.float32
