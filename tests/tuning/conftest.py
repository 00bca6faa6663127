"""A database for studies, made once: that takes longer than most tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dcal.tuning.storage import initialise_database


@pytest.fixture(autouse=True)
def default_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep studies of a test out of the user's database."""
    monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)


@pytest.fixture(scope="session")
def empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database without a study."""
    root = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(root))
        monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)
        initialise_database()
    return root / "optuna.db"


@pytest.fixture
def ready_studies(empty_studies: Path, tmp_path: Path, own_work_root: None) -> None:
    """Give the test's work root a database."""
    (tmp_path / "work").mkdir()
    shutil.copy(empty_studies, tmp_path / "work" / "optuna.db")
