"""IDX files, the format of MNIST: the magic number 00 00 type ndim, the sizes, and the data, often gzipped."""

import gzip
import lzma
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

from ..errors import DataError
from ..runtime.files import printable_path

Stream: TypeAlias = IO[bytes] | gzip.GzipFile | lzma.LZMAFile

GZIP_START = b"\x1f\x8b"
MAX_RATIO = 1032  # raw bytes per gzipped byte, at most.  Source: zlib's technical details
XZ_START = b"\xfd7"
MAX_XZ_RATIO = 10_000  # accepted raw bytes per byte of an .xz file; QMNIST's have up to 60
CHUNK = 1 << 20  # bytes read at a time
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # by the magic's third byte


def read_idx(
    path: str | Path, ndim: int | None = None, watch: Callable[[memoryview], object] = lambda chunk: None
) -> np.ndarray:
    """Read the array in an IDX file.

    path     a raw, gzipped or xz file; a file named .gz must be gzipped
    ndim     required number of dimensions; None: any number
    watch    called with the unzipped bytes, one chunk after the other
    returns  a read-only array in the machine's byte order: uint8, int8, int16, int32, float32 or float64

    The header is read first.  Sizes that need more bytes than the file can hold are refused before memory is allocated.

    Raises   DataError   the file is missing or damaged, or has another format or number of dimensions
    Source   Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats"

    >>> from minigrad.datasets.mnist import SHIPPED
    >>> read_idx(SHIPPED / "t10k-labels-idx1-ubyte.gz", ndim=1)[:5]
    array([7, 2, 1, 0, 4], dtype=uint8)
    """
    with _open_unzipped(Path(path)) as (file, most):
        return _read(file, most, printable_path(path), ndim, watch)


def parse_idx(raw: bytes, where: str, ndim: int | None = None) -> np.ndarray:
    """Convert the raw bytes of an IDX file to an array.

    raw      bytes   magic number, sizes and data, unzipped
    where    str     name of the file, for error messages
    ndim     int     required number of dimensions; None: any number
    returns  a read-only array in the machine's byte order

    Raises   DataError   the magic number, the number of dimensions or the number of bytes is wrong

    >>> parse_idx(bytes.fromhex("00000801 00000003 050004"), "three labels")
    array([5, 0, 4], dtype=uint8)
    """
    return _read(BytesIO(raw), len(raw), where, ndim, lambda chunk: None)


@contextmanager
def _open_unzipped(path: Path) -> Iterator[tuple[Stream, int]]:
    """Yield the open file and the largest number of bytes that it can hold; errors of reading become DataError."""
    where = printable_path(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{where}: cannot be read (it is not a regular file); give a file that you may read")
        with path.open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.peek(2)[:2]
            if path.suffix == ".gz" and start != GZIP_START:
                raise DataError(
                    f"{where}: not gzip: begins with {start.hex() or 'nothing'}, expected {GZIP_START.hex()}; "
                    "rename it if it is raw, or copy it again"
                )
            if start not in (GZIP_START, XZ_START):
                yield file, size
                return
            is_gzip = start == GZIP_START
            try:
                with gzip.GzipFile(fileobj=file) if is_gzip else lzma.LZMAFile(file) as unzipped:
                    yield unzipped, size * (MAX_RATIO if is_gzip else MAX_XZ_RATIO)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                kind = "gzip" if is_gzip else "xz"
                raise DataError(f"{where}: broken {kind} of {size} bytes ({error}); copy the file again") from error
    except FileNotFoundError:
        raise DataError(f"{where}: no such file; check the folder and the name") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); give a file that you may read") from error


def _read(file: Stream, most: int, where: str, ndim: int | None, watch: Callable[[memoryview], object]) -> np.ndarray:
    """Read the array in a file that holds at most `most` bytes."""
    element, sizes = _read_header(file, where, ndim, watch)
    start = 4 + 4 * len(sizes)
    expected = start + element.itemsize * math.prod(sizes)
    if expected > most:
        held = f"{'at most ' if isinstance(file, gzip.GzipFile | lzma.LZMAFile) else ''}{most}"
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {held}; copy the file again")
    content = _allocate(expected - start, where)
    found = start + _read_into(file, content.data, watch)
    if found < expected:
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {found}; copy the file again")
    if more := file.read(CHUNK):  # at the end of a file, gzip checks its checksum
        held = f"{expected + len(more)}{' or more' if len(more) == CHUNK else ''}"
        raise DataError(
            f"{where}: trailing bytes: expected {expected} bytes for sizes {sizes}, found {held}; "
            "copy the file again, or correct its sizes"
        )
    return _reshape(content.view(element), sizes, where)


def _read_header(
    file: Stream, where: str, ndim: int | None, watch: Callable[[memoryview], object]
) -> tuple[np.dtype, tuple[int, ...]]:
    magic = _read_exactly(4, b"", file, where)
    zeros, kind, found = struct.unpack(">HBB", magic)
    if zeros != 0 or kind not in DTYPES:
        like = 0x0801 if ndim is None else 0x0800 + ndim
        raise DataError(f"{where}: magic is 0x{magic.hex()}, expected one like 0x{like:08x}; give an IDX file")
    if ndim is not None and found != ndim:
        raise DataError(
            f"{where}: number of dimensions is {found}, expected {ndim}; check that images and labels are not swapped"
        )
    header = _read_exactly(4 + 4 * found, magic, file, where)
    watch(memoryview(header))
    return np.dtype(DTYPES[kind]), struct.unpack_from(f">{found}I", header, offset=4)


def _read_exactly(expected: int, head: bytes, file: Stream, where: str) -> bytes:
    """Return the first `expected` bytes of a file, of which `head` has been read."""
    read = head + file.read(expected - len(head))
    if len(read) < expected:
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {len(read)}; copy the file again")
    return read


def _allocate(size: int, where: str) -> np.ndarray:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise DataError(f"{where}: its sizes need {size:,} bytes, more than can be allocated; split the file") from None


def _read_into(file: Stream, content: memoryview, watch: Callable[[memoryview], object]) -> int:
    """Read until `content` is full or the file ends; return the number of bytes."""
    done = 0
    while done < len(content):
        read = file.readinto(content[done : done + CHUNK])  # type: ignore[union-attr]
        if not read:
            break
        watch(content[done : done + read])
        done += read
    return done


def _reshape(elements: np.ndarray, sizes: tuple[int, ...], where: str) -> np.ndarray:
    native = elements.astype(elements.dtype.newbyteorder("="), copy=False)
    native.setflags(write=False)
    try:
        return native.reshape(sizes)
    except ValueError as error:  # too many dimensions, or too large sizes beside a 0
        raise DataError(f"{where}: NumPy cannot hold sizes {sizes} ({error}); correct the file's header") from error
