"""Methods of Tensor as functions: `mg.sum(x, dim=1)` is `x.sum(dim=1)`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import ops
from .errors import DtypeError
from .products import (
    bucketize,
    cartesian_prod,
    cdist,
    einsum,
    meshgrid,
    searchsorted,
    tensordot,
    tril_indices,
    triu_indices,
)
from .tensors import Tensor, apply

Params = ParamSpec("Params")
Result = TypeVar("Result")


def make_function(
    method: Callable[Concatenate[Tensor, Params], Result],
) -> Callable[Concatenate[Tensor, Params], Result]:
    """Return a method of Tensor as a function whose first argument is called `input`.

    method   a method of Tensor; its docstring and its other arguments are kept

    Raises   DtypeError   when the function is called with anything but a tensor
    Example
    >>> double = make_function(Tensor.double)
    >>> double(Tensor([1.0])).dtype
    dtype('float64')
    """
    name = method.__name__

    @wraps(method, assigned=("__name__", "__doc__"), updated=())
    def function(input: Tensor, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        if not isinstance(input, Tensor):
            raise DtypeError(f"{name}: expected a Tensor, got {type(input).__name__}; use mg.tensor(...)")
        if args or kwargs:
            return method(input, *args, **kwargs)
        return method(input)  # type: ignore[call-arg]  # without unpacking, which takes as long as two calls

    _, *others = [p.replace(annotation=p.empty) for p in inspect.signature(method).parameters.values()]
    first = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__qualname__ = name
    function.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return function


__all__: list[str] = []
__dir__ = __all__.copy


# ---- elementwise

__all__ += [
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift", "bitwise_not",
    "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "cos",
    "cosh", "deg2rad", "div", "divide", "eq", "erf", "erfc", "exp", "exp2", "expm1", "fix", "floor", "floor_divide",
    "fmax", "fmin", "fmod", "frac", "ge", "greater", "greater_equal", "gt", "hypot", "is_floating_point", "isfinite",
    "isinf", "isnan", "isneginf", "isposinf", "le", "lerp", "less", "less_equal", "log", "log1p", "log2", "log10",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "lt", "maximum", "minimum", "mul",
    "multiply", "nan_to_num", "ne", "neg", "negative", "not_equal", "positive", "pow", "rad2deg", "reciprocal",
    "remainder", "round", "rsqrt", "sgn", "sign", "sin", "sinh", "sqrt", "square", "sub", "subtract", "tan",
    "true_divide", "trunc",
]  # fmt: skip

exp = make_function(Tensor.exp)
log = make_function(Tensor.log)
sqrt = make_function(Tensor.sqrt)
abs = make_function(Tensor.abs)
neg = make_function(Tensor.neg)
add = make_function(Tensor.add)
sub = make_function(Tensor.sub)
mul = make_function(Tensor.mul)
div = make_function(Tensor.div)
maximum = make_function(Tensor.maximum)
minimum = make_function(Tensor.minimum)
clip = make_function(Tensor.clip)
clamp = clip
acos = arccos = make_function(Tensor.acos)
acosh = arccosh = make_function(Tensor.acosh)
asin = arcsin = make_function(Tensor.asin)
asinh = arcsinh = make_function(Tensor.asinh)
atan = arctan = make_function(Tensor.atan)
atan2 = arctan2 = make_function(Tensor.atan2)
atanh = arctanh = make_function(Tensor.atanh)
ge = greater_equal = make_function(Tensor.ge)
gt = greater = make_function(Tensor.gt)
le = less_equal = make_function(Tensor.le)
lt = less = make_function(Tensor.lt)
ne = not_equal = make_function(Tensor.ne)
sign = sgn = make_function(Tensor.sign)
trunc = fix = make_function(Tensor.trunc)
absolute, addcdiv = make_function(Tensor.absolute), make_function(Tensor.addcdiv)
addcmul, bitwise_and = make_function(Tensor.addcmul), make_function(Tensor.bitwise_and)
bitwise_left_shift, bitwise_not = make_function(Tensor.bitwise_left_shift), make_function(Tensor.bitwise_not)
bitwise_or, bitwise_right_shift = make_function(Tensor.bitwise_or), make_function(Tensor.bitwise_right_shift)
bitwise_xor, ceil = make_function(Tensor.bitwise_xor), make_function(Tensor.ceil)
clamp_max, clamp_min, cos = make_function(Tensor.clamp_max), make_function(Tensor.clamp_min), make_function(Tensor.cos)
cosh, deg2rad, divide = make_function(Tensor.cosh), make_function(Tensor.deg2rad), make_function(Tensor.divide)
eq, erf, erfc = make_function(Tensor.eq), make_function(Tensor.erf), make_function(Tensor.erfc)
exp2, expm1, floor = make_function(Tensor.exp2), make_function(Tensor.expm1), make_function(Tensor.floor)
floor_divide, fmax, fmin = make_function(Tensor.floor_divide), make_function(Tensor.fmax), make_function(Tensor.fmin)
fmod, frac, hypot = make_function(Tensor.fmod), make_function(Tensor.frac), make_function(Tensor.hypot)
is_floating_point, isfinite = make_function(Tensor.is_floating_point), make_function(Tensor.isfinite)
isinf, isnan, isneginf = make_function(Tensor.isinf), make_function(Tensor.isnan), make_function(Tensor.isneginf)
isposinf, lerp, log10 = make_function(Tensor.isposinf), make_function(Tensor.lerp), make_function(Tensor.log10)
log1p, log2, logaddexp = make_function(Tensor.log1p), make_function(Tensor.log2), make_function(Tensor.logaddexp)
logical_and, logical_not = make_function(Tensor.logical_and), make_function(Tensor.logical_not)
logical_or, logical_xor = make_function(Tensor.logical_or), make_function(Tensor.logical_xor)
logit, multiply = make_function(Tensor.logit), make_function(Tensor.multiply)
nan_to_num, negative = make_function(Tensor.nan_to_num), make_function(Tensor.negative)
positive, rad2deg = make_function(Tensor.positive), make_function(Tensor.rad2deg)
reciprocal, remainder = make_function(Tensor.reciprocal), make_function(Tensor.remainder)
round, rsqrt, sin = make_function(Tensor.round), make_function(Tensor.rsqrt), make_function(Tensor.sin)
sinh, square, subtract = make_function(Tensor.sinh), make_function(Tensor.square), make_function(Tensor.subtract)
tan, true_divide = make_function(Tensor.tan), make_function(Tensor.true_divide)


def pow(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """`input` to the power of `exponent`, element by element; one of them may be a number.

    Raises   DtypeError   neither is a tensor
    Example
    >>> pow(2, Tensor([3.0]))
    tensor([8.])
    """
    return apply(ops.pow, input, exponent)


# ---- activations

__all__ += ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]

relu = make_function(Tensor.relu)
sigmoid = make_function(Tensor.sigmoid)
tanh = make_function(Tensor.tanh)
softmax = make_function(Tensor.softmax)
log_softmax = make_function(Tensor.log_softmax)

# ---- reductions

__all__ += ["all", "amax", "amin", "any", "argmax", "argmin", "max", "mean", "min", "std", "sum", "var"]
__all__ += ["aminmax", "count_nonzero", "logsumexp", "nanmean", "nansum", "prod", "std_mean", "var_mean"]

sum = make_function(Tensor.sum)
mean = make_function(Tensor.mean)
var = make_function(Tensor.var)
std = make_function(Tensor.std)
max = make_function(Tensor.max)
min = make_function(Tensor.min)
amax = make_function(Tensor.amax)
amin = make_function(Tensor.amin)
argmax = make_function(Tensor.argmax)
argmin = make_function(Tensor.argmin)
any = make_function(Tensor.any)
all = make_function(Tensor.all)
aminmax = make_function(Tensor.aminmax)
count_nonzero = make_function(Tensor.count_nonzero)
logsumexp = make_function(Tensor.logsumexp)
nanmean = make_function(Tensor.nanmean)
nansum = make_function(Tensor.nansum)
prod = make_function(Tensor.prod)


def var_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None
) -> Any:
    """(variance, mean); the arguments are those of Tensor.var."""
    mean_dim = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, mean_dim, keepdim)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None
) -> Any:
    """(standard deviation, mean); the arguments are those of Tensor.std."""
    mean_dim = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, mean_dim, keepdim)


# ---- running sums, order, counting, comparison

__all__ += ["allclose", "argsort", "bincount", "bucketize", "cumprod", "cumsum", "dist", "equal", "histc", "isclose"]
__all__ += ["kthvalue", "median", "searchsorted", "sort", "topk", "unique"]

cumprod = make_function(Tensor.cumprod)
cumsum = make_function(Tensor.cumsum)
argsort = make_function(Tensor.argsort)
kthvalue = make_function(Tensor.kthvalue)
median = make_function(Tensor.median)
sort = make_function(Tensor.sort)
topk = make_function(Tensor.topk)
bincount = make_function(Tensor.bincount)
histc = make_function(Tensor.histc)
unique = make_function(Tensor.unique)
allclose = make_function(Tensor.allclose)
dist = make_function(Tensor.dist)
equal = make_function(Tensor.equal)
isclose = make_function(Tensor.isclose)

# ---- linear algebra

__all__ += ["addmm", "addmv", "baddbmm", "bmm", "cartesian_prod", "cdist", "cross", "diag", "diag_embed", "diagonal"]
__all__ += ["dot", "einsum", "ger", "inner", "kron", "matmul", "meshgrid", "mm", "mv", "norm", "outer", "tensordot"]
__all__ += ["trace", "tril", "tril_indices", "triu", "triu_indices", "vdot"]

addmm = make_function(Tensor.addmm)
addmv = make_function(Tensor.addmv)
baddbmm = make_function(Tensor.baddbmm)
bmm = make_function(Tensor.bmm)
cross = make_function(Tensor.cross)
diag = make_function(Tensor.diag)
diag_embed = make_function(Tensor.diag_embed)
diagonal = make_function(Tensor.diagonal)
dot = make_function(Tensor.dot)
inner = make_function(Tensor.inner)
kron = make_function(Tensor.kron)
matmul = make_function(Tensor.matmul)
mm = make_function(Tensor.mm)
mv = make_function(Tensor.mv)
norm = make_function(Tensor.norm)
outer = make_function(Tensor.outer)
trace = make_function(Tensor.trace)
tril = make_function(Tensor.tril)
triu = make_function(Tensor.triu)
ger = outer
vdot = dot

# ---- shapes

__all__ += ["broadcast_to", "flatten", "moveaxis", "movedim", "narrow", "permute", "ravel", "reshape", "select"]
__all__ += ["squeeze", "swapaxes", "swapdims", "t", "transpose", "unflatten", "unsqueeze"]

broadcast_to = make_function(Tensor.broadcast_to)
flatten = make_function(Tensor.flatten)
moveaxis = make_function(Tensor.moveaxis)
movedim = make_function(Tensor.movedim)
narrow = make_function(Tensor.narrow)
permute = make_function(Tensor.permute)
ravel = make_function(Tensor.ravel)
reshape = make_function(Tensor.reshape)
select = make_function(Tensor.select)
squeeze = make_function(Tensor.squeeze)
swapaxes = make_function(Tensor.swapaxes)
swapdims = make_function(Tensor.swapdims)
t = make_function(Tensor.t)
transpose = make_function(Tensor.transpose)
unflatten = make_function(Tensor.unflatten)
unsqueeze = make_function(Tensor.unsqueeze)

# ---- parts, and other orders

__all__ += ["chunk", "flip", "fliplr", "flipud", "repeat_interleave", "roll", "rot90", "split"]
__all__ += ["tensor_split", "tile", "unbind"]

chunk = make_function(Tensor.chunk)
flip = make_function(Tensor.flip)
fliplr = make_function(Tensor.fliplr)
flipud = make_function(Tensor.flipud)
repeat_interleave = make_function(Tensor.repeat_interleave)
roll = make_function(Tensor.roll)
rot90 = make_function(Tensor.rot90)
split = make_function(Tensor.split)
tensor_split = make_function(Tensor.tensor_split)
tile = make_function(Tensor.tile)
unbind = make_function(Tensor.unbind)

# ---- selection

__all__ += ["argwhere", "gather", "index_add", "index_copy", "index_fill", "index_select", "masked_fill"]
__all__ += ["masked_select", "nonzero", "scatter", "scatter_add", "take", "take_along_dim"]

argwhere = make_function(Tensor.argwhere)
gather = make_function(Tensor.gather)
index_add = make_function(Tensor.index_add)
index_copy = make_function(Tensor.index_copy)
index_fill = make_function(Tensor.index_fill)
index_select = make_function(Tensor.index_select)
masked_fill = make_function(Tensor.masked_fill)
masked_select = make_function(Tensor.masked_select)
nonzero = make_function(Tensor.nonzero)
scatter = make_function(Tensor.scatter)
scatter_add = make_function(Tensor.scatter_add)
take = make_function(Tensor.take)
take_along_dim = make_function(Tensor.take_along_dim)

# ---- random numbers

__all__ += ["bernoulli", "multinomial"]

bernoulli = make_function(Tensor.bernoulli)
multinomial = make_function(Tensor.multinomial)

# ---- inspection

__all__ += ["is_tensor", "numel"]

numel = make_function(Tensor.numel)


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)
