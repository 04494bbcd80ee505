"""Arithmetic, powers, comparison, choice: element by element, with broadcasting.

The numpy column is NumPy's ufunc, the cpu column the same formula as a scalar function for `elementwise`.  Whole
numbers and bools are indices and masks, too few to be worth a kernel: every host device leaves them to NumPy.
"""

from functools import cache

import numpy as np

from ..errors import DtypeError
from ..runtime import math, memory
from ..runtime.elementwise import elementwise
from ..runtime.kernel import Bytes, Memory
from ..runtime.threads import call_on_host
from ..shapes import broadcast
from .op import Dispatch, Op, launches, op

FLOAT32, FLOAT64, INT64, BOOL = (np.dtype(name) for name in ("float32", "float64", "int64", "bool"))
RANKS = {np.dtype(name): i for i, name in enumerate(("bool", "uint8", "int32", "int64", "float32", "float64"))}
CATEGORIES = {"b": 0, "u": 1, "i": 1, "f": 2}  # by NumPy's letter


def common_dtype(where, *operands) -> np.dtype:
    """The dtype of a result, in which every Python number among the operands must fit."""
    dtype = result_type(where, *operands)
    if dtype.kind in "iu":
        for operand in operands:
            if not memory.is_array(operand):
                expect_fits(where, operand, dtype)
    return dtype


def result_type(where, *operands) -> np.dtype:
    """PyTorch's rule.  A float wins over a whole number, and that over a bool.  Where they are alike, tensors with axes
    win over tensors of one number, and these over Python's numbers; among equals the wider dtype wins."""
    kinds = [
        (operand.dtype if operand.ndim else (operand.dtype,)) if memory.is_array(operand) else type(operand)
        for operand in operands
    ]
    return _result_type(where, *kinds)


@cache
def _result_type(where, *kinds) -> np.dtype:
    """kinds: of tensors with axes their dtype, of single numbers a tuple that holds it, else the type."""
    with_axes = [kind for kind in kinds if isinstance(kind, np.dtype)]
    without = [kind[0] for kind in kinds if isinstance(kind, tuple)]
    numbers = [_dtype_of_number(where, kind) for kind in kinds if isinstance(kind, type)]
    groups = [widest(where, *group) for group in (with_axes, without, numbers) if group]
    return max(groups, key=lambda dtype: CATEGORIES[dtype.kind])  # the first of equals


def widest(where, *dtypes) -> np.dtype:
    """The dtype that holds the others': a float for whole numbers too."""
    for dtype in dtypes:
        if dtype not in RANKS:
            raise DtypeError(f"{where}: dtype {dtype} is not supported; use {', '.join(map(str, reversed(RANKS)))}")
    return max(dtypes, key=RANKS.__getitem__)


def _dtype_of_number(where, kind) -> np.dtype:
    for parents, dtype in (((bool, np.bool_), BOOL), ((int, np.integer), INT64), ((float, np.floating), FLOAT32)):
        if issubclass(kind, parents):
            return dtype
    raise DtypeError(f"{where}: expected a Tensor or a real number, got {kind.__name__}")


def expect_fits(where, number, dtype) -> None:
    """Refuse a number that a dtype of whole numbers does not hold.  Fractions are cut off, as in PyTorch."""
    if dtype.kind in "iu" and not _fits(number, dtype):
        raise does_not_fit(number, where, dtype)


def does_not_fit(number, where, dtype) -> DtypeError:
    """The error for a number beyond a dtype."""
    low, high = limits(dtype)
    return DtypeError(f"{where}: {number} does not fit in {dtype} ({low} to {high}); use a wider dtype")


def _fits(number, dtype) -> bool:
    low, high = limits(dtype)
    return low <= _plain(number) <= high


def limits(dtype):
    """The smallest and the largest whole number of a dtype."""
    return (False, True) if dtype == BOOL else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def prepare(where, device, dtype, *operands):
    """The operands cast to `dtype`, and an array of the broadcast shape for the result, laid out as they are."""
    shape = broadcast(where, *[np.shape(operand) for operand in operands])
    return cast_all(dtype, *operands), like(device, shape, dtype, *operands)


def cast_all(dtype, *operands):
    """The arrays among operands cast to `dtype`, and NumPy's numbers as Python's."""
    return [_cast(operand, dtype) if memory.is_array(operand) else _plain(operand) for operand in operands]


def _plain(number):
    return number.item() if isinstance(number, np.generic) else number


def _cast(operand, dtype):
    if operand.dtype == dtype:
        return operand
    out = memory.empty_like(operand, dtype)
    memory.copy(out, operand)
    return out


def like(device, shape, dtype, *operands):
    """An uninitialised array in the memory order of the first operand that has the full shape."""
    for operand in operands:
        if np.shape(operand) == shape and memory.is_array(operand):
            return memory.empty_like(operand, dtype)
    return memory.empty(shape, dtype, device)


def floats_or(numpy_column, kernel):
    """The cpu column: the kernel for floats, NumPy for whole numbers."""

    def column(*arrays):
        if arrays[-1].dtype.kind == "f":
            kernel(*arrays)
        else:
            call_on_host(numpy_column, *arrays)

    return column


def filling(ufunc):
    """A ufunc as a column."""

    def column(*arrays):
        ufunc(*arrays[:-1], out=arrays[-1])

    return column


def arithmetic(name, ufunc, formula):
    """The columns of an operation on numbers."""
    ufunc = filling(ufunc)
    return Dispatch(name, formula, numpy=ufunc, cpu=floats_or(ufunc, elementwise(formula)))


def _add(a, b):
    return a + b


def _sub(a, b):
    return a - b


def _mul(a, b):
    return a * b


def _div(a, b):
    return a / b


def _pow(a, b):
    return a**b


def _neg(a):
    return -a


def _maximum(a, b):
    return a if a > b or a != a else b


def _minimum(a, b):
    return a if a < b or a != a else b


def _abs(a):
    return abs(a)


def _exp(a):
    return math.exp(a)


def _log(a):
    return math.log(a)


def _sqrt(a):
    return math.sqrt(a)


def _clip(a, low, high):
    raised = a if a >= low or a != a else low
    return raised if raised <= high or raised != raised else high


add_kernel = arithmetic("add", np.add, _add)
sub_kernel = arithmetic("sub", np.subtract, _sub)
mul_kernel = arithmetic("mul", np.multiply, _mul)
div_kernel = arithmetic("div", np.divide, _div)
pow_kernel = arithmetic("pow", np.power, _pow)
neg_kernel = arithmetic("neg", np.negative, _neg)
maximum_kernel = arithmetic("maximum", np.maximum, _maximum)
minimum_kernel = arithmetic("minimum", np.minimum, _minimum)
abs_kernel = arithmetic("abs", np.absolute, _abs)
exp_kernel = arithmetic("exp", np.exp, _exp)
log_kernel = arithmetic("log", np.log, _log)
sqrt_kernel = arithmetic("sqrt", np.sqrt, _sqrt)
clip_kernel = arithmetic("clip", np.clip, _clip)


def _binary(kernel, device, a, b, dtype=None):
    (a, b), out = prepare(kernel.name, device, dtype or common_dtype(kernel.name, a, b), a, b)
    kernel[device.type](a, b, out)
    return out


def _unary(kernel, device, a):
    out = memory.empty_like(a)
    kernel[device.type](a, out)
    return out


def _float_only(where, a):
    if a.dtype.kind != "f":
        raise DtypeError(f"{where}: expected a float tensor, got {a.dtype}; convert it with .float()")


# ---- a + b, a - b, a * b, a / b, a ** b


@launches
@op(elementwise=True)
def add(device, a, b):
    return _binary(add_kernel, device, a, b)


@add.gradient
def add_gradient(do, g):
    return lambda: g, lambda: g


@launches
@op(elementwise=True)
def sub(device, a, b):
    if common_dtype("sub", a, b) == BOOL:
        raise DtypeError("sub: bool tensors have no difference; use a != b, or convert them with .long()")
    return _binary(sub_kernel, device, a, b)


@sub.gradient
def sub_gradient(do, g):
    return lambda: g, lambda: do.neg(g)


@launches
@op(elementwise=True)
def mul(device, a, b):
    return _binary(mul_kernel, device, a, b)


@mul.gradient
def mul_gradient(do, g, a, b):
    return lambda: do.mul(g, b), lambda: do.mul(g, a)


@launches
@op(elementwise=True)
def div(device, a, b):
    dtype = result_type("div", a, b)
    return _binary(div_kernel, device, a, b, dtype if dtype.kind == "f" else FLOAT32)


@div.gradient
def div_gradient(do, g, b, out):
    """d(a/b) = da/b - (a/b) db/b."""
    return lambda: do.div(g, b), lambda: do.neg(do.div(do.mul(g, out), b))


@op(elementwise=True)
def pow_(device, a, b):
    dtype = common_dtype("pow", a, b)
    if dtype == BOOL:
        raise DtypeError("pow: bool tensors have no powers; convert one with .long()")
    if dtype.kind != "f":
        device.expect_range(b, 0, LARGEST, 0, _negative_power)
    if dtype.kind == "f" and not memory.is_array(b) and abs(b) == 0.5:  # as PyTorch: nan of -inf, -inf of -0.0
        (a,) = cast_all(dtype, a)
        root = _unary(sqrt_kernel, device, a)
        return root if b > 0 else _binary(div_kernel, device, 1, root)
    return _binary(pow_kernel, device, a, b, dtype)


LARGEST = np.iinfo(np.int64).max


def _negative_power(value):
    return DtypeError("pow: whole numbers have no negative powers here; convert the base with .float()")


@pow_.gradient
def pow_gradient(do, g, a, b, out):
    """b a**(b-1) da + a**b log(a) db; the first is 0 where b is 0, the second where a is 0 and b is not below 0."""

    def base():
        if not hasattr(b, "shape"):
            return do.mul(g, do.mul(do.pow(a, b - 1), b) if b else 0.0)
        none = do.eq(b, 0)
        return do.mul(g, do.where(none, 0.0, do.mul(b, do.pow(a, do.where(none, 1.0, do.sub(b, 1))))))

    def exponent():
        if hasattr(a, "shape"):
            flat = do.mul(do.eq(a, 0), do.ge(b, 0))
            return do.mul(g, do.mul(out, do.log(do.where(flat, 1.0, a))))
        with np.errstate(all="ignore"):
            slope = do.mul(out, float(np.log(a)))
        return do.mul(g, slope if a else do.where(do.ge(b, 0), 0.0, slope))

    return base, exponent


@launches
@op(elementwise=True)
def neg(device, a):
    if a.dtype.kind == "b":
        raise DtypeError("neg: a bool tensor has no negative; use ~x")
    return _unary(neg_kernel, device, a)


@neg.gradient
def neg_gradient(do, g):
    return (lambda: do.neg(g),)


# ---- maximum, minimum, abs, clip


@op(elementwise=True)
def maximum(device, a, b):
    return _binary(maximum_kernel, device, a, b)


@maximum.gradient
def maximum_gradient(do, g, a, b):
    return lambda: _share(do, g, do.lt(a, b), do.eq(a, b)), lambda: _share(do, g, do.gt(a, b), do.eq(a, b))


@op(elementwise=True)
def minimum(device, a, b):
    return _binary(minimum_kernel, device, a, b)


@minimum.gradient
def minimum_gradient(do, g, a, b):
    return lambda: _share(do, g, do.gt(a, b), do.eq(a, b)), lambda: _share(do, g, do.lt(a, b), do.eq(a, b))


def _share(do, g, loses, ties):
    """Nothing where an operand loses, a half at a tie, else all; also where one is nan."""
    return do.where(loses, 0.0, do.where(ties, do.mul(g, 0.5), g))


@op(elementwise=True)
def abs_(device, a):
    return _unary(abs_kernel, device, a)


@abs_.gradient
def abs_gradient(do, g, a):
    """The sign of a, 0 at 0."""
    sign = do.sub(do.cast(do.gt(a, 0), dtype=g.dtype), do.cast(do.lt(a, 0), dtype=g.dtype))
    return (lambda: do.mul(g, sign),)


@op(elementwise=True)
def clip(device, a, low, high):
    """low, high: a number, an array, or None for no end; where low is above high the result is high."""
    dtype = common_dtype("clip", a, *(end for end in (low, high) if end is not None))
    least, most = (-np.inf, np.inf) if dtype.kind == "f" else limits(dtype)
    ends = least if low is None else low, most if high is None else high
    operands, out = prepare("clip", device, dtype, a, *ends)
    clip_kernel[device.type](*operands, out)
    return out


@clip.gradient
def clip_gradient(do, g, a, low, high):
    """To a where it lies inside, ends included; to the end that took its place elsewhere."""

    def inside():
        above = g if low is None else do.where(do.ge(a, low), g, 0.0)
        return above if high is None else do.where(do.le(a, high), above, 0.0)

    def lowest():
        raised = do.where(do.lt(a, low), g, 0.0)
        return raised if high is None else do.where(do.lt(low, high), raised, 0.0)

    def highest():
        lowered = do.where(do.gt(a, high), g, 0.0)
        return lowered if low is None else do.where(do.lt(high, low), g, lowered)

    return inside, lowest, highest


# ---- exp, log, sqrt


@launches
@op(elementwise=True)
def exp(device, a):
    _float_only("exp", a)
    return _unary(exp_kernel, device, a)


@exp.gradient
def exp_gradient(do, g, out):
    return (lambda: do.mul(g, out),)


@launches
@op(elementwise=True)
def log(device, a):
    _float_only("log", a)
    return _unary(log_kernel, device, a)


@log.gradient
def log_gradient(do, g, a):
    return (lambda: do.div(g, a),)


@launches
@op(elementwise=True)
def sqrt(device, a):
    _float_only("sqrt", a)
    return _unary(sqrt_kernel, device, a)


@sqrt.gradient
def sqrt_gradient(do, g, out):
    """1 / (2 sqrt(a))."""
    return (lambda: do.div(g, do.mul(out, 2.0)),)


@launches
@op
def deviation(device, variance):
    """The square root of a variance."""
    return _unary(sqrt_kernel, device, variance)


@deviation.gradient
def deviation_gradient(do, g, out):
    """1 / (2 sqrt(variance)); 0 where nothing varies, since the deviation is smallest there."""
    return (lambda: do.div(g, do.where(do.eq(out, 0.0), np.inf, do.mul(out, 2.0))),)


# ---- comparisons give bool and have no gradient


def _comparison(name, ufunc, formula) -> Op:
    kernel, ufunc = elementwise(formula, out=Bytes), filling(ufunc)  # NumPy for whole numbers

    def cpu(a, b, out):
        if a.dtype.kind == "f":
            kernel(a, b, out)
        else:
            call_on_host(ufunc, a, b, out)

    columns = Dispatch(name, formula, numpy=ufunc, cpu=cpu)

    def forward(device, a, b):
        dtype = result_type(name, a, b)
        numbers = [side for side in (a, b) if not memory.is_array(side)]
        if dtype.kind in "iu" and not all(_fits(number, dtype) for number in numbers):
            dtype = INT64  # no uint8 is 300, which is no error
            for number in numbers:
                expect_fits(name, number, dtype)
        a, b = (side if memory.is_array(side) else np.array(side, dtype) for side in cast_all(dtype, a, b))
        out = like(device, broadcast(name, a.shape, b.shape), BOOL, a, b)
        columns[device.type](a, b, out)
        return out

    forward.__name__ = name
    return op(forward)


def _eq(a, b):
    return a == b


def _ne(a, b):
    return a != b


def _lt(a, b):
    return a < b


def _le(a, b):
    return a <= b


def _gt(a, b):
    return a > b


def _ge(a, b):
    return a >= b


eq = _comparison("eq", np.equal, _eq)
ne = _comparison("ne", np.not_equal, _ne)
lt = _comparison("lt", np.less, _lt)
le = _comparison("le", np.less_equal, _le)
gt = _comparison("gt", np.greater, _gt)
ge = _comparison("ge", np.greater_equal, _ge)


# ---- where


def _where(condition, a, b):
    return a if condition else b


def where_numpy(condition, a, b, out):
    np.copyto(out, b)
    np.copyto(out, a, where=condition)


where_kernel = Dispatch(
    "where", _where, numpy=where_numpy, cpu=floats_or(where_numpy, elementwise(_where, (Bytes, Memory, Memory)))
)


@op(elementwise=True)
def where(device, condition, a, b):
    if getattr(condition, "dtype", None) != BOOL:
        kind = getattr(condition, "dtype", type(condition).__name__)
        raise DtypeError(f"where: the condition is {kind}, expected a bool tensor; compare first, as in x > 0")
    dtype = common_dtype("where", a, b)
    a, b = cast_all(dtype, a, b)
    out = like(device, broadcast("where", condition.shape, np.shape(a), np.shape(b)), dtype, a, b)
    where_kernel[device.type](condition, a, b, out)
    return out


@where.gradient
def where_gradient(do, g, condition):
    return None, lambda: do.where(condition, g, 0.0), lambda: do.where(condition, 0.0, g)
