"""A run is found by any of its names, and a name that means none or several is answered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pipelines.runs import RECORD, Run, RunError, find_run, list_records
from tests.project import Project

FIRST, SECOND, THIRD = "aa11bb22cc33" + "0" * 20, "aa11bb99dd44" + "0" * 20, "ee55ff66" + "0" * 24


class History:
    """A repository whose commits hold run records."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder)
        self.project.run("git", "init", "-q", "-b", "main")

    def write(self, run_id: str | None, fingerprint: str, day: int) -> None:
        record = {
            "run_id": run_id,
            "fingerprint": fingerprint,
            "started": f"2026-01-{day:02d}T00:00:00+00:00",
        }
        path = self.project.folder / RECORD
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(record, indent=1).replace("\n", "\r\n").encode())

    def commit(self, message: str) -> str:
        self.project.run("git", "add", "-A")
        # Of the same second, commits would have no order.
        stamp = f"2026-01-01T00:00:{self.count():02d}Z"
        self.project.run(
            "env", f"GIT_COMMITTER_DATE={stamp}", "git", "commit", "-q", "--allow-empty", "-m",
            message,
        )  # fmt: skip
        return self.head()

    def count(self) -> int:
        return len(self.project.run("git", "rev-list", "--all").split())

    def head(self) -> str:
        return self.project.run("git", "rev-parse", "HEAD").strip()


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """Return three runs: on main, in an experiment of it, and on a branch."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    history = History(tmp_path / "project")
    history.commit("Start")
    history.write(FIRST, "1111aaaa2222", day=1)
    baseline = history.commit("First")
    history.write(SECOND, "3333bbbb4444", day=2)
    experiment = history.commit("Experiment")
    ref = f"refs/exps/{baseline[:2]}/{baseline[2:]}/bold-finch"
    history.project.run("git", "update-ref", ref, experiment)
    history.project.run("git", "update-ref", "refs/exps/exec/EXEC_HEAD", experiment)
    history.project.run("git", "reset", "-q", "--hard", baseline)
    history.project.run("git", "checkout", "-q", "-b", "other")
    history.write(THIRD, "5555cccc6666", day=3)
    history.commit("Third")
    history.project.run("git", "checkout", "-q", "main")
    return history


def rev(history: History, name: str) -> str:
    return history.project.run("git", "rev-parse", name).strip()


def test_every_name_of_a_run_finds_its_commit(history: History) -> None:
    experiment = next(run.commit for run in list_records() if run.run_id == SECOND)
    for name in ("bold-finch", SECOND, SECOND[:7], "3333bb", "3333BBBB4444", experiment[:9]):
        assert find_run(name).commit == experiment, name
    for name in ("other", THIRD[:6], "5555cccc6666", rev(history, "other"), "other~0"):
        assert find_run(name).commit == rev(history, "other"), name
    for name in ("main", "HEAD", FIRST[:8]):
        assert find_run(name).commit == rev(history, "main"), name


def test_a_name_that_means_several_runs_lists_them(history: History) -> None:
    with pytest.raises(RunError, match=r"RUN=aa11bb means 2 runs: .*aa11bb22cc33.*bold-finch"):
        find_run("aa11bb")
    history.project.run("git", "branch", "bold-finch", "other")
    with pytest.raises(RunError, match="RUN=bold-finch means 2 runs"):
        find_run("bold-finch")


def test_an_unknown_name_is_one_sentence_with_the_nearest_and_the_recent(history: History) -> None:
    with pytest.raises(RunError) as caught:
        find_run("bold-finsh")
    text = str(caught.value)
    assert "\n" not in text
    assert "the nearest: bold-finch" in text
    recent = text.partition("recent runs: ")[2]
    assert recent.index("ee55ff66") < recent.index("aa11bb99dd44") < recent.index("aa11bb22cc33")


@pytest.mark.parametrize("name", ["aa11b", "--all", "no/such", "HEAD~99", "é", " "])
def test_what_names_nothing_is_answered_and_not_run(name: str, history: History) -> None:
    with pytest.raises(RunError, match="recent runs"):
        find_run(name)


def test_of_commits_with_the_same_training_the_newest_counts(history: History) -> None:
    # As after an experiment was applied, and its results were committed.
    history.write(SECOND, "3333bbbb4444", day=2)
    newest = history.commit("Applied")
    assert find_run(SECOND[:8]).commit == newest
    assert find_run("bold-finch").commit != newest


def test_results_that_are_not_committed_are_the_workspaces(history: History) -> None:
    history.write("9" * 32, "7777dddd8888", day=4)
    assert find_run("999999") == Run(None, "9" * 32, "7777dddd8888", "2026-01-04T00:00:00+00:00")
    assert find_run(FIRST[:8]).commit == rev(history, "main")


def test_a_record_of_another_shape_or_none_hides_no_other(history: History) -> None:
    path = history.project.folder / RECORD
    path.write_text("[1, 2")
    history.commit("Broken")
    for text in ("{}", "[1, 2]"):
        path.write_text(text)
        history.commit("Of another shape")
    path.unlink()
    history.commit("Gone")
    assert find_run(FIRST[:8]).commit is not None
    assert len([run for run in list_records() if run.ids]) == 3


def test_in_a_subfolder_of_a_repository_its_own_record_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path)
    inner = tmp_path / "inner" / RECORD
    inner.parent.mkdir(parents=True)
    inner.write_text(json.dumps({"run_id": FIRST, "fingerprint": "f" * 12, "started": ""}))
    commit = history.commit("Inner")
    monkeypatch.chdir(tmp_path / "inner")
    assert find_run(FIRST[:6]).commit == commit


def test_without_git_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RunError, match="not under git, .* leave RUN out"):
        find_run("abcdef")

    def missing(*arguments: object, **options: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(RunError, match="git is missing; install it"):
        find_run("abcdef")
