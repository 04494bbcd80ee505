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
    store(acc, out, at, row_step, offsets, count)   each accumulator; of the columns only the first `count`
    store_flat(acc, out, at, step)               all accumulators, `step` apart

The file also makes the functions with which the kernels of matrix products move elements.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

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
        return "; ".join(f"{item('out', f'at + {r} * row_step + offsets[{c}]')} = acc[{r * cols + c}]" for r in R)

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
        "store(acc, out, at, row_step, offsets, count)": [f"if {c} < count: {store_column(c)}" for c in C],
        "store_flat(acc, out, at, step)": [f"{item('out', f'at + {i} * step')} = acc[{i}]" for i in range(len(cells))],
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


# ---- matrix products: from memory to registers, from there to shared memory, and from accumulators to memory


@helper
def locate_block(block, M, N, height, width):
    """The first row and column of a block's part of the product (M, N), and the number of the product in its batch."""
    across, down = (N + width - 1) // width, (M + height - 1) // height
    return block // across % down * height, block % across * width, block // (across * down)


@helper
def locate_elements(thread, length, depth, along_k):
    """The first (i, k) of the elements that a thread moves, of a step's length x depth.  Neighbouring threads move
    neighbours on k if `along_k`, otherwise on i."""
    if along_k:
        return thread // depth, thread % depth
    return thread % length, thread // length


class Shape(NamedTuple):
    """How a block computes a part of a product: `down` x `across` threads, each side x side accumulators in registers.

    depth      the elements of K in a step
    resident   the blocks that a multiprocessor should hold at once; fewer leave more registers to each thread
    """

    down: int
    across: int
    side: int
    depth: int
    resident: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.down * self.across

    @property
    def height(self) -> int:
        """The rows of the product that a block computes."""
        return self.down * self.side

    @property
    def width(self) -> int:
        """The columns of the product that a block computes."""
        return self.across * self.side

    def count_blocks(self, M: int, N: int) -> int:
        """The blocks that a product of M x N needs."""
        return -(-M // self.height) * -(-N // self.width)


@cache
def staged_product(shape: Shape, a_along_k: bool, b_along_k: bool, b_four: bool = False) -> Any:
    """The functions of a product whose factors pass through shared memory, a step's elements at a time.

    Shared memory has room for two steps: threads write to one half while they may still read the other.  `half` is
    0 or 1.  Threads read a factor from memory along K, or along the other axis, see locate_elements; with `b_four` each
    moves four columns of b at once.

        zeros(like)                                    the accumulators
        locate_a(thread), locate_b(thread)             the first element that a thread moves, (row or column, k)
        fetch_a, fetch_b                               see make_fetch
        put_a(values, shared, half, m, k), put_b       write what was fetched to shared memory
        multiply(acc, a_shared, b_shared, half, thread)    acc + the product of a step
        corner(thread)                                 the row and column of a thread's first accumulator in the block
        store                                          see make_store
        a_size, b_size                                 the elements of shared memory
    """
    side, depth, threads = shape.side, shape.depth, shape.threads
    group = min(side, 4)  # consecutive rows (and columns) of a thread; its next four lie beyond those of all others
    offsets = [[i // group * count * group + i % group for i in range(side)] for count in (shape.down, shape.across)]
    part = ModuleType("staged_product")
    part.zeros, part.outer_fma = register_tile(side, side).zeros, register_tile(side, side).outer_fma
    for name, length, along_k, width, places in (
        ("a", shape.height, a_along_k, 1, offsets[0]),
        ("b", shape.width, b_along_k, 4 if b_four else 1, offsets[1]),
    ):
        row_length, count = length + 4, length * depth // threads // width
        step = threads // (depth if along_k else length // width)
        put, apart = make_put(count, width=width), step if along_k else step * row_length
        locate = f"i, k = locate(thread, {length // width}, {depth}, {along_k})"
        functions = {
            f"locate_{name}(thread)": [locate, f"return i * {width}, k"],
            f"put_{name}(values, shared, half, i, k)": [
                f"put(values, shared, (half * {depth} + k) * {row_length} + i, {apart})"
            ],
            f"load_{name}(values, at)": shared_load_lines(places),
        }
        for signature, lines in functions.items():
            function = define_function(signature, lines, locate=locate_elements, put=put)
            setattr(part, signature.partition("(")[0], function)
        if width == 1:
            setattr(part, f"fetch_{name}", make_fetch(count, step, along_k, False))
            setattr(part, f"fetch_first_{name}", make_fetch(count, step, along_k, True))
        setattr(part, f"{name}_size", 2 * depth * row_length)
    rows = [shape.height + 4, shape.width + 4]
    lines = [
        f"a_at = half * {depth * rows[0]} + thread // {shape.across} * {group}",
        f"b_at = half * {depth * rows[1]} + thread % {shape.across} * {group}",
        *[
            f"acc = outer_fma(acc, load_a(a, a_at + {k * rows[0]}), load_b(b, b_at + {k * rows[1]}))"
            for k in range(depth)
        ],
        "return acc",
    ]
    names = {name: getattr(part, name) for name in ("outer_fma", "load_a", "load_b")}
    part.multiply = define_function("multiply(acc, a, b, half, thread)", lines, **names)
    part.corner = define_function(
        "corner(thread)", [f"return thread // {shape.across} * {group}, thread % {shape.across} * {group}"]
    )
    part.store = make_store([(m, n) for m in offsets[0] for n in offsets[1]])
    return part


def make_fetch(count: int, step: int, along_k: bool, guarded: bool) -> Any:
    """A function that reads a thread's `count` elements of a matrix of M rows, whose strides are am and ak.

    They start at row m and column k and are `step` apart, on rows if `along_k`, otherwise on columns.  If `guarded`,
    elements from column K on are 0; otherwise there must be none.  Elements beyond row M are any of the matrix, and the
    kernel must not use them.  No read is in a branch, so that all start at once.
    """
    rows = [f"min(m + {i * step}, M - 1)" if along_k else "min(m, M - 1)" for i in range(count)]
    columns = ["k" if along_k else f"k + {i * step}" for i in range(count)]
    inside = [f"min({column}, K - 1)" if guarded else f"({column})" for column in columns]
    lines = [f"x{i} = {item('a', f'at + {rows[i]} * am + {inside[i]} * ak')}" for i in range(count)]
    values = [f"x{i} if {columns[i]} < K else const(0, a)" if guarded else f"x{i}" for i in range(count)]
    return define_function("fetch(a, at, m, M, am, k, K, ak)", [*lines, return_tuple(values)])


def make_put(count: int, convert: Callable[[Any], Any] | None = None, width: int = 1) -> Any:
    """A function that writes a thread's values to shared memory, each converted: `count` times `width` neighbours (1 or
    4), `step` apart."""
    value, names = ("values[{}]", {}) if convert is None else ("convert(values[{}])", {"convert": convert})
    lines = [f"{item('out', f'at + {i} * step')} = {value.format(i)}" for i in range(count)]
    if width == 4:
        fours = [", ".join(value.format(4 * i + number) for number in range(4)) for i in range(count)]
        lines = [f"store_four({four}, out, position(at + {i} * step))" for i, four in enumerate(fours)]
    return define_function("put(values, out, at, step)", lines, **names)


def make_store(cells: Sequence[tuple[int, int]]) -> Any:
    """A function that stores accumulators, or adds them to what is stored if `accumulate`.

    cells   the row and column of each accumulator, counted from m and n
    """
    lines = []
    for row in dict.fromkeys(row for row, _ in cells):
        lines += [
            f"if m + {row} < M:",
            f"    start = bias[position((m + {row}) * biased)] if biased else const(0, bias)",
        ]
        for i, col in [(i, cell[1]) for i, cell in enumerate(cells) if cell[0] == row]:
            lines += [
                f"    if n + {col} < N:",
                f"        i = position(at + (m + {row}) * N + n + {col})",
                f"        out[i] = acc[{i}] + (out[i] if accumulate else start)",
            ]
    return define_function("store(acc, out, at, m, M, n, N, bias, biased, accumulate)", lines)
