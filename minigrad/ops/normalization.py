"""Normalisation: x minus its mean, divided by its deviation, times a weight, plus a bias.

    out = xhat * weight + bias,    xhat = (x - mean) * rstd,    rstd = 1 / sqrt(mean((x - mean)**2) + eps)

The means are over some axes of x: batch norm those of all images and pixels, layer norm the last ones, group norm those
of a group's channels.  `statistics` says where they come from: "batch" is x itself; "rms" too, but the mean counts as
0; "given" are numbers from outside.  With u = g * weight the gradient is

    dx = rstd * (u - mean(u) - xhat * mean(u * xhat)),    dweight = sum(g * xhat),    dbias = sum(g)

Memory: x (P, G, S, T), where rows of S * T elements are reduced, and the weights are (G, S).  P are the axes that are
neither reduced nor weighted, T those that are reduced and have no weight.  Batch norm has P = S = 1, so that
batch-innermost images are not copied; layer norm has G = T = 1.

Sources: S. Ioffe & C. Szegedy, 2015 (batch norm); J. Ba et al., 2016 (layer norm); Y. Wu & K. He, 2018 (group norm);
B. Zhang & R. Sennrich, 2019 (rms).
"""

from functools import cache
from math import prod

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Array1, Array4, Tile, helper, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import compensated_total, full, lanes, load, sum_elements, zeros
from .arithmetic import add, div, sqrt
from .elementwise import fill_by
from .op import ArrayOps, Dispatch, op
from .reduction import TERMS_PER_PARTIAL_SUM, add_partial_sums

BATCH, RMS, GIVEN = 0, 1, 2
STATISTICS = {"batch": BATCH, "rms": RMS, "given": GIVEN}
MIN_CHUNKS = 8  # of P, so that group norm of one group has work for several threads


@cache
def plan_rows(shape, strides, axes, weight_axes):
    """How to see memory: the order of the axes, its reverse, and the sizes (P, G, S, T)."""
    by_memory = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    parts = [
        [axis for axis in by_memory if axis not in axes and axis not in weight_axes],
        [axis for axis in weight_axes if axis not in axes],
        [axis for axis in weight_axes if axis in axes],
        [axis for axis in by_memory if axis in axes and axis not in weight_axes],
    ]
    order = [axis for part in parts for axis in part]
    sizes = tuple(prod(shape[axis] for axis in part) for part in parts)
    return tuple(order), tuple(sorted(range(len(order)), key=order.__getitem__)), sizes


def _see(array, plan):
    """An array of the shape of x as memory (P, G, S, T)."""
    return memory.contiguous(array.transpose(plan[0])).reshape(plan[2])


def _row_tile(x):
    """A tile for long rows, or for short ones; it is never masked."""
    return 1, 4 if x.shape[2] * x.shape[3] >= 8 * lanes(x.dtype) else 1, False


@helper
def _sum_products(tile, g, x, start, count, g_center, center, weight, w, weighted):
    """The sums over `count` adjacent elements of u and of u * (x - center), where u is g - g_center, if `weighted`
    times the weights from w on."""
    sum_u = lost_u = sum_x = lost_x = const(0, x)
    whole = count - count % tile.width
    for first in range(0, whole, TERMS_PER_PARTIAL_SUM * tile.width):
        part_u = part_x = zeros(tile)
        for k in range(first, smaller(first + TERMS_PER_PARTIAL_SUM * tile.width, whole), tile.width):
            u = load(tile, g, start + k, None) - full(tile, g_center)
            u = u * load(tile, weight, w + k, None) if weighted else u
            part_u = part_u + u
            part_x = part_x + u * (load(tile, x, start + k, None) - full(tile, center))
        sum_u, lost_u = compensated_add(sum_u, lost_u, sum_elements(part_u))
        sum_x, lost_x = compensated_add(sum_x, lost_x, sum_elements(part_x))
    for k in range(whole, count):
        value = (g[start + k] - g_center) * (weight[w + k] if weighted else const(1, x))
        sum_u, lost_u = compensated_add(sum_u, lost_u, value)
        sum_x, lost_x = compensated_add(sum_x, lost_x, value * (x[start + k] - center))
    return compensated_total(sum_u, lost_u), compensated_total(sum_x, lost_x)


# ---- the mean and the variance of every row


def moments_numpy(x, mode, out):
    out[0] = 0 if mode == RMS else x.mean((2, 3), np.float64)
    out[1] = np.square(x - out[0][..., None, None]).mean((2, 3), np.float64)


@kernel
def moments_kernel(task, x: Array4, mode, out: Array1, tile: Tile):
    """out (2, P, G) = the mean and the variance of one row."""
    B, center = x.shape[2] * x.shape[3], const(0, x)
    if mode == BATCH:
        center = _sum_products(tile, x, x, task * B, B, center, center, x, 0, False)[0] / const(B, x)
    out[task] = center
    squares = _sum_products(tile, x, x, task * B, B, center, center, x, 0, False)[1]
    out[out.shape[0] // 2 + task] = squares / const(B, x)


def moments_cpu(x, mode, out):
    moments_kernel.run_small(out.size // 2, x.size, x, mode, out.reshape(-1), _row_tile(x))


# ---- the result; all arrays are broadcast to (P, G, S, T)


def _normalise(x, mean, rstd, weight, bias):
    return (x - mean) * rstd * weight + bias


@kernel
def norm_kernel(task, x: Array4, mean: Array4, rstd: Array4, weight: Array4, bias: Array4, out: Array4):
    """One row."""
    _, G, S, T = x.shape
    center, scale, start, w = mean[task], rstd[task], task * S * T, task % G * S
    if T == 1:
        for s in range(S):
            out[start + s] = (x[start + s] - center) * scale * weight[w + s] + bias[w + s]
    else:
        for s in range(S):
            factor, shift = scale * weight[w + s], bias[w + s]
            for k in range(start + s * T, start + (s + 1) * T):
                out[k] = (x[k] - center) * factor + shift


def norm_cpu(x, *operands_and_out):
    norm_kernel.run_small(x.shape[0] * x.shape[1], x.size, x, *operands_and_out)


# ---- the gradients


def norm_back_numpy(g, x, mean, rstd, weight, mode, dx, sums):
    xhat, u = (x - mean) * rstd, g * weight
    first, second = (values.mean((2, 3), np.float64, keepdims=True).astype(x.dtype) for values in (u, u * xhat))
    dx[...] = rstd * (u - (first if mode == BATCH else 0) - (0 if mode == GIVEN else xhat * second))
    sums[...] = np.stack([g * xhat, g]).sum((1, 4), np.float64)


@kernel
def norm_back_kernel(
    task, g: Array4, x: Array4, mean: Array4, rstd: Array4, weight: Array4, mode, dx: Array4, sums: Array4, tile: Tile
):
    """dx of a chunk of P in one group; sums (chunks, 2, G, S) over this chunk of g * xhat and g."""
    P, G, S, T = x.shape
    chunks, chunk, w, B, zero = sums.shape[0], task // G, task % G * S, S * T, const(0, x)
    by_weight, by_bias = 2 * chunk * G * S + w, (2 * chunk + 1) * G * S + w
    for s in range(S):
        sums[by_weight + s] = sums[by_bias + s] = zero
    for row in range(P * chunk // chunks * G + task % G, P * (chunk + 1) // chunks * G, G):
        center, scale, start = mean[row], rstd[row], row * B
        shift = lost_shift = slope = lost_slope = zero
        if T == 1:
            shift, slope = _sum_products(tile, g, x, start, S, zero, center, weight, w, True)
            for s in range(S):
                sums[by_weight + s] += g[start + s] * ((x[start + s] - center) * scale)
                sums[by_bias + s] += g[start + s]
        else:
            for s in range(S):
                sum_g, sum_x = _sum_products(tile, g, x, start + s * T, T, zero, center, weight, w, False)
                sums[by_weight + s] += sum_x * scale
                sums[by_bias + s] += sum_g
                shift, lost_shift = compensated_add(shift, lost_shift, sum_g * weight[w + s])
                slope, lost_slope = compensated_add(slope, lost_slope, sum_x * weight[w + s])
        shift = compensated_total(shift, lost_shift) / const(B, x) if mode == BATCH else zero
        slope = compensated_total(slope, lost_slope) * scale * scale / const(B, x)
        if T == 1 and mode != GIVEN:
            for s in range(S):
                k = start + s
                dx[k] = scale * (g[k] * weight[w + s] - shift - (x[k] - center) * slope)
        else:
            for s in range(S):
                factor, first = weight[w + s], start + s * T
                if mode == GIVEN:  # 0 * (x - center) would be nan for an infinite x
                    for k in range(first, first + T):
                        dx[k] = scale * (g[k] * factor)
                else:
                    for k in range(first, first + T):
                        dx[k] = scale * (g[k] * factor - shift - (x[k] - center) * slope)


def norm_back_cpu(g, x, mean, rstd, weight, mode, dx, sums):
    P, G = x.shape[:2]
    chunks = max(-(-P // TERMS_PER_PARTIAL_SUM), min(P, MIN_CHUNKS))
    partials = memory.empty((chunks, *sums.shape), sums.dtype)
    norm_back_kernel.run_small(chunks * G, 2 * x.size, g, x, mean, rstd, weight, mode, dx, partials, _row_tile(x))
    add_partial_sums(partials, sums)


moments_dispatch = Dispatch("moments", moments_numpy, cpu=moments_cpu)
norm_dispatch = Dispatch("norm", fill_by(_normalise), formula=_normalise)
norm_dispatch["cpu"] = norm_cpu  # in full vectors also where every element of a row has its own weight
norm_back_dispatch = Dispatch("norm_back", norm_back_numpy, cpu=norm_back_cpu)


# ---- the operations


@op
def moments(device, x, *, axes, weight_axes, statistics):
    """The mean and the variance (2, P, G) over `axes`; P is in memory order."""
    plan = plan_rows(x.shape, x.strides, axes, weight_axes)
    out = memory.full((2, *plan[2][:2]), float("nan"), x.dtype, device)
    if x.size:
        moments_dispatch[device.type](_see(x, plan), STATISTICS[statistics], out)
    return out


def _weights(device, plan, dtype, *pairs):
    """Weights (1, G, S, 1) from pairs of an array, or None, and the number in its place."""
    shape = (1, *plan[2][1:3], 1)
    return [
        memory.full(shape, value, dtype, device) if weight is None else memory.contiguous(weight).reshape(shape)
        for weight, value in pairs
    ]


@op
def norm(device, x, mean, var, weight, bias, *, axes, weight_axes, statistics, eps):
    """Normalise over `axes`; the weights lie along `weight_axes`.  A mean and a variance (G) may be known."""
    plan = plan_rows(x.shape, x.strides, axes, weight_axes)
    if mean is None:
        found = moments.forward(device, x, axes=axes, weight_axes=weight_axes, statistics=statistics)
        mean, var = found[0], found[1]
    elif statistics == "given":  # running statistics change in place
        mean = memory.clone(mean)
    rstd = div.forward(device, 1.0, sqrt.forward(device, add.forward(device, var, eps)))
    mean, rstd = (memory.contiguous(values).reshape(*plan[2][:2], 1, 1) for values in (mean, rstd))
    out = memory.empty(x.transpose(plan[0]).shape, x.dtype, device)
    if x.size:
        weights = _weights(device, plan, x.dtype, (weight, 1), (bias, 0))
        norm_dispatch[device.type](_see(x, plan), mean, rstd, *weights, out.reshape(plan[2]))
    return out.transpose(plan[1]), (mean, rstd, plan)


@norm.gradient
def norm_gradient(do, g, x, weight, saved, shapes, axes, weight_axes, statistics, eps):
    """By a kernel, or if they are to be differentiated again by a composition of operations."""
    mean, rstd, plan = saved

    @cache
    def find():
        if not isinstance(do, ArrayOps):
            return _compose_gradients(do, g, x, weight, saved, shapes[0], axes, weight_axes, statistics, eps)
        packed = do.norm_back(g, x, weight, mean, rstd, plan=plan, statistics=statistics)
        dx = packed[: prod(plan[2])].reshape([shapes[0][axis] for axis in plan[0]]).transpose(plan[1])
        return dx, *(packed[prod(plan[2]) :].reshape(2, -1)[i] for i in range(2))

    def part(i, shape):
        return lambda: do.reshape(find()[i], shape=shape)

    return part(0, shapes[0]), None, None, part(1, shapes[3]), part(2, shapes[4])


@op
def norm_back(device, g, x, weight, mean, rstd, *, plan, statistics):
    """dx in memory order, dweight and dbias, one after the other in a flat array."""
    _, G, S, _ = plan[2]
    packed = memory.empty((x.size + 2 * G * S,), x.dtype, device)
    if not x.size:
        memory.copy(packed, 0)
    else:
        outputs = packed[: x.size].reshape(plan[2]), packed[x.size :].reshape(2, G, S)
        inputs = _see(g, plan), _see(x, plan), mean, rstd, *_weights(device, plan, x.dtype, (weight, 1))
        norm_back_dispatch[device.type](*inputs, STATISTICS[statistics], *outputs)
    return packed


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
