"""What came so far is one process's at a time, and outlives kills and full disks."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dcal.data.download import download
from dcal.data.remote_file import Download
from tests.data.faulty_server import (
    CONTENT,
    PART,
    FaultyServer,
    fall_silent_after,
    list_names,
    make_item,
)

pytestmark = pytest.mark.usefixtures("waits")


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
    # A shell that starts tests in the background has them ignore Ctrl-C, and Python keeps to that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"{prepare}\nfrom dcal.data.download import *; from pathlib import Path; import sys\n"
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
