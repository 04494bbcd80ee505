"""Published data sets other than MNIST: small files in their formats, whole and damaged, wherever they may be."""

import base64
import lzma
import pickle
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from test_datasets import write_idx

import minigrad as mg
from minigrad import data, datasets
from minigrad.datasets import (
    CIFAR10,
    CIFAR100,
    EMNIST,
    KMNIST,
    MNIST,
    QMNIST,
    STL10,
    SVHN,
    ColorShapes,
    FashionMNIST,
    cifar,
    mnist,
    stl10 as stl10_module,
    svhn as svhn_module,
)
from minigrad.datasets.download import RemoteFile
from minigrad.datasets.mat_files import read_mat
from minigrad.errors import DataError, DtypeError, MinigradError, ValidationError

MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(124, b"\0") + b"\0\1IM"
# X = np.arange(24) as uint8 (2, 2, 3, 2) and y = [[10], [3]], as scipy.io.savemat writes them, packed and not
MAT_PACKED = MAT_HEADER + base64.b64decode(
    "DwAAAEAAAAB4nONjYGAIAGI2IOYAYk4GCGAFYgEgZoJiZijNCIQRULYESCEPmxATH4cIiwCXGCMvuzAzP6coqyC3OABIoAIcDwAAACkAAAB4nO"
    "NjYGAwAGI2IOYAYk4GCGCF8pmAmBGMGRkqwXwmBi5mBgYAGMsA8g=="
)
MAT_RAW = MAT_HEADER + base64.b64decode(
    "DgAAAFAAAAAGAAAACAAAAAkAAAAAAAAABQAAABAAAAACAAAAAgAAAAMAAAACAAAAAQABAFgAAAACAAAAGAAAAAAMBhICDggUBBAKFgENBxMDDw"
    "kVBRELFw4AAAAwAAAABgAAAAgAAAAJAAAAAAAAAAUAAAAIAAAAAgAAAAEAAAABAAEAeQAAAAIAAgAKAwAA"
)


def random_bytes(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ---- in MNIST's format


@pytest.mark.parametrize("kind, classes", [(FashionMNIST, "T-shirt/top"), (KMNIST, "o"), (MNIST, "0")])
@pytest.mark.parametrize("below", ["{}/raw", "{}", "."])
def test_idx_data_sets_are_found_in_torchvisions_folders_and_in_root(tmp_path, kind, classes, below):
    folder = tmp_path / below.format(kind.__name__)
    folder.mkdir(parents=True, exist_ok=True)
    images = random_bytes(3, 28, 28)
    write_idx(folder / "t10k-images-idx3-ubyte.gz", images)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.array([0, 9, 4], np.uint8))
    found = kind(tmp_path, train=False, download=True)
    np.testing.assert_array_equal(found.images, images)
    assert found.labels.tolist() == [0, 9, 4] and found.classes[0] == classes and found.class_to_idx[classes] == 0
    assert found.data.shape == (3, 28, 28) and found.data.dtype == mg.uint8 and (found.targets == 9).sum().item() == 1
    assert repr(found) == f"{kind.__name__}(train=False): 3 images of 28 x 28 pixels, 10 classes, from {tmp_path}"
    with pytest.raises(ValueError, match="read-only"):
        found.labels[0] = 1


def test_mnist_of_a_script_for_torchvision_needs_no_files(tmp_path):
    digits = MNIST(str(tmp_path / "data"), train=False, download=True, transform=lambda image: (image.mode, image.size))
    assert digits[0] == (("L", (28, 28)), 7) and len(digits) == 10_000
    assert not (tmp_path / "data").exists()
    assert MNIST(tmp_path, False, None, lambda label: label + 100, True)[0][1] == 107


@pytest.mark.parametrize("kind", [FashionMNIST, KMNIST, CIFAR10, CIFAR100, SVHN, STL10])
def test_missing_files_are_an_error_that_says_where_they_belong(tmp_path, kind):
    with pytest.raises(DataError, match=f"^{kind.__name__}: .*: has no .*; copy the files there, check root=, or give"):
        kind(tmp_path)
    with pytest.raises(DataError, match="none: no such folder; copy"):
        kind(tmp_path / "none")
    with pytest.raises(DtypeError, match=r"root is None, expected a folder; write \w+\(root='./data', ...\)"):
        kind(None)


def test_fashion_mnist_refuses_a_label_without_a_class(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", random_bytes(2, 28, 28))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 10], np.uint8))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: label 1 is 10, expected 0..9; map the classes to"):
        FashionMNIST(tmp_path)


@pytest.mark.parametrize(
    "split, count, first, last",
    [
        ("byclass", 62, "0", "z"), ("bymerge", 47, "0", "t"), ("balanced", 47, "0", "t"), ("letters", 27, "N/A", "z"),
        ("digits", 10, "0", "9"), ("mnist", 10, "0", "9"),
    ],
)  # fmt: skip
def test_emnist_has_the_classes_of_its_splits(tmp_path, split, count, first, last):
    folder = tmp_path / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    write_idx(folder / f"emnist-{split}-train-images-idx3-ubyte.gz", random_bytes(2, 28, 28))
    write_idx(folder / f"emnist-{split}-train-labels-idx1-ubyte.gz", np.array([1, count - 1], np.uint8))
    letters = EMNIST(tmp_path, split)
    assert (len(letters.classes), letters.classes[0], letters.classes[-1]) == (count, first, last)
    assert letters[1][1] == count - 1
    assert repr(letters).startswith(f"EMNIST(split='{split}', train=True): 2 images of 28 x 28 pixels, {count} classes")


def test_emnist_refuses_an_unknown_split(tmp_path):
    with pytest.raises(ValidationError, match="^EMNIST: split is 'all'; use 'byclass', 'bymerge', .*'mnist'$"):
        EMNIST(tmp_path, "all")


def test_qmnist_has_its_parts_and_details(tmp_path, monkeypatch):
    details = np.arange(24, dtype=np.int32).reshape(3, 8)
    details[:, 0] = 3, 1, 4
    write_idx(tmp_path / "qmnist-test-images-idx3-ubyte", images := random_bytes(3, 28, 28))
    write_idx(tmp_path / "qmnist-test-labels-idx2-int.gz", details)
    digits = QMNIST(tmp_path, train=False)
    assert digits.what == "test" and digits.labels.tolist() == [3, 1, 4]
    np.testing.assert_array_equal(digits.details, details)
    assert len(QMNIST(tmp_path, "test10k")) == 3 and len(QMNIST(tmp_path, "test50k")) == 0
    assert repr(digits).startswith("QMNIST(what='test'): 3 images")
    for stem, array in (("images-idx3-ubyte", images), ("labels-idx2-int", details)):
        raw = write_idx(tmp_path / "raw", array).read_bytes()
        (tmp_path / f"xnist-{stem}.xz").write_bytes(lzma.compress(raw))
    assert QMNIST(tmp_path, "nist").labels.tolist() == [3, 1, 4]
    (tmp_path / "xnist-labels-idx2-int.xz").write_bytes(lzma.compress(raw)[:-9])
    with pytest.raises(DataError, match=r"xnist-labels-idx2-int.xz: broken xz of [0-9]+ bytes \(.*\); copy the file"):
        QMNIST(tmp_path, "nist")


def test_qmnist_refuses_settings_and_files_of_mnist(tmp_path):
    with pytest.raises(ValidationError, match="^QMNIST: what is 'all'; use 'train', 'test', 'test10k', '"):
        QMNIST(tmp_path, "all")
    with pytest.raises(ValidationError, match="^QMNIST: compat is False; leave it out, and read all columns from .det"):
        QMNIST(tmp_path, compat=False)
    write_idx(tmp_path / "qmnist-train-images-idx3-ubyte", random_bytes(3, 28, 28))
    write_idx(tmp_path / "qmnist-train-labels-idx1-ubyte", np.array([3, 1, 4], np.uint8))
    with pytest.raises(DataError, match=r"labels have shape \(3,\), expected \(N, 8\); give the files of QMNIST"):
        QMNIST(tmp_path)


# ---- CIFAR


def pickled_by_python_2(images, labels, key=b"labels"):
    """Return a batch as Python 2 pickled CIFAR's."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    N = len(images)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    kind = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    content = b"T" + images.nbytes.to_bytes(4, "little") + images.tobytes()
    state = b"(K\x01K" + bytes([N]) + b"M\x00\x0c\x86" + kind + b"\x89" + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(key) + numbers + b"u."


def write_cifar10(folder, train=True):
    """Write files with 2 images each; return all images and labels."""
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    images, labels = random_bytes(2 * len(names), 3072), np.arange(2 * len(names)) % 10
    for i, name in enumerate(names):
        part = slice(2 * i, 2 * i + 2)
        (folder / name).write_bytes(pickled_by_python_2(images[part], labels[part]))
    return images.reshape(-1, 3, 32, 32), labels


@pytest.mark.parametrize("below", ["cifar-10-batches-py", "."])
@pytest.mark.parametrize("train", [True, False])
def test_cifar10_reads_the_python_files(tmp_path, below, train):
    images, labels = write_cifar10(tmp_path / "data" / below, train)
    found = CIFAR10(tmp_path / "data", train)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.targets, labels)
    np.testing.assert_array_equal(found.data, images.transpose(0, 2, 3, 1))
    assert found.classes[3] == "cat" and found[0][0].shape == (3, 32, 32)
    n = len(labels)
    assert repr(found).startswith(f"CIFAR10(train={train}): {n} images of 32 x 32 pixels, 10 classes, from")


def test_cifar10_gives_a_transform_an_image(tmp_path):
    images, _ = write_cifar10(tmp_path / "cifar-10-batches-py")
    image, label = CIFAR10(root=tmp_path, train=True, download=True, transform=np.asarray)[1]
    np.testing.assert_array_equal(image, images[1].transpose(1, 2, 0))
    assert label == 1


@pytest.mark.parametrize("protocol", range(2, 5))
def test_cifar_reads_what_python_3_pickles(tmp_path, protocol):
    batch = {"data": random_bytes(3, 3072), "fine_labels": [0, 99, 7], "filenames": ["a", "b", "c"]}
    (tmp_path / "test").write_bytes(pickle.dumps(batch, protocol))
    found = CIFAR100(tmp_path, train=False)
    np.testing.assert_array_equal(found.images.reshape(3, -1), batch["data"])
    assert [found.classes[label] for label in found.labels] == ["apple", "worm", "beetle"]


def test_cifar100_has_100_classes_in_order():
    names = CIFAR100.names
    assert len(names) == 100 and list(names) == sorted(names)


@pytest.mark.parametrize("kind, size", [(CIFAR10, 1), (CIFAR100, 2)])
def test_cifar_reads_the_binary_files(tmp_path, kind, size):
    rows = random_bytes(4, size + 3072)
    rows[:, :size] = np.arange(4)[:, None] if size == 1 else np.stack([np.full(4, 19), 90 + np.arange(4)], 1)
    folder = tmp_path / kind.binary_folder
    folder.mkdir()
    (folder / f"{kind.test_files[0]}.bin").write_bytes(rows.tobytes())
    found = kind(tmp_path, train=False)
    np.testing.assert_array_equal(found.images.reshape(4, -1), rows[:, size:])
    assert found.labels.tolist() == rows[:, size - 1].tolist()
    (folder / f"{kind.test_files[0]}.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(
        DataError, match=r"bin: has [0-9,]+ bytes, expected a multiple of 3,07[34]; copy the file again"
    ):
        kind(tmp_path, train=False)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("was_run"),)


@pytest.mark.parametrize(
    "content, reason",
    [
        (pickle.dumps(Evil(), 2), "it holds __builtin__.getattr, but no code is run"),
        (pickle.dumps({"data": Evil()}, 4), "it holds [a-z_]+..*, but no code is run"),
        (b"cos\nsystem\n(S'touch was_run'\ntR.", "it holds os.system, but no code is run"),
        (pickle.dumps({"labels": [1]}), "no 'data'"),
        (pickle.dumps({"data": np.zeros((2, 3072), "f4"), "labels": [1, 2]}), r"images are .*f4'? .*expected u1"),
        (pickle.dumps({"data": np.zeros((2, 3), "u1"), "labels": [1, 2]}), r"images are .*expected u1 \(N, 3072\)"),
        (pickle.dumps([1]), "object has no attribute"),
        (b"", ".*"),
    ],
)  # fmt: skip
def test_cifar_runs_no_code_of_a_pickle(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch: is damaged, or no file of CIFAR \(.*{reason}.*\); copy"):
        CIFAR10(tmp_path, train=False)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "labels, message", [([1], "labels are int64"), ([0.5, 1], "labels are float64"), ([1, 10], "label 1 is 10")]
)
def test_cifar_refuses_labels_that_do_not_fit(tmp_path, labels, message):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": random_bytes(2, 3072), "labels": labels}))
    with pytest.raises(DataError, match=f"test_batch: {message}"):
        CIFAR10(tmp_path, train=False)


def test_cifar_refuses_a_huge_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MOST_BYTES", 10)
    write_cifar10(tmp_path / "data", train=False)
    with pytest.raises(DataError, match="test_batch: has [0-9,]+ bytes, expected at most 10"):
        CIFAR10(tmp_path / "data", train=False)


def test_a_damaged_cifar_file_gives_images_or_an_error(tmp_path):
    whole = pickled_by_python_2(random_bytes(2, 3072), [3, 4])
    draw, refused = np.random.default_rng(0), 0
    for i in range(300):
        at = int(draw.integers(200 if i % 3 else len(whole)))
        (tmp_path / "test_batch").write_bytes(
            whole[:at] + (b"" if i % 2 else bytes([draw.integers(256)]) + whole[at + 1 :])
        )
        try:
            assert CIFAR10(tmp_path, train=False).images.shape == (2, 3, 32, 32)
        except DataError as error:
            refused += "test_batch: " in str(error)
    assert refused > 150


# ---- SVHN


@pytest.mark.parametrize("content", [MAT_PACKED, MAT_RAW])
def test_svhn_reads_matlab_files(tmp_path, content):
    (tmp_path / "test_32x32.mat").write_bytes(content)
    digits = SVHN(tmp_path, split="test", transform=np.asarray)
    expected = np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2)
    np.testing.assert_array_equal(digits.images, expected.transpose(3, 2, 0, 1))
    assert digits.labels.tolist() == [0, 3]  # 10 stands for the digit 0
    np.testing.assert_array_equal(digits[1][0], expected[..., 1])
    assert repr(digits) == f"SVHN(split='test'): 2 images of 2 x 2 pixels, 10 classes, from {tmp_path}"


def test_svhn_refuses_other_splits_and_arrays(tmp_path):
    with pytest.raises(ValidationError, match="^SVHN: split is 'all'; use 'train', 'test', 'extra'$"):
        SVHN(tmp_path, "all")
    (tmp_path / "train_32x32.mat").write_bytes(MAT_RAW.replace(b"\x0e\0\0\0\x50", b"\x0e\0\0\0\x50")[:216])
    with pytest.raises(DataError, match="train_32x32.mat: has no array y; give another file"):
        SVHN(tmp_path)
    wrong = bytearray(MAT_RAW)
    wrong[168], wrong[172] = 2, 3  # X of sizes 2, 2, 2, 3
    (tmp_path / "train_32x32.mat").write_bytes(wrong)
    with pytest.raises(
        DataError, match=r"X is uint8 \(2, 2, 2, 3\) and y has 2 labels, expected uint8 \(32, 32, 3, N\)"
    ):
        SVHN(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is no MATLAB file of version 5; save it in MATLAB with the option -v7"),
        (MAT_RAW[:150], r"is damaged \(truncated: expected [0-9]+ bytes, found [0-9]+\); copy the file again"),
        (MAT_PACKED[:150], r"is damaged \(.*truncated: .*\); copy the file again"),
        (
            MAT_RAW.replace(b"\x02\0\0\0\x18\0\0\0", b"\x02\0\0\0\x18\0\0\x7f"),
            r"is damaged \(an element of .* bytes in 80\)",
        ),
        (MAT_RAW.replace(b"\x06\0\0\0\x08\0\0\0\x09", b"\x06\0\0\0\x08\0\0\0\x02"), "is no array of real numbers"),
        (MAT_RAW.replace(b"\x02\0\0\0\x02\0\0\0\x03", b"\x02\0\0\0\x02\0\0\0\x09"), "X has 24 numbers for the shape"),
    ],
)
def test_read_mat_refuses_damaged_files(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=f"a.mat: .*{message}"):
        read_mat(tmp_path / "a.mat", ("X", "y"))


def test_read_mat_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none.mat: no such file; check the folder and the name"):
        read_mat(tmp_path / "none.mat", ("X",))


@pytest.mark.parametrize("content", [MAT_PACKED, MAT_RAW])
def test_a_damaged_matlab_file_gives_arrays_or_an_error(tmp_path, content):
    draw, refused = np.random.default_rng(0), 0
    for i in range(400):
        at = int(draw.integers(128, len(content)))
        changed = content[:at] if i % 2 else content[:at] + bytes([draw.integers(256)]) + content[at + 1 :]
        (tmp_path / "a.mat").write_bytes(changed)
        try:
            assert read_mat(tmp_path / "a.mat", ("X", "y")).keys() == {"X", "y"}
        except DataError as error:
            refused += "a.mat: " in str(error)
    assert refused > 190


def test_read_mat_refuses_a_bomb(tmp_path):
    """Zipped zeros that would need 100 times the sizes that they claim."""
    matrix = zlib.compress(MAT_RAW[128:184] + b"\x02\0\0\0" + (10**9).to_bytes(4, "little") + bytes(10**7))
    (tmp_path / "a.mat").write_bytes(MAT_RAW[:128] + b"\x0f\0\0\0" + len(matrix).to_bytes(4, "little") + matrix)
    with pytest.raises(DataError, match=r"a.mat: is damaged \(an element of 1000000000 bytes in [0-9]+\)"):
        read_mat(tmp_path / "a.mat", ("X",))


# ---- STL-10


@pytest.fixture
def stl10(tmp_path):
    """Return a folder with 4 training, 2 test and 3 unlabelled images, and the pixels of the training images."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = random_bytes(4, 3, 96, 96)
    pixels.tofile(folder / "train_X.bin")
    random_bytes(2, 3, 96, 96, seed=1).tofile(folder / "test_X.bin")
    random_bytes(3, 3, 96, 96, seed=2).tofile(folder / "unlabeled_X.bin")
    np.array([1, 10, 3, 4], np.uint8).tofile(folder / "train_y.bin")
    np.array([5, 6], np.uint8).tofile(folder / "test_y.bin")
    (folder / "fold_indices.txt").write_text("3 0 \n1 2 \n9 1 \n")
    return tmp_path, pixels


def test_stl10_reads_its_splits(stl10):
    root, pixels = stl10
    train = STL10(root)
    np.testing.assert_array_equal(train.images, pixels.transpose(0, 1, 3, 2))
    assert train.labels.tolist() == [0, 9, 2, 3] and train.classes[9] == "truck"
    assert STL10(root / "stl10_binary", "test").labels.tolist() == [4, 5]
    assert STL10(root, split="unlabeled").labels.tolist() == [-1] * 3
    assert STL10(root, split="train+unlabeled").labels.tolist() == [0, 9, 2, 3, -1, -1, -1]
    fold = STL10(root, folds=0)
    assert fold.labels.tolist() == [3, 0]
    np.testing.assert_array_equal(fold.images, train.images[[3, 0]])
    assert repr(train).startswith("STL10(split='train'): 4 images of 96 x 96 pixels, 10 classes, from")


def test_stl10_refuses_wrong_settings_and_files(stl10):
    root, _ = stl10
    folder = root / "stl10_binary"
    with pytest.raises(ValidationError, match="^STL10: split is 'all'; use 'train', 'test', 'unlabeled', 'train"):
        STL10(root, "all")
    with pytest.raises(ValidationError, match="^STL10: folds is 10; use a whole number from 0 to 9$"):
        STL10(root, folds=10)
    with pytest.raises(DataError, match="fold_indices.txt: fold 2 has numbers out of 0..3; copy the file again"):
        STL10(root, folds=2)
    with pytest.raises(DataError, match="fold_indices.txt: fold 5 cannot be read .*; copy the file again"):
        STL10(root, folds=5)
    np.array([1], np.uint8).tofile(folder / "test_y.bin")
    with pytest.raises(DataError, match="test_y.bin: 1 labels for 2 images; take both files from the same data set"):
        STL10(root, "test")
    (folder / "test_X.bin").write_bytes(bytes(100))
    with pytest.raises(
        DataError, match="test_X.bin: has 100 bytes, expected a multiple of 27,648; copy the file again"
    ):
        STL10(root, "test")


# ---- downloads, without a network


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Return a folder that stands for the web: download copies files from there."""

    def copy(file: RemoteFile, folder: Path) -> Path:
        source = tmp_path / "web" / file.name
        assert source.stat().st_size <= file.most
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, folder))

    (tmp_path / "web").mkdir()
    for module, name in ((mnist, "download"), (cifar, "download"), (svhn_module, "fetch"), (stl10_module, "fetch")):
        monkeypatch.setattr(module, name, copy)
    return tmp_path / "web"


def test_download_puts_idx_files_where_torchvision_does(tmp_path, web):
    for split in ("train", "t10k"):
        write_idx(web / f"{split}-images-idx3-ubyte.gz", random_bytes(2, 28, 28))
        write_idx(web / f"{split}-labels-idx1-ubyte.gz", np.array([1, 2], np.uint8))
    assert len(FashionMNIST(tmp_path / "data", download=True)) == 2
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_download_of_emnist_unpacks_its_archive(tmp_path, web):
    write_idx(web / "images.gz", random_bytes(2, 28, 28))
    write_idx(web / "labels.gz", np.array([26, 2], np.uint8))
    with zipfile.ZipFile(web / "gzip.zip", "w") as archive:
        archive.write(web / "images.gz", "gzip/emnist-letters-test-images-idx3-ubyte.gz")
        archive.write(web / "labels.gz", "gzip/emnist-letters-test-labels-idx1-ubyte.gz")
    assert EMNIST(tmp_path / "data", "letters", train=False, download=True).labels.tolist() == [26, 2]
    with pytest.raises(DataError, match="EMNIST: .*has no emnist-digits-test-images, emnist-digits-test-labels, nor"):
        EMNIST(tmp_path / "data", "digits", train=False, download=True)


def test_download_of_cifar_and_stl10_unpacks_their_archives(tmp_path, web, stl10):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    for name, folder in (("cifar-10-python", "cifar-10-batches-py"), ("stl10_binary", "stl10_binary")):
        with tarfile.open(web / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / folder, folder)
    for _ in range(2):
        assert len(CIFAR10(root=tmp_path / "data", download=True)) == 10
        assert len(STL10(tmp_path / "data", download=True)) == 4


def test_download_of_svhn_and_qmnist(tmp_path, web):
    (web / "extra_32x32.mat").write_bytes(MAT_RAW)
    assert len(SVHN(tmp_path / "data", "extra", download=True)) == 2
    write_idx(web / "qmnist-train-images-idx3-ubyte.gz", random_bytes(1, 28, 28))
    write_idx(web / "qmnist-train-labels-idx2-int.gz", np.zeros((1, 8), np.int32))
    assert len(QMNIST(tmp_path / "data", download=True)) == 1


# ---- all


def test_published_images_are_read_by_the_loader_as_images_in_memory(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    images, labels = next(iter(data.DataLoader(CIFAR10(tmp_path), batch_size=4, normalize=(0.5, 0.25))))
    assert images.shape == (4, 3, 32, 32) and labels.tolist() == [0, 1, 2, 3]


def test_a_misspelt_data_set_is_an_error_with_the_nearest_name():
    with pytest.raises(AttributeError, match="^mg.datasets has no 'Cifar10'; there is CIFAR10"):
        datasets.Cifar10  # noqa: B018


def test_color_shapes_draws_the_same_pictures_from_one_seed():
    first, again, other = ColorShapes(36, 0), ColorShapes(36), ColorShapes(36, 1)
    assert (first.images == again.images).all() and (first.images != other.images).any()
    assert len(first.classes) == 18 and first.labels[19] == 1
    for image, label in zip(first.images, first.labels, strict=True):
        middle = image[:, 12:20, 12:20].mean((1, 2))
        assert ("red", "green", "blue")[middle.argmax()] in first.classes[label]


@pytest.mark.parametrize("settings", [{"n": 0}, {"seed": -1}, {"n": 1.5}])
def test_color_shapes_refuses_settings(settings):
    with pytest.raises(MinigradError, match="^ColorShapes: (n|seed) is .*; use a whole number"):
        ColorShapes(**settings)
