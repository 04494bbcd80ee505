"""The operations, one page a family: formula, source, a column for each device, forward and gradient.  Arrays only."""

from .activation import leaky_relu, relu, sigmoid, tanh
from .arithmetic import (
    abs_ as abs,
    add,
    clip,
    deviation,
    div,
    eq,
    exp,
    ge,
    gt,
    le,
    log,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow_ as pow,
    sqrt,
    sub,
    where,
)
from .conv2d import conv2d
from .dropout import dropout_mask
from .loss import cross_entropy, nll
from .matmul import linear, matmul
from .movement import (
    assign,
    cast,
    cat,
    clone,
    expand,
    gather,
    index,
    pad,
    permute,
    put,
    reshape,
    stack,
    take,
    transfer,
    view_scatter,
)
from .pool2d import avg_pool2d, max_pool2d
from .reduction import amax, amin, argmax, argmin, mean, sum_ as sum
from .softmax import log_softmax, softmax
