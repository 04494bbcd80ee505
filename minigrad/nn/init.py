"""Initial weights.  Each function fills a tensor in place, outside the graph, and returns it.

The standard deviation is chosen so that signals keep their size from layer to layer.  Each output of a layer is a sum
of `fan_in` inputs, and each input contributes to `fan_out` outputs.  Weights are (OUT, IN) or (F, C, KH, KW); where a
function counts inputs, fewer than 2 dimensions are a ShapeError.

`generator` is a mg.Generator; None stands for numbers that follow from mg.manual_seed.
"""

from collections.abc import Callable
from functools import wraps
from math import ceil, prod, sqrt
from typing import Any

import numpy as np

from ..checks import brief, number_in_range
from ..errors import ShapeError, ValidationError
from ..names import warn_once
from ..streams import generator as numpy_generator
from ..tape import no_grad
from ..tensors import Tensor

__all__ = ["calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_"]
__all__ += ["orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_"]
__dir__ = __all__.copy

GAINS = {  # by the name of the activation
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
    "tanh": 5 / 3,
    "relu": sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights must be larger so that signals keep their size through an activation.

    nonlinearity   'linear', 'conv2d', 'sigmoid', 'tanh', 'relu', 'selu', 'leaky_relu' (param: its slope, 0.01 if None)

    Source   He et al. 2015, equation 14; tanh and selu: the values of PyTorch
    Example
    >>> round(calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        known = ", ".join(GAINS)
        raise ValidationError(f"calculate_gain: no gain is known for {nonlinearity!r}; use {known} or leaky_relu")
    return GAINS[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Draw values from the uniform distribution from a to b."""
    return _write(tensor, numpy_generator(generator).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Draw values from the normal distribution; std is not negative."""
    number_in_range("normal_", "std", std, 0)
    return _write(tensor, numpy_generator(generator).normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to val."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Draw from the uniform distribution in +-gain * sqrt(6 / (fan_in + fan_out)), for linear layers.

    Source   X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
             equation 16
    """
    bound = gain * sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Draw from the normal distribution with std gain * sqrt(2 / (fan_in + fan_out)); otherwise as xavier_uniform_."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Draw from the uniform distribution in +-gain * sqrt(3 / fan), so that signals keep their size in ReLU layers.

    a              slope of the leaky ReLU that follows; 0 for ReLU
    mode           'fan_in' keeps the size of signals, 'fan_out' that of gradients
    nonlinearity   activation that follows, as in calculate_gain

    Source   K. He et al., "Delving deep into rectifiers", 2015, equations 10 and 14
    Example
    >>> import minigrad as mg
    >>> weight = kaiming_uniform_(mg.zeros(6, 1, 5, 5))
    >>> bool((weight.abs() <= (2 * 3 / 25) ** 0.5).all())
    True
    """
    bound = sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Draw from the normal distribution with standard deviation gain / sqrt(fan); otherwise as kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValidationError(f"kaiming: mode is {brief(mode)}; use 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / sqrt(fans(tensor)[mode == "fan_out"])


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Draw from the normal distribution between a and b, which are values, not numbers of deviations."""
    if not (std > 0 and a < b):
        raise ValidationError(f"trunc_normal_: std is {std}, a {a} and b {b}; use std above 0, and a below b")
    low, high = (a - mean) / std, (b - mean) / std
    peak = min(max(0.0, low), high)
    x = np.linspace(max(low, peak - 40), min(high, peak + 40), 2**16 + 1)  # beyond, the density is 0 in float64
    density = np.exp((peak * peak - x * x) / 2)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    drawn = np.interp(numpy_generator(generator).uniform(0, below[-1], tensor.shape), below, x)
    return _write(tensor, np.clip(mean + std * drawn, a, b))


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Draw an orthogonal matrix and multiply it by gain: of (OUT, rest) the shorter side has orthogonal vectors.

    Source   A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear networks", 2014
    Example
    >>> import minigrad as mg
    >>> w = orthogonal_(mg.zeros(2, 3))
    >>> bool(((w @ w.T - mg.tensor([[1.0, 0.0], [0.0, 1.0]])).abs() < 1e-6).all())
    True
    """
    fans(tensor)  # refuses vectors
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    q, r = np.linalg.qr(numpy_generator(generator).normal(size=(max(rows, columns), min(rows, columns))))
    q = gain * q * np.where(np.diagonal(r) < 0, -1, 1)  # so that all orthogonal matrices are equally likely
    return _write(tensor, (q.T if rows < columns else q).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Draw (rows, columns) from the normal distribution, with a share `sparsity` of each column, rounded up, set to 0.

    Source   J. Martens, "Deep learning via Hessian-free optimization", 2010
    """
    _expect_dimensions("sparse_", tensor, 2)
    random = numpy_generator(generator)
    values, order = random.normal(0, std, tensor.shape), random.random(tensor.shape).argsort(axis=0)
    return _write(tensor, np.where(order < ceil(sparsity * tensor.shape[0]), 0, values))


def eye_(tensor: Tensor) -> Tensor:
    """Set (rows, columns) to 1 on the diagonal and 0 elsewhere."""
    _expect_dimensions("eye_", tensor, 2)
    return _write(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Set the weights (F, C, ...) of a convolution so that each group passes on its first channels unchanged."""
    _expect_dimensions("dirac_", tensor, 3, 4, 5)
    if groups < 1 or tensor.shape[0] % groups:
        raise ValidationError(f"dirac_: {tensor.shape[0]} filters in {groups} groups; use a divisor of their number")
    values = np.zeros(tensor.shape)
    middle: Any = tuple(size // 2 for size in tensor.shape[2:])
    values[:, :, *middle] = np.tile(np.eye(tensor.shape[0] // groups, tensor.shape[1]), (groups, 1))
    return _write(tensor, values)


def _expect_dimensions(where: str, tensor: Tensor, *expected: int) -> None:
    if tensor.ndim not in expected:
        found, numbers = f"a tensor of shape {tensor.shape}", " or ".join(map(str, expected))
        raise ShapeError(f"{where}: {found} has {tensor.ndim} dimension(s), expected {numbers}; reshape it")


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """Draw weight and bias of a new layer from the uniform distribution in +-1 / sqrt(fan_in), as PyTorch does."""
    kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(fans(weight)[0])
        uniform_(bias, -bound, bound)


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of weights.

    Example
    >>> import minigrad as mg
    >>> fans(mg.zeros(6, 3, 5, 5))
    (75, 150)
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"init: weights of shape {tensor.shape} have {tensor.ndim} dimension(s), expected 2 or more, whose inputs "
            "and outputs can be counted; use uniform_ or constant_"
        )
    window = prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(Tensor(values, dtype=tensor.dtype, device=tensor.device))


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under the name that it had in older versions of PyTorch, which says so once."""
    name = function.__name__

    @wraps(function)
    def run(*args: Any, **named: Any) -> Tensor:
        warn_once(f"nn.init.{name[:-1]} is an old name; use {name}")
        return function(*args, **named)

    return run


for _name in __all__:
    if _name.endswith("_"):
        globals()[_name[:-1]] = _old_name(globals()[_name])
