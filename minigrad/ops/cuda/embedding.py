"""Rows of a table on the GPU, a thread for each element of the result; the formulas are in ../embedding.py."""

from ...runtime import memory
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const
from ..embedding import embedding_back_dispatch, embedding_dispatch


@kernel
def embedding_kernel(table, ids, out, rows, D):
    """out (N, D); zeros for a number out of range."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        row = ids[i // D]
        out[i] = table[row * D + i % D] if row >= 0 and row < rows else const(0, out)


@embedding_dispatch.register("cuda")
def embedding_cuda(table, ids, out):
    embedding_kernel.launch_over(out.size, memory.contiguous(table).reshape(-1), ids, out.reshape(-1), *table.shape)


@kernel
def embedding_back_kernel(g, ids, out, D, skip):
    """out (rows, D): the sum of g (N, D) over the places with the number of the row."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        total, lost = const(0, out), const(0, out)
        if i // D != skip:
            for n in range(ids.size):
                if ids[n] == i // D:
                    total, lost = compensated_add(total, lost, g[n * D + i % D])
        out[i] = compensated_total(total, lost)


@embedding_back_dispatch.register("cuda")
def embedding_back_cuda(g, ids, skip, out):
    flat = memory.contiguous(g).reshape(-1)
    embedding_back_kernel.launch_over(out.size, flat, ids, out.reshape(-1), out.shape[1], skip)
