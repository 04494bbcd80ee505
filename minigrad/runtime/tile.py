"""The register tile: rows x columns of SIMD vectors as one Numba value, so that accumulators stay out of memory.

A tile covers `tile.rows` rows and `tile.width` neighbouring elements of the innermost axis.  LLVM keeps the value in
vector registers; the accumulator array of a plain Numba loop would be in memory.

    acc = zeros(tile)
    for c in range(C):
        acc = outer_fma(acc, w, (f, c), C, x, (c, n))     # acc[i, j] += w[f + i, c] * x[c, n + j]
    store(acc, out, (f, n), N)

Arrays are C-contiguous, and an index is that of the tile's first element.  `step` is the distance in elements from one
row to the next.  Where a row of the output is narrower than a SIMD vector, a tile has fewer lanes.  So no tile is wider
than the output, and the last tile of a row can overlap the one before it.

A sum along the innermost axis must read each element once, so its last vector cannot overlap.  There `count` is the
number of elements that are left, and lanes beyond it are read as 0; with None, all lanes are read.

Tiles of one shape support + - * and /, element by element.
"""

import operator
from functools import cache, reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload_attribute, register_model

from .target import VECTOR_BYTES, VECTOR_REGISTERS
from .view import element_address

I1, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
MAX_ROWS, MAX_COLS = 8, 6  # of a tile


def lanes(dtype) -> int:
    """The number of elements of `dtype` in a SIMD vector."""
    return VECTOR_BYTES // dtype.itemsize


def _fits(rows: int, cols: int) -> bool:
    """Whether the accumulators, a row of vectors and one more vector fit in the registers."""
    return rows * cols + cols + 1 <= VECTOR_REGISTERS


@cache
def choose_tile(rows: int, width: int, dtype) -> tuple[int, int, int]:
    """Choose the tile for an output of `rows` x `width` elements: rows, columns, and lanes of a vector.

    Of the tiles within 3 % of the fastest, it is the largest, preferably with few loads.
    """
    costs = _tile_costs(rows, width, dtype)
    fast = [tile for tile in costs if costs[tile] <= 1.03 * min(costs.values())]
    return max(fast, key=lambda tile: (tile[0] * tile[1], -tile[0] - tile[1]))


def _tile_costs(rows: int, width: int, dtype) -> dict[tuple[int, int, int], float]:
    narrow = 1 << max(width.bit_length() - 1, 0)  # the largest power of two that is not more than the width
    vector = min(lanes(dtype), narrow)
    heights = [height for height in (8, 6, 5, 4) if height <= rows] or [max(rows, 1)]
    return {
        (height, cols, vector): -(-rows // height) * -(-width // (cols * vector)) * step_cycles(height, cols)
        for height in heights
        for cols in range(1, max(min(4, width // vector), 1) + 1)
        if _fits(height, cols)
    }


def step_cycles(rows: int, cols: int) -> float:
    """The cycles of one outer_fma: two FMAs per cycle, but at least 4, the latency of an FMA, because each accumulator
    waits for itself; plus loads."""
    return max(rows * cols / 2, 4) + (rows + cols) / 8


@cache
def choose_dot_tile(rows: int, cols: int, dtype) -> tuple[int, int, int]:
    """Choose the tile for rows x cols sums of products over contiguous elements; see dot_fma.

    Each row and column of the tile is a separate stream through memory.  Rows cost more, because they are far apart.
    """
    # measured with 64 x 576 sums: 4x6 runs at 361 GFLOP/s, 5x5 at 337, 6x4 at 306
    costs = {
        (r, c): -(-rows // r) * -(-cols // c) * (max(r * c / 2, 4) + max(r, 4))
        for r in ([height for height in (6, 5, 4) if height <= rows] or [max(rows, 1)])
        for c in range(1, min(cols, 6) + 1)
        if _fits(r, c)
    }
    return (*min(costs, key=lambda tile: costs[tile]), lanes(dtype))


class TileShape(types.Type):
    """The compile-time constants of a tile: element type, rows, columns, lanes of a vector."""

    def __init__(self, element, rows, cols, lanes):
        self.element, self.rows, self.cols, self.lanes = element, rows, cols, lanes
        self.width = cols * lanes
        super().__init__(name=f"TileShape({element},{rows}x{cols}x{lanes})")


class Registers(types.Type):
    """The type of a tile: its vectors in registers."""

    def __init__(self, shape):
        self.shape = shape
        super().__init__(name=f"Registers({shape.name})")


register_model(TileShape)(models.OpaqueModel)


@register_model(Registers)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, _llvm_type(tile.shape))


def _add_constant(name):
    """Make an attribute of TileShape readable in kernels."""

    @overload_attribute(TileShape, name)
    def _get(shape):
        value = getattr(shape, name)
        return lambda shape: value


for _name in ("rows", "cols", "lanes", "width"):
    _add_constant(_name)


@intrinsic
def zeros(typing, shape):
    """A tile of zeros."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(_vector(shape), [0.0] * shape.lanes)
        return ir.Constant(_llvm_type(shape), [zero] * (shape.rows * shape.cols))

    return Registers(shape)(shape), generate


@intrinsic
def broadcast_rows(typing, shape, array, index, step):
    """A tile whose row i is filled with array[index + i*step]."""

    def generate(context, builder, signature, args):
        _, values, at, distance = args
        target = element_address(context, builder, signature.args[1], values, signature.args[2], at)
        tile = ir.Constant(_llvm_type(shape), ir.Undefined)
        for i in range(shape.rows):
            row = _broadcast(builder, shape, builder.load(builder.gep(target, [_multiply(builder, distance, i)])))
            for j in range(shape.cols):
                tile = builder.insert_value(tile, row, i * shape.cols + j)
        return tile

    return Registers(shape)(shape, array, index, types.intp), generate


@intrinsic
def outer_fma(typing, acc, w, w_at, w_step, x, x_at):
    """acc[i, j] += w[w_at + i*w_step] * x[x_at + j]."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, weights, weights_at, step, values, values_at = args
        weight = element_address(context, builder, signature.args[1], weights, signature.args[2], weights_at)
        columns = _load_row(builder, shape, element_address(context, builder, x, values, x_at, values_at))
        for i in range(shape.rows):
            row = _broadcast(builder, shape, builder.load(builder.gep(weight, [_multiply(builder, step, i)])))
            tile = _fma_row(builder, shape, tile, i, row, columns)
        return tile

    return acc(acc, w, w_at, types.intp, x, x_at), generate


@intrinsic
def dot_fma(typing, acc, g, g_at, g_step, x, x_at, offsets, first, count):
    """acc[i, j] += g[g_at + i*g_step + lane] * x[x_at + offsets[first + j] + lane]: one vector per row and column."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, rows, rows_at, step, columns, columns_at, table, entry, left = args
        row = element_address(context, builder, g, rows, g_at, rows_at)
        column = element_address(context, builder, x, columns, x_at, columns_at)
        far = element_address(context, builder, offsets, table, types.intp, entry)
        vectors = []
        mask = _mask(builder, shape, left, 0)
        for j in range(shape.cols):
            offset = builder.load(builder.gep(far, [ir.Constant(I64, j)]))
            vectors.append(_load(builder, shape, builder.gep(column, [offset]), mask))
        for i in range(shape.rows):
            left_vector = _load(builder, shape, builder.gep(row, [_multiply(builder, step, i)]), mask)
            tile = _fma_row(builder, shape, tile, i, left_vector, vectors)
        return tile

    return acc(acc, g, g_at, types.intp, x, x_at, offsets, types.intp, _count_type(count)), generate


@intrinsic
def load(typing, shape, x, x_at, count):
    """A tile of one row, x[x_at + j]."""

    def generate(context, builder, signature, args):
        _, values, at, left = args
        start = element_address(context, builder, x, values, x_at, at)
        masks = [_mask(builder, shape, left, j) for j in range(shape.cols)]
        row = [_load(builder, shape, _offset(builder, shape, start, j), mask) for j, mask in enumerate(masks)]
        return _make_tile(builder, shape, row)

    return Registers(shape)(shape, x, x_at, _count_type(count)), generate


@intrinsic
def copy_row(typing, shape, x, x_at, out, out_at):
    """out[out_at + j] = x[x_at + j], over the tile's width."""

    def generate(context, builder, signature, args):
        _, values, at, target, to = args
        row = _load_row(builder, shape, element_address(context, builder, x, values, x_at, at))
        start = element_address(context, builder, out, target, out_at, to)
        for j, vector in enumerate(row):
            _store(builder, shape, vector, _offset(builder, shape, start, j))
        return context.get_dummy_value()

    return types.void(shape, x, x_at, out, out_at), generate


@intrinsic
def transpose(typing, shape, x, x_at, step, out, out_at, out_step):
    """out[out_at + j*out_step + i] = x[x_at + i*step + j], for a square of `lanes` rows and columns."""

    def generate(context, builder, signature, args):
        _, values, at, distance, target, to, out_distance = args
        start = element_address(context, builder, x, values, x_at, at)
        rows = [builder.gep(start, [_multiply(builder, distance, i)]) for i in range(shape.lanes)]
        vectors = [_load(builder, shape, row) for row in rows]
        block = 1
        while block < shape.lanes:  # swap every second block of row i with a block of row i + block
            vectors = [
                _interleave(builder, shape, vectors[i & ~block], vectors[i | block], block, bool(i & block))
                for i in range(shape.lanes)
            ]
            block *= 2
        start = element_address(context, builder, out, target, out_at, to)
        for j, vector in enumerate(vectors):
            _store(builder, shape, vector, builder.gep(start, [_multiply(builder, out_distance, j)]))
        return context.get_dummy_value()

    return types.void(shape, x, x_at, types.intp, out, out_at, types.intp), generate


@intrinsic
def full(typing, shape, number):
    """A tile filled with a number of its element type."""

    def generate(context, builder, signature, args):
        return _make_tile(builder, shape, [_broadcast(builder, shape, args[1])] * (shape.rows * shape.cols))

    return Registers(shape)(shape, shape.element), generate


def _arithmetic(operation, instruction):
    """Define a Python operator on two tiles as an LLVM instruction."""

    @infer_global(operation)
    class _Typed(AbstractTemplate):
        def generic(self, args, kws):
            both = len(args) == 2 and isinstance(args[0], Registers) and args[0] == args[1]
            return signature(args[0], *args) if both else None

    @lower_builtin(operation, Registers, Registers)
    def _lowered(context, builder, sig, args):
        shape = sig.return_type.shape
        pairs = [[builder.extract_value(tile, k) for tile in args] for k in range(shape.rows * shape.cols)]
        return _make_tile(builder, shape, [getattr(builder, instruction)(*pair) for pair in pairs])


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_operation, _instruction)


@intrinsic
def compensated_total(typing, total, lost):
    """The value of a compensated sum (see math.compensated_add), total + lost, for numbers or tiles.

    It is `total` where `lost` is infinite or nan, because then `total` is, too.
    """

    def generate(context, builder, signature, args):
        if not isinstance(total, Registers):
            return _add_if_finite(builder, *args)
        count = total.shape.rows * total.shape.cols
        pairs = [[builder.extract_value(tile, k) for tile in args] for k in range(count)]
        return _make_tile(builder, total.shape, [_add_if_finite(builder, *pair) for pair in pairs])

    return total(total, lost), generate


@intrinsic
def divide(typing, acc, number):
    """Divide every element of a tile by a number of its type.

    The flag keeps Numba from adding `arcp`, which replaces the division by a product with the inverse: 41 / 41 is not
    1.
    """

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        divisor = _broadcast(builder, shape, args[1])
        vectors = [builder.extract_value(args[0], k) for k in range(shape.rows * shape.cols)]
        return _make_tile(builder, shape, [builder.fdiv(vector, divisor, flags=("nsz",)) for vector in vectors])

    return acc(acc, acc.shape.element), generate


@intrinsic
def sum_elements(typing, acc):
    """The sum of all elements of a tile."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        vectors = [builder.extract_value(args[0], k) for k in range(shape.rows * shape.cols)]
        while len(vectors) > 1:
            vectors = [reduce(builder.fadd, vectors[k : k + 2]) for k in range(0, len(vectors), 2)]
        return builder.extract_element(_sum_lanes(builder, shape, vectors), ir.Constant(I32, 0))

    return acc.shape.element(acc), generate


@intrinsic
def update_maximum(typing, best, index, value, number):
    """Update a running maximum: return best and index, replaced by value and `number` where value is larger than best.

    A nan is larger than every number.
    """

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        row = _broadcast(builder, shape, args[3])
        maxima, indices = [], []
        for k in range(shape.rows * shape.cols):
            old, new = builder.extract_value(args[0], k), builder.extract_value(args[2], k)
            wins = builder.and_(builder.fcmp_unordered(">", new, old), builder.fcmp_ordered("ord", old, old))
            maxima.append(builder.select(wins, new, old))
            indices.append(builder.select(wins, row, builder.extract_value(args[1], k)))
        tiles = [_make_tile(builder, shape, maxima), _make_tile(builder, shape, indices)]
        return context.make_tuple(builder, signature.return_type, tiles)

    return types.UniTuple(best, 2)(best, index, value, best.shape.element), generate


@intrinsic
def add_where_equal(typing, acc, indices, number, g, at):
    """acc[0, j] += g[at + j] where indices[at + j], uint16, is `number`."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, winners, wanted, gradients, position = args
        here = element_address(context, builder, indices, winners, at, position)
        row = _load_row(builder, shape, element_address(context, builder, g, gradients, at, position))
        vectors = []
        for j, gradient in enumerate(row):
            numbers = _load(builder, shape, _offset(builder, shape, here, j), element=I16)
            equal = builder.icmp_unsigned("==", numbers, _broadcast(builder, shape, wanted))
            part = builder.select(equal, gradient, ir.Constant(_vector(shape), [0.0] * shape.lanes))
            vectors.append(builder.fadd(builder.extract_value(tile, j), part))
        return _make_tile(builder, shape, vectors)

    return acc(acc, indices, types.uint16, g, at), generate


@intrinsic
def store_uint16(typing, acc, out, out_at):
    """out[out_at + j] = acc[0, j], as uint16."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at = args
        here = element_address(context, builder, out, values, out_at, at)
        for j in range(shape.cols):
            numbers = builder.fptoui(builder.extract_value(tile, j), ir.VectorType(I16, shape.lanes))
            _store(builder, shape, numbers, _offset(builder, shape, here, j), I16)
        return context.get_dummy_value()

    return types.void(acc, out, out_at), generate


@intrinsic
def store(typing, acc, out, out_at, step):
    """out[out_at + i*step + j] = acc[i, j]."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at, distance = args
        start = element_address(context, builder, out, values, out_at, at)
        for i in range(shape.rows):
            here = builder.gep(start, [_multiply(builder, distance, i)])
            for j in range(shape.cols):
                vector = builder.extract_value(tile, i * shape.cols + j)
                _store(builder, shape, vector, _offset(builder, shape, here, j))
        return context.get_dummy_value()

    return types.void(acc, out, out_at, types.intp), generate


@intrinsic
def store_lane_sums(typing, acc, out, out_at, step):
    """out[out_at + i*step + j] = the sum over the lanes of vector (i, j)."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at, distance = args
        target = element_address(context, builder, out, values, out_at, at)
        for i in range(shape.rows):
            row = [builder.extract_value(tile, i * shape.cols + j) for j in range(shape.cols)]
            here = builder.gep(target, [_multiply(builder, distance, i)])
            for j in range(shape.cols):
                if j % shape.lanes == 0:  # one vector holds the next `lanes` sums
                    sums = _sum_lanes(builder, shape, row[j : j + shape.lanes])
                total = builder.extract_element(sums, ir.Constant(I32, j % shape.lanes))
                builder.store(total, builder.gep(here, [ir.Constant(I64, j)]))
        return context.get_dummy_value()

    return types.void(acc, out, out_at, types.intp), generate


# ---- LLVM code of the parts


def _add_if_finite(builder, total, lost):
    finite = builder.fcmp_ordered("ord", builder.fsub(lost, lost), lost)
    return builder.select(finite, builder.fadd(total, lost), total)


def _scalar(shape):
    return ir.FloatType() if shape.element.bitwidth == 32 else ir.DoubleType()


def _vector(shape):
    return ir.VectorType(_scalar(shape), shape.lanes)


def _llvm_type(shape):
    return ir.ArrayType(_vector(shape), shape.rows * shape.cols)


def _make_tile(builder, shape, vectors):
    """The tile that consists of these vectors."""
    tile = ir.Constant(_llvm_type(shape), ir.Undefined)
    for k, vector in enumerate(vectors):
        tile = builder.insert_value(tile, vector, k)
    return tile


def _multiply(builder, step, i):
    return builder.mul(step, ir.Constant(I64, i))


def _broadcast(builder, shape, number):
    undefined = ir.Constant(ir.VectorType(number.type, shape.lanes), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, _lane_indices([0] * shape.lanes))


def _fma_row(builder, shape, tile, i, row, columns):
    """tile[i, j] += row * columns[j], with one rounding if the CPU has FMA."""
    v = _vector(shape)
    name = f"llvm.fmuladd.v{shape.lanes}f{shape.element.bitwidth}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(v, [v] * 3), name)
    for j, column in enumerate(columns):
        k = i * shape.cols + j
        tile = builder.insert_value(tile, builder.call(fma, [row, column, builder.extract_value(tile, k)]), k)
    return tile


def _sum_lanes(builder, shape, vectors):
    """A vector whose lane j is the sum over the lanes of vectors[j].

    Each pass adds neighbouring blocks of lanes and combines the results of two vectors in one.  Then the blocks of the
    last vector are added.  This takes three operations per sum; reducing each vector separately takes eight.
    """
    block = 1
    while len(vectors) > 1:  # an odd last vector is paired with itself
        pairs = [(vectors[k : k + 2] * 2)[:2] for k in range(0, len(vectors), 2)]
        vectors = [_add_neighbouring_blocks(builder, shape, *pair, block) for pair in pairs]
        block *= 2
    (total,) = vectors
    while block < shape.lanes:
        rotated = _lane_indices([(lane + block) % shape.lanes for lane in range(shape.lanes)])
        total = builder.fadd(total, builder.shuffle_vector(total, total, rotated))
        block *= 2
    return total


def _add_neighbouring_blocks(builder, shape, a, b, block):
    """Alternate the sums of neighbouring blocks of a and b: (a[0] + a[1], b[0] + b[1], ...) for blocks of 1."""
    starts = range(0, shape.lanes, 2 * block)
    low = [lane + k for start in starts for lane in (start, start + shape.lanes) for k in range(block)]
    high = [lane + block for lane in low]
    left, right = (builder.shuffle_vector(a, b, _lane_indices(side)) for side in (low, high))
    return builder.fadd(left, right)


def _interleave(builder, shape, a, b, block, second):
    """Alternate the even blocks of two vectors, or the odd ones: (a[0], b[0], a[2], b[2], ...) for blocks of 1."""
    lanes = [(k & ~block) + block * second + shape.lanes * bool(k & block) for k in range(shape.lanes)]
    return builder.shuffle_vector(a, b, _lane_indices(lanes))


def _lane_indices(numbers):
    return ir.Constant(ir.VectorType(I32, len(numbers)), numbers)


def _count_type(count):
    return count if count == types.none else types.intp


def _mask(builder, shape, count, j):
    """The lanes of vector j that are within `count` elements; None if `count` is None."""
    if count.type != I64:
        return None
    start = j * shape.lanes
    numbers = ir.Constant(ir.VectorType(I64, shape.lanes), list(range(start, start + shape.lanes)))
    return builder.icmp_signed("<", numbers, _broadcast(builder, shape, count))


def _load_row(builder, shape, address):
    return [_load(builder, shape, _offset(builder, shape, address, j)) for j in range(shape.cols)]


def _offset(builder, shape, address, j):
    """The address of vector j of a row."""
    return builder.gep(address, [ir.Constant(I64, j * shape.lanes)])


def _load(builder, shape, address, mask=None, element=None):
    element = element or _scalar(shape)
    vector, size, name = _memory_type(shape, element)
    pointer = builder.bitcast(address, vector.as_pointer())
    if mask is None:
        value = builder.load(pointer)
        value.align = size
        return value
    kind = ir.FunctionType(vector, [vector.as_pointer(), I32, ir.VectorType(I1, shape.lanes), vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{name}.p0")
    zero = ir.Constant(vector, [ir.Constant(element, 0)] * shape.lanes)
    return builder.call(function, [pointer, ir.Constant(I32, size), mask, zero])


def _store(builder, shape, value, address, element=None):
    vector, size, _ = _memory_type(shape, element or _scalar(shape))
    builder.store(value, builder.bitcast(address, vector.as_pointer())).align = size


def _memory_type(shape, element):
    """For an element type: the vector type, the bytes of an element, and LLVM's short name of the vector type."""
    short = {I16: "i16", ir.FloatType(): "f32", ir.DoubleType(): "f64"}[element]
    return ir.VectorType(element, shape.lanes), int(short[1:]) // 8, f"v{shape.lanes}{short}"
