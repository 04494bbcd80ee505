"""Elements picked, put and added at positions that are data, on the GPU.  The operations are in ../movement.py.

A key's arrays are on the host, so NumPy finds the positions that it names, by indexing the numbers of all places; the
GPU reads a list.  Where places are named more than once, sums are made place by place, in the order of the key.
"""

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import resent
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const
from ..movement import (
    _within,
    gather_back_dispatch,
    gather_dispatch,
    named,
    put_dispatch,
    take_back_dispatch,
    take_dispatch,
)


def _positions(shape, view, places):
    """The places that a key names, counted in C order."""
    return named(np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape), view, places)


@kernel
def take_kernel(x, positions, out):
    """out[i] = x[positions[i]]."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = x[positions[i]]


@take_dispatch.register("cuda")
def take_cuda(x, view, places, out):
    positions = resent(_positions(x.shape, view, places).reshape(-1))
    take_kernel.each(out.size, memory.contiguous(x).reshape(-1), positions, out.reshape(-1))


@kernel
def put_kernel(values, positions, out):
    """out[positions[i]] = values[i]."""
    for i in range(cuda.grid(1), positions.size, cuda.gridsize(1)):
        out[positions[i]] = values[i]


@put_dispatch.register("cuda")
def put_cuda(value, view, places, out):
    positions = _positions(out.shape, view, places)
    values = memory.beside(out, positions.shape, out.dtype)
    memory.copy(values, value)
    targets, last = np.unique(positions.reshape(-1)[::-1], return_index=True)  # of equal ones the last one counts
    picked = memory.beside(out, (targets.size,), out.dtype)
    take_kernel.each(targets.size, values.reshape(-1), resent(positions.size - 1 - last), picked)
    whole = out if out.flags.c_contiguous else memory.contiguous(out)
    put_kernel.each(targets.size, picked, resent(targets), whole.reshape(-1))
    if whole is not out:
        memory.copy(out, whole)


@kernel
def add_kernel(g, order, starts, places, out):
    """out[places[i]] = the sum of g[order[j]] over j from starts[i] to starts[i + 1]."""
    for i in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        total = const(0, out)
        for j in range(starts[i], starts[i + 1]):
            total += g[order[j]]
        out[places[i]] = total


@take_back_dispatch.register("cuda")
def take_back_cuda(g, view, places, out):
    positions = _positions(out.shape, view, places).reshape(-1)
    order = np.argsort(positions, kind="stable")
    targets, starts = np.unique(positions[order], return_index=True)
    lists = (order, np.append(starts, positions.size), targets)
    flat = memory.contiguous(g).reshape(-1), *map(resent, lists), out.reshape(-1)
    add_kernel.each(targets.size, *flat)


# ---- along one axis; the index is on the GPU


def _lines(array, axis):
    """The array as lines along an axis, (lines, length)."""
    moved = array.transpose((*[d for d in range(array.ndim) if d != axis], axis))
    return memory.contiguous(moved).reshape(-1, array.shape[axis])


def _put_lines(rows, axis, out):
    """Fill an array with its lines along an axis."""
    order = [d for d in range(out.ndim) if d != axis] + [axis]
    memory.copy(out.transpose(order), rows.reshape([out.shape[d] for d in order]))


@kernel
def gather_kernel(x, index, out, B, K):
    """out (lines, K) = the elements at `index` of x (lines, B)."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        place = index[i]
        out[i] = x[i // K * B + place] if place >= 0 and place < B else const(0, out)


@gather_dispatch.register("cuda")
def gather_cuda(x, index, axis, out):
    if not out.size:
        return
    x, index = _lines(x[_within(index, axis)], axis), _lines(index, axis)
    rows = memory.beside(out, index.shape, out.dtype)
    sizes = x.shape[1], index.shape[1]
    gather_kernel.each(rows.size, x.reshape(-1), index.reshape(-1), rows.reshape(-1), *sizes)
    _put_lines(rows, axis, out)


@kernel
def gather_back_kernel(g, index, out, B, K):
    """out (lines, B): to each element the sum of g (lines, K) where `index` names it."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        total = const(0, out)
        for k in range(i // B * K, i // B * K + K):
            if index[k] == i % B:
                total += g[k]
        out[i] = total


@gather_back_dispatch.register("cuda")
def gather_back_cuda(g, index, axis, out):
    if not index.size:
        return
    target = out[_within(index, axis)]
    g, index = _lines(g, axis), _lines(index, axis)
    rows, sizes = memory.beside(out, (index.shape[0], out.shape[axis]), out.dtype), (out.shape[axis], index.shape[1])
    gather_back_kernel.each(rows.size, g.reshape(-1), index.reshape(-1), rows.reshape(-1), *sizes)
    _put_lines(rows, axis, target)
