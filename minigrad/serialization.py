"""Saving and loading, as safetensors: weights that PyTorch reads, and whole checkpoints.

A dict of tensors is a plain safetensors file.  Anything more is a file of tensors with a description of the whole among
its metadata, in JSON: a list, tuple or dict is {kind: [...]}, a dict in pairs, so that keys keep their type.

Source: the safetensors format, https://huggingface.co/docs/safetensors
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from .errors import DataError, DtypeError
from .runtime.device import Device, device as find_device
from .runtime.files import write_whole
from .runtime.memory import contiguous
from .tensor import Tensor

KINDS = ("F32", "F64", "I64", "I32", "U8", "BOOL")  # the names in a file of the dtypes that tensors have
WHOLE = "minigrad"  # where in the metadata the description stands
RESERVED = "__metadata__"  # what no tensor in a file may be called


def save(obj: Any, path: str | Path) -> None:
    """Write tensors, or a checkpoint of tensors and plain values, to a file.

    obj    a dict name -> Tensor, as model.state_dict(), which safetensors.torch.load_file reads too; or tensors,
           numbers, strings, True, False and None in dicts (keys str or int), lists and tuples, to any depth
    path   file to write, usually .safetensors; its folders are made

    The file appears whole or not at all: an interrupted save leaves the one before as it was.

    Raises   DtypeError   a value or key of another kind, named by its path in obj
    Example
    >>> import minigrad as mg
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/checkpoint.safetensors"
    >>> save({"model": {"weight": mg.tensor([1.0, 2.0])}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': tensor([1., 2.])}, 'epoch': 3}
    """
    if _is_plain(obj):
        data = safetensors.numpy.save({name: _host(tensor) for name, tensor in obj.items()})
    else:
        arrays: dict[str, np.ndarray] = {}
        description = _described(obj, (), arrays)
        data = safetensors.numpy.save(arrays, {WHOLE: json.dumps(description)})
    write_whole(Path(path), data)


def load(path: str | Path, device: str | Device = "cpu") -> Any:
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
    where = find_device(device)
    arrays, metadata = _read(Path(path))
    tensors = {name: Tensor(array, device=where) for name, array in arrays.items()}
    if WHOLE not in metadata:
        return tensors
    try:
        return _rebuilt(json.loads(metadata[WHOLE]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: its description cannot be followed ({error!r}); save it again") from error


def _is_plain(obj: Any) -> bool:
    return (
        isinstance(obj, dict)
        and RESERVED not in obj
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in obj.items())
    )


def _host(tensor: Tensor) -> np.ndarray:
    return contiguous(tensor._host())


def _described(value: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; its tensors are put into `arrays`, under the path that leads to them."""
    if isinstance(value, Tensor):
        name = _free_name(_dotted(path) or "tensor", arrays)
        arrays[name] = _host(value)
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_key(key, path), _described(part, (*path, key), arrays)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(part, (*path, i), arrays) for i, part in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
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
    return key


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


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no dict
                kind = file.get_slice(name).get_dtype()
                if kind not in KINDS:
                    raise DataError(
                        f"{path}: tensor '{name}' is {kind}, expected one of {', '.join(KINDS)}; "
                        "convert it before saving"
                    )
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the folder and the name") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); give a file that you may read") from error
    except safetensors.SafetensorError as error:
        size = path.stat().st_size
        raise DataError(
            f"{path}: damaged, or not safetensors: {size} bytes ({error}); copy or save it again"
        ) from error
