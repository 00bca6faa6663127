"""Runs that MLflow has, by their fingerprints."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.tracking import find_runs, lookup
from dcal.tracking.store import connect


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize("page_size", [1000, 2])
def test_the_newest_run_of_each_fingerprint_is_found(
    page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PAGE_SIZE", page_size)
    client = connect()
    experiment = client.create_experiment("birds")
    ids = [
        client.create_run(
            experiment, start_time=time, tags={"dcal.fingerprint": fingerprint}
        ).info.run_id
        for time, fingerprint in ((2, "a"), (1, "a"), (3, "b"), (4, "d"))
    ]
    assert find_runs("birds", ["a", "c", "d"]) == {"a": ids[0], "d": ids[3]}
    assert find_runs("wrens", ["a"]) == {}


def test_no_database_is_no_runs_and_none_is_made(place: Path) -> None:
    assert find_runs("birds", ["a"]) == {}
    assert list(place.iterdir()) == []


def test_what_cannot_be_asked_has_no_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "mlflow.db").write_text("no database")
    assert find_runs("birds", ["a"]) == {}
    assert "MLflow was not asked" in caplog.text
