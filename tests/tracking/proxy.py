"""A proxy on loopback that goes wrong on cue, in front of a real MLflow server."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = str  # one of FAULTS
FAULTS = ("pass", "error", "busy", "garbage", "hang", "cut", "late")


class FaultProxy:
    """Forwards requests, except where `choose` names a fault for one.

    error, busy   answer 500 or 429 without asking the server
    garbage       answer 200 with a page of HTML
    hang          answer nothing for `hang_seconds`, and never ask the server
    cut           ask the server, then close the connection without a word
    late          ask the server only when the client has given up
    """

    def __init__(self, upstream: str, *, hang_seconds: float = 3.0) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.hang_seconds = hang_seconds
        self.choose: Callable[[], Fault] = lambda: "pass"
        self.counts: Counter[Fault] = Counter()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        """Return the address to track at."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.choose()
        self.proxy.counts[fault] += 1
        self.close_connection = True
        match fault:
            case "error" | "busy" | "garbage":
                status = {"error": 500, "busy": 429, "garbage": 200}[fault]
                self._answer(status, {"Content-Type": "text/html"}, b"<html>no</html>")
            case "hang":
                time.sleep(self.proxy.hang_seconds)
            case "late":
                time.sleep(self.proxy.hang_seconds)
                self._forward(body)
            case "cut":
                self._forward(body)
            case _:
                self._answer(*self._forward(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        headers = dict(self.headers) | {"Host": self.proxy.upstream, "Connection": "close"}
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            return 502, {}, b""
        finally:
            connection.close()
        kept = {key: value for key, value in answer.getheaders() if key.lower() == "content-type"}
        return answer.status, kept, content

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
