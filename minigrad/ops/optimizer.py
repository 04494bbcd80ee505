"""Optimisers: SGD, SGD with momentum, and Adam in all its forms, each one launch for all parameters.

A kernel takes lists of arrays, number i of each belonging to parameter i, and a table of pieces; a task updates one
piece.  `d` is the direction of descent: the gradient, its sign turned to maximise, with weight decay added.

Sources: B. Polyak, 1964 (momentum); I. Sutskever et al., 2013 (Nesterov's form of it); D. Kingma & J. Ba, 2015,
algorithm 1 (Adam); S. Reddi et al., 2018 (amsgrad); I. Loshchilov & F. Hutter, 2019 (decoupled weight decay).
"""

from functools import cache

import numpy as np

from ..runtime import math
from ..runtime.kernel import Array1, ArrayList, Ints, get_array, kernel
from ..runtime.math import const
from .op import Dispatch

PIECE = 2048  # elements in a task, so that the threads share one large parameter as well as many small ones


@cache
def _pieces(sizes: tuple[int, ...]) -> np.ndarray:
    """One row (parameter, start, stop) for each task."""
    rows = [(i, start, min(start + PIECE, size)) for i, size in enumerate(sizes) for start in range(0, size, PIECE)]
    return np.array(rows, np.int64).reshape(-1, 3)


def over_pieces(run):
    """A cpu column that runs a kernel with one task for each piece of the parameters."""

    def column(numbers, params, *lists):
        pieces = _pieces(tuple([w.size for w in params.arrays]))
        run(len(pieces), pieces, numbers, params, *lists)

    return column


# ---- sgd: w -= lr * d.  numbers: lr, weight decay, sign


def sgd_numpy(numbers, params, grads):
    lr, weight_decay, sign = numbers[:3]
    for w, g in zip(params.arrays, grads.arrays, strict=True):
        w -= lr * (sign * g + weight_decay * w)


@kernel
def sgd_kernel(task, pieces: Ints, numbers: Array1, params: ArrayList, grads: ArrayList):
    """Every list holds flat arrays."""
    i = pieces[3 * task]
    w, g = get_array(params, i), get_array(grads, i)
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    for j in range(pieces[3 * task + 1], pieces[3 * task + 2]):
        w[j] -= lr * (sign * g[j] + weight_decay * w[j])


sgd_dispatch = Dispatch("sgd", sgd_numpy, cpu=over_pieces(sgd_kernel))


# ---- momentum: m = keep * m + take * d, and w -= lr * m; Nesterov looks ahead, w -= lr * (d + keep * m)
# numbers: lr, weight decay, sign, keep, take, nesterov


def momentum_numpy(numbers, params, grads, momenta):
    lr, weight_decay, sign, keep, take, nesterov = numbers[:6]
    for w, g, m in zip(params.arrays, grads.arrays, momenta.arrays, strict=True):
        d = sign * g + weight_decay * w
        m[...] = keep * m + take * d
        w -= lr * (d + keep * m if nesterov else m)


@kernel
def momentum_kernel(task, pieces: Ints, numbers: Array1, params: ArrayList, grads: ArrayList, momenta: ArrayList):
    """Every list holds flat arrays."""
    i = pieces[3 * task]
    w, g, m = get_array(params, i), get_array(grads, i), get_array(momenta, i)
    lr, weight_decay, sign, keep, take = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    ahead = numbers[5] != const(0, numbers)
    for j in range(pieces[3 * task + 1], pieces[3 * task + 2]):
        d = sign * g[j] + weight_decay * w[j]
        m[j] = keep * m[j] + take * d
        w[j] -= lr * (d + keep * m[j] if ahead else m[j])


momentum_dispatch = Dispatch("momentum", momentum_numpy, cpu=over_pieces(momentum_kernel))


# ---- adam: m and v are running means of d and d*d, and w = shrink * w - rate * m / (root * sqrt(v) + eps).
# numbers: keep1, take1, keep2, take2, rate, root, eps, shrink, weight decay, sign, amsgrad
# The step's number is in `rate` and `root`, which correct the means for their start at 0; amsgrad takes the largest v
# so far.  1 - beta comes as a number of its own, because float32 would lose half the digits of 1 - 0.999.


def adam_numpy(numbers, params, grads, means, squares, largest):
    keep1, take1, keep2, take2, rate, root, eps, shrink, weight_decay, sign, amsgrad = numbers[:11]
    for w, g, m, v, top in zip(params.arrays, grads.arrays, means.arrays, squares.arrays, largest.arrays, strict=True):
        d = sign * g + weight_decay * w
        m[...] = keep1 * m + take1 * d
        v[...] = keep2 * v + take2 * d * d
        square = np.maximum(top, v, out=top) if amsgrad else v
        w[...] = shrink * w - rate * m / (root * np.sqrt(square) + eps)


@kernel
def adam_kernel(
    task,
    pieces: Ints,
    numbers: Array1,
    params: ArrayList,
    grads: ArrayList,
    means: ArrayList,
    squares: ArrayList,
    largest: ArrayList,
):
    """Every list holds flat arrays; `largest` changes with amsgrad only."""
    i = pieces[3 * task]
    w, g, m, v, top = (
        get_array(params, i),
        get_array(grads, i),
        get_array(means, i),
        get_array(squares, i),
        get_array(largest, i),
    )
    keep1, take1, keep2, take2 = numbers[0], numbers[1], numbers[2], numbers[3]
    rate, root, eps, shrink, weight_decay, sign = (
        numbers[4],
        numbers[5],
        numbers[6],
        numbers[7],
        numbers[8],
        numbers[9],
    )
    amsgrad = numbers[10] != const(0, numbers)
    for j in range(pieces[3 * task + 1], pieces[3 * task + 2]):
        d = sign * g[j] + weight_decay * w[j]
        m[j] = keep1 * m[j] + take1 * d
        v[j] = square = keep2 * v[j] + take2 * d * d
        if amsgrad:
            top[j] = square = top[j] if top[j] > square else square
        w[j] = shrink * w[j] - rate * m[j] / (root * math.sqrt(square) + eps)


adam_dispatch = Dispatch("adam", adam_numpy, cpu=over_pieces(adam_kernel))
