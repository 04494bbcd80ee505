"""What a tensor core does, as functions that kernels call: rounding to TF32, and results of 16x8 from 16x8 and 8x8.

In the simulator each thread computes its own four numbers of a result from shared memory, where all of both factors
lies; on a GPU it reads its share of them into registers, and the warp multiplies as one.
"""

from typing import Any

import numpy as np

from . import driver
from .tile import written

if driver.SIMULATED:

    def to_tf32(x):
        """The nearest number with 10 bits behind the first, the one further from 0 at a tie."""
        bits = (int(np.float32(x).view(np.uint32)) + 0x1000) & 0xFFFFE000
        return np.uint32(bits & 0xFFFFFFFF).view(np.float32)

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    FLOAT, WORD = ir.FloatType(), ir.IntType(32)

    @intrinsic
    def to_tf32(typing, x):
        """The nearest number with 10 bits behind the first, the one further from 0 at a tie."""

        def generate(context, builder, signature, args):
            text = ir.InlineAsm(ir.FunctionType(WORD, [FLOAT]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            return builder.bitcast(builder.call(text, args), FLOAT)

        return types.float32(types.float32), generate

    @intrinsic
    def mma(typing, c0, c1, c2, c3, a0, a1, a2, a3, b0, b1):
        """A thread's four numbers c, with those of the product of a's and b's added; all threads of a warp together."""

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
            made = builder.call(text, factors + sums)
            return cgutils.pack_array(builder, [builder.extract_value(made, i) for i in range(4)])

        return types.UniTuple(types.float32, 4)(*[types.float32] * 10), generate


def multiplied(down: int, across: int, left_line: int, right_line: int) -> Any:
    """A function (acc, left, at, right, place, lane): acc with down x across results added, 8 numbers of K each.

    left (K, left_line) from `at` on, right (K, right_line) from `place` on.
    """
    head = "multiply(acc, left, at, right, place, lane)"
    if driver.SIMULATED:
        return written(head, _one_by_one(down, across, left_line, right_line))
    return written(head, _by_fragments(down, across, left_line, right_line), mma=mma)


def _one_by_one(down, across, left_line, right_line):
    lines, results = ["row, column = lane // 4, lane % 4 * 2"], []
    for i in range(down):
        for j in range(across):
            for number in range(4):
                a = f"left[at + k * {left_line} + row + {16 * i + number // 2 * 8}]"
                b = f"right[place + k * {right_line} + column + {8 * j + number % 2}]"
                results.append(f"acc[{4 * (i * across + j) + number}] + sum([{a} * {b} for k in range(8)])")
    return "\n    ".join([*lines, f"return ({', '.join(results)},)"])


def _by_fragments(down, across, left_line, right_line):
    """Of a's 16x8 a thread holds rows lane // 4 and 8 more, columns lane % 4 and 4 more; of b's 8x8 rows lane % 4 and 4
    more, column lane // 4."""
    lines = [f"a, b = at + lane % 4 * {left_line} + lane // 4, place + lane % 4 * {right_line} + lane // 4"]
    for i in range(down):
        for number in range(4):
            step = 16 * i + number % 2 * 8 + number // 2 * 4 * left_line
            lines.append(f"a{i}_{number} = left[position(a + {step})]")
    for j in range(across):
        lines += [f"b{j}_{number} = right[position(b + {8 * j + number * 4 * right_line})]" for number in range(2)]
    results = []
    for i in range(down):
        for j in range(across):
            first = 4 * (i * across + j)
            sums = ", ".join(f"acc[{first + number}]" for number in range(4))
            factors = ", ".join([f"a{i}_{number}" for number in range(4)] + [f"b{j}_0", f"b{j}_1"])
            lines.append(f"d{i}_{j} = mma({sums}, {factors})")
            results += [f"d{i}_{j}[{number}]" for number in range(4)]
    return "\n    ".join([*lines, f"return ({', '.join(results)},)"])
