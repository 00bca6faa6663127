from __future__ import annotations

from pathlib import Path

import pytest

from dcal.config import Config
from dcal.tracking import Environment, Tracker, start_run
from dcal.tracking.store import connect
from dcal.tracking.tracker import MlflowTracker, NullTracker, flatten_params

pytestmark = pytest.mark.usefixtures("ready_database")


@pytest.fixture
def tracker(config: Config, environment: Environment) -> Tracker:
    return start_run(config, environment=environment, fingerprint="f00d", data_digest="d")


def test_a_point_written_twice_is_one_point(tracker: Tracker) -> None:
    assert tracker.run_id is not None
    for step in (1, 2, 2, 3):
        tracker.log_metrics({"train/loss": 1.0 / step}, step=step)
    MlflowTracker(connect(), tracker.run_id).log_metrics({"train/loss": 0.5}, step=2)
    history = connect().get_metric_history(tracker.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history[1].timestamp - history[0].timestamp == 1000


def test_parameters_are_written_once_and_drift_becomes_a_tag(tracker: Tracker) -> None:
    assert tracker.run_id is not None
    again = MlflowTracker(connect(), tracker.run_id)
    again.log_params({"model": {"top_r": 0.9}, "seed": 0, "extra": None})
    run = connect().get_run(tracker.run_id)
    assert run.data.params["model.top_r"] == "0.3"
    assert run.data.params["extra"] == "None"
    assert run.data.tags["dcal.param_drift"] == "model.top_r"


def test_figures_and_files_arrive_under_their_names(tracker: Tracker, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    assert tracker.run_id is not None
    (tmp_path / "notes.txt").write_text("seen")
    tracker.log_file(tmp_path / "notes.txt", "config")
    tracker.log_figure(Figure(figsize=(1, 1)), "confusion of both")
    client = connect()
    names = [
        entry.path
        for folder in ("config", "figures")
        for entry in client.list_artifacts(tracker.run_id, folder)
    ]
    assert names == ["config/notes.txt", "figures/confusion_of_both.png"]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_the_end_of_a_run_keeps_its_status(status: str, tracker: Tracker) -> None:
    tracker.end(status)  # type: ignore[arg-type]
    assert connect().get_run(tracker.run_id).info.status == status


def test_nested_parameters_become_dotted_keys() -> None:
    flat = flatten_params({"a": {"b": {"c": [1, 2]}, "d": {}}, "e": None})
    assert flat == {"a.b.c": "[1, 2]", "a.d": "{}", "e": "None"}


def test_the_null_tracker_takes_all_that_the_real_one_takes() -> None:
    public = {name for name in vars(Tracker) if not name.startswith("_")}
    assert public <= {name for name in dir(NullTracker)}
    assert public - {"run_id"} <= {name for name in vars(MlflowTracker)}
