"""Elementary functions for kernels: polynomials in float32, which vectorise where a library call does not, and
the C library in float64, where exactness counts.

Coefficients of exp and tanh: S. Moshier, Cephes mathematical library, single precision; errors below 2e-7.
"""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .kernel import OPTIONS, helper
from .view import View


@intrinsic
def const(typing, value, like):
    """The number `value` in the type of `like`; a bare 0.5 would turn float32 arithmetic into float64."""
    kind = like.element if isinstance(like, View) else types.unliteral(like)

    def generate(context, builder, signature, args):
        return context.cast(builder, args[0], types.unliteral(signature.args[0]), kind)

    return kind(types.unliteral(value), like), generate


@intrinsic
def larger(typing, a, b):
    """The larger of two numbers of one kind; Python's max costs 0.1 s of compile time."""
    return _chosen(a, ">")


@intrinsic
def smaller(typing, a, b):
    """The smaller of two numbers of one kind."""
    return _chosen(a, "<")


def _chosen(kind, comparison):
    kind = types.intp if isinstance(kind, types.Integer) else kind

    def generate(context, builder, signature, args):
        compare = builder.icmp_signed if kind is types.intp else builder.fcmp_ordered
        return builder.select(compare(comparison, *args), *args)

    return kind(kind, kind), generate


@helper
def added(total, lost, value):
    """total + value, and lost + what rounding took off it, for numbers or tiles.

    A running total of millions of numbers loses its digits; total and lost together do not.  See tile.settled.
    Source: D. Knuth, The Art of Computer Programming 2, 4.2.2, theorem B.
    """
    grown = total + value
    part = grown - total
    return grown, lost + ((total - (grown - part)) + (value - part))


def exp(x):
    """e to the power of x."""
    return np.exp(x)


def log(x):
    """The natural logarithm of x."""
    return np.log(x)


def tanh(x):
    """The hyperbolic tangent of x."""
    return np.tanh(x)


def sqrt(x):
    """The square root of x."""
    return np.sqrt(x)


@overload(sqrt, jit_options=OPTIONS)
def _sqrt(x):
    return lambda x: math.sqrt(x)


@overload(exp, jit_options=OPTIONS)
def _exp(x):
    return _exp32 if x == types.float32 else lambda x: math.exp(x)


@overload(log, jit_options=OPTIONS)
def _log(x):
    return _log32 if x == types.float32 else lambda x: math.log(x)


@overload(tanh, jit_options=OPTIONS)
def _tanh(x):
    return _tanh32 if x == types.float32 else lambda x: math.tanh(x)


def _exp32(x):
    """x = n*ln2 + r with |r| <= ln2/2; e**x = 2**n * e**r, the power added to the exponent's bits."""
    y = smaller(larger(x, np.float32(-104)), np.float32(90))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    tiny = n < np.float32(-100)  # below the normal numbers: made 2**64 times too large first
    power = np.int32(n) + (np.int32(64) if tiny else np.int32(0))
    scaled = np.int32(np.float32(p).view(np.int32) + (power << np.int32(23))).view(np.float32)  # p * 2**power
    result = scaled * (np.float32(2.0**-64) if tiny else np.float32(1))
    result = np.float32(np.inf) if x > np.float32(88.72283) else result
    return x if x != x else result


def _log32(x):
    """x = 2**n * m with m near 1; log(m) = 2 atanh((m-1) / (m+1)) by its series."""
    tiny = x < np.float32(1.17549435e-38)
    y = x * np.float32(8388608) if tiny else x
    bits = np.float32(y).view(np.int32)
    n = np.float32((bits >> np.int32(23)) - np.int32(127)) - (np.float32(23) if tiny else np.float32(0))
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    big = m > np.float32(1.41421356)
    m = m * np.float32(0.5) if big else m
    n = n + np.float32(1) if big else n
    s = (m - np.float32(1)) / (m + np.float32(1))
    z = s * s
    p = np.float32(2 / 9) * z + np.float32(2 / 7)
    p = p * z + np.float32(2 / 5)
    p = p * z + np.float32(2 / 3)
    result = n * np.float32(0.693359375) + (s * z * p + np.float32(2) * s - n * np.float32(2.12194440e-4))
    result = result if x < np.float32(np.inf) else x
    return result if x > np.float32(0) else (np.float32(-np.inf) if x == np.float32(0) else np.float32(np.nan))


def _tanh32(x):
    """Near 0 an odd polynomial; elsewhere 1 - 2 / (e**2x + 1)."""
    size = abs(x)
    z = x * x
    p = np.float32(-5.70498872745e-3)
    p = p * z + np.float32(2.06390887954e-2)
    p = p * z + np.float32(-5.37397155531e-2)
    p = p * z + np.float32(1.33314422036e-1)
    p = p * z + np.float32(-3.33332819422e-1)
    near = p * z * x + x
    far = np.float32(1) - np.float32(2) / (exp(size + size) + np.float32(1))
    return near if size < np.float32(0.625) else (-far if x < np.float32(0) else far)
