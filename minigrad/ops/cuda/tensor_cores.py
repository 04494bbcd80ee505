"""Products on tensor cores, in TF32: of matrices, and of filters with the windows of images.

A tensor core multiplies 16x8 by 8x8 numbers, which the 32 threads of a warp hold together: of the result thread
`lane` has rows lane // 4 and lane // 4 + 8, columns lane % 4 * 2 and the next.  Numbers are rounded to TF32 (10 bits
behind the first) on their way to shared memory; sums are float32.  Otherwise as matmul.py: a block brings what a step
needs to shared memory, and fetches the next step's numbers while it multiplies.

Source: NVIDIA, PTX ISA 8.8, section 9.7.14 (mma.m16n8k8, fragments of .tf32).
"""

from functools import cache

import numpy as np

from ...runtime import memory
from ...runtime.cuda import driver
from ...runtime.cuda.array import constant
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import Kernel
from ...runtime.cuda.machine import machine
from ...runtime.cuda.tensor_core import multiplied, to_tf32
from ...runtime.cuda.tile import fetching, written
from ...runtime.precision import get_float32_matmul_precision

LARGE = 2**20  # multiply-adds from which it pays
ROWS, COLS = 16, 8  # of a tensor core's result
WARPS = (1, 1) if driver.SIMULATED else (2, 4)  # of a block, down and across
EACH = (1, 1) if driver.SIMULATED else (4, 4)  # results of a warp, down and across
DEPTH = 8 if driver.SIMULATED else 16  # numbers of K in a step


def wanted(dtype, work):
    """Whether products of so many multiply-adds are to be made here."""
    return (
        work >= LARGE
        and dtype == np.float32
        and get_float32_matmul_precision() == "high"
        and machine().capability >= (8, 0)
    )


@cache
def product_kernel(windows: bool) -> Kernel:
    """The kernel of a matrix product; with `windows`, the second matrix is read from images (C, H, W, N)."""
    team, height, width = 32 * WARPS[0] * WARPS[1], WARPS[0] * EACH[0] * ROWS, WARPS[1] * EACH[1] * COLS
    down_line, across_line = height + 8, width + 8  # 8 more, so that a warp's reads lie in different banks
    down_room, across_room = 2 * DEPTH * down_line, 2 * DEPTH * across_line
    fetch_a = fetching(height * DEPTH // team)
    fetch_b = _fetch_windows(width * DEPTH // team) if windows else fetching(width * DEPTH // team)
    put_a, put_b = _put(height * DEPTH // team), _put(width * DEPTH // team)
    multiply, zeros, store = multiplied(*EACH, down_line, across_line), _zeros(), _store()
    warps_across, warp_rows, warp_cols = WARPS[1], EACH[0] * ROWS, EACH[1] * COLS

    def product(a, b, bias, out, taps, M, N, K, a_batch, am, ak, b_batch, bk, bn, biased, images, OW, H, W, top, left):
        """out (batch, M, N) = a (batch, M, K) b (batch, K, N) + bias (M), if `biased` is 1.

        For windows b is images, N = places * images, and taps (3, K) says where tap k reads: its channel's first pixel,
        and how far down and to the right of the window's corner."""
        thread, lane, warp = cuda.threadIdx.x, cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        blocks_across, blocks_down = (N + width - 1) // width, (M + height - 1) // height
        m0, n0 = cuda.blockIdx.x // blocks_across % blocks_down * height, cuda.blockIdx.x % blocks_across * width
        batch = cuda.blockIdx.x // (blocks_across * blocks_down)
        left_tile = cuda.shared.array(down_room, np.float32)
        right_tile = cuda.shared.array(across_room, np.float32)
        along = ak == 1
        m, ka = (thread // DEPTH, thread % DEPTH) if along else (thread % height, thread // height)
        dm, dka = (team // DEPTH, 0) if along else (0, team // height)
        down = bk == 1 and not windows
        n, kb = (thread // DEPTH, thread % DEPTH) if down else (thread % width, thread // width)
        dn, dkb = (team // DEPTH, 0) if down else (0, team // width)
        place, image = (n0 + n) // images, (n0 + n) % images
        h, v = place // OW - top, place % OW - left
        warp_m, warp_n = warp // warps_across * warp_rows, warp % warps_across * warp_cols
        acc, half = zeros(a), 0
        next_a = fetch_a(a, batch * a_batch, m0 + m, dm, M, am, ka, dka, K, ak)
        if windows:
            next_b = fetch_b(b, taps, n0 + n, N, kb, dkb, K, h, v, H, W, image, images)
        else:
            next_b = fetch_b(b, batch * b_batch, n0 + n, dn, N, bn, kb, dkb, K, bk)
        for start in range(0, K, DEPTH):
            put_a(next_a, left_tile, half * down_line + ka * down_line + m, dka * down_line + dm)
            put_b(next_b, right_tile, half * across_line + kb * across_line + n, dkb * across_line + dn)
            cuda.syncthreads()
            next_a = fetch_a(a, batch * a_batch, m0 + m, dm, M, am, start + DEPTH + ka, dka, K, ak)
            if windows:
                next_b = fetch_b(b, taps, n0 + n, N, start + DEPTH + kb, dkb, K, h, v, H, W, image, images)
            else:
                next_b = fetch_b(b, batch * b_batch, n0 + n, dn, N, bn, start + DEPTH + kb, dkb, K, bk)
            for k in range(half, half + DEPTH, 8):
                acc = multiply(acc, left_tile, k * down_line + warp_m, right_tile, k * across_line + warp_n, lane)
            half = DEPTH - half
        row, column = m0 + warp_m + lane // 4, n0 + warp_n + lane % 4 * 2
        store(acc, out, batch * M * N, row, M, column, N, bias, biased)

    return Kernel(product, f"tensor_cores.{'windows' if windows else 'product'}")


def _fetch_windows(each):
    """How a thread fetches `each` numbers of one window's place: 0 outside the image."""
    items = []
    for i in range(each):
        k = f"(k + {i} * dk)"
        h, v = f"(h + taps[position(K + {k})])", f"(v + taps[position(2 * K + {k})])"
        items.append(
            f"x[position((taps[position({k})] + {h} * W + {v}) * images + image)] "
            f"if n < N and {k} < K and {h} >= 0 and {h} < H and {v} >= 0 and {v} < W else const(0, x)"
        )
    return written("fetch(x, taps, n, N, k, dk, K, h, v, H, W, image, images)", f"return ({', '.join(items)},)")


def _put(each):
    """How a thread puts its numbers into shared memory, rounded."""
    lines = [f"to[position(at + {i} * step)] = to_tf32(values[{i}])" for i in range(each)]
    return written("put(values, to, at, step)", "\n    ".join(lines), to_tf32=to_tf32)


def _zeros():
    return written("zeros(like)", f"zero = const(0, like)\n    return ({'zero, ' * (4 * EACH[0] * EACH[1])})")


def _store():
    """How a thread stores its four numbers of each result."""
    lines = []
    for i in range(EACH[0]):
        for half in (0, 8):
            down = i * ROWS + half
            lines += [
                f"if m + {down} < M:",
                f"    more = bias[position((m + {down}) * biased)] if biased else const(0, bias)",
            ]
            for j in range(EACH[1]):
                for right in (0, 1):
                    number = 4 * (i * EACH[1] + j) + half // 4 + right
                    lines += [
                        f"    if n + {j * COLS + right} < N:",
                        f"        out[position(at + (m + {down}) * N + n + {j * COLS + right})] = acc[{number}] + more",
                    ]
    return written("store(acc, out, at, m, M, n, N, bias, biased)", "\n    ".join(lines))


def _grid(M, N, batch):
    return -(-N // (WARPS[1] * EACH[1] * COLS)) * -(-M // (WARPS[0] * EACH[0] * ROWS)) * batch


def product(flat, M, N, K, batch, steps, biased):
    """Run a matrix product on (a, b, bias, out), flat; see gemm in matmul.py."""
    unused = constant(NO_TAPS), M, N, K, *steps, biased, 1, 1, 1, 1, 0, 0
    product_kernel(False)[_grid(M, N, batch), 32 * WARPS[0] * WARPS[1]](*flat, *unused)


NO_TAPS = np.zeros(1, np.int64)


def windows(x, w, b, out, taps, top, left):
    """out (M, OH, OW, N) from x (C, H, W, N) by w (M, taps), where every window is one step further: stride 1."""
    (_, H, W, N), (M, _, OW, _), K = x.shape, out.shape, w.shape[1]
    flat = x.reshape(-1), out.reshape(-1) if b is None else b, out.reshape(-1), constant(taps).reshape(-1)
    sizes = M, out.size // M, K, 0, K, 1, 0, 0, 0, int(b is not None), N, OW, H, W, top, left
    product_kernel(True)[_grid(M, out.size // M, 1), 32 * WARPS[0] * WARPS[1]](w.reshape(-1), *flat, *sizes)


@cache
def forward_taps(C, H, W, KH, KW, DH, DW):
    """Where tap (c, kh, kw) of a window reads, (3, taps): first pixel of its channel, rows down, columns right."""
    c, kh, kw = np.indices((C, KH, KW)).reshape(3, -1)
    return np.stack([c * H * W, kh * DH, kw * DW])


@cache
def input_taps(F, OH, OW, KH, KW, DH, DW):
    """Which output tap (f, kh, kw) of a pixel is, counted from the pixel's own place."""
    f, kh, kw = np.indices((F, KH, KW)).reshape(3, -1)
    return np.stack([f * OH * OW, -kh * DH, -kw * DW])


def turned(w):
    """w (F, C, KH, KW) as (C, F * KH * KW)."""
    return memory.contiguous(w.transpose(1, 0, 2, 3)).reshape(w.shape[1], -1)
