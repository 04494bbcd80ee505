"""Parameter: a tensor that training changes."""

from typing import Any

from ..storage import DETACHED
from ..tensors import Tensor, _join, _make, tensor


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
