"""From ONNX nodes to functions of tensors: one reader for each operator.

    @reads("LeakyRelu")
    def leaky_relu(call, x, *, alpha=0.01):
        return F.leaky_relu(x, alpha)

A reader takes the inputs of a node by position, and its attributes by name, with ONNX's defaults.  An attribute or an
input that it does not take is refused when the file is read.  Operators of older and newer opsets have one reader,
which takes axes and sizes as an attribute or as an input.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import creation, ops
from ..errors import DataError
from ..nn import functional as F
from ..tensors import Tensor, apply

DTYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # by TensorProto.DataType


class Call(NamedTuple):
    """What a reader knows besides inputs and attributes.

    training   whether the module is in train mode
    opset      version of the operators in the file
    outputs    the number of outputs that are used
    """

    training: bool
    opset: int
    outputs: int


class Reader(NamedTuple):
    """The function that computes an operator.

    static   positions of the inputs that are given as NumPy arrays: sizes, axes
    either   positions of those that are given as they are, a tensor or a NumPy array
    outputs  how many it gives; None: any number, in a tuple
    """

    function: Callable[..., Any]
    static: tuple[int, ...]
    either: tuple[int, ...]
    outputs: int | None


READERS: dict[str, Reader] = {}


def reads(
    *kinds: str, static: tuple[int, ...] = (), either: tuple[int, ...] = (), outputs: int | None = 1
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: this function computes these operators."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        READERS.update(dict.fromkeys(kinds, Reader(function, static, either, outputs)))
        return function

    return add


# ---- element by element


def _elementwise(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A reader of an operator without attributes."""
    if count == 1:
        return lambda call, x: function(x)
    return lambda call, a, b, *, axis=0, broadcast=0: function(a, b)


UNARY: dict[str, Callable[..., Any]] = {
    "Relu": F.relu, "Sigmoid": F.sigmoid, "Tanh": F.tanh, "Softplus": F.softplus, "Softsign": F.softsign,
    "HardSwish": F.hardswish, "Mish": F.mish, "Neg": lambda x: -x, "Abs": Tensor.abs, "Exp": Tensor.exp,
    "Log": Tensor.log, "Sqrt": Tensor.sqrt, "Reciprocal": lambda x: 1 / x, "Erf": Tensor.erf, "Sign": Tensor.sign,
    "Floor": Tensor.floor, "Ceil": Tensor.ceil, "Round": Tensor.round, "Sin": Tensor.sin, "Cos": Tensor.cos,
    "Tan": Tensor.tan, "Asin": Tensor.asin, "Acos": Tensor.acos, "Atan": Tensor.atan, "Sinh": Tensor.sinh,
    "Cosh": Tensor.cosh, "Asinh": Tensor.asinh, "Acosh": Tensor.acosh, "Atanh": Tensor.atanh,
    "Not": lambda x: ~x, "BitwiseNot": lambda x: ~x, "IsNaN": lambda x: x != x,
}  # fmt: skip
BINARY: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Pow": lambda a, b: a**b,
    "And": lambda a, b: a & b, "Or": lambda a, b: a | b, "Xor": lambda a, b: a ^ b,
    "BitwiseAnd": lambda a, b: a & b, "BitwiseOr": lambda a, b: a | b, "BitwiseXor": lambda a, b: a ^ b,
    "Equal": lambda a, b: a == b, "Less": lambda a, b: a < b, "LessOrEqual": lambda a, b: a <= b,
    "Greater": lambda a, b: a > b, "GreaterOrEqual": lambda a, b: a >= b,
    "MatMul": lambda a, b: a @ b, "PRelu": lambda x, slope: apply(ops.prelu, x, slope),
}  # fmt: skip
FOLDS: dict[str, Callable[..., Any]] = {
    "Max": lambda a, b: apply(ops.maximum, a, b),
    "Min": lambda a, b: apply(ops.minimum, a, b),
    "Sum": lambda a, b: a + b,
}
for _functions, _count in ((UNARY, 1), (BINARY, 2)):
    for _kind, _function in _functions.items():
        reads(_kind)(_elementwise(_function, _count))
for _kind, _function in FOLDS.items():
    reads(_kind)(lambda call, *values, function=_function: reduce(function, values))


WITH_NUMBERS = {*BINARY, *FOLDS, "Div", "Mean", "Mod", "Where", "Clip"} - {
    "MatMul",
    "PRelu",
}  # also take Python's numbers


@reads("Mean")
def mean(call, *values):
    return reduce(lambda a, b: a + b, values) / len(values)


@reads("Div")
def div(call, a, b, *, axis=0, broadcast=0):
    """Whole numbers are divided without a fraction, towards 0."""
    kinds = {x.dtype.kind for x in (a, b) if isinstance(x, Tensor)}
    return a / b if "f" in kinds else a.div(b, rounding_mode="trunc") if isinstance(a, Tensor) else (a / b).to(b.dtype)


@reads("Mod")
def mod(call, a, b, *, fmod=0):
    return apply(ops.fmod if fmod else ops.remainder, a, b)


@reads("Where")
def where(call, condition, a, b):
    return creation.where(condition, a, b)


@reads("Clip")
def clip(call, x, low=None, high=None, *, min=None, max=None):
    low, high = (min if low is None else low), (max if high is None else high)
    return x if low is None and high is None else x.clip(low, high)


@reads("Cast")
def cast(call, x, *, to, saturate=1):
    if to not in DTYPES:
        raise DataError(f"dtype {to} of ONNX is not supported; use {', '.join(DTYPES.values())}")
    return x.to(np.dtype(DTYPES[to]))


@reads("Identity")
def identity(call, x):
    return x


@reads("Dropout", static=(1, 2))
def dropout(call, x, ratio=None, training_mode=None, *, ratio_attribute=0.5, seed=0, is_test=0):
    return F.dropout(x, ratio_attribute if ratio is None else float(ratio), call.training)


# ---- activations


@reads("LeakyRelu")
def leaky_relu(call, x, *, alpha=0.01):
    return F.leaky_relu(x, alpha)


@reads("Elu")
def elu(call, x, *, alpha=1.0):
    return F.elu(x, alpha)


@reads("Celu")
def celu(call, x, *, alpha=1.0):
    return F.celu(x, alpha)


@reads("Selu")
def selu(call, x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return apply(ops.elu, x, alpha=alpha, scale=gamma, steepness=1.0)


@reads("HardSigmoid")
def hard_sigmoid(call, x, *, alpha=0.2, beta=0.5):
    return (x * alpha + beta).clip(0.0, 1.0)


@reads("ThresholdedRelu")
def thresholded_relu(call, x, *, alpha=1.0):
    return F.threshold(x, alpha, 0.0)


@reads("Shrink")
def shrink(call, x, *, bias=0.0, lambd=0.5):
    if bias == 0:
        return F.hardshrink(x, lambd)
    if bias == lambd:
        return F.softshrink(x, lambd)
    return creation.where(x > lambd, x - bias, creation.where(x < -lambd, x + bias, 0.0))


@reads("Gelu")
def gelu(call, x, *, approximate="none"):
    return F.gelu(x, approximate)


def _along(function: Any) -> Any:
    """A reader of softmax; before opset 13 all axes from `axis` on count as one."""

    def read(call, x, *, axis=None):
        if call.opset >= 13:
            return function(x, -1 if axis is None else axis)
        first = (1 if axis is None else axis) % x.ndim
        return function(x.flatten(first), first).reshape(x.shape)

    return read


reads("Softmax")(_along(F.softmax))
reads("LogSoftmax")(_along(F.log_softmax))


# ---- sums and extremes


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def read(call, x, axes=None, *, axes_attribute=None, keepdims=1, noop_with_empty_axes=0):
        found = axes_attribute if axes is None else axes.tolist()
        if not found:
            found = () if noop_with_empty_axes else range(x.ndim)
        return function(x, tuple(found), bool(keepdims)) if len(tuple(found)) else x

    return read


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep).to(x.dtype),
    "ReduceMean": Tensor.mean,
    "ReduceMax": Tensor.amax,
    "ReduceMin": Tensor.amin,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: (x * x).sum(axes, keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep),
    "ReduceLogSumExp": Tensor.logsumexp,
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
}
for _kind, _function in REDUCTIONS.items():
    reads(_kind, static=(1,))(_reduction(_function))


@reads("ArgMax")
def argmax(call, x, *, axis=0, keepdims=1, select_last_index=0):
    _expect(select_last_index == 0, "select_last_index", select_last_index)
    return x.argmax(axis, bool(keepdims))


@reads("ArgMin")
def argmin(call, x, *, axis=0, keepdims=1, select_last_index=0):
    _expect(select_last_index == 0, "select_last_index", select_last_index)
    return x.argmin(axis, bool(keepdims))


@reads("CumSum", static=(1,))
def cumsum(call, x, axis, *, exclusive=0, reverse=0):
    _expect(exclusive == 0, "exclusive", exclusive)
    dim = int(axis.reshape(()))
    return x.flip(dim).cumsum(dim).flip(dim) if reverse else x.cumsum(dim)


@reads("TopK", static=(1,), outputs=None)
def topk(call, x, k, *, axis=-1, largest=1, sorted=1):
    return tuple(x.topk(int(k.reshape(())), axis, bool(largest)))


def _expect(holds: bool, name: str, value: Any) -> None:
    if not holds:
        raise DataError(f"{name}={value!r} is not supported here; export the model without it")


# ---- products


@reads("Gemm")
def gemm(call, a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    if transB and not transA and alpha == beta == 1 and (c is None or np.shape(c) == b.shape[:1]):
        return F.linear(a, b, c)
    out = (a.T if transA else a) @ (b.T if transB else b)
    out = out if alpha == 1 else out * alpha
    return out if c is None else out + (c if beta == 1 else c * beta)


# ---- windows; pads are those before each side, then those after each side


def _sides(x: Tensor, least: int = 1, most: int = 2) -> int:
    """The number of sides of images (N, C, ...)."""
    sides = x.ndim - 2
    if not least <= sides <= most:
        raise DataError(
            f"x has shape {tuple(x.shape)}, expected (N, C, L) or (N, C, H, W); other sides are not supported"
        )
    return sides


def _pads(auto_pad: str, pads: Any, sizes: Any, window: Any, strides: Any, dilations: Any) -> list[tuple[int, int]]:
    """(before, after) for each side."""
    n = len(window)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, k, step, spread in zip(sizes, window, strides, dilations, strict=True):
            total = max((-(-size // step) - 1) * step + (k - 1) * spread + 1 - size, 0)
            less = total // 2
            found.append((less, total - less) if auto_pad == "SAME_UPPER" else (total - less, less))
        return found
    pads = [0] * 2 * n if pads is None or auto_pad == "VALID" else pads
    return list(zip(pads[:n], pads[n:], strict=True))


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with margins around its sides."""
    flat = [margin for pair in reversed(pads) for margin in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def _split_pads(pads: list[tuple[int, int]], window: Any = None) -> tuple[tuple[int, ...], bool]:
    """The margins that a layer takes itself, and whether these are all; it takes equal ones, up to half a window."""
    fits = all(a == b and (window is None or 2 * a <= window[i]) for i, (a, b) in enumerate(pads))
    return tuple([a if fits else 0 for a, _ in pads]), fits


@reads("Conv")
def conv(call, x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    sides = _sides(x)
    strides, dilations = strides or [1] * sides, dilations or [1] * sides
    margins = _pads(auto_pad, pads, x.shape[2:], w.shape[2:], strides, dilations)
    padding, fits = _split_pads(margins)
    function = F.conv1d if sides == 1 else F.conv2d
    x = x if fits else _padded(x, margins)
    return function(x, w, b, tuple(strides), padding, tuple(dilations), group)


@reads("ConvTranspose")
def conv_transpose(
    call, x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None,
    output_shape=None, pads=None, strides=None,
):  # fmt: skip
    """Unequal margins are cut off afterwards."""
    _expect(output_shape is None, "output_shape", output_shape)
    _expect(auto_pad in ("NOTSET", "VALID"), "auto_pad", auto_pad)
    sides = _sides(x)
    margins = _pads(auto_pad, pads, x.shape[2:], w.shape[2:], None, None)
    padding, fits = _split_pads(margins)
    function = F.conv_transpose1d if sides == 1 else F.conv_transpose2d
    numbers = [
        tuple(given or [default] * sides) for given, default in ((strides, 1), (output_padding, 0), (dilations, 1))
    ]
    out = function(x, w, b, numbers[0], padding, numbers[1], group, numbers[2])
    return out if fits else _padded(out, [(-before, -after) for before, after in margins])


@reads("MaxPool")
def max_pool(
    call, x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None
):
    sides = _sides(x)
    strides, dilations = strides or [1] * sides, dilations or [1] * sides
    margins = _pads(auto_pad, pads, x.shape[2:], kernel_shape, strides, dilations)
    padding, fits = _split_pads(margins, kernel_shape)
    x = x if fits else _padded(x, margins, float("-inf"))
    function = F.max_pool1d if sides == 1 else F.max_pool2d
    return function(x, tuple(kernel_shape), tuple(strides), padding, tuple(dilations), bool(ceil_mode))


@reads("AveragePool")
def average_pool(
    call,
    x,
    *,
    kernel_shape,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
    dilations=None,
    pads=None,
    strides=None,
):
    """Unequal margins are added before; the share of pixels in each window gives means without them."""
    sides = _sides(x)
    strides = strides or [1] * sides
    _expect(set(dilations or [1]) == {1}, "dilations", dilations)
    margins = _pads(auto_pad, pads, x.shape[2:], kernel_shape, strides, [1] * sides)
    padding, fits = _split_pads(margins, kernel_shape)
    function = F.avg_pool1d if sides == 1 else F.avg_pool2d
    settings = tuple(kernel_shape), tuple(strides), padding, bool(ceil_mode)
    if fits:
        return function(x, *settings, bool(count_include_pad))
    out = function(_padded(x, margins), *settings, False)
    if count_include_pad:
        return out
    ones = creation.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    return out / function(_padded(ones, margins), *settings, False)


@reads("LpPool")
def lp_pool(call, x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, p=2, pads=None, strides=None):
    sides = _sides(x)
    _expect(set(dilations or [1]) == {1}, "dilations", dilations)
    _expect(auto_pad in ("NOTSET", "VALID") and not any(pads or []), "pads", pads)
    function = F.lp_pool1d if sides == 1 else F.lp_pool2d
    return function(x.abs(), float(p), tuple(kernel_shape), tuple(strides or [1] * sides), bool(ceil_mode))


@reads("GlobalAveragePool")
def global_average_pool(call, x):
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@reads("GlobalMaxPool")
def global_max_pool(call, x):
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


# ---- normalisation


@reads("BatchNormalization")
def batch_normalization(
    call, x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=0,
    consumed_inputs=None,
):  # fmt: skip
    """The mode of the module decides, and not that in which the file was written; so for Dropout."""
    _expect(spatial == 1, "spatial", spatial)
    return F.batch_norm(x, mean, var, scale, bias, call.training, 1 - momentum, epsilon)


@reads("InstanceNormalization")
def instance_normalization(call, x, scale, bias, *, epsilon=1e-5):
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@reads("LayerNormalization")
def layer_normalization(call, x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    shape = tuple(x.shape[axis % x.ndim :])
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    out = F.layer_norm(x, shape, eps=epsilon) * scale
    return out if bias is None else out + bias


@reads("RMSNormalization")
def rms_normalization(call, x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    return F.rms_norm(x, tuple(x.shape[axis % x.ndim :]), eps=epsilon) * scale


@reads("GroupNormalization")
def group_normalization(call, x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@reads("LRN")
def lrn(call, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    _expect(size % 2 == 1, "size", size)
    return F.local_response_norm(x, size, alpha, beta, bias)


# ---- moving elements


@reads("Reshape", static=(1,))
def reshape(call, x, shape, *, allowzero=0):
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(shape.tolist())])


@reads("Flatten")
def flatten(call, x, *, axis=1):
    rows = prod(x.shape[: axis % x.ndim if axis < 0 else axis])
    return x.reshape(rows, x.numel() // rows) if rows else x.reshape(rows, -1)


@reads("Transpose")
def transpose(call, x, *, perm=None):
    return x.T if perm is None else x.permute(perm)


@reads("Squeeze", static=(1,))
def squeeze(call, x, axes=None, *, axes_attribute=None):
    found = axes_attribute if axes is None else axes.tolist()
    return x.squeeze() if found is None else x.squeeze(tuple(found)) if found else x


@reads("Unsqueeze", static=(1,))
def unsqueeze(call, x, axes=None, *, axes_attribute=None):
    found = axes_attribute if axes is None else axes.reshape(-1).tolist()
    for axis in sorted(axis % (x.ndim + len(found)) for axis in found):
        x = x.unsqueeze(axis)
    return x


@reads("Concat")
def concat(call, *values, axis):
    return creation.cat(values, axis)


@reads("Split", static=(1,), outputs=None)
def split(call, x, sizes=None, *, axis=0, num_outputs=None, split=None):
    given = split if sizes is None else sizes.tolist()
    if given is None:
        size = -(-x.shape[axis] // (num_outputs or call.outputs))
        return tuple(x.split(size, axis))
    return tuple(x.split(given, axis))


@reads("Slice", static=(1, 2, 3, 4))
def slice_(call, x, starts=None, ends=None, axes=None, steps=None, *, starts_attribute=None, ends_attribute=None,
           axes_attribute=None):  # fmt: skip
    begin, end = (starts_attribute, ends_attribute) if starts is None else (starts.tolist(), ends.tolist())
    found = axes_attribute if axes is None else axes.tolist()
    step = [1] * len(begin) if steps is None else steps.tolist()
    for axis, *bounds in zip(range(len(begin)) if found is None else found, begin, end, step, strict=True):
        size, lead = x.shape[axis], (slice(None),) * (axis % x.ndim)
        places = range(size)[slice(*bounds)]
        if places.step < 0:
            x = x[(*lead, np.array(places, np.int64))]
        elif len(places) < size:
            x = x[(*lead, slice(places.start, places.stop, places.step))]
    return x


@reads("Gather", either=(1,))
def gather(call, x, indices, *, axis=0):
    if isinstance(indices, Tensor):
        if axis == 0 and x.ndim == 2:
            return F.embedding(indices, x)
        indices = indices.long()
    key = int(indices) if not np.ndim(indices) and not isinstance(indices, Tensor) else indices
    return x[(*(slice(None),) * (axis % x.ndim), key)]


@reads("GatherElements")
def gather_elements(call, x, indices, *, axis=0):
    return x.gather(axis, indices)


@reads("ScatterElements")
def scatter_elements(call, x, indices, updates, *, axis=0, reduction="none"):
    _expect(reduction in ("none", "add"), "reduction", reduction)
    return x.scatter(axis, indices, updates, reduce=None if reduction == "none" else reduction)


@reads("Expand", static=(1,))
def expand(call, x, shape):
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape.tolist())))


@reads("Tile", static=(1,))
def tile(call, x, repeats):
    return x.repeat(*repeats.tolist())


@reads("Trilu", static=(1,))
def trilu(call, x, k=None, *, upper=1):
    diagonal = 0 if k is None else int(k.reshape(()))
    return x.triu(diagonal) if upper else x.tril(diagonal)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@reads("Pad", static=(1, 2, 3))
def pad(call, x, pads=None, value=None, axes=None, *, mode="constant", pads_attribute=None, value_attribute=0.0):
    given = pads_attribute if pads is None else pads.tolist()
    half = len(given) // 2
    margins = [(0, 0)] * x.ndim
    for axis, before, after in zip(
        range(half) if axes is None else axes.tolist(), given[:half], given[half:], strict=True
    ):
        margins[axis] = before, after
    if mode == "constant":
        number = value_attribute if value is None or not value.size else value.reshape(()).item()
        return _padded(x, margins, number)
    _expect(mode in PAD_MODES and not any(map(any, margins[:2])), "mode", mode)
    flat = [margin for pair in reversed(margins[2:]) for margin in pair]
    return F.pad(x, flat, PAD_MODES[mode])


@reads("DepthToSpace")
def depth_to_space(call, x, *, blocksize, mode="DCR"):
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    N, C, H, W = x.shape
    blocks = x.reshape(N, blocksize, blocksize, C // blocksize**2, H, W).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(N, C // blocksize**2, H * blocksize, W * blocksize)


@reads("SpaceToDepth")
def space_to_depth(call, x, *, blocksize):
    N, C, H, W = x.shape
    blocks = x.reshape(N, C, H // blocksize, blocksize, W // blocksize, blocksize).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(N, C * blocksize**2, H // blocksize, W // blocksize)


RESIZED = {  # (mode, places of pixels): (mode, align_corners)
    ("nearest", "asymmetric"): ("nearest", None),
    ("linear", "half_pixel"): ("linear", False),
    ("linear", "pytorch_half_pixel"): ("linear", False),
    ("linear", "align_corners"): ("linear", True),
    ("cubic", "half_pixel"): ("bicubic", False),
    ("cubic", "pytorch_half_pixel"): ("bicubic", False),
    ("cubic", "align_corners"): ("bicubic", True),
}


@reads("Resize", static=(1, 2, 3))
def resize(
    call, x, roi=None, scales=None, sizes=None, *, mode="nearest", coordinate_transformation_mode="half_pixel",
    nearest_mode="round_prefer_floor", cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, antialias=0,
    axes=None, keep_aspect_ratio_policy="stretch",
):  # fmt: skip
    _expect(axes is None and not antialias, "antialias or axes", (antialias, axes))
    _expect(not exclude_outside and cubic_coeff_a == -0.75, "cubic_coeff_a", cubic_coeff_a)
    _expect(mode != "nearest" or nearest_mode == "floor", "nearest_mode", nearest_mode)
    return _resized(x, mode, coordinate_transformation_mode, scales, sizes)


@reads("Upsample", static=(1,))
def upsample(call, x, scales=None, *, mode="nearest", scales_attribute=None):
    return _resized(x, mode, "asymmetric", np.array(scales_attribute) if scales is None else scales, None)


def _resized(x, mode, places, scales, sizes):
    _expect((mode, places) in RESIZED, "coordinate_transformation_mode", places)
    name, align = RESIZED[mode, places]
    name = "bilinear" if name == "linear" and x.ndim == 4 else name
    others = scales[:2].tolist() == [1, 1] if sizes is None or not sizes.size else sizes[:2].tolist() == [*x.shape[:2]]
    _expect(others, "a size of batch or channels", (scales, sizes))
    if sizes is not None and sizes.size:
        return F.interpolate(x, size=tuple(sizes.tolist()[2:]), mode=name, align_corners=align)
    return F.interpolate(x, scale_factor=tuple(scales.tolist()[2:]), mode=name, align_corners=align)


# ---- constants and sizes, as NumPy arrays


@reads("Shape")
def shape(call, x, *, start=0, end=None):
    return np.array(x.shape[start:end], np.int64)


@reads("Size")
def size(call, x):
    return np.array(x.numel(), np.int64)


@reads("ConstantOfShape", static=(0,))
def constant_of_shape(call, sizes, *, value=None):
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(sizes.tolist(), value.reshape(()), value.dtype)


@reads("Range", static=(0, 1, 2))
def range_(call, start, limit, delta):
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)
