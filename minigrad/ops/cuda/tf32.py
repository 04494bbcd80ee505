"""Products on tensor cores, in TF32: of matrices, and of filters with the windows of images.

Numbers are rounded to TF32 (10 fraction bits) on their way to shared memory; sums are float32.  Otherwise the kernel
works as that of matmul.py, with the instructions of runtime/cuda/mma.py.
"""

from functools import cache

import numpy as np

from ...runtime import memory
from ...runtime.cuda import driver, tile
from ...runtime.cuda.array import to_device_once
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu
from ...runtime.cuda.kernel import Kernel
from ...runtime.cuda.mma import make_multiply, product_cells, to_tf32
from ...runtime.cuda.product import locate_block, locate_elements, make_fetch, make_put, make_store
from ...runtime.precision import get_float32_matmul_precision
from .windows import make_fetch_windows

MIN_MULTIPLY_ADDS = 2**20  # below, the float32 kernels are used
DOWN, ACROSS = (1, 1) if driver.SIMULATED else (4, 4)  # products of 16 x 8 of a warp
WARPS_DOWN, WARPS_ACROSS = (1, 1) if driver.SIMULATED else (2, 4)  # of a block
DEPTH = 8 if driver.SIMULATED else 16  # elements of K in a step
WARP_HEIGHT, WARP_WIDTH = DOWN * 16, ACROSS * 8
HEIGHT, WIDTH = WARPS_DOWN * WARP_HEIGHT, WARPS_ACROSS * WARP_WIDTH  # of a block
THREADS = 32 * WARPS_DOWN * WARPS_ACROSS  # of a block
NO_TAPS = np.zeros(4, np.int32)


def is_worthwhile(dtype, multiply_adds):
    """Whether to compute a product in TF32: it is allowed, large enough, and the GPU supports it."""
    return (
        multiply_adds >= MIN_MULTIPLY_ADDS
        and dtype == np.float32
        and get_float32_matmul_precision() == "high"
        and current_gpu().capability >= (8, 0)
    )


@cache
def tf32_kernel(windows: bool, a_along_k: bool, b_along_k: bool) -> Kernel:
    """The kernel of a matrix product, for factors whose elements are contiguous along K, or not; with `windows`, the
    second factor is the windows of images, see windows.py."""
    a_row, b_row = HEIGHT + 8, WIDTH + 8  # 8 more than needed, so that a warp reads from different banks
    a_size, b_size = 2 * DEPTH * a_row, 2 * DEPTH * b_row
    a_count, b_count = HEIGHT * DEPTH // THREADS, WIDTH * DEPTH // THREADS
    a_step, b_step = THREADS // (DEPTH if a_along_k else HEIGHT), THREADS // (DEPTH if b_along_k else WIDTH)
    fetch_a = make_fetch(a_count, a_step, a_along_k, True)
    fetch_b = (
        make_fetch_windows(b_count, b_step, True, False) if windows else make_fetch(b_count, b_step, b_along_k, True)
    )
    put_a, put_b = make_put(a_count, to_tf32), make_put(b_count, to_tf32)
    a_apart, b_apart = a_step if a_along_k else a_step * a_row, b_step if b_along_k else b_step * b_row
    zeros = tile.define_function("zeros(like)", tile.zero_lines(4 * DOWN * ACROSS))
    multiply, store = make_multiply(DOWN, ACROSS, a_row, b_row), make_store(product_cells(DOWN, ACROSS))

    def product(a, b, bias, out, taps, M, N, K, a_batch, am, ak, b_batch, bk, bn, biased, images, OW, H, W, top, left):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N), plus bias (M) on each row if `biased` is 1, not 0.

        With windows b is images (C, H, W, images), and N = positions * images.
        """
        thread, lane, warp = cuda.threadIdx.x, cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        m0, n0, batch = locate_block(cuda.blockIdx.x, M, N, HEIGHT, WIDTH)
        a_shared = cuda.shared.array(a_size, np.float32)
        b_shared = cuda.shared.array(b_size, np.float32)
        m, ka = locate_elements(thread, HEIGHT, DEPTH, a_along_k)
        n, kb = locate_elements(thread, WIDTH, DEPTH, b_along_k)
        window = min(n0 + n, N - 1)
        h, w = np.int32(window // images // OW - top), np.int32(window // images % OW - left)
        sizes = h, w, np.int32(H), np.int32(W), np.int32(1), np.int32(1), np.int32(images), window % images
        warp_m, warp_n = warp // WARPS_ACROSS * WARP_HEIGHT, warp % WARPS_ACROSS * WARP_WIDTH
        acc, half = zeros(a), 0
        next_a = fetch_a(a, batch * a_batch, m0 + m, M, am, ka, K, ak)
        next_b = fetch_b(b, taps, kb, K, *sizes) if windows else fetch_b(b, batch * b_batch, n0 + n, N, bn, kb, K, bk)
        for start in range(0, K, DEPTH):
            put_a(next_a, a_shared, (half + ka) * a_row + m, a_apart)
            put_b(next_b, b_shared, (half + kb) * b_row + n, b_apart)
            if windows:
                next_b = fetch_b(b, taps, start + DEPTH + kb, K, *sizes)
            else:
                next_b = fetch_b(b, batch * b_batch, n0 + n, N, bn, start + DEPTH + kb, K, bk)
            next_a = fetch_a(a, batch * a_batch, m0 + m, M, am, start + DEPTH + ka, K, ak)
            cuda.syncthreads()
            for k in range(half, half + DEPTH, 8):
                acc = multiply(acc, a_shared, k * a_row + warp_m, b_shared, k * b_row + warp_n, lane)
            half = DEPTH - half
        row, col = m0 + warp_m + lane // 4, n0 + warp_n + lane % 4 * 2
        store(acc, out, batch * M * N, row, M, col, N, bias, biased, False)

    name = f"{'windows' if windows else 'product'}-{'mk'[a_along_k]}{'nk'[b_along_k]}"
    return Kernel(product, f"tf32.{name}", writes=("out",))


def _count_blocks(M, N, batch):
    return -(-N // WIDTH) * -(-M // HEIGHT) * batch


def launch_product(arrays, M, N, K, batch, strides, biased):
    """Compute a matrix product; arrays (a, b, bias, out) are flat, see gemm in matmul.py."""
    unused = 1, 1, 1, 1, 0, 0
    sizes = M, N, K, *strides, biased, *unused
    tf32_kernel(False, strides[2] == 1, strides[4] == 1)[_count_blocks(M, N, batch), THREADS](
        *arrays, to_device_once(NO_TAPS), *sizes
    )


def launch_windows(x, w, b, out, taps, top, left):
    """out (M, OH, OW, N) from x (C, H, W, N) by w (M, taps), for stride 1; windows start `top` above, `left` beside."""
    (_, H, W, N), (M, _, OW, _), K = x.shape, out.shape, w.shape[1]
    arrays = w.reshape(-1), x.reshape(-1), out.reshape(-1) if b is None else b, out.reshape(-1)
    strides = 0, K, 1, 0, 0, 0
    sizes = M, out.size // M, K, *strides, int(b is not None), N, OW, H, W, top, left
    taps = to_device_once(taps).reshape(-1)
    tf32_kernel(True, True, False)[_count_blocks(M, out.size // M, 1), THREADS](*arrays, taps, *sizes)


def swap_channels(w):
    """w (F, C, KH, KW) as (C, F * KH * KW)."""
    return memory.contiguous(w.transpose(1, 0, 2, 3)).reshape(w.shape[1], -1)
