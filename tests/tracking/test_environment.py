from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dcal.tracking.environment import describe_environment, is_git_dirty


@pytest.fixture
def clean_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text("a = 1\n")
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for command in (["init", "-q"], ["add", "code.py"], [*author, "commit", "-qm", "Start"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_what_a_run_writes_does_not_make_its_code_dirty(clean_repository: Path) -> None:
    (clean_repository / "results" / "train").mkdir(parents=True)
    (clean_repository / "results" / "train" / "metrics.json").write_text("{}")
    (clean_repository / "dvc.lock").write_text("schema: '2.0'\n")
    assert is_git_dirty() is False


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_a_changed_or_new_file_makes_the_code_dirty(name: str, clean_repository: Path) -> None:
    (clean_repository / name).write_text("a = 2\n")
    assert is_git_dirty() is True


def test_outside_git_commit_and_dirtiness_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    environment = describe_environment(device="cpu")
    assert environment.git_commit is None
    assert environment.git_dirty is None


def test_the_environment_names_versions_threads_and_the_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "bold-finch")
    environment = describe_environment(device="cpu")
    assert environment.versions["torch"].startswith("2.")
    assert environment.threads >= 1
    assert environment.dvc_exp_name == "bold-finch"
    assert len(environment.git_commit or "") == 40
