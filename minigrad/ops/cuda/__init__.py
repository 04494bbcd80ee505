"""The CUDA kernels of the operations, each file beside the one of the same name in ops/; imported at the first use of
the GPU.

Element-wise operations need none: their kernels are generated from the formulas in ops/.
"""

from ...runtime.cuda.elementwise import elementwise
from ..op import IMPLEMENTERS
from . import (
    attention,
    axis_sums,
    conv2d,
    drawing,
    embedding,
    images,
    loss,
    matmul,
    movement,
    normalization,
    optimizer,
    pool2d,
    reduction,
    scan,
    softmax,
    sorting,
    warp,
)

IMPLEMENTERS["cuda"] = lambda dispatch: (
    None if dispatch.formula is None else elementwise(dispatch.formula, dispatch.kinds, dispatch.name)
)
