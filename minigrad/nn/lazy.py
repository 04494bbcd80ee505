"""Layers that learn their number of inputs from the first batch, and then become ordinary layers."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from ..errors import ShapeError
from ..tape import no_grad
from ..tensors import Tensor
from .convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .dense import Linear
from .module import Module
from .normalization import BatchNorm1d, BatchNorm2d, InstanceNorm2d
from .parameter import Uninitialized, UninitializedBuffer, UninitializedParameter

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyConv1d", "LazyConv2d", "LazyConvTranspose1d"]
__all__ += ["LazyConvTranspose2d", "LazyInstanceNorm2d", "LazyLinear", "UninitializedBuffer", "UninitializedParameter"]
__dir__ = __all__.copy


class _Lazy(Module):
    """A layer before its first batch.

    A subclass has two bases: this class, and the ordinary layer (`_layer`) that an instance becomes at its first batch.
    """

    _size = "in_channels"  # the argument of the ordinary layer that the first batch decides
    _axis = 1  # the axis of x that has this size
    _weight_axis = 1  # the axis of `weight`, or of `running_mean`, that has it (divided by groups in a convolution)
    _dims: tuple[int, ...] = ()  # numbers of dimensions that x may have; any if empty

    def __init__(self, *args: Any, **kwargs: Any):
        self._layer = type(self).__bases__[1]
        groups = signature(self._layer).bind(1, *args, **kwargs).arguments.get("groups", 1)
        super().__init__(groups, *args, **kwargs)  # type: ignore[call-arg]
        self._settings = args, kwargs
        setattr(self, self._size, 0)
        tables: Any = (self._parameters, UninitializedParameter), (self._buffers, UninitializedBuffer)
        for table, kind in tables:
            for name, values in table.items():
                if values is not None and values.ndim:
                    table[name] = kind(values.requires_grad, values.device, values.dtype)

    def reset_parameters(self) -> None:
        """Do nothing: the initial values are drawn when the shapes are known."""

    @no_grad()
    def _become_ordinary(self, size: int) -> None:
        """Take the parameters of a new ordinary layer, and become one."""
        args, kwargs = self._settings
        made = self._layer(size, *args, **kwargs)
        for name, values in [*self._parameters.items(), *self._buffers.items()]:
            if isinstance(values, Uninitialized):
                source = getattr(made, name)
                values.materialize(source.shape)
                values.copy_(source.to(values.device))
        setattr(self, self._size, size)
        self.__class__ = self._layer
        del self._layer, self._settings

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not x.ndim or (self._dims and x.ndim not in self._dims):
            expected = " or ".join(map(str, self._dims)) or "1 or more"
            raise ShapeError(f"{type(self).__name__}: x has {x.ndim} dimension(s) {x.shape}, expected {expected}")
        self._become_ordinary(x.shape[self._axis])
        return self.forward(x, *args, **kwargs)

    def _prepare_to_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        for name in ("weight", "running_mean"):
            shape = getattr(state_dict.get(prefix + name), "shape", ())
            if len(shape) > self._weight_axis:
                groups = self.groups if self._size == "in_channels" and self._weight_axis else 1
                return self._become_ordinary(shape[self._weight_axis] * groups)


class LazyLinear(_Lazy, Linear):
    """Linear without in_features, which the first batch, or the first state that is loaded, decides.

    The other arguments are those of Linear.  Until then its parameters have no values: make the optimiser afterwards.

    Raises   StateError   the parameters are used before
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    >>> y = model(mg.zeros(2, 1, 4, 4))
    >>> model[1]
    Linear(in_features=16, out_features=10, bias=True)
    """

    _size, _axis = "in_features", -1


class LazyConv2d(_Lazy, Conv2d):
    """Conv2d without in_channels, as LazyLinear."""

    _axis, _dims = -3, (3, 4)


class LazyConv1d(_Lazy, Conv1d):
    """Conv1d without in_channels, as LazyLinear."""

    _axis, _dims = -2, (2, 3)


class LazyConvTranspose1d(_Lazy, ConvTranspose1d):  # type: ignore[misc]
    """ConvTranspose1d without in_channels, as LazyLinear."""

    _axis, _dims, _weight_axis = -2, (2, 3), 0


class LazyConvTranspose2d(_Lazy, ConvTranspose2d):  # type: ignore[misc]
    """ConvTranspose2d without in_channels, as LazyLinear."""

    _axis, _dims, _weight_axis = -3, (3, 4), 0


class _LazyNorm(_Lazy):
    _size, _weight_axis = "num_features", 0


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d without num_features, as LazyLinear."""

    _dims = (2, 3)


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d without num_features, as LazyLinear."""

    _dims = (4,)


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """InstanceNorm2d without num_features, as LazyLinear; by default with weight, bias and running statistics."""

    _axis, _dims = -3, (3, 4)

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        *others: Any, **named: Any,
    ):  # fmt: skip
        super().__init__(eps, momentum, affine, track_running_stats, *others, **named)
