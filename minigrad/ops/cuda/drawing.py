"""Random numbers drawn on the host and copied to the GPU; the operation is in ../drawing.py."""

import numpy as np

from ...runtime import memory
from ...runtime.cuda.array import to_device_each_replay
from ..drawing import draw_dispatch


@draw_dispatch.register("cuda")
def draw_cuda(sample, out):
    drawn = np.empty(out.shape, out.dtype)
    draw_dispatch["numpy"](sample, drawn)
    memory.copy(out, to_device_each_replay(drawn))
