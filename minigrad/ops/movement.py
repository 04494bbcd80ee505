"""Operations that only move elements: views, indexing, joining, padding, and changes of dtype and device.

What can be said as copies between views runs on every device as it is written here.  Indexing by positions that are
data has kernels of its own on the GPU; the CPU runs NumPy.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from ..runtime import memory
from .op import Dispatch, op
from .promotion import common_dtype, does_not_fit, expect_fits, limits, result_type, widest

# ---- views


@op(view=True)
def reshape(device, x, *, shape):
    return memory.reshape(x, shape)


@reshape.gradient
def reshape_gradient(do, g, x_shape):
    return (lambda: do.reshape(g, shape=x_shape),)


@op(view=True, moves=True)
def permute(device, x, *, axes):
    return x.transpose(axes)


@permute.gradient
def permute_gradient(do, g, axes):
    return (lambda: do.permute(g, axes=tuple(np.argsort(axes))),)


@op(view=True, moves=True)
def expand(device, x, *, shape):
    return memory.broadcast_to(x, shape)


@expand.gradient
def expand_gradient(do, g, x_shape):
    return (lambda: do.sum_to(g, shape=x_shape),)


@op
def view_scatter(device, x, value, *, steps, order):
    """A copy of x with a part of it replaced by `value`.

    steps   the views that lead to the part: ((operation, settings), ...)
    order   the axes of x, outermost first, in a memory layout where these steps make no copy
    """
    out = memory.empty(tuple([x.shape[axis] for axis in order]), x.dtype, device).transpose(np.argsort(order))
    memory.copy(out, x)
    part = out
    for operation, settings in steps:
        part = operation.forward(device, part, **settings)
    memory.copy(part, value)
    return out


@view_scatter.gradient
def view_scatter_gradient(do, g, steps, order):
    """The part takes its gradient away from the rest."""

    def part():
        found = g
        for operation, settings in steps:
            found = getattr(do, operation.name)(found, **settings)
        return found

    return lambda: do.view_scatter(g, 0.0, steps=steps, order=order), part


# ---- x[key] for a basic key: a view


def is_basic(key) -> bool:
    """Whether a key has only numbers, slices, None and ...; it then names a view, and no element twice."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or _is_number_or_slice(part) for part in parts)


def _is_number_or_slice(part) -> bool:
    return isinstance(part, int | np.integer | slice) and not isinstance(part, bool)


def view_at(x, key):
    """The view of x that a basic key names."""
    parts = key if isinstance(key, tuple) else (key,)
    return x[parts if Ellipsis in parts else (*parts, Ellipsis)]


@op(view=True)
def index(device, x, *, key):
    try:
        return view_at(x, key)
    except IndexError as error:
        raise _out_of_range("index", error, x.shape) from None


def _out_of_range(where, error, shape):
    return OutOfRangeError(f"{where}: {error} (shape {shape}); positions count from 0, or back from -1")


@index.gradient
def index_gradient(do, g, x_shape, key):
    return (lambda: do.index_back(g, shape=x_shape, key=key),)


@op
def index_back(device, g, *, shape, key):
    """Zeros of `shape` with g at a basic key."""
    out = memory.full(shape, 0, g.dtype, device)
    memory.copy(view_at(out, key), g)
    return out


@index_back.gradient
def index_back_gradient(do, g, key):
    return (lambda: do.index(g, key=key),)


# ---- x[key] where the key has positions or masks: a copy


@dataclass(frozen=True)
class Position:
    """Stands in a key for a tensor, which is an input of the operation, by its number."""

    number: int


def split_key(where, shape, key, positions):
    """A key for an array of `shape` as two keys: a basic one, and one of positions and full slices for the axes of the
    view that the first one names.

    key         numbers, slices, None, ..., arrays of whole numbers (1 axis or more), masks (any number of axes), and
                Positions
    positions   the arrays that the Positions stand for

    As in PyTorch, numbers are taken first, and in x[0, :, [0, 1]] the axis of the list stays where it is.  A mask
    stands for as many lists of positions as it has axes, and one without axes for positions on a new axis.
    """
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple([positions[part.number] if isinstance(part, Position) else part for part in parts])
    dots = sum(part is Ellipsis for part in parts)
    parts = parts if dots else (*parts, Ellipsis)
    free = len(shape) - sum(_axes_of(part) for part in parts)
    if free < 0 or dots > 1:
        raise OutOfRangeError(
            f"{where}: the key names {len(shape) - free} axes and has '...' {dots} times, but the shape is {shape}; "
            f"name at most {len(shape)} axes, and write '...' at most once"
        )
    basic, places, axis = [], [], 0
    for part in parts:
        axes = free if part is Ellipsis else _axes_of(part)
        if isinstance(part, np.ndarray) and part.dtype == bool:
            if part.shape != shape[axis : axis + axes]:
                raise OutOfRangeError(
                    f"{where}: a mask of shape {part.shape} at axis {axis} of shape {shape}; make the sizes equal"
                )
            basic += [slice(None)] * axes if axes else [None]
            places += np.atleast_1d(part).nonzero()
        elif _is_number_or_slice(part) or part is None:
            basic.append(part)
            places += [slice(None)] * (part is None or isinstance(part, slice))
        else:
            basic += [slice(None)] * axes
            places += [slice(None)] * axes if part is Ellipsis else [part]
        axis += axes
    return tuple(basic), tuple(places)


def _axes_of(part) -> int:
    """The number of axes that a part of a key is for."""
    if isinstance(part, np.ndarray) and part.dtype == bool:
        return part.ndim
    return int(part is not None and part is not Ellipsis)


def _shape_at(where, device, shape, key, positions):
    """The shape of what a key names in an array of `shape`."""
    basic, places = split_key(where, shape, key, [device.to_host(array) for array in positions])
    try:
        return view_at(np.broadcast_to(np.uint8(0), shape), basic)[places].shape
    except IndexError as error:
        raise _out_of_range(where, error, shape) from None


def take_numpy(x, key, positions, out):
    basic, places = split_key("index", x.shape, key, positions)
    out[...] = view_at(x, basic)[places]


take_dispatch = Dispatch("take", take_numpy)


@op
def take(device, x, *positions, key):
    """A copy of the elements that a key names."""
    out = memory.empty(_shape_at("index", device, x.shape, key, positions), x.dtype, device)
    take_dispatch[device.type](x, key, positions, out)
    return out


@take.gradient
def take_gradient(do, g, x_shape, positions, key):
    return lambda: do.take_back(g, *positions, shape=x_shape, key=key), *[None] * len(positions)


def take_back_numpy(g, key, positions, out):
    basic, places = split_key("index", out.shape, key, positions)
    np.add.at(view_at(out, basic), places, g)


take_back_dispatch = Dispatch("take_back", take_back_numpy)


@op
def take_back(device, g, *positions, shape, key):
    """Zeros of `shape` with g added at a key; an element named twice gets both."""
    out = memory.full(shape, 0, g.dtype, device)
    take_back_dispatch[device.type](g, key, positions, out)
    return out


@take_back.gradient
def take_back_gradient(do, g, positions, key):
    return lambda: do.take(g, *positions, key=key), *[None] * len(positions)


def put_numpy(value, key, positions, out):
    basic, places = split_key("assign", out.shape, key, positions)
    view_at(out, basic)[places] = value


put_dispatch = Dispatch("put", put_numpy)


@op
def put(device, x, value, *positions, key):
    """x with the elements that a key names replaced by `value`."""
    _expect_held(device, value, x.dtype)
    value = _without_extra_axes(value, _shape_at("assign", device, x.shape, key, positions))
    out = memory.clone(x)
    put_dispatch[device.type](value, key, positions, out)
    return out


@put.gradient
def put_gradient(do, g, value_shape, positions, key):
    """The elements replaced take their gradient away from x."""

    def by_value():
        return _with_extra_axes(do, do.take(g, *positions, key=key), value_shape)

    return lambda: do.put(g, 0.0, *positions, key=key), by_value, *[None] * len(positions)


def _without_extra_axes(value, shape):
    """A value that is to be written where the shape is `shape`, without axes of size 1 in front."""
    given = np.shape(value)
    extra = max(len(given) - len(shape), 0)
    if any(size != 1 for size in given[:extra]) or not _stretches(given[extra:], shape):
        raise ShapeError(f"assign: a value of shape {given} does not fit in {shape}; reshape it")
    return value.reshape(given[extra:]) if extra else value


def _with_extra_axes(do, g, shape):
    """A gradient for a value of `shape` that was written without its axes in front."""
    extra = max(len(shape) - len(g.shape), 0)
    return do.reshape(g, shape=(*[1] * extra, *g.shape)) if extra else g


# ---- x[...] = value


@op
def assign(device, x, value):
    """`value` in the shape, dtype and layout of x."""
    _expect_held(device, value, x.dtype)
    value, out = _without_extra_axes(value, x.shape), memory.empty_like(x)
    memory.copy(out, value)
    return out


@assign.gradient
def assign_gradient(do, g, value_shape):
    return lambda: do.assign(g, 0.0), lambda: _with_extra_axes(do, g, value_shape)


def _expect_held(device, value, dtype):
    """Check that `dtype` holds a value: whole numbers hold no tensor of floats, and no number beyond their range."""
    given = result_type("assign", value)
    if not memory.is_array(value):
        expect_fits("assign", value, dtype)
    elif given.kind == "f" and dtype.kind != "f":
        raise DtypeError(f"assign: {given} values do not fit in a {dtype} tensor; convert one of them")
    elif dtype.kind in "iu" and widest("assign", dtype, given) != dtype:
        low, high = limits(dtype)
        device.expect_range(value, low, high + 1, low, does_not_fit, "assign", dtype)


def _stretches(shape, wanted) -> bool:
    """Whether an array broadcasts to the wanted shape."""
    return all(mine in (1, other) for mine, other in zip(reversed(shape), reversed(wanted), strict=False))


def gather_numpy(x, index, axis, out):
    out[...] = np.take_along_axis(x[_within(index, axis)], index, axis)


gather_dispatch = Dispatch("gather", gather_numpy)


@op
def gather(device, x, index, *, axis):
    if getattr(index, "dtype", np.dtype(float)).kind not in "iu":
        raise DtypeError(f"gather: the index is a {getattr(index, 'dtype', type(index))}, expected whole numbers")
    if index.ndim != x.ndim:
        raise ShapeError(f"gather: the index has {index.ndim} dimensions, x has {x.ndim}; make them equal")
    if any(mine > other for d, (mine, other) in enumerate(zip(index.shape, x.shape, strict=True)) if d != axis):
        raise ShapeError(
            f"gather: the index {index.shape} is larger than x {x.shape} beside dim {axis}; make it smaller"
        )
    device.expect_range(index, 0, x.shape[axis], 0, _outside, x.shape[axis])
    out = memory.empty(index.shape, x.dtype, device)
    gather_dispatch[device.type](x, index, axis, out)
    return out


def _outside(number, size):
    return OutOfRangeError(f"gather: index {number} is out of range for size {size}")


def _within(index, axis):
    """The part of x that an index smaller than x looks at."""
    return tuple(slice(None) if d == axis else slice(0, size) for d, size in enumerate(index.shape))


@gather.gradient
def gather_gradient(do, g, index, x_shape, axis):
    return (lambda: do.gather_back(g, index, shape=x_shape, axis=axis), None)


def gather_back_numpy(g, index, axis, out):
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    np.add.at(out, tuple(places), g)


gather_back_dispatch = Dispatch("gather_back", gather_back_numpy)


@op
def gather_back(device, g, index, *, shape, axis):
    """Zeros of `shape` with g added at `index` along `axis`."""
    out = memory.full(shape, 0, g.dtype, device)
    gather_back_dispatch[device.type](g, index, axis, out)
    return out


@gather_back.gradient
def gather_back_gradient(do, g, index, axis):
    return (lambda: do.gather(g, index, axis=axis), None)


# ---- joining and padding


def _fits(where, arrays, axis, same_axis):
    """The common dtype of arrays, if their shapes fit together."""
    shape = arrays[0].shape
    for array in arrays[1:]:
        alike = array.ndim == len(shape) and all(
            a == b for d, (a, b) in enumerate(zip(array.shape, shape, strict=True)) if d != axis or same_axis
        )
        if not alike:
            raise ShapeError(
                f"{where}: shapes {shape} and {array.shape} do not fit; they may differ "
                f"{'nowhere' if same_axis else f'only along dim {axis}'}"
            )
    return common_dtype(where, *arrays)


@op
def cat(device, *arrays, axis):
    if not arrays[0].ndim:
        raise ShapeError("cat: single numbers have no axis to be joined along; use stack")
    dtype = _fits("cat", arrays, axis, same_axis=False)
    shape, ends = list(arrays[0].shape), np.cumsum([array.shape[axis] for array in arrays]).tolist()
    shape[axis] = ends[-1]
    out = memory.empty_like(arrays[0], dtype, tuple(shape))
    for array, start, end in zip(arrays, [0, *ends[:-1]], ends, strict=True):
        memory.copy(out[(slice(None),) * axis + (slice(start, end),)], array)
    return out


@cat.gradient
def cat_gradient(do, g, shapes, axis):
    ends = np.cumsum([shape[axis] for shape in shapes]).tolist()
    starts = [0, *ends[:-1]]

    def part(start, end):
        return lambda: do.index(g, key=(slice(None),) * axis + (slice(start, end),))

    return tuple(part(start, end) for start, end in zip(starts, ends, strict=True))


@op
def stack(device, *arrays, axis):
    dtype, shape = _fits("stack", arrays, axis, same_axis=True), arrays[0].shape
    out = memory.empty((*shape[:axis], len(arrays), *shape[axis:]), dtype, device)
    for i, array in enumerate(arrays):
        memory.copy(view_at(out, (slice(None),) * axis + (i,)), array)
    return out


@stack.gradient
def stack_gradient(do, g, shapes, axis):
    def part(i):
        return lambda: do.index(g, key=(slice(None),) * axis + (i,))

    return tuple(part(i) for i in range(len(shapes)))


@op
def pad(device, x, *, widths, value):
    """widths: (before, after) for every axis; negative widths cut off."""
    if any(-before > size or -after > size for (before, after), size in zip(widths, x.shape, strict=True)):
        raise ValidationError(f"pad: margins {widths} cut more on one side than there is of shape {x.shape}")
    keep = tuple(
        slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(widths, x.shape, strict=True)
    )
    if any(size + before + after < 0 for (before, after), size in zip(widths, x.shape, strict=True)):
        raise ValidationError(f"pad: margins {widths} cut more than there is of shape {x.shape}")
    shape = tuple(size + before + after for (before, after), size in zip(widths, x.shape, strict=True))
    expect_fits("pad", value, x.dtype)
    out, kept = memory.full(shape, value, x.dtype, device), x[keep]
    starts = [max(before, 0) for before, _ in widths]
    memory.copy(out[tuple(slice(at, at + size) for at, size in zip(starts, kept.shape, strict=True))], kept)
    return out


@pad.gradient
def pad_gradient(do, g, widths):
    return (lambda: do.pad(g, widths=tuple((-before, -after) for before, after in widths), value=0.0),)


# ---- copies, dtypes, devices


@op(elementwise=True, moves=True)
def clone(device, x):
    return memory.clone(x)


@clone.gradient
def clone_gradient(do, g):
    return (lambda: g,)


@op(elementwise=True, moves=True)
def cast(device, x, *, dtype):
    out = memory.empty_like(x, dtype)
    memory.copy(out, x)
    return out, x.dtype


@cast.gradient
def cast_gradient(do, g, saved):
    return (lambda: do.cast(g, dtype=saved),)


@op(elementwise=True, moves=True)
def transfer(device, x, *, target):
    """x on device `target`."""
    return target.receive(device.to_host(x)), device


@transfer.gradient
def transfer_gradient(do, g, saved):
    return (lambda: do.transfer(g, target=saved),)
