"""mg.graph: a replay gives the bits of a plain call, also in training; what cannot be replayed is refused."""

import gc
import warnings
import weakref

import numpy as np
import pytest
from cases import CASES, PLAIN, leaf, on_device
from helpers import DEVICES, run_in_threads
from hypothesis import given, settings, strategies as st

import minigrad as mg
from minigrad import data, nn, optim
from minigrad.errors import GraphError, ShapeError, ValidationError
from minigrad.models import LeNet5
from minigrad.nn import functional as F
from minigrad.runtime import threads


def only_recording(recorded):
    """Return the only recording of a recorded function."""
    (replay,) = recorded._replays
    return replay


# ---- every operation, forward and backward


def value_and_gradients(run, weights):
    """Return a function of tensors that runs a case and backward, and returns the value and all gradients."""

    def function(*tensors):
        leaves = [x.detach().requires_grad_() for x in tensors]
        out = run(*leaves)
        out.backward(mg.tensor(weights, dtype=out.dtype, device=out.device))
        return [out.detach(), *[x.grad for x in leaves]]

    return function


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=5)
@given(data=st.data())
def test_replays_give_the_bits_of_plain_calls(name, device, data):
    call = data.draw(CASES[name])
    weights = np.random.default_rng(1).normal(size=call.reference(*call.inputs).shape)
    plain = value_and_gradients(call.run, weights)
    recorded = mg.graph(plain)
    for values in (call.inputs, [shuffled(x) for x in call.inputs], call.inputs):
        arrays = [leaf(x, lay, "float32", device).detach() for x, lay in zip(values, call.layouts, strict=True)]
        dense = [x.clone() for x in arrays]  # a recording copies its inputs; the order of a sum depends on the strides
        for again, first in zip(recorded(*arrays), plain(*dense), strict=True):
            np.testing.assert_array_equal(again.numpy(), first.numpy(), strict=True)
    assert len(recorded._replays) == 1


def shuffled(x):
    """Return an array with the same values in another order."""
    return np.random.default_rng(0).permutation(x.ravel()).reshape(x.shape)


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=3)
@given(data=st.data())
def test_replays_of_operations_without_gradients_equal_plain_calls(name, data):
    call = data.draw(PLAIN[name])
    recorded = mg.graph(call.run)
    for dtype in ("float32", "int64"):
        for values in (call.inputs, [shuffled(x) for x in call.inputs]):
            inputs = [on_device(x.astype(dtype), "cpu") for x in values]
            np.testing.assert_array_equal(recorded(*inputs).numpy(), call.run(*inputs).numpy(), strict=True)


# ---- whole training steps


def make_training(seed, make_optimizer, device="cpu", **settings):
    mg.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 5)
    ).to(device)
    optimizer = make_optimizer(model.parameters())
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def step(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss, "right": (logits.argmax(1) == y).sum()}

    return model, optimizer, scheduler, step


def make_batches(count, size=9, device="cpu"):
    random = np.random.default_rng(0)
    for _ in range(count):
        x, y = random.normal(size=(size, 1, 8, 8)).astype("f4"), random.integers(0, 5, size)
        yield mg.tensor(x, device=device), mg.tensor(y, device=device)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recorded_training_gives_the_weights_of_plain_training(name, device):
    """The model has dropout, the learning rate a schedule, the last batches another size."""
    found = []
    for recorded in (False, True):
        model, optimizer, scheduler, step = make_training(0, OPTIMIZERS[name], device)
        step = mg.graph(step) if recorded else step
        losses = []
        for x, y in [*make_batches(6, device=device), *make_batches(2, size=4, device=device)]:
            result = step(x, y)
            losses.append((result["loss"].item(), result["right"].item()))
            scheduler.step()
        found.append((losses, [p.detach().numpy().copy() for p in model.parameters()], optimizer.state_dict()))
    (losses, weights, state), (again, other, other_state) = found
    assert losses == again
    for a, b in zip(weights, other, strict=True):
        np.testing.assert_array_equal(a, b)
    for number, entry in state["state"].items():
        for key, value in entry.items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(other_state["state"][number][key]))


def test_a_training_step_of_lenet_is_one_program_with_the_same_bits_for_any_number_of_threads():
    random = np.random.default_rng(0)
    pairs = [(random.normal(size=(1, 32, 32)).astype("f4"), n % 10) for n in range(16)]
    images, labels = data.default_collate(pairs)
    weights = []
    for threads_used in (2, 1):
        mg.set_num_threads(min(threads_used, mg.get_num_threads()))
        mg.manual_seed(0)
        model = LeNet5(image_size=32)
        optimizer = optim.Adam(model.parameters())

        @mg.graph
        def step(x, y, model=model, optimizer=optimizer):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        for _ in range(3):
            step(images, labels)
        assert [type(part) for part in only_recording(step).program.parts] == [bytes]
        weights.append([p.detach().numpy().copy() for p in model.parameters()])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_recorded_prediction_equals_plain_prediction():
    model = LeNet5().eval()
    predict = mg.graph(lambda x: model(x).softmax(1))
    with mg.no_grad():
        for x in (mg.randn(1, 1, 28, 28), mg.randn(1, 1, 28, 28), mg.randn(7, 1, 28, 28)):
            np.testing.assert_array_equal(predict(x).numpy(), model(x).softmax(1).numpy())


# ---- parameters, modes and gradients outside the function


def test_a_replay_reads_parameters_that_were_changed_in_place():
    w = mg.tensor([1.0, 2.0])
    twice = mg.graph(lambda x: x * w)
    assert twice(mg.ones(2)).tolist() == [1, 2]
    w.copy_(mg.tensor([5.0, 6.0]))
    assert twice(mg.ones(2)).tolist() == [5, 6]


def test_replaced_parameters_cause_a_new_recording():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = mg.tensor([[1.0, 2.0]])
    outputs = mg.graph(lambda x: layer(x).detach() + layer.weight.detach().sum())
    assert outputs(mg.ones(1, 2)).item() == 6
    layer.weight.data = mg.tensor([[3.0, 4.0]])
    assert outputs(mg.ones(1, 2)).item() == 14
    layer.load_state_dict({"weight": mg.tensor([[1.0, 1.0]])})
    assert outputs(mg.ones(1, 2)).item() == 4


def test_train_and_eval_have_their_own_recordings():
    layer = nn.Dropout(0.5)
    drop = mg.graph(lambda x: layer(x))
    assert set(drop(mg.ones(100)).tolist()) == {0, 2}
    layer.eval()
    assert set(drop(mg.ones(100)).tolist()) == {1}


def test_dropout_draws_a_new_mask_at_every_replay():
    drop = mg.graph(lambda x: F.dropout(x, 0.5))
    masks = [tuple(drop(mg.ones(64)).tolist()) for _ in range(5)]
    assert len(set(masks)) == 5
    mg.manual_seed(0)
    assert tuple(drop(mg.ones(64)).tolist()) == masks[0]


def test_a_replay_adds_to_existing_gradients():
    w = mg.tensor([1.0, 2.0], requires_grad=True)

    @mg.graph
    def backward(x):
        (w * x).sum().backward()

    for expected in (1, 2, 3):
        backward(mg.ones(2))
        assert w.grad.tolist() == [expected, expected]
    w.grad = None
    backward(mg.ones(2))
    assert w.grad.tolist() == [1, 1]


def test_a_function_that_is_recorded_often_warns_with_the_reason():
    w = mg.tensor([1.0])
    scale = mg.graph(lambda x: w * x)

    def call_often(times):
        for i in range(times):
            w.data = mg.tensor([float(i)])
            assert scale(mg.ones(1)).item() == i

    with pytest.warns(UserWarning, match=r"<lambda> was recorded 9 times.*because a tensor \(1,\) was changed"):
        call_often(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call_often(2)


def test_accumulated_gradients_cause_no_new_recording():
    w = mg.tensor([1.0], requires_grad=True)

    @mg.graph
    def backward(x):
        (w * x).sum().backward()

    for i in range(12):
        backward(mg.ones(1))
        assert w.grad.tolist() == [i + 1]
    assert backward._record_count == 2


def test_a_replay_sets_a_gradient_that_was_removed_outside():
    w = mg.tensor([1.0], requires_grad=True)

    @mg.graph
    def backward(x):
        w.grad = None
        (w * x).sum().backward()

    backward(mg.tensor([2.0]))
    w.grad = None
    backward(mg.tensor([3.0]))
    assert w.grad.tolist() == [3]


def test_a_replay_counts_as_a_change_of_the_parameters():
    """Backward of a graph outside, which needs the old value, is refused."""
    w = mg.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    @mg.graph
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step(mg.ones(1))
    loss = (w * w).sum()
    step(mg.ones(1))
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_a_replay_uses_an_optimizer_state_that_was_loaded():
    found = []
    for recorded in (False, True):
        w = mg.tensor([1.0, 2.0], requires_grad=True)
        optimizer = optim.Adam([w], lr=0.1)

        def step(x, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            (w * x * x).sum().backward()
            optimizer.step()

        step = mg.graph(step) if recorded else step
        step(mg.tensor([1.0, 3.0]))
        saved = optimizer.state_dict()
        saved["state"] = {0: {k: v.clone() if isinstance(v, mg.Tensor) else v for k, v in saved["state"][0].items()}}
        step(mg.tensor([2.0, 3.0]))
        optimizer.load_state_dict(saved)
        step(mg.tensor([4.0, -3.0]))
        step(mg.tensor([4.0, -3.0]))
        found.append(w.tolist())
    assert found[0] == found[1]


def test_results_of_replays_have_their_own_memory():
    twice = mg.graph(lambda x: x + x)
    x = mg.tensor([1.0, 2.0])
    first, second = twice(x), twice(mg.tensor([3.0, 4.0]))
    assert (first.tolist(), second.tolist(), x.tolist()) == ([2, 4], [6, 8], [1, 2])


def test_results_keep_their_nested_structure():
    pack = mg.graph(lambda x, name: {"name": name, "parts": [x, (x + 1, None)]})
    for value in (1.0, 2.0):
        found = pack(mg.tensor(value), "a")
        assert found["name"] == "a" and found["parts"][1][1] is None
        assert (found["parts"][0].item(), found["parts"][1][0].item()) == (value, value + 1)


def test_other_values_of_plain_arguments_cause_a_new_recording():
    scale = mg.graph(lambda x, factor: x * factor)
    assert [scale(mg.ones(1), factor).item() for factor in (2, 3, 2.0)] == [2, 3, 2]


def test_a_replay_takes_arguments_of_any_layout():
    total = mg.graph(lambda x: (x * 2).sum(1))
    array = np.arange(24.0, dtype="f4").reshape(4, 6)
    for view in (array, array.T, array[::2, ::3], np.broadcast_to(array[:1], (3, 6))):
        for _ in range(2):
            np.testing.assert_array_equal(total(mg.from_numpy(view)).numpy(), 2 * view.sum(1))
            array += 1


def test_two_arguments_may_share_memory():
    both = mg.graph(lambda x, y: x * 10 + y)
    for values in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]):
        x = mg.tensor(values)
        assert both(x[:2], x[1:]).tolist() == [values[0] * 10 + values[1], values[1] * 10 + values[2]]


def test_a_recorded_function_inside_another_becomes_part_of_it():
    inner = mg.graph(lambda x: x + 1)
    outer = mg.graph(lambda x: inner(x) * 2)
    assert [outer(mg.tensor([v])).item() for v in (1.0, 2.0)] == [4, 6]
    assert not inner._replays


def test_several_threads_may_call_a_recorded_function():
    chain = mg.graph(lambda x: add_one_repeatedly(x, 20))
    chain(mg.zeros(4096))
    wrong = []

    def work(value):
        for _ in range(50):
            if chain(mg.full((4096,), value))[0].item() != value + 20:
                wrong.append(value)

    run_in_threads(work, 0.0, 1.0, 2.0, 3.0)
    assert not wrong


# ---- memory


def test_intermediate_results_share_the_arena():
    """Ten results of 4 KB, one computed from the other, need less than 3 of them in memory."""
    chain = mg.graph(lambda x: add_one_repeatedly(x, 10))
    with mg.no_grad():
        chain(mg.ones(1024))
        assert chain(mg.full((1024,), 2.0))[0].item() == 12
    assert only_recording(chain).program.arena.nbytes < 3 * 4096


def add_one_repeatedly(x, count):
    """Return x + count, computed in `count` operations."""
    for _ in range(count):
        x = x + 1
    return x


def test_a_tensor_that_is_kept_outside_keeps_its_memory():
    kept = []
    step = mg.graph(lambda x: add_one_repeatedly(kept.append(x + 1) or x, 4))
    step(mg.zeros(8))
    step(mg.ones(8))
    assert kept[0].tolist() == [2] * 8  # the values of the last replay
    assert len(kept) == 1


def test_a_recording_does_not_keep_arguments_or_the_function_alive():
    x, model = mg.ones(4), nn.Linear(4, 4)
    step = mg.graph(lambda x: model(x).detach())
    step(x)
    gone = [weakref.ref(thing) for thing in (x, step)]
    del x, step
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


# ---- refused functions

REFUSED = {
    "reading the values of a tensor": lambda x: x.sum().item(),
    "drawing random numbers": lambda x: x + mg.randn(3),
    "iterating over a DataLoader": lambda x: [mg.zeros(1) for _ in data.DataLoader([1.0, 2.0])],
}


@pytest.mark.parametrize("action", REFUSED)
def test_actions_that_a_replay_cannot_repeat_are_refused(action):
    with pytest.raises(GraphError, match=f"graph: {action} inside a recorded function"):
        mg.graph(REFUSED[action])(mg.ones(3))
    assert threads.local.observer is threads.IDLE
    assert (mg.ones(1) + 1).item() == 2


MESSAGES = [
    (lambda x: mg.graph(lambda x: x * 2)(x.requires_grad_()), GraphError, "argument 0 requires grad; give it detached"),
    (lambda x: mg.graph(lambda x: x.add_(1))(x), GraphError, "argument 0 is changed in place; change a clone"),
    (lambda x: mg.graph(lambda y: y)(x.numpy()), ValidationError, "an argument is a NumPy array.*give a tensor"),
    (lambda x: mg.graph(1), ValidationError, "expected a function, got int"),
    (lambda x: mg.graph(lambda y: {y})(x), GraphError, "a result is a set; return tensors and plain values"),
    (
        lambda x: mg.graph(lambda x: x * mg.ones(3, requires_grad=True))(x),
        GraphError,
        r"a result still awaits its backward; call backward\(\) inside",
    ),
    (lambda x: mg.graph(lambda x: x @ mg.ones(2, 2))(x), ShapeError, "matmul"),
]


@pytest.mark.parametrize(("run", "error", "message"), MESSAGES)
def test_refused_functions_and_arguments_are_named(run, error, message):
    with pytest.raises(error, match=message):
        run(mg.ones(3))
    assert threads.local.observer is threads.IDLE


def test_a_function_that_replaces_data_is_not_replayed():
    w = mg.ones(2)

    def swap(x):
        y = w + x
        w.data = y * 2
        return y * 1

    swapped = mg.graph(swap)
    assert [swapped(mg.ones(2))[0].item() for _ in range(3)] == [2, 5, 11]
    assert not swapped._replays


def test_a_replay_refuses_labels_out_of_range_before_it_changes_anything():
    w = mg.ones(2, 3, requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)

    @mg.graph
    def step(y):
        optimizer.zero_grad()
        F.cross_entropy(w * 1, y).backward()
        optimizer.step()

    step(mg.tensor([0, 1]))
    before = w.tolist()
    with pytest.raises(ValidationError, match="label 3 is out of range for 3 classes"):
        step(mg.tensor([0, 3]))
    assert w.tolist() == before
    step(mg.tensor([0, 2]))
    assert w.tolist() != before


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x: _doubled_row(w, x),
        lambda w, x: F.unfold((x @ w)[None, None], 2),
        lambda w, x: (x @ w).unfold(0, 2, 1).clone(),
    ],
    ids=["a view that is changed", "F.unfold", "unfold"],
)
def test_a_replay_reads_what_this_replay_has_computed(function):
    w = mg.randn(4, 4, requires_grad=True)
    recorded = mg.graph(lambda x: function(w, x).detach())
    for i in range(4):
        x = mg.full((4, 4), float(i + 1))
        np.testing.assert_array_equal(recorded(x).numpy(), function(w, x).detach().numpy())


def _doubled_row(w, x):
    made = (x @ w) * 1
    made[0].mul_(2)
    return made * 1


def test_a_mean_of_random_numbers_that_is_a_tensor_is_refused():
    with pytest.raises(mg.errors.GraphError, match="reading the values of a tensor"):
        mg.graph(lambda x: mg.zeros(3).normal_(x))(mg.tensor(2.0))
