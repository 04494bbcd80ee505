"""Random numbers made in kernels: uniform ones, and the mask of dropout, 0 with probability p, else 1 / (1 - p).

The random number of an element is a hash of a key and of the element's index in C order.  So they are the same on
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
from .promotion import expect_float

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


UNIFORM_STEP = 2.0 ** (1 - BITS)  # half steps are numbers of float32, so that neither 0 nor 1 is drawn


def uniform_numpy(key, step, out):
    index = np.arange(out.size, dtype=np.uint64).reshape(out.shape)
    out[...] = ((random_bits(key.view(np.uint64)[0], index) >> np.uint64(1)) + 0.5) * step


def _uniform_element(index, key, step):
    return (const(_random_bits(np.uint64(key), np.uint64(index)) >> np.uint64(1), step) + const(0.5, step)) * step


uniform_dispatch = Dispatch("uniform", uniform_numpy, formula=_uniform_element, kinds=(Index, Ints, Memory, Memory))


@op(elementwise=True)
def uniform(device, x, *, key):
    """Numbers between 0 and 1, both excluded, in the layout of x, from a key (1) uint64."""
    expect_float("uniform", x)
    out = memory.empty_like(x)
    uniform_dispatch[device.type](key.view(np.int64), UNIFORM_STEP, out)
    return out
