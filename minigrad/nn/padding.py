"""Layers that add margins around images (N, C, H, W) or lines (N, C, L), with or without the axis N."""

from collections.abc import Sequence
from typing import Any

from ..checks import brief
from ..errors import ValidationError
from ..tensors import Tensor
from . import functional as F
from .layer import Layer

__all__ = ["CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "ReflectionPad1d", "ReflectionPad2d"]
__all__ += ["ReplicationPad1d", "ReplicationPad2d", "ZeroPad1d", "ZeroPad2d"]
__dir__ = __all__.copy


class _Pad(Layer):
    """Add margins: `padding` on every side, or (left, right) or (left, right, top, bottom)."""

    _mode, _sides, value = "constant", 2, 0.0

    def __init_subclass__(cls, mode: str | None = None, sides: int | None = None, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls._mode, cls._sides = mode or cls._mode, sides or cls._sides

    def __init__(self, padding: int | Sequence[int]):
        super().__init__()
        count = 2 * self._sides
        self.padding = (padding,) * count if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != count:
            raise ValidationError(
                f"{type(self).__name__}: padding is {brief(padding)}; use a number, or {count} of them"
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding, self._mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad2d(_Pad):
    """Add margins of zeros around images.

    padding   pixels   on every side, or (left, right, top, bottom); negative margins cut off

    Example
    >>> import minigrad as mg
    >>> ZeroPad2d((1, 0, 0, 0))(mg.ones(1, 1, 2))
    tensor([[[0., 1., 1.]]])
    """


class ZeroPad1d(_Pad, sides=1):
    """Add margins of zeros to lines; padding is a number or (left, right)."""


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(_ConstantPad):
    """Add margins of `value` around images."""


class ConstantPad1d(_ConstantPad, sides=1):
    """Add margins of `value` to lines."""


class ReflectionPad2d(_Pad, mode="reflect"):
    """Add margins that mirror the pixels at the edge, without the edge itself."""


class ReflectionPad1d(_Pad, mode="reflect", sides=1):
    """Add margins that mirror the ends of lines."""


class ReplicationPad2d(_Pad, mode="replicate"):
    """Add margins that repeat the edge."""


class ReplicationPad1d(_Pad, mode="replicate", sides=1):
    """Add margins that repeat the ends of lines."""


class CircularPad2d(_Pad, mode="circular"):
    """Add margins with the pixels of the other side, as if images repeated."""


class CircularPad1d(_Pad, mode="circular", sides=1):
    """Add margins with the elements of the other end of lines."""
