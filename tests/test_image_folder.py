"""Image files of all kinds, whole and damaged, and folders of them with one folder for each class."""

import copy
import os
import pickle
import random
import re
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import data
from minigrad.datasets import DatasetFolder, ImageFolder, folder as folders, image_files, open_image
from minigrad.errors import DataError, DtypeError, ShapeError, ValidationError

FORMATS = {  # endings and settings with which pixels survive; others change them a little
    "png": {}, "bmp": {}, "ppm": {}, "tif": {}, "webp": {"lossless": True}, "ico": {"sizes": [(48, 40)]},
    "jpg": {}, "gif": {},
}  # fmt: skip
EXACT = ("png", "bmp", "ppm", "tif", "webp", "ico")


def picture(H=40, W=48, seed=0):
    """Return a smooth random picture, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((W, H), Image.Resampling.BICUBIC))


def write_images(root, sizes=((20, 30), (40, 16), (25, 25)), classes=("cat", "dog")):
    """Write images of these (H, W) into a folder for each class; return the folder above."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for i, (H, W) in enumerate(sizes):
            Image.fromarray(picture(H, W, seed=i)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def root(tmp_path):
    """Return a folder with three images in each of the classes cat and dog."""
    return write_images(tmp_path / "pets")


# ---- files of all kinds


@pytest.mark.parametrize("end", FORMATS)
def test_open_image_reads_all_formats(tmp_path, end):
    Image.fromarray(picture()).save(tmp_path / f"a.{end}", **FORMATS[end])
    image = open_image(tmp_path / f"a.{end}")
    assert (image.mode, image.size) == ("RGB", (48, 40))
    difference = np.abs(np.asarray(image).astype(int) - picture()).mean()
    assert difference == 0 if end in EXACT else difference < 12


@pytest.mark.parametrize("end", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_open_image_turns_images_upright(tmp_path, end, orientation):
    """All eight orientations of EXIF, of a picture whose upper left corner is white."""
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    methods = {**image_files.UPRIGHT, 1: None}
    stored = Image.fromarray(upright)
    stored = stored if methods[undo] is None else stored.transpose(methods[undo])
    exif = Image.Exif()
    exif[image_files.ORIENTATION] = orientation
    stored.convert("RGB").save(tmp_path / f"a.{end}", exif=exif, **FORMATS[end])
    found = np.asarray(open_image(tmp_path / f"a.{end}", "L"))
    assert found.shape == (16, 24)
    assert np.abs(found.astype(int) - upright).mean() < 3


def test_open_image_lays_transparent_pixels_on_white(tmp_path):
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    half.putpixel((1, 0), (0, 0, 0, 0))
    half.save(tmp_path / "a.png")
    half.convert("LA").save(tmp_path / "la.png")
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((0, 0), 9)
    grey.save(tmp_path / "key.png", transparency=7)
    palette = half.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((1, 0)))
    assert np.asarray(open_image(tmp_path / "a.png")).tolist() == [[[255, 0, 0], [255] * 3]]
    assert np.asarray(open_image(tmp_path / "la.png", "L"))[0, 1] == 255
    assert np.asarray(open_image(tmp_path / "key.png", "L")).tolist() == [[9, 255]]
    assert np.asarray(open_image(tmp_path / "p.png")).tolist() == [[[255, 0, 0], [255] * 3]]


@pytest.mark.parametrize("end", ["png", "tif", "pgm"])
def test_open_image_scales_16_bits(tmp_path, end):
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels * 257).save(tmp_path / f"a.{end}")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / f"a.{end}", "L")), levels)


def test_open_image_converts_other_modes(tmp_path):
    source = Image.fromarray(picture())
    for name, image in (
        ("cmyk.tif", source.convert("CMYK")),
        ("p.gif", source.quantize(256)),
        ("1.png", source.convert("1")),
    ):
        image.save(tmp_path / name)
        found = open_image(tmp_path / name)
        assert found.mode == "RGB" and open_image(tmp_path / name, "L").mode == "L"
        assert np.abs(np.asarray(found).astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


def test_open_image_of_floats_wants_0_to_1(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(open_image(tmp_path / "a.tif", "L")).tolist() == [[0, 128, 255]]
    Image.fromarray(np.array([[0, 2.0]], np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match="b.tif: grey levels are from 0.0 to 2.0, expected 0 to 1; save it with 8 bits"):
        open_image(tmp_path / "b.tif")


def test_open_image_refuses_what_is_no_image(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="text.png: is not an image of a known format, or its header is damaged; give"):
        open_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="none.png: no such file; check the name$"):
        open_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder, or not a regular file; give"):
        open_image(tmp_path)
    with pytest.raises(ValidationError, match="^open_image: mode is 'CMYK'; use 'RGB' or 'L'$"):
        open_image(tmp_path / "text.png", "CMYK")


def test_open_image_refuses_a_truncated_file(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-900])
    with pytest.raises(
        DataError, match=r"half.png: cannot be read, or is damaged \(.+\); copy it again, or remove it$"
    ):
        open_image(tmp_path / "half.png")


def test_open_image_refuses_huge_files_and_images(tmp_path, monkeypatch):
    Image.new("1", (9000, 6000)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match="large.png: has 9000×6000 pixels, at most 50,000,000 are decoded; reduce"):
        open_image(tmp_path / "large.png")
    monkeypatch.setattr(image_files, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="large.png: has [0-9,]+ bytes, at most 100 are read; reduce the image"):
        open_image(tmp_path / "large.png")


def test_open_image_reduces_large_jpegs_only_if_asked(tmp_path, monkeypatch):
    Image.new("RGB", (800, 400), "red").save(tmp_path / "a.jpg")
    Image.new("RGB", (800, 400), "red").save(tmp_path / "progressive.jpg", progressive=True)
    assert open_image(tmp_path / "a.jpg", reduce_to=100).size == (200, 100)
    assert open_image(tmp_path / "progressive.jpg", reduce_to=100).size == (800, 400)
    monkeypatch.setattr(image_files, "MOST_PIXELS", 50_000)
    assert open_image(tmp_path / "a.jpg", reduce_to=100).size == (200, 100)
    with pytest.raises(DataError, match="a.jpg: has 800×400 pixels, at most 50,000 are"):
        open_image(tmp_path / "a.jpg")


def test_open_image_checks_the_picture_inside_an_icon(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "a.ico", sizes=[(64, 64)])
    content = bytearray((tmp_path / "a.ico").read_bytes())
    content[6:8] = 16, 16  # its list of pictures now says 16 x 16
    (tmp_path / "a.ico").write_bytes(content)
    monkeypatch.setattr(image_files, "MOST_PIXELS", 300)
    with pytest.raises(DataError, match="a.ico: has 64×64 pixels, at most 300 are"):
        open_image(tmp_path / "a.ico")


def damage(content: bytes, draw: random.Random) -> bytes:
    """Return a file truncated, with changed bytes, or with large numbers in its header."""
    kind, changed = draw.randrange(4), bytearray(content)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    places = range(min(64, len(content))) if kind == 1 else range(len(content))
    for _ in range(draw.choice((1, 3, 20))):
        changed[draw.choice(places)] = draw.randrange(256) if kind < 3 else 255
    if kind == 1:
        at = draw.randrange(60)
        changed[at : at + 4] = draw.choice((b"\xff\xff\xff\x7f", b"\x00\x00\xff\xff", b"\x7f\xff\xff\xff"))
    return bytes(changed)


def peak_of_process():
    """Return the most memory that this process has had, in bytes."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("end", FORMATS)
def test_a_damaged_file_gives_an_image_or_an_error_that_names_it(tmp_path, end):
    """Without a warning; of a truncated file, only the whole picture is accepted."""
    count, draw = 40 * int(os.environ.get("MINIGRAD_EXAMPLES", 25)) // 25, random.Random(end)
    source = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    exif = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\0\0\0\0"}
    source.save(tmp_path / f"whole.{end}", **FORMATS[end], **(exif if end in ("jpg", "png", "webp") else {}))
    content = (tmp_path / f"whole.{end}").read_bytes()
    whole, path = np.asarray(open_image(tmp_path / f"whole.{end}")), tmp_path / f"damaged.{end}"
    slowest, refusals, before = 0, [], peak_of_process()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(count):
            path.write_bytes(changed := damage(content, draw))
            start = time.perf_counter()
            try:
                image = np.asarray(open_image(path))
                assert image.dtype == np.uint8 and image.shape[2:] == (3,)
                assert not content.startswith(changed) or np.array_equal(image, whole)
            except DataError as error:
                refusals.append(str(error))
            slowest = max(slowest, time.perf_counter() - start)
    assert refusals and all(text.startswith(f"{path}: ") for text in refusals)
    assert not said and slowest < 10
    assert peak_of_process() < before + 10**9


def test_open_image_hides_warnings_of_its_own_thread_only(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with image_files._quiet_pillow():
            warnings.warn("here", stacklevel=1)
            with ThreadPoolExecutor(1) as thread:
                thread.submit(warnings.warn, "elsewhere").result()
        warnings.warn("after", stacklevel=1)
    assert [str(warning.message) for warning in said] == ["elsewhere", "after"]


# ---- ImageFolder


def test_image_folder_lists_classes_and_files(root):
    pets = ImageFolder(root)
    assert (pets.classes, pets.class_to_idx, len(pets)) == (["cat", "dog"], {"cat": 0, "dog": 1}, 6)
    assert pets.samples == pets.imgs == list(zip(pets.paths, pets.targets, strict=True))
    assert pets.targets == [0, 0, 0, 1, 1, 1]
    assert pets.paths[4] == str(root / "dog" / "1.png")
    assert pets.skipped == [] and repr(pets) == f"ImageFolder: 6 files in 2 classes, from {root}"


def test_image_folder_gives_scaled_arrays(root):
    image, label = ImageFolder(str(root))[4]
    assert (image.shape, image.dtype, type(label), label) == ((3, 40, 16), np.float32, int, 1)
    np.testing.assert_array_equal(image, picture(40, 16, seed=1).transpose(2, 0, 1) / np.float32(255))
    assert ImageFolder(root, mode="L")[0][0].shape == (1, 20, 30)
    with pytest.raises(IndexError, match="^ImageFolder: index 6 is out of range for 6 samples"):
        ImageFolder(root)[6]


def test_image_folder_gives_a_transform_the_image(root):
    pets = ImageFolder(root, transform=lambda image: (image.mode, image.size), target_transform=lambda label: -label)
    assert pets[3] == (("RGB", (30, 20)), -1)


@pytest.mark.parametrize("size, shape", [(16, (3, 16, 16)), ((10, 24), (3, 10, 24)), ([24, 10], (3, 24, 10))])
def test_image_folder_makes_one_size(root, size, shape):
    for image, _ in ImageFolder(root, size=size):
        assert image.shape == shape
    (batch, labels), *_ = data.DataLoader(ImageFolder(root, size=size), batch_size=6)
    assert batch.shape == (6, *shape) and labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_image_folder_cuts_out_the_centre(tmp_path):
    (tmp_path / "only").mkdir()
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(tmp_path / "only" / "a.png")
    image, label = ImageFolder(tmp_path, size=10)[0]
    assert label == 0 and image[:, :, 1:-1].min() == 1


def test_mixed_sizes_in_a_batch_name_the_files_and_the_remedy(root):
    pets = ImageFolder(root)
    one, other = (str(root / "cat" / name) for name in ("0.png", "1.png"))
    for dataset in (pets, data.Subset(pets, [0, 1]), data.ConcatDataset([pets, pets])):
        with pytest.raises(ShapeError) as raised:
            next(iter(data.DataLoader(dataset, batch_size=2)))
        assert str(raised.value) == (
            f"DataLoader: samples of one batch have shapes (3, 20, 30) and (3, 40, 16) ({one} and {other}); give "
            "ImageFolder size=, or a transform that makes them equal"
        )


def test_image_dataset_refuses_mixed_sizes():
    images = [np.zeros((3, 4), np.uint8), np.zeros((5, 4), np.uint8)]
    with pytest.raises(ShapeError, match=r"images have 2 sizes, as \(3, 4\) and \(5, 4\); make them .*ImageFolder"):
        data.ImageDataset(images, [0, 1])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size": 0}, "size is 0; use a whole number from 1 to 16384"),
        ({"size": (3, 4, 5)}, r"size is \(3, 4, 5\); use one side, or \(H, W\)"),
        ({"mode": "P"}, "mode is 'P'; use 'RGB' or 'L'"),
        ({"cache": -1}, "cache is -1; use True, False, or a number of MiB of 0 or more"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; use 'raise' or 'skip'"),
        ({"loader": open, "size": 3}, "size, mode and cache are for open_image; do the same in your loader"),
    ],
)
def test_image_folder_refuses_settings(root, settings, message):
    with pytest.raises(ValidationError, match=f"^ImageFolder: {message}$"):
        ImageFolder(root, **settings)


def test_image_folder_takes_a_loader(root):
    assert ImageFolder(root, loader=lambda path: Path(path).name)[1] == ("1.png", 0)
    image, _ = ImageFolder(root, loader=lambda path: Image.open(path).convert("L").convert("RGB"))[0]
    assert image.shape == (3, 20, 30) and (image[0] == image[1]).all()


# ---- folders that are not as they should be


def test_image_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="none: cannot be read as a folder .*; check its name and your rights"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(DtypeError, match=r"^ImageFolder: root is None, expected a folder; write ImageFolder\(root="):
        ImageFolder(None)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has no folder of a class, expected 1 or more; put images into .*/CLASS/"):
        ImageFolder(tmp_path)


def test_image_folder_refuses_a_folder_that_it_may_not_read(root, monkeypatch):
    scandir = os.scandir

    def refuse_dogs(path):
        if os.fspath(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_dogs)
    with pytest.raises(DataError, match=r"dog: cannot be read as a folder \(Permission denied\); check its name and"):
        ImageFolder(root)


def test_image_folder_refuses_empty_classes_unless_told(root):
    (root / "bird").mkdir()
    message = "ImageFolder: 1 of 3 classes in .* have no file: bird; remove their folders, or give allow_empty=True"
    with pytest.raises(DataError, match=message):
        ImageFolder(root)
    pets = ImageFolder(root, allow_empty=True)
    assert pets.classes == ["bird", "cat", "dog"] and pets.targets == [1, 1, 1, 2, 2, 2]


def test_image_folder_of_one_class_is_accepted(tmp_path):
    assert ImageFolder(write_images(tmp_path, classes=["only"])).targets == [0, 0, 0]


def test_image_folder_refuses_foreign_files_or_skips_them(root):
    for i in range(7):
        (root / "cat" / f"note{i}.txt").write_text("not an image")
    (root / "dog" / ".DS_Store").write_text("of the system")
    (root / "dog" / "Thumbs.db").write_text("of the system")
    with pytest.raises(DataError) as raised:
        ImageFolder(root)
    listed = ", ".join(os.path.join("cat", f"note{i}.txt") for i in range(5))
    assert f"ImageFolder: 7 files in {root} do not end in .jpg .jpeg" in str(raised.value)
    assert str(raised.value).endswith(f': {listed} and 2 more; remove them, or give on_error="skip"')
    pets = ImageFolder(root, on_error="skip")
    assert len(pets) == 6 and len(pets.skipped) == 7
    assert pets.skipped[0][0] == str(root / "cat" / "note0.txt") and "does not end in" in pets.skipped[0][1]


def test_image_folder_names_a_damaged_file_when_it_is_read_or_skips_it(root):
    (root / "cat" / "1.png").write_bytes((root / "cat" / "1.png").read_bytes()[:200])
    (root / "dog" / "0.png").write_bytes(b"")
    pets = ImageFolder(root)
    with pytest.raises(
        DataError, match='cat.1.png: cannot be read, or is damaged .*, or give ImageFolder on_error="skip"'
    ):
        pets[1]
    with pytest.raises(DataError, match="dog.0.png: is not an image of a known format"):
        list(data.DataLoader(data.Subset(pets, [3])))
    rest = ImageFolder(root, on_error="skip")
    assert [os.path.relpath(path, root) for path in rest.paths] == [
        os.path.join(*parts) for parts in (("cat", "0.png"), ("cat", "2.png"), ("dog", "1.png"), ("dog", "2.png"))
    ]
    assert [os.path.relpath(path, root) for path, _ in rest.skipped] == [
        os.path.join("cat", "1.png"), os.path.join("dog", "0.png")
    ]  # fmt: skip
    assert re.fullmatch(
        r".*1.png: cannot be read, or is damaged \(.*\); copy it again, or remove it", rest.skipped[0][1]
    )


def test_image_folder_takes_is_valid_file(root):
    pets = ImageFolder(root, is_valid_file=lambda path: path.endswith("0.png"))
    assert [Path(path).name for path in pets.paths] == ["0.png", "0.png"]
    with pytest.raises(ValidationError, match="^DatasetFolder: give extensions or is_valid_file, one of the two$"):
        DatasetFolder(root, open)


def test_image_folder_reads_folders_in_folders_in_torchvisions_order(tmp_path):
    for name in ("b/2.png", "a/1.png", "a-b/1.png", "0.png"):
        path = tmp_path / "cat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture()).save(path)
    found = [Path(path).relative_to(tmp_path / "cat").as_posix() for path in ImageFolder(tmp_path).paths]
    assert found == ["0.png", "a/1.png", "a-b/1.png", "b/2.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_image_folder_follows_links_but_not_in_a_circle(root):
    (root / "cat" / "more").symlink_to(root / "dog")
    (root / "cat" / "up").symlink_to(root)
    assert len(ImageFolder(root)) == 9


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_image_folder_takes_a_name_that_is_not_utf8(root):
    path = root / "cat" / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(b"")
    pets = ImageFolder(root)
    with pytest.raises(DataError, match=r"caf\\xe9.png: is not an image"):
        pets[pets.paths.index(str(path))]


# ---- memory


def test_indexing_reads_no_file(root, monkeypatch):
    monkeypatch.setattr(folders, "open_image", None)
    assert len(ImageFolder(root, size=8, cache=True)) == 6


def test_cache_keeps_images_up_to_its_limit(root, monkeypatch):
    read = []
    monkeypatch.setattr(folders, "open_image", lambda *a, **k: read.append(a[0]) or open_image(*a, **k))
    size = 128  # 48 KiB each
    cached, bounded, plain = (ImageFolder(root, size=size, cache=limit) for limit in (True, 0.1, False))
    first = [image for image, _ in cached]
    for dataset, expected in ((cached, 0), (bounded, 4), (plain, 6)):
        list(dataset)
        read.clear()
        again = [image for image, _ in dataset]
        assert len(read) == expected
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert bounded._cache.used == 2 * 3 * size * size


def test_cached_images_are_safe_from_a_transform(root):
    def spoil(image):
        image.paste("black", (0, 0, *image.size))
        return np.asarray(image).sum()

    pets = ImageFolder(root, spoil, mode="L", cache=True)
    assert list(pets) == list(pets)
    pets.transform = None
    assert all(image.any() for image, _ in pets)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copied_image_folder_has_a_cache_of_its_own(root, duplicate):
    pets = ImageFolder(root, size=32, cache=1)
    first = pets[0][0]
    other = duplicate(pets)
    assert other._cache.used == 0 and other._cache.limit == 1 << 20
    np.testing.assert_array_equal(other[0][0], first)


def test_cache_serves_several_threads(root):
    pets = ImageFolder(root, size=32, cache=True)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: pets[i % 6][0], range(96)))
    for i, image in enumerate(found):
        np.testing.assert_array_equal(image, found[i % 6])
    assert pets._cache.used == 6 * 3 * 32 * 32


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    """Without a cache, an epoch over 48 images needs as much as one over 12."""
    peaks = []
    for count in (12, 48):
        root = write_images(tmp_path / str(count), sizes=[(200, 200)] * count, classes=["only"])
        loader = data.DataLoader(ImageFolder(root), batch_size=4)
        tracemalloc.start()
        for _ in loader:
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_network_learns_from_a_folder(tmp_path):
    for name, colour in (("dark", 40), ("light", 210)):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("L", (9 + i, 12), colour + i).save(tmp_path / name / f"{i}.png")
    images = ImageFolder(tmp_path, size=8, mode="L")
    mg.manual_seed(0)
    model = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 2))
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        for x, y in data.DataLoader(images, batch_size=4, shuffle=True):
            optimizer.zero_grad()
            mg.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    (x, y), *_ = data.DataLoader(images, batch_size=16)
    assert (model(x).argmax(1) == y).all()


def test_dataset_folder_reads_any_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "one.npy", np.full(3, ord(name)))
    arrays = DatasetFolder(tmp_path, np.load, extensions=(".npy",), transform=lambda array: array + 1)
    assert arrays[1][0].tolist() == [99] * 3 and arrays[1][1] == 1
    with pytest.raises(DtypeError, match="^DatasetFolder: index is 'a'; use a whole number"):
        arrays["a"]
