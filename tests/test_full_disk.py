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

MOUNT = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return what every try of every writer left, on a small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    # The mount is seen by this one process, and is gone with it.
    unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder)]
    tried = subprocess.run([*unshared, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine permits no file system of one's own: {tried.stderr.strip()}")
    done = subprocess.run(
        [*unshared, sys.executable, "-m", "tests.full_disk", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    assert list(Path(folder).iterdir()) == []
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
