"""Optimisers: SGD, SGD with momentum, and all forms of Adam; each is one launch for all parameters.

A kernel takes lists of arrays, in which entry i belongs to parameter i, and a table of tasks.  `d` is the gradient with
weight decay: sign * g + weight_decay * w, where sign is -1 to maximise.

Sources: B. Polyak, 1964 (momentum); I. Sutskever et al., 2013 (Nesterov's form of it); D. Kingma & J. Ba, 2015,
algorithm 1 (Adam); S. Reddi et al., 2018 (amsgrad); I. Loshchilov & F. Hutter, 2019 (decoupled weight decay).
"""

from functools import cache

import numpy as np

from ..runtime import math
from ..runtime.kernel import Array1, ArrayList, Ints, get_array, kernel
from ..runtime.math import const
from .op import Dispatch

ELEMENTS_PER_TASK = 2048  # so that threads share a single large parameter, too


@cache
def build_task_table(sizes: tuple[int, ...]) -> np.ndarray:
    """One row (parameter, start, stop) for each task."""
    step = ELEMENTS_PER_TASK
    rows = [(i, start, min(start + step, size)) for i, size in enumerate(sizes) for start in range(0, size, step)]
    return np.array(rows, np.int64).reshape(-1, 3)


def _run_tasks(kernel):
    """The cpu implementation by a kernel of (table, numbers, params, ...)."""

    def implementation(numbers, params, *lists):
        table = build_task_table(tuple([w.size for w in params.arrays]))
        kernel(len(table), table, numbers, params, *lists)

    return implementation


# ---- sgd: w -= lr * d.  numbers: lr, weight decay, sign


def sgd_numpy(numbers, params, grads):
    lr, weight_decay, sign = numbers[:3]
    for w, g in zip(params.arrays, grads.arrays, strict=True):
        w -= lr * (sign * g + weight_decay * w)


@kernel
def sgd_kernel(task, table: Ints, numbers: Array1, params: ArrayList, grads: ArrayList):
    """Every list holds flat arrays."""
    i, start, stop = table[3 * task], table[3 * task + 1], table[3 * task + 2]
    w, g = get_array(params, i), get_array(grads, i)
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    for j in range(start, stop):
        w[j] -= lr * (sign * g[j] + weight_decay * w[j])


sgd_dispatch = Dispatch("sgd", sgd_numpy, cpu=_run_tasks(sgd_kernel))


# ---- momentum: m = momentum * m + gain * d, and w -= lr * m; with Nesterov, w -= lr * (d + momentum * m)
# numbers: lr, weight decay, sign, momentum, gain (1 - dampening), nesterov


def momentum_numpy(numbers, params, grads, momenta):
    lr, weight_decay, sign, momentum, gain, nesterov = numbers[:6]
    for w, g, m in zip(params.arrays, grads.arrays, momenta.arrays, strict=True):
        d = sign * g + weight_decay * w
        m[...] = momentum * m + gain * d
        w -= lr * (d + momentum * m if nesterov else m)


@kernel
def momentum_kernel(task, table: Ints, numbers: Array1, params: ArrayList, grads: ArrayList, momenta: ArrayList):
    """Every list holds flat arrays."""
    i, start, stop = table[3 * task], table[3 * task + 1], table[3 * task + 2]
    w, g, m = get_array(params, i), get_array(grads, i), get_array(momenta, i)
    lr, weight_decay, sign, momentum, gain = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    nesterov = numbers[5] != const(0, numbers)
    for j in range(start, stop):
        d = sign * g[j] + weight_decay * w[j]
        m[j] = momentum * m[j] + gain * d
        w[j] -= lr * (d + momentum * m[j] if nesterov else m[j])


momentum_dispatch = Dispatch("momentum", momentum_numpy, cpu=_run_tasks(momentum_kernel))


# ---- adam: m and v are running means of d and d*d, and w = shrink * w - rate * m / (root * sqrt(v) + eps).
# numbers: beta1, gain1 (1 - beta1), beta2, gain2 (1 - beta2), rate, root, eps, shrink, weight decay, sign, amsgrad
# `rate` and `root` depend on the step: they correct the bias of the means, which start at 0.  amsgrad replaces v by the
# largest v so far.  1 - beta is given, because float32 would lose half the digits of 1 - 0.999.


def adam_numpy(numbers, params, grads, means, squares, largest):
    beta1, gain1, beta2, gain2, rate, root, eps, shrink, weight_decay, sign, amsgrad = numbers[:11]
    for w, g, m, v, top in zip(params.arrays, grads.arrays, means.arrays, squares.arrays, largest.arrays, strict=True):
        d = sign * g + weight_decay * w
        m[...] = beta1 * m + gain1 * d
        v[...] = beta2 * v + gain2 * d * d
        square = np.maximum(top, v, out=top) if amsgrad else v
        w[...] = shrink * w - rate * m / (root * np.sqrt(square) + eps)


@kernel
def adam_kernel(
    task, table: Ints, numbers: Array1,
    params: ArrayList, grads: ArrayList, means: ArrayList, squares: ArrayList, largest: ArrayList,
):  # fmt: skip
    """Every list holds flat arrays; `largest` changes only with amsgrad."""
    i, start, stop = table[3 * task], table[3 * task + 1], table[3 * task + 2]
    w, g, m, v, top = (
        get_array(params, i),
        get_array(grads, i),
        get_array(means, i),
        get_array(squares, i),
        get_array(largest, i),
    )
    beta1, gain1, beta2, gain2 = numbers[0], numbers[1], numbers[2], numbers[3]
    rate, root, eps, shrink = numbers[4], numbers[5], numbers[6], numbers[7]
    weight_decay, sign, amsgrad = numbers[8], numbers[9], numbers[10] != const(0, numbers)
    for j in range(start, stop):
        d = sign * g[j] + weight_decay * w[j]
        m[j] = beta1 * m[j] + gain1 * d
        v[j] = square = beta2 * v[j] + gain2 * d * d
        if amsgrad:
            top[j] = square = top[j] if top[j] > square else square
        w[j] = shrink * w[j] - rate * m[j] / (root * math.sqrt(square) + eps)


adam_dispatch = Dispatch("adam", adam_numpy, cpu=_run_tasks(adam_kernel))
