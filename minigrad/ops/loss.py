"""Losses of classification: cross-entropy of logits, fused with softmax, and negative log likelihood.

For image i with label y, weights w of the classes, smoothing e and K classes the target is
    t[k] = (1 - e) w[y] [k == y] + e / K w[k],        loss[i] = -sum over k of t[k] log softmax(x[i])[k]
and its gradient by x[i] is   softmax(x[i]) * sum(t) - t.   Images with label `ignore` have t = 0.
The mean divides by the sum of w[y], not by the number of images.

Memory: x (K, M), M running over images (and pixels); labels (M).
Source: C. Szegedy et al., "Rethinking the Inception architecture", 2016, section 7 (label smoothing).
"""

from functools import cache

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import math, memory
from ..runtime.kernel import Array1, Array2, Ints, kernel
from ..runtime.math import const, larger, smaller
from .op import Columns, op

SLICE = 256  # images in one task


def check(where, x, labels, weight, ignore):
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
    if labels.size and (labels.min() < 0 or labels.max() >= x.shape[1]):
        _check_classes(where, labels[labels != ignore], x.shape[1])


def _check_classes(where, labels, classes):
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ValidationError(
            f"{where}: label {wrong[0]} is out of range for {classes} classes (0 to {classes - 1}); "
            "build the last layer with more outputs, or use ignore_index"
        )


def flat(labels):
    """Labels (N, ...) in the order of batch-innermost memory, as int64 (M); a copy, whatever becomes of the labels."""
    return labels.transpose(memory.LAST[labels.ndim]).astype(np.int64, order="C").ravel()


def class_rows(x):
    """x (N, K, ...) as memory (K, M)."""
    return memory.batch_last(x).reshape(x.shape[1], -1)


def cross_entropy_numpy(x, labels, weight, smoothing, ignore, losses, probs):
    shifted = x - x.max(0)
    logs = shifted - np.log(np.exp(shifted).sum(0))
    target = targets(labels, weight, smoothing, ignore)
    losses[...] = -np.where(target == 0, 0, target * logs).sum(0)  # a class of probability 0 counts only as a target
    np.exp(logs, out=probs)


def targets(labels, weight, smoothing, ignore):
    """t (K, M)."""
    own = (labels == np.arange(len(weight))[:, None]) * weight[:, None]
    return np.where(labels == ignore, 0, (1 - smoothing) * own + smoothing / len(weight) * weight[:, None])


@kernel
def cross_entropy_kernel(
    task, x: Array2, labels: Ints, weight: Array1, smoothing: float, ignore, losses: Array1, probs: Array2
):
    """A slice of images: softmax, and the loss from the logarithm of its sum."""
    K, M = x.shape
    for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
        best, total = x[m], const(0, x)
        for k in range(1, K):
            best = larger(best, x[k * M + m])
        for k in range(K):
            e = math.exp(x[k * M + m] - best)
            probs[k * M + m] = e
            total += e
        log_total, loss, y = math.log(total), const(0, x), labels[m]
        for k in range(K):
            probs[k * M + m] /= total
            loss -= smoothing / const(K, x) * weight[k] * (x[k * M + m] - best - log_total)
        if y == ignore:
            losses[m] = const(0, x)
        else:
            own = weight[y] * (x[y * M + m] - best - log_total)
            losses[m] = (loss if smoothing > const(0, x) else const(0, x)) - (const(1, x) - smoothing) * own


def cross_entropy_cpu(x, labels, weight, smoothing, ignore, losses, probs):
    cross_entropy_kernel(-(-labels.size // SLICE), x, labels, weight, smoothing, ignore, losses, probs)


def cross_entropy_back_numpy(scale, probs, labels, weight, smoothing, ignore, dx):
    target = targets(labels, weight, smoothing, ignore)
    np.multiply(scale, probs * target.sum(0) - target, out=dx)


@kernel
def cross_entropy_back_kernel(
    task, scale: Array1, probs: Array2, labels: Ints, weight: Array1, smoothing: float, total: float, ignore, dx: Array2
):
    """A slice of images: softmax times the sum of the target, minus the target."""
    K, M = probs.shape
    rest = smoothing / const(K, scale)
    for m in range(task * SLICE, smaller((task + 1) * SLICE, M)):
        y = labels[m]
        if y == ignore:
            for k in range(K):
                dx[k * M + m] = const(0, scale)
            continue
        own = (const(1, scale) - smoothing) * weight[y]
        whole = own + rest * total
        for k in range(K):
            dx[k * M + m] = scale[m] * (probs[k * M + m] * whole - rest * weight[k])
        dx[y * M + m] -= scale[m] * own


def cross_entropy_back_cpu(scale, probs, labels, weight, smoothing, ignore, dx):
    tasks, scale, total = -(-labels.size // SLICE), memory.contiguous(scale), float(weight.sum())
    cross_entropy_back_kernel(tasks, scale, probs, labels, weight, smoothing, total, ignore, dx)


cross_entropy_columns = Columns("cross_entropy", numpy=cross_entropy_numpy, cpu=cross_entropy_cpu)
cross_entropy_back_columns = Columns("cross_entropy_back", numpy=cross_entropy_back_numpy, cpu=cross_entropy_back_cpu)


# ---- the operations; `reduction` makes one number of the losses, or leaves them


def _reduced(losses, total):
    """The loss: one number, unless total is None."""
    if total is None:
        return losses
    with np.errstate(invalid="ignore"):
        return np.asarray(losses.sum() / total)


def _total(labels, weight, ignore, reduction, dtype):
    """What the sum of the losses is divided by; None where they stay as they are."""
    if reduction == "none":
        return None
    if reduction == "sum":
        return dtype.type(1)
    if weight is None and not (labels.size and labels.min() <= ignore <= labels.max()):
        return dtype.type(labels.size)  # nothing is ignored
    return _factors(labels, weight, ignore, dtype).sum()


def _factors(labels, weight, ignore, dtype):
    """The weight of every label, 0 where it is ignored."""
    counted = labels != ignore
    if weight is None:
        return counted.astype(dtype)
    return np.where(counted, weight[np.where(counted, labels, 0)], 0).astype(dtype)


@op
def cross_entropy(device, x, labels, weight, *, ignore, smoothing, reduction):
    check("cross_entropy", x, labels, weight, ignore)
    rows, places = class_rows(x), flat(labels)
    weights = _ones(x.shape[1], x.dtype) if weight is None else weight.astype(x.dtype)
    losses = memory.empty(labels.shape, x.dtype)
    probs = np.empty_like(rows)
    if labels.size:
        cross_entropy_columns[device.type](rows, places, weights, smoothing, ignore, _line(losses), probs)
    total = _total(labels, weight, ignore, reduction, x.dtype)
    return _reduced(losses, total), (probs, places, weights, total)


@cache
def _ones(count, dtype):
    return np.ones(count, dtype)


def _line(array):
    """Batch-innermost memory (N, ...) as one axis; a view."""
    return array.transpose(memory.LAST[array.ndim]).reshape(-1)


@cross_entropy.gradient
def cross_entropy_gradient(do, g, saved, x_shape, ignore, smoothing):
    return (lambda: do.cross_entropy_back(g, shape=x_shape, kept=saved, ignore=ignore, smoothing=smoothing), None, None)


@op
def cross_entropy_back(device, g, *, shape, kept, ignore, smoothing):
    """(softmax * sum(t) - t) * g for every image."""
    probs, places, weights, total = kept
    dx = memory.empty(shape, probs.dtype)
    if places.size:
        scale = _line(memory.batch_first(memory.batch_last(g))) if total is None else np.full(places.size, g / total)
        cross_entropy_back_columns[device.type](scale, probs, places, weights, smoothing, ignore, class_rows(dx))
    return dx


@op
def nll(device, x, labels, weight, *, ignore, reduction):
    """-w[y] * x[y] for every image, from logarithms of probabilities x."""
    check("nll_loss", x, labels, weight, ignore)
    factors = _factors(labels, weight, ignore, x.dtype)
    places = np.where(labels == ignore, 0, labels)[:, None]
    losses, total = (
        -factors * np.take_along_axis(x, places, 1)[:, 0],
        _total(labels, weight, ignore, reduction, x.dtype),
    )
    return _reduced(losses, total), (factors if total is None else factors / total, places)


@nll.gradient
def nll_gradient(do, g, saved, x_shape):
    factors, places = saved
    one_class = (x_shape[0], 1, *x_shape[2:])
    return (
        lambda: do.gather_back(do.reshape(do.mul(g, -factors), shape=one_class), places, shape=x_shape, axis=1),
        None,
        None,
    )
