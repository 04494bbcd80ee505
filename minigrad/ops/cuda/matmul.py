"""Matrix products on the GPU; the operations are in ../matmul.py.

A block of 16 x 16 threads computes a square of the product, each thread `side` x `side` of it in registers.  The block
goes through K in steps.  All threads together bring the elements of a step to shared memory, and while they multiply,
the elements of the next step are being loaded into registers.  Operands may have any strides: threads read along the
contiguous axis.  After every PRODUCTS_PER_PARTIAL_SUM elements of K the sums are added to the product in memory,
because a running total of too many terms loses digits.
"""

from functools import cache

from ...runtime import memory
from ...runtime.cuda import driver, tile
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu
from ...runtime.cuda.kernel import Kernel
from ..matmul import PRODUCTS_PER_PARTIAL_SUM, element_strides, linear_dispatch, matmul_dispatch
from . import tf32

DEPTH = {1: 16, 2: 16, 4: 16, 8: 8}  # elements of K in a step, by the side of a thread's tile


def block_side(side: int) -> int:
    """The threads along each side of a block, for tiles of side x side."""
    return max(side, 4) if driver.SIMULATED else 16


@cache
def gemm_kernel(side: int) -> Kernel:
    """The kernel for tiles of side x side."""
    across, registers, depth = block_side(side), tile.register_tile(side, side), DEPTH[side]
    width, threads = across * side, across**2
    row_length, count = width + 4, width * depth // threads
    shared_size = 2 * depth * row_length
    group = min(side, 4)  # consecutive rows (and columns) of a thread; its next four lie beyond those of all others
    offsets = [i // group * across * group + i % group for i in range(side)]
    fetch, put = tile.make_fetch(count), tile.make_put(count)
    store = tile.make_store([(m, n) for m in offsets for n in offsets])
    load = tile.define_function("load(values, at)", tile.shared_load_lines(offsets))

    def gemm(a, b, bias, out, M, N, K, a_batch, am, ak, b_batch, bk, bn, biased):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N), plus bias (M) on each row if `biased` is 1, not 0.

        a_batch, am, ak, b_batch, bk, bn: strides in elements.
        """
        tx, ty, thread = cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.y * across + cuda.threadIdx.x
        m0, n0, batch = tile.locate_block(cuda.blockIdx.x, M, N, width, width)
        a_shared = cuda.shared.array(shared_size, a.dtype)
        b_shared = cuda.shared.array(shared_size, a.dtype)
        m, ka, dm, dka = tile.locate_elements(thread, threads, width, depth, ak == 1)
        n, kb, dn, dkb = tile.locate_elements(thread, threads, width, depth, bk == 1)
        acc, half = registers.zeros(a), 0
        next_a = fetch(a, batch * a_batch, m0 + m, dm, M, am, ka, dka, K, ak)
        next_b = fetch(b, batch * b_batch, n0 + n, dn, N, bn, kb, dkb, K, bk)
        row, col = m0 + ty * group, n0 + tx * group
        for start in range(0, K, depth):
            if start and start % PRODUCTS_PER_PARTIAL_SUM == 0:
                store(acc, out, batch * M * N, row, M, col, N, bias, biased, start > PRODUCTS_PER_PARTIAL_SUM)
                acc = registers.zeros(a)
            put(next_a, a_shared, half + ka * row_length + m, dka * row_length + dm)
            put(next_b, b_shared, half + kb * row_length + n, dkb * row_length + dn)
            cuda.syncthreads()
            next_a = fetch(a, batch * a_batch, m0 + m, dm, M, am, start + depth + ka, dka, K, ak)
            next_b = fetch(b, batch * b_batch, n0 + n, dn, N, bn, start + depth + kb, dkb, K, bk)
            for k in range(depth):
                at = half + k * row_length
                acc = registers.outer_fma(acc, load(a_shared, at + ty * group), load(b_shared, at + tx * group))
            half = depth * row_length - half
        store(acc, out, batch * M * N, row, M, col, N, bias, biased, K > PRODUCTS_PER_PARTIAL_SUM)

    return Kernel(gemm, f"matmul.gemm-{side}")


def _choose_side(M, N, batch):
    """The largest tile that is not mostly empty and gives each multiprocessor two blocks; otherwise the smallest."""
    for side in (8, 4, 2):
        width = block_side(side) * side
        if 2 * min(M, N) > width and batch * -(-M // width) * -(-N // width) >= 2 * current_gpu().multiprocessors:
            return side
    return 1


@matmul_dispatch.register("cuda")
def gemm(a, b, out, bias=None):
    """out = a @ b (+ bias on each row), 2-D or batched 3-D; out or its transpose is C-contiguous."""
    if not out.flags.c_contiguous:
        a, b, out = b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2)
    if not out.size:
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
    side = _choose_side(M, N, batch)
    across, width = block_side(side), block_side(side) * side
    grid = -(-N // width) * -(-M // width) * batch
    gemm_kernel(side)[grid, (across, across)](*arrays, M, N, K, *strides, biased)


@linear_dispatch.register("cuda")
def linear_cuda(x, w, b, out):
    gemm(w, x.T, out.T, None if b is None else memory.contiguous(b))
