"""Functions of each element beyond arithmetic: one declaration each, and bits and remainders of whole numbers.

Derivatives are those of any table; at jumps and kinks they are PyTorch's: 0 for rounding and sign.
"""

import math as libm

import numpy as np

from ..errors import DtypeError, ValidationError
from ..runtime import math, memory
from ..runtime.math import const
from .arithmetic import dtype_of_quotient, eq, keep_dtype
from .elementwise import binary, fill_by, unary
from .op import Dispatch, Op, op
from .promotion import BOOL, INT64, cast_all, common_dtype, prepare


def _square(do, a, more=0.0):
    """a * a + more"""
    square = do.mul(a, a) if hasattr(a, "shape") else a * a
    return do.add(square, more) if more else square


def _one_minus_square(do, a):
    return do.sub(1.0, _square(do, a))


def _zero(do, g):
    """Zeros like g, also where g is infinite or nan."""
    return do.where(do.lt(g, -np.inf), g, 0.0)


# ---- trigonometric and hyperbolic functions


def _over_root(do, g, square):
    return do.div(g, do.sqrt(square))


def _slope_of_asin(do, g, a):
    return _over_root(do, g, _one_minus_square(do, a))


sin = unary("sin", lambda a: math.sin(a), np.sin, derivative=lambda do, g, a: do.mul(g, do.cos(a)))
cos = unary("cos", lambda a: math.cos(a), np.cos, derivative=lambda do, g, a: do.neg(do.mul(g, do.sin(a))))
tan = unary("tan", lambda a: math.tan(a), np.tan, derivative=lambda do, g, out: do.mul(g, _square(do, out, 1.0)))
asin = unary("asin", lambda a: math.asin(a), np.arcsin, derivative=_slope_of_asin)
acos = unary("acos", lambda a: math.acos(a), np.arccos, derivative=lambda do, g, a: do.neg(_slope_of_asin(do, g, a)))
atan = unary("atan", lambda a: math.atan(a), np.arctan, derivative=lambda do, g, a: do.div(g, _square(do, a, 1.0)))
sinh = unary("sinh", lambda a: math.sinh(a), np.sinh, derivative=lambda do, g, a: do.mul(g, do.cosh(a)))
cosh = unary("cosh", lambda a: math.cosh(a), np.cosh, derivative=lambda do, g, a: do.mul(g, do.sinh(a)))
asinh = unary(
    "asinh", lambda a: math.asinh(a), np.arcsinh, derivative=lambda do, g, a: _over_root(do, g, _square(do, a, 1.0))
)
acosh = unary(
    "acosh", lambda a: math.acosh(a), np.arccosh, derivative=lambda do, g, a: _over_root(do, g, _square(do, a, -1.0))
)
atanh = unary(
    "atanh", lambda a: math.atanh(a), np.arctanh, derivative=lambda do, g, a: do.div(g, _one_minus_square(do, a))
)
atan2 = binary("atan2", lambda a, b: math.atan2(a, b), np.arctan2, dtype_of_quotient)
hypot = binary("hypot", lambda a, b: libm.hypot(a, b), np.hypot, dtype_of_quotient)


@atan2.gradient
def atan2_gradient(do, g, a, b):
    def scaled():
        return do.div(g, do.add(_square(do, a), _square(do, b)))

    return lambda: do.mul(scaled(), b), lambda: do.neg(do.mul(scaled(), a))


@hypot.gradient
def hypot_gradient(do, g, a, b, out):
    return lambda: do.mul(g, do.div(a, out)), lambda: do.mul(g, do.div(b, out))


# ---- logarithms, powers, error functions

LOG_2, LOG_10 = libm.log(2), libm.log(10)

expm1 = unary("expm1", lambda a: math.expm1(a), np.expm1, derivative=lambda do, g, out: do.mul(g, do.add(out, 1.0)))
log1p = unary("log1p", lambda a: math.log1p(a), np.log1p, derivative=lambda do, g, a: do.div(g, do.add(a, 1.0)))
log2 = unary("log2", lambda a: math.log2(a), np.log2, derivative=lambda do, g, a: do.div(g, do.mul(a, LOG_2)))
log10 = unary("log10", lambda a: math.log10(a), np.log10, derivative=lambda do, g, a: do.div(g, do.mul(a, LOG_10)))


def _bell(do, g, a):
    """The slope of the error function."""
    return do.mul(g, do.mul(do.exp(do.neg(_square(do, a))), 2 / libm.sqrt(libm.pi)))


erf = unary("erf", lambda a: math.erf(a), math.erf_array, derivative=_bell)
_erfc_elements = np.frompyfunc(libm.erfc, 1, 1)
erfc = unary(
    "erfc",
    lambda a: libm.erfc(a),
    lambda a: np.asarray(_erfc_elements(a), a.dtype),
    derivative=lambda do, g, a: do.neg(_bell(do, g, a)),
)


def _logaddexp(a, b):
    high, low = (a, b) if a > b else (b, a)
    return a if a == b and a - b != a - b else high + math.log1p(math.exp(low - high))


logaddexp = binary("logaddexp", _logaddexp, np.logaddexp, dtype_of_quotient)


@logaddexp.gradient
def logaddexp_gradient(do, g, a, b):
    def share(one, other):
        return do.div(g, do.add(do.exp(do.sub(other, one)), 1.0))

    return lambda: share(a, b), lambda: share(b, a)


# ---- rounding, sign, the larger of two without nan


def _rounding(name, formula, reference) -> Op:
    """An operation that leaves whole numbers as they are, and whose gradient is 0."""
    dispatch = Dispatch(name, fill_by(reference), formula=formula)

    def forward(device, a):
        if a.dtype.kind != "f":
            return memory.clone(a)
        out = memory.empty_like(a)
        dispatch[device.type](a, out)
        return out

    operation = Op(forward, name=name, elementwise=True)
    operation.gradient(lambda do, g: (lambda: _zero(do, g),))
    return operation


floor = _rounding("floor", lambda a: math.floor(a), np.floor)
ceil = _rounding("ceil", lambda a: math.ceil(a), np.ceil)
trunc = _rounding("trunc", lambda a: math.trunc(a), np.trunc)
round_ = _rounding("round", lambda a: math.rint(a), np.rint)
sign = unary(
    "sign",
    lambda a: const(1, a) if a > const(0, a) else const(-1, a) if a < const(0, a) else const(0, a),
    lambda a: np.subtract(a > 0, a < 0, dtype=np.int8).astype(a.dtype),
    keep_dtype,
    derivative=lambda do, g: _zero(do, g),
)
fmax = binary("fmax", lambda a, b: a if (a >= b) | (b != b) else b, np.fmax)
fmin = binary("fmin", lambda a, b: a if (a <= b) | (b != b) else b, np.fmin)


@fmax.gradient
@fmin.gradient
def fmax_gradient(do, g, a, out):
    """At a tie all of g goes to a."""
    return lambda: do.where(do.eq(out, a), g, 0.0), lambda: do.where(do.eq(out, a), 0.0, g)


# ---- a % b and a // b, rounded down as in Python; fmod, with the sign of a


def _remainder(a, b):
    rest = math.fmod(a, b)
    return rest + b if rest != const(0, a) and (rest < const(0, a)) != (b < const(0, a)) else rest


def _floor_divide(a, b):
    rest = math.fmod(a, b)
    quotient = (a - rest) / b
    quotient -= const(1, a) if rest != const(0, a) and (rest < const(0, a)) != (b < const(0, a)) else const(0, a)
    whole = math.floor(quotient)
    whole += const(1, a) if quotient - whole > const(0.5, a) else const(0, a)
    rounded = whole if quotient != const(0, a) else libm.copysign(const(0, a), a / b)
    return a / b if b == const(0, a) else rounded


def _fmod_whole(a, b):
    rest = a % b
    return rest - b if rest != 0 and (rest < 0) != (a < 0) else rest


def _division(name, formula, whole, reference) -> Op:
    """A binary operation, with a formula for whole numbers, whose divisor must not be 0."""
    float_dispatch = Dispatch(name, fill_by(reference), formula=formula)
    whole_dispatch = Dispatch(f"{name}_whole", fill_by(reference), formula=whole)

    def forward(device, a, b):
        dtype = common_dtype(name, a, b)
        if dtype == BOOL:
            raise DtypeError(f"{name}: bool tensors cannot be divided; convert one with .long()")
        if dtype.kind != "f" and getattr(a, "size", 1):
            wrong = cast_all(INT64, eq.forward(device, b, 0))[0] if memory.is_array(b) else int(b == 0)
            device.expect_range(wrong, 0, 1, 0, _division_by_zero, name)
        operands, out = prepare(name, device, dtype, a, b)
        (float_dispatch if dtype.kind == "f" else whole_dispatch)[device.type](*operands, out)
        return out

    return Op(forward, name=name, elementwise=True)


def _division_by_zero(_, name):
    return ValidationError(f"{name}: whole numbers cannot be divided by 0; convert them with .float() for inf and nan")


remainder = _division("remainder", _remainder, lambda a, b: a % b, np.remainder)
floor_divide = _division("floor_divide", _floor_divide, lambda a, b: a // b, np.floor_divide)
fmod = _division("fmod", lambda a, b: math.fmod(a, b), _fmod_whole, np.fmod)


@remainder.gradient
def remainder_gradient(do, g, a, b):
    return lambda: g, lambda: do.neg(do.mul(g, do.floor_divide(a, b)))


@fmod.gradient
def fmod_gradient(do, g, a, b):
    return lambda: g, lambda: do.neg(do.mul(g, do.trunc(do.div(a, b))))


@floor_divide.gradient
def floor_divide_gradient(do, g):
    return lambda: _zero(do, g), lambda: _zero(do, g)


# ---- bits of whole numbers; logic of bool


def _dtype_of_bits(where, a, b):
    dtype = common_dtype(where, a, b)
    if dtype.kind == "f" or (dtype == BOOL and "shift" in where):
        kinds = "whole numbers" if "shift" in where else "whole numbers or bool"
        raise DtypeError(f"{where}: expected {kinds}, got {dtype}; convert with .long()")
    return dtype


bitwise_and = binary("bitwise_and", lambda a, b: a & b, np.bitwise_and, _dtype_of_bits)
bitwise_or = binary("bitwise_or", lambda a, b: a | b, np.bitwise_or, _dtype_of_bits)
bitwise_xor = binary("bitwise_xor", lambda a, b: a ^ b, np.bitwise_xor, _dtype_of_bits)
bitwise_left_shift = binary(
    "bitwise_left_shift", lambda a, b: a << b if b >= 0 and b < 64 else 0, np.left_shift, _dtype_of_bits
)
bitwise_right_shift = binary(
    "bitwise_right_shift", lambda a, b: a >> (b if b >= 0 and b < 63 else 63), np.right_shift, _dtype_of_bits
)
bitwise_not_dispatch = Dispatch("bitwise_not", fill_by(np.invert), formula=lambda a: ~a)


@op(elementwise=True)
def bitwise_not(device, a):
    if a.dtype.kind == "f":
        raise DtypeError(f"bitwise_not: expected whole numbers or bool, got {a.dtype}; compare first, or use -x")
    if a.dtype == BOOL:
        return eq.forward(device, a, False)
    out = memory.empty_like(a)
    bitwise_not_dispatch[device.type](a, out)
    return out
