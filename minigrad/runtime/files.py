"""Writing files so that a reader never finds an incomplete one."""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import FileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY_PREFIX = ".minigrad-"  # of the names of files that are being written
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link to itself",
}


def write_whole(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file under a temporary name in its folder, and then rename it.

    path      the file; missing folders are created, a symbolic link is followed
    data      its content
    durable   write the content to the disk before the old file is replaced, so that it survives a power failure

    A replaced file keeps its mode and, if permitted, its owner.  Temporary files of killed processes are removed from
    the folder.

    Raises   FileError   the file cannot be written, or path is not a regular file; an existing file is unchanged
    """
    try:
        target = Path(os.path.realpath(path))
        before = _check_target(path, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        with _temporary_file(target.parent) as (file, temporary):
            if before is not None:
                _copy_owner_and_mode(temporary, before)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows cannot rename an open file
            temporary.replace(target)
        if durable:
            _sync_folder(target.parent)
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(
            f"{printable_path(path)}: cannot be written ({reason}); free disk space, or choose a folder that you may "
            "write to"
        ) from error


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed; bytes that are not UTF-8 appear as \\xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _check_target(path: str | os.PathLike[str], target: Path) -> os.stat_result | None:
    """Return the status of the file to replace; None if there is none."""
    if os.fspath(path).endswith(os.sep):
        raise FileError(f"{printable_path(path)}: is the name of a folder; add the name of a file")
    try:
        before = target.lstat()
    except FileNotFoundError:
        return None
    kind = stat.S_IFMT(before.st_mode)
    if kind != stat.S_IFREG:
        raise FileError(f"{printable_path(path)}: is {KINDS.get(kind, 'not a regular file')}; give the name of a file")
    if not os.access(target, os.W_OK):
        raise FileError(f"{printable_path(path)}: is write-protected; change its mode, or choose another file")
    return before


def _copy_owner_and_mode(temporary: Path, before: os.stat_result) -> None:
    status = temporary.stat()
    if (status.st_uid, status.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):  # only root may change the owner
            os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(stat.S_IMODE(before.st_mode))


@contextlib.contextmanager
def _temporary_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a new file in the folder, open and locked, with its path; remove it at the end unless it was renamed."""
    while True:
        path = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        with path.open("xb") as file:
            try:
                if not _lock(file, wait=True) or os.fstat(file.fileno()).st_nlink:
                    yield file, path
                    return
            finally:
                if fcntl is None:
                    file.close()
                path.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that have ended: those that are not locked."""
    if fcntl is None:
        return
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if _lock(file, wait=False):
                path.unlink(missing_ok=True)


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file until it is closed or its process ends; return whether that succeeded."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Wait until no other thread or process holds a folder, and hold it; without effect on Windows."""
    with contextlib.ExitStack() as stack:
        if fcntl is not None:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with contextlib.suppress(OSError):  # some network drives have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    """Write a renaming to the disk, if the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
