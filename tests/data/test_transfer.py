"""One exchange: addresses, redirects, waits, silence, and what a terminal shows of it."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from dcal.data import transfer
from dcal.data.download import MAX_FAILURES, download
from tests.data.faulty_server import (
    CONTENT,
    PART,
    Fault,
    FaultyServer,
    answer,
    fail,
    fall_silent_after,
    make_item,
    say_nothing,
    serve,
    trickle,
)

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "READ_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "SPEED_SECONDS", 0.1)


@pytest.mark.parametrize(
    "address",
    ["http://[", "ftp://127.0.0.1/a", "nonsense", "http://.x/", "http://" + "a" * 70 + "/"],
)
def test_an_address_that_is_none_is_told_at_once(
    address: str, tmp_path: Path, waits: list[float]
) -> None:
    said = fail(replace(make_item(), urls=(address,)), tmp_path)
    assert f"({address}: no connection (" in said
    assert waits == []


def test_a_server_that_is_not_there_is_told_in_its_systems_words(tmp_path: Path) -> None:
    with serve() as gone:
        item = make_item(gone)
    words = f"{item.urls[0]}: no connection (Connection refused)"
    assert words in fail(item, tmp_path)
    try:
        raise FileNotFoundError("what a caller deals with")
    except FileNotFoundError:
        assert words in fail(item, tmp_path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "fault, words",
    [
        (say_nothing, r"no connection \(nothing came in time\)"),
        (fall_silent_after(1000), r"the connection broke \(nothing came in time\)"),
        (trickle, r"only \d+ bytes came in 0 s"),
    ],
)
def test_a_silent_or_trickling_server_is_left_for_the_mirror(
    fault: Fault,
    words: str,
    server: FaultyServer,
    mirror: FaultyServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.script = [fault] * 50
    assert download(make_item(server, mirror), tmp_path).read_bytes() == CONTENT
    assert MAX_FAILURES <= len(server.asked) < 50
    assert re.search(f"{re.escape(server.url)}: {words}; not asked again now", caplog.text)
    assert server.num_sent + mirror.num_sent >= len(CONTENT)


@pytest.mark.usefixtures("impatient")
def test_bytes_that_trickle_are_no_progress(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcal.data.download.MIN_PROGRESS_BYTES", 1)
    server.script = [trickle] * 50
    assert "only " in fail(make_item(server), tmp_path)
    assert len(server.asked) == MAX_FAILURES


def test_a_wait_that_the_server_asks_for_is_kept_up_to_a_bound(
    server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    for text in ("7", soon, "99999999999", "-5"):
        server.script.append(answer(503, Retry_After=text))
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert waits[0] == 7.0 and 20 < waits[1] <= 30 and waits[2:] == [60.0, 8.0]


@pytest.mark.parametrize("text", ["soon", "", "1e3", "Mon, 01 Jan 0001 00:00:00 -0000", "\xb2"])
def test_a_wait_that_cannot_be_read_is_ours(
    text: str, server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    server.script = [answer(503, Retry_After=text)]
    download(make_item(server), tmp_path)
    assert waits == [1.0]


def test_redirects_are_followed_and_the_range_goes_along(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(CONTENT[:70_000])
    server.script = [answer(302, Location="/elsewhere"), answer(307, Location=mirror.url)]
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["bytes=70000-"]


@pytest.mark.parametrize(
    "location, words",
    [
        ("/again", "sends on more than 10 times"),
        ("http://[", "no connection ("),
        ("ftp://127.0.0.1/a", "no connection ("),
    ],
)
def test_redirects_that_lead_nowhere_end(
    location: str, words: str, server: FaultyServer, tmp_path: Path
) -> None:
    server.script = [answer(302, Location=location)] * 50
    assert words in fail(make_item(server), tmp_path)
    assert len(server.asked) <= 11


class _Secure(HTTPAdapter):
    """Stand in for https: ask the server of this machine, and keep the address."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__()
        self.place = f"http://127.0.0.1:{server.server_port}"

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        inner = request.copy()
        assert request.url is not None
        inner.url = request.url.replace("https://secure.test", self.place)
        response = super().send(inner, **options)
        response.url, response.request = request.url, request
        return response


@pytest.mark.parametrize("target, is_followed", [("https://secure.test/b", True), (None, False)])
def test_https_is_not_left_for_http(
    target: str | None,
    is_followed: bool,
    server: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare = requests.Session.__init__

    def mount(session: requests.Session) -> None:
        prepare(session)
        session.mount("https://secure.test", _Secure(server))

    monkeypatch.setattr(requests.Session, "__init__", mount)
    server.script = [answer(302, Location=target or server.url)]
    item = replace(make_item(), urls=("https://secure.test/a",))
    if is_followed:
        assert download(item, tmp_path).read_bytes() == CONTENT
    else:
        assert "sends on from https down to http)" in fail(item, tmp_path)
        assert len(server.asked) == 1


def test_a_bar_is_shown_in_a_terminal_only(
    server: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    download(make_item(server), tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    start, end = (record.getMessage() for record in caplog.records)
    assert start == f"a.tgz: downloading from {server.url} (200.0 kB)"
    assert end == f"{tmp_path / 'quiet' / 'a.tgz'}: downloaded and verified"
    monkeypatch.setenv("FORCE_COLOR", "1")
    download(make_item(server), tmp_path / "shown")
    assert "a.tgz" in capsys.readouterr().err
