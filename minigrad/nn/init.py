"""Initial weights.  Each function fills a tensor in place, outside the graph, and returns it.

The standard deviation is chosen so that signals keep their size from layer to layer.  Each output of a layer is a sum
of `fan_in` inputs, and each input contributes to `fan_out` outputs.
"""

from math import prod, sqrt

import numpy as np

from ..checks import number_in_range
from ..errors import ShapeError, ValidationError
from ..streams import generator
from ..tape import no_grad
from ..tensors import Tensor

__all__ = ["calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "uniform_"]
__all__ += ["xavier_normal_", "xavier_uniform_", "zeros_"]
__dir__ = __all__.copy

GAINS = {  # by the name of the activation
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights must be larger so that signals keep their size through an activation.

    nonlinearity   'linear', 'conv2d', 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'
    param          the slope of 'leaky_relu'; 0.01 if None

    Raises   ValidationError   the nonlinearity is unknown
    Source   He et al. 2015, equation 14; tanh and selu: the values of PyTorch
    Example
    >>> round(calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValidationError(
            f"calculate_gain: no gain is known for {nonlinearity!r}; use {', '.join(GAINS)} or leaky_relu"
        )
    return GAINS[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw values from the uniform distribution from a to b.

    Example
    >>> import minigrad as mg
    >>> x = uniform_(mg.zeros(100), -1, 1)
    >>> bool((x.abs() <= 1).all())
    True
    """
    return _write(tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw values from the normal distribution.

    Raises   ValidationError   std is negative
    """
    number_in_range("normal_", "std", std, 0)
    return _write(tensor, generator().normal(mean, std, tensor.shape))


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


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from the uniform distribution in +-gain * sqrt(6 / (fan_in + fan_out)), for linear layers.

    tensor   weights (OUT, IN) or (F, C, KH, KW)

    Raises   ShapeError   the tensor has fewer than 2 dimensions
    Source   X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
             equation 16
    """
    bound = gain * sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from the normal distribution with std gain * sqrt(2 / (fan_in + fan_out)); otherwise as xavier_uniform_."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw from the uniform distribution in +-gain * sqrt(3 / fan), so that signals keep their size in ReLU layers.

    tensor         weights (OUT, IN) or (F, C, KH, KW)
    a              slope of the leaky ReLU that follows; 0 for ReLU
    mode           'fan_in' keeps the size of signals, 'fan_out' that of gradients
    nonlinearity   activation that follows, as in calculate_gain

    Raises   ShapeError        the tensor has fewer than 2 dimensions
             ValidationError   the mode or the nonlinearity is unknown
    Source   K. He et al., "Delving deep into rectifiers", 2015, equations 10 and 14
    Example
    >>> import minigrad as mg
    >>> weight = kaiming_uniform_(mg.zeros(6, 1, 5, 5))
    >>> bool((weight.abs() <= (2 * 3 / 25) ** 0.5).all())
    True
    """
    bound = sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw from the normal distribution with standard deviation gain / sqrt(fan); otherwise as kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValidationError(f"kaiming: mode is {mode!r}; use 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / sqrt(fans(tensor)[mode == "fan_out"])


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """Draw weight and bias of a new layer from the uniform distribution in +-1 / sqrt(fan_in), as PyTorch does."""
    kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(fans(weight)[0])
        uniform_(bias, -bound, bound)


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of weights (OUT, IN) or (F, C, KH, KW).

    Raises   ShapeError   the tensor has fewer than 2 dimensions
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
