"""Optimisers follow PyTorch's formulas on every device and dtype, and resume to the bit."""

import copy
import math
import pickle
import re
from functools import cache
from itertools import chain, product

import numpy as np
import pytest
from helpers import DEVICES, parameter
from hypothesis import given, settings, strategies as st

import minigrad as mg
from minigrad.errors import DtypeError, GraphError, MinigradError, StateError, ValidationError
from minigrad.ops import optimizer as kernels
from minigrad.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from minigrad.runtime import threads
from minigrad.runtime.kernel import ArrayList
from minigrad.serialization import load, save

SHAPES = [(6, 1, 5, 5), (6,), (), (0, 3), (90, 100)]  # the last is more than one task
STEPS = 20
BOOLEANS = (False, True)

SGD_OPTIONS = [
    {"lr": 0.05, "momentum": m, "dampening": d, "weight_decay": decay, "nesterov": nesterov, "maximize": maximize}
    for m, d, decay, nesterov, maximize in product((0, 0.9), (0, 0.3), (0, 0.01), BOOLEANS, BOOLEANS)
    if not nesterov or (m and not d)
]
ADAM_OPTIONS = [
    {"lr": 0.01, "betas": betas, "eps": eps, "weight_decay": decay, "amsgrad": amsgrad, "maximize": maximize}
    for betas, eps, decay, amsgrad, maximize in product(
        ((0.9, 0.999), (0.0, 0.5)), (1e-8, 0.1), (0, 0.1), BOOLEANS, BOOLEANS
    )
]


def plain_sgd(w, grads, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """Return a parameter after PyTorch's rule, in NumPy.  A gradient of None is skipped."""
    buffer = None
    for g in grads:
        if g is None:
            continue
        g = -g if maximize else g
        g = g + weight_decay * w
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        w = w - lr * g
    return w


def plain_adam(w, grads, lr, betas, eps, weight_decay, amsgrad, maximize, decoupled):
    """Return a parameter after PyTorch's rule, in NumPy.  A gradient of None is skipped."""
    (beta1, beta2), step = betas, 0
    mean, square, largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        if g is None:
            continue
        step += 1
        g = -g if maximize else g
        if decoupled:
            w = w * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * w
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g * g
        largest = np.maximum(largest, square)
        denominator = np.sqrt(largest if amsgrad else square) / math.sqrt(1 - beta2**step) + eps
        w = w - lr / (1 - beta1**step) * mean / denominator
    return w


def numbers(shape, seed):
    """Return a random array."""
    return np.random.default_rng(seed).standard_normal(shape)


def values(dtype="float32", device="cpu"):
    """Return a parameter of each shape."""
    return [mg.tensor(numbers(shape, i), dtype, device, requires_grad=True) for i, shape in enumerate(SHAPES)]


@cache
def gradients(step, dtype="float64"):
    """Return a gradient for each shape, or None in every seventh step: for parameter i if (step + i) % 7 is 3."""
    return [
        None if (step + i) % 7 == 3 else numbers(shape, 100 * (step + 1) + i).astype(dtype)
        for i, shape in enumerate(SHAPES)
    ]


def train(optimizer, params, steps=range(STEPS)):
    """Run steps with the gradients of `gradients`."""
    for step in steps:
        for p, g in zip(params, gradients(step), strict=True):
            p.grad = None if g is None else mg.tensor(g, p.dtype, p.device)
        optimizer.step()


def bits(params):
    """Return the bytes of every parameter."""
    return [p.detach().numpy().tobytes() for p in params]


def one_step(optimizer, *params):
    """Run a step in which the gradients of these parameters are 1."""
    for p in params:
        p.grad = mg.tensor(np.ones(p.shape), p.dtype, p.device)
    optimizer.step()


# ---- formulas


def assert_equals_formula(make, plain, dtype, device):
    """Check 20 steps against a formula in NumPy: to rounding in float64, to 1e-6 of the largest number in float32."""
    params = values(dtype, device)
    starts = [p.detach().numpy().astype(np.float64) for p in params]
    train(make(params), params)
    for i, (p, start) in enumerate(zip(params, starts, strict=True)):
        expected = plain(start, [gradients(step, dtype)[i] for step in range(STEPS)])
        scale = abs(expected).max(initial=1)
        error = 1e-14 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=0, atol=scale * error)
        assert p.dtype == dtype
        assert p.device == device


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_equals_its_formula(options, dtype, device):
    assert_equals_formula(
        lambda params: SGD(params, **options), lambda w, grads: plain_sgd(w, grads, **options), dtype, device
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam_and_adamw_equal_their_formulas(options, kind, dtype, device):
    assert_equals_formula(
        lambda params: kind(params, **options),
        lambda w, grads: plain_adam(w, grads, decoupled=kind is AdamW, **options),
        dtype,
        device,
    )


def plain_adagrad(w, grads, lr, lr_decay, weight_decay, initial_accumulator_value, eps, maximize):
    """Return a parameter after PyTorch's rule, in NumPy.  A gradient of None is skipped."""
    total, steps = np.full_like(w, initial_accumulator_value), 0
    for g in grads:
        if g is not None:
            g = (-g if maximize else g) + weight_decay * w
            total = total + g * g
            w = w - lr / (1 + steps * lr_decay) * g / (np.sqrt(total) + eps)
            steps += 1
    return w


def plain_adadelta(w, grads, lr, rho, eps, weight_decay, maximize):
    """Return a parameter after PyTorch's rule, in NumPy.  A gradient of None is skipped."""
    square, moved = np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        if g is not None:
            g = (-g if maximize else g) + weight_decay * w
            square = rho * square + (1 - rho) * g * g
            delta = np.sqrt(moved + eps) / np.sqrt(square + eps) * g
            moved = rho * moved + (1 - rho) * delta * delta
            w = w - lr * delta
    return w


def plain_rmsprop(w, grads, lr, alpha, eps, weight_decay, momentum, centered, maximize):
    """Return a parameter after PyTorch's rule, in NumPy.  A gradient of None is skipped."""
    square, mean, buffer = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        if g is not None:
            g = (-g if maximize else g) + weight_decay * w
            square = alpha * square + (1 - alpha) * g * g
            mean = alpha * mean + (1 - alpha) * g
            step = g / (np.sqrt(square - mean * mean if centered else square) + eps)
            buffer = momentum * buffer + step
            w = w - lr * (buffer if momentum else step)
    return w


OTHER_OPTIONS = [
    *[
        (
            Adagrad,
            plain_adagrad,
            {"lr": 0.1, "lr_decay": d, "weight_decay": w, "initial_accumulator_value": i, "eps": 1e-10, "maximize": m},
        )
        for d, w, i, m in ((0, 0, 0, False), (0.1, 0.01, 0.5, True))
    ],
    *[
        (Adadelta, plain_adadelta, {"lr": lr, "rho": rho, "eps": 1e-6, "weight_decay": w, "maximize": m})
        for lr, rho, w, m in ((1.0, 0.9, 0, False), (0.5, 0.5, 0.01, True))
    ],
    *[
        (
            RMSprop,
            plain_rmsprop,
            {
                "lr": 0.01,
                "alpha": 0.9,
                "eps": 1e-4,
                "weight_decay": w,
                "momentum": momentum,
                "centered": centered,
                "maximize": m,
            },
        )
        for momentum, centered, (w, m) in product((0, 0.9), BOOLEANS, ((0, False), (0.01, True)))
    ],
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, plain, options", OTHER_OPTIONS)
def test_adagrad_adadelta_and_rmsprop_equal_their_formulas(kind, plain, options, dtype, device):
    def make(params):
        return kind(params, **options)

    assert_equals_formula(make, lambda w, grads: plain(w, grads, **options), dtype, device)


def test_optimizers_accept_settings_that_change_only_how_pytorch_computes():
    for kind in (SGD, Adam, AdamW, Adagrad, Adadelta, RMSprop):
        kind([parameter(1.0)], foreach=True, fused=None, capturable=False, differentiable=False)
        with pytest.raises(ValidationError, match="differentiable=True, but a step changes its parameters in place"):
            kind([parameter(1.0)], differentiable=True)
        with pytest.raises(TypeError, match=f"{kind.__name__}: there is no setting 'learning_rate'; use lr, "):
            kind([parameter(1.0)], learning_rate=0.1)


def test_defaults_are_those_of_pytorch():
    w = parameter(1.0)
    sgd = {"lr": 1e-3, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
    adam = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    assert SGD([w]).defaults == sgd
    assert Adam([w]).defaults == adam
    assert AdamW([w]).defaults == {**adam, "weight_decay": 1e-2}


# ---- kernels

unit = st.floats(0, 1, width=32)
shape_lists = st.lists(
    st.sampled_from([(), (1,), (7,), (0,), (3, 5), (8191,), (8192,), (8193,), (2, 9000)]), min_size=1, max_size=5
)


@settings(deadline=None)
@given(
    shapes=shape_lists,
    dtype=st.sampled_from([np.float32, np.float64]),
    lr=unit,
    decay=unit,
    sign=st.sampled_from([-1.0, 1.0]),
    keep=unit,
    take=unit,
    nesterov=st.booleans(),
    amsgrad=st.booleans(),
)
def test_kernels_on_cpu_equal_those_on_numpy(shapes, dtype, lr, decay, sign, keep, take, nesterov, amsgrad):
    def lists(count):
        made = [[np.array(numbers(shape, 10 * k + i), dtype) for i, shape in enumerate(shapes)] for k in range(count)]
        for square in chain(*made[2:]):
            np.abs(square, out=square)
        for mean in chain(*made[3:4]):  # of RMSprop; its square is below the mean of squares
            mean[...] *= 0.01
        return made

    def check(dispatch, count, *numbers):
        expected, found, numbers = lists(count), lists(count), np.array(numbers, dtype)
        dispatch["numpy"](numbers, *map(ArrayList, expected))
        dispatch["cpu"](numbers, *map(ArrayList, found))
        for a, b in zip(chain(*expected), chain(*found), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-13)

    start = lr, decay, sign
    check(kernels.sgd, 2, *start)
    check(kernels.nesterov if nesterov else kernels.momentum, 3, *start, keep, take)
    means = *start, keep, take, take, keep, 1.5, 0.1, 0.9
    check(kernels.amsgrad, 5, *means) if amsgrad else check(kernels.adam, 4, *means)
    check(kernels.adagrad, 3, *start, 0.1)
    check(kernels.adadelta, 4, *start, keep, take, 0.1)
    for (momentum, centered), dispatch in kernels.rmsprop.items():
        check(dispatch, 3 + momentum + centered, *start, 0.5, 0.5, 0.1, keep)


@given(st.lists(st.integers(0, 50_000), max_size=8))
def test_pieces_contain_every_element_once(sizes):
    tasks = kernels.build_task_table(tuple(sizes)).tolist()
    assert [(i, j) for i, start, stop in tasks for j in range(start, stop, 512)] == [
        (i, j) for i, size in enumerate(sizes) for j in range(0, size, 512)
    ]
    assert [max((stop for i, _, stop in tasks if i == k), default=0) for k in range(len(sizes))] == sizes
    assert all(0 < stop - start <= kernels.ELEMENTS_PER_TASK for _, start, stop in tasks)


@pytest.mark.parametrize("kernel", [update.kernel for update in kernels.UPDATES], ids=lambda kernel: kernel.name)
def test_kernels_of_float32_compute_with_vectors_of_float32(kernel):
    code = kernel.llvm("f")
    assert re.search(r"fmul .*<\d+ x float>", code)
    assert not re.search(r"= f(add|sub|mul|div) .*double", code)


@pytest.mark.parametrize("make", [SGD, lambda p: SGD(p, momentum=0.9), Adam, Adagrad, Adadelta, RMSprop])
def test_step_launches_one_kernel(make, monkeypatch):
    params = [parameter(1.0), parameter(2.0, 3.0), mg.tensor(np.ones(20_000, np.float32), requires_grad=True)]
    optimizer = make(params)
    launches, executor = [], threads._get_executor()
    execute = executor.execute
    monkeypatch.setattr(executor, "execute", lambda *program: launches.append(program) or execute(*program))
    one_step(optimizer, *params)
    assert len(launches) == 1


def test_a_parameter_gets_the_same_bits_alone_and_with_others():
    together, alone = values(), values()
    train(Adam(together), together)
    for i, p in enumerate(alone):
        params = values()
        params[i] = p
        train(Adam([p]), params)
    assert bits(together) == bits(alone)


# ---- step


@pytest.mark.parametrize("device", DEVICES)
def test_step_writes_parameters_in_place(device):
    w = mg.tensor([1.0, 2.0], device=device, requires_grad=True)
    array, alias = w.array, w.detach()
    one_step(SGD([w], lr=0.5), w)
    assert w.array is array
    assert alias.tolist() == [0.5, 1.5]


def test_backward_refuses_a_graph_that_needs_the_values_before_a_step():
    w = parameter(1.0, 2.0)
    loss = (w * w).sum()
    one_step(SGD([w]), w)
    with pytest.raises(GraphError, match=re.escape("backward: the input 'b' of mul was changed in place 1 time(s)")):
        loss.backward()


def test_step_skips_parameters_without_gradient():
    w, frozen = parameter(1.0), mg.tensor([1.0])
    optimizer = Adam([w, frozen], weight_decay=0.5)
    one_step(optimizer, w)
    assert frozen.item() == 1.0
    assert frozen._storage.version == 0
    assert list(optimizer.state_dict()["state"]) == [0]


def test_step_without_gradients_changes_nothing():
    w = parameter(1.0)
    SGD([w]).step()
    assert w.item() == 1.0
    assert w._storage.version == 0


@pytest.mark.parametrize("make", [SGD, lambda p, lr: SGD(p, lr, momentum=0.5), Adam])
def test_step_takes_strided_parameters_and_gradients(make):
    memory = mg.tensor(numbers((6, 4), 0), np.float32)
    strided, plain = memory.T[1:3], mg.tensor(memory.numpy().T[1:3].copy())
    results = []
    for w in (strided, plain):
        w.requires_grad_()
        optimizer = make([w], lr=0.1)
        for seed in range(3):
            w.grad = mg.tensor(numbers((6, 2), seed), np.float32).T
            optimizer.step()
        results.append(w.detach().numpy())
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(memory.numpy().T[1:3], results[1])


def test_step_takes_gradients_of_another_dtype():
    w = parameter(1.0, 2.0)
    w.grad = mg.tensor(np.array([1.0, 2.0]))
    SGD([w], lr=0.5).step()
    assert w.dtype == np.float32
    assert w.tolist() == [0.5, 1.0]


def test_step_follows_replaced_data_on_another_device():
    w = parameter(1.0, 2.0)
    optimizer = SGD([w], lr=0.5)
    one_step(optimizer, w)
    w.data = mg.tensor([10.0, 20.0], device="numpy")
    one_step(optimizer, w)
    assert w.tolist() == [9.5, 19.5]
    assert w.device == "numpy"


def test_step_takes_parameters_of_several_devices_and_dtypes():
    params = [parameter(1.0), parameter(1.0, dtype=np.float64), mg.tensor([1.0], device="numpy", requires_grad=True)]
    one_step(SGD(params, lr=0.25), *params)
    assert [p.tolist() for p in params] == [[0.75]] * 3


def test_parameter_groups_have_their_own_settings_which_may_change():
    a, b, c = parameter(1.0), parameter(1.0), parameter(1.0)
    optimizer = SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": iter([c]), "maximize": True})
    one_step(optimizer, a, b, c)
    assert [p.item() for p in (a, b, c)] == [0.75, 0.5, 1.25]
    optimizer.param_groups[0]["lr"] = 0.5
    one_step(optimizer, a)
    assert a.item() == 0.25


def test_momentum_buffer_starts_with_the_first_gradient_of_each_parameter():
    a, b = parameter(0.0), parameter(0.0)
    optimizer = SGD([a, b], lr=1.0, momentum=0.5, dampening=0.5)
    one_step(optimizer, a)
    one_step(optimizer, a, b)
    assert (a.item(), b.item()) == (-2.0, -1.0)


def test_zero_grad_fills_gradients_or_sets_them_to_none():
    w = parameter(1.0)
    optimizer = SGD([w])
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is None
    w.grad = mg.tensor([2.0])
    memory = w.grad.array
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0]
    assert w.grad.array is memory
    optimizer.zero_grad()
    assert w.grad is None


def test_step_calls_a_closure_and_returns_its_loss():
    w = parameter(3.0)
    optimizer = SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert w.item() == 0.0


def test_repr_of_an_optimizer_is_pytorchs():
    assert repr(SGD([parameter(1.0)], lr=0.5)) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)"
    )


# ---- state_dict, saving, copying

KINDS = [
    lambda p: SGD(p, 0.1),
    lambda p: SGD(p, 0.1, 0.9, 0.3, nesterov=False),
    lambda p: Adam(p, 0.1, amsgrad=True),
    lambda p: AdamW([{"params": p[:2], "lr": 0.2}, {"params": p[2:]}], 0.1),
    lambda p: Adagrad(p, 0.1, lr_decay=0.1, initial_accumulator_value=0.5),
    Adadelta,
    lambda p: RMSprop(p, 0.1, momentum=0.5, centered=True),
]


def by_state_dict(optimizer, params, make, folder):
    resumed = [mg.tensor(p.detach(), requires_grad=True) for p in params]
    other = make(resumed)
    other.load_state_dict(optimizer.state_dict())
    return other, resumed


def by_file(optimizer, params, make, folder):
    save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, folder / "checkpoint")
    checkpoint = load(folder / "checkpoint")
    resumed = [p.requires_grad_() for p in checkpoint["params"]]
    other = make(resumed)
    other.load_state_dict(checkpoint["optimizer"])
    return other, resumed


def by_deepcopy(optimizer, params, make, folder):
    return copy.deepcopy((optimizer, params))


def by_pickle(optimizer, params, make, folder):
    return pickle.loads(pickle.dumps((optimizer, params)))


@pytest.mark.parametrize("way", [by_state_dict, by_file, by_deepcopy, by_pickle])
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resumed_optimizer_gives_the_same_bits(make, way, dtype, tmp_path):
    params = values(dtype)
    optimizer = make(params)
    train(optimizer, params, range(6))
    other, resumed = way(optimizer, params, make, tmp_path)
    assert bits(resumed) == bits(params)
    train(optimizer, params, range(6, STEPS))
    assert bits(resumed) != bits(params)  # no memory is shared
    train(other, resumed, range(6, STEPS))
    assert bits(resumed) == bits(params)


def test_state_dict_has_the_form_of_pytorchs():
    w, idle = parameter(1.0, 2.0), parameter(3.0)
    optimizer = Adam([w, idle], amsgrad=True)
    one_step(optimizer, w)
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert list(state["state"]) == [0]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert state["state"][0]["step"] == 1
    assert state["param_groups"] == [{**optimizer.defaults, "params": [0, 1]}]


def test_load_state_dict_takes_a_state_of_pytorch():
    w, expected = parameter(1.0, 2.0), parameter(1.0, 2.0)
    state = {
        "state": {
            7: {
                "step": mg.tensor(2.0),
                "exp_avg": mg.tensor([0.1, 0.2]),
                "exp_avg_sq": mg.tensor([0.3, 0.4]),
                "max_exp_avg_sq": None,
            }
        },
        "param_groups": [{"lr": 0.5, "betas": (0.9, 0.999), "foreach": None, "params": [7]}],
    }
    optimizer = Adam([w])
    optimizer.load_state_dict(state)
    one_step(optimizer, w)
    mean, square = 0.9 * np.array([0.1, 0.2]) + 0.1, 0.999 * np.array([0.3, 0.4]) + 0.001
    step = 0.5 / (1 - 0.9**3) * mean / (np.sqrt(square / (1 - 0.999**3)) + 1e-8)
    np.testing.assert_allclose(w.tolist(), np.array(expected.tolist()) - step, rtol=1e-6)


def test_load_state_dict_converts_to_the_dtype_and_device_of_the_parameter():
    w = parameter(1.0)
    optimizer = SGD([w], momentum=0.9)
    one_step(optimizer, w)
    other = mg.tensor([1.0], np.float64, "numpy", requires_grad=True)
    resumed = SGD([other], momentum=0.9)
    resumed.load_state_dict(optimizer.state_dict())
    buffer = resumed.state[other]["momentum_buffer"]
    assert buffer.dtype == np.float64
    assert buffer.device == "numpy"


def load_changed_state(change):
    """Load a changed state dict into an Adam of two parameters, and check that a refused one changes nothing."""
    params = [parameter(1.0, 2.0), parameter(3.0)]
    optimizer = Adam(params)
    one_step(optimizer, *params)
    state = copy.deepcopy(optimizer.state_dict())
    change(state)
    before = repr(optimizer.state_dict())
    try:
        optimizer.load_state_dict(state)
    finally:
        assert repr(optimizer.state_dict()) == before


@pytest.mark.parametrize(
    ("kind", "message", "change"),
    [
        (
            StateError,
            "Adam: the state dict has 2 parameter groups, but the optimiser has 1; build it with the groups",
            lambda state: state["param_groups"].append({"params": []}),
        ),
        (
            StateError,
            "Adam: group 0 has 3 parameters in the state dict, but 2 in the optimiser; build it for the model",
            lambda state: state["param_groups"][0].update(params=[0, 1, 2]),
        ),
        (
            StateError,
            "Adam: exp_avg of parameter 1 has shape (3,), but the parameter has (1,); build the optimiser",
            lambda state: state["state"][1].update(exp_avg=mg.tensor([1.0, 2.0, 3.0])),
        ),
        (
            StateError,
            "Adam: the state dict has a state of parameter 5, but its groups have only 2 parameters; save it again",
            lambda state: state["state"].update({5: {}}),
        ),
        (
            ValidationError,
            "Adam: lr is -1; use a number of 0 or more",
            lambda state: state["param_groups"][0].update(lr=-1),
        ),
    ],
)
def test_load_state_dict_refuses_a_state_that_does_not_fit_and_changes_nothing(kind, message, change):
    with pytest.raises(kind, match=re.escape(message)):
        load_changed_state(change)


# ---- refused arguments


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (ValidationError, "SGD: lr is -0.1; use a number of 0 or more", lambda w: SGD([w], lr=-0.1)),
        (ValidationError, "SGD: lr is nan; use a number of 0 or more", lambda w: SGD([w], lr=math.nan)),
        (ValidationError, "SGD: momentum is -1; use a number of 0 or more", lambda w: SGD([w], momentum=-1)),
        (ValidationError, "SGD: weight_decay is -1; use a number of 0 or more", lambda w: SGD([w], weight_decay=-1)),
        (
            ValidationError,
            "SGD: nesterov=True with momentum=0 and dampening=0; use a momentum above 0, as 0.9",
            lambda w: SGD([w], nesterov=True),
        ),
        (
            ValidationError,
            "SGD: nesterov=True with momentum=0.9 and dampening=0.5; use a momentum above 0, as 0.9",
            lambda w: SGD([w], momentum=0.9, dampening=0.5, nesterov=True),
        ),
        (ValidationError, "SGD: lr is -2; use a number of 0 or more", lambda w: SGD([{"params": [w], "lr": -2}])),
        (
            ValidationError,
            "Adam: betas are (0.9, 1.0); use two numbers from 0 to below 1",
            lambda w: Adam([w], betas=(0.9, 1.0)),
        ),
        (
            ValidationError,
            "AdamW: betas are (-0.1, 0.9); use two numbers from 0 to below 1",
            lambda w: AdamW([w], betas=(-0.1, 0.9)),
        ),
        (ValidationError, "Adam: eps is -1; use a number of 0 or more", lambda w: Adam([w], eps=-1)),
        (
            ValidationError,
            "SGD: params has 0 tensors, expected 1 or more; a generator yields its tensors only once",
            lambda w: SGD([]),
        ),
        (ValidationError, "SGD: parameter 1 of group 0 appears twice; give each parameter once", lambda w: SGD([w, w])),
        (
            ValidationError,
            "SGD: parameter 0 of group 1 appears twice; give each parameter once",
            lambda w: SGD([{"params": [w]}, {"params": [w]}]),
        ),
        (DtypeError, "SGD: params is one Tensor; put it in a list", lambda w: SGD(w)),
        (
            DtypeError,
            "SGD: parameter 1 of group 0 is a float, expected a Tensor; give model.parameters()",
            lambda w: SGD([w, 1.0]),
        ),
        (
            DtypeError,
            "SGD: parameter 0 of group 0 is int64, expected float32 or float64; convert it, or leave it out",
            lambda w: SGD([mg.tensor([1])]),
        ),
        (
            DtypeError,
            "SGD: a parameter group is a dict without 'params'; give a dict like {'params': tensors, 'lr': 0.1}",
            lambda w: SGD([{"lr": 1}]),
        ),
        (
            ValidationError,
            "SGD: parameter 0 of group 0 is read-only, or its elements share memory; give its",
            lambda w: SGD([mg.from_numpy(np.broadcast_to(np.float32(1), 3))]),
        ),
        (
            GraphError,
            "SGD: parameter 0 of group 0 is the result of mul, expected a leaf; give the tensors it was computed from",
            lambda w: SGD([w * 2]),
        ),
    ],
)
def test_optimizers_refuse_invalid_arguments(kind, message, make):
    with pytest.raises(kind, match=re.escape(message)):
        make(parameter(1.0))


def test_a_refused_parameter_group_changes_nothing():
    w = parameter(1.0)
    optimizer = SGD([w])
    for group in ({"params": [w]}, {"params": [parameter(2.0)], "lr": -1}):
        with pytest.raises(MinigradError):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_optimizer_base_class_names_the_methods_to_define():
    w = parameter(1.0)
    with pytest.raises(
        NotImplementedError, match=r"Optimizer: define numbers\(group, states\) and update\(group, batch\)"
    ):
        one_step(Optimizer([w], {}), w)
