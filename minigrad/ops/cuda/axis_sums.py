"""Weighted sums along one axis on the GPU, a thread for each output; the formula is in ../axis_sums.py."""

from ...runtime.cuda.array import to_device_once
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const
from ..axis_sums import axis_sums_dispatch


@kernel
def axis_sums_kernel(x, starts, sources, weights, out, B, K, C):
    """One element of out (A, K, C) from x (A, B, C)."""
    for at in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        a, k, c, total = at // (K * C), at // C % K, at % C, const(0, x)
        for i in range(starts[k], starts[k + 1]):
            total += weights[i] * x[(a * B + sources[i]) * C + c]
        out[at] = total


@axis_sums_dispatch.register("cuda")
def axis_sums_cuda(x, starts, sources, weights, out):
    tables = [to_device_once(table) for table in (starts, sources, weights)]
    axis_sums_kernel.launch_over(out.size, x.reshape(-1), *tables, out.reshape(-1), x.shape[1], *out.shape[1:])
