from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dcal.config import load_config
from pipelines.stage import run_stage


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
