"""MNIST, 70,000 handwritten digits, which minigrad ships; and the data sets that have its format."""

import hashlib
import string
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..creation import from_numpy
from ..errors import DataError, DtypeError, ValidationError
from .archives import unpack
from .download import RemoteFile, download
from .idx import read_idx
from .published import (
    PublishedImages,
    Root,
    Transform,
    check_choice,
    check_labels,
    check_root,
    check_train,
    find_folder,
    missing,
)

SHIPPED = Path(__file__).parent / "mnist"
SHA256 = {  # of the unzipped content of each shipped file, by the stem of its name
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DIGITS = tuple(string.digits)
ENDS = ("", ".gz", ".xz")


class _IdxImages(PublishedImages):
    """Images and labels in IDX files, in root/NAME/raw or in root."""

    names: Sequence[str] = DIGITS
    mirrors: ClassVar[tuple[str, ...]] = ()
    checksums: ClassVar[dict[str, str]] = {}  # SHA-256 by the name on the web
    most: ClassVar[int] = 1 << 26  # bytes of a file on the web

    def __init__(
        self,
        root: Root,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        name = type(self).__name__
        self.root: Path | None = check_root(name, root)
        self.train = check_train(name, train)
        self._read_below(self.root, _stems(self.train), transform, target_transform, download)

    def _read_below(
        self, root: Path, stems: tuple[str, str], transform: Transform, target_transform: Transform, download: bool
    ) -> None:
        """Read images and labels, whose file names begin with the stems."""
        folder = self._find(root, stems)
        if folder is None and download:
            self._download(root / type(self).__name__ / "raw", stems)
            folder = self._find(root, stems)
        if folder is None:
            raise missing(type(self).__name__, root, stems, f"{type(self).__name__}/raw")
        images, labels = (_find_file(folder, stem) for stem in stems)
        self._keep(*_read_pair(images, labels), labels, transform, target_transform)

    def _find(self, root: Path, stems: tuple[str, str]) -> Path | None:
        raw = f"{type(self).__name__}/raw"
        below = (raw, f"{raw}/gzip", type(self).__name__, "gzip")
        return find_folder(root, below, lambda folder: all(_find_file(folder, stem) for stem in stems))

    def _download(self, folder: Path, stems: tuple[str, str]) -> None:
        for name, checksum in self.checksums.items():
            if name.startswith(stems):
                download(RemoteFile(tuple(mirror + name for mirror in self.mirrors), checksum, self.most), folder)

    def _keep(self, images: np.ndarray, labels: np.ndarray, file: Path | None, *transforms: Transform) -> None:
        check_labels(labels, file or "", self.names)
        super().__init__(images, labels, self.names, *transforms)

    @property
    def data(self) -> Any:
        """The images as a tensor, which shares their memory."""
        return from_numpy(self.images)

    @property
    def targets(self) -> Any:
        """The labels as a tensor, which shares their memory."""
        return from_numpy(self.labels)

    def __repr__(self) -> str:
        return self._describe(f"train={self.train}", f"from {self.root}")


class MNIST(_IdxImages):
    """Handwritten digits, 28 x 28 grey pixels each, and their labels.

    root              a folder of IDX files with MNIST's names, raw or .gz, or one with MNIST/raw; None: the files
                      shipped with minigrad
    train             True: the 60,000 training images; False: the 10,000 test images
    transform         function of a PIL image
    target_transform  function of the label
    download          use the shipped files if root has none; nothing is downloaded

    images   (N, 28, 28)  uint8   from 0 (paper) to 255 (ink); read-only
    labels   (N,)         int64   0 to 9; read-only
    classes  names of the labels, '0' to '9'
    ds[i]    a float32 image (1, 28, 28) from 0 to 1, and its label as an int

    Shipped files must match their SHA-256 sums.  Files in `root` may be of another data set, with other labels or
    another image size; only their format is checked.
    Raises   DataError    a file is missing or damaged, or has another format
             DtypeError   train is not a bool, or root not a folder
    Source   LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition"
    Example
    >>> digits = MNIST(train=True)
    >>> image, label = digits[0]
    >>> image.shape, label
    ((1, 28, 28), 5)
    """

    def __init__(
        self,
        root: Root | None = None,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        if isinstance(root, bool):
            raise DtypeError(f"MNIST: root is {root}, expected a folder; write MNIST(train={root})")
        self.train = check_train("MNIST", train)
        self.root = None if root is None else check_root("MNIST", root)
        stems = _stems(self.train)
        if self.root is None or (download and self._find(self.root, stems) is None):
            self.root = None
            self._keep(*_read_shipped(stems), None, transform, target_transform)
        else:
            self._read_below(self.root, stems, transform, target_transform, download)

    def _keep(self, images: np.ndarray, labels: np.ndarray, file: Path | None, *transforms: Transform) -> None:
        count = max(len(DIGITS), 1 + int(labels.max(initial=0)))
        PublishedImages.__init__(self, images, labels, [str(label) for label in range(count)], *transforms)

    def __repr__(self) -> str:
        origin = "shipped with minigrad" if self.root is None else f"from {self.root}"
        return self._describe(f"train={self.train}", origin)


class FashionMNIST(_IdxImages):
    """Pictures of clothes, 28 x 28 grey pixels each, in 10 classes: 60,000 for training and 10,000 for tests.

    root              folder with FashionMNIST/raw, or with the IDX files themselves, raw or .gz
    train             True: the training images; False: the test images
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the files into root/FashionMNIST/raw if they are not there

    Raises   DataError    a file is missing or damaged, or cannot be downloaded
             DtypeError   train is not a bool, or root not a folder
    Source   H. Xiao, K. Rasul & R. Vollgraf, "Fashion-MNIST", 2017
    Example
    >>> images = FashionMNIST("data", train=True, download=True)  # doctest: +SKIP
    """

    names = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    mirrors = (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    checksums: ClassVar = {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }


class KMNIST(_IdxImages):
    """Kuzushiji-MNIST: cursive Japanese letters, 28 x 28 grey pixels each, in 10 classes; as many as in MNIST.

    root              folder with KMNIST/raw, or with the IDX files themselves, raw or .gz
    train             True: the training images; False: the test images
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the files into root/KMNIST/raw if they are not there

    Raises   DataError    a file is missing or damaged, or cannot be downloaded
             DtypeError   train is not a bool, or root not a folder
    Source   T. Clanuwat et al., "Deep learning for classical Japanese literature", 2018
    Example
    >>> images = KMNIST("data", train=True, download=True)  # doctest: +SKIP
    """

    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    mirrors = ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    checksums: ClassVar = {
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    }


MERGED = "cijklmopsuvwxyz"  # small letters that EMNIST counts as capitals, because they look alike


class EMNIST(_IdxImages):
    """Handwritten letters and digits, 28 x 28 grey pixels each.

    root              folder with EMNIST/raw, or with the IDX files themselves, raw or .gz
    split             'byclass' (62 classes), 'bymerge' or 'balanced' (47, small letters that look like capitals are
                      counted as these), 'letters' (labels 1 to 26), 'digits' or 'mnist' (10)
    train             True: the training images; False: the test images
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch an archive of 560 MB into root/EMNIST/raw if the files are not there

    The images are as published, and as torchvision gives them: transposed, rows are columns of the written letter.
    The archive is checked by the MD5 sum that torchvision publishes.
    Raises   DataError         a file is missing or damaged, or cannot be downloaded
             ValidationError   there is no such split
             DtypeError        train is not a bool, or root not a folder
    Source   G. Cohen, S. Afshar, J. Tapson & A. van Schaik, "EMNIST", 2017
    Example
    >>> images = EMNIST("data", "letters", download=True)  # doctest: +SKIP
    """

    splits: ClassVar = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    archive = RemoteFile(
        ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",), "58c8d27c78d21e728a6bc7b3cc06412e", 600_000_000
    )

    def __init__(
        self,
        root: Root,
        split: str,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        check_choice("EMNIST", "split", split, self.splits)
        self.root, self.split, self.train = check_root("EMNIST", root), split, check_train("EMNIST", train)
        self.names = _emnist_classes(split)
        start = f"emnist-{split}-{'train' if self.train else 'test'}"
        self._read_below(self.root, (f"{start}-images", f"{start}-labels"), transform, target_transform, download)

    def _download(self, folder: Path, stems: tuple[str, str]) -> None:
        unpack(download(self.archive, folder), folder, most=2 * self.archive.most)

    def __repr__(self) -> str:
        return self._describe(f"split={self.split!r}, train={self.train}", f"from {self.root}")


class QMNIST(_IdxImages):
    """MNIST with the 50,000 test images that were lost, and with what is known about the origin of each digit.

    root              folder with QMNIST/raw, or with the IDX files themselves, raw, .gz or .xz
    what              'train' (60,000 images), 'test' (60,000), 'test10k' (those of MNIST), 'test50k' (the others) or
                      'nist' (402,953, all of NIST's digits); None: by train
    compat            True; the other columns, which torchvision gives with compat=False, are in `details`
    train             True: 'train'; False: 'test'
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the files into root/QMNIST/raw if they are not there

    details           (N, 8) int64   the label, series, writer, number of the writer's digit, NIST's label, number in
                      NIST's files, and two that are 0
    Raises   DataError         a file is missing or damaged, or cannot be downloaded
             ValidationError   there is no such part, or compat is False
             DtypeError        train is not a bool, or root not a folder
    Source   C. Yadav & L. Bottou, "Cold case: the lost MNIST digits", 2019
    Example
    >>> images = QMNIST("data", "test50k", download=True)  # doctest: +SKIP
    """

    parts: ClassVar = {
        "train": "qmnist-train",
        "test": "qmnist-test",
        "test10k": "qmnist-test",
        "test50k": "qmnist-test",
        "nist": "xnist",
    }
    mirrors = ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",)
    most = 1 << 28
    checksums: ClassVar = {
        "qmnist-train-images-idx3-ubyte.gz": "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
        "qmnist-train-labels-idx2-int.gz": "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
        "qmnist-test-images-idx3-ubyte.gz": "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
        "qmnist-test-labels-idx2-int.gz": "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
        "xnist-images-idx3-ubyte.xz": "f075553993026d4359ded42208eff77a1941d3963c1eff49d6015814f15f0984",
        "xnist-labels-idx2-int.xz": "db042968723ec2b7aed5f1beac25d2b6e983b9286d4f4bf725f1086e5ae55c4f",
    }

    def __init__(
        self,
        root: Root,
        what: str | None = None,
        compat: bool = True,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        self.root, self.train = check_root("QMNIST", root), check_train("QMNIST", train)
        self.what = what or ("train" if self.train else "test")
        check_choice("QMNIST", "what", self.what, tuple(self.parts))
        if not compat:
            raise ValidationError("QMNIST: compat is False; leave it out, and read all columns from .details")
        start = self.parts[self.what]
        self._read_below(self.root, (f"{start}-images", f"{start}-labels"), transform, target_transform, download)

    def _keep(self, images: np.ndarray, labels: np.ndarray, file: Path | None, *transforms: Transform) -> None:
        chosen = {"test10k": slice(10_000), "test50k": slice(10_000, None)}.get(self.what, slice(None))
        if labels.ndim != 2:
            raise DataError(f"{file}: labels have shape {labels.shape}, expected (N, 8); give the files of QMNIST")
        self.details = labels[chosen].astype(np.int64)
        self.details.setflags(write=False)
        super()._keep(images[chosen], self.details[:, 0], file, *transforms)

    def __repr__(self) -> str:
        return self._describe(f"what={self.what!r}", f"from {self.root}")


# ---- reading


def _stems(train: bool) -> tuple[str, str]:
    split = "train" if train else "t10k"
    return f"{split}-images", f"{split}-labels"


def _emnist_classes(split: str) -> list[str]:
    characters = sorted(string.digits + string.ascii_letters)
    if split == "letters":
        return ["N/A", *string.ascii_lowercase]
    if split in ("bymerge", "balanced"):
        return [character for character in characters if character not in MERGED]
    return characters if split == "byclass" else list(DIGITS)


def _find_file(folder: Path, stem: str) -> Path | None:
    """Return the file of a name such as train-images-idx3-ubyte.gz or train-images.idx3-ubyte, or None."""
    kinds = ("idx3-ubyte",) if stem.endswith("images") else ("idx1-ubyte", "idx2-int")
    paths = (folder / f"{stem}{mark}{kind}{end}" for kind in kinds for mark in "-." for end in ENDS)
    return next((path for path in paths if path.is_file()), None)


def _read_pair(images_file: Path | None, labels_file: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, H, W) uint8 and labels, (N,) uint8 or (N, 8) int32, of the same number."""
    assert images_file is not None and labels_file is not None  # for type checkers: they were found before
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 2 if "idx2" in labels_file.name else 1)
    _check_bytes(images, images_file)
    if labels.ndim == 1:
        _check_bytes(labels, labels_file)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_file}: {len(labels)} labels, but {images_file.name} has {len(images)} images; "
            "take both files from the same data set"
        )
    return images, labels


def _check_bytes(array: np.ndarray, file: Path) -> None:
    if array.dtype != np.uint8:
        raise DataError(f"{file}: elements are {array.dtype}, expected uint8; store pixels as 0..255, labels as 0..255")


def _read_shipped(stems: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_read_checked(stem, ndim) for stem, ndim in zip(stems, (3, 1), strict=True))
    return images, labels


def _read_checked(stem: str, ndim: int) -> np.ndarray:
    """Read a shipped file and check the SHA-256 of its unzipped bytes; a thread hashes what is unzipped already."""
    path = _find_file(SHIPPED, stem)
    if path is None:
        raise DataError(f"{SHIPPED}: has no file {stem}-idx{ndim}-ubyte, with or without .gz; reinstall minigrad")
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as thread:  # halves the time on a CPU without SHA instructions (measured)
        array = read_idx(path, ndim, watch=lambda chunk: thread.submit(digest.update, chunk))
    found, expected = digest.hexdigest(), SHA256[stem]
    if found != expected:
        raise DataError(f"{path}: SHA-256 is {found}, expected {expected}; the file is damaged, reinstall minigrad")
    return array
