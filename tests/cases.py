"""The table: for every public operation a strategy of valid calls, with a judge written from the formula.

The inputs of a call are float64 arrays whose values all differ and lie away from kinks and ties.  The judge is plain
NumPy, independent of the engine, and takes complex numbers too: where it must choose, as relu does, it chooses by the
real part.  So every case serves the complex step, which gives the derivative by an entry to the last digits as the
imaginary part of the result, after a step of 1e-30 i (W. Squire & G. Trapp, SIAM Review 40, 1998).

To test a new operation, add one strategy here; test_gradients.py and test_backends.py find it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import minigrad as mg
from minigrad.nn import functional as F

BATCHES = (1, 3, 7, 17)  # one image, odd numbers, and one more than a vector of float32 holds


@dataclass
class Call:
    """One valid call.

    run      the call, on tensors
    judge    the same on arrays, real or complex
    inputs   the arrays by which it can be differentiated
    layouts  the memory of each, see `laid_out`
    note     settings, to be shown where a test fails
    """

    run: Callable[..., mg.Tensor]
    judge: Callable[..., np.ndarray]
    inputs: tuple[np.ndarray, ...]
    layouts: tuple[str, ...]
    note: dict[str, Any] = field(default_factory=dict)

    def leaves(self, dtype="float64", device="cpu") -> list[mg.Tensor]:
        """The inputs as tensors that record, in their layouts."""
        return [leaf(x, layout, dtype, device) for x, layout in zip(self.inputs, self.layouts, strict=True)]


def leaf(array, layout="plain", dtype="float64", device="cpu") -> mg.Tensor:
    """A tensor that records, on memory of that layout."""
    return on_device(laid_out(np.asarray(array, dtype), layout), device).requires_grad_()


def on_device(array, device) -> mg.Tensor:
    """A tensor of a device that shares the array's memory, strides included."""
    return mg.from_numpy(np.asarray(array)).to(device).detach()


LAYOUTS = ("plain", "mirrored", "batch innermost", "sliced", "reversed")


def laid_out(array, layout) -> np.ndarray:
    """An equal array whose memory is C-contiguous, Fortran-contiguous, (C, H, W, N) for (N, C, H, W), every second
    element of a larger array, or runs backwards."""
    if layout == "mirrored":
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


CASES: dict[str, st.SearchStrategy[Call]] = {}  # differentiable operations
PLAIN: dict[str, st.SearchStrategy[Call]] = {}  # whole numbers or bool come out


def case(name, table=CASES):
    """Put a function of `draw` into the table."""

    def register(function):
        table[name] = st.composite(function)()
        return function

    return register


# ---- values, shapes, layouts


def values(draw, *shapes, low=-2.0, high=2.0) -> list[np.ndarray]:
    """Arrays of numbers between low and high, all different, and none 0 where low is -high."""
    count = sum(prod(shape) for shape in shapes)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = low + (high - low) * (random.permutation(count) + 0.25) / max(count, 1)
    ends = np.cumsum([prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(numbers, ends), shapes, strict=True)]


sizes = st.sampled_from((1, 2, 3, 5))
shapes = st.lists(sizes, max_size=3).map(tuple)
shapes_with_axes = st.lists(sizes, min_size=1, max_size=3).map(tuple)


def broadcastable(draw, count) -> list[tuple[int, ...]]:
    """Shapes that broadcast together: leading axes left out, others 1."""
    whole = draw(st.lists(sizes, max_size=3))
    found = []
    for _ in range(count):
        kept = [size if draw(st.booleans()) else 1 for size in whole]
        found.append(tuple(kept[draw(st.integers(0, len(whole))) :]))
    return found


def an_axis(draw, shape) -> int:
    """An axis of the shape, counted from either end."""
    return draw(st.integers(-len(shape), len(shape) - 1))


def some_axes(draw, shape):
    """None, one axis, or a tuple of different axes."""
    if not shape or draw(st.booleans()):
        return None
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    if len(chosen) == 1 and draw(st.booleans()):
        return chosen[0]
    return tuple(axis - len(shape) if draw(st.booleans()) else axis for axis in chosen)


def call(draw, run, judge, *inputs, layouts=LAYOUTS, **note) -> Call:
    """A call in drawn layouts."""
    drawn = tuple(draw(st.sampled_from(layouts)) for _ in inputs)
    return Call(run, judge, tuple(np.asarray(x) for x in inputs), drawn, note)


# ---- element by element

UNARY = {  # name: run, judge, low, high
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


def _unary(name, run, judge, low, high):
    @case(name)
    def strategy(draw):
        (x,) = values(draw, draw(shapes), low=low, high=high)
        return call(draw, run, judge, x)


for _name, _row in UNARY.items():
    _unary(_name, *_row)

BINARY = {  # name: run, judge
    "add": (mg.add, lambda a, b: a + b),
    "sub": (mg.sub, lambda a, b: a - b),
    "mul": (mg.mul, lambda a, b: a * b),
    "div": (mg.div, lambda a, b: a / b),
    "maximum": (mg.maximum, lambda a, b: np.where(a.real > b.real, a, b)),
    "minimum": (mg.minimum, lambda a, b: np.where(a.real < b.real, a, b)),
}


def _binary(name, run, judge):
    @case(name)
    def strategy(draw):
        a, b = values(draw, *broadcastable(draw, 2))
        if name == "div":
            b = b + 2 * np.sign(b)
        return call(draw, run, judge, a, b)


for _name, _row in BINARY.items():
    _binary(_name, *_row)


@case("pow")
def _pow(draw):
    a, b = values(draw, *broadcastable(draw, 2), low=0.5, high=2.5)
    return call(draw, mg.pow, lambda a, b: np.exp(b * np.log(a)), a, b - 1.5)


@case("where")
def _where(draw):
    shape, first, second = broadcastable(draw, 3)
    a, b, chance = values(draw, first, second, shape)
    condition = chance > 0
    return call(
        draw, lambda a, b: mg.where(on_device(condition, a.device), a, b), lambda a, b: np.where(condition, a, b), a, b
    )


@case("where: a number")
def _where_number(draw):
    (x,) = values(draw, draw(shapes))
    return call(draw, lambda x: mg.where(x > 0, x, 0.5), lambda x: np.where(x.real > 0, x, 0.5), x)


# ---- reductions and softmax


def _judge_extreme(x, axes, keepdim, place):
    """The largest or smallest element by real part; all values differ."""
    axes = tuple(range(x.ndim)) if axes is None else tuple(np.atleast_1d(axes) % x.ndim)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = x.transpose(*kept, *axes).reshape(*[x.shape[axis] for axis in kept], -1)
    picked = np.take_along_axis(rows, place(rows.real, axis=-1)[..., None], -1)[..., 0]
    return np.expand_dims(picked, axes) if keepdim else picked


def _judge_mean(x, axes, keepdim):
    count = x.size // max(np.sum(np.real(x), axis=axes).size, 1)
    return np.sum(x, axis=axes, keepdims=keepdim) / count


def _judge_var(x, axes, keepdim):
    centred = x - _judge_mean(x, axes, True)
    count = x.size // np.sum(np.real(x), axis=axes).size
    return np.sum(centred * centred, axis=axes, keepdims=keepdim) / (count - 1)


REDUCTIONS = {  # name: run, judge
    "sum": (mg.sum, lambda x, axes, keepdim: np.sum(x, axis=axes, keepdims=keepdim)),
    "mean": (mg.mean, _judge_mean),
    "amax": (mg.amax, lambda x, axes, keepdim: _judge_extreme(x, axes, keepdim, np.argmax)),
    "amin": (mg.amin, lambda x, axes, keepdim: _judge_extreme(x, axes, keepdim, np.argmin)),
}


def _reduction(name, run, judge):
    @case(name)
    def strategy(draw):
        (x,) = values(draw, draw(shapes))
        axes, keepdim = some_axes(draw, x.shape), draw(st.booleans())
        return call(
            draw,
            lambda x: run(x, axes, keepdim=keepdim),
            lambda x: judge(x, axes, keepdim),
            x,
            dim=axes,
            keepdim=keepdim,
        )


for _name, _row in REDUCTIONS.items():
    _reduction(_name, *_row)

SPREADS = {"var": (mg.var, _judge_var), "std": (mg.std, lambda *args: np.sqrt(_judge_var(*args)))}


def _spread(name, run, judge):
    @case(name)
    def strategy(draw):
        first, second = draw(st.sampled_from((2, 3, 5))), draw(sizes)  # at least two numbers in each sum
        (x,) = values(draw, (first, second))
        axes, keepdim = draw(st.sampled_from((None, 0, (0,), (0, 1), (-1, -2)))), draw(st.booleans())
        return call(
            draw,
            lambda x: run(x, axes, keepdim=keepdim),
            lambda x: judge(x, axes, keepdim),
            x,
            dim=axes,
            keepdim=keepdim,
        )


for _name, _row in SPREADS.items():
    _spread(_name, *_row)

EXTREMES = {"max": (mg.max, np.argmax), "min": (mg.min, np.argmin)}


def _extreme(name, run, place):
    @case(name)
    def strategy(draw):
        (x,) = values(draw, draw(shapes_with_axes))
        axis, keepdim = an_axis(draw, x.shape), draw(st.booleans())
        return call(
            draw,
            lambda x: run(x, axis, keepdim=keepdim).values,
            lambda x: _judge_extreme(x, axis, keepdim, place),
            x,
            dim=axis,
            keepdim=keepdim,
        )


for _name, _row in EXTREMES.items():
    _extreme(_name, *_row)


def _judge_softmax(x, axis):
    e = np.exp(x - x.real.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@case("softmax")
def _softmax(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    axis = an_axis(draw, x.shape)
    return call(draw, lambda x: x.softmax(axis), lambda x: _judge_softmax(x, axis), x, dim=axis)


@case("log_softmax")
def _log_softmax(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    axis = an_axis(draw, x.shape)
    return call(draw, lambda x: F.log_softmax(x, axis), lambda x: np.log(_judge_softmax(x, axis)), x, dim=axis)


# ---- shapes


@case("reshape")
def _reshape(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    shape = draw(st.sampled_from([(-1,), (1, -1), x.shape[::-1], (x.shape[0], -1), (x.size, 1)]))
    return call(draw, lambda x: x.reshape(*shape), lambda x: x.reshape(shape), x, shape=shape)


@case("flatten")
def _flatten(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    first = draw(st.integers(0, x.ndim - 1))
    last = draw(st.integers(first, x.ndim - 1))
    shape = (*x.shape[:first], -1, *x.shape[last + 1 :])
    return call(draw, lambda x: F.flatten(x, first, last - x.ndim), lambda x: x.reshape(shape), x, dims=(first, last))


@case("permute")
def _permute(draw):
    (x,) = values(draw, draw(shapes))
    order = draw(st.permutations(range(x.ndim)))
    return call(draw, lambda x: x.permute(*order), lambda x: x.transpose(order), x, dims=order)


@case("transpose")
def _transpose(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    a, b = an_axis(draw, x.shape), an_axis(draw, x.shape)
    return call(draw, lambda x: x.transpose(a, b), lambda x: x.swapaxes(a, b), x, dims=(a, b))


@case("T")
def _mirror(draw):
    (x,) = values(draw, draw(shapes))
    return call(draw, lambda x: x.T, lambda x: x.T, x)


@case("squeeze and unsqueeze")
def _squeeze(draw):
    (x,) = values(draw, draw(shapes))
    place = draw(st.integers(-x.ndim - 1, x.ndim))
    return call(
        draw,
        lambda x: (2 * x.unsqueeze(place)).squeeze(place) + 3 * x.squeeze().reshape(x.shape),
        lambda x: 5 * x,
        x,
        dim=place,
    )


@case("expand")
def _expand(draw):
    (small,) = broadcastable(draw, 1)
    (x,) = values(draw, small)
    shape = (*draw(st.lists(sizes, max_size=1)), *[draw(sizes) if size == 1 else size for size in small])
    wanted = tuple(
        -1 if size == old else size
        for size, old in zip(shape, (None,) * (len(shape) - len(small)) + small, strict=True)
    )
    return call(draw, lambda x: x.expand(*wanted), lambda x: np.broadcast_to(x, shape), x, sizes=wanted)


def keys(draw, shape) -> tuple[Any, ...]:
    """An index: numbers, slices, None, ..., and at most one list, array or mask, which may name places twice."""
    parts: list[Any] = []
    advanced = draw(st.integers(0, 2 * len(shape)))
    for axis, size in enumerate(shape):
        if axis == advanced:
            place = st.integers(-size, size - 1)
            parts.append(
                draw(
                    st.one_of(
                        st.lists(place, min_size=1, max_size=4),
                        st.lists(place, min_size=2, max_size=2).map(np.array),
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
        del parts[draw(st.integers(0, len(parts))) :]  # later axes are taken whole
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


@case("index")
def _index(draw):
    (x,) = values(draw, draw(shapes))
    key = keys(draw, x.shape)
    return call(draw, lambda x: x[key], lambda x: picked(x, key), x, key=key)


def picked(array, key) -> np.ndarray:
    """array[key] as PyTorch reads it: numbers are taken first, so they are never lists of one that move other axes."""
    numbers = tuple(part if isinstance(part, int) else slice(None) for part in key if not (part is None or part is ...))
    return array[numbers][tuple(part for part in key if not isinstance(part, int))]


@case("index: a number, a slice and a list")
def _index_number_and_list(draw):
    first, second = draw(sizes), draw(sizes)
    (x,) = values(draw, (2, first, second))
    place = draw(st.lists(st.integers(-second, second - 1), max_size=3))
    key = draw(st.sampled_from(((1, slice(None), place), (slice(None), 0, place), (1, None, slice(None), place))))
    return call(draw, lambda x: x[key], lambda x: picked(x, key), x, key=key)


@case("clip: tensors")
def _clip_tensors(draw):
    x, low, high = values(draw, *broadcastable(draw, 3))

    def judge(x, low, high):
        raised = np.where(x.real < low.real, low, x)
        return np.where(raised.real > high.real, high, raised)

    return call(draw, mg.clip, judge, x, low, high)


@case("assign")
def _assign(draw):
    shape = draw(shapes_with_axes)
    place = draw(st.integers(0, shape[0] - 1))
    key = draw(st.sampled_from((place, slice(place, None), ..., [place], (..., 0))))
    x, v = values(draw, shape, np.empty(shape)[key].shape if draw(st.booleans()) else ())

    def run(x, v):
        y = x * 2
        y[key] = v
        return y

    def judge(x, v):
        y = np.array(x * 2, np.result_type(x, v))
        y[key] = v
        return y

    return call(draw, run, judge, x, v, key=key)


@case("gather")
def _gather(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    axis = an_axis(draw, x.shape)
    shape = [draw(st.integers(1, size)) for size in x.shape]
    shape[axis] = draw(sizes)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    index = random.integers(0, x.shape[axis], shape)
    within = tuple(slice(None) if d == axis % x.ndim else slice(0, size) for d, size in enumerate(shape))
    return call(
        draw,
        lambda x: x.gather(axis, on_device(index, x.device)),
        lambda x: np.take_along_axis(x[within], index, axis),
        x,
        dim=axis,
        index=index,
    )


@case("cat")
def _cat(draw):
    shape = draw(shapes_with_axes)
    axis = an_axis(draw, shape)
    parts = values(
        draw,
        *[
            (*shape[: axis % len(shape)], draw(sizes), *shape[axis % len(shape) + 1 :])
            for _ in range(draw(st.integers(1, 3)))
        ],
    )
    return call(draw, lambda *parts: mg.cat(parts, axis), lambda *parts: np.concatenate(parts, axis), *parts, dim=axis)


@case("stack")
def _stack(draw):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    parts = values(draw, *[shape] * draw(st.integers(1, 3)))
    return call(draw, lambda *parts: mg.stack(parts, axis), lambda *parts: np.stack(parts, axis), *parts, dim=axis)


@case("pad")
def _pad(draw):
    (x,) = values(draw, draw(shapes_with_axes))
    margins = [draw(st.integers(-(size // 2), 2)) for size in x.shape[::-1] for _ in range(2)]
    margins = margins[: 2 * draw(st.integers(0, x.ndim))]
    fill = draw(st.sampled_from((0.0, -1.5)))

    def judge(x):
        widths = [(0, 0)] * (x.ndim - len(margins) // 2) + list(zip(margins[::2], margins[1::2], strict=True))[::-1]
        out = np.full([size + a + b for size, (a, b) in zip(x.shape, widths, strict=True)], fill, x.dtype)
        target = tuple(slice(max(a, 0), size + a + min(b, 0)) for size, (a, b) in zip(x.shape, widths, strict=True))
        source = tuple(slice(max(-a, 0), size + min(b, 0)) for size, (a, b) in zip(x.shape, widths, strict=True))
        out[target] = x[source]
        return out

    return call(draw, lambda x: F.pad(x, margins, value=fill), judge, x, pad=margins, value=fill)


@case("to: another device")
def _transfer(draw):
    (x,) = values(draw, draw(shapes))
    return call(draw, lambda x: (x.to("numpy") * x.to("numpy")).to(x.device), lambda x: x * x, x)


# ---- matrix products; few sizes, so that few register tiles are compiled

SIDES = st.sampled_from((1, 2, 4, 17))


@case("matmul")
def _matmul(draw):
    M, N, K = draw(SIDES), draw(SIDES), draw(sizes)
    a, b = values(draw, (M, K), (K, N))
    return call(draw, lambda a, b: a @ b, np.matmul, a, b)


@case("matmul: batches and vectors")
def _matmul_batched(draw):
    lead_a, lead_b = broadcastable(draw, 2)
    forms = [((4, 3), (3, 2)), ((3,), (3, 2)), ((4, 3), (3,)), ((3,), (3,))]
    left, right = draw(st.sampled_from(forms))
    a, b = values(draw, (lead_a if len(left) == 2 else ()) + left, (lead_b if len(right) == 2 else ()) + right)
    return call(draw, mg.matmul, np.matmul, a, b)


@case("linear")
def _linear(draw):
    lead = draw(st.sampled_from([*[(n,) for n in BATCHES], (), (2, 3)]))
    IN, OUT = draw(sizes), draw(st.sampled_from((1, 2, 4, 6)))
    x, w, b = values(draw, (*lead, IN), (OUT, IN), (OUT,))
    if draw(st.booleans()):
        return call(draw, F.linear, lambda x, w: x @ w.T, x, w, bias=False)
    return call(draw, F.linear, lambda x, w, b: x @ w.T + b, x, w, b)


# ---- images


def starts(size, reach, stride, before, after, ceil_mode):
    """Where windows begin along one side, found by walking: each lies within the margins; with ceil_mode one more may
    reach over the far edge, by less than a stride, if it begins before the image ends."""
    found = list(range(-before, size + after - reach + 1, stride))
    following = found[-1] + stride if found else -before
    if ceil_mode and following + reach - (size + after) < stride and following < size:
        found.append(following)
    return found


def judged_windows(x, window, stride, pads, dilation=(1, 1), ceil_mode=False, fill=0.0):
    """All windows of images (N, C, H, W): (N, C, OH, OW, KH, KW)."""
    margins = [(0, 0), (0, 0)]
    for side in (0, 1):
        size, reach, (before, after) = x.shape[2 + side], dilation[side] * (window[side] - 1) + 1, pads[side]
        last = starts(size, reach, stride[side], before, after, ceil_mode)[-1]
        margins.append((before, max(last + reach - size, 0)))
    padded = np.pad(x, margins, constant_values=fill)
    reaches = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    found = sliding_window_view(padded, reaches, axis=(2, 3))
    return found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def sides(draw, choices):
    """A setting as one number or as a pair, and the pair that it means."""
    both = draw(st.sampled_from(choices)), draw(st.sampled_from(choices))
    if draw(st.booleans()):
        return both[0], (both[0], both[0])
    return both, both


def _image(draw, reach, margins):
    """Height or width from the smallest on that one window fits."""
    return max(reach - margins, 1) + draw(st.integers(0, 3))


@case("conv2d")
def _conv2d(draw):
    N, groups = draw(st.sampled_from(BATCHES)), draw(st.sampled_from((1, 1, 2)))
    C, parts = draw(st.sampled_from((1, 2))), draw(st.sampled_from((1, 2, 4)))
    KH, KW = draw(st.sampled_from(((3, 2), (1, 1), (2, 3), (3, 3), (1, 3))))
    given_dilation, dilation = sides(draw, (1, 2))
    reach = (dilation[0] * (KH - 1) + 1, dilation[1] * (KW - 1) + 1)
    padding = draw(st.sampled_from((0, 1, (2, 1), "same", "valid")))
    if padding == "same":
        pads = tuple(((r - 1) // 2, r // 2) for r in reach)
    else:
        pads = tuple((p, p) for p in {"valid": (0, 0), 0: (0, 0), 1: (1, 1)}.get(padding, padding))
    given_stride, stride = (1, (1, 1)) if padding == "same" else sides(draw, (1, 2, 4))
    H, W = (_image(draw, r, sum(p)) for r, p in zip(reach, pads, strict=True))
    x, w, b = values(draw, (N, C * groups, H, W), (parts * groups, C, KH, KW), (parts * groups,))
    settings = {"stride": given_stride, "padding": padding, "dilation": given_dilation, "groups": groups}

    def judge(x, w, b=None):
        found = judged_windows(x, (KH, KW), stride, pads, dilation)
        out = np.concatenate(
            [
                np.einsum("nchwkl,fckl->nfhw", found[:, C * i : C * (i + 1)], w[parts * i : parts * (i + 1)])
                for i in range(groups)
            ],
            axis=1,
        )
        return out if b is None else out + b[:, None, None]

    inputs = (x, w, b) if draw(st.booleans()) else (x, w)
    return call(draw, lambda *tensors: F.conv2d(*tensors, **settings), judge, *inputs, **settings)


def _pool_settings(draw, dilated):
    """Valid settings of a pool: as given, and as (window, stride, pads, dilation); padding at most half a window."""
    given_window, window = sides(draw, (1, 2, 3))
    given_stride, stride = draw(st.sampled_from(((None, window), (2, (2, 2)), ((1, 3), (1, 3)), (4, (4, 4)))))
    given_dilation, dilation = sides(draw, (1, 2)) if dilated else (1, (1, 1))
    padding = tuple(draw(st.integers(0, side // 2)) for side in window)
    given = {"kernel_size": given_window, "stride": given_stride, "padding": padding}
    given["ceil_mode"] = draw(st.booleans())
    if dilated:
        given["dilation"] = given_dilation
    return given, (window, stride, tuple((p, p) for p in padding), dilation)


def _images(draw, ceil_mode, window, stride, pads, dilation):
    """Images in which every window holds a pixel: at least as large as a stretched window, or as small as one window
    fits on that has no gaps; see `starts`."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    over = [(s - 1) * ceil_mode for s in stride]
    margins = [(sum(p) + o) * (d == 1) for p, o, d in zip(pads, over, dilation, strict=True)]
    sides = [_image(draw, r, margin) for r, margin in zip(reach, margins, strict=True)]
    (x,) = values(draw, (draw(st.sampled_from(BATCHES)), draw(st.sampled_from((1, 2))), *sides))
    return x


@case("max_pool2d")
def _max_pool2d(draw):
    given, meant = _pool_settings(draw, dilated=True)
    x = _images(draw, given["ceil_mode"], *meant)

    def judge(x):
        found = judged_windows(x, *meant, ceil_mode=given["ceil_mode"], fill=-np.inf)
        rows = found.reshape(*found.shape[:4], -1)
        return np.take_along_axis(rows, rows.real.argmax(-1)[..., None], -1)[..., 0]

    return call(draw, lambda x: F.max_pool2d(x, **given), judge, x, **given)


@case("avg_pool2d")
def _avg_pool2d(draw):
    given, meant = _pool_settings(draw, dilated=False)
    given["count_include_pad"], given["divisor_override"] = draw(st.booleans()), draw(st.sampled_from((None, None, 3)))
    x = _images(draw, given["ceil_mode"], *meant)

    def judge(x):
        counted = np.pad(np.ones(x.shape), ((0, 0), (0, 0), *meant[2]), constant_values=given["count_include_pad"])
        divisor = given["divisor_override"] or _reaching_over(counted, meant, x.shape, given["ceil_mode"]).sum((-1, -2))
        return judged_windows(x, *meant, ceil_mode=given["ceil_mode"]).sum((-1, -2)) / divisor

    return call(draw, lambda x: F.avg_pool2d(x, **given), judge, x, **given)


def _reaching_over(counted, meant, shape, ceil_mode):
    """Windows of images with their margins, and as much behind them as the last windows need, which is not counted."""
    window, stride, pads, _ = meant
    more = [(0, 0), (0, 0)]
    for side in (0, 1):
        last = starts(shape[2 + side], window[side], stride[side], *pads[side], ceil_mode)[-1]
        more.append((0, max(last + pads[side][0] + window[side] - counted.shape[2 + side], 0)))
    found = sliding_window_view(np.pad(counted, more), window, axis=(2, 3))
    return found[:, :, :: stride[0], :: stride[1]]


# ---- losses


def _labels(draw, shape, classes, ignore):
    """Labels of which some are to be ignored, but not all."""
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, classes, shape)
    if ignore is not None:
        labels.flat[1::3] = ignore
    return labels.astype(draw(st.sampled_from(("int64", "int32"))))


def _classified(draw):
    """Logits (N, K, ...), labels, and settings: weights of the classes, a label to ignore, a reduction."""
    N, K, more = (
        draw(st.sampled_from(BATCHES)),
        draw(st.sampled_from((2, 5))),
        draw(st.sampled_from(((), (3,), (2, 2)))),
    )
    ignore = draw(st.sampled_from((None, -100, 1)))
    (x,) = values(draw, (N, K, *more))
    labels = _labels(draw, (N, *more), K, ignore)
    labels.flat[0] = 0
    weight = draw(st.sampled_from((None, np.linspace(0.5, 2, K))))
    given = {"reduction": draw(st.sampled_from(("mean", "sum", "none")))}
    if ignore is not None:
        given["ignore_index"] = ignore
    return x, labels, weight, given


def _judge_losses(logs, labels, weight, given, smoothing=0.0):
    """-sum over classes of target * log probability, straight from the definition."""
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


def _with_labels(function, labels, weight, given):
    def run(x):
        weights = None if weight is None else on_device(weight.astype(x.dtype), x.device)
        return function(x, on_device(labels, x.device), weight=weights, **given)

    return run


@case("cross_entropy")
def _cross_entropy(draw):
    x, labels, weight, given = _classified(draw)
    smoothing = draw(st.sampled_from((0.0, 0.1, 1.0)))
    return call(
        draw,
        _with_labels(F.cross_entropy, labels, weight, {**given, "label_smoothing": smoothing}),
        lambda x: _judge_losses(np.log(_judge_softmax(x, 1)), labels, weight, given, smoothing),
        x,
        labels=labels,
        weight=weight,
        smoothing=smoothing,
        **given,
    )


@case("nll_loss")
def _nll_loss(draw):
    x, labels, weight, given = _classified(draw)
    return call(
        draw,
        _with_labels(F.nll_loss, labels, weight, given),
        lambda x: _judge_losses(x, labels, weight, given),
        x,
        labels=labels,
        weight=weight,
        **given,
    )


@case("mse_loss")
def _mse_loss(draw):
    shape = draw(shapes_with_axes)
    x, y = values(draw, shape, shape)
    reduction = draw(st.sampled_from(("mean", "sum", "none")))
    reduce = {"mean": np.mean, "sum": np.sum, "none": lambda losses: losses}[reduction]
    return call(
        draw,
        lambda x, y: F.mse_loss(x, y, reduction),
        lambda x, y: reduce((x - y) * (x - y)),
        x,
        y,
        reduction=reduction,
    )


def judged_mask(shape, p, seed):
    """The zeros that dropout draws first after a seed: SplitMix64 of a key and each element's place, in C order."""
    key, mask = int(np.random.SeedSequence([seed, 0]).generate_state(1, np.uint64)[0]), np.empty(prod(shape))
    for place in range(mask.size):
        z = (key + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        mask[place] = 0 if (z ^ (z >> 31)) >> 40 < round(p * 2**24) else 1 / (1 - p)
    return mask.reshape(shape)


@case("dropout")
def _dropout(draw):
    (x,) = values(draw, draw(shapes))
    p, seed = draw(st.sampled_from((0.0, 0.25, 0.5))), draw(st.integers(0, 2**64 - 1))

    def run(x):
        mg.manual_seed(seed)
        return F.dropout(x, p)

    return call(draw, run, lambda x: x * judged_mask(x.shape, p, seed), x, p=p, seed=seed)


# ---- results without a gradient

COMPARISONS = {
    "eq": (lambda a, b: a == b, np.equal),
    "ne": (lambda a, b: a != b, np.not_equal),
    "lt": (lambda a, b: a < b, np.less),
    "le": (lambda a, b: a <= b, np.less_equal),
    "gt": (lambda a, b: a > b, np.greater),
    "ge": (lambda a, b: a >= b, np.greater_equal),
}


def _comparison(name, run, judge):
    @case(name, PLAIN)
    def strategy(draw):
        a, b = values(draw, *broadcastable(draw, 2))
        return call(draw, run, judge, np.round(a), np.round(b))  # so that some are equal


for _name, _row in COMPARISONS.items():
    _comparison(_name, *_row)

PLACES = {"argmax": (mg.argmax, np.argmax), "argmin": (mg.argmin, np.argmin)}


def _place(name, run, judge):
    @case(name, PLAIN)
    def strategy(draw):
        (x,) = values(draw, draw(shapes))
        axis = an_axis(draw, x.shape) if x.ndim and draw(st.booleans()) else None
        keepdim = draw(st.booleans())
        return call(
            draw,
            lambda x: run(x, axis, keepdim=keepdim),
            lambda x: judge(x, axis, keepdims=keepdim),
            np.round(x),
            dim=axis,
            keepdim=keepdim,
        )  # the first of equals


for _name, _row in PLACES.items():
    _place(_name, *_row)
