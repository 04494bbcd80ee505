"""CIFAR-10 and CIFAR-100: 60,000 small colour photographs each, in the published Python or binary files."""

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import DataError
from ..runtime.files import printable_path
from .archives import unpack
from .download import RemoteFile, download
from .published import PublishedImages, Root, Transform, check_labels, check_root, check_train, find_folder, missing

PIXELS = 3 * 32 * 32  # bytes of an image: all of its red, then green, then blue
MOST_BYTES = 1 << 28  # of a file of images; the largest of the published ones has 155 MB

CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


class _Cifar(PublishedImages):
    names: ClassVar[Sequence[str]]
    archive: ClassVar[RemoteFile]
    python_folder: ClassVar[str]
    binary_folder: ClassVar[str]
    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    label_bytes: ClassVar[int]  # of an image in a binary file; the last one is the label
    label_key: ClassVar[str]

    def __init__(
        self,
        root: Root,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        name = type(self).__name__
        self.root, self.train = check_root(name, root), check_train(name, train)
        files = self._find(self.root)
        if not files and download:
            self._download(self.root)
            files = self._find(self.root)
        if not files:
            raise missing(name, self.root, self._names(), self.python_folder)
        parts = [self._read(file) for file in files]
        images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        super().__init__(images.reshape(-1, 3, 32, 32), labels, self.names, transform, target_transform)

    def _names(self) -> tuple[str, ...]:
        return self.train_files if self.train else self.test_files

    def _find(self, root: Path) -> list[Path]:
        """Return the files of images, all pickled or all binary."""
        for below, end in ((self.python_folder, ""), (self.binary_folder, ".bin")):
            names = [name + end for name in self._names()]
            folder = find_folder(root, (below,), partial(_has_all, names))
            if folder is not None:
                return [folder / name for name in names]
        return []

    def _download(self, root: Path) -> None:
        unpack(download(self.archive, root), root, most=2 * MOST_BYTES)

    def _read(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (N, 3072) and labels (N)."""
        where = printable_path(file)
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{where}: has {file.stat().st_size:,} bytes, expected at most {MOST_BYTES:,}")
        is_binary = file.suffix == ".bin"
        read = partial(_read_binary, size=self.label_bytes) if is_binary else partial(_read_pickled, key=self.label_key)
        images, labels = read(file, where)
        check_labels(labels, where, self.names)
        return images, labels

    @property
    def data(self) -> np.ndarray:
        """The images as (N, H, W, C), a view."""
        return self.images.transpose(0, 2, 3, 1)

    def __repr__(self) -> str:
        return self._describe(f"train={self.train}", f"from {self.root}")


class CIFAR10(_Cifar):
    """Photographs of 10 kinds of vehicles and animals, 32 x 32 pixels in colour: 50,000 for training, 10,000 for tests.

    root              folder with cifar-10-batches-py or cifar-10-batches-bin, or with the files themselves
    train             True: the training images; False: the test images
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the files (170 MB) into root if they are not there

    images            (N, 3, 32, 32)  uint8; data: the same as (N, 32, 32, 3)
    The published files are pickled; they are read without running what a pickle may contain.
    Raises   DataError    a file is missing or damaged, or cannot be downloaded
             DtypeError   train is not a bool, or root not a folder
    Source   A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009
    Example
    >>> images = CIFAR10("data", train=True, download=True)  # doctest: +SKIP
    """

    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    archive = RemoteFile(
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        200_000_000,
    )
    python_folder, binary_folder = "cifar-10-batches-py", "cifar-10-batches-bin"
    train_files, test_files = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
    label_bytes, label_key = 1, "labels"


class CIFAR100(_Cifar):
    """Photographs of 100 kinds of things and animals, 32 x 32 pixels in colour: 50,000 for training, 10,000 for tests.

    root              folder with cifar-100-python or cifar-100-binary, or with the files themselves
    train             True: the training images; False: the test images
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the files (170 MB) into root if they are not there

    images            (N, 3, 32, 32)  uint8; data: the same as (N, 32, 32, 3)
    The labels are the fine ones, of 100 classes.
    Raises   DataError    a file is missing or damaged, or cannot be downloaded
             DtypeError   train is not a bool, or root not a folder
    Source   A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009
    Example
    >>> images = CIFAR100("data", train=True, download=True)  # doctest: +SKIP
    """

    names = tuple(CIFAR100_CLASSES.split())
    archive = RemoteFile(
        ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        200_000_000,
    )
    python_folder, binary_folder = "cifar-100-python", "cifar-100-binary"
    train_files, test_files = ("train",), ("test",)
    label_bytes, label_key = 2, "fine_labels"


def _has_all(names: Sequence[str], folder: Path) -> bool:
    return all((folder / name).is_file() for name in names)


def _read_binary(file: Path, where: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read rows of `size` bytes, of which the last is the label, and the pixels of an image."""
    content, row = np.fromfile(file, np.uint8), size + PIXELS
    if content.size % row or not content.size:
        raise DataError(f"{where}: has {content.size:,} bytes, expected a multiple of {row:,}; copy the file again")
    rows = content.reshape(-1, row)
    return rows[:, size:], rows[:, size - 1].astype(np.int64)


# ---- pickled files


class _PickledType(NamedTuple):
    """In place of numpy.dtype."""

    kind: Any
    align: Any = None
    copy: Any = None

    def __setstate__(self, state: Any) -> None:
        """Byte order and fields say nothing about bytes."""


class _PickledArray:
    """In place of a NumPy array: only its shape, type and bytes are noted."""

    state: Any = None

    def __init__(self, *arguments: Any):
        """numpy's function takes the class, a first shape and a first type, which the state replaces."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def as_bytes(self) -> np.ndarray:
        """Return an array (N, 3072) uint8."""
        _, shape, kind, is_fortran, data = self.state
        if kind.kind not in ("u1", b"u1", "uint8") or is_fortran or shape[1:] != (PIXELS,):
            raise ValueError(f"images are {kind.kind} {shape}, expected u1 (N, {PIXELS})")
        return np.frombuffer(data if isinstance(data, bytes) else data.encode("latin1"), np.uint8).reshape(shape)


class _Unpickler(pickle.Unpickler):
    """Reads containers, plain values and arrays; any other name in the file is refused."""

    names: ClassVar[dict[tuple[str, str], Any]] = {
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _PickledArray for core in ("core", "_core")},
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _PickledType,
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, but no code is run")
        return self.names[module, name]


def _read_pickled(file: Path, where: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with file.open("rb") as stream:
            content = _Unpickler(stream, encoding="bytes").load()
        batch = {name.decode() if isinstance(name, bytes) else name: value for name, value in content.items()}
        images, labels = batch["data"].as_bytes(), np.asarray(batch[key])
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{where}: is damaged, or no file of CIFAR ({reason}); copy the file again") from error
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{where}: labels are {labels.dtype} {labels.shape} for {len(images)} images; copy the file again"
        )
    return images, labels.astype(np.int64)
