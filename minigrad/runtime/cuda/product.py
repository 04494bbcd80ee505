"""Matrix products whose factors pass through shared memory, a step of K at a time.

A block of threads computes a part of the product; each thread keeps side x side of it in registers.  All threads
together bring the elements of a step to shared memory.  Before they multiply, the reads of the next step have started.
Shared memory has room for two steps: threads write to one half while others may still read the other.

The functions of a product, see Product below, are made for each shape.  Its loop is in the kernels: those of a matrix
product and of convolutions read their factors differently.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .driver import helper
from .tile import define_function, item, register_tile, return_tuple, shared_load_lines


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

    def fit(self, dtype: np.dtype) -> "Shape":
        """The shape, or for float64 one with half the depth, so that a block needs at most 48 KiB of shared memory."""
        return self._replace(depth=self.depth // 2) if dtype.itemsize == 8 else self

    def count_blocks(self, M: int, N: int) -> int:
        """The blocks that a product of M x N needs."""
        return -(-M // self.height) * -(-N // self.width)


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


# ---- the functions of a product


class _Factor(NamedTuple):
    """How the threads of a block move a step's elements of one factor.

    length    the rows of a, or columns of b, of a block
    depth     the elements of K in a step
    threads   of the block
    along_k   whether neighbouring threads move neighbours on K; otherwise on the other axis
    width     the neighbours on the other axis that a thread moves at once, 1 or 4
    places    the rows, or columns, of a thread's accumulators, counted from its first
    """

    length: int
    depth: int
    threads: int
    along_k: bool
    width: int
    places: list[int]

    @property
    def row_length(self) -> int:
        """The length of a row in shared memory: four more than needed, so that columns lie in different banks."""
        return self.length + 4

    @property
    def count(self) -> int:
        """How often a thread moves `width` elements in a step."""
        return self.length * self.depth // self.threads // self.width

    @property
    def step(self) -> int:
        """The distance between the elements of a thread: on the other axis if `along_k`, otherwise on K."""
        return self.threads // (self.depth if self.along_k else self.length // self.width)

    def functions(self, name: str) -> dict[str, Any]:
        """The functions whose names end with the factor's."""
        locate = f"i, k = locate(thread, {self.length // self.width}, {self.depth}, {self.along_k})"
        apart = self.step * (1 if self.along_k else self.row_length)
        move = f"put(values, out, (half * {self.depth} + k) * {self.row_length} + i, {apart})"
        put = make_put(self.count, width=self.width)
        made = {
            "locate": define_function("find(thread)", [locate, f"return i * {self.width}, k"], locate=locate_elements),
            "put": define_function("move(values, out, half, i, k)", [move], put=put),
            "load": define_function("load(values, at)", shared_load_lines(self.places)),
            "fetch": make_fetch(self.count, self.step, self.along_k, False),
            "fetch_first": make_fetch(self.count, self.step, self.along_k, True),
            "size": 2 * self.depth * self.row_length,
        }
        return {f"{key}_{name}": value for key, value in made.items()}


@cache
def staged_product(shape: Shape, a_along_k: bool, b_along_k: bool, b_width: int = 1) -> Any:
    """The functions of a product.  `half`, 0 or 1, is the part of shared memory that a step uses.

    zeros(like)                                 the accumulators
    locate_a(thread), locate_b(thread)          the first element that a thread moves: row or column, and k
    fetch_a, fetch_first_a, fetch_b, ...        read a thread's elements from memory, see make_fetch
    put_a(values, shared, half, m, k), put_b    write what was read to shared memory
    multiply(acc, a, b, half, thread)           acc + the product of a step in shared memory
    corner(thread)                              the row and column of a thread's first accumulator in the block
    store                                       see make_store
    size_a, size_b                              the elements of shared memory
    """
    side, group = shape.side, min(shape.side, 4)  # consecutive rows of a thread; its next four lie beyond all others
    down, across = ([i // group * count * group + i % group for i in range(side)] for count in shape[:2])
    a = _Factor(shape.height, shape.depth, shape.threads, a_along_k, 1, down)
    b = _Factor(shape.width, shape.depth, shape.threads, b_along_k, b_width, across)
    tile = register_tile(side, side)
    functions = {
        **a.functions("a"),
        **b.functions("b"),
        "corner": define_function("corner(thread)", _corner_lines(shape)),
    }
    names = {"outer_fma": tile.outer_fma, **{name: functions[name] for name in ("corner", "load_a", "load_b")}}
    product = ModuleType("product")  # Numba reads attributes of modules, not of other objects
    product.__dict__.update(functions, zeros=tile.zeros)
    product.multiply = define_function("multiply(acc, a, b, half, thread)", _multiply_lines(a, b), **names)
    product.store = make_store([(m, n) for m in down for n in across])
    return product


def _corner_lines(shape: Shape) -> list[str]:
    """The text that returns the row and column of a thread's first accumulator in the block.

    The threads of a warp lie 4 x 8, neighbours in pairs above each other: so a warp reads few different elements, and
    shared memory serves pairs that read the same ones together.
    """
    group = min(shape.side, 4)
    if shape.down % 4 or shape.across % 8:
        return [f"return thread // {shape.across} * {group}, thread % {shape.across} * {group}"]
    warps = shape.across // 8
    return [
        "warp, lane = thread // 32, thread % 32",
        f"row, col = warp // {warps} * 4 + lane // 16 * 2 + lane % 2, warp % {warps} * 8 + lane // 2 % 8",
        f"return row * {group}, col * {group}",
    ]


def _multiply_lines(a: _Factor, b: _Factor) -> list[str]:
    """The text that multiplies the elements of a step, unrolled so that reads of shared memory start early."""
    start = f"i, j = corner(thread); i += half * {a.depth * a.row_length}; j += half * {b.depth * b.row_length}"
    steps = [
        f"acc = outer_fma(acc, load_a(a, i + {k * a.row_length}), load_b(b, j + {k * b.row_length}))"
        for k in range(a.depth)
    ]
    return [start, *steps, "return acc"]


# ---- from memory to registers, from there to shared memory, and from accumulators to memory


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


def make_fetch_offsets(count: int) -> Any:
    """A function that reads element k of `count` rows, which start at `at` + each offset; 0 from K on."""
    lines = [f"x{i} = {item('x', f'at + min(k, K - 1) + offsets[{i}]')}" for i in range(count)]
    values = return_tuple(f"x{i} if k < K else const(0, x)" for i in range(count))
    return define_function("fetch(x, at, offsets, k, K)", [*lines, values])


def make_find_offsets(count: int, step: int) -> Any:
    """A function that reads `count` numbers of a table of T, `step` apart; one beyond its end is its last."""
    lines = [return_tuple(item("table", f"min(n + {i * step}, T - 1)") for i in range(count))]
    return define_function("find(table, n, T)", lines)
