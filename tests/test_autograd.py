"""Autograd: what the graph records, what backward computes, frees and refuses, and the gradient modes."""

import asyncio
import copy
import gc
import inspect
import os
import re
import sys
import threading
import weakref
from functools import partial

import numpy as np
import pytest
from cases import leaf
from helpers import run_in_threads

import minigrad as mg
from minigrad.errors import DeviceError, DtypeError, GraphError, ShapeError
from minigrad.nn import functional as F
from minigrad.ops.op import OPS
from minigrad.tape import mode

nan = np.nan


def ones(*shape, **options):
    return mg.ones(*shape, requires_grad=True, **options)


# ---- sums of gradients


def test_backward_adds_to_existing_gradients():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8]


def test_a_tensor_used_several_times_gets_the_sum_of_all_gradients():
    x = mg.tensor([2.0], requires_grad=True)
    y = x * x + x + 3 * x
    (y * y * x).backward()
    assert x.grad.item() == pytest.approx(5 * 2**4 + 4 * 8 * 2**3 + 3 * 16 * 2**2)  # (x^2 + 4x)^2 x


def test_backward_visits_each_operation_once():
    x = ones(1)
    y = x
    for _ in range(40):
        y = y + y  # 40 operations, 2**40 paths
    y.backward()
    assert x.grad.item() == 2.0**40


def test_backward_on_a_leaf_sets_its_gradient():
    x = ones(2)
    x.backward(mg.tensor([3.0, 4.0]))
    assert x.grad.tolist() == [3, 4]


def test_only_leaves_get_a_grad():
    x = ones(2)
    y = x * 2
    y.sum().backward()
    assert y.grad is None
    assert (x.is_leaf, y.is_leaf, x.grad.is_leaf, x.grad.requires_grad) == (True, False, True, False)


def test_a_tensor_without_requires_grad_gets_no_grad():
    x, constant = ones(2), mg.ones(2)
    (x * constant).sum().backward()
    assert constant.grad is None


def test_grad_has_the_dtype_of_its_leaf():
    a, b, whole = ones(2), ones(2, dtype=mg.float64), mg.tensor([2, 3])
    (a * b * whole).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (mg.float32, mg.float64)
    assert a.grad.tolist() == b.grad.tolist() == [2, 3]


def test_each_grad_has_its_own_memory():
    a, b = ones(3), ones(3)
    seed = mg.ones(3)
    (a + b).backward(seed)
    a.grad.zero_()
    assert b.grad.tolist() == seed.tolist() == [1, 1, 1]


def test_backward_copies_the_gradient_it_is_given():
    x, seed = ones(2), mg.ones(2)
    x.backward(seed)
    seed.fill_(7)
    assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(2, 3), ()])
def test_grad_can_be_changed_in_place(shape):
    x = ones(*shape)
    x.sum().backward()  # the gradient of sum is one number, expanded
    x.grad.mul_(2)
    assert x.grad.numpy().sum() == 2 * x.numel()


def test_grad_has_the_memory_layout_of_its_leaf():
    x = leaf(np.ones((4, 3)), "Fortran")
    (x * mg.tensor(np.ones((4, 3)))).sum().backward()
    assert x.grad.array.strides == x.array.strides


# ---- long chains


def chain_of_products(length):
    """Return a leaf, and the result of many multiplications by 1."""
    x = ones(1)
    y = x
    for _ in range(length):
        y = y * 1.0
    return x, y


def test_backward_through_20000_operations_does_not_recurse():
    x, y = chain_of_products(20_000)
    y.backward()
    assert x.grad.item() == 1


def test_freeing_a_graph_of_20000_operations_does_not_recurse():
    _, y = chain_of_products(20_000)
    last = weakref.ref(y)
    del y
    gc.collect()
    assert last() is None


def test_backward_with_create_graph_through_20000_operations_does_not_recurse():
    x, y = chain_of_products(20_000)
    y.backward(create_graph=True)
    del y
    gradient, x.grad = x.grad, None
    assert gradient.item() == 1


# ---- memory


def test_a_second_backward_is_refused():
    y = (ones(2) * 2).exp().sum()
    y.backward()
    with pytest.raises(
        GraphError,
        match="backward: this graph was walked before and its saved values are freed; "
        "use retain_graph=True in the first backward",
    ):
        y.backward()


def test_retain_graph_allows_a_second_backward():
    x = ones(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(GraphError, match="walked before"):
        y.backward()


def test_backward_through_a_part_that_was_freed_is_refused():
    h = ones(2).exp()
    first, second = h.sum(), (h * h).sum()
    first.backward()
    with pytest.raises(GraphError, match="walked before"):
        second.backward()


def test_backward_frees_saved_arrays_as_it_goes(monkeypatch):
    """When backward reaches an early operation, the arrays that later operations saved are gone."""
    hidden = (ones(1000) * 2).exp()
    array, seen, rule = weakref.ref(hidden.array), [], OPS["mul"].rule

    def watched_rule(*args, **kwargs):
        first, second = rule(*args, **kwargs)
        return lambda: (seen.append(array() is None), first())[1], second

    monkeypatch.setattr(OPS["mul"], "rule", watched_rule)
    total = hidden.sum()
    del hidden
    assert array() is not None
    total.backward()
    assert seen == [True]


def test_an_operation_saves_only_arrays_that_its_gradient_needs():
    x = ones(1000)
    hidden = x * 2
    array = weakref.ref(hidden.array)
    y = hidden + 1
    del hidden
    assert array() is None
    y.sum().backward()


def test_operations_under_no_grad_save_no_arrays():
    with mg.no_grad():
        hidden = ones(1000).exp()
        array = weakref.ref(hidden.array)
        y = hidden * hidden
        del hidden
    assert array() is None
    assert not y.requires_grad


def test_a_graph_is_freed_without_garbage_collection():
    gc.disable()
    try:
        x = ones(10)
        y = (x.exp() * x).sum()
        node = weakref.ref(y)
        y.backward()
        del y
        assert node() is None
    finally:
        gc.enable()


# ---- errors of backward and requires_grad


def test_backward_of_a_tensor_without_a_graph_is_refused():
    for y in (mg.ones(1), mg.ones(2).sum(), ones(2).detach().sum()):
        with pytest.raises(
            GraphError,
            match="backward: nothing was recorded for this tensor; does an input have "
            "requires_grad=True, and was it computed outside no_grad?",
        ):
            y.backward()


def test_backward_of_several_elements_needs_a_gradient():
    with pytest.raises(
        ShapeError, match=r"backward: the shape \(2, 3\) has 6 elements; give gradient= of that shape, or reduce"
    ):
        (ones(2, 3) * 2).backward()


def test_backward_refuses_a_gradient_of_another_shape():
    with pytest.raises(ShapeError, match=r"backward: gradient has shape \(3,\), the tensor \(2,\); make them equal"):
        (ones(2) * 2).backward(mg.ones(3))


def test_backward_refuses_a_gradient_on_another_device():
    with pytest.raises(
        DeviceError, match=r"backward: gradient is on 'numpy', the tensor on 'cpu'; move it with .to\('cpu'\)"
    ):
        (ones(2) * 2).backward(mg.ones(2, device="numpy"))


def test_operands_on_different_devices_are_refused():
    with pytest.raises(DeviceError, match=r"mul: tensors on 'cpu' and 'numpy'; move one with .to\('cpu'\)"):
        mg.ones(2) * mg.ones(2, device="numpy")


def test_create_graph_without_retain_graph_is_refused():
    with pytest.raises(GraphError, match="backward: create_graph=True needs the graph; leave out retain_graph=False"):
        (ones(1) * 2).backward(create_graph=True, retain_graph=False)


@pytest.mark.parametrize("dtype", [mg.int64, mg.int32, mg.uint8, mg.bool])
def test_requires_grad_of_integers_and_bool_is_refused(dtype):
    with pytest.raises(DtypeError, match=f"requires_grad: only float tensors have gradients, this one is {dtype}"):
        mg.zeros(2, dtype=dtype, requires_grad=True)


def test_results_of_integers_or_bool_do_not_require_grad():
    x = ones(3)
    for y in (x > 0, x.argmax(), x.long(), x == x):
        assert not y.requires_grad


def test_requires_grad_of_a_result_cannot_be_switched_off():
    with pytest.raises(GraphError, match=r"requires_grad: only leaves can be switched off; use x.detach\(\)"):
        (ones(2) * 2).requires_grad_(False)


def test_requires_grad_of_a_leaf_can_be_switched_on_and_off():
    x = mg.ones(2).requires_grad_()
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_grad_of_another_shape_or_type_is_refused():
    x = ones(2)
    with pytest.raises(ShapeError, match=r"grad: a gradient of shape \(3,\) does not fit a tensor of shape \(2,\)"):
        x.grad = mg.ones(3)
    with pytest.raises(DtypeError, match="grad: expected a Tensor or None, got ndarray"):
        x.grad = np.ones(2)
    x.grad = mg.ones(2)
    assert x.grad.tolist() == [1, 1]
    x.grad = None
    assert x.grad is None


def test_deepcopy_of_a_result_is_refused():
    with pytest.raises(GraphError, match=r"deepcopy: only leaves can be copied; use x.detach\(\).clone\(\)"):
        copy.deepcopy(ones(2) * 2)


# ---- changes in place that the graph does not record


def test_backward_refuses_if_a_saved_input_was_changed():
    x, w = ones(2), mg.ones(2)
    y = x * w
    w += 1
    with pytest.raises(
        GraphError,
        match="backward: the input 'b' of mul was changed in place 1 time.* after mul used it, and "
        "its gradient needs the old value; change a copy instead, or after backward",
    ):
        y.sum().backward()


def test_backward_refuses_if_a_saved_output_was_changed():
    y = ones(2).exp()
    with mg.no_grad():
        y.mul_(2)
        y.mul_(2)
    with pytest.raises(GraphError, match="backward: the output of exp was changed in place 2 time"):
        y.sum().backward()


def test_backward_refuses_if_a_parameter_was_changed():
    x, w = mg.ones(1, 2), ones(3, 2)
    h = x.requires_grad_()
    y = F.linear(h, w)
    with mg.no_grad():
        w -= 0.1
    with pytest.raises(GraphError, match="the input 'w' of linear was changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.sub_(1, alpha=2),
        lambda x: x.mul_(2),
        lambda x: x.div_(2),
        lambda x: x.zero_(),
        lambda x: x.fill_(3),
        lambda x: x.copy_(mg.zeros(2)),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.__iadd__(1),
    ],
    ids=["add_", "sub_", "mul_", "div_", "zero_", "fill_", "copy_", "setitem", "+="],
)
def test_backward_notices_every_kind_of_change_in_place(change):
    x, w = ones(2), mg.ones(2)
    y = x * w
    change(w)
    with pytest.raises(GraphError, match="the input 'b' of mul was changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "seen",
    [
        lambda w: w.detach(),
        lambda w: w.data,
        lambda w: w.reshape(4),
        lambda w: w.T,
        lambda w: w[0],
        lambda w: w[:, 1:],
        lambda w: w.unsqueeze(0),
        lambda w: w.flatten(),
        lambda w: w.permute(1, 0)[0][1:],
    ],
    ids=["detach", "data", "reshape", "T", "row", "slice", "unsqueeze", "flatten", "view of view"],
)
def test_backward_notices_a_change_through_a_view(seen):
    x, w = ones(2, 2), mg.ones(2, 2)
    y = x * w
    seen(w).fill_(3)
    assert (w == 3).any()
    with pytest.raises(GraphError, match="the input 'b' of mul was changed in place"):
        y.sum().backward()


def test_backward_allows_a_change_of_values_that_no_gradient_needs():
    x, w = ones(2), mg.ones(2)
    y = x + w
    z = y.relu()
    w += 1
    with mg.no_grad():
        y.mul_(-5)  # relu saves its output, not its input
    z.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_change_after_backward_is_allowed():
    x, w = ones(2), mg.ones(2)
    (x * w).sum().backward()
    w += 1
    (x * w).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_backward_allows_a_change_of_the_source_of_a_clone():
    x, w = ones(2), mg.ones(2)
    y = x * w.clone()
    w += 1
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_numpy_shares_memory_and_is_read_only():
    x = mg.ones(2)
    seen = x.numpy()
    x += 1
    assert seen.tolist() == [2, 2]
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 5


def test_numpy_of_a_tensor_that_requires_grad_is_refused():
    x = ones(2)
    for tensor in (x, x * 2):
        with pytest.raises(GraphError, match=r"numpy: the tensor requires grad; use x.detach\(\).numpy\(\)"):
            tensor.numpy()
    with mg.no_grad():
        assert x.numpy().tolist() == [1, 1]


def test_detach_shares_memory():
    x = ones(2)
    seen = x.detach()
    assert not seen.requires_grad
    seen.fill_(4)
    assert x.tolist() == [4, 4]


def test_data_can_be_replaced_by_values_of_the_same_shape():
    x = ones(2)
    x.data = mg.tensor([5.0, 6.0])
    (x * x).sum().backward()
    assert x.grad.tolist() == [10, 12]
    with pytest.raises(ShapeError, match=r"data: values of shape \(3,\) do not fit a tensor of shape \(2,\)"):
        x.data = mg.ones(3)


# ---- changes in place that the graph records


def test_a_leaf_that_requires_grad_cannot_be_changed_in_place():
    x = ones(2)
    for change, name in (
        (lambda: x.add_(1), "add"),
        (lambda: x.__setitem__([0], 1.0), "put"),
        (lambda: x.zero_(), "assign"),
    ):
        with pytest.raises(
            GraphError,
            match=rf"{name} in place: a leaf that requires grad would lose its gradient; "
            r"change it inside no_grad\(\), or write x = x \+ y",
        ):
            change()
    with mg.no_grad():
        x += 1
    assert x.tolist() == [2, 2]
    assert x.is_leaf
    assert x.requires_grad


def test_in_place_arithmetic_has_the_right_gradients():
    x, y = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0], requires_grad=True)
    z = x * y
    z += x  # x*y + x
    z *= y  # x*y^2 + x*y
    z -= 1
    z /= 2
    z.sum().backward()
    assert x.grad.tolist() == [(9 + 3) / 2, (16 + 4) / 2]
    assert y.grad.tolist() == [(2 * 3 + 1) / 2, (2 * 8 + 2) / 2]


def test_in_place_addition_keeps_the_output_that_exp_saved():
    x = mg.tensor([0.5], requires_grad=True)
    y = x.exp()
    y += 1  # exp saved its old output
    (y * y).sum().backward()
    e = np.exp(0.5)
    assert x.grad.item() == pytest.approx(2 * (e + 1) * e)


def test_assignment_to_elements_has_the_right_gradients():
    x, v = mg.tensor([1.0, 2.0, 3.0], requires_grad=True), mg.tensor(5.0, requires_grad=True)
    y = x * x
    y[1] = v * v
    y[2:] *= 3
    y.sum().backward()
    assert x.grad.tolist() == [2, 0, 18]
    assert v.grad.item() == 10


def test_a_plain_tensor_requires_grad_after_assignment_of_a_value_with_a_graph():
    buffer, v = mg.zeros(3), ones(2)
    buffer[:2] = v * 3
    assert buffer.requires_grad
    buffer.sum().backward()
    assert v.grad.tolist() == [3, 3]


def test_in_place_operations_refuse_to_change_shape_or_dtype():
    with pytest.raises(ShapeError, match=r"add in place: the result has shape \(2, 3\), the tensor \(3,\)"):
        mg.zeros(3).add_(mg.ones(2, 3))
    with pytest.raises(DtypeError, match=r"add in place: the result is float32, the tensor int64; convert it first"):
        mg.zeros(3, dtype=mg.int64).add_(0.5)


# ---- no_grad and enable_grad


def test_no_grad_and_enable_grad_nest():
    x = ones(2)
    with mg.no_grad():
        assert not mg.is_grad_enabled()
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert mg.is_grad_enabled()
    assert (x * 2).requires_grad


def test_no_grad_ends_when_an_error_leaves_the_block():
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        1 / 0  # noqa: B018
    assert mg.is_grad_enabled()


def test_no_grad_and_enable_grad_decorate_functions():
    @mg.no_grad()
    def scale_without_gradient(x, factor=2):
        return x * factor

    @mg.enable_grad()
    def double_with_gradient(x):
        return x * 2

    assert not scale_without_gradient(ones(2), factor=3).requires_grad
    assert scale_without_gradient(ones(2), factor=3).tolist() == [3, 3]
    with mg.no_grad():
        assert double_with_gradient(ones(2)).requires_grad


def test_no_grad_affects_only_its_own_thread():
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((ones(2) * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_gradients_flow_through_views():
    x = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    (x.T.reshape(6)[1:3].unsqueeze(0) * mg.tensor([[10.0, 20.0]])).sum().backward()
    assert x.grad.tolist() == [[0, 20, 0], [10, 0, 0]]


def modes_seen(decorator):
    """Return is_grad_enabled() in a decorated generator at next, send, throw and close, and outside between them."""
    seen = []

    @decorator
    def steps(first):
        seen.append(mg.is_grad_enabled())
        try:
            sent = yield first
            seen.append(mg.is_grad_enabled())
            try:
                yield sent
            except KeyError:
                seen.append(mg.is_grad_enabled())
                yield "caught"
        finally:
            seen.append(mg.is_grad_enabled())

    generator = steps("first")
    got = [next(generator)]
    between = [mg.is_grad_enabled()]
    got.append(generator.send("sent"))
    between.append(mg.is_grad_enabled())
    got.append(generator.throw(KeyError()))
    between.append(mg.is_grad_enabled())
    generator.close()
    assert got == ["first", "sent", "caught"]
    return seen, between


@pytest.mark.parametrize("decorator", [mg.no_grad, mg.no_grad()], ids=["bare", "called"])
def test_no_grad_decorates_each_step_of_a_generator(decorator):
    assert modes_seen(decorator) == ([False] * 4, [True] * 3)


@pytest.mark.parametrize("decorator", [mg.enable_grad, mg.enable_grad()], ids=["bare", "called"])
def test_enable_grad_decorates_each_step_of_a_generator(decorator):
    with mg.no_grad():
        assert modes_seen(decorator) == ([True] * 4, [False] * 3)


def test_a_generator_decorated_by_no_grad_returns_raises_and_delegates():
    @mg.no_grad
    def counted(n, broken=False):
        yield from range(n)
        if broken:
            raise OSError("on fire")
        return "done"

    def outer():
        return (yield from counted(2)), mg.is_grad_enabled()

    generator = outer()
    assert [next(generator), next(generator)] == [0, 1]
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == ("done", True)
    with pytest.raises(OSError, match="on fire"):
        list(counted(1, broken=True))
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        generator = counted(3)
        next(generator)
        generator.throw(StopIteration())
    assert mg.is_grad_enabled() and not mode.entered


def test_no_grad_decorates_each_step_of_a_coroutine():
    seen = []

    @mg.no_grad
    async def step(n):
        seen.append(mg.is_grad_enabled())
        await asyncio.sleep(0)
        seen.append(mg.is_grad_enabled())
        return n

    async def other():
        await asyncio.sleep(0)
        return mg.is_grad_enabled()

    async def main():
        return await asyncio.gather(step(1), other(), step(2))

    assert inspect.iscoroutinefunction(step)
    assert asyncio.run(main()) == [1, True, 2]
    assert seen == [False] * 4 and mg.is_grad_enabled()


@pytest.mark.parametrize("decorator", [mg.no_grad, mg.enable_grad(), mg.no_grad()])
def test_no_grad_and_enable_grad_keep_name_docstring_and_signature(decorator):
    def scaled(x, by=2):
        """x times by."""
        return x * by

    def each(x):
        """Each of x."""
        yield from x

    async def later(x):
        """x, later."""

    for function in (scaled, each, later):
        done = decorator(function)
        assert (done.__name__, done.__doc__, done.__module__) == (function.__name__, function.__doc__, __name__)
        assert inspect.signature(done) == inspect.signature(function) and done.__wrapped__ is function


def test_no_grad_decorates_methods_partials_and_callable_objects():
    class Model:
        @mg.no_grad
        def method(self):
            return mg.is_grad_enabled()

        @classmethod
        @mg.no_grad()
        def of_class(cls):
            return cls, mg.is_grad_enabled()

        @staticmethod
        @mg.no_grad
        def static():
            return mg.is_grad_enabled()

        @property
        @mg.no_grad
        def value(self):
            return mg.is_grad_enabled()

        @mg.no_grad
        def steps(self):
            yield mg.is_grad_enabled()

        def __call__(self):
            yield mg.is_grad_enabled()

    model = Model()
    assert (model.method(), Model.of_class(), Model.static(), model.value) == (False, (Model, False), False, False)
    assert [*model.steps(), *mg.no_grad(model)(), *mg.no_grad(partial(Model.__call__, model))()] == [False] * 3


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_a_no_grad_object_can_be_entered_again_inside_its_own_block(error):
    once = mg.no_grad()
    with once:
        with once, mg.enable_grad():
            assert mg.is_grad_enabled()
        assert not mg.is_grad_enabled()
        with pytest.raises(error), once:
            raise error
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled() and not mode.entered


def test_a_no_grad_object_can_be_used_by_two_threads():
    once, inside, left = mg.no_grad(), threading.Event(), threading.Event()
    seen = []

    def other():
        with mg.no_grad(), once:
            inside.set()
            left.wait(5)
        seen.append(mg.is_grad_enabled())

    thread = threading.Thread(target=other)
    with once:
        thread.start()
        inside.wait(5)
    assert mg.is_grad_enabled()
    left.set()
    thread.join()
    assert seen == [True]


def test_no_grad_inside_a_generator_that_is_closed_in_another_block():
    def holding():
        with mg.no_grad():
            yield

    generator = holding()
    next(generator)  # its block stays open until the generator goes on, as in PyTorch
    with mg.enable_grad():
        generator.close()
        assert mg.is_grad_enabled()
    assert not mg.is_grad_enabled()  # the mode when this block began
    mode.grad_enabled = True
    assert not mode.entered


async def agen():
    """An async generator."""
    yield 1


@pytest.mark.parametrize(
    "what, message",
    [
        (dict, "no_grad: dict is a class, expected a function; decorate its methods"),
        (3, "no_grad: got int, expected a function to decorate; write `with no_grad():` for a block"),
        (agen, "no_grad: agen is an async generator function, which is not supported; write `with no_grad():` inside"),
    ],
)
def test_no_grad_refuses_to_decorate_classes_values_and_async_generators(what, message):
    for decorate in (mg.no_grad, mg.no_grad()):
        with pytest.raises(DtypeError, match=re.escape(message)):
            decorate(what)


# ---- threads and processes


def train(steps=5):
    """Train a small network without an optimiser; return the bytes of its weights."""
    random = np.random.default_rng(0)
    w, v = leaf(random.normal(size=(2, 1, 3, 3))), leaf(random.normal(size=(4, 18)))
    images, labels = mg.tensor(random.normal(size=(17, 1, 8, 8))), mg.tensor(random.integers(0, 4, 17))
    for _ in range(steps):
        hidden = F.max_pool2d(F.conv2d(images, w).relu(), 2).flatten(1)
        F.cross_entropy(F.linear(hidden, v), labels).backward()
        with mg.no_grad():
            for weight in (w, v):
                weight -= 0.1 * weight.grad
                weight.grad = None
    return w.detach().numpy().tobytes() + v.detach().numpy().tobytes()


def test_training_in_two_threads_gives_the_bits_of_one():
    expected, found = train(), []
    run_in_threads(lambda number: found.extend(train() for _ in range(5)), 0, 1)
    assert found == [expected] * 10


@pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux only")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_training_in_a_forked_child_gives_the_bits_of_the_parent():
    expected = train()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, train())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    assert found == expected


# ---- constants that change between forward and backward


def assert_backward_refuses(y, change):
    """Check that backward from y notices the change of a value that it needs."""
    with mg.no_grad():
        change()
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def assert_gradient_does_not_depend_on(change, build):
    """Check that x, y = build(), change(), y.backward() gives the same gradient of x with and without the change."""
    gradients = []
    for act in (lambda: None, change):
        x, y = build()
        with mg.no_grad():
            act()
        y.sum().backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1]


def test_changed_labels_do_not_affect_the_gradient_of_cross_entropy():
    labels = mg.tensor([0, 1, 2])

    def build():
        x = ones(3, 4)
        return x, F.cross_entropy(x, labels)

    assert_gradient_does_not_depend_on(lambda: labels.fill_(3), build)


def test_changed_class_weights_do_not_affect_the_gradient_of_cross_entropy():
    weight = mg.ones(4)

    def build():
        x = ones(3, 4)
        return x, F.cross_entropy(x, mg.tensor([0, 1, 2]), weight, reduction="sum")

    assert_gradient_does_not_depend_on(lambda: weight.fill_(9), build)


def test_backward_refuses_if_an_index_tensor_was_changed():
    x, index = ones(3), mg.tensor([0, 1])
    assert_backward_refuses(x[index], lambda: index.fill_(2))


def test_a_change_after_a_move_to_another_device_does_not_affect_the_gradient():
    x = ones(3)
    moved = x.to("numpy")
    y = (moved * moved).sum()
    with mg.no_grad():
        x.mul_(10)
    y.backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_to_another_device_copies():
    x = mg.ones(2)
    y = x.to("numpy")
    y += 1
    assert x.tolist() == [1, 1]


def test_a_constant_changed_between_two_backwards_does_not_affect_the_second():
    """The second derivative of w x**3 is 6 w x, with the old value of w."""
    w = mg.ones(2)

    def build():
        x = ones(2)
        (x * x * x * w).sum().backward(create_graph=True)
        gradient, x.grad = x.grad, None
        return x, gradient

    assert_gradient_does_not_depend_on(lambda: w.fill_(9), build)


def test_each_grad_has_its_own_memory_with_create_graph():
    a, b = ones(2), ones(2)
    (a + b).backward(mg.ones(2), create_graph=True)
    with mg.no_grad():
        a.grad.zero_()
    assert b.grad.tolist() == [1, 1]


def test_grad_can_be_changed_in_place_with_create_graph():
    x = ones(2, 3)
    x.sum().backward(create_graph=True)
    with mg.no_grad():
        x.grad.mul_(2)
    assert x.grad.tolist() == [[2, 2, 2]] * 2


def test_backward_allows_a_change_of_the_source_of_an_indexed_copy():
    data, w = mg.arange(3.0), ones(2)
    y = data[[0, 1]] * w
    data += 1
    y.sum().backward()
    assert w.grad.tolist() == [0, 1]


def test_assignment_to_an_element_of_a_row_reaches_the_whole_tensor_and_its_graph():
    """buffer[0][1] = v writes to a view of the buffer."""
    buffer, v = mg.zeros(2, 2), mg.tensor(5.0, requires_grad=True)
    buffer[0][1] = v
    assert buffer.tolist() == [[0, 5], [0, 0]]
    (buffer * 3).sum().backward()
    assert v.grad.item() == 3
