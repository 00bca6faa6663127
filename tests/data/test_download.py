"""A file arrives whole and verified, or one sentence says why not and the next call goes on."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from dcal.config import DatasetConfig
from dcal.data import transfer
from dcal.data.download import MAX_FAILURES, download
from dcal.data.fetching import fetch_dataset
from dcal.data.remote_file import Download, verify
from dcal.data.sources import cub
from dcal.write_errors import WriteError
from tests.damage import few, many
from tests.data.cub_fixture import write_cub
from tests.data.factory import make_dataset, write_tar
from tests.data.faulty_server import (
    CONTENT,
    PAGE,
    WRONG,
    Fault,
    FaultyServer,
    answer,
    drop_after,
    fall_silent_after,
    hang_up,
    healthy,
    make_item,
    refuse_ranges,
    say_nothing,
    send_chunks,
    send_chunks_and_drop,
    send_range_from,
    send_short_ranges,
    send_whole,
    send_without_length,
    send_wrong_bytes,
    serve,
    trickle,
)

PART = ".a.tgz.part"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serve() as served:
        yield served


@pytest.fixture
def mirror() -> Iterator[FaultyServer]:
    with serve() as served:
        yield served


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits between attempts, none of which is waited."""
    waited: list[float] = []
    monkeypatch.setattr("dcal.data.download.sleep", waited.append)
    return waited


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "READ_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "SPEED_SECONDS", 0.1)


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


def test_a_download_is_verified_and_not_repeated(server: FaultyServer, tmp_path: Path) -> None:
    path = download(make_item(server), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert download(make_item(server), tmp_path / "new") == path
    assert server.asked == [""]
    assert list_names(tmp_path / "new") == ["a.tgz"]


def test_a_file_that_is_there_needs_neither_a_server_nor_a_part(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(CONTENT)
    with open(tmp_path / PART, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert download(make_item(), tmp_path) == tmp_path / "a.tgz"


def test_a_file_is_verified_by_size_and_by_either_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    item = make_item()
    by_md5 = replace(item, checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}", num_bytes=None)
    assert not verify(item, path)
    path.write_bytes(CONTENT)
    assert verify(item, path) and verify(by_md5, path)
    assert not verify(replace(item, num_bytes=len(CONTENT) + 1), path)
    path.write_bytes(WRONG)
    assert not verify(item, path) and not verify(by_md5, path)
    assert not verify(item, tmp_path)


@pytest.mark.parametrize("checksum", ["", "0" * 64, "sha1:" + "0" * 40, "md5:" + "0" * 64, "md5:"])
def test_a_checksum_that_no_file_could_have_is_refused(checksum: str) -> None:
    with pytest.raises(ValueError, match="expected a checksum sha256:<64 digits> or md5:<32"):
        replace(make_item(), checksum=checksum)


@pytest.mark.parametrize("content", [WRONG, CONTENT[:-1], b""])
def test_a_wrong_file_is_kept_beside_and_fetched_again(
    server: FaultyServer, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    (tmp_path / "a.tgz.wrong").write_bytes(b"an older one")
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "a.tgz.wrong").read_bytes() == b"an older one"
    assert (tmp_path / "a.tgz.wrong-2").read_bytes() == content
    assert re.search(
        r"a\.tgz: not the official file \(it.*\); kept as a\.tgz\.wrong-2", caplog.text
    )


def test_a_folder_in_the_files_place_is_named(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").mkdir()
    with pytest.raises(WriteError, match="a folder of that name is in the way; .* move it away"):
        download(make_item(server), tmp_path)
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_connection_that_always_brings_something_ends_well(
    server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    # More often than an address may fail in a row, and the silent ones between do not count.
    server.script = [hang_up, drop_after(20_000), hang_up, hang_up] * (MAX_FAILURES + 1)
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.num_sent == len(CONTENT)
    starts = [int(asked[6:-1]) for asked in server.asked if asked]
    assert starts == sorted(starts) and starts[-1] == 6 * 20_000
    assert max(waits) == 8.0


def test_an_address_that_brings_next_to_nothing_is_given_up(
    server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    server.script = [drop_after(1000)] * 50
    said = fail(make_item(server), tmp_path)
    assert f"{server.url}: the connection broke (" in said
    assert f"{MAX_FAILURES}.0 kB of it stay, to go on from. Run the command again" in said
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_what_is_there_is_not_sent_again(server: FaultyServer, tmp_path: Path) -> None:
    server.script = [drop_after(150_000), *[hang_up] * MAX_FAILURES]
    fail(make_item(server), tmp_path)
    assert list_names(tmp_path) == [PART]
    server.script.clear()
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=150000-"
    assert server.num_sent == len(CONTENT)
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_mirror_goes_on_where_the_first_address_stopped(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.script = [drop_after(150_000), answer(404), answer(404)]
    assert download(make_item(server, mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["bytes=150000-"]
    assert mirror.num_sent == 50_000


def test_all_addresses_are_told_with_what_each_said(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.script, mirror.script = [answer(404)], [answer(403)]
    said = fail(make_item(server, mirror), tmp_path)
    assert f"({server.url}: answers 404 (Not Found); {mirror.url}: answers 403 (Forbid" in said
    assert (len(server.asked), len(mirror.asked)) == (1, 1)
    assert list_names(tmp_path) == []


def test_no_address_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no address is known.*set dataset.source to it"):
        download(make_item(), tmp_path)


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


# Each with what is said if it never stops, or None where the right bytes come all the same.
FAULTS: dict[str, tuple[Fault, str | None]] = {
    "drop": (drop_after(1000), "the connection broke"),
    "hang up": (hang_up, "no connection"),
    "404 page": (answer(404), "answers 404 (Not Found)"),
    "page": (send_whole(PAGE, Content_Type="text/html"), "a web page came in place of the file"),
    "bare page": (send_whole(PAGE), "a web page came in place of the file"),
    "text for a browser": (
        send_whole(b"Quota used up", Content_Type="Text/HTML; charset=utf-8"),
        "a web page came in place of the file",
    ),
    "text": (send_whole(b"Quota used up"), "announces 13 bytes, expected are 200000"),
    "shorter": (send_whole(CONTENT[:-1]), "announces 199999 bytes, expected are 200000"),
    "longer": (send_whole(CONTENT + b"x"), "announces 200001 bytes, expected are 200000"),
    "wrong bytes": (send_wrong_bytes, "what came is not the file (its sha256 differs from "),
    "wrong and longer": (send_chunks(WRONG + b"x"), "what came is not the file (its sha256"),
    "shorter without a length": (send_without_length(1000), "ended after 1000 of 200000 bytes"),
    "shorter in chunks": (send_chunks(CONTENT[:-9]), "ended after 199991 of 200000 bytes"),
    "wrong range": (send_range_from(+1), "sends another part of the file than asked for"),
    "range without a place": (answer(206), "sends another part of the file than asked for"),
    "416": (answer(416), "answers 416"),
    "500": (answer(500), "answers 500 (Internal Server Error)"),
    "unheard of": (answer(599), "answers 599; not asked again now"),
    "304": (answer(304), "answers 304 (Not Modified)"),
    "longer without a length": (send_chunks(CONTENT + b"x"), None),
    "ignores ranges": (send_whole(CONTENT), None),
    "chunks": (send_chunks(CONTENT), None),
    "ranges refused by 416": (refuse_ranges(answer(416)), None),
    "ranges refused by 400": (refuse_ranges(answer(400)), None),
    "other ranges": (refuse_ranges(send_range_from(+1)), None),
    "short ranges": (send_short_ranges(20_000), None),
    "archive called compressed": (send_whole(CONTENT, Content_Encoding="gzip"), None),
    "archive called a page": (send_whole(CONTENT, Content_Type="text/html"), None),
}
BEGINNINGS = {"nothing": b"", "a beginning": CONTENT[:70_000], "other bytes": WRONG[:70_000]}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_ends_well_or_with_one_sentence_and_a_rerun_finishes(
    name: str,
    beginning: str,
    server: FaultyServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault, words = FAULTS[name]
    if BEGINNINGS[beginning]:
        (tmp_path / PART).write_bytes(BEGINNINGS[beginning])
    server.script = [fault] * 50
    if words is None:
        assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    else:
        fail(make_item(server), tmp_path)
        assert words in caplog.text
        assert not (tmp_path / "a.tgz").exists()
    assert len(server.asked) <= 20
    server.script.clear()
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert list_names(tmp_path) == ["a.tgz"]


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


def test_wrong_bytes_of_several_attempts_are_fetched_once_more_from_zero(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(WRONG[:70_000])
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=70000-", ""]


def test_wrong_bytes_of_one_answer_are_left_for_the_mirror_and_not_mixed(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.content = WRONG
    assert download(make_item(server, mirror), tmp_path).read_bytes() == CONTENT
    assert (server.asked, mirror.asked) == ([""], [""])


def test_an_address_with_other_bytes_is_started_over_only_once(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.content = WRONG
    server.script = [drop_after(90_000), healthy, drop_after(90_000), healthy]
    said = fail(make_item(server), tmp_path)
    assert "what came is not the file (its sha256 differs from" in said
    assert server.asked == ["", "bytes=90000-"] * 2
    assert list_names(tmp_path) == []


def test_a_server_without_ranges_does_not_shorten_what_is_there(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(CONTENT[:150_000])
    server.script = [send_without_length(1000), answer(404), answer(404)]
    fail(make_item(server), tmp_path)
    assert (tmp_path / PART).read_bytes() == CONTENT[:150_000]


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


def test_a_size_that_is_not_known_is_the_announced_one(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.script = [drop_after(150_000)]
    assert download(make_item(server, num_bytes=None), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=150000-"]


@pytest.mark.parametrize("num_bytes", [None, len(CONTENT)])
def test_a_part_that_is_whole_needs_no_server(num_bytes: int | None, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(CONTENT)
    assert download(make_item(num_bytes=num_bytes), tmp_path).read_bytes() == CONTENT
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_file_whose_end_was_not_announced_is_known_by_the_refusal_of_more(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.script = [send_chunks_and_drop, healthy]
    assert download(make_item(server, num_bytes=None), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=200000-"]
    assert server.num_sent < 1.1 * len(CONTENT)


@pytest.mark.parametrize("num_bytes", [None, len(CONTENT)])
@pytest.mark.parametrize("part", [WRONG, WRONG + b"x", CONTENT + b"x"])
def test_a_part_that_is_too_long_or_wrong_is_started_over(
    part: bytes, num_bytes: int | None, server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(part)
    path = download(make_item(server, num_bytes=num_bytes), tmp_path)
    assert path.read_bytes() == CONTENT
    # Of an unknown size, it might have been a beginning.
    assert server.asked == ([""] if num_bytes else [f"bytes={len(part)}-", ""])


def test_a_second_process_is_told_and_changes_nothing(server: FaultyServer, tmp_path: Path) -> None:
    with open(tmp_path / PART, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process is downloading into it; wait until"):
            download(make_item(server), tmp_path)
    assert server.asked == []
    assert list_names(tmp_path) == [PART]
    download(make_item(server), tmp_path)


def test_a_part_that_its_holder_removes_while_we_wait_for_it_is_not_written_to(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    turns = iter([(tmp_path / PART).unlink])

    def lock_late(handle: int, operation: int) -> None:
        next(turns, lambda: None)()
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT


def test_a_disk_without_locks_is_no_hindrance(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT


def test_writes_that_take_only_a_little_at_a_time_lose_nothing(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: write(handle, data[:999], at))
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [""]


def test_too_little_space_is_said_before_the_download(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    huge = replace(make_item(server), num_bytes=10**18)
    with pytest.raises(OSError, match=r"a\.tgz needs 1\.0 EB more, .* are free; make"):
        download(huge, tmp_path)
    assert server.asked == []


def test_space_is_needed_only_for_what_is_missing(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000))
    with pytest.raises(OSError, match=r"needs 200\.0 kB more, 50\.0 kB are free"):
        download(make_item(server, num_bytes=None), tmp_path)
    (tmp_path / PART).write_bytes(CONTENT[:150_000])
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT


def run_download(
    item: Download, folder: Path, repository: Path, prepare: str = ""
) -> subprocess.Popen[str]:
    code = f"{prepare}\nfrom dcal.data.download import *; from pathlib import Path; import sys\n"
    code += f"try: download({item!r}, Path({str(folder)!r}))\n"
    code += "except OSError as error: sys.exit(f'{type(error).__name__}: {error}')"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_where_it_was(
    number: signal.Signals, server: FaultyServer, tmp_path: Path, repository: Path
) -> None:
    server.script = [fall_silent_after(150_000)]
    with run_download(make_item(server), tmp_path, repository) as process:
        part = tmp_path / PART
        deadline = time.perf_counter() + 60
        while not part.exists() or part.stat().st_size < 150_000:
            assert process.poll() is None and time.perf_counter() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    assert list_names(tmp_path) == [PART]
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=150000-"]
    assert server.num_sent == len(CONTENT)


def test_a_disk_that_takes_no_more_is_named_and_the_part_stays(
    server: FaultyServer, tmp_path: Path, repository: Path
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
    with run_download(make_item(server), tmp_path, repository, limit) as process:
        said = process.communicate()[1]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 150_000
    assert said.startswith("WriteError: a.tgz could not be written in")
    assert "a file there may not become that large" in said and said.count("\n") == 1
    assert (tmp_path / PART).read_bytes() == CONTENT[:150_000]
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=150000-"]


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


def test_cub_is_downloaded_verified_and_unpacked(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "CUB_200_2011.tgz", write_cub(tmp_path / "cub"))
    server.content = archive.read_bytes()
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    item = replace(
        cub.ARCHIVE, urls=(server.url,), checksum=checksum, num_bytes=len(server.content)
    )
    monkeypatch.setattr(cub, "CUB", replace(cub.CUB, files=(item,)))
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    dataset: DatasetConfig = make_dataset(name="cub", source_type="cub", remote="private")
    server.script = [answer(404)]
    with pytest.raises(ConnectionError, match="CUB_200_2011.tgz could not be downloaded"):
        fetch_dataset(dataset)
    assert not (tmp_path / "data/raw/cub").exists()
    folder = fetch_dataset(dataset)
    assert (folder / "CUB_200_2011/images.txt").is_file()
    assert (tmp_path / "work/data/archives/CUB_200_2011.tgz").is_file()


DROPS = st.one_of(
    st.integers(0, len(CONTENT)).map(drop_after),
    st.integers(0, len(CONTENT)).map(send_without_length),
    st.integers(-100_000, 100_000).map(send_range_from),
    st.integers(1, 60_000).map(send_short_ranges),
)
CALLS = st.sampled_from([fault for fault, _ in FAULTS.values()])
PARTS = st.sampled_from([b"", CONTENT[:1], CONTENT[:-1], CONTENT, WRONG, CONTENT + b"x", PAGE])


DRAWN = (
    st.lists(st.one_of(DROPS, CALLS), max_size=12),
    st.lists(st.one_of(DROPS, CALLS), max_size=12),
    PARTS,
    st.sampled_from([None, len(CONTENT)]),
)


@settings(few, max_examples=30)
@given(*DRAWN)
def test_any_faults_and_then_healthy_servers_bring_the_right_bytes(
    first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None
) -> None:
    check(first, second, part, num_bytes)


@pytest.mark.slow
@settings(many, max_examples=500)
@given(*DRAWN)
def test_many_faults_and_then_healthy_servers_bring_the_right_bytes(
    first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None
) -> None:
    check(first, second, part, num_bytes)


def check(first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None) -> None:
    with serve() as server, serve() as mirror, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / PART).write_bytes(part)
        server.script, mirror.script = list(first), list(second)
        item = make_item(server, mirror, num_bytes=num_bytes)
        # Every call that fails has used up a fault of each.
        for _ in range(min(len(first), len(second))):
            try:
                download(item, folder)
                break
            except ConnectionError as error:
                assert "\n" not in str(error)
        assert download(item, folder).read_bytes() == CONTENT
        assert list_names(folder) == ["a.tgz"]
