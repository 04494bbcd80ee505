"""The order of elements along one axis."""

import numpy as np

from ..runtime import memory
from .op import Dispatch, op
from .promotion import INT64


def argsort_numpy(x, axis, descending, out):
    order = np.argsort(np.flip(x, axis) if descending else x, axis, kind="stable")
    out[...] = x.shape[axis] - 1 - np.flip(order, axis) if descending else order


argsort_dispatch = Dispatch("argsort", argsort_numpy)


@op
def argsort(device, x, *, axis, descending):
    """The positions of the elements from the smallest to the largest, or in reverse; equal elements keep their order.

    nan counts as larger than every number.
    """
    out = memory.empty(x.shape, INT64, device)
    if out.size:
        argsort_dispatch[device.type](x, axis, descending, out)
    return out
