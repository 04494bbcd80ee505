"""The functions behind the layers, with PyTorch's names, arguments and defaults.

sigmoid, tanh, softmax and log_softmax are the functions of the same name in minigrad.
"""

from collections.abc import Sequence
from functools import cache
from math import prod

from .. import ops
from ..checks import number_in_range, whole_number
from ..errors import DtypeError, GraphError, ShapeError, ValidationError
from ..functions import log_softmax, sigmoid, softmax, tanh
from ..ops.op import Op
from ..random import next_key
from ..shapes import padding_2d, pair
from ..tape import is_grad_enabled
from ..tensors import Tensor, apply

__all__ = ["avg_pool2d", "conv2d", "cross_entropy", "dropout", "flatten", "leaky_relu", "linear", "log_softmax"]
__all__ += ["max_pool2d", "mse_loss", "nll_loss", "pad", "relu", "sigmoid", "softmax", "tanh"]
__dir__ = __all__.copy

Size = int | tuple[int, int]


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    inplace   whether the result is written to x, which is returned

    Raises   GraphError   inplace, and x is a leaf that requires grad
    Example
    >>> import minigrad as mg
    >>> relu(mg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _in_place_or_new(inplace, ops.relu, x) if inplace else apply(ops.relu, x)


def _in_place_or_new(inplace: bool, operation: Op, x: Tensor, *others: Tensor, **settings: float) -> Tensor:
    """operation(x, *others), in the memory of x if `inplace`."""
    if inplace:
        _tensors(operation.name, x)
        return x._change(operation, *others, **settings)
    return apply(operation, x, *others, **settings)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere.

    inplace   whether the result is written to x, which is returned

    Raises   GraphError   inplace, and x is a leaf that requires grad
    Source   A. Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013
    Example
    >>> import minigrad as mg
    >>> leaky_relu(mg.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1,  2. ])
    """
    return _in_place_or_new(inplace, ops.leaky_relu, x, negative_slope=float(negative_slope))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias: each output is a weighted sum of all features.

    x        (..., IN)    features
    weight   (OUT, IN)
    bias     (OUT)        or None
    returns  (..., OUT)

    Raises   ShapeError   the number of features differs
    Example
    >>> import minigrad as mg
    >>> linear(mg.ones(1, 3), mg.ones(2, 3), mg.tensor([0.0, 1.0]))
    tensor([[3., 4.]])
    """
    if isinstance(x, Tensor) and x.array.ndim == 2:
        return apply(ops.linear, x, weight, bias)
    _tensors("linear", x, weight)
    if not x.ndim:
        raise ShapeError("linear: x is a single number, expected (..., in_features)")
    flat = apply(ops.linear, x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight, bias)
    return flat.reshape(*x.shape[:-1], flat.shape[-1])


def _tensors(where: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over the images: an output is the sum of a window times the filter, plus the bias.

    x         (N, C, H, W)            images or feature maps
    weight    (F, C/groups, KH, KW)   F filters
    bias      (F)                     or None
    stride    pixels                  step between windows, one number or (rows, columns)
    padding   pixels                  zeros around the image; 'same' keeps the size (stride 1), 'valid' is 0
    dilation  pixels                  distance between the pixels of a window
    groups    count                   channels and filters are divided into this many groups, which do not mix
    returns   (N, F, OH, OW)          OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    Raises   ShapeError        channels differ, or no window fits
             ValidationError   a setting out of range
    Source   Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
    Example
    >>> import minigrad as mg
    >>> image = mg.ones(1, 1, 3, 3)
    >>> conv2d(image, mg.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    _tensors("conv2d", x, weight)
    if weight.ndim != 4:
        raise ShapeError(
            f"conv2d: weight has {weight.ndim} dimensions {weight.shape}, expected 4 (F, C/groups, KH, KW)"
        )
    settings = _conv_settings(weight.shape[2:], _fixed(stride), _fixed(padding), _fixed(dilation), groups)
    return apply(ops.conv2d, x, weight, bias, **settings)


@cache
def _conv_settings(window, stride, padding, dilation, groups):
    whole_number("conv2d", "groups", groups, least=1)
    step, spread = pair(stride, "stride", "conv2d"), pair(dilation, "dilation", "conv2d")
    pads = padding_2d(padding, window, step, spread, "conv2d")
    return {"stride": step, "pads": pads, "dilation": spread, "groups": groups}


def _fixed(setting):
    """A setting given as a list, as a tuple."""
    return tuple(setting) if isinstance(setting, list) else setting


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the largest value of every window.

    x            (N, C, H, W)    images or feature maps
    kernel_size  pixels          side of the window, or (KH, KW)
    stride       pixels          step between windows; kernel_size if None
    padding      pixels          around the image, at most half of the window; its pixels are -inf
    dilation     pixels          distance between the pixels of a window
    ceil_mode    bool            whether windows may reach over the far edge: ceil in place of floor
    returns      (N, C, OH, OW)  OH = floor((H + 2*padding - dilation*(KH-1) - 1) / stride) + 1

    The gradient goes to the first largest pixel of each window.
    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
    Source   Zhou & Chellappa 1988; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> max_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    settings = _pool_settings("max_pool2d", _fixed(kernel_size), _fixed(stride), _fixed(padding), _fixed(dilation))
    return apply(ops.max_pool2d, x, ceil_mode=ceil_mode, **settings)


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window.

    x                  (N, C, H, W)    images or feature maps
    kernel_size        pixels          side of the window, or (KH, KW)
    stride             pixels          step between windows; kernel_size if None
    padding            pixels          zeros around the image, at most half of the window
    ceil_mode          bool            whether windows may reach over the far edge: ceil in place of floor
    count_include_pad  bool            whether the mean counts padding
    divisor_override   count           the divisor, in place of the number of pixels
    returns            (N, C, OH, OW)  OH = floor((H + 2*padding - KH) / stride) + 1

    Raises   ShapeError        x is not 4-dimensional, or no window fits
             ValidationError   a setting out of range
    Source   LeCun et al. 1989; sizes: Dumoulin & Visin 2016, section 2
    Example
    >>> import minigrad as mg
    >>> avg_pool2d(mg.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    settings = _pool_settings("avg_pool2d", _fixed(kernel_size), _fixed(stride), _fixed(padding))
    if divisor_override is not None:
        whole_number("avg_pool2d", "divisor_override", divisor_override, least=1)
    return apply(
        ops.avg_pool2d,
        x,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor_override,
        **settings,
    )


@cache
def _pool_settings(where, kernel_size, stride, padding, dilation=None):
    window = pair(kernel_size, "kernel_size", where)
    step = window if stride is None else pair(stride, "stride", where)
    rows, cols = pair(padding, "padding", where, least=0)
    settings = {"window": window, "stride": step, "pads": (rows, rows, cols, cols)}
    return settings if dilation is None else {**settings, "dilation": pair(dilation, "dilation", where)}


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zero each element with probability p and divide the others by 1 - p; otherwise return x.

    inplace   whether the result is written to x, which is returned

    The same seed gives the same zeros on every device.
    Raises   ValidationError   p is not between 0 and 1
             GraphError        inplace, and x is a leaf that requires grad
    Source   N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014
    Example
    >>> import minigrad as mg
    >>> dropout(mg.ones(2), 0.5, training=False)
    tensor([1., 1.])
    """
    _tensors("dropout", x)
    if x.dtype.kind != "f":
        raise DtypeError(f"dropout: x is {x.dtype}, expected floats; convert it with .float()")
    number_in_range("dropout", "p", p, 0, 1)
    if not training or p == 0:
        return x
    mask = apply(ops.dropout_mask, x.detach(), p=float(p), key=next_key())
    return _in_place_or_new(inplace, ops.mul, x, mask)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim merged into one; see Tensor.flatten."""
    _tensors("flatten", x)
    return x.flatten(start_dim, end_dim)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Add margins of `value` around a tensor.

    pad    (before, after) for the last axis, then for the one before it, and so on; negative margins cut off
    mode   only 'constant'

    Raises   ShapeError        more pairs than axes, or half a pair
             ValidationError   another mode
    Example
    >>> import minigrad as mg
    >>> pad(mg.ones(2), (1, 2))
    tensor([0., 1., 1., 0., 0.])
    """
    if mode != "constant":
        raise ValidationError(f"pad: mode is {mode!r}; use 'constant'")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad: {len(pad)} margins for {x.ndim} dimensions; give (before, after) for each axis, the last axis first"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return apply(ops.pad, x, widths=tuple(widths), value=value) if widths else x


# ---- losses


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean negative log-likelihood of the true classes under softmax(x).

    x                (N, K) or (N, K, ...)  logits
    target           (N) or (N, ...)        classes, 0 to K-1
    weight           (K)                    of each class, or None
    ignore_index     class                  images of this class have loss 0 and gradient 0
    reduction        'mean', 'sum', 'none'  the mean weighs each image by its class's weight; nan over no images
    label_smoothing  0 to 1                 share of the target that is spread over all classes

    Raises   ShapeError        x and target do not fit
             ValidationError   a class out of range, or a setting
             GraphError        weight requires grad
    Source   label smoothing: Szegedy et al. 2016, section 7
    Example
    >>> import minigrad as mg
    >>> cross_entropy(mg.zeros(1, 10), mg.tensor([3]))
    tensor(2.3026)
    """
    number_in_range("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    _tensors("cross_entropy", x, target)
    _check_reduction(reduction, "cross_entropy")
    _check_weight(weight, "cross_entropy")
    return apply(
        ops.cross_entropy, x, target, weight, ignore=ignore_index, smoothing=float(label_smoothing), reduction=reduction
    )


def nll_loss(
    x: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Mean negative log-likelihood of the true classes; applied to log_softmax(x) it is cross_entropy(x).

    x        (N, K) or (N, K, ...)   logarithms of probabilities
    others   as cross_entropy

    Raises   ShapeError        x and target do not fit
             ValidationError   a class out of range
             GraphError        weight requires grad
    Example
    >>> import minigrad as mg
    >>> nll_loss(mg.tensor([[-1.0, -2.0]]), mg.tensor([1]))
    tensor(2.)
    """
    _tensors("nll_loss", x, target)
    _check_reduction(reduction, "nll_loss")
    _check_weight(weight, "nll_loss")
    return apply(ops.nll, x, target, weight, ignore=ignore_index, reduction=reduction)


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Mean squared error.

    x, target   of the same shape
    reduction   'mean', 'sum' or 'none'

    Raises   ShapeError   the shapes differ
    Example
    >>> import minigrad as mg
    >>> mse_loss(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 1.0]))
    tensor(2.)
    """
    _tensors("mse_loss", x, target)
    _check_reduction(reduction, "mse_loss")
    if x.shape != target.shape:
        raise ShapeError(
            f"mse_loss: x is {x.shape}, target {target.shape}; make the shapes equal, because broadcasting "
            "would average over unrelated pairs"
        )
    difference = x - target
    squares = difference * difference
    return squares if reduction == "none" else squares.mean() if reduction == "mean" else squares.sum()


def _check_weight(weight: Tensor | None, where: str) -> None:
    if isinstance(weight, Tensor) and weight.requires_grad and is_grad_enabled():
        raise GraphError(
            f"{where}: weight requires grad, but the loss has no gradient with respect to class weights; "
            "give weight.detach()"
        )


def _check_reduction(reduction: str, where: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValidationError(f"{where}: reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
