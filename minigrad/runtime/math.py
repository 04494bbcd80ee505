"""Elementary functions for kernels: polynomials in float32, which vectorise, and the C library in float64.

They have no branches: where, larger and smaller choose, so that all lanes of a vector do the same.  The coefficients
are fitted for the smallest largest error.  Relative errors: exp, log, tanh below 2e-7, the others below 3e-7; of normal
absolute ones below 1e-7.
"""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .kernel import OPTIONS, helper
from .view import View

pi = math.pi  # in formulas, const(math.pi, x)
ROOT_HALF = 0.5**0.5


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


@intrinsic
def where(typing, condition, a, b):
    """a if the condition holds, else b, of one type; both are computed, without a branch, which keeps loops scalar."""
    kind = types.unliteral(a)
    return kind(types.boolean, kind, kind), lambda context, builder, signature, args: builder.select(*args)


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


def log1p_exp(x):
    """log(1 + e**x), without overflow."""
    return np.logaddexp(0, x)


def normal(x):
    """The normal distribution function of x."""
    return 0.5 * (1 + erf_array(x * ROOT_HALF))


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


@helper
def _split_exp(y, bias):
    """y = n*ln2 + r with |r| <= ln2/2: e**r - 1, and an integer whose last bits are those of n + bias; nan stays nan.

    12582912 = 1.5 * 2**23: a float32 near it has no fraction, and its bits are those of a whole number.
    """
    shifted = y * np.float32(1.44269504) + np.float32(12582912 + bias)
    n = shifted - np.float32(12582912 + bias)
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    z = r * r
    p = np.float32(1.38823956e-3) * z + (np.float32(8.36718082e-3) * r + np.float32(4.1667223e-2))
    p = p * z + (np.float32(0.16666539) * r + np.float32(0.49999997))
    return p * z + r, np.float32(shifted).view(np.int32)


@helper
def _power(bits):
    """2**n, from an integer whose last bits are those of n + 127."""
    return np.int32(bits << np.int32(23)).view(np.float32)


@helper
def _with_sign(size, x):
    """`size`, which is not negative, with the sign of x."""
    sign = np.float32(x).view(np.int32) & np.int32(-0x80000000)
    return np.int32(np.float32(size).view(np.int32) | sign).view(np.float32)


def _exp32(x):
    """e**r * 2**n, by two factors, because the result may be denormal or infinite."""
    q, bits = _split_exp(smaller(np.float32(89), larger(np.float32(-104), x)), 254)
    half = bits >> np.int32(1)
    return (q + np.float32(1)) * _power(half) * _power(bits - half)


def _expm1_32(x):
    """2**n * (e**r - 1) + 2**n - 1, computed by halves, because 2**n may be infinite."""
    q, bits = _split_exp(smaller(np.float32(89), larger(np.float32(-18), x)), 126)
    half = _power(bits)
    result = q * half + (half - np.float32(0.5))
    return where(x == np.float32(0), x, result + result)


def _tanh32(x):
    """m / (m + 2), where m is e**2x - 1, of the size of x."""
    size = smaller(np.float32(10), abs(x))
    q, bits = _split_exp(size + size, 127)
    power = _power(bits)
    m = q * power + (power - np.float32(1))
    return _with_sign(m / (m + np.float32(2)), x)


def _erf32(x):
    """1 - e**-p, where p is a polynomial of the size of x."""
    size = smaller(np.float32(4), abs(x))
    z = size * size
    p = np.float32(-3.81037127e-4) + np.float32(4.071277e-5) * size
    p = p * z + (np.float32(1.25185295e-3) * size + np.float32(2.05563774e-4))
    p = p * z + (np.float32(-1.93216037e-2) * size + np.float32(0.102814369))
    p = p * z + (np.float32(0.636616528) * size + np.float32(1.12837923))
    q, bits = _split_exp(p * -size, 127)
    power = _power(bits)
    return _with_sign((np.float32(1) - power) - q * power, x)


@helper
def _log_near_1(f):
    """log(1 + f) of an f from -0.3 to 1, as 2 atanh(s) with s = f / (f + 2)."""
    s = f / (f + np.float32(2))
    z = s * s
    p = np.float32(0.280119866) * z + np.float32(0.280018061)
    p = p * (z * z) + (np.float32(0.400215268) * z + np.float32(0.666664183))
    return f - s * (f - z * p)


def _log32(x):
    """x = 2**n * m with m from sqrt(1/2) to sqrt(2)."""
    tiny = x < np.float32(1.17549435e-38)
    bits = np.float32(where(tiny, x * np.float32(8388608), x)).view(np.int32)
    n = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - (n << np.int32(23))).view(np.float32)
    power = np.float32(n) - where(tiny, np.float32(23), np.float32(0))
    result = _log_near_1(m - np.float32(1)) - power * np.float32(2.12194440e-4) + power * np.float32(0.693359375)
    outside = where(x == np.float32(0), np.float32(-np.inf), np.float32(np.nan))
    return where(x > np.float32(0), where(x < np.float32(np.inf), result, x), outside)


def _log1p32(x):
    """log(u) + (x - (u - 1)) / u, where u is 1 + x, rounded."""
    u = np.float32(1) + x
    result = log(u)
    more = result + (x - (u - np.float32(1))) / u
    return where(u == np.float32(1), x, where(abs(result) < np.float32(np.inf), more, result))


def _log1p_exp32(x):
    return larger(x, np.float32(0)) + _log_near_1(exp(-abs(x)))


@helper
def _log1p_exp64(x):
    return larger(x, 0.0) + log1p(exp(-abs(x)))


def _normal32(x):
    """Below 0 the density times a polynomial of 1 / (1 + 0.28 |x|); an absolute error below 1e-7."""
    t = np.float32(1) / (np.float32(1) + np.float32(0.28) * abs(x))
    z = t * t
    p = np.float32(-0.10580875) * t + np.float32(0.389876068)
    p = p * z + (np.float32(-0.23699677) * t + np.float32(0.268912792))
    p = p * z + (np.float32(6.74957037e-2) * t + np.float32(0.116520941))
    tail = exp(x * x * np.float32(-0.5)) * (p * t)
    return where(x < np.float32(0), tail, np.float32(1) - tail)


@helper
def _normal64(x):
    return 0.5 * (1.0 + math.erf(x * ROOT_HALF))


def _atan2_32(x, y):
    """a P(a**2) / Q(a**2), where a is the smaller of both sizes divided by the larger; then the octant."""
    high, wide = abs(x), abs(y)
    steep = high > wide
    ratio = where(steep, wide, high) / where(steep, high, wide)
    ratio = where(high == wide, where(y == np.float32(0), np.float32(0), np.float32(1)), ratio)
    z = ratio * ratio
    p = (np.float32(0.137613162) * z + np.float32(0.898397207)) * z + np.float32(1)
    q = ((np.float32(1.23778097e-2) * z + np.float32(0.348222643)) * z + np.float32(1.23172855)) * z + np.float32(1)
    angle = ratio * p / q
    angle = where(steep, np.float32(pi / 2) - angle, angle)
    angle = where(np.float32(y).view(np.int32) < np.int32(0), np.float32(pi) - angle, angle)
    return _with_sign(angle, x)


def _implement(function, library, polynomial=None):
    """Define how kernels compute a function: by a polynomial in float32, else by the C library."""

    @overload(function, jit_options=OPTIONS)
    def _choose(x):
        return polynomial if polynomial is not None and x == types.float32 else lambda x: library(x)


def _implement_binary(function, library, polynomial=None):
    """Define how kernels compute a function of two numbers."""

    @overload(function, jit_options=OPTIONS)
    def _choose(x, y):
        return polynomial if polynomial is not None and x == types.float32 else lambda x, y: library(x, y)


_implement(exp, math.exp, _exp32)
_implement(log, math.log, _log32)
_implement(tanh, math.tanh, _tanh32)
_implement(erf, math.erf, _erf32)
_implement(expm1, math.expm1, _expm1_32)
_implement(log1p, math.log1p, _log1p32)
_implement(atan, math.atan, lambda x: atan2(x, np.float32(1)))
_implement(log1p_exp, _log1p_exp64, _log1p_exp32)
_implement(normal, _normal64, _normal32)
_implement(sqrt, math.sqrt)
for _name in ("sin", "cos", "tan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh"):
    _implement(globals()[_name], getattr(math, _name))
for _name in ("log2", "log10"):
    _implement(globals()[_name], getattr(math, _name))
for _name in ("floor", "ceil", "trunc", "rint"):
    _implement(globals()[_name], getattr(np, _name))
_implement_binary(atan2, math.atan2, _atan2_32)
_implement_binary(fmod, np.fmod)
