"""Functions that make tensors: constants, ranges, random numbers, borrowed memory; and that join them."""

from collections.abc import Sequence
from functools import partial
from math import ceil, isfinite
from operator import index
from typing import Any, TypedDict, Unpack

import numpy as np

from . import ops, shapes
from .checks import number_in_range
from .errors import DtypeError, ShapeError, ValidationError
from .ops.promotion import expect_fits, result_type
from .random import Generator
from .runtime.device import CPU, device as Device
from .streams import generator
from .tensors import Tensor, _constant, _known_dtype, _make, apply, int64, tensor

__all__: list[str] = []
__dir__ = __all__.copy


class Options(TypedDict, total=False):
    """What the functions that make tensors take by name.

    dtype           of the elements; each function names its default
    device          'cpu' (default), 'cuda' or 'numpy'
    requires_grad   whether operations on the tensor are recorded
    pin_memory      only False, for PyTorch's scripts
    """

    dtype: Any
    device: Any
    requires_grad: bool
    pin_memory: bool


class RandomOptions(Options, total=False):
    """Options, and a mg.Generator to draw from; without one, the numbers follow from mg.manual_seed."""

    generator: Generator | None


# ---- constants and ranges

__all__ += ["arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "ones", "ones_like"]
__all__ += ["scalar_tensor", "zeros", "zeros_like"]


def _filled(where: str, sizes: tuple[int, ...], value: float, options: Any, default: Any = None) -> Tensor:
    kind, place = _settings(where, options, default)
    result_type(where, value)  # refuses what is no number
    expect_fits(where, value, kind)
    return _on(place, place.full(sizes, value, kind), options)


def _settings(where: str, options: Any, default: Any = None) -> tuple[np.dtype, Device]:
    """The dtype and the device of a new tensor."""
    for name in options.keys() - (Options.__annotations__ | RandomOptions.__annotations__).keys():
        raise DtypeError(f"{where}: there is no argument {name!r}; use dtype=, device= and requires_grad=")
    if options.get("pin_memory"):
        raise ValidationError(f"{where}: pin_memory is True, but there is no pinned memory here; leave it out")
    dtype, place = options.get("dtype"), options.get("device")
    return _known_dtype(default if dtype is None else dtype, where), Device(CPU if place is None else place)


def _on(place: Device, array: Any, options: Any) -> Tensor:
    made = _constant(_make(array, place, None))
    return made.requires_grad_() if options.get("requires_grad") else made


def _sent(settings: tuple[np.dtype, Device], numbers: Any, options: Any) -> Tensor:
    """Numbers of the host as a tensor of a dtype on a device."""
    kind, place = settings
    return _on(place, place.from_host(np.asarray(numbers).astype(kind)), options)


def zeros(*shape: Any, size: Any = None, **options: Unpack[Options]) -> Tensor:
    """A tensor of zeros."""
    return _filled("zeros", shapes.given_shape("zeros", shape, size), 0, options)


def ones(*shape: Any, size: Any = None, **options: Unpack[Options]) -> Tensor:
    """A tensor of ones."""
    return _filled("ones", shapes.given_shape("ones", shape, size), 1, options)


def empty(*shape: Any, size: Any = None, memory_format: Any = None, **options: Unpack[Options]) -> Tensor:
    """A tensor whose elements are still to be written; they are 0."""
    return _filled("empty", shapes.given_shape("empty", shape, size), 0, options)


def full(size: Any, fill_value: Any, **options: Unpack[Options]) -> Tensor:
    """A tensor in which every element is `fill_value`.

    dtype    if None: bool for a bool, int64 for a whole number, float32 for other numbers

    Example
    >>> full((2,), 7.0)
    tensor([7., 7.])
    """
    value = _number(fill_value)
    return _filled("full", shapes.given_shape("full", (), size), value, options, result_type("full", value))


def scalar_tensor(s: Any, **options: Unpack[Options]) -> Tensor:
    """A tensor () of one number, float32 if dtype is None."""
    return _filled("scalar_tensor", (), _number(s), options)


def _number(value: Any) -> Any:
    """A Python number, also from a tensor or an array of one."""
    return value.item() if hasattr(value, "item") else value


def zeros_like(input: Tensor, **options: Unpack[Options]) -> Tensor:
    """Zeros in the shape of a tensor, in its dtype and on its device unless others are given."""
    return zeros(**_as_in("zeros_like", input, options))


def ones_like(input: Tensor, **options: Unpack[Options]) -> Tensor:
    """Ones; otherwise as zeros_like."""
    return ones(**_as_in("ones_like", input, options))


def empty_like(input: Tensor, **options: Unpack[Options]) -> Tensor:
    """Elements still to be written; otherwise as zeros_like."""
    return zeros(**_as_in("empty_like", input, options))


def full_like(input: Tensor, fill_value: Any, **options: Unpack[Options]) -> Tensor:
    """`fill_value` everywhere; otherwise as zeros_like."""
    return full(fill_value=fill_value, **_as_in("full_like", input, options))


def _as_in(where: str, x: Tensor, options: Any) -> Any:
    """The options, with the shape of x, and with its dtype and device where they are None."""
    _check_tensors(where, [x])
    given = {name: value for name, value in options.items() if value is not None and name != "memory_format"}
    return {"size": x.shape, "dtype": x.dtype, "device": x.device, **given}


def arange(start: Any, end: Any = None, step: Any = 1, **options: Unpack[Options]) -> Tensor:
    """start, start + step, ... up to but not including end; arange(end) starts at 0.

    dtype    if None: int64 for whole numbers, float32 for others

    Raises   ValidationError   step is 0 or leads away from end, or a number is not finite
             DtypeError        the dtype does not hold the numbers
    Example
    >>> arange(3)
    tensor([0, 1, 2])
    """
    given = (0, start, step) if end is None else (start, end, step)
    first, last, step = numbers = [_number(number) for number in given]
    kind, place = _settings("arange", options, result_type("arange", *numbers, 0))
    whole = kind.kind != "f"
    if step == 0:
        raise ValidationError("arange: step is 0; give a step up or down")
    if not all(isfinite(number) for number in numbers) or (last - first) * step < 0:
        raise ValidationError(f"arange: no steps of {step} lead from {first} to {last}; give finite numbers that do")
    if kind.kind == "b" or (whole and any(number != int(number) for number in numbers)):
        raise DtypeError(f"arange: numbers from {first} in steps of {step} cannot be {kind}; use dtype=mg.float32")
    count = -(-(last - first) // step) if whole else ceil((last - first) / step)
    if count > 0:
        expect_fits("arange", first, kind)
        expect_fits("arange", first + (count - 1) * step, kind)
    places = np.arange(max(int(count), 0), dtype=np.int64 if whole else np.float64)
    return _sent((kind, place), first + step * places, options)


def linspace(start: Any, end: Any, steps: int, **options: Unpack[Options]) -> Tensor:
    """`steps` evenly spaced numbers from start to end, both included; float32 if dtype is None.

    Example
    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    return _spaced("linspace", np.linspace, start, end, steps, options)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Unpack[Options]) -> Tensor:
    """base to the power of evenly spaced numbers from start to end; otherwise as linspace."""
    return _spaced("logspace", partial(np.logspace, base=base), start, end, steps, options)


def _spaced(where: str, spaced: Any, start: Any, end: Any, steps: int, options: Any) -> Tensor:
    kind, place = _settings(where, options)
    if kind.kind != "f":
        raise DtypeError(f"{where}: {kind} does not hold fractions; use a float dtype, and .to() afterwards")
    start, end = _number(start), _number(end)
    result_type(where, start, end)  # refuses what is no number
    if not hasattr(steps, "__index__") or steps < 0:
        raise ValidationError(f"{where}: {steps} steps; give 0 or more")
    return _sent((kind, place), spaced(start, end, steps, dtype=kind), options)


def eye(n: int, m: int | None = None, **options: Unpack[Options]) -> Tensor:
    """The matrix (n, m), square if m is None, with ones on the diagonal and zeros elsewhere."""
    rows, columns = shapes.given_shape("eye", (n, n if m is None else m))
    return _sent(_settings("eye", options), np.eye(rows, columns), options)


# ---- random numbers

__all__ += ["normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"]


def randn(*shape: Any, size: Any = None, **options: Unpack[RandomOptions]) -> Tensor:
    """Random numbers of the normal distribution, mean 0 and standard deviation 1."""
    return _drawn("randn", lambda random, sizes, kind: random.standard_normal(sizes), shape, size, options)


def rand(*shape: Any, size: Any = None, **options: Unpack[RandomOptions]) -> Tensor:
    """Random numbers, uniform from 0 up to but not including 1; see randn."""
    # drawn in this dtype: rounding float64 could give 1
    return _drawn("rand", lambda random, sizes, kind: random.random(sizes, kind.type), shape, size, options)


def _drawn(where: str, draw: Any, shape: Any, size: Any, options: Any) -> Tensor:
    kind, place = _settings(where, options)
    if kind.kind != "f":
        raise DtypeError(f"{where}: random numbers are float32 or float64, not {kind}; use randint for whole numbers")
    sizes = shapes.given_shape(where, shape, size)
    return _sent((kind, place), draw(generator(options.get("generator")), sizes, kind), options)


def rand_like(input: Tensor, **options: Unpack[RandomOptions]) -> Tensor:
    """rand in the shape of a tensor, in its dtype and on its device unless others are given."""
    return rand(**_as_in("rand_like", input, options))


def randn_like(input: Tensor, **options: Unpack[RandomOptions]) -> Tensor:
    """randn; otherwise as rand_like."""
    return randn(**_as_in("randn_like", input, options))


def randint_like(input: Tensor, low: int, high: int | None = None, **options: Unpack[RandomOptions]) -> Tensor:
    """randint; otherwise as rand_like."""
    ends = (0, low) if high is None else (low, high)
    return randint(*ends, **_as_in("randint_like", input, options))


def randint(low: Any = 0, high: Any = None, size: Any = None, **options: Unpack[RandomOptions]) -> Tensor:
    """Random whole numbers from low to high - 1; randint(high, size) starts at 0.  int64 if dtype is None.

    Raises   ValidationError   high is not larger than low, or they are not whole
             DtypeError        the dtype does not hold the numbers
    """
    if size is None or high is None:
        low, high, size = 0, low, high if size is None else size
    if any(isinstance(end, bool) or not hasattr(end, "__index__") for end in (low, high)):
        raise ValidationError(f"randint: from {low} up to {high}; give whole numbers, and the shape as (2, 3)")
    first, last, sizes = index(low), index(high), shapes.given_shape("randint", (), size)
    kind, place = _settings("randint", options, int64)
    if first >= last:
        raise ValidationError(f"randint: low is {low} and high is {high}; high must be larger than low")
    for end in (first, last - 1):
        expect_fits("randint", end, int64 if kind.kind == "f" else kind)
    return _sent((kind, place), generator(options.get("generator")).integers(first, last, sizes), options)


def randperm(n: int, **options: Unpack[RandomOptions]) -> Tensor:
    """The numbers 0 to n-1 in random order; int64 if dtype is not given."""
    shapes.given_shape("randperm", (n,))
    kind, place = _settings("randperm", options, int64)
    expect_fits("randperm", max(n - 1, 0), kind)
    return _sent((kind, place), generator(options.get("generator")).permutation(n), options)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, **options: Unpack[Options]
) -> Tensor:
    """Random numbers of normal distributions, without a gradient.

    mean, std   numbers, or tensors that broadcast: one distribution for each element
    size        shape of the result, if both are numbers

    Raises   ValidationError   a deviation is negative, or both are numbers and there is no size
    """
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        mean, std = [part.detach() if isinstance(part, Tensor) else part for part in (mean, std)]
        if isinstance(std, Tensor):
            (std >= 0)._expect_all("normal: a number in std is negative; use numbers from 0 on")
        else:
            number_in_range("normal", "std", std, 0)
        shape = shapes.broadcast("normal", *[part.shape for part in (mean, std) if isinstance(part, Tensor)])
        drawn = (mean if isinstance(mean, Tensor) else std).expand(shape).clone().normal_(generator=generator)
        return drawn * std + mean
    if size is None:
        raise ValidationError("normal: mean and std are numbers; give the shape as size=")
    return empty(size, **options).normal_(mean, std, generator=generator)


# ---- memory of others

__all__ += ["as_tensor", "asarray", "from_dlpack", "from_numpy"]


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
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):  # np.ma is imported when it is read
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


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """as_tensor, or with copy=True a tensor of its own memory."""
    made = as_tensor(obj, dtype, device)
    return made.detach().clone() if copy else made


# ---- several tensors

__all__ += ["atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors", "cat", "column_stack", "concat"]
__all__ += ["concatenate", "dstack", "hstack", "row_stack", "stack", "vstack", "where"]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing axis.

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


concat = concatenate = cat


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side: joined along axis 1, or along the only axis."""
    parts = _at_least("hstack", 1, tensors)
    return cat(parts, min(parts[0].ndim - 1, 1))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one below the other; those of 1 dimension are rows."""
    return cat(_at_least("vstack", 2, tensors))


row_stack = vstack


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along axis 2."""
    return cat(_at_least("dstack", 3, tensors), 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side; those of 1 dimension are columns."""
    parts = _check_tensors("column_stack", tensors)
    return cat([part if part.ndim > 1 else part.reshape(-1, 1) for part in parts], 1)


def atleast_1d(*tensors: Any) -> Any:
    """A tensor, or each of several, with 1 dimension or more."""
    return _all_at_least("atleast_1d", 1, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """A tensor, or each of several, with 2 dimensions or more; new ones are in front."""
    return _all_at_least("atleast_2d", 2, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """A tensor, or each of several, with 3 dimensions or more; a matrix gets a new last one."""
    return _all_at_least("atleast_3d", 3, tensors)


def _all_at_least(where, ndim, tensors):
    parts = _at_least(where, ndim, shapes.given_sizes(tensors))
    return parts[0] if len(tensors) == 1 and isinstance(tensors[0], Tensor) else tuple(parts)


def _at_least(where, ndim, tensors):
    keys = {0: (None,) * ndim, 1: (None, slice(None), None)[:ndim], 2: (..., None) if ndim > 2 else ()}
    return [part[keys[part.ndim]] if part.ndim < ndim else part for part in _check_tensors(where, tensors)]


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors expanded to their common shape; views."""
    parts = _check_tensors("broadcast_tensors", shapes.given_sizes(tensors))
    shape = shapes.broadcast("broadcast_tensors", *[part.shape for part in parts])
    return tuple([part.expand(shape) for part in parts])


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of the same shape joined along a new axis."""
    _check_tensors("stack", tensors)
    return apply(ops.stack, *tensors, axis=shapes.axis_number(dim, tensors[0].ndim + 1, "stack"))


def _check_tensors(where, tensors):
    """The tensors, of which there must be one."""
    if not tensors:
        raise ShapeError(f"{where}: the list of tensors is empty; give at least one")
    for value in tensors:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected tensors, got {type(value).__name__}; use mg.tensor(...)")
    return tensors


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition is true, `other` elsewhere; of the condition alone, condition.nonzero(as_tuple=True).

    Example
    >>> where(tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if not isinstance(condition, Tensor):
        raise DtypeError(f"where: the condition is a {type(condition).__name__}, expected a bool tensor, as x > 0 is")
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return apply(ops.where, condition, input, other)
