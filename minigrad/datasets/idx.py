"""IDX files, the format of MNIST and its cousins: magic 00 00 type ndim, the sizes, the data, often gzipped."""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from minigrad.errors import DataError
from minigrad.runtime.files import shown

Stream: TypeAlias = IO[bytes] | gzip.GzipFile

GZIP_START = b"\x1f\x8b"
MOST_ZIPPED = 1032  # times that gzip makes a file smaller, at best.  Source: zlib's technical details
PIECE = 1 << 20
ELEMENTS = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # magic's third byte


def read_idx(
    path: str | Path, ndim: int | None = None, watch: Callable[[memoryview], object] = lambda piece: None
) -> np.ndarray:
    """Read the array that an IDX file holds.

    path     a file, raw or gzipped, as its first bytes tell; one named .gz must be gzipped
    ndim     dimensions that the array must have; any number if None
    watch    called with the unzipped bytes, piece by piece, in their order
    returns  a read-only array in the machine's byte order: uint8, int8, int16, int32, float32 or float64

    The header is read first, and no more memory taken than the sizes in it ask for; sizes that the file cannot fill are
    refused before.

    Raises   DataError   the file is missing, damaged, or not what it should be
    Source   Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats"

    >>> from minigrad.datasets.mnist import SHIPPED
    >>> read_idx(SHIPPED / "t10k-labels-idx1-ubyte.gz", ndim=1)[:5]
    array([7, 2, 1, 0, 4], dtype=uint8)
    """
    with _unzipped(Path(path)) as (file, most):
        return _read(file, most, shown(path), ndim, watch)


def parse_idx(raw: bytes, where: str, ndim: int | None = None) -> np.ndarray:
    """Turn the raw bytes of an IDX file into an array.

    raw      bytes       magic, sizes and data, unzipped
    where    a name      the file's, for error messages
    ndim     dimensions  that the array must have; any number if None
    returns  a read-only array in the machine's byte order

    Raises   DataError   wrong magic, wrong number of dimensions, truncated, or trailing bytes

    >>> parse_idx(bytes.fromhex("00000801 00000003 050004"), "three labels")
    array([5, 0, 4], dtype=uint8)
    """
    return _read(BytesIO(raw), len(raw), where, ndim, lambda piece: None)


@contextmanager
def _unzipped(path: Path) -> Iterator[tuple[Stream, int]]:
    """A file to read from, and how many bytes can come out of it at most; what goes wrong while reading is named."""
    where = shown(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{where}: cannot be read (is no regular file); give a file that you may read")
        with path.open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.peek(2)[:2]
            if path.suffix == ".gz" and start != GZIP_START:
                raise DataError(
                    f"{where}: not gzip: begins with {start.hex() or 'nothing'}, expected {GZIP_START.hex()}; "
                    "rename it if it is raw, or copy it again"
                )
            if start != GZIP_START:
                yield file, size
                return
            try:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield unzipped, size * MOST_ZIPPED
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{where}: broken gzip of {size} bytes ({error}); copy the file again") from error
    except FileNotFoundError:
        raise DataError(f"{where}: no such file; check the folder and the name") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); give a file that you may read") from error


def _read(file: Stream, most: int, where: str, ndim: int | None, watch: Callable[[memoryview], object]) -> np.ndarray:
    """The array in a file out of which `most` bytes can come."""
    element, sizes = _read_header(file, where, ndim, watch)
    start = 4 + 4 * len(sizes)
    expected = start + element.itemsize * math.prod(sizes)
    if expected > most:
        held = f"{'at most ' if isinstance(file, gzip.GzipFile) else ''}{most}"
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {held}; copy the file again")
    content = _memory(expected - start, where)
    found = start + _fill(file, content.data, watch)
    if found < expected:
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {found}; copy the file again")
    if more := file.read(PIECE):  # at the end, gzip compares its checksum
        held = f"{expected + len(more)}{' or more' if len(more) == PIECE else ''}"
        raise DataError(
            f"{where}: trailing bytes: expected {expected} bytes for sizes {sizes}, found {held}; "
            "copy the file again, or mend its sizes"
        )
    return _shape(content.view(element), sizes, where)


def _read_header(
    file: Stream, where: str, ndim: int | None, watch: Callable[[memoryview], object]
) -> tuple[np.dtype, tuple[int, ...]]:
    magic = _read_exactly(4, b"", file, where)
    zeros, kind, found = struct.unpack(">HBB", magic)
    if zeros != 0 or kind not in ELEMENTS:
        like = 0x0801 if ndim is None else 0x0800 + ndim
        raise DataError(f"{where}: magic is 0x{magic.hex()}, expected one like 0x{like:08x}; give an IDX file")
    if ndim is not None and found != ndim:
        raise DataError(f"{where}: number of dimensions is {found}, expected {ndim}; were images and labels swapped?")
    header = _read_exactly(4 + 4 * found, magic, file, where)
    watch(memoryview(header))
    return np.dtype(ELEMENTS[kind]), struct.unpack_from(f">{found}I", header, offset=4)


def _read_exactly(expected: int, begun: bytes, file: Stream, where: str) -> bytes:
    """The first `expected` bytes of a file, of which those that have been read are given."""
    read = begun + file.read(expected - len(begun))
    if len(read) < expected:
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {len(read)}; copy the file again")
    return read


def _memory(size: int, where: str) -> np.ndarray:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise DataError(f"{where}: its sizes ask for {size:,} bytes, more than can be had here; cut the file") from None


def _fill(file: Stream, content: memoryview, watch: Callable[[memoryview], object]) -> int:
    """Read until `content` is full or the file ends; returns the number of bytes."""
    done = 0
    while done < len(content):
        read = file.readinto(content[done : done + PIECE])  # type: ignore[union-attr]
        if not read:
            break
        watch(content[done : done + read])
        done += read
    return done


def _shape(elements: np.ndarray, sizes: tuple[int, ...], where: str) -> np.ndarray:
    native = elements.astype(elements.dtype.newbyteorder("="), copy=False)
    native.setflags(write=False)
    try:
        return native.reshape(sizes)
    except ValueError as error:  # more dimensions, or larger sizes beside a 0, than NumPy takes
        raise DataError(f"{where}: NumPy cannot hold sizes {sizes} ({error}); mend the file's header") from error
