from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcal.tracking import Tracker
from dcal.tracking.store import connect
from dcal.tracking.tracker import NullTracker, SpooledTracker, flatten_params
from tests.tracking.conftest import STARTED

pytestmark = pytest.mark.usefixtures("ready_database", "impatient")
Start = Callable[..., SpooledTracker]
START_MILLISECONDS = int(STARTED.timestamp() * 1000)


def read_history(run_id: str | None, key: str) -> list[tuple[int, int, float]]:
    assert run_id is not None
    points = connect().get_metric_history(run_id, key)
    return [(point.step, point.timestamp - START_MILLISECONDS, point.value) for point in points]


def test_a_point_lies_at_a_time_that_its_step_gives_and_is_written_once(start: Start) -> None:
    tracker = start()
    for step in (1, 2, 2, 3):
        tracker.log_metrics({"train/loss": 1.0 / step}, step=step)
    tracker.end("KILLED")
    again = start()
    again.log_metrics({"train/loss": 9.0}, step=2)
    again.log_metrics({"train/loss": 0.25}, step=4)
    again.end()
    assert again.run_id == tracker.run_id
    assert read_history(again.run_id, "train/loss") == [
        (1, 1000, 1.0),
        (2, 2000, 0.5),
        (3, 3000, 1 / 3),
        (4, 4000, 0.25),
    ]


def test_the_newest_score_counts_even_if_it_is_smaller_and_the_clock_went_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start()
    tracker.log_scores({"test/both/top1_accuracy": 0.9})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86400 * 365)
    tracker.log_scores({"test/both/top1_accuracy": 0.4})
    tracker.end()
    assert connect().get_run(str(tracker.run_id)).data.metrics == {"test/both/top1_accuracy": 0.4}


def test_a_clock_that_jumps_back_moves_no_point_and_no_end_before_the_start(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    monkeypatch.setattr(time, "time", lambda: STARTED.timestamp() - 1e6)
    tracker.log_metrics({"train/loss": 0.5}, step=2)
    tracker.end()
    assert read_history(tracker.run_id, "train/loss") == [(1, 1000, 1.0), (2, 2000, 0.5)]
    info = connect().get_run(str(tracker.run_id)).info
    assert info.end_time == info.start_time == START_MILLISECONDS


def test_parameters_are_written_once_and_drift_becomes_a_tag(start: Start) -> None:
    start().end()
    again = start()
    again.log_params({"model": {"top_r": 0.9}, "seed": 0, "extra": None})
    again.end()
    run = connect().get_run(str(again.run_id))
    assert run.data.params["model.top_r"] == "0.3"
    assert run.data.params["extra"] == "None"
    assert run.data.tags["dcal.param_drift"] == "model.top_r"


def test_figures_and_files_arrive_under_their_names_as_they_were(
    start: Start, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    tracker = start()
    (tmp_path / "notes.txt").write_text("seen")
    tracker.log_file(tmp_path / "notes.txt", "config")
    (tmp_path / "notes.txt").write_text("changed before it was sent")
    tracker.log_figure(Figure(figsize=(1, 1)), "confusion of both")
    tracker.end()
    client, run_id = connect(), str(tracker.run_id)
    names = [
        entry.path
        for folder in ("config", "figures")
        for entry in client.list_artifacts(run_id, folder)
    ]
    assert names == ["config/notes.txt", "figures/confusion_of_both.png"]
    (kept,) = (tmp_path / "work" / "mlruns").rglob("notes.txt")
    assert kept.read_text() == "seen"
    # Copies that were sent are not kept twice.
    assert list((tmp_path / "work" / "mlflow-spool").rglob("*.txt")) == []


def test_a_file_that_is_not_there_is_the_callers_mistake(start: Start, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing.csv: expected a file to keep"):
        start().log_file(tmp_path / "missing.csv", "config")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_the_end_of_a_run_keeps_its_status_until_it_goes_on(status: str, start: Start) -> None:
    tracker = start()
    tracker.end(status)  # type: ignore[arg-type]
    assert connect().get_run(str(tracker.run_id)).info.status == status
    start().close()
    assert connect().get_run(str(tracker.run_id)).info.status == "RUNNING"


def test_a_disk_that_is_full_costs_entries_and_one_warning_but_not_the_run(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("seen")
    tracker = start()
    with monkeypatch.context() as patch:
        patch.setattr("dcal.tracking.journal.os.write", lambda file, line: 0)
        for step in (1, 2):
            tracker.log_metrics({"train/loss": 1.0}, step=step)
        tracker.log_file(tmp_path / "notes.txt", "config")
    tracker.log_metrics({"train/loss": 0.5}, step=3)
    tracker.end()
    assert read_history(tracker.run_id, "train/loss") == [(3, 3000, 0.5)]
    assert caplog.text.count("cannot be written (the disk is full): the run goes on") == 1
    assert "3 entries of the run could not be kept for MLflow" in caplog.text
    assert list((tmp_path / "work" / "mlflow-spool").rglob("notes.txt")) == []


def test_what_is_said_after_the_end_is_lost_with_a_warning(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start()
    tracker.end()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    assert "cannot be written (the run has ended)" in caplog.text


def test_nested_parameters_become_dotted_keys() -> None:
    flat = flatten_params({"a": {"b": {"c": [1, 2]}, "d": {}}, "e": None})
    assert flat == {"a.b.c": "[1, 2]", "a.d": "{}", "e": "None"}


def test_the_null_tracker_takes_all_that_the_real_one_takes() -> None:
    public = {name for name in vars(Tracker) if not name.startswith("_")}
    assert public <= {name for name in dir(NullTracker)}
    taken: dict[str, Any] = vars(SpooledTracker)
    assert public - {"run_key"} <= set(taken)
