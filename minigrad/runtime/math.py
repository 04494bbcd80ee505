"""Elementary functions for kernels: polynomials in float32, which vectorise, and the C library in float64.

Sources of the polynomials
    exp, tanh   S. Moshier, Cephes mathematical library, single precision; errors below 2e-7
    log         the series of atanh
    erf         fitted to math.erf for the smallest largest error, in the form of C. Hastings, "Approximations for
                digital computers", 1955 (Abramowitz & Stegun, 7.1.28); absolute errors below 2.5e-7, relative ones
                below 3e-7
"""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .kernel import OPTIONS, helper
from .view import View

pi = math.pi  # in formulas, const(math.pi, x)


@intrinsic
def const(typing, value, like):
    """The number `value` in the type of `like`; a plain 0.5 would turn float32 arithmetic into float64."""
    kind = like.element if isinstance(like, View) else types.unliteral(like)

    def generate(context, builder, signature, args):
        return context.cast(builder, args[0], types.unliteral(signature.args[0]), kind)

    return kind(types.unliteral(value), like), generate


@intrinsic
def larger(typing, a, b):
    """The larger of two numbers of one type, b if one is nan; Python's max adds 0.1 s of compile time."""
    return _select(a, ">")


@intrinsic
def smaller(typing, a, b):
    """The smaller of two numbers of one type, b if one is nan."""
    return _select(a, "<")


def _select(kind, comparison):
    kind = types.intp if isinstance(kind, types.Integer) else kind

    def generate(context, builder, signature, args):
        compare = builder.icmp_signed if kind is types.intp else builder.fcmp_ordered
        return builder.select(compare(comparison, *args), *args)

    return kind(kind, kind), generate


@helper
def compensated_add(total, lost, value):
    """Add to a compensated sum: return total + value, and `lost` plus the rounding error of this addition.

    Takes numbers or tiles; tile.compensated_total gives the sum.
    Source: D. Knuth, The Art of Computer Programming 2, 4.2.2, theorem B.
    """
    new = total + value
    added = new - total
    return new, lost + ((total - (new - added)) + (value - added))


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


def erf(x):
    """The error function of x."""
    return math.erf(x)


def _numpy_function(ufunc):
    """A ufunc of NumPy as a Python function, for which `_implement` can define what kernels do."""
    return lambda *numbers: ufunc(*numbers)


sin, cos, tan = _numpy_function(np.sin), _numpy_function(np.cos), _numpy_function(np.tan)
asin, acos, atan = _numpy_function(np.arcsin), _numpy_function(np.arccos), _numpy_function(np.arctan)
sinh, cosh = _numpy_function(np.sinh), _numpy_function(np.cosh)
asinh, acosh, atanh = _numpy_function(np.arcsinh), _numpy_function(np.arccosh), _numpy_function(np.arctanh)
expm1, log1p = _numpy_function(np.expm1), _numpy_function(np.log1p)
log2, log10 = _numpy_function(np.log2), _numpy_function(np.log10)
floor, ceil, trunc = _numpy_function(np.floor), _numpy_function(np.ceil), _numpy_function(np.trunc)
rint = _numpy_function(np.rint)  # halves go to the even number
atan2, fmod = _numpy_function(np.arctan2), _numpy_function(np.fmod)


def erf_array(x):
    """The error function of an array of floats, exact to float64, for reference implementations.

    Complex numbers must have a tiny imaginary part, as for a complex-step derivative.
    """
    values = np.asarray(_erf_elements(x.real), np.float64)
    if np.iscomplexobj(x):
        values = values + 2j / math.sqrt(math.pi) * np.exp(-(x.real**2)) * x.imag
    return np.asarray(values, x.dtype)


_erf_elements = np.frompyfunc(math.erf, 1, 1)


def _exp32(x):
    """x = n*ln2 + r with |r| <= ln2/2; e**x = 2**n * e**r, where n is added to the bits of the exponent."""
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
    tiny = n < np.float32(-100)  # the result is denormal: compute 2**64 times it first
    power = np.int32(n) + (np.int32(64) if tiny else np.int32(0))
    scaled = np.int32(np.float32(p).view(np.int32) + (power << np.int32(23))).view(np.float32)  # p * 2**power
    result = scaled * (np.float32(2.0**-64) if tiny else np.float32(1))
    result = np.float32(np.inf) if x > np.float32(88.72283) else result
    return x if x != x else result


def _log32(x):
    """x = 2**n * m with m near 1; log(m) = 2 atanh((m-1) / (m+1)), by the series of atanh."""
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


def _erf32(x):
    """An odd polynomial below 1 in size; elsewhere 1 - 1 / d**8 with a polynomial d of the size."""
    size = abs(x)
    z = x * x
    p = np.float32(-5.6314579e-4)
    p = p * z + np.float32(4.9175611e-3)
    p = p * z + np.float32(-2.6711321e-2)
    p = p * z + np.float32(1.12801805e-1)
    p = p * z + np.float32(-3.7612325e-1)
    p = p * z + np.float32(1.1283791)
    d = np.float32(2.2412741e-3)
    d = d * size + np.float32(-1.2364717e-2)
    d = d * size + np.float32(4.6105389e-2)
    d = d * size + np.float32(-4.8692755e-2)
    d = d * size + np.float32(1.6100548e-1)
    d = d * size + np.float32(1.036859e-1)
    d = d * size + np.float32(1.0081316)
    d = d * d
    d = d * d
    far = np.float32(1) - np.float32(1) / (d * d)
    return p * x if size < np.float32(1) else (-far if x < np.float32(0) else far)


def _implement(function, library, polynomial=None):
    """Define how kernels compute a function: by a polynomial in float32, else by the C library."""

    @overload(function, jit_options=OPTIONS)
    def _choose(x):
        return polynomial if polynomial is not None and x == types.float32 else lambda x: library(x)


def _implement_binary(function, library):
    """Define how kernels compute a function of two numbers."""

    @overload(function, jit_options=OPTIONS)
    def _choose(x, y):
        return lambda x, y: library(x, y)


_implement(exp, math.exp, _exp32)
_implement(log, math.log, _log32)
_implement(tanh, math.tanh, _tanh32)
_implement(erf, math.erf, _erf32)
_implement(sqrt, math.sqrt)
for _name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"):
    _implement(globals()[_name], getattr(math, _name))
for _name in ("expm1", "log1p", "log2", "log10"):
    _implement(globals()[_name], getattr(math, _name))
for _name in ("floor", "ceil", "trunc", "rint"):
    _implement(globals()[_name], getattr(np, _name))
_implement_binary(atan2, math.atan2)
_implement_binary(fmod, np.fmod)
