from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcal.tuning import presence
from dcal.tuning.presence import FOLDER, get_own_token, is_gone

OTHER = """
import time
from dcal.tuning.presence import get_own_token
print(get_own_token(), flush=True)
time.sleep(600)
"""


def test_who_was_killed_is_gone_at_once_and_who_lives_is_not(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    token = other.stdout.readline().strip()
    try:
        assert not is_gone(token)
    finally:
        other.kill()
        other.communicate()
    assert is_gone(token)
    # Of a process that has another work root nothing is known.
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "elsewhere"))
    assert not is_gone(token)


def test_this_process_and_one_that_is_not_named_are_not_gone() -> None:
    assert not is_gone(get_own_token()) and not is_gone(None)


def test_what_killed_processes_left_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / FOLDER
    folder.mkdir(parents=True)
    (folder / "a.lock").touch()
    monkeypatch.setattr(presence, "time", type("Clock", (), {"time": lambda: time.time() + 9e4}))
    get_own_token()
    assert not (folder / "a.lock").exists() and len(list(folder.iterdir())) == 1
