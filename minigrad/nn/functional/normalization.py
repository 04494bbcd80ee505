"""Normalisation: zero mean and unit variance over some axes."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ... import ops
from ...checks import whole_number
from ...errors import DtypeError, ShapeError, ValidationError
from ...runtime.threads import local
from ...tape import no_grad
from ...tensors import Tensor, apply
from .arguments import expect_tensors
from .pooling import avg_pool2d

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]
__dir__ = __all__.copy


def batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float | Tensor = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Give each channel mean 0 and variance 1 over all images and pixels; then multiply by a weight and add a bias.

    x                          (N, C, ...)
    running_mean, running_var  (C)      averages over the batches before; or None, with training=True
    weight, bias               (C)      or None
    training                   bool     True: the statistics of x are used, and the running ones move towards them;
                                        False: the running ones are used
    momentum                   0 to 1   share of this batch in the running statistics; also a tensor of one number
    eps                        0 or more   added to the variance, so that nothing is divided by 0
    returns                    like x

    The running variance is unbiased: it divides by the number of values less 1.
    Raises   ShapeError        there are not 2 or more axes, or a tensor does not have one element for each channel
             ValidationError   training with one value in each channel, or no statistics without training
    Source   S. Ioffe & C. Szegedy, "Batch normalization", 2015
    Example
    >>> import minigrad as mg
    >>> batch_norm(mg.tensor([[1.0, 0.0], [3.0, 4.0]]), None, None, training=True)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """
    _check_channels("batch_norm", x, 2, running_mean, running_var, weight=weight, bias=bias)
    axes = (0, *range(2, x.ndim))
    settings: dict[str, Any] = {"axes": axes, "weight_axes": (1,), "statistics": "given", "eps": eps}
    if not training and running_mean is None:
        raise ValidationError("batch_norm: running_mean is None; give running statistics, or training=True")
    moved: list[Tensor] = []
    if training:
        settings["statistics"] = "batch"
        if prod(x.shape) == x.shape[1]:
            raise ValidationError(
                f"batch_norm: training needs more than 1 value in each channel, x {x.shape} has 1; "
                "use more images, drop_last=True in the DataLoader, or eval()"
            )
        if isinstance(momentum, Tensor):
            _move_statistics(x, axes, running_mean, running_var, momentum)
        elif running_mean is not None and running_var is not None and x.numel():
            settings["momentum"], moved = momentum, [running_mean, running_var]
    for statistic in moved:
        statistic._refuse_change("batch_norm", False)
        local.observer.writes(statistic)
    out = apply(ops.norm, x, running_mean, running_var, weight, bias, **settings)
    for statistic in moved:
        statistic._storage.version += 1
    return out


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Give the last axes mean 0 and variance 1; then multiply by a weight and add a bias.

    x                 (..., *normalized_shape)
    normalized_shape  sizes of the last axes
    weight, bias      of shape normalized_shape, or None
    eps               0 or more   added to the variance, so that nothing is divided by 0
    returns           like x

    Raises   ShapeError   the last axes, weight or bias have other sizes
    Source   J. Ba et al., "Layer normalization", 2016
    Example
    >>> import minigrad as mg
    >>> layer_norm(mg.tensor([[1.0, 3.0], [5.0, 9.0]]), (2,))
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    return _norm_last("layer_norm", x, normalized_shape, weight, bias, "batch", eps)


def rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide the last axes by their root mean square, and multiply by a weight; the arguments are those of layer_norm.

    eps   added to the mean square; the spacing of numbers at 1 if None, 1.2e-7 in float32

    Source   B. Zhang & R. Sennrich, "Root mean square layer normalization", 2019, equation 4
    Example
    >>> import minigrad as mg
    >>> rms_norm(mg.tensor([[3.0, 3.0], [0.0, 5.0]]), (2,))
    tensor([[1.    , 1.    ],
            [0.    , 1.4142]])
    """
    return _norm_last("rms_norm", x, normalized_shape, weight, None, "rms", eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Give each group of channels of each image mean 0 and variance 1; then multiply by a weight and add a bias.

    x             (N, C, ...)
    num_groups    count       of groups of C / num_groups neighbouring channels
    weight, bias  (C)         or None
    eps           0 or more   added to the variance, so that nothing is divided by 0
    returns       like x

    Raises   ShapeError        there are not 2 or more axes, or weight or bias do not have one element for each channel
             ValidationError   num_groups does not divide C
    Source   Y. Wu & K. He, "Group normalization", 2018
    Example
    >>> import minigrad as mg
    >>> group_norm(mg.tensor([[1.0, 3.0, 5.0, 9.0]]), 2)
    tensor([[-1.,  1., -1.,  1.]])
    """
    _check_channels("group_norm", x, 2, weight=weight, bias=bias)
    whole_number("group_norm", "num_groups", num_groups, least=1)
    if x.shape[1] % num_groups:
        raise ValidationError(
            f"group_norm: x {x.shape} has {x.shape[1]} channels, no multiple of num_groups={num_groups}; use a divisor"
        )
    return _norm_groups(x, num_groups, weight, bias, eps)


def instance_norm(
    x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Give each channel of each image mean 0 and variance 1; the other arguments are those of batch_norm.

    x                (N, C, ...)   with one or more axes of pixels
    use_input_stats  bool          False: use the running statistics, as batch_norm does without training

    Source   D. Ulyanov et al., "Instance normalization", 2016
    Example
    >>> import minigrad as mg
    >>> instance_norm(mg.tensor([[[1.0, 3.0], [5.0, 9.0]]]))
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    _check_channels("instance_norm", x, 3, running_mean, running_var, weight=weight, bias=bias)
    pixels = prod(x.shape[2:])
    if not use_input_stats:
        if running_mean is None:
            raise ValidationError(
                "instance_norm: running_mean is None; give running statistics, or use_input_stats=True"
            )
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    if pixels == 1:
        raise ValidationError(f"instance_norm: x {x.shape} has 1 pixel in each channel, expected 2 or more")
    _move_statistics(x, tuple(range(2, x.ndim)), running_mean, running_var, momentum)
    return _norm_groups(x, x.shape[1], weight, bias, eps)


def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide each element by (k + alpha * the mean of the squares in `size` neighbouring channels) ** beta.

    x        (N, C, ...)   with one or more axes of pixels
    size     count         of channels; beyond the first and the last one are zeros
    returns  like x

    Raises   ShapeError        there are not 3 or more axes
             ValidationError   size is below 1
    Source   A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 3.3
    Example
    >>> import minigrad as mg
    >>> local_response_norm(mg.ones(1, 2, 1), 1, alpha=3.0, beta=0.5)
    tensor([[[0.5],
             [0.5]]])
    """
    _check_channels("local_response_norm", x, 3)
    whole_number("local_response_norm", "size", size, least=1)
    if not x.numel():
        return x
    N, C = x.shape[:2]
    squares = x.square().reshape(N, 1, C, prod(x.shape[2:]))
    margins = (0, 0), (0, 0), (size // 2, (size - 1) // 2), (0, 0)
    means = avg_pool2d(apply(ops.pad, squares, widths=margins, value=0.0), (size, 1), stride=1)
    return x / (means.reshape(*x.shape) * alpha + k) ** beta


def _norm_last(where, x, normalized_shape, weight, bias, statistics, eps):
    """Normalise the axes that normalized_shape describes."""
    expect_tensors(where, x)
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{where}: x has shape {x.shape}, normalized_shape is {shape}; give the sizes of the last axes of x"
        )
    _check(where, x, shape, weight=weight, bias=bias)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    return apply(ops.norm, x, None, None, weight, bias, axes=axes, weight_axes=axes, statistics=statistics, eps=eps)


def _norm_groups(x, groups, weight, bias, eps):
    """Normalise the groups of channels, as an axis of their own."""
    parts = x.reshape(x.shape[0], groups, x.shape[1] // max(groups, 1), *x.shape[2:])
    axes = {"axes": tuple(range(2, parts.ndim)), "weight_axes": (1, 2)}
    return apply(ops.norm, parts, None, None, weight, bias, **axes, statistics="batch", eps=eps).reshape(*x.shape)


@no_grad()
def _move_statistics(x, axes, running_mean, running_var, momentum):
    """Move running statistics towards those of x over some axes, by the share `momentum`."""
    if running_mean is not None and x.numel():
        for running, found in (running_mean, x.mean(axes)), (running_var, x.var(axes)):
            running.mul_(1 - momentum).add_((found if found.ndim == 1 else found.mean(0)) * momentum)


def _check_channels(where, x, least, running_mean=None, running_var=None, **weights):
    """Check the axes of x, and that all tensors have one element for each channel."""
    expect_tensors(where, x)
    if x.ndim < least:
        raise ShapeError(f"{where}: x has {x.ndim} dimension(s) {x.shape}, expected {least} or more (N, C, ...)")
    if (running_mean is None) != (running_var is None):
        raise ValidationError(f"{where}: only one of running_mean and running_var is given; give both, or none")
    _check(where, x, x.shape[1:2], running_mean=running_mean, running_var=running_var, **weights)


def _check(where, x, shape, **tensors):
    """Check that x has floats, and the others the same dtype and one shape; layers do not promote."""
    if x.dtype.kind != "f":
        raise DtypeError(f"{where}: x is {x.dtype}, expected floats; convert it with .float()")
    for name, other in tensors.items():
        if other is None:
            continue
        expect_tensors(where, other)
        if other.shape != shape:
            raise ShapeError(f"{where}: {name} has shape {other.shape}, expected {shape} for x {x.shape}")
        if other.dtype != x.dtype:
            raise DtypeError(f"{where}: x is {x.dtype}, {name} is {other.dtype}; convert one with .to(mg.{x.dtype})")
