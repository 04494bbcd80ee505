"""The tape: what is recorded, what is walked, what is refused, what is freed."""

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

import minigrad as mg
from minigrad.errors import DeviceError, DtypeError, GraphError, ShapeError
from minigrad.nn import functional as F
from minigrad.ops.op import OPS
from minigrad.tape import mode

nan = np.nan


def ones(*shape, **options):
    return mg.ones(*shape, requires_grad=True, **options)


# ---- adding up


def test_gradients_of_two_backwards_add_up():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8]


def test_a_tensor_used_several_times_collects_all_contributions():
    x = mg.tensor([2.0], requires_grad=True)
    y = x * x + x + 3 * x
    (y * y * x).backward()
    assert x.grad.item() == pytest.approx(5 * 2**4 + 4 * 8 * 2**3 + 3 * 16 * 2**2)  # (x^2 + 4x)^2 x


def test_a_graph_that_parts_and_meets_is_walked_once():
    x = ones(1)
    y = x
    for _ in range(40):
        y = y + y  # 2**40 paths, 40 nodes
    y.backward()
    assert x.grad.item() == 2.0**40


def test_a_leaf_can_be_differentiated_by_itself():
    x = ones(2)
    x.backward(mg.tensor([3.0, 4.0]))
    assert x.grad.tolist() == [3, 4]


def test_only_leaves_receive_gradients():
    x = ones(2)
    y = x * 2
    y.sum().backward()
    assert y.grad is None
    assert (x.is_leaf, y.is_leaf, x.grad.is_leaf, x.grad.requires_grad) == (True, False, True, False)


def test_no_gradient_for_what_does_not_ask_for_it():
    x, constant = ones(2), mg.ones(2)
    (x * constant).sum().backward()
    assert constant.grad is None


def test_a_gradient_of_mixed_dtypes_has_the_dtype_of_its_leaf():
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


def test_the_gradient_given_is_not_taken_over():
    x, seed = ones(2), mg.ones(2)
    x.backward(seed)
    seed.fill_(7)
    assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(2, 3), ()])
def test_a_grad_can_be_changed_in_place(shape):
    x = ones(*shape)
    x.sum().backward()  # one number, spread over all
    x.grad.mul_(2)
    assert x.grad.numpy().sum() == 2 * x.numel()


def test_a_grad_is_laid_out_as_its_leaf():
    x = leaf(np.ones((4, 3)), "Fortran")
    (x * mg.tensor(np.ones((4, 3)))).sum().backward()
    assert x.grad.array.strides == x.array.strides


# ---- long chains


def chain(length):
    x = ones(1)
    y = x
    for _ in range(length):
        y = y * 1.0
    return x, y


def test_a_chain_of_20000_operations_is_walked_without_recursion():
    x, y = chain(20_000)
    y.backward()
    assert x.grad.item() == 1


def test_a_chain_of_20000_operations_is_freed_without_recursion():
    _, y = chain(20_000)
    last = weakref.ref(y)
    del y
    gc.collect()
    assert last() is None


def test_a_chain_of_20000_operations_is_walked_for_a_second_gradient():
    x, y = chain(20_000)
    y.backward(create_graph=True)
    del y
    gradient, x.grad = x.grad, None
    assert gradient.item() == 1


# ---- freeing


def test_a_graph_is_walked_once():
    y = (ones(2) * 2).exp().sum()
    y.backward()
    with pytest.raises(
        GraphError,
        match="backward: this graph was walked before and its saved values are freed; "
        "use retain_graph=True in the first backward",
    ):
        y.backward()


def test_a_retained_graph_is_walked_again():
    x = ones(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(GraphError, match="walked before"):
        y.backward()


def test_a_shared_part_that_was_freed_is_noticed():
    h = ones(2).exp()
    first, second = h.sum(), (h * h).sum()
    first.backward()
    with pytest.raises(GraphError, match="walked before"):
        second.backward()


def test_saved_arrays_are_freed_as_the_walk_passes(monkeypatch):
    """While an early operation's gradient is computed, what the later ones kept is gone already."""
    early = ones(1000) * 2
    hidden = early.exp()
    array, seen, rule = weakref.ref(hidden.array), [], OPS["mul"].rule

    def watched(*args, **kwargs):
        first, second = rule(*args, **kwargs)
        return lambda: (seen.append(array() is None), first())[1], second

    monkeypatch.setattr(OPS["mul"], "rule", watched)
    total = hidden.sum()
    del hidden
    assert array() is not None
    total.backward()
    assert seen == [True]


def test_nothing_is_kept_that_no_gradient_needs():
    x = ones(1000)
    hidden = x * 2
    array = weakref.ref(hidden.array)
    y = hidden + 1
    del hidden
    assert array() is None
    y.sum().backward()


def test_outside_the_graph_nothing_is_kept():
    with mg.no_grad():
        hidden = ones(1000).exp()
        array = weakref.ref(hidden.array)
        y = hidden * hidden
        del hidden
    assert array() is None
    assert not y.requires_grad


def test_a_graph_needs_no_garbage_collector():
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


# ---- refusals


def test_backward_of_what_was_not_recorded():
    for y in (mg.ones(1), mg.ones(2).sum(), ones(2).detach().sum()):
        with pytest.raises(
            GraphError,
            match="backward: nothing was recorded for this tensor; does an input have "
            "requires_grad=True, and was it computed outside no_grad?",
        ):
            y.backward()


def test_backward_of_several_numbers_needs_a_gradient():
    with pytest.raises(
        ShapeError, match=r"backward: 6 elements in shape \(2, 3\); give gradient= of that shape, or reduce"
    ):
        (ones(2, 3) * 2).backward()


def test_a_gradient_of_another_shape():
    with pytest.raises(ShapeError, match=r"backward: gradient has shape \(3,\), the tensor \(2,\); make them equal"):
        (ones(2) * 2).backward(mg.ones(3))


def test_a_gradient_on_another_device():
    with pytest.raises(
        DeviceError, match=r"backward: gradient is on 'numpy', the tensor on 'cpu'; move it with .to\('cpu'\)"
    ):
        (ones(2) * 2).backward(mg.ones(2, device="numpy"))


def test_operands_on_different_devices():
    with pytest.raises(DeviceError, match=r"mul: tensors on 'cpu' and 'numpy'; move one with .to\('cpu'\)"):
        mg.ones(2) * mg.ones(2, device="numpy")


def test_create_graph_needs_the_graph():
    with pytest.raises(GraphError, match="backward: create_graph=True needs the graph; leave out retain_graph=False"):
        (ones(1) * 2).backward(create_graph=True, retain_graph=False)


@pytest.mark.parametrize("dtype", [mg.int64, mg.int32, mg.uint8, mg.bool])
def test_whole_numbers_have_no_gradient(dtype):
    with pytest.raises(DtypeError, match=f"requires_grad: only float tensors have gradients, this one is {dtype}"):
        mg.zeros(2, dtype=dtype, requires_grad=True)


def test_what_comes_out_whole_is_not_recorded():
    x = ones(3)
    for y in (x > 0, x.argmax(), x.long(), x == x):
        assert not y.requires_grad


def test_the_result_of_an_operation_cannot_be_switched_off():
    with pytest.raises(GraphError, match=r"requires_grad: only leaves can be switched off; use x.detach\(\)"):
        (ones(2) * 2).requires_grad_(False)


def test_a_leaf_can_be_switched_on_and_off():
    x = mg.ones(2).requires_grad_()
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_a_grad_of_another_shape_or_kind():
    x = ones(2)
    with pytest.raises(ShapeError, match=r"grad: a gradient of shape \(3,\) does not fit a tensor of shape \(2,\)"):
        x.grad = mg.ones(3)
    with pytest.raises(DtypeError, match="grad: expected a Tensor or None, got ndarray"):
        x.grad = np.ones(2)
    x.grad = mg.ones(2)
    assert x.grad.tolist() == [1, 1]
    x.grad = None
    assert x.grad is None


def test_copies_are_of_leaves_only():
    with pytest.raises(GraphError, match=r"deepcopy: only leaves can be copied; use x.detach\(\).clone\(\)"):
        copy.deepcopy(ones(2) * 2)


# ---- changes in place, outside of the graph


def test_a_changed_input_that_was_saved_is_refused():
    x, w = ones(2), mg.ones(2)
    y = x * w
    w += 1
    with pytest.raises(
        GraphError,
        match="backward: the input 'b' of mul was changed in place 1 time.* after mul used it, and "
        "its gradient needs the old value; change a copy instead, or after backward",
    ):
        y.sum().backward()


def test_a_changed_output_that_was_saved_is_refused():
    y = ones(2).exp()
    with mg.no_grad():
        y.mul_(2)
        y.mul_(2)
    with pytest.raises(GraphError, match="backward: the output of exp was changed in place 2 time"):
        y.sum().backward()


def test_a_parameter_changed_between_forward_and_backward_is_refused():
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
def test_every_change_in_place_is_counted(change):
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
def test_a_change_through_a_view_is_counted(seen):
    x, w = ones(2, 2), mg.ones(2, 2)
    y = x * w
    seen(w).fill_(3)
    assert (w == 3).any()
    with pytest.raises(GraphError, match="the input 'b' of mul was changed in place"):
        y.sum().backward()


def test_a_change_of_what_no_gradient_needs_is_fine():
    x, w = ones(2), mg.ones(2)
    y = x + w
    z = y.relu()
    w += 1
    with mg.no_grad():
        y.mul_(-5)  # relu kept its output, not its input
    z.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_change_after_backward_is_fine():
    x, w = ones(2), mg.ones(2)
    (x * w).sum().backward()
    w += 1
    (x * w).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_copy_does_not_share_versions():
    x, w = ones(2), mg.ones(2)
    y = x * w.clone()
    w += 1
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_numpy_shows_memory_and_cannot_change_it():
    x = mg.ones(2)
    seen = x.numpy()
    x += 1
    assert seen.tolist() == [2, 2]
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 5


def test_numpy_refuses_what_is_in_a_graph():
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


def test_data_can_be_replaced():
    x = ones(2)
    x.data = mg.tensor([5.0, 6.0])
    (x * x).sum().backward()
    assert x.grad.tolist() == [10, 12]
    with pytest.raises(ShapeError, match=r"data: values of shape \(3,\) do not fit a tensor of shape \(2,\)"):
        x.data = mg.ones(3)


# ---- changes in place, inside the graph


def test_a_leaf_cannot_change_in_the_graph():
    x = ones(2)
    for change, name in (
        (lambda: x.add_(1), "add"),
        (lambda: x.__setitem__([0], 1.0), "put"),
        (lambda: x.zero_(), "assign"),
    ):
        with pytest.raises(
            GraphError,
            match=rf"{name} in place: a leaf that requires grad would lose its gradient; "
            r"use no_grad\(\) to change it, or x = x \+ y",
        ):
            change()
    with mg.no_grad():
        x += 1
    assert x.tolist() == [2, 2]
    assert x.is_leaf
    assert x.requires_grad


def test_changes_in_the_graph_keep_the_right_gradients():
    x, y = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0], requires_grad=True)
    z = x * y
    z += x  # x*y + x
    z *= y  # x*y^2 + x*y
    z -= 1
    z /= 2
    z.sum().backward()
    assert x.grad.tolist() == [(9 + 3) / 2, (16 + 4) / 2]
    assert y.grad.tolist() == [(2 * 3 + 1) / 2, (2 * 8 + 2) / 2]


def test_a_saved_output_stays_when_its_tensor_goes_on():
    x = mg.tensor([0.5], requires_grad=True)
    y = x.exp()
    y += 1  # exp keeps the value that it gave
    (y * y).sum().backward()
    e = np.exp(0.5)
    assert x.grad.item() == pytest.approx(2 * (e + 1) * e)


def test_an_element_written_in_the_graph():
    x, v = mg.tensor([1.0, 2.0, 3.0], requires_grad=True), mg.tensor(5.0, requires_grad=True)
    y = x * x
    y[1] = v * v
    y[2:] *= 3
    y.sum().backward()
    assert x.grad.tolist() == [2, 0, 18]
    assert v.grad.item() == 10


def test_a_buffer_joins_the_graph_when_a_recorded_value_is_written():
    buffer, v = mg.zeros(3), ones(2)
    buffer[:2] = v * 3
    assert buffer.requires_grad
    buffer.sum().backward()
    assert v.grad.tolist() == [3, 3]


def test_a_change_in_place_keeps_shape_and_dtype():
    with pytest.raises(ShapeError, match=r"add in place: the result has shape \(2, 3\), the tensor \(3,\)"):
        mg.zeros(3).add_(mg.ones(2, 3))
    with pytest.raises(DtypeError, match=r"add in place: the result is float32, the tensor int64; convert it first"):
        mg.zeros(3, dtype=mg.int64).add_(0.5)


# ---- recording or not


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


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        1 / 0  # noqa: B018
    assert mg.is_grad_enabled()


def test_no_grad_and_enable_grad_decorate():
    @mg.no_grad()
    def still(x, factor=2):
        return x * factor

    @mg.enable_grad()
    def recorded(x):
        return x * 2

    assert not still(ones(2), factor=3).requires_grad
    assert still(ones(2), factor=3).tolist() == [3, 3]
    with mg.no_grad():
        assert recorded(ones(2)).requires_grad


def test_no_grad_holds_for_its_own_thread_only():
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((ones(2) * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_views_are_recorded():
    x = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    (x.T.reshape(6)[1:3].unsqueeze(0) * mg.tensor([[10.0, 20.0]])).sum().backward()
    assert x.grad.tolist() == [[0, 20, 0], [10, 0, 0]]


def modes_seen(decorator):
    """Whether a generator records at each of its steps: begun, sent to, thrown into, closed."""
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


def test_a_decorated_generator_returns_raises_and_delegates():
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
def test_a_decorated_function_keeps_its_name_docstring_and_signature(decorator):
    def scaled(x, by=2):
        """x times by."""
        return x * by

    def each(x):
        """Each of x."""
        yield from x

    async def later(x):
        """x, in a while."""

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
def test_one_no_grad_used_within_itself_restores_what_was_before(error):
    once = mg.no_grad()
    with once:
        with once, mg.enable_grad():
            assert mg.is_grad_enabled()
        assert not mg.is_grad_enabled()
        with pytest.raises(error), once:
            raise error
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled() and not mode.entered


def test_one_no_grad_used_by_two_threads_restores_each():
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


def test_blocks_that_a_generator_leaves_out_of_turn():
    def holding():
        with mg.no_grad():
            yield

    generator = holding()
    next(generator)  # its block is open, as in PyTorch, until it goes on
    with mg.enable_grad():
        generator.close()
        assert mg.is_grad_enabled()
    assert not mg.is_grad_enabled()  # what it was when this block began
    mode.grad_enabled = True
    assert not mode.entered


async def waves():
    yield 1


@pytest.mark.parametrize(
    "what, message",
    [
        (dict, "no_grad: dict is a class, expected a function; decorate its methods, one by one"),
        (3, "no_grad: got int, expected a function to decorate; write `with no_grad():` for a block"),
        (waves, "no_grad: waves is an async generator function, expected another kind; write `with no_grad():` inside"),
    ],
)
def test_no_grad_refuses_to_decorate(what, message):
    for decorate in (mg.no_grad, mg.no_grad()):
        with pytest.raises(DtypeError, match=re.escape(message)):
            decorate(what)


# ---- threads and processes


def train(steps=5):
    """A small network trained by hand; the bytes of its weights."""
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


def test_two_threads_train_at_once_as_one_after_the_other():
    expected, found = train(), []
    workers = [threading.Thread(target=lambda: found.extend(train() for _ in range(5))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 10


@pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux only")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_trains_as_its_parent_does():
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


# ---- values that a gradient needs, and that could change unseen


def refused(change, y):
    """The value of y was computed; after the change its backward cannot be right."""
    with mg.no_grad():
        change()
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def unmoved(build, change):
    """The gradient of x is the same whether the constants that went into y changed in the meantime or not."""
    gradients = []
    for meanwhile in (lambda: None, change):
        x, y = build()
        with mg.no_grad():
            meanwhile()
        y.sum().backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1]


def test_changed_labels_do_not_move_a_gradient():
    labels = mg.tensor([0, 1, 2])

    def build():
        x = ones(3, 4)
        return x, F.cross_entropy(x, labels)

    unmoved(build, lambda: labels.fill_(3))


def test_changed_class_weights_do_not_move_a_gradient():
    weight = mg.ones(4)

    def build():
        x = ones(3, 4)
        return x, F.cross_entropy(x, mg.tensor([0, 1, 2]), weight, reduction="sum")

    unmoved(build, lambda: weight.fill_(9))


def test_a_changed_index_is_refused():
    x, index = ones(3), mg.tensor([0, 1])
    refused(lambda: index.fill_(2), x[index])


def test_a_change_after_a_move_to_another_device_is_refused_or_not_seen():
    """Either the move copies, and the gradient is 2x of the old value, or the change is noticed."""
    x = ones(3)
    moved = x.to("numpy")
    y = (moved * moved).sum()
    with mg.no_grad():
        x.mul_(10)
    try:
        y.backward()
    except GraphError:
        return
    assert x.grad.tolist() == [2, 2, 2]


def test_a_move_to_another_device_copies():
    x = mg.ones(2)
    y = x.to("numpy")
    y += 1
    assert x.tolist() == [1, 1]


def test_a_constant_changed_between_two_backwards_does_not_move_the_second():
    """The second derivative of w x**3 is 6 w x with the w of the first."""
    w = mg.ones(2)

    def build():
        x = ones(2)
        (x * x * x * w).sum().backward(create_graph=True)
        gradient, x.grad = x.grad, None
        return x, gradient

    unmoved(build, lambda: w.fill_(9))


def test_each_grad_has_its_own_memory_with_create_graph():
    a, b = ones(2), ones(2)
    (a + b).backward(mg.ones(2), create_graph=True)
    with mg.no_grad():
        a.grad.zero_()
    assert b.grad.tolist() == [1, 1]


def test_a_grad_can_be_changed_in_place_with_create_graph():
    x = ones(2, 3)
    x.sum().backward(create_graph=True)
    with mg.no_grad():
        x.grad.mul_(2)
    assert x.grad.tolist() == [[2, 2, 2]] * 2


def test_a_copied_selection_does_not_share_versions():
    data, w = mg.arange(3.0), ones(2)
    y = data[[0, 1]] * w
    data += 1
    y.sum().backward()
    assert w.grad.tolist() == [0, 1]


def test_an_element_of_a_row_of_a_buffer_joins_the_graph():
    """buffer[0][1] = v writes to a view; it must reach the buffer, or be refused."""
    buffer, v = mg.zeros(2, 2), mg.tensor(5.0, requires_grad=True)
    try:
        buffer[0][1] = v
    except GraphError:
        return
    assert buffer.tolist() == [[0, 5], [0, 0]]
