"""The accuracy of sums, products, losses and quotients of float32; infinities, nan and overflow as in IEEE 754."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cases import laid_out, on_device
from helpers import DEVICES

import minigrad as mg
from minigrad.nn import functional as F

UNIT = 2.0**-24  # half the distance from 1 to the next float32
nan, inf = np.nan, np.inf


# ---- rounding errors of sums


@dataclass
class Sum:
    """An operation that sums n positive terms.

    shapes    the shapes of the inputs, as a function of n
    run       the operation on tensors
    exact     the same on arrays of float64
    pytorch   the relative error of PyTorch 2.13 (AVX2) in UNITs, by n; the median of 21 draws, of 7 from n = 10**6 on
    """

    shapes: Any
    run: Any
    exact: Any
    pytorch: dict[int, float]


def _log_sum(x, axis):
    return np.log(np.exp(x).sum(axis, keepdims=True))


def _cross_entropy(x):
    return F.cross_entropy(x, mg.zeros(x.shape[0], dtype=mg.int64))


def _linear_gradients(x, g):
    """Return the gradients with respect to weight and bias."""
    w = mg.zeros(g.shape[1], x.shape[1], requires_grad=True)
    b = mg.zeros(g.shape[1], requires_grad=True)
    F.linear(x, w, b).backward(g)
    return mg.cat([w.grad, b.grad.reshape(-1, 1)], 1)


def _linear_gradients_exactly(x, g):
    return np.concatenate([g.T @ x, g.sum(0)[:, None]], 1)


def _conv2d_gradients(x, g):
    """Return the gradients with respect to a weight and a bias, each a sum over images (N, W) of one row."""
    w, b = mg.zeros(1, 1, 1, 1, requires_grad=True), mg.zeros(1, requires_grad=True)
    F.conv2d(x.reshape(x.shape[0], 1, 1, -1), w, b).backward(g.reshape(g.shape[0], 1, 1, -1))
    return mg.cat([w.grad.reshape(1), b.grad])


def _conv2d_input_gradient(g, w):
    """Return the gradients with respect to images of one pixel and 3 channels, each a sum over n filters."""
    x = mg.zeros(2, 3, 1, 1, requires_grad=True)
    F.conv2d(x, w.reshape(-1, 3, 1, 1)).backward(g.reshape(2, -1, 1, 1))
    return x.grad.reshape(2, 3)


def _conv2d_gradients_exactly(x, g):
    return np.array([(x * g).sum(), g.sum()])


SUMS = {
    "sum": Sum(
        lambda n: [(n,)],
        mg.sum,
        np.sum,
        {1: 0, 4: 0.44, 16: 0.62, 64: 0.82, 256: 0.60, 1024: 0.40, 4096: 0.48, 65536: 0.72, 10**6: 0.65, 10**7: 0.51},
    ),
    "sum over rows": Sum(
        lambda n: [(n, 37)],
        lambda x: x.sum(0),
        lambda x: x.sum(0),
        {1: 0, 4: 0.45, 16: 0.72, 64: 0.73, 256: 0.61, 1024: 0.44, 4096: 0.73, 65536: 0.68},
    ),
    "mean": Sum(
        lambda n: [(n,)],
        mg.mean,
        np.mean,
        {1: 0, 4: 0.44, 16: 0.62, 64: 0.82, 256: 0.60, 1024: 0.40, 4096: 0.48, 65536: 0.72, 10**6: 0.65, 10**7: 0.51},
    ),
    "var": Sum(
        lambda n: [(n,)],
        mg.var,
        lambda x: x.var(ddof=1),
        {4: 0.38, 16: 0.35, 64: 0.38, 256: 0.42, 1024: 0.42, 4096: 0.33, 65536: 0.49, 10**6: 0.19},
    ),
    "matmul: vectors": Sum(
        lambda n: [(n,), (n,)],
        mg.matmul,
        np.matmul,
        {1: 0.35, 4: 0.45, 16: 0.54, 64: 0.69, 256: 0.49, 1024: 0.63, 4096: 0.84, 65536: 1.98, 10**6: 5.86, 10**7: 375},
    ),
    "matmul: a vector": Sum(
        lambda n: [(9, n), (n,)],
        mg.matmul,
        np.matmul,
        {1: 0.35, 4: 0.38, 16: 0.49, 64: 0.56, 256: 0.77, 1024: 1.61, 4096: 2.57, 65536: 8.65, 10**6: 206},
    ),
    "matmul": Sum(
        lambda n: [(20, n), (n, 64)],
        mg.matmul,
        np.matmul,
        {1: 0.35, 4: 0.42, 16: 0.71, 64: 1.30, 256: 1.30, 1024: 1.11, 4096: 0.92, 65536: 2.74},
    ),
    "linear: one image": Sum(
        lambda n: [(1, n), (10, n), (10,)],
        F.linear,
        lambda x, w, b: x @ w.T + b,
        {4: 0.35, 64: 0.42, 256: 0.76, 1024: 1.28, 4096: 2.75, 65536: 16.4},
    ),
    "linear": Sum(
        lambda n: [(32, n), (10, n), (10,)],
        F.linear,
        lambda x, w, b: x @ w.T + b,
        {4: 0.42, 64: 0.47, 256: 0.70, 1024: 1.24, 4096: 2.07, 65536: 8.03},
    ),
    "linear: gradients": Sum(
        lambda n: [(n, 100), (n, 50)],
        _linear_gradients,
        _linear_gradients_exactly,
        {16: 0.72, 64: 1.26, 256: 1.30, 1024: 1.09, 4096: 0.91},
    ),
    "linear: gradients over many rows": Sum(
        lambda n: [(n, 8), (n, 4)],
        _linear_gradients,
        _linear_gradients_exactly,
        {16: 0.99, 64: 0.82, 256: 3.55, 1024: 3.85, 4096: 9.75, 65536: 40, 10**6: 2450},
    ),
    "conv2d: over channels": Sum(
        lambda n: [(2, n), (3, n)],
        lambda x, w: F.conv2d(x.reshape(2, -1, 1, 1), w.reshape(3, -1, 1, 1)).reshape(2, 3),
        lambda x, w: x @ w.T,
        {16: 1.6, 256: 2.7, 1024: 1.6, 65536: 7.2, 10**6: 32},
    ),
    "conv2d: over a window": Sum(
        lambda n: [(2, n), (3, n)],
        lambda x, w: F.conv2d(x.reshape(2, 1, 4, -1), w.reshape(3, 1, 4, -1)).reshape(2, 3),
        lambda x, w: x @ w.T,
        {16: 1.6, 256: 5.8, 1024: 12, 65536: 100},
    ),
    "conv2d: gradient by x over filters": Sum(
        lambda n: [(2, n), (n, 3)], _conv2d_input_gradient, lambda g, w: g @ w, {16: 0.9, 256: 1.5, 1024: 2.0, 65536: 6}
    ),
    "conv2d: gradients over images": Sum(
        lambda n: [(n, 3), (n, 3)],
        _conv2d_gradients,
        _conv2d_gradients_exactly,
        {16: 1.5, 256: 1.5, 4096: 9.5, 65536: 9.5, 10**6: 28},
    ),
    "conv2d: gradients over pixels": Sum(
        lambda n: [(3, n), (3, n)],
        _conv2d_gradients,
        _conv2d_gradients_exactly,
        {16: 1.5, 256: 1.5, 4096: 9.5, 65536: 9.5, 10**6: 28},
    ),
    "softmax": Sum(
        lambda n: [(n,)],
        lambda x: x.softmax(0),
        lambda x: np.exp(x - _log_sum(x, 0)),
        {4: 0.63, 16: 0.61, 64: 0.54, 256: 0.63, 1024: 0.79, 4096: 0.91, 65536: 5.77, 10**6: 20},
    ),
    "log_softmax": Sum(
        lambda n: [(n,)],
        lambda x: x.log_softmax(0),
        lambda x: x - _log_sum(x, 0),
        {4: 0.44, 16: 0.42, 64: 0.39, 256: 0.50, 1024: 0.30, 4096: 0.45, 65536: 0.64, 10**6: 1.95},
    ),
    "cross_entropy over images": Sum(
        lambda n: [(n, 4)],
        _cross_entropy,
        lambda x: (_log_sum(x, 1)[:, 0] - x[:, 0]).mean(),
        {4: 0.58, 16: 0.76, 64: 0.47, 256: 0.57, 1024: 0.72, 4096: 0.70, 65536: 0.69, 10**6: 0.43},
    ),
    "cross_entropy over classes": Sum(
        lambda n: [(3, n)],
        _cross_entropy,
        lambda x: (_log_sum(x, 1)[:, 0] - x[:, 0]).mean(),
        {4: 0.58, 16: 0.42, 64: 0.39, 256: 0.50, 1024: 0.50, 4096: 0.45, 65536: 0.64, 10**6: 1.95},
    ),
    "nll_loss": Sum(
        lambda n: [(n, 1)],
        lambda x: -F.nll_loss(x, mg.zeros(x.shape[0], dtype=mg.int64)),
        np.mean,
        {4: 0.44, 16: 0.62, 64: 0.47, 256: 0.57, 1024: 0.72, 4096: 0.70, 65536: 0.69, 10**6: 0.43},
    ),
    "mse_loss": Sum(
        lambda n: [(n,), (n,)],
        F.mse_loss,
        lambda x, y: ((x - y) ** 2).mean(),
        {4: 0.54, 16: 0.68, 64: 0.68, 256: 0.78, 1024: 0.86, 4096: 0.48, 65536: 0.68, 10**6: 1.15},
    ),
}


def median_error(operation, n):
    """Return the median relative error in UNITs of at least 21 sums of n terms, or of fewer if they are long."""
    errors, terms = [], 0
    while len(errors) < 21 and terms < 10**7:
        random = np.random.default_rng(len(errors))
        arrays = [random.random(shape, dtype=np.float32) for shape in operation.shapes(n)]
        exact = operation.exact(*[array.astype(np.float64) for array in arrays])
        found = operation.run(*[mg.from_numpy(array) for array in arrays]).detach().numpy()
        assert found.dtype == np.float32
        errors.extend((np.abs(found - exact) / np.abs(exact)).ravel().tolist())
        terms += sum(array.size for array in arrays)
    return np.median(errors) / UNIT


@pytest.mark.parametrize("name", SUMS)
def test_median_error_is_at_most_four_times_pytorchs(name):
    """At least 1.6 UNITs are allowed: PyTorch's error can be small by chance."""
    found = {n: median_error(SUMS[name], n) for n in SUMS[name].pytorch}
    allowed = {n: 4 * max(error, 0.4) for n, error in SUMS[name].pytorch.items()}
    assert all(found[n] <= allowed[n] for n in found), {n: (found[n], allowed[n]) for n in found}


LENGTHS = (*range(1, 70), 127, 128, 129, 511, 512, 513, 1025, 2047, 2049, 4095, 4097, 16384, 16385, 16388, 50000)


@pytest.mark.parametrize("name", ["sum", "sum over rows", "matmul: vectors", "matmul: a vector", "softmax"])
def test_sums_of_every_length_are_accurate(name):
    operation = SUMS[name]
    for n in LENGTHS:
        random = np.random.default_rng(n)
        arrays = [random.random(shape, dtype=np.float32) for shape in operation.shapes(n)]
        exact = operation.exact(*[array.astype(np.float64) for array in arrays])
        found = operation.run(*[mg.from_numpy(array) for array in arrays]).numpy()
        np.testing.assert_allclose(found, exact, rtol=9 * UNIT)


LARGE = 2.0**24  # its neighbours are 1 and 2 away


def with_quarters(step):
    """Return LARGE and 1,000 times 1 / 4, `step` elements apart; float32(LARGE + 1 / 4) is LARGE."""
    x = np.zeros((1001, step), np.float32)
    x[0, 0], x[1:, 0] = LARGE, 0.25
    return x.ravel()


def test_sum_and_dot_product_keep_small_terms_beside_a_large_one():
    line, ones = with_quarters(4096), np.ones(1001 * 4096, np.float32)
    for x in (line, line[:-1]):  # cut into parts, and in one part
        assert mg.from_numpy(x).sum().item() == pytest.approx(LARGE + 250, abs=4)
        assert (mg.from_numpy(x) @ mg.from_numpy(ones[: x.size])).item() == LARGE + 250
    columns = np.repeat(with_quarters(64)[:, None], 37, 1)
    assert mg.from_numpy(columns).sum(0).tolist() == [LARGE + 250] * 37


@pytest.mark.parametrize("layout", ["plain", "Fortran"])
def test_matmul_keeps_small_terms_beside_a_large_one(layout):
    x = np.repeat(with_quarters(512)[:, None], 5, 1)
    left, right = (laid_out(array, layout) for array in (np.ones((3, len(x)), np.float32), x))
    assert (mg.from_numpy(left) @ mg.from_numpy(right)).tolist() == [[LARGE + 250] * 5] * 3


@pytest.mark.parametrize("images, width", [(40 * 65536, 1), (1, 40 * 65536)])
def test_weight_gradient_of_conv2d_keeps_small_terms_beside_a_large_one(images, width):
    """The kernel adds up 4,096 vectors at a time."""
    x = np.zeros((40, 65536), np.float32)
    x[0, 0], x[1:, 0] = LARGE, 0.75
    found = _conv2d_gradients(mg.ones(images, width), mg.from_numpy(x.reshape(images, width)))
    np.testing.assert_allclose(found.numpy(), LARGE + 39 * 0.75, rtol=0, atol=4)


def test_softmax_and_cross_entropy_keep_small_terms_beside_a_large_one():
    """A million small logits contribute 4 % of the sum."""
    x = np.full((1, 10**6), -17, np.float32)
    x[0, 0] = 0
    total = 1 + (10**6 - 1) * np.exp(-17.0)
    assert mg.from_numpy(x).softmax(1)[0, 0].item() == pytest.approx(1 / total, rel=4e-6)
    assert mg.from_numpy(x).log_softmax(1)[0, 0].item() == pytest.approx(-np.log(total), rel=1e-4)
    assert F.cross_entropy(mg.from_numpy(x), mg.tensor([0])).item() == pytest.approx(np.log(total), rel=1e-4)


def test_nll_loss_with_class_weights_sums_the_weights_accurately():
    """The sum of the losses is exact here, the sum of the weights is not."""
    x, labels = mg.full((10**6, 1), -10.0), mg.zeros(10**6, dtype=mg.int64)
    assert F.nll_loss(x, labels, weight=mg.tensor([0.1])).item() == pytest.approx(10, rel=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape, axes", [((10**6,), 0), ((10**6, 3), 0), ((3, 10**6), 1)])
def test_sum_and_mean_of_equal_numbers_are_accurate(device, shape, axes):
    """All rounding errors have the same sign and do not cancel."""
    x = on_device(np.full(shape, 0.1, np.float32), device)
    np.testing.assert_allclose(x.sum(axes).numpy(), np.float32(0.1).astype(float) * 10**6, rtol=16 * UNIT)
    np.testing.assert_allclose(x.mean(axes).numpy(), np.float32(0.1), rtol=16 * UNIT)


# ---- infinities, nan, overflow

LARGEST = {"float32": float(np.finfo("float32").max), "float64": float(np.finfo("float64").max)}
SPECIAL = {  # numbers among zeros, in units of the largest finite number, and their sum
    "inf": ([inf], inf),
    "-inf": ([-inf], -inf),
    "inf twice": ([inf, inf], inf),
    "inf - inf": ([inf, -inf], nan),
    "nan": ([nan], nan),
    "inf and nan": ([nan, inf], nan),
    "overflow": ([1, 1], inf),
    "overflow below": ([-1, -1], -inf),
    "overflow and inf": ([1, 1, inf], inf),
    "no overflow": ([1], 1),
    "no overflow together": ([0.5, 0.25], 0.75),
}
PATTERNS = [  # shapes; the sum runs over axis 1
    *[(1, size, 1) for size in (5, 4096, 4097, 16384, 20000, 40001)],
    *[(3, size, 1) for size in (5, 5000, 16384)],
    *[(1, size, 3) for size in (5, 65, 5000)],
    *[(2, size, 70) for size in (5, 65, 1000)],
]


def special(name, dtype, size):
    """Return an array (size,) with special numbers at random positions, and its sum."""
    numbers, total = SPECIAL[name]
    line = np.zeros(size, dtype)
    positions = np.random.default_rng(size).choice(size, len(numbers), replace=False)
    with np.errstate(invalid="ignore"):
        line[positions] = np.multiply(numbers, LARGEST[dtype])
        return line, np.multiply(total, LARGEST[dtype])


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("name", SPECIAL)
def test_sum_and_mean_of_infinities_nan_and_overflow(name, dtype):
    for A, B, C in PATTERNS:
        line, total = special(name, dtype, B)
        x = mg.from_numpy(np.ascontiguousarray(np.broadcast_to(line[:, None], (A, B, C))))
        np.testing.assert_array_equal(x.sum(1).numpy(), np.full((A, C), total, dtype))
        np.testing.assert_array_equal(x.mean(1).numpy(), np.full((A, C), total / B, dtype))


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("K", [5, 64, 513, 5000])
def test_matmul_of_infinities_nan_and_overflow(name, K, dtype):
    line, total = special(name, dtype, K)
    for M, N in ((1, 1), (4, 1), (4, 17)):
        a, b = np.ascontiguousarray(np.broadcast_to(line, (M, K))), np.ones((K, N), dtype)
        for layout in ("plain", "Fortran"):
            left, right = (mg.from_numpy(laid_out(array, layout)) for array in (a, b))
            np.testing.assert_array_equal((left @ right).numpy(), np.full((M, N), total, dtype))
            np.testing.assert_array_equal((right.T @ left.T).numpy(), np.full((N, M), total, dtype))


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("images, width", [(5, 5), (70000, 1), (1, 70000)])
def test_weight_gradient_of_conv2d_of_infinities_nan_and_overflow(name, images, width):
    line, total = special(name, "float32", images * width)
    found = _conv2d_gradients(mg.ones(images, width), mg.from_numpy(line.reshape(images, width)))
    np.testing.assert_array_equal(found.numpy(), np.full(2, total, np.float32))


@pytest.mark.parametrize("n", [5, 5000, 100_000])
@pytest.mark.parametrize("device", DEVICES)
def test_losses_of_infinities_and_overflow_are_infinite(n, device):
    x = np.zeros(n, np.float32)
    x[n // 2] = inf
    zeros, labels = mg.zeros(n, device=device), mg.zeros(n, dtype=mg.int64, device=device)
    assert F.mse_loss(on_device(x, device), zeros).item() == inf
    assert F.mse_loss(on_device(np.full(n, 1e25, np.float32), device), zeros).item() == inf
    logs = on_device(np.stack([-x, np.zeros_like(x)], 1), device)
    assert F.nll_loss(logs, labels).item() == inf
    assert F.cross_entropy(logs, labels, reduction="sum").item() == inf


@pytest.mark.parametrize("n", [5, 64, 65, 5000])
def test_softmax_of_a_row_with_minus_infinity_or_nan(n):
    x = np.zeros(n, np.float32)
    x[n // 2] = -inf
    expected = np.where(x == 0, np.float32(1) / np.float32(n - 1), 0)
    np.testing.assert_array_equal(mg.from_numpy(x).softmax(0).numpy(), expected)
    x[0] = nan
    assert np.isnan(mg.from_numpy(x).softmax(0).numpy()).all()
    assert np.isnan(mg.from_numpy(x).log_softmax(0).numpy()).all()


@pytest.mark.parametrize("device", DEVICES)
def test_sum_and_mean_of_empty_tensors(device):
    assert mg.zeros(0, device=device).sum().item() == 0
    assert np.isnan(mg.zeros(0, device=device).mean().item())
    assert mg.zeros(3, 0, device=device).sum(1).tolist() == [0, 0, 0]
    assert np.isnan(mg.zeros(3, 0, device=device).mean(1).numpy()).all()
    assert mg.zeros(3, 0, device=device).mean(0).shape == (0,)
    x = mg.zeros(0, device=device, requires_grad=True)
    x.mean().backward()
    assert x.grad.shape == (0,)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_sum_of_integers_is_int64(device, dtype):
    ends = {"bool": 1, "uint8": 255, "int32": 2**31 - 1, "int64": 2**62 + 1}
    x = on_device(np.array([ends[dtype]] + [1] * 300, dtype), device)
    total = x.sum()
    assert (total.dtype, total.item()) == (mg.int64, ends[dtype] + 300)


# ---- quotients


@pytest.mark.parametrize("device", DEVICES)
def test_mean_of_ones_is_exactly_1(device):
    """float32(1 / 41) * 41 is not 1."""
    assert [n for n in range(1, 2001) if mg.ones(n, device=device).mean().item() != 1] == []
    for n in (41, 47, 55, 2049):
        assert mg.ones(2, n, 3, device=device).mean(1).tolist() == [[1] * 3] * 2
        assert mg.full((n, 1), 7.0, device=device).var().item() == 0
        x = mg.ones(n, dtype=mg.float32, device=device, requires_grad=True)
        (x.mean() * 3).backward()
        assert x.grad.tolist() == [np.float32(3) / np.float32(n)] * n


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_div_is_correctly_rounded(device, dtype):
    """Also if the divisor is a single number, whose inverse a compiler could multiply by."""
    a, b = np.random.default_rng(0).uniform(0.1, 9, (2, 5000)).astype(dtype)
    x, y = on_device(a, device), on_device(b, device)
    np.testing.assert_array_equal((x / y).numpy(), a / b)
    np.testing.assert_array_equal((x / 41).numpy(), a / np.asarray(41, dtype))
    np.testing.assert_array_equal((x / y[:1]).numpy(), a / b[:1])
    np.testing.assert_array_equal((on_device(41 * np.arange(5000).astype(dtype), device) / 41).numpy(), np.arange(5000))


@pytest.mark.parametrize("device", DEVICES)
def test_nll_loss_and_mse_loss_of_equal_terms_are_exact(device):
    for n in (3, 41, 47, 300):
        x, labels = mg.zeros(n, 2, device=device), mg.zeros(n, dtype=mg.int64, device=device)
        assert F.nll_loss(x - 1, labels).item() == 1
        assert F.mse_loss(x, x + 1).item() == 1


# ---- amax, amin, argmax, argmin


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape, axis", [((9000,), 0), ((2, 9000), 1), ((9000, 3), 0), ((5, 1030), 0)])
def test_amax_amin_argmax_and_argmin_of_long_rows_equal_numpys(device, shape, axis):
    for low, high in ((-inf, inf), (-2.0, -1.0)):
        x = np.full(shape, -1.5, np.float32)
        late, early = tuple(size - 2 if d == axis else size - 1 for d, size in enumerate(shape)), (0,) * len(shape)
        x[late], x[early] = high, low
        t = on_device(x, device)
        np.testing.assert_array_equal(t.amax(axis).numpy(), x.max(axis))
        np.testing.assert_array_equal(t.amin(axis).numpy(), x.min(axis))
        np.testing.assert_array_equal(t.argmax(axis).numpy(), x.argmax(axis))
        np.testing.assert_array_equal(t.argmin(axis).numpy(), x.argmin(axis))
        x[late] = nan
        for name in ("amax", "amin", "argmax", "argmin"):
            found = getattr(on_device(x, device), name)(axis).numpy()
            np.testing.assert_array_equal(found, getattr(np, name)(x, axis))


def test_std_and_var_do_not_overflow_or_underflow():
    for values, deviation in (([1e20, 2e20], 7.0710678e19), ([1e-25, 3e-25], 1.4142136e-25)):
        x = mg.tensor(values, requires_grad=True)
        assert x.std().item() == pytest.approx(deviation, rel=1e-6)
        x.std().backward()
        np.testing.assert_allclose(x.grad.tolist(), [-np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    assert mg.tensor([[3e38] * 3] * 2).var(0).tolist() == [0, 0, 0]


def test_max_of_nan_gives_the_gradient_to_the_nan():
    x = mg.tensor([nan, 1.0, 2.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [1, 0, 0]
