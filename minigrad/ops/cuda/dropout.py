"""The mask of dropout on the GPU: the numbers of ../dropout.py, from a key that is copied to the GPU for each mask."""

from ...runtime.cuda.array import to_device_each_replay
from ...runtime.cuda.elementwise import places
from ..dropout import _dropped, dropout_mask_dispatch

_fill_mask = places(_dropped)


@dropout_mask_dispatch.register("cuda")
def dropout_mask_cuda(key, limit, scale, out):
    _fill_mask(to_device_each_replay(key), limit, scale, out)
