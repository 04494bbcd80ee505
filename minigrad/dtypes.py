"""PyTorch's other names of dtypes, its types of tensors, and constants."""

import math
from typing import Any

import numpy as np

from .creation import zeros
from .methods.inspection import TYPE_NAMES
from .tensors import Tensor, float32, float64, int32, int64, tensor

__all__ = ["BoolTensor", "ByteTensor", "DoubleTensor", "FloatTensor", "IntTensor", "LongTensor"]
__all__ += ["double", "e", "finfo", "float", "iinfo", "inf", "int", "long", "nan", "pi"]
__dir__ = __all__.copy

pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
float, double, int, long = float32, float64, int32, int64  # as dtype= and in x.to(...)
finfo, iinfo = np.finfo, np.iinfo


class TensorType:
    """A dtype by PyTorch's name: mg.FloatTensor makes tensors, and isinstance and x.type take it.

    Called with sizes it gives zeros, with a list or an array its numbers in the dtype.

    Example
    >>> LongTensor([1, 2]), FloatTensor(2, 3).shape
    (tensor([1, 2]), (2, 3))
    >>> isinstance(LongTensor([1]), FloatTensor)
    False
    """

    def __init__(self, dtype: str):
        self.dtype, self.__name__ = np.dtype(dtype), TYPE_NAMES[dtype]

    def __call__(self, *data: Any) -> Tensor:
        if len(data) == 1 and isinstance(data[0], Tensor | np.ndarray | list | tuple):
            return tensor(data[0], self.dtype)
        return zeros(*data or (0,), dtype=self.dtype)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype == self.dtype and not value.is_cuda

    def __repr__(self) -> str:
        return f"torch.{self.__name__}"


FloatTensor, DoubleTensor = TensorType("float32"), TensorType("float64")
LongTensor, IntTensor = TensorType("int64"), TensorType("int32")
ByteTensor, BoolTensor = TensorType("uint8"), TensorType("bool")
