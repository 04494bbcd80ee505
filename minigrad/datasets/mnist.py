"""MNIST, 70,000 handwritten digits: the files in mnist/, which minigrad ships, or those in another folder."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..data import ImageDataset
from ..errors import DataError, DtypeError
from .idx import read_idx

SHIPPED = Path(__file__).parent / "mnist"
SHA256 = {  # of the unzipped content of each shipped file, by the stem of its name
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNIST(ImageDataset):
    """Handwritten digits, 28 x 28 grey pixels each, and their labels.

    train    True: the 60,000 training images; False: the 10,000 test images
    root     a folder of IDX files with MNIST's names, raw or .gz; None: the files shipped with minigrad

    images   (N, 28, 28)  uint8   from 0 (paper) to 255 (ink); read-only
    labels   (N,)         int64   0 to 9; read-only
    classes  names of the ten labels, '0' to '9'
    ds[i]    a float32 image (1, 28, 28) from 0 to 1, and its label as an int

    Shipped files must match their SHA-256 sums.  Files in `root` may be of another data set, as FashionMNIST, or of
    another image size; only their format is checked.
    Raises   DataError    a file is missing or damaged, or has another format
             DtypeError   train is not a bool
    Source   LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition"
    Example
    >>> digits = MNIST(train=True)
    >>> image, label = digits[0]
    >>> image.shape, label
    ((1, 28, 28), 5)
    """

    def __init__(self, train: bool = True, root: str | Path | None = None) -> None:
        if not isinstance(train, bool | np.bool_):
            raise DtypeError(f"MNIST: train is {train!r}, expected True or False; give a folder as root=")
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
    """Return a uint8 array and its file, which is a shipped one if root is None."""
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
    problem = f"has no file {names[0]}, with or without .gz" if folder.is_dir() else "no such folder"
    advice = "reinstall minigrad" if folder == SHIPPED else "copy the files there, or check root="
    raise DataError(f"{folder}: {problem}; {advice}")


def _read_checked(path: Path, ndim: int, expected: str) -> np.ndarray:
    """Read a file and check the SHA-256 of its unzipped bytes; a thread hashes one chunk while the next is unzipped."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as thread:  # halves the time on a CPU without SHA instructions (measured)
        array = read_idx(path, ndim, watch=lambda chunk: thread.submit(digest.update, chunk))
    found = digest.hexdigest()
    if found != expected:
        raise DataError(f"{path}: SHA-256 is {found}, expected {expected}; the file is damaged, reinstall minigrad")
    return array


def _check_labels(labels: np.ndarray, labels_file: Path, images: np.ndarray, images_file: Path) -> None:
    if len(labels) != len(images):
        raise DataError(
            f"{labels_file}: {len(labels)} labels, but {images_file.name} has {len(images)} images; "
            "take both files from the same data set"
        )
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        i = int(wrong[0])
        raise DataError(f"{labels_file}: label {i} is {labels[i]}, expected 0..9; map the classes to 0..9")
