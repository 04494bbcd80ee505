"""Operations that only move elements: views, indexing, joining, padding, and changes of dtype and device.

Most are copies between views, the same code for every device.  Indexing with arrays has kernels on the GPU; the CPU
runs NumPy.
"""

from dataclasses import dataclass
from functools import partial

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
    new = len(shape) - x.ndim
    if shape == (1,) * new + x.shape:  # nothing repeats, so the view can be written
        return view_at(x, (None,) * new + (...,))
    return memory.broadcast_to(x, shape)


@expand.gradient
def expand_gradient(do, g, x_shape):
    return (lambda: do.sum_to(g, shape=x_shape),)


@op
def view_scatter(device, x, value, *, steps, order):
    """A copy of x in which `value` replaces a part.

    steps   the view operations that lead from x to the part: ((operation, settings), ...)
    order   the axes of x, outermost first, of a memory layout in which these steps copy nothing
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
    """x gets no gradient where it was replaced."""

    def by_value():
        part = g
        for operation, settings in steps:
            part = getattr(do, operation.name)(part, **settings)
        return part

    return lambda: do.view_scatter(g, 0.0, steps=steps, order=order), by_value


# ---- x[key] for a basic key: a view


def is_basic(key) -> bool:
    """Whether a key has only numbers, slices, None and ...; it then selects a view."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or _is_number_or_slice(part) for part in parts)


def _is_number_or_slice(part) -> bool:
    return isinstance(part, int | np.integer | slice) and not isinstance(part, bool)


def view_at(x, key):
    """The view of x that a basic key selects."""
    parts = key if isinstance(key, tuple) else (key,)
    return x[parts if Ellipsis in parts else (*parts, Ellipsis)]


@op(view=True)
def index(device, x, *, key):
    try:
        return view_at(x, key)
    except IndexError as error:
        raise _out_of_range("index", error, x.shape) from None


def _out_of_range(where, error, shape):
    advice = "positions count from 0, or backwards from -1" if shape else "it is one number: use x.item()"
    return OutOfRangeError(f"{where}: {error} (shape {shape}); {advice}")


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


# ---- x[key] where the key has arrays of positions or masks: a copy


@dataclass(frozen=True)
class Position:
    """Stands in a key for a tensor, which is an input of the operation."""

    number: int  # of the tensor among the positions


def split_key(where, shape, key, positions):
    """Split a key for an array of `shape` in two: a basic key, and the arrays and full slices for the axes of the view
    that the basic key selects.

    key         numbers, slices, None, ..., arrays of whole numbers (1 axis or more), masks (any number of axes), and
                Positions
    positions   the arrays that the Positions stand for

    As in PyTorch, numbers are applied first, and in x[0, :, [0, 1]] the axis of the list keeps its place.  A mask
    counts as one array of positions for each of its axes, and a mask without axes as positions on a new axis.

    Raises   OutOfRangeError   too many axes, more than one '...', or a mask of another shape
    """
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple([positions[part.number] if isinstance(part, Position) else part for part in parts])
    dots = sum(part is Ellipsis for part in parts)
    parts = parts if dots else (*parts, Ellipsis)
    free = len(shape) - sum(_count_axes(part) for part in parts)
    if free < 0 or dots > 1:
        raise OutOfRangeError(
            f"{where}: the key indexes {len(shape) - free} axes and has '...' {dots} times, but the shape is {shape}; "
            f"index at most {len(shape)} axes, and use '...' at most once"
        )
    basic, arrays, axis = [], [], 0
    for part in parts:
        axes = free if part is Ellipsis else _count_axes(part)
        if isinstance(part, np.ndarray) and part.dtype == bool:
            if part.shape != shape[axis : axis + axes]:
                raise OutOfRangeError(
                    f"{where}: a mask of shape {part.shape} at axis {axis} of shape {shape}; make the sizes equal"
                )
            basic += [slice(None)] * axes if axes else [None]
            arrays += np.atleast_1d(part).nonzero()
        elif _is_number_or_slice(part) or part is None:
            basic.append(part)
            arrays += [slice(None)] * (part is None or isinstance(part, slice))
        else:
            basic += [slice(None)] * axes
            arrays += [slice(None)] * axes if part is Ellipsis else [part]
        axis += axes
    return tuple(basic), tuple(arrays)


def _count_axes(part) -> int:
    """The number of axes that a part of a key indexes."""
    if isinstance(part, np.ndarray) and part.dtype == bool:
        return part.ndim
    return int(part is not None and part is not Ellipsis)


def _selected_shape(where, device, shape, key, positions):
    """The shape of what a key selects from an array of `shape`."""
    basic, arrays = split_key(where, shape, key, [device.to_host(array) for array in positions])
    try:
        return view_at(np.broadcast_to(np.uint8(0), shape), basic)[arrays].shape
    except IndexError as error:
        raise _out_of_range(where, error, shape) from None


def take_numpy(x, key, positions, out):
    basic, arrays = split_key("index", x.shape, key, positions)
    out[...] = view_at(x, basic)[arrays]


take_dispatch = Dispatch("take", take_numpy)


@op
def take(device, x, *positions, key):
    """A copy of the elements that a key selects."""
    out = memory.empty(_selected_shape("index", device, x.shape, key, positions), x.dtype, device)
    take_dispatch[device.type](x, key, positions, out)
    return out


@take.gradient
def take_gradient(do, g, x_shape, positions, key):
    return lambda: do.take_back(g, *positions, shape=x_shape, key=key), *[None] * len(positions)


def take_back_numpy(g, key, positions, out):
    basic, arrays = split_key("index", out.shape, key, positions)
    np.add.at(view_at(out, basic), arrays, g)


take_back_dispatch = Dispatch("take_back", take_back_numpy)


@op
def take_back(device, g, *positions, shape, key):
    """Zeros of `shape` with g added at a key; an element selected twice gets the sum."""
    out = memory.full(shape, 0, g.dtype, device)
    take_back_dispatch[device.type](g, key, positions, out)
    return out


@take_back.gradient
def take_back_gradient(do, g, positions, key):
    return lambda: do.take(g, *positions, key=key), *[None] * len(positions)


def put_numpy(value, key, positions, out):
    basic, arrays = split_key("assign", out.shape, key, positions)
    view_at(out, basic)[arrays] = value


put_dispatch = Dispatch("put", put_numpy)


@op
def put(device, x, value, *positions, key):
    """A copy of x in which `value` replaces the elements that a key selects."""
    _check_value(device, value, x.dtype)
    value = _drop_leading_axes(value, _selected_shape("assign", device, x.shape, key, positions))
    out = memory.clone(x)
    put_dispatch[device.type](value, key, positions, out)
    return out


@put.gradient
def put_gradient(do, g, value_shape, positions, key):
    """x gets no gradient where it was replaced."""

    def by_value():
        return _add_leading_axes(do, do.take(g, *positions, key=key), value_shape)

    return lambda: do.put(g, 0.0, *positions, key=key), by_value, *[None] * len(positions)


def _drop_leading_axes(value, shape):
    """A value to be written to an array of `shape`, without its additional leading axes of size 1."""
    given = np.shape(value)
    extra = max(len(given) - len(shape), 0)
    if any(size != 1 for size in given[:extra]) or not _broadcasts(given[extra:], shape):
        raise ShapeError(f"assign: a value of shape {given} does not fit in {shape}; reshape it")
    return value.reshape(given[extra:]) if extra else value


def _add_leading_axes(do, g, shape):
    """The gradient g for a value of `shape`, with the axes that _drop_leading_axes dropped."""
    extra = max(len(shape) - len(g.shape), 0)
    return do.reshape(g, shape=(*[1] * extra, *g.shape)) if extra else g


# ---- x[...] = value


@op
def assign(device, x, value):
    """`value` in the shape, dtype and layout of x."""
    _check_value(device, value, x.dtype)
    value, out = _drop_leading_axes(value, x.shape), memory.empty_like(x)
    memory.copy(out, value)
    return out


@assign.gradient
def assign_gradient(do, g, value_shape):
    return lambda: do.assign(g, 0.0), lambda: _add_leading_axes(do, g, value_shape)


def _check_value(device, value, dtype):
    """Refuse a value that does not fit in `dtype`: float tensors in whole numbers, and numbers out of range."""
    given = result_type("assign", value)
    if not memory.is_array(value):
        expect_fits("assign", value, dtype)
    elif given.kind == "f" and dtype.kind != "f":
        raise DtypeError(f"assign: {given} values do not fit in a {dtype} tensor; convert one of them")
    elif dtype.kind in "iu" and widest("assign", dtype, given) != dtype:
        low, high = limits(dtype)
        device.expect_range(value, low, high + 1, low, does_not_fit, "assign", dtype)


def _broadcasts(shape, target) -> bool:
    """Whether an array of `shape` broadcasts to the shape `target`."""
    return all(size in (1, other) for size, other in zip(reversed(shape), reversed(target), strict=False))


def gather_numpy(x, index, axis, out):
    out[...] = np.take_along_axis(x[covered_region(index, axis)], index, axis)


gather_dispatch = Dispatch("gather", gather_numpy)


@op
def gather(device, x, index, *, axis):
    if getattr(index, "dtype", np.dtype(float)).kind not in "iu":
        raise DtypeError(f"gather: the index is a {getattr(index, 'dtype', type(index))}, expected whole numbers")
    if index.ndim != x.ndim:
        raise ShapeError(f"gather: the index has {index.ndim} dimensions, x has {x.ndim}; make them equal")
    if any(size > other for d, (size, other) in enumerate(zip(index.shape, x.shape, strict=True)) if d != axis):
        raise ShapeError(
            f"gather: the index {index.shape} is larger than x {x.shape} in a dim other than {axis}; make it smaller"
        )
    device.expect_range(index, 0, x.shape[axis], -(2**63), _index_error, x.shape[axis])
    out = memory.empty(index.shape, x.dtype, device)
    gather_dispatch[device.type](x, index, axis, out)
    return out


def _index_error(number, size):
    return OutOfRangeError(f"gather: index {number} is out of range for size {size}")


def covered_region(index, axis):
    """The key of the part of x that an index, which may be smaller than x, can reach."""
    return tuple(slice(None) if d == axis else slice(0, size) for d, size in enumerate(index.shape))


@gather.gradient
def gather_gradient(do, g, index, x_shape, axis):
    return (lambda: do.gather_back(g, index, shape=x_shape, axis=axis), None)


def gather_back_numpy(g, index, axis, out):
    indices = list(np.indices(index.shape, sparse=True))
    indices[axis] = index
    np.add.at(out, tuple(indices), g)


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


def _check_shapes(where, arrays, free_axis, advice):
    """Refuse arrays whose shapes differ in another axis than `free_axis`."""
    shape = arrays[0].shape
    for array in arrays[1:]:
        if array.ndim != len(shape) or any(
            a != b for d, (a, b) in enumerate(zip(array.shape, shape, strict=True)) if d != free_axis
        ):
            raise ShapeError(f"{where}: shapes {shape} and {array.shape} do not fit; {advice}")


def _along(axis, part):
    """The key of a part of an axis."""
    return (slice(None),) * axis + (part,)


def _consecutive(axis, shapes):
    """The keys of consecutive parts of an axis, of the sizes in these shapes."""
    ends = np.cumsum([shape[axis] for shape in shapes]).tolist()
    return [_along(axis, slice(end - shape[axis], end)) for shape, end in zip(shapes, ends, strict=True)]


@op
def cat(device, *arrays, axis):
    if not arrays[0].ndim:
        raise ShapeError("cat: single numbers have no axis to be joined along; use stack")
    _check_shapes("cat", arrays, axis, f"they may differ only along dim {axis}")
    shape, shapes = list(arrays[0].shape), [array.shape for array in arrays]
    shape[axis] = sum(other[axis] for other in shapes)
    out = memory.empty_like(arrays[0], common_dtype("cat", *arrays), tuple(shape))
    for array, key in zip(arrays, _consecutive(axis, shapes), strict=True):
        memory.copy(out[key], array)
    return out


@cat.gradient
def cat_gradient(do, g, shapes, axis):
    return tuple(partial(do.index, g, key=key) for key in _consecutive(axis, shapes))


@op
def stack(device, *arrays, axis):
    _check_shapes("stack", arrays, None, "make them equal")
    shape = arrays[0].shape
    out = memory.empty((*shape[:axis], len(arrays), *shape[axis:]), common_dtype("stack", *arrays), device)
    for i, array in enumerate(arrays):
        memory.copy(view_at(out, _along(axis, i)), array)
    return out


@stack.gradient
def stack_gradient(do, g, shapes, axis):
    return tuple(partial(do.index, g, key=_along(axis, i)) for i in range(len(shapes)))


@op
def pad(device, x, *, widths, value):
    """widths: (before, after) for every axis; negative widths cut off."""
    shape = tuple(size + before + after for (before, after), size in zip(widths, x.shape, strict=True))
    if any(size + min(width) < 0 for width, size in zip(widths, x.shape, strict=True)) or min(shape, default=0) < 0:
        raise ValidationError(f"pad: margins {widths} cut off more than there is of shape {x.shape}")
    expect_fits("pad", value, x.dtype)
    out = memory.full(shape, value, x.dtype, device)
    memory.copy(out[_cut(_negate(widths), shape)], x[_cut(widths, x.shape)])
    return out


def _cut(widths, shape):
    """The key of what remains of an array of `shape` after negative widths are cut off."""
    return tuple(
        slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(widths, shape, strict=True)
    )


def _negate(widths):
    return tuple((-before, -after) for before, after in widths)


@pad.gradient
def pad_gradient(do, g, widths):
    return (lambda: do.pad(g, widths=_negate(widths), value=0.0),)


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
