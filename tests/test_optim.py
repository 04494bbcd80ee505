"""Optimisers follow PyTorch's formulas, on every device and dtype; so do schedules, step by step; both resume."""

import copy
import math
import pickle
import re
from itertools import chain, product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minigrad as mg
from minigrad.errors import DtypeError, GraphError, MinigradError, StateError, ValidationError
from minigrad.ops import optimizer as kernels
from minigrad.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler
from minigrad.runtime import threads
from minigrad.runtime.kernel import Arrays
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
    """PyTorch's rule for one parameter, in NumPy; a gradient of None is skipped."""
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
    """PyTorch's rule for one parameter, in NumPy; a gradient of None is skipped."""
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
    return np.random.default_rng(seed).standard_normal(shape)


def values(dtype="float32", device="cpu"):
    """One leaf of each shape."""
    return [mg.tensor(numbers(shape, i), dtype, device, requires_grad=True) for i, shape in enumerate(SHAPES)]


def gradients(step, dtype="float64"):
    """A gradient for each shape; parameter i has none in every seventh step from 3 - i, counted round."""
    return [
        None if (step + i) % 7 == 3 else numbers(shape, 100 * (step + 1) + i).astype(dtype)
        for i, shape in enumerate(SHAPES)
    ]


def train(optimizer, params, steps=range(STEPS)):
    for step in steps:
        for p, g in zip(params, gradients(step), strict=True):
            p.grad = None if g is None else mg.tensor(g, p.dtype, p.device)
        optimizer.step()


def bits(params):
    return [p.detach().numpy().tobytes() for p in params]


def leaf(*data, dtype=None):
    return mg.tensor(list(data), dtype, requires_grad=True)


def one_step(optimizer, *params):
    for p in params:
        p.grad = mg.tensor(np.ones(p.shape), p.dtype, p.device)
    optimizer.step()


# ---- the rules


def check_rule(make, plain, dtype, device):
    """Float64 agrees to rounding; float32 to 1e-6 of the largest number."""
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


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_follows_its_formula(options, dtype, device):
    check_rule(lambda params: SGD(params, **options), lambda w, grads: plain_sgd(w, grads, **options), dtype, device)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam_follows_its_formula(options, kind, dtype, device):
    check_rule(
        lambda params: kind(params, **options),
        lambda w, grads: plain_adam(w, grads, decoupled=kind is AdamW, **options),
        dtype,
        device,
    )


def test_defaults_are_pytorchs():
    w = leaf(1.0)
    sgd = {"lr": 1e-3, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
    adam = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    assert SGD([w]).defaults == sgd
    assert Adam([w]).defaults == adam
    assert AdamW([w]).defaults == {**adam, "weight_decay": 1e-2}


# ---- the kernels

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
def test_cpu_columns_equal_numpys(shapes, dtype, lr, decay, sign, keep, take, nesterov, amsgrad):
    def lists(count):
        made = [[np.array(numbers(shape, 10 * k + i), dtype) for i, shape in enumerate(shapes)] for k in range(count)]
        for square in chain(*made[3:]):
            np.abs(square, out=square)
        return made

    def check(columns, count, *numbers):
        judged, got, numbers = lists(count), lists(count), np.array(numbers, dtype)
        columns["numpy"](numbers, *map(Arrays, judged))
        columns["cpu"](numbers, *map(Arrays, got))
        for a, b in zip(chain(*judged), chain(*got), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-13)

    check(kernels.sgd_dispatch, 2, lr, decay, sign)
    check(kernels.momentum_dispatch, 3, lr, decay, sign, keep, take, nesterov)
    check(kernels.adam_dispatch, 5, keep, take, take, keep, lr, 1.5, 0.1, 0.9, decay, sign, amsgrad)


@given(st.lists(st.integers(0, 50_000), max_size=8))
def test_tasks_cover_every_element_once(sizes):
    tasks = kernels.build_task_table(tuple(sizes)).tolist()
    assert [(i, j) for i, start, stop in tasks for j in range(start, stop, 512)] == [
        (i, j) for i, size in enumerate(sizes) for j in range(0, size, 512)
    ]
    assert [max((stop for i, _, stop in tasks if i == k), default=0) for k in range(len(sizes))] == sizes
    assert all(0 < stop - start <= kernels.ELEMENTS_PER_TASK for _, start, stop in tasks)


@pytest.mark.parametrize("kernel", [kernels.sgd_kernel, kernels.momentum_kernel, kernels.adam_kernel])
def test_float32_kernels_are_vectors_of_float32(kernel):
    code = kernel.llvm("f")
    assert re.search(r"fmul .*<\d+ x float>", code)
    assert not re.search(r"= f(add|sub|mul|div) .*double", code)


@pytest.mark.parametrize("make", [SGD, lambda p: SGD(p, momentum=0.9), Adam])
def test_a_step_is_one_launch(make, monkeypatch):
    params = [leaf(1.0), leaf(2.0, 3.0), mg.tensor(np.ones(20_000, np.float32), requires_grad=True)]
    optimizer = make(params)
    launches, execute = [], threads._executor()
    monkeypatch.setattr(threads, "_executor", lambda: lambda *program: launches.append(program) or execute(*program))
    one_step(optimizer, *params)
    assert len(launches) == 1


def test_company_does_not_change_a_bit():
    together, alone = values(), values()
    train(Adam(together), together)
    for i, p in enumerate(alone):
        params = values()
        params[i] = p
        train(Adam([p]), params)
    assert bits(together) == bits(alone)


# ---- what a step touches


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_memory_stays_and_its_version_counts(device):
    w = mg.tensor([1.0, 2.0], device=device, requires_grad=True)
    array, alias = w.array, w.detach()
    one_step(SGD([w], lr=0.5), w)
    assert w.array is array
    assert alias.tolist() == [0.5, 1.5]


def test_backward_through_old_values_is_refused():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    one_step(SGD([w]), w)
    with pytest.raises(GraphError, match=re.escape("backward: the input 'b' of mul was changed in place 1 time(s)")):
        loss.backward()


def test_parameters_without_gradient_are_skipped():
    w, frozen = leaf(1.0), mg.tensor([1.0])
    optimizer = Adam([w, frozen], weight_decay=0.5)
    one_step(optimizer, w)
    assert frozen.item() == 1.0
    assert frozen._storage.version == 0
    assert list(optimizer.state_dict()["state"]) == [0]


def test_no_gradients_no_change():
    w = leaf(1.0)
    SGD([w]).step()
    assert w.item() == 1.0
    assert w._storage.version == 0


@pytest.mark.parametrize("make", [SGD, lambda p, lr: SGD(p, lr, momentum=0.5), Adam])
def test_strided_parameters_and_gradients(make):
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


def test_gradients_of_another_dtype():
    w = leaf(1.0, 2.0)
    w.grad = mg.tensor(np.array([1.0, 2.0]))
    SGD([w], lr=0.5).step()
    assert w.dtype == np.float32
    assert w.tolist() == [0.5, 1.0]


def test_new_memory_and_device_are_seen():
    w = leaf(1.0, 2.0)
    optimizer = SGD([w], lr=0.5)
    one_step(optimizer, w)
    w.data = mg.tensor([10.0, 20.0], device="numpy")
    one_step(optimizer, w)
    assert w.tolist() == [9.5, 19.5]
    assert w.device == "numpy"


def test_devices_and_dtypes_mix():
    params = [leaf(1.0), leaf(1.0, dtype=np.float64), mg.tensor([1.0], device="numpy", requires_grad=True)]
    one_step(SGD(params, lr=0.25), *params)
    assert [p.tolist() for p in params] == [[0.75]] * 3


def test_groups_have_settings_of_their_own_that_may_change():
    a, b, c = leaf(1.0), leaf(1.0), leaf(1.0)
    optimizer = SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": iter([c]), "maximize": True})
    one_step(optimizer, a, b, c)
    assert [p.item() for p in (a, b, c)] == [0.75, 0.5, 1.25]
    optimizer.param_groups[0]["lr"] = 0.5
    one_step(optimizer, a)
    assert a.item() == 0.25


def test_momentum_begins_with_the_first_gradient_of_each_parameter():
    a, b = leaf(0.0), leaf(0.0)
    optimizer = SGD([a, b], lr=1.0, momentum=0.5, dampening=0.5)
    one_step(optimizer, a)
    one_step(optimizer, a, b)
    assert (a.item(), b.item()) == (-2.0, -1.0)


def test_zero_grad():
    w = leaf(1.0)
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


def test_step_with_a_closure():
    w = leaf(3.0)
    optimizer = SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert w.item() == 0.0


def test_repr():
    assert repr(SGD([leaf(1.0)], lr=0.5)) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)"
    )


# ---- resuming

KINDS = [
    lambda p: SGD(p, 0.1),
    lambda p: SGD(p, 0.1, 0.9, 0.3, nesterov=False),
    lambda p: Adam(p, 0.1, amsgrad=True),
    lambda p: AdamW([{"params": p[:2], "lr": 0.2}, {"params": p[2:]}], 0.1),
]


def by_state_dict(optimizer, params, make, folder):
    resumed = [mg.tensor(p.detach(), requires_grad=True) for p in params]
    fresh = make(resumed)
    fresh.load_state_dict(optimizer.state_dict())
    return fresh, resumed


def by_file(optimizer, params, make, folder):
    save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, folder / "checkpoint")
    checkpoint = load(folder / "checkpoint")
    resumed = [p.requires_grad_() for p in checkpoint["params"]]
    fresh = make(resumed)
    fresh.load_state_dict(checkpoint["optimizer"])
    return fresh, resumed


def by_deepcopy(optimizer, params, make, folder):
    return copy.deepcopy((optimizer, params))


def by_pickle(optimizer, params, make, folder):
    return pickle.loads(pickle.dumps((optimizer, params)))


@pytest.mark.parametrize("way", [by_state_dict, by_file, by_deepcopy, by_pickle])
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resuming_continues_bit_for_bit(make, way, dtype, tmp_path):
    params = values(dtype)
    optimizer = make(params)
    train(optimizer, params, range(6))
    fresh, resumed = way(optimizer, params, make, tmp_path)
    assert bits(resumed) == bits(params)
    train(optimizer, params, range(6, STEPS))
    assert bits(resumed) != bits(params)  # nothing is shared
    train(fresh, resumed, range(6, STEPS))
    assert bits(resumed) == bits(params)


def test_state_dict_has_pytorchs_form():
    w, idle = leaf(1.0, 2.0), leaf(3.0)
    optimizer = Adam([w, idle], amsgrad=True)
    one_step(optimizer, w)
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert list(state["state"]) == [0]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert state["state"][0]["step"] == 1
    assert state["param_groups"] == [{**optimizer.defaults, "params": [0, 1]}]


def test_pytorchs_state_loads():
    w, expected = leaf(1.0, 2.0), leaf(1.0, 2.0)
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


def test_state_follows_the_parameters_dtype_and_device():
    w = leaf(1.0)
    optimizer = SGD([w], momentum=0.9)
    one_step(optimizer, w)
    other = mg.tensor([1.0], np.float64, "numpy", requires_grad=True)
    fresh = SGD([other], momentum=0.9)
    fresh.load_state_dict(optimizer.state_dict())
    buffer = fresh.state[other]["momentum_buffer"]
    assert buffer.dtype == np.float64
    assert buffer.device == "numpy"


def refused_state(change):
    """Load a changed state dict into an Adam of two parameters; it must stay as it was."""
    params = [leaf(1.0, 2.0), leaf(3.0)]
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
            "Adam: the state dict has 2 parameter groups, the optimiser 1; build it with the groups",
            lambda state: state["param_groups"].append({"params": []}),
        ),
        (
            StateError,
            "Adam: group 0 of the state dict has 3 parameters, the optimiser's 2; build it for the model",
            lambda state: state["param_groups"][0].update(params=[0, 1, 2]),
        ),
        (
            StateError,
            "Adam: exp_avg of parameter 1 has shape (3,), the parameter (1,); build the optimiser for the model",
            lambda state: state["state"][1].update(exp_avg=mg.tensor([1.0, 2.0, 3.0])),
        ),
        (
            StateError,
            "Adam: the state dict has a state of parameter 5, and 2 parameters in its groups; save it again",
            lambda state: state["state"].update({5: {}}),
        ),
        (
            ValidationError,
            "Adam: lr is -1; use a number from 0 upwards",
            lambda state: state["param_groups"][0].update(lr=-1),
        ),
    ],
)
def test_states_that_do_not_fit(kind, message, change):
    with pytest.raises(kind, match=re.escape(message)):
        refused_state(change)


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (ValidationError, "SGD: lr is -0.1; use a number from 0 upwards", lambda w: SGD([w], lr=-0.1)),
        (ValidationError, "SGD: lr is nan; use a number from 0 upwards", lambda w: SGD([w], lr=math.nan)),
        (ValidationError, "SGD: momentum is -1; use a number from 0 upwards", lambda w: SGD([w], momentum=-1)),
        (ValidationError, "SGD: weight_decay is -1; use a number from 0 upwards", lambda w: SGD([w], weight_decay=-1)),
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
        (ValidationError, "SGD: lr is -2; use a number from 0 upwards", lambda w: SGD([{"params": [w], "lr": -2}])),
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
        (ValidationError, "Adam: eps is -1; use a number from 0 upwards", lambda w: Adam([w], eps=-1)),
        (
            ValidationError,
            "SGD: params has 0 tensors, expected 1 or more; a generator gives its tensors only once",
            lambda w: SGD([]),
        ),
        (
            ValidationError,
            "SGD: parameter 1 of group 0 was given before, expected once; leave it out of one place",
            lambda w: SGD([w, w]),
        ),
        (
            ValidationError,
            "SGD: parameter 0 of group 1 was given before, expected once; leave it out of one place",
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
            "SGD: a parameter group is dict without 'params'; give a dict like {'params': tensors, 'lr': 0.1}",
            lambda w: SGD([{"lr": 1}]),
        ),
        (
            ValidationError,
            "SGD: parameter 0 of group 0 is read-only memory, or one number seen many times; give its",
            lambda w: SGD([mg.from_numpy(np.broadcast_to(np.float32(1), 3))]),
        ),
        (
            GraphError,
            "SGD: parameter 0 of group 0 is the result of mul, expected a leaf; give the tensors it was made from",
            lambda w: SGD([w * 2]),
        ),
    ],
)
def test_refused_at_once(kind, message, make):
    with pytest.raises(kind, match=re.escape(message)):
        make(leaf(1.0))


def test_a_refused_group_leaves_the_optimiser_as_it_was():
    w = leaf(1.0)
    optimizer = SGD([w])
    for group in ({"params": [w]}, {"params": [leaf(2.0)], "lr": -1}):
        with pytest.raises(MinigradError):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_the_base_class_names_what_is_missing():
    w = leaf(1.0)
    with pytest.raises(
        NotImplementedError, match=r"Optimizer: define numbers\(group, states\) and update\(group, bundle\)"
    ):
        one_step(Optimizer([w], {}), w)


# ---- schedules


def rates(make, steps, lr=0.5, **options):
    """The rates of both groups, the second at a tenth, at t = 0 ... steps."""
    optimizer = SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)], "lr": lr / 10}], lr=lr, **options)
    scheduler, seen = make(optimizer), []
    for _ in range(steps + 1):
        seen.append([group["lr"] for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == seen[-1]
        if len(seen) <= steps:
            scheduler.step()
    return np.array(seen)


def cosine(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    ("make", "closed"),
    [
        (lambda o: lr_scheduler.StepLR(o, 3), lambda base, t: base * 0.1 ** (t // 3)),
        (lambda o: lr_scheduler.StepLR(o, 1, gamma=2.0), lambda base, t: base * 2.0**t),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [7, 2, 2], 0.3),
            lambda base, t: base * 0.3 ** (2 * (t >= 2) + (t >= 7)),
        ),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda base, t: base * 0.9**t),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 7, 0.01), lambda base, t: cosine(base, 0.01, t / 7)),
        (lambda o: lr_scheduler.LinearLR(o), lambda base, t: base * (1 / 3 + 2 / 3 * min(t, 5) / 5)),
        (lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, 9), lambda base, t: base * (1 - 0.9 * min(t, 9) / 9)),
    ],
)
def test_schedules_follow_their_closed_formulas(make, closed):
    expected = [[closed(0.5, t), closed(0.05, t)] for t in range(13)]
    np.testing.assert_allclose(rates(make, 12), expected, rtol=1e-12)
    optimizer = SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)], "lr": 0.05}], lr=0.5)
    scheduler = make(optimizer)
    for t in (12, 3, 0, 7):  # step(epoch) goes there at once
        scheduler.step(t)
        assert scheduler.last_epoch == t
        np.testing.assert_allclose(scheduler.get_last_lr(), expected[t], rtol=1e-12)


def test_a_long_cosine_stays_on_its_wave():
    """Rounding in 600 steps, each made of the last, five times past eta_min."""
    seen = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 67, 0.01), 600)[:, 0]
    np.testing.assert_allclose(seen, [cosine(0.5, 0.01, t / 67) for t in range(601)], rtol=1e-9)


def course(steps, *makes, by_hand=None, setting="lr"):
    """A setting at t = 0 ... steps under schedules that step in turn; `by_hand` is the rate set before the third."""
    optimizer = SGD([leaf(1.0)], lr=1.0, momentum=0.9)
    schedulers = [make(optimizer) for make in makes]
    seen = [optimizer.param_groups[0][setting]]
    for t in range(steps):
        if t == 2 and by_hand is not None:
            optimizer.param_groups[0]["lr"] = by_hand
        for scheduler in schedulers:
            scheduler.step()
        assert schedulers[-1].get_last_lr() == [optimizer.param_groups[0]["lr"]]
        seen.append(optimizer.param_groups[0][setting])
    return pytest.approx(seen, rel=1e-12)


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 2, 0.5)


def multi_step(optimizer):
    return lr_scheduler.MultiStepLR(optimizer, [1, 3, 3, 5], 0.1)


def exponential(optimizer):
    return lr_scheduler.ExponentialLR(optimizer, 0.5)


def annealing(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, 3, 0.01)


def linear(optimizer):
    return lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3)


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=6)


@pytest.mark.parametrize(
    ("makes", "pytorch"),
    [
        ((exponential, linear), [0.1, 0.2, 0.175, 0.125, 0.0625, 0.03125]),
        ((linear, annealing), [0.1, 0.3025, 0.183125, 0.01, 0.2575, 0.7525, 1.0, 0.7525]),
        ((step_lr, multi_step), [1.0, 0.1, 0.05, 0.0005, 0.00025, 2.5e-5, 1.25e-5]),
        ((one_cycle, exponential), [0.04, 0.49720771772545586, 0.4058728269748815, 0.23131855133348753]),
        ((exponential, one_cycle), [0.04, 0.9944154354509117, 0.811745653949763, 0.46263710266697505]),
    ],
)
def test_two_schedules_go_on_from_each_other(makes, pytorch):
    assert course(len(pytorch) - 1, *makes) == pytorch


@pytest.mark.parametrize(
    ("make", "pytorch"),
    [
        (step_lr, [1.0, 1.0, 0.5, 0.2, 0.1, 0.1, 0.05]),
        (lambda o: lr_scheduler.MultiStepLR(o, [3, 4], 0.5), [1.0, 1.0, 1.0, 0.1, 0.05, 0.05, 0.05]),
        (exponential, [1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.0125]),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
            [1.0, 0.8681980515339464, 0.55, 0.12928932188134526, 0.1, 0.2318019484660536, 0.55],
        ),
        (
            lambda o: lr_scheduler.LinearLR(o, 0.5, total_iters=4),
            [0.5, 0.625, 0.75, 0.7 / 3, 0.8 / 3, 0.8 / 3, 0.8 / 3],
        ),
        (one_cycle, [0.04, 0.9944154354509117, 0.811745653949763, 0.46263710266697505, 0.1334775301888306, 4e-6]),
    ],
)
def test_a_rate_set_by_hand_is_gone_on_from(make, pytorch):
    assert course(len(pytorch) - 1, make, by_hand=0.2) == pytorch


@pytest.mark.parametrize("make", [step_lr, exponential, linear])
def test_a_group_added_later_takes_part(make):
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = make(optimizer)
    scheduler.step()
    optimizer.add_param_group({"params": [leaf(1.0)], "lr": optimizer.param_groups[0]["lr"] / 2})
    for _ in range(3):
        scheduler.step()
        first, second = scheduler.get_last_lr()
        assert first == pytest.approx(2 * second, rel=1e-12)
    assert scheduler.base_lrs == [1.0]


def test_a_group_added_later_is_refused_where_its_base_rate_is_needed():
    for make, steps, epoch in ((annealing, 3, None), (exponential, 3, 5), (one_cycle, 1, None)):
        optimizer = SGD([leaf(1.0)], lr=1.0, momentum=0.9)
        scheduler = make(optimizer)
        optimizer.add_param_group({"params": [leaf(1.0)], "lr": 0.5})
        for _ in range(steps if make is not one_cycle else 0):
            scheduler.step()
        before = copy.deepcopy((scheduler.state_dict(), [group["lr"] for group in optimizer.param_groups]))
        with pytest.raises(StateError, match=f"^{type(scheduler).__name__}: .* added after the schedule was made"):
            scheduler.step(epoch)
        assert (scheduler.state_dict(), [group["lr"] for group in optimizer.param_groups]) == before


def test_get_lr_outside_a_step_warns():
    scheduler = exponential(SGD([leaf(1.0)], lr=1.0))
    with pytest.warns(UserWarning, match=r"^ExponentialLR: get_lr\(\) outside step\(\) .*; use get_last_lr\(\)$"):
        assert scheduler.get_lr() == [0.5]
    assert scheduler.get_last_lr() == [1.0]


def test_a_schedule_does_not_step_in_a_recorded_function():
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = exponential(optimizer)
    with pytest.raises(GraphError, match="^graph: a step of a schedule inside .*; call it after the recorded"):
        mg.graph(scheduler.step)()
    assert (scheduler.last_epoch, scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]) == (0, [1.0], 1.0)


def test_a_milestone_of_pytorchs_counter_or_of_a_list():
    optimizer = SGD([leaf(1.0)], lr=1.0)
    scheduler = multi_step(optimizer)
    for milestones in ({2: 2}, [2, 2]):
        scheduler.load_state_dict({**scheduler.state_dict(), "milestones": milestones, "last_epoch": 1})
        optimizer.param_groups[0]["lr"] = 1.0
        scheduler.step()
        assert scheduler.get_last_lr() == [pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("module", "options"),
    [("StepLR", {"step_size": 5}), ("ExponentialLR", {"gamma": 0.9}), ("CosineAnnealingLR", {"T_max": 7})]
    + [("LinearLR", {}), ("MultiStepLR", {"milestones": [3, 9, 9, 40]})]
    + [("OneCycleLR", {"max_lr": 1.0, "total_steps": 300, "three_phase": three}) for three in BOOLEANS],
)
def test_schedules_are_pytorchs_to_the_bit(module, options):
    """With another schedule beside them, a rate set by hand, and a state that goes from one to the other."""
    torch = pytest.importorskip("torch")

    def course(library, leaf):
        optimizer = library.optim.SGD([{"params": [leaf()]}, {"params": [leaf()], "lr": 0.03}], lr=0.7, momentum=0.9)
        make = getattr(library.optim.lr_scheduler, module)
        pair = make(optimizer, **options), library.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        for t in range(300):
            if t == 100:
                optimizer.param_groups[1]["lr"] = 0.5
            optimizer.step()  # of no gradients; PyTorch warns without
            for scheduler in pair:
                scheduler.step()
            yield [(group["lr"], group["momentum"]) for group in optimizer.param_groups], pair[0]

    theirs = course(torch, lambda: torch.ones(1, requires_grad=True))
    for (mine, scheduler), (expected, judge) in zip(course(mg, lambda: leaf(1.0)), theirs, strict=True):
        assert mine == expected
        scheduler.load_state_dict(judge.state_dict())


def line(start, end, share):
    return start + (end - start) * share


@pytest.mark.parametrize(("strategy", "between"), [("cos", cosine), ("linear", line)])
def test_one_cycle(strategy, between):
    climb = 0.3 * 20 - 1  # t of the peak
    seen = rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, [1.0, 0.1], epochs=4, steps_per_epoch=5, div_factor=10, final_div_factor=100, anneal_strategy=strategy
        ),
        19,
    )
    expected = np.array(
        [
            between(0.1, 1.0, t / climb) if t <= climb else between(1.0, 0.001, (t - climb) / (19 - climb))
            for t in range(20)
        ]
    )
    np.testing.assert_allclose(seen, np.stack([expected, expected / 10], 1), rtol=1e-12)


@pytest.mark.parametrize(("share", "peak"), [(0.0, 0), (0.1, 0), (1.0, 9)])
def test_one_cycle_with_its_peak_at_an_end(share, peak):
    seen = rates(lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=10, pct_start=share), 10)[:, 0]
    assert np.isfinite(seen).all()
    assert seen[peak] == seen.max() if share else seen[0] < 1  # with no climb at all, PyTorch starts just past the peak


def test_one_cycle_of_three_phases():
    def make(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, [1.0], 10, three_phase=True, base_momentum=[0.8], max_momentum=[0.9], last_epoch=-1
        )

    assert course(10, make) == [
        *[0.04, 0.52, 1.0, 0.52, 0.04, 0.0361807218535102, 0.0261817218535102],
        *[0.013822278146489805, 0.0038232781464898036, 4e-06, 0.0038232781464897993],
    ]
    assert course(10, make, setting="momentum") == [0.9, 0.85, 0.8, 0.85, *[0.9] * 7]


def test_one_cycle_turns_momentum_the_other_way():
    optimizer = SGD([leaf(1.0)], momentum=0.5)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.5)
    seen = [optimizer.param_groups[0]["momentum"]]
    for _ in range(9):
        scheduler.step()
        seen.append(optimizer.param_groups[0]["momentum"])
    np.testing.assert_allclose([seen[0], seen[4], seen[9]], [0.95, 0.85, 0.95], rtol=1e-12)


def test_one_cycle_turns_the_first_beta_or_nothing():
    w = leaf(1.0)
    optimizer = Adam([w])
    lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)
    optimizer = Adam([w])
    lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10, cycle_momentum=False)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


SCHEDULES = [
    lambda o: lr_scheduler.StepLR(o, 3),
    lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    lambda o: lr_scheduler.LinearLR(o),
    lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=12),
]


@pytest.mark.parametrize("make", SCHEDULES)
def test_schedules_resume(make, tmp_path):
    w = leaf(1.0)
    optimizer = SGD([w], lr=0.5, momentum=0.9)
    scheduler = make(optimizer)
    for _ in range(4):
        scheduler.step()
    save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "checkpoint")
    checkpoint = load(tmp_path / "checkpoint")
    other = SGD([w], lr=0.5, momentum=0.9)
    resumed = make(other)
    other.load_state_dict(checkpoint["optimizer"])
    resumed.load_state_dict(checkpoint["scheduler"])
    assert other.param_groups == optimizer.param_groups
    for _ in range(4):
        scheduler.step()
        resumed.step()
        assert other.param_groups == optimizer.param_groups


def test_last_epoch_goes_on_from_a_loaded_optimiser():
    optimizer = SGD([leaf(1.0)], lr=0.5)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    resumed = lr_scheduler.ExponentialLR(optimizer, 0.5, last_epoch=1)
    assert (resumed.get_last_lr(), resumed.last_epoch, resumed.base_lrs) == ([0.25], 2, [0.5])  # as in PyTorch


def test_a_schedule_after_the_loaded_state_begins_with_its_rate():
    """As in PyTorch: the base is the "initial_lr" of the saved optimiser."""
    optimizer = SGD([leaf(1.0)], lr=1.0, momentum=0.9)
    scheduler = exponential(optimizer)
    for _ in range(3):
        scheduler.step()
    other = SGD([leaf(1.0)], lr=0.9, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    late = exponential(other)
    assert (late.get_last_lr(), late.base_lrs, late.last_epoch) == ([0.125], [1.0], 0)
    late.step(3)
    assert late.get_last_lr() == [0.125]
    assert one_cycle(other).get_last_lr() == [pytest.approx(0.04)]


def test_a_step_after_the_last_changes_nothing():
    optimizer = SGD([leaf(1.0)], momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=2)
    scheduler.step()
    scheduler.step()
    before = scheduler.state_dict(), dict(optimizer.param_groups[0])
    with pytest.raises(ValidationError, match="OneCycleLR: step 3 of 2; build it with the total_steps of the whole"):
        scheduler.step()
    assert (scheduler.state_dict(), optimizer.param_groups[0]) == before


class NoMomentum(Optimizer):
    """An optimiser with a rate and nothing else."""


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (
            DtypeError,
            "StepLR: optimizer is a list; give an Optimizer, as SGD(model.parameters(), lr=0.1)",
            lambda o: lr_scheduler.StepLR([], 3),
        ),
        (
            DtypeError,
            "OneCycleLR: optimizer is a NoneType; give an Optimizer",
            lambda o: lr_scheduler.OneCycleLR(None, 1.0, 5),
        ),
        (
            StateError,
            "ExponentialLR: last_epoch=3, but parameter group 0 has no 'initial_lr'; load the optimiser's",
            lambda o: lr_scheduler.ExponentialLR(o, 0.9, last_epoch=3),
        ),
        (
            ValidationError,
            "StepLR: step_size is 0; use a whole number from 1 upwards",
            lambda o: lr_scheduler.StepLR(o, 0),
        ),
        (ValidationError, "StepLR: gamma is -1; use a number from 0 upwards", lambda o: lr_scheduler.StepLR(o, 1, -1)),
        (ValidationError, "MultiStepLR: gamma is -1; use", lambda o: lr_scheduler.MultiStepLR(o, [1], -1)),
        (
            ValidationError,
            "MultiStepLR: milestones are [1, 2.5]; use whole numbers of steps",
            lambda o: lr_scheduler.MultiStepLR(o, [1, 2.5]),
        ),
        (
            ValidationError,
            "OneCycleLR: base_momentum has 3 numbers, the optimiser 1 parameter groups; give one for each",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, base_momentum=[0.8] * 3),
        ),
        (ValidationError, "ExponentialLR: gamma is -1; use", lambda o: lr_scheduler.ExponentialLR(o, -1)),
        (ValidationError, "CosineAnnealingLR: T_max is 0; use", lambda o: lr_scheduler.CosineAnnealingLR(o, 0)),
        (ValidationError, "LinearLR: total_iters is 0; use", lambda o: lr_scheduler.LinearLR(o, total_iters=0)),
        (
            ValidationError,
            "LinearLR: start_factor is 0 and end_factor 1.0; use a start above 0 and both at most 1",
            lambda o: lr_scheduler.LinearLR(o, 0),
        ),
        (
            ValidationError,
            "OneCycleLR: total_steps is None, epochs 3 and steps_per_epoch None; give total_steps, or both",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=3),
        ),
        (ValidationError, "OneCycleLR: total_steps is 0; use", lambda o: lr_scheduler.OneCycleLR(o, 1.0, 0)),
        (
            ValidationError,
            "OneCycleLR: epochs is 0; use",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=2),
        ),
        (
            ValidationError,
            "OneCycleLR: max_lr has 2 numbers, the optimiser 1 parameter groups; give one for each",
            lambda o: lr_scheduler.OneCycleLR(o, [1.0, 2.0], 5),
        ),
        (
            ValidationError,
            "OneCycleLR: pct_start is 1.5; use a share from 0 to 1",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, pct_start=1.5),
        ),
        (
            ValidationError,
            "OneCycleLR: anneal_strategy is 'sine'; use 'cos' or 'linear'",
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, anneal_strategy="sine"),
        ),
        (
            ValidationError,
            "OneCycleLR: the optimiser has neither momentum nor betas; use cycle_momentum=False",
            lambda o: lr_scheduler.OneCycleLR(NoMomentum([leaf(1.0)], {"lr": 1.0}), 1.0, 5),
        ),
    ],
)
def test_schedules_refuse(kind, message, make):
    optimizer = SGD([leaf(1.0)])
    before = copy.deepcopy(optimizer.defaults)
    with pytest.raises(kind, match=re.escape(message)):
        make(optimizer)
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == before


def test_the_base_schedule_names_what_is_missing():
    with pytest.raises(NotImplementedError, match=re.escape("LRScheduler: define get_lr()")):
        lr_scheduler.LRScheduler(SGD([leaf(1.0)]))
