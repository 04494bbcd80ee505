"""The cuda columns of the operations, each page beside the one of its name in ops/; loaded when a GPU is first used.

Operations that compute element by element need none: their formulas serve every device.
"""

from . import conv2d, dropout, images, loss, matmul, movement, optimizer, pool2d, reduction, softmax
