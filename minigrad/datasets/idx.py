"""IDX files, the format of MNIST and its cousins: magic 00 00 type ndim, the sizes, the data, often gzipped."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from minigrad.errors import DataError

GZIP_START = b"\x1f\x8b"
PIECE = 1 << 20
ELEMENTS = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # magic's third byte


def read_idx(path: str | Path, ndim: int | None = None) -> np.ndarray:
    """Read the array that an IDX file holds.

    path     a file, raw or gzipped; its first bytes tell which
    ndim     dimensions that the array must have; any number if None
    returns  a read-only array in the machine's byte order: uint8, int8, int16, int32, float32 or float64

    Raises   DataError   the file is missing, damaged, or not what it should be
    Source   Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats"

    >>> from minigrad.datasets.mnist import SHIPPED
    >>> read_idx(SHIPPED / "t10k-labels-idx1-ubyte.gz", ndim=1)[:5]
    array([7, 2, 1, 0, 4], dtype=uint8)
    """
    return parse_idx(b"".join(read_raw(path)), str(path), ndim)


def read_raw(path: str | Path) -> Iterator[bytes]:
    """Read a file's bytes piece by piece, unzipped if it is gzipped.

    path     a file; one named .gz must be gzip, any other may be
    yields   the raw bytes, about 1 MB at a time
    Raises   DataError   the file is missing, unreadable, not gzip though named so, or broken gzip
    Source   RFC 1952 (gzip)

    >>> from minigrad.datasets.mnist import SHIPPED
    >>> sum(len(piece) for piece in read_raw(SHIPPED / "t10k-labels-idx1-ubyte.gz"))
    10008
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.peek(2)[:2]
            if path.suffix == ".gz" and start != GZIP_START:
                raise DataError(
                    f"{path}: not gzip: begins with {start.hex() or 'nothing'}, expected {GZIP_START.hex()}; "
                    "rename it if it is raw, or copy it again"
                )
            yield from _unzip(file, path) if start == GZIP_START else _pieces(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the folder and the name") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file that you may read") from error


def parse_idx(raw: bytes, where: str, ndim: int | None = None) -> np.ndarray:
    """Turn the raw bytes of an IDX file into an array.

    raw      bytes       magic, sizes and data, unzipped
    where    a name      the file's, for error messages
    ndim     dimensions  that the array must have; any number if None
    returns  a read-only array, over the same memory where the elements are single bytes

    Raises   DataError   wrong magic, wrong number of dimensions, truncated, or trailing bytes

    >>> parse_idx(bytes.fromhex("00000801 00000003 050004"), "three labels")
    array([5, 0, 4], dtype=uint8)
    """
    element, sizes = _parse_header(raw, where, ndim)
    start = 4 + 4 * len(sizes)
    expected = start + element.itemsize * math.prod(sizes)
    _require(raw, expected, where)
    if len(raw) > expected:
        trailing = len(raw) - expected
        raise DataError(
            f"{where}: {trailing} trailing bytes: expected {expected} bytes for sizes {sizes}, found {len(raw)}; "
            "copy the file again, or mend its sizes"
        )
    return _shape(np.frombuffer(raw, element, offset=start), sizes, where)


def _unzip(file: BufferedIOBase, path: Path) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield from _pieces(unzipped)
    except (OSError, EOFError, zlib.error) as error:
        size = path.stat().st_size
        raise DataError(f"{path}: broken gzip of {size} bytes ({error}); copy the file again") from error


def _pieces(file: BufferedIOBase) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE), b"")


def _parse_header(raw: bytes, where: str, ndim: int | None) -> tuple[np.dtype, tuple[int, ...]]:
    _require(raw, 4, where)
    zeros, kind, found = struct.unpack(">HBB", raw[:4])
    if zeros != 0 or kind not in ELEMENTS:
        like = 0x0801 if ndim is None else 0x0800 + ndim
        raise DataError(f"{where}: magic is 0x{raw[:4].hex()}, expected one like 0x{like:08x}; give an IDX file")
    if ndim is not None and found != ndim:
        raise DataError(f"{where}: number of dimensions is {found}, expected {ndim}; were images and labels swapped?")
    _require(raw, 4 + 4 * found, where)
    return np.dtype(ELEMENTS[kind]), struct.unpack_from(f">{found}I", raw, offset=4)


def _require(raw: bytes, expected: int, where: str) -> None:
    if len(raw) < expected:
        raise DataError(f"{where}: truncated: expected {expected} bytes, found {len(raw)}; copy the file again")


def _shape(elements: np.ndarray, sizes: tuple[int, ...], where: str) -> np.ndarray:
    native = elements.astype(elements.dtype.newbyteorder("="), copy=False)
    native.setflags(write=False)
    try:
        return native.reshape(sizes)
    except ValueError as error:  # more dimensions, or larger sizes beside a 0, than NumPy takes
        raise DataError(f"{where}: NumPy cannot hold sizes {sizes} ({error}); mend the file's header") from error
