"""STL-10: few labelled and many unlabelled colour photographs."""

from pathlib import Path

import numpy as np

from ..checks import whole_number
from ..errors import DataError
from .archives import unpack
from .download import RemoteFile, download as fetch
from .published import PublishedImages, Root, Transform, check_choice, check_labels, check_root, find_folder, missing

FOLDER = "stl10_binary"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
PARTS = {"train": ("train",), "test": ("test",), "unlabeled": ("unlabeled",), "train+unlabeled": ("train", "unlabeled")}
ARCHIVE = RemoteFile(
    (
        "https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    ),
    "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
    2_700_000_000,
)
MOST_UNPACKED = 4_000_000_000  # bytes
SHAPE = (3, 96, 96)  # of an image, whose columns are stored one after the other


class STL10(PublishedImages):
    """Photographs of 10 kinds of vehicles and animals, 96 x 96 pixels in colour.

    root              folder with stl10_binary, or with the .bin files themselves
    split             'train' (5,000 images), 'test' (8,000), 'unlabeled' (100,000, label -1) or 'train+unlabeled'
    folds             0 to 9: the 1,000 training images of a published fold; None: all
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch an archive of 2.6 GB into root if the files are not there

    images            (N, 3, 96, 96)  uint8
    labels            0 to 9, or -1
    Raises   DataError         a file is missing or damaged, or cannot be downloaded
             ValidationError   there is no such split or fold
             DtypeError        root is not a folder
    Source   A. Coates, H. Lee & A. Y. Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011
    Example
    >>> images = STL10("data", split="train", download=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        root: Root,
        split: str = "train",
        folds: int | None = None,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        check_choice("STL10", "split", split, tuple(PARTS))
        self.root, self.split = check_root("STL10", root), split
        self.folds = None if folds is None else whole_number("STL10", "folds", folds, least=0, most=9)
        folder = self._find()
        if folder is None and download:
            unpack(fetch(ARCHIVE, self.root), self.root, most=MOST_UNPACKED)
            folder = self._find()
        if folder is None:
            raise missing("STL10", self.root, self._names(), FOLDER)
        parts = [_read_part(folder, part, self.folds) for part in PARTS[split]]
        images, labels = (
            column[0] if len(column) == 1 else np.concatenate(column) for column in zip(*parts, strict=True)
        )
        super().__init__(images, labels, CLASSES, transform, target_transform)

    def _names(self) -> list[str]:
        """The files that are needed."""
        parts = PARTS[self.split]
        names = [f"{part}_X.bin" for part in parts] + [f"{part}_y.bin" for part in parts if part != "unlabeled"]
        return [*names, "fold_indices.txt"] if self.folds is not None and "train" in parts else names

    def _find(self) -> Path | None:
        return find_folder(self.root, (FOLDER,), lambda path: all((path / name).is_file() for name in self._names()))

    def __repr__(self) -> str:
        return self._describe(f"split={self.split!r}", f"from {self.root}")


def _read_part(folder: Path, part: str, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels."""
    file = folder / f"{part}_X.bin"
    pixels, image = np.fromfile(file, np.uint8), int(np.prod(SHAPE))
    if pixels.size % image or not pixels.size:
        raise DataError(f"{file}: has {pixels.size:,} bytes, expected a multiple of {image:,}; copy the file again")
    images = pixels.reshape(-1, *SHAPE)
    if part == "unlabeled":
        labels = np.full(len(images), -1)
    else:
        labels = _read_labels(folder / f"{part}_y.bin", len(images))
        if part == "train" and fold is not None:
            chosen = _read_fold(folder / "fold_indices.txt", fold, len(images))
            images, labels = images[chosen], labels[chosen]
    for some in np.array_split(images, max(1, len(images) // 1000)):  # turned in place: there may be 2.8 GB of them
        some[...] = some.transpose(0, 1, 3, 2).copy()
    return images, labels


def _read_labels(file: Path, count: int) -> np.ndarray:
    """Return labels from 0; the file has them from 1."""
    labels = np.fromfile(file, np.uint8).astype(np.int64) - 1
    if len(labels) != count:
        raise DataError(f"{file}: {len(labels)} labels for {count} images; take both files from the same data set")
    check_labels(labels, file, CLASSES)
    return labels


def _read_fold(file: Path, fold: int, count: int) -> np.ndarray:
    """Return the numbers of the images of a fold, which are one line."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        chosen = np.array(lines[fold].split(), np.int64)
    except (ValueError, IndexError) as error:
        raise DataError(f"{file}: fold {fold} cannot be read ({error}); copy the file again") from error
    if not chosen.size or chosen.min() < 0 or chosen.max() >= count:
        raise DataError(f"{file}: fold {fold} has numbers out of 0..{count - 1}; copy the file again")
    return chosen
