"""NumPy's .npz files: a flat dict name -> Tensor, as numpy.savez writes it and numpy.load reads it.

Such a file is a zip archive with NAME.npy for each array: a header, which is the text of a dict, and the elements.  Zip
keeps a checksum of each.  No object is ever unpickled.

Source: numpy/lib/format.py (the .npy format); zlib's technical details (MAX_RATIO)
"""

import os
import struct
import zipfile
import zlib
from io import BytesIO
from tokenize import TokenError
from typing import Any

import numpy as np

from .checks import type_with_article
from .errors import DataError, DtypeError, ValidationError
from .runtime.device import device as Device
from .runtime.memory import contiguous
from .tensors import Tensor, tensor
from .torch_files import BFLOAT16, STORAGES, warn_if_converted

SUFFIX = ".npy"
DTYPES = {  # of the elements in a file: dtype of the tensor here
    np.dtype(in_file): dtype for in_file, dtype in STORAGES.values() if in_file != BFLOAT16
}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of numpy.savez and numpy.savez_compressed
READ_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, TypeError)
MAX_RATIO = 1032  # bytes per compressed byte, at most


def is_npz_name(path: Any) -> bool:
    """Whether save() writes a .npz file: by the name of the file."""
    return isinstance(path, str) and path.lower().endswith(".npz")


def is_npz(start: bytes) -> bool:
    """Whether a zip archive is a .npz file: it is empty, or the name of its first member ends with .npy."""
    first_name = start[30 : 30 + int.from_bytes(start[26:28], "little")]
    return start.startswith(b"PK\x05\x06") or (start.startswith(b"PK\x03\x04") and first_name.endswith(b".npy"))


def npz_bytes(obj: Any) -> bytes:
    """Return the content of a .npz file for a flat dict name -> Tensor.

    Raises   DtypeError        obj is another object
             ValidationError   a name cannot be the name of a member
    """
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in _check_tensors(obj).items():
            with archive.open(zipfile.ZipInfo(name + SUFFIX), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, contiguous(value._host()), allow_pickle=False)
    return buffer.getvalue()


def read_npz_file(path: str, where: str, device: Device) -> dict[str, Tensor]:
    """Return the arrays of a .npz file.

    where   the name of the file in errors

    Raises   DataError   the file is damaged, or holds more than arrays of dtypes that tensors have
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _check_members(archive, path, where)
            _check_sizes(members, archive, where)
            arrays = {name: _parse(archive.read(info), f"{where}: array '{name}'") for name, info in members.items()}
    except DataError:
        raise
    except READ_ERRORS as error:
        raise DataError(f"{where}: damaged, or not an .npz file of NumPy ({error}); copy or save it again") from error
    return {name: tensor(array, device=device) for name, array in arrays.items()}


def _check_tensors(obj: Any) -> dict[str, Tensor]:
    """Return the object if it is a flat dict name -> Tensor."""
    wrong = None if isinstance(obj, dict) else f"the object is {type_with_article(obj)}"
    for name, value in obj.items() if wrong is None else ():
        if not isinstance(name, str):
            wrong = f"key {name!r} is {type_with_article(name)}"
        elif not isinstance(value, Tensor):
            wrong = f"{name} is {type_with_article(value)}"
        else:
            _check_name(name)
    if wrong is not None:
        raise DtypeError(
            f"save: {wrong}, but a .npz file holds a flat dict name -> Tensor; for other objects use a name that ends "
            "with .safetensors"
        )
    return obj


def _check_name(name: str) -> None:
    """Refuse names that zip or numpy.load would change."""
    stored = name.encode("utf-8", "replace").decode()
    if zipfile.ZipInfo(stored).filename != name or name.endswith(SUFFIX) or len(stored.encode()) > 65000:
        raise ValidationError(
            f"save: {name[:100]!r} cannot name an array of a .npz file; use at most 65000 bytes of UTF-8, without NUL "
            f"and without {SUFFIX} at the end"
        )


def _check_members(archive: zipfile.ZipFile, path: str, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the names of arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(SUFFIX)
        if name == info.filename or info.compress_type not in METHODS:
            raise DataError(f"{where}: {info.filename!r} is not an array as numpy.savez writes it; save arrays alone")
        if name in members:
            raise DataError(f"{where}: has two arrays named '{name}'; save it again")
        members[name] = info
    if min(len(archive.infolist()), 0xFFFF) != _declared_count(path, archive):
        raise DataError(f"{where}: damaged: its directory does not list all of its arrays; copy or save it again")
    return members


def _check_sizes(members: dict[str, zipfile.ZipInfo], archive: zipfile.ZipFile, where: str) -> None:
    """Refuse members that need more bytes than the file can hold, before memory is allocated."""
    size = archive.start_dir  # of all members, which stand before the directory
    if sum(info.compress_size for info in members.values()) > size:
        raise DataError(f"{where}: damaged: its arrays take more than its {size} bytes; copy or save it again")
    for name, info in members.items():
        most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MAX_RATIO)
        if info.file_size > most:
            raise DataError(
                f"{where}: damaged: array '{name}' has {info.file_size} bytes, but its {info.compress_size} compressed "
                f"bytes hold at most {most}; copy or save it again"
            )


def _declared_count(path: str, archive: zipfile.ZipFile) -> int:
    """Return the number of members, up to 0xFFFF, by the record at the end of the file, which zipfile does not read."""
    with open(path, "rb") as file:
        file.seek(-22 - len(archive.comment), os.SEEK_END)
        return int.from_bytes(file.read(12)[10:], "little")


def _parse(content: bytes, where: str) -> np.ndarray:
    """Return the array in the bytes of a .npy file, in a dtype of tensors."""
    file = BytesIO(content)
    shape, fortran_order, in_file = _read_header(file, where)
    native = in_file.newbyteorder("=")
    if native not in DTYPES:
        raise DataError(
            f"{where} is {in_file}, expected one of {', '.join(map(str, DTYPES))}; convert it before saving"
        )
    warn_if_converted(native.str[1:], 7)
    array = np.ndarray(shape, in_file, content, file.tell(), order="F" if fortran_order else "C")
    return array.astype(DTYPES[native])


def _read_header(file: BytesIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether the elements are in Fortran's order, and dtype."""
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except (SyntaxError, TokenError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise DataError(f"{where}: its header cannot be read ({error!r}); save it again") from error
    raise DataError(f"{where} has version {version} of the format, expected (1, 0) or (2, 0); save it again")
