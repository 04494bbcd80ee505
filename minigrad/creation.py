"""Functions that make tensors: constants, ranges, random numbers, borrowed memory; and that join them."""

from collections.abc import Sequence
from math import ceil, isfinite
from operator import index
from typing import Any

import numpy as np

from . import ops, shapes
from .errors import DtypeError, ShapeError, ValidationError
from .ops.promotion import expect_fits, result_type
from .random import generator
from .runtime.device import CPU, device as Device
from .tensors import Tensor, _constant, _known_dtype, _make, apply, float32, int64, tensor

__all__ = [
    "arange",
    "as_tensor",
    "cat",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "randint",
    "randn",
    "randperm",
    "stack",
    "where",
    "zeros",
    "zeros_like",
]
__dir__ = __all__.copy


def _sizes(where: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """The sizes given as zeros(2, 3) or zeros((2, 3))."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else tuple(shape)
    if any(isinstance(size, bool) or not hasattr(size, "__index__") or size < 0 for size in sizes):
        raise ShapeError(
            f"{where}: {sizes} is not a shape; use whole numbers of 0 or more, and names for dtype= and device="
        )
    return tuple([index(size) for size in sizes])


def _filled(
    where: str, shape: Sequence[Any], value: float, dtype: Any, device: str | Device, requires_grad: bool
) -> Tensor:
    place, kind = Device(device), _known_dtype(dtype, where)
    expect_fits(where, value, kind)
    return _on(place, place.full(_sizes(where, shape), value, kind), requires_grad)


def _drawn(
    where: str, draw: Any, shape: Sequence[Any], dtype: Any, device: str | Device, requires_grad: bool
) -> Tensor:
    kind = _known_dtype(dtype, where)
    if kind.kind != "f":
        raise DtypeError(f"{where}: random numbers are float32 or float64, not {kind}; use randint for whole numbers")
    return _new(np.asarray(draw(_sizes(where, shape))).astype(kind), device, requires_grad)


def _new(array: np.ndarray, device: str | Device, requires_grad: bool) -> Tensor:
    place = Device(device)
    return _on(place, place.from_host(array), requires_grad)


def _on(place: Device, array: Any, requires_grad: bool) -> Tensor:
    made = _constant(_make(array, place, None))
    return made.requires_grad_() if requires_grad else made


def zeros(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Example
    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _filled("zeros", shape, 0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    Example
    >>> ones(2)
    tensor([1., 1.])
    """
    return _filled("ones", shape, 1, dtype, device, requires_grad)


def full(
    shape: Sequence[int], fill_value: Any, dtype: Any = None, device: str | Device = CPU, requires_grad: bool = False
) -> Tensor:
    """A tensor in which every element is `fill_value`.

    dtype    if None: bool for a bool, int64 for a whole number, float32 for other numbers

    Raises   DtypeError   the dtype does not hold the number
    Example
    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    value = fill_value.item() if hasattr(fill_value, "item") else fill_value
    kind = result_type("full", value) if dtype is None else dtype
    return _filled("full", shape if isinstance(shape, tuple | list) else (shape,), value, kind, device, requires_grad)


def zeros_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape of x; dtype and device are those of x if they are None.

    Example
    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    return _alike("zeros_like", x, 0, dtype, device, requires_grad)


def ones_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape of x; dtype and device are those of x if they are None.

    Example
    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    return _alike("ones_like", x, 1, dtype, device, requires_grad)


def _alike(where: str, x: Tensor, value: float, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    kind, place = x.dtype if dtype is None else dtype, x.device if device is None else device
    return _filled(where, (x.shape,), value, kind, place, requires_grad)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    dtype: Any = None,
    device: str | Device = CPU,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to but not including end; arange(end) starts at 0.

    dtype    if None: int64 for whole numbers, float32 for others

    Raises   ValidationError   step is 0 or leads away from end, or a number is not finite
             DtypeError        the dtype does not hold the numbers
    Example
    >>> arange(3)
    tensor([0, 1, 2])
    """
    given = (0, start, step) if end is None else (start, end, step)
    first, last, step = numbers = [number.item() if hasattr(number, "item") else number for number in given]
    kind = _known_dtype(result_type("arange", *numbers, 0) if dtype is None else dtype, "arange")
    if step == 0:
        raise ValidationError("arange: step is 0; give a step up or down")
    if not all(isfinite(number) for number in numbers) or (last - first) * step < 0:
        raise ValidationError(f"arange: no steps of {step} lead from {first} to {last}; give finite numbers that do")
    if kind.kind not in "iuf" or (kind.kind != "f" and any(number != int(number) for number in numbers)):
        raise DtypeError(f"arange: numbers from {first} in steps of {step} cannot be {kind}; use dtype=mg.float32")
    count = -(-(last - first) // step) if kind.kind != "f" else ceil((last - first) / step)
    if count > 0:
        expect_fits("arange", first, kind)
        expect_fits("arange", first + (count - 1) * step, kind)
    places = np.arange(max(int(count), 0), dtype=np.int64 if kind.kind != "f" else np.float64)
    return _new((first + step * places).astype(kind), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False
) -> Tensor:
    """`steps` evenly spaced numbers from start to end, both included.

    Raises   ValidationError   fewer than 0 steps
             DtypeError        a dtype of whole numbers
    Example
    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    kind = _known_dtype(dtype, "linspace")
    if kind.kind != "f":
        raise DtypeError(f"linspace: {kind} does not hold fractions; use a float dtype, and .to() afterwards")
    result_type("linspace", start, end)  # refuses what is no number
    if not hasattr(steps, "__index__") or steps < 0:
        raise ValidationError(f"linspace: {steps} steps; give 0 or more")
    return _new(np.linspace(start, end, steps, dtype=kind), device, requires_grad)


def eye(
    n: int, m: int | None = None, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False
) -> Tensor:
    """The matrix (n, m), square if m is None, with ones on the diagonal and zeros elsewhere.

    Example
    >>> eye(2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    rows, columns = _sizes("eye", (n, n if m is None else m))
    return _new(np.eye(rows, columns, dtype=_known_dtype(dtype, "eye")), device, requires_grad)


def randn(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """Random numbers of the normal distribution, mean 0 and standard deviation 1.

    Example
    >>> randn(2, 3).shape
    (2, 3)
    """
    return _drawn("randn", generator().standard_normal, shape, dtype, device, requires_grad)


def rand(*shape: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: bool = False) -> Tensor:
    """Random numbers, uniform from 0 up to but not including 1.

    Example
    >>> bool((rand(100) < 1).all())
    True
    """
    kind = _known_dtype(dtype, "rand")
    width = np.float32 if kind == float32 else np.float64  # drawn in this dtype: rounding float64 could give 1
    return _drawn("rand", lambda sizes: generator().random(sizes, width), shape, kind, device, requires_grad)


def randint(low: int, high: Any, shape: Any = None, dtype: Any = int64, device: str | Device = CPU) -> Tensor:
    """Random whole numbers from low to high - 1; randint(high, shape) starts at 0.

    Raises   ValidationError   high is not larger than low, or they are not whole
             DtypeError        the dtype does not hold the numbers
    Example
    >>> int(randint(3, 4, (1,)))
    3
    """
    if shape is None:
        low, high, shape = 0, low, high
    if any(isinstance(end, bool) or not hasattr(end, "__index__") for end in (low, high)):
        raise ValidationError(f"randint: from {low} up to {high}; give whole numbers, and the shape as (2, 3)")
    first, last, sizes, kind = index(low), index(high), _sizes("randint", (shape,)), _known_dtype(dtype, "randint")
    if first >= last:
        raise ValidationError(f"randint: low is {low} and high is {high}; high must be larger than low")
    for end in (first, last - 1):
        expect_fits("randint", end, int64 if kind.kind == "f" else kind)
    return _new(generator().integers(first, last, sizes).astype(kind), device, False)


def randperm(n: int, device: str | Device = CPU) -> Tensor:
    """The numbers 0 to n-1 in random order.

    Example
    >>> sorted(randperm(3).tolist())
    [0, 1, 2]
    """
    _sizes("randperm", (n,))
    return _new(generator().permutation(n), device, False)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array or np.memmap: a change of one is a change of the other.

    A tensor on read-only memory cannot be changed in place.

    Raises   DtypeError   the array is masked, its dtype is not supported or has another byte order than this machine,
                          or its elements are not aligned
    Example
    >>> from_numpy(np.zeros(2, "f4"))
    tensor([0., 0.])
    """
    if not isinstance(array, np.ndarray):
        raise DtypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}; use mg.tensor(...)")
    if isinstance(array, np.ma.MaskedArray):
        raise DtypeError("from_numpy: the array is masked, a tensor has no mask; give array.filled(value)")
    if not array.dtype.isnative:
        raise DtypeError(
            f"from_numpy: {array.dtype} is not in the byte order of this machine; give "
            f"array.astype('{array.dtype.newbyteorder('=')}')"
        )
    _known_dtype(array.dtype, "from_numpy")
    if not array.flags.aligned:
        raise DtypeError(
            f"from_numpy: elements of {array.itemsize} bytes with strides {array.strides} do not lie at multiples of "
            "their size; copy the array"
        )
    return _borrowed(array if type(array) is np.ndarray else array.view(np.ndarray), CPU)


def _borrowed(array: Any, place: Device) -> Tensor:
    """A tensor on memory that another library uses, too."""
    made = _make(array, place, None)
    made._storage.lent = True
    return made


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of `data` that shares its memory where possible.

    data   a tensor is returned as it is.  Memory is shared with a NumPy array, as by from_numpy, and with an object
           that has __cuda_array_interface__ (of Numba, CuPy, PyTorch).  Other data is copied, as by mg.tensor

    Raises   DtypeError    the data is not numeric
             DeviceError   there is no such device here
    Example
    >>> x = ones(2)
    >>> as_tensor(x) is x
    True
    """
    if isinstance(data, Tensor):
        made = data
    elif isinstance(data, np.ndarray):
        made = from_numpy(data)
    elif hasattr(data, "__cuda_array_interface__"):
        place = Device("cuda")
        made = _borrowed(place.adopt(data.__cuda_array_interface__, data), place)
        _known_dtype(made.dtype, "as_tensor")
    else:
        return tensor(data, dtype, Device(device))
    return made.to(dtype, None if device is None else Device(device))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's tensor or array, on the CPU or the GPU.

    source   an object with __dlpack__, such as PyTorch's tensors and CuPy's arrays

    Raises   DtypeError    it has no __dlpack__, or a dtype that tensors do not have
             DeviceError   its memory is on another device, or there is no GPU
    Example
    >>> from_dlpack(np.ones(2, "f4"))
    tensor([1., 1.])
    """
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        raise DtypeError(f"from_dlpack: {type(source).__name__} has no __dlpack__; use mg.tensor(...)")
    kind, _ = source.__dlpack_device__()
    if kind == 1:
        return from_numpy(np.from_dlpack(source))
    place = Device("cuda")
    made = _borrowed(place.borrow(source.__dlpack__(stream=1)), place)
    _known_dtype(made.dtype, "from_dlpack")
    return made


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing axis.

    Raises   ShapeError   they differ in another axis, or the list is empty
    Example
    >>> cat([ones(1), zeros(2)])
    tensor([1., 0., 0.])
    """
    _check_tensors("cat", tensors)
    shape = next((part.shape for part in tensors if part.shape != (0,)), (0,))
    axis = shapes.axis_number(dim, len(shape), "cat")
    empty = (*shape[:axis], 0, *shape[axis + 1 :])  # as in PyTorch, a tensor of shape (0,) fits any other
    parts = [part.reshape(empty) if part.shape == (0,) else part for part in tensors]
    return apply(ops.cat, *parts, axis=axis)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of the same shape joined along a new axis.

    Raises   ShapeError   their shapes differ, or the list is empty
    Example
    >>> stack([ones(2), zeros(2)]).shape
    (2, 2)
    """
    _check_tensors("stack", tensors)
    return apply(ops.stack, *tensors, axis=shapes.axis_number(dim, tensors[0].ndim + 1, "stack"))


def _check_tensors(where, tensors):
    if not tensors:
        raise ShapeError(f"{where}: the list of tensors is empty; give at least one")
    for value in tensors:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected tensors, got {type(value).__name__}; use mg.tensor(...)")


def where(condition: Tensor, x: Any, y: Any) -> Tensor:
    """x where the condition is true, y elsewhere.

    Raises   DtypeError   the condition is not bool
    Example
    >>> where(tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if not isinstance(condition, Tensor):
        raise DtypeError(f"where: the condition is a {type(condition).__name__}, expected a bool tensor, as x > 0 is")
    return apply(ops.where, condition, x, y)
