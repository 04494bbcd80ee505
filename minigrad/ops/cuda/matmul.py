"""Matrix products on the GPU; the operations are in ../matmul.py.

The factors pass through shared memory, see runtime/cuda/product.py.  They may have any strides: threads read along the
contiguous axis.  After every MAX_TERMS elements of K the sums are added to the product in memory, because a running
total of too many terms loses digits.
"""

from functools import cache

from ...runtime import memory
from ...runtime.cuda import driver
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu
from ...runtime.cuda.kernel import Kernel
from ...runtime.cuda.product import Shape, locate_block, staged_product
from ..matmul import element_strides, linear_dispatch, matmul_dispatch
from . import tf32

MAX_TERMS = 2048  # of a running total


def _make_shape(down: int, across: int, side: int, depth: int, resident: int) -> Shape:
    if driver.SIMULATED:
        down = across = max(side, 4)
        depth = min(depth, down * across)
    return Shape(down, across, side, depth, resident)


SHAPES = [
    _make_shape(*sizes)
    for sizes in ((16, 16, 8, 16, 1), (8, 16, 8, 16, 2), (16, 16, 4, 16, 3), (16, 16, 2, 32, 4), (16, 16, 1, 64, 4))
]


@cache
def gemm_kernel(shape: Shape, a_along_k: bool, b_along_k: bool) -> Kernel:
    """The kernel of a shape, for factors whose elements are contiguous along K, or not."""
    part, depth = staged_product(shape, a_along_k, b_along_k), shape.depth
    height, width, a_size, b_size = shape.height, shape.width, part.size_a, part.size_b

    def gemm(a, b, bias, out, M, N, first, K, a_batch, am, ak, b_batch, bk, bn, biased):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N), plus bias (M) on each row if `biased` is 1, not 0.

        Of K only the elements from `first` on; if that is not 0, the product is added to `out`.
        a_batch, am, ak, b_batch, bk, bn: strides in elements.
        """
        thread = cuda.threadIdx.x
        m0, n0, batch = locate_block(cuda.blockIdx.x, M, N, height, width)
        a_shared = cuda.shared.array(a_size, a.dtype)
        b_shared = cuda.shared.array(b_size, a.dtype)
        (m, ka), (n, kb), (row, col) = part.locate_a(thread), part.locate_b(thread), part.corner(thread)
        ak, bk = 1 if a_along_k else ak, 1 if b_along_k else bk
        acc, half = part.zeros(a), 0
        rest = first + (K - first - 1) % depth + 1  # where the second step starts: only the first may be shorter
        next_a = part.fetch_first_a(a, batch * a_batch, m0 + m, M, am, first + ka, rest, ak)
        next_b = part.fetch_first_b(b, batch * b_batch, n0 + n, N, bn, first + kb, rest, bk)
        for k in range(rest, K + 1, depth):
            part.put_a(next_a, a_shared, half, m, ka)
            part.put_b(next_b, b_shared, half, n, kb)
            if k < K:
                next_a = part.fetch_a(a, batch * a_batch, m0 + m, M, am, k + ka, K, ak)
                next_b = part.fetch_b(b, batch * b_batch, n0 + n, N, bn, k + kb, K, bk)
            cuda.syncthreads()  # after the reads have started: the compiler delays none beyond it
            acc = part.multiply(acc, a_shared, b_shared, half, thread)
            half = 1 - half
        part.store(acc, out, batch * M * N, m0 + row, M, n0 + col, N, bias, biased, first > 0)

    name = f"matmul.gemm-{shape}-{'mk'[a_along_k]}{'nk'[b_along_k]}"
    bounds = shape.threads, shape.resident
    return Kernel(gemm, name, bounds, writes=("out",), shared=a_size + b_size, beside=True)


def _choose_shape(M, N, batch):
    """The largest shape that is not mostly empty and gives each multiprocessor a block; otherwise the smallest."""
    for shape in SHAPES:
        if (
            shape.height < 2 * M
            and shape.width < 2 * N
            and batch * shape.count_blocks(M, N) >= current_gpu().multiprocessors
        ):
            return shape
    return SHAPES[-1]


@matmul_dispatch.register("cuda")
def gemm(a, b, out, bias=None):
    """out = a @ b (+ bias on each row), 2-D or batched 3-D; out or its transpose is C-contiguous."""
    if not out.flags.c_contiguous:
        a, b, out = b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2)
    if not a.size or not b.size:
        memory.copy(out, 0 if bias is None else bias.reshape(-1, 1))
    if not a.size or not b.size or not out.size:
        return
    a, b = (factor if min(factor.strides) >= 0 else memory.contiguous(factor) for factor in (a, b))
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    batch = out.size // (M * N)
    flat = out.reshape(-1)
    arrays = a.flat_memory()[0], b.flat_memory()[0], flat if bias is None else bias, flat
    strides, biased = (*element_strides(a), *element_strides(b)), int(bias is not None)
    if tf32.is_worthwhile(out.dtype, out.size * K):
        tf32.launch_product(arrays, M, N, K, batch, strides, biased)
        return
    shape = _choose_shape(M, N, batch).fit(out.dtype)
    run = gemm_kernel(shape, strides[2] == 1, strides[4] == 1)
    for first in range(0, K, MAX_TERMS):
        stop = min(first + MAX_TERMS, K)
        run[batch * shape.count_blocks(M, N), shape.threads](*arrays, M, N, first, stop, *strides, biased)


@linear_dispatch.register("cuda")
def linear_cuda(x, w, b, out):
    gemm(w, x.T, out.T, None if b is None else memory.contiguous(b))
