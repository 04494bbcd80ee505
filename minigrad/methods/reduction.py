"""Reductions, running sums, sorting and counting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from .. import ops, shapes
from ..checks import brief, whole_number
from ..errors import DtypeError, ShapeError, ValidationError
from ..ops.promotion import expect_float
from .base import Methods, along, along_axis, numpy_names

if TYPE_CHECKING:
    from ..tensors import Tensor


class Extremes(NamedTuple):
    """Elements along an axis, such as the largest ones, and where they are."""

    values: Tensor
    indices: Tensor


class Range(NamedTuple):
    """The smallest and the largest elements."""

    min: Tensor
    max: Tensor


class Reductions(Methods):
    """Reductions, running sums, sorting and counting."""

    __slots__ = ()

    # ---- sums and products

    @numpy_names
    def prod(self, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """The product over one axis, or of all elements; whole numbers give int64.

        Its gradient is right where elements are 0, too.
        """
        if dim is None or not self.ndim:
            return self.reshape(-1).prod(0, dtype=dtype)
        axis = shapes.axis_number(dim, self.ndim, "prod")
        one = self._wide(dtype)._run(ops.pad, widths=[(int(d == axis), 0) for d in range(self.ndim)], value=1)
        out = one.cumprod(axis)[along(axis, slice(-1, None))].to(dtype)
        return out if keepdim else out.squeeze(axis)

    def _wide(self, dtype: Any) -> Tensor:
        """The elements to be added or multiplied: of `dtype`, but int64 for whole numbers and bool."""
        x = self.to(dtype)
        return x if x.dtype.kind == "f" else x.long()

    @along_axis
    def cumsum(self, dim: int, *, dtype: Any = None) -> Tensor:
        """The sums of the first 1, 2, ... elements along an axis; whole numbers give int64."""
        axis, x = shapes.axis_number(dim, self.ndim, "cumsum"), self._wide(dtype)
        return x._run(ops.recurrence, None, axis=axis, reverse=False).to(dtype)

    @along_axis
    def cumprod(self, dim: int, *, dtype: Any = None) -> Tensor:
        """The products of the first 1, 2, ... elements along an axis; whole numbers give int64."""
        axis, x = shapes.axis_number(dim, self.ndim, "cumprod"), self._wide(dtype)
        rest = [(0, max(self.shape[axis] - 1, 0) * (d == axis)) for d in range(self.ndim)]
        first = x[along(axis, slice(0, 1))]._run(ops.pad, widths=rest, value=0)
        return first._run(ops.recurrence, x, axis=axis, reverse=False).to(dtype)

    @numpy_names
    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        """log(sum(exp(x))) over axes, without overflow."""
        x = self if self.dtype.kind == "f" else self.float()
        axes = shapes.axes_tuple(dim, self.ndim, "logsumexp")
        if 0 in self.shape:
            return x.exp().sum(axes, keepdim).log()
        largest = x.detach().amax(axes, keepdim=True)
        shift = (largest.abs() < math.inf)._run(ops.where, largest, 0.0)
        out = (x - shift).exp().sum(axes, keepdim=True).log() + shift
        return out.reshape(shapes.reduced(self.shape, axes, keepdim))

    @numpy_names
    def nansum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """The sum of the elements that are not nan."""
        return self._run(ops.eq, self)._run(ops.where, self, False).sum(dim, keepdim, dtype=dtype)

    @numpy_names
    def nanmean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """The mean of the elements that are not nan."""
        x = self.to(dtype)
        expect_float("nanmean", x)
        return x.nansum(dim, keepdim) / x._run(ops.eq, x).sum(dim, keepdim)

    @numpy_names
    def count_nonzero(self, dim: Any = None) -> Tensor:
        """The number of elements over `dim` that are not 0."""
        return self._run(ops.ne, 0).sum(dim)

    @numpy_names
    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> Range:
        """The smallest and the largest elements, as (min, max)."""
        return Range(self.amin(dim, keepdim), self.amax(dim, keepdim))

    # ---- order

    @along_axis
    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
        """The positions of the elements along an axis in order; as `sort`."""
        axis = shapes.axis_number(dim, self.ndim, "argsort")
        return self._run(ops.argsort, axis=axis, descending=bool(descending))

    @along_axis
    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Extremes:
        """The elements along an axis in order, and where they were; nan counts as the largest.

        stable   without effect: equal elements always keep their order
        """
        return self._at(dim, self.argsort(dim, descending), True)

    @along_axis
    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
        """The k largest (smallest) elements along an axis, the largest (smallest) first, and where they are.

        sorted   without effect: they are always sorted
        """
        axis = shapes.axis_number(dim, self.ndim, "topk")
        whole_number("topk", "k", k, 0, self.shape[axis])
        return self._at(axis, self.argsort(axis, largest)[along(axis, slice(0, k))], True)

    @along_axis
    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> Extremes:
        """The k-th smallest element along an axis, counted from 1, and where it is."""
        axis = shapes.axis_number(dim, self.ndim, "kthvalue")
        whole_number("kthvalue", "k", k, 1, self.shape[axis])
        return self._at(axis, self.argsort(axis)[along(axis, slice(k - 1, k))], keepdim)

    def _at(self, axis: int, indices: Tensor, keepdim: bool) -> Extremes:
        """The elements at `indices`; without `keepdim`, of which there is one along the axis."""
        values = self.gather(axis, indices)
        return Extremes(values, indices) if keepdim else Extremes(values.squeeze(axis), indices.squeeze(axis))

    @overload
    def median(self, dim: None = None) -> Tensor: ...
    @overload
    def median(self, dim: int, keepdim: bool = False) -> Extremes: ...
    @numpy_names
    def median(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The middle element, the lower one of two; nan if there is one.  With `dim`, (values, indices) along it.

        Without `dim`, elements that are equal to it share the gradient.
        """
        if dim is not None:
            return self._median(dim, keepdim)
        middle = self.detach().reshape(-1)._median(0, False).values
        shares = (self.detach() == middle).to(self.dtype)
        shared = (self * (shares / shares.sum())).sum() if self.requires_grad else middle
        return middle + (shared - shared.detach()) if self.requires_grad else middle

    @along_axis
    def _median(self, dim: int, keepdim: bool) -> Extremes:
        axis = shapes.axis_number(dim, self.ndim, "median")
        size = self.shape[axis]
        if not size:
            raise ShapeError(f"median: axis {axis} of shape {self.shape} has no elements to choose from")
        numbers = self._run(ops.eq, self).sum(axis, keepdim=True)  # without nan, which argsort puts behind them
        place = (numbers < size)._run(ops.where, numbers, (size - 1) // 2)
        return self._at(axis, self.argsort(axis).gather(axis, place), keepdim)

    # ---- counting; the values are read on the host

    def _new(self, array: np.ndarray) -> Tensor:
        return self.new_tensor(array, dtype=array.dtype)

    def unique(
        self, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: None = None
    ) -> Any:
        """The different elements, in order; also where each element is among them, and how often each one occurs.

        returns   values, or a tuple (values, inverse, counts) of what was asked for
        """
        if dim is not None:
            raise ValidationError(
                f"unique: dim is {brief(dim)}; only dim=None is supported, for the elements of all axes"
            )
        values, inverse, counts = np.unique(self._host(), return_inverse=True, return_counts=True, equal_nan=False)
        parts = [values, *[inverse.reshape(self.shape)] * return_inverse, *[counts] * return_counts]
        found = tuple([self._new(array) for array in parts])
        return found if len(found) > 1 else found[0]

    def bincount(self, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
        """How often each of the numbers 0, 1, 2, ... occurs; with `weights`, the sum of the weights at each number."""
        if self.dtype.kind not in "iu":
            raise DtypeError(f"bincount: expected whole numbers, got {self.dtype}; convert them with .long()")
        if self.ndim != 1 or (weights is not None and weights.shape != self.shape):
            given = "" if weights is None else f" and weights of shape {weights.shape}"
            raise ShapeError(f"bincount: numbers of shape {self.shape}{given}; give one axis, of the same size")
        numbers, least = self._host(), whole_number("bincount", "minlength", minlength, 0)
        if numbers.size and numbers.min() < 0:
            raise ValidationError(f"bincount: the smallest number is {numbers.min()}; use numbers of 0 or more")
        if weights is None:
            return self._new(np.bincount(numbers, minlength=least))
        sums = np.bincount(numbers, weights._host(), least)
        return self._new(sums.astype(weights.dtype if weights.dtype.kind == "f" else np.float64))

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
        """How many elements lie in each of `bins` equal intervals; nan and those outside min..max are left out.

        min, max   the ends, both included; if they are equal, those of the elements
        """
        expect_float("histc", self)
        whole_number("histc", "bins", bins, 1)
        values = self._host()
        low, high = (values.min(), values.max()) if min == max and values.size else (min, max)
        low, high = (low - 1, high + 1) if low == high else (low, high)
        if not -math.inf < low < high < math.inf:
            raise ValidationError(f"histc: from {low} to {high}; give a finite min below max")
        inside = values[(values >= low) & (values <= high)]
        places = ((inside - low) / (high - low) * bins).astype(np.int64)
        return self._new(np.bincount(np.minimum(places, bins - 1), minlength=bins).astype(self.dtype))

    # ---- comparison of two tensors

    def isclose(self, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """Whether |self - other| <= atol + rtol * |other|, element by element; equal infinities are close."""
        a, b = (x if x.dtype.kind == "f" else x.double() for x in (self.detach(), other.detach()))
        distance = (a - b).abs()
        close = (distance <= b.abs() * rtol + atol)._run(ops.mul, distance < math.inf)
        close = a._run(ops.eq, b)._run(ops.where, True, close)
        return (a._run(ops.ne, a) * b._run(ops.ne, b))._run(ops.where, True, close) if equal_nan else close

    def allclose(self, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        """Whether all elements are close; see `isclose`."""
        return bool(self.isclose(other, rtol, atol, equal_nan).all())

    def equal(self, other: Tensor) -> bool:
        """Whether two tensors have the same shape and the same elements."""
        return self.shape == other.shape and bool(self.detach()._run(ops.eq, other.detach()).all())

    def dist(self, other: Tensor, p: float = 2) -> Tensor:
        """The p-norm of self - other."""
        return (self - other).norm(p)
