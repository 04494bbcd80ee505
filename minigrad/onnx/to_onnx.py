"""From operations to ONNX nodes: one rule for each operation.

    @rule
    def leaky_relu(graph, x, *, negative_slope):
        return graph.LeakyRelu(x, alpha=negative_slope)

A rule gets the operands and the settings of an operation by its name, and returns the operand that is its result.
Operations on the shapes and dtypes of a Step find them in `graph.step`.
"""

from collections.abc import Callable
from functools import partial
from math import inf, log, prod, sqrt
from typing import Any

import numpy as np

from ..errors import GraphError
from ..ops.activation import CUBIC, LINEAR
from ..ops.axis_sums import build_terms
from ..ops.movement import Position
from ..ops.promotion import result_type
from .graph import END, Graph
from .trace import Size

RULES: dict[str, Callable[..., Any]] = {}


def rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: this function exports the operation of its name."""
    RULES[function.__name__.rstrip("_")] = function
    return function


def convert(graph: Graph, step: Any) -> Any:
    """Add the nodes for a step, and return its result."""
    graph.step = step
    where = f"{step.path}: export: {step.op}: " if step.path else f"export: {step.op}: "
    try:
        return RULES[step.op](graph, *map(graph.operand, step.inputs), **step.settings)
    except GraphError as error:
        raise GraphError(f"{where}{error}") from None
    except TypeError as error:  # a Size where a number is needed
        raise GraphError(
            f"{where}it needs a size that depends on the batch; fix it by dynamic_axes={{}}, or name another axis"
        ) from error


# ---- element by element

UNARY = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softsign": "Softsign", "hardswish": "HardSwish",
    "mish": "Mish", "neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "deviation": "Sqrt",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf", "sign": "Sign",
}  # fmt: skip
ROUNDING = {"floor": "Floor", "ceil": "Ceil", "round": "Round"}
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min",
    "prelu": "PRelu",
}  # fmt: skip
COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}
BITS = {"bitwise_and": ("And", "BitwiseAnd"), "bitwise_or": ("Or", "BitwiseOr"), "bitwise_xor": ("Xor", "BitwiseXor")}


def _unary(kind):
    return lambda graph, x: graph.add(kind, graph.cast(x, 0))


def _rounding(kind):
    return lambda graph, x: graph.add(kind, x) if graph.step.dtype.kind == "f" else graph.Identity(x)


def _binary(kind):
    return lambda graph, a, b: graph.add(kind, graph.cast(a, 0), graph.cast(b, 1))


def _comparison(kind):
    return lambda graph, a, b: graph.add(kind, *_alike(graph, a, b))


def _alike(graph, *operands):
    """The inputs of the step in their common dtype."""
    parts = [
        x if kind is None else np.empty((0,) * len(kind[1]), kind[0])
        for x, kind in zip(operands, graph.step.types, strict=True)
    ]
    dtype = result_type("export", *parts)
    return [graph.cast(x, i, dtype) for i, x in enumerate(operands)]


def _bits(kinds):
    return lambda graph, a, b: graph.add(kinds[graph.step.dtype.kind != "b"], graph.cast(a, 0), graph.cast(b, 1))


for table, make in ((UNARY, _unary), (ROUNDING, _rounding), (BINARY, _binary), (COMPARISONS, _comparison)):
    RULES |= {name: make(kind) for name, kind in table.items()}
RULES |= {name: _bits(kinds) for name, kinds in BITS.items()}


@rule
def ne(graph, a, b):
    return graph.Not(graph.Equal(*_alike(graph, a, b)))


@rule
def bitwise_not(graph, x):
    return graph.Not(x) if graph.step.dtype.kind == "b" else graph.BitwiseNot(x)


@rule
def where(graph, condition, a, b):
    return graph.Where(condition, graph.cast(a, 1), graph.cast(b, 2))


@rule
def clip(graph, x, low, high):
    x, low, high = (graph.cast(value, i) for i, value in enumerate((x, low, high)))
    raised = x if low is None else graph.Max(x, low)
    return raised if high is None else graph.Min(raised, high)


@rule
def trunc(graph, x):
    return graph.Mul(graph.Sign(x), graph.Floor(graph.Abs(x))) if graph.step.dtype.kind == "f" else graph.Identity(x)


@rule
def remainder(graph, a, b):
    a, b = graph.cast(a, 0), graph.cast(b, 1)
    if graph.step.dtype.kind != "f":
        return graph.Mod(a, b)
    return graph.Sub(a, graph.Mul(graph.Floor(graph.Div(a, b)), b))


@rule
def fmod(graph, a, b):
    return graph.Mod(graph.cast(a, 0), graph.cast(b, 1), fmod=1)


@rule
def floor_divide(graph, a, b):
    if graph.step.dtype.kind != "f":
        raise GraphError("whole numbers are rounded towards 0 in ONNX; convert them with .float()")
    return graph.Floor(graph.Div(graph.cast(a, 0), graph.cast(b, 1)))


@rule
def hypot(graph, a, b):
    a, b = graph.Abs(graph.cast(a, 0)), graph.Abs(graph.cast(b, 1))
    larger = graph.Max(a, b)  # the squares are of shares of it, which neither overflow nor vanish
    unit = graph.Where(graph.Or(_is(graph, larger, 0), _is(graph, larger, inf)), graph.number(1), larger)
    a, b = graph.Div(a, unit), graph.Div(b, unit)
    return graph.Mul(unit, graph.Sqrt(graph.Add(graph.Mul(a, a), graph.Mul(b, b))))


@rule
def expm1(graph, x):
    x, one = graph.cast(x, 0), graph.number(1)
    t = graph.Tanh(graph.Mul(x, graph.number(0.5)))
    near_zero = graph.Div(graph.Add(t, t), graph.Sub(one, t))  # exp(x) - 1, where it would cancel
    return graph.Where(graph.Less(graph.Abs(x), one), near_zero, graph.Sub(graph.Exp(x), one))


@rule
def log1p(graph, x):
    x = graph.cast(x, 0)
    near_zero = graph.Mul(graph.number(2), graph.Atanh(graph.Div(x, graph.Add(x, graph.number(2)))))
    is_near = graph.Less(graph.Abs(x), graph.number(0.5))
    return graph.Where(is_near, near_zero, graph.Log(graph.Add(x, graph.number(1))))


def _is(graph, x, number):
    return graph.Equal(x, graph.number(number))


@rule
def log2(graph, x):
    return graph.Div(graph.Log(graph.cast(x, 0)), graph.number(log(2)))


@rule
def log10(graph, x):
    return graph.Div(graph.Log(graph.cast(x, 0)), graph.number(log(10)))


# exp(x * x) * erfc(x) is u * exp of a polynomial of u = 1 / (1 + x / 2), for x >= 0, to 1.2e-7 of its value
# (Press et al., Numerical Recipes, 2nd edition, section 6.2)
ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip


@rule
def erfc(graph, x):
    x, one = graph.cast(x, 0), graph.number(1)
    u = graph.Div(one, graph.Add(one, graph.Mul(graph.Abs(x), graph.number(0.5))))
    power = graph.number(0)
    for factor in reversed(ERFC):
        power = graph.Add(graph.Mul(power, u), graph.number(factor))
    tail = graph.Mul(u, graph.Exp(graph.Sub(power, graph.Mul(x, x))))  # where 1 - erf(x) would cancel
    return graph.Where(graph.Greater(x, graph.number(0.5)), tail, graph.Sub(one, graph.Erf(x)))


@rule
def logaddexp(graph, a, b):
    a, b = graph.cast(a, 0), graph.cast(b, 1)
    more = graph.Softplus(graph.Neg(graph.Abs(graph.Sub(a, b))))
    return graph.Add(graph.Max(a, b), graph.Where(graph.Equal(a, b), graph.number(log(2)), more))  # inf - inf is nan


# ---- activations


@rule
def leaky_relu(graph, x, *, negative_slope):
    return graph.LeakyRelu(x, alpha=negative_slope)


@rule
def hardtanh(graph, x, *, low, high):
    return graph.Clip(x, graph.number(low), graph.number(high))


@rule
def hardshrink(graph, x, *, lambd):
    return graph.Shrink(x, lambd=lambd, bias=0.0)


@rule
def softshrink(graph, x, *, lambd):
    return graph.Shrink(x, lambd=lambd, bias=lambd)


@rule
def softplus(graph, x, *, beta, threshold):
    if beta == 1:
        smooth = graph.Softplus(x)
    else:
        smooth = graph.Div(graph.Softplus(graph.Mul(x, graph.number(beta))), graph.number(beta))
    if threshold == inf or (beta == 1 and threshold >= 20):  # equal beyond it
        return smooth
    return graph.Where(graph.Greater(graph.Mul(x, graph.number(beta)), graph.number(threshold)), x, smooth)


@rule
def elu(graph, x, *, alpha, scale, steepness):
    if scale == steepness == 1:
        return graph.Elu(x, alpha=alpha)
    if steepness == 1:
        return graph.Selu(x, alpha=alpha, gamma=scale)
    low = graph.Elu(graph.Mul(x, graph.number(steepness)), alpha=1.0)
    low = graph.Mul(low, graph.number(alpha * scale))
    return graph.Where(graph.Less(x, graph.number(0)), low, graph.Mul(x, graph.number(scale)))


@rule
def silu(graph, x):
    return graph.Mul(x, graph.Sigmoid(x))


@rule
def gelu(graph, x):
    doubled = graph.Add(graph.Erf(graph.Div(x, graph.number(sqrt(2)))), graph.number(1))
    return graph.Mul(graph.Mul(x, graph.number(0.5)), doubled)


@rule
def gelu_tanh(graph, x):
    slope = graph.Add(graph.Mul(graph.Mul(x, x), graph.number(CUBIC)), graph.number(LINEAR))
    return graph.Mul(x, graph.Sigmoid(graph.Mul(x, slope)))


@rule
def softmax(graph, x, *, axis):
    return graph.Softmax(x, axis=axis)


@rule
def log_softmax(graph, x, *, axis):
    return graph.LogSoftmax(x, axis=axis)


# ---- sums and extremes


def _reduced(kind, graph, x, axes, keepdim):
    x = graph.cast(x, 0)
    if not axes:
        return graph.Identity(x)
    return graph.add(kind, x, np.array(axes, np.int64), keepdims=int(keepdim))


def _place(kind, graph, x, axis, keepdim):
    if axis is not None:
        return graph.add(kind, x, axis=axis, keepdims=int(keepdim))
    found = graph.add(kind, graph.Reshape(x, np.array([-1], np.int64)), axis=0, keepdims=0)
    return graph.Reshape(found, np.array([1] * len(graph.step.shape), np.int64))


FOLDS = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin"}
PLACES = {"argmax": "ArgMax", "argmin": "ArgMin"}
RULES |= {name: partial(_reduced, kind) for name, kind in FOLDS.items()}
RULES |= {name: partial(_place, kind) for name, kind in PLACES.items()}


@rule
def recurrence(graph, b, a, *, axis, reverse):
    if a is not None:
        raise GraphError("running products have no form in ONNX; leave cumprod out of forward")
    return graph.CumSum(b, np.array(axis, np.int64), reverse=int(reverse))


# ---- products


@rule
def matmul(graph, a, b):
    return graph.MatMul(graph.cast(a, 0), graph.cast(b, 1))


@rule
def linear(graph, x, w, b):
    return graph.Gemm(x, w, b, transB=1)


@rule
def embedding(graph, table, ids, *, skip):
    return graph.Gather(table, ids, axis=0)


@rule
def attention_weights(graph, q, k, mask, *, scale):
    """Softmax of q @ k.T * scale + mask; zeros for a query that may look nowhere, whose scores are all -inf."""
    axes = list(range(len(graph.given_shape(1))))
    keys = graph.Transpose(k, perm=[*axes[:-2], axes[-1], axes[-2]])
    scores = graph.Mul(graph.MatMul(q, keys), graph.number(scale))
    if mask is None:
        return graph.Softmax(scores, axis=-1)
    scores = graph.Add(scores, mask)
    best = graph.ReduceMax(scores, np.array([-1], np.int64), keepdims=1)
    nowhere, zero = graph.Equal(best, graph.number(-inf)), graph.number(0)
    return graph.Where(nowhere, zero, graph.Softmax(graph.Where(nowhere, zero, scores), axis=-1))


# ---- windows


def _pads(pads):
    """(top, bottom, left, right) in the order of ONNX."""
    top, bottom, left, right = pads
    return [top, left, bottom, right]


@rule
def conv2d(graph, x, w, b, *, stride, pads, dilation, groups):
    return graph.Conv(x, w, b, strides=list(stride), pads=_pads(pads), dilations=list(dilation), group=groups)


@rule
def conv_transpose2d(graph, x, w, b, *, size, stride, pads, dilation, groups):
    sides = zip(graph.given_shape()[2:], stride, dilation, graph.given_shape(1)[2:], strict=True)
    least = [(n - 1) * step + spread * (window - 1) + 1 for n, step, spread, window in sides]
    more = [total - n + pads[2 * i] + pads[2 * i + 1] for i, (total, n) in enumerate(zip(size, least, strict=True))]
    settings = {"strides": list(stride), "pads": _pads(pads), "dilations": list(dilation), "group": groups}
    return graph.ConvTranspose(x, w, b, output_padding=more, **settings)


def _with_far_edge(graph, window, stride, pads, dilation, ceil_mode):
    """The pads, with as much at the far edges as windows reach over them; ONNX then needs no ceil_mode of its own."""
    if not ceil_mode:
        return list(pads)
    found = list(pads)
    for i, (n, count) in enumerate(zip(graph.given_shape()[2:], graph.step.shape[2:], strict=True)):
        reach = (count - 1) * stride[i] + dilation[i] * (window[i] - 1) + 1
        found[2 * i + 1] = max(pads[2 * i + 1], reach - n - pads[2 * i])
    return found


@rule
def max_pool2d(graph, x, *, window, stride, pads, dilation, ceil_mode):
    wide = _with_far_edge(graph, window, stride, pads, dilation, ceil_mode)
    settings = {"strides": list(stride), "pads": _pads(wide), "dilations": list(dilation)}
    return graph.MaxPool(x, kernel_shape=list(window), **settings)


@rule
def avg_pool2d(graph, x, *, window, stride, pads, ceil_mode, count_include_pad, divisor):
    """The far edges that windows reach over are never counted; zeros that are counted become pixels."""
    wide = _with_far_edge(graph, window, stride, pads, (1, 1), ceil_mode)
    counted = divisor is not None or (count_include_pad and wide == list(pads))
    if count_include_pad and not counted and any(pads):
        top, bottom, left, right = pads
        x = graph.Pad(x, np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
        wide = [a - b for a, b in zip(wide, pads, strict=True)]
    settings = {"kernel_shape": list(window), "strides": list(stride), "pads": _pads(wide)}
    out = graph.AveragePool(x, count_include_pad=int(counted), **settings)
    return out if divisor is None else graph.Mul(out, graph.number(prod(window) / divisor))


@rule
def windows(graph, x, *, axis, size, step, dilation):
    """All windows by one Gather; their axis becomes the last one."""
    ndim, count = len(graph.given_shape()), graph.step.shape[axis]
    places = np.arange(count)[:, None] * step + np.arange(size) * dilation
    order = [d for d in range(ndim + 1) if d != axis + 1]
    return graph.Transpose(graph.Gather(x, places, axis=axis), perm=[*order, axis + 1])


@rule
def windows_back(graph, g, *, shape, axis, size, step, dilation):
    """Each window is added at its place by a product with a matrix of zeros and ones."""
    old, count = graph.given_shape(), graph.given_shape()[axis]
    places = (np.arange(count)[:, None] * step + np.arange(size) * dilation).reshape(-1)
    matrix = np.zeros((count * size, shape[axis]), graph.step.dtype)
    matrix[np.arange(count * size), places] = 1
    last = [d for d in range(len(old) - 1) if d != axis]
    order = [*last, axis, len(old) - 1]
    moved = [old[d] for d in order]
    lines = graph.reshape(graph.Transpose(g, perm=order), moved, [*moved[:-2], count * size])
    return graph.Transpose(graph.MatMul(lines, matrix), perm=[int(d) for d in np.argsort([*last, axis])])


@rule
def axis_sums(graph, x, *, axis, terms, transposed):
    """A Gather where each output is one pixel, else a product with a matrix."""
    size, count = graph.given_shape()[axis], graph.step.shape[axis]
    starts, sources, weights = build_terms(terms, transposed, graph.step.dtype)
    if len(sources) == count and (weights == 1).all():
        return graph.Gather(x, sources, axis=axis)
    matrix = np.zeros((size, count), graph.step.dtype)
    np.add.at(matrix, (sources, np.repeat(np.arange(count), np.diff(starts))), weights)
    ndim = len(graph.step.shape)
    order = [d for d in range(ndim) if d != axis] + [axis]
    lines = graph.MatMul(graph.Transpose(x, perm=order), matrix)
    return graph.Transpose(lines, perm=[int(d) for d in np.argsort(order)])


# ---- normalisation


@rule
def norm(graph, x, mean, var, weight, bias, *, axes, weight_axes, statistics, eps, momentum=None):
    if momentum is not None:
        raise GraphError("running statistics are changed; use eval() or training=False")
    shape, first = graph.given_shape(), axes[0] if axes else 0
    if statistics == "given":
        ones, zeros = np.ones(shape[1], graph.step.dtype), np.zeros(shape[1], graph.step.dtype)
        weights = ones if weight is None else weight, zeros if bias is None else bias
        kept = 1 - graph.momenta.get(mean, 0.1) if isinstance(mean, str) else 0.9
        return graph.BatchNormalization(x, *weights, mean, var, epsilon=eps, momentum=kept)
    if statistics == "batch" and weight is not None and axes == weight_axes == tuple(range(first, len(shape))):
        return graph.LayerNormalization(x, weight, bias, axis=first, epsilon=eps)
    along = np.array(axes, np.int64)
    centred = x if statistics == "rms" else graph.Sub(x, graph.ReduceMean(x, along))
    variance = graph.ReduceMean(graph.Mul(centred, centred), along)
    out = graph.Div(centred, graph.Sqrt(graph.Add(variance, graph.number(eps))))
    wide = np.array([size if axis in weight_axes else 1 for axis, size in enumerate(shape)], np.int64)
    out = out if weight is None else graph.Mul(out, graph.Reshape(weight, wide))
    return out if bias is None else graph.Add(out, graph.Reshape(bias, wide))


# ---- moving elements


@rule
def reshape(graph, x, *, shape):
    return graph.reshape(x, graph.given_shape(), shape)


@rule
def permute(graph, x, *, axes):
    return graph.Transpose(x, perm=list(axes))


@rule
def expand(graph, x, *, shape):
    old = graph.given_shape()
    return graph.Expand(x, graph.shape(shape, [1] * (len(shape) - len(old)) + list(old)))


@rule
def assign(graph, x, value):
    """The value in the shape and dtype of x."""
    value, shape = graph.cast(value, 1), graph.step.shape
    given = graph.step.types[1]
    if given is not None and given[1] == shape:
        return graph.Identity(value)
    old = () if given is None else given[1]
    return graph.Expand(value, graph.shape(shape, [1] * (len(shape) - len(old)) + list(old)))


def _parts_of(key, ndim):
    """The parts of a key, with full slices in place of '...' and at the end."""
    parts = list(key if isinstance(key, tuple) else (key,))
    used = sum(part is not None and part is not Ellipsis for part in parts)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    return [*parts[:at], *[slice(None)] * (ndim - used), *parts[at + 1 :]]


def _end(end, size, default):
    if end is None or end == size:
        return default
    if isinstance(end, Size):
        raise GraphError(f"a slice ends at {end.factor} * N + {end.offset}; slice other axes than that of the batch")
    return end


@rule
def index(graph, x, *, key):
    """Slice, then Squeeze for numbers and Unsqueeze for None."""
    starts, ends, axes, steps, dropped, added = [], [], [], [], [], []
    axis = place = 0
    for part in _parts_of(key, len(graph.given_shape())):
        if part is None:
            added.append(place)
            place += 1
            continue
        if not isinstance(part, slice):
            dropped.append(axis)
            part = slice(part, part + 1 if part != -1 else None)
        else:
            place += 1
        step, size = part.step or 1, graph.given_shape()[axis]
        bounds = (0, END) if step > 0 else (END, -END)
        start, end = _end(part.start, None, bounds[0]), _end(part.stop, size, bounds[1])
        if (start, end, step) != (0, END, 1):
            starts, ends, axes, steps = [*starts, start], [*ends, end], [*axes, axis], [*steps, step]
        axis += 1
    numbers = [np.array(part, np.int64) for part in (starts, ends, axes, steps)]
    x = graph.Slice(x, *numbers) if axes else x
    x = graph.Squeeze(x, np.array(dropped, np.int64)) if dropped else x
    return graph.Unsqueeze(x, np.array(added, np.int64)) if added else graph.Identity(x) if not axes else x


@rule
def take(graph, x, *positions, key):
    """One array of positions, on one axis."""
    parts = _parts_of(key, len(graph.given_shape()))
    arrays = [(axis, part) for axis, part in enumerate(parts) if not isinstance(part, slice) or part != slice(None)]
    if len(arrays) != 1 or not isinstance(arrays[0][1], Position | np.ndarray):
        raise GraphError("only one array of positions and full slices can index; use gather, or index in several steps")
    axis, part = arrays[0]
    places = positions[part.number] if isinstance(part, Position) else part
    dtype = graph.step.types[1][0] if isinstance(part, Position) else part.dtype
    if dtype.kind == "b":
        raise GraphError("the shape of x[mask] depends on values; use mg.where(mask, x, 0)")
    return graph.Gather(x, places if dtype == np.int64 else graph.to(places, np.int64), axis=axis)


@rule
def gather(graph, x, index, *, axis):
    return graph.GatherElements(x, index, axis=axis)


@rule
def cat(graph, *arrays, axis):
    return graph.Concat(*[graph.cast(x, i) for i, x in enumerate(arrays)], axis=axis)


@rule
def stack(graph, *arrays, axis):
    place = np.array([axis], np.int64)
    return graph.Concat(*[graph.Unsqueeze(graph.cast(x, i), place) for i, x in enumerate(arrays)], axis=axis)


@rule
def pad(graph, x, *, widths, value):
    befores, afters = zip(*widths, strict=True)
    return graph.Pad(x, np.array([*befores, *afters], np.int64), graph.number(value))


@rule
def triangle(graph, x, *, low, high):
    """Of tril, which has no lower limit, or of triu, which has no upper one."""
    if high == graph.given_shape()[-1]:
        return graph.Trilu(x, np.array(low, np.int64), upper=1)
    return graph.Trilu(x, np.array(high, np.int64), upper=0)


@rule
def clone(graph, x):
    return graph.Identity(x)


@rule
def transfer(graph, x, *, target):
    return graph.Identity(x)


@rule
def cast(graph, x, *, dtype):
    return graph.to(x, dtype)
