"""examples/train_mnist.py learns, gives the same bits for a seed, and resumes where it was stopped."""

import shutil
import signal
import sys
from itertools import islice

import killed_training
import numpy as np
import pytest
from helpers import load_example

import minigrad as mg
from minigrad import data
from minigrad.train import loop

STEPS = 6  # batches of 128 per epoch in most tests


def load_with_short_epochs(monkeypatch, steps=STEPS):
    """Return the example as a module.  All loaders end after `steps` batches."""
    iterate, length = data.DataLoader.iterate_from, data.DataLoader.__len__
    shorter = lambda loader, batch: islice(iterate(loader, batch), max(0, steps - batch))  # noqa: E731
    monkeypatch.setattr(data.DataLoader, "iterate_from", shorter)
    monkeypatch.setattr(data.DataLoader, "__len__", lambda loader: min(length(loader), steps))
    return load_example("train_mnist")


@pytest.fixture
def short(monkeypatch):
    """Return the example with short epochs and without pictures."""
    module = load_with_short_epochs(monkeypatch)
    monkeypatch.setattr(module.viz, "save", lambda *arguments: None)
    return module


def run(module, monkeypatch, folder, *flags):
    """Run the example; return the weights and the checkpoint that it saves."""
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--out", str(folder), *flags])
    module.main()
    return mg.load_model(folder / "lenet5.safetensors").state_dict(), mg.load(folder / "last.safetensors")


def have_equal_bits(first, second):
    """Whether two dicts of tensors are equal."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name].numpy(), second[name].numpy()) for name in first
    )


@pytest.fixture(scope="module")
def run_of_1_epoch(tmp_path_factory):
    """Return the folder of a run of 1 short epoch."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        module = load_with_short_epochs(monkeypatch)
        monkeypatch.setattr(module.viz, "save", lambda *arguments: None)
        run(module, monkeypatch, folder, "--epochs", "1")
    return folder


@pytest.fixture
def finished(run_of_1_epoch, tmp_path):
    """Return a folder of the test with the files of a run of 1 short epoch."""
    return shutil.copytree(run_of_1_epoch, tmp_path / "finished")


def test_a_short_run_learns_most_digits_and_saves_its_pictures(monkeypatch, tmp_path, capsys):
    steps = 150  # a third of the training digits
    example = load_with_short_epochs(monkeypatch, steps)
    _, checkpoint = run(example, monkeypatch, tmp_path, "--epochs", "1")
    assert checkpoint["rows"][-1]["val_accuracy"] > 0.95
    assert len(checkpoint["loss"]) == steps
    for name in ("filters.png", "training.png", "confusion.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert f"of the test digits are right; weights and pictures are in {tmp_path}/" in capsys.readouterr().out
    model = mg.load_model(tmp_path / "lenet5.safetensors")
    digits = mg.datasets.MNIST(train=False)
    answers = mg.train.predict(model, digits.images[:200, None]).names
    assert np.mean(np.array(answers) == digits.labels[:200].astype(str)) > 0.9


def test_one_seed_gives_the_same_bits_with_one_thread_and_with_all(short, monkeypatch, tmp_path):
    weights = []
    for number in (1, mg.get_num_threads()):
        mg.set_num_threads(number)
        weights.append(run(short, monkeypatch, tmp_path / str(number), "--epochs", "2")[0])
    assert have_equal_bits(*weights)


def act_in_step(monkeypatch, number, act):
    """Call act() during a training step; steps are counted over all epochs."""
    record, calls = loop.record, []

    def record_with_act(function):
        step = record(function)

        def call(*arguments):
            calls.append(1)
            if len(calls) == number:
                act()
            return step(*arguments)

        return call

    monkeypatch.setattr(loop, "record", record_with_act)


@pytest.mark.parametrize("step", [1, 6, 9])
def test_a_run_stopped_by_ctrl_c_resumes_with_the_same_bits_and_settings(short, monkeypatch, tmp_path, step):
    """The run is stopped in the first step, in the last of an epoch, or in the middle of another."""
    flags = "--epochs", "2", "--batch-size", "64", "--lr", "0.01", "--seed", "3"
    expected, _ = run(short, monkeypatch, tmp_path / "straight", *flags)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        act_in_step(patched, step, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(SystemExit, match=rf"^continue with --resume \(checkpoint in {stopped}\)$"):
            run(short, patched, stopped, *flags)
    assert len(mg.load(stopped / "last.safetensors")["loss"]) == step
    assert have_equal_bits(run(short, monkeypatch, stopped, "--resume")[0], expected)


@pytest.fixture(scope="module")
def run_without_kill(tmp_path_factory):
    """Return the content of a run that was not killed."""
    folder = tmp_path_factory.mktemp("without kill")
    assert killed_training.start(folder).wait() == 0
    return killed_training.content(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(
    "moment, lost",
    [
        ("fsync:3", 3),  # while the second checkpoint is written
        ("replace:5", 3),  # before the fifth checkpoint replaces the fourth
        ("evaluate:2", 2),  # 20 steps are done, 18 are saved
    ],
)
def test_a_killed_run_loses_few_steps_and_resumes_with_the_same_bits(tmp_path, run_without_kill, moment, lost):
    """tests/killed_training.py kills at random moments too."""
    assert killed_training.start(tmp_path, KILLED_AT=moment).wait() == -signal.SIGKILL
    assert killed_training.done_steps(tmp_path) - killed_training.saved_steps(tmp_path) == lost <= killed_training.EVERY
    assert killed_training.start(tmp_path).wait() == 0
    assert killed_training.content(tmp_path) == run_without_kill


def test_resume_of_a_finished_run_trains_for_more_epochs(short, monkeypatch, tmp_path, finished, capsys):
    """The learning rates are then those of a run that was started for all epochs."""
    _, straight = run(short, monkeypatch, tmp_path / "straight", "--epochs", "3")
    _, checkpoint = run(short, monkeypatch, finished, "--epochs", "3", "--resume")
    assert checkpoint["position"]["epoch"] == 3 and len(checkpoint["loss"]) == 3 * STEPS
    rates = [saved["optimizer"]["param_groups"][0]["lr"] for saved in (checkpoint, straight)]
    assert rates[0] == rates[1]
    run(short, monkeypatch, finished, "--resume")
    assert "nothing is left to train after 3 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ("--lr", "0.1"),
            "is of another run: lr is 0.1, but it was 0.005; .*  Use the same, or train in another folder",
        ),
        (("--seed", "7", "--lr", "1"), "lr is 1.0, but it was 0.005; seed is 7, but it was 0"),
    ],
)
def test_resume_refuses_other_settings_before_training(short, monkeypatch, finished, flags, message):
    before = (finished / "last.safetensors").read_bytes()
    with pytest.raises(SystemExit, match=message):
        run(short, monkeypatch, finished, "--epochs", "2", "--resume", *flags)
    assert (finished / "last.safetensors").read_bytes() == before


def test_resume_refuses_and_keeps_a_damaged_checkpoint(short, monkeypatch, finished, capsys):
    path = finished / "last.safetensors"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SystemExit):
        run(short, monkeypatch, finished, "--epochs", "2", "--resume")
    assert f"{path}: damaged, or not a safetensors file: 3000 bytes" in capsys.readouterr().err
    assert path.stat().st_size == 3000


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--epochs", "0"), "--epochs is 0; use 1 or more"),
        (("--device", "cuda:1"), "one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through"),
        (("--device", "tpu"), "device 'tpu' is unknown"),
        (("--batch-size", "0"), "--batch-size is 0; use 1 to 60000"),
        (("--lr", "0"), "--lr is 0.0; use a number above 0"),
        (("--lr", "nan"), "--lr is nan; use a number above 0"),
        (("--seed", "-1"), "--seed is -1; use 0 to 2**64 - 1"),
        (("--checkpoint-every", "0"), "--checkpoint-every is 0 steps; use 1 or more"),
        (("--target", "99"), "--target is 99.0; use a number above 0 and at most 1"),
        (("--resume",), "last.safetensors; train without resume first"),
    ],
)
def test_flags_out_of_range_are_refused_before_training(short, monkeypatch, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, *flags)
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_training(short, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path / "file" / "runs")
    assert "cannot be written (Not a directory); choose another folder" in capsys.readouterr().err


def test_training_ends_when_the_target_is_reached(short, monkeypatch, tmp_path):
    _, checkpoint = run(short, monkeypatch, tmp_path, "--epochs", "3", "--target", "0.1")
    assert checkpoint["position"]["epoch"] == 1


def test_a_target_that_is_not_reached_is_reported(short, monkeypatch, tmp_path, capsys):
    run(short, monkeypatch, tmp_path, "--epochs", "1", "--target", "1")
    assert "100.00% was not reached in 1 epochs; train for more epochs" in capsys.readouterr().out


def test_a_loss_of_nan_stops_the_run_and_keeps_the_last_checkpoint(short, monkeypatch, tmp_path):
    model = short.LeNet5

    def spoiled(*args, **kwargs):
        made = model(*args, **kwargs)
        act_in_step(monkeypatch, STEPS + 5, lambda: made.conv1.weight.data.fill_(np.nan))
        return made

    monkeypatch.setattr(short, "LeNet5", spoiled)
    with pytest.raises(SystemExit, match=r"the loss is nan at step 5 of epoch 2; .*after step 4 of epoch 2"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--checkpoint-every", "2")
    assert len(mg.load(tmp_path / "last.safetensors")["loss"]) == STEPS + 4
