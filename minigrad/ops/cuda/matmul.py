"""Matrix products on the GPU.  The operations are in ../matmul.py.

A block of 16 x 16 threads computes a square of the product, each thread `side` x `side` of it in registers.  It goes
through K in steps: what a step needs of a and b is brought to shared memory by all threads together, and while they
multiply, the next step's elements are already on their way to registers.  Operands may have any strides: the threads
read along the axis whose elements lie behind each other.  The sums of every LONG elements of K are added to the product
in memory: one running total of millions loses its digits.
"""

from functools import cache

from ...runtime import memory
from ...runtime.cuda import driver
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import Kernel
from ...runtime.cuda.machine import machine
from ...runtime.cuda.tile import fetching, tile, together, written
from ..matmul import LONG, _steps, linear_dispatch, matmul_dispatch
from . import tensor_cores

DEPTH = {1: 16, 2: 16, 4: 16, 8: 8}  # elements of K in a step, by the side of a thread's tile


def edge_of(side: int) -> int:
    """Threads along each side of a block."""
    return max(side, 4) if driver.SIMULATED else 16


@cache
def gemm_kernel(side: int) -> Kernel:
    """The kernel whose threads compute side x side."""
    across, t, depth = edge_of(side), tile(side, side), DEPTH[side]
    width, team = across * side, across**2
    line, each = width + 4, width * depth // team
    room = 2 * depth * line
    piece = min(side, 4)  # neighbours of a thread; its next four lie beyond those of all others
    spread = [i // piece * across * piece + i % piece for i in range(side)]
    fetch, put, read, store = _moves(each, side, spread)

    def gemm(a, b, bias, out, M, N, K, a_batch, am, ak, b_batch, bk, bn, biased):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N), with bias (M) added to each row if `biased` is 1, not 0;
        am, ak ...: steps from one row, one column, of a and b to the next."""
        tx, ty, thread = cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.y * across + cuda.threadIdx.x
        blocks_across, blocks_down = (N + width - 1) // width, (M + width - 1) // width
        m0, n0 = cuda.blockIdx.x // blocks_across % blocks_down * width, cuda.blockIdx.x % blocks_across * width
        batch = cuda.blockIdx.x // (blocks_across * blocks_down)
        left = cuda.shared.array(room, a.dtype)
        right = cuda.shared.array(room, a.dtype)
        # which element of a step this thread brings first, and how far its next one is
        along = ak == 1  # neighbours of a lie along k
        m, ka = (thread // depth, thread % depth) if along else (thread % width, thread // width)
        dm, dka = (team // depth, 0) if along else (0, team // width)
        down = bk == 1
        n, kb = (thread // depth, thread % depth) if down else (thread % width, thread // width)
        dn, dkb = (team // depth, 0) if down else (0, team // width)
        acc, half = t.zeros(a), 0
        next_a = fetch(a, batch * a_batch, m0 + m, dm, M, am, ka, dka, K, ak)
        next_b = fetch(b, batch * b_batch, n0 + n, dn, N, bn, kb, dkb, K, bk)
        for start in range(0, K, depth):
            if start and start % LONG == 0:
                store(acc, out, batch * M * N, m0 + ty * piece, M, n0 + tx * piece, N, bias, biased, start > LONG)
                acc = t.zeros(a)
            put(next_a, left, half + ka * line + m, dka * line + dm)
            put(next_b, right, half + kb * line + n, dkb * line + dn)
            cuda.syncthreads()
            next_a = fetch(a, batch * a_batch, m0 + m, dm, M, am, start + depth + ka, dka, K, ak)
            next_b = fetch(b, batch * b_batch, n0 + n, dn, N, bn, start + depth + kb, dkb, K, bk)
            for k in range(depth):
                acc = t.fma(acc, read(left, half + k * line + ty * piece), read(right, half + k * line + tx * piece))
            half = depth * line - half
        store(acc, out, batch * M * N, m0 + ty * piece, M, n0 + tx * piece, N, bias, biased, K > LONG)

    return Kernel(gemm, f"matmul.gemm-{side}")


def _moves(each, side, spread):
    """How a thread fetches `each` elements from memory, puts them into shared memory, reads the rows or columns of its
    tile from there, and stores its sums, or adds them to those that are stored."""
    puts = [f"to[position(at + {i} * step)] = values[{i}]" for i in range(each)]
    stores = []
    for i, down in enumerate(spread):
        stores += [
            f"if m + {down} < M:",
            f"    more = bias[position((m + {down}) * biased)] if biased else const(0, bias)",
        ]
        for j, right in enumerate(spread):
            stores += [
                f"    if n + {right} < N:",
                f"        place = position(at + (m + {down}) * N + n + {right})",
                f"        out[place] = acc[{i * side + j}] + (out[place] if again else more)",
            ]
    return (
        fetching(each),
        written("put(values, to, at, step)", "\n    ".join(puts)),
        written("read(values, at)", together(spread)),
        written("store(acc, out, at, m, M, n, N, bias, biased, again)", "\n    ".join(stores)),
    )


def _side(M, N, batch):
    """The largest tile that is not mostly empty and still gives every multiprocessor two blocks, else the smallest."""
    for side in (8, 4, 2):
        width = edge_of(side) * side
        if 2 * min(M, N) > width and batch * -(-M // width) * -(-N // width) >= 2 * machine().processors:
            return side
    return 1


def gemm(a, b, out, bias=None):
    """out = a @ b (+ bias for each row), 2-D or batched 3-D; out is C-contiguous or its mirror image is."""
    if not out.flags.c_contiguous:
        a, b, out = b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2)
    if not out.size:
        return
    a, b = (side if min(side.strides) >= 0 else memory.contiguous(side) for side in (a, b))
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    batch, side = out.size // (M * N), _side(M, N, out.size // (M * N))
    along, width = edge_of(side), edge_of(side) * side
    grid = -(-N // width) * -(-M // width) * batch
    flat = a.flat()[0], b.flat()[0], out.reshape(-1) if bias is None else bias, out.reshape(-1)
    steps, biased = (*_steps(a), *_steps(b)), int(bias is not None)
    if tensor_cores.wanted(out.dtype, out.size * K):
        tensor_cores.product(flat, M, N, K, batch, steps, biased)
        return
    gemm_kernel(side)[grid, (along, along)](*flat, M, N, K, *steps, biased)


@matmul_dispatch.register("cuda")
def matmul_cuda(a, b, out):
    gemm(a, b, out)


@linear_dispatch.register("cuda")
def linear_cuda(x, w, b, out):
    gemm(w, x.T, out.T, None if b is None else memory.contiguous(b))
