"""minigrad.train: the loop, resuming it, metrics, evaluate, predict and find_lr."""

import csv
import os
import random
import signal
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, train
from minigrad.errors import DataError, DivergenceError, DtypeError, ShapeError, StateError, ValidationError
from minigrad.nn import functional as F

N, BATCH = 22, 4  # samples, so that an epoch has 5 whole batches and one of 2


class Noisy(data.Dataset):
    """Points of three classes, moved a little at each reading."""

    targets = np.arange(N) % 3

    def __len__(self):
        return N

    def __getitem__(self, index):
        point = mg.tensor([float(self.targets[index]), 1.0, index / N])
        return point + 0.1 * mg.randn(3), int(self.targets[index])


def make_model():
    mg.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


LOADERS = {
    "shuffle": lambda: data.DataLoader(Noisy(), BATCH, shuffle=True),
    "workers": lambda: data.DataLoader(Noisy(), BATCH, shuffle=True, num_workers=2),
    "generator": lambda: data.DataLoader(Noisy(), BATCH, shuffle=True, generator=mg.Generator().manual_seed(4)),
    "sampler": lambda: data.DataLoader(Noisy(), BATCH, sampler=data.WeightedRandomSampler(range(1, N + 1), N)),
    "own generator": lambda: data.DataLoader(
        Noisy(), BATCH, sampler=data.RandomSampler(Noisy(), generator=mg.Generator().manual_seed(2))
    ),
    "list": lambda: list(data.DataLoader(Noisy(), BATCH, seed=3)),
}


def fit(folder=None, loader="shuffle", epochs=2, model=None, **settings):
    """Train a small model; return its weights and the history."""
    model = model or make_model()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    validation = data.DataLoader(Noisy(), 10, seed=0)
    loader = LOADERS[loader]() if isinstance(loader, str) else loader
    settings = {"validation": validation, "scheduler": scheduler, "epoch_scheduler": plateau, **settings}
    history = train.fit(
        model, loader, F.cross_entropy, optimizer, epochs, folder=folder, progress=False, **settings
    )  # fmt: skip
    return [value.numpy().copy() for value in model.state_dict().values()], history


def assert_same_bits(found, expected):
    assert found[1].loss == expected[1].loss
    for mine, other in zip(found[1].rows, expected[1].rows, strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}
    for mine, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_norm": 0.5}, {"accumulate": 4, "clip_norm": 0.1}])
def test_a_recorded_loop_gives_the_bits_of_a_plain_one(settings):
    assert_same_bits(fit(**settings), fit(graph=False, **settings))


@pytest.mark.parametrize("settings", [{"accumulate": 4}, {}])
def test_groups_of_other_sizes_and_changing_momenta_have_one_recording(settings, recwarn):
    """An epoch of 6 batches ends with a group of 2."""
    make_optimizer = lambda p: optim.SGD(p, 0.1, momentum=0.9)  # noqa: E731
    schedule = lambda o: SCHEDULES.OneCycleLR(o, 0.1, total_steps=18)  # noqa: E731
    plain, recorded = (train_with(None, make_optimizer, schedule, epochs=3, graph=graph, **settings).loss
                       for graph in (False, True))  # fmt: skip
    assert plain == recorded and not [warning for warning in recwarn if "graph" in str(warning.message)]


def test_outputs_may_be_several_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return {"scores": self.layer(x), "sizes": x.abs().sum(1)}

    def loss(outputs, targets):
        return F.cross_entropy(outputs["scores"], targets)

    def right(outputs, targets):
        return train.accuracy(outputs["scores"], targets)

    mg.manual_seed(1)
    model = Two()
    history = train.fit(
        model, LOADERS["shuffle"](), loss, optim.SGD(model.parameters(), 0.5), 30, metrics=[right],
        validation=LOADERS["list"](), progress=False,
    )  # fmt: skip
    assert history["val_right"][-1] > 0.9
    with pytest.raises(DtypeError, match="^predict: the model returns a dict, expected one tensor; give a model that"):
        train.predict(model, LOADERS["list"]())


def test_fit_is_the_loop_that_one_would_write():
    model = make_model()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loader = data.DataLoader(Noisy(), BATCH, shuffle=True, seed=5)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    settings = {"validation": None, "scheduler": None, "epoch_scheduler": None}
    weights, history = fit(loader=data.DataLoader(Noisy(), BATCH, shuffle=True, seed=5), **settings)
    for mine, other in zip(weights, model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine, other.numpy())
    assert len(history.loss) == 12 and "val_loss" not in history


def test_accumulated_gradients_are_those_of_the_whole_batch():
    """Without noise, dropout or batch statistics, 2 batches of 11 are one of 22."""
    points = data.TensorDataset(mg.randn(N, 3), mg.tensor(Noisy.targets))
    settings = {"validation": None, "scheduler": None, "epoch_scheduler": None, "epochs": 3}
    whole, halves = (
        fit(loader=data.DataLoader(points, size), model=linear(), accumulate=N // size, **settings)
        for size in (N, N // 2)
    )
    assert len(whole[1].loss) == len(halves[1].loss) == 3
    np.testing.assert_allclose(whole[1].loss, halves[1].loss, rtol=1e-5)
    for mine, other in zip(whole[0], halves[0], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def linear():
    mg.manual_seed(1)
    return nn.Linear(3, 3)


class CrashError(Exception):
    pass


def crash_at(step):
    def on_step(run):
        if run.step == step:
            raise CrashError

    return on_step


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}])
def test_a_run_that_crashes_at_any_step_resumes_with_the_same_bits(name, settings, tmp_path):
    expected = fit(tmp_path / "whole", name, **settings)
    steps = len(expected[1].loss)
    for step in range(2, steps + 1):
        folder = tmp_path / str(step)
        with pytest.raises(CrashError):
            fit(folder, name, checkpoint_every=1, on_step=crash_at(step), **settings)
        mg.rand(step)  # another process has other random numbers
        assert_same_bits(fit(folder, name, resume=True, **settings), expected)


@pytest.mark.parametrize("call", [1, 2])
def test_a_crash_between_the_files_of_an_epoch_loses_none(call, tmp_path, monkeypatch):
    save, calls = train.run.save, []

    def save_or_crash(state, path):
        calls.append(path)
        if len(calls) == call:
            raise CrashError
        save(state, path)

    monkeypatch.setattr(train.run, "save", save_or_crash)
    with pytest.raises(CrashError):
        fit(tmp_path, epochs=1)
    fit(tmp_path, epochs=1, resume=(tmp_path / "last.safetensors").exists())
    files = ("last.safetensors", "best.safetensors", "log.csv")
    assert all((tmp_path / name).exists() for name in files)
    assert mg.load(tmp_path / "best.safetensors")["position"]["epoch"] == 1


def test_a_finished_run_continues_with_more_epochs(tmp_path):
    expected = fit(epochs=3)
    fit(tmp_path, epochs=2)
    assert_same_bits(fit(tmp_path, epochs=3, resume=True), expected)
    again = fit(tmp_path, epochs=3, resume=True)
    assert_same_bits(again, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_and_it_resumes(tmp_path, number, capfd):
    expected = fit(tmp_path / "whole")
    stopped = fit(tmp_path, on_step=lambda run: os.kill(os.getpid(), number) if run.step == 8 else None)[1]
    assert len(stopped.loss) == 8 and stopped.stopped == "stopped by a signal"
    assert "stopping after this step" in capfd.readouterr().err
    assert_same_bits(fit(tmp_path, resume=True), expected)


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def press(run):
        if run.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=press)
    assert train.run.read_checkpoint(tmp_path / "last.safetensors")["position"]["epoch"] == 1


def test_fit_runs_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit()))
    thread.start()
    thread.join()
    assert len(found[0][1].rows) == 2


class Drawn(data.Sampler):
    """An order that is drawn when the first number is asked for."""

    def __len__(self):
        return N

    def __iter__(self):
        yield from mg.randperm(N).tolist()


LAZY = {
    "sampler": lambda: data.DataLoader(Noisy(), BATCH, sampler=Drawn()),
    "batch_sampler": lambda: data.DataLoader(
        Noisy(), batch_sampler=data.BatchSampler(data.RandomSampler(Noisy()), BATCH, False)
    ),
    "generator": lambda: data.DataLoader(
        Noisy(),
        batch_sampler=data.BatchSampler(
            data.RandomSampler(Noisy(), generator=mg.Generator().manual_seed(5)), BATCH, False
        ),
    ),
}


@pytest.mark.parametrize("name", LAZY)
def test_orders_that_are_drawn_late_resume_with_the_same_bits(name, tmp_path):
    make_model()
    expected = fit(tmp_path / "whole", LAZY[name]())
    for step in (2, 9):
        folder = tmp_path / str(step)
        make_model()
        with pytest.raises(CrashError):
            fit(folder, LAZY[name](), checkpoint_every=1, on_step=crash_at(step))
        mg.rand(step)
        assert_same_bits(fit(folder, LAZY[name](), resume=True), expected)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"scheduler": None}, "scheduler is None, but it was CosineAnnealingLR"),
        ({"validation": None, "epoch_scheduler": None}, "validation is False, but it was True"),
        ({"metrics": ()}, r"metrics is \[\], but it was \['accuracy'\]"),
        ({"settings": {"lr": 1}}, "lr is 1, but it was None"),
        ({"loader": data.DataLoader(Noisy(), BATCH)}, "shuffle is False, but it was True"),
    ],
)
def test_resume_refuses_another_kind_of_run(settings, message, tmp_path):
    fit(tmp_path)
    with pytest.raises(StateError, match=message):
        fit(tmp_path, resume=True, epochs=3, **settings)


def train_with(folder, optimizer, schedule=None, **settings):
    """Train a small model with an optimiser and a schedule of their own settings."""
    model = linear()
    optimizer = optimizer(model.parameters())
    scheduler = schedule and schedule(optimizer)
    settings = {"scheduler": scheduler, "folder": folder, "progress": False, **settings}
    return train.fit(model, LOADERS["shuffle"](), F.cross_entropy, optimizer, settings.pop("epochs", 1), **settings)


SCHEDULES = optim.lr_scheduler


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"optimizer": lambda p: optim.SGD(p, 0.2, momentum=0.9)}, r"optimizer.lr is \[0.2\], but it was \[0.1\]"),
        ({"optimizer": lambda p: optim.SGD(p, 0.1, momentum=0.8)}, r"optimizer.momentum is \[0.8\], but it was"),
        ({"optimizer": lambda p: optim.SGD([{"params": [x], "lr": 0.1} for x in p], momentum=0.9)}, r"\[0.1, 0.1\]"),
        ({"schedule": lambda o: SCHEDULES.CosineAnnealingLR(o, 50)}, "scheduler.T_max is 50, but it was 40"),
        ({"schedule": lambda o: SCHEDULES.CosineAnnealingLR(o, 40, 0.01)}, "scheduler.eta_min is 0.01, but it was 0"),
    ],
)
def test_resume_refuses_other_numbers_of_the_rule(changed, message, tmp_path):
    """Silently, those of the checkpoint would be used."""
    given = {
        "optimizer": lambda p: optim.SGD(p, 0.1, momentum=0.9),
        "schedule": lambda o: SCHEDULES.CosineAnnealingLR(o, 40),
    }
    train_with(tmp_path, **given)
    with pytest.raises(StateError, match=message):
        train_with(tmp_path, **{**given, **changed}, resume=True, epochs=2)


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        lambda o: SCHEDULES.OneCycleLR(o, 0.1, total_steps=18),
        lambda o: SCHEDULES.SequentialLR(o, [SCHEDULES.ConstantLR(o), SCHEDULES.ExponentialLR(o, 0.9)], [4]),
        lambda o: SCHEDULES.LambdaLR(o, lambda step: 1 / (1 + step)),
    ],
)
def test_a_run_goes_on_in_the_same_process(schedule, tmp_path):
    """Rates and momenta that the schedule has changed are no other settings."""
    model = linear()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    settings = {"scheduler": schedule and schedule(optimizer), "folder": tmp_path, "progress": False}
    for epochs in (1, 3):
        history = train.fit(
            model, LOADERS["shuffle"](), F.cross_entropy, optimizer, epochs, resume=epochs > 1, **settings
        )  # fmt: skip
    assert len(history.loss) == 18


def test_a_new_run_sets_the_files_of_an_earlier_one_aside(tmp_path, capsys):
    first = fit(tmp_path)
    kept = {name: (tmp_path / name).read_bytes() for name in ("last.safetensors", "best.safetensors", "log.csv")}
    assert not capsys.readouterr().out
    assert_same_bits(fit(tmp_path), first)
    assert "had an earlier run; its checkpoints and log are now in earlier-1" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier-1").iterdir()} == kept
    fit(tmp_path, resume=True, epochs=3)
    fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["earlier-1", "earlier-2"]
    with pytest.raises(CrashError):
        fit(tmp_path, on_step=crash_at(1))
    assert (tmp_path / "last.safetensors").exists() and not (tmp_path / "earlier-3").exists()


def test_a_schedule_must_last_as_long_as_the_run():
    optimizer = lambda p: optim.SGD(p, 0.1, momentum=0.9)  # noqa: E731
    with pytest.raises(ValidationError, match=r"^fit: 3 epochs have 18 steps, but the schedule has total_steps=12; "):
        train_with(None, optimizer, lambda o: SCHEDULES.OneCycleLR(o, 0.1, total_steps=12), epochs=3)
    schedule = lambda o: SCHEDULES.OneCycleLR(o, 0.1, total_steps=4)  # noqa: E731
    assert len(train_with(None, optimizer, schedule, accumulate=3, epochs=2).loss) == 4


def test_a_second_run_with_a_loader_goes_on_with_its_epochs(tmp_path):
    loader, orders = LOADERS["shuffle"](), []
    loader.collate_fn = None
    for _ in range(2):
        fit(loader=loader, epochs=1, on_step=lambda run: orders.append(run.loader.epoch))
    assert orders == [1] * 6 + [2] * 6


# ---- what is recorded


class Depth(nn.Module):
    """Draws a number of Python's in forward."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x) if random.random() < 0.5 else self.fc(2 * x)


SCALE = {"of": 1.0}


class Scaled:
    scale = 1.0

    def __call__(self, outputs, targets):
        return F.cross_entropy(outputs, targets) * self.scale


def test_what_is_no_formula_is_not_recorded():
    """The loss of every step is that of a plain loop."""

    def losses(graph, model=linear, loss=F.cross_entropy, on_step=None):
        random.seed(0)
        SCALE["of"], Scaled.scale = 1.0, 1.0
        made = model()
        optimizer = optim.SGD(made.parameters(), lr=0.1)
        loader = data.DataLoader(Noisy(), BATCH, seed=1)
        settings = {"progress": False, "graph": graph, "on_step": on_step}
        return train.fit(made, loader, loss, optimizer, 2, **settings).loss

    def change(run):
        SCALE["of"] = Scaled.scale = 1.0 + run.step

    def seeded():
        mg.manual_seed(0)
        return Depth()

    for kind in (
        {"model": seeded},
        {"loss": lambda x, y: F.cross_entropy(x, y) * SCALE["of"], "on_step": change},
        {"loss": Scaled(), "on_step": change},
    ):
        assert losses(None, **kind) == losses(False, **kind)


# ---- the end of a run


def test_patience_counts_epochs_without_improvement(tmp_path):
    settings = {"model": linear(), "patience": 2, "monitor": "lr", "monitor_mode": "max", "scheduler": None}
    history = fit(tmp_path, epochs=50, **settings)[1]
    assert len(history.rows) == 3 and history.stopped == "lr has not improved for 2 epochs"
    again = fit(tmp_path, epochs=50, resume=True, **settings | {"model": linear()})[1]
    assert len(again.rows) == 3


def test_monitor_mode_tells_which_value_is_best():
    rows = [{"val_loss": 2, "val_accuracy": 1, "val_mae": 3}, {"val_loss": 1, "val_accuracy": 0, "val_mae": 4}]
    history = train.History(rows=rows)
    assert [history.best(name) for name in ("val_loss", "val_accuracy")] == [rows[1], rows[0]]
    assert [history.best("val_mae", mode) for mode in ("min", "max")] == rows
    with pytest.raises(ValidationError, match="^fit: is a low or a high val_mae better"):
        history.best("val_mae")
    with pytest.raises(ValidationError, match="^fit: monitor_mode is 'low'; use 'min' or 'max'"):
        history.best("val_mae", "low")


def test_reduce_lr_on_plateau_gets_the_loss():
    """Its mode is "min"; the accuracy, which rises, would lower the rate."""
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    loader = data.DataLoader(Noisy(), BATCH, seed=1)
    history = train.fit(
        model, loader, F.cross_entropy, optimizer, 8, validation=loader, epoch_scheduler=plateau, progress=False
    )
    falling = history["val_loss"]
    assert falling == sorted(falling, reverse=True) and history["lr"] == [0.1] * 8


def test_on_epoch_ends_the_run_with_true():
    seen = []
    history = fit(epochs=9, on_epoch=lambda run: seen.append(run.epoch) or run.epoch == 2)[1]
    assert seen == [1, 2] and len(history.rows) == 2 and history.stopped == "on_epoch returned True"


def test_the_best_epoch_is_kept_and_can_be_loaded(tmp_path):
    kept = {}

    def keep(run):
        kept[run.epoch] = [value.numpy().copy() for value in run.model.state_dict().values()]

    model = make_model()
    history = fit(tmp_path, epochs=5, model=model, on_epoch=keep)[1]
    best = history.best("val_accuracy")["epoch"]
    assert history["val_accuracy"][best - 1] == max(history["val_accuracy"])
    assert train.load_best(model, tmp_path) == best
    for mine, other in zip(model.state_dict().values(), kept[best], strict=True):
        np.testing.assert_array_equal(mine.numpy(), other)


def test_the_log_has_a_line_for_each_epoch(tmp_path):
    history = fit(tmp_path, metrics=[train.accuracy, train.top_k(2)])[1]
    with open(tmp_path / "log.csv") as file:
        lines = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in line.items()} for line in lines] == history.rows
    assert list(lines[0]) == [
        "epoch", "step", "seconds", "lr",
        "train_loss", "train_accuracy", "train_top2", "val_loss", "val_accuracy", "val_top2",
    ]  # fmt: skip
    assert history["train_top2"] >= history["train_accuracy"]
    with pytest.raises(KeyError, match="history has no 'val_f1', but loss, epoch, step, seconds"):
        history["val_f1"]


def test_progress_prints_a_line_after_each_epoch(capsys):
    settings = {"validation": None, "scheduler": None, "epoch_scheduler": None}
    model = linear()
    train.fit(model, LOADERS["shuffle"](), F.cross_entropy, optim.SGD(model.parameters(), lr=0.1), 2)
    out, err = capsys.readouterr()
    assert [line[:30] for line in out.splitlines()] == [
        "epoch 1/2: training loss 1.108",
        "epoch 2/2: training loss 0.958",
    ] or out
    assert "epoch 1/2" in err
    assert settings


# ---- errors, before training


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "fit: epochs is 0; use a whole number of 1 or more"),
        ({"accumulate": 0}, "fit: accumulate is 0"),
        ({"patience": -1}, "fit: patience is -1"),
        ({"checkpoint_every": 5}, "fit: checkpoint_every needs a folder"),
        ({"resume": True}, "fit: resume needs a folder"),
        ({"tensorboard": True}, "fit: tensorboard needs a folder"),
        ({"monitor": "val_acc"}, "fit: monitor is 'val_acc'; use one of step, lr, train_loss"),
    ],
)
def test_fit_refuses_settings_out_of_range(settings, message):
    with pytest.raises(ValidationError, match=f"^{message}"):
        fit(**settings)


def test_fit_refuses_objects_with_which_nothing_is_learned():
    model = linear()
    optimizer, other = (optim.SGD(made.parameters(), lr=0.1) for made in (model, linear()))
    loader = LOADERS["shuffle"]()
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for arguments, settings, error, message in (
        ((None, loader, F.mse_loss, optimizer, 1), {}, DtypeError, "model is None"),
        ((model, loader, "mse", optimizer, 1), {}, DtypeError, "loss is 'mse'"),
        ((model, loader, F.mse_loss, optim.SGD, 1), {}, DtypeError, "optimizer is <class"),
        ((model, loader, F.mse_loss, other, 1), {}, StateError, "the optimizer has none of the model's parameters"),
        ((model, loader, F.mse_loss, optimizer, 1), {"scheduler": plateau}, ValidationError, "ReduceLROnPlateau is"),
        ((model, loader, F.mse_loss, optimizer, 1),
         {"scheduler": optim.lr_scheduler.StepLR(other, 1)}, StateError, "the schedule changes the learning rate of"),
        ((model, iter(loader), F.mse_loss, optimizer, 1), {}, ValidationError, "the loader is an iterator"),
        ((model, data.DataLoader(Noisy(), 99, drop_last=True), F.mse_loss, optimizer, 1), {"progress": False},
         ValidationError, "the loader has no batches"),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^fit: {message}"):
            train.fit(*arguments, **settings)


def test_metrics_need_names_and_sizes_of_their_own():
    with pytest.raises(ValidationError, match="^metrics: names <lambda>, <lambda>; give each another name, not 'loss'"):
        fit(metrics=[lambda x, y: x.mean(), lambda x, y: x.sum()])
    with pytest.raises(ValidationError, match="^metrics: names loss; give each another name"):
        fit(metrics={"loss": train.accuracy})
    with pytest.raises(
        ShapeError, match=r"^metrics: a metric returns shape \(3,\) for 4 samples; return one number, or"
    ):
        fit(metrics=lambda x, y: x.mean(0))
    with pytest.raises(DtypeError, match="^metrics: a metric returns a float, expected a tensor; leave out"):
        fit(metrics=lambda x, y: x.mean().item(), graph=False)


def test_clip_norm_and_metrics_are_checked():
    with pytest.raises(ValidationError, match="clip_norm is -1"):
        fit(clip_norm=-1)
    with pytest.raises(DtypeError, match="^metrics: metric is 'accuracy'; give functions of"):
        fit(metrics=["accuracy"])


def test_resume_names_what_differs_and_changes_nothing(tmp_path):
    fit(tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(
        StateError, match=r"^checkpoint .*last.safetensors is of another run: accumulate is 2, but it was 1"
    ):
        fit(tmp_path, resume=True, accumulate=2)
    with pytest.raises(StateError, match="batch_size is 5, but it was 4; batches is 5, but it was 6"):
        fit(tmp_path, data.DataLoader(Noisy(), 5, shuffle=True), resume=True)
    model = linear()
    weights = [p.numpy().copy() for p in model.state_dict().values()]
    with pytest.raises(StateError, match=r"last.safetensors is of another model: load_state_dict: the state"):
        fit(tmp_path, resume=True, model=model)
    for mine, other in zip(model.state_dict().values(), weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_resume_names_the_last_good_checkpoint(tmp_path):
    with pytest.raises(DataError, match=r"^resume: there is no .*last.safetensors; train without resume first"):
        fit(tmp_path, resume=True)
    expected = fit(tmp_path, epochs=3)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=r"^resume: .*last.safetensors: .*The last good checkpoint is (.*best.safetensors)"
    ):
        fit(tmp_path, epochs=3, resume=True)
    assert_same_bits(fit(tmp_path, epochs=3, resume=tmp_path / "best.safetensors"), expected)
    mg.save({"a": mg.ones(2)}, tmp_path / "best.safetensors")
    last.write_bytes(b"")
    with pytest.raises(DataError, match="There is no other checkpoint in its folder; train again without resume"):
        fit(tmp_path, resume=True)
    with pytest.raises(DataError, match="best.safetensors: is no checkpoint of this version"):
        fit(tmp_path, resume=tmp_path / "best.safetensors")


@pytest.mark.parametrize("folder", [True, False])
def test_a_loss_of_nan_ends_the_run_and_names_the_checkpoint(tmp_path, folder):
    def spoil(run):
        if run.step == 8:
            run.model[0].weight.data[:] = np.nan

    known = r"the last checkpoint is .*last.safetensors, after epoch 1" if folder else "there is no checkpoint"
    with pytest.raises(DivergenceError, match=rf"^fit: the loss is nan at step 3 of epoch 2; {known}.  Try a learning"):
        fit(tmp_path if folder else None, on_step=spoil)


@pytest.mark.parametrize("batch", [{"x": mg.ones(2)}, [mg.ones(2, 3)], (mg.ones(2, 3), [0, 1])])
def test_batches_must_be_inputs_and_targets(batch):
    with pytest.raises(
        DtypeError, match=r"^fit: a batch is .*, expected tensors \(inputs, targets\); give the DataLoader"
    ):
        fit(loader=[batch])


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    with pytest.raises(ValidationError, match="^fit: tensorboard=True needs the package tensorboard; install it with"):
        fit(tmp_path, tensorboard=True)


# ---- metrics, evaluate, predict


def test_evaluate_weighs_batches_by_their_samples_and_restores_the_mode():
    model = make_model()
    model[3].eval()
    loader = [(mg.randn(n, 3), mg.randint(0, 3, (n,))) for n in (5, 1, 2)]
    found = train.evaluate(model, loader, F.cross_entropy, {"right": train.accuracy, "mean": lambda x, y: x.mean()})
    assert model.training and not model[3].training
    x, y = (mg.cat(part) for part in zip(*loader, strict=True))
    model.eval()
    with mg.no_grad():
        outputs = model(x)
    assert found["loss"] == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-5)
    assert found["right"] == (outputs.argmax(1) == y).float().mean().item()
    assert found["mean"] == pytest.approx(outputs.mean().item(), abs=1e-6)
    predictions = train.predict(model, loader)
    np.testing.assert_array_equal(predictions.outputs.numpy(), outputs.numpy())
    np.testing.assert_array_equal(predictions.targets.numpy(), y.numpy())
    for inputs in ([x], x, x.numpy(), [(x,)]):
        found = train.predict(model, inputs)
        assert found.targets is None
        np.testing.assert_array_equal(found.outputs.numpy(), outputs.numpy())
    for function in (train.evaluate, train.predict):
        with pytest.raises(ValidationError, match=f"^{function.__name__}: the loader has no batches; check its data"):
            function(model, [])


def test_accuracy_of_maps_counts_pixels():
    outputs = mg.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).permute(1, 0, 2).unsqueeze(2)  # (1, 2, 1, 2)
    targets = mg.tensor([[[0, 0]]])
    assert train.evaluate(nn.Identity(), [(outputs, targets)])["accuracy"] == 0.5
    with pytest.raises(ShapeError, match=r"^accuracy: outputs \(4, 3\) and targets \(4, 3\); expected scores"):
        train.accuracy(mg.ones(4, 3), mg.ones(4, 3))
    with pytest.raises(ValidationError, match="^top_k: k is 0"):
        train.top_k(0)


def test_class_report_counts_by_class():
    labels, answers = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
    report = train.class_report(labels, answers, ["a", "b", "c"])
    np.testing.assert_array_equal(report.confusion, [[2, 1, 0], [1, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(report.precision, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(report.recall, [2 / 3, 0.5, 0])
    np.testing.assert_allclose(report.f1, [4 / 7, 0.5, 0])
    assert report.accuracy == 0.5 and "c              –    0.0%" in str(report)
    scores = mg.tensor(np.eye(3)[answers])
    assert str(train.class_report(mg.tensor(labels), scores)) == str(train.class_report(labels, answers))
    with pytest.raises(DtypeError, match="^class_report: labels are <U1, expected numbers of classes; names go to"):
        train.class_report(["a", "b"], [0, 1])


# ---- the search for a learning rate


def test_find_lr_suggests_a_rate_and_puts_everything_back():
    model, loader = make_model(), data.DataLoader(Noisy(), BATCH, shuffle=True, seed=0)
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    model.eval()
    before = [value.numpy().copy() for value in model.state_dict().values()]
    random = mg.get_rng_state().numpy().copy()
    search = train.find_lr(model, loader, F.cross_entropy, optimizer, 1e-5, 100.0, steps=60)
    assert 1e-3 < search.suggestion < 10 and len(search.rates) == len(search.losses)
    for mine, other in zip(model.state_dict().values(), before, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other)
    np.testing.assert_array_equal(mg.get_rng_state().numpy(), random)
    assert optimizer.param_groups[0]["lr"] == 0.3 and not optimizer.state_dict()["state"] and loader.epoch == 0
    assert not model.training and all(p.grad is None for p in model.parameters())
    with pytest.raises(ValidationError, match="^find_lr: the loss was finite for 0 rates only, expected 3 or more"):
        train.find_lr(model, loader, lambda x, y: F.cross_entropy(x, y) * np.inf, optimizer)
