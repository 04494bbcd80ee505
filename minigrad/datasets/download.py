"""Downloads: of files whose checksum is known, over https, complete or not at all."""

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..checks import brief
from ..errors import DataError, ValidationError
from ..runtime.files import locked_folder, printable_path
from .progress import show_bytes

TIMEOUT = 30  # seconds without a byte
TRIES = 5  # of each mirror; a broken transfer continues where it ended
CHUNK = 1 << 18  # bytes written at a time
LOCAL = ("localhost", "127.0.0.1", "::1")  # hosts that may be read without encryption


class RemoteFile(NamedTuple):
    """A file on the web.

    urls      mirrors, tried in this order; the last part of the first is the file's name
    checksum  hexadecimal: SHA-256 (64 digits) or, where only this is published, MD5 (32)
    most      bytes   the file has no more than this
    """

    urls: tuple[str, ...]
    checksum: str
    most: int

    @property
    def name(self) -> str:
        return urllib.parse.urlsplit(self.urls[0]).path.rpartition("/")[2]


class _UnusableError(Exception):
    """A mirror that need not be tried again, and why."""


def download(file: RemoteFile, folder: Path) -> Path:
    """Return the path of a file in a folder, after a download if it is not there with the right checksum.

    It is written as NAME.part and renamed when its checksum is right.  An interrupted program leaves the part, and the
    next download continues it; a failed download leaves nothing.

    Raises   DataError   no mirror gave the file; the message says where to put it by hand
    """
    target = folder / file.name
    if not _is_right(target, file.checksum):
        with _new_folder(folder), locked_folder(folder):
            if not _is_right(target, file.checksum):  # another process may have written it while this one waited
                _try_mirrors(file, folder).replace(target)
    return target


def _try_mirrors(file: RemoteFile, folder: Path) -> Path:
    """Return the file under its temporary name, complete and with the right checksum."""
    part, reasons = folder / f"{file.name}.part", []
    for url in file.urls:
        try:
            _receive_verified(url, part, file)
            return part
        except (OSError, http.client.HTTPException, _UnusableError) as error:
            reasons.append(f"{url} ({error.reason if type(error) is urllib.error.URLError else error})")
    part.unlink(missing_ok=True)
    raise DataError(
        f"{file.name}: cannot be downloaded from {', '.join(reasons)}; get the file in another way, put it into "
        f"{printable_path(folder)}, and run this again"
    )


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder; remove it and its new parents again after an error, if they are empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{printable_path(folder)}: cannot be written ({error.strerror}); choose another root"
        ) from None
    except DataError:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def _receive_verified(url: str, part: Path, file: RemoteFile) -> None:
    """Complete a part; remove it if its checksum is wrong."""
    for attempt in range(1, TRIES + 1):
        continued = part.is_file() and part.stat().st_size > 0
        try:
            _receive(url, part, file.most)
        except (OSError, http.client.HTTPException) as error:
            if attempt == TRIES or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                raise
            continue
        found = _checksum(part, file.checksum)
        if found == file.checksum:
            return
        part.unlink()
        if not continued:  # otherwise the old part may have been of another file
            break
    raise _UnusableError(f"{_algorithm(file.checksum)} is {found}, expected {file.checksum}")


def _receive(url: str, part: Path, most: int) -> None:
    """Append to a part what it lacks of a file; begin anew if the server sends it whole."""
    start = part.stat().st_size if part.is_file() else 0
    with _request(url, start) as response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if total is not None and total > most:
            raise _UnusableError(f"has {total:,} bytes, expected at most {most:,}")
        with part.open("ab") as out:
            out.truncate(start)
            end = _copy(response, out, start, total, most)
    if total is not None and end < total:
        raise ConnectionError(f"the connection ended after {end:,} of {total:,} bytes")


def _copy(response: Any, out: BinaryIO, start: int, total: int | None, most: int) -> int:
    """Write the body to a file of `start` bytes; return its new size."""
    end = start
    with show_bytes(Path(out.name).stem, start, total) as advance:
        while chunk := response.read(CHUNK):
            end += len(chunk)
            if end > most:
                raise _UnusableError(f"sends more than {most:,} bytes")
            out.write(chunk)
            advance(len(chunk))
    return end


def _request(url: str, start: int) -> Any:
    """Open a URL, at byte `start` if the server can do this."""
    _check_url(url)
    request = urllib.request.Request(url, headers={"User-Agent": "minigrad"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == 416:  # there is nothing after these bytes, so they are not of this file
            return _request(url, 0)
        raise


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            _check_url(newurl)
        except _UnusableError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise _UnusableError(f"leads to {url}, which is not https")


def _algorithm(checksum: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", checksum):
        raise ValidationError(f"download: checksum is {brief(checksum)}; use 64 hexadecimal digits, or 32 of an MD5")
    return "SHA-256" if len(checksum) == 64 else "MD5"


def _is_right(path: Path, checksum: str) -> bool:
    return path.is_file() and _checksum(path, checksum) == checksum


def _checksum(path: Path, like: str) -> str:
    """Return the checksum of a file by the algorithm of another checksum."""
    name = _algorithm(like).replace("-", "").lower()
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()
