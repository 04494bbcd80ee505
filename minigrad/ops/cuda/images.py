"""Batches of images on the GPU, from a data set that lies there as bytes; the formula is in ../images.py."""

from ...runtime import memory
from ...runtime.cuda.array import to_device_each_replay
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.index import is_inside, join_index, split_index
from ...runtime.cuda.kernel import kernel
from ..images import images_dispatch


@kernel
def images_kernel(images, indices, scale, shift, out, N, C, H, W, pad):
    """One pixel of one image: images (M, C, H, W), out (C, H + 2*pad, W + 2*pad, N)."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, row, column, n = split_index(i, H + 2 * pad, W + 2 * pad, N)
        h, w = row - pad, column - pad
        value = shift[c]
        if is_inside(h, w, H, W):
            value += images[join_index(indices[n], c, h, w, C, H, W)] * scale[c]
        out[i] = value


@images_dispatch.register("cuda")
def images_cuda(images, indices, scale, shift, pad, out):
    result = memory.move_batch_last(out)
    arrays = images.reshape(-1), to_device_each_replay(indices), scale, shift, result.reshape(-1)
    images_kernel.launch_over(result.size, *arrays, result.shape[-1], *images.shape[1:], pad)
