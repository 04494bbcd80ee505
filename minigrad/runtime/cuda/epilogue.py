"""Epilogues: element-wise operations in the kernel that computes their operand, such as ReLU in a matrix product.

A recording is captured once and replayed often, so its launches can be combined before.  If a flat element-wise kernel
reads the result of an earlier launch, `add_epilogues` replaces both by one launch: the earlier kernel, with an output
that also stores the formula of each value, see output.py.  The result itself is stored, too, for later launches.

The element-wise operation then runs earlier.  So the launches in between must not write its operands, the earlier
kernel none but its result, and none of them may use the memory that the operation fills.  The pool of a recording
reuses freed memory at once, so that memory may still be in use then.

A kernel that does not declare what it writes may write all its arrays.  If it takes int64 numbers, which may be
addresses, it may read and write everything.

Results stay the same to the last bit.  A compiler turns a product and an addition into one operation, with one
rounding.  So the values of a kernel with an epilogue are sums or selected elements, not products.  And an epilogue with
additions takes no single numbers: their products are computed before a loop, and rounded there.
"""

import dis
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..program import Launch
from ..source import define_function
from . import tile
from .driver import helper
from .math import translated
from .output import output_of

ADDRESSES = np.dtype(np.int64)
WITHOUT_ADDITIONS = {"const", "where", "larger", "smaller", "abs"}  # the functions that such a formula may call


class _Memory(NamedTuple):
    """The memory of an array: the addresses of its first byte and of the one after its last, and the dtype."""

    start: int
    stop: int
    dtype: np.dtype

    def overlaps(self, others: Iterable["_Memory"]) -> bool:
        """Whether it shares bytes with one of the others."""
        return any(self.start < other.stop and other.start < self.stop for other in others)


class _Step:
    """A launch, and the memory of its arrays, by the number of the parameter."""

    def __init__(self, launch: Launch):
        self.launch, self.kernel, self.prepared = launch, launch.kernel, launch.address
        self.kinds = self.prepared.compiled.kinds
        self.words = struct.unpack(f"<{len(self.prepared.packed) // 8}q", self.prepared.packed)
        self.arrays: dict[int, _Memory] = {}
        at = 0
        for number, kind in enumerate(self.kinds):
            if isinstance(kind, tuple):
                size, itemsize, address = self.words[at + 2 : at + 5]
                self.arrays[number] = _Memory(address, address + size * itemsize, kind[0])
            at += 5 + 2 * kind[1] if isinstance(kind, tuple) else 1
        self.written = [self.arrays[number] for number in self.kernel.written] or list(self.arrays.values())

    def must_precede(self, other: "_Step") -> bool:
        """Whether a later launch cannot run before this one."""
        if not self.kernel.written and any(memory.dtype == ADDRESSES for memory in self.arrays.values()):
            return True
        writes = any(memory.overlaps(other.arrays.values()) for memory in self.written)
        return writes or any(memory.overlaps(self.arrays.values()) for memory in other.written)

    def is_producer_of(self, other: "_Step") -> bool:
        """Whether this launch computes operands of another, an element-wise one, that can be its epilogue."""
        if not self.kernel.written or self.kernel.formula is not None:
            return False
        result, (filled,) = self.written[0], other.written
        *operands, _ = other.arrays.items()
        kinds = {f"x{k}": letter for k, letter in enumerate(other.kernel.formula.letters)}
        others = [memory for n, memory in operands if memory != result or kinds[other.kernel.parameters[n]] != "a"]
        return (
            len(others) < len(operands)
            and not filled.overlaps(others)
            and not filled.overlaps(self.arrays.values())
            and not any(memory.overlaps(others) for memory in self.written)
        )


def add_epilogues(launches: list[Launch]) -> list[Launch]:
    """The launches, of which those that can be epilogues are parts of earlier ones."""
    steps: list[_Step] = []
    for step in map(_Step, launches):
        number = _find_producer(step, steps) if _can_follow(step) else None
        if number is None:
            steps.append(step)
        else:
            steps[number] = _Step(_join(steps[number], step))
    return [step.launch for step in steps]


def _can_follow(step: _Step) -> bool:
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


def _find_producer(step: _Step, earlier: list[_Step]) -> int | None:
    """The number of the launch of which an element-wise launch can be the epilogue."""
    for number in reversed(range(len(earlier))):
        if earlier[number].is_producer_of(step):
            return number
        if earlier[number].must_precede(step):
            return None
    return None


def _join(first: _Step, second: _Step) -> Launch:
    """One launch for two, of which the second is an epilogue."""
    starts, result = _count_starts(second.kernel.formula.letters), first.written[0]
    same = [second.kernel.parameters[number] for number, memory in second.arrays.items() if memory == result]
    kernel, kinds = _kernel_with_epilogue(first.kernel, second.kernel, tuple(same)), first.kinds + second.kinds[starts:]
    packed = first.prepared.packed + second.prepared.packed[8 * starts :]
    prepared = first.prepared._replace(compiled=kernel.compiled.get(kinds) or kernel.prepare(kinds), packed=packed)
    arguments = first.launch.arguments + second.launch.arguments
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
    return first.variant(define_function(text, **scope), name, tuple(writes), second.formula._replace(letters=""))
