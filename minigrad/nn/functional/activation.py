"""Activations: functions of each element, and softmax.

inplace=True writes the result to the input, which is returned; a leaf that requires grad is refused.

Sources: A. Maas et al., 2013 (leaky_relu); K. He et al., "Delving deep into rectifiers", 2015 (prelu); B. Xu et al.,
"Empirical evaluation of rectified activations in convolutional network", 2015 (rrelu); G. Klambauer et al.,
"Self-normalizing neural networks", 2017 (selu); D. Hendrycks & K. Gimpel, "Gaussian error linear units", 2016 (gelu);
D. Misra, "Mish", 2019; C. Dugas et al., 2000 (softplus); Y. Dauphin et al., "Language modeling with gated convolutional
networks", 2016 (glu); E. Jang et al., "Categorical reparameterization with Gumbel-softmax", 2016.
"""

import warnings
from math import inf
from typing import Any

from ... import functions, ops
from ...checks import brief, number_in_range
from ...creation import arange, where, zeros_like
from ...errors import ShapeError, ValidationError
from ...functions import sigmoid, tanh
from ...shapes import axis_number, existing_axis
from ...tensors import Tensor, apply
from .arguments import composed, expect_tensors, in_place_or_new

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip
__dir__ = __all__.copy

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


# ---- of each element


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0); the gradient at 0 is 0.

    Example
    >>> import minigrad as mg
    >>> relu(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return in_place_or_new(inplace, ops.relu, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """The input where it is positive, negative_slope * input elsewhere."""
    return in_place_or_new(inplace, ops.leaky_relu, input, negative_slope=float(negative_slope))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """The input where it is positive, weight * input elsewhere.

    input    (N, C, ...)
    weight   (C), or one number for all channels
    """
    expect_tensors("prelu", input, weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(f"prelu: weight has shape {weight.shape}, input {input.shape}; give 1 or {channels} numbers")
    shape = (-1, *[1] * (input.ndim - 2)) if weight.numel() > 1 else (1,) * input.ndim
    return apply(ops.prelu, input, weight.reshape(shape))


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with slopes drawn between lower and upper for each element; with their mean if not training."""
    expect_tensors("rrelu", input)
    number_in_range("rrelu", "upper", upper, lower)
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    return in_place_or_new(inplace, ops.prelu, input, zeros_like(input).uniform_(lower, upper))


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """The input limited to min_val..max_val; the gradient at both ends is 0."""
    if min_val > max_val:
        raise ValidationError(f"hardtanh: min_val {min_val} is above max_val {max_val}; exchange them")
    return in_place_or_new(inplace, ops.hardtanh, input, low=float(min_val), high=float(max_val))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """The input limited to 0..6; the gradient at both ends is 0."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(input + 3) / 6, an approximation of sigmoid."""
    return composed("hardsigmoid", inplace, input, lambda x: relu6(x + 3) / 6)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * relu6(input + 3) / 6, an approximation of silu."""
    return in_place_or_new(inplace, ops.hardswish, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """The input where it is above a threshold, `value` elsewhere."""
    return composed("threshold", inplace, input, lambda x: where(x <= threshold, float(value), x))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 from -lambd to lambd, the input elsewhere."""
    return apply(ops.hardshrink, input, lambd=float(lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 from -lambd to lambd; elsewhere the input moved towards 0 by lambd."""
    number_in_range("softshrink", "lambd", lambd, 0)
    return apply(ops.softshrink, input, lambd=float(lambd))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """The input where it is positive, alpha * (e**input - 1) elsewhere."""
    return in_place_or_new(inplace, ops.elu, input, alpha=float(alpha), scale=1.0, steepness=1.0)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """The input where it is positive, alpha * (e**(input / alpha) - 1) elsewhere."""
    if not alpha:
        raise ValidationError("celu: alpha is 0; use another number, because the input is divided by it")
    return in_place_or_new(inplace, ops.elu, input, alpha=float(alpha), scale=1.0, steepness=1 / alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """1.0507 * elu(input, 1.6733): it leaves a mean of 0 and a variance of 1 as they are."""
    return in_place_or_new(inplace, ops.elu, input, alpha=SELU_ALPHA, scale=SELU_SCALE, steepness=1.0)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """The input times the normal distribution function of the input.

    approximate   'none', or 'tanh' for an approximation by the hyperbolic tangent
    """
    if approximate not in ("none", "tanh"):
        raise ValidationError(f"gelu: approximate is {brief(approximate)}; use 'none' or 'tanh'")
    return apply(ops.gelu_tanh if approximate == "tanh" else ops.gelu, input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input), also called swish."""
    return in_place_or_new(inplace, ops.silu, input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input)).

    Source   D. Misra, "Mish: a self regularized non-monotonic activation function", 2019
    """
    return in_place_or_new(inplace, ops.mish, input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e**(beta * input)) / beta, a smooth relu; the input itself where beta * input is above the threshold."""
    return apply(ops.softplus, input, beta=float(beta), threshold=float(threshold))


def logsigmoid(input: Tensor) -> Tensor:
    """The logarithm of sigmoid, without overflow."""
    return composed("logsigmoid", False, input, lambda x: softplus(x, -1.0, inf))


def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|)."""
    return apply(ops.softsign, input)


def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)."""
    return composed("tanhshrink", False, input, lambda x: x - x.tanh())


# ---- along one axis


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of an axis of even size times sigmoid of the second half."""
    expect_tensors("glu", input)
    axis = existing_axis(dim, input.ndim, "glu")
    if input.shape[axis] % 2:
        raise ShapeError(f"glu: dim {dim} of {input.shape} has size {input.shape[axis]}; use an even size")
    lead, half = (slice(None),) * axis, input.shape[axis] // 2
    return input[(*lead, slice(half))] * input[(*lead, slice(half, None))].sigmoid()


def _dim_of(where: str, input: Tensor, dim: int | None) -> int:
    """The axis; if it was left out, PyTorch's choice."""
    expect_tensors(where, input)
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warnings.warn(f"{where}: dim was left out, so dim {dim} is used, as in PyTorch; write dim={dim}", stacklevel=3)
    return dim


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """e**input divided by its sum along `dim`: positive, adding up to 1.

    dim     an axis; if it is left out, PyTorch's choice, 0 or 1, with a warning
    dtype   to which the input is converted first

    Example
    >>> import minigrad as mg
    >>> softmax(mg.tensor([0.0, 0.0]), dim=0)
    tensor([0.5, 0.5])
    """
    return functions.softmax(input, _dim_of("softmax", input, dim), dtype)


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-input)."""
    dim = _dim_of("softmin", input, dim)
    return functions.softmax(-input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """The logarithm of softmax, computed without overflow."""
    return functions.log_softmax(input, _dim_of("log_softmax", input, dim), dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random choice along an axis, made differentiable: softmax of the logits with Gumbel noise, divided by tau.

    hard   whether the result is one-hot; the gradient is still that of the soft choice
    eps    without effect, as in PyTorch
    """
    expect_tensors("gumbel_softmax", logits)
    soft = ((logits - zeros_like(logits).exponential_().log()) / tau).softmax(dim)
    if not hard:
        return soft
    axis = axis_number(dim, soft.ndim, "gumbel_softmax")
    classes = arange(soft.shape[axis], device=soft.device).reshape(-1, *[1] * (soft.ndim - axis - 1))
    return (classes == soft.detach().argmax(dim, keepdim=True)).to(soft.dtype) - soft.detach() + soft


def _in_place(function: Any) -> Any:
    def change(input: Tensor, *settings: Any, **named: Any) -> Tensor:
        return function(input, *settings, **named, inplace=True)

    change.__name__ = change.__qualname__ = f"{function.__name__}_"
    change.__doc__ = f"{function.__name__} of the input, written to the input, which is returned."
    return change


relu_, elu_, celu_, selu_ = _in_place(relu), _in_place(elu), _in_place(celu), _in_place(selu)
leaky_relu_, rrelu_ = _in_place(leaky_relu), _in_place(rrelu)
hardtanh_, threshold_ = _in_place(hardtanh), _in_place(threshold)
