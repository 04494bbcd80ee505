"""Image files: the one place where they are opened, so that all are upright, of one mode, and safe to decode."""

import os
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..checks import brief
from ..errors import DataError, ValidationError
from ..runtime.files import printable_path

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "ICO", "AVIF")  # Pillow's names
MOST_PIXELS = 50_000_000  # that are decoded; up to 18 bytes each are needed at a time (measured, of a float TIFF)
MOST_REDUCED = 8  # times as many pixels may a JPEG file have that is decoded at a reduced size
MOST_BYTES = 1 << 29  # of a file; some readers of Pillow's keep all of it in memory
MODES = ("RGB", "L")
ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")  # modes with transparency
ORIENTATION = 0x0112  # number of the EXIF tag
UPRIGHT = {  # what undoes each orientation.  Source: EXIF 2.32, table of tag 274
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
OPEN = "give a PNG, JPEG or other usual image file"


def open_image(path: str | os.PathLike[str], mode: str = "RGB", reduce_to: int | None = None) -> Image.Image:
    """Read an image file: decoded, rotated as its EXIF says, and converted to one mode.

    path       a JPEG, PNG, GIF (its first picture), BMP, TIFF (its first page), WebP, PPM, ICO or AVIF file
    mode       "RGB" or "L" (grey)
    reduce_to  pixels   a JPEG file may be decoded at a reduced size with both sides of this or more, which is faster
    returns    a PIL image of 8 bits per channel

    Transparent pixels are laid on white, 16-bit grey levels are divided by 257, float levels must be from 0 to 1.
    Image.MAX_IMAGE_PIXELS has no effect; at most MOST_PIXELS, 50 million, are decoded.

    Raises   DataError         the file is missing, damaged, of another format, or too large; the message names it
             ValidationError   mode is neither "RGB" nor "L"
    Example
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(f"{folder}/clear.png")
    ...     open_image(f"{folder}/clear.png").getpixel((0, 0))
    (255, 255, 255)
    """
    if mode not in MODES:
        raise ValidationError(f"open_image: mode is {brief(mode)}; use 'RGB' or 'L'")
    where = printable_path(path)
    try:
        _check_kind(Path(path), where)
        with _quiet_pillow(), Path(path).open("rb") as stream:
            file = _open(stream)
            _reduce(file, reduce_to)
            _check_size(file, where)
            file.load()
            return as_mode(_turn_upright(file), mode, where)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{where}: is not an image of a known format, or its header is damaged; {OPEN}") from None
    except Exception as error:  # Pillow's readers raise errors of almost any kind for damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{where}: cannot be read, or is damaged ({reason}); copy it again, or remove it") from None


def _check_kind(path: Path, where: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{where}: no such file; check the name") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{where}: is a folder, or not a regular file; {OPEN}")
    if status.st_size > MOST_BYTES:
        raise DataError(f"{where}: has {status.st_size:,} bytes, at most {MOST_BYTES:,} are read; reduce the image")


def _open(stream: Any) -> ImageFile.ImageFile:
    """Return the image of an open file, its pixels not decoded.

    Image.open would count pixels here, before a JPEG file is reduced.
    """
    Image.init()
    for name in FORMATS:
        file = _open_as(name, stream)
        if file is not None:  # of an icon, the picture inside, whose size may be another than its list says
            return file.ico.getimage(file.size) if name == "ICO" else file
    raise UnidentifiedImageError


def _open_as(name: str, stream: Any) -> Any:
    """Return the image of an open file if it has this format, otherwise None."""
    factory, accept = Image.OPEN.get(name, (None, None))
    stream.seek(0)
    start = stream.read(16)
    stream.seek(0)
    try:
        is_accepted = accept is None or (accept(start) and not isinstance(accept(start), str))  # str: not installed
        return factory(stream, "") if factory is not None and is_accepted else None
    except (SyntaxError, IndexError, TypeError, KeyError, EOFError, struct.error):  # another format, says Pillow
        return None


def _reduce(file: ImageFile.ImageFile, reduce_to: int | None) -> None:
    """Let a JPEG file be decoded at 1/2, 1/4 or 1/8 of its size; progressive ones need the same memory at any size."""
    is_small = file.width * file.height <= MOST_REDUCED * MOST_PIXELS
    if reduce_to is not None and is_small and not file.info.get("progressive"):
        file.draft(None, (reduce_to, reduce_to))


def _check_size(file: ImageFile.ImageFile, where: str) -> None:
    if file.width * file.height > MOST_PIXELS:
        raise DataError(
            f"{where}: has {file.width}×{file.height} pixels, at most {MOST_PIXELS:,} are decoded; reduce the image"
        )


def _turn_upright(file: Image.Image) -> Image.Image:
    try:
        orientation = file.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF of any kind says nothing about the direction
        orientation = None
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return file if method is None else file.transpose(method)


def as_mode(image: Image.Image, mode: str, where: str) -> Image.Image:
    """Return an image in "RGB" or "L"; transparent pixels are laid on white, and grey levels of 16 bits divided."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_as_bytes(np.asarray(image), where))
    elif image.mode in ALPHA or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image.getchannel("A"))
        image = paper
    is_done = image.mode == mode and not isinstance(image, ImageFile.ImageFile)
    return image if is_done else image.convert(mode)


def _as_bytes(levels: np.ndarray, where: str) -> np.ndarray:
    """Return grey levels of 16 bits, or floats from 0 to 1, as uint8."""
    is_float = levels.dtype.kind == "f"
    low, high, most = levels.min(), levels.max(), 1 if is_float else 65535
    if not 0 <= low <= high <= most:
        raise DataError(f"{where}: grey levels are from {low} to {high}, expected 0 to {most}; save it with 8 bits")
    if is_float:
        scaled = levels * np.float32(255)
        return np.rint(scaled, out=scaled).astype(np.uint8)
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


# ---- Pillow's warnings about damaged files, which the DataError repeats, or which do not matter


class _HereOnly(threading.local):
    """In place of a module's name in a filter of warnings: it matches in threads that are opening an image.

    warnings.catch_warnings changes the filters of all threads, so that two threads could restore each other's.
    """

    active = False

    def match(self, module: str) -> bool:
        return self.active


_here = _HereOnly()
_FILTER: Any = ("ignore", None, Warning, _here, 0)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    if not warnings.filters or warnings.filters[0] is not _FILTER:
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
    _here.active = True
    try:
        yield
    finally:
        _here.active = False
