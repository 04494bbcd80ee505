"""PyTorch's other names of dtypes, its types of tensors, questions about dtypes, and constants."""

import builtins
import math
from typing import Any

import numpy as np

from .creation import zeros
from .methods.inspection import TYPE_NAMES
from .ops import promotion
from .tensors import Tensor, _known_dtype, float32, float64, int32, int64, tensor

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "DoubleTensor",
    "FloatTensor",
    "IntTensor",
    "LongTensor",
    "can_cast",
    "double",
    "e",
    "finfo",
    "float",
    "iinfo",
    "inf",
    "int",
    "is_floating_point",
    "is_tensor",
    "long",
    "nan",
    "numel",
    "pi",
    "promote_types",
    "result_type",
]
__dir__ = __all__.copy

pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
float, double, int, long = float32, float64, int32, int64  # as dtype= and in x.to(...)
finfo, iinfo = np.finfo, np.iinfo


class TensorType:
    """A dtype on a device by PyTorch's name: mg.FloatTensor makes tensors, and isinstance and x.type take it.

    Called with sizes it gives zeros, with a list or an array its numbers; both are kept in the dtype.

    Example
    >>> LongTensor([1, 2]), FloatTensor(2, 3).shape
    (tensor([1, 2]), (2, 3))
    >>> isinstance(LongTensor([1]), FloatTensor)
    False
    """

    def __init__(self, dtype: str, device: str = "cpu"):
        self.dtype, self.device = np.dtype(dtype), device
        self.__name__ = TYPE_NAMES[dtype]

    def __call__(self, *data: Any) -> Tensor:
        if len(data) == 1 and isinstance(data[0], Tensor | np.ndarray | list | tuple):
            return tensor(data[0], self.dtype, self.device)
        return zeros(*data or (0,), dtype=self.dtype, device=self.device)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype == self.dtype and value.is_cuda == (self.device == "cuda")

    def __repr__(self) -> str:
        return ("torch.cuda." if self.device == "cuda" else "torch.") + self.__name__


FloatTensor, DoubleTensor = TensorType("float32"), TensorType("float64")
LongTensor, IntTensor = TensorType("int64"), TensorType("int32")
ByteTensor, BoolTensor = TensorType("uint8"), TensorType("bool")


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype of a tensor is float32 or float64."""
    return input.is_floating_point()


def numel(input: Tensor) -> builtins.int:
    """The number of elements."""
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> np.dtype:
    """The dtype of the result of arithmetic on two tensors or numbers.

    Example
    >>> result_type(LongTensor([1]), 0.5)
    dtype('float32')
    """
    return promotion.result_type("result_type", *[getattr(value, "array", value) for value in (tensor1, tensor2)])


def promote_types(type1: Any, type2: Any) -> np.dtype:
    """The smallest dtype to which both may be converted by arithmetic."""
    return promotion.widest("promote_types", *[_known_dtype(dtype, "promote_types") for dtype in (type1, type2)])


def can_cast(from_: Any, to: Any) -> bool:
    """Whether an operation in place may convert `from_` to `to`: not floats to whole numbers, nor these to bool."""
    kinds = [promotion.CATEGORIES[_known_dtype(dtype, "can_cast").kind] for dtype in (from_, to)]
    return kinds[0] <= kinds[1]
