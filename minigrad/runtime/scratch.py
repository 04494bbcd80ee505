"""Small arrays that a kernel keeps on its stack, for numbers that it computes in one loop and reads in the next.

The compiler knows that no array of the caller overlaps them, and so it vectorises loops that write to them.  A loop
that writes to an array of the caller stays scalar if it reads at computed places.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .view import WORD, View


@intrinsic(prefer_literal=True)
def scratch(typing, like, rows, columns):
    """An uninitialised view (rows, columns) with elements of the type of `like`; both sizes are constants."""
    kind = View(types.unliteral(like), 2)
    sizes = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, args):
        fields = cgutils.create_struct_proxy(kind)(context, builder)
        element = context.get_data_type(kind.element)
        block = cgutils.alloca_once(builder, ir.ArrayType(element, sizes[0] * sizes[1]))
        fields.data = builder.bitcast(block, element.as_pointer())
        fields.shape = cgutils.pack_array(builder, [ir.Constant(WORD, size) for size in sizes])
        return fields._getvalue()

    return kind(like, rows, columns), generate
