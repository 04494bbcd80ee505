"""The arrays that kernels see: C-contiguous, indexed without checks and without wrap-around.

Numba's own arrays turn a[-1] into the last element, a test on every access that keeps loops from vectorising, and
count references.  A view is only an address and a shape; `x[c, h, w, n]`, `x[i]` and `x.shape` are all it knows.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, make_attribute_wrapper, models, register_model

WORD = ir.IntType(64)
HEAD = object.__basicsize__  # a NumPy array object holds, after Python's header: data, nd, shape, strides


class View(types.Type):
    """`ndim` axes of `element`s."""

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
    return builder.load(address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))


@lower_builtin(operator.setitem, View, types.Any, types.Any)
def _write(context, builder, sig, args):
    builder.store(args[2], address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))
    return context.get_dummy_value()


def address(context, builder, view_type, view, index_type, index):
    """The address of view[index]; index is a tuple for every axis, or one number that counts elements."""
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


def view_of(context, builder, kind, array):
    """The view of type `kind` on the NumPy array object at address `array`; flat if the view has one axis."""
    fields = cgutils.create_struct_proxy(kind)(context, builder)
    element = context.get_data_type(kind.element)
    fields.data = builder.inttoptr(member(builder, array, 0), element.as_pointer())
    shape = builder.inttoptr(member(builder, array, 16), WORD.as_pointer())
    if kind.ndim == 1:
        dimensions = builder.and_(member(builder, array, 8), ir.Constant(WORD, 0xFFFFFFFF))
        sizes = [_product(builder, shape, dimensions)]
    else:
        sizes = [builder.load(builder.gep(shape, [ir.Constant(WORD, d)])) for d in range(kind.ndim)]
    fields.shape = cgutils.pack_array(builder, sizes)
    return fields._getvalue()


def member(builder, array, offset):
    """The eight-byte member of a NumPy array object at `offset` behind Python's header."""
    place = builder.add(array, ir.Constant(WORD, HEAD + offset))
    return builder.load(builder.inttoptr(place, WORD.as_pointer()))


def _product(builder, shape, ndim):
    """shape[0] * ... * shape[ndim-1]."""
    total = cgutils.alloca_once_value(builder, ir.Constant(WORD, 1))
    with cgutils.for_range(builder, ndim) as loop:
        builder.store(builder.mul(builder.load(total), builder.load(builder.gep(shape, [loop.index]))), total)
    return builder.load(total)
