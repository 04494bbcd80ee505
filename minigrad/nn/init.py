"""Initial weights.  All functions change a tensor in place, outside the graph, and return it; one seed fixes them all.

The spread of the weights is chosen so that signals neither fade nor explode from layer to layer:
each output sums `fan_in` inputs, each input feeds `fan_out` outputs.
"""

from math import prod, sqrt

import numpy as np

from ..errors import ShapeError, ValidationError
from ..random import generator
from ..tape import no_grad
from ..tensors import Tensor

GAINS = {
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
    """How much larger weights must be so that the signal keeps its size through an activation.

    nonlinearity   'linear', 'conv2d', 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'
    param          the slope of 'leaky_relu'; 0.01 if None

    Raises   ValidationError   the activation is not in the table
    Source   He et al. 2015, equation 14; tanh and selu as in PyTorch
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
    """Equally likely values from a to b.

    Example
    >>> import minigrad as mg
    >>> x = uniform_(mg.zeros(100), -1, 1)
    >>> bool((x.abs() <= 1).all())
    True
    """
    return _write(tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Values of the normal distribution.

    Raises   ValidationError   std is negative
    """
    if std < 0:
        raise ValidationError(f"normal_: std is {std}; it must be at least 0")
    return _write(tensor, generator().normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same value everywhere."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zero everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """One everywhere."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)): signals and gradients keep their size in linear layers.

    tensor   weights (OUT, IN) or (F, C, KH, KW)

    Raises   ShapeError   fewer than 2 dimensions
    Source   X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
             equation 16
    """
    bound = gain * sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)); otherwise as xavier_uniform_."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform in +-gain * sqrt(3 / fan): signals keep their size through ReLU layers.

    tensor         weights (OUT, IN) or (F, C, KH, KW)
    a              slope of the leaky ReLU that follows; 0 for ReLU
    mode           'fan_in' keeps the size of signals, 'fan_out' that of gradients
    nonlinearity   what follows, as in calculate_gain

    Raises   ShapeError        fewer than 2 dimensions
             ValidationError   an unknown mode or nonlinearity
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
    """Normal with standard deviation gain / sqrt(fan); otherwise as kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValidationError(f"kaiming: mode is {mode!r}; use 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / sqrt(fans(tensor)[mode == "fan_out"])


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """What the layers start from, as PyTorch's: weight and bias uniform in +-1 / sqrt(fan_in)."""
    kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(fans(weight)[0])
        uniform_(bias, -bound, bound)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of weights (OUT, IN) or (F, C, KH, KW).

    Raises   ShapeError   fewer than 2 dimensions
    Example
    >>> import minigrad as mg
    >>> fans(mg.zeros(6, 3, 5, 5))
    (75, 150)
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"init: weights of shape {tensor.shape} have {tensor.ndim} dimension(s), at least 2 are "
            "needed to count inputs and outputs; use uniform_ or constant_"
        )
    window = prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(Tensor(values, dtype=tensor.dtype, device=tensor.device))
