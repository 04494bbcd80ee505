"""The operations, one family a file: formula, source, reference, kernels, forward and gradient.  Arrays only.

`ops.relu` is the operation called relu.
"""

from . import (
    activation,
    arithmetic,
    conv2d as _conv2d,
    dropout,
    loss,
    matmul as _matmul,
    movement,
    pool2d,
    reduction,
    softmax as _softmax,
)
from .op import OPS

globals().update(OPS)  # an operation stands in front of the file of its name
