"""Running sums and products on the GPU: a thread for each (a, c) of memory (A, B, C); the formula is in ../scan.py.

A thread reads its whole line, so one long line is slow.  Totals keep the rounding errors of additions.
"""

from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const
from ..scan import recurrence_dispatch
from ..softmax import as_three_axes


@kernel
def recurrence_kernel(a, b, out, AC, B, C, has_a, reverse):
    """out[i] = a[i] * out[i-1] + b[i]; a counts as 1 where has_a is 0."""
    for line in range(cuda.grid(1), AC, cuda.gridsize(1)):
        total, lost = const(0, out), const(0, out)
        for i in range(B):
            at = (line // C * B + (B - 1 - i if reverse else i)) * C + line % C
            if i == 0:
                total = b[at]
            elif has_a:
                total, lost = compensated_add(a[at] * total, a[at] * lost, b[at])
            else:
                total, lost = compensated_add(total, lost, b[at])
            out[at] = compensated_total(total, lost)


@recurrence_dispatch.register("cuda")
def recurrence_cuda(a, b, axis, reverse, out):
    factors = None if a is None else as_three_axes(a, out, axis=axis)[0].reshape(-1)
    b, out = as_three_axes(b, out, axis=axis)
    A, B, C = out.shape
    terms, has_a = b.reshape(-1), a is not None
    flat = factors if has_a else terms, terms, out.reshape(-1)
    recurrence_kernel.launch_over(A * C, *flat, A * C, B, C, int(has_a), int(reverse))
