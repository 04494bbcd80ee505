"""Dtypes by PyTorch's names, and how a tensor lies in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DtypeError
from ..shapes import existing_axis
from .base import Methods

if TYPE_CHECKING:
    from ..tensors import Tensor

TYPE_NAMES = {  # PyTorch's, by the name of the dtype
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "int64": "LongTensor",
    "int32": "IntTensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
}
_DTYPES = {name: dtype for dtype, name in TYPE_NAMES.items()}


def _lacking(method: str, dtype: str) -> Any:
    """A method that refuses a dtype."""

    def refuse(self: Any) -> Tensor:
        raise DtypeError(f"{method}: there is no dtype {dtype}; use {', '.join(TYPE_NAMES)}")

    refuse.__doc__ = f"Refused: there is no dtype {dtype}."
    return refuse


class Inspection(Methods):
    """Dtypes by PyTorch's names, and how a tensor lies in memory."""

    __slots__ = ()

    # ---- dtypes

    def type(self, dtype: Any = None) -> Any:
        """PyTorch's name of the tensor's type; with an argument, the tensor of that type.

        dtype   a dtype, or PyTorch's name of a type, as mg.LongTensor or "torch.LongTensor"

        Example
        >>> import minigrad as mg
        >>> x = mg.tensor([1.5])
        >>> x.type(), x.type(mg.int64), x.type("torch.DoubleTensor").dtype
        ('torch.FloatTensor', tensor([1]), minigrad.float64)
        """
        if dtype is None:
            return ("torch.cuda." if self.is_cuda else "torch.") + TYPE_NAMES[str(self.dtype)]
        place, _, name = str(dtype).rpartition(".")
        if not name.endswith("Tensor"):
            return self.to(dtype)
        if name not in _DTYPES:
            raise DtypeError(f"type: {name} is not supported; use {', '.join(_DTYPES)}")
        return self.to(_DTYPES[name]).to("cuda" if place.endswith("cuda") else "cpu" if self.is_cuda else self.device)

    def byte(self) -> Tensor:
        """As uint8; fractions are cut off."""
        return self.to(np.uint8)

    half, bfloat16 = _lacking("half", "float16"), _lacking("bfloat16", "bfloat16")
    short, char = _lacking("short", "int16"), _lacking("char", "int8")

    def is_floating_point(self) -> bool:
        """Whether the dtype is float32 or float64."""
        return self.dtype.kind == "f"

    def is_complex(self) -> bool:
        """False: there are no complex tensors."""
        return False

    # ---- sizes

    def nelement(self) -> int:
        """The number of elements."""
        return self.array.size

    def ndimension(self) -> int:
        """The number of axes."""
        return self.array.ndim

    def element_size(self) -> int:
        """The bytes of an element."""
        return self.array.itemsize

    itemsize: Any = property(lambda self: self.array.itemsize, doc="The bytes of an element.")
    nbytes: Any = property(lambda self: self.array.nbytes, doc="The bytes of all elements.")

    # ---- places in memory

    is_cuda: Any = property(lambda self: self.device.index is not None, doc="Whether the tensor is on a GPU.")

    def is_contiguous(self) -> bool:
        """Whether the elements are in C order, as PyTorch would store them."""
        return self._in_c_order()

    def stride(self, dim: int | None = None) -> Any:
        """The steps, in elements, between neighbours along each axis, or one of them.

        They are PyTorch's, which stores new tensors in C order.  The memory here may have another order, and
        `mg.Tensor.numpy` shows it.
        """
        strides = self._located(lambda root: np.empty(root.shape, np.bool_)).strides  # of bytes, not touched
        return strides if dim is None else strides[existing_axis(dim, self.ndim, "stride")]

    def data_ptr(self) -> int:
        """The address of the first element."""
        self._storage.lent = True
        return self.array.address if self.is_cuda else self.array.__array_interface__["data"][0]
