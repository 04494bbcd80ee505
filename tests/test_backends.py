"""The backend cpu equals the reference implementation, the backend numpy, and gives the same bits with any number of
threads.  Special values and the accuracy of exp, log, tanh and sigmoid are here too."""

import numpy as np
import pytest
from cases import CASES, PLAIN, leaf, on_device
from helpers import DEVICES, TOLERANCES, assert_close, results
from hypothesis import given, strategies as st

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.ops.op import OPS
from minigrad.runtime import threads


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_cpu_equals_numpy_and_gives_the_same_bits_with_one_thread(name, data):
    call = data.draw(CASES[name])
    for dtype in TOLERANCES:
        found = results(call, dtype, "cpu")
        for actual, expected in zip(found, results(call, dtype, "numpy"), strict=True):
            assert_close(actual, expected, dtype)
        mg.set_num_threads(1)
        for again, first in zip(results(call, dtype, "cpu"), found, strict=True):
            np.testing.assert_array_equal(again, first)
        mg.set_num_threads(most_threads())


@pytest.mark.parametrize("name", PLAIN)
@given(data=st.data())
def test_operations_without_gradients_equal_the_reference_exactly(name, data):
    call = data.draw(PLAIN[name])
    expected = call.reference(*call.inputs)
    for dtype in ("float32", "float64", "int64", "uint8"):
        for device in DEVICES:
            inputs = [
                on_device(abs(x).astype(dtype) if dtype == "uint8" else x.astype(dtype), device) for x in call.inputs
            ]
            if dtype == "uint8":
                expected = call.reference(*[abs(x) for x in call.inputs])
            np.testing.assert_array_equal(call.run(*inputs).numpy(), expected, strict=True)


def most_threads():
    """Return the largest number of threads that set_num_threads accepts."""
    return threads.numba.config.NUMBA_NUM_THREADS


def test_every_operation_without_a_gradient_has_a_case():
    """test_gradients.py demands a case for every other operation."""
    without_gradient = {name for name, operation in OPS.items() if operation.rule is None}
    reached = {"dropout_mask", "max_pool2d_places", "norm_back"}  # by cases of dropout, max_unpool2d and the norms
    assert without_gradient - set(PLAIN) == reached


# ---- the same bits with any number of threads, for more than one task


def bits_by_threads(function, *arrays):
    """Return the bytes of all results of function(*tensors), computed with 1 thread and with all."""
    found = []
    for number in (1, most_threads()):
        mg.set_num_threads(number)
        mg.manual_seed(3)
        found.append(
            [result.detach().numpy().tobytes() for result in function(*[leaf(x, dtype="float32") for x in arrays])]
        )
    return found


@pytest.mark.parametrize("name", ["elementwise", "sum over all", "sum over images", "softmax", "matmul", "dropout"])
def test_bits_of_an_operation_do_not_depend_on_the_number_of_threads(name):
    function = {
        "elementwise": lambda x: [(x * 1.5 + 2).tanh().exp()],
        "sum over all": lambda x: [x.sum(), x.mean(), x.var(), x.amax()],
        "sum over images": lambda x: [x.sum(0), x.sum(1), x.amax(0), x.argmax(1)],
        "softmax": lambda x: [x.softmax(0), x.log_softmax(1)],
        "matmul": lambda x: [x[:200] @ x[:200].T, x.T @ x],
        "dropout": lambda x: [F.dropout(x, 0.3)],
    }[name]
    single, several = bits_by_threads(function, np.random.default_rng(0).normal(size=(700, 150)))
    assert single == several


def test_bits_of_a_training_step_do_not_depend_on_the_number_of_threads():
    random = np.random.default_rng(0)
    shapes = ((64, 3, 12, 12), (6, 3, 3, 3), (6,), (5, 150), (5,))
    labels = random.integers(0, 5, 64)

    def step(x, w, b, v, c):
        hidden = F.max_pool2d(F.conv2d(x, w, b).relu(), 2)
        loss = F.cross_entropy(F.linear(hidden.flatten(1), v, c), mg.tensor(labels))
        loss.backward()
        return [loss, x.grad, w.grad, b.grad, v.grad, c.grad]

    single, several = bits_by_threads(step, *[random.normal(size=shape) for shape in shapes])
    assert single == several


# ---- exp, log, tanh and sigmoid of float32, which kernels compute by polynomials

ULP = float(np.finfo(np.float32).eps)


def linspace(low, high, count=200_001):
    return np.linspace(low, high, count).astype(np.float32)


DENORMALS = np.float32([1e-45, 3e-42, 1.1e-38, -1e-45, -1e-40])
SPECIAL = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, *DENORMALS, 3.4e38, -3.4e38, 1.17549435e-38])


def sigmoid(x):
    """Return the sigmoid of an array of float64."""
    return 1 / (1 + np.exp(-x))


POLYNOMIALS = {  # function of tensors, function of float64 arrays, arguments, largest relative error
    "exp": (mg.exp, np.exp, linspace(-87, 88.7), 3 * ULP),
    "log": (
        mg.log,
        np.log,
        np.concatenate([linspace(0.5, 2), linspace(1e-30, 1e30), np.geomspace(1e-37, 1e38, 9999, dtype="f4")]),
        3 * ULP,
    ),
    "tanh": (mg.tanh, np.tanh, np.concatenate([linspace(-9, 9), linspace(-0.7, 0.7)]), 4 * ULP),
    "sigmoid": (mg.sigmoid, sigmoid, linspace(-80, 80), 4 * ULP),
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_exp_log_tanh_and_sigmoid_are_accurate_to_the_last_digits(name):
    function, reference, x, tolerance = POLYNOMIALS[name]
    expected = reference(x.astype(np.float64))
    found = function(mg.from_numpy(x)).numpy()
    off = np.abs(found - expected) / np.maximum(np.abs(expected), np.finfo(np.float32).tiny)
    worst = np.argmax(off)
    assert off[worst] <= tolerance, f"{name}({x[worst]!r}) = {found[worst]!r}, expected {expected[worst]!r}"


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_exp_log_tanh_and_sigmoid_of_special_values_equal_numpys(name):
    function, reference, _, tolerance = POLYNOMIALS[name]
    with np.errstate(all="ignore"):
        expected = reference(SPECIAL.astype(np.float64)).astype(np.float32)
    found = function(mg.from_numpy(SPECIAL.copy())).numpy()
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=2e-45)


@pytest.mark.usefixtures("ieee")
def test_exp_underflows_gradually_and_overflows_to_infinity():
    """exp is a denormal number before it is 0, and the largest finite number before it is infinite."""
    x = np.float32([-87.5, -95, -103, -103.9, -104.1, -200, 88.72, 88.73, 100])
    with np.errstate(all="ignore"):
        expected = np.exp(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(mg.exp(mg.from_numpy(x)).numpy(), expected, rtol=3 * ULP, atol=2e-45)


@pytest.mark.usefixtures("ieee")
def test_log_of_denormal_numbers():
    x = np.float32([1e-45, 1e-44, 5e-41, 1.1e-38])
    np.testing.assert_allclose(mg.log(mg.from_numpy(x)).numpy(), np.log(x.astype(np.float64)), rtol=3 * ULP)


UNARY = ["exp", "log", "sqrt", "tanh", "sigmoid", "relu", "abs", "neg"]


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_unary_operations_on_special_values_equal_numpys(name, dtype):
    found = [getattr(mg, name)(on_device(SPECIAL.astype(dtype), device)).numpy() for device in DEVICES]
    np.testing.assert_allclose(*found, rtol=1e-6, atol=2e-45)


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
def test_binary_operations_on_special_values_equal_numpys(name, dtype):
    a, b = (part.ravel().astype(dtype) for part in np.meshgrid(SPECIAL, [*SPECIAL, 2.0, -3.0]))
    found = [getattr(mg, name)(on_device(a, device), on_device(b, device)).numpy() for device in DEVICES]
    np.testing.assert_allclose(*found, rtol=1e-6, atol=2e-45)


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_of_special_values_equal_numpys(name):
    a, b = (part.ravel() for part in np.meshgrid(SPECIAL, SPECIAL))
    found = [
        getattr(mg.from_numpy(a).to(device), f"__{name}__")(mg.from_numpy(b).to(device)).numpy() for device in DEVICES
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("place", [0, 3, 20])
@pytest.mark.parametrize("name", ["amax", "amin", "argmax", "argmin", "sum", "mean"])
def test_reductions_propagate_nan_as_numpy_does(name, place):
    x = np.arange(40, dtype=np.float32).reshape(2, 20)
    x.flat[place] = np.nan
    for axis in (0, 1):
        found = [getattr(mg, name)(on_device(x, device), axis).numpy() for device in DEVICES]
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_huge_logits_equals_numpys_and_is_not_nan(name):
    x = np.float32([[1e30, -1e30, 0], [-np.inf, 0, 1], [88, 89, 90]])
    found = [getattr(mg, name)(on_device(x, device), 1).numpy() for device in DEVICES]
    np.testing.assert_allclose(*found, rtol=1e-6)
    assert not np.isnan(found[0]).any()


# ---- values at which backends could differ


@pytest.mark.parametrize("device", DEVICES)
def test_clip_gives_max_if_min_is_larger_than_max(device):
    """As in NumPy and PyTorch."""
    assert mg.tensor([0.0, 1.5, 5.0], device=device).clip(2, 1).tolist() == [1, 1, 1]


INF, NAN = np.inf, np.nan
AT_SPECIAL_VALUES = {  # name: function, inputs, value, a gradient for each input; all as PyTorch 2.13 gives them
    "square root": (lambda x: x**0.5, [[0.0, -0.0, -INF, INF]], [0, 0, NAN, INF], [[INF, -INF, NAN, 0]]),
    "inverse square root": (lambda x: x**-0.5, [[4.0, -0.0, -INF, INF]], [0.5, -INF, NAN, 0], [[-0.0625, -INF, 0, 0]]),
    "power 0": (lambda x: x**0, [[0.0, INF, NAN]], [1, 1, 1], [[0, 0, 0]]),
    "power 1": (lambda x: x**1, [[0.0, INF, -INF]], [0, INF, -INF], [[1, 1, 1]]),
    "powers": (
        lambda a, b: a**b,
        [[0.0, 0.0, 0.0, -0.0, -2.0], [-1.0, 0.0, 2.0, -1.0, 2.0]],
        [INF, 1, 0, -INF, 4],
        [[-INF, 0, 0, -INF, -4], [-INF, 0, 0, INF, NAN]],
    ),
    "powers of 0": (lambda b: 0**b, [[-1.0, 0.0, 2.0]], [INF, 1, 0], [[-INF, 0, 0]]),
    "powers of -2": (lambda b: (-2) ** b, [[1.0, 2.0]], [-2, 4], [[NAN, NAN]]),
    "maximum": (mg.maximum, [[NAN, 1.0, 1.0], [1.0, NAN, 1.0]], [NAN, NAN, 1], [[1, 1, 0.5], [1, 1, 0.5]]),
    "minimum": (mg.minimum, [[NAN, INF, 1.0], [1.0, -INF, 1.0]], [NAN, -INF, 1], [[1, 0, 0.5], [1, 1, 0.5]]),
    "clip": (lambda x: x.clip(0, 1), [[NAN, -0.0, INF, 1.0]], [NAN, 0, 1, 1], [[0, 1, 0, 1]]),
    "clip to nan": (lambda x: x.clip(min=NAN), [[1.0, NAN]], [NAN, NAN], [[0, 0]]),
    "clip to tensors": (
        mg.clip,
        [[0.0, 5.0, 2.0, NAN, 0.0], [1.0, 1.0, 1.0, 1.0, 3.0], [3.0, 3.0, 3.0, 3.0, 1.0]],
        [1, 3, 2, NAN, 1],
        [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1]],
    ),
    "clip to one tensor": (
        lambda x, low: x.clip(min=low),
        [[1.0, 1.0, 1.0], [2.0, NAN, 1.0]],
        [2, NAN, 1],
        [[0, 0, 1], [1, 0, 0]],
    ),
    "relu": (mg.relu, [[NAN, -0.0, INF, -INF]], [NAN, 0, INF, 0], [[1, 0, 1, 0]]),
    "abs": (abs, [[-0.0, -INF, INF]], [0, INF, INF], [[0, -1, 1]]),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", AT_SPECIAL_VALUES)
def test_values_and_gradients_at_zero_infinity_and_nan_equal_pytorchs(name, dtype, device):
    run, inputs, value, gradients = AT_SPECIAL_VALUES[name]
    leaves = [leaf(x, dtype=dtype, device=device) for x in inputs]
    out = run(*leaves)
    np.testing.assert_array_equal(out.detach().numpy(), value)
    out.backward(mg.ones_like(out))
    for x, gradient in zip(leaves, gradients, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "left, right",
    [
        ((2, 0, 4), (4, 5)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((2, 3), (3, 0)),
        ((0,), (0,)),
        ((2, 0), (0,)),
        ((0,), (0, 2)),
        ((3,), (3, 0)),
        ((0, 2, 3), (3, 2)),
        ((0, 2, 3), (1, 3, 2)),
        ((17, 2, 0), (17, 0, 33)),
        ((5, 1, 0, 3), (2, 3, 4)),
    ],
    ids=str,
)
def test_matmul_of_empty_matrices_and_its_gradients_are_zeros(left, right, device):
    a, b = leaf(np.ones(left), device=device), leaf(np.ones(right), device=device)
    out = a @ b
    np.testing.assert_array_equal(out.detach().numpy(), np.matmul(np.ones(left), np.ones(right)), strict=True)
    out.backward(mg.ones_like(out))
    for x in (a, b):
        np.testing.assert_array_equal(x.grad.numpy(), np.zeros(x.shape), strict=True)


@pytest.mark.parametrize("device", DEVICES)
def test_linear_without_features_gives_its_bias(device):
    bias = leaf([1.0, 2.0], device=device)
    for shape in ((0,), (3, 0), (2, 3, 0), (0, 2, 0)):
        out = F.linear(mg.zeros(*shape, dtype=bias.dtype, device=device), leaf(np.ones((2, 0)), device=device), bias)
        np.testing.assert_array_equal(out.detach().numpy(), np.broadcast_to([1.0, 2.0], (*shape[:-1], 2)))


@pytest.mark.parametrize("device", DEVICES)
def test_max_pool2d_gives_minus_infinity_for_a_window_without_pixels(device):
    """With dilation, every tap of a window can lie outside a small image.  As in PyTorch."""
    image = mg.ones(1, 1, 1, 1, device=device)
    assert F.max_pool2d(image, 2, stride=1, padding=1, dilation=2).tolist() == [[[[-np.inf]]]]


@pytest.mark.parametrize("device", DEVICES)
def test_abs_of_minus_zero_is_plus_zero(device):
    assert not np.signbit(mg.tensor([-0.0], device=device).abs().numpy()[0])


@pytest.mark.parametrize(
    "name", ["softmax", "log_softmax", "sum", "mean", "amax", "relu", "sigmoid", "tanh", "exp", "log"]
)
def test_values_and_gradients_of_infinities_and_nans_equal_numpys_without_warnings(name):
    """The incoming gradient is infinite too.  A warning of NumPy would be an error here."""
    for data in ([np.inf, -np.inf, 1.0], [np.nan, 1.0, -1.0], [-np.inf, 1.0, -1.0]):
        found = []
        for device in DEVICES:
            x = mg.tensor(data, device=device, requires_grad=True)
            out = getattr(mg, name)(x, 0) if "soft" in name else getattr(mg, name)(x)
            out.backward(mg.full(out.shape, np.inf, device=device))
            found.append((out.detach().numpy(), x.grad.numpy()))
        for actual, expected in zip(*found, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_sum_and_mean_of_many_equal_numbers_stay_accurate(device):
    """A single running total of float32 would lose 0.1 % here."""
    x = on_device(np.full(3_000_000, 0.1, np.float32), device)
    assert x.sum().item() == pytest.approx(300_000, rel=1e-5)
    assert x.mean().item() == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_log_softmax_and_cross_entropy_stay_accurate_with_a_large_common_offset(device):
    """log_softmax subtracts the largest logit first."""
    x = np.float32([[0.0, 1.0, 2.0], [3.0, 3.0, -1.0]])
    plain, shifted = (on_device(array, device) for array in (x, x + np.float32(4096)))
    np.testing.assert_allclose(shifted.log_softmax(1).numpy(), plain.log_softmax(1).numpy(), rtol=1e-6)
    labels = on_device(np.array([0, 1]), device)
    np.testing.assert_allclose(
        F.cross_entropy(shifted, labels, reduction="none").numpy(),
        F.cross_entropy(plain, labels, reduction="none").numpy(),
        rtol=1e-6,
    )
