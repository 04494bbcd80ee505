"""Activations: each is one declaration, from which its kernels and its first and second derivative follow.

Sources: K. Fukushima, 1969, and V. Nair & G. Hinton, 2010 (relu); A. Maas et al., 2013 (leaky relu).
"""

import numpy as np

from ..runtime import math
from ..runtime.math import const
from .elementwise import activation
from .promotion import as_float

relu = activation(  # nan stays nan
    "relu",
    "ReLU",
    formula=lambda x: const(0, x) if x <= const(0, x) else x,
    backward=lambda g, out: const(0, out) if out <= const(0, out) else g,
    reference=lambda x: np.maximum(x, 0),
    reference_backward=lambda g, out: np.where(out <= 0, 0, g),
)

leaky_relu = activation(
    "leaky_relu",
    "leaky ReLU",
    formula=lambda x, negative_slope: x if x > const(0, x) else negative_slope * x,
    backward=lambda g, x, negative_slope: g if x > const(0, x) else negative_slope * g,
    reference=lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    reference_backward=lambda g, x, negative_slope: np.where(x > 0, g, negative_slope * g),
)

sigmoid = activation(  # its derivative is out * (1 - out)
    "sigmoid",
    "sigmoid",
    formula=lambda x: const(1, x) / (const(1, x) + math.exp(-x)),
    backward=lambda g, out: g * out * (const(1, out) - out),
    reference=lambda x: 1 / (1 + np.exp(-x)),
    reference_backward=lambda g, out: g * out * (1 - out),
    second=lambda do, g, out: do.mul(g, do.sub(1.0, do.mul(out, 2.0))),
    convert=as_float,
)

tanh = activation(  # its derivative is 1 - out**2
    "tanh",
    "tanh",
    formula=lambda x: math.tanh(x),
    backward=lambda g, out: g * (const(1, out) - out * out),
    reference=np.tanh,
    reference_backward=lambda g, out: g * (1 - out * out),
    second=lambda do, g, out: do.mul(g, do.mul(out, -2.0)),
    convert=as_float,
)
