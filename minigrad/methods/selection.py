"""Elements by position or mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops, shapes
from ..checks import brief
from ..errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from ..runtime.threads import local
from .base import InPlace, Methods, along

if TYPE_CHECKING:
    from ..tensors import Tensor


def _out_of_range(number, shape):
    return OutOfRangeError(f"scatter: index {number} is out of range for x {shape}; positions count from 0")


class Selection(Methods):
    """Elements by position or mask."""

    __slots__ = ()

    # ---- by positions along one axis

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The places of one axis that `index` (1-D) names."""
        axis, index = self._line("index_select", dim, index)
        return self[along(axis, index)]

    def _line(self, where, dim, index):
        """The axis, and the index as a line of whole numbers."""
        axis = shapes.existing_axis(dim, self.ndim, where)
        if self._index(where, index).ndim > 1:
            raise ShapeError(f"{where}: the index has {index.ndim} dimensions {index.shape}, expected 1; flatten it")
        return axis, index.reshape(-1)

    @staticmethod
    def _index(where, index):
        if not isinstance(index, Methods) or index.dtype not in (np.int32, np.int64):
            kind = getattr(index, "dtype", type(index).__name__)
            raise DtypeError(
                f"{where}: the index is {kind}, expected an int64 or int32 tensor; convert it with .long()"
            )
        return index

    def _spread(self, where, dim, index, source=None):
        """The axis, and the index in the shape of a selection, which `source` must have, too."""
        axis, index = self._line(where, dim, index)
        line = index.reshape([-1 if d == axis else 1 for d in range(self.ndim)])
        spread = line.expand([len(index) if d == axis else size for d, size in enumerate(self.shape)])
        if source is not None and np.shape(source) != spread.shape:
            raise ShapeError(
                f"{where}: source has shape {np.shape(source)}, index asks for {spread.shape}; make them equal"
            )
        return axis, spread

    def index_add(self, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
        """self with alpha * source added at the places of one axis that `index` (1-D) names; equal places add up."""
        axis, spread = self._spread("index_add", dim, index, source)
        return self.scatter_add(axis, spread, source if alpha == 1 else source * alpha)

    def index_copy(self, dim: int, index: Tensor, source: Tensor) -> Tensor:
        """self with `source` at the places of one axis that `index` (1-D) names."""
        axis, spread = self._spread("index_copy", dim, index, source)
        return self.scatter(axis, spread, source)

    def index_fill(self, dim: int, index: Tensor, value: Any) -> Tensor:
        """self with one number at the places of one axis that `index` (1-D) names; they may count from the end."""
        axis, spread = self._spread("index_fill", dim, index)
        return self.scatter(axis, spread.where(spread >= 0, spread + self.shape[axis]), value)

    # ---- by positions for every element

    def scatter(
        self, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
    ) -> Tensor:
        """self with `src` written at `index` along `dim`: out[index[i][j]][j] = src[i][j] for dim 0.

        index    int64 or int32, of the same number of dimensions
        src      a tensor at least as large as the index, or a number; also as value=
        reduce   'add' adds in place of writing

        The last of equal positions counts.
        Raises   ShapeError        the index is larger than src, or than self in a dim other than `dim`
                 OutOfRangeError   an index is negative or too large
        Example
        >>> import minigrad as mg
        >>> mg.zeros(3).scatter(0, mg.tensor([2, 0]), mg.tensor([5.0, 7.0]))
        tensor([7., 0., 5.])
        """
        if reduce not in (None, "add"):
            raise ValidationError(f"scatter: reduce is {brief(reduce)}; use None or 'add'")
        axis = shapes.existing_axis(dim, self.ndim, "scatter")
        if not self._index("scatter", index).numel():
            return self.clone()
        src = self._source(index, axis, value if src is None else src)
        if reduce == "add":
            return self + src._run(ops.gather_back, index, shape=self.shape, axis=axis)
        places: list[Any] = list(np.indices(index.shape, sparse=True))
        places[axis] = index
        out: Any = self.clone()
        out[tuple(places)] = src
        return out

    def _source(self, index, axis, src):
        """What scatter writes at an index that fits, in the shape of the index."""
        rest = [size for d, size in enumerate(self.shape) if d != axis]
        if index.ndim != self.ndim or any(a > b for a, b in zip(np.delete(index.shape, axis), rest, strict=True)):
            raise ShapeError(
                f"scatter: the index {index.shape} does not fit in x {self.shape}; give it as many dimensions, and no "
                f"larger sizes than those of x in dims other than {axis}"
            )
        index.device.expect_range(index.array, 0, self.shape[axis], -(2**63), _out_of_range, self.shape)
        if not isinstance(src, Methods) or not src.ndim:
            return (src if isinstance(src, Methods) else self._filled("scatter", (), src)).expand(index.shape)
        if src.dtype != self.dtype:
            raise DtypeError(f"scatter: src is {src.dtype} and x {self.dtype}; convert src with .to(mg.{self.dtype})")
        if src.ndim != index.ndim or any(a > b for a, b in zip(index.shape, src.shape, strict=True)):
            raise ShapeError(f"scatter: the index {index.shape} is larger than src {src.shape}; make src as large")
        return src[tuple([slice(size) for size in index.shape])]

    def scatter_add(self, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """self with `src` added at `index` along `dim`; see scatter."""
        return self.scatter(dim, index, src, reduce="add")

    def take(self, index: Tensor) -> Tensor:
        """The elements at `index` in the flattened tensor, in the shape of the index."""
        return self.reshape(-1)[index.reshape(-1)].reshape(index.shape)

    def take_along_dim(self, indices: Tensor, dim: int | None = None) -> Tensor:
        """gather, where the other axes of the two broadcast; dim None is the flattened tensor."""
        if dim is None:
            return self.reshape(-1).gather(0, indices.reshape(-1))
        axis = shapes.existing_axis(dim, self.ndim, "take_along_dim")
        if indices.ndim != self.ndim:
            raise ShapeError(f"take_along_dim: {indices.ndim} dimensions of indices, {self.ndim} of x; make them equal")
        ours, theirs = [(*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in (self, indices)]
        common = shapes.broadcast("take_along_dim", ours, theirs)
        spread = [-1 if d == axis else size for d, size in enumerate(common)]
        return self.expand(spread).gather(axis, indices.expand(spread))

    # ---- by a mask

    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where a bool tensor, which broadcasts, is true; 1-D."""
        shape = shapes.broadcast("masked_select", self.shape, self._mask("masked_select", mask).shape)
        return self.expand(shape)[mask.expand(shape)]

    @staticmethod
    def _mask(where, mask):
        if getattr(mask, "dtype", None) != np.bool_:
            kind = getattr(mask, "dtype", type(mask).__name__)
            raise DtypeError(f"{where}: the mask is {kind}, expected a bool tensor; compare first, as in x > 0")
        return mask

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """self with one number where a bool tensor, which broadcasts, is true."""
        if np.ndim(value):
            raise ShapeError(
                f"masked_fill: value has {value.ndim} dimensions, expected 0; use mg.where(mask, value, x)"
            )
        value = value if isinstance(value, Methods) else self._filled("masked_fill", (), value)
        return self._mask("masked_fill", mask)._run(ops.where, value.to(self.device, self.dtype), self)

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """The positions of the elements that are not 0: (count, dimensions), or a tuple of one line for each axis."""
        local.observer.refuse("finding nonzero elements", "their number depends on values: use mg.where(mask, x, 0)")
        found = np.argwhere(self.detach().cpu().numpy())
        if not as_tuple:
            return self.new_tensor(found, dtype=np.int64)
        lines = found.T if self.ndim else np.zeros((1, len(found)))
        return tuple([self.new_tensor(line, dtype=np.int64) for line in lines])

    def argwhere(self) -> Tensor:
        """The positions of the elements that are not zero, (count, dimensions)."""
        return self.nonzero()

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition is true, other elsewhere."""
        return condition._run(ops.where, self, other)

    index_add_ = index_copy_ = index_fill_ = scatter_ = scatter_add_ = masked_fill_ = InPlace()
