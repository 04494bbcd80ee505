"""MNIST and the IDX reader: the shipped digits, folders of the user, and every kind of damaged file."""

import contextlib
import gzip
import math
import os
import re
import shutil
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.data import Dataset
from minigrad.datasets import MNIST, mnist
from minigrad.datasets.idx import parse_idx, read_idx
from minigrad.errors import DataError, DtypeError, MinigradError

KINDS = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write an array as IDX, compressed if the name ends in .gz; return the path."""
    header = struct.pack(f">HBB{array.ndim}I", 0, KINDS[array.dtype.name], array.ndim, *array.shape)
    raw = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(raw, 1) if path.suffix == ".gz" else raw)
    return path


@pytest.fixture(scope="module")
def train():
    return MNIST(train=True)


@pytest.fixture(scope="module")
def t10k():
    return MNIST(train=False)


@pytest.fixture
def three_digits(tmp_path):
    """Return a folder with three training images of 4 x 5 pixels and their labels 0, 9 and 4."""
    write_idx(tmp_path / "train-images-idx3-ubyte", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 9, 4], np.uint8))
    return tmp_path


# ---- the shipped digits


def test_mnist_has_the_known_first_labels(train, t10k):
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert t10k.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("name, n", [("train", 60_000), ("t10k", 10_000)])
def test_mnist_has_the_known_shapes_and_dtypes(name, n, request):
    digits = request.getfixturevalue(name)
    assert isinstance(digits, Dataset)
    assert len(digits) == n
    assert (digits.images.shape, digits.images.dtype) == ((n, 28, 28), np.uint8)
    assert (digits.labels.shape, digits.labels.dtype) == ((n,), np.int64)
    assert digits.classes == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]


def test_mnist_has_the_known_class_counts(train, t10k):
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(t10k.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_has_the_known_mean_and_std(train):
    counts = sum(np.bincount(part.ravel(), minlength=256) for part in np.split(train.images, 60))
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    assert mean == pytest.approx(0.1307, abs=5e-5)
    assert np.sqrt(np.average((values - mean) ** 2, weights=counts)) == pytest.approx(0.3081, abs=5e-5)


def test_mnist_item_is_a_scaled_image_and_an_int(train):
    image, label = train[3]
    assert (image.shape, image.dtype) == ((1, 28, 28), np.float32)
    np.testing.assert_array_equal(image[0], train.images[3] / np.float32(255))
    assert (image.min(), image.max()) == (0, 1)
    assert type(label) is int and label == 1


def test_mnist_negative_index_counts_from_the_end(t10k):
    np.testing.assert_array_equal(t10k[-1][0], t10k[9_999][0])
    assert t10k[-10_000][1] == t10k[np.int32(0)][1] == 7


@pytest.mark.parametrize("index", [10_000, -10_001])
def test_mnist_refuses_an_index_out_of_range(t10k, index):
    with pytest.raises(
        IndexError, match=f"^MNIST: index {index} is out of range for 10000 images; use -10000 to 9999$"
    ):
        t10k[index]


@pytest.mark.parametrize("index", [slice(3), 1.0, [1, 2]])
def test_mnist_refuses_an_index_that_is_no_whole_number(t10k, index):
    message = f"MNIST: index is {index!r}; use a whole number; for many samples, index .images and .labels"
    with pytest.raises(DtypeError, match=f"^{re.escape(message)}$"):
        t10k[index]


def test_iteration_over_mnist_ends(three_digits):
    assert [label for _, label in MNIST(root=three_digits)] == [0, 9, 4]


def test_mnist_arrays_are_read_only(t10k):
    for array in (t10k.images, t10k.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_mnist_repr(t10k, three_digits):
    assert repr(t10k) == "MNIST(train=False): 10,000 images of 28 x 28 pixels, 10 classes, shipped with minigrad"
    assert (
        repr(MNIST(root=three_digits))
        == f"MNIST(train=True): 3 images of 4 x 5 pixels, 10 classes, from {three_digits}"
    )


def test_mnist_refuses_train_as_root_and_a_folder_as_train():
    with pytest.raises(DtypeError, match=r"^MNIST: root is True, expected a folder; write MNIST\(train=True\)$"):
        MNIST(True)
    with pytest.raises(DtypeError, match=r"^MNIST: root is 3, expected a folder; write MNIST\(root='./data', ...\)$"):
        MNIST(3)
    with pytest.raises(DtypeError, match="^MNIST: train is './data', expected True or False; give a folder as root="):
        MNIST(train="./data")


@pytest.mark.parametrize("stem, ndim", [("t10k-images", 3), ("t10k-labels", 1)])
def test_mnist_refuses_a_shipped_file_with_a_changed_byte(tmp_path, monkeypatch, stem, ndim):
    for file in mnist.SHIPPED.glob("t10k-*.gz"):
        shutil.copy(file, tmp_path)
    name = f"{stem}-idx{ndim}-ubyte.gz"
    changed = read_idx(tmp_path / name).copy()
    changed.flat[-1] ^= 1
    write_idx(tmp_path / name, changed)
    monkeypatch.setattr(mnist, "SHIPPED", tmp_path)
    with pytest.raises(
        DataError, match=f"{name}: SHA-256 is [0-9a-f]{{64}}, expected {mnist.SHA256[stem]}; .* damaged"
    ):
        MNIST(train=False)


def test_mnist_names_a_missing_shipped_file(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "SHIPPED", tmp_path)
    with pytest.raises(
        DataError, match="has no file train-images-idx3-ubyte, with or without .gz; reinstall minigrad$"
    ):
        MNIST()


# ---- folders of the user


@pytest.mark.parametrize("mark", "-.")
@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist_root_accepts_the_usual_file_names(tmp_path, mark, end):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / f"t10k-images{mark}idx3-ubyte{end}", images)
    write_idx(tmp_path / f"t10k-labels{mark}idx1-ubyte{end}", np.array([3, 8], np.uint8))
    own = MNIST(train=False, root=str(tmp_path))
    np.testing.assert_array_equal(own.images, images)
    assert own.labels.tolist() == [3, 8]


def test_mnist_root_without_the_file_is_refused(three_digits):
    with pytest.raises(
        DataError,
        match=f"^MNIST: {re.escape(str(three_digits))}: has no t10k-images, t10k-labels, nor has MNIST/raw "
        "in it; copy the files there, check root=",
    ):
        MNIST(train=False, root=three_digits)


def test_mnist_root_that_is_no_folder_is_refused(three_digits):
    with pytest.raises(DataError, match="absent: no such folder; copy the files there, check root=, or"):
        MNIST(root=three_digits / "absent")


def test_mnist_root_may_have_any_labels(three_digits):
    write_idx(three_digits / "train-labels-idx1-ubyte", np.array([0, 10, 200], np.uint8))
    digits = MNIST(root=three_digits)
    assert digits[2][1] == 200 and digits.classes == [str(label) for label in range(201)]


def test_mnist_refuses_different_numbers_of_images_and_labels(three_digits):
    write_idx(three_digits / "train-labels-idx1-ubyte", np.array([0, 1], np.uint8))
    with pytest.raises(DataError, match="idx1-ubyte: 2 labels, but train-images-idx3-ubyte has 3 images; take both"):
        MNIST(root=three_digits)


def test_mnist_refuses_labels_in_the_file_of_images(three_digits):
    shutil.copy(three_digits / "train-labels-idx1-ubyte", three_digits / "train-images-idx3-ubyte")
    with pytest.raises(
        DataError,
        match="idx3-ubyte: number of dimensions is 1, expected 3; check that images and labels are not swapped",
    ):
        MNIST(root=three_digits)


def test_mnist_refuses_images_that_are_not_uint8(three_digits):
    write_idx(three_digits / "train-images-idx3-ubyte", np.zeros((3, 4, 5), np.float32))
    with pytest.raises(DataError, match="idx3-ubyte: elements are float32, expected uint8; store pixels as 0..255"):
        MNIST(root=three_digits)


# ---- the IDX reader


@given(
    array=st.sampled_from(list(KINDS)).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0))),
    end=st.sampled_from(["", ".gz"]),
)
def test_read_idx_returns_the_array_that_was_written(tmp_path_factory, array, end):
    path = write_idx(tmp_path_factory.getbasetemp() / f"any-idx{end}", array)
    back = read_idx(path, ndim=array.ndim)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.dtype.isnative and not back.flags.writeable
    np.testing.assert_array_equal(back, array)


def test_data_error_is_a_value_error():
    assert issubclass(DataError, ValueError) and issubclass(DataError, MinigradError)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / 'none'))}: no such file; check the folder"):
        read_idx(tmp_path / "none")


def test_read_idx_refuses_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read \(.+\); give a file that you may read"):
        read_idx(tmp_path)


@pytest.mark.parametrize("content, start", [(b"\x00\x00\x08\x01", "0000"), (b"", "nothing")])
def test_read_idx_refuses_a_gz_file_that_is_not_gzip(tmp_path, content, start):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"a.gz: not gzip: begins with {start}, expected 1f8b; rename it if it is raw"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda whole: whole[:-10], "ended before"),
        (lambda whole: whole[:3], "ended before"),
        (lambda whole: whole[:10] + b"\xff" + whole[11:], "invalid"),
        (lambda whole: whole[:-8] + bytes(8), "CRC"),
        (lambda whole: whole + b"more", "Not a gzipped file"),
    ],
    ids=["cut short", "cut in its header", "bad data", "bad checksum", "more after it"],
)
def test_read_idx_refuses_broken_gzip(tmp_path, damage, reason):
    path = write_idx(tmp_path / "a.gz", np.arange(100, dtype=np.uint8))
    whole = damage(path.read_bytes())
    path.write_bytes(whole)
    with pytest.raises(DataError, match=rf"a.gz: broken gzip of {len(whole)} bytes \(.*{reason}.*\); copy the file"):
        read_idx(path)


@pytest.mark.parametrize("kept, expected", [(0, 4), (3, 4), (4, 12), (11, 12), (12, 24), (23, 24)])
def test_parse_idx_refuses_truncated_data(kept, expected):
    raw = bytes.fromhex("00000b02 00000002 00000003") + bytes(12)  # int16, 2 x 3
    with pytest.raises(DataError, match=f"^a: truncated: expected {expected} bytes, found {kept}; copy the file again"):
        parse_idx(raw[:kept], "a")


def test_parse_idx_refuses_trailing_bytes():
    with pytest.raises(DataError, match=r"^a: trailing bytes: expected 9 bytes for sizes \(1,\), found 11; copy"):
        parse_idx(bytes.fromhex("00000801 00000001 05 0004"), "a")


@pytest.mark.parametrize("magic", ["89504e47", "00000a03", "00010803", "08030000"])
@pytest.mark.parametrize("ndim, like", [(3, "00000803"), (None, "00000801")])
def test_parse_idx_refuses_a_wrong_magic_number(magic, ndim, like):
    with pytest.raises(DataError, match=f"^a: magic is 0x{magic}, expected one like 0x{like}; give an IDX file$"):
        parse_idx(bytes.fromhex(magic) + bytes(12), "a", ndim)


def test_parse_idx_refuses_a_wrong_number_of_dimensions():
    with pytest.raises(
        DataError, match="^a: number of dimensions is 1, expected 3; check that images and labels are not swapped"
    ):
        parse_idx(bytes.fromhex("00000801 00000001 05"), "a", ndim=3)


def test_parse_idx_refuses_more_dimensions_than_numpy_has():
    raw = struct.pack(">HBB255I", 0, 0x08, 255, *[1] * 255) + b"\x05"
    with pytest.raises(DataError, match=r"^a: NumPy cannot hold sizes \(1, .*\) \(.*\); correct the file's header"):
        parse_idx(raw, "a")


def peak_memory(call):
    """Return the peak memory in bytes that Python and NumPy allocate during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ZEROS = 64 << 20  # bytes; compressed, they are 65 KB


@pytest.mark.parametrize("sizes", [(5,), (1 << 20,)], ids=["a small array", "an array of 1 MB"])
def test_read_idx_decompresses_only_as_much_as_the_header_says(tmp_path, sizes):
    """A small compressed file may hold gigabytes."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(struct.pack(">HBBI", 0, 0x08, 1, *sizes) + bytes(ZEROS))

    def read():
        with pytest.raises(DataError, match=rf"bomb.gz: trailing bytes: expected {8 + sizes[0]} .* found \d+ or more;"):
            read_idx(path)

    assert peak_memory(read) < 8 << 20


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "sizes", [(4_000_000_000,), (60_000, 28, 28), (2**32 - 1,) * 255], ids=["4 GB", "47 MB", "no end"]
)
def test_read_idx_refuses_sizes_larger_than_the_file_without_allocating_them(tmp_path, zipped, sizes):
    raw = struct.pack(f">HBB{len(sizes)}I", 0, 0x08, len(sizes), *sizes) + bytes(100)
    path = tmp_path / "small"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    end = "at most " if zipped else ""

    def read():
        with pytest.raises(
            DataError,
            match=f"small: truncated: expected {4 + 4 * len(sizes) + math.prod(sizes)} bytes, found {end}\\d+; copy",
        ):
            read_idx(path)

    assert peak_memory(read) < 4 << 20


def test_read_idx_reports_a_lack_of_memory(tmp_path, monkeypatch):
    path = write_idx(tmp_path / "a", np.zeros(9, np.uint8))

    def out_of_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(np, "empty", out_of_memory)
    with pytest.raises(DataError, match="a: its sizes need 9 bytes, more than can be allocated; split the file"):
        read_idx(path)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_read_idx_passes_all_decompressed_bytes_to_watch(tmp_path, end):
    array = np.arange(3 << 20, dtype=np.uint8)
    seen = []
    read_idx(write_idx(tmp_path / f"a{end}", array), watch=lambda piece: seen.append(bytes(piece)))
    assert b"".join(seen) == struct.pack(">HBBI", 0, 0x08, 1, array.size) + array.tobytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_read_idx_refuses_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        DataError, match=r"pipe: cannot be read \(it is not a regular file\); give a file that you may read"
    ):
        read_idx(tmp_path / "pipe")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_read_idx_takes_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9")
    np.testing.assert_array_equal(read_idx(write_idx(path, np.arange(3, dtype=np.uint8))), [0, 1, 2])
    path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"caf\\xe9: truncated: expected 4 bytes, found 2"):
        read_idx(path)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_read_idx_of_a_damaged_file_returns_an_array_or_raises_data_error(tmp_path, end):
    """Truncated anywhere, or with any byte changed."""
    path = write_idx(tmp_path / f"a{end}", np.arange(6, dtype=np.int16).reshape(2, 3))
    whole = path.read_bytes()
    for i in range(len(whole)):
        for damaged in (whole[:i], whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :]):
            path.write_bytes(damaged)
            with contextlib.suppress(DataError):
                assert isinstance(read_idx(path), np.ndarray)
