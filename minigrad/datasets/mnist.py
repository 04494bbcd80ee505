"""MNIST, 70,000 handwritten digits: shipped in the folder mnist/ beside this file, or read from a folder of yours."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..data import ImageDataset
from ..errors import DataError, DtypeError
from .idx import read_idx

SHIPPED = Path(__file__).parent / "mnist"
SHA256 = {  # of each shipped file's raw content, by the stem of its name
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNIST(ImageDataset):
    """Handwritten digits, 28 x 28 grey pixels each, with the digit that each shows.

    train    True for the 60,000 training images, False for the 10,000 test images
    root     a folder of IDX files with MNIST's names, raw or .gz; the files shipped with minigrad if None

    images   (N, 28, 28)  uint8   0 is paper, 255 is ink; read-only
    labels   (N,)         int64   0..9; read-only
    classes  names of the ten labels, '0'..'9'
    ds[i]    a float32 image (1, 28, 28) in 0..1, and its label as an int

    Shipped files must match their SHA-256 sums.  Files in `root` need not (they may be FashionMNIST, or of another
    image size), but their form is checked all the same.
    Raises   DataError   a file is missing, damaged, or not what it should be
             DtypeError  train is not a bool
    Source   LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition"

    >>> digits = MNIST(train=True)
    >>> image, label = digits[0]
    >>> image.shape, label
    ((1, 28, 28), 5)
    """

    def __init__(self, train: bool = True, root: str | Path | None = None) -> None:
        if not isinstance(train, bool | np.bool_):
            raise DtypeError(f"MNIST: train is {train!r}, expected True or False; name a folder with root=")
        self.train = bool(train)
        self.root = None if root is None else Path(root).expanduser()
        split = "train" if train else "t10k"
        images, images_file = _read(self.root, f"{split}-images", ndim=3)
        labels, labels_file = _read(self.root, f"{split}-labels", ndim=1)
        _check_labels(labels, labels_file, images, images_file)
        super().__init__(images, labels)
        self.labels.setflags(write=False)
        self.classes = [str(digit) for digit in range(10)]

    def __repr__(self) -> str:
        n, h, w = self.images.shape
        origin = "shipped with minigrad" if self.root is None else f"from {self.root}"
        return f"MNIST(train={self.train}): {n:,} images of {h} x {w} pixels, {len(self.classes)} classes, {origin}"


def _read(root: Path | None, stem: str, ndim: int) -> tuple[np.ndarray, Path]:
    """Read one uint8 array, from the shipped folder if root is None; also say which file it came from."""
    path = _find(SHIPPED if root is None else root, stem, ndim)
    array = _read_checked(path, ndim, SHA256[stem]) if root is None else read_idx(path, ndim)
    if array.dtype != np.uint8:
        raise DataError(f"{path}: elements are {array.dtype}, expected uint8; store pixels as 0..255, labels as 0..9")
    return array, path


def _find(folder: Path, stem: str, ndim: int) -> Path:
    names = [f"{stem}{mark}idx{ndim}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    state = "no file" if folder.is_dir() else "no such folder, so no file"
    advice = "reinstall minigrad" if folder == SHIPPED else "copy it there, or check root="
    raise DataError(f"{folder}: {state} {names[0]}, with or without .gz; {advice}")


def _read_checked(path: Path, ndim: int, expected: str) -> np.ndarray:
    """Read a file whose raw bytes must have this SHA-256, summing one piece in a thread while the next is unzipped."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as summing:  # train images: 0.28 s, 0.53 s in one thread (CPU without SHA instructions)
        array = read_idx(path, ndim, watch=lambda piece: summing.submit(digest.update, piece))
    found = digest.hexdigest()
    if found != expected:
        raise DataError(f"{path}: SHA-256 is {found}, expected {expected}; the file is damaged, reinstall minigrad")
    return array


def _check_labels(labels: np.ndarray, labels_file: Path, images: np.ndarray, images_file: Path) -> None:
    if len(labels) != len(images):
        raise DataError(
            f"{labels_file}: {len(labels)} labels, but {images_file.name} has {len(images)} images; "
            "take both files from one data set"
        )
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        i = int(wrong[0])
        raise DataError(f"{labels_file}: label {i} is {labels[i]}, expected 0..9; map the classes to 0..9")
