"""The CUDA kernels of the operations, each file beside the one of the same name in ops/; imported at the first use of
the GPU.

Element-wise operations need none: their kernels are generated from the formulas in ops/.
"""

from ...runtime.cuda.elementwise import elementwise
from ..op import FORMULA_COMPILERS
from . import conv2d, images, loss, matmul, movement, optimizer, pool2d, reduction, softmax

FORMULA_COMPILERS["cuda"] = elementwise
