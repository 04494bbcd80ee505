"""Optimisers on the GPU: one launch for all parameters.  The formulas are in ../optimizer.py.

A kernel takes tables of addresses, entry i of each being an array of parameter i, and a table of pieces; a block
updates one piece.
"""

from ...runtime.cuda.array import constant, elements, resent
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.machine import machine
from ...runtime.cuda.math import const, sqrt
from ..optimizer import _pieces, adam_dispatch, momentum_dispatch, sgd_dispatch


def _update(run, numbers, params, *lists):
    """Run a kernel with one block for each piece of the parameters."""
    pieces = constant(_pieces(tuple([w.size for w in params.arrays])))
    tables = [given.table for given in (params, *lists)]
    run[len(pieces), machine().threads](pieces.reshape(-1), resent(numbers), *tables)


@kernel
def sgd_kernel(pieces, numbers, params, grads):
    """w -= lr * d."""
    at = 3 * cuda.blockIdx.x
    i, start, stop = pieces[at], pieces[at + 1], pieces[at + 2]
    w, g = elements(params[i], stop, numbers), elements(grads[i], stop, numbers)
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    for j in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        w[j] -= lr * (sign * g[j] + weight_decay * w[j])


@kernel
def momentum_kernel(pieces, numbers, params, grads, momenta):
    """m = keep * m + take * d, and w -= lr * m, or lr * (d + keep * m) to look ahead."""
    at = 3 * cuda.blockIdx.x
    i, start, stop = pieces[at], pieces[at + 1], pieces[at + 2]
    w, g = elements(params[i], stop, numbers), elements(grads[i], stop, numbers)
    m = elements(momenta[i], stop, numbers)
    lr, weight_decay, sign, keep, take = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    ahead = numbers[5] != const(0, numbers)
    for j in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        d = sign * g[j] + weight_decay * w[j]
        run = keep * m[j] + take * d
        m[j] = run
        w[j] -= lr * (d + keep * run if ahead else run)


@kernel
def adam_kernel(pieces, numbers, params, grads, means, squares, largest):
    """m and v are running means of d and d*d, and w = shrink * w - rate * m / (root * sqrt(v) + eps)."""
    at = 3 * cuda.blockIdx.x
    i, start, stop = pieces[at], pieces[at + 1], pieces[at + 2]
    w, g = elements(params[i], stop, numbers), elements(grads[i], stop, numbers)
    m, v = elements(means[i], stop, numbers), elements(squares[i], stop, numbers)
    top = elements(largest[i], stop, numbers)
    keep1, take1, keep2, take2 = numbers[0], numbers[1], numbers[2], numbers[3]
    rate, root, eps, shrink = numbers[4], numbers[5], numbers[6], numbers[7]
    weight_decay, sign, amsgrad = numbers[8], numbers[9], numbers[10] != const(0, numbers)
    for j in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        d = sign * g[j] + weight_decay * w[j]
        mean = keep1 * m[j] + take1 * d
        square = keep2 * v[j] + take2 * d * d
        m[j], v[j] = mean, square
        if amsgrad:
            square = top[j] if top[j] > square else square
            top[j] = square
        w[j] = shrink * w[j] - rate * mean / (root * sqrt(square) + eps)


@sgd_dispatch.register("cuda")
def sgd_cuda(numbers, params, grads):
    _update(sgd_kernel, numbers, params, grads)


@momentum_dispatch.register("cuda")
def momentum_cuda(numbers, params, grads, momenta):
    _update(momentum_kernel, numbers, params, grads, momenta)


@adam_dispatch.register("cuda")
def adam_cuda(numbers, params, grads, means, squares, largest):
    _update(adam_kernel, numbers, params, grads, means, squares, largest)
