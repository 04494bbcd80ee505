"""Elements read, written and added at indices that are data, on the GPU; the operations are in ../movement.py.

The arrays of a key are on the host, so NumPy finds the elements that it selects, by indexing an array of all positions,
and the GPU reads a list of positions.  If a key selects an element more than once, its sum is made in the order of the
key.
"""

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import to_device_each_replay
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const
from ..movement import (
    covered_region,
    gather_back_dispatch,
    gather_dispatch,
    put_dispatch,
    split_key,
    take_back_dispatch,
    take_dispatch,
    view_at,
)


def _find_positions(shape, key, arrays):
    """The positions in C order of the elements that a key selects; `arrays` are its tensors."""
    basic, places = split_key("index", shape, key, [array.copy_to_host() for array in arrays])
    return view_at(np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape), basic)[places]


@kernel
def take_kernel(x, positions, out):
    """out[i] = x[positions[i]]."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = x[positions[i]]


@take_dispatch.register("cuda")
def take_cuda(x, key, arrays, out):
    positions = to_device_each_replay(_find_positions(x.shape, key, arrays).reshape(-1))
    take_kernel.launch_over(out.size, memory.contiguous(x).reshape(-1), positions, out.reshape(-1))


@kernel
def put_kernel(values, positions, out):
    """out[positions[i]] = values[i]."""
    for i in range(cuda.grid(1), positions.size, cuda.gridsize(1)):
        out[positions[i]] = values[i]


@put_dispatch.register("cuda")
def put_cuda(value, key, arrays, out):
    positions = _find_positions(out.shape, key, arrays)
    values = memory.new_empty(out, positions.shape, out.dtype)
    memory.copy(values, value)
    targets, last = np.unique(positions.reshape(-1)[::-1], return_index=True)  # the last of equal positions counts
    picked = memory.new_empty(out, (targets.size,), out.dtype)
    sources = to_device_each_replay(positions.size - 1 - last)
    take_kernel.launch_over(targets.size, values.reshape(-1), sources, picked)
    whole = out if out.flags.c_contiguous else memory.contiguous(out)
    put_kernel.launch_over(targets.size, picked, to_device_each_replay(targets), whole.reshape(-1))
    if whole is not out:
        memory.copy(out, whole)


@kernel
def add_kernel(g, order, starts, positions, out):
    """out[positions[i]] = the sum of g[order[j]] over j from starts[i] to starts[i + 1]."""
    for i in range(cuda.grid(1), positions.size, cuda.gridsize(1)):
        total = const(0, out)
        for j in range(starts[i], starts[i + 1]):
            total += g[order[j]]
        out[positions[i]] = total


@take_back_dispatch.register("cuda")
def take_back_cuda(g, key, arrays, out):
    positions = _find_positions(out.shape, key, arrays).reshape(-1)
    order = np.argsort(positions, kind="stable")
    targets, starts = np.unique(positions[order], return_index=True)
    lists = map(to_device_each_replay, (order, np.append(starts, positions.size), targets))
    add_kernel.launch_over(targets.size, memory.contiguous(g).reshape(-1), *lists, out.reshape(-1))


# ---- along one axis; the index is on the GPU


def _axis_last(array, axis):
    """A view with `axis` moved to the end."""
    return array.transpose((*[d for d in range(array.ndim) if d != axis], axis))


def to_rows(array, axis):
    """The array as (rows, length): a row for each line along `axis`."""
    return memory.contiguous(_axis_last(array, axis)).reshape(-1, array.shape[axis])


def copy_rows(rows, axis, out):
    """Overwrite an array with its rows, the inverse of to_rows."""
    target = _axis_last(out, axis)
    memory.copy(target, rows.reshape(target.shape))


@kernel
def gather_kernel(x, index, out, B, K):
    """out (rows, K) = the elements at `index` (rows, K) of x (rows, B); 0 for an index out of range."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        b = index[i]
        out[i] = x[i // K * B + b] if b >= 0 and b < B else const(0, out)


@gather_dispatch.register("cuda")
def gather_cuda(x, index, axis, out):
    if not out.size:
        return
    x, index = to_rows(x[covered_region(index, axis)], axis), to_rows(index, axis)
    rows = memory.new_empty(out, index.shape, out.dtype)
    sizes = x.shape[1], index.shape[1]
    gather_kernel.launch_over(rows.size, x.reshape(-1), index.reshape(-1), rows.reshape(-1), *sizes)
    copy_rows(rows, axis, out)


@kernel
def gather_back_kernel(g, index, out, B, K):
    """out (rows, B): for each element the sum of g (rows, K) where `index` selects it."""
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
    target = out[covered_region(index, axis)]
    g, index = to_rows(g, axis), to_rows(index, axis)
    rows, sizes = memory.new_empty(out, (index.shape[0], out.shape[axis]), out.dtype), (out.shape[axis], index.shape[1])
    gather_back_kernel.launch_over(rows.size, g.reshape(-1), index.reshape(-1), rows.reshape(-1), *sizes)
    copy_rows(rows, axis, target)
