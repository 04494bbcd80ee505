"""The CUDA kernels of the operations, each file beside the one of the same name in ops/; imported at the first use of
the GPU.

Element-by-element operations need none: their kernels are generated from the formulas in ops/.
"""

from . import conv2d, dropout, images, loss, matmul, movement, optimizer, pool2d, reduction, softmax
