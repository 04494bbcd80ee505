"""Other shapes of the same elements, and margins."""

from collections.abc import Sequence

from ... import ops
from ...checks import brief, whole_number
from ...errors import ShapeError, ValidationError
from ...functions import flatten
from ...tensors import Tensor, apply
from .arguments import expect_tensors, sum_along

__all__ = ["flatten", "pad"]
__dir__ = __all__.copy


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add margins around a tensor.

    pad    (before, after) for the last axis, then for the one before it, and so on; negative margins cut off
    mode   'constant': margins of `value`, 0 if None, around any axes; 'reflect': pixels mirrored at the edge,
           'replicate': the edge repeated, 'circular': pixels of the other side, around all axes but one or two

    Raises   ShapeError        more pairs than axes, half a pair, or margins larger than the mode can fill
             ValidationError   another mode, or a value that the mode does not use
    Example
    >>> import minigrad as mg
    >>> pad(mg.ones(2), (1, 2))
    tensor([0., 1., 1., 0., 0.])
    >>> pad(mg.arange(4.0).reshape(1, 4), (2, 1), mode="reflect")
    tensor([[2., 1., 0., 1., 2., 3., 2.]])
    """
    expect_tensors("pad", x)
    if mode not in MODES:
        raise ValidationError(f"pad: mode is {brief(mode)}; use {', '.join(map(repr, MODES))}")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad: {len(pad)} margins for {x.ndim} dimensions; give (before, after) for each axis, the last axis first"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    if mode == "constant":
        widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
        return apply(ops.pad, x, widths=tuple(widths), value=0.0 if value is None else value) if widths else x
    if value is not None and value != 0:
        raise ValidationError(f"pad: value is {value} but mode {mode!r} takes its values from x; leave out value")
    if not pairs or x.ndim - len(pairs) not in (1, 2):
        raise ShapeError(
            f"pad: {len(pad)} margins for {x.ndim} dimensions; with mode {mode!r} give (before, after) for all axes "
            "but the first one or two"
        )
    margins = [(x.ndim - 1 - i, *pair) for i, pair in enumerate(pairs) if any(pair)]
    for axis, before, after in margins:
        _check_margins(mode, x.shape, axis, before, after)
    for axis, *sides in margins:
        x = sum_along(x, axis, mode, *sides)
    return x


MODES = ("constant", "reflect", "replicate", "circular")


def _check_margins(mode, shape, axis, before, after):
    """Refuse margins that the mode cannot fill from an axis, or that cut off more than there is."""
    whole_number("pad", "pad", before), whole_number("pad", "pad", after)
    size = shape[axis]
    largest = {"reflect": size - 1, "replicate": max(before, after), "circular": size + min(before, after, 0)}[mode]
    if max(before, after) > largest or not size or min(size + before, size + after, size + before + after - 1) < 0:
        allowed = f"margins from {-size} to {largest} that leave elements" if size else "an axis with elements"
        raise ShapeError(
            f"pad: margins {(before, after)} for dim {axis} of shape {shape}; mode {mode!r} takes {allowed}"
        )
