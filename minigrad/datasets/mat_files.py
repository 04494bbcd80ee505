"""Arrays of numbers in MATLAB's .mat files, version 5: read without SciPy, as far as published data sets need it.

Source: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-files"
"""

import math
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ..errors import DataError
from ..runtime.files import printable_path

STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type
MATRIX, COMPRESSED = 14, 15
NUMERIC = range(6, 16)  # classes of arrays of numbers
COMPLEX = 0x800  # flag
CHUNK = 1 << 20  # bytes read and unzipped at a time
MAX_RATIO = 1032  # unzipped bytes per byte, at most.  Source: zlib's technical details


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Unzipped:
    """The next bytes of a file, unzipped as they are read."""

    def __init__(self, file: BinaryIO, count: int):
        self.file, self.left, self.unzip = file, count, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        parts = []
        while count > 0 and not self.unzip.eof:
            packed = self.unzip.unconsumed_tail or self.file.read(min(CHUNK, self.left))
            self.left -= 0 if self.unzip.unconsumed_tail else len(packed)
            part = self.unzip.decompress(packed, count)
            if not packed and not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the arrays of these names.

    path     a file of MATLAB's version 5 to 7, compressed or not
    returns  arrays in MATLAB's shape, by name

    Sizes that need more bytes than the file can hold are refused before memory is allocated.
    Raises   DataError   the file is missing, damaged or of another format, or has no such array of numbers
    """
    where = printable_path(path)
    try:
        with path.open("rb") as file:
            arrays = _read(file, path.stat().st_size, where, names)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file; check the folder and the name") from None
    except (OSError, zlib.error, ValueError, KeyError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: is damaged ({error}); copy the file again") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{where}: has no array {' and '.join(missing)}; give another file")
    return arrays


def _read(file: BinaryIO, size: int, where: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    header = file.read(128)
    if header[126:] not in (b"IM", b"MI"):
        raise DataError(f"{where}: is no MATLAB file of version 5; save it in MATLAB with the option -v7")
    order = "<" if header[126:] == b"IM" else ">"
    arrays: dict[str, np.ndarray] = {}
    while (start := file.tell()) < size and len(arrays) < len(names):
        kind, count, _ = _read_tag(file, order)
        source: _Source = _Unzipped(file, count) if kind == COMPRESSED else file
        most = count * (MAX_RATIO if kind == COMPRESSED else 1)
        if kind == COMPRESSED:
            kind, _, _ = _read_tag(source, order)
        if kind == MATRIX:
            name, array = _read_matrix(source, order, most, names)
            if array is not None:
                arrays[name] = array
        file.seek(start + 8 + count)
    return arrays


def _read_tag(source: _Source, order: str) -> tuple[int, int, bytes | None]:
    """Return the type of an element, its number of bytes and, of a small element, the bytes."""
    tag = _read_exactly(source, 8)
    first, count = (int(number) for number in np.frombuffer(tag, f"{order}u4"))
    if first >> 16:
        return first & 0xFFFF, first >> 16, tag[4:]
    return first, count, None


def _read_element(source: _Source, order: str, most: int) -> np.ndarray:
    """Return the numbers of an element and skip its padding."""
    kind, count, small = _read_tag(source, order)
    if count > (most if small is None else 4):
        raise ValueError(f"an element of {count} bytes in {most}")
    data = small[:count] if small is not None else _read_exactly(source, count)
    if small is None:
        source.read(-count % 8)
    return np.frombuffer(data, order + STORED[kind])


def _read_matrix(source: _Source, order: str, most: int, names: tuple[str, ...]) -> tuple[str, np.ndarray | None]:
    """Return the name of an array and, if it is one of the names, its numbers."""
    flags = int(_read_element(source, order, 8)[0])
    shape = tuple(int(side) for side in _read_element(source, order, 256))
    name = _read_element(source, order, 256).tobytes().decode("ascii")
    if name not in names:
        return name, None
    if flags & 0xFF not in NUMERIC or flags & COMPLEX:
        raise ValueError(f"{name} is no array of real numbers")
    numbers = _read_element(source, order, most)
    if min(shape, default=0) < 0 or math.prod(shape) != numbers.size:
        raise ValueError(f"{name} has {numbers.size} numbers for the shape {shape}")
    return name, numbers.reshape(shape, order="F")


def _read_exactly(source: _Source, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise ValueError(f"truncated: expected {count} bytes, found {len(data)}")
    return data
