"""Matrix products: matmul, and linear, y = x wT + b.

Two kernels compute most products.  One reads rows of b where they are.  The other first copies some columns of b side
by side, where rows are far apart, or where columns are contiguous, as in the gradient of a weight.  a may have any
strides.  A product of transposes is the transpose of the product, so batch-innermost operands need no copies: y (N,
OUT) has memory (OUT, N) = w (OUT, IN) x (IN, N), whose rows run over images.  A third kernel computes dot products: a
matrix, or one row, times a vector.

A sum over a long K is divided into partial sums, which are added with compensation; see math.compensated_add.
"""

from functools import cache
from math import prod

import numpy as np

from ..errors import DtypeError, ShapeError
from ..runtime import memory, threads, turn
from ..runtime.kernel import Memory, Tile, helper, is_parallel, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import (
    broadcast_rows,
    choose_tile,
    compensated_total,
    copy_row,
    lanes,
    load,
    outer_fma,
    store,
    sum_elements,
    transpose,
    zeros,
)
from ..shapes import broadcast
from .arithmetic import mul
from .elementwise import fill_by
from .op import Dispatch, op
from .promotion import cast_all, expect_float
from .reduction import SUM_VECTORS, TERMS_PER_PARTIAL_SUM, sum_

PRODUCTS_PER_PARTIAL_SUM = 512  # LeNet-5 has no sum of more than 400
MIN_DOT_PRODUCTS = 64  # a shorter dot product is not worth a task
ROWS_PER_UNIT = 256  # of a unit that copies columns of b, which costs as much as some 20 rows
FAR_BYTES = 2048  # between rows of b: then a cache holds few of them, and each is in another page
MIN_PANEL_ROWS = 32  # of a product for which such rows are copied


@helper
def add_product(tile, acc, a, a_start, am, ak, b, b_start, bk, K):
    """acc[i, j] + the sum over k of a[a_start + i*am + k*ak] * b[b_start + k*bk + j]."""
    if K <= PRODUCTS_PER_PARTIAL_SUM:
        for k in range(K):
            acc = outer_fma(acc, a, a_start + k * ak, am, b, b_start + k * bk)
        return acc
    error = zeros(tile)
    for first in range(0, K, PRODUCTS_PER_PARTIAL_SUM):
        partial = zeros(tile)
        for k in range(first, smaller(first + PRODUCTS_PER_PARTIAL_SUM, K)):
            partial = outer_fma(partial, a, a_start + k * ak, am, b, b_start + k * bk)
        acc, error = compensated_add(acc, error, partial)
    return compensated_total(acc, error)


@kernel
def gemm_kernel(
    task, a: Memory, b: Memory, bias: Memory, out: Memory, M, N, K, a_batch, am, ak, b_batch, bk, has_bias, tile: Tile
):
    """One tile of rows of out (batch, M, N) = a (batch, M, K) b (batch, K, N), plus bias (M) in each row if `has_bias`
    is 1, not 0.

    Strides, in elements: a_batch, am, ak of a; b_batch, bk of b, whose rows are contiguous.
    """
    blocks = (M + tile.rows - 1) // tile.rows
    batch, m = task // blocks, smaller(task % blocks * tile.rows, M - tile.rows)  # the last block overlaps
    for start in range(0, N, tile.width):
        n = smaller(start, N - tile.width)
        a_start, b_start = batch * a_batch + m * am, batch * b_batch + n
        acc = broadcast_rows(tile, bias, m * has_bias, has_bias)
        acc = add_product(tile, acc, a, a_start, am, ak, b, b_start, bk, K)
        store(acc, out, (batch * M + m) * N + n, N)


@kernel
def gemm_panels_kernel(
    task, a: Memory, b: Memory, panels: Memory, bias: Memory, out: Memory, M, N, K, a_batch, am, ak, b_batch, bk, bn,
    has_bias, rows, units, shares, tile: Tile,
):  # fmt: skip
    """One of `shares` equal shares of a product; a unit is `rows` rows and one tile width of columns; see gemm_kernel.

    Either bn or bk is 1.  A task copies columns of b as rows into its panel, of panels (shares, K, tile.width): then
    the core that reads them has them in its cache, side by side.
    """
    blocks, chunks, copied = (N + tile.width - 1) // tile.width, (M + rows - 1) // rows, -1
    panel = task * K * tile.width
    for unit in range(units * task // shares, units * (task + 1) // shares):
        batch, block, chunk = unit // (blocks * chunks), unit // chunks % blocks, unit % chunks
        n = smaller(block * tile.width, N - tile.width)
        a_start, b_start = batch * a_batch, batch * b_batch + n * bn
        if unit // chunks != copied:
            _copy_columns(tile, b, b_start, bk, bn, K, panels, panel)
            copied = unit // chunks
        for start in range(chunk * rows, smaller((chunk + 1) * rows, M), tile.rows):
            m = smaller(start, M - tile.rows)
            acc = broadcast_rows(tile, bias, m * has_bias, has_bias)
            acc = add_product(tile, acc, a, a_start + m * am, am, ak, panels, panel, tile.width, K)
            store(acc, out, (batch * M + m) * N + n, N)


@helper
def _copy_columns(tile, b, start, bk, bn, K, panels, panel):
    """panels[panel + k * tile.width + j] = b[start + k * bk + j * bn]; either bn or bk is 1."""
    if bn == 1:
        for k in range(K):
            copy_row(tile, b, start + k * bk, panels, panel + k * tile.width)
    elif tile.lanes > K:
        for j in range(tile.width):
            for k in range(K):
                panels[panel + k * tile.width + j] = b[start + j * bn + k]
    else:
        for j in range(0, tile.width, tile.lanes):
            for first in range(0, K, tile.lanes):
                k = smaller(first, K - tile.lanes)
                transpose(tile, b, start + j * bn + k, bn, panels, panel + k * tile.width + j, tile.width)


@kernel
def dot_kernel(task, a: Memory, v: Memory, bias: Memory, out: Memory, M, K, a_batch, am, v_batch, has_bias, tile: Tile):
    """One dot product of a row of a (batch, M, K) and v (batch, K), plus bias[m * has_bias]; both are contiguous on K.

    Strides, in elements: a_batch, am of a; v_batch of v.
    """
    batch, m = task // M, task % M
    a_start, v_start, total, error = batch * a_batch + m * am, batch * v_batch, const(0, a), const(0, a)
    for first in range(0, K, TERMS_PER_PARTIAL_SUM * tile.width):
        partial, stop = zeros(tile), smaller(first + TERMS_PER_PARTIAL_SUM * tile.width, K)
        whole = stop - (stop - first) % tile.width
        for k in range(first, whole, tile.width):
            partial = partial + load(tile, a, a_start + k, None) * load(tile, v, v_start + k, None)
        if whole < stop:
            partial = partial + load(tile, a, a_start + whole, K - whole) * load(tile, v, v_start + whole, K - whole)
        total, error = compensated_add(total, error, sum_elements(partial))
    out[task] = compensated_total(total, error) + bias[m * has_bias]


@cache
def zero_bias(dtype):
    """The array that kernels read where there is no bias."""
    return np.zeros(1, dtype)


def gemm(a, b, out, bias=None):
    """out = a @ b (+ bias in each row), for 2-D or batched 3-D arrays; `out` or its transpose is C-contiguous."""
    if not out.flags.c_contiguous:
        a, b, out = b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2)
    if not out.size:
        return
    if a.shape[-1] >= MIN_DOT_PRODUCTS and 1 in out.shape[-2:] and _try_dot(a, b, out, bias):
        return
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    if N > 1 and b.strides[-1] != b.itemsize != b.strides[-2]:
        b = turn.contiguous(b)
    bias, has_bias = (zero_bias(out.dtype), 0) if bias is None else (bias, 1)
    (a_batch, am, ak), (b_batch, bk, bn), tile = element_strides(a), element_strides(b), choose_tile(M, N, out.dtype)
    width, batches, work = tile[1] * tile[2], out.size // (M * N), out.size * K // 32
    is_far = M >= MIN_PANEL_ROWS and K > 1 and abs(bk) * b.itemsize >= FAR_BYTES
    if N > 1 and (bn != 1 or is_far):
        units = batches * -(-N // width) * -(-M // ROWS_PER_UNIT)
        shares = min(units, 4 * threads.get_num_threads()) if is_parallel(work) else 1
        panels, sizes = memory.empty((shares, K, width), out.dtype), (M, N, K, a_batch, am, ak, b_batch, bk, bn)
        sizes = (*sizes, has_bias, ROWS_PER_UNIT, units, shares)
        gemm_panels_kernel(shares, a, b, panels, bias, out, *sizes, tile)
    else:
        sizes = M, N, K, a_batch, am, ak, b_batch, bk
        gemm_kernel.run_small(batches * -(-M // tile[0]), work, a, b, bias, out, *sizes, has_bias, tile)


def _try_dot(a, b, out, bias):
    """Fill out = a @ b (+ bias), where a or b is a vector; return False where they are not contiguous on K."""
    M, N, K = out.shape[-2], out.shape[-1], a.shape[-1]
    if M == N == 1:
        a, b = turn.contiguous(a), turn.contiguous(b)
    rows, v = (a, b[..., 0]) if N == 1 else (b.swapaxes(-1, -2), a[..., 0, :])
    if not rows.strides[-1] == v.strides[-1] == out.itemsize:
        return False
    (a_batch, am, _), v_batch, has_bias = element_strides(rows), [0, *element_strides(v)][-2], 0
    if bias is None:
        bias = zero_bias(out.dtype)
    elif N == 1:
        has_bias = 1
    sizes = M * N, K, a_batch, am, v_batch, has_bias
    tile = 1, SUM_VECTORS, lanes(out.dtype)
    dot_kernel.run_small(out.size, out.size * K // 32, rows, v, bias, out, *sizes, tile)
    return True


def element_strides(x):
    """The strides of a matrix or a batch of them, in elements: from one matrix, one row, one column to the next."""
    return [0, *(stride // x.itemsize for stride in x.strides)][-3:]


matmul_dispatch = Dispatch("matmul", fill_by(np.matmul), cpu=gemm)


@op
def matmul(device, a, b):
    """a (..., n, k) @ b (..., k, m); leading axes broadcast."""
    floats = a.dtype.kind == b.dtype.kind == "f"
    if not floats and {a.dtype.kind, b.dtype.kind} & {"f", "b"}:
        raise DtypeError(
            f"matmul: expected two tensors of floats or of whole numbers, got {a.dtype} and {b.dtype}; convert them "
            "with .float()"
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the left has {a.shape[-1]} columns, the right {b.shape[-2]} rows; "
            "they must be equal (transpose one?)"
        )
    if a.dtype != b.dtype:
        a, b = cast_all(np.result_type(a.dtype, b.dtype), a, b)
    if not floats:  # no kernel: all products, then their sums
        b = memory.reshape(b, (*b.shape[:-2], 1, *b.shape[-2:]))
        products = mul.forward(device, memory.reshape(a, (*a.shape, 1)), b)
        return cast_all(a.dtype, sum_.forward(device, products, axes=(products.ndim - 2,), keepdim=False))[0]
    if a.ndim == b.ndim == 2:
        out = _empty_product(device, a, b)
        matmul_dispatch[device.type](a, b, out)
        return out
    lead = broadcast("matmul", a.shape[:-2], b.shape[:-2])
    batch = prod(lead)  # not -1, which is ambiguous if a matrix is empty
    a3, b3 = (
        memory.reshape(memory.broadcast_to(side, (*lead, *side.shape[-2:])), (batch, *side.shape[-2:]))
        for side in (a, b)
    )
    out = memory.empty((*lead, a.shape[-2], b.shape[-1]), a.dtype, device)
    matmul_dispatch[device.type](a3, b3, out.reshape(batch, *out.shape[-2:]))
    return out


def _empty_product(device, a, b):
    """An array for a @ b, batch-innermost if a is: gradients keep the layout of activations."""
    shape = (a.shape[0], b.shape[1])
    batch_innermost = a.strides[0] == a.itemsize and a.shape[1] > 1
    return (memory.empty_batch_innermost if batch_innermost else memory.empty)(shape, a.dtype, device)


matmul.flops = lambda out, a, b: 2 * out.size * a.shape[-1]


@matmul.gradient
def matmul_gradient(do, g, a, b):
    """da = g bT, db = aT g."""
    if len(a.shape) == len(b.shape) == 2:
        return lambda: do.matmul(g, _transpose(do, b)), lambda: do.weight_gradient(a, g)
    return lambda: do.matmul(g, _transpose(do, b)), lambda: do.matmul(_transpose(do, a), g)


def _transpose(do, x):
    axes = list(range(len(x.shape)))
    return do.permute(x, axes=(*axes[:-2], axes[-1], axes[-2]))


@op
def weight_gradient(device, a, b):
    """aT b of two matrices, in C order whatever their layout: the gradient of a weight has the layout of the weight."""
    out = memory.empty((a.shape[1], b.shape[1]), a.dtype, device)
    matmul_dispatch[device.type](a.T, b, out)
    return out


weight_gradient.flops = lambda out, a, b: 2 * out.size * a.shape[0]


@weight_gradient.gradient
def weight_gradient_gradient(do, g, a, b):
    """da = b gT, db = a g."""
    return lambda: do.matmul(b, _transpose(do, g)), lambda: do.matmul(a, g)


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
    expect_same_dtype("linear", x, w, b)
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


def expect_same_dtype(where, x, w, b):
    """Layers do not promote: x, weight and bias must be of one float dtype."""
    expect_float(where, x)
    dtype = x.dtype
    if w.dtype != dtype or (b is not None and b.dtype != dtype):
        name, other = ("weight", w.dtype) if w.dtype != dtype else ("bias", b.dtype)
        raise DtypeError(f"{where}: x is {dtype}, {name} is {other}; convert one with .to(mg.{dtype})")


linear.flops = lambda out, x, w, b: 2 * out.size * w.shape[1]


@linear.gradient
def linear_gradient(do, g, x, w):
    return (lambda: do.matmul(g, w), lambda: do.weight_gradient(g, x), lambda: do.sum(g, axes=(0,), keepdim=False))
