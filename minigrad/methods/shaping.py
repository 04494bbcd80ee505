"""Other shapes of the same elements."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops, shapes
from ..checks import whole_number
from ..errors import ShapeError, ValidationError
from .base import InPlace, Methods, along, composed

if TYPE_CHECKING:
    from ..tensors import Tensor


class Shaping(Methods):
    """Other shapes of the same elements."""

    __slots__ = ()

    # ---- in the shape of something else; views

    view_as = composed("view_as", lambda x, other: x.view(other.shape), "A view in the shape of `other`.")
    reshape_as = composed("reshape_as", lambda x, other: x.reshape(other.shape), "Elements in the shape of `other`.")
    expand_as = composed("expand_as", lambda x, other: x.expand(other.shape), "Expanded to the shape of `other`.")
    broadcast_to = composed("broadcast_to", lambda x, size: x.expand(size), "Axes of size 1 repeated; as expand.")
    ravel = composed("ravel", lambda x: x.reshape(-1), "All axes merged into one.")

    def unflatten(self, dim: int, sizes: Any) -> Tensor:
        """One axis split into several; one of their sizes may be -1."""
        axis = shapes.existing_axis(dim, self.ndim, "unflatten")
        split = shapes.resolve(sizes, self.shape[axis], self.shape[axis : axis + 1], "unflatten")
        return self.reshape((*self.shape[:axis], *split, *self.shape[axis + 1 :]))

    def movedim(self, source: Any, destination: Any) -> Tensor:
        """Axes moved to other places; the others keep their order.  A view."""
        taken, places = shapes.given_sizes((source,)), shapes.given_sizes((destination,))
        if len(taken) != len(places):
            raise ShapeError(f"movedim: {len(taken)} axes {taken} and {len(places)} places {places}; give as many")
        shapes.axes_tuple(taken, self.ndim, "movedim"), shapes.axes_tuple(places, self.ndim, "movedim")
        moved = {to % max(self.ndim, 1): axis % max(self.ndim, 1) for axis, to in zip(taken, places, strict=True)}
        rest = iter([axis for axis in range(self.ndim) if axis not in moved.values()])
        return self.permute([moved[place] if place in moved else next(rest) for place in range(self.ndim)])

    moveaxis = movedim

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        """Two axes exchanged; a view."""
        return self.transpose(axis0, axis1)

    swapdims = swapaxes

    def select(self, dim: int, index: int) -> Tensor:
        """Place `index` of one axis, without that axis; a view."""
        return self[along(shapes.existing_axis(dim, self.ndim, "select"), index)]

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` places of one axis from `start`; a view."""
        axis = shapes.existing_axis(dim, self.ndim, "narrow")
        size = self.shape[axis]
        first = whole_number("narrow", "start", start, -size, size)
        first += size if first < 0 else 0
        return self[along(axis, slice(first, first + whole_number("narrow", "length", length, 0, size - first)))]

    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """Windows of `size` places along one axis, one at every `step` places, on a new last axis; a view.

        Example
        >>> import minigrad as mg
        >>> mg.arange(5).unfold(0, 3, 2)
        tensor([[0, 1, 2],
                [2, 3, 4]])
        """
        x = self if self.ndim else self.reshape(1)
        axis = shapes.axis_number(dimension, self.ndim, "unfold")
        size = whole_number("unfold", "size", size, 0, x.shape[axis])
        step = whole_number("unfold", "step", step, 1)
        windows = x._run(ops.windows, axis=axis, size=size, step=step, dilation=1)
        return windows if self.ndim else windows[0]

    # ---- parts; views

    def split(self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of `split_size` places of one axis, the last one smaller; or parts of the sizes in a list."""
        axis = shapes.existing_axis(dim, self.ndim, "split")
        size = self.shape[axis]
        if not isinstance(split_size, tuple | list):
            step = whole_number("split", "split_size", split_size, min(size, 1))
            return self._parts(axis, [*range(step, size, step or 1)])
        parts = [whole_number("split", "a size", part, 0) for part in split_size]
        if sum(parts) != size:
            raise ShapeError(f"split: sizes {parts} add up to {sum(parts)}, axis {dim} has {size}; make them equal")
        return self._parts(axis, [sum(parts[:i]) for i in range(1, len(parts))]) if parts else ()

    def _parts(self, axis, ends):
        size = self.shape[axis]
        ends = [0, *[max(end + size, 0) if end < 0 else min(end, size) for end in ends], size]
        return tuple([self[along(axis, slice(start, max(start, end)))] for start, end in pairwise(ends)])

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts of one axis, of equal sizes but the last."""
        size = self.shape[shapes.existing_axis(dim, self.ndim, "chunk")]
        count = whole_number("chunk", "chunks", chunks, 1)
        return self.split(-(-size // count), dim) if size else self.split([0] * count, dim)

    def tensor_split(self, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of one axis: as many as a number says, whose sizes differ by at most 1; or cut at the given places."""
        axis = shapes.existing_axis(dim, self.ndim, "tensor_split")
        size, cuts = self.shape[axis], indices_or_sections
        if hasattr(cuts, "tolist"):
            cuts = cuts.tolist()
        if not isinstance(cuts, tuple | list):
            count = whole_number("tensor_split", "sections", cuts, 1)
            cuts = [i * (size // count) + min(i, size % count) for i in range(1, count)]
        return self._parts(axis, cuts)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """All places of one axis, without that axis."""
        axis = shapes.existing_axis(dim, self.ndim, "unbind")
        return tuple([self[along(axis, i)] for i in range(self.shape[axis])])

    # ---- repeated; copies

    def repeat(self, *repeats: Any) -> Tensor:
        """The whole tensor, as many times along each axis as the numbers say; further numbers add axes in front."""
        counts = [whole_number("repeat", "a number", count, 0) for count in shapes.given_sizes(repeats)]
        if len(counts) < self.ndim:
            raise ShapeError(f"repeat: {len(counts)} numbers {tuple(counts)} for {self.ndim} axes; give one for each")
        old = (1,) * (len(counts) - self.ndim) + self.shape
        pairs = list(zip(counts, old, strict=True))
        spread = self.reshape([part for size in old for part in (1, size)]).expand([n for pair in pairs for n in pair])
        found = spread.reshape([count * size for count, size in pairs])
        return found if found._alias is None else found.clone()

    def tile(self, *repeats: Any, dims: Any = None) -> Tensor:
        """repeat, where missing numbers in front are 1."""
        counts = shapes.given_sizes(repeats, dims)
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    def repeat_interleave(self, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
        """Every element several times in a row.

        repeats       a number, or whole numbers for the places of the axis
        dim           an axis, or None for the flattened tensor
        output_size   accepted for PyTorch's scripts
        """
        if dim is None:
            return self.reshape(-1).repeat_interleave(repeats, 0)
        axis = shapes.existing_axis(dim, self.ndim, "repeat_interleave")
        counts = np.asarray(repeats.tolist() or 0 if isinstance(repeats, Methods) else repeats)
        if counts.dtype.kind not in "iu" or counts.min() < 0 or counts.shape not in ((), (1,), (self.shape[axis],)):
            raise ValidationError(
                f"repeat_interleave: repeats are {counts.tolist()}; use whole numbers of 0 or more, one for all places "
                f"or {self.shape[axis]}"
            )
        return self[along(axis, np.repeat(np.arange(self.shape[axis]), counts))]

    # ---- in another order; copies

    def flip(self, *axes: Any, dims: Any = None) -> Tensor:
        """The places of some axes in reverse order."""
        wanted = shapes.given_sizes(axes, dims)
        turned = shapes.axes_tuple(wanted, self.ndim, "flip") if wanted else ()
        key = tuple([slice(None, None, -1 if axis in turned else None) for axis in range(self.ndim)])
        return self._run(ops.index, key=key).clone()

    fliplr = composed("fliplr", lambda x: x.flip(1), "Axis 1 in reverse order.")
    flipud = composed("flipud", lambda x: x.flip(0), "Axis 0 in reverse order.")

    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """The places of some axes moved by `shifts`; what leaves at one end comes in at the other.

        dims   an axis, several, or None for the flattened tensor
        """
        moves, axes = shapes.given_sizes((shifts,)), () if dims is None else shapes.given_sizes((dims,))
        if not axes and len(moves) == 1:
            return self.reshape(-1).roll(shifts, 0).reshape(self.shape)
        if not axes or len(moves) != len(axes):
            raise ShapeError(f"roll: {len(moves)} shifts {moves} for {len(axes)} axes {axes}; give one for each")
        found: Any = self
        for shift, dim in zip(moves, axes, strict=True):
            axis = shapes.existing_axis(dim, self.ndim, "roll")
            cut = -whole_number("roll", "a shift", shift) % max(self.shape[axis], 1)
            parts = found[along(axis, slice(cut, None))], found[along(axis, slice(None, cut))]
            found = parts[0]._run(ops.cat, parts[1], axis=axis)
        return found

    def rot90(self, k: int = 1, dims: Any = (0, 1)) -> Tensor:
        """Turned by k quarters, from the first of two axes to the second."""
        axes = shapes.given_sizes((dims,))
        if len(axes) != 2 or len(shapes.axes_tuple(axes, self.ndim, "rot90")) != 2:
            raise ValidationError(f"rot90: dims are {axes}; give two axes")
        turns = whole_number("rot90", "k", k) % 4
        flipped = self.flip(*{0: (), 1: axes[1:], 2: axes, 3: axes[:1]}[turns])
        return flipped.transpose(*axes) if turns % 2 else flipped

    unsqueeze_ = squeeze_ = transpose_ = t_ = InPlace(view=True)

    # ---- new tensors

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Zeros with the dtype and the device of self."""
        return self.new_full(shapes.given_sizes(size, options.pop("size", None)), 0, **options)

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Ones with the dtype and the device of self."""
        return self.new_full(shapes.given_sizes(size, options.pop("size", None)), 1, **options)

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """Zeros with the dtype and the device of self, where PyTorch leaves the numbers open."""
        return self.new_zeros(*size, **options)
