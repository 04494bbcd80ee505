"""Two fields of uniform noise for each of many images, which follow from the image's seed.

    out[0, p, n], out[1, p, n] = the upper 24 bits, and the next 24 bits, of hash(seeds[n], p), as numbers from -1 to 1

Source: G. Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing function).
"""

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Array3, Ints, helper, kernel
from .dropout import GOLDEN, MIX_A, MIX_B, S27, S30, S31, S40
from .op import Dispatch

S16, LOWER = np.uint64(16), np.uint64((1 << 24) - 1)
PIXELS_PER_TASK = 32


def hash_pixel(seed, pixel):
    """64 random bits, from a seed and a number; for numbers and arrays of uint64."""
    z = seed + (pixel + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> S30)) * MIX_A
    z = (z ^ (z >> S27)) * MIX_B
    return z ^ (z >> S31)


_hash_pixel = helper(hash_pixel)


def noise_numpy(seeds, out):
    bits = hash_pixel(seeds.view(np.uint64), np.arange(out.shape[1], dtype=np.uint64)[:, None])
    for field, part in zip(out, (bits >> S40, bits >> S16 & LOWER), strict=True):
        field[...] = part.astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


@kernel
def noise_kernel(task, seeds: Ints, out: Array3):
    """PIXELS_PER_TASK pixels of all images: seeds (N,), out (2, P, N)."""
    _, P, N = out.shape
    for p in range(task * PIXELS_PER_TASK, min((task + 1) * PIXELS_PER_TASK, P)):
        for n in range(N):
            bits = _hash_pixel(np.uint64(seeds[n]), np.uint64(p))
            out[0, p, n] = np.float32(np.int64(bits >> S40)) * np.float32(2.0**-23) - np.float32(1)
            out[1, p, n] = np.float32(np.int64(bits >> S16 & LOWER)) * np.float32(2.0**-23) - np.float32(1)


def noise_cpu(seeds, out):
    noise_kernel.run_small(-(-out.shape[1] // PIXELS_PER_TASK), out.size, seeds, out)


noise_dispatch = Dispatch("noise", noise_numpy, cpu=noise_cpu)


def uniform_noise(device, seeds, pixels):
    """Noise (2, pixels, N) float32 from seeds (N,) uint64."""
    out = memory.empty((2, pixels, len(seeds)), np.dtype(np.float32), device)
    noise_dispatch[device.type](np.ascontiguousarray(seeds).view(np.int64), out)
    return out
