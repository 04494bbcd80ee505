"""The fingerprint of a kernel: a hash of its bytecode and of everything that the bytecode names.

Functions and constants are followed to any depth, so the fingerprint changes with each of them, and not with comments
or with other kernels in the same file.  The runtime and Numba are left out: they are part of the folder's name, see
cache.py.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

# modules that the name of the cache folder covers: libraries by their versions, the runtime by its sources
KNOWN_MODULES = ("math", "operator", "numpy", "numba", "numba_cuda", "llvmlite", __name__.rpartition(".")[0])


def kernel_fingerprint(function: FunctionType, *settings: Any) -> str:
    """A hash of a kernel's function and of other settings for the compiler."""
    text = "\n".join([*map(repr, settings), *_describe_function(function, set())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    """The bytecode of a function, its default arguments, and all values that it names."""
    codes = list(_nested_codes(function.__code__))
    for code in codes:
        constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
        yield f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames} {code.co_freevars}"
    yield f"{function.__defaults__} {function.__kwdefaults__}"
    names = {name for code in codes for name in code.co_names}
    values = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        values[name] = cell.cell_contents
    for name, value in sorted(values.items()):
        yield name
        yield from _describe_value(value, names, seen)


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    """The bytecode of a function and of the functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested_codes(constant)


def _describe_value(value: Any, names: set[str], seen: set[int]) -> Iterator[str]:
    """A value that a kernel names; `names` includes the attributes that the kernel may read from it."""
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value  # of a helper, of an intrinsic
    if isinstance(function, FunctionType):
        if id(function) in seen or (_is_known(function.__module__) and function.__closure__ is None):
            yield f"{function.__module__}.{function.__qualname__}"
            return
        seen.add(id(function))
        yield str(sorted(_describe_options(getattr(value, "targetoptions", {}))))
        yield from _describe_function(function, seen)
        if function is value:  # a plain function, which kernels can call if its file defines an overload for it
            yield _hash_file(function.__code__.co_filename)
    elif isinstance(value, ModuleType):
        yield value.__name__
        for name in sorted(names & vars(value).keys() if not _is_known(value.__name__) else ()):
            yield name
            yield from _describe_value(getattr(value, name), names, seen)
    elif isinstance(value, tuple):
        for part in value:
            yield from _describe_value(part, names, seen)
        yield f"a tuple of {len(value)}"
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    else:
        text = repr(value)
        yield f"{type(value)} {re.sub(' at 0x[0-9a-fA-F]+', '', text) if _is_known(type(value).__module__) else text}"


def _describe_options(options: dict[str, Any]) -> Iterator[str]:
    """Numba's options for a function; sets in a fixed order."""
    for name, value in options.items():
        yield f"{name}={sorted(value) if isinstance(value, set | frozenset) else value}"


def _is_known(module: str | None) -> bool:
    return f"{module}.".startswith(tuple(f"{name}." for name in KNOWN_MODULES))


@cache
def _hash_file(path: str) -> str:
    """A hash of a source file; empty for a function without one, as in an interactive session."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
