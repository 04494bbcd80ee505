"""The arrays that kernels see: C-contiguous, indexed without bounds checks and without negative indices.

Numba's own arrays turn a[-1] into the last element, a test on every access that keeps loops from vectorising, and they
count references.  A view is only an address and a shape; it supports `x[c, h, w, n]`, `x[i]` and `x.shape`.

A kernel receives the address of a NumPy array object and reads the array descriptor in it: the fields data, ndim and
shape, at fixed offsets behind Python's object header.
"""

import ctypes
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, make_attribute_wrapper, models, register_model

from ..errors import DeviceError

WORD = ir.IntType(64)
# Kernels read the fields because id(array) takes 0.1 us.  Computing address and sizes in Python takes 3.3 us an array
# and adds 50 % to the Python time of a training step (2 cores of an AMD EPYC, November 2026).
HEADER_BYTES = object.__basicsize__
DATA, NDIM, SHAPE = HEADER_BYTES, HEADER_BYTES + 8, HEADER_BYTES + 16  # bytes from the start of the object


def check_array_descriptor() -> None:
    """Check that NumPy stores the array descriptor where kernels read it.

    Raises   DeviceError   a sample array has other values there
    """
    sample = np.empty((3, 5, 7), np.uint8)
    expected = sample.__array_interface__["data"][0], sample.ndim, sample.shape
    data = ctypes.c_size_t.from_address(id(sample) + DATA).value
    ndim = ctypes.c_int32.from_address(id(sample) + NDIM).value
    shape = None
    if (data, ndim) == expected[:2]:  # otherwise the address of the shape may be invalid
        address = ctypes.c_size_t.from_address(id(sample) + SHAPE).value
        shape = tuple((ctypes.c_ssize_t * ndim).from_address(address))
    if (data, ndim, shape) != expected:
        raise DeviceError(
            f"minigrad: NumPy {np.__version__} keeps arrays in another form than kernels read: data, ndim, shape are "
            f"{(data, ndim, shape)}, expected {expected}; install a NumPy version that pyproject.toml allows"
        )


def data_address(array: np.ndarray) -> int:
    """The address of the first element; `array.ctypes.data` takes ten times as long."""
    return ctypes.c_size_t.from_address(id(array) + DATA).value


class View(types.Type):
    """The type of a view with `ndim` axes."""

    def __init__(self, element, ndim):
        self.element, self.ndim = element, ndim
        super().__init__(name=f"View({element},{ndim})")


@register_model(View)
class _ViewModel(models.StructModel):
    def __init__(self, manager, view):
        members = [("data", types.CPointer(view.element)), ("shape", types.UniTuple(types.intp, view.ndim))]
        super().__init__(manager, view, members)


make_attribute_wrapper(View, "shape", "shape")


@infer_global(operator.getitem)
class _Read(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], View):
            return signature(args[0].element, args[0], _index_type(args[0], args[1]))
        return None


@infer_global(operator.setitem)
class _Write(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], View):
            return signature(types.none, args[0], _index_type(args[0], args[1]), args[0].element)
        return None


def _index_type(view, index):
    if isinstance(index, types.BaseTuple):
        if len(index) != view.ndim:
            raise TypeError(f"{len(index)} indices for {view.ndim} axes")
        return types.UniTuple(types.intp, view.ndim)
    return types.intp


@lower_builtin(operator.getitem, View, types.Any)
def _read(context, builder, sig, args):
    return builder.load(element_address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))


@lower_builtin(operator.setitem, View, types.Any, types.Any)
def _write(context, builder, sig, args):
    builder.store(args[2], element_address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))
    return context.get_dummy_value()


def element_address(context, builder, view_type, view, index_type, index):
    """The address of view[index]; the index is a tuple with a number per axis, or one flat element number."""
    fields = cgutils.create_struct_proxy(view_type)(context, builder, value=view)
    if not isinstance(index_type, types.BaseTuple):
        return builder.gep(fields.data, [context.cast(builder, index, index_type, types.intp)])
    sizes = cgutils.unpack_tuple(builder, fields.shape)
    numbers = [
        context.cast(builder, number, kind, types.intp)
        for number, kind in zip(cgutils.unpack_tuple(builder, index), index_type, strict=True)
    ]
    offset = numbers[0]
    for size, number in zip(sizes[1:], numbers[1:], strict=True):
        offset = builder.add(builder.mul(offset, size), number)
    return builder.gep(fields.data, [offset])


def load_view(context, builder, view_type, array):
    """The view of the NumPy array object at address `array`; flat if the view has one axis."""
    fields = cgutils.create_struct_proxy(view_type)(context, builder)
    element = context.get_data_type(view_type.element)
    fields.data = builder.inttoptr(load_field(builder, array, DATA), element.as_pointer())
    shape = builder.inttoptr(load_field(builder, array, SHAPE), WORD.as_pointer())
    if view_type.ndim == 1:
        ndim = builder.and_(load_field(builder, array, NDIM), ir.Constant(WORD, 0xFFFFFFFF))  # a C int, then padding
        sizes = [_product(builder, shape, ndim)]
    else:
        sizes = [builder.load(builder.gep(shape, [ir.Constant(WORD, d)])) for d in range(view_type.ndim)]
    fields.shape = cgutils.pack_array(builder, sizes)
    return fields._getvalue()


def load_field(builder, array, offset):
    """The eight bytes at `offset` in the object at address `array`."""
    address = builder.add(array, ir.Constant(WORD, offset))
    return builder.load(builder.inttoptr(address, WORD.as_pointer()))


def _product(builder, shape, ndim):
    """shape[0] * ... * shape[ndim - 1]."""
    total = cgutils.alloca_once_value(builder, ir.Constant(WORD, 1))
    with cgutils.for_range(builder, ndim) as loop:
        builder.store(builder.mul(builder.load(total), builder.load(builder.gep(shape, [loop.index]))), total)
    return builder.load(total)
