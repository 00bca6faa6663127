"""What may go and what stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dcal.training.checkpoints import CheckpointFolder, checkpoints_root, list_folders
from dcal.training.retention import DAY_SECONDS, describe_age, free, free_finished, list_kept_runs


def make_run(name: str, *, is_finished: bool, idle_days: float = 0.0) -> CheckpointFolder:
    folder = CheckpointFolder(checkpoints_root() / name)
    with folder.hold():
        folder.open_run({}, is_recorded=lambda state: False)
        with folder.write(step=7) as path:
            path.write_bytes(b"s" * 1000)
        if is_finished:
            folder.finish(record=folder.path / "run.json")
    then = time.time() - idle_days * DAY_SECONDS
    for path in folder.path.iterdir():
        os.utime(path, (then, then))
    return folder


def test_every_run_is_listed_with_its_status_step_and_size() -> None:
    make_run("aaaa", is_finished=True)
    make_run("bbbb", is_finished=False, idle_days=3)
    runs = {run.name: run for run in list_kept_runs()}
    assert [(run.status, run.step) for run in runs.values()] == [
        ("finished", 7),
        ("interrupted", 7),
    ]
    assert all(run.num_bytes > 1000 for run in runs.values())
    assert runs["bbbb"].idle_seconds == pytest.approx(3 * DAY_SECONDS, abs=60)


@pytest.mark.parametrize(
    ("is_finished", "idle_days", "goes"),
    [(True, 0.5, False), (True, 1.1, True), (False, 29, False), (False, 31, True)],
)
def test_the_rule(is_finished: bool, idle_days: float, goes: bool) -> None:
    make_run("aaaa", is_finished=is_finished, idle_days=idle_days)
    assert list_kept_runs()[0].is_disposable is goes


def test_a_run_in_training_is_never_freed() -> None:
    folder = make_run("aaaa", is_finished=True, idle_days=99)
    with folder.hold():
        (run,) = list_kept_runs()
        assert run.status == "running" and not run.is_disposable
        assert free(run) == 0
    assert folder.find_newest() is not None


def test_a_freed_run_leaves_nothing_that_is_listed() -> None:
    make_run("aaaa", is_finished=False)
    (run,) = list_kept_runs()
    assert free(run) == run.num_bytes
    assert list_kept_runs() == [] and list_folders() == []


def test_a_training_frees_old_finished_runs_only() -> None:
    make_run("aaaa", is_finished=True, idle_days=2)
    make_run("bbbb", is_finished=False, idle_days=90)
    assert free_finished() > 1000
    assert [run.name for run in list_kept_runs()] == ["bbbb"]


def test_a_clock_that_was_set_back_makes_nothing_old() -> None:
    make_run("aaaa", is_finished=True, idle_days=-400)
    (run,) = list_kept_runs()
    assert run.idle_seconds == 0 and not run.is_disposable


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(5, "5 seconds"), (600, "10 minutes"), (3 * 3600, "3 hours"), (5 * 86400, "5 days")],
)
def test_ages_are_written_as_one_says_them(seconds: float, expected: str) -> None:
    assert describe_age(seconds) == expected


def test_without_any_training_there_is_nothing(tmp_path: Path) -> None:
    assert list_kept_runs() == []
