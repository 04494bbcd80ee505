"""Epilogues: element-wise operations in the kernel that computes their operand, such as ReLU in a matrix product.

A recording is captured once and replayed often, so its launches can be combined before.  If a flat element-wise kernel
reads the result of an earlier launch, `add_epilogues` replaces both by one launch: the earlier kernel, with an output
that also stores the formula of each value, see output.py.  The result itself is stored, too, for later launches.

The element-wise operation then runs earlier.  So the launches in between must not write its operands, the earlier
kernel none but its result, and none of them may use the memory that the operation fills.  The pool of a recording
reuses freed memory at once, so that memory may still be in use then.

Results stay the same to the last bit.  A compiler turns a product and an addition into one operation, with one
rounding.  So the values of a kernel with an epilogue are sums or selected elements, not products.  And an epilogue with
additions takes no single numbers: their products are computed before a loop, and rounded there.
"""

import dis
from functools import cache
from typing import Any

import numpy as np

from ..program import Launch
from ..source import define_function
from . import tile
from .driver import helper
from .math import translated
from .output import output_of
from .step import Step

WITHOUT_ADDITIONS = {"const", "where", "larger", "smaller", "abs"}  # the functions that such a formula may call


def add_epilogues(launches: list[Launch]) -> list[Launch]:
    """The launches, of which those that can be epilogues are parts of earlier ones."""
    steps: list[Step] = []
    for step in map(Step, launches):
        number = _find_producer(step, steps) if _can_be_epilogue(step) else None
        if number is None:
            steps.append(step)
        else:
            steps[number] = Step(_with_epilogue(steps[number], step))
    return [step.launch for step in steps]


def _can_be_epilogue(step: Step) -> bool:
    """Whether a launch can be an epilogue: all its arrays are used from the start, and its formula allows it."""
    formula = step.kernel.formula
    if formula is None or not formula.letters or any(step.words[1 : _count_starts(formula.letters)]):
        return False
    return not (set(formula.letters) & set("es") and _has_additions(formula.function))


def _has_additions(formula: Any) -> bool:
    """Whether a formula adds numbers, or may do so in a function that it calls."""
    code = getattr(formula, "py_func", formula).__code__
    adds = any(instruction.argrepr in ("+", "-", "+=", "-=") for instruction in dis.get_instructions(code))
    return adds or not WITHOUT_ADDITIONS.issuperset(code.co_names)


def _count_starts(letters: str) -> int:
    """The parameters of a flat kernel before its operands: a count, and where each array starts."""
    return 2 + len(letters) - letters.count("s")


def _is_producer(first: Step, other: Step) -> bool:
    """Whether a launch computes operands of another, an element-wise one, that can be its epilogue."""
    if not first.kernel.written or first.kernel.formula is not None:
        return False
    result, (filled,) = first.written[0], other.written
    *operands, _ = other.arrays.items()
    kinds = {f"x{k}": letter for k, letter in enumerate(other.kernel.formula.letters)}
    others = [memory for n, memory in operands if memory != result or kinds[other.kernel.parameters[n]] != "a"]
    return (
        len(others) < len(operands)
        and not filled.overlaps(others)
        and not filled.overlaps(first.arrays.values())
        and not any(memory.overlaps(others) for memory in first.written)
    )


def _find_producer(step: Step, earlier: list[Step]) -> int | None:
    """The number of the launch of which an element-wise launch can be the epilogue."""
    for number in reversed(range(len(earlier))):
        if _is_producer(earlier[number], step):
            return number
        if earlier[number].must_precede(step):
            return None
    return None


def _with_epilogue(first: Step, second: Step) -> Launch:
    """One launch for two, of which the second is an epilogue."""
    starts, result = _count_starts(second.kernel.formula.letters), first.written[0]
    same = [second.kernel.parameters[number] for number, memory in second.arrays.items() if memory == result]
    kernel, kinds = _kernel_with_epilogue(first.kernel, second.kernel, tuple(same)), first.kinds + second.kinds[starts:]
    packed = first.prepared.packed + second.prepared.packed[8 * starts :]
    prepared = first.prepared._replace(compiled=kernel.compiled.get(kinds) or kernel.prepare(kinds), packed=packed)
    arguments = first.launch.arguments + tuple(second.uses_from(len(first.words) - starts))
    return first.launch._replace(kernel=kernel, address=prepared, arguments=arguments)


@cache
def _kernel_with_epilogue(first: Any, second: Any, same: tuple[str, ...]) -> Any:
    """A kernel with another as its epilogue; `same` are the latter's arrays that are the result."""
    function, name, letters = second.formula
    parts = second.parameters[_count_starts(letters) :]
    forms = {"a": "x{}[at]", "e": "x{}[position(0)]", "s": "x{}", "i": "number(i)"}
    operands = ["value" if f"x{k}" in same else forms[letter].format(k) for k, letter in enumerate(letters)]
    lines = [
        f"{', '.join(parts)}, = parts",
        f"at, value = position(i), const(value, {same[0]})",
        f"{same[0]}[at] = value",
        f"out[at] = f({', '.join(operands)})",
    ]
    put = tile.define_function("put(parts, i, value)", lines, f=translated(function), number=np.int64)
    own = [f"a{number}" for number in range(len(first.parameters))]
    given = [*own]
    given[first.written[0]] = f"output(({', '.join(parts)},))"
    text = f"def kernel({', '.join([*own, *parts])}):\n    body({', '.join(given)})\n"
    scope = {"body": helper(first.function), "output": output_of(parts.index(same[0]), put), "__name__": __name__}
    writes = [*[own[number] for number in first.written], "out"]
    return first.derive(
        define_function(text, **scope),
        f"{first.name.removeprefix('cuda.')}+{name}",
        bounds=first.bounds,
        writes=tuple(writes),
        formula=second.formula._replace(letters=""),
        shared=first.shared,
        beside=first.beside,
    )
