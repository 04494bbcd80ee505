"""The sum or the mean of vectors of several ranks, in the order of the ranks; see ../distributed.

    out[i] = ((rows[0, i] + rows[1, i]) + rows[2, i] ...) / divisor

These are the additions of one process that adds up the gradients of the ranks one after the other, so the bits are
equal.  Memory: (R, N), one row for each rank.
"""

from ..runtime.kernel import Array1, Array2, kernel
from ..runtime.math import smaller
from .op import Dispatch

ELEMENTS_PER_TASK = 4096  # so that `out` stays in the first cache while the rows are added


def rank_mean_numpy(rows, divisor, out):
    out[...] = rows[0]
    for row in rows[1:]:
        out += row
    out /= out.dtype.type(divisor)


@kernel
def rank_mean_kernel(task, rows: Array2, divisor: float, out: Array1):
    """One range of elements."""
    R, N = rows.shape
    start = task * ELEMENTS_PER_TASK
    stop = smaller(start + ELEMENTS_PER_TASK, N)
    for i in range(start, stop):
        out[i] = rows[0, i]
    for r in range(1, R):
        for i in range(start, stop):
            out[i] += rows[r, i]
    for i in range(start, stop):
        out[i] = out[i] / divisor


def rank_mean_cpu(rows, divisor, out):
    rank_mean_kernel.run_small(-(-out.size // ELEMENTS_PER_TASK), rows.size, rows, float(divisor), out)


rank_mean_dispatch = Dispatch("rank_mean", rank_mean_numpy, cpu=rank_mean_cpu)
