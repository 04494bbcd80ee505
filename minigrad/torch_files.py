"""Reading the .pt and .pth files of torch.save, without running what is in them.

Such a file is a zip archive: NAME/data.pkl describes the saved object in the language of pickle, and NAME/data/KEY hold
the bytes of the storages, memory that tensors share.  Pickle can call any function of Python.  The reader below is an
interpreter of its own, which knows containers, plain values, and the few names in `_Reader.names`.

Source: pickletools.py in Python's library (the language); torch/serialization.py in PyTorch (the archive)
"""

import pickletools
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from .errors import DataError, DeviceError
from .module_files import as_parameter
from .names import warn_once
from .runtime.device import device as Device
from .shapes import Size
from .tensors import Tensor, tensor

BFLOAT16 = "u2"  # the upper half of a float32
STORAGES = {  # name of a storage in PyTorch: (dtype in the file, dtype of the tensor here)
    "FloatStorage": ("f4", "float32"),
    "DoubleStorage": ("f8", "float64"),
    "HalfStorage": ("f2", "float32"),
    "BFloat16Storage": (BFLOAT16, "float32"),
    "LongStorage": ("i8", "int64"),
    "IntStorage": ("i4", "int32"),
    "ShortStorage": ("i2", "int32"),
    "CharStorage": ("i1", "int32"),
    "ByteStorage": ("u1", "uint8"),
    "BoolStorage": ("?", "bool"),
}
LARGEST_VIEW = 2**24  # elements of a tensor that is larger than its storage, as x.expand(...)
ADVICE = "load it in PyTorch, and save its state_dict()"


def read_torch_file(file: str, where: str, place: Callable[[str], Device]) -> Any:
    """Return the object in a zip archive of torch.save.

    where   the name of the file in errors
    place   returns the device for the tensors that were at a location, as "cpu" or "cuda:0"

    Raises   DataError   the file is damaged, or holds more than tensors, containers and plain values
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _Reader(archive, where, place).run()
    except (DataError, DeviceError):
        raise
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise DataError(f"{where}: damaged, or not a file of torch.save ({error}); copy or save it again") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise DataError(f"{where}: its description cannot be read ({error!r}); copy or save it again") from error


def warn_if_converted(in_file: str, level: int) -> None:
    """Warn, once, that tensors of a dtype in a file get another dtype; at the line that many calls above."""
    if in_file in ("f2", BFLOAT16, "i2", "i1"):
        warn_once("load: float16 and bfloat16 tensors become float32, int8 and int16 tensors become int32", level)


class _Reader:
    """An interpreter of data.pkl: a stack of values, marks in it, and a memo of values to refer to again."""

    def __init__(self, archive: zipfile.ZipFile, where: str, place: Callable[[str], Device]):
        self.archive, self.where, self.place = archive, where, place
        self.files = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in self.files or "constants.pkl" in self.files:
            kind = "a TorchScript program" if "constants.pkl" in self.files else "a zip file without data.pkl"
            raise DataError(f"{where}: is {kind}, not a file of torch.save; {ADVICE}")
        self.order = ">" if "byteorder" in self.files and self.read("byteorder") == b"big" else "<"
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Any] = {}  # arrays by key
        self.tensors: dict[Any, Tensor] = {}  # by storage, offset, size and stride
        self.names: dict[str, Any] = {f"torch {name}": (name,) for name in STORAGES}
        self.names |= {  # only these partials can be called
            "torch._utils _rebuild_tensor_v2": partial(self.rebuild_tensor),
            "torch._utils _rebuild_parameter": partial(lambda data, needs, hooks: as_parameter(data, needs)),
            "torch Size": partial(Size),
            "collections OrderedDict": partial(_make_dict, OrderedDict),
            "collections Counter": partial(_make_dict, Counter),
            "__builtin__ set": partial(lambda values: set(map(_key, values))),
        }
        self.names["builtins set"] = self.names["__builtin__ set"]

    def read(self, name: str) -> bytes:
        """The content of one file of the archive."""
        info = self.files[name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > info.compress_size:
            raise DataError(f"{self.where}: {name} is compressed, which torch.save does not do; save it again")
        return self.archive.read(info)

    def run(self) -> Any:
        """Return the saved object."""
        for opcode, argument, _ in pickletools.genops(self.read("data.pkl")):
            if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
                self.stack.append(self.find(" ".join(self.pop(2)) if opcode.name == "STACK_GLOBAL" else str(argument)))
            elif opcode.name in LITERALS:
                self.stack.append(argument)
            elif opcode.name in STEPS:
                STEPS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME", "STOP"):
                raise DataError(f"{self.where}: uses {opcode.name} of pickle, which is not read; {ADVICE}")
        (result,) = self.stack
        return result

    def find(self, name: str) -> Any:
        if name not in self.names:
            raise DataError(
                f"{self.where}: holds {name.replace(' ', '.')}, but only tensors, containers and plain values are "
                f"read, and no code is run; {ADVICE}"
            )
        return self.names[name]

    def pop(self, count: int | None = None) -> list[Any]:
        """Remove the last values, or those above the last mark, from the stack."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        if start < 0 or (self.marks and start < self.marks[-1]):
            raise ValueError("the stack is empty")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def call(self, _: Any) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, partial):
            raise ValueError(f"{type(function).__name__} cannot be called")
        self.stack.append(function(*arguments))

    def build(self, _: Any) -> None:
        """Leave out the attributes of an OrderedDict, such as the versions of modules in a state_dict."""
        self.pop(1)
        if type(self.stack[-1]) is not OrderedDict:
            raise ValueError(f"{type(self.stack[-1]).__name__} has no state")

    def extend(self, values: list[Any]) -> None:
        """Add to the list or set at the top of the stack."""
        target = self.stack[-1]
        target.update(map(_key, values)) if type(target) is set else target.extend(values)

    def set_items(self, pairs: list[Any]) -> None:
        """Add keys and values, in turn, to the dict at the top of the stack."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def load_storage(self, _: Any) -> None:
        """Replace the description of a storage by (its key, its array, its location)."""
        ((kind, (storage,), key, location, size),) = self.pop(1)
        in_file, dtype = STORAGES[storage]
        if key not in self.storages:
            array = np.frombuffer(self.read(f"data/{key}"), self.order + in_file)
            if in_file == BFLOAT16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            warn_if_converted(in_file, 7)
            self.storages[key] = array.astype(dtype)
        if kind != "storage" or len(self.storages[key]) != size:
            raise ValueError(f"storage {key} has {len(self.storages[key])} elements, expected {size}")
        self.stack.append((key, self.storages[key], location))

    def rebuild_tensor(self, storage: Any, offset: int, size: Any, stride: Any, grad: Any = False, *_: Any) -> Tensor:
        """Return a tensor with a view of a storage.  The same view gives the same tensor, another one gives a copy."""
        key, array, location = storage
        view = key, offset, tuple(size), tuple(stride)
        if view not in self.tensors:
            last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            is_inside = 0 in size or (last < len(array) and prod(size) <= max(len(array), LARGEST_VIEW))
            if min((offset, *size, *stride)) < 0 or not is_inside:
                raise ValueError(f"a view {size} with strides {stride} from {offset} on {len(array)} elements")
            strides = [step * array.itemsize for step in stride]
            part = np.lib.stride_tricks.as_strided(array[offset:], size, strides)
            self.tensors[view] = tensor(part, device=self.place(location))
        return self.tensors[view].detach().requires_grad_(bool(grad))


def _key(value: Any) -> Any:
    """A key or an element of a set: a plain value, because a nested tuple could take forever to hash."""
    if isinstance(value, str | int | float | None):
        return value
    raise ValueError(f"{type(value).__name__} as a key")


def _make_dict(kind: type, pairs: Any = ()) -> Any:
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    return kind({_key(key): value for key, value in pairs})


LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
LITERALS |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}


def _push(make: Callable[[_Reader, Any], Any]) -> Callable[[_Reader, Any], None]:
    return lambda reader, argument: reader.stack.append(make(reader, argument))


def _new(kind: Callable[[], Any]) -> Callable[[_Reader, Any], None]:
    return _push(lambda reader, _: kind())


def _tuple(count: int | None) -> Callable[[_Reader, Any], None]:
    return _push(lambda reader, _: tuple(reader.pop(count)))


def _put(reader: _Reader, key: Any) -> None:
    reader.memo[len(reader.memo) if key is None else key] = reader.stack[-1]


STEPS: dict[str, Callable[[_Reader, Any], Any]] = {
    "NONE": _push(lambda r, _: None),
    "NEWTRUE": _push(lambda r, _: True),
    "NEWFALSE": _push(lambda r, _: False),
    **{f"EMPTY_{kind.__name__.upper()}": _new(kind) for kind in (tuple, list, dict, set)},
    **{f"TUPLE{count or ''}": _tuple(count) for count in (None, 1, 2, 3)},
    "MARK": lambda r, _: r.marks.append(len(r.stack)),
    "APPEND": lambda r, _: r.extend(r.pop(1)),
    "SETITEM": lambda r, _: r.set_items(r.pop(2)),
    "SETITEMS": lambda r, _: r.set_items(r.pop()),
    "BUILD": _Reader.build,
    "BINPERSID": _Reader.load_storage,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _push(lambda r, key: r.memo[key])),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda r, _: r.extend(r.pop())),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Reader.call),
}
