"""Optimisers on the GPU: one launch for all parameters; the formulas are in ../optimizer.py.

A kernel takes tables of addresses, in which entry i is an array of parameter i, and a table of pieces.  Each block
updates one piece.
"""

from functools import partial

from ...runtime.cuda.array import array_at, to_device_each_replay, to_device_once
from ...runtime.cuda.driver import cuda, helper
from ...runtime.cuda.gpu import current_gpu
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import const, sqrt
from ..optimizer import adam_dispatch, build_task_table, momentum_dispatch, sgd_dispatch


@helper
def _read_piece(pieces):
    """The block's piece: the number of its parameter, the first element of this thread, and the end."""
    row = 3 * cuda.blockIdx.x
    return pieces[row], pieces[row + 1] + cuda.threadIdx.x, pieces[row + 2]


@kernel
def sgd_kernel(pieces, numbers, params, grads):
    """w -= lr * d."""
    i, start, stop = _read_piece(pieces)
    w, g = array_at(params[i], stop, numbers), array_at(grads[i], stop, numbers)
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    for j in range(start, stop, cuda.blockDim.x):
        w[j] -= lr * (sign * g[j] + weight_decay * w[j])


@kernel
def momentum_kernel(pieces, numbers, params, grads, momenta):
    """m = keep * m + take * d, and w -= lr * m; with Nesterov momentum w -= lr * (d + keep * m)."""
    i, start, stop = _read_piece(pieces)
    w, g = array_at(params[i], stop, numbers), array_at(grads[i], stop, numbers)
    m = array_at(momenta[i], stop, numbers)
    lr, weight_decay, sign, keep, take = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    nesterov = numbers[5] != const(0, numbers)
    for j in range(start, stop, cuda.blockDim.x):
        d = sign * g[j] + weight_decay * w[j]
        momentum = keep * m[j] + take * d
        m[j] = momentum
        w[j] -= lr * (d + keep * momentum if nesterov else momentum)


@kernel
def adam_kernel(pieces, numbers, params, grads, means, squares, largest):
    """m and v are running means of d and d*d, and w = shrink * w - rate * m / (root * sqrt(v) + eps)."""
    i, start, stop = _read_piece(pieces)
    w, g = array_at(params[i], stop, numbers), array_at(grads[i], stop, numbers)
    m, v = array_at(means[i], stop, numbers), array_at(squares[i], stop, numbers)
    top = array_at(largest[i], stop, numbers)
    keep1, take1, keep2, take2 = numbers[0], numbers[1], numbers[2], numbers[3]
    rate, root, eps, shrink = numbers[4], numbers[5], numbers[6], numbers[7]
    weight_decay, sign, amsgrad = numbers[8], numbers[9], numbers[10] != const(0, numbers)
    for j in range(start, stop, cuda.blockDim.x):
        d = sign * g[j] + weight_decay * w[j]
        mean = keep1 * m[j] + take1 * d
        square = keep2 * v[j] + take2 * d * d
        m[j], v[j] = mean, square
        if amsgrad:
            square = top[j] if top[j] > square else square
            top[j] = square
        w[j] = shrink * w[j] - rate * mean / (root * sqrt(square) + eps)


def _launch(kernel, numbers, params, *lists):
    """Launch a kernel with one block for each piece of the parameters."""
    pieces = to_device_once(build_task_table(tuple([w.size for w in params.arrays])))
    tables = [arrays.table for arrays in (params, *lists)]
    run = kernel[len(pieces), current_gpu().block_threads]
    run(pieces.reshape(-1), to_device_each_replay(numbers), *tables)


sgd_dispatch.register("cuda")(partial(_launch, sgd_kernel))
momentum_dispatch.register("cuda")(partial(_launch, momentum_kernel))
adam_dispatch.register("cuda")(partial(_launch, adam_kernel))
