"""The mask of dropout on the GPU: the numbers of ../dropout.py, from a key that is sent for each mask."""

from ...runtime.cuda.array import resent
from ...runtime.cuda.elementwise import places
from ..dropout import _dropped, dropout_mask_columns
from ..op import column

_filled = places(_dropped)


@column(dropout_mask_columns)
def dropout_mask_cuda(key, limit, scale, out):
    _filled(resent(key), limit, scale, out)
