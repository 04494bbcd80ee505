"""Archives: tar and zip files, unpacked only below a folder, without links, and up to a limit of bytes."""

import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from ..errors import DataError
from ..runtime.files import printable_path

MOST_FILES = 10_000


class Member(NamedTuple):
    """A regular file in an archive."""

    name: str
    size: int  # bytes, unpacked
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, most: int) -> None:
    """Unpack the files of an archive into a folder; files of the same names are replaced.

    archive  a tar file, also compressed, or a zip file
    most     bytes   of all files together

    Nothing is unpacked if there is anything wrong.
    Raises   DataError   the archive is damaged, too large, or has a link, or a name that leads out of the folder
    """
    where = printable_path(archive)
    try:
        with _members(archive, where) as members, tempfile.TemporaryDirectory(prefix=".minigrad-", dir=folder) as new:
            names = [_write(member, Path(new)) for member in _checked(members, where, most)]
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(new) / name).replace(folder / name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise DataError(f"{where}: is damaged, or no tar or zip file ({reason}); download it again") from error
    except OSError as error:
        raise DataError(
            f"{where}: cannot be unpacked ({error.strerror or error}); free disk space, or choose another folder"
        ) from error


@contextmanager
def _members(archive: Path, where: str) -> Iterator[Iterator[Member]]:
    with ExitStack() as stack:
        if zipfile.is_zipfile(archive):
            yield _zip_members(stack.enter_context(zipfile.ZipFile(archive)), where)
        else:
            yield _tar_members(stack.enter_context(tarfile.open(archive)), where)


def _zip_members(archive: zipfile.ZipFile, where: str) -> Iterator[Member]:
    for info in archive.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _special(where, info.filename)
        if not info.is_dir():
            yield Member(info.filename, info.file_size, partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile, where: str) -> Iterator[Member]:
    for info in archive:
        if info.isreg():
            yield Member(info.name, info.size, partial(archive.extractfile, info))
        elif not info.isdir():
            raise _special(where, info.name)


def _special(where: str, name: str) -> DataError:
    return DataError(f"{where}: {name!r} is a link or a device, expected files and folders; do not trust this archive")


def _checked(members: Iterator[Member], where: str, most: int) -> Iterator[Member]:
    total = 0
    for count, member in enumerate(members, 1):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(member.name).drive or "\\" in member.name:
            raise DataError(f"{where}: {member.name!r} leads out of the folder; do not trust this archive")
        total += member.size
        if total > most or count > MOST_FILES:
            raise DataError(
                f"{where}: unpacks to more than {most:,} bytes or {MOST_FILES:,} files; do not trust this archive"
            )
        yield member


def _write(member: Member, folder: Path) -> str:
    """Write a file below a folder; return its name."""
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None  # for type checkers: regular files have content
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return member.name
