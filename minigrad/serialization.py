"""Saving and loading, as safetensors: weights that PyTorch reads, and whole checkpoints.

A file holds tensors under the paths that lead to them, so that others find those of a state_dict by its keys.  Among
its metadata is a description of the whole, in JSON: a list, tuple or dict is {kind: [...]}, a dict in pairs, so that
keys keep their type and order.  Beside it is a checksum: the format has none, and a damaged weight looks like any
other.

Source: the safetensors format, https://huggingface.co/docs/safetensors
"""

import json
import os
import re
import zlib
from typing import Any, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from .errors import DataError, DtypeError, ValidationError
from .runtime.device import device as Device
from .runtime.files import shown, write_whole
from .runtime.memory import contiguous
from .tensors import Tensor, tensor

KINDS = ("F32", "F64", "I64", "I32", "U8", "BOOL")  # the names in a file of the dtypes that tensors have
NOTE = "minigrad"  # the key of the metadata under which the checksum and the description stand
NOTED = '{"crc32": '  # how what stands there begins
RESERVED = "__metadata__"  # what no tensor in a file may be called
DEEPEST = 100  # containers in each other; Python's own limit of 1000 calls is not far above
LONGEST = 100_000_000  # bytes of names, shapes and description: what readers of safetensors take

FilePath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def save(obj: Any, path: FilePath) -> None:
    """Write tensors, or a checkpoint of tensors and plain values, to a file.

    obj    a dict name -> Tensor, as model.state_dict(), which safetensors.torch.load_file reads too; or tensors,
           numbers, strings, True, False and None in dicts (keys str or int), lists and tuples, up to 100 in each other
    path   file to write, usually .safetensors; its folders are made

    The file appears whole or not at all: an interrupted save leaves the one before as it was.  A file that is replaced
    passes on its mode; a symbolic link is followed.  Tensors that share memory are written one by one.

    Raises   DtypeError        a value or key of another kind, named by its path in obj
             ValidationError   too deep, an int of thousands of digits, or more than 100 MB of plain values
             FileError         the file cannot be written, or path leads to what is no regular file
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/checkpoint.safetensors"
    >>> save({"model": {"weight": mg.tensor([1.0, 2.0])}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': tensor([1., 2.])}, 'epoch': 3}
    """
    path = _path("save", path)
    arrays: dict[str, np.ndarray] = {}
    description = _described(obj, (), arrays)
    note = {"crc32": _checksum(arrays, description), "value": description}
    data = safetensors.numpy.save(arrays, {NOTE: json.dumps(note)})
    header = int.from_bytes(data[:8], "little")
    if header > LONGEST:
        raise ValidationError(
            f"save: names, shapes and plain values take {header:,} bytes, at most {LONGEST:,} can be read again; "
            "make long lists of numbers tensors"
        )
    write_whole(path, data)


def load(path: FilePath, device: str | Device = "cpu") -> Any:
    """Read what save() wrote, or any safetensors file.

    path      the file
    device    where the tensors go
    returns   what was saved: dicts, lists and tuples as they were, tensors without requires_grad

    Raises   DataError     the file is missing, damaged, or holds tensors of another dtype
             DeviceError   there is no such device here
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/weights.safetensors"
    >>> save({"fc.bias": mg.tensor([0.5])}, path)
    >>> load(path)
    {'fc.bias': tensor([0.5])}
    """
    where = Device(device)
    path = _path("load", path)
    arrays, metadata = _read(path)
    tensors = {name: tensor(array, device=where) for name, array in arrays.items()}
    for key, text in metadata.items():
        if key == NOTE or text.startswith(NOTED):
            return _restored(text, tensors, arrays, shown(path))
    return tensors


def _path(where: str, path: FilePath) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise DtypeError(f"{where}: path is a {type(path).__name__}; give the name of a file") from None


def _utf8(text: str) -> str:
    """The text, with halves of surrogate pairs, which no file can hold, written as \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def _host(tensor: Tensor) -> np.ndarray:
    return contiguous(tensor._host())


def _checksum(arrays: dict[str, np.ndarray], description: Any) -> int:
    """A sum over all that a file says: names, dtypes, shapes, bytes, and the description."""
    total = zlib.crc32(json.dumps(description).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name}:{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total


def _restored(text: str, tensors: dict[str, Tensor], arrays: dict[str, np.ndarray], where: str) -> Any:
    """What was saved, by the description and the checksum that stand in the file."""
    _check_depth(text, where)
    try:
        note = json.loads(text)
        if not isinstance(note, dict) or "crc32" not in note:  # written before there were checksums
            return _rebuilt(note, tensors)
        found = _checksum(arrays, note["value"])
        if found != note["crc32"]:
            raise DataError(
                f"{where}: damaged: the checksum of what it holds is {found}, when it was saved it was "
                f"{note['crc32']}; copy or save it again"
            )
        return _rebuilt(note["value"], tensors)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: its description cannot be followed ({error!r}); save it again") from error


def _check_depth(text: str, where: str) -> None:
    """Refuse JSON that is nested deeper than save() nests it: Python could not follow for ever."""
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*+"|[\[{\]}]', text):
        depth += (mark in "[{") - (mark in "]}")
        deepest = max(deepest, depth)
    if deepest > 3 * DEEPEST + 2:  # in each other: dict, pairs, pair; around all, the note
        raise DataError(f"{where}: its description is nested {deepest} deep, save() writes {3 * DEEPEST + 2} at most")


def _described(value: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; its tensors are put into `arrays`, under the path that leads to them."""
    if isinstance(value, Tensor):
        name = _free_name(_utf8(_dotted(path)) if path else "tensor", arrays)
        arrays[name] = _host(value)
        return {"tensor": name}
    if isinstance(value, dict | list | tuple) and len(path) == DEEPEST:
        raise ValidationError(
            f"save: {_dotted(path[:3])}... is more than {DEEPEST} containers deep; does one contain itself?"
        )
    if isinstance(value, dict):
        return {"dict": [[_key(key, path), _described(part, (*path, key), arrays)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(part, (*path, i), arrays) for i, part in enumerate(value)]}
    if isinstance(value, int):
        return _written(value, path)
    if value is None or isinstance(value, float | str):
        return value
    raise DtypeError(
        f"save: {_dotted(path) or 'the object'} is a {type(value).__name__}; make it a tensor, a number, "
        "a string, None, or a dict, list or tuple of them"
    )


def _key(key: Any, path: tuple[Any, ...]) -> str | int:
    if not isinstance(key, str | int):
        raise DtypeError(
            f"save: key {key!r} of {_dotted(path) or 'the object'} is a {type(key).__name__}; make it a str or an int"
        )
    return key if isinstance(key, str) else _written(key, path)


def _written(number: int, path: tuple[Any, ...]) -> int:
    """The number, if it is not longer than Python reads."""
    try:
        str(number)
    except ValueError:
        raise ValidationError(
            f"save: {_dotted(path) or 'the object'} is or has a number of {number.bit_length()} bits; make it a string"
        ) from None
    return number


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _free_name(name: str, taken: dict[str, np.ndarray]) -> str:
    """The name, marked until no other tensor has it: {"a": {"b": x}, "a.b": y} has two of one path."""
    while name in taken or name == RESERVED:
        name += "'"
    return name


def _rebuilt(description: Any, tensors: dict[str, Tensor]) -> Any:
    """What _described() described."""
    if not isinstance(description, dict):
        return description
    ((kind, content),) = description.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _rebuilt(part, tensors) for key, part in content}
    return {"list": list, "tuple": tuple}[kind](_rebuilt(part, tensors) for part in content)


def _read(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file."""
    where = shown(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{where}: cannot be read (is no regular file); give the name of a file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no dict
                kind = file.get_slice(name).get_dtype()
                if kind not in KINDS:
                    raise DataError(
                        f"{where}: tensor '{name}' is {kind}, expected one of {', '.join(KINDS)}; "
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
            f"{where}: damaged, or not safetensors: {size} bytes ({error}); copy or save it again"
        ) from error
