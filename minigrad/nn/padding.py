"""Layers that add margins around images (N, C, H, W) or lines (N, C, L), with or without the axis N."""

from collections.abc import Sequence

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

    def __init__(self, padding: int | Sequence[int]):
        super().__init__()
        count = 2 * self._sides
        self.padding = (padding,) * count if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != count:
            raise ValidationError(f"{type(self).__name__}: padding is {padding!r}; use a number, or {count} of them")

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


class ZeroPad1d(_Pad):
    """Add margins of zeros to lines; padding is a number or (left, right)."""

    _sides = 1


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(_ConstantPad):
    """Add margins of `value` around images."""


class ConstantPad1d(_ConstantPad):
    """Add margins of `value` to lines."""

    _sides = 1


class ReflectionPad2d(_Pad):
    """Add margins that mirror the pixels at the edge, without the edge itself."""

    _mode = "reflect"


class ReflectionPad1d(_Pad):
    """Add margins that mirror the ends of lines."""

    _mode, _sides = "reflect", 1


class ReplicationPad2d(_Pad):
    """Add margins that repeat the edge."""

    _mode = "replicate"


class ReplicationPad1d(_Pad):
    """Add margins that repeat the ends of lines."""

    _mode, _sides = "replicate", 1


class CircularPad2d(_Pad):
    """Add margins with the pixels of the other side, as if images repeated."""

    _mode = "circular"


class CircularPad1d(_Pad):
    """Add margins with the elements of the other end of lines."""

    _mode, _sides = "circular", 1
