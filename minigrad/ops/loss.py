"""Losses of classification: cross-entropy of logits, fused with softmax, and negative log likelihood.

For image i with label y, weights w of the classes, smoothing e and K classes the target is
    t[k] = (1 - e) w[y] [k == y] + e / K w[k],        loss[i] = -sum over k of t[k] log softmax(x[i])[k]
and its slope, the gradient by x[i], is   softmax(x[i]) * sum(t) - t.   Images with label `ignore` have t = 0: loss and
gradient are 0, whatever their logits and the gradient that arrives.  The mean divides by the sum of w[y], not by the
number of images; over nothing it is nan, but the gradient of ignored images is still 0.

Memory: x (K, M), M running over images (and pixels); labels (M).
Source: C. Szegedy et al., "Rethinking the Inception architecture", 2016, section 7 (label smoothing).
"""

from functools import cache

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import math, memory
from ..runtime.kernel import Array1, Array2, Bytes, Ints, kernel
from ..runtime.math import compensated_add, const, larger, smaller
from ..runtime.tile import compensated_total
from .arithmetic import div, neg
from .op import Dispatch, op
from .promotion import BOOL, INT64
from .reduction import RUN

SLICE = 256  # images in one task


def check(where, device, x, labels, weight, ignore):
    """Refuse logits and labels that do not fit, and labels out of range, before anything runs."""
    if x.dtype.kind != "f":
        raise DtypeError(f"{where}: x is {x.dtype}, expected floats")
    if labels.dtype.kind not in "iu":
        raise DtypeError(
            f"{where}: labels are {labels.dtype}, expected whole numbers (class indices); use labels.long()"
        )
    if x.ndim < 2 or labels.shape != x.shape[:1] + x.shape[2:]:
        raise ShapeError(
            f"{where}: x {x.shape} is (N, classes, ...), so labels need shape "
            f"{x.shape[:1] + x.shape[2:] if x.ndim > 1 else '(N,)'}, got {labels.shape}"
        )
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(f"{where}: weight has shape {weight.shape}, x has {x.shape[1]} classes; give one for each")
    device.expect_range(labels, 0, x.shape[1], ignore, _wrong_label, where, x.shape[1])


def _wrong_label(label, where, classes):
    return ValidationError(
        f"{where}: label {label} is out of range for {classes} classes (0 to {classes - 1}); "
        "build the last layer with more outputs, or use ignore_index"
    )


def line(array, dtype=None):
    """An array (N, ...) in the order of batch-innermost memory, as one axis (M): a view where it can be one."""
    inside = array.transpose(memory.FIRST_AXIS_LAST[array.ndim])
    if dtype is not None and inside.dtype != dtype:
        return memory.convert(inside, dtype).reshape(-1)
    return memory.contiguous(inside).reshape(-1)


def _one_each(shape, dtype, device):
    """An uninitialised array with one element for each label, and the same as one axis."""
    if len(shape) == 1:
        array = memory.empty(shape, dtype, device)
        return array, array
    array = memory.empty_batch_innermost(shape, dtype, device)
    return array, line(array)


def class_rows(x):
    """x (N, K, ...) as memory (K, M)."""
    return memory.move_batch_last(x).reshape(x.shape[1], -1)


def cross_entropy_numpy(x, labels, weight, smoothing, ignore, losses, factors, sums, counted, slopes):
    counted[...] = seen = labels != ignore
    places, rest = np.where(seen, labels, 0), smoothing / len(weight) * weight[:, None]
    shifted = x - x.max(0)
    logs = shifted - np.log(np.exp(shifted).sum(0))
    own = (1 - smoothing) * weight[places]
    loss = -own * np.take_along_axis(logs, places[None], 0)[0]
    if smoothing:
        loss = loss - (rest * logs).sum(0)
    target = (places == np.arange(len(weight))[:, None]) * own + rest
    losses[...] = np.where(seen, loss, 0)
    factors[...] = np.where(seen, weight[places], 0)
    sums[...] = np.where(seen, target.sum(0), 0)
    slopes[...] = np.where(seen, np.exp(logs) * target.sum(0) - target, 0)


@kernel
def cross_entropy_kernel(
    task,
    x: Array2,
    labels: Ints,
    weight: Array1,
    smoothing: float,
    ignore,
    losses: Array1,
    factors: Array1,
    sums: Array1,
    counted: Bytes,
    slopes: Array2,
):
    """A slice of images: softmax, the loss from the logarithm of its sum, the sum of the target, and the slope."""
    K, M = x.shape
    rest, whole, lost = smoothing / const(K, x), const(0, x), const(0, x)
    for k in range(K):
        whole, lost = compensated_add(whole, lost, rest * weight[k])
    whole = compensated_total(whole, lost)
    for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
        y = labels[m]
        counted[m] = y != ignore
        if y == ignore:
            losses[m] = factors[m] = sums[m] = const(0, x)
            for k in range(K):
                slopes[k * M + m] = const(0, x)
            continue
        best, total, loss = x[m], const(0, x), const(0, x)
        total_lost = loss_lost = const(0, x)
        for k in range(1, K):
            best = larger(best, x[k * M + m])
        for first in range(0, K, RUN):
            run = const(0, x)
            for k in range(first, smaller(first + RUN, K)):
                e = math.exp(x[k * M + m] - best)
                slopes[k * M + m] = e
                run += e
            total, total_lost = compensated_add(total, total_lost, run)
        total = compensated_total(total, total_lost)
        log_total, own = math.log(total), (const(1, x) - smoothing) * weight[y]
        share = (own + whole) / total
        for k in range(K):
            slopes[k * M + m] = slopes[k * M + m] * share - rest * weight[k]
            if rest > const(0, x):
                part = rest * weight[k] * (x[k * M + m] - best - log_total)
                loss, loss_lost = compensated_add(loss, loss_lost, -part)
        slopes[y * M + m] -= own
        losses[m] = compensated_total(loss, loss_lost) - own * (x[y * M + m] - best - log_total)
        factors[m], sums[m] = weight[y], own + whole


def cross_entropy_cpu(x, labels, weight, smoothing, ignore, *filled):
    cross_entropy_kernel(-(-labels.size // SLICE), x, labels, weight, smoothing, ignore, *filled)


def cross_entropy_back_numpy(g, slopes, counted, total, dx):
    dx[...] = np.where(counted, slopes * (g / total), 0)


@kernel
def cross_entropy_back_kernel(task, g: Array1, slopes: Array2, counted: Bytes, total: Array1, each, dx: Array2):
    """A slice of images; `each` is 1 if every image has a gradient of its own, else 0."""
    K, M = slopes.shape
    for k in range(K):
        for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
            dx[k * M + m] = slopes[k * M + m] * (g[m * each] / total[0]) if counted[m] else const(0, dx)


def cross_entropy_back_cpu(g, slopes, counted, total, dx):
    cross_entropy_back_kernel(-(-slopes.shape[1] // SLICE), g, slopes, counted, total, int(g.size > 1), dx)


cross_entropy_dispatch = Dispatch("cross_entropy", cross_entropy_numpy, cpu=cross_entropy_cpu)
cross_entropy_back_dispatch = Dispatch("cross_entropy_back", cross_entropy_back_numpy, cpu=cross_entropy_back_cpu)


# ---- one number of many losses


def reduce_numpy(losses, factors, mean, total, out):
    total[0] = factors.sum() if mean else 1
    total[total == 0] = np.nan
    out[...] = losses.sum() / total[0]


@kernel
def reduce_kernel(task, losses: Array1, factors: Array1, mean, total: Array1, out: Array1):
    """One task: the sum of the losses divided by that of the factors; a mean over nothing is nan."""
    M, loss, divisor = losses.shape[0], const(0, losses), const(0, losses)
    loss_lost = divisor_lost = const(0, losses)
    for first in range(0, M, RUN):
        losses_here = factors_here = const(0, losses)
        for m in range(first, smaller(first + RUN, M)):
            losses_here += losses[m]
            factors_here += factors[m]
        loss, loss_lost = compensated_add(loss, loss_lost, losses_here)
        divisor, divisor_lost = compensated_add(divisor, divisor_lost, factors_here)
    total[0], divisor = const(1, losses), compensated_total(divisor, divisor_lost)
    if mean:
        total[0] = divisor if divisor != const(0, losses) else const(np.nan, losses)
    out[0] = compensated_total(loss, loss_lost) / total[0]


def reduce_cpu(losses, factors, mean, total, out):
    reduce_kernel(1, losses, factors, int(mean), total, out)


reduce_dispatch = Dispatch("reduce_losses", reduce_numpy, cpu=reduce_cpu)


def reduced(device, losses, factors, reduction):
    """The loss, and what it was divided by (1); losses that are to stay as they are were divided by 1."""
    if reduction == "none":
        return losses, _ones(device, losses.dtype, 1)
    total, out = (memory.empty(shape, losses.dtype, device) for shape in ((1,), ()))
    reduce_dispatch[device.type](line(losses), factors, reduction == "mean", total, out)
    return out, total


@cache
def _ones(device, dtype, count):
    """So many times 1."""
    return device.from_host(np.ones(count, dtype))


def _weights(device, x, weight):
    """The weights of all classes."""
    return _ones(device, x.dtype, x.shape[1]) if weight is None else memory.convert(weight, x.dtype)


# ---- the operations


@op
def cross_entropy(device, x, labels, weight, *, ignore, smoothing, reduction):
    check("cross_entropy", device, x, labels, weight, ignore)
    losses, losses_line = _one_each(labels.shape, x.dtype, device)
    sums, sums_line = _one_each(labels.shape, x.dtype, device)
    counted, counted_line = _one_each(labels.shape, BOOL, device)
    factors, weights = memory.empty((labels.size,), x.dtype, device), _weights(device, x, weight)
    slopes = memory.empty_batch_innermost(x.shape, x.dtype, device)
    if labels.size:
        given = class_rows(x), line(labels, INT64), weights, smoothing, ignore
        filled = losses_line, factors, sums_line, counted_line, class_rows(slopes)
        cross_entropy_dispatch[device.type](*given, *filled)
    out, total = reduced(device, losses, factors, reduction)
    return out, (slopes, sums, counted, total)


@cross_entropy.gradient
def cross_entropy_gradient(do, g, x, saved):
    return (lambda: do.cross_entropy_back(g, x, *saved), None, None)


@op
def cross_entropy_back(device, g, x, slopes, sums, counted, total):
    """slopes * g / total, the slopes being those that were found for x: a function of g and x."""
    dx = memory.empty_batch_innermost(slopes.shape, slopes.dtype, device)
    if dx.size:
        cross_entropy_back_dispatch[device.type](line(g), class_rows(slopes), line(counted), total, class_rows(dx))
    return dx


@cross_entropy_back.gradient
def cross_entropy_back_gradient(do, h, g, x, slopes, sums, counted, total, g_shape, x_shape):
    """Linear in g.  With p = softmax(x) the slopes change as p does: d slope = sum(t) * p * (dx - sum(p * dx))."""
    images = (x_shape[0], 1, *x_shape[2:])

    def by_gradient():
        found = do.cross_entropy_back(total, x, slopes, sums, counted, total)  # the slopes: total / total is 1
        axes = (1,) if g_shape else tuple(range(len(x_shape)))
        return do.div(do.sum(do.mul(h, found), axes=axes, keepdim=False), total)

    def by_logits():
        p = do.softmax(x, axis=1)
        arriving = do.mul(h, do.reshape(do.mul(sums, do.div(g, total)), shape=images))
        change = do.mul(p, do.sub(arriving, do.sum(do.mul(p, arriving), axes=(1,), keepdim=True)))
        return do.where(do.reshape(counted, shape=images), change, 0.0)

    return by_gradient, by_logits, None, None, None, None


def nll_numpy(x, labels, weight, ignore, losses, factors, places, counted):
    counted[...] = seen = labels != ignore
    places[...] = np.where(seen, labels, 0)
    factors[...] = np.where(seen, weight[places], 0)
    losses[...] = np.where(seen, -factors * np.take_along_axis(x, places[None], 0)[0], 0)


nll_dispatch = Dispatch("nll", nll_numpy)


@op
def nll(device, x, labels, weight, *, ignore, reduction):
    """-w[y] * x[y] for every image, from logarithms of probabilities x."""
    check("nll_loss", device, x, labels, weight, ignore)
    losses, factors = (memory.empty_batch_innermost(labels.shape, x.dtype, device) for _ in range(2))
    places, counted = (memory.empty_batch_innermost(labels.shape, dtype, device) for dtype in (INT64, BOOL))
    if labels.size:
        filled = (line(array) for array in (losses, factors, places, counted))
        nll_dispatch[device.type](class_rows(x), line(labels, INT64), _weights(device, x, weight), ignore, *filled)
    out, total = reduced(device, losses, line(factors), reduction)
    shares = neg.forward(device, div.forward(device, factors, total))
    return out, (shares, places.reshape((x.shape[0], 1, *x.shape[2:])), counted)


@nll.gradient
def nll_gradient(do, g, saved, x_shape):
    shares, places, counted = saved

    def by_logarithms():
        arriving = do.where(counted, do.mul(g, shares), 0.0)
        return do.gather_back(do.reshape(arriving, shape=places.shape), places, shape=x_shape, axis=1)

    return by_logarithms, None, None
