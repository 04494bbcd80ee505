"""Folders of images or other files, with one folder for each class."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from ..checks import brief, index_in_range, whole_number
from ..data import Dataset
from ..data.display import show_classes
from ..errors import DataError, ValidationError
from ..runtime import fork
from ..runtime.files import printable_path
from .image_files import MODES, open_image
from .progress import show_progress
from .published import check_root

StrPath: TypeAlias = str | os.PathLike[str]
Loader: TypeAlias = Callable[[str], Any]
Transform: TypeAlias = Callable[[Any], Any] | None

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".ico", ".avif")
IGNORED = ("thumbs.db", "desktop.ini")  # files that systems put into folders of images; so are names with a dot first
CACHE = 2048  # MiB, of a cache=True
FIRST = 5  # files that an error lists
MIB = 1 << 20
ON_ERROR = ("raise", "skip")


def default_loader(path: StrPath) -> Image.Image:
    """Read an image file as RGB, upright; the same as open_image(path)."""
    return open_image(path)


class DatasetFolder(Dataset[tuple[Any, Any]]):
    """Files of any kind, in one folder for each class.

    root              folder/class/.../file; hidden files, and links that lead back to a folder above, are left out
    loader            function of a path that returns the sample
    extensions        endings of the names of valid files, in any case; or give is_valid_file
    transform         function of the sample; None: the sample as it is
    target_transform  function of the label
    is_valid_file     function of a path that returns whether it is a sample; other files are left out
    allow_empty       allow classes without a file
    on_error          "raise": a file without a valid ending is an error, and so is a damaged file, when it is read;
                      "skip": both are left out; all files are read once to find them

    classes           names of the folders, in order; label i is class i
    class_to_idx      label by the name of the class
    samples           (path, label) of each sample; paths, targets: the paths alone, the labels alone
    skipped           (path, reason) of the files that were left out
    ds[i]             the sample and its label

    Raises   DataError         there is no such folder, no class, no file in a class, or a foreign or damaged file
             ValidationError   extensions and is_valid_file are both given or both missing, or a setting is unknown
    Example
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("cat", "dog"):
    ...         Path(root, name).mkdir()
    ...         _ = Path(root, name, "one.txt").write_text(f"a {name}")
    ...     texts = DatasetFolder(root, lambda path: Path(path).read_text(), (".txt",))
    ...     texts.classes, texts[1]
    (['cat', 'dog'], ('a dog', 1))
    """

    def __init__(
        self,
        root: StrPath,
        loader: Loader,
        extensions: str | tuple[str, ...] | None = None,
        transform: Transform = None,
        target_transform: Transform = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        on_error: str = "raise",
    ):
        where = type(self).__name__
        if on_error not in ON_ERROR:
            raise ValidationError(f"{where}: on_error is {brief(on_error)}; use 'raise' or 'skip'")
        self.root = os.fspath(check_root(where, root))
        self.loader, self.extensions = loader, extensions
        self.transform, self.target_transform, self.on_error = transform, target_transform, on_error
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples, foreign = _list_files(self.root, self.class_to_idx, extensions, is_valid_file)
        self.skipped = [(path, f"does not end in {_endings(extensions)}") for path in foreign]
        if foreign and on_error == "raise":
            raise _foreign_files(where, self.root, foreign, extensions)
        if on_error == "skip":
            self._leave_out_damaged()
        if not allow_empty:
            _check_classes(where, self.root, self.class_to_idx, self.samples)
        self.paths, self.targets = [path for path, _ in self.samples], [label for _, label in self.samples]

    def find_classes(self, directory: StrPath) -> tuple[list[str], dict[str, int]]:
        """Return the names of the classes and the label of each; a subclass may choose others."""
        return find_classes(directory)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        index = index_in_range(type(self).__name__, index, len(self), "samples")
        path, label = self.samples[index]
        sample = self._convert(self._load(path))
        return sample, label if self.target_transform is None else self.target_transform(label)

    def name_of(self, index: int) -> str:
        """Return the file of a sample, for error messages."""
        return printable_path(self.samples[index][0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self):,} files in {len(self.classes)} classes, from {self.root}"

    def _load(self, path: str) -> Any:
        return self.loader(path)

    def _convert(self, sample: Any) -> Any:
        return sample if self.transform is None else self.transform(sample)

    def _leave_out_damaged(self) -> None:
        """Read every file once, and move those that cannot be read from samples to skipped."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without Python's lock
            reasons = threads.map(self._find_damage, [path for path, _ in self.samples])
            found = list(zip(self.samples, show_progress(reasons, "checking files", len(self)), strict=True))
        self.skipped += [(path, reason) for (path, _), reason in found if reason is not None]
        self.samples = [sample for sample, reason in found if reason is None]

    def _find_damage(self, path: str) -> str | None:
        try:
            self._load(path)
        except Exception as error:  # a loader may raise anything
            return str(error)
        return None


class ImageFolder(DatasetFolder):
    """Images in one folder for each class, decoded when they are read.

    root              folder/class/.../image, of the formats of `IMG_EXTENSIONS`
    transform         function of a PIL image, which is upright and of the mode; None: ds[i] is an array
    target_transform  function of the label
    loader            function of a path that returns an image, in place of open_image; size, mode and cache are then
                      the loader's affair
    is_valid_file     function of a path that returns whether it is a sample; other files are left out
    allow_empty       allow classes without an image
    size              pixels   side, or (H, W): each image is resized so that it covers the size, and its centre is cut
                      out; None: images stay as large as they are
    mode              "RGB" or "L" (grey): what palettes, transparent (on white), CMYK and 16-bit images become
    on_error          "raise": a file of another kind is an error, and so is a damaged image, when it is read;
                      "skip": both are left out; all images are decoded once to find them
    cache             True, or MiB: keep decoded images in memory, as bytes, up to this limit (True: 2048); later
                      images are decoded each time

    classes           names of the folders, in order; label i is class i
    class_to_idx      label by the name of the class
    samples, imgs     (path, label) of each image; paths, targets: the paths alone, the labels alone
    skipped           (path, reason) of the files that were left out
    ds[i]             without a transform, a float32 array (C, H, W) from 0 to 1; and the label, an int

    Images are rotated as their EXIF says.  No image is decoded before it is read, and none is kept without a cache, so
    that memory does not grow with the number of files.
    Raises   DataError         there is no such folder, no class, no image in a class, or a foreign or damaged file
             ValidationError   size, mode, on_error or cache is out of its range, or given with a loader
    Example
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, size in (("cat", (30, 20)), ("dog", (16, 50))):
    ...         Path(root, name).mkdir()
    ...         Image.new("RGB", size, "white").save(Path(root, name, "one.png"))
    ...     animals = ImageFolder(root, size=16)
    ...     image, label = animals[1]
    ...     animals.classes, image.shape, label
    (['cat', 'dog'], (3, 16, 16), 1)
    """

    def __init__(
        self,
        root: StrPath,
        transform: Transform = None,
        target_transform: Transform = None,
        loader: Loader = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        size: int | tuple[int, int] | None = None,
        mode: str = "RGB",
        on_error: str = "raise",
        cache: bool | float = False,
    ):
        if mode not in MODES:
            raise ValidationError(f"ImageFolder: mode is {brief(mode)}; use 'RGB' or 'L'")
        self.size, self.mode = _sides(size), mode
        self._cache = _Cache(_cache_limit(cache))
        if loader is not default_loader and (size is not None or mode != "RGB" or cache):
            raise ValidationError("ImageFolder: size, mode and cache are for open_image; do the same in your loader")
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(
            root, loader, extensions, transform, target_transform, is_valid_file, allow_empty, on_error=on_error
        )
        self.imgs, self._labels = self.samples, np.array(self.targets, np.int64)

    @property
    def byte_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the bytes that a sample is made of; None if sizes differ, or samples are made in another way."""
        is_own = type(self).__getitem__ is not ImageFolder.__getitem__ or self.loader is not default_loader
        if self.size is None or is_own or self.target_transform is not None:
            return None
        return (1 if self.mode == "L" else 3, *self.size)

    def read_bytes(self, number: int) -> np.ndarray:
        """The pixels of a sample, (C, H, W) uint8."""
        return _channels_first(self._load(self.samples[number][0]))

    def labels_of(self, numbers: np.ndarray) -> np.ndarray:
        """The labels of samples, (N,) int64."""
        return self._labels[numbers]

    def _repr_html_(self) -> str:
        """What a notebook shows: the number of images of each class, and the first of them."""
        return show_classes(repr(self), self.targets, self.classes, self.stored_image)

    def stored_image(self, index: int) -> np.ndarray | None:
        """Return the pixels of an image, (H, W) or (3, H, W) uint8, without the transform; None if it has none."""
        image = self._load(self.paths[index])
        pixels = np.asarray(image.convert(self.mode) if isinstance(image, Image.Image) else image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            return None
        return pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)

    def _load(self, path: str) -> Any:
        """Return the pixels, (H, W) or (H, W, 3) uint8; or what a loader of the user's returns."""
        if self.loader is not default_loader:
            return self.loader(path)
        try:
            return self._cache.get(path, self._decode)
        except DataError as error:
            if self.on_error == "skip":
                raise
            raise DataError(f'{error}, or give ImageFolder on_error="skip"') from error

    def _decode(self, path: str) -> np.ndarray:
        if self.size is None:
            return np.asarray(open_image(path, self.mode))
        image = open_image(path, self.mode, reduce_to=2 * max(self.size))
        return np.asarray(ImageOps.fit(image, self.size[::-1], Image.Resampling.BILINEAR))

    def _convert(self, sample: Any) -> Any:
        is_pixels = self.loader is default_loader
        if self.transform is not None:
            return self.transform(Image.fromarray(sample) if is_pixels else sample)
        if isinstance(sample, Image.Image):
            sample, is_pixels = np.asarray(sample.convert(self.mode)), True
        return _scale(sample) if is_pixels else sample


def _scale(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (H, W) or (H, W, C) uint8 as float32 (C, H, W) from 0 to 1."""
    return _channels_first(pixels) / np.float32(255)


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), 2, 0))


class _Cache:
    """Arrays by path, kept until a limit of bytes is reached.  No array is replaced: in epochs, the oldest is next."""

    def __init__(self, limit: int):
        self.limit, self.used, self.lock = limit, 0, fork.Lock()  # a child may count one array too few
        self.arrays: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also one for another process, begins empty."""
        return _Cache, (self.limit,)

    def get(self, path: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
        found = self.arrays.get(path)
        return self._keep(path, read(path)) if found is None else found

    def _keep(self, path: str, array: np.ndarray) -> np.ndarray:
        with self.lock:
            if path not in self.arrays and self.used + array.nbytes <= self.limit:
                self.arrays[path] = array
                self.used += array.nbytes
        return array


# ---- settings


def _sides(size: Any) -> tuple[int, int] | None:
    """Return size as (H, W)."""
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValidationError(f"ImageFolder: size is {brief(size)}; use one side, or (H, W)")
    H, W = (whole_number("ImageFolder", "size", side, least=1, most=1 << 14) for side in sides)
    return H, W


def _cache_limit(cache: Any) -> int:
    """Return the limit of the cache in bytes."""
    if isinstance(cache, bool):
        return cache * CACHE * MIB
    if not isinstance(cache, int | float) or not cache >= 0:
        raise ValidationError(f"ImageFolder: cache is {brief(cache)}; use True, False, or a number of MiB of 0 or more")
    return int(min(cache, 1 << 40) * MIB)


# ---- finding files


def find_classes(directory: StrPath) -> tuple[list[str], dict[str, int]]:
    """Return the names of the folders in a folder, sorted and without hidden ones, and the label of each.

    Raises   DataError   there is no such folder, or no folder in it
    """
    where = printable_path(directory)
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise _unreadable(error) from None
    if not names:
        raise DataError(f"{where}: has no folder of a class, expected 1 or more; put images into {where}/CLASS/")
    return names, {name: label for label, name in enumerate(names)}


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Return whether a name ends in one of the extensions, in any case."""
    return filename.lower().endswith(extensions)


def is_image_file(filename: str) -> bool:
    """Return whether a name has the ending of an image file."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def _list_files(
    root: str,
    labels: dict[str, int],
    extensions: str | tuple[str, ...] | None,
    is_valid_file: Callable[[str], bool] | None,
) -> tuple[list[tuple[str, int]], list[str]]:
    """Return (path, label) of all valid files, by class and path, and the paths of foreign files."""
    if (extensions is None) == (is_valid_file is None):
        raise ValidationError("DatasetFolder: give extensions or is_valid_file, one of the two")
    samples, foreign = [], []
    files = ((path, labels[name]) for name in sorted(labels) for path in _walk(os.path.join(root, name)))
    for path, label in show_progress(files, "indexing files"):
        if is_valid_file is not None:
            if is_valid_file(path):
                samples.append((path, label))
        elif has_file_allowed_extension(path, extensions or ()):
            samples.append((path, label))
        else:
            foreign.append(path)
    return samples, foreign


def _walk(folder: str) -> Iterator[str]:
    """Yield the files in a folder and the folders below it, in torchvision's order."""
    for path, names in sorted(_walk_folders(folder)):
        yield from (os.path.join(path, name) for name in sorted(names) if not _is_hidden(name))


def _walk_folders(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder with the names of its files."""
    for path, folders, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        here = os.path.realpath(path)
        folders[:] = [name for name in folders if not _is_hidden(name) and not _leads_up(here, path, name)]
        yield path, names


def _refuse_unreadable(error: OSError) -> None:
    raise _unreadable(error) from None


def _unreadable(error: OSError) -> DataError:
    where = printable_path(error.filename)
    return DataError(f"{where}: cannot be read as a folder ({error.strerror}); check its name and your rights")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _leads_up(here: str, path: str, name: str) -> bool:
    """Whether a folder is a link to the folder that it is in, or one above, so that a walk would not end."""
    target = os.path.join(path, name)
    return os.path.islink(target) and Path(here).is_relative_to(os.path.realpath(target))


def _check_classes(where: str, root: str, labels: dict[str, int], samples: list[tuple[str, int]]) -> None:
    """Refuse classes without a sample."""
    found = {label for _, label in samples}
    empty = [printable_path(name) for name, label in labels.items() if label not in found]
    if empty:
        raise DataError(
            f"{where}: {len(empty)} of {len(labels)} classes in {printable_path(root)} have no file: "
            f"{_first(empty)}; remove their folders, or give allow_empty=True"
        )


def _foreign_files(where: str, root: str, foreign: list[str], extensions: str | tuple[str, ...] | None) -> DataError:
    names = [printable_path(os.path.relpath(path, root)) for path in foreign]
    return DataError(
        f"{where}: {len(foreign)} files in {printable_path(root)} do not end in {_endings(extensions)}: "
        f"{_first(names)}; "
        'remove them, or give on_error="skip"'
    )


def _endings(extensions: str | tuple[str, ...] | None) -> str:
    return extensions if isinstance(extensions, str) else " ".join(extensions or ())


def _first(names: list[str]) -> str:
    more = f" and {len(names) - FIRST} more" if len(names) > FIRST else ""
    return ", ".join(names[:FIRST]) + more
