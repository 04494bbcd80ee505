"""Compiled kernels on disk: one file per kernel, in a folder named after all that could change the machine code.

The folder's name is a hash of every kernel source, the versions of Numba, llvmlite and Python, and the CPU, so an edit
anywhere below `ops/` or `runtime/` starts an empty folder.  A damaged file is compiled anew.
"""

import contextlib
import hashlib
import marshal
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core import config
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from .files import write_whole

PACKAGE = Path(__file__).resolve().parents[1]
_libraries: list[Any] = []


def home() -> Path:
    """Where kernels are kept: MINIGRAD_CACHE_DIR, or minigrad/ in the user's cache folder."""
    chosen = os.environ.get("MINIGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "minigrad"


@cache
def folder() -> Path:
    """The folder for the present sources, versions and CPU."""
    digest = hashlib.sha256()
    for part in ("ops", "runtime"):
        for source in sorted((PACKAGE / part).glob("**/*.py")):
            digest.update(source.read_bytes())
    if config.CPU_NAME:
        cpu = config.CPU_NAME, config.CPU_FEATURES
    else:
        cpu = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    digest.update(repr((numba.__version__, llvmlite.__version__, sys.version_info[:2], config.OPT, cpu)).encode())
    return home() / digest.hexdigest()[:16]


def load_bytes(name: str) -> bytes | None:
    """What was kept under a name, or None if nothing was, or its file is damaged."""
    try:
        data = (folder() / name).read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def save_bytes(name: str, payload: bytes) -> None:
    """Keep something under a name.  A full or read-only disk only means that the next start compiles again."""
    with contextlib.suppress(OSError):
        write_whole(folder() / name, hashlib.sha256(payload).digest() + payload, durable=False)


def load(name: str) -> int | None:
    """The address of a kept function, or None if it was never kept or its file is damaged."""
    payload = load_bytes(name)
    try:
        entry, serialised = marshal.loads(payload) if payload is not None else (None, None)
    except (ValueError, EOFError, TypeError):
        return None
    if entry is None:
        return None
    rtsys.initialize(cpu_target.target_context)  # compiled code links against Numba's runtime
    return _hold(cpu_target.target_context.codegen().unserialize_library(serialised), entry)


def save(name: str, compiled: Any) -> int:
    """Keep a compiled `numba.cfunc` and return its address."""
    library, entry = compiled._library, compiled._wrapper_name
    save_bytes(name, marshal.dumps((entry, library.serialize_using_object_code())))
    return _hold(library, entry)


def _hold(library: Any, entry: str) -> int:
    """The address of `entry`; the library lives to the end of the process."""
    _libraries.append(library)
    return library.get_pointer_to_function(entry)
