"""Tensor-core instructions for kernels: rounding to TF32, and products of 16x8 by 8x8 (mma.m16n8k8).

The 32 threads of a warp hold one product together.  On a GPU each thread loads its fragments of both factors from
shared memory into registers.  In the simulator each thread computes its own four numbers of the product from shared
memory, which holds both factors completely.

Source: NVIDIA, PTX ISA 8.8, section 9.7.14 (mma.m16n8k8, fragments of .tf32).
"""

from typing import Any

import numpy as np

from . import driver
from .tile import define_function, item, return_tuple

if driver.SIMULATED:

    def to_tf32(x):
        """The nearest number with 10 fraction bits; a tie is rounded away from 0."""
        bits = (int(np.float32(x).view(np.uint32)) + 0x1000) & 0xFFFFE000
        return np.uint32(bits & 0xFFFFFFFF).view(np.float32)

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    FLOAT, WORD = ir.FloatType(), ir.IntType(32)

    @intrinsic
    def to_tf32(typing, x):
        """The nearest number with 10 fraction bits; a tie is rounded away from 0."""

        def generate(context, builder, signature, args):
            text = ir.InlineAsm(ir.FunctionType(WORD, [FLOAT]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            return builder.bitcast(builder.call(text, args), FLOAT)

        return types.float32(types.float32), generate

    @intrinsic
    def mma(typing, c0, c1, c2, c3, a0, a1, a2, a3, b0, b1):
        """This thread's c0 ... c3 plus its part of the product; all threads of the warp must call it together."""

        def generate(context, builder, signature, args):
            sums, factors = list(args[:4]), [builder.bitcast(value, WORD) for value in args[4:]]
            result = ir.LiteralStructType([FLOAT] * 4)
            text = ir.InlineAsm(
                ir.FunctionType(result, [WORD] * 6 + [FLOAT] * 4),
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
                "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
                side_effect=True,
            )
            call = builder.call(text, factors + sums)
            return cgutils.pack_array(builder, [builder.extract_value(call, i) for i in range(4)])

        return types.UniTuple(types.float32, 4)(*[types.float32] * 10), generate


def make_multiply(down: int, across: int, a_row: int, b_row: int) -> Any:
    """A function (acc, a, a_at, b, b_at, lane) that adds down x across products over 8 numbers of K to acc.

    a_row, b_row   the lengths of the rows of a (K, a_row) and b (K, b_row) in shared memory
    """
    lines, names = (_simulated_lines, {}) if driver.SIMULATED else (fragment_lines, {"mma": mma})
    return define_function("multiply(acc, a, a_at, b, b_at, lane)", lines(down, across, a_row, b_row), **names)


def product_cells(down: int, across: int) -> list[tuple[int, int]]:
    """The row and column of each accumulator, relative to row lane // 4 and column lane % 4 * 2."""
    products = [(i, j) for i in range(down) for j in range(across)]
    return [(16 * i + number // 2 * 8, 8 * j + number % 2) for i, j in products for number in range(4)]


def _simulated_lines(down: int, across: int, a_row: int, b_row: int) -> list[str]:
    results = [
        f"acc[{i}] + sum([a[a_at + k * {a_row} + row + {m}] * b[b_at + k * {b_row} + column + {n}] for k in range(8)])"
        for i, (m, n) in enumerate(product_cells(down, across))
    ]
    return ["row, column = lane // 4, lane % 4 * 2", return_tuple(results)]


def fragment_lines(down: int, across: int, a_row: int, b_row: int) -> list[str]:
    """The text that loads fragments and multiplies them.

    A thread holds of a (16x8) rows lane // 4 and lane // 4 + 8 in columns lane % 4 and lane % 4 + 4, and of b (8x8)
    rows lane % 4 and lane % 4 + 4 in column lane // 4.
    """
    lines = [f"i, j = a_at + lane % 4 * {a_row} + lane // 4, b_at + lane % 4 * {b_row} + lane // 4"]
    for i in range(down):
        steps = [16 * i + number % 2 * 8 + number // 2 * 4 * a_row for number in range(4)]
        lines += [f"a{i}_{number} = {item('a', f'i + {step}')}" for number, step in enumerate(steps)]
    for j in range(across):
        steps = [8 * j + number * 4 * b_row for number in range(2)]
        lines += [f"b{j}_{number} = {item('b', f'j + {step}')}" for number, step in enumerate(steps)]
    results = []
    for i in range(down):
        for j in range(across):
            first = 4 * (i * across + j)
            sums = ", ".join(f"acc[{first + number}]" for number in range(4))
            factors = ", ".join([f"a{i}_{number}" for number in range(4)] + [f"b{j}_0", f"b{j}_1"])
            lines.append(f"d{i}_{j} = mma({sums}, {factors})")
            results += [f"d{i}_{j}[{number}]" for number in range(4)]
    return [*lines, return_tuple(results)]
