"""Other shapes of the same elements, and margins."""

from collections.abc import Sequence

from ... import ops
from ...errors import ShapeError, ValidationError
from ...tensors import Tensor, apply
from .arguments import expect_tensors

__all__ = ["flatten", "pad"]
__dir__ = __all__.copy


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim merged into one; see Tensor.flatten."""
    expect_tensors("flatten", x)
    return x.flatten(start_dim, end_dim)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Add margins of `value` around a tensor.

    pad    (before, after) for the last axis, then for the one before it, and so on; negative margins cut off
    mode   only 'constant'

    Raises   ShapeError        more pairs than axes, or half a pair
             ValidationError   another mode
    Example
    >>> import minigrad as mg
    >>> pad(mg.ones(2), (1, 2))
    tensor([0., 1., 1., 0., 0.])
    """
    if mode != "constant":
        raise ValidationError(f"pad: mode is {mode!r}; use 'constant'")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad: {len(pad)} margins for {x.ndim} dimensions; give (before, after) for each axis, the last axis first"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return apply(ops.pad, x, widths=tuple(widths), value=value) if widths else x
