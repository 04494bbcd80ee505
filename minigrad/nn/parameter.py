"""Parameter: a tensor that training changes."""

from collections.abc import Callable
from typing import Any, NoReturn

from numpy.typing import DTypeLike

from ..creation import zeros
from ..errors import StateError
from ..runtime.device import device as Device
from ..storage import DETACHED
from ..tensors import Tensor, _join, _make, float32, tensor


class Parameter(Tensor):
    """A tensor that a Module registers when it is assigned to an attribute, and that optimisers change.

    data            a tensor, whose memory is shared, or numbers, lists or a NumPy array
    requires_grad   False: the parameter is frozen

    Raises   DtypeError   the data are not floats and requires_grad is True
    Example
    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        values = data if isinstance(data, Tensor) else tensor(data)
        _join(_make(values.array, values.device, None, tensor=self), values, (), DETACHED)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Uninitialized(Tensor):
    """A tensor of a lazy layer, whose shape is not known yet; only its device and dtype can be used."""

    __slots__ = ()
    _ready: Any  # the class that it becomes

    def __init__(self, requires_grad: bool = False, device: str | Device = "cpu", dtype: DTypeLike = float32):
        values = zeros(0, device=device, dtype=dtype)
        _make(values.array, values.device, None, tensor=self)
        self._leaf = requires_grad

    def _refuse(self) -> NoReturn:
        raise StateError(
            f"{type(self).__name__}: a lazy layer has no weights yet; call the model on a batch, or load a state, first"
        )

    array: Any = property(_refuse, lambda self, values: Tensor.array.__set__(self, values))  # type: ignore[misc]

    @property
    def dtype(self) -> Any:
        """The type of its elements."""
        return Tensor.array.__get__(self).dtype  # type: ignore[misc]

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Become an ordinary tensor of zeros."""
        self.array = zeros(shape, device=self.device, dtype=self.dtype).array
        self.__class__ = self._ready

    def convert(self, move: Callable[[Tensor], Tensor]) -> None:
        """Change the device and the dtype to those of move(tensor)."""
        moved = move(zeros(0, device=self.device, dtype=self.dtype))
        self.array, self.device = moved.array, moved.device

    def __deepcopy__(self, memo: Any) -> Any:
        return type(self)(self._leaf, self.device, self.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _repr_html_(self) -> None:
        """It has no values that could be shown."""


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter of a lazy layer, whose shape is not known yet."""

    __slots__ = ()
    _ready = Parameter


class UninitializedBuffer(Uninitialized):
    """A buffer of a lazy layer, whose shape is not known yet."""

    __slots__ = ()
    _ready = Tensor
