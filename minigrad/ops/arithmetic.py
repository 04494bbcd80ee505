"""Arithmetic, powers, comparison, choice: element by element, with broadcasting."""

import numpy as np

from ..errors import DtypeError
from ..runtime import math, memory
from ..runtime.kernel import Bytes, Memory
from ..shapes import broadcast
from .elementwise import binary, comparison, fill_by, unary
from .op import Dispatch, op
from .promotion import BOOL, FLOAT32, INT64, cast_all, common_dtype, like, limits, prepare, result_type

# ---- a + b, a - b, a * b, a / b, -a


def _dtype_of_difference(where, a, b):
    dtype = common_dtype(where, a, b)
    if dtype == BOOL:
        raise DtypeError("sub: bool tensors have no difference; use a != b, or convert them with .long()")
    return dtype


def dtype_of_quotient(where, a, b):
    dtype = result_type(where, a, b)
    return dtype if dtype.kind == "f" else FLOAT32


def _refuse_bool(where, a):
    if a.dtype == BOOL:
        raise DtypeError(f"{where}: a bool tensor has no negative; use ~x")
    return a


def keep_dtype(where, a):
    """abs and sign take whole numbers and bool, too."""
    return a


add = binary("add", lambda a, b: a + b, np.add)
sub = binary("sub", lambda a, b: a - b, np.subtract, _dtype_of_difference)
mul = binary("mul", lambda a, b: a * b, np.multiply)
div = binary("div", lambda a, b: a / b, np.divide, dtype_of_quotient)
neg = unary("neg", lambda a: -a, np.negative, _refuse_bool, derivative=lambda do, g: do.neg(g))
add_dispatch = add.dispatch  # for sums in place


@add.gradient
def add_gradient(do, g):
    return lambda: g, lambda: g


@sub.gradient
def sub_gradient(do, g):
    return lambda: g, lambda: do.neg(g)


@mul.gradient
def mul_gradient(do, g, a, b):
    return lambda: do.mul(g, b), lambda: do.mul(g, a)


@div.gradient
def div_gradient(do, g, b, out):
    """d(a/b) = da/b - (a/b) db/b."""
    return lambda: do.div(g, b), lambda: do.neg(do.div(do.mul(g, out), b))


# ---- a ** b

pow_dispatch = Dispatch("pow", fill_by(np.power), formula=lambda a, b: a**b)


@op(elementwise=True)
def pow_(device, a, b):
    dtype = common_dtype("pow", a, b)
    if dtype == BOOL:
        raise DtypeError("pow: bool tensors have no powers; convert one with .long()")
    if dtype.kind != "f":
        device.expect_range(b, 0, np.iinfo(INT64).max, 0, _negative_power)
    elif not memory.is_array(b) and abs(b) == 0.5:  # as PyTorch: nan of -inf, -inf of -0.0
        (a,) = cast_all(dtype, a)
        root = sqrt.forward(device, a)
        return root if b > 0 else div.forward(device, 1, root)
    (a, b), out = prepare("pow", device, dtype, a, b)
    pow_dispatch[device.type](a, b, out)
    return out


def _negative_power(value):
    return DtypeError("pow: whole numbers have no negative powers here; convert the base with .float()")


@pow_.gradient
def pow_gradient(do, g, a, b, out):
    """b a**(b-1) da + a**b log(a) db; the first is 0 where b is 0, the second where a is 0 and b is not below 0."""

    def by_base():
        if not hasattr(b, "shape"):
            return do.mul(g, do.mul(do.pow(a, b - 1), b) if b else 0.0)
        constant = do.eq(b, 0)
        return do.mul(g, do.where(constant, 0.0, do.mul(b, do.pow(a, do.where(constant, 1.0, do.sub(b, 1))))))

    def by_exponent():
        if hasattr(a, "shape"):
            constant = do.mul(do.eq(a, 0), do.ge(b, 0))
            return do.mul(g, do.mul(out, do.log(do.where(constant, 1.0, a))))
        with np.errstate(all="ignore"):
            slope = do.mul(out, float(np.log(a)))
        return do.mul(g, slope if a else do.where(do.ge(b, 0), 0.0, slope))

    return by_base, by_exponent


# ---- maximum, minimum, abs, clip

maximum = binary("maximum", lambda a, b: a if (a > b) | (a != a) else b, np.maximum)
minimum = binary("minimum", lambda a, b: a if (a < b) | (a != a) else b, np.minimum)
abs_ = unary("abs", lambda a: abs(a), np.absolute, keep_dtype)


@maximum.gradient
def maximum_gradient(do, g, a, b):
    return lambda: _share(do, g, do.lt(a, b), do.eq(a, b)), lambda: _share(do, g, do.gt(a, b), do.eq(a, b))


@minimum.gradient
def minimum_gradient(do, g, a, b):
    return lambda: _share(do, g, do.gt(a, b), do.eq(a, b)), lambda: _share(do, g, do.lt(a, b), do.eq(a, b))


def _share(do, g, loses, ties):
    """0 where an operand loses, half of g at a tie, else g; also g where one is nan."""
    return do.where(loses, 0.0, do.where(ties, do.mul(g, 0.5), g))


@abs_.gradient
def abs_gradient(do, g, a):
    """The sign of a, 0 at 0."""
    sign = do.sub(do.cast(do.gt(a, 0), dtype=g.dtype), do.cast(do.lt(a, 0), dtype=g.dtype))
    return (lambda: do.mul(g, sign),)


def _clip(a, low, high):
    raised = a if (a >= low) | (a != a) else low
    return raised if (raised <= high) | (raised != raised) else high


clip_dispatch = Dispatch("clip", fill_by(np.clip), formula=_clip)


@op(elementwise=True)
def clip(device, a, low, high):
    """low, high: a number, an array, or None for no limit; where low is above high the result is high."""
    dtype = common_dtype("clip", a, *(end for end in (low, high) if end is not None))
    least, most = (-np.inf, np.inf) if dtype.kind == "f" else limits(dtype)
    operands, out = prepare("clip", device, dtype, a, least if low is None else low, most if high is None else high)
    clip_dispatch[device.type](*operands, out)
    return out


@clip.gradient
def clip_gradient(do, g, a, low, high):
    """To a where it lies between the limits, both included; elsewhere to the limit that replaced it."""

    def by_a():
        above = g if low is None else do.where(do.ge(a, low), g, 0.0)
        return above if high is None else do.where(do.le(a, high), above, 0.0)

    def by_low():
        raised = do.where(do.lt(a, low), g, 0.0)
        return raised if high is None else do.where(do.lt(low, high), raised, 0.0)

    def by_high():
        lowered = do.where(do.gt(a, high), g, 0.0)
        return lowered if low is None else do.where(do.lt(high, low), g, lowered)

    return by_a, by_low, by_high


# ---- exp, log, sqrt

exp = unary("exp", lambda a: math.exp(a), np.exp, derivative=lambda do, g, out: do.mul(g, out))
log = unary("log", lambda a: math.log(a), np.log, derivative=lambda do, g, a: do.div(g, a))
sqrt = unary("sqrt", lambda a: math.sqrt(a), np.sqrt, derivative=lambda do, g, out: do.div(g, do.mul(out, 2.0)))
deviation = unary("deviation", lambda variance: math.sqrt(variance), np.sqrt)


@deviation.gradient
def deviation_gradient(do, g, out):
    """1 / (2 sqrt(variance)); 0 where all numbers are equal, because the deviation has its minimum there."""
    return (lambda: do.div(g, do.where(do.eq(out, 0.0), np.inf, do.mul(out, 2.0))),)


# ---- comparisons

eq = comparison("eq", lambda a, b: a == b, np.equal)
ne = comparison("ne", lambda a, b: a != b, np.not_equal)
lt = comparison("lt", lambda a, b: a < b, np.less)
le = comparison("le", lambda a, b: a <= b, np.less_equal)
gt = comparison("gt", lambda a, b: a > b, np.greater)
ge = comparison("ge", lambda a, b: a >= b, np.greater_equal)


# ---- where(condition, a, b)


def where_numpy(condition, a, b, out):
    np.copyto(out, b)
    np.copyto(out, a, where=condition)


where_dispatch = Dispatch(
    "where", where_numpy, formula=lambda condition, a, b: a if condition else b, kinds=(Bytes, Memory, Memory, Memory)
)


@op(elementwise=True)
def where(device, condition, a, b):
    if getattr(condition, "dtype", None) != BOOL:
        kind = getattr(condition, "dtype", type(condition).__name__)
        raise DtypeError(f"where: the condition is {kind}, expected a bool tensor; compare first, as in x > 0")
    dtype = common_dtype("where", a, b)
    a, b = cast_all(dtype, a, b)
    out = like(device, broadcast("where", condition.shape, np.shape(a), np.shape(b)), dtype, a, b)
    where_dispatch[device.type](condition, a, b, out)
    return out


@where.gradient
def where_gradient(do, g, condition):
    return None, lambda: do.where(condition, g, 0.0), lambda: do.where(condition, 0.0, g)
