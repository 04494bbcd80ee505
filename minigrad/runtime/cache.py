"""The compile cache: one file per compiled kernel.

How is a kernel cached?  Its file is FOLDER/NAME.

FOLDER, `folder_name()`, is a hash of everything that affects every kernel: the versions of Python,
Numba, llvmlite and NumPy, Numba's settings, the CPU that code is generated for, and the sources below `runtime/`,
except those of HOST_ONLY.
These include `runtime/cuda/`, because the fingerprint of a GPU kernel does not cover the functions there.

NAME is the kernel's name, its element type and tile, and its fingerprint: a hash of its own code and of the functions
and constants that this names (see fingerprint.py).  An edit of one kernel recompiles that kernel only.

A kernel is compiled when its file is missing or damaged, or has another name.

A file starts with a checksum of FOLDER, NAME and its content.  A file that is damaged, renamed or moved is ignored, and
the kernel is compiled again.  Loaded code is run, so the folder is used only if no other user can write to it.
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
from numba.core.compiler_lock import global_compiler_lock as compiler_lock
from numba.core.runtime import rtsys

from . import fork, target
from .files import write_whole

SOURCES = Path(__file__).resolve().parent
HOST_ONLY = ("device", "dlpack", "files", "fork", "memory", "precision", "program")  # modules with no code of kernels
SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML")
MAX_FOLDERS = 6  # that are kept, for versions and CPUs that alternate
MAX_BYTES = 256 * 2**20  # of the files in a folder; all kernels of minigrad take a tenth of it
CHECKSUM_BYTES = 32
EXECUTOR = "execute"  # the file of the executor, which every process uses

fork.wait_for(lambda: compiler_lock)


# ---- the folder


def root_folder() -> Path:
    """The folder of all cache folders: MINIGRAD_CACHE_DIR, or minigrad/ in the user's cache folder.

    Raises   RuntimeError   the user has no home folder
    """
    chosen = os.environ.get("MINIGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "minigrad"


def folder_name() -> str:
    """A hash of the versions, Numba's settings, the CPU, and the sources of the runtime."""
    digest = hashlib.sha256()
    host_only = {SOURCES / f"{name}.py" for name in HOST_ONLY}
    for source in sorted(set(SOURCES.glob("**/*.py")) - host_only):
        digest.update(source.read_bytes())
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version_info[:2], platform.system()
    settings = [getattr(config, name, None) for name in SETTINGS]
    digest.update(repr((versions, settings, target.MACHINE, target.CPU_NAME, target.CPU_FEATURES)).encode())
    return digest.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """The cache folder of this process, created if it is missing; None, after a warning, if it cannot be used."""
    try:
        path = root_folder().absolute() / folder_name()
        _make_folders(path)
        path = path.resolve()
        open_folder = _folder_writable_by_others(path)
        if open_folder is None:
            with contextlib.suppress(OSError):
                os.utime(path)  # for _remove_old_files
            return path
        problem = f"another user can write to {open_folder}"
    except (OSError, RuntimeError) as error:
        problem = str(error)
    _warn_once(problem)
    return None


def _make_folders(path: Path) -> None:
    """Make a folder and its parents, accessible to this user only."""
    if not path.is_dir():
        _make_folders(path.parent)
        path.mkdir(0o700, exist_ok=True)


_warned: list[str] = []


def _warn_once(problem: str) -> None:
    """Warn, at most once per process, that kernels are not kept."""
    if not _warned:
        _warned.append(problem)
        warnings.warn(
            f"minigrad: compiled kernels are not kept on disk: {problem}; set MINIGRAD_CACHE_DIR to a folder that only "
            "you can write to",
            stacklevel=2,
        )


# ---- permissions


def _folder_writable_by_others(path: Path) -> Path | None:
    """The first of this folder and its parents that another user can write to.

    Parents may have the sticky bit, as /tmp does: other users cannot rename or remove this user's files in them.
    """
    if not hasattr(os, "getuid"):
        return None
    for part in (path, *path.parents):
        if not _is_protected(part.stat(), allow_sticky=part != path):
            return part
    return None


def _is_protected(status: os.stat_result, allow_sticky: bool = False) -> bool:
    """Whether only this user and root can write to a file or folder."""
    if not hasattr(os, "getuid"):
        return True
    if status.st_uid not in (0, os.getuid()):
        return False
    if allow_sticky and status.st_mode & stat.S_ISVTX:
        return True
    group_can_write = status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)
    return not (status.st_mode & stat.S_IWOTH or group_can_write)


def _is_private_group(group: int) -> bool:
    """Whether a group has this user's name and no other member, as many systems create it for each user."""
    import grp
    import pwd

    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == user and set(found.gr_mem) <= {user}


# ---- files


def load_bytes(name: str) -> bytes | None:
    """The content of a file of the cache; None if it is missing or damaged."""
    path = folder()
    if path is None:
        return None
    try:
        with open(path / name, "rb") as file:
            data = file.read() if _is_protected(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path / name)  # for _remove_old_files
    checksum, content = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    return content if checksum == _checksum(path, name, content) else None


def save_bytes(name: str, content: bytes) -> None:
    """Write a file of the cache; if the disk is full or read-only, only warn."""
    path = folder()
    if path is None:
        return
    try:
        write_whole(path / name, _checksum(path, name, content) + content, durable=False)
        (path / name).chmod(0o600)
    except OSError as error:
        _warn_once(str(error).partition(";")[0])
    _remove_old_files(path)


def _checksum(path: Path, name: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{path.name}/{name}\0".encode() + content).digest()


@cache
def _remove_old_files(path: Path) -> None:
    """Once per process, remove the least recently used cache folders, and files in this one, above the limits.

    A process that is about to load a removed file compiles its kernel again.
    """
    others = [other for other in _newest_first(path.parent) if other != path and _is_cache_folder(other)]
    for other in others[MAX_FOLDERS - 1 :]:
        shutil.rmtree(other, ignore_errors=True)
    total = 0
    for file in _newest_first(path):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
            if total > MAX_BYTES:
                file.unlink()


def _is_cache_folder(path: Path) -> bool:
    return re.fullmatch("[0-9a-f]{16}", path.name) is not None and (path / EXECUTOR).is_file()


def _newest_first(path: Path) -> list[Path]:
    """The entries of a folder by time of last use."""
    times = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            with contextlib.suppress(OSError):
                times[entry.path] = entry.stat().st_mtime
    return [Path(entry) for entry in sorted(times, key=lambda entry: -times[entry])]


# ---- compiled functions

_libraries: list[Any] = []


def load_function(name: str) -> int | None:
    """The address of a function from the cache; None if its file is missing or damaged."""
    context = target.target_context()
    content = load_bytes(name)
    if content is None:
        return None
    try:
        entry, serialised = marshal.loads(content)
    except (ValueError, EOFError, TypeError):
        return None
    rtsys.initialize(context)  # compiled code links against Numba's runtime
    return _link(context.codegen().unserialize_library(serialised), entry)


def save_function(name: str, compiled: Any) -> int:
    """Write a compiled `numba.cfunc` to the cache; return its address."""
    library, entry = compiled._library, compiled._wrapper_name
    save_bytes(name, marshal.dumps((entry, library.serialize_using_object_code())))
    return _link(library, entry)


def _link(library: Any, entry: str) -> int:
    """The address of a function; its library is kept until the process ends."""
    _libraries.append(library)
    return library.get_pointer_to_function(entry)
