"""Classification losses: cross-entropy of logits, fused with softmax, and negative log-likelihood.

For image i with label y, class weights w, label smoothing e and K classes the target is
    t[k] = (1 - e) w[y] [k == y] + e / K w[k],        loss[i] = -sum over k of t[k] log softmax(x[i])[k]
and the slope, the gradient of loss[i] by x[i], is   softmax(x[i]) * sum(t) - t.   For the label `ignore`, t = 0: loss
and slope are 0, whatever the logits and the incoming gradient.  The mean divides by the sum of w[y], not by the number
of images; the mean over nothing is nan, but the gradient of ignored images is still 0.

Memory: x (K, M) with M images (or pixels of all images), labels (M).
Source: C. Szegedy et al., "Rethinking the Inception architecture", 2016, section 7 (label smoothing).
"""

from functools import cache

import numpy as np

from ..errors import DtypeError, ShapeError, ValidationError
from ..runtime import math, memory
from ..runtime.kernel import Array1, Array2, Bytes, Ints, kernel
from ..runtime.math import compensated_add, const, smaller
from ..runtime.tile import compensated_total
from .arithmetic import div, neg
from .op import Dispatch, op
from .promotion import BOOL, INT64, expect_float
from .reduction import TERMS_PER_PARTIAL_SUM
from .softmax import fill_exponentials

IMAGES_PER_TASK = 256


def _check_inputs(where, device, x, labels, weight, ignore):
    """Refuse logits and labels that do not fit, and labels out of range, before anything runs."""
    expect_float(where, x)
    if labels.dtype.kind not in "iu":
        raise DtypeError(
            f"{where}: labels are {labels.dtype}, expected whole numbers (class indices); use labels.long(), or "
            "labels.argmax(1) for one-hot rows"
        )
    if x.ndim < 2 or labels.shape != x.shape[:1] + x.shape[2:]:
        raise ShapeError(
            f"{where}: x {x.shape} is (N, classes, ...), so labels need shape "
            f"{x.shape[:1] + x.shape[2:] if x.ndim > 1 else '(N,)'}, got {labels.shape}"
        )
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(f"{where}: weight has shape {weight.shape}, x has {x.shape[1]} classes; give one for each")
    device.expect_range(labels, 0, x.shape[1], ignore, _label_error, where, x.shape[1])


def _label_error(label, where, classes):
    return ValidationError(
        f"{where}: label {label} is out of range for {classes} classes (0 to {classes - 1}); "
        "build the last layer with more outputs, or use ignore_index"
    )


def as_vector(array, dtype=None):
    """An array (N, ...) as its batch-innermost memory (M): a view where the layout and dtype allow it."""
    inner = array if array.ndim == 1 else array.transpose(memory.FIRST_AXIS_LAST[array.ndim])
    same = dtype is None or inner.dtype == dtype
    inner = memory.contiguous(inner) if same else memory.convert(inner, dtype)
    return inner if array.ndim == 1 else inner.reshape(-1)


def as_matrix(x):
    """x (N, K, ...) as its batch-innermost memory (K, M)."""
    return memory.move_batch_last(x).reshape(x.shape[1], -1)


def cross_entropy_numpy(x, labels, weight, smoothing, ignore, losses, factors, sums, counted, slopes):
    counted[...] = seen = labels != ignore
    classes, uniform = np.where(seen, labels, 0), smoothing / len(weight) * weight[:, None]
    shifted = x - x.max(0)
    logs = shifted - np.log(np.exp(shifted).sum(0))
    own = (1 - smoothing) * weight[classes]
    loss = -own * np.take_along_axis(logs, classes[None], 0)[0]
    if smoothing:
        loss = loss - (uniform * logs).sum(0)
    target = (classes == np.arange(len(weight))[:, None]) * own + uniform
    losses[...] = np.where(seen, loss, 0)
    factors[...] = np.where(seen, weight[classes], 0)
    sums[...] = np.where(seen, target.sum(0), 0)
    slopes[...] = np.where(seen, np.exp(logs) * target.sum(0) - target, 0)


@kernel
def cross_entropy_kernel(
    task, x: Array2, labels: Ints, weight: Array1, smoothing: float, ignore,
    losses: Array1, factors: Array1, sums: Array1, counted: Bytes, slopes: Array2,
):  # fmt: skip
    """For IMAGES_PER_TASK images: the loss, w[y], the sum of the target, whether the image counts, and the slope."""
    K, M = x.shape
    smooth, uniform_sum, error = smoothing / const(K, x), const(0, x), const(0, x)
    for k in range(K):
        uniform_sum, error = compensated_add(uniform_sum, error, smooth * weight[k])
    uniform_sum = compensated_total(uniform_sum, error)
    for m in range(task * IMAGES_PER_TASK, smaller((task + 1) * IMAGES_PER_TASK, M)):
        y = labels[m]
        counted[m] = y != ignore
        if y == ignore:
            losses[m] = factors[m] = sums[m] = const(0, x)
            for k in range(K):
                slopes[k * M + m] = const(0, x)
            continue
        best, total = fill_exponentials(x, slopes, m, K, M)
        log_total, own, loss, error = math.log(total), (const(1, x) - smoothing) * weight[y], const(0, x), const(0, x)
        scale = (own + uniform_sum) / total
        for k in range(K):
            slopes[k * M + m] = slopes[k * M + m] * scale - smooth * weight[k]
            if smooth > const(0, x):
                term = smooth * weight[k] * (x[k * M + m] - best - log_total)
                loss, error = compensated_add(loss, error, -term)
        slopes[y * M + m] -= own
        losses[m] = compensated_total(loss, error) - own * (x[y * M + m] - best - log_total)
        factors[m], sums[m] = weight[y], own + uniform_sum


def cross_entropy_cpu(x, labels, weight, smoothing, ignore, *outputs):
    cross_entropy_kernel(-(-labels.size // IMAGES_PER_TASK), x, labels, weight, smoothing, ignore, *outputs)


def cross_entropy_back_numpy(g, slopes, counted, total, dx):
    dx[...] = np.where(counted, slopes * (g / total), 0)


@kernel
def cross_entropy_back_kernel(task, g: Array1, slopes: Array2, counted: Bytes, total: Array1, g_step, dx: Array2):
    """For IMAGES_PER_TASK images: slopes * g / total.  g_step is 1 if g has an element for each image, 0 if one for
    all."""
    K, M = slopes.shape
    for k in range(K):
        for m in range(task * IMAGES_PER_TASK, smaller((task + 1) * IMAGES_PER_TASK, M)):
            dx[k * M + m] = slopes[k * M + m] * (g[m * g_step] / total[0]) if counted[m] else const(0, dx)


def cross_entropy_back_cpu(g, slopes, counted, total, dx):
    tasks = -(-slopes.shape[1] // IMAGES_PER_TASK)
    cross_entropy_back_kernel(tasks, g, slopes, counted, total, int(g.size > 1), dx)


cross_entropy_dispatch = Dispatch("cross_entropy", cross_entropy_numpy, cpu=cross_entropy_cpu)
cross_entropy_back_dispatch = Dispatch("cross_entropy_back", cross_entropy_back_numpy, cpu=cross_entropy_back_cpu)


# ---- reduction of the losses to one number


def reduce_numpy(losses, factors, mean, total, out):
    total[0] = factors.sum() if mean else 1
    total[total == 0] = np.nan
    out[...] = losses.sum() / total[0]


@kernel
def reduce_kernel(task, losses: Array1, factors: Array1, mean, total: Array1, out: Array1):
    """One task: the sum of the losses; for a mean, divided by the sum of the factors, and nan if that is 0."""
    M, loss, divisor = losses.shape[0], const(0, losses), const(0, losses)
    loss_error = divisor_error = const(0, losses)
    for first in range(0, M, TERMS_PER_PARTIAL_SUM):
        partial_loss = partial_divisor = const(0, losses)
        for m in range(first, smaller(first + TERMS_PER_PARTIAL_SUM, M)):
            partial_loss += losses[m]
            partial_divisor += factors[m]
        loss, loss_error = compensated_add(loss, loss_error, partial_loss)
        divisor, divisor_error = compensated_add(divisor, divisor_error, partial_divisor)
    total[0], divisor = const(1, losses), compensated_total(divisor, divisor_error)
    if mean:
        total[0] = divisor if divisor != const(0, losses) else const(np.nan, losses)
    out[0] = compensated_total(loss, loss_error) / total[0]


def reduce_cpu(losses, factors, mean, total, out):
    reduce_kernel(1, losses, factors, int(mean), total, out)


reduce_dispatch = Dispatch("reduce_losses", reduce_numpy, cpu=reduce_cpu)


def _reduce(device, losses, factors, reduction):
    """The loss, and its divisor (1); with reduction "none" the losses, divided by 1."""
    if reduction == "none":
        return losses, _ones(device, losses.dtype, 1)
    total, out = (memory.empty(shape, losses.dtype, device) for shape in ((1,), ()))
    reduce_dispatch[device.type](as_vector(losses), factors, reduction == "mean", total, out)
    return out, total


@cache
def _ones(device, dtype, count):
    """A constant array on a device."""
    return device.from_host(np.ones(count, dtype))


def _class_weights(device, x, weight):
    """The weights of all classes, in the dtype of x; ones if there are none."""
    return _ones(device, x.dtype, x.shape[1]) if weight is None else memory.convert(weight, x.dtype)


# ---- the operations


@op
def cross_entropy(device, x, labels, weight, *, ignore, smoothing, reduction):
    _check_inputs("cross_entropy", device, x, labels, weight, ignore)
    empty = memory.empty if labels.ndim == 1 else memory.empty_batch_innermost  # the same for one axis, but faster
    losses, sums, counted = (empty(labels.shape, dtype, device) for dtype in (x.dtype, x.dtype, BOOL))
    factors, slopes = (
        memory.empty((labels.size,), x.dtype, device),
        memory.empty_batch_innermost(x.shape, x.dtype, device),
    )
    if labels.size:
        inputs = as_matrix(x), as_vector(labels, INT64), _class_weights(device, x, weight), smoothing, ignore
        outputs = as_vector(losses), factors, as_vector(sums), as_vector(counted), as_matrix(slopes)
        cross_entropy_dispatch[device.type](*inputs, *outputs)
    out, total = _reduce(device, losses, factors, reduction)
    return out, (slopes, sums, counted, total)


@cross_entropy.gradient
def cross_entropy_gradient(do, g, x, saved):
    return (lambda: do.cross_entropy_back(g, x, *saved), None, None)


@op
def cross_entropy_back(device, g, x, slopes, sums, counted, total):
    """slopes * g / total, with what the forward saved for x: a function of g and x."""
    dx = memory.empty_batch_innermost(slopes.shape, slopes.dtype, device)
    if dx.size:
        inputs = as_vector(g), as_matrix(slopes), as_vector(counted), total
        cross_entropy_back_dispatch[device.type](*inputs, as_matrix(dx))
    return dx


@cross_entropy_back.gradient
def cross_entropy_back_gradient(do, h, g, x, slopes, sums, counted, total, g_shape, x_shape):
    """Linear in g.  With p = softmax(x), d slope = sum(t) * dp = sum(t) * p * (dx - sum(p * dx))."""
    images = (x_shape[0], 1, *x_shape[2:])

    def by_g():
        by_one = do.cross_entropy_back(total, x, slopes, sums, counted, total)  # slopes * total / total
        axes = (1,) if g_shape else tuple(range(len(x_shape)))
        return do.div(do.sum(do.mul(h, by_one), axes=axes, keepdim=False), total)

    def by_x():
        p = do.softmax(x, axis=1)
        incoming = do.mul(h, do.reshape(do.mul(sums, do.div(g, total)), shape=images))
        dx = do.mul(p, do.sub(incoming, do.sum(do.mul(p, incoming), axes=(1,), keepdim=True)))
        return do.where(do.reshape(counted, shape=images), dx, 0.0)

    return by_g, by_x, None, None, None, None


def nll_numpy(x, labels, weight, ignore, losses, factors, classes, counted):
    counted[...] = seen = labels != ignore
    classes[...] = np.where(seen, labels, 0)
    factors[...] = np.where(seen, weight[classes], 0)
    losses[...] = np.where(seen, -factors * np.take_along_axis(x, classes[None], 0)[0], 0)


nll_dispatch = Dispatch("nll", nll_numpy)


@op
def nll(device, x, labels, weight, *, ignore, reduction):
    """-w[y] * x[y] for every image, of log probabilities x."""
    _check_inputs("nll_loss", device, x, labels, weight, ignore)
    losses, factors = (memory.empty_batch_innermost(labels.shape, x.dtype, device) for _ in range(2))
    classes, counted = (memory.empty_batch_innermost(labels.shape, dtype, device) for dtype in (INT64, BOOL))
    if labels.size:
        inputs = as_matrix(x), as_vector(labels, INT64), _class_weights(device, x, weight), ignore
        nll_dispatch[device.type](*inputs, *[as_vector(array) for array in (losses, factors, classes, counted)])
    out, total = _reduce(device, losses, as_vector(factors), reduction)
    slopes = neg.forward(device, div.forward(device, factors, total))
    return out, (slopes, classes.reshape((x.shape[0], 1, *x.shape[2:])), counted)


@nll.gradient
def nll_gradient(do, g, saved, x_shape):
    slopes, classes, counted = saved

    def by_x():
        incoming = do.where(counted, do.mul(g, slopes), 0.0)
        return do.gather_back(do.reshape(incoming, shape=classes.shape), classes, shape=x_shape, axis=1)

    return by_x, None, None
