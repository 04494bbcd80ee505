"""examples/train_folder.py learns from a folder of images, says how good it is, resumes, and refuses bad folders."""

import inspect
import re
import shutil
import signal
import sys
import textwrap

import numpy as np
import pytest
from helpers import load_example
from PIL import Image

import minigrad as mg
from minigrad import data, datasets, train

CLASSES = ["plain green disc", "plain red square", "striped blue triangle"]
EACH = 24  # images of a class
FAST = "--size", "16", "--batch-size", "16"
RATE = train.RateSearch([1e-4, 1e-2, 1.0], [2.0, 1.0, 3.0], 1e-2)  # in place of a search


def write_photographs(folder, each=EACH):
    """Write pictures of coloured shapes as photographs: large and small, JPEG and PNG, some rotated by EXIF."""
    shapes, turned = datasets.ColorShapes(18 * each, seed=3), Image.Exif()
    turned[0x0112] = 6
    for number, (pixels, label) in enumerate(zip(shapes.images, shapes.labels, strict=True)):
        name = shapes.classes[label]
        if name in CLASSES:
            (folder / name).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels.transpose(1, 2, 0)).resize((40 + number % 50, 40 + number % 30))
            if number % 2:
                picture.rotate(90, expand=True).save(folder / name / f"{number}.JPG", exif=turned)
            else:
                picture.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def kept_photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("kept") / "photos")


@pytest.fixture
def photographs(kept_photographs, tmp_path):
    """Return a folder of photographs that a test may change."""
    return shutil.copytree(kept_photographs, tmp_path / "photos")


@pytest.fixture
def example():
    return load_example("train_folder")


def run(example, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["train_folder.py", *map(str, flags)])
    example.main()


def refusal(example, monkeypatch, capsys, *flags):
    """Return the message with which the example ends, before training."""
    with monkeypatch.context() as patched:
        patched.setattr(train, "fit", None)
        with pytest.raises(SystemExit) as error:
            run(example, patched, *flags)
    return f"{error.value}{capsys.readouterr().err}"


@pytest.fixture(scope="module")
def straight(kept_photographs, tmp_path_factory):
    """Return the folder and the output of a run of 3 epochs."""
    folder, example = tmp_path_factory.mktemp("straight"), load_example("train_folder")
    lines = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(train, "find_lr", lambda *arguments, **settings: RATE)
        monkeypatch.setattr("builtins.print", lambda *words, **settings: lines.append(" ".join(map(str, words))))
        run(example, monkeypatch, kept_photographs, "--out", folder, "--epochs", "3", *FAST)
    return folder, "\n".join(lines)


def test_a_run_learns_and_writes_a_model_a_log_and_pictures(straight):
    folder, said = straight
    assert "3 classes; train: 51 images, val: 11 images, test: 10 images" in said
    assert float(re.search(r"accuracy: ([\d.]+)%", said)[1]) > 60  # chance is 33
    assert (folder / "log.csv").read_text().count("\n") == 4
    assert "the highest learning rate is 0.01, by train.find_lr" in said
    for name in ("lr", "training", "confusion", "mistakes"):
        with Image.open(folder / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    info = mg.load_model(folder / "model.safetensors").model_info
    assert info["class_names"] == CLASSES and info["input_size"] == [3, 16, 16]


def test_the_model_file_has_the_best_epoch_and_predicts_files(example, monkeypatch, straight, kept_photographs):
    folder, said = straight
    model = mg.load_model(folder / "model.safetensors")
    files = sorted(kept_photographs.glob("*/*"))
    right = [path.parent.name == name for path, name in zip(files, train.predict(model, files).names, strict=True)]
    assert np.mean(right) > 0.6
    part = parts_of(example, monkeypatch, kept_photographs)["test"]
    batches = data.DataLoader(part, 8, normalize=model.model_info["normalize"])
    outputs = train.predict(model, [example.path_of(part, i) for i in range(len(part))]).outputs
    np.testing.assert_allclose(outputs.numpy(), train.predict(model, batches).outputs.numpy(), atol=1e-4)
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("val_loss")]) for row in rows[1:]]
    assert f"weights of epoch {1 + np.argmin(losses)}, which has the best val_loss" in said


def test_the_report_says_what_the_test_is_worth(straight):
    _, said = straight
    assert re.search(r"it is between [\d.]+% and [\d.]+% \(95 % interval\)", said)
    assert "always answering " in said and "the most frequent class: " in said
    assert "3 of 3 classes were tested on fewer than 20 images: plain green disc (" in said


def test_a_stopped_run_resumes_with_its_settings_and_the_same_bits(
    example, monkeypatch, tmp_path, straight, kept_photographs
):
    """The learning rate is that of the search in the first part."""
    flags = kept_photographs, "--out", tmp_path / "run"
    fit = train.fit

    def stopped_fit(*arguments, **settings):
        return fit(*arguments, on_step=lambda run: run.step == 4 and signal.raise_signal(signal.SIGINT), **settings)

    with monkeypatch.context() as patched:
        patched.setattr(train, "fit", stopped_fit)
        patched.setattr(train, "find_lr", lambda *arguments, **settings: RATE)
        with pytest.raises(SystemExit, match="stopped by a signal; continue with --resume"):
            run(example, patched, *flags, "--epochs", "3", *FAST)
    monkeypatch.setattr(train, "find_lr", None)
    run(example, monkeypatch, *flags, "--resume")
    assert (tmp_path / "run/model.safetensors").read_bytes() == (straight[0] / "model.safetensors").read_bytes()


def test_resume_refuses_other_settings_and_other_files(example, monkeypatch, tmp_path, straight, photographs):
    flags = photographs, "--out", shutil.copytree(straight[0], tmp_path / "run"), "--resume"
    with pytest.raises(SystemExit, match=r"of another run: lr is 0.02, but it was [\d.e-]+; seed is 7, but it was 0"):
        run(example, monkeypatch, *flags, "--lr", "0.02", "--seed", "7")
    first = next((photographs / CLASSES[0]).iterdir())
    first.rename(first.with_name("a" + first.name))
    with pytest.raises(SystemExit, match=r"of another run: files is \d+, but it was \d+"):
        run(example, monkeypatch, *flags)
    with pytest.raises(SystemExit, match=r"there is no .*none/last.safetensors; train without resume first"):
        run(example, monkeypatch, photographs, "--resume", "--out", tmp_path / "none")


def test_without_a_rate_one_is_searched_and_named(example, monkeypatch, tmp_path, capsys, kept_photographs):
    monkeypatch.setattr(example, "SEARCH_STEPS", 8)
    run(example, monkeypatch, kept_photographs, "--out", tmp_path, "--epochs", "1", *FAST)
    assert re.search(r"the highest learning rate is [\d.e-]+, by train.find_lr", capsys.readouterr().out)


def move_to_parts(photographs, names):
    """Move the images of each class to folders of parts, in turns."""
    for path in sorted(photographs.glob("*/*")):
        part = names[int(path.stem) // 18 % len(names)]
        (photographs / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(photographs / part / path.parent.name / path.name)
    for name in CLASSES:
        (photographs / name).rmdir()


def parts_of(example, monkeypatch, folder, *flags):
    """Return the parts that the example makes of a folder."""
    monkeypatch.setattr(
        sys, "argv", ["train_folder.py", str(folder), "--size", "16", "--out", f"{folder}/../o", *flags]
    )
    return example.find_parts(example.arguments())


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation"), ("train", "test")])
def test_folders_of_parts_are_used_and_missing_ones_split_off(example, monkeypatch, photographs, names):
    move_to_parts(photographs, names)
    parts = parts_of(example, monkeypatch, photographs)
    assert sorted(parts) == ["test", "train", "val"]
    files = {name: {example.path_of(part, i) for i in range(len(part))} for name, part in parts.items()}
    assert sum(map(len, files.values())) == len(set.union(*files.values())) == 3 * EACH
    for name in names[1:]:
        assert all(f"/{name}/" in path for path in files[example.PARTS[name.lower()]])


def test_each_part_has_all_classes_and_another_seed_gives_other_parts(example, monkeypatch, kept_photographs):
    parts, others = (parts_of(example, monkeypatch, kept_photographs, "--seed", str(seed)) for seed in (0, 1))
    for part in parts.values():
        counts = np.bincount(example.labels_of(part), minlength=3)
        assert np.ptp(counts) <= 1
    assert set(parts["test"].indices) != set(others["test"].indices)


def test_training_images_are_augmented_by_one_kernel_and_others_are_not(example, monkeypatch, kept_photographs):
    parts = parts_of(example, monkeypatch, kept_photographs)
    args, normalize = example.arguments(), data.mean_and_std(parts["train"])
    part = example.augmented(parts["train"], normalize, args)
    loader = data.DataLoader(part, len(part), seed=0)
    assert "_transforming_reader" in loader._read.__qualname__
    (first, labels), (second, _) = next(iter(loader)), next(iter(loader))
    assert first.shape == (51, 3, 16, 16) and (first.numpy() != second.numpy()).any((1, 2, 3)).mean() > 0.9
    assert (labels.numpy() == example.labels_of(parts["train"])).all()
    assert parts["train"].dataset.transform is None and part.dataset._cache is parts["train"].dataset._cache


# ---- what is refused


def test_broken_files_are_listed_or_left_out(example, monkeypatch, capsys, tmp_path, photographs):
    (photographs / CLASSES[0] / "notes.txt").write_text("no image")
    (photographs / CLASSES[1] / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    said = refusal(example, monkeypatch, capsys, photographs, "--size", "16", "--out", tmp_path / "out")
    assert "2 of 74 files in" in said and "leave them out with --skip" in said
    assert "notes.txt: does not end in .jpg" in said and "broken.jpg: " in said
    parts = parts_of(example, monkeypatch, photographs, "--skip")
    assert sum(map(len, parts.values())) == 72
    assert "left out 2 files" in capsys.readouterr().out


def empty_class(folder):
    (folder / "nothing").mkdir()


def keep_one_class(folder):
    for name in CLASSES[1:]:
        shutil.rmtree(folder / name)


def keep_no_class(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def keep_few_images(folder):
    for path in sorted((folder / CLASSES[2]).iterdir())[4:]:
        path.unlink()


def lose_a_class(folder):
    move_to_parts(folder, ("train", "val", "test"))
    shutil.rmtree(folder / "test" / CLASSES[1])


def empty_part(folder):
    move_to_parts(folder, ("train", "val", "test"))
    for path in folder.glob("test/*/*"):
        path.unlink()


@pytest.mark.parametrize(
    "change, message",
    [
        (shutil.rmtree, "photos"),
        (keep_no_class, "has no folder of a class, expected 1 or more; put images into"),
        (keep_one_class, "has 1 class, plain green disc, expected 2 or more"),
        (empty_class, "has fewer than 5 images of 1 of 4 classes: nothing (0); add images, or remove the folders"),
        (keep_few_images, "has fewer than 5 images of 1 of 3 classes: striped blue triangle (4)"),
        (lose_a_class, "plain red square is in one of them only; rename the folders"),
        (empty_part, "test has 0 images, expected 1 or more"),
    ],
)
def test_a_folder_from_which_nothing_can_be_learned_is_refused(
    example, monkeypatch, capsys, tmp_path, photographs, change, message
):
    change(photographs)
    said = refusal(example, monkeypatch, capsys, photographs, "--out", tmp_path / "out", *FAST)
    assert message in said and "Traceback" not in said


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--epochs", "0"), "argument --epochs: 0 is no whole number of 1 or more"),
        (("--size", "-3"), "argument --size: -3 is no whole number of 1 or more"),
        (("--lr", "0"), "argument --lr: 0 is no number above 0"),
        (("--lr", "fast"), "argument --lr: invalid rate value: 'fast'"),
        (("--device", "tpu"), "device 'tpu' is unknown"),
        (("--model", "lenet"), "image_size is 16; use 28 or 32"),
    ],
)
def test_settings_out_of_range_are_refused(example, monkeypatch, capsys, tmp_path, kept_photographs, flags, message):
    said = refusal(example, monkeypatch, capsys, kept_photographs, "--out", tmp_path, *FAST, *flags)
    assert message in said and "Traceback" not in said


# ---- parts of the report


def test_wilson_interval_is_that_of_the_literature(example):
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for counts, interval in published.items():
        np.testing.assert_allclose(example.wilson_interval(*counts), interval, atol=5e-5)


def test_copies_of_training_images_in_the_test_are_counted(example, monkeypatch, photographs):
    move_to_parts(photographs, ("train", "test"))
    for number, path in enumerate(sorted(photographs.glob("train/*/*"))[:3]):
        shutil.copy(path, photographs / "test" / path.parent.name / f"9{number}{path.name}")
    assert example.count_copies(parts_of(example, monkeypatch, photographs)) == 3


def test_a_model_that_is_no_better_than_a_constant_answer_is_called_so(example, monkeypatch, kept_photographs):
    parts = parts_of(example, monkeypatch, kept_photographs)
    truth = example.labels_of(parts["test"])
    always, right = (
        "\n".join(example.judge(train.class_report(truth, answers, CLASSES), parts))
        for answers in (np.zeros_like(truth), truth)
    )
    assert "NOT CLEARLY BETTER" in always and "NOT CLEARLY BETTER" not in right


def test_long_names_are_shortened_in_the_middle(example):
    assert example.shorten("cat") == "cat"
    assert example.shorten("a" * 30 + "b" * 30) == "a" * 14 + "…" + "b" * 13


def test_the_shortest_program_in_the_docstring_runs(example, monkeypatch, tmp_path, capsys, photographs):
    """It is shown there in 20 lines or fewer."""
    lines = inspect.getdoc(example).split("\n\n    import minigrad")[1].splitlines()
    program = textwrap.dedent("    import minigrad" + "\n".join(lines))
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    shutil.copy(next((photographs / CLASSES[0]).iterdir()), tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    exec(program.replace("64", "16").replace("optimizer, 10", "optimizer, 2"), {})
    assert capsys.readouterr().out.splitlines()[-1].strip("[']") in CLASSES
