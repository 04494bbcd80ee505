"""PyTorch's settings of its libraries, mg.accelerator, and mg.version.

minigrad has its own kernels.  Their results repeat bit for bit, and none is chosen by trial: scripts may set
`cudnn.deterministic` and `cudnn.benchmark`, which change nothing.
"""

import sys
from types import ModuleType
from typing import Any

from . import cuda as gpu
from .errors import ValidationError
from .names import unknown_name
from .runtime.device import device
from .runtime.precision import get_float32_matmul_precision, set_float32_matmul_precision
from .tensors import PRINTED

__all__ = ["cuda", "cudnn", "mkldnn", "mps"]
__dir__ = __all__.copy


class _Namespace(ModuleType):
    """A module whose names are the attributes of a class, so that it can be imported."""

    def __init__(self, name: str):
        super().__init__(f"minigrad.{name}", type(self).__doc__)
        sys.modules[f"minigrad.{name}"] = self

    def __getattr__(self, name: str) -> Any:
        raise unknown_name(self.__name__.replace("minigrad", "mg", 1), name, dir(type(self)))


class Library(_Namespace):
    """A library that is not used; its settings change nothing."""

    enabled, benchmark, deterministic, allow_tf32 = True, False, False, False
    is_available = is_built = staticmethod(lambda: False)
    version = staticmethod(lambda: None)


class _Matmul:
    @property
    def allow_tf32(self) -> bool:
        """Whether the GPU computes float32 products in TF32, as set by mg.set_float32_matmul_precision."""
        return get_float32_matmul_precision() == "high"

    @allow_tf32.setter
    def allow_tf32(self, allow: bool) -> None:
        set_float32_matmul_precision("high" if allow else "highest")


class Cuda(_Namespace):
    """Products of matrices on the GPU."""

    matmul = _Matmul()
    is_built = staticmethod(lambda: True)


class Accelerator(_Namespace):
    """The GPU, if there is one."""

    is_available, device_count = staticmethod(gpu.is_available), staticmethod(gpu.device_count)
    synchronize = staticmethod(gpu.synchronize)

    def current_accelerator(self, check_available: bool = False) -> device | None:
        """Return the device "cuda", or None if there is no GPU."""
        return device("cuda") if gpu.is_available() else None


class Version(_Namespace):
    """Versions of the libraries that minigrad was built with: none."""

    cuda: str | None = None
    hip: str | None = None


cuda = Cuda("backends.cuda")
cudnn, mkldnn, mps = (Library(f"backends.{name}") for name in ("cudnn", "mkldnn", "mps"))
accelerator, version = Accelerator("accelerator"), Version("version")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Do nothing: all results repeat bit for bit."""


PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2},
    "full": {"precision": 4, "threshold": sys.maxsize},
}


def set_printoptions(
    precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Change how tensors are printed.

    precision   digits after the point
    threshold   elements from which on a tensor is abbreviated to `edgeitems` at each end of an axis
    linewidth   characters
    profile     'default', 'short' or 'full', applied before the others
    sci_mode    True: numbers as 1.0000e+00; False: without an exponent
    """
    if profile is not None:
        if profile not in PROFILES:
            raise ValidationError(f"set_printoptions: no profile {profile!r}; use {', '.join(PROFILES)}")
        PRINTED.clear()
        PRINTED.update(PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "max_line_width": linewidth}
    PRINTED.update({name: value for name, value in given.items() if value is not None})
    if sci_mode is not None:
        PRINTED["suppress_small"] = not sci_mode
        PRINTED["formatter"] = {"float_kind": lambda x: f"{x:.{PRINTED['precision']}e}"} if sci_mode else None
