"""A small web server for one page: on this computer only, behind a random token, with server-sent events."""

import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEARTBEAT = 5.0  # seconds after which a silent stream is tested by an empty message
LONGEST_COMMAND = 1000  # bytes, without the weights of a filter
BYTES_OF_WEIGHT = 6  # float32 in base64
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Server:
    """Serve a page at http://127.0.0.1:PORT/TOKEN/.

    GET  TOKEN/         the page
    GET  TOKEN/events   a stream of the messages that are published
    POST TOKEN/control  a command, given to `control`, which returns what is wrong or None

    A request is refused unless its Host is this server, and its Origin, if it names one, too; a command must name one.
    So a page of another site cannot read or send anything, not even by a name that resolves to 127.0.0.1.

    longest       bytes of the longest command; it can hold `most_weights` numbers
    watchers      number of open streams
    has_message   whether a new reader gets a message at once
    """

    def __init__(self, html: bytes, control: Callable[[Any], str | None], port: int, most_weights: int = 0):
        self.html, self.control = html, control
        self.longest = LONGEST_COMMAND + BYTES_OF_WEIGHT * most_weights
        self.token = secrets.token_urlsafe(24)
        self.watchers = 0
        self.closed = False
        self._changed = threading.Condition()
        self._last, self._whole, self._number = "", "", 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    @property
    def hosts(self) -> set[str]:
        """What a Host header may say."""
        return {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    @property
    def has_message(self) -> bool:
        return bool(self._whole)

    def publish(self, message: str, keep: bool) -> None:
        """Send a message to all streams; `keep` it for those that open later."""
        with self._changed:
            self._last = message
            self._whole = message if keep else self._whole
            self._number += 1
            self._changed.notify_all()

    def stream(self, write: Callable[[bytes], Any]) -> None:
        """Write messages until the server closes or the reader leaves.  A slow reader misses some."""
        with self._changed:
            self.watchers += 1
            message, seen = self._whole, self._number
        try:
            while True:
                write(f"data: {message}\n\n".encode() if message else b": \n\n")
                with self._changed:
                    if self.closed and seen == self._number:
                        return
                    self._changed.wait_for(lambda: self._number != seen or self.closed, HEARTBEAT)  # noqa: B023
                    message = self._last if self._number != seen else ""
                    seen = self._number
        finally:
            self.watchers -= 1

    def close(self) -> None:
        """Stop; open streams end after their last message."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    owner: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "minigrad", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: the terminal belongs to the training."""

    def do_GET(self) -> None:
        if not self._is_allowed(origin_needed=False):
            self._answer(403, b"forbidden")
        elif self._path() == "":
            self._answer(200, self.owner.html, "text/html; charset=utf-8")
        elif self._path() == "events":
            self._send_events()
        else:
            self._answer(404, b"not found")

    def do_POST(self) -> None:
        if not self._is_allowed(origin_needed=True):
            self._answer(403, b"forbidden")
        elif self._path() != "control":
            self._answer(404, b"not found")
        else:
            wrong = self._read_command()
            self._answer(400 if wrong else 200, (wrong or "ok").encode())

    def _is_allowed(self, origin_needed: bool) -> bool:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in self.owner.hosts or (origin_needed and origin is None):
            return False
        if origin is not None and origin not in {f"http://{name}" for name in self.owner.hosts}:
            return False
        token = self.path.split("/")[1] if self.path.count("/") >= 2 else ""
        return secrets.compare_digest(token.encode(), self.owner.token.encode())

    def _path(self) -> str:
        """What follows the token."""
        return self.path.split("/", 2)[2].partition("?")[0]

    def _read_command(self) -> str | None:
        """Give the command to its owner; return what is wrong with it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or len(length) > 9 or int(length) > self.owner.longest:
            self.close_connection = True
            return f"a command has at most {self.owner.longest} bytes"
        try:
            return self.owner.control(json.loads(self.rfile.read(int(length))))
        except ValueError:
            return "a command is JSON"

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if status == 403:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _send_events(self) -> None:
        self.send_response(200)
        for name, value in {**HEADERS, "Content-Type": "text/event-stream", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        try:
            self.owner.stream(self._write)
        except OSError:
            return  # the reader has left

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
