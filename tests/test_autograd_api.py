"""Gradients as values, hooks, functions with gradients of their own, anomaly detection, gradcheck and checkpoints.

Values and second derivatives are compared with PyTorch's in parity_autograd.py.
"""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import Function, Variable, detect_anomaly, functional, grad, set_detect_anomaly
from minigrad.errors import GraphError, ValidationError
from minigrad.nn import functional as F
from minigrad.testing import assert_close, gradcheck, gradgradcheck
from minigrad.utils.checkpoint import checkpoint, checkpoint_sequential


def leaf(*values):
    return mg.tensor(values, dtype=mg.float64, requires_grad=True)


# ---- gradients as values


def test_the_first_graph_of_a_process_has_gradients():
    assert mg.tape.reachable(leaf(1.0).exp().node)[0].number > 0


def test_grad_changes_no_grad_and_frees_the_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    assert grad(y, x)[0].tolist() == [2.0, 4.0]
    assert x.grad is None
    for end in (y, y * 2):
        with pytest.raises(GraphError, match="its saved values are freed"):
            grad(end, x)
    assert grad(y * 2, y)[0].item() == 2.0


def test_grad_runs_only_what_leads_to_the_inputs():
    x, y = leaf(1.0), leaf(0.0)
    ran = []
    left, right = x * 2, y * 3
    right.register_hook(ran.append)
    y.register_hook(ran.append)
    grad((left * 1 + right * 1).sum(), x)
    assert not ran


def test_grad_by_a_result_and_by_its_input_in_one_pass():
    x = leaf(1.0, 3.0)
    y = x * 2
    dy, dx = grad((y * y).sum(), (y, x))
    assert dy.tolist() == [4.0, 12.0]
    assert dx.tolist() == [8.0, 24.0]


def test_grads_of_one_input_twice_have_their_own_memory():
    x = leaf(1.0)
    first, second = grad((x * 2).sum(), (x, x))
    first.add_(1)
    assert second.tolist() == [2.0]


def test_grad_of_unused_inputs():
    x, unused = leaf(1.0), leaf(1.0, 2.0)
    assert grad(x.sum(), unused, allow_unused=True) == (None,)
    assert grad(x.sum(), unused, materialize_grads=True)[0].tolist() == [0.0, 0.0]
    with pytest.raises(GraphError, match=r"no output depends on input 1, of shape \(2,\)"):
        grad(x.sum(), (x, unused))


def test_backward_with_inputs_changes_only_their_grad():
    x, y = leaf(2.0), leaf(3.0)
    z = x * y
    (z * z).sum().backward(inputs=[x, z])
    assert x.grad.item() == 36.0
    assert z.grad.item() == 12.0
    assert y.grad is None


def test_grad_in_a_recording():
    @mg.graph
    def penalty(x):
        x = x.detach().requires_grad_()
        return grad((x * x * x).sum(), x)[0]

    for values in ([1.0, 2.0], [3.0, 4.0]):
        np.testing.assert_allclose(penalty(mg.tensor(values)).numpy(), 3 * np.square(values))


def test_every_tensor_is_a_variable():
    x = Variable(mg.ones(2), requires_grad=True)
    assert type(x) is mg.Tensor
    assert isinstance(x, Variable)
    assert isinstance(nn.Linear(2, 1).weight, Variable)
    assert not isinstance(1.0, Variable)


# ---- modes


def test_set_grad_enabled_works_at_once_as_a_block_and_as_a_decorator():
    try:
        mg.set_grad_enabled(False)
        assert not mg.is_grad_enabled()
        with mg.set_grad_enabled(True):
            assert mg.is_grad_enabled()
        assert not mg.is_grad_enabled()
    finally:
        mg.set_grad_enabled(True)

    @mg.set_grad_enabled(False)
    def enabled():
        return mg.is_grad_enabled()

    assert mg.is_grad_enabled()
    assert not enabled()


@pytest.mark.parametrize("decorator", [mg.inference_mode, mg.inference_mode(), mg.no_grad, mg.no_grad()])
def test_modes_decorate(decorator):
    @decorator
    def enabled():
        return mg.is_grad_enabled()

    assert not enabled()
    with mg.inference_mode(False):
        assert mg.is_grad_enabled()


# ---- the graph


def test_grad_fn_shows_the_graph_as_pytorch_does():
    x, w = leaf(1.0), leaf(2.0)
    y = (x * w).sum()
    assert y.grad_fn.name() == "SumBackward0"
    ((product, position),) = y.grad_fn.next_functions
    assert product is (y.grad_fn.next_functions[0][0])
    assert (product.name(), position) == ("MulBackward0", 0)
    ends = [function for function, _ in product.next_functions]
    assert [end.name() for end in ends] == ["AccumulateGrad", "AccumulateGrad"]
    assert [end.variable is leaf for end, leaf in zip(ends, (x, w), strict=True)] == [True, True]
    assert x.grad_fn is None
    assert (x * 2).grad_fn.next_functions[1] == (None, 0)


def test_detach_takes_a_tensor_out_of_the_graph():
    y = leaf(1.0) * 2
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad


# ---- hooks on tensors


def test_hooks_of_a_leaf_see_the_sum_of_its_gradients_once():
    x, seen = leaf(1.0, 2.0), []
    x.register_hook(lambda g: seen.append(g.tolist()))
    (x * 2 + x * 3).sum().backward()
    assert seen == [[5.0, 5.0]]


def test_a_removed_hook_does_not_run():
    x, seen = leaf(1.0), []
    with x.register_hook(seen.append):
        (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert len(seen) == 1


def test_a_hook_may_keep_the_gradient_it_gets():
    x, kept = leaf(1.0, 2.0), []
    x.register_hook(kept.append)
    for _ in range(2):
        (x * 1).sum().backward()
    assert [g.tolist() for g in kept] == [[1.0, 1.0], [1.0, 1.0]]


def test_post_accumulate_hooks_see_grad_and_may_clear_it():
    x, seen = leaf(1.0), []

    def step(tensor):
        seen.append(tensor.grad.item())
        tensor.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(2):
        (x * 3).sum().backward()
    assert seen == [3.0, 3.0]
    assert x.grad is None


def test_retain_grad_follows_a_change_in_place_and_adds_up():
    y = leaf(1.0) * 1
    y.retain_grad()
    assert y.retains_grad
    z = (y * 2).sum()
    z.backward(retain_graph=True)
    z.backward()
    assert y.grad.item() == 4.0


def test_a_retained_result_is_not_kept_alive():
    y = leaf(1.0) * 1
    y.retain_grad()
    z, reference = (y * 2).sum(), weakref.ref(y)
    del y
    assert reference() is None
    z.backward()


def test_a_hook_in_a_recording_runs_its_operations_in_each_replay():
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g * 10)

    @mg.graph
    def run(scale):
        x.grad = None
        (x * scale).sum().backward()
        return x.grad

    assert [run(mg.tensor([s], dtype=mg.float64)).tolist() for s in (1.0, 2.0)] == [[10.0, 10.0], [20.0, 20.0]]
    x.register_hook(lambda g: g + 1)
    assert run(mg.tensor([1.0], dtype=mg.float64)).tolist() == [11.0, 11.0]


# ---- hooks on modules


def test_backward_hooks_see_the_gradients_at_the_boundary():
    layer, seen = nn.Linear(3, 2), []
    layer.register_full_backward_hook(lambda module, gin, gout: seen.append((module, gin, gout)))
    layer.register_full_backward_pre_hook(lambda module, gout: seen.append(gout))
    x = mg.ones(5, 3, requires_grad=True)
    layer(x).sum().backward()
    (before,), (module, (gin,), (gout,)) = seen
    assert module is layer
    assert before.tolist() == gout.tolist() == mg.ones(5, 2).tolist()
    np.testing.assert_array_equal(gin.numpy(), x.grad.numpy())


def test_backward_hooks_of_a_first_layer_get_none():
    layer, seen = nn.Linear(3, 2), []
    handle = layer.register_full_backward_hook(lambda module, gin, gout: seen.append(gin))
    layer(mg.ones(5, 3)).sum().backward()
    assert seen == [(None,)]
    handle.remove()
    layer(mg.ones(5, 3)).sum().backward()
    assert len(seen) == 1


def test_hooks_run_in_order_and_prepend_puts_one_first():
    layer, order = nn.ReLU(), []
    layer.register_forward_hook(lambda *_: order.append("second"))
    layer.register_forward_hook(lambda *_: order.append("first"), prepend=True)
    layer.register_forward_hook(lambda m, args, kwargs, out: order.append(kwargs), with_kwargs=True)
    layer(input=mg.ones(2))
    assert order == ["first", "second", {"input": order[2]["input"]}]


def _doubled(module, args, out):
    return out * 2


def test_a_module_with_hooks_can_be_copied_and_pickled():
    layer = nn.ReLU()
    layer.register_forward_hook(_doubled)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other(mg.ones(2)).tolist() == [2.0, 2.0]


def test_backward_hooks_in_a_recording():
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, gin, gout: (gin[0] * 3,))

    @mg.graph
    def run(x):
        x = x.detach().requires_grad_()
        layer(x).sum().backward()
        return x.grad

    expected = 3 * layer.weight.detach().numpy().sum(0)
    for _ in range(2):
        layer.zero_grad()
        np.testing.assert_allclose(run(mg.randn(1, 2)).numpy()[0], expected, rtol=1e-5)


# ---- Function


class Scale(Function):
    """With setup_context, and an argument that is no tensor."""

    @staticmethod
    def forward(x, factor):
        return x * factor

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, g):
        assert ctx.needs_input_grad == (True, False)
        return g * ctx.factor, None


class MaxAndPlace(Function):
    @staticmethod
    def forward(ctx, x):
        place = x.argmax()
        ctx.mark_non_differentiable(place)
        ctx.save_for_backward(x)
        return x.max(), place

    @staticmethod
    def backward(ctx, g, g_place):
        (x,) = ctx.saved_tensors
        return (x == x.max()) * g


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Twice(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @mg.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * 2


def test_a_function_with_setup_context_and_plain_arguments():
    x = leaf(1.0, 2.0)
    y = Scale.apply(x, 3.0)
    assert y.grad_fn.name() == "ScaleBackward"
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert gradgradcheck(lambda x: Scale.apply(x, 3.0), leaf(1.0, 2.0))


def test_a_function_may_have_results_without_gradient():
    x = leaf(1.0, 5.0, 2.0)
    value, place = MaxAndPlace.apply(x)
    assert place.item() == 1
    assert not place.requires_grad
    value.backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_saved_results_have_second_derivatives_and_no_reference_cycle():
    assert gradgradcheck(Exp.apply, leaf(0.5, 1.0))
    gc.disable()
    try:
        y = Exp.apply(leaf(1.0))
        reference = weakref.ref(y.node)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_unused_results_give_zeros_or_none():
    class Two(Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, g, h):
            seen.append(h if h is None else h.tolist())
            return g, None

    seen = []
    for materialize in (True, False):
        Two.apply(leaf(1.0, 2.0), materialize)[0].sum().backward()
    assert seen == [[0.0, 0.0], None]


def test_once_differentiable_refuses_a_second_derivative():
    x = leaf(1.0)
    (first,) = grad(Twice.apply(x).sum(), x, create_graph=True)
    assert first.tolist() == [2.0]
    with pytest.raises(GraphError, match="Twice: it is once_differentiable"):
        grad((first * x).sum(), x)


def test_a_change_of_a_saved_tensor_is_noticed():
    x = leaf(1.0)
    y = x * 1
    z = Exp.apply(y)
    with mg.no_grad():
        z.mul_(2)
    with pytest.raises(GraphError, match=r"Exp: saved tensor 0 was changed in place 1 time\(s\)"):
        z.sum().backward()


def test_a_function_called_without_gradients_records_nothing():
    assert Exp.apply(mg.ones(2)).grad_fn is None
    with mg.no_grad():
        assert Exp.apply(leaf(1.0)).grad_fn is None


def test_a_function_of_library_operations_works_in_a_recording():
    @mg.graph
    def run(x):
        x = x.detach().requires_grad_()
        Exp.apply(x * 2).sum().backward()
        return x.grad

    for value in (0.5, 1.0):
        np.testing.assert_allclose(run(mg.tensor([value])).numpy(), 2 * np.exp(2 * value), rtol=1e-6)


def test_a_function_that_reads_values_is_refused_in_a_recording():
    class Outside(Function):
        @staticmethod
        def forward(ctx, x):
            return mg.tensor(np.exp(x.numpy()))

    with pytest.raises(GraphError, match="reading the values of a tensor"):
        mg.graph(lambda x: Outside.apply(x))(mg.ones(2))


# ---- anomaly detection


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.body = nn.Sequential(nn.Identity(), _Calls(function))

    def forward(self, x):
        return self.body(x)


class _Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_detect_anomaly_names_the_operation_and_the_layer_of_the_first_nan():
    with (
        detect_anomaly(),
        pytest.raises(
            GraphError,
            match=r"log: the result is the first with nan, in layer 'body.1' \(_Calls\), called at .*_api.py:\d+",
        ),
    ):
        Net(lambda x: x.log())(leaf(-1.0, 1.0))


def test_detect_anomaly_names_the_operation_whose_gradient_has_the_first_nan():
    x = leaf(0.0, 1.0)
    with detect_anomaly():
        y = Net(lambda x: x.sqrt())(x)
        with pytest.raises(
            GraphError,
            match=r"the gradient of sqrt by .* in layer 'body.1' \(_Calls\), called at .*test_autograd_api.py:\d+",
        ):
            (y * 0).sum().backward()
    y = x.sqrt()
    with detect_anomaly(), pytest.raises(GraphError, match="switch detect_anomaly on before the forward pass"):
        (y * 0).sum().backward()
    (x.sqrt() * 0).sum().backward()


def test_set_detect_anomaly_works_at_once_and_ends_with_a_block():
    try:
        set_detect_anomaly(True)
        with set_detect_anomaly(False):
            leaf(-1.0).log()
        with pytest.raises(GraphError):
            leaf(-1.0).log()
        (leaf(float("nan")) * 2).sum().backward()  # the program's own nan
    finally:
        set_detect_anomaly(False)
    leaf(-1.0).log()


# ---- gradcheck


class Wrong(Function):
    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * 3


def test_gradcheck_finds_a_wrong_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(GraphError, match=r"output 0 by element 0 of input 0 is 3 at \(0,\), but differences give 2"):
        gradcheck(Wrong.apply, x)
    assert not gradcheck(Wrong.apply, x, raise_exception=False)
    assert x.grad is None


def test_gradcheck_of_layers_with_several_inputs_and_results():
    layer = nn.Linear(2, 3).double()
    assert gradcheck(
        lambda x, w, k: (F.linear(x, w) * k, x.sum()), (mg.ones(1, 2).double().requires_grad_(), layer.weight, 2)
    )
    assert gradcheck(lambda x, w: F.linear(x, w).tanh(), (mg.ones(1, 2).double(), layer.weight), eps=1e-5)


def test_functional_results_are_outside_the_graph_unless_asked():
    x = leaf(1.0, 2.0)
    assert not functional.jacobian(mg.exp, x).requires_grad
    assert functional.jacobian(mg.exp, x, create_graph=True).requires_grad
    assert functional.jacobian(lambda x: x[:0], x).shape == (0, 2)
    with mg.no_grad():
        assert functional.jacobian(lambda x: x * x, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert x.grad is None


# ---- assert_close


def test_assert_close_names_the_largest_difference():
    assert_close([mg.ones(2), {"a": 1.0}], [mg.ones(2), {"a": 1.0}])
    assert_close(mg.tensor([float("nan")]), mg.tensor([float("nan")]), equal_nan=True)
    assert_close(mg.ones(2, dtype=mg.int64), mg.ones(2), check_dtype=False)
    pairs = [
        (
            mg.tensor([1.0, 2.0, 5.0]),
            mg.tensor([1.0, 3.0, 3.0]),
            r"2 of 3 .* largest difference is at \(2,\): 5.0, expected 3",
        ),
        (mg.ones(2), mg.ones(3), r"the shape is \(2,\), expected \(3,\)"),
        (mg.ones(2), mg.ones(2).double(), "the dtype is float32, expected float64"),
        ({"a": 1}, {"b": 1}, r"the keys are \['a'\], expected \['b'\]"),
        ([1, (2, 3)], [1, (2, 4)], r"at \[1\]\[1\] differ by more than rtol 0 and atol 0"),
        (2**62, 2**62 + 1, "1 of 1"),
        (float("nan"), float("nan"), "1 of 1"),
        (mg.ones(2), mg.ones(2, device="numpy"), "the device is cpu, expected numpy"),
    ]
    for actual, expected, message in pairs:
        with pytest.raises(AssertionError, match=message):
            assert_close(actual, expected)
    with pytest.raises(AssertionError, match="^mine$"):
        assert_close(1, 2, msg="mine")


# ---- checkpoints


def test_a_checkpoint_keeps_nothing_inside():
    kept = []

    def part(x):
        y = x.exp()
        kept.append(weakref.ref(y.node))
        return y.log()

    x = leaf(1.0, 2.0)
    out = checkpoint(part, x, use_reentrant=False)
    assert kept[0]() is None
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1)
    assert len(kept) == 2


def test_a_checkpoint_draws_the_same_random_numbers():
    layer, x = nn.Dropout(), mg.ones(1000, requires_grad=True)
    mg.manual_seed(1)
    out = checkpoint(layer, x)
    after = mg.rand(1)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())
    mg.manual_seed(1)
    layer(x)
    assert after.item() == mg.rand(1).item()


def test_hooks_of_leaves_and_results_outside_a_checkpoint_run_once():
    x, seen = leaf(2.0), []
    w = leaf(3.0)
    y = x * 1
    for tensor in (x, y, w):
        tensor.register_hook(lambda g: seen.append(g.item()))
    checkpoint(lambda y: y * w * y, y).sum().backward()
    assert sorted(seen) == [4.0, 12.0, 12.0]


def test_checkpoints_nest_and_have_second_derivatives():
    w = leaf(0.5, 1.5)

    def part(x):
        return checkpoint(lambda x: (x * w).exp(), x * 2).tanh()

    assert gradgradcheck(lambda x, v: checkpoint(part, x) * v, (leaf(0.3, 0.4), leaf(1.0, 2.0)))
    x = leaf(0.3, 0.4)
    expected = grad((x * 2 * w).exp().tanh().sum(), w)[0]
    checkpoint(part, x).sum().backward()
    assert_close(w.grad, expected)


def test_parameters_alone_get_gradients_through_a_checkpoint():
    layer, x = nn.Linear(3, 2), mg.randn(4, 3)
    checkpoint(layer, x).sum().backward()
    expected = grad(layer(x).sum(), layer.weight)[0]
    assert_close(layer.weight.grad, expected)


def test_a_checkpoint_notices_changed_values_and_another_course():
    x, calls = leaf(1.0), []
    y = x * 1
    out = checkpoint(lambda y: y.exp(), y)
    with mg.no_grad():
        y.mul_(2)
    with pytest.raises(GraphError, match="checkpoint: 1 of the values that the function needs were changed in place"):
        out.sum().backward()
    out = checkpoint(lambda x: (calls.append(0), x.exp() if len(calls) == 1 else x.exp() * 2)[1], x)
    with pytest.raises(GraphError, match="the second call recorded 2 operations, the first 1"):
        out.sum().backward()


def test_the_result_of_a_checkpoint_may_be_changed_in_place():
    x = leaf(1.0, -2.0)
    out = checkpoint(lambda x: x.exp(), x)
    out += x
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.detach().numpy()) + 1)


def test_a_checkpoint_in_a_recording():
    model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Tanh())

    @mg.graph
    def run(x):
        model.zero_grad()
        x = x.detach().requires_grad_()
        out = checkpoint(model, x)
        out.sum().backward()
        return out.detach(), x.grad

    x = mg.randn(3, 2)
    outs = []
    for _ in range(3):
        out, gradient = run(x)
        outs.append(out.numpy())
        w = model[0].weight.detach().numpy()
        np.testing.assert_allclose(
            gradient.numpy(), ((1 - outs[-1] ** 2) * 2 * (outs[-1] != 0)) @ w, rtol=1e-4, atol=1e-5
        )
    assert not np.array_equal(outs[1], outs[2])


def test_checkpoint_sequential_gives_the_gradients_of_the_model():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), mg.randn(2, 3)
    expected = grad(model(x).sum(), list(model.parameters()))
    for segments in (1, 2, 5):
        model.zero_grad()
        checkpoint_sequential(model, segments, x, use_reentrant=False).sum().backward()
        assert_close([p.grad for p in model.parameters()], list(expected))
    with pytest.raises(ValidationError, match="segments"):
        checkpoint_sequential(model, 6, x)
