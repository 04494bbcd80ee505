"""Layers that normalise: zero mean and unit variance over some axes."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from ..checks import whole_number
from ..creation import full
from ..errors import ShapeError, ValidationError
from ..runtime.device import device as Device
from ..tensors import Tensor, float32, int64
from . import functional as F, init
from .layer import Layer
from .parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d"]
__all__ += ["InstanceNorm3d", "LayerNorm", "LocalResponseNorm", "RMSNorm"]
__dir__ = __all__.copy


class _Norm(Layer):
    """A layer with an optional weight, 1 at first, and an optional bias, 0 at first."""

    weight: Parameter | None
    bias: Parameter | None

    def _add_affine(self, shape, device, dtype, **wanted):
        for name, used in wanted.items():
            made = full(shape, int(name == "weight"), device=device, dtype=dtype)
            self.register_parameter(name, Parameter(made) if used else None)

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                init.constant_(parameter, float(name == "weight"))

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return f"{text}, bias={self.bias is not None}" if "bias" in self._parameters else text


class _RunningNorm(_Norm):
    """A layer for channels that can keep running statistics."""

    _shown = ("eps", "momentum", "affine", "track_running_stats")
    _dims: tuple[int, ...]  # numbers of axes that x may have
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: str | Device = "cpu", dtype: DTypeLike = float32, *,
        bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.num_features = whole_number(type(self).__name__, "num_features", num_features, least=1)
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.track_running_stats = track_running_stats
        self._add_affine((num_features,), device, dtype, weight=affine, bias=affine and bias)
        for name, shape, kind in (
            ("running_mean", (num_features,), dtype),
            ("running_var", (num_features,), dtype),
            ("num_batches_tracked", (), int64),
        ):
            made = full(shape, int(name == "running_var"), device=device, dtype=kind)
            self.register_buffer(name, made if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                buffer.fill_(int(name == "running_var"))

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0, and forget all batches."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check(self, x: Tensor, axis: int) -> None:
        where = type(self).__name__
        if x.ndim not in self._dims:
            expected = " or ".join(map(str, self._dims))
            raise ShapeError(f"{where}: x has {x.ndim} dimension(s) {x.shape}, expected {expected}")
        if x.shape[axis] != self.num_features:
            raise ShapeError(
                f"{where}: x {x.shape} has {x.shape[axis]} channels, expected {self.num_features}; "
                f"build the layer with num_features={x.shape[axis]}"
            )

    def extra_repr(self) -> str:
        shown = [f"{name}={getattr(self, name)}" for name in self._shown]
        return f"{self.num_features}, {', '.join([*shown[:3], f'bias={self.bias is not None}', shown[3]])}"


class _BatchNorm(_RunningNorm):
    def _share_of_batch(self, x: Tensor) -> Any:
        """Count a batch, and return its share in the running statistics."""
        share: Any = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if share is None:  # a tensor, so that a replay of mg.graph computes it again
                share = 1.0 / self.num_batches_tracked.to(x.dtype)
        return share

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, 1)
        share, training = self._share_of_batch(x), self.training or self.running_mean is None
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training, share, self.eps)


class BatchNorm2d(_BatchNorm):
    """Give each channel mean 0 and variance 1 over all images and pixels; then multiply by a weight and add a bias.

    num_features         C           number of channels
    eps                  0 or more   added to the variance, so that nothing is divided by 0
    momentum             0 to 1      share of a batch in the running statistics; None averages over all batches
    affine               bool        whether there are a weight (C), 1 at first, and a bias (C), 0 at first
    track_running_stats  bool        whether running statistics are kept in training, and used after eval(); without
                                     them each batch is normalised by its own statistics
    device, dtype                    of parameters and statistics
    bias                 bool        False: no bias beside the weight
    x, returns           (N, C, H, W)

    Raises   ShapeError        x has another number of axes or channels
             ValidationError   training with one value in each channel
    Source   S. Ioffe & C. Szegedy, "Batch normalization", 2015
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> layer = nn.BatchNorm2d(3)
    >>> out = layer(mg.randn(8, 3, 4, 4) + 5)
    >>> out.mean().abs().item() < 1e-5
    True
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    _dims = (4,)


class BatchNorm1d(_BatchNorm):
    """BatchNorm2d for x of shape (N, C) or (N, C, L)."""

    _dims = (2, 3)


class BatchNorm3d(_BatchNorm):
    """BatchNorm2d for x of shape (N, C, D, H, W)."""

    _dims = (5,)


class _InstanceNorm(_RunningNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, *others: Any, **named: Any,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, *others, **named)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, -self._dims[0])
        batch = x if x.ndim == self._dims[-1] else x.unsqueeze(0)
        settings: Any = self.training or self.running_mean is None, self.momentum or 0.0, self.eps
        out = F.instance_norm(batch, self.running_mean, self.running_var, self.weight, self.bias, *settings)
        return out if batch is x else out.squeeze(0)


class InstanceNorm2d(_InstanceNorm):
    """Give each channel of each image mean 0 and variance 1.

    x, returns   (N, C, H, W) or (C, H, W)
    others       as BatchNorm2d; by default there are no weight, no bias and no running statistics

    Source   D. Ulyanov et al., "Instance normalization", 2016
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.InstanceNorm2d(1)(mg.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[-1.,  1.]]]])
    """

    _dims = (3, 4)


class InstanceNorm1d(_InstanceNorm):
    """InstanceNorm2d for x of shape (N, C, L) or (C, L)."""

    _dims = (2, 3)


class InstanceNorm3d(_InstanceNorm):
    """InstanceNorm2d for x of shape (N, C, D, H, W) or (C, D, H, W)."""

    _dims = (4, 5)


class _LastAxesNorm(_Norm):
    _shown = ("eps", "elementwise_affine")

    def _set_up(self, shape, eps, affine, device, dtype, **wanted):
        listed = [shape] if isinstance(shape, int) else shape
        where = type(self).__name__
        self.normalized_shape = tuple([whole_number(where, "normalized_shape", size, least=1) for size in listed])
        self.eps, self.elementwise_affine = eps, affine
        self._add_affine(self.normalized_shape, device, dtype, **wanted)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, {super().extra_repr()}"


class LayerNorm(_LastAxesNorm):
    """Give the last axes mean 0 and variance 1; then multiply by a weight and add a bias.

    normalized_shape    sizes of the last axes; a number for one axis
    eps                 0 or more   added to the variance, so that nothing is divided by 0
    elementwise_affine  bool        whether there are a weight and a bias of shape normalized_shape
    bias                bool        False: no bias beside the weight
    device, dtype                   of the parameters
    x, returns          (..., *normalized_shape)

    Raises   ShapeError   the last axes have other sizes
    Source   J. Ba et al., "Layer normalization", 2016
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.LayerNorm(2)(mg.tensor([[1.0, 3.0]])).detach()
    tensor([[-1.,  1.]])
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: str | Device = "cpu", dtype: DTypeLike = float32,
    ):  # fmt: skip
        super().__init__()
        wanted = {"weight": elementwise_affine, "bias": elementwise_affine and bias}
        self._set_up(normalized_shape, eps, elementwise_affine, device, dtype, **wanted)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_LastAxesNorm):
    """Divide the last axes by their root mean square, and multiply by a weight; the arguments are those of LayerNorm.

    eps   added to the mean square; the spacing of numbers at 1 if None

    Source   B. Zhang & R. Sennrich, "Root mean square layer normalization", 2019, equation 4
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.RMSNorm(2)(mg.tensor([[3.0, 3.0]])).detach()
    tensor([[1., 1.]])
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: str | Device = "cpu", dtype: DTypeLike = float32,
    ):  # fmt: skip
        super().__init__()
        self._set_up(normalized_shape, eps, elementwise_affine, device, dtype, weight=elementwise_affine)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(_Norm):
    """Give each group of channels of each image mean 0 and variance 1; then multiply by a weight and add a bias.

    num_groups     count       of groups of neighbouring channels
    num_channels   C           number of channels
    eps            0 or more   added to the variance, so that nothing is divided by 0
    affine         bool        whether there are a weight (C), 1 at first, and a bias (C), 0 at first
    device, dtype              of the parameters
    bias           bool        False: no bias beside the weight
    x, returns     (N, C, ...)

    Raises   ShapeError        x has another number of channels
             ValidationError   num_groups does not divide num_channels
    Source   Y. Wu & K. He, "Group normalization", 2018
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.GroupNorm(2, 4)(mg.tensor([[1.0, 3.0, 5.0, 9.0]])).detach()
    tensor([[-1.,  1., -1.,  1.]])
    """

    _shown = ("eps", "affine")

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: str | Device = "cpu", dtype: DTypeLike = float32, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.num_groups = whole_number("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = whole_number("GroupNorm", "num_channels", num_channels, least=1)
        if num_channels % num_groups:
            raise ValidationError(
                f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}; use a divisor"
            )
        self.eps, self.affine = eps, affine
        self._add_affine((num_channels,), device, dtype, weight=affine, bias=affine and bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, {super().extra_repr()}"


class LocalResponseNorm(Layer):
    """Divide each element by (k + alpha * the mean of the squares in `size` neighbouring channels) ** beta.

    x, returns   (N, C, ...); see functional.local_response_norm
    """

    _shown = ("alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size = whole_number("LocalResponseNorm", "size", size, least=1)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, {super().extra_repr()}"
