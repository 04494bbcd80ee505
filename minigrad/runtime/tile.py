"""The register tile: rows x columns of SIMD vectors as one Numba value, so that accumulators never touch memory.

A tile covers `tile.rows` rows and `tile.width` neighbouring elements of the innermost axis.  LLVM splits the value into
vector registers, which a plain Numba loop cannot say: there an accumulator array lives in memory.

    acc = zeros(tile)
    for c in range(C):
        acc = outer_fma(acc, w, (f, c), C, x, (c, n), count)     # acc[i, j] += w[f + i, c] * x[c, n + j]
    store(acc, out, (f, n), N, count)

Arrays are C-contiguous and an index names the tile's first element; `step` is the distance in elements from one row to
the next.  `count` is how many elements of the innermost axis are left: a masked tile touches no more than that, any
other tile ignores it and needs `tile.width` of them, as a masked one does where it is None.

Tiles of one shape have + - * and /, element by element.
"""

import operator
from functools import cache, reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload_attribute, register_model

from .target import REGISTERS, VECTOR_BYTES
from .view import address

I1, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
MAX_ROWS, MAX_COLS = 8, 6


def lanes(dtype) -> int:
    """Elements of `dtype` in one SIMD vector."""
    return VECTOR_BYTES // dtype.itemsize


def _fits(rows: int, cols: int) -> bool:
    """Whether the accumulators, a row of vectors and one more fit in the registers, with one to spare."""
    return rows * cols + cols + 2 <= REGISTERS


@cache
def choose(rows: int, width: int, dtype) -> tuple[int, int, bool]:
    """The tile for an output of `rows` x `width` elements: rows, columns, and whether the tile must be masked.

    One that is not masked is no larger than the output, so that a last block may overlap the one before it.  The
    fastest, and among those within 3 % of it the largest.
    """
    cost = _costs(rows, width, dtype)
    near = [tile for tile in cost if cost[tile] <= 1.03 * min(cost.values())]
    return max(near, key=lambda tile: (not tile[2], tile[0] * tile[1], tile))


def cost_of(rows: int, width: int, dtype) -> float:
    """Cycles that the best tile takes for one step of an output of `rows` x `width`."""
    return min(_costs(rows, width, dtype).values())


def _costs(rows: int, width: int, dtype) -> dict[tuple[int, int, bool], float]:
    vectors, rest = divmod(width, lanes(dtype))
    heights = [height for height in (8, 6, 5, 4) if height <= rows] or [max(rows, 1)]
    return {
        (height, cols, masked): -(-rows // height) * -(-width // (cols * lanes(dtype))) * _cycles(height, cols)
        for height in heights
        for masked in ((False, True) if rest else (False,))
        for cols in range(1, min(4, vectors + masked) + 1)
        if _fits(height, cols)
    }


def _cycles(rows: int, cols: int) -> float:
    """Cycles of one step of outer_fma: two FMAs a cycle and one more, and no less than the four that one FMA takes."""
    return max(rows * cols / 2, 4) + 1


@cache
def dot_tile(rows: int, cols: int, depth: int, dtype) -> tuple[int, int, bool]:
    """The tile for rows x cols sums of products over `depth` contiguous elements; see dot_fma.

    Every row and column is a stream of its own through memory, and rows, which lie far apart, are the dearer ones:
    64 x 576 sums run at 361 GFLOP/s with 4x6, at 337 with 5x5, at 306 with 6x4.
    """
    cost = {
        (r, c): -(-rows // r) * -(-cols // c) * (max(r * c / 2, 4) + max(r, 4))
        for r in ([height for height in (6, 5, 4) if height <= rows] or [max(rows, 1)])
        for c in range(1, min(cols, 6) + 1)
        if _fits(r, c)
    }
    return (*min(cost, key=lambda tile: cost[tile]), depth % lanes(dtype) != 0)


class TileShape(types.Type):
    """What a kernel knows of its tile when it is compiled: rows, columns, element type, masked or not."""

    def __init__(self, element, rows, cols, masked):
        self.element, self.rows, self.cols, self.masked = element, rows, cols, masked
        self.lanes = VECTOR_BYTES * 8 // element.bitwidth
        super().__init__(name=f"TileShape({element},{rows}x{cols}x{self.lanes},{masked})")


class Registers(types.Type):
    """The value itself: a tile of vectors in registers."""

    def __init__(self, shape):
        self.shape = shape
        super().__init__(name=f"Registers({shape.name})")


register_model(TileShape)(models.OpaqueModel)


@register_model(Registers)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, _registers(tile.shape))


@overload_attribute(TileShape, "rows")
def _rows(shape):
    rows = shape.rows
    return lambda shape: rows


@overload_attribute(TileShape, "cols")
def _cols(shape):
    cols = shape.cols
    return lambda shape: cols


@overload_attribute(TileShape, "lanes")
def _lanes(shape):
    count = shape.lanes
    return lambda shape: count


@overload_attribute(TileShape, "width")
def _width(shape):
    width = shape.cols * shape.lanes
    return lambda shape: width


@intrinsic
def zeros(typing, shape):
    """A tile of zeros."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(_vector(shape), [0.0] * shape.lanes)
        return ir.Constant(_registers(shape), [zero] * (shape.rows * shape.cols))

    return Registers(shape)(shape), generate


@intrinsic
def broadcast_rows(typing, shape, array, index, step):
    """A tile whose row i is full of array[index + i*step]."""

    def generate(context, builder, signature, args):
        _, values, at, distance = args
        target = address(context, builder, signature.args[1], values, signature.args[2], at)
        tile = ir.Constant(_registers(shape), ir.Undefined)
        for i in range(shape.rows):
            row = _broadcast(builder, shape, builder.load(builder.gep(target, [_times(builder, distance, i)])))
            for j in range(shape.cols):
                tile = builder.insert_value(tile, row, i * shape.cols + j)
        return tile

    return Registers(shape)(shape, array, index, types.intp), generate


@intrinsic
def outer_fma(typing, acc, w, w_at, w_step, x, x_at, count):
    """acc[i, j] += w[w_at + i*w_step] * x[x_at + j]."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, weights, weights_at, step, values, values_at, left = args
        weight = address(context, builder, signature.args[1], weights, signature.args[2], weights_at)
        columns = _load_row(builder, shape, address(context, builder, x, values, x_at, values_at), left)
        for i in range(shape.rows):
            row = _broadcast(builder, shape, builder.load(builder.gep(weight, [_times(builder, step, i)])))
            tile = _fma_row(builder, shape, tile, i, row, columns)
        return tile

    return acc(acc, w, w_at, types.intp, x, x_at, count if count == types.none else types.intp), generate


@intrinsic
def dot_fma(typing, acc, g, g_at, g_step, x, x_at, offsets, first, count):
    """acc[i, j] += g[g_at + i*g_step + lane] * x[x_at + offsets[first + j] + lane]: one vector per row and column."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, rows, rows_at, step, columns, columns_at, table, entry, left = args
        row = address(context, builder, g, rows, g_at, rows_at)
        column = address(context, builder, x, columns, x_at, columns_at)
        far = address(context, builder, offsets, table, types.intp, entry)
        vectors = []
        for j in range(shape.cols):
            offset = builder.load(builder.gep(far, [ir.Constant(I64, j)]))
            vectors.append(_load(builder, shape, builder.gep(column, [offset]), _mask(builder, shape, left, 0)))
        for i in range(shape.rows):
            here = builder.gep(row, [_times(builder, step, i)])
            left_vector = _load(builder, shape, here, _mask(builder, shape, left, 0))
            tile = _fma_row(builder, shape, tile, i, left_vector, vectors)
        return tile

    return acc(acc, g, g_at, types.intp, x, x_at, offsets, types.intp, types.intp), generate


@intrinsic
def load(typing, shape, x, x_at, count):
    """A tile of one row, x[x_at + j]."""

    def generate(context, builder, signature, args):
        _, values, at, left = args
        row = _load_row(builder, shape, address(context, builder, x, values, x_at, at), left)
        return _packed(builder, shape, row)

    return Registers(shape)(shape, x, x_at, count if count == types.none else types.intp), generate


@intrinsic
def turn(typing, shape, x, x_at, step, out, out_at, out_step):
    """out[out_at + j*out_step + i] = x[x_at + i*step + j], for a square of `lanes` rows and columns."""

    def generate(context, builder, signature, args):
        _, values, at, distance, target, to, out_distance = args
        start = address(context, builder, x, values, x_at, at)
        rows = [builder.gep(start, [_times(builder, distance, i)]) for i in range(shape.lanes)]
        vectors = [_load(builder, shape, row, None) for row in rows]
        block = 1
        while block < shape.lanes:  # exchange every second block of a row with one of the row that is as far below
            vectors = [
                _exchanged(builder, shape, vectors[i & ~block], vectors[i | block], block, bool(i & block))
                for i in range(shape.lanes)
            ]
            block *= 2
        start = address(context, builder, out, target, out_at, to)
        for j, vector in enumerate(vectors):
            _store(builder, shape, vector, builder.gep(start, [_times(builder, out_distance, j)]), None)
        return context.get_dummy_value()

    return types.void(shape, x, x_at, types.intp, out, out_at, types.intp), generate


@intrinsic
def full(typing, shape, number):
    """A tile full of a number of its element type."""

    def generate(context, builder, signature, args):
        return _packed(builder, shape, [_broadcast(builder, shape, args[1])] * (shape.rows * shape.cols))

    return Registers(shape)(shape, shape.element), generate


def _arithmetic(operation, instruction):
    """Define an operation on two tiles by LLVM's instruction."""

    @infer_global(operation)
    class _Typed(AbstractTemplate):
        def generic(self, args, kws):
            both = len(args) == 2 and isinstance(args[0], Registers) and args[0] == args[1]
            return signature(args[0], *args) if both else None

    @lower_builtin(operation, Registers, Registers)
    def _lowered(context, builder, sig, args):
        shape = sig.return_type.shape
        pairs = [[builder.extract_value(tile, k) for tile in args] for k in range(shape.rows * shape.cols)]
        return _packed(builder, shape, [getattr(builder, instruction)(*pair) for pair in pairs])


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_operation, _instruction)


@intrinsic
def settled(typing, total, lost):
    """total + lost, for numbers or tiles; total alone where lost is infinite or nan, as it is once total is."""

    def generate(context, builder, signature, args):
        if not isinstance(total, Registers):
            return _settled(builder, *args)
        count = total.shape.rows * total.shape.cols
        pairs = [[builder.extract_value(tile, k) for tile in args] for k in range(count)]
        return _packed(builder, total.shape, [_settled(builder, *pair) for pair in pairs])

    return total(total, lost), generate


@intrinsic
def divided(typing, acc, number):
    """A tile with every element divided by a number of its type; truly divided: with the flag arcp, which Numba gives
    to instructions that have none, it would be multiplied by the inverse, and 41 / 41 would not be 1."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        divisor = _broadcast(builder, shape, args[1])
        vectors = [builder.extract_value(args[0], k) for k in range(shape.rows * shape.cols)]
        return _packed(builder, shape, [builder.fdiv(vector, divisor, flags=("nsz",)) for vector in vectors])

    return acc(acc, acc.shape.element), generate


@intrinsic
def sum_of(typing, acc):
    """The sum of all elements of a tile."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        vectors = [builder.extract_value(args[0], k) for k in range(shape.rows * shape.cols)]
        while len(vectors) > 1:
            vectors = [reduce(builder.fadd, vectors[k : k + 2]) for k in range(0, len(vectors), 2)]
        return builder.extract_element(_sums(builder, shape, vectors), ir.Constant(I32, 0))

    return acc.shape.element(acc), generate


@intrinsic
def keep_larger(typing, best, place, value, number):
    """The larger of best and value, and where value is larger `number` instead of place; a nan is larger than any."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        row = _broadcast(builder, shape, args[3])
        bests, places = [], []
        for k in range(shape.rows * shape.cols):
            old, new = builder.extract_value(args[0], k), builder.extract_value(args[2], k)
            wins = builder.and_(builder.fcmp_unordered(">", new, old), builder.fcmp_ordered("ord", old, old))
            bests.append(builder.select(wins, new, old))
            places.append(builder.select(wins, row, builder.extract_value(args[1], k)))
        tiles = [_packed(builder, shape, bests), _packed(builder, shape, places)]
        return context.make_tuple(builder, signature.return_type, tiles)

    return types.UniTuple(best, 2)(best, place, value, best.shape.element), generate


@intrinsic
def add_where(typing, acc, places, number, g, at, count):
    """acc[0, j] += g[at + j] where places[at + j], uint16, is `number`."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, taken, wanted, gradients, position, left = args
        here = address(context, builder, places, taken, at, position)
        row = _load_row(builder, shape, address(context, builder, g, gradients, at, position), left)
        vectors = []
        for j, gradient in enumerate(row):
            start = builder.gep(here, [ir.Constant(I64, j * shape.lanes)])
            numbers = _load(builder, shape, start, _mask(builder, shape, left, j), I16)
            chosen = builder.icmp_unsigned("==", numbers, _broadcast(builder, shape, wanted))
            part = builder.select(chosen, gradient, ir.Constant(_vector(shape), [0.0] * shape.lanes))
            vectors.append(builder.fadd(builder.extract_value(tile, j), part))
        return _packed(builder, shape, vectors)

    return acc(acc, places, types.uint16, g, at, types.intp), generate


@intrinsic
def store_shorts(typing, acc, places, places_at, count):
    """places[places_at + j] = acc[0, j], as uint16."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at, left = args
        here = address(context, builder, places, values, places_at, at)
        for j in range(shape.cols):
            numbers = builder.fptoui(builder.extract_value(tile, j), ir.VectorType(I16, shape.lanes))
            target = builder.gep(here, [ir.Constant(I64, j * shape.lanes)])
            _store(builder, shape, numbers, target, _mask(builder, shape, left, j), I16)
        return context.get_dummy_value()

    return types.void(acc, places, places_at, types.intp), generate


@intrinsic
def store(typing, acc, out, out_at, step, count):
    """out[out_at + i*step + j] = acc[i, j]."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at, distance, left = args
        target = address(context, builder, out, values, out_at, at)
        for i in range(shape.rows):
            here = builder.gep(target, [_times(builder, distance, i)])
            for j in range(shape.cols):
                vector = builder.extract_value(tile, i * shape.cols + j)
                _store(
                    builder,
                    shape,
                    vector,
                    builder.gep(here, [ir.Constant(I64, j * shape.lanes)]),
                    _mask(builder, shape, left, j),
                )
        return context.get_dummy_value()

    return types.void(acc, out, out_at, types.intp, types.intp), generate


@intrinsic
def store_sums(typing, acc, out, out_at, step):
    """out[out_at + i*step + j] = the sum over the lanes of vector (i, j)."""

    def generate(context, builder, signature, args):
        shape = signature.args[0].shape
        tile, values, at, distance = args
        target = address(context, builder, out, values, out_at, at)
        for i in range(shape.rows):
            row = [builder.extract_value(tile, i * shape.cols + j) for j in range(shape.cols)]
            here = builder.gep(target, [_times(builder, distance, i)])
            for j in range(shape.cols):
                if j % shape.lanes == 0:  # a vector has room for so many sums
                    sums = _sums(builder, shape, row[j : j + shape.lanes])
                total = builder.extract_element(sums, ir.Constant(I32, j % shape.lanes))
                builder.store(total, builder.gep(here, [ir.Constant(I64, j)]))
        return context.get_dummy_value()

    return types.void(acc, out, out_at, types.intp), generate


# ---- the pieces, in LLVM's terms


def _settled(builder, total, lost):
    finite = builder.fcmp_ordered("ord", builder.fsub(lost, lost), lost)
    return builder.select(finite, builder.fadd(total, lost), total)


def _scalar(shape):
    return ir.FloatType() if shape.element.bitwidth == 32 else ir.DoubleType()


def _vector(shape):
    return ir.VectorType(_scalar(shape), shape.lanes)


def _registers(shape):
    return ir.ArrayType(_vector(shape), shape.rows * shape.cols)


def _packed(builder, shape, vectors):
    """A tile of these vectors."""
    tile = ir.Constant(_registers(shape), ir.Undefined)
    for k, vector in enumerate(vectors):
        tile = builder.insert_value(tile, vector, k)
    return tile


def _times(builder, step, i):
    return builder.mul(step, ir.Constant(I64, i))


def _broadcast(builder, shape, number):
    nothing = ir.Constant(ir.VectorType(number.type, shape.lanes), ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(I32, shape.lanes), [0] * shape.lanes))


def _fma_row(builder, shape, tile, i, row, columns):
    """tile[i, j] += row * columns[j]; one rounding where the CPU has FMA."""
    v = _vector(shape)
    name = f"llvm.fmuladd.v{shape.lanes}f{shape.element.bitwidth}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(v, [v] * 3), name)
    for j, column in enumerate(columns):
        k = i * shape.cols + j
        tile = builder.insert_value(tile, builder.call(fma, [row, column, builder.extract_value(tile, k)]), k)
    return tile


def _sums(builder, shape, vectors):
    """A vector whose lane j is the sum over the lanes of vectors[j].

    Two vectors become one of half sums, blocks of one beside blocks of the other, until one is left; its blocks are
    then added.  Three operations a sum, where adding up each vector by itself takes eight.
    """
    block = 1
    while len(vectors) > 1:  # an odd vector out is paired with itself
        vectors = [_half_sums(builder, shape, *(vectors[k : k + 2] * 2)[:2], block) for k in range(0, len(vectors), 2)]
        block *= 2
    (total,) = vectors
    while block < shape.lanes:
        total = builder.fadd(
            total,
            builder.shuffle_vector(
                total, total, _lanes_of([(lane + block) % shape.lanes for lane in range(shape.lanes)])
            ),
        )
        block *= 2
    return total


def _half_sums(builder, shape, a, b, block):
    """Blocks of a's half sums and of b's, in turn: (a[0] + a[1], b[0] + b[1], a[2] + a[3], ...) for blocks of one."""
    starts = range(0, shape.lanes, 2 * block)
    low = [lane + k for start in starts for lane in (start, start + shape.lanes) for k in range(block)]
    high = [lane + block for lane in low]
    return builder.fadd(builder.shuffle_vector(a, b, _lanes_of(low)), builder.shuffle_vector(a, b, _lanes_of(high)))


def _exchanged(builder, shape, a, b, block, second):
    """Of two rows the first block of each pair, or the second: (a[0], b[0], a[2], b[2], ...) for blocks of one."""
    lanes = range(shape.lanes)
    return builder.shuffle_vector(
        a, b, _lanes_of([(k & ~block) + block * second + shape.lanes * bool(k & block) for k in lanes])
    )


def _lanes_of(numbers):
    return ir.Constant(ir.VectorType(I32, len(numbers)), numbers)


def _mask(builder, shape, count, j):
    """For a masked tile, which lanes of vector j lie within `count` elements; otherwise None."""
    if not shape.masked or count.type != I64:
        return None
    start = j * shape.lanes
    numbers = ir.Constant(ir.VectorType(I64, shape.lanes), list(range(start, start + shape.lanes)))
    nothing = ir.Constant(ir.VectorType(I64, shape.lanes), ir.Undefined)
    first = builder.insert_element(nothing, count, ir.Constant(I32, 0))
    limit = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(I32, shape.lanes), [0] * shape.lanes))
    return builder.icmp_signed("<", numbers, limit)


def _load_row(builder, shape, address, count):
    return [
        _load(
            builder, shape, builder.gep(address, [ir.Constant(I64, j * shape.lanes)]), _mask(builder, shape, count, j)
        )
        for j in range(shape.cols)
    ]


def _load(builder, shape, address, mask, element=None):
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


def _store(builder, shape, value, address, mask, element=None):
    vector, size, name = _memory_type(shape, element or _scalar(shape))
    pointer = builder.bitcast(address, vector.as_pointer())
    if mask is None:
        builder.store(value, pointer).align = size
        return
    kind = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), I32, ir.VectorType(I1, shape.lanes)])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{name}.p0")
    builder.call(function, [value, pointer, ir.Constant(I32, size), mask])


def _memory_type(shape, element):
    """A vector of an element type, bytes of an element, and LLVM's short name of the vector."""
    short = {I16: "i16", ir.FloatType(): "f32", ir.DoubleType(): "f64"}[element]
    return ir.VectorType(element, shape.lanes), int(short[1:]) // 8, f"v{shape.lanes}{short}"
