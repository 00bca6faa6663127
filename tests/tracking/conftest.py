"""A checked tree and an environment for the tests of tracking."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dcal.config import Config, load_config
from dcal.tracking import Environment
from dcal.tracking.store import connect


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
