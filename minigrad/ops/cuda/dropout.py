"""The mask of dropout on the GPU: the numbers of ../dropout.py, from a key that is sent for each mask."""

from ...runtime.cuda.array import resent
from ...runtime.cuda.elementwise import places
from ..dropout import _dropped, dropout_mask_dispatch

_filled = places(_dropped)


@dropout_mask_dispatch.register("cuda")
def dropout_mask_cuda(key, limit, scale, out):
    _filled(resent(key), limit, scale, out)
