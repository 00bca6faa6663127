"""`mlflow models serve` answers a request over HTTP, and reads no file of its own."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.serving.conftest import Registry

pytestmark = pytest.mark.slow


class Refused(Exception):
    """The server answered with an error; what it said."""


@pytest.fixture(scope="module")
def address(registry: Registry) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/shapes@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": registry.uri}
    log = registry.root / "serve.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, cwd=registry.root,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_a_request_with_base64_gets_the_class(address: str, registry: Registry) -> None:
    pictures = [base64.b64encode(path.read_bytes()).decode() for path in registry.pictures]
    answers = ask(address, {"inputs": pictures})["predictions"]
    assert len(answers) == 3
    for answer in answers:
        assert answer["class_name"] == ("one", "two", "three")[answer["label"]]
        assert 0 < answer["probability"] <= 1


def test_a_path_is_refused_and_told_so(address: str, registry: Registry) -> None:
    for path in (str(registry.pictures[0]), f"file://{registry.pictures[0]}", "../0.png"):
        with pytest.raises(Refused, match="expected the bytes of a picture file as base64"):
            ask(address, {"inputs": [path]})


def ask(address: str, content: dict[str, Any]) -> Any:
    request = Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise Refused(error.read().decode()) from None


def _wait(address: str, server: subprocess.Popen[bytes], log: Any) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(address, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text())
