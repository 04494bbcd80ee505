"""Batches of images on the GPU, from a data set that lies there as bytes.  The formula is in ../images.py."""

from ...runtime import memory
from ...runtime.cuda.array import resent
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ..images import images_dispatch


@kernel
def images_kernel(images, indices, scale, shift, out, N, C, H, W, pad):
    """One pixel of one image: images (M, C, H, W), out (C, H + 2*pad, W + 2*pad, N)."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        n, pixel = i % N, i // N
        rows, columns = H + 2 * pad, W + 2 * pad
        h, v, c = pixel // columns % rows - pad, pixel % columns - pad, pixel // (columns * rows)
        value = shift[c]
        if h >= 0 and h < H and v >= 0 and v < W:
            value += images[((indices[n] * C + c) * H + h) * W + v] * scale[c]
        out[i] = value


@images_dispatch.register("cuda")
def images_cuda(images, indices, scale, shift, pad, out):
    result = memory.batch_last(out)
    _, C, H, W = images.shape
    flat = images.reshape(-1), resent(indices), scale, shift, result.reshape(-1)
    images_kernel.each(result.size, *flat, result.shape[-1], C, H, W, pad)
