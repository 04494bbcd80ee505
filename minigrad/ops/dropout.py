"""The mask of dropout: each element is 0 with probability p, else 1 / (1 - p).

The random number of an element is a hash of a key and of the element's index in C order.  So a mask is the same on
every device, for every memory layout and every number of threads.

Sources: N. Srivastava et al., 2014 (dropout); G. Steele et al., "Fast splittable pseudorandom number generators",
OOPSLA 2014 (the mixing function).
"""

import numpy as np

from ..runtime import memory
from ..runtime.elementwise import Index
from ..runtime.kernel import Ints, Memory, helper
from ..runtime.math import const
from .op import Dispatch, op

GOLDEN, MIX_A, MIX_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31, S40 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)
BITS = 24  # of a random number, as many as float32 holds exactly


def random_bits(key, index):
    """24 random bits for each index, from a 64-bit key; for numbers and arrays."""
    z = key + (index + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> S30)) * MIX_A
    z = (z ^ (z >> S27)) * MIX_B
    return (z ^ (z >> S31)) >> S40


_random_bits = helper(random_bits)


def dropout_mask_numpy(key, limit, scale, out):
    index = np.arange(out.size, dtype=np.uint64).reshape(out.shape)
    out[...] = np.where(random_bits(key.view(np.uint64)[0], index) < np.uint64(limit), 0, scale)


def _mask_element(index, key, limit, scale):
    return const(0, scale) if _random_bits(np.uint64(key), np.uint64(index)) < np.uint64(limit) else scale


dropout_mask_dispatch = Dispatch(
    "dropout_mask", dropout_mask_numpy, formula=_mask_element, kinds=(Index, Ints, Ints, Memory, Memory)
)


@op(elementwise=True)
def dropout_mask(device, x, *, p, key):
    """A mask in the layout of x, from a key (1) uint64."""
    out = memory.empty_like(x)
    dropout_mask_dispatch[device.type](key.view(np.int64), round(p * 2**BITS), 0.0 if p == 1 else 1 / (1 - p), out)
    return out
