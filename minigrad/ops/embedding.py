"""Rows of a table by their numbers: vectors of words, of classes, of places.

    out[i] = table[ids[i]]

Backward, each row of the table collects the gradients of all places that read it, in their order.  A task has a few
columns of the table, so no two tasks write the same row.
"""

import numpy as np

from ..errors import DtypeError, OutOfRangeError, ShapeError
from ..runtime import memory
from ..runtime.kernel import Array2, Ints, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import compensated_total
from .op import Dispatch, op
from .promotion import expect_float

ROWS_PER_TASK = 64
COLUMNS_PER_TASK = 16


def embedding_numpy(table, ids, out):
    out[...] = table[ids]


@kernel
def embedding_kernel(task, table: Array2, ids: Ints, out: Array2):
    """Some rows of out (N, D)."""
    N, D = out.shape
    for n in range(task * ROWS_PER_TASK, smaller((task + 1) * ROWS_PER_TASK, N)):
        for d in range(D):
            out[n * D + d] = table[ids[n] * D + d]


def embedding_cpu(table, ids, out):
    embedding_kernel.run_small(-(-len(ids) // ROWS_PER_TASK), out.size, memory.contiguous(table), ids, out)


embedding_dispatch = Dispatch("embedding", embedding_numpy, cpu=embedding_cpu)


@op
def embedding(device, table, ids, *, skip):
    """table (rows, D), ids of any shape; returns (*ids.shape, D).  Row `skip` gets no gradient; if it is -1, all do."""
    expect_float("embedding", table)
    if table.ndim != 2:
        raise ShapeError(f"embedding: the weight has shape {table.shape}, expected (num_embeddings, embedding_dim)")
    if ids.dtype not in (np.int64, np.int32):
        raise DtypeError(f"embedding: the numbers of rows are {ids.dtype}, expected int64; convert them with .long()")
    device.expect_range(ids, 0, table.shape[0], -(2**63), _out_of_range, table.shape[0])
    out = memory.empty((*ids.shape, table.shape[1]), table.dtype, device)
    if out.size:
        rows = out.reshape(-1, table.shape[1])
        embedding_dispatch[device.type](table, _flat(ids), rows)
    return out


def _flat(ids):
    return memory.contiguous(memory.convert(ids, np.dtype(np.int64))).reshape(-1)


def _out_of_range(number, rows):
    return OutOfRangeError(f"embedding: no row {number}, the weight has {rows}; use numbers from 0 to {rows - 1}")


@embedding.gradient
def embedding_gradient(do, g, ids, table_shape, skip):
    return lambda: do.embedding_back(g, ids, rows=table_shape[0], skip=skip), None


def embedding_back_numpy(g, ids, skip, out):
    total = np.zeros(out.shape)
    used = ids != skip
    np.add.at(total, ids[used], g[used])
    out[...] = total


@kernel
def embedding_back_kernel(task, g: Array2, ids: Ints, lost: Array2, out: Array2, skip):
    """Some columns of out (rows, D) from g (N, D); `lost` holds what the sums lose by rounding."""
    N, D = g.shape
    first, stop = task * COLUMNS_PER_TASK, smaller((task + 1) * COLUMNS_PER_TASK, D)
    for row in range(out.shape[0]):
        for d in range(first, stop):
            out[row * D + d] = const(0, g)
            lost[row * D + d] = const(0, g)
    for n in range(N):
        if ids[n] != skip:
            start = ids[n] * D
            for d in range(first, stop):
                total, error = compensated_add(out[start + d], lost[start + d], g[n * D + d])
                out[start + d] = total
                lost[start + d] = error
    for row in range(out.shape[0]):
        for d in range(first, stop):
            out[row * D + d] = compensated_total(out[row * D + d], lost[row * D + d])


def embedding_back_cpu(g, ids, skip, out):
    lost = memory.empty_like(out)
    tasks = -(-out.shape[1] // COLUMNS_PER_TASK)
    embedding_back_kernel.run_small(tasks, out.size + g.size, memory.contiguous(g), ids, lost, out, skip)


embedding_back_dispatch = Dispatch("embedding_back", embedding_back_numpy, cpu=embedding_back_cpu)


@op
def embedding_back(device, g, ids, *, rows, skip):
    """Zeros (rows, D), to which each g[i] is added at row ids[i], but not at row `skip`."""
    out = memory.empty((rows, g.shape[-1]), g.dtype, device)
    if out.size:
        embedding_back_dispatch[device.type](memory.reshape(g, (ids.size, g.shape[-1])), _flat(ids), skip, out)
    return out


@embedding_back.gradient
def embedding_back_gradient(do, g, ids, skip):
    def by_g():
        taken = do.embedding(g, ids, skip=skip)
        if skip < 0:
            return taken
        used = do.reshape(do.cast(do.ne(ids, skip), dtype=taken.dtype), shape=(*ids.shape, 1))
        return do.mul(taken, used)

    return by_g, None
