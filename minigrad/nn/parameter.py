"""Parameter: a tensor that a layer learns."""

from typing import Any

from ..storage import DETACHED
from ..tensors import Tensor, _join, _make, tensor


class Parameter(Tensor):
    """A tensor that a Module keeps account of when it is assigned to an attribute, and that optimisers change.

    data            a tensor, whose memory is then shared, or anything that makes one
    requires_grad   False keeps it as it is: frozen

    Raises   DtypeError   whole numbers cannot be learned; use requires_grad=False
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
