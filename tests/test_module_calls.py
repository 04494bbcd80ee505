"""Calls of modules are replayed without being asked; whatever a program does, it computes what plain calls compute."""

import copy
import gc
import itertools
import math
import pickle
import random
import sys
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SCALE, TABLE, HISTORY, HELD = 2.0, {"scale": 1.0}, [], [1.0]


def scaled(x):
    return x * SCALE


class Model(nn.Module):
    """Two layers; subclasses do something between them."""

    factor = 1.0

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)
        self.norm, self.drop = nn.BatchNorm1d(5), nn.Dropout(0.5)
        self.inside = nn.Sequential(nn.Linear(5, 5), nn.ReLU(inplace=True))
        self.numbers, self.count, self.iterator, self.kept = [1.0], 0, itertools.count(), None

    def forward(self, x):
        return self.last(self.between(self.first(x)))


class Plain(Model):
    def between(self, h):
        return F.relu(h)


class Normalized(Model):
    def between(self, h):
        return F.relu(self.norm(h))


class Dropped(Model):
    def between(self, h):
        return self.drop(self.inside(h))


class GlobalFunction(Model):
    def between(self, h):
        return scaled(h).view(-1, int(np.prod(self.last.weight.shape[1:]))) / math.sqrt(5)


class ClassAttribute(Model):
    def between(self, h):
        return h * self.factor


class ListAttribute(Model):
    def between(self, h):
        return h * self.numbers[0]


class Comprehension(Model):
    def between(self, h):
        return mg.stack([layer(h) for layer in self.inside]).sum(0) + h.new_full((5,), 3.0).mul_(2)


class Shared(Model):
    def between(self, h):
        return self.inside[0](F.relu(self.inside[0](h)) + h)


class LoopsAndHelpers(Model):
    def between(self, h):
        parts = []
        for i, layer in enumerate(self.inside):
            h = layer(h) if i else self.twice(layer(h))
            parts.append(h)
        mask = h.new_zeros(5)
        mask[0] = 1.0
        return mg.cat(parts, dim=1)[:, :5] * (mask + 1) + sum(parts) / len(parts)

    def twice(self, h):
        return 2 * h


class SeveralResults(Model):
    def forward(self, x):
        h = F.relu(self.first(x))
        return {"out": self.last(h), "hidden": (h, h.detach().argmax(1))}


class Branches(Model):
    def forward(self, x):
        h = self.first(x)
        return self.last(h).view(-1), mg.sqrt(h * 0)  # the gradient of the second one is nan


PURE = [
    *(Plain, Normalized, Dropped, GlobalFunction, ClassAttribute),
    *(ListAttribute, Comprehension, SeveralResults, Branches, Shared, LoopsAndHelpers),
]


class PythonRandom(Model):
    def between(self, h):
        return F.relu(h) if random.random() < 0.5 else h


class NumpyRandom(Model):
    def between(self, h):
        return h * float(np.random.rand())


class RandomTensor(Model):
    def between(self, h):
        return h + mg.randn(*h.shape, device=h.device)


class Prints(Model):
    def between(self, h):
        print(h.shape)
        return h


class KeepsResult(Model):
    def between(self, h):
        self.kept = h
        return h


class Counts(Model):
    def between(self, h):
        self.count += 1
        return h * self.count


class CountsInTable(Model):
    def between(self, h):
        HISTORY.append(1)
        return h * len(HISTORY)


class ReadsTable(Model):
    def between(self, h):
        return h * TABLE["scale"]


class Iterates(Model):
    def between(self, h):
        return h * next(self.iterator)


class ReadsValues(Model):
    def between(self, h):
        return F.relu(h) if h.sum().item() > 0 else h


class ChangesArgument(Model):
    def forward(self, x):
        with mg.no_grad():
            x.mul_(2)
        return self.last(self.first(x))


class ReturnsArgument(Model):
    def forward(self, x):
        return x, self.last(self.first(x))


class ReturnsPart(Model):
    def forward(self, x):
        return self.last(self.first(x))[:, 0]


class MutableDefault(Model):
    def forward(self, x, seen=[]):  # noqa: B006 - that is the point
        seen.append(1)
        return self.last(self.first(x)) * len(seen)


class Settings:
    scale = 1.0

    @classmethod
    def get(cls):
        return cls.scale


class ReadsClass(Model):
    def between(self, h):
        return h * Settings.get()


class ReadsByName(Model):
    def between(self, h):
        return h * getattr(Settings, "scale", 1.0)


class CountsInItsClass(Model):
    calls = 0

    def between(self, h):
        type(self).calls += 1
        return h * type(self).calls


class HoldsMethod(Model):
    def __init__(self):
        super().__init__()
        self.pop = [float(i) for i in range(1000)].pop

    def between(self, h):
        return h * self.pop()


class Imports(Model):
    def between(self, h):
        from random import random as draw

        return h * draw()


class Catches(Model):
    def between(self, h):
        try:
            return h.view(7, 11)
        except Exception:
            return h + 0


class AsksForGradient(Model):
    def forward(self, x):
        x.requires_grad_(True)
        return self.last(self.first(x))


class AddsInPlace(Model):
    def forward(self, x):
        x += self.first.bias.detach()[:4]
        return self.last(self.first(x))


class ReturnsConstant(Model):
    def forward(self, x):
        return self.last(self.first(x)), mg.tensor([1.0, 2.0, 3.0]), mg.eye(3), x.new_zeros(2)


class ReturnsLeaf(Model):
    def forward(self, x):
        return self.last(self.first(x)).detach().requires_grad_()


class ReturnsOwnList(Model):
    def forward(self, x):
        self.numbers[0] = self.last(self.first(x))
        return self.numbers


class OwnCall(Model):
    def __call__(self, x):
        self.count += 1
        return super().__call__(x)


def counted(function):
    def run(self, h):
        HISTORY.append(1)
        return function(self, h) * len(HISTORY)

    return run


class Decorated(Model):
    @counted
    def between(self, h):
        return F.relu(h)


class UsersFunctionInside(Model):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(5, 1, 6, dropout=0.0, activation=counted_relu)

    def between(self, h):
        return self.encoder(h.unsqueeze(0)).squeeze(0)


class AliasOfSelf(Model):
    def between(self, h):
        me = self
        return me.mul(h)

    def mul(self, h):
        self.count += 1
        return h * self.count


class PicksFunction(Model):
    def between(self, h):
        return self.pick()(h)

    def pick(self):
        return counted_relu


class PassesFunction(Model):
    def between(self, h):
        return h * max([1.0, 2.0], key=counted_number)


def counted_number(number):
    HISTORY.append(number)
    return len(HISTORY) % 5


class Numbers(list):
    def __getitem__(self, i):
        HISTORY.append(i)
        return float(len(HISTORY))


class HoldsNumbers(Model):
    def __init__(self):
        super().__init__()
        self.numbers = Numbers([1.0])

    def between(self, h):
        return h * self.numbers[0]


class HasProperty(Model):
    @property
    def scale(self):
        return float(len(HISTORY))

    def between(self, h):
        HISTORY.append(1)
        return h * self.scale


def counted_relu(h):
    HISTORY.append(1)
    return F.relu(h) * len(HISTORY)


def with_closure(held):
    class Enclosed(Model):
        def between(self, h):
            return h * held[0]

    return Enclosed


def with_variable():
    factor = 2.0

    class EnclosedNumber(Plain):
        def between(self, h):
            return super().between(h) if h is None else F.relu(h) * factor

        def set_factor(self, value):
            nonlocal factor
            factor = value

    return EnclosedNumber


PURE.append(with_variable())


IMPURE = [
    *(PythonRandom, NumpyRandom, RandomTensor, Prints, KeepsResult, Counts, CountsInTable, ReadsTable, Iterates),
    *(ReadsValues, ChangesArgument, ReturnsArgument, ReturnsPart, MutableDefault, with_closure(HELD)),
    *(ReadsClass, ReadsByName, CountsInItsClass, HoldsMethod, Imports, Catches, AsksForGradient, AddsInPlace),
    *(ReturnsConstant, ReturnsLeaf, ReturnsOwnList, Decorated, UsersFunctionInside),
    *(AliasOfSelf, PicksFunction, PassesFunction, HoldsNumbers, HasProperty),
]


# ---- programs


def tensors_in(out):
    if isinstance(out, dict):
        out = list(out.values())
    return [out] if isinstance(out, mg.Tensor) else [x for part in out for x in tensors_in(part)]


def loss_of(results):
    return sum(((x * x).sum() for x in results if x.requires_grad), results[0].new_zeros(()))


class Run:
    """A training of one model, in which each step may do something special; `log` is all that can be seen of it."""

    def __init__(self, kind, plainly, device="cpu"):
        global SCALE
        SCALE, TABLE["scale"], HELD[0], Model.factor = 2.0, 1.0, 1.0, 1.0
        Settings.scale, CountsInItsClass.calls = 1.0, 0
        HISTORY.clear()
        random.seed(0)
        np.random.seed(0)
        mg.manual_seed(0)
        MutableDefault.forward.__defaults__ = ([],)
        self.model, self.log, self.waiting, self.device = kind().to(device), [], [], device
        self.optimizer = mg.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.5)
        self.set_factor(2.0)
        self.rng, self.plainly = np.random.default_rng(0), plainly

    def set_factor(self, value):
        if hasattr(self.model, "set_factor"):
            self.model.set_factor(value)

    def batch(self):
        return mg.tensor(self.rng.normal(size=(3, 4)).astype(np.float32)).to(self.device)

    def call(self, x):
        return tensors_in(mg.compiler.run_plainly(self.model, x) if self.plainly else self.model(x))

    def note(self, *values):
        self.log += [np.array(x.detach().numpy()) if isinstance(x, mg.Tensor) else x for x in values]

    def note_gradients(self):
        self.note(*[p.grad for p in self.model.parameters()])

    def step(self, x=None):
        x = self.batch() if x is None else x
        results = self.call(x)
        self.optimizer.zero_grad()
        loss = loss_of(results)
        if loss.requires_grad:
            loss.backward()
        self.note(*results, loss, x)
        self.note_gradients()
        self.optimizer.step()

    def try_backward(self, loss):
        try:
            loss.backward()
            self.note_gradients()
        except mg.errors.GraphError as error:
            self.note(str(error))

    # what a step may do; each name starts with an underscore

    def _argument_requires_grad(self):
        x = self.batch().requires_grad_()
        self.step(x)
        self.note(x.grad)

    def _argument_has_a_graph(self):
        self.step(self.batch() * self.model.last.weight.sum())

    def _evaluation(self):
        self.model.train(not self.model.training)
        self.step()

    def _no_grad(self):
        with mg.no_grad():
            self.note(*self.call(self.batch()))

    def _other_values(self):
        global SCALE
        SCALE, TABLE["scale"], HELD[0], Model.factor, Settings.scale = SCALE + 1, 2.0, 3.0, 4.0, 5.0
        self.model.numbers[0] = self.model.numbers[0] * 1 + 1
        self.set_factor(SCALE)
        self.step()

    def _frozen(self):
        self.model.first.weight.requires_grad_(not self.model.first.weight.requires_grad)
        self.step()

    def _hook(self):
        with self.model.first.register_forward_hook(lambda module, args, out: out * 2):
            self.step()

    def _other_layer(self):
        self.model.first = nn.Linear(4, 5).to(self.device)
        self.step()

    def _other_data(self):
        self.model.first.weight.data = mg.ones(5, 4, device=self.device) / 8
        self.step()

    def _twice(self):
        results = [*self.call(self.batch()), *self.call(self.batch())]
        self.optimizer.zero_grad()
        loss = loss_of(results)
        if loss.requires_grad:
            loss.backward()
        self.note(*results)
        self.note_gradients()

    def _waits(self):
        self.waiting.append(self.call(self.batch()))

    def _second_derivative(self):
        x = self.batch().requires_grad_()
        loss = loss_of(self.call(x))
        (gradient,) = mg.autograd.grad(loss, x, create_graph=True)
        self.optimizer.zero_grad()
        (loss + (gradient * gradient).sum()).backward()
        self.note(gradient)
        self.note_gradients()

    def _changed_weights(self):
        loss = loss_of(self.call(self.batch()))
        with mg.no_grad():
            self.model.last.weight.mul_(1.5)
        self.optimizer.zero_grad()
        self.try_backward(loss)

    def _changed_result(self):
        result = next(x for x in self.call(self.batch()) if x.requires_grad)
        if result.grad_fn is not None:  # None if it is a leaf
            self.try_backward((result.add_(1) * 2).sum())

    def _kept_graph(self):
        loss = loss_of(self.call(self.batch()))
        loss.backward(retain_graph=True)
        loss.backward()
        self.note_gradients()

    def _one_result(self):
        self.optimizer.zero_grad()
        results = [x for x in self.call(self.batch()) if x.requires_grad]
        results[-1].sum().backward()
        self.note_gradients()

    def _gradient_of_the_argument(self):
        x = self.batch().requires_grad_()
        self.note(*mg.autograd.grad(loss_of(self.call(x)), x))

    def _functions(self):
        result = [x for x in self.call(self.batch()) if x.requires_grad][-1]
        result.retain_grad()
        node = result.grad_fn
        if node is not None:
            self.note(node.name(), [function and function.name() for function, _ in node.next_functions])
        self.optimizer.zero_grad()
        (result * result).sum().backward()
        self.note(result.grad)
        self.note_gradients()

    def end(self):
        for results in self.waiting:
            self.note(*results)
            self.try_backward(loss_of(results))
        self.note(*self.model.parameters(), *self.model.buffers(), self.model.count, self.model.kept, mg.randn(2))


EVENTS = sorted(name for name in vars(Run) if name.startswith("_") and not name.startswith("__"))


def log_of(kind, events, plainly, device="cpu"):
    run = Run(kind, plainly, device)
    for event in events:
        try:
            (getattr(run, event) if event else run.step)()
        except mg.errors.MinigradError as error:  # some models do not allow all events
            run.note(str(error))
    run.end()
    return run


def expect_equal(kind, events, device="cpu"):
    replayed, plain = (log_of(kind, events, plainly, device).log for plainly in (False, True))
    assert len(replayed) == len(plain)
    for mine, expected in zip(replayed, plain, strict=True):
        np.testing.assert_equal(mine, expected, err_msg=f"{kind.__name__}: {events}")


@pytest.mark.parametrize("kind", [*PURE, *IMPURE], ids=lambda kind: kind.__name__)
def test_a_program_computes_the_bits_of_plain_calls(kind):
    chosen = random.Random(kind.__name__)
    for _ in range(8):
        expect_equal(kind, [*[""] * 3, *[chosen.choice(["", *EVENTS]) for _ in range(10)]])


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_after_a_replay_gives_the_bits_of_plain_calls(event):
    for kind in (Normalized, SeveralResults):
        expect_equal(kind, ["", "", "", "", event, "", event, event, "", ""])


@pytest.mark.parametrize("kind", PURE, ids=lambda kind: kind.__name__)
def test_calls_that_only_compute_tensors_are_replayed(kind):
    run = log_of(kind, [""] * 4, plainly=False)
    with mg.no_grad():
        for _ in range(3):
            run.call(run.batch())
    found = run.model._calls
    assert [recording.key[0] for recording in found.recordings] == [False, True], found.reason


@pytest.mark.parametrize("kind", IMPURE, ids=lambda kind: kind.__name__)
def test_other_calls_are_not_replayed(kind):
    found = log_of(kind, [""] * 6, plainly=False).model._calls
    assert not found.recordings and found.reason


def test_the_python_of_forward_runs_at_the_first_two_calls():
    model, entered = Plain(), []

    def profile(frame, event, argument):
        if event == "call" and frame.f_code is Plain.between.__code__:
            entered.append(frame)

    for _ in range(2):
        model(mg.ones(3, 4))
    sys.setprofile(profile)
    try:
        for _ in range(5):
            model(mg.ones(3, 4))
    finally:
        sys.setprofile(None)
    assert not entered


def test_a_changed_method_is_used():
    model, x = Plain(), mg.randn(3, 4)
    for _ in range(4):
        model(x)
    before, original = model(x), Plain.between
    try:
        Plain.between = lambda self, h: h * 0
        np.testing.assert_array_equal(model(x).detach().numpy(), np.tile(model.last.bias.detach().numpy(), (3, 1)))
    finally:
        Plain.between = original
    np.testing.assert_array_equal(model(x).detach().numpy(), before.detach().numpy())


class Parent(Model):
    def between(self, h):
        return F.relu(h).tanh()


class Child(Parent):
    def between(self, h, factor=2.0):
        return super().between(h) * factor


@pytest.mark.parametrize(
    "owner, name, value",
    [
        (F, "relu", lambda x: x * 0),
        (mg.Tensor, "tanh", lambda x: x * 0),
        (Parent, "between", lambda self, h: h * 0),
        (Child, "between", lambda self, h: h * 0),
        (Child.between, "__defaults__", (0.0,)),
    ],
)
def test_what_is_replaced_is_used(owner, name, value, monkeypatch):
    model, x = Child(), mg.randn(3, 4)
    for _ in range(4):
        model(x)
    assert model._calls.recordings, model._calls.reason
    monkeypatch.setattr(owner, name, value)
    for _ in range(4):
        np.testing.assert_array_equal(model(x).detach().numpy(), np.tile(model.last.bias.detach().numpy(), (3, 1)))


def test_results_of_earlier_calls_keep_their_values():
    model = Plain()
    inputs = [mg.randn(3, 4) for _ in range(20)]
    with mg.no_grad():
        results = [model(x) for x in inputs]
        for x, result in zip(inputs, results, strict=True):
            np.testing.assert_array_equal(result.numpy(), mg.compiler.run_plainly(model, x).numpy())


def test_gradients_keep_their_values_and_their_memory():
    model, kept = Plain(), []
    for _ in range(6):
        model.zero_grad()
        model(mg.randn(3, 4)).sum().backward()
        kept.append([(p.grad, np.array(p.grad.numpy())) for p in model.first.parameters()])
    for gradient, values in itertools.chain(*kept):
        np.testing.assert_array_equal(gradient.numpy(), values)


def test_arguments_may_be_parts_of_one_array():
    model, data = Plain(), mg.randn(12, 4)
    for _ in range(4):
        for i in range(0, 12, 3):
            expected = mg.compiler.run_plainly(model, data[i : i + 3])
            np.testing.assert_array_equal(model(data[i : i + 3]).detach().numpy(), expected.detach().numpy())


def test_an_error_names_the_layer_also_after_replays():
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten())
    for _ in range(4):
        model(mg.tensor([[0, 4]]))
    with pytest.raises(mg.errors.MinigradError, match=r"^0: .*5"):
        model(mg.tensor([[0, 5]]))
    np.testing.assert_equal(model(mg.tensor([[1, 1]])).shape, (1, 4))


def test_results_of_other_kinds_are_new_at_each_call():
    class Result:
        def __init__(self, value):
            self.value = value

    class ReturnsObject(Model):
        def forward(self, x):
            return Result(x * 2)

    class Generates(Model):
        def forward(self, x):
            yield x * 2

    class ChangesTable(Model):
        def forward(self, table):
            table["hidden"] = self.first(table["x"])
            return self.last(table["hidden"])

    objects, generates, changes = ReturnsObject(), Generates(), ChangesTable()
    found = [objects(mg.ones(2) * i) for i in range(5)]
    assert [result.value.tolist() for result in found] == [[2.0 * i, 2.0 * i] for i in range(5)]
    for i in range(5):
        assert [x.tolist() for x in generates(mg.ones(2) * i)] == [[2.0 * i, 2.0 * i]]
        table = {"x": mg.ones(3, 4)}
        changes(table)
        assert table["hidden"].shape == (3, 5)


def test_a_buffer_as_the_argument_is_used_in_place():
    class Doubles(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("state", mg.ones(3))

        def forward(self, x):
            self.state.mul_(2)
            return x.clone() + self.state

    model = Doubles()
    for i in range(4):
        assert model(mg.zeros(3)).tolist() == [2.0 ** (i + 1)] * 3
    assert model(model.state).tolist() == [64.0] * 3


def test_a_value_that_is_checked_inside_changes_nothing_if_it_is_wrong():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop, self.table = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Embedding(5, 4)

        def forward(self, x, i):
            return self.drop(self.norm(x)) + self.table(i) + self.table(i + 0)

    logs = []
    for plainly in (False, True):
        mg.manual_seed(0)
        model, log = Looks(), []
        for step in range(8):
            i = mg.tensor([0, 1, 9 if step in (3, 5) else 2])
            try:
                log.append(
                    (mg.compiler.run_plainly(model, mg.ones(3, 4), i) if plainly else model(mg.ones(3, 4), i)).tolist()
                )
            except mg.errors.MinigradError as error:
                log.append(str(error))
            log += [model.norm.num_batches_tracked.item(), model.norm.running_mean.tolist(), mg.rand(2).tolist()]
        logs.append(log)
    assert logs[0] == logs[1]


def test_threads_share_a_model():
    model, inputs = Plain(), [mg.randn(3, 4) for _ in range(4)]
    expected = [mg.compiler.run_plainly(model, x).detach().numpy() for x in inputs]
    found = [[] for _ in inputs]

    def work(i):
        for _ in range(50):
            found[i].append(model(inputs[i]).detach().numpy())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, values in zip(found, expected, strict=True):
        for result in results:
            np.testing.assert_array_equal(result, values)


def test_a_deleted_model_takes_its_recordings_along():
    model = Plain()
    for _ in range(4):
        model(mg.ones(3, 4)).sum().backward()
    recording = weakref.ref(model._calls.recordings[0])
    del model
    gc.collect()
    assert recording() is None


def test_a_debugger_sees_every_call():
    model, seen = Plain(), []

    def trace(frame, event, argument):
        if frame.f_code is Plain.between.__code__:
            seen.append(event)

    for _ in range(4):
        model(mg.ones(3, 4))
    sys.settrace(trace)
    try:
        model(mg.ones(3, 4))
    finally:
        sys.settrace(None)
    assert seen == ["call"]


def test_a_model_that_changes_at_each_call_is_not_recorded_for_ever():
    model = ListAttribute()
    for i in range(40):
        model.numbers[0] = float(i)
        model(mg.ones(3, 4))
    assert model._calls.plain and model._calls.record_count < 20


def test_a_copy_does_not_use_the_recordings_of_its_original():
    model, x = Plain(), mg.randn(3, 4)
    for _ in range(4):
        model(x)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.last = nn.Linear(5, 3)
        np.testing.assert_array_equal(
            other(x).detach().numpy(), other.last(F.relu(other.first(x))).detach().numpy(), err_msg=type(other).__name__
        )
    assert len(model._calls.recordings) == 1
