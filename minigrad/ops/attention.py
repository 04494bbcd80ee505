"""Attention weights: how much each query takes from each key.

    weights = softmax(scale * q kT + mask), over the keys

A query that may see no key, because the mask is -inf everywhere, gets zeros.

The kernel turns the scores of a few queries into weights while they are in the cache of the core that computed them.
"""

from functools import cache
from math import prod

import numpy as np

from ..errors import DtypeError, ShapeError
from ..runtime import math, memory, turn
from ..runtime.kernel import Array3, Memory, Tile, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import choose_tile, compensated_total, store, zeros
from ..shapes import broadcast
from .matmul import add_product, element_strides, zero_bias
from .op import Dispatch, op
from .promotion import expect_float
from .reduction import TERMS_PER_PARTIAL_SUM

QUERIES_PER_TASK = 32
LOWEST = -np.inf


def attention_weights_numpy(q, k, mask, scale, out):
    np.matmul(q, k.swapaxes(-1, -2), out=out)
    out *= scale
    if mask is not None:
        out += mask
    largest = out.max(-1, keepdims=True)
    np.exp(out - np.where(largest == -np.inf, 0, largest), out=out)
    total = out.sum(-1, dtype=np.float64, keepdims=True)
    out /= np.where(total == 0, 1, total)


@kernel
def attention_weights_kernel(
    task, q: Array3, keys: Array3, mask: Memory, out: Array3, scale: float, has_mask, mask_batch, mask_row, mask_key,
    tile: Tile
):  # fmt: skip
    """A chunk of rows of out (batch, L, S), from q (batch, L, D) and keys (batch, D, S).

    Strides, in elements: mask_batch, mask_row, mask_key of the mask.
    """
    _, L, S = out.shape
    D, chunks = q.shape[2], larger(L // QUERIES_PER_TASK, 1)
    batch, chunk = task // chunks, task % chunks
    first = chunk * QUERIES_PER_TASK
    stop = L if chunk == chunks - 1 else first + QUERIES_PER_TASK
    for start in range(first, stop, tile.rows):
        row = batch * L + smaller(start, stop - tile.rows)  # the last tile overlaps the one before
        for left in range(0, S, tile.width):
            s = smaller(left, S - tile.width)
            acc = add_product(tile, zeros(tile), q, row * D, D, 1, keys, batch * D * S + s, S, D)
            store(acc, out, row * S + s, S)
    for row in range(first, stop):
        at, mask_at = (batch * L + row) * S, batch * mask_batch + row * mask_row
        best = const(LOWEST, q)
        for s in range(S):
            out[at + s] *= scale
            if has_mask:
                out[at + s] += mask[mask_at + s * mask_key]
            best = larger(best, out[at + s])
        if best == const(LOWEST, q):
            best = const(0, q)
        total, error = const(0, q), const(0, q)
        for part in range(0, S, TERMS_PER_PARTIAL_SUM):
            partial, end = const(0, q), smaller(part + TERMS_PER_PARTIAL_SUM, S)
            for s in range(part, end):
                out[at + s] = math.exp(out[at + s] - best)
            for s in range(part, end):
                partial += out[at + s]
            total, error = compensated_add(total, error, partial)
        total = compensated_total(total, error)
        if total != const(0, q):
            for s in range(S):
                out[at + s] /= total


def attention_weights_cpu(q, k, mask, scale, out):
    L, S = out.shape[1:]
    tasks = len(out) * max(L // QUERIES_PER_TASK, 1)
    keys = turn.contiguous(k.transpose(0, 2, 1))
    has_mask, strides = (0, (0, 0, 0)) if mask is None else (1, element_strides(mask))
    mask, work = zero_bias(out.dtype) if mask is None else mask, out.size * (q.shape[2] // 32 + 8)
    tile = choose_tile(L, S, out.dtype)
    attention_weights_kernel.run_small(
        tasks, work, memory.contiguous(q), keys, mask, out, scale, has_mask, *strides, tile
    )


attention_weights_dispatch = Dispatch("attention_weights", attention_weights_numpy, cpu=attention_weights_cpu)


@op
def attention_weights(device, q, k, mask, *, scale):
    """q (..., L, D), k (..., S, D), mask (..., L, S) or None; returns (..., L, S).  Leading axes broadcast."""
    _check(q, k, mask)
    shape = (*broadcast("attention", q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    if mask is not None and mask.shape != shape:
        raise ShapeError(f"attention: the mask has shape {mask.shape}, the weights {shape}; expand the mask")
    out = memory.empty(shape, q.dtype, device)
    if out.size:
        batch = prod(shape[:-2])
        arrays = [
            None
            if array is None
            else memory.reshape(
                memory.broadcast_to(array, (*shape[:-2], *array.shape[-2:])), (batch, *array.shape[-2:])
            )
            for array in (q, k, mask)
        ]
        attention_weights_dispatch[device.type](*arrays, scale, out.reshape(batch, *shape[-2:]))
    return out


def _check(q, k, mask):
    expect_float("attention", q)
    for name, array in (("key", k), ("mask", mask)):
        if array is not None and array.dtype != q.dtype:
            raise DtypeError(f"attention: the query is {q.dtype}, the {name} {array.dtype}; convert one with .to()")
    if q.ndim < 2 or k.ndim < 2 or q.shape[-1] != k.shape[-1]:
        raise ShapeError(
            f"attention: query {q.shape} and key {k.shape} do not fit; use (..., L, E) and (..., S, E), with one E"
        )


attention_weights.flops = lambda out, q, k, mask: 2 * out.size * q.shape[-1]


@attention_weights.gradient
def attention_weights_gradient(do, g, q, k, out, scale):
    @cache
    def scores_gradient():
        return do.softmax_back(g, out, axis=len(out.shape) - 1)

    def transposed(x):
        axes = tuple(range(len(x.shape)))
        return do.permute(x, axes=(*axes[:-2], axes[-1], axes[-2]))

    return (
        lambda: do.mul(do.matmul(scores_gradient(), k), scale),
        lambda: do.mul(do.matmul(transposed(scores_gradient()), q), scale),
        scores_gradient,
    )
