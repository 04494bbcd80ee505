"""Bases of the layers: what they show, how they are called, and weights with a bias."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


class FunctionModule(Module):
    """A function of `inputs` tensors, whose other arguments are given to the constructor, with the same defaults.

    `class Softsign(FunctionLayer, function=F.softsign): ...` is enough, and has the docstring of the function.  The
    arguments become attributes, class weights become buffers, and `training` is the state of the module.  A constructor
    that takes other arguments or another order than the function has `settings`, their names.
    """

    _function: Callable[..., Any]
    _settings: inspect.Signature
    _names: list[str]  # of the settings, and `training` where the function takes it

    if TYPE_CHECKING:

        def __call__(self, *inputs: Tensor, **named: Tensor) -> Tensor: ...

    def __init_subclass__(
        cls, function: Callable[..., Any] | None = None, inputs: int = 1, settings: str = "", **named: Any
    ) -> None:
        super().__init_subclass__(**named)
        if function is not None:
            known = inspect.signature(function).parameters
            given = [known[name] for name in settings.split()] or list(known.values())[inputs:]
            parameters = [p for p in given if p.name != "dtype"]
            cls._function, cls._names = staticmethod(function), [p.name for p in parameters]
            cls.__doc__ = cls.__doc__ or (function.__doc__ or "").partition("\n    Example")[0]
            cls._settings = inspect.Signature([p for p in parameters if p.name != "training"])
            cls.__signature__ = cls._settings  # type: ignore[attr-defined]

    def __init__(self, *settings: Any, **named: Any):
        super().__init__()
        try:
            given = self._settings.bind(*settings, **named)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}; it takes {self._settings}") from None
        given.apply_defaults()
        for name, value in given.arguments.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self._function(*inputs, **named, **{name: getattr(self, name) for name in self._names})


class FunctionLayer(FunctionModule, Layer):
    """A function of one tensor as a layer; its repr() shows the settings, `inplace` only where it is True."""

    def extra_repr(self) -> str:
        given = {name: getattr(self, name) for name in self._settings.parameters}
        return ", ".join(f"{name}={value!r}" for name, value in given.items() if name != "inplace" or value)


class WeightedLayer(Layer):
    """A layer with `weight` and an optional `bias`."""

    weight: Parameter
    bias: Parameter | None

    def _add_parameters(
        self, shape: tuple[int, ...], bias: bool, device: str | Device, dtype: DTypeLike, outputs: int | None = None
    ) -> None:
        """Add a weight of `shape`, and a bias of `outputs` numbers, shape[0] if None."""
        self.weight = Parameter(zeros(shape, device=device, dtype=dtype))
        size = shape[0] if outputs is None else outputs
        self.register_parameter("bias", Parameter(zeros(size, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)
