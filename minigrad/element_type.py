"""The type of an element, with PyTorch's attributes; NumPy takes it wherever it takes a dtype."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ValidationError

__all__ = ["get_default_dtype", "set_default_dtype"]

if TYPE_CHECKING:

    class dtype(np.dtype):  # type: ignore[misc]
        is_floating_point: bool
        is_signed: bool
        is_complex: bool

else:

    class dtype:
        """The type of an element: mg.float32, mg.float64, mg.int64, mg.int32, mg.uint8, mg.bool; found by its name.

        It equals NumPy's dtype, and has its attributes.
        Example
        >>> import minigrad as mg
        >>> mg.float32.is_floating_point, mg.int64.itemsize, mg.int64 == np.int64
        (True, 8, True)
        """

        __slots__ = ("dtype", "is_floating_point", "is_signed")
        is_complex = False

        def __new__(cls, name: Any):
            return TYPES[np.dtype(name)]

        def __getattr__(self, name: str):
            return getattr(self.dtype, name)

        def __eq__(self, other: object) -> bool:
            return self.dtype == (other.dtype if type(other) is dtype else other)

        def __hash__(self) -> int:
            return hash(self.dtype)

        def __str__(self) -> str:
            return str(self.dtype)

        def __repr__(self) -> str:
            return f"minigrad.{self.dtype}"

        def __reduce__(self):
            return dtype, (str(self),)


def _make(name: str) -> dtype:
    made = object.__new__(dtype)
    if not TYPE_CHECKING:
        made.dtype = np.dtype(name)
        made.is_floating_point, made.is_signed = made.kind == "f", made.kind in "fi"
    return made


TYPES = {np.dtype(name): _make(name) for name in ("float32", "float64", "int64", "int32", "uint8", "bool")}
float32, float64, int64, int32, uint8, bool_ = TYPES.values()


def get_default_dtype() -> dtype:
    """The dtype of new tensors of fractions, and of new layers: mg.float32."""
    return float32


def set_default_dtype(d: Any) -> None:
    """Accept float32, which is the only default.

    Raises   ValidationError   another dtype
    """
    if d != float32:
        raise ValidationError(f"set_default_dtype: {d} cannot be the default; use dtype=mg.{d}, or model.to(mg.{d})")
