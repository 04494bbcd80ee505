"""Element-wise kernels on the GPU, with broadcasting.

As on the CPU, the axes of all operands are put in the memory order of the output and merged where possible.  In almost
all cases one axis remains, on which each operand is contiguous or a single element: then a thread computes AT_ONCE
elements, so that its reads wait for memory together.  Otherwise it finds each element by division.  The formula is the
CPU's (see math.py).
"""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..elementwise import Index, c_order_strides, sort_axes
from ..kernel import Memory
from ..memory import merge_axes
from ..source import define_function
from .array import DeviceArray, to_device, to_device_each_replay
from .driver import cuda
from .gpu import current_gpu
from .kernel import Formula, Kernel
from .math import translated

AT_ONCE = 4  # elements of a thread
BLOCKS_PER_MULTIPROCESSOR = 4  # fewer are few


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
        layout = _merge(out.shape, out.strides, out.itemsize, tuple(layouts))
        if layout.is_flat:
            letters = _mark_single(letters, layout)
            blocks, threads = _flat_grid(out.size)
            kernel = _flat_kernel(formula, full_name, letters)
            kernel.launch(blocks, threads, out.size, *starts, *values, memory)
        else:
            plan = _plan(layout, tuple(starts))
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


class _Layout(NamedTuple):
    """The merged axes of an operation: their sizes, outermost first, and the steps on them of `out` and each placed
    operand."""

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    is_flat: bool  # whether there is one axis, on which `out` is contiguous, and operands so or a single element


@cache
def _merge(shape, strides, itemsize, operands) -> _Layout:
    sizes, steps = merge_axes(*sort_axes(shape, strides, itemsize, operands), keep_first=False)
    is_flat = len(sizes) == 1 and list(steps[0]) == [1] and all(step[0] in (0, 1) for step in steps)
    return _Layout(tuple(sizes), tuple(map(tuple, steps)), is_flat)


@cache
def _plan(layout, starts) -> DeviceArray:
    """What a kernel reads, int64: number of axes, of elements, where each array starts; then for each axis, innermost
    first, its size and the step of each array."""
    numbers = [len(layout.sizes), prod(layout.sizes), *starts]
    for axis in reversed(range(len(layout.sizes))):
        numbers += [layout.sizes[axis], *[step[axis] for step in layout.steps]]
    return to_device(np.array(numbers, np.int64))


def _mark_single(letters: str, layout: _Layout) -> str:
    """The letters of a flat kernel, where operands that are a single element become "e"."""
    steps = iter(layout.steps[1:])
    return "".join("e" if letter != "s" and next(steps) == (0,) else letter for letter in letters)


def _flat_grid(count: int) -> tuple[int, int]:
    """The blocks and threads of a flat kernel: smaller blocks if there would be few."""
    gpu = current_gpu()
    small = count < AT_ONCE * gpu.block_threads * BLOCKS_PER_MULTIPROCESSOR * gpu.multiprocessors
    threads = max(gpu.block_threads // 4, 1) if small else gpu.block_threads
    return -(-count // (AT_ONCE * threads)), threads


@cache
def _flat_kernel(formula: Callable[..., Any], name: str, letters: str) -> Kernel:
    """The kernel of a flat operation, for operands that are arrays ("a"), single elements of arrays ("e"), numbers
    ("s") or the element's number ("i")."""
    forms = {"a": "x{0}[position(p{0} + {1})]", "e": "x{0}[position(p{0})]", "s": "x{0}", "i": "p{0} + {1}"}

    def call(index):
        return f"f({', '.join(forms[letter].format(k, index) for k, letter in enumerate(letters))})"

    starts = ["o", *[f"p{k}" for k, letter in enumerate(letters) if letter != "s"]]
    indices = [f"(i + {number} * cuda.blockDim.x)" for number in range(AT_ONCE)]
    text = FLAT_KERNEL.format(
        parameters=", ".join([*starts, *[f"x{k}" for k, letter in enumerate(letters) if letter != "i"], "out"]),
        span=AT_ONCE,
        last=indices[-1],
        computed="; ".join(f"r{number} = {call(index)}" for number, index in enumerate(indices)),
        stored="; ".join(f"out[position(o + {index})] = r{number}" for number, index in enumerate(indices)),
        one=call("j"),
    )
    scope = {"cuda": cuda, "f": translated(formula), "position": np.uint64, "__name__": __name__}
    function = define_function(text, **scope)
    function.__doc__ = f"{name}, element by element."
    return Kernel(function, f"{name}-{letters}-flat", writes=("out",), formula=Formula(formula, name, letters))


FLAT_KERNEL = """
def kernel(count, {parameters}):
    i = cuda.blockIdx.x * cuda.blockDim.x * {span} + cuda.threadIdx.x
    if {last} < count:
        {computed}
        {stored}
    else:
        for j in range(i, count, cuda.blockDim.x):
            out[position(o + j)] = {one}
"""


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
    return Kernel(function, f"{name}-{letters}", writes=("out",), formula=Formula(formula, name, ""))


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
