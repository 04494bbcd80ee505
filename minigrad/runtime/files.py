"""Files that appear whole or not at all."""

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

BESIDE = ".minigrad-"  # how the names of files begin that are still being written
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link to itself",
}


def write_whole(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file beside the one there may be, and rename it, so that a reader never meets half a file.

    path      the file; its folders are made, a symbolic link is followed
    data      its content
    durable   the content is on the disk before the old file is gone, also when the power fails

    A file that is replaced passes on its mode and, where that is allowed, its owner.  What killed processes had begun
    to write in the folder is removed.

    Raises   FileError   it cannot be written, or what is there is no regular file; the file before is as it was
    """
    try:
        target = Path(os.path.realpath(path))
        before = _replaceable(path, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        with _beside(target.parent) as (file, beside):
            if before is not None:
                _take_over(beside, before)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
            beside.replace(target)
        if durable:
            _sync_folder(target.parent)
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(
            f"{shown(path)}: cannot be written ({reason}); make room, or name a file in a folder that you may write to"
        ) from error


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and encoded: bytes of its name that are no UTF-8 become \\xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _replaceable(path: str | os.PathLike[str], target: Path) -> os.stat_result | None:
    """What is known of the file that will be replaced; None if there is none."""
    if os.fspath(path).endswith(os.sep):
        raise FileError(f"{shown(path)}: the name of a folder; add the name of a file")
    try:
        before = target.lstat()
    except FileNotFoundError:
        return None
    kind = stat.S_IFMT(before.st_mode)
    if kind != stat.S_IFREG:
        raise FileError(f"{shown(path)}: is {KINDS.get(kind, 'no regular file')}; name a file")
    if not os.access(target, os.W_OK):
        raise FileError(f"{shown(path)}: is write-protected; change its mode, or name another file")
    return before


def _take_over(beside: Path, before: os.stat_result) -> None:
    """Give a new file the owner and the mode of the one that it replaces."""
    made = beside.stat()
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):  # only root gives files away
            os.chown(beside, before.st_uid, before.st_gid)
    beside.chmod(stat.S_IMODE(before.st_mode))


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the folder, open and locked; removed in the end if it still has its first name."""
    while True:
        beside = folder / f"{BESIDE}{uuid.uuid4().hex}"
        with beside.open("xb") as file:
            try:
                if not _lock(file, wait=True) or os.fstat(file.fileno()).st_nlink:
                    yield file, beside
                    return
            finally:
                if fcntl is None:
                    file.close()
                beside.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that are no more had begun to write: a file that nobody has locked."""
    if fcntl is None:
        return
    for beside in folder.glob(f"{BESIDE}*"):
        with contextlib.suppress(OSError), beside.open("r+b") as file:
            if _lock(file, wait=False):
                beside.unlink(missing_ok=True)


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file until it is closed or its process ends, however it ends.  False if that cannot be."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, where the system can open folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
