"""Dtypes and shapes of results: PyTorch's rules for operations on several tensors and numbers."""

from functools import cache

import numpy as np

from ..errors import DtypeError
from ..runtime import memory
from ..shapes import broadcast

FLOAT32, FLOAT64, INT64, BOOL = (np.dtype(name) for name in ("float32", "float64", "int64", "bool"))
RANKS = {np.dtype(name): i for i, name in enumerate(("bool", "uint8", "int32", "int64", "float32", "float64"))}
CATEGORIES = {"b": 0, "u": 1, "i": 1, "f": 2}  # by NumPy's letter


def common_dtype(where, *operands) -> np.dtype:
    """The dtype of a result, in which every Python number among the operands must fit."""
    dtype = result_type(where, *operands)
    if dtype.kind in "iu":
        for operand in operands:
            if not memory.is_array(operand):
                expect_fits(where, operand, dtype)
    return dtype


def result_type(where, *operands) -> np.dtype:
    """PyTorch's rule.  A float wins over a whole number, and that over a bool.  Where they are alike, tensors with axes
    win over tensors of one number, and these over Python's numbers; among equals the wider dtype wins."""
    kinds = [
        (operand.dtype if operand.ndim else (operand.dtype,)) if memory.is_array(operand) else type(operand)
        for operand in operands
    ]
    return _result_type(where, *kinds)


@cache
def _result_type(where, *kinds) -> np.dtype:
    """kinds: of tensors with axes their dtype, of single numbers a tuple that holds it, else the type."""
    with_axes = [kind for kind in kinds if isinstance(kind, np.dtype)]
    without = [kind[0] for kind in kinds if isinstance(kind, tuple)]
    numbers = [_dtype_of_number(where, kind) for kind in kinds if isinstance(kind, type)]
    groups = [widest(where, *group) for group in (with_axes, without, numbers) if group]
    return max(groups, key=lambda dtype: CATEGORIES[dtype.kind])  # the first of equals


def widest(where, *dtypes) -> np.dtype:
    """The widest of some dtypes; every float counts as wider than every whole number."""
    for dtype in dtypes:
        if dtype not in RANKS:
            raise DtypeError(f"{where}: dtype {dtype} is not supported; use {', '.join(map(str, reversed(RANKS)))}")
    return max(dtypes, key=RANKS.__getitem__)


def _dtype_of_number(where, kind) -> np.dtype:
    for parents, dtype in (((bool, np.bool_), BOOL), ((int, np.integer), INT64), ((float, np.floating), FLOAT32)):
        if issubclass(kind, parents):
            return dtype
    raise DtypeError(f"{where}: expected a Tensor or a real number, got {kind.__name__}")


def expect_fits(where, number, dtype) -> None:
    """Refuse a number that a dtype of whole numbers does not hold.  Fractions are cut off, as in PyTorch."""
    if dtype.kind in "iu" and not fits(number, dtype):
        raise does_not_fit(number, where, dtype)


def does_not_fit(number, where, dtype) -> DtypeError:
    """The error for a number beyond a dtype."""
    low, high = limits(dtype)
    return DtypeError(f"{where}: {number} does not fit in {dtype} ({low} to {high}); use a wider dtype")


def fits(number, dtype) -> bool:
    low, high = limits(dtype)
    return low <= _python_number(number) <= high


def limits(dtype):
    """The smallest and the largest whole number of a dtype."""
    return (False, True) if dtype == BOOL else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def prepare(where, device, dtype, *operands):
    """The operands cast to `dtype`, and an array of the broadcast shape for the result, laid out as they are."""
    shape = broadcast(where, *[np.shape(operand) for operand in operands])
    return cast_all(dtype, *operands), like(device, shape, dtype, *operands)


def cast_all(dtype, *operands):
    """The arrays among operands cast to `dtype`, and NumPy's numbers as Python's."""
    return [_cast(operand, dtype) if memory.is_array(operand) else _python_number(operand) for operand in operands]


def _python_number(number):
    return number.item() if isinstance(number, np.generic) else number


def _cast(operand, dtype):
    if operand.dtype == dtype:
        return operand
    out = memory.empty_like(operand, dtype)
    memory.copy(out, operand)
    return out


def like(device, shape, dtype, *operands):
    """An uninitialised array in the memory order of the first operand that has the full shape."""
    for operand in operands:
        if np.shape(operand) == shape and memory.is_array(operand):
            return memory.empty_like(operand, dtype)
    return memory.empty(shape, dtype, device)


def as_float(where, x):
    """The array, or whole numbers and bool as float32."""
    return x if x.dtype.kind == "f" else _cast(x, FLOAT32)


def expect_float(where, x):
    """The array; whole numbers and bool are refused."""
    if x.dtype.kind != "f":
        raise DtypeError(f"{where}: expected a float tensor, got {x.dtype}; convert it with .float()")
    return x
