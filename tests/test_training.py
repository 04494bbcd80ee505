"""The example learns, repeats itself to the last bit, and goes on where it was stopped."""

import importlib.util
import sys
from itertools import islice
from pathlib import Path

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


def test_a_stopped_run_resumes_as_if_it_had_never_stopped(example, monkeypatch, tmp_path, capsys):
    straight, _ = run(example, monkeypatch, tmp_path / "straight", "--epochs", "2")

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == STEPS + 40:  # in the second epoch
            raise KeyboardInterrupt
        return graph(*arguments)

    graph, make = None, mg.graph

    def make_interrupted(function):
        nonlocal graph
        graph = make(function)
        return interrupted

    monkeypatch.setattr(mg, "graph", make_interrupted)
    run(example, monkeypatch, tmp_path / "stopped", "--epochs", "2")
    assert "stopped in epoch 2; go on with --resume" in capsys.readouterr().out
    monkeypatch.setattr(mg, "graph", make)
    resumed, checkpoint = run(example, monkeypatch, tmp_path / "stopped", "--epochs", "2", "--resume")
    assert equal(straight, resumed)
    assert len(checkpoint["run"]["loss"]) == 2 * STEPS


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--epochs", "0"), "--epochs is 0; train for at least 1"),
        (("--device", "cuda:1"), "one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through"),
        (("--device", "tpu"), "device 'tpu' is unknown"),
        (("--batch-size", "0"), "--batch-size is 0; use at least 1"),
        (("--lr", "0"), "--lr is 0.0; use a number above 0"),
        (("--target", "99"), "--target is 99.0; it is a share"),
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
    assert "cannot be written (Not a directory); name another folder" in capsys.readouterr().err


def test_training_ends_when_the_target_is_reached(example, monkeypatch, tmp_path):
    _, checkpoint = run(example, monkeypatch, tmp_path, "--epochs", "3", "--target", "0.5")
    assert checkpoint["run"]["epoch"] == 1


def test_a_target_that_is_not_reached_is_said(example, monkeypatch, tmp_path, capsys):
    run(example, monkeypatch, tmp_path, "--epochs", "1", "--target", "1")
    assert "100.00% was not reached in 1 epochs; train for more of them" in capsys.readouterr().out


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
