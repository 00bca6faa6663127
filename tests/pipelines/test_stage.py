from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dcal.config import load_config
from dcal.write_errors import explain
from pipelines.stage import describe_mistake, run_stage


def test_a_mistake_of_the_users_is_one_sentence(tmp_path: Path) -> None:
    def main() -> None:
        load_config(tmp_path / "params.yaml")

    with pytest.raises(SystemExit, match=r"^error: .*params.yaml: no such file"):
        run_stage(main)


def test_an_error_inside_a_library_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        run_stage(lambda: json.loads("no json"))


def test_the_traceback_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCAL_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no such file"):
        run_stage(lambda: load_config(tmp_path / "params.yaml"))


@pytest.mark.parametrize("stage", ["fetch", "prepare"])
def test_a_stage_without_params_says_so_and_nothing_else(stage: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"pipelines.{stage}"]
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(repository), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: no such file") and "Trace" not in done.stderr


def test_a_full_disk_in_a_library_is_one_sentence_and_says_how_results_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> None:  # as deep in a library as any
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"))

    with pytest.raises(SystemExit, match=f"^error: a could not be written in {tmp_path}: the disk"):
        run_stage(main)
    error = explain(errno.ENOSPC, tmp_path / ".part-model")
    assert str(error).startswith("model could not be written")
    assert "git checkout" not in (describe_mistake(error) or "")
    monkeypatch.setenv("DVC_STAGE", "train")
    assert (describe_mistake(error) or "").endswith("git checkout and dvc checkout bring them back")
