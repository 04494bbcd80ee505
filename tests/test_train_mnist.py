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

STEPS = 6  # batches of 128 per epoch in most tests
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def load_with_short_epochs(monkeypatch, steps=STEPS):
    """Return the example as a module.  All loaders end after `steps` batches."""
    iterate, length = data.DataLoader.__iter__, data.DataLoader.__len__
    monkeypatch.setattr(data.DataLoader, "__iter__", lambda loader: islice(iterate(loader), steps))
    monkeypatch.setattr(data.DataLoader, "__len__", lambda loader: min(length(loader), steps))
    return load_example("train_mnist")


@pytest.fixture
def short(monkeypatch):
    """Return the example with short epochs and without pictures."""
    module = load_with_short_epochs(monkeypatch)
    monkeypatch.setattr(module, "draw", lambda *arguments: None)
    return module


def run(module, monkeypatch, folder, *flags):
    """Run the example; return the weights and the checkpoint that it saves."""
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--out", str(folder), *flags])
    module.main()
    return mg.load(folder / "lenet5.safetensors"), mg.load(folder / "checkpoint.safetensors")


def have_equal_bits(first, second):
    """Whether two dicts of tensors are equal."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name].numpy(), second[name].numpy()) for name in first
    )


def content(folder):
    """Return the bytes of the weights and the checkpoint."""
    return {name: (folder / name).read_bytes() for name in ("lenet5.safetensors", "checkpoint.safetensors")}


def run_once(folder, *flags):
    """Run the example with short epochs for several tests; return the folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        module = load_with_short_epochs(monkeypatch)
        monkeypatch.setattr(module, "draw", lambda *arguments: None)
        run(module, monkeypatch, folder, *flags)
    return folder


@pytest.fixture(scope="module")
def run_of_2_epochs(tmp_path_factory):
    """Return the content of a run of 2 short epochs."""
    return content(run_once(tmp_path_factory.mktemp("straight"), "--epochs", "2"))


@pytest.fixture(scope="module")
def run_of_1_epoch(tmp_path_factory):
    """Return the folder of a run of 1 short epoch."""
    return run_once(tmp_path_factory.mktemp("finished"), "--epochs", "1")


@pytest.fixture
def finished(run_of_1_epoch, tmp_path):
    """Return a folder of the test with the files of a run of 1 short epoch."""
    return shutil.copytree(run_of_1_epoch, tmp_path / "finished")


def test_a_short_run_learns_most_digits_and_saves_its_pictures(monkeypatch, tmp_path, capsys):
    steps = 150  # a third of the training digits
    example = load_with_short_epochs(monkeypatch, steps)
    _, checkpoint = run(example, monkeypatch, tmp_path, "--epochs", "1")
    assert checkpoint["run"]["accuracy"][-1] > 0.95
    assert len(checkpoint["run"]["loss"]) == steps
    for name in ("filters.png", "training.png", "confusion.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert f"weights and pictures are in {tmp_path}/" in capsys.readouterr().out


def test_one_seed_gives_the_same_bits_with_one_thread_and_with_all(short, monkeypatch, tmp_path):
    weights = []
    for number in (1, mg.get_num_threads()):
        mg.set_num_threads(number)
        weights.append(run(short, monkeypatch, tmp_path / str(number), "--epochs", "2")[0])
    assert have_equal_bits(*weights)


def act_in_step(monkeypatch, number, act):
    """Call act() during a training step; steps are counted over all epochs."""
    graph, calls = mg.graph, []

    def graph_with_act(function):
        step = graph(function)

        def call(images, labels):
            calls.append(1)
            if len(calls) == number:
                act()
            return step(images, labels)

        return call

    monkeypatch.setattr(mg, "graph", graph_with_act)


@pytest.mark.parametrize("stop_signal", SIGNALS)
@pytest.mark.parametrize("step", [1, 6, 9])
def test_a_run_stopped_by_a_signal_resumes_with_the_same_bits(
    short, monkeypatch, tmp_path, capsys, run_of_2_epochs, stop_signal, step
):
    """The run is stopped in the first step, in the last of an epoch, or in the middle of another."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with monkeypatch.context() as patched:
        act_in_step(patched, step, lambda: signal.raise_signal(stop_signal))
        _, checkpoint = run(short, patched, tmp_path, "--epochs", "2")
    assert len(checkpoint["run"]["loss"]) == step
    said = capsys.readouterr().out
    assert f"stopped in epoch {1 + step // STEPS}; continue with --resume (checkpoint in {tmp_path})" in said
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    run(short, monkeypatch, tmp_path, "--resume")
    assert content(tmp_path) == run_of_2_epochs


def test_a_run_stopped_in_its_last_step_is_finished(short, monkeypatch, tmp_path, capsys):
    act_in_step(monkeypatch, STEPS, lambda: signal.raise_signal(signal.SIGINT))
    _, checkpoint = run(short, monkeypatch, tmp_path, "--epochs", "1")
    assert checkpoint["run"]["epoch"] == 1 and len(checkpoint["run"]["accuracy"]) == 1
    assert f"weights and pictures are in {tmp_path}/" in capsys.readouterr().out


@pytest.fixture
def default_sigint():
    """Handle SIGINT as Python does by default; a process in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_sigint")
def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(short, monkeypatch, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    act_in_step(monkeypatch, 6, twice)
    with pytest.raises(SystemExit, match="stopped at once; --resume continues from the last checkpoint"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--checkpoint-every", "2")
    assert len(mg.load(tmp_path / "checkpoint.safetensors")["run"]["loss"]) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture(scope="module")
def run_without_kill(tmp_path_factory):
    """Return the files of a run that was not killed."""
    folder = tmp_path_factory.mktemp("without kill")
    assert killed_training.start(folder).wait() == 0
    return killed_training.content(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(
    "moment, lost",
    [
        ("fsync:2", 3),  # while the first checkpoint is written, after the weights
        ("replace:10", 3),  # before the fifth checkpoint replaces the fourth; each consists of 2 files
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
    first = mg.load(finished / "lenet5.safetensors")
    second, checkpoint = run(short, monkeypatch, finished, "--epochs", "3", "--resume")
    assert "the learning rate continues as in a run of 3 epochs; it was set for 1" in capsys.readouterr().out
    assert checkpoint["run"]["epoch"] == 3 and len(checkpoint["run"]["loss"]) == 3 * STEPS
    assert not have_equal_bits(first, second)
    rates = [saved["optimizer"]["param_groups"][0]["lr"] for saved in (checkpoint, straight)]
    assert rates[0] == rates[1]
    assert checkpoint["settings"]["epochs"] == 3


def test_resume_of_a_finished_run_without_more_epochs_changes_nothing(short, monkeypatch, finished, capsys):
    before = content(finished)
    run(short, monkeypatch, finished, "--resume")
    assert "nothing is left to train after 1 epochs; give more with --epochs" in capsys.readouterr().out
    assert content(finished) == before


def test_resume_takes_the_settings_of_the_run(short, monkeypatch, tmp_path):
    flags = "--epochs", "2", "--batch-size", "64", "--lr", "0.01", "--seed", "3"
    run(short, monkeypatch, tmp_path / "straight", *flags)
    with monkeypatch.context() as patched:
        act_in_step(patched, 8, lambda: signal.raise_signal(signal.SIGINT))
        run(short, patched, tmp_path / "stopped", *flags)
    run(short, monkeypatch, tmp_path / "stopped", "--resume", "--lr", "0.01")
    assert content(tmp_path / "stopped") == content(tmp_path / "straight")


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
    ],
)
def test_resume_refuses_other_settings_before_training(short, monkeypatch, finished, capsys, flags, message):
    before = content(finished)
    monkeypatch.setattr(mg, "warmup", None)
    with pytest.raises(SystemExit):
        run(short, monkeypatch, finished, "--epochs", "2", "--resume", *flags)
    assert message in capsys.readouterr().err
    assert content(finished) == before


def test_resume_refuses_fewer_epochs_than_were_begun(short, monkeypatch, tmp_path, capsys):
    with monkeypatch.context() as patched:
        act_in_step(patched, STEPS + 2, lambda: signal.raise_signal(signal.SIGINT))
        run(short, patched, tmp_path, "--epochs", "3")
    before = content(tmp_path)
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, "--resume", "--epochs", "1")
    assert "--resume: --epochs is 1, but 2 were begun; use 2 or more" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_resume_on_another_device_is_reported(short, monkeypatch, finished, capsys):
    """The run is stopped after one step, because NumPy is slow."""
    act_in_step(monkeypatch, 1, lambda: signal.raise_signal(signal.SIGINT))
    run(short, monkeypatch, finished, "--epochs", "2", "--resume", "--device", "numpy")
    assert "continuing on numpy; the run was on cpu, whose results differ in the last bits" in capsys.readouterr().out


def test_resume_refuses_a_dataset_of_another_size(monkeypatch, finished):
    example = load_with_short_epochs(monkeypatch, STEPS + 1)
    with pytest.raises(SystemExit, match="--resume: an epoch has 7 steps, but it had 6; use the same data set"):
        run(example, monkeypatch, finished, "--epochs", "2", "--resume")


@pytest.mark.parametrize(
    "damage, message",
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
def test_resume_refuses_and_keeps_a_damaged_or_unknown_checkpoint(
    short, monkeypatch, finished, capsys, damage, message
):
    path = finished / "checkpoint.safetensors"
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SystemExit):
        run(short, monkeypatch, finished, "--epochs", "2", "--resume")
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
def test_flags_out_of_range_are_refused_before_training(short, monkeypatch, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, *flags)
    assert message in capsys.readouterr().err


def test_resume_without_a_checkpoint_is_refused_before_training(short, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path, "--resume")
    assert f"there is no {tmp_path / 'checkpoint.safetensors'}; train without it first" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_training(short, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit):
        run(short, monkeypatch, tmp_path / "file" / "runs")
    assert "cannot be written (Not a directory); choose another folder" in capsys.readouterr().err


def test_training_ends_when_the_target_is_reached(short, monkeypatch, tmp_path):
    _, checkpoint = run(short, monkeypatch, tmp_path, "--epochs", "3", "--target", "0.1")
    assert checkpoint["run"]["epoch"] == 1


def test_a_target_that_is_not_reached_is_reported(short, monkeypatch, tmp_path, capsys):
    run(short, monkeypatch, tmp_path, "--epochs", "1", "--target", "1")
    assert "100.00% was not reached in 1 epochs; train for more epochs" in capsys.readouterr().out


def test_a_loss_of_nan_stops_the_run_and_keeps_the_checkpoint_of_the_last_epoch(short, monkeypatch, tmp_path):
    graph, good = mg.graph, None

    def graph_with_nan(function):
        step, calls = graph(function), []

        def call(images, labels):
            nonlocal good
            calls.append(1)
            if len(calls) == STEPS + 3:
                good = mg.load(tmp_path / "lenet5.safetensors")
                images = images * float("nan")
            return step(images, labels)

        return call

    monkeypatch.setattr(mg, "graph", graph_with_nan)
    with pytest.raises(SystemExit, match=r"the loss is nan at step 3 of epoch 2; .*after epoch 1, is good.*--lr"):
        run(short, monkeypatch, tmp_path, "--epochs", "2")
    assert have_equal_bits(mg.load(tmp_path / "lenet5.safetensors"), good)
    assert mg.load(tmp_path / "checkpoint.safetensors")["run"]["epoch"] == 1


def test_a_loss_of_nan_keeps_the_last_checkpoint_within_an_epoch(short, monkeypatch, tmp_path):
    graph = mg.graph

    def graph_with_nan(function):
        step, calls = graph(function), []

        def call(images, labels):
            calls.append(1)
            return step(images * float("nan") if len(calls) == STEPS + 5 else images, labels)

        return call

    monkeypatch.setattr(mg, "graph", graph_with_nan)
    with pytest.raises(SystemExit, match=r"nan at step 5 of epoch 2; .*after step 4 of epoch 2, is good.*--lr 0.005"):
        run(short, monkeypatch, tmp_path, "--epochs", "2", "--checkpoint-every", "2")
    assert len(mg.load(tmp_path / "checkpoint.safetensors")["run"]["loss"]) == STEPS + 4
