"""Compiled kernels on disk: one file per kernel, in a folder named after all else that could change the machine code.

The folder's name is a hash of the sources below `runtime/`, the versions and settings of Numba, and the CPU that code
is generated for; a file's name ends with the fingerprint of its kernel (see fingerprint.py).  Every file begins with a
checksum of both names and its content: one that is damaged, or was given another name, is compiled anew.

What is loaded is run, so it is only loaded from where no other user can write.
"""

import contextlib
import hashlib
import marshal
import os
import platform
import re
import shutil
import stat
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock as compiling
from numba.core.runtime import rtsys

from . import fork, target
from .files import write_whole

SOURCES = Path(__file__).resolve().parent
SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML")
FOLDERS = 6  # that are kept: versions of Python, Numba and minigrad, and CPUs, that take turns
MAX_BYTES = 256 * 2**20  # in a folder; all kernels of this package take a tenth of that
MARK = 32  # bytes of a checksum
_said: list[str] = []
_libraries: list[Any] = []

fork.wait_for(lambda: compiling)


# ---- where


def home() -> Path:
    """Where kernels are kept: MINIGRAD_CACHE_DIR, or minigrad/ in the user's cache folder.

    Raises   RuntimeError   there is no home folder to be found
    """
    chosen = os.environ.get("MINIGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "minigrad"


def key() -> str:
    """The name of the folder for the present sources, versions and CPU."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("**/*.py")):
        digest.update(source.read_bytes())
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version_info[:2], platform.system()
    settings = [getattr(config, name, None) for name in SETTINGS]
    digest.update(repr((versions, settings, target.MACHINE, target.NAME, target.FEATURES)).encode())
    return digest.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """The folder in use, made if need be; None, after a warning, if kernels cannot be kept."""
    try:
        here = home().absolute() / key()
        _make(here)
        here = here.resolve()
        stranger = _stranger(here)
        if stranger is None:
            with contextlib.suppress(OSError):
                os.utime(here)  # the folder used last is removed last
            return here
        problem = f"another user can write to {stranger}"
    except (OSError, RuntimeError) as error:
        problem = str(error)
    _warn(problem)
    return None


def _make(path: Path) -> None:
    """Make a folder and those above it, for nobody else to enter."""
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(0o700, exist_ok=True)


def _warn(problem: str) -> None:
    """Say, once a process, why kernels are not kept."""
    if not _said:
        _said.append(problem)
        warnings.warn(
            f"minigrad: compiled kernels are not kept on disk: {problem}; set MINIGRAD_CACHE_DIR to a folder that you, "
            "and nobody else, can write to",
            stacklevel=2,
        )


# ---- who else can write there


def _stranger(path: Path) -> Path | None:
    """The folder, of this one and those above it, that another user can write to; the folders above may be shared ones
    like /tmp, where nobody removes what belongs to others."""
    if not hasattr(os, "getuid"):
        return None
    for part in (path, *path.parents):
        if not _is_ours(part.stat(), shared=part != path):
            return part
    return None


def _is_ours(status: os.stat_result, shared: bool = False) -> bool:
    """Whether only this user, and root, can write to a file or folder."""
    if not hasattr(os, "getuid"):
        return True
    if status.st_uid not in (0, os.getuid()):
        return False
    if shared and status.st_mode & stat.S_ISVTX:
        return True
    others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid))
    return not others


def _is_private(group: int) -> bool:
    """Whether a group is the one that many systems make for a single user, of the same name and without members."""
    import grp
    import pwd

    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == user and set(found.gr_mem) <= {user}


# ---- what


def load_bytes(name: str) -> bytes | None:
    """What was kept under a name, or None if nothing was, or its file is damaged."""
    here = folder()
    if here is None:
        return None
    try:
        with open(here / name, "rb") as file:
            data = file.read() if _is_ours(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.utime(here / name)  # the file used last is removed last
    return data[MARK:] if data[:MARK] == _checksum(here, name, data[MARK:]) else None


def save_bytes(name: str, payload: bytes) -> None:
    """Keep something under a name.  A full or read-only disk only means that the next start compiles again."""
    here = folder()
    if here is None:
        return
    try:
        write_whole(here / name, _checksum(here, name, payload) + payload, durable=False)
        (here / name).chmod(0o600)
    except OSError as error:
        _warn(str(error).partition(";")[0])
    _tidy(here)


def _checksum(here: Path, name: str, payload: bytes) -> bytes:
    return hashlib.sha256(f"{here.name}/{name}\0".encode() + payload).digest()


@cache
def _tidy(here: Path) -> None:
    """Remove, once a process, the folders beside this one and the files in it that were used longest ago, beyond what
    is kept.  A process that is about to load from them compiles instead."""
    beside = [path for path in _by_age(here.parent) if path != here and _is_folder_of_kernels(path)]
    for path in beside[FOLDERS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    total = 0
    for path in _by_age(here):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
            if total > MAX_BYTES:
                path.unlink()


def _is_folder_of_kernels(path: Path) -> bool:
    return re.fullmatch("[0-9a-f]{16}", path.name) is not None and (path / EXECUTOR).is_file()


def _by_age(path: Path) -> list[Path]:
    """What a folder holds, the latest first."""
    ages = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            with contextlib.suppress(OSError):
                ages[entry.path] = entry.stat().st_mtime
    return [Path(entry) for entry in sorted(ages, key=lambda entry: -ages[entry])]


# ---- compiled functions

EXECUTOR = "execute"  # the function that every process uses


def load(name: str) -> int | None:
    """The address of a kept function, or None if it was never kept or its file is damaged."""
    context = target.context()
    payload = load_bytes(name)
    try:
        entry, serialised = marshal.loads(payload) if payload is not None else (None, None)
    except (ValueError, EOFError, TypeError):
        return None
    if entry is None:
        return None
    rtsys.initialize(context)  # compiled code links against Numba's runtime
    return _hold(context.codegen().unserialize_library(serialised), entry)


def save(name: str, compiled: Any) -> int:
    """Keep a compiled `numba.cfunc` and return its address."""
    library, entry = compiled._library, compiled._wrapper_name
    save_bytes(name, marshal.dumps((entry, library.serialize_using_object_code())))
    return _hold(library, entry)


def _hold(library: Any, entry: str) -> int:
    """The address of `entry`; the library lives to the end of the process."""
    _libraries.append(library)
    return library.get_pointer_to_function(entry)
