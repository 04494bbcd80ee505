"""Losses of classification: cross-entropy of logits, fused with softmax, and negative log likelihood.

For image i with label y, weights w of the classes, smoothing e and K classes the target is
    t[k] = (1 - e) w[y] [k == y] + e / K w[k],        loss[i] = -sum over k of t[k] log softmax(x[i])[k]
and its slope, the gradient by x[i], is   softmax(x[i]) * sum(t) - t.   Images with label `ignore` have t = 0.
The mean divides by the sum of w[y], not by the number of images.

Memory: x (K, M), M running over images (and pixels); labels (M).
Source: C. Szegedy et al., "Rethinking the Inception architecture", 2016, section 7 (label smoothing).
"""

from functools import cache

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import math, memory
from ..runtime.kernel import Array1, Array2, Ints, kernel
from ..runtime.math import added, const, larger, smaller
from ..runtime.tile import settled
from .arithmetic import div, neg
from .op import Columns, by_numpy, launches, op
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
    inside = array.transpose(memory.LAST[array.ndim])
    if dtype is not None and inside.dtype != dtype:
        return memory.converted(inside, dtype).reshape(-1)
    return memory.contiguous(inside).reshape(-1)


def class_rows(x):
    """x (N, K, ...) as memory (K, M)."""
    return memory.batch_last(x).reshape(x.shape[1], -1)


def cross_entropy_numpy(x, labels, weight, smoothing, ignore, losses, factors, slopes):
    shifted = x - x.max(0)
    logs = shifted - np.log(np.exp(shifted).sum(0))
    own = (labels == np.arange(len(weight))[:, None]) * weight[:, None]
    target = np.where(labels == ignore, 0, (1 - smoothing) * own + smoothing / len(weight) * weight[:, None])
    losses[...] = -np.where(target == 0, 0, target * logs).sum(0)  # a class of probability 0 counts only as a target
    factors[...] = np.where(labels == ignore, 0, own.sum(0))
    slopes[...] = np.exp(logs) * target.sum(0) - target


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
    slopes: Array2,
):
    """A slice of images: softmax, the loss from the logarithm of its sum, and the slope."""
    K, M = x.shape
    rest, whole, lost = smoothing / const(K, x), const(0, x), const(0, x)
    for k in range(K):
        whole, lost = added(whole, lost, rest * weight[k])
    whole = settled(whole, lost)
    for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
        y = labels[m]
        if y == ignore:
            losses[m] = factors[m] = const(0, x)
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
            total, total_lost = added(total, total_lost, run)
        total = settled(total, total_lost)
        log_total, own = math.log(total), (const(1, x) - smoothing) * weight[y]
        share = (own + whole) / total
        for k in range(K):
            slopes[k * M + m] = slopes[k * M + m] * share - rest * weight[k]
            if rest > const(0, x):
                part = rest * weight[k] * (x[k * M + m] - best - log_total)
                loss, loss_lost = added(loss, loss_lost, -part)
        slopes[y * M + m] -= own
        losses[m] = settled(loss, loss_lost) - own * (x[y * M + m] - best - log_total)
        factors[m] = weight[y]


def cross_entropy_cpu(x, labels, weight, smoothing, ignore, losses, factors, slopes):
    tasks = -(-labels.size // SLICE)
    cross_entropy_kernel(tasks, x, labels, weight, smoothing, ignore, losses, factors, slopes)


def cross_entropy_back_numpy(g, slopes, total, dx):
    np.multiply(slopes, g / total, out=dx)


@kernel
def cross_entropy_back_kernel(task, g: Array1, slopes: Array2, total: Array1, each, dx: Array2):
    """A slice of images; `each` is 1 if every image has a gradient of its own, else 0."""
    K, M = slopes.shape
    for k in range(K):
        for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
            dx[k * M + m] = slopes[k * M + m] * (g[m * each] / total[0])


def cross_entropy_back_cpu(g, slopes, total, dx):
    cross_entropy_back_kernel(-(-slopes.shape[1] // SLICE), g, slopes, total, int(g.size > 1), dx)


cross_entropy_columns = Columns("cross_entropy", numpy=cross_entropy_numpy, cpu=cross_entropy_cpu)
cross_entropy_back_columns = Columns("cross_entropy_back", numpy=cross_entropy_back_numpy, cpu=cross_entropy_back_cpu)


# ---- one number of many losses


def reduce_numpy(losses, factors, mean, total, out):
    total[0] = factors.sum() if mean else 1
    out[...] = losses.sum() / total[0]


@kernel
def reduce_kernel(task, losses: Array1, factors: Array1, mean, total: Array1, out: Array1):
    """One task: the sum of the losses divided by that of the factors."""
    M, loss, divisor = losses.shape[0], const(0, losses), const(0, losses)
    loss_lost = divisor_lost = const(0, losses)
    for first in range(0, M, RUN):
        losses_here = factors_here = const(0, losses)
        for m in range(first, smaller(first + RUN, M)):
            losses_here += losses[m]
            factors_here += factors[m]
        loss, loss_lost = added(loss, loss_lost, losses_here)
        divisor, divisor_lost = added(divisor, divisor_lost, factors_here)
    total[0] = settled(divisor, divisor_lost) if mean else const(1, losses)
    out[0] = settled(loss, loss_lost) / total[0]


def reduce_cpu(losses, factors, mean, total, out):
    reduce_kernel(1, losses, factors, int(mean), total, out)


reduce_columns = Columns("reduce_losses", numpy=reduce_numpy, cpu=reduce_cpu)


def reduced(device, losses, factors, reduction):
    """The loss, and what it was divided by (1); losses that are to stay as they are were divided by 1."""
    if reduction == "none":
        return losses, _ones(device, losses.dtype, 1)
    total, out = (memory.empty_plain(shape, losses.dtype, device) for shape in ((1,), ()))
    reduce_columns[device.type](line(losses), factors, reduction == "mean", total, out)
    return out, total


@cache
def _ones(device, dtype, count):
    """So many times 1."""
    return device.from_host(np.ones(count, dtype))


def _weights(device, x, weight):
    """The weights of all classes."""
    return _ones(device, x.dtype, x.shape[1]) if weight is None else memory.converted(weight, x.dtype)


# ---- the operations


@launches
@op
def cross_entropy(device, x, labels, weight, *, ignore, smoothing, reduction):
    check("cross_entropy", device, x, labels, weight, ignore)
    rows, places = class_rows(x), line(labels, np.dtype(np.int64))
    losses, slopes = memory.empty(labels.shape, x.dtype, device), memory.empty_like(rows)
    factors, weights = memory.empty_plain((labels.size,), x.dtype, device), _weights(device, x, weight)
    if labels.size:
        cross_entropy_columns[device.type](rows, places, weights, smoothing, ignore, line(losses), factors, slopes)
    out, total = reduced(device, losses, factors, reduction)
    return out, (slopes, total)


@cross_entropy.gradient
def cross_entropy_gradient(do, g, saved, x_shape):
    slopes, total = saved
    return (lambda: do.cross_entropy_back(g, slopes, total, shape=x_shape), None, None)


@launches
@op
def cross_entropy_back(device, g, slopes, total, *, shape):
    """slopes * g / total."""
    dx = memory.empty(shape, slopes.dtype, device)
    if dx.size:
        cross_entropy_back_columns[device.type](line(g), slopes, total, class_rows(dx))
    return dx


def nll_numpy(x, labels, weight, ignore, losses, factors, places):
    counted = labels != ignore
    places[...] = np.where(counted, labels, 0)
    factors[...] = np.where(counted, weight[places], 0)
    losses[...] = -factors * np.take_along_axis(x, places[None], 0)[0]


nll_columns = Columns("nll", numpy=nll_numpy, cpu=by_numpy(nll_numpy))


@launches
@op
def nll(device, x, labels, weight, *, ignore, reduction):
    """-w[y] * x[y] for every image, from logarithms of probabilities x."""
    check("nll_loss", device, x, labels, weight, ignore)
    losses, factors = (memory.empty(labels.shape, x.dtype, device) for _ in range(2))
    places, marks = memory.empty(labels.shape, np.dtype(np.int64), device), line(labels, np.dtype(np.int64))
    if labels.size:
        filled = (line(array) for array in (losses, factors, places))
        nll_columns[device.type](class_rows(x), marks, _weights(device, x, weight), ignore, *filled)
    out, total = reduced(device, losses, line(factors), reduction)
    shares = neg.forward(device, div.forward(device, factors, total))
    return out, (shares, places.reshape((x.shape[0], 1, *x.shape[2:])))


@nll.gradient
def nll_gradient(do, g, saved, x_shape):
    shares, places = saved
    one_class = (x_shape[0], 1, *x_shape[2:])
    return (
        lambda: do.gather_back(do.reshape(do.mul(g, shares), shape=one_class), places, shape=x_shape, axis=1),
        None,
        None,
    )
