"""Kernels that apply a scalar function element by element, to operands of any strides, with broadcasting.

The axes of all operands are put in the memory order of the output, neighbours that lie behind each other in every
operand are merged, and what remains is a list of rows.  A task is a piece of some rows.

The first axis of an image (C, H, W, N) is not merged, and long rows are cut: each task does some rows of pixels of all
channels, as pooling and convolution do, and finds in its core's own cache what these have left there.
"""

from collections.abc import Callable
from functools import cache
from math import prod

import numpy as np

from .kernel import Ints, Kernel, Memory, helper
from .math import smaller

PIECE = 32768  # elements in a task: 10 us of work, where a parallel launch costs 3-9 us
LONG = 2048  # elements of a row that are worth a task
CUTS = 4  # long rows are cut into a multiple of so many pieces: as much work for each of 1, 2 or 4 threads


def elementwise(function: Callable[..., object], inputs: tuple[type, ...] = (), out: type = Memory):
    """A column that fills `out` with function(a, ...) element by element.

    function   a scalar function of 1 to 3 numbers, in the subset of Python that Numba compiles
    inputs     the kind of each operand, Memory (floats) or Bytes (bool); all Memory if left out
    """
    arity = function.__code__.co_argcount
    kinds = inputs or (Memory,) * arity
    run = (_unary, _binary, _ternary)[arity - 1](helper(function), kinds, out)

    def column(*arrays: np.ndarray) -> None:
        target = arrays[-1]
        operands = [_as_operand(array, target, kind) for array, kind in zip(arrays[:-1], kinds, strict=True)]
        tasks, plan = _plan(
            target.shape,
            target.strides,
            target.itemsize,
            tuple([(array.shape, array.strides, array.itemsize) for array in operands]),
        )
        if tasks:
            run(tasks, *operands, target, plan)

    column.kernel = run  # type: ignore[attr-defined]
    return column


def _as_operand(value, target, kind):
    """A number as an array of one element of the kernel's type; arrays as they are."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, target.dtype if kind is Memory and target.dtype.kind == "f" else None)


@cache
def _plan(shape, strides, itemsize, operands) -> tuple[int, np.ndarray]:
    """How many tasks, and the numbers that a kernel reads: row length, rows, rows and elements of a row in a task,
    number of outer axes, strides within a row, outer sizes, outer strides.  Strides are in elements; operand strides
    are 0 where the operand is broadcast."""
    sizes, steps = merged(*in_memory_order(shape, strides, itemsize, operands), apart=True)
    inner, rows = sizes.pop(), prod(sizes)
    pieces = CUTS * -(-inner * rows // (CUTS * PIECE)) if inner >= CUTS * LONG else 1
    width = -(-inner // pieces // ALIGNED) * ALIGNED if pieces > 1 else max(inner, 1)
    height = max(rows if pieces > 1 else PIECE // width, 1)
    numbers = [inner, rows, height, width, len(sizes), *[step[-1] for step in steps], *sizes]
    for step in steps:
        numbers += step[:-1]
    return -(-rows // height) * -(-inner // width), np.array(numbers, np.int64)


ALIGNED = 16  # elements: a vector of float32 does not cross the edge of a piece


def in_memory_order(shape, strides, itemsize, operands):
    """The sizes of the output's axes, outermost first, and the steps along them, in elements, of the output and of each
    operand; 0 where it is broadcast."""
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    steps = [[strides[axis] // itemsize for axis in order]]
    for operand_shape, operand_strides, operand_itemsize in operands:
        missing = len(shape) - len(operand_shape)
        steps.append(
            [
                0
                if axis < missing or operand_shape[axis - missing] == 1
                else operand_strides[axis - missing] // operand_itemsize
                for axis in order
            ]
        )
    return [shape[axis] for axis in order], steps


def merged(sizes, steps, apart):
    """Neighbouring axes made one wherever every operand allows it; axes of size 1 dropped.  With `apart`, the first of
    more than two stays by itself."""
    kept = [axis for axis, size in enumerate(sizes) if size != 1]
    joined: list[int] = []
    moves: list[list[int]] = [[] for _ in steps]
    for axis in kept:
        together = (
            bool(joined)
            and not (apart and len(kept) > 2 and axis == kept[1])
            and all(move[-1] == step[axis] * sizes[axis] for move, step in zip(moves, steps, strict=True))
        )
        if together:
            joined[-1] *= sizes[axis]
        else:
            joined.append(sizes[axis])
        for move, step in zip(moves, steps, strict=True):
            if together:
                move[-1] = step[axis]
            else:
                move.append(step[axis])
    return (joined, moves) if joined else ([1], [[0] for _ in steps])


@helper
def _row_start(row, plan, operands, operand):
    """Where row number `row` of an operand starts, in elements."""
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
def _piece(task, plan):
    """The rows and the elements of each that a task does: first row, last, first element, how many."""
    across = (plan[0] + plan[3] - 1) // plan[3]
    row, start = task // across * plan[2], task % across * plan[3]
    return row, smaller(row + plan[2], plan[1]), start, smaller(plan[3], plan[0] - start)


# ---- one loop for each number of operands


def _unary(f, kinds, result) -> Kernel:
    (first,) = kinds

    def loop(task, a: first, out: result, plan: Ints):  # type: ignore[valid-type]
        row, stop, start, n = _piece(task, plan)
        so, sa = plan[5], plan[6]
        for r in range(row, stop):
            o = _row_start(r, plan, 2, 0) + start * so
            p = _row_start(r, plan, 2, 1) + start * sa
            if so == 1 and sa == 1:
                for j in range(n):
                    out[o + j] = f(a[p + j])
            else:
                for j in range(n):
                    out[o + j * so] = f(a[p + j * sa])

    return Kernel(loop, getattr(f, "py_func", f))


def _binary(f, kinds, result) -> Kernel:
    first, second = kinds

    def loop(task, a: first, b: second, out: result, plan: Ints):  # type: ignore[valid-type]
        row, stop, start, n = _piece(task, plan)
        so, sa, sb = plan[5], plan[6], plan[7]
        for r in range(row, stop):
            o = _row_start(r, plan, 3, 0) + start * so
            p = _row_start(r, plan, 3, 1) + start * sa
            q = _row_start(r, plan, 3, 2) + start * sb
            if so == 1 and sa == 1 and sb == 1:
                for j in range(n):
                    out[o + j] = f(a[p + j], b[q + j])
            elif so == 1 and sa == 1 and sb == 0:
                number = b[q]
                for j in range(n):
                    out[o + j] = f(a[p + j], number)
            else:
                for j in range(n):
                    out[o + j * so] = f(a[p + j * sa], b[q + j * sb])

    return Kernel(loop, getattr(f, "py_func", f))


def _ternary(f, kinds, result) -> Kernel:
    first, second, third = kinds

    def loop(task, a: first, b: second, c: third, out: result, plan: Ints):  # type: ignore[valid-type]
        row, stop, start, n = _piece(task, plan)
        so, sa, sb, sc = plan[5], plan[6], plan[7], plan[8]
        for i in range(row, stop):
            o = _row_start(i, plan, 4, 0) + start * so
            p = _row_start(i, plan, 4, 1) + start * sa
            q = _row_start(i, plan, 4, 2) + start * sb
            r = _row_start(i, plan, 4, 3) + start * sc
            if so == 1 and sa == 1 and sb == 0 and sc == 0:
                number, other = b[q], c[r]
                for j in range(n):
                    out[o + j] = f(a[p + j], number, other)
            else:
                for j in range(n):
                    out[o + j * so] = f(a[p + j * sa], b[q + j * sb], c[r + j * sc])

    return Kernel(loop, getattr(f, "py_func", f))


# ---- values that depend on an element's place only


def places(function: Callable[..., object]):
    """A column (key, limit, scale, out) that fills `out` with function(place, key[0], limit, scale), where `place`
    counts the elements in C order, whatever the memory layout; key (1) uint64."""
    f = helper(function)

    def loop(task, key: Ints, limit, scale: float, out: Memory, plan: Ints):
        row, stop, start, n = _piece(task, plan)
        so, sa = plan[5], plan[6]
        for r in range(row, stop):
            o = _row_start(r, plan, 2, 0) + start * so
            p = _row_start(r, plan, 2, 1) + start * sa
            for j in range(n):
                out[o + j * so] = f(p + j * sa, key[0], limit, scale)

    run = Kernel(loop, function)

    def column(key: np.ndarray, limit: int, scale: float, out: np.ndarray) -> None:
        steps = np.cumprod((1, *out.shape[:0:-1]))[::-1].tolist()
        tasks, plan = _plan(out.shape, out.strides, out.itemsize, ((out.shape, tuple(steps[-out.ndim :]), 1),))
        if tasks:
            run(tasks, key.view(np.int64), limit, scale, out, plan)

    return column
