"""Making tensors: constants, ranges, random numbers; and joining them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import ops, shapes
from .errors import ShapeError, ValidationError
from .random import generator
from .runtime.device import CPU, Device, device as find_device
from .tensor import Tensor, _known_dtype, _make, apply, float32, int64


def _filled(shape: tuple[Any, ...], value: float, dtype: Any, device: str | Device, requires_grad: bool) -> Tensor:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if any(not isinstance(size, int | np.integer) or size < 0 for size in sizes):
        raise ShapeError(f"shape {tuple(sizes)} is not a shape; use whole numbers of 0 or more")
    return _new(np.full(sizes, value, _known_dtype(dtype, "dtype")), device, requires_grad)


def _new(array: np.ndarray, device: str | Device, requires_grad: bool) -> Tensor:
    where = find_device(device)
    made = _make(where.from_host(array), where, None)
    return made.requires_grad_() if requires_grad else made


def zeros(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Example
    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _filled(shape, 0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    Example
    >>> ones(2)
    tensor([1., 1.])
    """
    return _filled(shape, 1, dtype, device, requires_grad)


def full(
    shape: Sequence[int], fill_value: float, dtype: Any = None, device: str | Device = CPU, requires_grad: bool = False
) -> Tensor:
    """A tensor full of one number.

    Example
    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    kind = np.array(fill_value).dtype
    return _filled((tuple(shape),), fill_value, dtype or (float32 if kind.kind == "f" else kind), device, requires_grad)


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros in the shape, dtype and device of x.

    Example
    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    return _filled((x.shape,), 0, dtype or x.dtype, x.device, False)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones in the shape, dtype and device of x.

    Example
    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    return _filled((x.shape,), 1, dtype or x.dtype, x.device, False)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    dtype: Any = None,
    device: str | Device = CPU,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end; with one argument from 0.  Whole numbers give int64, others float32.

    Raises   ValidationError   step is 0
    Example
    >>> arange(3)
    tensor([0, 1, 2])
    """
    if step == 0:
        raise ValidationError("arange: step is 0; give a step up or down")
    first, last = (0, start) if end is None else (start, end)
    whole = all(isinstance(number, int) for number in (first, last, step))
    numbers: Any = first, last, step
    kind = _known_dtype(dtype or (int64 if whole else float32), "arange")
    return _new(np.arange(*numbers, dtype=kind), device, requires_grad)


def linspace(start: float, end: float, steps: int, device: str | Device = CPU) -> Tensor:
    """`steps` numbers from start to end, both included, at equal distances.

    Example
    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    return _new(np.linspace(start, end, steps, dtype=float32), device, False)


def eye(n: int, device: str | Device = CPU) -> Tensor:
    """The identity matrix (n, n).

    Example
    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _new(np.eye(n, dtype=float32), device, False)


def randn(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """Random numbers of the normal distribution, mean 0 and standard deviation 1.

    Example
    >>> randn(2, 3).shape
    (2, 3)
    """
    blank = _filled(shape, 0, dtype, CPU, False)
    return _new(generator().standard_normal(blank.shape).astype(blank.dtype), device, requires_grad)


def rand(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """Random numbers, uniform from 0 up to but not including 1.

    Example
    >>> bool((rand(100) < 1).all())
    True
    """
    blank = _filled(shape, 0, dtype, CPU, False)
    return _new(generator().random(blank.shape, blank.dtype.type), device, requires_grad)


def randint(low: int, high: int, shape: Sequence[int], device: str | Device = CPU) -> Tensor:
    """Random whole numbers, low to high - 1.

    Example
    >>> int(randint(3, 4, (1,)))
    3
    """
    if low >= high:
        raise ValidationError(f"randint: nothing lies from {low} up to {high}; high must be larger than low")
    return _new(generator().integers(low, high, tuple(shape)), device, False)


def randperm(n: int, device: str | Device = CPU) -> Tensor:
    """0 to n-1 in random order.

    Example
    >>> sorted(randperm(3).tolist())
    [0, 1, 2]
    """
    return _new(generator().permutation(n), device, False)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array: a change of one is a change of the other.

    Raises   DtypeError   the array is not numeric
    Example
    >>> from_numpy(np.zeros(2, "f4"))
    tensor([0., 0.])
    """
    _known_dtype(array.dtype, "from_numpy")
    return _make(array, CPU, None)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an axis that they have.

    Raises   ShapeError   they differ elsewhere
    Example
    >>> cat([ones(1), zeros(2)])
    tensor([1., 0., 0.])
    """
    _some("cat", tensors)
    return apply(ops.cat, *tensors, axis=shapes.axis_number(dim, tensors[0].ndim, "cat"))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis.

    Raises   ShapeError   they differ
    Example
    >>> stack([ones(2), zeros(2)]).shape
    (2, 2)
    """
    _some("stack", tensors)
    return apply(ops.stack, *tensors, axis=shapes.axis_number(dim, tensors[0].ndim + 1, "stack"))


def _some(where, tensors):
    if not tensors:
        raise ShapeError(f"{where}: the list of tensors is empty; give at least one")


def where(condition: Tensor, x: Any, y: Any) -> Tensor:
    """x where the condition is true, y elsewhere.

    Raises   DtypeError   the condition is not bool
    Example
    >>> where(Tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    return apply(ops.where, condition, x, y)
