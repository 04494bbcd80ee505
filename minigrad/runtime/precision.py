"""The precision of float32 matrix products on the GPU: float32, or TF32 on its tensor cores."""

from ..checks import brief
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
    """Set the precision in which the GPU multiplies float32 matrices and computes large convolutions.

    precision   "highest": float32, the default; "high": TF32 on tensor cores (compute capability 8.0 and newer), which
                keeps 10 of the 23 mantissa bits of each factor and adds in float32.  The error of a product is at most
                2**-10 * (|a| @ |b|), and typically a tenth of that

    It applies to dense layers, matmul, and convolutions with stride 1 and one group and at least a million
    multiply-adds, forward and by their input.  Weight gradients of convolutions and float64 are not affected.

    Raises   ValidationError   precision is another word
    Example
    >>> set_float32_matmul_precision("high")
    >>> get_float32_matmul_precision()
    'high'
    >>> set_float32_matmul_precision("highest")
    """
    if precision not in CHOICES:
        raise ValidationError(f"set_float32_matmul_precision: precision is {brief(precision)}; use 'highest' or 'high'")
    _setting.float32 = precision
    changed()


def get_float32_matmul_precision() -> str:
    """Return the precision of float32 products on the GPU: "highest" or "high".

    Example
    >>> get_float32_matmul_precision()
    'highest'
    """
    local.observer.uses(_setting)
    return _setting.float32
