"""A server on this machine that misbehaves as told, request by request, and then is healthy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dcal.data.download import download
from dcal.data.remote_file import Download

# Begins like a .tgz and does not repeat itself, so that misplaced bytes are wrong ones.
CONTENT = b"\x1f\x8b\x08\0" + hashlib.shake_256(b"content").digest(199_996)
WRONG = b"\x1f\x8b\x08\0" + hashlib.shake_256(b"wrong").digest(199_996)
PART = ".a.tgz.part"
PAGE = b"\n<!DOCTYPE html><html><title>Sign in</title></html>"


class FaultyServer(ThreadingHTTPServer):
    """What is asked of it is in `asked`, a Range header or "" a request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Fault] = []
        self.content = CONTENT
        self.asked: list[str] = []
        self.num_sent = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.tgz?download=1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where a client hung up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_GET(self) -> None:  # noqa: N802
        self.close_connection = True
        self.server.asked.append(self.headers.get("Range", ""))
        assert self.headers["Accept-Encoding"] == "identity"
        script = self.server.script
        (script.pop(0) if script else healthy)(self)

    def log_message(self, format: str, *args: object) -> None:
        return

    @property
    def start(self) -> int:
        """Return the place that the client asks for."""
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def begin(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def begin_from(self, start: int) -> None:
        """Answer as a server that knows ranges, where it has that much."""
        length = len(self.server.content)
        if start >= length:
            self.begin(416, Content_Range=f"bytes */{length}", Content_Length=0)
        elif start:
            said = f"bytes {start}-{length - 1}/{length}"
            self.begin(206, Content_Range=said, Content_Length=length - start)
        else:
            self.begin(200, Content_Length=length)

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.server.num_sent += len(data)


Fault = Callable[[Handler], None]


def healthy(handler: Handler) -> None:
    handler.begin_from(handler.start)
    handler.send(handler.server.content[handler.start :])


def drop_after(num_bytes: int) -> Fault:
    def drop(handler: Handler) -> None:
        handler.begin_from(handler.start)
        handler.send(handler.server.content[handler.start :][:num_bytes])

    return drop


def send_without_length(num_bytes: int) -> Fault:
    """Send some bytes whose end is that of the connection."""

    def send(handler: Handler) -> None:
        handler.begin(200)
        handler.send(handler.server.content[:num_bytes])

    return send


def send_whole(content: bytes, **headers: object) -> Fault:
    """Send something whole, whatever was asked for."""

    def send(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(content), **headers)
        handler.send(content)

    return send


def send_wrong_bytes(handler: Handler) -> None:
    handler.begin_from(handler.start)
    handler.send(WRONG[handler.start :])


def send_chunks(content: bytes) -> Fault:
    """Send something in chunks, which announce no size; whatever was asked for."""

    def send(handler: Handler) -> None:
        _send_chunks(handler, content)
        handler.send(b"0\r\n\r\n")

    return send


def send_chunks_and_drop(handler: Handler) -> None:
    """Send all of the file, but not that this was all."""
    _send_chunks(handler, handler.server.content)


def _send_chunks(handler: Handler, content: bytes) -> None:
    handler.begin(200, Transfer_Encoding="chunked")
    for place in range(0, len(content), 30_000):
        chunk = content[place : place + 30_000]
        handler.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))


def send_range_from(shift: int) -> Fault:
    """Send another part of the file than was asked for."""

    def send(handler: Handler) -> None:
        start = max(handler.start + shift, 0)
        length = len(handler.server.content)
        said = f"bytes {start}-{length - 1}/{length}"
        handler.begin(206, Content_Range=said, Content_Length=length - start)
        handler.send(handler.server.content[start:])

    return send


def refuse_ranges(refusal: Fault) -> Fault:
    """Answer as a server that only sends all of a file, with its own way to say so."""
    return lambda handler: (refusal if handler.start else healthy)(handler)


def send_short_ranges(num_bytes: int) -> Fault:
    """Send a range of some bytes however many are asked for, and say so."""

    def send(handler: Handler) -> None:
        start, length = handler.start, len(handler.server.content)
        body = handler.server.content[start:][:num_bytes]
        said = f"bytes {start}-{start + len(body) - 1}/{length}"
        handler.begin(206, Content_Range=said, Content_Length=len(body))
        handler.send(body)

    return send


def answer(code: int, **headers: object) -> Fault:
    def send(handler: Handler) -> None:
        handler.begin(code, Content_Length=len(PAGE), Content_Type="text/html", **headers)
        handler.wfile.write(PAGE)

    return send


def hang_up(handler: Handler) -> None:
    """Close the connection without a word."""


def fall_silent_after(num_bytes: int) -> Fault:
    def hang(handler: Handler) -> None:
        drop_after(num_bytes)(handler)
        handler.server.closing.wait()

    return hang


def say_nothing(handler: Handler) -> None:
    handler.server.closing.wait()


def trickle(handler: Handler) -> None:
    """Send a byte now and then, more often than a client stops waiting for one."""
    handler.begin_from(handler.start)
    for place in range(handler.start, len(handler.server.content)):
        handler.send(handler.server.content[place : place + 1])
        if handler.server.closing.wait(0.01):
            return


@contextmanager
def serve() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def make_item(*servers: FaultyServer, num_bytes: int | None = len(CONTENT)) -> Download:
    """Return the file that servers have, the first one being the official one."""
    return Download(
        file_name="a.tgz",
        urls=tuple(server.url for server in servers),
        checksum=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
        num_bytes=num_bytes,
    )


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(item: Download, folder: Path) -> str:
    """Return the one sentence that a download ends with."""
    with pytest.raises(ConnectionError) as raised:
        download(item, folder)
    said = str(raised.value)
    assert said.startswith("a.tgz could not be downloaded (")
    assert said.endswith("or get a.tgz by other means and set dataset.source to it")
    assert "\n" not in said
    return said
