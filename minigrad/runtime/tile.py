"""The register tile: rows x columns of SIMD vectors as one Numba value, so that accumulators never touch memory.

A tile covers `tile.rows` rows and `tile.width` neighbouring elements of the innermost axis.  LLVM splits the value into
vector registers, which a plain Numba loop cannot say: there an accumulator array lives in memory.

    acc = zeros(tile)
    for c in range(C):
        acc = outer_fma(acc, w, (f, c), C, x, (c, n), count)     # acc[i, j] += w[f + i, c] * x[c, n + j]
    store(acc, out, (f, n), N, count)

Arrays are C-contiguous and an index names the tile's first element; `step` is the distance in elements from one row to
the next.  `count` is how many elements of the innermost axis are left: a masked tile touches no more than that, any
other tile ignores it and needs `tile.width` of them.
"""

from functools import cache

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, overload_attribute, register_model

from .view import address

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def _instruction_set() -> tuple[int, int]:
    """Bytes of a SIMD vector and number of SIMD registers; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name another CPU."""
    if config.CPU_NAME:
        features = {name[1:] for name in (config.CPU_FEATURES or "").split(",") if name.startswith("+")}
    else:
        features = {name for name, present in binding.get_host_cpu_features().items() if present}
    if "avx512f" in features:
        return 64, 32
    if "avx" in features:
        return 32, 16
    return 16, 32 if "neon" in features else 16


VECTOR_BYTES, REGISTERS = _instruction_set()
MAX_ROWS = 6
MAX_COLS = 4 if REGISTERS == 32 else 2  # 6x4 + 4 + 1 of 32 registers, 6x2 + 2 + 1 of 16


def lanes(dtype) -> int:
    """Elements of `dtype` in one SIMD vector."""
    return VECTOR_BYTES // dtype.itemsize


@cache
def choose(rows: int, width: int, dtype) -> tuple[int, int, bool]:
    """The tile for an output of `rows` x `width` elements: rows, columns, and whether the tile must be masked.

    Never larger than the output, so that a last block may overlap the one before it.  Of 6, 5 and 4 rows the fastest,
    the taller of equals; then the widest tile within 5 % of the fastest (every tile is compiled anew).
    """
    heights = [height for height in (6, 5, 4) if height <= rows] or [max(rows, 1)]
    height = min(heights, key=lambda r: -(-rows // r) * _cycles(r, MAX_COLS))
    vectors = width // lanes(dtype)
    if not vectors:
        return height, 1, True
    cost = {
        cols: -(-width // (cols * lanes(dtype))) * _cycles(height, cols)
        for cols in range(1, min(MAX_COLS, vectors) + 1)
    }
    return height, max(cols for cols in cost if cost[cols] <= 1.05 * min(cost.values())), False


def dot_tile(rows: int, cols: int, depth: int, dtype) -> tuple[int, int, bool]:
    """The tile for rows x cols sums of products over `depth` contiguous elements; see dot_fma."""
    height = choose(rows, MAX_COLS * lanes(dtype), dtype)[0]
    return height, min(MAX_COLS, cols), depth % lanes(dtype) != 0


def _cycles(rows: int, cols: int) -> float:
    """Cycles of one step of a tile: two FMAs a cycle, four instructions a cycle, and no less than the four cycles that
    one FMA takes."""
    instructions = rows * cols + rows + cols + 12  # FMAs, loads, and the loop around them
    return max(rows * cols / 2, instructions / 4, 4)


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

    return acc(acc, w, w_at, types.intp, x, x_at, types.intp), generate


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


def _scalar(shape):
    return ir.FloatType() if shape.element.bitwidth == 32 else ir.DoubleType()


def _vector(shape):
    return ir.VectorType(_scalar(shape), shape.lanes)


def _registers(shape):
    return ir.ArrayType(_vector(shape), shape.rows * shape.cols)


def _times(builder, step, i):
    return builder.mul(step, ir.Constant(I64, i))


def _broadcast(builder, shape, number):
    nothing = ir.Constant(_vector(shape), ir.Undefined)
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


def _lanes_of(numbers):
    return ir.Constant(ir.VectorType(I32, len(numbers)), numbers)


def _mask(builder, shape, count, j):
    """For a masked tile, which lanes of vector j lie within `count` elements; otherwise None."""
    if not shape.masked:
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


def _load(builder, shape, address, mask):
    v = _vector(shape)
    pointer = builder.bitcast(address, v.as_pointer())
    if mask is None:
        value = builder.load(pointer)
        value.align = shape.element.bitwidth // 8
        return value
    name = f"llvm.masked.load.v{shape.lanes}f{shape.element.bitwidth}.p0"
    kind = ir.FunctionType(v, [v.as_pointer(), I32, ir.VectorType(I1, shape.lanes), v])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    alignment = ir.Constant(I32, shape.element.bitwidth // 8)
    return builder.call(function, [pointer, alignment, mask, ir.Constant(v, [0.0] * shape.lanes)])


def _store(builder, shape, vector, address, mask):
    v = _vector(shape)
    pointer = builder.bitcast(address, v.as_pointer())
    if mask is None:
        builder.store(vector, pointer).align = shape.element.bitwidth // 8
        return
    name = f"llvm.masked.store.v{shape.lanes}f{shape.element.bitwidth}.p0"
    kind = ir.FunctionType(ir.VoidType(), [v, v.as_pointer(), I32, ir.VectorType(I1, shape.lanes)])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [vector, pointer, ir.Constant(I32, shape.element.bitwidth // 8), mask])
