"""Element-wise kernels on the GPU: one thread for each element, with broadcasting.

As on the CPU, the axes of all operands are put in the memory order of the output and merged where possible.  In almost
all cases one axis remains; otherwise a thread finds its element by division.  The formula is the CPU's (see math.py).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..elementwise import Index, c_order_strides, merge_axes, sort_axes
from ..kernel import Memory
from ..source import define_function
from .array import DeviceArray, to_device, to_device_each_replay
from .driver import cuda
from .kernel import Kernel
from .math import translated


def elementwise(formula: Callable[..., Any], kinds: tuple[type, ...], name: str) -> Callable[..., None]:
    """The implementation (operands..., out) that fills `out` with formula(a, ...) element by element; see
    ../elementwise.py.  A number may be given for an operand, and a NumPy array, which a replay sends again."""
    full_name = f"{formula.__module__.rpartition('.')[2]}.{name}"

    def implementation(*arguments: Any) -> None:
        out, given = arguments[-1], iter(arguments)
        if not out.size:
            return
        memory, start = out.flat_memory()
        letters, values, layouts, starts = "", [], [], [start]
        for kind in kinds[:-1]:
            value = _as_operand(next(given), kind, out) if kind is not Index else None
            letters += "i" if kind is Index else "a" if isinstance(value, DeviceArray) else "s"
            if kind is Index:
                layouts.append((out.shape, c_order_strides(out.shape), 1))
                starts.append(0)
            elif isinstance(value, DeviceArray):
                layouts.append((value.shape, value.strides, value.itemsize))
                flat, start = value.flat_memory()
                values.append(flat)
                starts.append(start)
            else:
                values.append(value)
        plan = _plan(out.shape, out.strides, out.itemsize, tuple(layouts), tuple(starts))
        _kernel(formula, full_name, letters).launch_over(out.size, plan, *values, memory)

    return implementation


def _as_operand(value: Any, kind: type, out: DeviceArray) -> Any:
    """An array of the GPU; or a number of Python, a float where floats are computed."""
    if isinstance(value, DeviceArray):
        return value
    if isinstance(value, np.ndarray) and value.ndim:
        return to_device_each_replay(value)
    number = value.item() if hasattr(value, "item") else value
    floats = isinstance(number, float) or (out.dtype.kind == "f" and kind is Memory)
    return float(number) if floats else int(number)


@cache
def _plan(shape, strides, itemsize, operands, starts) -> DeviceArray:
    """What a kernel reads, int64: number of axes, of elements, where each array starts; then for each axis, innermost
    first, its size and the step of each array."""
    sizes, steps = merge_axes(*sort_axes(shape, strides, itemsize, operands), keep_first=False)
    numbers = [len(sizes), int(np.prod(sizes, dtype=np.int64)), *starts]
    for axis in reversed(range(len(sizes))):
        numbers += [sizes[axis], *[step[axis] for step in steps]]
    return to_device(np.array(numbers, np.int64))


@cache
def _kernel(formula: Callable[..., Any], name: str, letters: str) -> Kernel:
    """The kernel for operands that are arrays ("a"), numbers ("s") or the element's number ("i")."""
    placed = [k for k, letter in enumerate(letters) if letter != "s"]
    values = [{"a": f"x{k}[p{k}]", "s": f"x{k}", "i": f"p{k}"}[letter] for k, letter in enumerate(letters)]
    places = ["o", *[f"p{k}" for k in placed]]
    text = KERNEL.format(
        parameters=", ".join([*[f"x{k}" for k, letter in enumerate(letters) if letter != "i"], "out"]),
        starts="; ".join(f"{place} = plan[{2 + k}]" for k, place in enumerate(places)),
        moves="; ".join(f"{place} += digit * plan[at + {1 + k}]" for k, place in enumerate(places)),
        first=2 + len(places),
        step=1 + len(places),
        values=", ".join(values),
    )
    function = define_function(text, cuda=cuda, f=translated(formula), __name__=__name__)
    function.__doc__ = f"{name}, element by element."
    return Kernel(function, f"{name}-{letters}")


KERNEL = """
def kernel(plan, {parameters}):
    for i in range(cuda.grid(1), plan[1], cuda.gridsize(1)):
        {starts}
        rest, at = i, {first}
        for axis in range(plan[0] - 1):
            digit = rest % plan[at]
            rest = rest // plan[at]
            {moves}
            at += {step}
        digit = rest
        {moves}
        out[o] = f({values})
"""


# ---- copies

_copy = elementwise(lambda x: x, (Memory, Memory), "copy")


def assign(target: DeviceArray, source: Any) -> None:
    """Fill `target` with an array that broadcasts, or a number, in its dtype."""
    _copy(source, target)


DeviceArray.assign = assign
