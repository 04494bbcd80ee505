"""What all published data sets have in common: where their files are, and how they look in memory."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..checks import brief
from ..data import ImageDataset
from ..errors import DataError, DtypeError, ValidationError
from ..runtime.files import printable_path

Root: TypeAlias = str | os.PathLike[str]
Transform: TypeAlias = Callable[[Any], Any] | None


class PublishedImages(ImageDataset):
    """Images and labels of a published data set, read-only.

    images        (N, C, H, W) or (N, H, W)  uint8
    labels        (N,)                       whole numbers
    classes       names of the labels
    class_to_idx  label by name
    data, targets  torchvision's names of images and labels; data of CIFAR are (N, H, W, C)
    ds[i]         a float32 image (C, H, W) from 0 to 1, and its label as an int; with a transform, what it makes of a
                  PIL image
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        transform: Transform = None,
        target_transform: Transform = None,
    ):
        super().__init__(images, labels, transform=transform, target_transform=target_transform)
        self.images.setflags(write=False)
        self.labels.setflags(write=False)
        self.classes = list(classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class."""
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def data(self) -> Any:
        """The images."""
        return self.images

    @property
    def targets(self) -> Any:
        """The labels."""
        return self.labels

    def _describe(self, settings: str, origin: str) -> str:
        n, (h, w) = len(self.images), self.images.shape[-2:]
        name, classes = type(self).__name__, len(self.classes)
        return f"{name}({settings}): {n:,} images of {h} x {w} pixels, {classes} classes, {origin}"


def find_folder(root: Path, below: Sequence[str], is_there: Callable[[Path], bool]) -> Path | None:
    """Return the first folder that has the files: one of those below root, or root itself; None if there is none."""
    return next((folder for folder in (*(root / part for part in below), root) if is_there(folder)), None)


def check_root(where: str, root: Any) -> Path:
    """Return the folder of a data set; refuse what is no path."""
    if not isinstance(root, str | os.PathLike):
        raise DtypeError(f"{where}: root is {brief(root)}, expected a folder; write {where}(root='./data', ...)")
    return Path(root).expanduser()


def check_train(where: str, train: Any) -> bool:
    """Return train as a bool; refuse other values, as a folder."""
    if not isinstance(train, bool | np.bool_):
        raise DtypeError(f"{where}: train is {brief(train)}, expected True or False; give a folder as root=")
    return bool(train)


def check_choice(where: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a setting that is not one of the choices."""
    if value not in choices:
        raise ValidationError(f"{where}: {name} is {brief(value)}; use {', '.join(map(repr, choices))}")


def check_labels(labels: np.ndarray, where: str | Path, classes: Sequence[str]) -> None:
    """Refuse labels without a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        i, most = int(wrong[0]), len(classes) - 1
        raise DataError(f"{where}: label {i} is {labels[i]}, expected 0..{most}; map the classes to 0..{most}")


def missing(where: str, root: Path, names: Sequence[str], below: str = "") -> DataError:
    """Return the error of a data set whose files are neither in root nor in its folder below root."""
    found = f"has no {', '.join(names)}" + (f", nor has {below} in it" if below else "")
    return DataError(
        f"{where}: {printable_path(root)}: {found if root.is_dir() else 'no such folder'}; copy the files there, check "
        "root=, or give download=True"
    )
