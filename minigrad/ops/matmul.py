"""Matrix products: matmul, and linear, y = x wT + b.

Two kernels serve most: one computes a (M, K) b (K, N) where b's rows are contiguous, the other where its columns are,
as in the gradient of a weight; a may have any strides.  A product of transposes is the transpose of the product, so
batch-innermost operands need no copies: y (N, OUT) has memory (OUT, N) = w (OUT, IN) x (IN, N), whose rows run over
images.  A third kernel computes dot products: a matrix, or one row, times a vector.

A sum over a long K is cut into runs, whose results are added up without loss (see math.compensated_add).
"""

from functools import cache
from math import prod

import numpy as np

from ..errors import DtypeError, ShapeError
from ..runtime import memory
from ..runtime.kernel import Memory, Tile, helper, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import (
    broadcast_rows,
    choose_tile,
    compensated_total,
    lanes,
    load,
    outer_fma,
    store,
    sum_elements,
    transpose,
    zeros,
)
from ..shapes import broadcast
from .op import Dispatch, op
from .reduction import RUN

LONG = 512  # multiply-adds in a row; LeNet-5 has no more than 400


@helper
def _product(tile, acc, a, left, am, ak, b, right, bk, K, count):
    """acc[i, j] + the sum over k of a[left + i*am + k*ak] * b[right + k*bk + j]."""
    if K <= LONG:
        for k in range(K):
            acc = outer_fma(acc, a, left + k * ak, am, b, right + k * bk, count)
        return acc
    lost = zeros(tile)
    for first in range(0, K, LONG):
        run = zeros(tile)
        for k in range(first, smaller(first + LONG, K)):
            run = outer_fma(run, a, left + k * ak, am, b, right + k * bk, count)
        acc, lost = compensated_add(acc, lost, run)
    return compensated_total(acc, lost)


@kernel
def gemm_kernel(
    task, a: Memory, b: Memory, bias: Memory, out: Memory, M, N, K, a_batch, am, ak, b_batch, bk, biased, tile: Tile
):
    """One tile of rows of one product of a batch.  Strides: a_batch, am, ak of a, b_batch, bk of b, whose rows are
    contiguous; bias (M) is added to each row if `biased` is 1, not 0."""
    blocks = (M + tile.rows - 1) // tile.rows
    batch, m = task // blocks, smaller(task % blocks * tile.rows, M - tile.rows)  # the last block overlaps
    for start in range(0, N, tile.width):
        n = larger(smaller(start, N - tile.width), 0)
        left, right = batch * a_batch + m * am, batch * b_batch + n
        acc = broadcast_rows(tile, bias, m * biased, biased)
        acc = _product(tile, acc, a, left, am, ak, b, right, bk, K, N - n)
        store(acc, out, (batch * M + m) * N + n, N, N - n)


@kernel
def gemm_columns_kernel(
    task, a: Memory, b: Memory, panels: Memory, out: Memory, M, N, K, a_batch, am, ak, b_batch, bn, height, tile: Tile
):
    """`height` rows of the next columns, as many as a tile is wide, of one product of a batch.

    b's columns are contiguous, bn from one to the next; those of a task are first written as rows, panels (tasks, K,
    tile.width), by the core that reads them (gradient of a weight, 400 to 120: 30 us; 55 if all of b is turned first).
    """
    blocks, parts = (N + tile.width - 1) // tile.width, (M + height - 1) // height
    batch, block, part = task // (blocks * parts), task // parts % blocks, task % parts
    n = larger(smaller(block * tile.width, N - tile.width), 0)
    panel, left, right = task * K * tile.width, batch * a_batch, batch * b_batch + n * bn
    if tile.lanes > K or tile.width > N:
        for j in range(smaller(tile.width, N)):
            for k in range(K):
                panels[panel + k * tile.width + j] = b[right + j * bn + k]
    else:
        for j in range(0, tile.width, tile.lanes):
            for start in range(0, K, tile.lanes):
                k = smaller(start, K - tile.lanes)
                transpose(tile, b, right + j * bn + k, bn, panels, panel + k * tile.width + j, tile.width)
    for start in range(part * height, smaller((part + 1) * height, M), tile.rows):
        m = smaller(start, M - tile.rows)
        acc = _product(tile, zeros(tile), a, left + m * am, am, ak, panels, panel, tile.width, K, N - n)
        store(acc, out, (batch * M + m) * N + n, N, N - n)


@kernel
def dot_kernel(task, a: Memory, v: Memory, bias: Memory, out: Memory, M, K, a_batch, am, v_batch, biased, tile: Tile):
    """One dot product of a row of a (batch, M, K) and v (batch, K), whose elements lie behind each other, plus
    bias[m * biased]."""
    batch, m = task // M, task % M
    left, right, total, lost = batch * a_batch + m * am, batch * v_batch, const(0, a), const(0, a)
    for first in range(0, K, RUN * tile.width):
        run, stop = zeros(tile), smaller(first + RUN * tile.width, K)
        whole = stop - (stop - first) % tile.width
        for k in range(first, whole, tile.width):
            run = run + load(tile, a, left + k, None) * load(tile, v, right + k, None)
        if whole < stop:
            run = run + load(tile, a, left + whole, K - whole) * load(tile, v, right + whole, K - whole)
        total, lost = compensated_add(total, lost, sum_elements(run))
    out[task] = compensated_total(total, lost) + bias[m * biased]


SHORT = 64  # a shorter dot product is not worth a task
DOT_TILE = (1, 4, True)  # elements of a and v that are multiplied together, see reduction.SUM_COLS

HEIGHT = 256  # rows of a task: turning b costs as much as some 20


@cache
def zero(dtype):
    """What kernels read where there is no bias."""
    return np.zeros(1, dtype)


def gemm(a, b, out, bias=None):
    """out = a @ b (+ bias for each row), for 2-D or batched 3-D arrays; out is C-contiguous or its mirror image is."""
    if not out.flags.c_contiguous:
        a, b, out = b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2)
    if not out.size:
        return
    if a.shape[-1] >= SHORT and 1 in out.shape[-2:] and dot(a, b, out, bias):
        return
    if b.shape[-1] > 1 and b.strides[-1] != b.itemsize:
        if bias is None and b.strides[-2] == b.itemsize:
            gemm_columns(a, b, out)
            return
        b = memory.contiguous(b)
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    (a_batch, am, ak), (b_batch, bk, _) = _steps(a), _steps(b)
    tile, biased, bias = choose_tile(M, N, out.dtype), int(bias is not None), zero(out.dtype) if bias is None else bias
    tasks = out.size // (M * N) * -(-M // tile[0])
    gemm_kernel.run_small(
        tasks, out.size * K // 32, a, b, bias, out, M, N, K, a_batch, am, ak, b_batch, bk, biased, tile
    )


def gemm_columns(a, b, out):
    """out = a @ b where b's columns are contiguous, as in the gradient of a weight."""
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    (a_batch, am, ak), (b_batch, _, bn), tile = _steps(a), _steps(b), choose_tile(M, N, out.dtype)
    width = tile[1] * lanes(out.dtype)
    tasks = out.size // (M * N) * -(-N // width) * -(-M // HEIGHT)
    panels, work = memory.empty((tasks, K, width), out.dtype), out.size * K // 32
    gemm_columns_kernel.run_small(tasks, work, a, b, panels, out, M, N, K, a_batch, am, ak, b_batch, bn, HEIGHT, tile)


def dot(a, b, out, bias):
    """out = a @ b (+ bias) where one of the two is a vector; False where elements that are summed over lie apart."""
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    if M == N == 1:
        a, b = memory.contiguous(a), memory.contiguous(b)
    rows, v = (a, b[..., 0]) if N == 1 else (b.swapaxes(-1, -2), a[..., 0, :])
    if not rows.strides[-1] == v.strides[-1] == out.itemsize:
        return False
    (a_batch, am, _), v_batch, biased = _steps(rows), [0, *_steps(v)][-2], int(bias is not None and N == 1)
    bias = zero(out.dtype) if bias is None else bias
    dot_kernel.run_small(
        out.size, out.size * K // 32, rows, v, bias, out, M * N, K, a_batch, am, v_batch, biased, DOT_TILE
    )
    return True


def _steps(x):
    """The strides of a matrix or a batch of them, in elements: from one matrix to the next, one row, one column."""
    return [0, *(stride // x.itemsize for stride in x.strides)][-3:]


def matmul_numpy(a, b, out):
    np.matmul(a, b, out=out)


matmul_dispatch = Dispatch("matmul", matmul_numpy, cpu=gemm)


@op
def matmul(device, a, b):
    """a (..., n, k) @ b (..., k, m); leading axes broadcast."""
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        raise DtypeError(f"matmul: expected float tensors, got {a.dtype} and {b.dtype}; convert them with .float()")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the left has {a.shape[-1]} columns, the right {b.shape[-2]} rows; "
            "they must be equal (transpose one?)"
        )
    if a.dtype != b.dtype:
        dtype = np.result_type(a.dtype, b.dtype)
        a, b = (side if side.dtype == dtype else memory.convert(side, dtype) for side in (a, b))
    if a.ndim == b.ndim == 2:
        out = _product_like(device, a, b)
        matmul_dispatch[device.type](a, b, out)
        return out
    lead = broadcast("matmul", a.shape[:-2], b.shape[:-2])
    batch = prod(lead)  # in numbers: of an empty matrix -1 could be anything
    a3, b3 = (
        memory.reshape(memory.broadcast_to(side, (*lead, *side.shape[-2:])), (batch, *side.shape[-2:]))
        for side in (a, b)
    )
    out = memory.empty((*lead, a.shape[-2], b.shape[-1]), a.dtype, device)
    matmul_dispatch[device.type](a3, b3, out.reshape(batch, *out.shape[-2:]))
    return out


def _product_like(device, a, b):
    """Memory for a @ b: batch-innermost if a is, so that gradients keep the layout of activations."""
    shape = (a.shape[0], b.shape[1])
    inward = a.strides[0] == a.itemsize and a.shape[1] > 1
    return (memory.empty_batch_innermost if inward else memory.empty)(shape, a.dtype, device)


matmul.flops = lambda out, a, b: 2 * out.size * a.shape[-1]


@matmul.gradient
def matmul_gradient(do, g, a, b):
    """da = g bT, db = aT g."""
    return lambda: do.matmul(g, _mirror(do, b)), lambda: do.matmul(_mirror(do, a), g)


def _mirror(do, x):
    axes = list(range(len(x.shape)))
    return do.permute(x, axes=(*axes[:-2], axes[-1], axes[-2]))


# ---- linear


def linear_numpy(x, w, b, out):
    np.matmul(x, w.T, out=out)
    if b is not None:
        out += b


def linear_cpu(x, w, b, out):
    gemm(w, x.T, out.T, None if b is None else memory.contiguous(b))


linear_dispatch = Dispatch("linear", linear_numpy, cpu=linear_cpu)


@op
def linear(device, x, w, b):
    """x (N, IN), w (OUT, IN), b (OUT) or None; returns (N, OUT), batch-innermost."""
    _check_linear(x.shape, w.shape, None if b is None else b.shape)
    same_dtype("linear", x, w, b)
    out = memory.empty_batch_innermost((x.shape[0], w.shape[0]), x.dtype, device)
    linear_dispatch[device.type](x, w, b, out)
    return out


@cache
def _check_linear(x, w, b):
    if len(w) != 2:
        raise ShapeError(f"linear: weight has {len(w)} dimensions {w}, expected 2 (out_features, in_features)")
    if x[-1] != w[1]:
        raise ShapeError(
            f"linear: x has {x[-1]} features (x {x}), weight reads {w[1]} (weight {w}); "
            f"build the layer with in_features={x[-1]}, or flatten x differently"
        )
    if b is not None and b != w[:1]:
        raise ShapeError(f"linear: bias has shape {b}, weight gives {w[0]} features; use shape ({w[0]},)")


def expect_floats(where, x):
    """Layers work on floats."""
    if x.dtype.kind != "f":
        raise DtypeError(f"{where}: x is {x.dtype}, expected floats; convert it with .float()")


def same_dtype(where, x, w, b):
    """Layers do not promote: x must be of floats, and the parameters of the same."""
    expect_floats(where, x)
    dtype = x.dtype
    if w.dtype != dtype or (b is not None and b.dtype != dtype):
        name, other = ("weight", w.dtype) if w.dtype != dtype else ("bias", b.dtype)
        raise DtypeError(f"{where}: x is {dtype}, {name} is {other}; convert one with .to(mg.{dtype})")


linear.flops = lambda out, x, w, b: 2 * out.size * w.shape[1]


@linear.gradient
def linear_gradient(do, g, x, w):
    return (lambda: do.matmul(g, w), lambda: do.matmul(_mirror(do, g), x), lambda: do.sum(g, axes=(0,), keepdim=False))
