"""Gradients are right: by complex step at all inputs and entries of every case, by hand at every kink and tie, and by
central differences for gradients of gradients."""

import numpy as np
import pytest
from cases import CASES, leaf
from hypothesis import given, settings, strategies as st

import minigrad as mg
from minigrad.errors import GraphError
from minigrad.nn import functional as F

STEP = 1e-30


def upstream(shape, seed=1):
    """A random gradient to arrive at a result."""
    return np.random.default_rng(seed).normal(size=shape)


def complex_step(call, weights):
    """The gradient of (weights * result).sum() by every entry of every input."""
    gradients = []
    for number, x in enumerate(call.inputs):
        moved, gradient = [np.array(other, complex) for other in call.inputs], np.empty(x.shape)
        for place in np.ndindex(x.shape):
            moved[number][place] = x[place] + STEP * 1j
            gradient[place] = (weights * call.judge(*moved)).sum().imag / STEP
            moved[number][place] = x[place]
        gradients.append(gradient)
    return gradients


def assert_close(actual, expected, tolerance, note=""):
    """Equal but for rounding, as seen against the largest number."""
    assert actual.shape == expected.shape, note
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=str(note))


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_gradient_equals_the_complex_step(name, data):
    call = data.draw(CASES[name])
    inputs = call.leaves()
    out = call.run(*inputs)
    expected = call.judge(*call.inputs)
    assert_close(out.detach().numpy(), np.asarray(expected), 1e-12, "the value itself")
    weights = upstream(out.shape)
    out.backward(mg.tensor(weights))
    for x, gradient in zip(inputs, complex_step(call, weights), strict=True):
        assert_close(x.grad.numpy(), gradient, 1e-12)


# ---- gradients of gradients

FLAT = {"max_pool2d", "avg_pool2d", "cross_entropy"}  # their gradient is a kernel that has no gradient of its own


def first_gradients(call, arrays, weights, directions, create_graph):
    """The sum over all inputs of gradient * direction, as a tensor; and the leaves it was made from."""
    leaves = [leaf(x) for x in arrays]
    weights = leaf(weights)
    call.run(*leaves).backward(weights, create_graph=create_graph)
    total = mg.tensor(0.0, dtype=mg.float64)
    for x, direction in zip(leaves, directions, strict=True):
        if x.grad is not None:
            total = total + (x.grad * mg.tensor(direction)).sum()
        x.grad = None
    return total, [*leaves, weights]


@pytest.mark.parametrize("name", [name for name in CASES if name not in FLAT])
@settings(max_examples=5)
@given(data=st.data())
def test_second_gradient_equals_central_differences(name, data):
    call = data.draw(CASES[name])
    directions = [upstream(x.shape, seed) for seed, x in enumerate(call.inputs)]
    weights = upstream(call.judge(*call.inputs).shape)
    total, leaves = first_gradients(call, call.inputs, weights, directions, create_graph=True)
    total.backward()
    moves = [upstream(x.shape, 100 + seed) for seed, x in enumerate([*call.inputs, weights])]
    found = sum(
        float((x.grad.numpy() * move).sum()) for x, move in zip(leaves, moves, strict=True) if x.grad is not None
    )
    step, ends = 1e-5, []
    for sign in (1, -1):
        *arrays, moved_weights = [
            x + sign * step * move for x, move in zip([*call.inputs, weights], moves, strict=True)
        ]
        ends.append(first_gradients(call, arrays, moved_weights, directions, create_graph=False)[0].item())
    assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", sorted(FLAT))
@settings(max_examples=1)
@given(data=st.data())
def test_a_second_gradient_that_is_not_served_is_refused(name, data):
    call = data.draw(CASES[name])
    x = call.leaves()[0]
    out = call.run(x)
    out.backward(mg.ones(*out.shape, dtype=mg.float64, requires_grad=True), create_graph=True)
    with pytest.raises(GraphError, match="backward: .*_back has no gradient"):
        x.grad.sum().backward()


def test_third_derivative():
    x = mg.tensor([0.3, -1.2], dtype=mg.float64, requires_grad=True)
    x.tanh().sum().backward(create_graph=True)
    for _ in range(2):
        gradient, x.grad = x.grad, None
        gradient.sum().backward(create_graph=True)
    t = np.tanh([0.3, -1.2])
    np.testing.assert_allclose(x.grad.detach().numpy(), (6 * t**2 - 2) * (1 - t**2), rtol=1e-12)


def test_a_gradient_penalty_reaches_the_weights():
    """The gradient by weights of |gradient by the image| squared, as in saliency training, through two layers."""
    random = np.random.default_rng(0)
    image, first, second = (random.normal(size=shape) for shape in ((3, 1, 5, 5), (2, 1, 3, 3), (4, 18)))

    def penalty(w, create_graph):
        x, w1, w2 = (leaf(array) for array in (image, w, second))
        hidden = F.conv2d(x, w1).relu().flatten(1)
        F.linear(hidden, w2).log_softmax(1).sum().backward(create_graph=create_graph)
        gradient, w1.grad = x.grad, None
        return (gradient * gradient).sum(), w1

    total, w1 = penalty(first, create_graph=True)
    total.backward()
    for place in np.ndindex(first.shape):
        ends = []
        for sign in (1, -1):
            moved = first.copy()
            moved[place] += sign * 1e-6
            ends.append(penalty(moved, create_graph=False)[0].item())
        assert w1.grad.numpy()[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


# ---- kinks and ties: what holds exactly there, on every device

DEVICES = ("cpu", "numpy")
nan, inf = np.nan, np.inf


def gradient_at(function, data, weights=None, device="cpu", dtype=mg.float32):
    """The gradient of function(x), summed or weighted, as lists."""
    x = mg.tensor(data, dtype=dtype, device=device, requires_grad=True)
    out = function(x)
    out.backward(mg.ones(*out.shape, dtype=dtype, device=device) if weights is None else weights)
    return x.grad.tolist()


@pytest.mark.parametrize("device", DEVICES)
class TestKinks:
    def test_relu_at_0_passes_nothing(self, device):
        assert gradient_at(mg.relu, [-1.0, -0.0, 0.0, 1.0], device=device) == [0, 0, 0, 1]

    def test_leaky_relu_at_0_takes_the_slope(self, device):
        assert gradient_at(lambda x: F.leaky_relu(x, 0.25), [-1.0, 0.0, 1.0], device=device) == [0.25, 0.25, 1]

    def test_abs_at_0_has_gradient_0(self, device):
        assert gradient_at(abs, [-2.0, -0.0, 0.0, 2.0], device=device) == [-1, 0, 0, 1]

    def test_clip_passes_at_its_ends(self, device):
        assert gradient_at(lambda x: x.clip(-1, 2), [-1.5, -1.0, 0.0, 2.0, 2.5], device=device) == [0, 1, 1, 1, 0]

    def test_a_tie_of_maximum_gives_each_half(self, device):
        other = mg.tensor([1.0, 1.0, 1.0], device=device, requires_grad=True)
        for function in (mg.maximum, mg.minimum):
            other.grad = None
            left = gradient_at(lambda x, f=function: f(x, other), [0.0, 1.0, 2.0], device=device)
            assert left[1] == other.grad.tolist()[1] == 0.5
            assert np.add(left, other.grad.tolist()).tolist() == [1, 1, 1]

    def test_equal_largest_elements_share_the_gradient_of_amax(self, device):
        data = [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]
        assert gradient_at(lambda x: x.amax(1), data, device=device) == [[0.5, 0, 0.5], pytest.approx([1 / 3] * 3)]
        assert gradient_at(mg.max, data, device=device) == [[0.5, 0, 0.5], [0, 0, 0]]
        assert gradient_at(mg.amin, data, device=device) == [[0, 1, 0], [0, 0, 0]]

    def test_max_along_a_dim_gives_all_to_the_first(self, device):
        data = [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]
        assert gradient_at(lambda x: x.max(dim=1).values, data, device=device) == [[1, 0, 0], [1, 0, 0]]
        assert gradient_at(lambda x: x.min(1)[0], data, device=device) == [[0, 1, 0], [1, 0, 0]]
        assert mg.tensor(data, device=device).max(1).indices.tolist() == [0, 0]

    def test_the_first_maximum_of_a_window_takes_all(self, device):
        image = np.ones((1, 1, 4, 4))
        expected = np.zeros((4, 4))
        expected[::2, ::2] = 1
        assert gradient_at(lambda x: F.max_pool2d(x, 2), image, device=device) == [[expected.tolist()]]

    def test_the_first_maximum_counts_from_inside_the_padding(self, device):
        image = np.zeros((1, 1, 2, 2))  # four windows; each has its own first pixel
        assert gradient_at(lambda x: F.max_pool2d(x, 2, padding=1), image, device=device) == [[[[1, 1], [1, 1]]]]

    def test_nan_wins_a_window_and_takes_its_gradient(self, device):
        image = [[[[1.0, nan], [5.0, nan]]]]
        assert gradient_at(lambda x: F.max_pool2d(x, 2), image, device=device) == [[[[0, 1], [0, 0]]]]

    def test_minus_infinity_can_be_a_largest_pixel(self, device):
        image = np.full((1, 1, 2, 2), -inf)
        assert F.max_pool2d(mg.tensor(image, device=device), 2, padding=1).tolist() == [[[[-inf, -inf], [-inf, -inf]]]]

    def test_a_power_of_0_is_flat(self, device):
        assert gradient_at(lambda x: x**2, [0.0], device=device) == [0]
        assert gradient_at(lambda x: x**1, [0.0], device=device) == [1]

    def test_the_exponent_of_0_has_gradient_0(self, device):
        assert gradient_at(lambda b: mg.tensor([0.0], device=device) ** b, [2.0], device=device) == [0]

    def test_an_index_named_twice_gets_both(self, device):
        assert gradient_at(lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0], device=device) == [2, 0, 1]
        index = mg.tensor([0, 0, 0, 1], device=device)
        assert gradient_at(lambda x: x.gather(0, index), [1.0, 2.0, 3.0], device=device) == [3, 1, 0]

    def test_ignored_images_get_no_gradient(self, device):
        labels = mg.tensor([1, -100], device=device)
        first, second = gradient_at(lambda x: F.cross_entropy(x, labels), [[0.0, 0.0], [1.0, 2.0]], device=device)
        assert (first, second) == ([0.5, -0.5], [0, 0])

    def test_a_logit_of_minus_infinity_is_a_class_ruled_out(self, device):
        labels = mg.tensor([1], device=device)
        assert gradient_at(lambda x: F.cross_entropy(x, labels), [[-inf, 0.0, 0.0]], device=device) == [[0, -0.5, 0.5]]

    def test_huge_logits_do_not_overflow(self, device):
        labels = mg.tensor([0], device=device)
        assert gradient_at(lambda x: F.cross_entropy(x, labels), [[-1e4, 1e4]], device=device) == [[-1, 1]]


# ---- sizes at the edge


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_of_no_images_has_gradients_of_0(device):
    x = mg.zeros(0, 2, 6, 6, device=device, requires_grad=True)
    w, b = mg.ones(4, 2, 3, 3, device=device, requires_grad=True), mg.ones(4, device=device, requires_grad=True)
    hidden = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, b, padding=1).relu(), 2), 3)
    F.linear(hidden.flatten(1), mg.ones(3, 4, device=device)).log_softmax(1).sum().backward()
    assert x.grad.shape == (0, 2, 6, 6)
    assert not w.grad.numpy().any()
    assert b.grad.tolist() == [0] * 4


@pytest.mark.parametrize("device", DEVICES)
def test_whole_models_have_the_same_gradient_whatever_the_batch_is_cut_into(device):
    """The gradient of a sum over 17 images is the sum of the gradients over 1, 3, 6 and 7 of them."""
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(17, 1, 8, 8)), random.integers(0, 4, 17)
    shapes = ((2, 1, 3, 3), (2,), (4, 18), (4,))
    arrays = [random.normal(size=shape) for shape in shapes]

    def gradients(parts):
        leaves = [leaf(array, device=device) for array in arrays]
        start = 0
        for size in parts:
            x, y = (mg.tensor(part[start : start + size], device=device) for part in (images, labels))
            hidden = F.max_pool2d(F.conv2d(x, leaves[0], leaves[1]).tanh(), 2)
            F.cross_entropy(F.linear(hidden.flatten(1), leaves[2], leaves[3]), y, reduction="sum").backward()
            start += size
        return [x.grad.numpy() for x in leaves]

    for whole, pieces in zip(gradients([17]), gradients([1, 3, 6, 7]), strict=True):
        np.testing.assert_allclose(pieces, whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("exponent", [0, mg.tensor([0.0, 0.0])], ids=["number", "tensor"])
def test_the_power_0_has_gradient_0(exponent):
    assert gradient_at(lambda x: x**exponent, [0.0, 2.0]) == [0, 0]
