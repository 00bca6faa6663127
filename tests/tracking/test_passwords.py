"""No password is written or said, whatever fails; of servers that answer, test_group_server.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcal.cli.app import app as dcal
from dcal.tracking.lookup import find_runs
from dcal.tracking.models import read_run_model
from pipelines import dashboard, init, sync, train
from pipelines.tune import __main__ as tune
from tests.pipelines.scored import make_project
from tests.pipelines.tuned import write_plan
from tests.postgres import find_free_port
from tests.project import ROOT

SECRET = "hush-5Q7"
TRAIN = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": 2, "log_every": 1}
MODEL = "runs/train/model.safetensors"


@pytest.fixture
def dead_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at a server and a database that nothing listens for, with passwords."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://bob:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("DCAL_OPTUNA_URL", f"postgresql+psycopg://bob:{SECRET}@127.0.0.1:9/x")
    monkeypatch.setattr("dcal.tracking.sender.PATIENCE_SECONDS", 0.5)


def end(call: Callable[[], object]) -> str:
    """Return the sentence that a command ends with."""
    with pytest.raises((SystemExit, RuntimeError, ValueError)) as stopped:
        call()
    return str(stopped.value)


@pytest.mark.slow
def test_no_file_and_no_word_of_a_run_has_the_password(
    dead_servers: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    make_project(tmp_path, monkeypatch, train=TRAIN, dataset={"val_ratio": 0.0})
    train.main()
    assert "MLflow at http://***@127.0.0.1:9 takes nothing" in caplog.text
    assert find_runs("birds", ["f" * 12]) == {}
    registered = CliRunner().invoke(dcal, ["register", MODEL, "--name", "birds"])
    assert registered.exit_code == 1
    said = [
        registered.output,
        end(sync.main),
        end(lambda: read_run_model("0" * 32)),
        end(lambda: init.main(port=None)),
        caplog.text,
        *capfd.readouterr(),
    ]
    assert registered.output == (
        "error: model birds: http://***@127.0.0.1:9 does not take it (connection refused)\n"
    )
    assert not any(SECRET in text for text in said)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "history.csv", "journal.jsonl"} <= {path.name for path in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
def test_no_file_and_no_word_of_a_study_has_the_password(
    dead_servers: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    make_project(tmp_path, monkeypatch, train=TRAIN)
    shutil.copytree(ROOT / "pipelines/tune", "pipelines/tune")  # names what the study reads
    plan = write_plan(budget={"num_trials": 1, "minutes": None})
    said = [end(lambda: tune.main(plan)), end(lambda: dashboard.main(port=find_free_port()))]
    assert all("postgresql+psycopg://***@127.0.0.1:9/x" in text for text in said)
    monkeypatch.delenv("DCAL_OPTUNA_URL")
    monkeypatch.setattr(tune, "conclude", lambda *arguments: None)  # trains, and says nothing else
    tune.main(plan)
    said += [caplog.text, *capfd.readouterr()]
    assert not any(SECRET in text for text in said)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"optuna.db", "journal.jsonl"} <= {path.name for path in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
