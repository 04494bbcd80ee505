"""Running sums and products along one axis.

The recurrence y[i] = a[i] * y[i-1] + b[i] is a running sum where a is 1, and a running product where b is 0 after its
first element.  Its gradient is the same recurrence from the other end.

Memory: (A, B, C) with the axis in the middle, as for softmax.  On the CPU the running total is float64.
"""

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Array3, kernel
from ..runtime.math import const
from .op import Dispatch, op
from .reduction import KEPT_PER_TASK, kept_range
from .softmax import as_three_axes


def recurrence_numpy(a, b, axis, reverse, out):
    a, b, out = (None if v is None else np.moveaxis(v, axis, 0)[:: -1 if reverse else 1] for v in (a, b, out))
    wide = np.result_type(out, np.float64) if out.dtype.kind == "f" else out.dtype
    if a is None:
        out[...] = np.cumsum(b, 0, dtype=wide)
        return
    total = out[0] = b[0]
    for i in range(1, len(out)):
        out[i] = total = a[i] * total.astype(wide) + b[i]


@kernel
def recurrence_kernel(task, a: Array3, b: Array3, has_a, reverse, out: Array3):
    """out[i] = a[i] * out[i-1] + b[i] over B, for a range of C; a counts as 1 where has_a is 0."""
    _, B, C = b.shape
    line, start, stop = kept_range(task, C)
    for c in range(start, stop):
        total = 0.0
        for i in range(B):
            at = (line * B + (B - 1 - i if reverse else i)) * C + c
            factor = a[at] if has_a else const(1, b)
            total = factor * total + b[at] if i else 1.0 * b[at]
            out[at] = total


def recurrence_cpu(a, b, axis, reverse, out):
    factors = None if a is None else as_three_axes(a, out, axis=axis)[0]
    b, out = as_three_axes(b, out, axis=axis)
    tasks, has_a = out.shape[0] * -(-out.shape[2] // KEPT_PER_TASK), a is not None
    recurrence_kernel.run_small(tasks, out.size, factors if has_a else b, b, int(has_a), int(reverse), out)


recurrence_dispatch = Dispatch("recurrence", recurrence_numpy, cpu=recurrence_cpu, floats=1)


@op
def recurrence(device, b, a, *, axis, reverse):
    """a and b have the same shape and dtype; None for an a of ones."""
    out = memory.empty_like(b)
    if out.size:
        recurrence_dispatch[device.type](a, b, axis, reverse, out)
    return out


@recurrence.gradient
def recurrence_gradient(do, g, a, out, axis, reverse):
    def next_element(x, backward):
        step = -1 if backward else 1
        return do.pad(x, widths=[(-step, step) if d == axis else (0, 0) for d in range(len(x.shape))], value=0.0)

    def by_b():
        return do.recurrence(g, None if a is None else next_element(a, reverse), axis=axis, reverse=not reverse)

    return by_b, lambda: do.mul(by_b(), next_element(out, not reverse))
