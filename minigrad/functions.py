"""Methods of Tensor as functions: `mg.sum(x, dim=1)` is `x.sum(dim=1)`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVarTuple

from . import ops, products
from .errors import DtypeError
from .products import *  # noqa: F403
from .tensors import Tensor, apply

Methods = TypeVarTuple("Methods")

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "addmm", "addmv", "all", "allclose", "amax",
    "amin", "aminmax", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax",
    "argmin", "argsort", "argwhere", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bernoulli", "bincount",
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bmm",
    "broadcast_to", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "cos", "cosh", "count_nonzero", "cross",
    "cumprod", "cumsum", "deg2rad", "diag", "diag_embed", "diagonal", "dist", "div", "divide", "dot", "eq", "equal",
    "erf", "erfc", "exp", "exp2", "expm1", "fix", "flatten", "flip", "fliplr", "flipud", "floor", "floor_divide",
    "fmax", "fmin", "fmod", "frac", "gather", "ge", "ger", "greater", "greater_equal", "gt", "histc", "hypot",
    "index_add", "index_copy", "index_fill", "index_select", "inner", "is_floating_point", "is_tensor", "isclose",
    "isfinite", "isinf", "isnan", "isneginf", "isposinf", "kron", "kthvalue", "le", "lerp", "less", "less_equal", "log",
    "log1p", "log2", "log10", "log_softmax", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logit", "logsumexp", "lt", "masked_fill", "masked_select", "matmul", "max", "maximum", "mean", "median", "min",
    "minimum", "mm", "moveaxis", "movedim", "mul", "multinomial", "multiply", "mv", "nan_to_num", "nanmean", "nansum",
    "narrow", "ne", "neg", "negative", "nonzero", "norm", "not_equal", "numel", "outer", "permute", "positive", "pow",
    "prod", "rad2deg", "ravel", "reciprocal", "relu", "remainder", "repeat_interleave", "reshape", "roll", "rot90",
    "round", "rsqrt", "scatter", "scatter_add", "select", "sgn", "sigmoid", "sign", "sin", "sinh", "softmax", "sort",
    "split", "sqrt", "square", "squeeze", "std", "std_mean", "sub", "subtract", "sum", "swapaxes", "swapdims", "t",
    "take", "take_along_dim", "tan", "tanh", "tensor_split", "tile", "topk", "trace", "transpose", "tril", "triu",
    "true_divide", "trunc", "unbind", "unflatten", "unique", "unsqueeze", "var", "var_mean", "vdot",
]  # fmt: skip
__all__ += products.__all__
__dir__ = __all__.copy


def make_functions(*methods: *Methods) -> tuple[*Methods]:
    """Return methods of Tensor as functions that call their first argument `input`, and check that it is a tensor."""
    found: Any = tuple(map(_function, methods))  # type: ignore[arg-type]
    return found


def _function(method: Callable[..., Any]) -> Callable[..., Any]:
    name = method.__name__

    @wraps(method, assigned=("__name__", "__doc__"), updated=())
    def function(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Tensor):
            raise DtypeError(f"{name}: expected a Tensor, got {type(input).__name__}; use mg.tensor(...)")
        if args or kwargs:
            return method(input, *args, **kwargs)
        return method(input)  # without unpacking, which takes as long as two calls

    _, *others = [p.replace(annotation=p.empty) for p in inspect.signature(method).parameters.values()]
    first = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__qualname__ = name
    function.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return function


abs, absolute, acos, acosh, add = make_functions(Tensor.abs, Tensor.absolute, Tensor.acos, Tensor.acosh, Tensor.add)
addcdiv, addcmul, addmm, addmv = make_functions(Tensor.addcdiv, Tensor.addcmul, Tensor.addmm, Tensor.addmv)
all, allclose, amax, amin = make_functions(Tensor.all, Tensor.allclose, Tensor.amax, Tensor.amin)
aminmax, any, arccos, arccosh = make_functions(Tensor.aminmax, Tensor.any, Tensor.arccos, Tensor.arccosh)
arcsin, arcsinh, arctan, arctan2 = make_functions(Tensor.arcsin, Tensor.arcsinh, Tensor.arctan, Tensor.arctan2)
arctanh, argmax, argmin, argsort = make_functions(Tensor.arctanh, Tensor.argmax, Tensor.argmin, Tensor.argsort)
argwhere, asin, asinh, atan = make_functions(Tensor.argwhere, Tensor.asin, Tensor.asinh, Tensor.atan)
atan2, atanh, baddbmm, bernoulli = make_functions(Tensor.atan2, Tensor.atanh, Tensor.baddbmm, Tensor.bernoulli)
bincount, bitwise_and = make_functions(Tensor.bincount, Tensor.bitwise_and)
bitwise_left_shift, bitwise_not = make_functions(Tensor.bitwise_left_shift, Tensor.bitwise_not)
bitwise_or, bitwise_right_shift = make_functions(Tensor.bitwise_or, Tensor.bitwise_right_shift)
bitwise_xor, bmm, broadcast_to, ceil = make_functions(Tensor.bitwise_xor, Tensor.bmm, Tensor.broadcast_to, Tensor.ceil)
chunk, clamp, clamp_max, clamp_min = make_functions(Tensor.chunk, Tensor.clamp, Tensor.clamp_max, Tensor.clamp_min)
clip, cos, cosh, count_nonzero = make_functions(Tensor.clip, Tensor.cos, Tensor.cosh, Tensor.count_nonzero)
cross, cumprod, cumsum, deg2rad = make_functions(Tensor.cross, Tensor.cumprod, Tensor.cumsum, Tensor.deg2rad)
diag, diag_embed, diagonal, dist = make_functions(Tensor.diag, Tensor.diag_embed, Tensor.diagonal, Tensor.dist)
div, divide, dot, eq, equal = make_functions(Tensor.div, Tensor.divide, Tensor.dot, Tensor.eq, Tensor.equal)
erf, erfc, exp, exp2, expm1 = make_functions(Tensor.erf, Tensor.erfc, Tensor.exp, Tensor.exp2, Tensor.expm1)
fix, flatten, flip, fliplr = make_functions(Tensor.fix, Tensor.flatten, Tensor.flip, Tensor.fliplr)
flipud, floor, floor_divide, fmax = make_functions(Tensor.flipud, Tensor.floor, Tensor.floor_divide, Tensor.fmax)
fmin, fmod, frac, gather, ge = make_functions(Tensor.fmin, Tensor.fmod, Tensor.frac, Tensor.gather, Tensor.ge)
ger, greater, greater_equal, gt = make_functions(Tensor.ger, Tensor.greater, Tensor.greater_equal, Tensor.gt)
histc, hypot, index_add, index_copy = make_functions(Tensor.histc, Tensor.hypot, Tensor.index_add, Tensor.index_copy)
index_fill, index_select, inner = make_functions(Tensor.index_fill, Tensor.index_select, Tensor.inner)
is_floating_point, isclose, isfinite = make_functions(Tensor.is_floating_point, Tensor.isclose, Tensor.isfinite)
isinf, isnan, isneginf, isposinf = make_functions(Tensor.isinf, Tensor.isnan, Tensor.isneginf, Tensor.isposinf)
kron, kthvalue, le, lerp, less = make_functions(Tensor.kron, Tensor.kthvalue, Tensor.le, Tensor.lerp, Tensor.less)
less_equal, log, log10, log1p = make_functions(Tensor.less_equal, Tensor.log, Tensor.log10, Tensor.log1p)
log2, log_softmax, logaddexp = make_functions(Tensor.log2, Tensor.log_softmax, Tensor.logaddexp)
logical_and, logical_not, logical_or = make_functions(Tensor.logical_and, Tensor.logical_not, Tensor.logical_or)
logical_xor, logit, logsumexp, lt = make_functions(Tensor.logical_xor, Tensor.logit, Tensor.logsumexp, Tensor.lt)
masked_fill, masked_select, matmul = make_functions(Tensor.masked_fill, Tensor.masked_select, Tensor.matmul)
max, maximum, mean, median, min = make_functions(Tensor.max, Tensor.maximum, Tensor.mean, Tensor.median, Tensor.min)
minimum, mm, moveaxis, movedim = make_functions(Tensor.minimum, Tensor.mm, Tensor.moveaxis, Tensor.movedim)
mul, multinomial, multiply, mv = make_functions(Tensor.mul, Tensor.multinomial, Tensor.multiply, Tensor.mv)
nan_to_num, nanmean, nansum, narrow = make_functions(Tensor.nan_to_num, Tensor.nanmean, Tensor.nansum, Tensor.narrow)
ne, neg, negative, nonzero, norm = make_functions(Tensor.ne, Tensor.neg, Tensor.negative, Tensor.nonzero, Tensor.norm)
not_equal, numel, outer, permute = make_functions(Tensor.not_equal, Tensor.numel, Tensor.outer, Tensor.permute)
positive, prod, rad2deg, ravel = make_functions(Tensor.positive, Tensor.prod, Tensor.rad2deg, Tensor.ravel)
reciprocal, relu, remainder = make_functions(Tensor.reciprocal, Tensor.relu, Tensor.remainder)
repeat_interleave, reshape, roll = make_functions(Tensor.repeat_interleave, Tensor.reshape, Tensor.roll)
rot90, round, rsqrt, scatter = make_functions(Tensor.rot90, Tensor.round, Tensor.rsqrt, Tensor.scatter)
scatter_add, select, sgn, sigmoid = make_functions(Tensor.scatter_add, Tensor.select, Tensor.sgn, Tensor.sigmoid)
sign, sin, sinh, softmax, sort = make_functions(Tensor.sign, Tensor.sin, Tensor.sinh, Tensor.softmax, Tensor.sort)
split, sqrt, square, squeeze, std = make_functions(Tensor.split, Tensor.sqrt, Tensor.square, Tensor.squeeze, Tensor.std)
sub, subtract, sum, swapaxes = make_functions(Tensor.sub, Tensor.subtract, Tensor.sum, Tensor.swapaxes)
swapdims, t, take, take_along_dim = make_functions(Tensor.swapdims, Tensor.t, Tensor.take, Tensor.take_along_dim)
tan, tanh, tensor_split, tile = make_functions(Tensor.tan, Tensor.tanh, Tensor.tensor_split, Tensor.tile)
topk, trace, transpose, tril = make_functions(Tensor.topk, Tensor.trace, Tensor.transpose, Tensor.tril)
triu, true_divide, trunc, unbind = make_functions(Tensor.triu, Tensor.true_divide, Tensor.trunc, Tensor.unbind)
unflatten, unique, unsqueeze = make_functions(Tensor.unflatten, Tensor.unique, Tensor.unsqueeze)
var, vdot = make_functions(Tensor.var, Tensor.vdot)


def pow(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """`input` to the power of `exponent`, element by element; one of them may be a number.

    Raises   DtypeError   neither is a tensor
    Example
    >>> pow(2, Tensor([3.0]))
    tensor([8.])
    """
    return apply(ops.pow, input, exponent)


def var_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None
) -> Any:
    """(variance, mean); the arguments are those of Tensor.var."""
    means = mean(input, None if isinstance(dim, bool) else dim, keepdim)
    return var(input, dim, unbiased, keepdim, correction=correction), means


def std_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None
) -> Any:
    """(standard deviation, mean); the arguments are those of Tensor.var."""
    means = mean(input, None if isinstance(dim, bool) else dim, keepdim)
    return std(input, dim, unbiased, keepdim, correction=correction), means


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)
