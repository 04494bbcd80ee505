"""Sums, largest elements and their indices on the GPU; the operations are in ../reduction.py.

As on the CPU, an array is brought to memory (A, B, C), where B is reduced.  If C is more than 1, neighbouring threads
reduce neighbouring c, one element of B after the other; for few sums, several threads share each and add up their parts
as a tree.  If C is 1, the threads of a block share a row in the same way.  B is cut into parts if there are too few
threads otherwise, and the results of the parts are reduced again.  The order of all additions depends only on the
shapes and the GPU.  Sums keep the rounding errors of additions.
"""

from functools import partial

from ...runtime import memory
from ...runtime.cuda.block import sum_threads
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu, limit_threads
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const, precedes
from ..reduction import amax_dispatch, argmax_dispatch, reduce_three_axes, sum_dispatch

MIN_PART = 64  # elements of B, for each thread
MIN_SHARED_PART = 16  # the same if threads share a sum
MAX_PARTS = 4096
THREADS_PER_MULTIPROCESSOR = 1024  # fewer are too few
ROW_THREADS = limit_threads(256)  # that share a row
MIN_ROW = 32  # elements of a row that threads share
LANES = limit_threads(32) // 4  # threads that share a sum over columns
COLUMNS = limit_threads(128) // 4  # sums of such a block
SHARED_COLUMNS = LANES * COLUMNS


@kernel
def sum_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = the sums over `length` elements of B of x (A, B, C)."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, total, lost = i // C, i % C, const(0, out), const(0, out)
        for b in range(part * length, min((part + 1) * length, B)):
            total, lost = compensated_add(total, lost, x[(a * B + b) * C + c])
        out[part * A * C + i] = compensated_total(total, lost)


@partial(kernel, writes=("out",), shared=ROW_THREADS, beside=True)
def row_sum_kernel(x, out, A, B, length):
    """out (parts, A) = the sums over `length` elements of B of x (A, B), each by one block."""
    a, part, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    shared, total, lost = cuda.shared.array(ROW_THREADS, out.dtype), const(0, out), const(0, out)
    for b in range(part * length + thread, min((part + 1) * length, B), ROW_THREADS):
        total, lost = compensated_add(total, lost, x[a * B + b])
    shared[thread] = compensated_total(total, lost)
    sum_threads(shared, ROW_THREADS)
    if not thread:
        out[part * A + a] = shared[0]


@partial(kernel, writes=("out",), shared=SHARED_COLUMNS, beside=True)
def column_sum_kernel(x, out, A, B, C, length):
    """As sum_kernel, but LANES threads share each sum."""
    column, lane, part = cuda.threadIdx.x % COLUMNS, cuda.threadIdx.x // COLUMNS, cuda.blockIdx.y
    i = cuda.blockIdx.x * COLUMNS + column
    shared, total, lost = cuda.shared.array(SHARED_COLUMNS, out.dtype), const(0, out), const(0, out)
    if i < A * C:
        at = i // C * B * C + i % C
        for b in range(part * length + lane, min((part + 1) * length, B), LANES):
            total, lost = compensated_add(total, lost, x[at + b * C])
    shared[lane * COLUMNS + column] = compensated_total(total, lost)
    step = LANES // 2
    while step:
        cuda.syncthreads()
        if lane < step:
            shared[lane * COLUMNS + column] += shared[(lane + step) * COLUMNS + column]
        step //= 2
    if i < A * C and not lane:
        out[part * A * C + i] = shared[column]


@kernel
def amax_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = the largest of `length` elements of B of x (A, B, C); nan if there is one."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, start = i // C, i % C, part * length
        best = x[(a * B + start) * C + c]
        for b in range(start + 1, min(start + length, B)):
            value = x[(a * B + b) * C + c]
            if precedes(value, best):
                best = value
        out[part * A * C + i] = best


@kernel
def argmax_kernel(x, out, A, B, C, length):
    """out (parts, A, C) = the index on B of the first largest of `length` elements of x (A, B, C), or of the first
    nan."""
    i, part = cuda.grid(1), cuda.blockIdx.y
    if i < A * C:
        a, c, index = i // C, i % C, part * length
        best = x[(a * B + index) * C + c]
        for b in range(part * length + 1, min((part + 1) * length, B)):
            value = x[(a * B + b) * C + c]
            if precedes(value, best):
                best, index = value, b
        out[part * A * C + i] = index


@kernel
def argmax_of_parts_kernel(x, indices, out, A, B, C, parts):
    """out (A, C) = of the indices (parts, A, C), the first whose element of x (A, B, C) is the largest, or nan."""
    for i in range(cuda.grid(1), A * C, cuda.gridsize(1)):
        a, c, index = i // C, i % C, indices[i]
        best = x[(a * B + index) * C + c]
        for part in range(1, parts):
            other = indices[part * A * C + i]
            value = x[(a * B + other) * C + c]
            if precedes(value, best):
                best, index = value, other
        out[i] = index


def split_reduction(A, B, C, min_part=MIN_PART):
    """The number of parts of B, of at least `min_part` elements, and their length."""
    enough_parts = -(-current_gpu().multiprocessors * THREADS_PER_MULTIPROCESSOR // (A * C))
    parts = max(min(enough_parts, B // min_part, MAX_PARTS), 1)
    length = -(-B // parts)
    return -(-B // length), length


def _reduce(kernel, A, B, C, x, out, reduce_parts):
    """Launch a kernel on the parts of B; if there are several, call reduce_parts(1, parts, A * C, partial, out)."""
    parts, length = split_reduction(A, B, C)
    partial, threads = _allocate_partial(out, parts, A, C), current_gpu().block_threads
    kernel[(-(-A * C // threads), parts), threads](x.reshape(-1), partial.reshape(-1), A, B, C, length)
    if parts > 1:
        reduce_parts(1, parts, A * C, partial, out)


def _allocate_partial(out, parts, *shape):
    """Memory for the results of the parts; `out` itself for one part."""
    return memory.new_empty(out, (parts, *shape), out.dtype) if parts > 1 else out


def _sum(A, B, C, x, out):
    if not B:
        memory.copy(out, 0)
    elif C == 1 and B >= MIN_ROW:
        parts, length = split_reduction(A * ROW_THREADS, B, C, MIN_SHARED_PART * ROW_THREADS)
        partial = _allocate_partial(out, parts, A)
        row_sum_kernel[(A, parts), ROW_THREADS](x.reshape(-1), partial.reshape(-1), A, B, length)
        if parts > 1:
            _sum(1, parts, A, partial, out)
    elif B >= LANES and current_gpu().multiprocessors * THREADS_PER_MULTIPROCESSOR > A * C:
        parts, length = split_reduction(A * LANES, B, C, MIN_SHARED_PART * LANES)
        partial, grid = _allocate_partial(out, parts, A, C), (-(-A * C // COLUMNS), parts)
        column_sum_kernel[grid, SHARED_COLUMNS](x.reshape(-1), partial.reshape(-1), A, B, C, length)
        if parts > 1:
            _sum(1, parts, A * C, partial, out)
    else:
        _reduce(sum_kernel, A, B, C, x, out, _sum)


def _amax(A, B, C, x, out):
    _reduce(amax_kernel, A, B, C, x, out, _amax)


def _argmax(A, B, C, x, out):
    def reduce_parts(_, parts, size, indices, out):
        arrays = x.reshape(-1), indices.reshape(-1), out.reshape(-1)
        argmax_of_parts_kernel.launch_over(size, *arrays, A, B, C, parts)

    _reduce(argmax_kernel, A, B, C, x, out, reduce_parts)


def add_parts(sums, out):
    """out = the sum over the first axis of sums (parts, ...)."""
    _sum(1, sums.shape[0], out.size, sums, out)


sum_dispatch.register("cuda")(partial(reduce_three_axes, _sum))
amax_dispatch.register("cuda")(partial(reduce_three_axes, _amax))
argmax_dispatch.register("cuda")(partial(reduce_three_axes, _argmax))
