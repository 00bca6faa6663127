from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dcal.tracking import DatasetRecord, Environment, RunRecord, read_run_record, write_run_record


@pytest.fixture
def record(environment: Environment) -> RunRecord:
    return RunRecord(
        **environment.model_dump(),
        run_id="a" * 32,
        tracking_uri="sqlite:///mlflow.db",
        fingerprint="f00d",
        seed=0,
        dataset=DatasetRecord(name="finches", digest="d"),
        model={"num_parameters": 7},
        warnings=["one"],
        started="2026-01-01T00:00:00+00:00",
        seconds=1.5,
    )


def test_a_record_comes_back_as_it_was_written(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "train" / "run.json"
    write_run_record(path, record)
    assert read_run_record(path) == record
    assert json.loads(path.read_text())["dataset"] == {"name": "finches", "digest": "d"}


def test_a_missing_record_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such run record; run: dvc repro train"):
        read_run_record(tmp_path / "run.json")


def test_a_broken_record_names_the_key(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    tree = record.model_dump(mode="json")
    tree["threads"] = "many"
    path.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=r"expected a run record; threads: .*integer"):
        read_run_record(path)


def test_reading_a_record_needs_no_mlflow(repository: Path) -> None:
    code = "import sys, dcal.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0
