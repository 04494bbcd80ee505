"""Gradients: first by the complex step, second and third by central differences, and by hand at kinks and ties."""

import numpy as np
import pytest
from cases import CASES, leaf
from helpers import DEVICES, assert_close, derivative, directional_derivative, random_gradient, with_weights
from hypothesis import given, settings, strategies as st

import minigrad as mg
from minigrad.errors import GraphError
from minigrad.nn import functional as F
from minigrad.ops.op import OPS, find
from minigrad.tape import reachable

STEP = 1e-30


def complex_step(call, weights):
    """Return the gradients of (weights * result).sum() with respect to every input, entry by entry."""
    gradients = []
    for number, x in enumerate(call.inputs):
        moved, gradient = [np.array(other, complex) for other in call.inputs], np.empty(x.shape)
        for index in np.ndindex(x.shape):
            moved[number][index] = x[index] + STEP * 1j
            gradient[index] = (weights * call.reference(*moved)).sum().imag / STEP
            moved[number][index] = x[index]
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_backward_gives_the_value_and_the_gradient_of_the_complex_step(name, data):
    call = data.draw(CASES[name])
    inputs = call.leaves()
    out = call.run(*inputs)
    expected = call.reference(*call.inputs)
    assert_close(out.detach().numpy(), np.asarray(expected), "float64", 10, "the value itself")
    weights = random_gradient(out.shape)
    out.backward(mg.tensor(weights))
    for x, gradient in zip(inputs, complex_step(call, weights), strict=True):
        assert_close(x.grad.numpy(), gradient, "float64", 10)


# ---- gradients of gradients


def central_difference(call, arrays, order):
    """Return the derivative of order + 1 along random directions, and its approximation by central differences."""
    moves = [random_gradient(x.shape, 100 + seed) for seed, x in enumerate(arrays)]
    total, leaves = derivative(call, arrays, order, create_graph=True)
    total.backward()
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = [x + sign * step * move for x, move in zip(arrays, moves, strict=True)]
        ends.append(derivative(call, moved, order, create_graph=False)[0].item())
    return directional_derivative(leaves, moves).item(), (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=5)
@given(data=st.data())
def test_second_gradients_equal_central_differences(name, data):
    call = data.draw(CASES[name])
    found, expected = central_difference(call, with_weights(call), 1)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


# operations with second derivatives, and piecewise linear ones
CURVED = ["sigmoid", "tanh", "div", "pow", "std", "softmax", "log_softmax", "linear", "conv2d"]
BENT = [*CURVED, "max_pool2d", "avg_pool2d", "cross_entropy", "nll_loss", "relu", "amax"]


@pytest.mark.parametrize("name", BENT)
@settings(max_examples=3)
@given(data=st.data())
def test_third_gradients_equal_central_differences(name, data):
    call = data.draw(CASES[name])
    found, expected = central_difference(call, with_weights(call), 2)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_every_operation_with_a_backward_formula_has_its_second_gradient_tested():
    """Every operation with a backward formula is reached by a second backward pass of some case."""
    reached = set()

    def note_operations(end):
        reached.update(node.op.name for node in (reachable(end.node) if end.node else []))
        return end

    @settings(max_examples=12)
    @given(data=st.data())
    def run(name, data):
        call = data.draw(CASES[name])
        *inputs, weights = leaves = [leaf(x) for x in with_weights(call)]
        note_operations(call.run(*inputs)).backward(weights, create_graph=True)
        note_operations(directional_derivative(leaves, leaves)).backward(create_graph=True)
        note_operations(directional_derivative(leaves, leaves))

    for name in CASES:
        run(name)
    differentiable = {operation.name for operation in OPS.values() if operation.rule}
    assert differentiable - reached == {"cast"}  # the next test covers it


def test_second_gradient_through_a_dtype_conversion():
    x = mg.tensor([0.5, -2.0], requires_grad=True)
    (x.double() ** 3).sum().backward(create_graph=True)
    gradient, x.grad = x.grad, None
    gradient.double().sum().backward()
    assert x.grad.dtype == mg.float32
    assert x.grad.tolist() == [3, -12]


def test_backward_names_an_operation_without_a_backward_formula(monkeypatch):
    monkeypatch.setattr(find("relu_backward"), "rule", None)
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (x * x).relu().sum().backward(create_graph=True)
    with pytest.raises(GraphError, match="^backward: relu_backward has no gradient"):
        x.grad.sum().backward()


def test_third_derivative_of_tanh():
    x = mg.tensor([0.3, -1.2], dtype=mg.float64, requires_grad=True)
    x.tanh().sum().backward(create_graph=True)
    for _ in range(2):
        gradient, x.grad = x.grad, None
        gradient.sum().backward(create_graph=True)
    t = np.tanh([0.3, -1.2])
    np.testing.assert_allclose(x.grad.detach().numpy(), (6 * t**2 - 2) * (1 - t**2), rtol=1e-12)


def test_gradient_penalty_through_conv2d_and_linear_equals_central_differences():
    """The penalty is the squared gradient with respect to the image; it is differentiated by the weights of a layer."""
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


# ---- the values of PyTorch 2.13


def test_gradient_penalty_on_cross_entropy_equals_pytorchs():
    x = leaf([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]])
    w = leaf([[0.2, -0.4, 0.6], [-0.3, 0.5, 0.1], [0.7, 0.0, -0.2]])
    F.cross_entropy(F.linear(x, w), mg.tensor([2, 0])).backward(create_graph=True)
    penalty, w.grad = (x.grad * x.grad).sum(), None
    penalty.backward()
    assert penalty.item() == pytest.approx(0.3267138872281124, rel=1e-12)
    expected = [
        [-0.3465024654527832, -0.33334888399891416, 0.6360480640160378],
        [-0.013388506134939953, 0.023619481911634883, -0.02833467132229867],
        [0.35989097158772315, 0.3097294020872793, -0.607713392693739],
    ]
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-12)


LOGITS = [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [1.0, 1.0, 1.0]]
PENALTIES = {  # reduction and smoothing: gradients of the squared gradient by logits 0 and 2; image 1 is ignored
    ("mean", 0.0): [[-0.018604039965, 0.019689159216, -0.001085119251], [8 / 56.25, 8 / 56.25, -16 / 56.25]],
    ("mean", 0.2): [[-0.019804103858, 0.024926777037, -0.005122673178], [0.112987654321, 0.106469135802, -0.21945679]],
    ("sum", 0.0): [[-0.116275249783, 0.123057245102, -0.006781995319], [8 / 9, 8 / 9, -16 / 9]],
    ("sum", 0.2): [[-0.123775649113, 0.155792356478, -0.032016707365], [0.706172839506, 0.665432098765, -1.3716049383]],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("reduction", "smoothing"), [*PENALTIES, ("none", 0.0), ("none", 0.2)])
def test_second_gradient_of_cross_entropy_with_leaf_logits_equals_pytorchs(reduction, smoothing, device):
    weight = mg.tensor(np.array([0.5, 1.0, 2.0]), device=device)
    first, third = PENALTIES["sum" if reduction == "none" else reduction, smoothing]
    for images in (False, True):  # (3, 3), and as pixels of one image: (1, 3, 3, 1)
        data, labels = np.array(LOGITS), np.array([0, -100, 2])
        if images:
            data, labels = data.T.reshape(1, 3, 3, 1), labels.reshape(1, 3, 1)
        x = leaf(data, device=device)
        loss = F.cross_entropy(
            x, mg.tensor(labels, device=device), weight, reduction=reduction, label_smoothing=smoothing
        )
        loss.sum().backward(create_graph=True)
        penalty, x.grad = (x.grad * x.grad).sum(), None
        penalty.backward()
        found = x.grad.numpy().reshape(3, 3).T if images else x.grad.numpy()
        np.testing.assert_allclose(found, [first, [0, 0, 0], third], rtol=0, atol=1e-8)


# ---- kinks and ties

nan, inf = np.nan, np.inf


def gradient_at(function, data, weights=None, device="cpu", dtype=mg.float32):
    """Return the gradient of function(x), summed or weighted, as lists."""
    x = mg.tensor(data, dtype=dtype, device=device, requires_grad=True)
    out = function(x)
    out.backward(mg.ones(*out.shape, dtype=dtype, device=device) if weights is None else weights)
    return x.grad.tolist()


@pytest.mark.parametrize("device", DEVICES)
class TestGradientsAtKinksAndTies:
    def test_relu_has_gradient_0_at_0(self, device):
        assert gradient_at(mg.relu, [-1.0, -0.0, 0.0, 1.0], device=device) == [0, 0, 0, 1]

    def test_leaky_relu_has_the_negative_slope_at_0(self, device):
        assert gradient_at(lambda x: F.leaky_relu(x, 0.25), [-1.0, 0.0, 1.0], device=device) == [0.25, 0.25, 1]

    def test_abs_has_gradient_0_at_0(self, device):
        assert gradient_at(abs, [-2.0, -0.0, 0.0, 2.0], device=device) == [-1, 0, 0, 1]

    def test_clip_has_gradient_1_at_its_bounds(self, device):
        assert gradient_at(lambda x: x.clip(-1, 2), [-1.5, -1.0, 0.0, 2.0, 2.5], device=device) == [0, 1, 1, 1, 0]

    def test_maximum_and_minimum_give_half_the_gradient_to_each_of_two_equal_numbers(self, device):
        other = mg.tensor([1.0, 1.0, 1.0], device=device, requires_grad=True)
        for function in (mg.maximum, mg.minimum):
            other.grad = None
            left = gradient_at(lambda x, f=function: f(x, other), [0.0, 1.0, 2.0], device=device)
            assert left[1] == other.grad.tolist()[1] == 0.5
            assert np.add(left, other.grad.tolist()).tolist() == [1, 1, 1]

    def test_amax_and_amin_share_the_gradient_among_equal_elements(self, device):
        data = [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]
        assert gradient_at(lambda x: x.amax(1), data, device=device) == [[0.5, 0, 0.5], pytest.approx([1 / 3] * 3)]
        assert gradient_at(mg.max, data, device=device) == [[0.5, 0, 0.5], [0, 0, 0]]
        assert gradient_at(mg.amin, data, device=device) == [[0, 1, 0], [0, 0, 0]]

    def test_max_and_min_along_a_dim_give_the_gradient_to_the_first_of_equal_elements(self, device):
        data = [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]
        assert gradient_at(lambda x: x.max(dim=1).values, data, device=device) == [[1, 0, 0], [1, 0, 0]]
        assert gradient_at(lambda x: x.min(1)[0], data, device=device) == [[0, 1, 0], [1, 0, 0]]
        assert mg.tensor(data, device=device).max(1).indices.tolist() == [0, 0]

    def test_max_pool2d_gives_the_gradient_to_the_first_of_equal_pixels(self, device):
        image = np.ones((1, 1, 4, 4))
        expected = np.zeros((4, 4))
        expected[::2, ::2] = 1
        assert gradient_at(lambda x: F.max_pool2d(x, 2), image, device=device) == [[expected.tolist()]]

    def test_max_pool2d_gives_no_gradient_to_padding(self, device):
        image = np.zeros((1, 1, 2, 2))  # four windows with one pixel each
        assert gradient_at(lambda x: F.max_pool2d(x, 2, padding=1), image, device=device) == [[[[1, 1], [1, 1]]]]

    def test_max_pool2d_gives_the_gradient_to_the_first_nan(self, device):
        image = [[[[1.0, nan], [5.0, nan]]]]
        assert gradient_at(lambda x: F.max_pool2d(x, 2), image, device=device) == [[[[0, 1], [0, 0]]]]

    def test_max_pool2d_of_minus_infinities_is_minus_infinity(self, device):
        image = np.full((1, 1, 2, 2), -inf)
        assert F.max_pool2d(mg.tensor(image, device=device), 2, padding=1).tolist() == [[[[-inf, -inf], [-inf, -inf]]]]

    def test_pow_of_base_0_has_the_gradient_of_its_exponent(self, device):
        assert gradient_at(lambda x: x**2, [0.0], device=device) == [0]
        assert gradient_at(lambda x: x**1, [0.0], device=device) == [1]

    def test_pow_of_base_0_has_gradient_0_with_respect_to_the_exponent(self, device):
        assert gradient_at(lambda b: mg.tensor([0.0], device=device) ** b, [2.0], device=device) == [0]

    def test_index_and_gather_add_the_gradients_of_repeated_indices(self, device):
        assert gradient_at(lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0], device=device) == [2, 0, 1]
        index = mg.tensor([0, 0, 0, 1], device=device)
        assert gradient_at(lambda x: x.gather(0, index), [1.0, 2.0, 3.0], device=device) == [3, 1, 0]

    def test_cross_entropy_gives_no_gradient_to_ignored_images(self, device):
        labels = mg.tensor([1, -100], device=device)
        first, second = gradient_at(lambda x: F.cross_entropy(x, labels), [[0.0, 0.0], [1.0, 2.0]], device=device)
        assert (first, second) == ([0.5, -0.5], [0, 0])

    @pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
    def test_losses_ignore_images_with_infinite_or_nan_logits(self, loss, device):
        """Their logits may be infinite or nan; the incoming gradient may be infinite."""
        labels, data = mg.tensor([-100, 0, -100], device=device), [[-inf, inf], [0.0, 0.0], [nan, -inf]]
        for reduction in ("mean", "sum", "none"):
            x = mg.tensor(data, device=device, requires_grad=True)
            out = loss(x, labels, reduction=reduction)
            alone = loss(x[1:2], labels[1:2], reduction=reduction)
            assert out.sum().item() == alone.sum().item()
            out.backward(mg.full(out.shape, inf, device=device))
            assert x.grad.tolist()[::2] == [[0, 0], [0, 0]]
            assert x.grad.tolist()[1][0] == -inf

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_losses_of_ignored_images_only_have_gradient_0(self, smoothing, device):
        """The mean loss over no images is nan, the sum is 0; the gradient is 0 in both cases."""
        labels = mg.tensor([-100, -100], device=device)
        for reduction, expected in (("mean", nan), ("sum", 0.0), ("none", [0.0, 0.0])):
            found = []

            def loss(x, reduction=reduction, found=found):
                out = F.cross_entropy(x, labels, reduction=reduction, label_smoothing=smoothing)
                found.extend([out, F.nll_loss(x, labels, reduction=reduction)])
                return found[0] + found[1]

            assert gradient_at(loss, [[1.0, 2.0], [3.0, 1.0]], device=device) == [[0, 0], [0, 0]]
            for out in found:
                np.testing.assert_equal(out.tolist(), expected)

    @pytest.mark.parametrize(
        ("data", "labels", "settings", "losses", "gradient"),
        [  # PyTorch's values
            ([[-inf, 0], [0, 0]], [0, 1], {}, [inf, 0.6931472], [[-1, 1], [0.5, -0.5]]),
            ([[-inf, 0], [0, 0]], [0, 1], {"label_smoothing": 0.5}, [inf, 0.6931472], [[-0.75, 0.75], [0.25, -0.25]]),
            ([[-inf, 0], [0, 0]], [1, 1], {"label_smoothing": 0.5}, [inf, 0.6931472], [[-0.25, 0.25], [0.25, -0.25]]),
            ([[-inf, 0], [0, 0]], [0, 1], {"weight": [0.0, 1.0]}, [nan, 0.6931472], [[0, 0], [0.5, -0.5]]),
            ([[inf, 0], [0, 0]], [0, 1], {}, [nan, 0.6931472], [[nan, nan], [0.5, -0.5]]),
            ([[-inf, -inf], [0, 0]], [0, 1], {}, [nan, 0.6931472], [[nan, nan], [0.5, -0.5]]),
            ([[0, 0], [0, 0]], [0, 0], {"weight": [0.0, 1.0], "reduction": "mean"}, nan, [[nan, nan], [nan, nan]]),
        ],
    )
    def test_cross_entropy_of_infinite_logits_equals_pytorchs(self, data, labels, settings, losses, gradient, device):
        settings = {"reduction": "none", **settings}
        if "weight" in settings:
            settings["weight"] = mg.tensor(settings["weight"], device=device)
        x = mg.tensor(data, dtype=mg.float32, device=device, requires_grad=True)
        out = F.cross_entropy(x, mg.tensor(labels, device=device), **settings)
        np.testing.assert_allclose(out.tolist(), losses, rtol=1e-6)
        out.backward(mg.ones(*out.shape, device=device))
        np.testing.assert_allclose(x.grad.tolist(), gradient, rtol=1e-6)

    def test_std_of_equal_numbers_has_gradient_0(self, device):
        """As in PyTorch.  The second gradient is finite too."""
        data = [[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]
        flat, steep = gradient_at(lambda x: x.std(1), data, device=device)
        assert flat == [0, 0, 0]
        np.testing.assert_allclose(steep, [-0.4364358, -0.1091089, 0.5455447], rtol=1e-6)
        assert gradient_at(mg.std, [5.0, 5.0], device=device) == [0, 0]
        assert gradient_at(lambda x: x.std(correction=0), [5.0], device=device) == [0]
        x = mg.tensor(data, device=device, requires_grad=True)
        (x.std(1) * x.mean(1)).sum().backward(create_graph=True)
        gradient, x.grad = x.grad, None
        (gradient * gradient).sum().backward()
        assert np.isfinite(x.grad.numpy()).all()

    def test_std_and_var_of_too_few_numbers_equal_pytorchs(self, device):
        alone, pair = mg.tensor([3.0], device=device), mg.tensor([1.0, 2.0], device=device)
        np.testing.assert_equal([alone.std().item(), alone.var().item()], [nan, nan])
        assert [pair.std(correction=2).item(), pair.var(correction=3).item()] == [inf, inf]
        np.testing.assert_equal(gradient_at(mg.std, [3.0], device=device), [nan])

    def test_maximum_and_minimum_of_nan_pass_the_gradient_to_both_inputs(self, device):
        for function in (mg.maximum, mg.minimum):
            other = mg.tensor([nan, 1.0], device=device, requires_grad=True)
            left = gradient_at(lambda x, f=function, o=other: f(x, o), [1.0, nan], device=device)
            assert left == other.grad.tolist() == [1, 1]

    def test_max_pool2d_keeps_an_infinite_gradient_within_its_window(self, device):
        x = mg.tensor([[[[1.0, 2.0, 3.0, 4.0]]]], device=device, requires_grad=True)
        F.max_pool2d(x, (1, 2)).backward(mg.tensor([[[[inf, 1.0]]]], device=device))
        assert x.grad.tolist() == [[[[0, inf, 0, 1]]]]

    def test_cross_entropy_gives_gradient_0_to_a_logit_of_minus_infinity(self, device):
        labels = mg.tensor([1], device=device)
        assert gradient_at(lambda x: F.cross_entropy(x, labels), [[-inf, 0.0, 0.0]], device=device) == [[0, -0.5, 0.5]]

    def test_cross_entropy_of_huge_logits_does_not_overflow(self, device):
        labels = mg.tensor([0], device=device)
        assert gradient_at(lambda x: F.cross_entropy(x, labels), [[-1e4, 1e4]], device=device) == [[-1, 1]]


# ---- batches


@pytest.mark.parametrize("device", DEVICES)
def test_parameters_have_gradient_0_for_a_batch_of_no_images(device):
    x = mg.zeros(0, 2, 6, 6, device=device, requires_grad=True)
    w, b = mg.ones(4, 2, 3, 3, device=device, requires_grad=True), mg.ones(4, device=device, requires_grad=True)
    hidden = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, b, padding=1).relu(), 2), 3)
    F.linear(hidden.flatten(1), mg.ones(3, 4, device=device)).log_softmax(1).sum().backward()
    assert x.grad.shape == (0, 2, 6, 6)
    assert not w.grad.numpy().any()
    assert b.grad.tolist() == [0] * 4


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_a_batch_are_the_sums_over_its_parts(device):
    """The gradient of a sum over 17 images is the sum of the gradients over parts of 1, 3, 6 and 7 images."""
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
def test_pow_with_exponent_0_has_gradient_0(exponent):
    assert gradient_at(lambda x: x**exponent, [0.0, 2.0]) == [0, 0]
