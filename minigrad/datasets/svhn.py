"""SVHN: digits of house numbers in street photographs."""

from typing import ClassVar

import numpy as np

from ..errors import DataError
from .download import RemoteFile, download as fetch
from .mat_files import read_mat
from .published import PublishedImages, Root, Transform, check_choice, check_labels, check_root, missing

DIGITS = tuple("0123456789")


class SVHN(PublishedImages):
    """Digits of house numbers, 32 x 32 pixels in colour.

    root              folder with train_32x32.mat, test_32x32.mat or extra_32x32.mat
    split             'train' (73,257 images), 'test' (26,032) or 'extra' (531,131 easier ones, 1.6 GB)
    transform         function of a PIL image
    target_transform  function of the label
    download          fetch the file into root if it is not there

    images            (N, 3, 32, 32)  uint8
    labels            0 to 9; the files have 10 for the digit 0
    Raises   DataError         the file is missing or damaged, or cannot be downloaded
             ValidationError   there is no such split
             DtypeError        root is not a folder
    Source   Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011
    Example
    >>> images = SVHN("data", split="train", download=True)  # doctest: +SKIP
    """

    checksums: ClassVar = {
        "train": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "test": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        "extra": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
    }
    mirror: ClassVar = "https://ufldl.stanford.edu/housenumbers/"

    def __init__(
        self,
        root: Root,
        split: str = "train",
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ):
        check_choice("SVHN", "split", split, tuple(self.checksums))
        self.root, self.split = check_root("SVHN", root), split
        file = self.root / f"{split}_32x32.mat"
        if not file.is_file() and download:
            fetch(RemoteFile((self.mirror + file.name,), self.checksums[split], 1_500_000_000), self.root)
        if not file.is_file():
            raise missing("SVHN", self.root, [file.name])
        content = read_mat(file, ("X", "y"))
        pixels, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[2:] != (3, len(labels)):
            raise DataError(
                f"{file}: X is {pixels.dtype} {pixels.shape} and y has {len(labels)} labels, expected uint8 "
                "(32, 32, 3, N) and N; copy the file again"
            )
        labels = np.where(labels == 10, 0, labels)
        check_labels(labels, file, DIGITS)
        images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))
        super().__init__(images, labels, DIGITS, transform, target_transform)

    def __repr__(self) -> str:
        return self._describe(f"split={self.split!r}", f"from {self.root}")
