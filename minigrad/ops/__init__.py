"""The operations, one family a file: formula, source, reference, kernels, forward and gradient.  Arrays only.

`ops.relu` is the operation called relu; it stands in front of a file of the same name.
"""

from . import (
    activation,
    arithmetic,
    attention,
    drawing,
    dropout,
    elementwise_loss,
    loss,
    mathematics,
    matrix,
    movement,
    normalization,
    pool2d,
    reduction,
    scan,
    sliding,
    sorting,
)
from .axis_sums import axis_sums
from .conv2d import conv2d
from .embedding import embedding
from .matmul import matmul
from .op import OPS, Op
from .softmax import softmax


def __getattr__(name: str) -> Op:
    raise AttributeError(f"ops: there is no operation {name!r}; declare it in a file of minigrad/ops")


globals().update(OPS)
