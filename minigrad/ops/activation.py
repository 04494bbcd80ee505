"""Activations: relu, leaky_relu, sigmoid, tanh, and the kernels of their gradients.

Sources: K. Fukushima, 1969, and V. Nair & G. Hinton, 2010 (relu); A. Maas et al., 2013 (leaky relu).
"""

import numpy as np

from ..runtime import math, memory
from ..runtime.math import const
from .arithmetic import _float_only, _unary
from .op import Dispatch, launches, op

# ---- relu(x) = max(x, 0); a nan stays a nan


def relu_numpy(x, out):
    np.maximum(x, 0, out=out)


def _relu(x):
    return const(0, x) if x <= const(0, x) else x


def relu_backward_numpy(g, out, dx):
    bits = (out <= 0).astype(f"i{out.itemsize}") - 1  # none of them where out is 0: a fifth of np.where's time
    np.bitwise_and(g.view(bits.dtype), bits, out=dx.view(bits.dtype))


def _relu_backward(g, out):
    return const(0, out) if out <= const(0, out) else g  # of a nan it passes


relu_forward_kernel = Dispatch("relu", numpy=relu_numpy, formula=_relu)
relu_backward_kernel = Dispatch("relu_backward", numpy=relu_backward_numpy, formula=_relu_backward)


@launches
@op(elementwise=True, activation="ReLU")
def relu(device, x):
    _float_only("relu", x)
    return _unary(relu_forward_kernel, device, x)


@relu.gradient
def relu_gradient(do, g, out):
    return (lambda: do.relu_backward(g, out),)


@launches
@op
def relu_backward(device, g, out):
    """0 where the output was 0, else g, also where it was nan."""
    dx = memory.empty_like(out)
    relu_backward_kernel[device.type](g, out, dx)
    return dx


@relu_backward.gradient
def relu_backward_gradient(do, g, out):
    """Linear in the gradient that arrives; flat in the output, but for the kink."""
    return lambda: do.relu_backward(g, out), None


# ---- leaky_relu(x) = x where positive, slope*x elsewhere


def leaky_relu_numpy(x, slope, out):
    np.multiply(x, np.where(x > 0, 1, slope), out=out)


def _leaky_relu(x, slope):
    return x if x > const(0, x) else slope * x


def leaky_relu_backward_numpy(g, x, slope, dx):
    np.multiply(g, np.where(x > 0, 1, slope), out=dx)


def _leaky_relu_backward(g, x, slope):
    return g if x > const(0, x) else slope * g


leaky_relu_kernel = Dispatch("leaky_relu", numpy=leaky_relu_numpy, formula=_leaky_relu)
leaky_relu_backward_kernel = Dispatch(
    "leaky_relu_backward", numpy=leaky_relu_backward_numpy, formula=_leaky_relu_backward
)


@launches
@op(elementwise=True, activation="leaky ReLU")
def leaky_relu(device, x, *, negative_slope):
    _float_only("leaky_relu", x)
    out = memory.empty_like(x)
    leaky_relu_kernel[device.type](x, negative_slope, out)
    return out


@leaky_relu.gradient
def leaky_relu_gradient(do, g, x, negative_slope):
    return (lambda: do.leaky_relu_backward(g, x, negative_slope=negative_slope),)


@launches
@op
def leaky_relu_backward(device, g, x, *, negative_slope):
    dx = memory.empty_like(x)
    leaky_relu_backward_kernel[device.type](g, x, negative_slope, dx)
    return dx


@leaky_relu_backward.gradient
def leaky_relu_backward_gradient(do, g, x, negative_slope):
    return lambda: do.leaky_relu_backward(g, x, negative_slope=negative_slope), None


# ---- sigmoid(x) = 1 / (1 + e**-x); its derivative is out * (1 - out)


def sigmoid_numpy(x, out):
    np.divide(1, 1 + np.exp(-x), out=out)


def _sigmoid(x):
    return const(1, x) / (const(1, x) + math.exp(-x))


def sigmoid_backward_numpy(g, out, dx):
    np.multiply(g, out * (1 - out), out=dx)


def _sigmoid_backward(g, out):
    return g * out * (const(1, out) - out)


sigmoid_kernel = Dispatch("sigmoid", numpy=sigmoid_numpy, formula=_sigmoid)
sigmoid_backward_kernel = Dispatch("sigmoid_backward", numpy=sigmoid_backward_numpy, formula=_sigmoid_backward)


@launches
@op(elementwise=True, activation="sigmoid")
def sigmoid(device, x):
    _float_only("sigmoid", x)
    return _unary(sigmoid_kernel, device, x)


@sigmoid.gradient
def sigmoid_gradient(do, g, out):
    return (lambda: do.sigmoid_backward(g, out),)


@launches
@op
def sigmoid_backward(device, g, out):
    dx = memory.empty_like(out)
    sigmoid_backward_kernel[device.type](g, out, dx)
    return dx


@sigmoid_backward.gradient
def sigmoid_backward_gradient(do, h, g, out):
    """d(g out (1-out)) = out (1-out) dg + g (1 - 2 out) dout."""
    return lambda: do.sigmoid_backward(h, out), lambda: do.mul(do.mul(h, g), do.sub(1.0, do.mul(out, 2.0)))


# ---- tanh(x); its derivative is 1 - out**2


def tanh_numpy(x, out):
    np.tanh(x, out=out)


def _tanh(x):
    return math.tanh(x)


def tanh_backward_numpy(g, out, dx):
    np.multiply(g, 1 - out * out, out=dx)


def _tanh_backward(g, out):
    return g * (const(1, out) - out * out)


tanh_kernel = Dispatch("tanh", numpy=tanh_numpy, formula=_tanh)
tanh_backward_kernel = Dispatch("tanh_backward", numpy=tanh_backward_numpy, formula=_tanh_backward)


@launches
@op(elementwise=True, activation="tanh")
def tanh(device, x):
    _float_only("tanh", x)
    return _unary(tanh_kernel, device, x)


@tanh.gradient
def tanh_gradient(do, g, out):
    return (lambda: do.tanh_backward(g, out),)


@launches
@op
def tanh_backward(device, g, out):
    dx = memory.empty_like(out)
    tanh_backward_kernel[device.type](g, out, dx)
    return dx


@tanh_backward.gradient
def tanh_backward_gradient(do, h, g, out):
    """d(g (1-out**2)) = (1-out**2) dg - 2 g out dout."""
    return lambda: do.tanh_backward(h, out), lambda: do.mul(do.mul(h, g), do.mul(out, -2.0))
