"""An output that computes on: in a kernel, `output[i] = value` also stores a function of the value in other arrays.

So one kernel serves with and without an epilogue, see epilogue.py: with one, it is given an output in place of an
array.  An output is a tuple of arrays and numbers, `parts`, and a function put(parts, i, value).  It reads as its
array, one of the parts.
"""

import operator
from typing import Any

from . import driver

if driver.SIMULATED:

    class _Output:
        def __init__(self, parts, array, put):
            self.parts, self.array, self.put = parts, parts[array], put
            self.size, self.dtype = self.array.size, self.array.dtype

        def __getitem__(self, i):
            return self.array[i]

        def __setitem__(self, i, value):
            self.put(self.parts, i, value)

    def output_of(array: int, put: Any) -> Any:
        """A function for kernels that makes an output of `parts`; `array` is the number of the part that it reads."""
        return lambda parts: _Output(parts, array, put)

else:
    from numba.cuda import cgutils, types
    from numba.cuda.extending import (
        intrinsic,
        make_attribute_wrapper,
        models,
        overload,
        overload_attribute,
        register_model,
    )
    from numba.cuda.np.numpy_support import as_dtype

    class _Output(types.Type):
        """The type of an output; one of the same parts with another function is another type."""

        def __init__(self, parts: Any, array: int, put: Any):
            self.parts, self.array, self.put, self.dtype = parts, array, put, parts[array].dtype
            super().__init__(f"output({parts}, {array}, {id(put)})")  # the names of compiled functions contain it

        @property
        def key(self) -> Any:
            """What distinguishes types."""
            return self.parts, self.array, self.put

    @register_model(_Output)
    class _OutputModel(models.StructModel):
        def __init__(self, manager, kind):
            super().__init__(manager, kind, [("parts", kind.parts)])

    make_attribute_wrapper(_Output, "parts", "parts")

    @overload(operator.setitem, target="cuda")
    def _set(output, i, value):
        if isinstance(output, _Output):
            put = output.put
            return lambda output, i, value: put(output.parts, i, value)

    @overload(operator.getitem, target="cuda")
    def _get(output, i):
        if isinstance(output, _Output):
            array = output.array
            return lambda output, i: output.parts[array][i]

    @overload_attribute(_Output, "size", target="cuda")
    def _size(output):
        array = output.array
        return lambda output: output.parts[array].size

    @overload_attribute(_Output, "dtype", target="cuda")
    def _dtype(output):
        dtype = as_dtype(output.dtype)
        return lambda output: dtype

    def output_of(array: int, put: Any) -> Any:
        """A function for kernels that makes an output of `parts`; `array` is the number of the part that it reads."""

        @intrinsic
        def make(typing, parts):
            def generate(context, builder, signature, args):
                made = cgutils.create_struct_proxy(signature.return_type)(context, builder)
                made.parts = args[0]
                return made._getvalue()

            return _Output(parts, array, put)(parts), generate

        return make
