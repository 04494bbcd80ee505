"""Formulas for shapes and sizes, with their checks.

Source of window sizes: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016, section 2
"""

from collections.abc import Sequence
from math import gcd, prod
from typing import Any

from .checks import brief, whole_number
from .errors import DtypeError, ShapeError, ValidationError

Shape = tuple[int, ...]


def per_side(value: int | Sequence[int], name: str, where: str, least: int = 1, count: int = 2) -> Shape:
    """Return a setting given as one number, or as one for each of `count` sides, each at least `least`."""
    sides = value if isinstance(value, tuple | list) else (value,) * count
    try:
        if len(sides) == count:
            return tuple(whole_number(where, name, side, least) for side in sides)
    except ValueError:
        pass
    many = ", or a pair of them" if count == 2 else ""
    raise ValidationError(f"{where}: {name} is {brief(value)}; use a whole number of {least} or more{many}")


def count_windows(
    size: int, window: int, stride: int, before: int, after: int, dilation: int, ceil_mode: bool = False
) -> int:
    """Return floor((size + before + after - dilation*(window-1) - 1) / stride) + 1, the windows along one side.

    With ceil_mode the division rounds up.  Then the last window may reach beyond the padding, but it must start inside
    the image or the padding before it.
    """
    room = size + before + after - dilation * (window - 1) - 1
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1
    return max(count, 0)


def padding_around(
    padding: int | Sequence[int] | str, window: Shape, stride: Shape, dilation: Shape, where: str
) -> Shape:
    """Return (before, after) for each side of a padding given as a number, one for each side, 'same' or 'valid'.

    'same' keeps the size at stride 1; after is one larger if their sum is odd.
    """
    if padding == "valid":
        return (0, 0) * len(window)
    if padding == "same":
        if set(stride) != {1}:
            raise ValidationError(
                f"{where}: padding='same' needs stride 1, but stride is {stride}; use stride=1, or padding in pixels"
            )
        totals = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
        return tuple(side for total in totals for side in (total // 2, total - total // 2))
    if isinstance(padding, str):
        raise ValidationError(f"{where}: padding is {brief(padding)}; use a number, a pair, 'same' or 'valid'")
    return tuple(side for side in per_side(padding, "padding", where, 0, len(window)) for _ in range(2))


def window_grid(
    x: Shape, window: Shape, stride: Shape, pads: Shape, dilation: Shape, where: str, ceil_mode: bool = False
) -> Shape:
    """Return the number of windows along each side of images of shape x (N, C, H, W), or of lines (N, C, L)."""
    sides = list(zip(x[2:], window, stride, pads[::2], pads[1::2], dilation, strict=True))
    grid = tuple(count_windows(n, k, s, before, after, d, ceil_mode) for n, k, s, before, after, d in sides)
    if min(grid) < 1:
        sizes = zip(*((d * (k - 1) + 1, n, before + after) for n, k, _, before, after, d in sides), strict=True)
        reach, room, margins = ("x".join(map(str, each)) for each in sizes)
        raise ShapeError(
            f"{where}: a window of {reach} does not fit in {room} pixels with padding {margins}; "
            "use larger images, a smaller window or more padding"
        )
    return grid


def windows_covering(
    size: int, count: int, window: int, stride: int, before: int, dilation: int
) -> list[tuple[int, ...]]:
    """Return for every pixel along one side the windows that cover it, as (tap, window, number, tap step, window step).

    Tap k of window o covers pixel h if h + before - k*dilation = o*stride.  There are `number` such pairs; the first is
    (tap, window), and the next has tap + stride/g and window - dilation/g, with g = gcd(stride, dilation).
    """
    common = gcd(stride, dilation)
    steps = stride // common, dilation // common
    found: list[tuple[int, ...]] = []
    for h in range(size):
        pairs = [
            (k, (h + before - k * dilation) // stride)
            for k in range(window)
            if (h + before - k * dilation) % stride == 0 and 0 <= h + before - k * dilation < count * stride
        ]
        found.append((len(pairs), *(pairs[0] if pairs else (0, 0)), *steps))
    return found


def broadcast(where: str, *shapes: Shape) -> Shape:
    """Return the common shape of operands.  Sizes are aligned from the right, and a size of 1 stretches."""
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    sizes = []
    for axis in range(1, max(map(len, shapes)) + 1):
        found = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(found) > 1:
            listed = " and ".join(map(str, shapes))
            raise ShapeError(
                f"{where}: shapes {listed} do not broadcast: axis {-axis} has sizes "
                f"{' and '.join(map(str, sorted(found)))}; make them equal, or one of them 1"
            )
        sizes.append(found.pop() if found else 1)
    return tuple(reversed(sizes))


def axis_number(axis: int, ndim: int, where: str) -> int:
    """Return an axis counted from the front; -1 is the last."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise DtypeError(f"{where}: dim is {brief(axis)}; give a whole number")
    axis = axis.__index__()
    if not -max(ndim, 1) <= axis < max(ndim, 1):
        raise ShapeError(
            f"{where}: dim {axis} is out of range for {ndim} dimensions; use {-max(ndim, 1)} to {max(ndim, 1) - 1}"
        )
    return axis % max(ndim, 1)


def existing_axis(axis: int, ndim: int, where: str) -> int:
    """Do the same as axis_number, but refuse a single number, which has no axis."""
    if not ndim:
        raise ShapeError(f"{where}: dim {axis} of a single number, which has no axis; use unsqueeze(0) first")
    return axis_number(axis, ndim, where)


def axes_tuple(dim: int | Sequence[int] | None, ndim: int, where: str) -> tuple[int, ...]:
    """Return axes given as a number or a sequence as sorted numbers; None and an empty sequence mean all axes."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    axes = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    numbers = tuple(sorted(axis_number(axis, ndim, where) for axis in axes))
    if len(set(numbers)) != len(numbers):
        raise ShapeError(f"{where}: dim {dim} names an axis twice; name each once")
    return numbers if ndim else ()


def reduced(shape: Shape, axes: tuple[int, ...], keepdim: bool) -> Shape:
    """Return the shape after a reduction over `axes`."""
    if keepdim:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple that knows its number of elements."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        return prod(self)


def given_sizes(values: Sequence[Any], named: Any = None) -> tuple[Any, ...]:
    """Return sizes or axes that were given as f(2, 3), f((2, 3)) or by name."""
    if named is None:
        named = values[0] if len(values) == 1 and isinstance(values[0], tuple | list) else values
    return tuple(named) if isinstance(named, tuple | list) else (named,)


def given_shape(where: str, values: Sequence[Any], named: Any = None) -> Shape:
    """Return the shape of a new tensor that was given as f(2, 3), f((2, 3)) or by name."""
    sizes = given_sizes(values, named)
    if any(isinstance(size, bool) or not hasattr(size, "__index__") or size < 0 for size in sizes):
        raise ShapeError(
            f"{where}: {sizes} is not a shape; use whole numbers of 0 or more, and names for dtype= and device="
        )
    return tuple([size.__index__() for size in sizes])


def resolve(shape: Sequence[int], size: int, old: Shape, where: str) -> Shape:
    """Return a new shape for `size` elements; one size may be -1 and is computed."""
    if not all(hasattr(side, "__index__") for side in shape):
        raise ShapeError(f"{where}: {tuple(shape)} is not a shape; use whole numbers")
    new = tuple(side.__index__() for side in shape)
    if new.count(-1) > 1 or any(side < -1 for side in new):
        raise ShapeError(f"{where}: {new} is not a shape; use sizes of 0 or more and at most one -1")
    if -1 in new:
        known = prod(side for side in new if side != -1)
        if known == 0 or size % known:
            raise ShapeError(f"{where}: {size} elements {old} do not divide into {new}; choose other sizes")
        new = tuple(size // known if side == -1 else side for side in new)
    if prod(new) != size:
        raise ShapeError(f"{where}: {old} has {size} elements, {new} would need {prod(new)}; let one size be -1")
    return new
