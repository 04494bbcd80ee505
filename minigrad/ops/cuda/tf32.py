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
from ...runtime.precision import get_float32_matmul_precision

MIN_MULTIPLY_ADDS = 2**20  # below, the float32 kernels are used
DOWN, ACROSS = (1, 1) if driver.SIMULATED else (4, 4)  # products of 16 x 8 of a warp
WARPS_DOWN, WARPS_ACROSS = (1, 1) if driver.SIMULATED else (2, 4)  # of a block
DEPTH = 8 if driver.SIMULATED else 16  # elements of K in a step
WARP_HEIGHT, WARP_WIDTH = DOWN * 16, ACROSS * 8
HEIGHT, WIDTH = WARPS_DOWN * WARP_HEIGHT, WARPS_ACROSS * WARP_WIDTH  # of a block
THREADS = 32 * WARPS_DOWN * WARPS_ACROSS  # of a block
NO_TAPS = np.zeros(1, np.int64)


def is_worthwhile(dtype, multiply_adds):
    """Whether to compute a product in TF32: it is allowed, large enough, and the GPU supports it."""
    return (
        multiply_adds >= MIN_MULTIPLY_ADDS
        and dtype == np.float32
        and get_float32_matmul_precision() == "high"
        and current_gpu().capability >= (8, 0)
    )


@cache
def tf32_kernel(windows: bool) -> Kernel:
    """The kernel of a matrix product; with `windows`, the second matrix is read from images (C, H, W, N)."""
    a_row, b_row = HEIGHT + 8, WIDTH + 8  # 8 more than needed, so that a warp reads from different banks
    a_size, b_size = 2 * DEPTH * a_row, 2 * DEPTH * b_row
    a_count, b_count = HEIGHT * DEPTH // THREADS, WIDTH * DEPTH // THREADS
    fetch_a, fetch_b = tile.make_fetch(a_count), _make_fetch_windows(b_count) if windows else tile.make_fetch(b_count)
    put_a, put_b = tile.make_put(a_count, to_tf32), tile.make_put(b_count, to_tf32)
    zeros = tile.define_function("zeros(like)", tile.zero_lines(4 * DOWN * ACROSS))
    multiply, store = make_multiply(DOWN, ACROSS, a_row, b_row), tile.make_store(product_cells(DOWN, ACROSS))

    def product(a, b, bias, out, taps, M, N, K, a_batch, am, ak, b_batch, bk, bn, biased, images, OW, H, W, top, left):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N), plus bias (M) on each row if `biased` is 1, not 0.

        With windows b is images (C, H, W, images), N = positions * images, and taps (3, K) says where tap k reads: the
        first pixel of its channel, and its distance down and to the right of the window's corner.
        """
        thread, lane, warp = cuda.threadIdx.x, cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        m0, n0, batch = tile.locate_block(cuda.blockIdx.x, M, N, HEIGHT, WIDTH)
        a_shared = cuda.shared.array(a_size, np.float32)
        b_shared = cuda.shared.array(b_size, np.float32)
        m, ka, dm, dka = tile.locate_elements(thread, THREADS, HEIGHT, DEPTH, ak == 1)
        n, kb, dn, dkb = tile.locate_elements(thread, THREADS, WIDTH, DEPTH, bk == 1 and not windows)
        position, image = (n0 + n) // images, (n0 + n) % images
        h, w = position // OW - top, position % OW - left
        warp_m, warp_n = warp // WARPS_ACROSS * WARP_HEIGHT, warp % WARPS_ACROSS * WARP_WIDTH
        acc, half = zeros(a), 0
        next_a = fetch_a(a, batch * a_batch, m0 + m, dm, M, am, ka, dka, K, ak)
        if windows:
            next_b = fetch_b(b, taps, n0 + n, N, kb, dkb, K, h, w, H, W, image, images)
        else:
            next_b = fetch_b(b, batch * b_batch, n0 + n, dn, N, bn, kb, dkb, K, bk)
        for start in range(0, K, DEPTH):
            put_a(next_a, a_shared, (half + ka) * a_row + m, dka * a_row + dm)
            put_b(next_b, b_shared, (half + kb) * b_row + n, dkb * b_row + dn)
            cuda.syncthreads()
            next_a = fetch_a(a, batch * a_batch, m0 + m, dm, M, am, start + DEPTH + ka, dka, K, ak)
            if windows:
                next_b = fetch_b(b, taps, n0 + n, N, start + DEPTH + kb, dkb, K, h, w, H, W, image, images)
            else:
                next_b = fetch_b(b, batch * b_batch, n0 + n, dn, N, bn, start + DEPTH + kb, dkb, K, bk)
            for k in range(half, half + DEPTH, 8):
                acc = multiply(acc, a_shared, k * a_row + warp_m, b_shared, k * b_row + warp_n, lane)
            half = DEPTH - half
        row, col = m0 + warp_m + lane // 4, n0 + warp_n + lane % 4 * 2
        store(acc, out, batch * M * N, row, M, col, N, bias, biased, False)

    return Kernel(product, f"tf32.{'windows' if windows else 'product'}")


def _make_fetch_windows(count):
    """A function that reads `count` taps of one window, from tap k on, dk apart; a tap outside the image is 0."""
    items = []
    for i in range(count):
        k = f"(k + {i} * dk)"
        row, col = f"(h + taps[position(K + {k})])", f"(w + taps[position(2 * K + {k})])"
        items.append(
            f"x[position((taps[position({k})] + {row} * W + {col}) * images + image)] "
            f"if n < N and {k} < K and {row} >= 0 and {row} < H and {col} >= 0 and {col} < W else const(0, x)"
        )
    return tile.define_function("fetch(x, taps, n, N, k, dk, K, h, w, H, W, image, images)", [tile.return_tuple(items)])


def _count_blocks(M, N, batch):
    return -(-N // WIDTH) * -(-M // HEIGHT) * batch


def launch_product(arrays, M, N, K, batch, strides, biased):
    """Compute a matrix product; arrays (a, b, bias, out) are flat, see gemm in matmul.py."""
    unused = 1, 1, 1, 1, 0, 0
    sizes = M, N, K, *strides, biased, *unused
    tf32_kernel(False)[_count_blocks(M, N, batch), THREADS](*arrays, to_device_once(NO_TAPS), *sizes)


def launch_windows(x, w, b, out, taps, top, left):
    """out (M, OH, OW, N) from x (C, H, W, N) by w (M, taps), for stride 1; windows start `top` above, `left` beside."""
    (_, H, W, N), (M, _, OW, _), K = x.shape, out.shape, w.shape[1]
    arrays = w.reshape(-1), x.reshape(-1), out.reshape(-1) if b is None else b, out.reshape(-1)
    strides = 0, K, 1, 0, 0, 0
    sizes = M, out.size // M, K, *strides, int(b is not None), N, OW, H, W, top, left
    taps = to_device_once(taps).reshape(-1)
    tf32_kernel(True)[_count_blocks(M, out.size // M, 1), THREADS](*arrays, taps, *sizes)


@cache
def forward_taps(C, H, W, KH, KW, DH, DW):
    """Where tap (c, kh, kw) of a window reads, (3, taps): first pixel of its channel, rows down, columns right."""
    c, kh, kw = np.indices((C, KH, KW)).reshape(3, -1)
    return np.stack([c * H * W, kh * DH, kw * DW])


@cache
def input_taps(F, OH, OW, KH, KW, DH, DW):
    """Where tap (f, kh, kw) of a pixel reads among the outputs, (3, taps), counted from the pixel's own position."""
    f, kh, kw = np.indices((F, KH, KW)).reshape(3, -1)
    return np.stack([f * OH * OW, -kh * DH, -kw * DW])


def swap_channels(w):
    """w (F, C, KH, KW) as (C, F * KH * KW)."""
    return memory.contiguous(w.transpose(1, 0, 2, 3)).reshape(w.shape[1], -1)
