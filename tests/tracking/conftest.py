"""A checked tree and an environment for the tests of tracking."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcal.config import Config, load_config
from dcal.tracking import Environment, start_run
from dcal.tracking.store import connect
from dcal.tracking.tracker import SpooledTracker

RUN_KEY = "0123456789abcdef" * 2
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def config(repository: Path) -> Config:
    """Return the committed parameters."""
    return load_config(repository / "params.yaml", ["dataset.name=finches", "model.top_r=0.3"])


@pytest.fixture
def environment() -> Environment:
    """Return an environment that says what the tests expect."""
    return Environment(
        git_commit="0123abc",
        git_dirty=False,
        dvc_exp_name=None,
        versions={"torch": "2.14.1"},
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with its tables, made once: that takes longer than most tests."""
    root = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(root))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect()
    return root / "mlflow.db"


@pytest.fixture
def ready_database(new_database: Path, tmp_path: Path, own_work_root: None) -> None:
    """Give the test's work root a database."""
    (tmp_path / "work").mkdir()
    shutil.copy(new_database, tmp_path / "work" / "mlflow.db")


@pytest.fixture
def start(config: Config, environment: Environment) -> Iterator[Callable[..., SpooledTracker]]:
    """Return what starts a run, or goes on with it; the test's end stops all senders."""
    opened: list[SpooledTracker] = []

    def start_tracked(run_key: str = RUN_KEY, **changes: Any) -> SpooledTracker:
        given = {"environment": environment, "fingerprint": "f00d", "data_digest": "d" * 64}
        tracker = start_run(config, **(given | {"run_key": run_key, "started": STARTED} | changes))
        assert isinstance(tracker, SpooledTracker)
        opened.append(tracker)
        return tracker

    yield start_tracked
    for tracker in opened:
        tracker.close(patience=0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let senders look and try again at once."""
    monkeypatch.setattr("dcal.tracking.sender.SEND_SECONDS", 0.05)
    monkeypatch.setattr("dcal.tracking.sender.FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("dcal.tracking.sender.LONGEST_WAIT_SECONDS", 0.1)
