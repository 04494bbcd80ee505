"""Kernels divide their work into tasks, chunks and tiles by the sizes of arrays.

The arrays here reach every branch of each division, with smaller last parts.  They hold small integers, so that every
sum is exact in any order, and an element that is left out or counted twice is an error.
"""

import itertools

import numpy as np
import pytest
from cases import laid_out, leaf, sliding_windows

import minigrad as mg
from minigrad import optim
from minigrad.nn import functional as F
from minigrad.runtime import device, memory


@pytest.fixture(autouse=True)
def _fill_new_memory(monkeypatch):
    """Fill new memory with nan or 99, so that an element that no kernel writes is noticed."""
    host_memory = memory.allocate_on_host

    def filled_memory(shape, dtype):
        array = host_memory(shape, dtype)
        array.fill(np.nan if dtype.kind == "f" else 99)
        return array

    for module in (memory, device):
        monkeypatch.setattr(module, "allocate_on_host", filled_memory)


def integers(*shape, seed=0, most=2):
    """Return random integers from -most to most, as float32."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype("float32")


# ---- convolution

IMAGES = [  # N, C, H, W, filters, window, settings
    # windows with an even side are padded by one more row or column after the image than before it
    *[
        (N, 2, 5, 6, 3, window, {"padding": "same", "dilation": dilation})
        for N in (1, 3, 17)
        for window in ((2, 2), (4, 3), (3, 4), (2, 5), (1, 2))
        for dilation in (1, 2)
    ],
    *[(N, 1, 7, 12, 2, (3, 3), {"padding": (1, 2)}) for N in (1, 5)],
    # two or more chunks of output rows, the last one smaller
    (64, 1, 28, 28, 6, (5, 5), {"padding": 2}),
    (40, 3, 21, 13, 5, (3, 3), {"stride": 2, "padding": 1}),
    (33, 4, 24, 9, 4, (2, 3), {"groups": 2}),
    (7, 2, 31, 33, 3, (3, 3), {"stride": (1, 3), "dilation": 2}),
    (300, 1, 41, 43, 2, (3, 3), {}),  # so many images that a chunk of them fits into the cache
    # more filters and taps than a tile has rows
    (9, 5, 6, 7, 13, (3, 3), {"padding": 1}),
    (17, 21, 4, 4, 23, (1, 1), {}),
    # chunks of more than one run of vectors; a run has several rows or a part of one
    (2500, 1, 45, 9, 1, (6, 6), {}),
    (70001, 1, 3, 1, 2, (2, 1), {}),
    (1, 1, 2, 150_000, 1, (1, 3), {}),
    # a single channel and filter, of which only some pixels are read
    (33, 1, 8, 18, 1, (1, 2), {"stride": 3, "padding": (0, 3), "dilation": (2, 1)}),
    (300, 1, 13, 10, 1, (1, 5), {"stride": (1, 3), "padding": (3, 2), "dilation": (2, 3)}),
    (33, 2, 11, 18, 2, (3, 1), {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 3), "groups": 2}),
]


@pytest.mark.parametrize("N, C, H, W, filters, window, settings", IMAGES)
def test_conv2d_and_its_gradients_are_exact(N, C, H, W, filters, window, settings):
    groups = settings.get("groups", 1)
    x, w, b = integers(N, C, H, W), integers(filters, C // groups, *window, seed=1), integers(filters, seed=2)
    leaves = [leaf(array, dtype="float32") for array in (x, w, b)]
    out = F.conv2d(*leaves, **settings)
    g = integers(*out.shape, seed=3, most=1)
    out.backward(mg.from_numpy(g))

    stride, dilation = (2 * (settings.get(name, 1),) for name in ("stride", "dilation"))
    stride, dilation = (pair[0] if isinstance(pair[0], tuple) else pair for pair in (stride, dilation))
    padding = settings.get("padding", 0)
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
        pads = [(r // 2, r - r // 2) for r in reach]
    else:
        pads = [(p, p) for p in (padding if isinstance(padding, tuple) else (padding, padding))]
    found = sliding_windows(x, window, stride, pads, dilation)
    margins = np.zeros((N, C, H + sum(pads[0]), W + sum(pads[1])), "float32")
    (top, _), (left, _) = pads
    expected, dw = np.empty(out.shape, "float32"), np.empty_like(w)
    for part in range(groups):
        here, mine = slice(C // groups * part, C // groups * (part + 1)), filters // groups
        own = slice(mine * part, mine * (part + 1))
        expected[:, own] = np.einsum("nchwkl,fckl->nfhw", found[:, here], w[own], optimize=True)
        dw[own] = np.einsum("nchwkl,nfhw->fckl", found[:, here], g[:, own], optimize=True)
        for kh, kw in itertools.product(range(window[0]), range(window[1])):
            rows = slice(kh * dilation[0], kh * dilation[0] + (out.shape[2] - 1) * stride[0] + 1, stride[0])
            columns = slice(kw * dilation[1], kw * dilation[1] + (out.shape[3] - 1) * stride[1] + 1, stride[1])
            margins[:, here, rows, columns] += np.einsum("nfhw,fc->nchw", g[:, own], w[own, :, kh, kw], optimize=True)
    np.testing.assert_array_equal(out.detach().numpy(), expected + b[:, None, None])
    np.testing.assert_array_equal(leaves[0].grad.numpy(), margins[:, :, top : top + H, left : left + W])
    np.testing.assert_array_equal(leaves[1].grad.numpy(), dw)
    np.testing.assert_array_equal(leaves[2].grad.numpy(), g.sum((0, 2, 3)))


# ---- matrix products


@pytest.mark.parametrize("layouts", [*itertools.product(("plain", "Fortran"), repeat=2)], ids="-".join)
@pytest.mark.parametrize(
    "M, K, N",
    [
        *[(7, K, 37) for K in (1, 9, 63, 64, 511, 512, 513, 1024, 1025, 1700)],  # runs
        *[(M, 3, 37) for M in (255, 256, 257, 513, 600)],  # rows of a task that transposes columns
        *[(M, 600, N) for M, N in ((1, 1), (1, 70), (70, 1), (3, 5))],  # dot products
        *[(1, K, 1) for K in (63, 64, 65, 2047, 2048, 2049, 4097, 9000)],
        (300, 700, 70),
    ],
)
def test_matmul_is_exact(M, K, N, layouts):
    a, b = integers(M, K), integers(K, N, seed=1)
    left, right = (mg.from_numpy(laid_out(array, layout)) for array, layout in zip((a, b), layouts, strict=True))
    np.testing.assert_array_equal((left @ right).numpy(), a @ b)


@pytest.mark.parametrize("layout", ["plain", "Fortran", "batch innermost", "sliced", "reversed"])
@pytest.mark.parametrize("M, K, N", [(1, 100, 1), (5, 100, 1), (1, 100, 5), (4, 600, 7)])
def test_matmul_of_batches_is_exact(M, K, N, layout):
    a, b = integers(3, M, K), integers(3, K, N, seed=1)
    for lead in (slice(None), slice(1), 0):
        left, right = (mg.from_numpy(laid_out(array, layout)) for array in (a, b[lead]))
        np.testing.assert_array_equal((left @ right).numpy(), a @ b[lead])
        left, right = (mg.from_numpy(laid_out(array, layout)) for array in (a[lead], b))
        np.testing.assert_array_equal((left @ right).numpy(), a[lead] @ b)


@pytest.mark.parametrize("layout", ["plain", "batch innermost"])
@pytest.mark.parametrize("N, features, outputs", [(1, 400, 10), (17, 400, 1), (1, 70, 1), (33, 700, 20), (2000, 65, 7)])
def test_linear_and_its_gradients_are_exact(N, features, outputs, layout):
    shapes = (N, features), (outputs, features), (outputs,), (N, outputs)
    x, w, b, g = (integers(*shape, seed=seed) for seed, shape in enumerate(shapes))
    leaves = [leaf(x, layout, "float32"), leaf(w, dtype="float32"), leaf(b, dtype="float32")]
    out = F.linear(*leaves)
    np.testing.assert_array_equal(out.detach().numpy(), x @ w.T + b)
    np.testing.assert_array_equal(F.linear(*leaves[:2]).detach().numpy(), x @ w.T)
    out.backward(mg.from_numpy(laid_out(g, layout)))
    for found, expected in zip(leaves, (g @ w, g.T @ x, g.sum(0)), strict=True):
        np.testing.assert_array_equal(found.grad.numpy(), expected)


# ---- sums, extremes, softmax


@pytest.mark.parametrize(
    "shape, axis",
    [
        *[((size,), 0) for size in (63, 64, 65, 2047, 2049, 4095, 4097, 16380, 16384, 16388, 16390, 70000)],
        *[((3, size), 1) for size in (65, 4097, 16384, 20004)],
        *[((size, 3), 0) for size in (63, 64, 65, 129, 5000)],
        *[((130, size), 0) for size in (31, 32, 33, 64, 100, 511, 512, 513, 1030)],
        *[((3, 70, size), 1) for size in (31, 33, 513)],
    ],
)
def test_sum_amax_and_argmax_are_exact(shape, axis):
    x = integers(*shape, most=9)
    t = mg.from_numpy(x)
    np.testing.assert_array_equal(t.sum(axis).numpy(), x.sum(axis))
    np.testing.assert_array_equal(t.amax(axis).numpy(), x.max(axis))
    np.testing.assert_array_equal(t.argmax(axis).numpy(), x.argmax(axis))
    for index in (0, x.shape[axis] - 1):  # the largest element is the first or the last
        x[(slice(None),) * axis + (index,)] = 10 + index % 2
        np.testing.assert_array_equal(mg.from_numpy(x).amax(axis).numpy(), x.max(axis))


@pytest.mark.parametrize("shape, axis", [((5, 511), 0), ((5, 513), 0), ((2, 130, 700), 1), ((3, 1000), 1), ((65,), 0)])
def test_softmax_and_log_softmax_equal_numpys(shape, axis):
    x = integers(*shape)
    e = np.exp(x.astype("float64"))
    expected = e / e.sum(axis, keepdims=True)
    np.testing.assert_allclose(mg.from_numpy(x).softmax(axis).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(mg.from_numpy(x).log_softmax(axis).numpy(), np.log(expected), rtol=1e-6, atol=1e-6)


# ---- losses


@pytest.mark.parametrize("N, K", [(255, 3), (256, 3), (257, 3), (600, 3), (5, 63), (5, 64), (5, 65), (3, 200)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_and_its_gradient_equal_numpys(N, K, smoothing):
    x, labels = integers(N, K), np.arange(N) % K
    logits = leaf(x, dtype="float32")
    e = np.exp(x.astype("float64"))
    logs = np.log(e / e.sum(1, keepdims=True))
    target = np.full((N, K), smoothing / K) + (1 - smoothing) * (np.arange(K) == labels[:, None])
    losses = F.cross_entropy(logits, mg.tensor(labels), label_smoothing=smoothing, reduction="none")
    np.testing.assert_allclose(losses.detach().numpy(), -(target * logs).sum(1), rtol=1e-5)
    loss = F.cross_entropy(logits, mg.tensor(labels), label_smoothing=smoothing)
    assert loss.item() == pytest.approx(-(target * logs).sum(1).mean(), rel=2e-6)
    loss.backward()
    np.testing.assert_allclose(logits.grad.numpy(), (np.exp(logs) - target) / N, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("N", [63, 64, 65, 255, 257, 5000])
def test_nll_loss_is_exact(N, reduction):
    x, labels = integers(N, 3), np.arange(N) % 3
    expected = -x[np.arange(N), labels].sum()
    found = F.nll_loss(mg.from_numpy(x), mg.tensor(labels), reduction=reduction)
    assert found.item() == (expected if reduction == "sum" else expected / np.float32(N))


# ---- pooling, elementwise operations, optimizers


@pytest.mark.parametrize("N, C, H, W", [(1, 3, 7, 9), (17, 2, 11, 6), (70, 3, 9, 9)])
@pytest.mark.parametrize("settings", [{}, {"stride": 1, "padding": 1}, {"stride": 3}], ids=["apart", "over", "gaps"])
def test_pooling_and_its_gradients_are_exact(N, C, H, W, settings):
    x = np.random.default_rng(0).permutation(N * C * H * W).reshape(N, C, H, W).astype("float32")
    stride, pad = settings.get("stride", 2), settings.get("padding", 0)
    for fill, pool, chosen in (
        (-np.inf, F.max_pool2d, lambda windows: windows.max((-1, -2))),
        (0.0, F.avg_pool2d, lambda windows: windows.sum((-1, -2)) / np.float32(4)),
    ):
        leaves = leaf(x, "batch innermost", "float32")
        out = pool(leaves, 2, **settings)
        windows = sliding_windows(x, (2, 2), (stride, stride), 2 * [(pad, pad)], fill=fill)
        np.testing.assert_array_equal(out.detach().numpy(), chosen(windows))
        g = 4 * integers(*out.shape, seed=1)
        out.backward(mg.from_numpy(g))
        margins = np.zeros((N, C, H + 2 * pad + 1, W + 2 * pad + 1), "float32")
        for kh, kw in itertools.product(range(2), range(2)):
            share = windows[..., kh, kw] == chosen(windows) if pool is F.max_pool2d else np.float32(0.25)
            ends = [(k, k + (size - 1) * stride + 1) for k, size in zip((kh, kw), out.shape[2:], strict=True)]
            rows, columns = (slice(*pair, stride) for pair in ends)
            margins[:, :, rows, columns] += g * share
        np.testing.assert_array_equal(leaves.grad.numpy(), margins[:, :, pad : pad + H, pad : pad + W])


@pytest.mark.parametrize(
    "shape", [(32767,), (32769,), (70001,), (3, 8191), (3, 8193), (5, 40001), (40001, 2), (6, 7, 999)]
)
@pytest.mark.parametrize("layout", ["plain", "Fortran"])
def test_elementwise_operations_are_exact(shape, layout):
    x, y = (laid_out(integers(*shape, seed=seed), layout) for seed in (0, 1))
    np.testing.assert_array_equal((mg.from_numpy(x) + mg.from_numpy(y)).numpy(), x + y)
    np.testing.assert_array_equal((mg.from_numpy(x) * mg.from_numpy(y[..., :1])).numpy(), x * y[..., :1])
    np.testing.assert_array_equal((-mg.from_numpy(x)).numpy(), -x)
    condition = x > y
    found = mg.where(mg.from_numpy(condition), mg.from_numpy(x), mg.from_numpy(y))
    np.testing.assert_array_equal(found.numpy(), np.where(condition, x, y))


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 5000])
@pytest.mark.parametrize("make", [optim.SGD, lambda p, lr: optim.SGD(p, lr, momentum=0.5), optim.Adam])
def test_optimizers_change_every_element(size, make):
    parameters = [leaf(np.zeros(n), dtype="float32") for n in (3, size, 2049)]
    optimizer = make(parameters, lr=0.5)
    for p in parameters:
        p.grad = mg.ones(*p.shape)
    optimizer.step()
    for p in parameters:
        np.testing.assert_allclose(p.detach().numpy(), np.full(p.shape, -0.5), rtol=1e-6)
