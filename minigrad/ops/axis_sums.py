"""Weighted sums along one axis: margins that repeat pixels, means of windows of different sizes, interpolation.

    out[i] = the sum of weight * x[j] over the sources j of output i, along the axis

`terms` is (rule, size, ...): the name of a function in RULES, which finds the sources and weights of each output, and
its arguments.  Transposed, the same products make the gradient: x[j] collects from every output i whose source it is.

Memory: (A, B, C) with the axis in the middle, as for softmax.
"""

from functools import cache
from itertools import pairwise
from math import prod

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Array3, Ints, Memory, kernel
from ..runtime.math import const, smaller
from .op import Dispatch, op

ELEMENTS_PER_TASK = 1024


def adaptive_windows(size, count):
    """The pixels of `count` windows that cover a side of `size` evenly."""
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _repeat(size, before, after):
    kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]  # negative margins cut off first
    return kept[np.arange(-max(before, 0), len(kept) + max(after, 0)) % len(kept)][:, None]


def _equal_windows(size, count):
    """adaptive_windows one after the other, as pixels; the last pixel of a short window is repeated."""
    windows = adaptive_windows(size, count)
    longest = max(map(len, windows))
    return [[window[min(k, len(window) - 1)]] for window in windows for k in range(longest)]


def _places(size, count, factor, align_corners):
    """The places of `count` outputs among `size` pixels, whose centres are the whole numbers."""
    if align_corners:
        return np.arange(count) * ((size - 1) / (count - 1) if count > 1 else 0.0)
    return (np.arange(count) + 0.5) * (1 / factor if factor else size / count) - 0.5


def _nearest(shift):
    def rule(size, count, factor):
        step = np.float32(1 / factor if factor else size / count)  # a place near a border is rounded as in PyTorch
        places = (np.arange(count, dtype=np.float32) + np.float32(shift)) * step
        return np.minimum(places.astype(np.int64), size - 1)[:, None]

    return rule


def _linear(size, count, factor, align_corners):
    places = np.maximum(_places(size, count, factor, align_corners), 0)
    left = np.minimum(places.astype(np.int64), size - 1)
    share = np.minimum(places - left, 1)
    return np.stack([left, np.minimum(left + 1, size - 1)], 1), np.stack([1 - share, share], 1)


def _cubic(size, count, factor, align_corners):
    """Keys' kernel with a = -0.75, on the four pixels around each place."""
    places = _places(size, count, factor, align_corners)
    sources = np.floor(places).astype(np.int64)[:, None] + np.arange(-1, 3)
    d, a = abs(places[:, None] - sources), -0.75
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a
    return sources.clip(0, size - 1), np.where(d <= 1, near, far)


RULES = {  # the sources of each output, whose mean it is; or (sources, weights)
    "reflect": lambda size, before, after: (size - 1 - abs(size - 1 - abs(np.arange(-before, size + after))))[:, None],
    "replicate": lambda size, before, after: np.arange(-before, size + after).clip(0, size - 1)[:, None],
    "circular": _repeat,
    "windows": adaptive_windows,
    "equal windows": _equal_windows,
    "nearest": _nearest(0),
    "nearest-exact": _nearest(0.5),
    "linear": _linear,
    "cubic": _cubic,
}


@cache
def build_terms(terms, transposed, dtype):
    """The products of each output as (starts, sources, weights): those of output i are starts[i] to starts[i + 1]."""
    rule, size, *numbers = terms
    found = RULES[rule](size, *numbers)
    sources, weights = found if isinstance(found, tuple) else (found, None)
    counts = np.array([len(places) for places in sources])
    i, j = np.repeat(np.arange(len(counts)), counts), np.concatenate(sources)
    weights = np.repeat(1 / counts, counts) if weights is None else weights.reshape(-1)
    if transposed:
        order = np.argsort(j, kind="stable")
        i, j, weights = j[order], i[order], weights[order]
    starts = np.searchsorted(i, np.arange((size if transposed else len(counts)) + 1))
    return starts, j, weights.astype(dtype if dtype.kind == "f" else np.int64)


def axis_sums_numpy(x, starts, sources, weights, out):
    for i, (start, stop) in enumerate(pairwise(starts)):
        if stop - start == 1 and weights[start] == 1:  # whole numbers and bool are copied
            out[:, i] = x[:, sources[start]]
        else:
            out[:, i] = (x[:, sources[start:stop]] * weights[start:stop, None]).sum(1)


@kernel
def axis_sums_kernel(task, x: Array3, starts: Ints, sources: Ints, weights: Memory, out: Array3, rows):
    """`rows` rows of out (A, K, C) from x (A, B, C)."""
    _, B, C = x.shape
    A, K, _ = out.shape
    for row in range(task * rows, smaller((task + 1) * rows, A * K)):
        a, k = row // K, row % K
        first, stop, at = starts[k], starts[k + 1], row * C
        if first == stop:
            for c in range(C):
                out[at + c] = const(0, x)
        for i in range(first, stop - 1, 2):  # two products at once: half the passes over the row
            one, two = (a * B + sources[i]) * C, (a * B + sources[i + 1]) * C
            for c in range(C):
                products = weights[i] * x[one + c] + weights[i + 1] * x[two + c]
                out[at + c] = products if i == first else out[at + c] + products
        if (stop - first) % 2:
            one = (a * B + sources[stop - 1]) * C
            for c in range(C):
                product = weights[stop - 1] * x[one + c]
                out[at + c] = product if stop == first + 1 else out[at + c] + product


def axis_sums_cpu(x, starts, sources, weights, out):
    A, K, C = out.shape
    rows = -(-ELEMENTS_PER_TASK // C)
    axis_sums_kernel.run_small(-(-A * K // rows), out.size, x, starts, sources, weights, out, rows)


axis_sums_dispatch = Dispatch("axis_sums", axis_sums_numpy, cpu=axis_sums_cpu, floats=-1)


@op
def axis_sums(device, x, *, axis, terms, transposed):
    starts, sources, weights = build_terms(terms, transposed, x.dtype)
    order = memory.outermost_first(x)
    place = order.index(axis)
    before, after = ([x.shape[d] for d in axes] for axes in (order[:place], order[place + 1 :]))
    out = memory.empty((*before, len(starts) - 1, *after), x.dtype, device)
    if out.size:
        rows = memory.contiguous(x.transpose(order)).reshape(prod(before), x.shape[axis], prod(after))
        axis_sums_dispatch[device.type](rows, starts, sources, weights, out.reshape(len(rows), -1, rows.shape[2]))
    return out.transpose(np.argsort(order))


@axis_sums.gradient
def axis_sums_gradient(do, g, axis, terms, transposed):
    return (lambda: do.axis_sums(g, axis=axis, terms=terms, transposed=not transposed),)
