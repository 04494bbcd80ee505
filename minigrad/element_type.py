"""The type of an element, with PyTorch's attributes; NumPy takes it wherever it takes a dtype."""

from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = ["bool_", "dtype", "float32", "float64", "int32", "int64", "uint8"]

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
