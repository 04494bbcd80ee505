"""Test cases: for every public operation, a Hypothesis strategy of valid calls and a reference in NumPy.

The inputs of a call are float64 arrays.  Their values all differ and are not at kinks or ties.  The reference follows
the formula and uses nothing of minigrad.  It accepts complex numbers too; a function with branches, such as relu,
branches on the real part.  The complex-step method needs this: the imaginary part of f(x + 1e-30 i), divided by 1e-30,
is the derivative of f to the last digits (W. Squire & G. Trapp, SIAM Review 40, 1998).

To test a new operation, add one strategy, here or in a file cases_*.py.  test_gradients.py, test_backends.py and
test_graph.py use all cases.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import minigrad as mg
from minigrad.nn import functional as F

BATCHES = (1, 3, 7, 17)  # 17 is one more than the widest vector of float32 holds


@dataclass
class Call:
    """One valid call.

    run        the call, on tensors
    reference  the same function on arrays, real or complex
    inputs     arrays; the result is differentiable with respect to each
    layouts    the memory layout of each input, see `laid_out`
    note       settings that a failing test shows
    """

    run: Callable[..., mg.Tensor]
    reference: Callable[..., np.ndarray]
    inputs: tuple[np.ndarray, ...]
    layouts: tuple[str, ...]
    note: dict[str, Any] = field(default_factory=dict)

    def leaves(self, dtype="float64", device="cpu") -> list[mg.Tensor]:
        """Return the inputs as leaf tensors that require gradients, in their layouts."""
        return [leaf(x, layout, dtype, device) for x, layout in zip(self.inputs, self.layouts, strict=True)]


def leaf(array, layout="plain", dtype="float64", device="cpu") -> mg.Tensor:
    """Return a leaf tensor that requires a gradient, in the given memory layout."""
    return on_device(laid_out(np.asarray(array, dtype), layout), device).requires_grad_()


def on_device(array, device) -> mg.Tensor:
    """Return a tensor on a device; on a CPU backend it shares the memory of the array and has its strides."""
    return mg.from_numpy(np.asarray(array)).to(device).detach()


LAYOUTS = ("plain", "Fortran", "batch innermost", "sliced", "reversed")


def laid_out(array, layout) -> np.ndarray:
    """Return an equal array in another memory layout.

    plain            C order
    Fortran          Fortran order
    batch innermost  (C, H, W, N) in memory for a shape (N, C, H, W)
    sliced           every second element of a larger array
    reversed         negative strides
    """
    if layout == "Fortran":
        return array.copy(order="F")
    if layout == "batch innermost" and array.ndim > 1:
        return np.moveaxis(np.moveaxis(array, 0, -1).copy(order="C"), -1, 0)
    if layout == "sliced" and array.ndim:
        larger = np.full([2 * size for size in array.shape], np.nan, array.dtype)
        view = larger[(slice(None, None, 2),) * array.ndim]
        view[...] = array
        return view
    if layout == "reversed" and array.ndim:
        return np.flip(np.flip(array).copy())
    return array.copy(order="C")


CASES: dict[str, st.SearchStrategy[Call]] = {}  # results that have gradients
PLAIN: dict[str, st.SearchStrategy[Call]] = {}  # results of integers or bool, which have no gradient


def register_case(name, table=CASES):
    """Return a decorator that adds a function of `draw`, which returns a Call, to a table of cases."""

    def add_to_table(function):
        table[name] = st.composite(function)()
        return function

    return add_to_table


# ---- values, shapes, layouts


def draw_values(draw, *shapes, low=-2.0, high=2.0) -> list[np.ndarray]:
    """Return arrays of numbers between low and high.  All differ, and none is 0 if low is -high."""
    count = sum(prod(shape) for shape in shapes)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = low + (high - low) * (random.permutation(count) + 0.25) / max(count, 1)
    ends = np.cumsum([prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(numbers, ends), shapes, strict=True)]


sizes = st.sampled_from((1, 2, 3, 5))
shapes = st.lists(sizes, max_size=3).map(tuple)
shapes_with_axes = st.lists(sizes, min_size=1, max_size=3).map(tuple)


def draw_broadcastable_shapes(draw, count) -> list[tuple[int, ...]]:
    """Return shapes that broadcast together: some lack leading axes, some axes have size 1."""
    whole = draw(st.lists(sizes, max_size=3))
    found = []
    for _ in range(count):
        kept = [size if draw(st.booleans()) else 1 for size in whole]
        found.append(tuple(kept[draw(st.integers(0, len(whole))) :]))
    return found


def draw_axis(draw, shape) -> int:
    """Return an axis of the shape, negative or not."""
    return draw(st.integers(-len(shape), len(shape) - 1))


def draw_axes(draw, shape):
    """Return None, one axis, or a tuple of different axes."""
    if not shape or draw(st.booleans()):
        return None
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    if len(chosen) == 1 and draw(st.booleans()):
        return chosen[0]
    return tuple(axis - len(shape) if draw(st.booleans()) else axis for axis in chosen)


def draw_call(draw, run, reference, *inputs, layouts=LAYOUTS, **note) -> Call:
    """Return a Call whose inputs have drawn layouts."""
    drawn = tuple(draw(st.sampled_from(layouts)) for _ in inputs)
    return Call(run, reference, tuple(np.asarray(x) for x in inputs), drawn, note)


# ---- elementwise operations

UNARY = {  # name: run, reference, low, high
    "neg": (lambda x: -x, lambda x: -x, -2, 2),
    "abs": (abs, lambda x: np.where(x.real > 0, x, -x), -2, 2),
    "exp": (mg.exp, np.exp, -2, 2),
    "log": (mg.log, np.log, 0.1, 9),
    "sqrt": (mg.sqrt, np.sqrt, 0.1, 9),
    "square": (mg.Tensor.square, lambda x: x * x, -2, 2),
    "relu": (mg.relu, lambda x: np.where(x.real > 0, x, 0), -2, 2),
    "sigmoid": (mg.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -6, 6),
    "tanh": (mg.tanh, np.tanh, -3, 3),
    "clone": (mg.Tensor.clone, lambda x: x + 0, -2, 2),
    "pow: square": (lambda x: x**2, lambda x: x * x, -2, 2),
    "pow: cube": (lambda x: x**3.0, lambda x: x * x * x, -2, 2),
    "pow: inverse": (lambda x: x**-1, lambda x: 1 / x, 0.5, 3),
    "pow: root": (lambda x: mg.pow(x, 0.5), np.sqrt, 0.5, 3),
    "pow: of a number": (lambda x: 2.0**x, lambda x: np.exp(np.log(2.0) * x), -2, 2),
    "add: a number": (lambda x: 3 + x + 0.5, lambda x: x + 3.5, -2, 2),
    "sub: from a number": (lambda x: 1 - (x - 2), lambda x: 3 - x, -2, 2),
    "mul: a number": (lambda x: 3 * x * 0.5, lambda x: 1.5 * x, -2, 2),
    "div: a number by": (lambda x: 3 / x / 2, lambda x: 1.5 / x, 0.5, 3),
    "add: alpha": (lambda x: x.add(x, alpha=3).sub(x, alpha=0.5), lambda x: 3.5 * x, -2, 2),
    "clip": (
        lambda x: x.clip(-np.pi / 4, np.e / 3),
        lambda x: np.where(x.real < -np.pi / 4, -np.pi / 4, np.where(x.real > np.e / 3, np.e / 3, x)),
        -2,
        2,
    ),
    "clip: one end": (lambda x: mg.clamp(x, max=np.e / 3), lambda x: np.where(x.real > np.e / 3, np.e / 3, x), -2, 2),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), lambda x: np.where(x.real > 0, x, 0.1 * x), -2, 2),
    "maximum: a number": (lambda x: x.maximum(np.e / 9), lambda x: np.where(x.real > np.e / 9, x, np.e / 9), -2, 2),
}


def _register_unary(name, run, reference, low, high):
    @register_case(name)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes), low=low, high=high)
        return draw_call(draw, run, reference, x)


for _name, _row in UNARY.items():
    _register_unary(_name, *_row)

BINARY = {  # name: run, reference
    "add": (mg.add, lambda a, b: a + b),
    "sub": (mg.sub, lambda a, b: a - b),
    "mul": (mg.mul, lambda a, b: a * b),
    "div": (mg.div, lambda a, b: a / b),
    "maximum": (mg.maximum, lambda a, b: np.where(a.real > b.real, a, b)),
    "minimum": (mg.minimum, lambda a, b: np.where(a.real < b.real, a, b)),
}


def _register_binary(name, run, reference):
    @register_case(name)
    def strategy(draw):
        a, b = draw_values(draw, *draw_broadcastable_shapes(draw, 2))
        if name == "div":
            b = b + 2 * np.sign(b)
        return draw_call(draw, run, reference, a, b)


for _name, _row in BINARY.items():
    _register_binary(_name, *_row)


@register_case("pow")
def _pow(draw):
    a, b = draw_values(draw, *draw_broadcastable_shapes(draw, 2), low=0.5, high=2.5)
    return draw_call(draw, mg.pow, lambda a, b: np.exp(b * np.log(a)), a, b - 1.5)


@register_case("where")
def _where(draw):
    shape, first, second = draw_broadcastable_shapes(draw, 3)
    a, b, chance = draw_values(draw, first, second, shape)
    condition = chance > 0
    return draw_call(
        draw, lambda a, b: mg.where(on_device(condition, a.device), a, b), lambda a, b: np.where(condition, a, b), a, b
    )


@register_case("where: a number")
def _where_number(draw):
    (x,) = draw_values(draw, draw(shapes))
    return draw_call(draw, lambda x: mg.where(x > 0, x, 0.5), lambda x: np.where(x.real > 0, x, 0.5), x)


# ---- reductions and softmax


def _reference_extreme(x, axes, keepdim, find):
    """Return the elements with the largest or smallest real part; find is argmax or argmin."""
    axes = tuple(range(x.ndim)) if axes is None else tuple(np.atleast_1d(axes) % x.ndim)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = x.transpose(*kept, *axes).reshape(*[x.shape[axis] for axis in kept], -1)
    found = np.take_along_axis(rows, find(rows.real, axis=-1)[..., None], -1)[..., 0]
    return np.expand_dims(found, axes) if keepdim else found


def _reference_mean(x, axes, keepdim):
    count = x.size // max(np.sum(np.real(x), axis=axes).size, 1)
    return np.sum(x, axis=axes, keepdims=keepdim) / count


def _reference_var(x, axes, keepdim):
    centred = x - _reference_mean(x, axes, True)
    count = x.size // np.sum(np.real(x), axis=axes).size
    return np.sum(centred * centred, axis=axes, keepdims=keepdim) / (count - 1)


REDUCTIONS = {  # name: run, reference
    "sum": (mg.sum, lambda x, axes, keepdim: np.sum(x, axis=axes, keepdims=keepdim)),
    "mean": (mg.mean, _reference_mean),
    "amax": (mg.amax, lambda x, axes, keepdim: _reference_extreme(x, axes, keepdim, np.argmax)),
    "amin": (mg.amin, lambda x, axes, keepdim: _reference_extreme(x, axes, keepdim, np.argmin)),
}


def _register_reduction(name, run, reference):
    @register_case(name)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes))
        axes, keepdim = draw_axes(draw, x.shape), draw(st.booleans())
        return draw_call(
            draw,
            lambda x: run(x, axes, keepdim=keepdim),
            lambda x: reference(x, axes, keepdim),
            x,
            dim=axes,
            keepdim=keepdim,
        )


for _name, _row in REDUCTIONS.items():
    _register_reduction(_name, *_row)

SPREADS = {"var": (mg.var, _reference_var), "std": (mg.std, lambda *args: np.sqrt(_reference_var(*args)))}


def _register_spread(name, run, reference):
    @register_case(name)
    def strategy(draw):
        first, second = draw(st.sampled_from((2, 3, 5))), draw(sizes)  # at least two numbers in each variance
        (x,) = draw_values(draw, (first, second))
        axes, keepdim = draw(st.sampled_from((None, 0, (0,), (0, 1), (-1, -2)))), draw(st.booleans())
        return draw_call(
            draw,
            lambda x: run(x, axes, keepdim=keepdim),
            lambda x: reference(x, axes, keepdim),
            x,
            dim=axes,
            keepdim=keepdim,
        )


for _name, _row in SPREADS.items():
    _register_spread(_name, *_row)

EXTREMES = {"max": (mg.max, np.argmax), "min": (mg.min, np.argmin)}


def _register_extreme(name, run, find):
    @register_case(name)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes_with_axes))
        axis, keepdim = draw_axis(draw, x.shape), draw(st.booleans())
        return draw_call(
            draw,
            lambda x: run(x, axis, keepdim=keepdim).values,
            lambda x: _reference_extreme(x, axis, keepdim, find),
            x,
            dim=axis,
            keepdim=keepdim,
        )


for _name, _row in EXTREMES.items():
    _register_extreme(_name, *_row)


def _reference_softmax(x, axis):
    e = np.exp(x - x.real.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@register_case("softmax")
def _softmax(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis = draw_axis(draw, x.shape)
    return draw_call(draw, lambda x: x.softmax(axis), lambda x: _reference_softmax(x, axis), x, dim=axis)


@register_case("log_softmax")
def _log_softmax(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis = draw_axis(draw, x.shape)
    return draw_call(draw, lambda x: F.log_softmax(x, axis), lambda x: np.log(_reference_softmax(x, axis)), x, dim=axis)


# ---- shapes


@register_case("reshape")
def _reshape(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    shape = draw(st.sampled_from([(-1,), (1, -1), x.shape[::-1], (x.shape[0], -1), (x.size, 1)]))
    return draw_call(draw, lambda x: x.reshape(*shape), lambda x: x.reshape(shape), x, shape=shape)


@register_case("flatten")
def _flatten(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    first = draw(st.integers(0, x.ndim - 1))
    last = draw(st.integers(first, x.ndim - 1))
    shape = (*x.shape[:first], -1, *x.shape[last + 1 :])
    return draw_call(
        draw, lambda x: F.flatten(x, first, last - x.ndim), lambda x: x.reshape(shape), x, dims=(first, last)
    )


@register_case("permute")
def _permute(draw):
    (x,) = draw_values(draw, draw(shapes))
    order = draw(st.permutations(range(x.ndim)))
    return draw_call(draw, lambda x: x.permute(*order), lambda x: x.transpose(order), x, dims=order)


@register_case("transpose")
def _transpose(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    a, b = draw_axis(draw, x.shape), draw_axis(draw, x.shape)
    return draw_call(draw, lambda x: x.transpose(a, b), lambda x: x.swapaxes(a, b), x, dims=(a, b))


@register_case("T")
def _transpose_all(draw):
    (x,) = draw_values(draw, draw(shapes))
    return draw_call(draw, lambda x: x.T, lambda x: x.T, x)


@register_case("squeeze and unsqueeze")
def _squeeze(draw):
    (x,) = draw_values(draw, draw(shapes))
    place = draw(st.integers(-x.ndim - 1, x.ndim))
    return draw_call(
        draw,
        lambda x: (2 * x.unsqueeze(place)).squeeze(place) + 3 * x.squeeze().reshape(x.shape),
        lambda x: 5 * x,
        x,
        dim=place,
    )


@register_case("expand")
def _expand(draw):
    (small,) = draw_broadcastable_shapes(draw, 1)
    (x,) = draw_values(draw, small)
    shape = (*draw(st.lists(sizes, max_size=1)), *[draw(sizes) if size == 1 else size for size in small])
    wanted = tuple(
        -1 if size == old else size
        for size, old in zip(shape, (None,) * (len(shape) - len(small)) + small, strict=True)
    )
    return draw_call(draw, lambda x: x.expand(*wanted), lambda x: np.broadcast_to(x, shape), x, sizes=wanted)


def draw_key(draw, shape) -> tuple[Any, ...]:
    """Return an index: numbers, slices, None, ..., and at most one list, array or mask; a list may repeat a number."""
    parts: list[Any] = []
    advanced = draw(st.integers(0, 2 * len(shape)))
    for axis, size in enumerate(shape):
        if axis == advanced:
            number = st.integers(-size, size - 1)
            parts.append(
                draw(
                    st.one_of(
                        st.lists(number, min_size=1, max_size=4),
                        st.lists(number, min_size=2, max_size=2).map(np.array),
                        st.just(np.arange(size) % 2 == 0),
                    )
                )
            )
            continue
        kind = draw(st.sampled_from(("number", "slice", "all")))
        if kind == "number":
            parts.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            parts.append(
                slice(
                    draw(st.sampled_from((None, 0, 1, -2))),
                    draw(st.sampled_from((None, size, -1, 1))),
                    draw(st.sampled_from((None, 1, 2, -1))),
                )
            )
        else:
            parts.append(slice(None))
    if draw(st.booleans()):
        del parts[draw(st.integers(0, len(parts))) :]  # the last axes are not indexed
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


@register_case("index")
def _index(draw):
    (x,) = draw_values(draw, draw(shapes))
    key = draw_key(draw, x.shape)
    return draw_call(draw, lambda x: x[key], lambda x: index_as_pytorch(x, key), x, key=key)


def index_as_pytorch(array, key) -> np.ndarray:
    """Return array[key] with PyTorch's order of axes.

    PyTorch applies the numbers of a key first.  NumPy takes a number beside a list for a list of one, which can move
    the axis of the list to the front.
    """
    numbers = tuple(part if isinstance(part, int) else slice(None) for part in key if not (part is None or part is ...))
    return array[numbers][tuple(part for part in key if not isinstance(part, int))]


@register_case("index: a number, a slice and a list")
def _index_number_and_list(draw):
    first, second = draw(sizes), draw(sizes)
    (x,) = draw_values(draw, (2, first, second))
    place = draw(st.lists(st.integers(-second, second - 1), max_size=3))
    key = draw(st.sampled_from(((1, slice(None), place), (slice(None), 0, place), (1, None, slice(None), place))))
    return draw_call(draw, lambda x: x[key], lambda x: index_as_pytorch(x, key), x, key=key)


@register_case("clip: tensors")
def _clip_tensors(draw):
    x, low, high = draw_values(draw, *draw_broadcastable_shapes(draw, 3))

    def reference(x, low, high):
        raised = np.where(x.real < low.real, low, x)
        return np.where(raised.real > high.real, high, raised)

    return draw_call(draw, mg.clip, reference, x, low, high)


def _draw_assignment(draw, make_keys):
    """Return a call that assigns to one of the keys that make_keys(row) returns."""
    shape = draw(shapes_with_axes)
    key = draw(st.sampled_from(make_keys(draw(st.integers(0, shape[0] - 1)))))
    x, v = draw_values(draw, shape, np.empty(shape)[key].shape if draw(st.booleans()) else ())

    def run(x, v):
        y = x * 2
        y[key] = v
        return y

    def reference(x, v):
        y = np.array(x * 2, np.result_type(x, v))
        y[key] = v
        return y

    return draw_call(draw, run, reference, x, v, key=key)


@register_case("assign")
def _assign(draw):
    return _draw_assignment(draw, lambda row: (row, slice(row, None), ..., (..., 0)))


@register_case("assign: a list")
def _assign_list(draw):
    return _draw_assignment(draw, lambda row: ([row],))


@register_case("gather")
def _gather(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    axis = draw_axis(draw, x.shape)
    shape = [draw(st.integers(1, size)) for size in x.shape]
    shape[axis] = draw(sizes)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    index = random.integers(0, x.shape[axis], shape)
    within = tuple(slice(None) if d == axis % x.ndim else slice(0, size) for d, size in enumerate(shape))
    return draw_call(
        draw,
        lambda x: x.gather(axis, on_device(index, x.device)),
        lambda x: np.take_along_axis(x[within], index, axis),
        x,
        dim=axis,
        index=index,
    )


@register_case("cat")
def _cat(draw):
    shape = draw(shapes_with_axes)
    axis = draw_axis(draw, shape)
    parts = draw_values(
        draw,
        *[
            (*shape[: axis % len(shape)], draw(sizes), *shape[axis % len(shape) + 1 :])
            for _ in range(draw(st.integers(1, 3)))
        ],
    )
    return draw_call(
        draw, lambda *parts: mg.cat(parts, axis), lambda *parts: np.concatenate(parts, axis), *parts, dim=axis
    )


@register_case("stack")
def _stack(draw):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    parts = draw_values(draw, *[shape] * draw(st.integers(1, 3)))
    return draw_call(draw, lambda *parts: mg.stack(parts, axis), lambda *parts: np.stack(parts, axis), *parts, dim=axis)


@register_case("pad")
def _pad(draw):
    (x,) = draw_values(draw, draw(shapes_with_axes))
    margins = [draw(st.integers(-(size // 2), 2)) for size in x.shape[::-1] for _ in range(2)]
    margins = margins[: 2 * draw(st.integers(0, x.ndim))]
    fill = draw(st.sampled_from((0.0, -1.5)))

    def reference(x):
        widths = [(0, 0)] * (x.ndim - len(margins) // 2) + list(zip(margins[::2], margins[1::2], strict=True))[::-1]
        out = np.full([size + a + b for size, (a, b) in zip(x.shape, widths, strict=True)], fill, x.dtype)
        target = tuple(slice(max(a, 0), size + a + min(b, 0)) for size, (a, b) in zip(x.shape, widths, strict=True))
        source = tuple(slice(max(-a, 0), size + min(b, 0)) for size, (a, b) in zip(x.shape, widths, strict=True))
        out[target] = x[source]
        return out

    return draw_call(draw, lambda x: F.pad(x, margins, value=fill), reference, x, pad=margins, value=fill)


@register_case("to: another device")
def _transfer(draw):
    (x,) = draw_values(draw, draw(shapes))
    return draw_call(draw, lambda x: (x.to("numpy") * x.to("numpy")).to(x.device), lambda x: x * x, x)


# ---- matrix products; a few sizes only, so that few tiles are compiled

SIDES = st.sampled_from((1, 4, 17))


@register_case("matmul")
def _matmul(draw):
    M, N, K = draw(SIDES), draw(SIDES), draw(sizes)
    a, b = draw_values(draw, (M, K), (K, N))
    return draw_call(draw, lambda a, b: a @ b, np.matmul, a, b)


@register_case("matmul: batches and vectors")
def _matmul_batched(draw):
    lead_a, lead_b = draw_broadcastable_shapes(draw, 2)
    forms = [((4, 3), (3, 2)), ((3,), (3, 2)), ((4, 3), (3,)), ((3,), (3,))]
    left, right = draw(st.sampled_from(forms))
    a, b = draw_values(draw, (lead_a if len(left) == 2 else ()) + left, (lead_b if len(right) == 2 else ()) + right)
    return draw_call(draw, mg.matmul, np.matmul, a, b)


@register_case("linear")
def _linear(draw):
    lead = draw(st.sampled_from([*[(n,) for n in BATCHES], (), (2, 3)]))
    IN, OUT = draw(sizes), draw(st.sampled_from((1, 4, 6)))
    x, w, b = draw_values(draw, (*lead, IN), (OUT, IN), (OUT,))
    if draw(st.booleans()):
        return draw_call(draw, F.linear, lambda x, w: x @ w.T, x, w, bias=False)
    return draw_call(draw, F.linear, lambda x, w, b: x @ w.T + b, x, w, b)


# ---- images


def window_starts(size, reach, stride, before, after, ceil_mode):
    """Return the first pixel of every window along one side of an image.

    Every window lies within the image and its padding.  With ceil_mode, one more window may extend beyond the padding
    by less than a stride, if it begins inside the image.
    """
    found = list(range(-before, size + after - reach + 1, stride))
    following = found[-1] + stride if found else -before
    if ceil_mode and following + reach - (size + after) < stride and following < size:
        found.append(following)
    return found


def sliding_windows(x, window, stride, pads, dilation=(1, 1), ceil_mode=False, fill=0.0):
    """Return all windows of images (N, C, H, W), as (N, C, OH, OW, KH, KW)."""
    margins = [(0, 0), (0, 0)]
    for side in (0, 1):
        size, reach, (before, after) = x.shape[2 + side], dilation[side] * (window[side] - 1) + 1, pads[side]
        last = window_starts(size, reach, stride[side], before, after, ceil_mode)[-1]
        margins.append((before, max(last + reach - size, 0)))
    padded = np.pad(x, margins, constant_values=fill)
    reaches = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    found = sliding_window_view(padded, reaches, axis=(2, 3))
    return found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def draw_pair(draw, choices):
    """Return a setting as one number or a pair, and the pair that it stands for."""
    both = draw(st.sampled_from(choices)), draw(st.sampled_from(choices))
    if draw(st.booleans()):
        return both[0], (both[0], both[0])
    return both, both


def _draw_side(draw, reach, margins):
    """Return a height or width that is at most 3 larger than the smallest in which a window fits."""
    return max(reach - margins, 1) + draw(st.integers(0, 3))


@register_case("conv2d")
def _conv2d(draw):
    N, groups = draw(st.sampled_from(BATCHES)), draw(st.sampled_from((1, 1, 2)))
    C, parts = draw(st.sampled_from((1, 2))), draw(st.sampled_from((1, 4)))
    KH, KW = draw(st.sampled_from(((3, 2), (1, 1), (2, 3), (3, 3), (1, 3))))
    given_dilation, dilation = draw_pair(draw, (1, 2))
    reach = (dilation[0] * (KH - 1) + 1, dilation[1] * (KW - 1) + 1)
    padding = draw(st.sampled_from((0, 1, (2, 1), "same", "valid")))
    if padding == "same":
        pads = tuple(((r - 1) // 2, r // 2) for r in reach)
    else:
        pads = tuple((p, p) for p in {"valid": (0, 0), 0: (0, 0), 1: (1, 1)}.get(padding, padding))
    given_stride, stride = (1, (1, 1)) if padding == "same" else draw_pair(draw, (1, 2, 4))
    H, W = (_draw_side(draw, r, sum(p)) for r, p in zip(reach, pads, strict=True))
    x, w, b = draw_values(draw, (N, C * groups, H, W), (parts * groups, C, KH, KW), (parts * groups,))
    settings = {"stride": given_stride, "padding": padding, "dilation": given_dilation, "groups": groups}

    def reference(x, w, b=None):
        found = sliding_windows(x, (KH, KW), stride, pads, dilation)
        out = np.concatenate(
            [
                np.einsum("nchwkl,fckl->nfhw", found[:, C * i : C * (i + 1)], w[parts * i : parts * (i + 1)])
                for i in range(groups)
            ],
            axis=1,
        )
        return out if b is None else out + b[:, None, None]

    inputs = (x, w, b) if draw(st.booleans()) else (x, w)
    return draw_call(draw, lambda *tensors: F.conv2d(*tensors, **settings), reference, *inputs, **settings)


def _draw_pool_settings(draw, dilated):
    """Return valid settings of a pooling: the arguments, and (window, stride, pads, dilation) that they stand for."""
    given_window, window = draw_pair(draw, (1, 2, 3))
    given_stride, stride = draw(st.sampled_from(((None, window), (2, (2, 2)), ((1, 3), (1, 3)), (4, (4, 4)))))
    given_dilation, dilation = draw_pair(draw, (1, 2)) if dilated else (1, (1, 1))
    padding = tuple(draw(st.integers(0, side // 2)) for side in window)
    given = {"kernel_size": given_window, "stride": given_stride, "padding": padding}
    given["ceil_mode"] = draw(st.booleans())
    if dilated:
        given["dilation"] = given_dilation
    return given, (window, stride, tuple((p, p) for p in padding), dilation)


def _draw_images(draw, ceil_mode, window, stride, pads, dilation):
    """Images in which every window holds a pixel: at least as large as a stretched window, or as small as one window
    fits on that has no gaps; see `starts`."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    over = [(s - 1) * ceil_mode for s in stride]
    margins = [(sum(p) + o) * (d == 1) for p, o, d in zip(pads, over, dilation, strict=True)]
    sizes = [_draw_side(draw, r, margin) for r, margin in zip(reach, margins, strict=True)]
    (x,) = draw_values(draw, (draw(st.sampled_from(BATCHES)), draw(st.sampled_from((1, 2))), *sizes))
    return x


@register_case("max_pool2d")
def _max_pool2d(draw):
    given, meant = _draw_pool_settings(draw, dilated=True)
    x = _draw_images(draw, given["ceil_mode"], *meant)

    def reference(x):
        found = sliding_windows(x, *meant, ceil_mode=given["ceil_mode"], fill=-np.inf)
        rows = found.reshape(*found.shape[:4], -1)
        return np.take_along_axis(rows, rows.real.argmax(-1)[..., None], -1)[..., 0]

    return draw_call(draw, lambda x: F.max_pool2d(x, **given), reference, x, **given)


@register_case("avg_pool2d")
def _avg_pool2d(draw):
    given, meant = _draw_pool_settings(draw, dilated=False)
    given["count_include_pad"], given["divisor_override"] = draw(st.booleans()), draw(st.sampled_from((None, None, 3)))
    x = _draw_images(draw, given["ceil_mode"], *meant)

    def reference(x):
        counted = np.pad(np.ones(x.shape), ((0, 0), (0, 0), *meant[2]), constant_values=given["count_include_pad"])
        divisor = given["divisor_override"] or _counted_windows(counted, meant, x.shape, given["ceil_mode"]).sum(
            (-1, -2)
        )
        return sliding_windows(x, *meant, ceil_mode=given["ceil_mode"]).sum((-1, -2)) / divisor

    return draw_call(draw, lambda x: F.avg_pool2d(x, **given), reference, x, **given)


def _counted_windows(counted, meant, shape, ceil_mode):
    """Return the windows of padded images that are 1 where a pixel counts.  What lies beyond the padding is 0."""
    window, stride, pads, _ = meant
    more = [(0, 0), (0, 0)]
    for side in (0, 1):
        last = window_starts(shape[2 + side], window[side], stride[side], *pads[side], ceil_mode)[-1]
        more.append((0, max(last + pads[side][0] + window[side] - counted.shape[2 + side], 0)))
    found = sliding_window_view(np.pad(counted, more), window, axis=(2, 3))
    return found[:, :, :: stride[0], :: stride[1]]


# ---- losses


def _draw_labels(draw, shape, classes, ignore):
    """Return labels; if ignore is given, every third one has that value."""
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, classes, shape)
    if ignore is not None:
        labels.flat[1::3] = ignore
    return labels.astype(draw(st.sampled_from(("int64", "int32"))))


def _draw_classification(draw):
    """Return logits (N, K, ...), labels, weights of the classes or None, and the other settings of a loss."""
    N, K, more = (
        draw(st.sampled_from(BATCHES)),
        draw(st.sampled_from((2, 5))),
        draw(st.sampled_from(((), (3,), (2, 2)))),
    )
    ignore = draw(st.sampled_from((None, -100, 1)))
    (x,) = draw_values(draw, (N, K, *more))
    labels = _draw_labels(draw, (N, *more), K, ignore)
    labels.flat[0] = 0
    weight = draw(st.sampled_from((None, np.linspace(0.5, 2, K))))
    given = {"reduction": draw(st.sampled_from(("mean", "sum", "none")))}
    if ignore is not None:
        given["ignore_index"] = ignore
    return x, labels, weight, given


def _reference_losses(logs, labels, weight, given, smoothing=0.0):
    """Return -sum over classes of target * log probability, image by image."""
    K, ignore = logs.shape[1], given.get("ignore_index", -100)
    weight = np.ones(K) if weight is None else weight
    classes = np.moveaxis(logs, 1, -1)
    losses, total = np.zeros(labels.shape, logs.dtype), 0.0
    for place in np.ndindex(labels.shape):
        if labels[place] != ignore:
            target = np.full(K, smoothing / K) + (1 - smoothing) * (np.arange(K) == labels[place])
            losses[place] = -(target * weight * classes[place]).sum()
            total += weight[labels[place]]
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total}[given["reduction"]]


def _bind_labels(function, labels, weight, given):
    """Return the loss as a function of the logits alone."""

    def run(x):
        weights = None if weight is None else on_device(weight.astype(x.dtype), x.device)
        return function(x, on_device(labels, x.device), weight=weights, **given)

    return run


@register_case("cross_entropy")
def _cross_entropy(draw):
    x, labels, weight, given = _draw_classification(draw)
    smoothing = draw(st.sampled_from((0.0, 0.1, 1.0)))
    return draw_call(
        draw,
        _bind_labels(F.cross_entropy, labels, weight, {**given, "label_smoothing": smoothing}),
        lambda x: _reference_losses(np.log(_reference_softmax(x, 1)), labels, weight, given, smoothing),
        x,
        labels=labels,
        weight=weight,
        smoothing=smoothing,
        **given,
    )


@register_case("nll_loss")
def _nll_loss(draw):
    x, labels, weight, given = _draw_classification(draw)
    return draw_call(
        draw,
        _bind_labels(F.nll_loss, labels, weight, given),
        lambda x: _reference_losses(x, labels, weight, given),
        x,
        labels=labels,
        weight=weight,
        **given,
    )


@register_case("mse_loss")
def _mse_loss(draw):
    shape = draw(shapes_with_axes)
    x, y = draw_values(draw, shape, shape)
    reduction = draw(st.sampled_from(("mean", "sum", "none")))
    reduce = {"mean": np.mean, "sum": np.sum, "none": lambda losses: losses}[reduction]
    return draw_call(
        draw,
        lambda x, y: F.mse_loss(x, y, reduction),
        lambda x, y: reduce((x - y) * (x - y)),
        x,
        y,
        reduction=reduction,
    )


def reference_mask(shape, p, seed):
    """Return the first mask that dropout draws after a seed: SplitMix64 of a key and each index in C order."""
    key, mask = int(np.random.SeedSequence([seed, 0]).generate_state(1, np.uint64)[0]), np.empty(prod(shape))
    for index in range(mask.size):
        z = (key + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        mask[index] = 0 if (z ^ (z >> 31)) >> 40 < round(p * 2**24) else 1 / (1 - p)
    return mask.reshape(shape)


@register_case("dropout")
def _dropout(draw):
    (x,) = draw_values(draw, draw(shapes))
    p, seed = draw(st.sampled_from((0.0, 0.25, 0.5))), draw(st.integers(0, 2**64 - 1))

    def run(x):
        mg.manual_seed(seed)
        return F.dropout(x, p)

    return draw_call(draw, run, lambda x: x * reference_mask(x.shape, p, seed), x, p=p, seed=seed)


# ---- results without gradients

COMPARISONS = {
    "eq": (lambda a, b: a == b, np.equal),
    "ne": (lambda a, b: a != b, np.not_equal),
    "lt": (lambda a, b: a < b, np.less),
    "le": (lambda a, b: a <= b, np.less_equal),
    "gt": (lambda a, b: a > b, np.greater),
    "ge": (lambda a, b: a >= b, np.greater_equal),
}


def _register_comparison(name, run, reference):
    @register_case(name, PLAIN)
    def strategy(draw):
        a, b = draw_values(draw, *draw_broadcastable_shapes(draw, 2))
        return draw_call(draw, run, reference, np.round(a), np.round(b))  # rounded, so that some are equal


for _name, _row in COMPARISONS.items():
    _register_comparison(_name, *_row)

POSITIONS = {"argmax": (mg.argmax, np.argmax), "argmin": (mg.argmin, np.argmin)}


def _register_position(name, run, reference):
    @register_case(name, PLAIN)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes))
        axis = draw_axis(draw, x.shape) if x.ndim and draw(st.booleans()) else None
        keepdim = draw(st.booleans())
        return draw_call(
            draw,
            lambda x: run(x, axis, keepdim=keepdim),
            lambda x: reference(x, axis, keepdims=keepdim),
            np.round(x),
            dim=axis,
            keepdim=keepdim,
        )  # rounded, so that the first of several equals counts


for _name, _row in POSITIONS.items():
    _register_position(_name, *_row)


# ---- the other files of cases

for _file in sorted(Path(__file__).parent.glob("cases_*.py")):
    import_module(_file.stem)
