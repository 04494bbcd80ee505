"""Element-wise kernels: a function of numbers, applied to operands of any strides, with broadcasting.

The axes of all operands are sorted by the memory order of the output.  Neighbouring axes are merged if every operand
allows it.  The result is a list of rows; a task computes a chunk of some rows.

Of more than two axes the first is not merged, which is that of the channels in images (C, H, W, N), and long rows are
cut into chunks.  So each task computes some rows of pixels of all channels, as in pooling and convolution, and its core
finds in its cache what these have left there.
"""

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from . import cache
from .kernel import Ints, Kernel, Memory, helper
from .math import smaller
from .memory import merge_axes
from .source import define_function

TASK_SIZE = 32768  # elements in a task: 10 us of work, while a parallel launch costs 3-9 us
LONG_ROW = 2048  # elements of a chunk, at least
ROW_CHUNKS = 4  # the chunks of a long row are a multiple of this, so that 1, 2 and 4 threads have equal work
CHUNK_ALIGNMENT = 16  # elements: no vector of float32 crosses the border of two chunks


class Index:
    """The kind of an operand that is the element's number in C order, whatever the memory layout."""


class Elementwise:
    """The implementation (operands..., out) that fills `out` with formula(a, ...) element by element.

    formula   a function of numbers, in the subset of Python that Numba compiles
    kinds     of each operand and of `out`: Memory (floats), Bytes (bool, uint8), Ints (int64), for which a number may
              be given, too; Index, which takes no argument; float, a number, last.  All are Memory if left out
    """

    def __init__(self, formula: Callable[..., object], kinds: tuple[type, ...] = (), name: str = ""):
        *inputs, self.result = kinds or (Memory,) * (formula.__code__.co_argcount + 1)
        self.formula, self.inputs, self.name = formula, tuple(inputs), name or formula.__name__
        self.plans: dict[Any, tuple[int, np.ndarray]] = {}  # by shapes, strides and element sizes, of arrays only

    def __getattr__(self, name: str) -> Any:
        """The kernel; made when it is first needed, because a program uses few of all.

        A fork waits for the lock, so that a child does not find those of Numba, LLVM or functools.cached_property held.
        """
        if name != "kernel":
            raise AttributeError(name)
        with cache.compiler_lock:
            self.kernel = _make_kernel(self.name, self.formula, self.inputs, self.result)
        return self.kernel

    def __call__(self, *arguments: Any) -> None:
        given = arguments
        layouts = tuple([(x.shape, x.strides, x.itemsize) for x in arguments if type(x) is np.ndarray])
        known = self.plans.get(layouts) if len(layouts) == len(arguments) else None
        if known is None:
            given, known = self._plan(arguments)
            if len(layouts) == len(arguments):
                self.plans[layouts] = known
        tasks, plan = known
        if tasks:
            self.kernel.run(tasks, *given, plan)

    def _plan(self, arguments):
        """The kernel's operands and `out`; the number of tasks and the plan."""
        out, given = arguments[-1], iter(arguments)
        operands = [None if kind is Index else _as_operand(next(given), out, kind) for kind in self.inputs]
        layouts = [
            (out.shape, c_order_strides(out.shape), 1)
            if value is None
            else (value.shape, value.strides, value.itemsize)
            for value in operands
            if not isinstance(value, float)
        ]
        known = _make_plan(out.shape, out.strides, out.itemsize, tuple(layouts))
        return [*[value for value in operands if value is not None], out], known


def _as_operand(value, out, kind):
    """An array, or a number as an array of one element of the kernel's type, or a number for the kind float."""
    if kind is float or isinstance(value, np.ndarray):
        return value
    if kind is Memory:
        return np.array(value, out.dtype if out.dtype.kind == "f" else None)
    return np.array(value, np.int64 if kind is Ints else np.uint8)


def c_order_strides(shape):
    """The strides, in elements, of an array in C order."""
    return tuple([prod(shape[axis + 1 :]) for axis in range(len(shape))])


@functools.cache
def _make_plan(shape, strides, itemsize, operands) -> tuple[int, np.ndarray]:
    """Return the number of tasks and the plan, the numbers that a kernel reads.

    These are: row length, number of rows, rows of a task, elements of a row in a task, number of outer axes; strides
    within a row; outer sizes; outer strides of each operand.  The output is operand 0.  Strides count elements, and are
    0 where an operand is broadcast.
    """
    sizes, steps = merge_axes(*sort_axes(shape, strides, itemsize, operands), keep_first=True)
    inner, rows = sizes.pop(), prod(sizes)
    chunks = ROW_CHUNKS * -(-inner * rows // (ROW_CHUNKS * TASK_SIZE)) if inner >= ROW_CHUNKS * LONG_ROW else 1
    width = -(-inner // chunks // CHUNK_ALIGNMENT) * CHUNK_ALIGNMENT if chunks > 1 else max(inner, 1)
    height = max(rows if chunks > 1 else TASK_SIZE // width, 1)
    numbers = [inner, rows, height, width, len(sizes), *[step[-1] for step in steps], *sizes]
    for step in steps:
        numbers += step[:-1]
    return -(-rows // height) * -(-inner // width), np.array(numbers, np.int64)


def sort_axes(shape, strides, itemsize, operands):
    """Sort the axes by the strides of the output, outermost first.

    operands   (shape, strides, itemsize) of each operand
    returns    the sizes; the strides, in elements, of the output and of each operand, 0 where it is broadcast
    """
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    steps = [[strides[axis] // itemsize for axis in order]]
    for operand_shape, operand_strides, operand_itemsize in operands:
        missing = len(shape) - len(operand_shape)
        operand_steps = [
            0 if size == 1 else stride // operand_itemsize
            for size, stride in zip(operand_shape, operand_strides, strict=True)
        ]
        steps.append([0 if axis < missing else operand_steps[axis - missing] for axis in order])
    return [shape[axis] for axis in order], steps


@helper
def _row_start(row, plan, operands, operand):
    """The offset of a row of an operand, in elements."""
    axes = plan[4]
    sizes, steps = 5 + operands, 5 + operands + axes + operand * axes
    if axes == 1:
        return row * plan[steps]
    offset = 0
    for axis in range(axes - 1, -1, -1):
        offset += (row % plan[sizes + axis]) * plan[steps + axis]
        row //= plan[sizes + axis]
    return offset


@helper
def _chunk(task, plan):
    """The chunk of a task: first row, end of the rows, first element of a row, number of elements."""
    across = (plan[0] + plan[3] - 1) // plan[3]
    row, start = task // across * plan[2], task % across * plan[3]
    return row, smaller(row + plan[2], plan[1]), start, smaller(plan[3], plan[0] - start)


def _make_kernel(name, formula, inputs, result) -> Kernel:
    """Generate the kernel that applies a formula according to a plan."""
    numbers = [f"b{k}" for k, kind in enumerate(inputs) if kind is float]
    inputs = [kind for kind in inputs if kind is not float]
    count = len(inputs)
    dense, first_dense = ["1"] * (1 + count), ["1", "1", *["0"] * (count - 1)]
    # LLVM vectorises loops with these strides: all operands dense, or the first dense and the others numbers
    common = {1: [dense], 2: [dense, first_dense]}.get(count, [first_dense])
    branches = [f"if {_condition(steps)}:{_loop(inputs, numbers, steps)}" for steps in common]
    text = KERNEL.format(
        parameters=", ".join(
            [
                *[f"a{k}: K{k}" for k, kind in enumerate(inputs, 1) if kind is not Index],
                *map("{}: float".format, numbers),
            ]
        ),
        steps="\n    ".join(f"s{k} = plan[{5 + k}]" for k in range(1 + count)),
        starts="\n        ".join(
            f"p{k} = row_start(r, plan, {1 + count}, {k}) + start * s{k}" for k in range(1 + count)
        ),
        branches="\n        el".join(branches),
        general=_loop(inputs, numbers, [f"s{k}" for k in range(1 + count)]),
    )
    kinds = {f"K{k}": kind for k, kind in enumerate(inputs, 1)}
    run = define_function(text, f=helper(formula), chunk=_chunk, row_start=_row_start, R=result, Ints=Ints, **kinds)
    return Kernel(run, name, formula.__module__)


# operand 0 is the output; s: stride within a row, p: first element in this row
KERNEL = """
def kernel(task, {parameters}, out: R, plan: Ints):
    row, stop, start, n = chunk(task, plan)
    {steps}
    for r in range(row, stop):
        {starts}
        {branches}
        else:{general}
"""


def _condition(steps):
    return " and ".join(f"s{k} == {step}" for k, step in enumerate(steps))


def _loop(inputs, numbers, steps):
    """The text of the loop over a row; operands with stride "0" are read before it."""
    steps = ["" if step == "1" else step for step in steps]
    lines, values = [], []
    for k, (kind, step) in enumerate(zip(inputs, steps[1:], strict=True), 1):
        position = f"p{k} + j" + (f" * {step}" if step else "")
        if step == "0" and kind is not Index:
            lines.append(f"x{k} = a{k}[p{k}]")
        values.append(position if kind is Index else f"x{k}" if step == "0" else f"a{k}[{position}]")
    target = "p0 + j" + (f" * {steps[0]}" if steps[0] else "")
    lines += ["for j in range(n):", f"    out[{target}] = f({', '.join([*values, *numbers])})"]
    return "".join(f"\n            {line}" for line in lines)
