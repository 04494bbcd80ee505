"""Register tiles: rows x cols running sums that a thread keeps in registers, as a tuple.

A tuple indexed by a loop's counter would be put in memory, so these functions are written out for each size, once for
each; a kernel's factory asks for those it needs.  Positions are unsigned: a signed one would be tested for counting
from the end.

    zeros(like)                               all sums 0
    start(values, at, step, use)              a row's sums start from values[at + row * step], or 0 where use is 0
    fma(acc, a, b)                            acc + the outer product of a (rows) and b (cols)
    neighbours(values, at)                    rows values behind each other, in shared memory
    beside(values, at)                        cols values behind each other
    apart(values, at, step)                   rows values, `step` from one to the next
    places(first, step, last)                 cols positions, `step` from one to the next, none beyond `last`
    pick(values, at, places)                  cols values, at those positions behind `at`
    store(acc, out, at, row, places, count)   each sum to its place; of the columns the first `count`
    spill(acc, out, at, step)                 all sums, `step` from one to the next
"""

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from . import driver
from .kernel import helper
from .math import const

if driver.SIMULATED:

    def four(values, at):
        """Four neighbours in shared memory, from a multiple of four on, by one read."""
        assert at % 4 == 0
        return values[at], values[at + 1], values[at + 2], values[at + 3]

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    @intrinsic
    def four(typing, values, at):
        """Four neighbours in shared memory, from a multiple of four on, by one read."""

        def generate(context, builder, signature, args):
            kind = signature.args[0]
            place = builder.gep(context.make_array(kind)(context, builder, args[0]).data, [args[1]])
            vector = ir.VectorType(context.get_data_type(kind.dtype), 4)
            read = builder.load(builder.bitcast(place, vector.as_pointer(place.type.addrspace)), align=16)
            numbers = [builder.extract_element(read, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return cgutils.pack_array(builder, numbers)

        return types.UniTuple(values.dtype, 4)(values, types.uint64), generate


@cache
def tile(rows: int, cols: int) -> Any:
    """The functions for a tile."""
    each = [(r, c) for r in range(rows) for c in range(cols)]
    texts = {
        "zeros(like)": "zero = const(0, like)\n    return " + _tuple("zero" for _ in each),
        "start(values, at, step, use)": _starts(rows, cols),
        "fma(acc, a, b)": "return " + _tuple(f"acc[{i}] + a[{r}] * b[{c}]" for i, (r, c) in enumerate(each)),
        "neighbours(values, at)": together(range(rows)),
        "beside(values, at)": "return " + _tuple(_item("values", f"at + {c}") for c in range(cols)),
        "apart(values, at, step)": "return " + _tuple(_item("values", f"at + {r} * step") for r in range(rows)),
        "places(first, step, last)": "return " + _tuple(f"min(first + {c} * step, last)" for c in range(cols)),
        "pick(values, at, places)": "return " + _tuple(_item("values", f"at + places[{c}]") for c in range(cols)),
        "store(acc, out, at, row, places, count)": "\n    ".join(_stores(rows, cols)),
        "spill(acc, out, at, step)": "\n    ".join(
            f"{_item('out', f'at + {i} * step')} = acc[{i}]" for i in range(len(each))
        ),
    }
    functions = ModuleType(f"tile_{rows}x{cols}")  # of all that has attributes, Numba knows modules
    for head, text in texts.items():
        setattr(functions, head.partition("(")[0], written(head, text))
    return functions


def written(head: str, text: str, **named: Any) -> Any:
    """A function that kernels call, from its text, in which `const`, `position` and what is `named` can be used."""
    scope: dict[str, Any] = {"const": const, "position": np.uint64, "four": four, "__name__": __name__, **named}
    exec(f"def {head}:\n    {text}", scope)
    return helper(scope[head.partition("(")[0]])


def fetching(each: int) -> Any:
    """A function that fetches `each` elements of a matrix for a product: from row m and column k on, dm and dk apart,
    am and ak being the steps from one row and column to the next; 0 beyond M rows and K columns."""
    items = [
        f"{_item('a', f'at + (m + {i} * dm) * am + (k + {i} * dk) * ak')} "
        f"if m + {i} * dm < M and k + {i} * dk < K else const(0, a)"
        for i in range(each)
    ]
    return written("fetch(a, at, m, dm, M, am, k, dk, K, ak)", "return " + _tuple(items))


def together(places: Any) -> str:
    """The text that reads values at `at` + each place from shared memory, as a tuple: by fours where the places are
    fours of neighbours."""
    places = list(places)
    quarters = [places[i : i + 4] for i in range(0, len(places), 4)]
    if any(quarter != list(range(quarter[0], quarter[0] + 4)) or quarter[0] % 4 for quarter in quarters):
        return "return " + _tuple(_item("values", f"at + {place}") for place in places)
    reads = [f"q{i} = four(values, position(at + {quarter[0]}))" for i, quarter in enumerate(quarters)]
    values = _tuple(f"q{i}[{number}]" for i in range(len(quarters)) for number in range(4))
    return "\n    ".join([*reads, "return " + values])


def _tuple(values: Any) -> str:
    return "(" + ", ".join(values) + ",)"


def _item(array: str, place: str) -> str:
    return f"{array}[position({place})]"


def _starts(rows: int, cols: int) -> str:
    reads = "\n    ".join(
        f"r{r} = {_item('values', f'at + {r} * step')} if use else const(0, values)" for r in range(rows)
    )
    return reads + "\n    return " + _tuple(f"r{r}" for r in range(rows) for _ in range(cols))


def _stores(rows: int, cols: int) -> list[str]:
    lines = []
    for c in range(cols):
        lines.append(f"if {c} < count:")
        lines += [f"    {_item('out', f'at + {r} * row + places[{c}]')} = acc[{r * cols + c}]" for r in range(rows)]
    return lines


def split(size: int, most: int) -> int:
    """The rows of a tile for `size` of them: at most `most`, and blocks as even as can be."""
    blocks = -(-size // most)
    return -(-size // blocks)
