"""Normalisation: x minus its mean, divided by its deviation, times a weight, plus a bias.

    out = xhat * weight + bias,    xhat = (x - mean) * rstd,    rstd = 1 / sqrt(mean((x - mean)**2) + eps)

The means are over some axes of x: batch norm those of all images and pixels, layer norm the last ones, group norm those
of a group's channels.  `statistics` says where they come from: "batch" is x itself; "rms" too, but the mean counts as
0; "given" are numbers from outside.  With u = g * weight the gradient is

    dx = rstd * (u - mean(u) - xhat * mean(u * xhat)),    dweight = sum(g * xhat),    dbias = sum(g)

Kernels see every array as (P, G, S, T).  A mean is over the S * T elements of a row, and there are P * G rows.

         the mean is over them   they have a weight     batch norm       layer norm of (N, L, D)   group norm
    P    no                      no                     1                N * L                     N * groups
    G    no                      yes                    C                1                         1
    S    yes                     yes                    1                D                         C / groups
    T    yes                     no                     N * H * W        1                         H * W

P is the first axis in memory, or the last one.  In the second case the lanes of a vector belong to different rows, and
batch-innermost images need no copy.  A kernel computes the statistics and the result of a row while it is in the cache.

Sources: S. Ioffe & C. Szegedy, 2015 (batch norm); J. Ba et al., 2016 (layer norm); Y. Wu & K. He, 2018 (group norm);
B. Zhang & R. Sennrich, 2019 (rms).
"""

from functools import cache
from math import prod

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Array4, Memory, Tile, helper, kernel
from ..runtime.math import compensated_add, const, smaller, sqrt
from ..runtime.tile import compensated_total, divide, full, lanes, load, store, sum_elements, zeros
from .op import ArrayOps, Dispatch, op
from .reduction import TERMS_PER_PARTIAL_SUM, add_partial_sums

BATCH, RMS, GIVEN = 0, 1, 2
STATISTICS = {"batch": BATCH, "rms": RMS, "given": GIVEN}
MIN_CHUNKS = 8  # of P, so that group norm of one group has work for several threads
ELEMENTS_PER_TASK = 8192  # at least, in whole rows
BY_COLUMNS = ("cpu", "numpy")  # devices whose kernels take P as the last axis
P_LAST, P_FIRST = (1, 2, 3, 0), (3, 0, 1, 2)  # arguments of transpose


@cache
def plan_rows(shape, strides, axes, weight_axes, lanes):
    """How an array becomes (P, G, S, T).

    lanes     elements of a vector; P can be the last axis only if it is a multiple of them; 0 if it must be the first
    returns   the order of the axes, its reverse, the sizes (P, G, S, T), whether P is the last axis in memory
    """
    by_memory = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    parts = [
        [axis for axis in by_memory if axis not in axes and axis not in weight_axes],
        [axis for axis in weight_axes if axis not in axes],
        [axis for axis in weight_axes if axis in axes],
        [axis for axis in by_memory if axis in axes and axis not in weight_axes],
    ]
    sizes = tuple(prod(shape[axis] for axis in part) for part in parts)
    inner = [axis for axis in by_memory if shape[axis] != 1][-1:]
    last = bool(lanes and inner and inner[0] in parts[0] and sizes[0] % lanes == 0)
    order = [axis for part in (parts[1:] + parts[:1] if last else parts) for axis in part]
    return tuple(order), tuple(sorted(range(len(order)), key=order.__getitem__)), sizes, last


def _as_pgst(array, plan):
    """An array of the shape of x as (P, G, S, T); a copy only if the elements lie in another order."""
    order, _, sizes, last = plan
    seen = memory.contiguous(array.transpose(order))
    return seen.reshape(sizes[1:] + sizes[:1]).transpose(P_FIRST) if last else seen.reshape(sizes)


def _statistics(like, plan):
    """An uninitialised array (P, G, 1, 1)."""
    P, G = plan[2][:2]
    shape = (G, 1, 1, P) if plan[3] else (P, G, 1, 1)
    made = memory.new_empty(like, shape, like.dtype)
    return made.transpose(P_FIRST) if plan[3] else made


def _row_tile(x):
    """A tile for long rows, or for short ones."""
    return 1, 4 if x.shape[2] * x.shape[3] >= 8 * lanes(x.dtype) else 1, lanes(x.dtype)


def _column_tile(x):
    """A tile that divides P."""
    return 1, next(cols for cols in (4, 2, 1) if x.shape[0] % (cols * lanes(x.dtype)) == 0), lanes(x.dtype)


# ---- sums of u and u * (x - center) over rows, where u is g - shift, if `weighted` times the weights from w on


@helper
def _add_steps(tile, g, x, start, step, first, stop, shift, center, weight, w, weighted):
    """Tiles: the sums over the steps `first` to `stop`."""
    part_u = part_x = zeros(tile)
    for k in range(first * step, stop * step, step):
        u = load(tile, g, start + k, None) - shift
        u = u * load(tile, weight, w + k, None) if weighted else u
        part_u, part_x = part_u + u, part_x + u * (load(tile, x, start + k, None) - center)
    return part_u, part_x


@helper
def _sum_row(tile, g, x, start, count, shift, center, weight, w, weighted):
    """Numbers: the sums over `count` adjacent elements."""
    sum_u = lost_u = sum_x = lost_x = const(0, x)
    steps, shifts, centers = count // tile.width, full(tile, shift), full(tile, center)
    for first in range(0, steps, TERMS_PER_PARTIAL_SUM):
        stop = smaller(first + TERMS_PER_PARTIAL_SUM, steps)
        u, ux = _add_steps(tile, g, x, start, tile.width, first, stop, shifts, centers, weight, w, weighted)
        sum_u, lost_u = compensated_add(sum_u, lost_u, sum_elements(u))
        sum_x, lost_x = compensated_add(sum_x, lost_x, sum_elements(ux))
    for k in range(steps * tile.width, count):
        value = (g[start + k] - shift) * (weight[w + k] if weighted else const(1, x))
        sum_u, lost_u = compensated_add(sum_u, lost_u, value)
        sum_x, lost_x = compensated_add(sum_x, lost_x, value * (x[start + k] - center))
    return compensated_total(sum_u, lost_u), compensated_total(sum_x, lost_x)


@helper
def _sum_columns(tile, g, x, start, step, count, shift, center):
    """Tiles: the sums over `count` steps."""
    sum_u = lost_u = sum_x = lost_x = zeros(tile)
    for first in range(0, count, TERMS_PER_PARTIAL_SUM):
        stop = smaller(first + TERMS_PER_PARTIAL_SUM, count)
        u, ux = _add_steps(tile, g, x, start, step, first, stop, shift, center, x, 0, False)
        sum_u, lost_u = compensated_add(sum_u, lost_u, u)
        sum_x, lost_x = compensated_add(sum_x, lost_x, ux)
    return compensated_total(sum_u, lost_u), compensated_total(sum_x, lost_x)


# ---- the result: mean and rstd (P, G, 1, 1), out (P, G, S, T); the weights are (1, G, S, 1)


def normalise(x, mean, rstd, weight, bias):
    """The result of one element."""
    return (x - mean) * rstd * weight + bias


def norm_numpy(x, running_mean, running_var, weight, bias, mode, moves, momentum, eps, mean, rstd, out):
    if mode == GIVEN:
        mean[...], var = running_mean, running_var
    else:
        mean[...] = 0 if mode == RMS else x.mean((2, 3), np.float64, keepdims=True)
        var = np.square(x - mean).mean((2, 3), np.float64, keepdims=True)
        if moves:
            B = x.shape[2] * x.shape[3]
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean
            running_var[...] = (1 - momentum) * running_var + momentum * var * B / (B - 1)
    rstd[...] = 1 / np.sqrt(var + eps)
    out[...] = normalise(x, mean, rstd, weight, bias)


@kernel
def norm_kernel(
    task, x: Array4, running_mean: Memory, running_var: Memory, weight: Memory, bias: Memory,
    mode, moves, momentum: float, eps: float, mean: Memory, rstd: Memory, out: Memory, rows_per_task, tile: Tile,
):  # fmt: skip
    """Some rows, P first in memory; each step for all rows, so that the CPU need not wait for the end of a sum."""
    P, G, S, T = x.shape
    B, first, stop, zero = S * T, task * rows_per_task, smaller((task + 1) * rows_per_task, P * G), const(0, x)
    for row in range(first, stop):
        if mode == BATCH:
            mean[row] = _sum_row(tile, x, x, row * B, B, zero, zero, x, 0, False)[0] / const(B, x)
        else:
            mean[row] = zero if mode == RMS else running_mean[row]
    for row in range(first, stop):
        if mode == GIVEN:
            rstd[row] = running_var[row]
        else:
            center, keep = mean[row], const(1, x) - momentum
            rstd[row] = var = _sum_row(tile, x, x, row * B, B, center, center, x, 0, False)[1] / const(B, x)
            if moves:
                running_mean[row] = keep * running_mean[row] + momentum * center
                running_var[row] = keep * running_var[row] + momentum * (var * const(B, x) / const(B - 1, x))
    for row in range(first, stop):
        rstd[row] = const(1, x) / sqrt(rstd[row] + eps)
    for row in range(first, stop):
        center, scale, start, w = mean[row], rstd[row], row * B, row % G * S
        if T == 1:
            for s in range(S):
                out[start + s] = (x[start + s] - center) * scale * weight[w + s] + bias[w + s]
        else:
            for s in range(S):
                factor, shift = scale * weight[w + s], bias[w + s]
                for k in range(start + s * T, start + (s + 1) * T):
                    out[k] = (x[k] - center) * factor + shift


@kernel
def norm_columns_kernel(
    task, x: Array4, weight: Memory, bias: Memory, mode, eps: float, mean: Memory, rstd: Memory, out: Memory, tile: Tile
):
    """A tile's width of rows, P last in memory."""
    _, S, T, P = x.shape
    chunks, B = P // tile.width, const(S * T, x)
    g, p = task // chunks, task % chunks * tile.width
    start, zero = g * S * T * P + p, zeros(tile)
    center = divide(_sum_columns(tile, x, x, start, P, S * T, zero, zero)[0], B) if mode == BATCH else zero
    store(center, mean, g * P + p, 0)
    store(divide(_sum_columns(tile, x, x, start, P, S * T, center, center)[1], B), rstd, g * P + p, 0)
    for k in range(g * P + p, g * P + p + tile.width):
        rstd[k] = const(1, x) / sqrt(rstd[k] + eps)
    scale = load(tile, rstd, g * P + p, None)
    for s in range(S):
        factor, shift = scale * full(tile, weight[g * S + s]), full(tile, bias[g * S + s])
        for k in range(start + s * T * P, start + (s + 1) * T * P, P):
            store((load(tile, x, k, None) - center) * factor + shift, out, k, 0)


def norm_cpu(x, running_mean, running_var, weight, bias, mode, moves, momentum, eps, mean, rstd, out):
    P, G, S, T = x.shape
    if x.flags.c_contiguous:
        rows = -(-ELEMENTS_PER_TASK // (S * T))
        given = running_mean, running_var, weight, bias, mode, moves, momentum, eps, mean, rstd, out, rows
        norm_kernel.run_small(-(-P * G // rows), 2 * x.size, x, *given, _row_tile(x))
    else:
        tile, seen = _column_tile(x), x.transpose(P_LAST)
        tasks = P * G // (tile[1] * lanes(x.dtype))
        norm_columns_kernel.run_small(tasks, 2 * x.size, seen, weight, bias, mode, eps, mean, rstd, out, tile)


# ---- the gradients


def norm_back_numpy(g, x, mean, rstd, weight, mode, dx, dweight, dbias):
    xhat, u = (x - mean) * rstd, g * weight
    first, second = (values.mean((2, 3), np.float64, keepdims=True).astype(x.dtype) for values in (u, u * xhat))
    dx[...] = rstd * (u - (first if mode == BATCH else 0) - (0 if mode == GIVEN else xhat * second))
    dweight[...], dbias[...] = (values.sum((0, 3), np.float64) for values in (g * xhat, g))


@kernel
def norm_back_kernel(
    task, g: Memory, x: Array4, mean: Memory, rstd: Memory, weight: Memory, mode, dx: Memory, dweight: Memory,
    dbias: Memory, chunks, tile: Tile,
):  # fmt: skip
    """dx of a chunk of P in one group; dweight and dbias (chunks, G, S) over this chunk.  P is first in memory."""
    P, G, S, T = x.shape
    chunk, w, B, zero = task // G, task % G * S, const(S * T, x), const(0, x)
    sums, whole = chunk * G * S + w, S - S % tile.width
    for s in range(sums, sums + S):
        dweight[s] = dbias[s] = zero
    for row in range(P * chunk // chunks * G + task % G, P * (chunk + 1) // chunks * G, G):
        center, scale, start = mean[row], rstd[row], row * S * T
        shift = lost_shift = slope = lost_slope = zero
        if T == 1:
            shift, slope = _sum_row(tile, g, x, start, S, zero, center, weight, w, True)
        else:
            for s in range(S):
                sum_g, sum_x = _sum_row(tile, g, x, start + s * T, T, zero, center, weight, w, False)
                dweight[sums + s] += sum_x * scale
                dbias[sums + s] += sum_g
                shift, lost_shift = compensated_add(shift, lost_shift, sum_g * weight[w + s])
                slope, lost_slope = compensated_add(slope, lost_slope, sum_x * weight[w + s])
        shift = compensated_total(shift, lost_shift) / B * scale if mode == BATCH else zero
        slope = compensated_total(slope, lost_slope) * scale * scale / B * scale
        if T == 1:
            centers, scales, shifts, slopes = (
                full(tile, center),
                full(tile, scale),
                full(tile, shift),
                full(tile, slope),
            )
            for s in range(0, whole, tile.width):
                k, value = start + s, load(tile, g, start + s, None)
                d = load(tile, x, k, None) - centers
                store(load(tile, dweight, sums + s, None) + value * (d * scales), dweight, sums + s, 0)
                store(load(tile, dbias, sums + s, None) + value, dbias, sums + s, 0)
                store(value * load(tile, weight, w + s, None) * scales - shifts - d * slopes, dx, k, 0)
            for s in range(whole, S):
                k, d = start + s, x[start + s] - center
                dweight[sums + s] += g[k] * (d * scale)
                dbias[sums + s] += g[k]
                dx[k] = g[k] * weight[w + s] * scale - (zero if mode == GIVEN else shift + d * slope)
        else:
            for s in range(S):
                factor, first = weight[w + s] * scale, start + s * T
                if mode == GIVEN:  # 0 * (x - center) would be nan for an infinite x
                    for k in range(first, first + T):
                        dx[k] = g[k] * factor
                else:
                    for k in range(first, first + T):
                        dx[k] = g[k] * factor - shift - (x[k] - center) * slope


@kernel
def norm_back_columns_kernel(
    task, g: Memory, x: Array4, mean: Memory, rstd: Memory, weight: Memory, mode, dx: Memory, dweight: Memory,
    dbias: Memory, tile: Tile,
):  # fmt: skip
    """dx of a tile's width of P, which is last in memory, in one group; dweight and dbias (chunks, G, S) over these."""
    G, S, T, P = x.shape
    w, p, B = task % G * S, task // G * tile.width, const(S * T, x)
    start, sums, zero = w * T * P + p, task * S, zeros(tile)
    center, scale = load(tile, mean, task % G * P + p, None), load(tile, rstd, task % G * P + p, None)
    shift = lost_shift = slope = lost_slope = zero
    for s in range(S):
        sum_g, sum_x = _sum_columns(tile, g, x, start + s * T * P, P, T, zero, center)
        dweight[sums + s], dbias[sums + s] = sum_elements(sum_x * scale), sum_elements(sum_g)
        shift, lost_shift = compensated_add(shift, lost_shift, sum_g * full(tile, weight[w + s]))
        slope, lost_slope = compensated_add(slope, lost_slope, sum_x * full(tile, weight[w + s]))
    shift = divide(compensated_total(shift, lost_shift), B) * scale if mode == BATCH else zero
    slope = divide(compensated_total(slope, lost_slope) * scale * scale, B) * scale
    for s in range(S):
        factor = scale * full(tile, weight[w + s])
        for k in range(start + s * T * P, start + (s + 1) * T * P, P):
            d = load(tile, x, k, None) - center
            store(load(tile, g, k, None) * factor - shift - d * slope, dx, k, 0)


def norm_back_cpu(g, x, mean, rstd, weight, mode, dx, *sums):
    P, G = x.shape[:2]
    rows = x.flags.c_contiguous
    tile = _row_tile(x) if rows else _column_tile(x)
    chunks = max(-(-P // TERMS_PER_PARTIAL_SUM), min(P, MIN_CHUNKS)) if rows else P // (tile[1] * lanes(x.dtype))
    parts = sums if chunks == 1 else [memory.empty((chunks, *out.shape), out.dtype) for out in sums]
    if rows:
        given = g, x, mean, rstd, weight, mode, dx, *parts, chunks
        norm_back_kernel.run_small(chunks * G, 2 * x.size, *given, tile)
    else:
        given = g, x.transpose(P_LAST), mean, rstd, weight, mode, dx, *parts
        norm_back_columns_kernel.run_small(chunks * G, 2 * x.size, *given, tile)
    if chunks > 1:
        for partials, out in zip(parts, sums, strict=True):
            add_partial_sums(partials, out)


norm_dispatch = Dispatch("norm", norm_numpy, cpu=norm_cpu)
norm_back_dispatch = Dispatch("norm_back", norm_back_numpy, cpu=norm_back_cpu)


# ---- the operations


def _weights(device, plan, dtype, *pairs):
    """Weights (1, G, S, 1) from pairs of an array, or None, and the number in its place."""
    shape = (1, *plan[2][1:3], 1)
    return [
        memory.full(shape, value, dtype, device) if weight is None else memory.contiguous(weight).reshape(shape)
        for weight, value in pairs
    ]


@op
def norm(device, x, running_mean, running_var, weight, bias, *, axes, weight_axes, statistics, eps, momentum=None):
    """Normalise over `axes`; the weights lie along `weight_axes`.  The running statistics (G) are those used if
    `statistics` is "given"; else they move towards those of x by the share `momentum`, if there is one."""
    plan = plan_rows(x.shape, x.strides, axes, weight_axes, lanes(x.dtype) * (device.type in BY_COLUMNS))
    mean, rstd = _statistics(x, plan), _statistics(x, plan)
    out = memory.new_empty(x, tuple([x.shape[axis] for axis in plan[0]]), x.dtype).transpose(plan[1])
    if not x.size:
        memory.copy(mean, float("nan"))
        memory.copy(rstd, float("nan"))
        return out, (mean, rstd, plan)
    given, moves = (running_mean, running_var), momentum is not None
    running = (mean, rstd) if running_mean is None else [memory.contiguous(values) for values in given]
    seen = [_as_pgst(x, plan), *[values.reshape(-1, plan[2][1], 1, 1) for values in running]]
    weights = _weights(device, plan, x.dtype, (weight, 1), (bias, 0))
    numbers = STATISTICS[statistics], int(moves), momentum or 0.0, eps
    norm_dispatch[device.type](*seen, *weights, *numbers, mean, rstd, _as_pgst(out, plan))
    for values, moved in zip(given, running, strict=True):
        if moves and moved is not values:
            memory.copy(values, moved)
    return out, (mean, rstd, plan)


@norm.gradient
def norm_gradient(do, g, x, weight, saved, shapes, axes, weight_axes, statistics, eps):
    """By a kernel, or if they are to be differentiated again by a composition of operations."""
    mean, rstd, plan = saved

    @cache
    def find():
        if not isinstance(do, ArrayOps):
            return _compose_gradients(do, g, x, weight, saved, shapes[0], axes, weight_axes, statistics, eps)
        sums = [memory.new_empty(x, plan[2][1:3], x.dtype) for _ in range(2)]
        return do.norm_back(g, x, weight, mean, rstd, *sums, plan=plan, statistics=statistics), *sums

    def part(i, shape):
        return lambda: do.reshape(find()[i], shape=shape)

    return lambda: find()[0], None, None, part(1, shapes[3]), part(2, shapes[4])


@op
def norm_back(device, g, x, weight, mean, rstd, dweight, dbias, *, plan, statistics):
    """dx; dweight and dbias (G, S) are filled."""
    dx = memory.new_empty(x, tuple([x.shape[axis] for axis in plan[0]]), x.dtype).transpose(plan[1])
    if x.size:
        inputs = _as_pgst(g, plan), _as_pgst(x, plan), mean, rstd, *_weights(device, plan, x.dtype, (weight, 1))
        norm_back_dispatch[device.type](*inputs, STATISTICS[statistics], _as_pgst(dx, plan), dweight, dbias)
    else:
        memory.copy(dweight, 0)
        memory.copy(dbias, 0)
    return dx


def _compose_gradients(do, g, x, weight, saved, shape, axes, weight_axes, statistics, eps):
    kept = tuple([1 if axis in axes else size for axis, size in enumerate(shape)])
    wide = tuple([size if axis in weight_axes else 1 for axis, size in enumerate(shape)])

    def average(values):
        return do.mean(values, axes=axes, keepdim=True)

    if statistics == "given":
        centred, scale = do.sub(x, saved[0].reshape(kept)), saved[1].reshape(kept)
    else:
        centred = do.sub(x, average(x)) if statistics == "batch" else x
        scale = do.div(1.0, do.sqrt(do.add(average(do.mul(centred, centred)), eps)))
    xhat = do.mul(centred, scale)
    dx = u = g if weight is None else do.mul(g, do.reshape(weight, shape=wide))
    if statistics == "batch":
        dx = do.sub(dx, average(u))
    if statistics != "given":
        dx = do.sub(dx, do.mul(xhat, average(do.mul(u, xhat))))
    return do.mul(dx, scale), do.sum_to(do.mul(g, xhat), shape=wide), do.sum_to(g, shape=wide)
