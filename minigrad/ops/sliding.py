"""Windows that slide along one axis."""

import numpy as np

from ..runtime import memory
from .arithmetic import add_dispatch
from .op import op


def view_of(x, function):
    """function(NumPy array), a view, of an array on any device."""
    return x._with_view(function(x.view)) if hasattr(x, "owner") else function(x)


@op(view=True)
def windows(device, x, *, axis, size, step, dilation):
    """The windows of `size` elements, `dilation` apart, at every `step`-th place of an axis; on a new last axis."""
    count = (x.shape[axis] - dilation * (size - 1) - 1) // step + 1
    stride = x.strides[axis]
    shape = *x.shape[:axis], count, *x.shape[axis + 1 :], size
    strides = *x.strides[:axis], stride * step, *x.strides[axis + 1 :], stride * dilation
    as_strided = np.lib.stride_tricks.as_strided
    return view_of(x, lambda array: as_strided(array, shape, strides, writeable=array.flags.writeable))


@windows.gradient
def windows_gradient(do, g, x_shape, axis, size, step, dilation):
    settings = {"axis": axis, "size": size, "step": step, "dilation": dilation}
    return (lambda: do.windows_back(g, shape=x_shape, **settings),)


@op
def windows_back(device, g, *, shape, axis, size, step, dilation):
    """Zeros of `shape`, to which every window of g is added at its place."""
    out = memory.full(shape, 0, g.dtype, device)
    for i in range(size):
        places = slice(i * dilation, i * dilation + (g.shape[axis] - 1) * step + 1, step)
        part = out[(slice(None),) * axis + (places,)]
        add_dispatch[device.type](part, g[..., i], part)
    return out


@windows_back.gradient
def windows_back_gradient(do, g, axis, size, step, dilation):
    return (lambda: do.windows(g, axis=axis, size=size, step=step, dilation=dilation),)
