"""Bases of the layers: what they show, how they are called, and weights with a bias."""

from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from ..creation import zeros
from ..runtime.device import device as Device
from ..tensors import Tensor
from . import init
from .module import Module
from .parameter import Parameter


class Layer(Module):
    """A layer from a tensor to a tensor, whose repr() shows the attributes named in `_shown`."""

    _shown: tuple[str, ...] = ()

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)


class WeightedLayer(Layer):
    """A layer with `weight` and an optional `bias`."""

    weight: Parameter
    bias: Parameter | None

    def _add_parameters(self, shape: tuple[int, ...], bias: bool, device: str | Device, dtype: DTypeLike) -> None:
        self.weight = Parameter(zeros(shape, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(zeros(shape[0], device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)
