"""A fingerprint of a kernel: a hash of all that its machine code depends on, beside runtime/ and the versions in use.

It follows the instructions of the kernel to every function and number that they name, so a change of a comment, or of
another kernel in the same file, leaves it as it is.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

KNOWN = {"math", "operator", "numpy", "numba", "numba_cuda", "llvmlite"}  # their versions name the folder
RUNTIME = __name__.rpartition(".")[0]  # its sources do, too


def fingerprint(function: FunctionType, *settings: Any) -> str:
    """The fingerprint of a kernel's function and of whatever else it is compiled with."""
    text = "\n".join([*map(repr, settings), *_function(function, set())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    """What a function computes: its instructions, its defaults, and all that it names."""
    codes = list(_codes(function.__code__))
    for code in codes:
        constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
        yield f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames} {code.co_freevars}"
    yield f"{function.__defaults__} {function.__kwdefaults__}"
    names = {name for code in codes for name in code.co_names}
    named = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        named[name] = cell.cell_contents
    for name, value in sorted(named.items()):
        yield name
        yield from _value(value, names, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The instructions of a function, and of those that stand inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _value(value: Any, names: set[str], seen: set[int]) -> Iterator[str]:
    """What a kernel that names a value takes from it; `names` are the attributes it may ask for."""
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
    if isinstance(function, FunctionType):
        if id(function) in seen or (_is_known(function.__module__) and function.__closure__ is None):
            yield f"{function.__module__}.{function.__qualname__}"
            return
        seen.add(id(function))
        yield str(sorted(_plain(getattr(value, "targetoptions", {}))))
        yield from _function(function, seen)
        if function is value:  # not compiled as it is: an overload, which is expected in the same file, is
            yield _file(function.__code__.co_filename)
    elif isinstance(value, ModuleType):
        yield value.__name__
        for name in sorted(names & vars(value).keys() if not _is_known(value.__name__) else ()):
            yield name
            yield from _value(getattr(value, name), names, seen)
    elif isinstance(value, tuple):
        for part in value:
            yield from _value(part, names, seen)
        yield f"a tuple of {len(value)}"
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    else:
        said = repr(value)
        yield f"{type(value)} {re.sub(' at 0x[0-9a-fA-F]+', '', said) if _is_known(type(value).__module__) else said}"


def _plain(options: dict[str, Any]) -> Iterator[str]:
    """Options of Numba in an order that is always the same."""
    for name, value in options.items():
        yield f"{name}={sorted(value) if isinstance(value, set | frozenset) else value}"


def _is_known(module: str | None) -> bool:
    return f"{module}.".startswith(tuple(f"{name}." for name in (*KNOWN, RUNTIME)))


@cache
def _file(path: str) -> str:
    """A hash of a source file; nothing, for what was typed at a prompt."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
