"""A full disk at each write: the previous state is intact, and one sentence says what is full."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.full_disk import SHARES, WRITERS
from tests.project import ROOT

pytestmark = pytest.mark.slow

MOUNT = 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"'


def run_on_small_disk(folder: Path, options: str, *command: str) -> str:
    """Run Python where `folder` is a file system of its own, seen by it alone and gone with it."""
    unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, options, str(folder)]
    tried = subprocess.run([*unshared, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine permits no file system of one's own: {tried.stderr.strip()}")
    return subprocess.run(
        [*unshared, sys.executable, *command, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return what every try of every writer left, on a small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    said = run_on_small_disk(folder, "size=8m", "-m", "tests.full_disk")
    found: dict[str, list[dict[str, Any]]] = json.loads(said.splitlines()[-1])
    assert list(folder.iterdir()) == []
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_loses_nothing_and_is_named(
    writer: str, tries: dict[str, list[dict[str, Any]]]
) -> None:
    assert len(tries[writer]) >= 3
    for tried in tries[writer]:
        assert tried["changed"] == [], tried
        assert tried["kind"] == "WriteError", tried
        assert re.fullmatch(
            r"\S+ could not be written in /\S+: the disk is full \(\d+\.\d MB free\); what was "
            r"there before is intact\. To go on, make room on that disk, then run the command "
            r"again",
            tried["said"],
        )


def test_the_tries_begin_without_any_room(tries: dict[str, list[dict[str, Any]]]) -> None:
    assert all(tried[0]["share"] == SHARES[0] == 0 for tried in tries.values())


def test_a_disk_with_room_for_no_more_files_is_told_apart(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from dcal.paths import write_json
folder = Path(sys.argv[1])
write_json(folder / "a.json", "old")
try:
    for number in range(100):
        (folder / str(number)).touch()
except OSError:
    pass
try:
    write_json(folder / "a.json", "new")
except OSError as error:
    print(error)
print((folder / "a.json").read_text().strip())
"""
    said, content = run_on_small_disk(tmp_path, "size=8m,nr_inodes=40", "-c", code).splitlines()
    assert re.search(r"the disk is full \(8\.\d MB free, but no room for one more file\);", said)
    assert content == '"old"'


def test_a_download_that_fills_the_disk_keeps_what_came_and_goes_on(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from dcal.data.download import download
from tests.data.faulty_server import CONTENT, make_item, serve
from tests.full_disk import fill
import os

os.chdir(sys.argv[1])
part = Path(".a.tgz.part")

def fill_meanwhile(handler):
    handler.begin_from(0)
    handler.send(CONTENT[:20_000])
    while not part.exists() or not part.stat().st_size:
        time.sleep(0.01)
    fill(90_000)
    handler.send(CONTENT[20_000:])

with serve() as server:
    server.script = [fill_meanwhile]
    for _ in range(2):
        try:
            download(make_item(server), Path())
        except OSError as error:
            print(error)
    num_kept = part.stat().st_size
    fill(200_000)
    print(num_kept, download(make_item(server), Path()).read_bytes() == CONTENT, server.asked[1:])
"""
    full, still_full, end = run_on_small_disk(tmp_path, "size=8m", "-c", code).splitlines()
    assert re.search(r"^a\.tgz could not be written in .*: the disk is full \(0\.0 MB free\)", full)
    assert re.search(r"a\.tgz needs \d+\.\d kB more, \S+ \S+ are free; make room on", still_full)
    num_kept = int(end.split()[0])
    assert 100_000 < num_kept < 120_000
    assert end == f"{num_kept} True ['bytes={num_kept}-']"
