"""Saving and loading of safetensors files: weights that PyTorch reads, and whole checkpoints, with modules.

Other files are those of PyTorch (torch_files.py) and NumPy (npz_files.py).

A file holds each tensor under its path in the saved object, so that other programs find the tensors of a state_dict by
its keys.  The metadata hold a description of the object in JSON: a list, tuple or dict is {type: [...]}, and a dict is
a list of pairs, so that keys keep their type and order.  They also hold a checksum, which the format lacks.

Source: the safetensors format, https://huggingface.co/docs/safetensors
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from .checks import type_with_article
from .element_type import dtype
from .errors import DataError, DtypeError, ValidationError
from .module_files import as_parameter, find_name, module_state, name_of, new_module
from .names import warn_once
from .npz_files import is_npz, is_npz_name, npz_bytes, read_npz_file
from .runtime.device import device as Device
from .runtime.files import printable_path, write_whole
from .runtime.memory import contiguous
from .tensors import Tensor, tensor
from .torch_files import read_torch_file

DTYPES = ("F32", "F64", "I64", "I32", "U8", "BOOL")  # names in a file of the dtypes that tensors have
METADATA_KEY = "minigrad"  # holds the checksum and the description
METADATA_START = '{"crc32": '  # the first characters of that text
RESERVED_NAME = "__metadata__"  # not allowed for a tensor
MAX_DEPTH = 100  # nested containers; Python's recursion limit of 1000 calls is not far above
MAX_HEADER = 100_000_000  # bytes of names, shapes and description that readers of safetensors accept

FilePath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Place: TypeAlias = str | Device | Mapping[str, str] | Callable[[Any, str], Any] | None


def save(obj: Any, f: FilePath | IO[bytes]) -> None:
    """Write tensors, or a checkpoint of tensors and plain values, to a file.

    obj    a dict name -> Tensor, as model.state_dict(), which safetensors.torch.load_file also reads; or tensors,
           numbers, strings, True, False and None in dicts (keys str or int), lists and tuples, nested up to 100 deep;
           or modules, with the names of their classes and all attributes
    f      file to write, usually .safetensors; missing folders are created; or an open binary file, as io.BytesIO.
           A name that ends with .npz makes a file for numpy.load, of a flat dict name -> Tensor only

    An interrupted save leaves an existing file unchanged.  A replaced file keeps its mode; a symbolic link is followed.
    Tensors that share memory are written separately.  PyTorch reads the tensors with safetensors.torch.load_file.

    Raises   DtypeError        a value or key has an unsupported type; the message names its path in obj
             ValidationError   obj is nested too deep, or has an int of thousands of digits or more than 100 MB of plain
                               values, or a name that a .npz file cannot hold
             FileError         the file cannot be written, or path is not a regular file
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/checkpoint.safetensors"
    >>> save({"model": {"weight": mg.tensor([1.0, 2.0])}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': tensor([1., 2.])}, 'epoch': 3}
    """
    path = f if hasattr(f, "write") else _decode_path("save", f)
    data = npz_bytes(obj) if is_npz_name(path) else _safetensors_bytes(obj)
    if isinstance(path, str):
        write_whole(path, data)
    else:
        path.write(data)


def _safetensors_bytes(obj: Any) -> bytes:
    """Return the content of a safetensors file for an object."""
    arrays: dict[str, np.ndarray] = {}
    description = _describe(obj, (), arrays, {})
    note = {"crc32": _checksum(arrays, description), "value": description}
    data = safetensors.numpy.save(arrays, {METADATA_KEY: json.dumps(note)})
    header = int.from_bytes(data[:8], "little")
    if header > MAX_HEADER:
        raise ValidationError(
            f"save: names, shapes and plain values take {header:,} bytes, but load() reads at most {MAX_HEADER:,}; "
            "convert long lists of numbers to tensors"
        )
    return data


def load(
    f: FilePath | IO[bytes], map_location: Place = None, *, weights_only: bool = True, classes: Iterable[Any] = (),
    device: Place = None,
) -> Any:  # fmt: skip
    """Read a file that save() wrote, any safetensors file, or a file of torch.save (.pt, .pth) or numpy.savez (.npz).

    f              the file, or a binary file that is open, as io.BytesIO
    map_location   of the tensors, a device; or a dict from devices in the file to others, or a function of a tensor and
                   the device in the file; None: 'cpu'.  `device` means the same
    weights_only   has no effect: no code in the file is ever run, and False says so, once
    classes        classes and functions of your own that a saved module may use; layers of minigrad need no entry
    returns        the saved object; for other safetensors files and .npz files a dict name -> Tensor

    In a file of PyTorch or NumPy, float16 and bfloat16 become float32, and int8 and int16 become int32, with one
    warning.
    A module is made without calling its __init__; its attributes are set to the saved ones.

    Raises   DataError     the file is missing or damaged, holds tensors of an unsupported dtype, or names a class or
                           function that is not in `classes`, or, in a file of PyTorch, is not a tensor or container
    """
    known = _check_classes(classes)
    if not weights_only and not known:
        warn_once("load: weights_only=False runs no code either; name the classes of saved modules by classes=[...]")
    place = partial(_place, device if map_location is None else map_location)
    cpu = place("cpu")
    with _path_of(f) as (path, where):
        start = _first_bytes(path)
        if is_npz(start) or (start and is_npz_name(path)):
            return read_npz_file(path, where, cpu)
        if start.startswith(b"PK\x03\x04"):
            return read_torch_file(path, where, place)
        if start.startswith(b"\x80\x02\x8a\n"):
            raise DataError(
                f"{where}: is a bare pickle, as torch.save wrote before PyTorch 1.6; read it with torch.load, and save "
                "it again with torch.save"
            )
        arrays, metadata = _read(path, where)
    tensors = {name: tensor(array, device=cpu) for name, array in arrays.items()}
    for key, text in metadata.items():
        if key == METADATA_KEY or text.startswith(METADATA_START):
            return _restore(text, tensors, arrays, where, known)
    return tensors


def _place(map_location: Place, location: str) -> Device:
    """Return the device for tensors that were at a location."""
    if isinstance(map_location, Mapping):
        return Device(map_location.get(location, "cpu"))
    if callable(map_location):
        found = map_location(tensor([]), location)
        return found.device if isinstance(found, Tensor) else Device(found)
    return Device(map_location)


@contextmanager
def _path_of(f: Any) -> Iterator[tuple[str, str]]:
    """Give the path of a file, or of a copy of an open one, and its name in errors."""
    if not hasattr(f, "read"):
        path = _decode_path("load", f)
        yield path, printable_path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "load")
        with open(path, "wb") as copied:
            shutil.copyfileobj(f, copied)
        yield path, "load"


def _first_bytes(path: str) -> bytes:
    with suppress(OSError):  # which _read() raises again
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(2**17)  # the name of a member of a zip archive has up to 2**16
    return b""


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


def _check_classes(classes: Any) -> list[Any]:
    """Return classes and functions as a list, of one too.

    Raises   DtypeError   there is something else among them
    """
    known = [classes] if isinstance(classes, type | str) or not isinstance(classes, Iterable) else list(classes)
    for value in known:
        if not hasattr(value, "__qualname__"):
            raise DtypeError(f"load: classes has {value!r}; give classes and functions themselves, as classes=[MyNet]")
    return known


def _restore(text: str, tensors: dict[str, Tensor], arrays: dict[str, np.ndarray], where: str, classes: Any) -> Any:
    """Return the saved object, after a comparison of the checksums."""
    try:
        note = json.loads(text)
        if not isinstance(note, dict) or "crc32" not in note:  # a file of an older version
            return _rebuild(note, tensors, classes)
        found = _checksum(arrays, note["value"])
        if found != note["crc32"]:
            raise DataError(
                f"{where}: damaged: the checksum of its content is {found}, but the saved checksum is "
                f"{note['crc32']}; copy or save it again"
            )
        return _rebuild(note["value"], tensors, classes)
    except DataError:
        raise
    except RecursionError:
        raise DataError(f"{where}: its description is nested too deep; save it again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: its description cannot be read ({error!r}); save it again") from error


def _describe(value: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray], seen: dict[int, Any]) -> Any:
    """Return a value as JSON, and add its tensors to `arrays`, named by their paths.

    seen   descriptions of modules and parameters by id, so that a shared one is written once
    """
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, Tensor):
        text = _dotted(path).encode("utf-8", "backslashreplace").decode()  # a file cannot hold half a surrogate pair
        name = _free_name(text if path else "tensor", arrays)
        arrays[name] = contiguous(value._host())
        if type(value) is Tensor or not seen:
            return {"tensor": name}
        return seen.setdefault(id(value), {"parameter": [name, value.requires_grad]})
    if isinstance(value, dict | list | tuple) and len(path) == MAX_DEPTH:
        raise ValidationError(
            f"save: {_dotted(path[:3])}... is more than {MAX_DEPTH} containers deep; check whether one contains itself"
        )
    if hasattr(value, "named_modules"):
        seen[id(value)] = {"module": [len(seen)]}
        inside = []
        for key, part in module_state(value, _dotted(path)).items():
            inner = path if key.startswith("_") else (*path, key)  # tables of members, as _parameters, do not appear
            inside.append([key, _describe(part, inner, arrays, seen)])
        return {"module": [*seen[id(value)]["module"], name_of(type(value)), inside]}
    if isinstance(value, dict):
        pairs = value.items()
        return {"dict": [[_check_key(key, path), _describe(part, (*path, key), arrays, seen)] for key, part in pairs]}
    if isinstance(value, list | tuple) or (isinstance(value, set) and seen):
        kind = next(kind.__name__ for kind in (tuple, list, set) if isinstance(value, kind))
        return {kind: [_describe(part, (*path, i), arrays, seen) for i, part in enumerate(value)]}
    if isinstance(value, int):
        return _check_digits(value, path)
    if value is None or isinstance(value, float | str):
        return value
    if seen and isinstance(value, np.dtype | dtype | Device):
        return {"device" if isinstance(value, Device) else "dtype": str(value)}
    if seen and callable(value) and name_of(value):
        return {"name": name_of(value)}
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


def _rebuild(description: Any, tensors: dict[str, Tensor], classes: Iterable[Any]) -> Any:
    """Return the object that _describe() described."""
    made: dict[Any, Any] = {}  # parameters by name, modules by number
    plain: dict[str, Any] = {"list": list, "tuple": tuple, "set": set}
    named: dict[str, Any] = {"dtype": dtype, "device": Device, "name": partial(find_name, classes=classes)}

    def build(description: Any) -> Any:
        if not isinstance(description, dict):
            return description
        ((kind, content),) = description.items()
        if kind == "tensor":
            return tensors[content]
        if kind == "dict":
            return {key: build(part) for key, part in content}
        if kind == "parameter":
            name, requires_grad = content
            if name not in made:
                made[name] = as_parameter(tensors[name], requires_grad)
            return made[name]
        if kind == "module":
            if len(content) > 1:
                made[content[0]] = module = new_module(content[1], classes)
                for key, part in content[2]:
                    value, table = build(part), vars(module).get(key)
                    table.update(value) if isinstance(table, dict) else object.__setattr__(module, key, value)
            return made[content[0]]
        return named[kind](content) if kind in named else plain[kind](map(build, content))

    return build(description)


def _read(path: str, where: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a file."""
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
