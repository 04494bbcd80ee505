"""Every example runs, saves its pictures, shows what its comments claim, and refuses invalid arguments at once."""

import contextlib
import io
import os
import re
import struct
import sys
import zlib
from itertools import islice
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from helpers import load_example
from PIL import Image, ImageDraw, ImageFile, ImageFont, features

import minigrad as mg
from minigrad import data, datasets, nn
from minigrad.datasets import image_files
from minigrad.models import LeNet5

NAMES = ("hand_made_filters", "why_convolution", "rgb_shapes", "predict", "see_filters", "train_folder")


def run(module, monkeypatch, *flags):
    """Run an example with these flags."""
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, flags)])
    module.main()


def refusal(module, monkeypatch, capsys, *flags):
    """Return the error text of an example that refuses its flags."""
    with pytest.raises(SystemExit):
        run(module, monkeypatch, *flags)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def assert_pictures(*paths):
    """Check that every file is a picture that is not of one colour."""
    for path in paths:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, f"{path.name} is empty"


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_written_is_refused(name, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    images = [tmp_path / "none.png"] if name in ("predict", "train_folder") else []
    said = refusal(load_example(name), monkeypatch, capsys, *images, "--out", tmp_path / "file" / "runs")
    assert "cannot be written (Not a directory); choose another folder" in said


@pytest.mark.parametrize("name", ["hand_made_filters", "rgb_shapes", "see_filters", "train_folder", "train_mnist"])
def test_a_negative_seed_is_refused(name, monkeypatch, tmp_path, capsys):
    folder = [tmp_path] if name == "train_folder" else []
    said = refusal(load_example(name), monkeypatch, capsys, *folder, "--seed", "-1", "--out", tmp_path)
    assert "--seed is -1; use 0 to 2**64 - 1" in said


@pytest.mark.parametrize(
    "name, flags, said",
    [
        ("mnist_best", ["--device", "gpu"], "device 'gpu' is unknown"),
        ("train_mnist", ["--device", "gpu"], "device 'gpu' is unknown"),
        ("train_mnist", ["--batch-size", "60001"], "--batch-size is 60001; use 1 to 60000"),
        ("sweep", ["--batch-size", "32", "99999"], "--batch-size is 99999; use at most 10000, the number of --digits"),
        ("sweep", ["--out", "/dev/null/runs"], "cannot be written (Not a directory); choose another folder"),
    ],
)
def test_a_flag_that_would_fail_later_is_refused_at_once(name, flags, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(load_example(name), monkeypatch, capsys, *flags)


@pytest.mark.parametrize("name", ["mnist_best", "train_mnist"])
def test_a_device_that_is_missing_is_refused_at_once(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def zeros(*_, device):
        raise mg.errors.DeviceError(f"device {device!r}: looked for a GPU: there is none; use 'cpu'")

    monkeypatch.setattr(mg, "zeros", zeros)
    said = refusal(load_example(name), monkeypatch, capsys, "--device", "cuda")
    assert "device 'cuda': looked for a GPU: there is none" in said


# ---- hand_made_filters.py


@pytest.fixture
def weights(tmp_path):
    """Save a LeNet-5 whose first filters are the hand-made ones, some negated; return the file."""
    by_hand = [weight for name, weight in load_example("hand_made_filters").FILTERS.items() if name != "unchanged"]
    state = LeNet5().state_dict()
    state["conv1.weight"] = mg.tensor(np.stack([-by_hand[4], *by_hand[:4], np.eye(5)])[:, None].astype(np.float32))
    mg.save(state, tmp_path / "lenet5.safetensors")
    return tmp_path / "lenet5.safetensors"


def test_hand_made_filters_finds_the_nearest_learned_filters(monkeypatch, tmp_path, capsys, weights):
    Image.new("RGB", (90, 60), "orange").save(tmp_path / "photo.jpg")
    model = LeNet5()
    model.load_state_dict(mg.load(weights))
    mg.save_model(model, weights)  # weights alone are read, too, as other tests do
    run(load_example("hand_made_filters"), monkeypatch, tmp_path / "photo.jpg", "--weights", weights, "--out", tmp_path)
    said = capsys.readouterr().out
    assert "picture of 60×90 pixels" in said
    assert "stride 2, padding 1: 5×5" in said
    for name, correlation in (("blur", "+1.00"), ("vertical edges", "+1.00"), ("slanted edges", "-1.00")):
        assert f"  {name:17} {correlation}" in said
    assert_pictures(*(tmp_path / f"{name}.png" for name in ("answers", "stride_and_padding", "learned")))


@pytest.fixture(scope="module")
def hand_made_filters(tmp_path_factory):
    """Run hand_made_filters.py, which trains a LeNet-5; return its output and the model."""
    example, models, output = load_example("hand_made_filters"), [], io.StringIO()
    train, example.train = example.train, lambda model, seed: (models.append(model), train(model, seed))
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(output):
        run(example, monkeypatch, "--out", tmp_path_factory.mktemp("hand_made_filters"))
    return output.getvalue(), *models


def test_hand_made_filters_shows_that_training_makes_edge_filters(hand_made_filters):
    lines = [line.split() for line in hand_made_filters[0].splitlines() if "al edges" in line]
    trained, random = np.abs([[float(line[-2]), float(line[-1])] for line in lines[-2:]]).T
    assert (trained > 0.5).all() and (trained > random + 0.2).all()


def test_hand_made_filters_respond_to_the_patterns_they_are_named_after():
    example = load_example("hand_made_filters")
    steps = np.zeros((20, 20), np.float32)
    steps[:, 10:] = 1

    def strongest(name, image):
        return np.abs(example.convolve(image, example.FILTERS[name])).max()

    corner = np.minimum(steps, steps.T)
    for name in ("vertical edges", "horizontal edges", "slanted edges", "outlines"):
        assert strongest(name, np.ones((20, 20), np.float32)) < 1e-5
    assert strongest("vertical edges", steps) > 0.9 and strongest("vertical edges", steps.T) < 1e-5
    assert strongest("horizontal edges", steps.T) > 0.9 and strongest("horizontal edges", steps) < 1e-5
    assert strongest("slanted edges", corner) > 0.4 and strongest("slanted edges", steps) < 1e-5
    slope = np.tri(20, dtype=np.float32)
    assert strongest("slanted edges", slope) > 0.4


@pytest.mark.parametrize(
    "size, content, message",
    [
        (None, None, "photo.png: no such file; check the name"),
        (None, b"no image", "photo.png: is not an image of a known format"),
        (
            (2000, 40),
            None,
            "photo.png is 320×6 pixels when reduced to fit 320×320; give a picture with sides of 16 or more",
        ),
    ],
)
def test_hand_made_filters_refuses_a_picture_that_cannot_be_filtered(
    monkeypatch, tmp_path, capsys, size, content, message
):
    path = tmp_path / "photo.png"
    if size:
        Image.new("L", size).save(path)
    elif content:
        path.write_bytes(content)
    assert message in refusal(load_example("hand_made_filters"), monkeypatch, capsys, path, "--out", tmp_path)


def test_hand_made_filters_refuses_weights_of_another_network(monkeypatch, tmp_path, capsys):
    mg.save({"weight": mg.ones(3)}, tmp_path / "other.safetensors")
    flags = "--weights", tmp_path / "other.safetensors", "--out", tmp_path
    assert "--weights: " in refusal(load_example("hand_made_filters"), monkeypatch, capsys, *flags)


# ---- why_convolution.py


def test_why_convolution_shows_that_convolution_wins_unless_pixels_are_shuffled(monkeypatch, tmp_path, capsys):
    example = load_example("why_convolution")
    run(example, monkeypatch, "--quick", "--out", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    counts = [int(line[21:].split()[0].replace(",", "")) for line in lines[:4]]
    assert counts[0] == 61_706 and abs(counts[1] / counts[0] - 1) < 0.01 and counts[2] < counts[1] / 40
    convolutional, full = ([float(share.strip(" %")) for share in line.split(":")[1].split(",")] for line in lines[4:6])
    assert all(c > f + 2 for c, f in zip(convolutional[:-1], full[:-1], strict=True))
    assert convolutional == sorted(convolutional, reverse=True)
    convolutional, full = ([float(word[:-2 if word.endswith(",") else -1]) for word in line.split() if "%" in word]
                           for line in lines[6:8])  # fmt: skip
    assert convolutional[0] > convolutional[1] + 3 and abs(full[0] - full[1]) < 2 and full[1] > convolutional[1]
    assert_pictures(tmp_path / "why_convolution.png")


def test_why_convolution_shifts_digits_in_four_directions():
    example = load_example("why_convolution")
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10, 20] = 255
    positions = [
        tuple(np.argwhere(moved.images[0])[0]) for moved in example.shifted(example.data.ImageDataset(image, [0]), 3)
    ]
    assert positions == [(10, 23), (10, 17), (13, 20), (7, 20)]


def test_why_convolution_shuffles_without_losing_pixels():
    example = load_example("why_convolution")
    digits = example.part(datasets.MNIST(train=False), 5)
    mixed = example.shuffled(digits, np.random.default_rng(0).permutation(784))
    assert (np.sort(mixed.images.reshape(5, -1)) == np.sort(digits.images.reshape(5, -1))).all()
    assert (mixed.images != digits.images).any()


def test_why_convolution_refuses_0_seeds(monkeypatch, tmp_path, capsys):
    said = refusal(load_example("why_convolution"), monkeypatch, capsys, "--seeds", "0", "--out", tmp_path)
    assert "--seeds is 0; use 1 or more" in said


# ---- rgb_shapes.py


def test_rgb_shapes_learns_colour_filters(monkeypatch, tmp_path, capsys):
    run(load_example("rgb_shapes"), monkeypatch, "--quick", "--out", tmp_path)
    said, *lines, _ = capsys.readouterr().out.splitlines()
    random, learned = (" ".join(pair) for pair in (lines[:2], lines[2:]))
    assert float(said.split("%")[0]) > 40  # chance is 5.6
    shares = [
        [int(word[:-1]) for word in line.replace(",", "").split() if word.endswith("%")] for line in (random, learned)
    ]
    assert shares[1][0] < shares[0][0] < shares[0][1] < shares[1][1]  # more grey filters, and more colourful ones
    assert shares[1][2] > 2 * shares[0][2]  # and more even ones
    assert_pictures(*(tmp_path / f"{name}.png" for name in ("pictures", "filters", "prototypes")))


def test_rgb_shapes_measures_how_grey_and_even_filters_are():
    example = load_example("rgb_shapes")
    grey_edge = np.broadcast_to(np.repeat([-1.0, 0, 1], [3, 1, 3]), (3, 7, 7))
    red = np.zeros((3, 7, 7))
    red[0] = 1
    grey, even = example.shares(np.stack([grey_edge, red]))
    assert np.allclose(grey, [1, 1 / 3]) and np.allclose(even, [0, 1])


# ---- predict.py


@pytest.fixture(scope="module")
def digits(tmp_path_factory, hand_made_filters):
    """Return a folder with the weights and a checkpoint of a trained LeNet-5."""
    folder, (_, model) = tmp_path_factory.mktemp("digits"), hand_made_filters
    mg.save(model.state_dict(), folder / "lenet5.safetensors")
    mg.save({"model": model.state_dict(), "epoch": 3}, folder / "checkpoint.safetensors")
    return folder


def photograph(number, dark_ink=True, noise=4):
    """Return a simulated photograph: a test digit on a large sheet, off the centre, lit from the left, with noise."""
    sheet = np.zeros((300, 400))
    digit = Image.fromarray(datasets.MNIST(train=False).images[number]).resize((196, 196), Image.Resampling.BICUBIC)
    sheet[40:236, 150:346] = np.asarray(digit) / 255
    light = np.linspace(1, 0.55, 400) * (0.9 - 0.7 * sheet if dark_ink else 0.15 + 0.7 * sheet)
    noisy = 255 * light + np.random.default_rng(0).normal(0, noise, light.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def prediction(monkeypatch, capsys, weights, *paths):
    """Return the digit that predict.py finds in each picture."""
    run(load_example("predict"), monkeypatch, *paths, "--weights", weights, "--out", weights.parent / "seen")
    lines = capsys.readouterr().out.splitlines()[1:]
    return [int(line.split(": ")[1].split()[0]) for line in lines if "; see " in line]


@pytest.mark.parametrize("file, count", [("lenet5.safetensors", 10), ("checkpoint.safetensors", 1)])
def test_predict_reads_photographs_with_weights_or_a_checkpoint(monkeypatch, capsys, digits, tmp_path, file, count):
    numbers, truth = range(count), datasets.MNIST(train=False).labels[:count]
    for number in numbers:
        photograph(number, dark_ink=number % 2 == 0).save(tmp_path / f"{number}.jpg")
    read = prediction(monkeypatch, capsys, digits / file, *(tmp_path / f"{number}.jpg" for number in numbers))
    assert np.mean(read == truth) >= 0.9
    assert_pictures(*(digits / "seen" / f"{number + 1}_{number}.png" for number in numbers))


def test_predict_reads_all_kinds_of_files_alike(monkeypatch, capsys, digits, tmp_path):
    """The files are rotated with EXIF, transparent, in CMYK, of 16 bits, small, or drawn with a thin pen."""
    seven, turned = photograph(0, noise=0), Image.Exif()
    turned[0x0112] = 6
    seven.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=turned)
    shape = Image.new("RGBA", seven.size, (0, 0, 90, 0))
    shape.putalpha(seven.point(lambda level: 255 if level < 70 else 0))
    shape.save(tmp_path / "clear.png")
    seven.convert("CMYK").save(tmp_path / "print.tif")
    Image.fromarray(np.asarray(seven).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(datasets.MNIST(train=False).images[0]).save(tmp_path / "small.png")
    fine = Image.new("L", (300, 300), 255)
    fine.paste(0, (70, 60, 220, 62))
    for y in range(60, 250):
        fine.paste(0, (220 - (y - 60) // 2, y, 222 - (y - 60) // 2, y + 1))
    fine.save(tmp_path / "fine.png")
    paths = [tmp_path / name for name in ("turned.jpg", "clear.png", "print.tif", "deep.png", "small.png", "fine.png")]
    assert prediction(monkeypatch, capsys, digits / "lenet5.safetensors", *paths) == [7] * 6


def test_predict_scales_and_centres_a_digit_as_mnist_does():
    """A cropped test digit becomes 20 pixels large again, with its centre of mass in the middle."""
    example = load_example("predict")
    for image in datasets.MNIST(train=False).images[:20]:
        rows, columns = (np.flatnonzero(image.max(axis)) for axis in (1, 0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255
        digit = example.centred(cut)
        assert digit.shape == (28, 28) and max(np.ptp(np.argwhere(digit), axis=0)) + 1 == 20
        middle = (np.argwhere(digit) * digit[digit > 0][:, None]).sum(0) / digit.sum()
        assert np.abs(middle - 13.5).max() <= 0.5


def test_predict_attributes_the_lead_to_pixels(digits):
    """A pixel's share is gradient times ink; their sum is the change of the lead if all ink fades a little."""
    example = load_example("predict")
    model = example.load(digits / "lenet5.safetensors")
    digit = datasets.MNIST(train=False).images[0].astype(np.float32) / 255

    def lead(digit):
        """Return the difference of the two largest log probabilities."""
        log = np.log(np.sort(example.read_digit(model, digit)[0].astype(np.float64)))
        return log[-1] - log[-2]

    faded = (lead(digit) - lead(0.99 * digit)) / 0.01
    assert np.isclose(example.read_digit(model, digit)[1].sum(), faded, rtol=0.1)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such file; check the name"),
        (b"no image", "is not an image of a known format, or its header is damaged; give a PNG"),
        (
            Image.new("L", (1, 400)),
            "only 1×280 pixels when reduced to fit 280×280; give a picture with sides of 8 or more",
        ),
        (Image.new("L", (50, 50)), "no digit found: ink and paper differ by 0.0%, expected 8% or more"),
        (Image.effect_noise((200, 300), 5), "no digit found: ink and paper differ by"),
    ],
)
def test_predict_refuses_what_it_cannot_read(monkeypatch, tmp_path, capsys, digits, content, message):
    path = tmp_path / "photo.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        content.save(path)
    flags = "--weights", digits / "lenet5.safetensors", "--out", tmp_path
    assert f"{path}: {message}" in refusal(load_example("predict"), monkeypatch, capsys, path, *flags)


def test_predict_refuses_a_truncated_picture(monkeypatch, tmp_path, capsys, digits):
    photograph(0).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:9000])
    flags = "--weights", digits / "lenet5.safetensors", "--out", tmp_path
    said = refusal(load_example("predict"), monkeypatch, capsys, tmp_path / "half.png", *flags)
    assert "half.png: cannot be read, or is damaged (" in said


def test_predict_names_the_command_that_makes_missing_weights(monkeypatch, tmp_path, capsys):
    flags = tmp_path / "photo.png", "--weights", tmp_path / "none.safetensors", "--out", tmp_path
    said = refusal(load_example("predict"), monkeypatch, capsys, *flags)
    assert f"there is no {tmp_path / 'none.safetensors'}; run python examples/train_mnist.py, which writes runs" in said


def test_predict_reads_digits_with_a_model_file_that_says_its_normalisation(digits):
    """The same probabilities as with weights alone, for which those of train_mnist.py are assumed."""
    example = load_example("predict")
    model, digit = example.load(digits / "lenet5.safetensors"), datasets.MNIST(train=False).images[0] / 255
    info = {"class_names": range(10), "input_size": (1, 28, 28), "normalize": (0.1307, 0.3081), "pad": 2}
    mg.save_model(model, digits / "model.safetensors", **info)
    loaded = example.load(digits / "model.safetensors")
    assert example.is_for_digits(loaded) and not loaded.training
    for got, expected in zip(example.read_digit(loaded, digit), example.read_digit(model, digit), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


class RedOrBlue(nn.Module):
    """Scores for red and for blue: the mean of that channel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(mg.full((1,), 30.0))

    def forward(self, x):
        return x.mean((2, 3))[:, [0, 2]] * self.scale


@pytest.fixture
def colour_model(monkeypatch):
    """Return a model of colours, which mg.load can read."""
    load = mg.load
    monkeypatch.setattr(mg, "load", lambda path: load(path, classes=[RedOrBlue]))
    return RedOrBlue()


def test_predict_names_the_class_of_a_photograph_and_the_pixels_that_decided(
    monkeypatch, tmp_path, capsys, colour_model
):
    info = {"class_names": ["red", "blue as the sky in May, or of another blue"], "input_size": (3, 12, 16)}
    mg.save_model(colour_model, tmp_path / "colours.safetensors", normalize=(0.5, 0.5), pad=1, **info)
    picture = Image.new("RGB", (320, 240), "black")
    picture.paste("red", (0, 0, 320, 100))
    picture.paste("blue", (0, 180, 320, 240))
    picture.save(tmp_path / "flag.png")
    example = load_example("predict")
    flags = tmp_path / "flag.png", "--model", tmp_path / "colours.safetensors", "--out", tmp_path / "seen"
    run(example, monkeypatch, *flags)
    said = capsys.readouterr().out
    assert "the classes, with their probabilities" in said and "flag.png: red " in said
    assert_pictures(tmp_path / "seen" / "1_flag.png")
    model = example.load(tmp_path / "colours.safetensors")
    probabilities, decided = example.read_photograph(
        model, example.prepare_photograph(model, tmp_path / "flag.png").image
    )
    assert probabilities.shape == (2,) and decided.shape == (12, 16)
    assert (decided[:4] > 0).all() and (decided[-2:] < 0).all()  # red pixels are for red, blue ones against it


def test_predict_takes_a_grey_model_of_classes_that_are_no_digits_as_it_is(monkeypatch, tmp_path, capsys):
    mg.save_model(
        LeNet5(image_size=32), tmp_path / "clothes.safetensors", class_names=list("abcdefghij"), input_size=(1, 28, 28),
        normalize=(0.3, 0.3), pad=2,
    )  # fmt: skip
    photograph(0).save(tmp_path / "photo.png")
    flags = tmp_path / "photo.png", "--model", tmp_path / "clothes.safetensors", "--out", tmp_path
    run(load_example("predict"), monkeypatch, *flags)
    said = capsys.readouterr().out
    assert re.search(r"photo.png: [a-j] [\d.]+%, [a-j] ", said)
    assert "Is this a digit" not in said and "Nothing is known here of its training images" in said
    assert_pictures(tmp_path / "1_photo.png")


def test_predict_refuses_a_model_that_does_not_say_its_classes(monkeypatch, tmp_path, capsys):
    mg.save_model(LeNet5(), tmp_path / "bare.safetensors")
    flags = tmp_path / "photo.png", "--model", tmp_path / "bare.safetensors", "--out", tmp_path
    said = refusal(load_example("predict"), monkeypatch, capsys, *flags)
    assert "the model does not say its class_names, input_size, normalize; write it by mg.save_model" in said


PICTURES = "predict", "hand_made_filters"


def grey_levels(example, path):
    """Return the picture of a file as the example reads it."""
    return example.photograph(path) if hasattr(example, "photograph") else example.prepare_digit(None, path).photograph


def write_huge_png(path, width, height):
    """Write a white PNG of many pixels that takes only a few kilobytes."""
    row = zlib.compressobj(9)
    data = b"".join(row.compress(b"\0" + b"\xff" * width) for _ in range(height)) + row.flush()
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ))  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(name, monkeypatch, tmp_path, capsys, digits):
    write_huge_png(tmp_path / "bomb.png", 13_000, 13_000)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    flags = tmp_path / "bomb.png", "--weights", digits / "lenet5.safetensors", "--out", tmp_path
    said = refusal(load_example(name), monkeypatch, capsys, *flags)
    assert "bomb.png" in said and "13000×13000 pixels, at most 50,000,000" in said


@pytest.mark.parametrize("name", PICTURES)
def test_a_large_jpeg_is_decoded_at_a_reduced_size(name, monkeypatch, tmp_path):
    example, sizes, seven = load_example(name), [], photograph(0, noise=0)
    seven.resize((4000, 3000)).save(tmp_path / "large.jpg")
    monkeypatch.setattr(image_files, "MOST_PIXELS", 3_000_000)
    decode = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda file: (sizes.append(file.size), decode(file))[1])
    grey_levels(example, tmp_path / "large.jpg")
    assert max(sizes) == (1000, 750)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "webp", "avif", "bmp", "ico"])
@pytest.mark.filterwarnings("ignore")  # warnings of Pillow about damaged files
def test_damaged_pictures_of_every_format_are_read_or_refused(name, kind, tmp_path):
    """Truncated or with changed bytes: the picture is read, or the error is a DataError."""
    if f".{kind}" not in Image.registered_extensions() or (kind == "avif" and not features.check("avif")):
        pytest.skip(f"Pillow cannot write {kind} here")
    example, path, random = load_example(name), tmp_path / f"photo.{kind}", np.random.default_rng(0)
    photograph(0).resize((60, 45)).convert("RGB").save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        positions = random.integers(0, len(whole) if random.random() < 0.5 else min(200, len(whole)), 4)
        damaged[positions] = random.integers(0, 256, 4)
        path.write_bytes(damaged[: random.integers(1, len(whole)) if random.random() < 0.3 else None].tobytes())
        with contextlib.suppress(mg.errors.DataError):
            grey = grey_levels(example, path)
            assert grey.min() >= 0 and grey.max() <= 1


def test_predict_takes_any_legal_file_name(monkeypatch, tmp_path, capsys, digits):
    names = [b"caf\xe9.jpg", b"$x$ $\\frac{$.jpg", b"two\nlines.jpg", b"x" * 251 + b".jpg"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        with path.open("wb") as file:
            photograph(0).save(file, "JPEG")
    run(
        load_example("predict"),
        monkeypatch,
        *paths,
        "--weights",
        digits / "lenet5.safetensors",
        "--out",
        tmp_path / "seen",
    )
    assert b"caf\\udce9.jpg: " in capsys.readouterr().out.encode()  # escaped, so that a terminal can print it
    assert len(list((tmp_path / "seen").iterdir())) == 4


@pytest.mark.parametrize("name", PICTURES)
def test_weights_that_are_no_dict_are_refused(name, monkeypatch, tmp_path, capsys):
    photograph(0).save(tmp_path / "photo.png")
    mg.save([1, 2], tmp_path / "list.safetensors")
    flags = tmp_path / "photo.png", "--weights", tmp_path / "list.safetensors", "--out", tmp_path
    assert "expected a dict of tensors, got a list" in refusal(load_example(name), monkeypatch, capsys, *flags)


def drawn(draw):
    """Return a sheet with what a function draws on it in black."""
    sheet = Image.new("L", (280, 280), 255)
    draw(ImageDraw.Draw(sheet))
    return sheet


def written(text):
    """Return a sheet with a letter or digit in matplotlib's DejaVu Sans."""
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 180)
    return drawn(lambda pen: pen.text((140, 140), text, font=font, fill=0, anchor="mm"))


def warning(example, path, sheet):
    """Return what the example says of a sheet."""
    sheet.save(path / "sheet.png")
    return example.warn_of_no_digit(example.prepare_digit(None, path / "sheet.png").image)


NO_DIGITS = {
    "square": lambda pen: pen.rectangle((70, 70, 210, 210), fill=0),
    "triangle": lambda pen: pen.polygon([(140, 60), (220, 210), (60, 210)], fill=0),
    "disc": lambda pen: pen.ellipse((70, 70, 210, 210), fill=0),
    "thick ring": lambda pen: pen.ellipse((70, 70, 210, 210), outline=0, width=60),
    "boot": lambda pen: pen.polygon([(120, 60), (165, 60), (170, 160), (240, 190), (240, 220), (120, 220)], fill=0),
}


@pytest.mark.parametrize("name", NO_DIGITS)
def test_predict_warns_of_a_filled_shape_because_it_has_no_strokes(name, tmp_path):
    said = warning(load_example("predict"), tmp_path, drawn(NO_DIGITS[name]))
    assert "It has no strokes: a window of 8×8 pixels is full of ink to" in said


def test_predict_warns_of_letters_unless_they_look_like_a_digit_and_not_of_printed_digits(tmp_path):
    example = load_example("predict")
    for letter in "ACEFHKMNPRVWX":
        assert "It resembles no training digit" in warning(example, tmp_path, written(letter)), letter
    assert not any(warning(example, tmp_path, written(text)) for text in "0123456789OISZ")
    ring = drawn(lambda pen: pen.ellipse((70, 70, 210, 210), outline=0, width=20))
    assert not warning(example, tmp_path, ring)  # a 0


def test_predict_warns_of_noise(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    noise = Image.fromarray(pixels).resize((280, 280), Image.Resampling.BICUBIC)
    assert "Is this a digit?" in warning(load_example("predict"), tmp_path, noise)


def test_predict_warns_of_about_one_of_a_hundred_test_digits():
    """The first 1,000 of the 10,000 by which the limits were chosen; and the limits are those shares of all."""
    example = load_example("predict")
    digits = datasets.MNIST(train=False).images.reshape(-1, 28, 28)
    pixels = digits.astype(np.float32) / 255
    assert 2 <= sum(map(bool, map(example.warn_of_no_digit, pixels[:1000]))) <= 20
    sums = np.pad(pixels, ((0, 0), (1, 0), (1, 0))).cumsum(1, np.float64).cumsum(2)
    fullest = (sums[:, 8:, 8:] - sums[:, :-8, 8:] - sums[:, 8:, :-8] + sums[:, :-8, :-8]).max((1, 2)) / 64
    assert round(np.mean(fullest <= example.MOST_INK), 3) == 0.998
    training, vectors = example.training_digits(), example.smooth(digits)
    nearest = [(vectors[i : i + 500] @ training.T).max(1) for i in range(0, 10_000, 500)]
    assert round(np.mean(np.concatenate(nearest) >= example.LEAST_RESEMBLANCE), 3) == 0.992


# ---- see_filters.py


SEE_FILTERS_PICTURES = "early_filters", "deep_filters", "contact_sheet", "feature_maps", "one_pixel"


def test_see_filters_saves_its_pictures_and_its_filters_move(monkeypatch, tmp_path, capsys):
    """After 60 steps; a whole epoch has 468."""
    example, whole_epoch = load_example("see_filters"), data.DataLoader.__iter__
    monkeypatch.setattr(data.DataLoader, "__iter__", lambda loader: islice(whole_epoch(loader), 60))
    monkeypatch.setattr(example, "REPORT_DIGITS", 200)
    run(example, monkeypatch, "--epochs", 1, "--out", tmp_path)
    assert_pictures(*(tmp_path / f"{name}.png" for name in SEE_FILTERS_PICTURES))
    with Image.open(tmp_path / "evolution.gif") as film:
        assert film.n_frames == 4  # step 0, 20, 40, 60
    assert "</html>" in (tmp_path / "report.html").read_text()
    moved = [float(number) for number in re.findall(r"moved by (\d\.\d\d)", capsys.readouterr().out)]
    assert len(moved) == 2
    assert min(moved) > 0.05


def test_see_filters_refuses_no_epochs(monkeypatch, capsys):
    assert "--epochs is 0" in refusal(load_example("see_filters"), monkeypatch, capsys, "--epochs", 0)
