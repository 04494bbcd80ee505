"""Downloads from a server on this machine that misbehaves in many ways, and archives that should not be trusted."""

import gzip
import hashlib
import io
import os
import re
import socket
import stat
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from minigrad.datasets import archives, download as downloads, mnist
from minigrad.datasets.archives import unpack
from minigrad.datasets.download import RemoteFile, download
from minigrad.errors import DataError, ValidationError

CONTENT = np.random.default_rng(0).bytes(100_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers /KIND/name as the method of that kind does; the server notes (path, Range) of each request."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        getattr(self, self.path.split("/")[1])()

    def answer(self, body, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def start(self):
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def whole(self):
        self.answer(CONTENT)

    def ranges(self):
        start = self.start()
        if start >= len(CONTENT):
            self.answer(b"", 416)
        elif start:
            self.answer(CONTENT[start:], 206, Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.answer(CONTENT)

    def cut(self):
        """At most 40,000 bytes at a time."""
        start, rest = self.start(), CONTENT[self.start() :]
        headers = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
        self.answer(rest[:40_000], 206 if start else 200, len(rest), **headers)

    def dead(self):
        self.answer(CONTENT[:1000], length=len(CONTENT))

    def other(self):
        self.answer(CONTENT[:-1] + b"!")

    def missing(self):
        self.answer(b"", 404)

    def failing(self):
        self.answer(b"", 503)

    def moved(self):
        self.answer(b"", 302, Location="/whole/file.bin")

    def insecure(self):
        self.answer(b"", 302, Location="http://example.com/file.bin")

    def circle(self):
        self.answer(b"", 302, Location="/circle/file.bin")

    def large(self):
        self.answer(b"", length=10**12)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def running():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(running):
    """Return the server, without notes of earlier requests."""
    running.requests.clear()
    return running


@pytest.fixture
def remote(server):
    """Return a function that makes a RemoteFile of the kinds of mirrors."""

    def make(*kinds, checksum=SHA256, most=200_000):
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{kind}/file.bin" for kind in kinds)
        return RemoteFile(urls, checksum, most)

    return make


@pytest.mark.parametrize("checksum", [SHA256, MD5])
def test_download_writes_the_file_once(tmp_path, remote, server, checksum):
    for _ in range(2):
        path = download(remote("whole", checksum=checksum), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "file.bin" and path.read_bytes() == CONTENT
    assert len(server.requests) == 1 and os.listdir(path.parent) == ["file.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_download_by_several_at_once_is_one_download(tmp_path, remote, server):
    with ThreadPoolExecutor(6) as threads:
        paths = list(threads.map(lambda _: download(remote("whole"), tmp_path / "new"), range(6)))
    assert {path.read_bytes() for path in paths} == {CONTENT} and len(server.requests) == 1


def test_download_replaces_a_damaged_file(tmp_path, remote):
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    assert download(remote("whole"), tmp_path).read_bytes() == CONTENT


def test_download_continues_a_cut_connection(tmp_path, remote, server):
    assert download(remote("cut"), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=40000-", "bytes=80000-"]


@pytest.mark.parametrize("kind", ["ranges", "whole"])
def test_download_continues_a_part_that_an_interrupted_program_left(tmp_path, remote, server, kind):
    """A server that does not know ranges sends the file from its beginning."""
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:60_000])
    assert download(remote(kind), tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"/{kind}/file.bin", "bytes=60000-")]
    assert os.listdir(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("part", [b"of another file", CONTENT + b"more", bytes(len(CONTENT))])
def test_download_begins_anew_if_a_part_is_of_another_file(tmp_path, remote, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    assert download(remote("ranges"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["missing", "failing", "dead", "other", "insecure", "circle", "large", "endless"])
def test_download_tries_the_next_mirror(tmp_path, remote, server, kind):
    assert download(remote(kind, "whole"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][0] == "/whole/file.bin"


def test_download_follows_redirects(tmp_path, remote):
    assert download(remote("moved"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("missing", "HTTP Error 404: Not Found"),
        ("failing", "HTTP Error 503: Service Unavailable"),
        ("dead", "the connection ended after [0-9,]+ of 100,000 bytes"),
        ("other", f"SHA-256 is [0-9a-f]{{64}}, expected {SHA256}"),
        ("insecure", "leads to http://example.com/file.bin, which is not https"),
        ("circle", "HTTP Error 302: .*infinite loop.*"),
        ("large", "has 1,000,000,000,000 bytes, expected at most 200,000"),
        ("endless", "sends more than 200,000 bytes"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(tmp_path, remote, kind, reason):
    folder = tmp_path / "new" / "raw"
    with pytest.raises(DataError) as raised:
        download(remote(kind), folder)
    pattern = rf"file.bin: cannot be downloaded from http://127.0.0.1:\d+/{kind}/file.bin \({reason}\); get the file "
    assert re.match(pattern, str(raised.value).replace("\n", " ")), str(raised.value)
    assert str(raised.value).endswith(f"in another way, put it into {folder}, and run this again")
    assert os.listdir(tmp_path) == []


def test_download_without_a_connection_says_so(tmp_path):
    with pytest.raises(DataError, match=r"cannot be downloaded from http://127.0.0.1:9/file.bin \(.*refused\)"):
        download(RemoteFile(("http://127.0.0.1:9/file.bin",), SHA256, 10), tmp_path)


@pytest.mark.parametrize("url", ["http://example.com/file.bin", "ftp://example.com/file.bin", "file:///etc/file.bin"])
def test_download_refuses_other_protocols(tmp_path, url):
    with pytest.raises(DataError, match=f"leads to {url}, which is not https"):
        download(RemoteFile((url,), SHA256, 10), tmp_path)


def test_download_refuses_a_checksum_of_another_kind(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"")
    with pytest.raises(
        ValidationError, match="^download: checksum is 'abc'; use 64 hexadecimal digits, or 32 of an MD5"
    ):
        download(RemoteFile(("https://example.com/file.bin",), "abc", 10), tmp_path)


def test_download_gives_up_a_silent_server(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        with pytest.raises(DataError, match="timed out"):
            download(RemoteFile((url,), SHA256, 10), tmp_path)


def test_download_into_a_file_is_refused(tmp_path, remote):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.raw: cannot be written \(.*\); choose another root$"):
        download(remote("whole"), tmp_path / "file" / "raw")


def test_published_files_are_https_and_have_checksums():
    for kind in (mnist.FashionMNIST, mnist.KMNIST, mnist.QMNIST):
        assert all(mirror.startswith("https://") for mirror in kind.mirrors)
        assert all(len(checksum) == 64 for checksum in kind.checksums.values())
        assert len(set(kind.checksums.values())) == len(kind.checksums) >= 4


# ---- archives


def write_tar(path, *members, mode="w:gz"):
    """Write a tar file of (name, content) or tarfile.TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def write_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("write, name", [(write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_unpack_writes_the_files(tmp_path, write, name):
    folder = tmp_path / "out"
    folder.mkdir()
    archive = write(tmp_path / name, ("set/train", b"123"), ("set/deep/test", b"45"))
    for _ in range(2):  # again over the same files
        unpack(archive, folder, most=10)
    assert files_below(folder) == {"set/train": b"123", "set/deep/test": b"45"}
    assert sorted(path.name for path in folder.iterdir()) == ["set"]


@pytest.mark.parametrize("write, name", [(write_tar, "a.tar"), (write_zip, "a.zip")])
@pytest.mark.parametrize("bad", ["../out.txt", "/tmp/out.txt", "set/../../out.txt", "C:/out.txt", "..\\out.txt"])
def test_unpack_refuses_names_that_lead_out(tmp_path, write, name, bad):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(DataError, match=f"{name}: .* leads out of the folder; do not trust this archive"):
        unpack(write(tmp_path / name, ("good", b"1"), (bad, b"2")), folder, most=10)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_unpack_refuses_links_and_devices(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="'link' is a link or a device, expected files and folders; do not trust"):
        unpack(write_tar(tmp_path / "a.tar.gz", ("good", b"1"), info), tmp_path, most=10)
    assert os.listdir(tmp_path) == ["a.tar.gz"]


def test_unpack_refuses_links_in_a_zip_file(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="'link' is a link or a device"):
        unpack(write_zip(tmp_path / "a.zip", (info, "/etc/passwd")), tmp_path, most=100)


@pytest.mark.parametrize("write, name", [(write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_unpack_refuses_too_many_bytes_and_files(tmp_path, monkeypatch, write, name):
    archive = write(tmp_path / name, ("a", bytes(600)), ("b", bytes(600)))
    with pytest.raises(DataError, match="unpacks to more than 1,000 bytes or 10,000 files; do not trust"):
        unpack(archive, tmp_path, most=1000)
    monkeypatch.setattr(archives, "MOST_FILES", 1)
    with pytest.raises(DataError, match="unpacks to more than 2,000 bytes or 1 files"):
        unpack(archive, tmp_path, most=2000)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("write, name", [(write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_unpack_of_a_damaged_archive_is_complete_or_an_error(tmp_path, write, name):
    """Truncated, or with one byte changed: nothing is unpacked then."""
    whole = write(tmp_path / name, ("a", b"first"), ("set/b", bytes(range(200)))).read_bytes()
    random, refused = np.random.default_rng(0), 0
    for i in range(120):
        at = int(random.integers(len(whole)))
        damaged = whole[:at] if i % 2 else whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :]
        (tmp_path / name).write_bytes(damaged)
        folder = tmp_path / f"out{i}"
        folder.mkdir()
        try:
            unpack(tmp_path / name, folder, most=1000)
        except DataError as error:
            refused += name in str(error)
            assert os.listdir(folder) == []
    assert refused > 60


def test_unpack_refuses_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "a.bin").write_bytes(gzip.compress(b"no archive"))
    with pytest.raises(DataError, match=r"a.bin: is damaged, or no tar or zip file \(.*\); download it again"):
        unpack(tmp_path / "a.bin", tmp_path, most=10)
    with pytest.raises(DataError, match=r"a.tar: cannot be unpacked \(.*\); free disk space"):
        unpack(write_tar(tmp_path / "a.tar", ("a", b"1")), tmp_path / "none", most=10)
