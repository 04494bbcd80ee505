"""Operations that only move elements: views, indexing, joining, padding, and changes of dtype and device.

No arithmetic, so one column: NumPy moves memory on every host device.
"""

import numpy as np

from ..errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from .arithmetic import common_dtype
from .op import Op, op


def view(operation: Op) -> Op:
    """Mark an operation whose output may share memory with its input."""
    operation.view = True
    return operation


# ---- views


@view
@op
def reshape(device, x, *, shape):
    return x.reshape(shape)


@reshape.gradient
def reshape_gradient(do, g, x_shape):
    return (lambda: do.reshape(g, shape=x_shape),)


@view
@op
def permute(device, x, *, axes):
    return x.transpose(axes)


@permute.gradient
def permute_gradient(do, g, axes):
    return (lambda: do.permute(g, axes=tuple(np.argsort(axes))),)


@view
@op
def expand(device, x, *, shape):
    return np.broadcast_to(x, shape)


@expand.gradient
def expand_gradient(do, g, x_shape):
    return (lambda: do.sum_to(g, shape=x_shape),)


# ---- x[key]


@view
@op
def index(device, x, *, key):
    try:
        return np.asarray(x[key])
    except IndexError as error:
        raise OutOfRangeError(f"index: {error} (shape {x.shape})") from None


@index.gradient
def index_gradient(do, g, x_shape, key):
    return (lambda: do.index_back(g, shape=x_shape, key=key),)


@op
def index_back(device, g, *, shape, key):
    """Zeros of `shape` with g added at `key`; places named twice get both."""
    out = np.zeros(shape, g.dtype)
    if _basic(key):
        out[key] = g
    else:
        np.add.at(out, key, g)
    return out


@index_back.gradient
def index_back_gradient(do, g, key):
    return (lambda: do.index(g, key=key),)


def _basic(key) -> bool:
    """Whether a key is made of numbers, slices, None and ... only, and so names no place twice."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, int | np.integer | slice) for part in parts)


@op
def assign(device, x, value, *, key):
    """x with x[key] replaced by `value`."""
    out = x.copy(order="K")
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and x.dtype.kind != "f":
        raise DtypeError(f"assign: {value.dtype} values do not fit in a {x.dtype} tensor; convert one of them")
    try:
        out[key] = value
    except ValueError:
        raise ShapeError(
            f"assign: a value of shape {np.shape(value)} does not fit in {out[key].shape}; reshape it"
        ) from None
    except IndexError as error:
        raise OutOfRangeError(f"assign: {error} (shape {x.shape})") from None
    return out


@assign.gradient
def assign_gradient(do, g, key):
    return lambda: do.assign(g, 0.0, key=key), lambda: do.index(g, key=key)


@op
def gather(device, x, index, *, axis):
    if getattr(index, "dtype", np.dtype(float)).kind not in "iu":
        raise DtypeError(f"gather: the index is a {getattr(index, 'dtype', type(index))}, expected whole numbers")
    if any(mine > other for d, (mine, other) in enumerate(zip(index.shape, x.shape, strict=False)) if d != axis):
        raise ShapeError(
            f"gather: the index {index.shape} is larger than x {x.shape} beside dim {axis}; make it smaller"
        )
    if index.ndim != x.ndim:
        raise ShapeError(f"gather: the index has {index.ndim} dimensions, x has {x.ndim}; make them equal")
    if index.size and not (index.min() >= 0 and index.max() < x.shape[axis]):
        raise OutOfRangeError(f"gather: index {index.min()} to {index.max()} is out of range for size {x.shape[axis]}")
    return np.take_along_axis(x[_within(index, axis)], index, axis)


def _within(index, axis):
    """The part of x that an index smaller than x looks at."""
    return tuple(slice(None) if d == axis else slice(0, size) for d, size in enumerate(index.shape))


@gather.gradient
def gather_gradient(do, g, index, x_shape, axis):
    return (lambda: do.gather_back(g, index, shape=x_shape, axis=axis), None)


@op
def gather_back(device, g, index, *, shape, axis):
    """Zeros of `shape` with g added at `index` along `axis`."""
    out = np.zeros(shape, g.dtype)
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    np.add.at(out, tuple(places), g)
    return out


@gather_back.gradient
def gather_back_gradient(do, g, index, axis):
    return (lambda: do.gather(g, index, axis=axis), None)


# ---- joining and padding


def _fits(where, arrays, axis, same_axis):
    """The arrays in their common dtype, if their shapes fit together."""
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
    dtype = common_dtype(where, *arrays)
    return [array.astype(dtype, copy=False) for array in arrays]


@op
def cat(device, *arrays, axis):
    if not arrays[0].ndim:
        raise ShapeError("cat: single numbers have no axis to be joined along; use stack")
    return np.concatenate(_fits("cat", arrays, axis, same_axis=False), axis)


@cat.gradient
def cat_gradient(do, g, shapes, axis):
    ends = np.cumsum([shape[axis] for shape in shapes]).tolist()
    starts = [0, *ends[:-1]]

    def part(start, end):
        return lambda: do.index(g, key=(slice(None),) * axis + (slice(start, end),))

    return tuple(part(start, end) for start, end in zip(starts, ends, strict=True))


@op
def stack(device, *arrays, axis):
    return np.stack(_fits("stack", arrays, axis, same_axis=True), axis)


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
    grow = [(max(before, 0), max(after, 0)) for before, after in widths]
    keep = tuple(
        slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(widths, x.shape, strict=True)
    )
    if any(size + before + after < 0 for (before, after), size in zip(widths, x.shape, strict=True)):
        raise ValidationError(f"pad: margins {widths} cut more than there is of shape {x.shape}")
    return np.pad(x[keep], grow, constant_values=value)


@pad.gradient
def pad_gradient(do, g, widths):
    return (lambda: do.pad(g, widths=tuple((-before, -after) for before, after in widths), value=0.0),)


# ---- copies, dtypes, devices


@op
def clone(device, x):
    return x.copy(order="K")


@clone.gradient
def clone_gradient(do, g):
    return (lambda: g,)


@op
def cast(device, x, *, dtype):
    return x.astype(dtype), x.dtype


@cast.gradient
def cast_gradient(do, g, saved):
    return (lambda: do.cast(g, dtype=saved),)


@op
def transfer(device, x, *, target):
    """x on device `target`."""
    return target.from_host(device.to_host(x).copy(order="K")), device


@transfer.gradient
def transfer_gradient(do, g, saved):
    return (lambda: do.transfer(g, target=saved),)
