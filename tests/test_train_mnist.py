"""The example learns, repeats itself to the last bit, and goes on where it was stopped."""

import importlib.util
import os
import signal
import sys
from itertools import islice
from pathlib import Path

import killed_training
import numpy as np
import pytest

import minigrad as mg
from minigrad import data

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_mnist.py"
STEPS = 150  # batches of 128 in an epoch here, a third of the training digits


@pytest.fixture
def example(monkeypatch):
    """The example as a module, its epochs cut to STEPS batches."""
    specification = importlib.util.spec_from_file_location("train_mnist", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    whole, length = data.DataLoader.__iter__, data.DataLoader.__len__
    monkeypatch.setattr(data.DataLoader, "__iter__", lambda loader: islice(whole(loader), STEPS))
    monkeypatch.setattr(data.DataLoader, "__len__", lambda loader: min(length(loader), STEPS))
    return module


def run(module, monkeypatch, folder, *flags):
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--out", str(folder), *flags])
    module.main()
    return mg.load(folder / "lenet5.safetensors"), mg.load(folder / "checkpoint.safetensors")


def equal(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name].numpy(), second[name].numpy()) for name in first
    )


def test_a_short_run_reads_most_digits_and_leaves_its_pictures(example, monkeypatch, tmp_path, capsys):
    _, checkpoint = run(example, monkeypatch, tmp_path, "--epochs", "1")
    assert checkpoint["run"]["accuracy"][-1] > 0.95
    assert len(checkpoint["run"]["loss"]) == STEPS
    for name in ("filters.png", "training.png", "confusion.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert f"weights and pictures are in {tmp_path}/" in capsys.readouterr().out


def test_one_seed_gives_the_same_bits_with_one_thread_or_two(example, monkeypatch, tmp_path):
    weights = []
    before = mg.get_num_threads()
    try:
        for threads in (1, before):
            mg.set_num_threads(threads)
            weights.append(run(example, monkeypatch, tmp_path / str(len(weights)), "--epochs", "1")[0])
    finally:
        mg.set_num_threads(before)
    assert equal(*weights)


@pytest.fixture
def short(example, monkeypatch):
    """The example with epochs of 6 batches, and without pictures."""
    monkeypatch.setattr(sys.modules[__name__], "STEPS", 6)
    monkeypatch.setattr(example, "draw", lambda *arguments: None)
    return example


def whole(folder):
    return {name: (folder / name).read_bytes() for name in ("lenet5.safetensors", "checkpoint.safetensors")}


def in_a_step(monkeypatch, number, act):
    """Act in the middle of the step of this number, counted over the whole run."""
    graph, calls = mg.graph, []

    def interrupted(function):
        step = graph(function)

        def call(images, labels):
            calls.append(1)
            if len(calls) == number:
                act()
            return step(images, labels)

        return call

    monkeypatch.setattr(mg, "graph", interrupted)


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 6, 9])
def test_a_stopped_run_resumes_as_if_it_had_never_stopped(short, monkeypatch, tmp_path, capsys, ask, step):
    """Stopped in the first step, in the last of an epoch, in the middle of another: after that step, to the bit."""
    run(short, monkeypatch, tmp_path / "straight", "--epochs", "2")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patched:
        in_a_step(patched, step, lambda: os.kill(os.getpid(), ask))
        _, checkpoint = run(short, patched, tmp_path / "stopped", "--epochs", "2")
    assert len(checkpoint["run"]["loss"]) == step
    said = capsys.readouterr().out
    assert (
        f"stopped in epoch {1 + step // STEPS}; continue with --resume (checkpoint in {tmp_path / 'stopped'})" in said
    )
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    run(short, monkeypatch, tmp_path / "stopped", "--resume")
    assert whole(tmp_path / "stopped") == whole(tmp_path / "straight")


def test_a_run_stopped_in_its_last_step_is_finished(short, monkeypatch, tmp_path, capsys):
    in_a_step(monkeypatch, STEPS, lambda: os.kill(os.getpid(), signal.SIGINT))
    _, checkpoint = run(short, monkeypatch, tmp_path, "--epochs", "1")
    assert checkpoint["run"]["epoch"] == 1 and len(checkpoint["run"]["accuracy"]) == 1
    assert f"weights and pictures are in {tmp_path}/" in capsys.readouterr().out


def test_the_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(short, monkeypatch, tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    in_a_step(monkeypatch, 6, twice)
    with pytest.raises(SystemExit, match="stopped at once; --resume continues from the last checkpoint"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--checkpoint-every", "2")
    assert len(mg.load(tmp_path / "checkpoint.safetensors")["run"]["loss"]) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(
    "moment, lost",
    [
        ("fsync:2", 3),  # in the first checkpoint, which none came before: the weights are written, it is not
        ("replace:10", 3),  # 2 files each; before the fifth checkpoint takes the place of the fourth
        ("evaluate:2", 2),  # 20 steps are done, 18 saved
    ],
)
def test_a_killed_run_loses_few_steps_and_ends_with_the_bits_of_one_that_never_was(tmp_path, moment, lost):
    """tests/killed_training.py kills at random moments too."""
    assert killed_training.started(tmp_path, KILLED_AT=moment).wait() == -signal.SIGKILL
    assert killed_training.done_steps(tmp_path) - killed_training.saved_steps(tmp_path) == lost <= killed_training.EVERY
    assert killed_training.started(tmp_path).wait() == 0
    assert killed_training.content(tmp_path) == never_killed(tmp_path.parent / "never killed")


def never_killed(folder):
    if not folder.exists():
        assert killed_training.started(folder).wait() == 0
    return killed_training.content(folder)


def test_a_finished_run_goes_on_for_more_epochs(short, monkeypatch, tmp_path, capsys):
    """Along the schedule of so many epochs: its learning rates from there on are those of a run that began so."""
    _, straight = run(short, monkeypatch, tmp_path / "straight", "--epochs", "3")
    first, _ = run(short, monkeypatch, tmp_path / "more", "--epochs", "1")
    second, checkpoint = run(short, monkeypatch, tmp_path / "more", "--epochs", "3", "--resume")
    assert "the learning rate continues as in a run of 3 epochs; it was set for 1" in capsys.readouterr().out
    assert checkpoint["run"]["epoch"] == 3 and len(checkpoint["run"]["loss"]) == 3 * STEPS
    assert not equal(first, second)
    rates = [saved["optimizer"]["param_groups"][0]["lr"] for saved in (checkpoint, straight)]
    assert rates[0] == rates[1]
    assert checkpoint["settings"]["epochs"] == 3


def test_a_finished_run_has_nothing_left_to_train(short, monkeypatch, tmp_path, capsys):
    run(short, monkeypatch, tmp_path, "--epochs", "1")
    before = whole(tmp_path)
    run(short, monkeypatch, tmp_path, "--resume")
    assert "nothing is left to train after 1 epochs; give more with --epochs" in capsys.readouterr().out
    assert whole(tmp_path) == before


def test_settings_that_are_not_given_are_those_of_the_run(short, monkeypatch, tmp_path):
    flags = "--epochs", "2", "--batch-size", "64", "--lr", "0.01", "--seed", "3"
    run(short, monkeypatch, tmp_path / "straight", *flags)
    with monkeypatch.context() as patched:
        in_a_step(patched, 8, lambda: os.kill(os.getpid(), signal.SIGINT))
        run(short, patched, tmp_path / "stopped", *flags)
    run(short, monkeypatch, tmp_path / "stopped", "--resume", "--lr", "0.01")
    assert whole(tmp_path / "stopped") == whole(tmp_path / "straight")


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ("--lr", "0.1"),
            "--resume: --lr is 0.1, but it was 0.005; leave out --lr to continue, or train without --resume in",
        ),
        (("--batch-size", "64"), "--resume: --batch-size is 64, but it was 128; leave out --batch-size to continue"),
        (
            ("--seed", "7", "--lr", "1"),
            "--lr is 1.0, but it was 0.005; --seed is 7, but it was 0; leave out --lr and --seed to",
        ),
        (("--epochs", "1"), "--resume: --epochs is 1, but 2 were begun; use 2 or more"),
    ],
)
def test_another_setting_is_refused_before_anything_runs(short, monkeypatch, tmp_path, capsys, flags, message):
    with monkeypatch.context() as patched:
        in_a_step(patched, 8, lambda: os.kill(os.getpid(), signal.SIGINT))
        run(short, patched, tmp_path, "--epochs", "3")
    before = whole(tmp_path)
    monkeypatch.setattr(mg, "warmup", None)
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, "--resume", *flags)
    assert message in capsys.readouterr().err
    assert whole(tmp_path) == before


def test_another_device_is_said(short, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(short, "evaluate", lambda *arguments: (0.5, None, None))  # slow in NumPy
    run(short, monkeypatch, tmp_path, "--epochs", "1")
    run(short, monkeypatch, tmp_path, "--epochs", "2", "--resume", "--device", "numpy")
    assert "continuing on numpy; the run was on cpu, whose results differ in the last bits" in capsys.readouterr().out


def test_a_data_set_of_another_size_is_said(short, monkeypatch, tmp_path):
    run(short, monkeypatch, tmp_path, "--epochs", "1")
    monkeypatch.setattr(sys.modules[__name__], "STEPS", 7)
    with pytest.raises(SystemExit, match="--resume: an epoch has 7 steps, but it had 6; use the same data set"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--resume")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "damaged, or not a safetensors file: 3000 bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "damaged: the checksum of its content is"),
        (lambda path: path.write_bytes(b""), "damaged, or not a safetensors file: 0 bytes"),
        (
            lambda path: mg.save(mg.load(path)["model"], path),
            "is not a checkpoint of this version of the script; train",
        ),
        (
            lambda path: mg.save([1, 2], path),
            "is not a checkpoint of this version of the script; train without --resume",
        ),
        (
            lambda path: mg.save({"model": {}, "run": {}}, path),
            "is not a checkpoint of this version of the script; train",
        ),
        (
            lambda path: (path.unlink(), path.mkdir()),
            "cannot be read (it is not a regular file); give the name of a file",
        ),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_and_stays(short, monkeypatch, tmp_path, capsys, spoil, message):
    run(short, monkeypatch, tmp_path, "--epochs", "1")
    path = tmp_path / "checkpoint.safetensors"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--resume")
    said = capsys.readouterr().err
    assert message in said and str(path) in said
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--epochs", "0"), "--epochs is 0; use 1 or more"),
        (("--device", "cuda:1"), "one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through"),
        (("--device", "tpu"), "device 'tpu' is unknown"),
        (("--batch-size", "0"), "--batch-size is 0; use 1 or more"),
        (("--lr", "0"), "--lr is 0.0; use a number above 0"),
        (("--lr", "nan"), "--lr is nan; use a number above 0"),
        (("--seed", "-1"), "--seed is -1; use 0 to 2**64 - 1"),
        (("--checkpoint-every", "0"), "--checkpoint-every is 0 steps; use 1 or more"),
        (("--target", "99"), "--target is 99.0; use a number above 0 and at most 1"),
    ],
)
def test_flags_out_of_range_are_refused_before_anything_runs(example, monkeypatch, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(example, monkeypatch, tmp_path, *flags)
    assert message in capsys.readouterr().err


def test_resuming_without_a_checkpoint_is_refused_before_anything_runs(example, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(example, monkeypatch, tmp_path, "--resume")
    assert f"there is no {tmp_path / 'checkpoint.safetensors'}; train without it first" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(example, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit):
        run(example, monkeypatch, tmp_path / "file" / "runs")
    assert "cannot be written (Not a directory); choose another folder" in capsys.readouterr().err


def test_training_ends_when_the_target_is_reached(example, monkeypatch, tmp_path):
    _, checkpoint = run(example, monkeypatch, tmp_path, "--epochs", "3", "--target", "0.5")
    assert checkpoint["run"]["epoch"] == 1


def test_a_target_that_is_not_reached_is_said(example, monkeypatch, tmp_path, capsys):
    run(example, monkeypatch, tmp_path, "--epochs", "1", "--target", "1")
    assert "100.00% was not reached in 1 epochs; train for more epochs" in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(example, monkeypatch, tmp_path):
    graph, good = mg.graph, None

    def spoilt(function):
        step, calls = graph(function), []

        def call(images, labels):
            nonlocal good
            calls.append(1)
            if len(calls) == STEPS + 3:
                good = mg.load(tmp_path / "lenet5.safetensors")
                images = images * float("nan")
            return step(images, labels)

        return call

    monkeypatch.setattr(mg, "graph", spoilt)
    with pytest.raises(SystemExit, match=r"the loss is nan at step 3 of epoch 2; .*after epoch 1, is good.*--lr"):
        run(example, monkeypatch, tmp_path, "--epochs", "2")
    assert equal(mg.load(tmp_path / "lenet5.safetensors"), good)
    assert mg.load(tmp_path / "checkpoint.safetensors")["run"]["epoch"] == 1


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint_within_an_epoch(short, monkeypatch, tmp_path):
    graph = mg.graph

    def spoilt(function):
        step, calls = graph(function), []

        def call(images, labels):
            calls.append(1)
            return step(images * float("nan") if len(calls) == STEPS + 5 else images, labels)

        return call

    monkeypatch.setattr(mg, "graph", spoilt)
    with pytest.raises(SystemExit, match=r"nan at step 5 of epoch 2; .*after step 4 of epoch 2, is good.*--lr 0.005"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--checkpoint-every", "2")
    assert len(mg.load(tmp_path / "checkpoint.safetensors")["run"]["loss"]) == STEPS + 4
