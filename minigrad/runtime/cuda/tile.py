"""Register tiles: rows x cols accumulators that a thread keeps in registers, as a tuple.

A tile has these functions.  Offsets and `at` count elements; `acc` is the tuple of accumulators, row by row.

    zeros(like)                                  all accumulators 0
    broadcast_rows(values, at, step, use)        values[at + row * step] in each column, or 0 if `use` is 0
    outer_fma(acc, a, b)                         acc + the outer product of a (rows) and b (cols)
    load_rows(values, at)                        rows consecutive values of shared memory
    load_strided_rows(values, at, step)          rows values, `step` apart
    load_cols(values, at)                        cols consecutive values
    column_offsets(first, step, last)            cols offsets, `step` apart, at most `last`
    gather_cols(values, at, offsets)             cols values at `at` + each offset
    store(acc, out, at, row_step, offsets, count, skip)   each accumulator; of the columns only the first `count`, of
                                                 the rows only those from `skip` on
    store_flat(acc, out, at, step)               all accumulators, `step` apart
    add_flat(acc, values, at, step)              acc + what store_flat has stored

The file also defines functions from text, which product.py and others use.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from . import driver
from .driver import helper
from .math import const

if driver.SIMULATED:

    def load_four(values, at):
        """Four consecutive elements by one read; `at` is a multiple of four."""
        assert at % 4 == 0
        return values[at], values[at + 1], values[at + 2], values[at + 3]

    def store_four(a, b, c, d, out, at):
        """Write four consecutive elements of shared memory at once; `at` is a multiple of four."""
        assert at % 4 == 0
        out[at], out[at + 1], out[at + 2], out[at + 3] = a, b, c, d

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    @intrinsic
    def load_four(typing, values, at):
        """Four consecutive elements by one read; `at` is a multiple of four."""

        def generate(context, builder, signature, args):
            kind = signature.args[0]
            place = builder.gep(context.make_array(kind)(context, builder, args[0]).data, [args[1]])
            vector = ir.VectorType(context.get_data_type(kind.dtype), 4)
            read = builder.load(builder.bitcast(place, vector.as_pointer(place.type.addrspace)), align=16)
            numbers = [builder.extract_element(read, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return cgutils.pack_array(builder, numbers)

        return types.UniTuple(values.dtype, 4)(values, types.uint64), generate

    @intrinsic
    def store_four(typing, a, b, c, d, out, at):
        """Write four consecutive elements of shared memory at once; `at` is a multiple of four."""

        def generate(context, builder, signature, args):
            kind = signature.args[4]
            place = builder.gep(context.make_array(kind)(context, builder, args[4]).data, [args[5]])
            vector = ir.Constant(ir.VectorType(context.get_data_type(kind.dtype), 4), ir.Undefined)
            for i in range(4):
                vector = builder.insert_element(vector, args[i], ir.Constant(ir.IntType(32), i))
            builder.store(vector, builder.bitcast(place, vector.type.as_pointer(place.type.addrspace)), align=16)
            return context.get_dummy_value()

        return types.none(*[out.dtype] * 4, out, types.uint64), generate


def define_function(signature: str, lines: Iterable[str], **names: Any) -> Any:
    """Define a function that kernels call, from text that may use functions of this file and the given names.

    Text is needed because the functions are unrolled for each tile size: an accumulator stays in a register only if its
    index is a constant, and a loop over a tuple would put it in memory.  `position` makes an index unsigned; a signed
    index would be tested for counting from the end.
    """
    scope: dict[str, Any] = {"const": const, "position": np.uint64, **names}
    scope |= {"load_four": load_four, "store_four": store_four}
    scope["__name__"] = "generated"  # no file of the project, so a kernel's fingerprint includes the text
    exec("\n    ".join([f"def {signature}:", *lines]), scope)
    return helper(scope[signature.partition("(")[0]])


def item(array: str, index: str) -> str:
    """The text of an element of an array."""
    return f"{array}[position({index})]"


def return_tuple(values: Iterable[str]) -> str:
    """The text that returns a tuple."""
    return f"return ({', '.join(values)},)"


@cache
def register_tile(rows: int, cols: int) -> Any:
    """The functions for a tile, see above."""
    R, C = range(rows), range(cols)
    cells = [(r, c) for r in R for c in C]

    def store_column(c):
        at = "at + {} * row_step + offsets[{}]"
        return [f"    if {r} >= skip: {item('out', at.format(r, c))} = acc[{r * cols + c}]" for r in R]

    texts = {
        "zeros(like)": zero_lines(len(cells)),
        "broadcast_rows(values, at, step, use)": [
            *[f"r{r} = {item('values', f'at + {r} * step')} if use else const(0, values)" for r in R],
            return_tuple(f"r{r}" for r, _ in cells),
        ],
        "outer_fma(acc, a, b)": [return_tuple(f"acc[{i}] + a[{r}] * b[{c}]" for i, (r, c) in enumerate(cells))],
        "load_rows(values, at)": shared_load_lines(R),
        "load_strided_rows(values, at, step)": [return_tuple(item("values", f"at + {r} * step") for r in R)],
        "load_cols(values, at)": [return_tuple(item("values", f"at + {c}") for c in C)],
        "column_offsets(first, step, last)": [return_tuple(f"min(first + {c} * step, last)" for c in C)],
        "gather_cols(values, at, offsets)": [return_tuple(item("values", f"at + offsets[{c}]") for c in C)],
        "store(acc, out, at, row_step, offsets, count, skip)": [
            line for c in C for line in (f"if {c} < count:", *store_column(c))
        ],
        "store_flat(acc, out, at, step)": [f"{item('out', f'at + {i} * step')} = acc[{i}]" for i in range(len(cells))],
        "add_flat(acc, values, at, step)": [
            return_tuple(f"acc[{i}] + {item('values', f'at + {i} * step')}" for i in range(len(cells)))
        ],
    }  # fmt: skip
    functions = ModuleType(f"tile_{rows}x{cols}")  # Numba reads attributes of modules, not of other objects
    for signature, lines in texts.items():
        setattr(functions, signature.partition("(")[0], define_function(signature, lines))
    return functions


def zero_lines(count: int) -> list[str]:
    """The text that returns `count` zeros of the type of `like`."""
    return ["zero = const(0, like)", return_tuple(["zero"] * count)]


def shared_load_lines(offsets: Sequence[int]) -> list[str]:
    """The text that returns the values at `at` + each offset in shared memory, by fours where the offsets allow it."""
    groups = [list(offsets[i : i + 4]) for i in range(0, len(offsets), 4)]
    if any(group != list(range(group[0], group[0] + 4)) or group[0] % 4 for group in groups):
        return [return_tuple(item("values", f"at + {offset}") for offset in offsets)]
    loads = [f"q{i} = load_four(values, position(at + {group[0]}))" for i, group in enumerate(groups)]
    return [*loads, return_tuple(f"q{i}[{number}]" for i in range(len(groups)) for number in range(4))]


def split_evenly(size: int, limit: int) -> int:
    """The rows of a tile for `size` rows: at most `limit`, and such that all blocks are about equally full."""
    blocks = -(-size // limit)
    return -(-size // blocks)
