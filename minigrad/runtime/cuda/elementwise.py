"""Kernels that apply a scalar function element by element, on the GPU: one thread an element, with broadcasting.

As on the CPU the axes of all operands are put in the memory order of the output and merged where they can be; what
remains, in almost all cases one axis, is walked by division.  The formula is that of the CPU's kernel (see math.py).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..elementwise import in_memory_order, merged
from .array import DeviceArray, to_device
from .driver import cuda
from .kernel import Kernel
from .math import translated


def elementwise(formula: Callable[..., Any]) -> Callable[..., None]:
    """A column that fills its last argument with formula(a, ...) element by element; numbers stand for arrays."""

    def column(*arguments: Any) -> None:
        *operands, out = arguments
        operands = [_operand(value, out) for value in operands]
        run = _kernel(formula, "".join("a" if isinstance(value, DeviceArray) else "s" for value in operands))
        launch(run, operands, out)

    return column


def _operand(value: Any, out: DeviceArray) -> Any:
    """Arrays as they are; numbers as Python's, floats where floats are computed."""
    if isinstance(value, DeviceArray):
        return value
    number = value.item() if hasattr(value, "item") else value
    return float(number) if out.dtype.kind == "f" or isinstance(number, float) else int(number)


def launch(run: Kernel, operands: list[Any], out: DeviceArray) -> None:
    """Run an element-by-element kernel."""
    if not out.size:
        return
    arrays = [value for value in operands if isinstance(value, DeviceArray)]
    memories = [array.flat_memory() for array in (out, *arrays)]
    plan = _plan(
        out.shape,
        out.strides,
        out.itemsize,
        tuple([(array.shape, array.strides, array.itemsize) for array in arrays]),
        tuple([start for _, start in memories]),
    )
    flats = iter([flat for flat, _ in memories[1:]])
    values = [next(flats) if isinstance(value, DeviceArray) else value for value in operands]
    run.launch_over(out.size, plan, *values, memories[0][0])


@cache
def _plan(shape, strides, itemsize, operands, starts) -> DeviceArray:
    """What a kernel reads, int64: number of axes, of elements, where each array starts; then for each axis, innermost
    first, its size and the step of each array."""
    sizes, steps = merged(*in_memory_order(shape, strides, itemsize, operands), apart=False)
    numbers = [len(sizes), int(np.prod(sizes, dtype=np.int64)), *starts]
    for axis in reversed(range(len(sizes))):
        numbers += [sizes[axis], *[step[axis] for step in steps]]
    return to_device(np.array(numbers, np.int64))


def _walk(arrays: int) -> str:
    """The text that finds element i in each array: o in the first, p0 ... in the others."""
    places = ["o", *[f"p{k}" for k in range(arrays - 1)]]
    lines = [f"{place} = plan[{2 + k}]" for k, place in enumerate(places)]
    moves = [f"{place} += digit * plan[at + {1 + k}]" for k, place in enumerate(places)]
    return f"""
    for i in range(cuda.grid(1), plan[1], cuda.gridsize(1)):
        {"; ".join(lines)}
        rest, at = i, {2 + arrays}
        for axis in range(plan[0] - 1):
            digit = rest % plan[at]
            rest = rest // plan[at]
            {"; ".join(moves)}
            at += {1 + arrays}
        digit = rest
        {"; ".join(moves)}
"""


def _made(text: str, formula: Callable[..., Any], name: str) -> Kernel:
    scope: dict[str, Any] = {"cuda": cuda, "f": translated(formula), "__name__": __name__}
    exec(text, scope)
    scope["loop"].__doc__ = f"{formula.__name__}, element by element."
    return Kernel(scope["loop"], name)


@cache
def _kernel(formula: Callable[..., Any], kinds: str) -> Kernel:
    """kinds: for each operand "a" for an array, "s" for a number."""
    names = [f"x{k}" for k in range(len(kinds))]
    place = iter(range(len(kinds)))
    read = [f"{name}[p{next(place)}]" if kind == "a" else name for name, kind in zip(names, kinds, strict=True)]
    text = f"""
def loop(plan, {", ".join([*names, "out"])}):{_walk(1 + kinds.count("a"))}
        out[o] = f({", ".join(read)})
"""
    return _made(text, formula, f"{_page(formula)}.{formula.__name__}-{kinds}")


def _page(formula: Callable[..., Any]) -> str:
    return formula.__module__.rpartition(".")[2]


def places(formula: Callable[..., Any]) -> Callable[..., None]:
    """A column (key, limit, scale, out) that fills `out` with formula(place, key[0], limit, scale), where `place`
    counts the elements in C order, whatever the memory layout."""
    text = f"""
def loop(plan, key, limit, scale, out):{_walk(2)}
        out[o] = f(p0, key[0], limit, scale)
"""

    def column(key: DeviceArray, limit: int, scale: float, out: DeviceArray) -> None:
        if not out.size:
            return
        memory, start = out.flat_memory()
        steps = np.cumprod((1, *out.shape[:0:-1]))[::-1].tolist()[-out.ndim :] if out.ndim else []
        plan = _plan(out.shape, out.strides, out.itemsize, ((out.shape, tuple(steps), 1),), (start, 0))
        run = made(formula)
        run.launch_over(out.size, plan, key, limit, float(scale), memory)

    made = cache(lambda formula: _made(text, formula, f"{_page(formula)}.{formula.__name__}"))
    return column


# ---- copies


def _copied(x):
    return x


_copy = elementwise(_copied)


def assign(target: DeviceArray, source: Any) -> None:
    """Fill `target` with an array that broadcasts, or a number, turned into its dtype."""
    _copy(source, target)


DeviceArray.assign = assign
