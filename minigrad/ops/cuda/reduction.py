"""Sums, largest elements and their places on the GPU.  The operations are in ../reduction.py.

As on the CPU a reduction is brought to memory (A, B, C), B being reduced.  Where C is more than 1, neighbouring threads
do neighbouring c, one element of B after the other; where it is 1, the threads of a block share a row among themselves
and add up their sums as a tree.  B is cut into parts where there would be too few threads, and the results of the parts
are reduced in turn.  Everything is added in an order that depends on the shapes and the GPU only, the errors of the
additions too.
"""

from ...runtime import memory
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.machine import machine, threads
from ...runtime.cuda.math import added, const, settled
from ..reduction import _in_memory, amax_dispatch, argmax_dispatch, sum_dispatch

LEAST = 64  # elements of B in a part
MOST = 4096  # parts
WANTED = 1024  # threads for each multiprocessor
TEAM = threads(128)  # threads that share a row


@kernel
def sum_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = the sums over `length` elements of B of x (A, B, C)."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, total, lost = i // C, i % C, const(0, out), const(0, out)
        for b in range(part * length, min((part + 1) * length, B)):
            total, lost = added(total, lost, x[(a * B + b) * C + c])
        out[part * A * C + i] = settled(total, lost)


@kernel
def row_sum_kernel(x, out, A, B, length):
    """out (parts, A) = the sums over `length` elements of B of x (A, B); a block for each."""
    a, part, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    shared, total, lost = cuda.shared.array(TEAM, out.dtype), const(0, out), const(0, out)
    for b in range(part * length + thread, min((part + 1) * length, B), TEAM):
        total, lost = added(total, lost, x[a * B + b])
    shared[thread] = settled(total, lost)
    step = TEAM // 2
    while step:
        cuda.syncthreads()
        if thread < step:
            shared[thread] += shared[thread + step]
        step //= 2
    if not thread:
        out[part * A + a] = shared[0]


@kernel
def amax_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = the largest of `length` elements of B of x (A, B, C); nan if there is one."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, start = i // C, i % C, part * length
        best = x[(a * B + start) * C + c]
        for b in range(start + 1, min(start + length, B)):
            value = x[(a * B + b) * C + c]
            if value > best or value != value:
                best = value
        out[part * A * C + i] = best


@kernel
def argmax_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = where on B the first largest of `length` elements of x (A, B, C) is; the first nan if there
    is one."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, place = i // C, i % C, part * length
        best = x[(a * B + place) * C + c]
        for b in range(part * length + 1, min((part + 1) * length, B)):
            value = x[(a * B + b) * C + c]
            if value > best or (value != value and best == best):
                best, place = value, b
        out[part * A * C + i] = place


@kernel
def first_kernel(x, found, out, A, B, C, parts):
    """out (A, C) = of the places found (parts, A, C), the first whose element of x (A, B, C) is the largest, or nan."""
    for i in range(cuda.grid(1), A * C, cuda.gridsize(1)):
        a, c, place = i // C, i % C, found[i]
        best = x[(a * B + place) * C + c]
        for part in range(1, parts):
            other = found[part * A * C + i]
            value = x[(a * B + other) * C + c]
            if value > best or (value != value and best == best):
                best, place = value, other
        out[i] = place


def _parts(A, B, C):
    """Into how many parts B is cut, and their length."""
    parts = max(min(-(-machine().processors * WANTED // (A * C)), B // LEAST, MOST), 1)
    length = -(-B // parts)
    return -(-B // length), length


def _in_parts(run, A, B, C, rows, result, again):
    """Run a kernel on parts of B, and again(1, parts, A * C, their results, result) if there are several."""
    parts, length = _parts(A, B, C)
    out, block = memory.beside(result, (parts, A, C), result.dtype) if parts > 1 else result, machine().threads
    run[(-(-A * C // block), parts), block](rows.reshape(-1), out.reshape(-1), A, B, C, length)
    if parts > 1:
        again(1, parts, A * C, out, result)


def _sum(A, B, C, rows, result):
    if not B:
        memory.copy(result, 0)
    elif C == 1 and B >= TEAM:
        parts, length = _parts(A * TEAM, B, C)
        out = memory.beside(result, (parts, A), result.dtype) if parts > 1 else result
        row_sum_kernel[(A, parts), TEAM](rows.reshape(-1), out.reshape(-1), A, B, length)
        if parts > 1:
            _sum(1, parts, A, out, result)
    else:
        _in_parts(sum_kernel, A, B, C, rows, result, _sum)


def _amax(A, B, C, rows, result):
    _in_parts(amax_kernel, A, B, C, rows, result, _amax)


def _argmax(A, B, C, rows, result):
    def first(_, parts, size, found, result):
        flat = rows.reshape(-1), found.reshape(-1), result.reshape(-1)
        first_kernel.each(size, *flat, A, B, C, parts)

    _in_parts(argmax_kernel, A, B, C, rows, result, first)


def add_parts(sums, out):
    """out = the sum over the first axis of sums (parts, ...)."""
    _sum(1, sums.shape[0], out.size, sums, out)


@sum_dispatch.register("cuda")
def sum_cuda(x, axes, out):
    _in_memory(_sum, x, axes, out)


@amax_dispatch.register("cuda")
def amax_cuda(x, axes, out):
    _in_memory(_amax, x, axes, out)


@argmax_dispatch.register("cuda")
def argmax_cuda(x, axes, out):
    _in_memory(_argmax, x, axes, out)
