"""A dvc.lock that a full disk left broken comes back whole, that of each pipeline."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelines.lock_file import KEPT, keep_lock_files, restore_lock_files

LOCK = Path("dvc.lock")
TUNE_LOCK = Path("pipelines/tune/dvc.lock")
WHOLE = "schema: '2.0'\nstages:\n  fetch:\n    cmd: python -m pipelines.fetch\n"
# Empty, cut inside a word, cut before the stages, no YAML.
BROKEN = ["", "sche", "schema: '2.0'\n", "schema: '2.0\nstages: {"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("broken", BROKEN)
def test_the_kept_file_comes_back(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    LOCK.write_text(WHOLE)
    keep_lock_files()
    LOCK.write_text(broken)
    keep_lock_files()  # the next stage must not keep what is broken
    restore_lock_files()
    assert LOCK.read_text() == WHOLE and "kept when the last stage began is back" in caplog.text


def test_each_pipeline_has_its_own() -> None:
    LOCK.write_text(WHOLE)
    TUNE_LOCK.parent.mkdir(parents=True)
    TUNE_LOCK.write_text(WHOLE.replace("fetch", "tune"))
    keep_lock_files()
    TUNE_LOCK.write_text("")
    restore_lock_files()
    assert TUNE_LOCK.read_text() == WHOLE.replace("fetch", "tune") and LOCK.read_text() == WHOLE


def test_a_whole_file_stays_as_it_is() -> None:
    LOCK.write_text(WHOLE)
    keep_lock_files()
    LOCK.write_text(WHOLE + "  train:\n    cmd: python -m pipelines.train\n")
    restore_lock_files()
    assert "train" in LOCK.read_text()


def test_where_there_is_none_there_is_nothing_to_do() -> None:
    keep_lock_files()
    restore_lock_files()
    assert not LOCK.exists() and not any(kept.exists() for kept in KEPT.values())


def test_the_last_commit_helps_where_nothing_was_kept() -> None:
    LOCK.write_text(WHOLE)
    for command in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "Results"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], check=True)
    LOCK.write_text("")
    restore_lock_files()
    assert LOCK.read_text() == WHOLE


def test_without_any_whole_one_the_advice_is_to_remove_it() -> None:
    LOCK.write_text("")
    with pytest.raises(ValueError, match=r"dvc.lock: damaged, .*; remove it, and its stages run"):
        restore_lock_files()
