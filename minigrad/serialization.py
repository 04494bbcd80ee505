"""Saving and loading of safetensors files: weights that PyTorch reads, and whole checkpoints.

A file holds each tensor under its path in the saved object, so that other programs find the tensors of a state_dict by
its keys.  The metadata hold a description of the object in JSON: a list, tuple or dict is {type: [...]}, and a dict is
a list of pairs, so that keys keep their type and order.  They also hold a checksum, which the format lacks.

Source: the safetensors format, https://huggingface.co/docs/safetensors
"""

import json
import os
import zlib
from typing import Any, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from .checks import type_with_article
from .errors import DataError, DtypeError, ValidationError
from .runtime.device import device as Device
from .runtime.files import printable_path, write_whole
from .runtime.memory import contiguous
from .tensors import Tensor, tensor

DTYPES = ("F32", "F64", "I64", "I32", "U8", "BOOL")  # names in a file of the dtypes that tensors have
METADATA_KEY = "minigrad"  # holds the checksum and the description
METADATA_START = '{"crc32": '  # the first characters of that text
RESERVED_NAME = "__metadata__"  # not allowed for a tensor
MAX_DEPTH = 100  # nested containers; Python's recursion limit of 1000 calls is not far above
MAX_HEADER = 100_000_000  # bytes of names, shapes and description that readers of safetensors accept

FilePath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def save(obj: Any, path: FilePath) -> None:
    """Write tensors, or a checkpoint of tensors and plain values, to a file.

    obj    a dict name -> Tensor, as model.state_dict(), which safetensors.torch.load_file also reads; or tensors,
           numbers, strings, True, False and None in dicts (keys str or int), lists and tuples, nested up to 100 deep
    path   file to write, usually .safetensors; missing folders are created

    An interrupted save leaves an existing file unchanged.  A replaced file keeps its mode; a symbolic link is followed.
    Tensors that share memory are written separately.

    Raises   DtypeError        a value or key has an unsupported type; the message names its path in obj
             ValidationError   obj is nested too deep, or has an int of thousands of digits or more than 100 MB of plain
                               values
             FileError         the file cannot be written, or path is not a regular file
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/checkpoint.safetensors"
    >>> save({"model": {"weight": mg.tensor([1.0, 2.0])}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': tensor([1., 2.])}, 'epoch': 3}
    """
    path = _decode_path("save", path)
    arrays: dict[str, np.ndarray] = {}
    description = _describe(obj, (), arrays)
    note = {"crc32": _checksum(arrays, description), "value": description}
    data = safetensors.numpy.save(arrays, {METADATA_KEY: json.dumps(note)})
    header = int.from_bytes(data[:8], "little")
    if header > MAX_HEADER:
        raise ValidationError(
            f"save: names, shapes and plain values take {header:,} bytes, but load() reads at most {MAX_HEADER:,}; "
            "convert long lists of numbers to tensors"
        )
    write_whole(path, data)


def load(path: FilePath, device: str | Device = "cpu") -> Any:
    """Read a file that save() wrote, or any safetensors file.

    path      the file
    device    of the tensors
    returns   the saved object; for other files a dict name -> Tensor; tensors do not require grad

    Raises   DataError     the file is missing or damaged, or holds tensors of an unsupported dtype
             DeviceError   the device is not available
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/weights.safetensors"
    >>> save({"fc.bias": mg.tensor([0.5])}, path)
    >>> load(path)
    {'fc.bias': tensor([0.5])}
    """
    where = Device(device)
    path = _decode_path("load", path)
    arrays, metadata = _read(path)
    tensors = {name: tensor(array, device=where) for name, array in arrays.items()}
    for key, text in metadata.items():
        if key == METADATA_KEY or text.startswith(METADATA_START):
            return _restore(text, tensors, arrays, printable_path(path))
    return tensors


def _decode_path(where: str, path: FilePath) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise DtypeError(f"{where}: path is {type_with_article(path)}; give the name of a file") from None


def _checksum(arrays: dict[str, np.ndarray], description: Any) -> int:
    """Return the checksum of names, dtypes, shapes, bytes and the description."""
    total = zlib.crc32(json.dumps(description).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name}:{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total


def _restore(text: str, tensors: dict[str, Tensor], arrays: dict[str, np.ndarray], where: str) -> Any:
    """Return the saved object, after a comparison of the checksums."""
    try:
        note = json.loads(text)
        if not isinstance(note, dict) or "crc32" not in note:  # a file of an older version
            return _rebuild(note, tensors)
        found = _checksum(arrays, note["value"])
        if found != note["crc32"]:
            raise DataError(
                f"{where}: damaged: the checksum of its content is {found}, but the saved checksum is "
                f"{note['crc32']}; copy or save it again"
            )
        return _rebuild(note["value"], tensors)
    except DataError:
        raise
    except RecursionError:
        raise DataError(f"{where}: its description is nested too deep; save it again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: its description cannot be read ({error!r}); save it again") from error


def _describe(value: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON, and add its tensors to `arrays`, named by their paths."""
    if isinstance(value, Tensor):
        text = _dotted(path).encode("utf-8", "backslashreplace").decode()  # a file cannot hold half a surrogate pair
        name = _free_name(text if path else "tensor", arrays)
        arrays[name] = contiguous(value._host())
        return {"tensor": name}
    if isinstance(value, dict | list | tuple) and len(path) == MAX_DEPTH:
        raise ValidationError(
            f"save: {_dotted(path[:3])}... is more than {MAX_DEPTH} containers deep; check whether one contains itself"
        )
    if isinstance(value, dict):
        return {"dict": [[_check_key(key, path), _describe(part, (*path, key), arrays)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_describe(part, (*path, i), arrays) for i, part in enumerate(value)]}
    if isinstance(value, int):
        return _check_digits(value, path)
    if value is None or isinstance(value, float | str):
        return value
    raise DtypeError(
        f"save: {_dotted(path) or 'the object'} is {type_with_article(value)}; make it a tensor, a number, "
        "a string, None, or a dict, list or tuple of them"
    )


def _check_key(key: Any, path: tuple[Any, ...]) -> str | int:
    if not isinstance(key, str | int):
        raise DtypeError(
            f"save: key {key!r} of {_dotted(path) or 'the object'} is {type_with_article(key)}; make it a str or an int"
        )
    return key if isinstance(key, str) else _check_digits(key, path)


def _check_digits(number: int, path: tuple[Any, ...]) -> int:
    """Return the number, if Python can convert it to text and back."""
    try:
        str(number)
    except ValueError:
        raise ValidationError(
            f"save: {_dotted(path) or 'the object'} is or has an int of {number.bit_length()} bits; make it a string"
        ) from None
    return number


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _free_name(name: str, taken: dict[str, np.ndarray]) -> str:
    """Return the name, with marks until it is free: in {"a": {"b": x}, "a.b": y} two tensors have one path."""
    while name in taken or name == RESERVED_NAME:
        name += "'"
    return name


def _rebuild(description: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the object that _describe() described."""
    if not isinstance(description, dict):
        return description
    ((kind, content),) = description.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _rebuild(part, tensors) for key, part in content}
    return {"list": list, "tuple": tuple}[kind](_rebuild(part, tensors) for part in content)


def _read(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a file."""
    where = printable_path(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{where}: cannot be read (it is not a regular file); give the name of a file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the file is not a dict
                kind = file.get_slice(name).get_dtype()
                if kind not in DTYPES:
                    raise DataError(
                        f"{where}: tensor '{name}' is {kind}, expected one of {', '.join(DTYPES)}; "
                        "convert it before saving"
                    )
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{where}: no such file; check the folder and the name") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error}); give a file that you may read") from error
    except safetensors.SafetensorError as error:
        size = os.path.getsize(path)
        raise DataError(
            f"{where}: damaged, or not a safetensors file: {size} bytes ({error}); copy or save it again"
        ) from error
