from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcal.config import Config, parse_config
from dcal.paths import work_root
from dcal.tracking import (
    DatasetRecord,
    Environment,
    NullTracker,
    RunRecord,
    delivery,
    list_spools,
    name_run,
    read_last_words,
    remove_spool,
    resume_run,
    start_run,
)
from dcal.tracking.tracker import SpooledTracker
from pipelines import sync
from tests.tracking.conftest import RUN_KEY, STARTED

pytestmark = pytest.mark.usefixtures("ready_database", "impatient")
Start = Callable[..., SpooledTracker]


def read_run(run_id: str | None) -> Any:
    from dcal.tracking.store import connect

    return connect().get_run(str(run_id))


def make_record(
    environment: Environment, run_id: str | None, run_key: str | None = None
) -> RunRecord:
    return RunRecord(
        **environment.model_dump(),
        run_key=run_key,
        run_id=run_id,
        tracking_uri="sqlite:///mlflow.db",
        fingerprint="f00d",
        seed=0,
        dataset=DatasetRecord(name="finches", digest="d" * 64),
        model={"num_parameters": 7},
        warnings=[],
        started="2026-01-01T00:00:00+00:00",
        seconds=1.5,
    )


def resume(record: RunRecord) -> SpooledTracker:
    tracker = resume_run(record)
    assert isinstance(tracker, SpooledTracker)
    return tracker


def change(config: Config, **model: Any) -> Config:
    tree = config.model_dump(mode="json")
    tree["model"] |= model
    return parse_config(tree)


def test_a_run_carries_its_name_parameters_tags_and_data(start: Start) -> None:
    tracker = start()
    tracker.end()
    run = read_run(tracker.run_id)
    assert run.info.run_name == "r0.3 seed0 class_local dcal_pico"
    assert run.info.start_time == STARTED.timestamp() * 1000
    assert run.data.params["model.top_r"] == "0.3"
    assert run.data.params["model.image_size"] == "[64, 64]"
    assert run.data.tags["dcal.fingerprint"] == "f00d"
    assert run.data.tags["dcal.kind"] == "train"
    assert run.data.tags["dcal.run_key"] == RUN_KEY
    assert run.data.tags["git.commit"] == "0123abc"
    assert run.data.tags["git.dirty"] == "False"
    assert run.data.tags["dcal.torch"] == "2.14.1"
    assert run.data.tags["mlflow.source.name"] == "train"
    assert "dvc.exp_name" not in run.data.tags
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36


def test_a_run_lies_in_the_experiment_of_its_data_set(start: Start) -> None:
    from dcal.tracking.store import connect

    tracker = start()
    tracker.end()
    run = read_run(tracker.run_id)
    assert connect().get_experiment(run.info.experiment_id).name == "finches"


def test_a_trial_lies_below_its_study(start: Start) -> None:
    study = start(kind="study", run_key="a" * 32)
    study.end()
    trial = start(kind="trial", parent_key="a" * 32)
    trial.end()
    assert read_run(trial.run_id).data.tags["mlflow.parentRunId"] == study.run_id


def test_what_a_run_was_last_told_is_known_without_a_server(start: Start) -> None:
    assert read_last_words("a" * 32) is None
    tracker = start(run_key="a" * 32)
    tracker.set_tags({"dcal.trial_state": "pruned"})
    words = read_last_words("a" * 32)
    assert words is not None and words[0] == "RUNNING"
    tracker.end("KILLED")
    words = read_last_words("a" * 32)
    assert words is not None and words[0] == "KILLED"
    assert words[1]["dcal.trial_state"] == "pruned" and words[1]["dcal.kind"] == "train"


def test_a_run_that_goes_on_has_the_tags_of_now(start: Start, environment: Environment) -> None:
    start().end("FAILED")
    again = start(environment=environment.model_copy(update={"dvc_exp_name": "bold-finch"}))
    again.end()
    assert read_run(again.run_id).data.tags["dvc.exp_name"] == "bold-finch"


def test_a_later_stage_adds_to_the_same_run(start: Start, environment: Environment) -> None:
    first = start()
    first.log_metrics({"train/loss": 2.0}, step=1)
    first.end()
    second = resume(make_record(environment, first.run_id, RUN_KEY))
    second.log_scores({"test/both/top1_accuracy": 0.5})
    second.end()
    assert second.run_id == first.run_id
    run = read_run(first.run_id)
    assert run.data.metrics == {"train/loss": 2.0, "test/both/top1_accuracy": 0.5}
    assert run.info.status == "FINISHED"


def test_a_later_stage_sends_first_what_an_earlier_one_could_not(
    start: Start, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConnectionError("Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "connect", refuse)
        first = start()
        first.log_metrics({"train/loss": 2.0}, step=1)
        assert not first.close(patience=0.2)
        assert first.run_id is None
    second = resume(make_record(environment, None, RUN_KEY))
    second.log_scores({"test/both/top1_accuracy": 0.5})
    second.end()
    run = read_run(second.run_id)
    assert run.data.metrics == {"train/loss": 2.0, "test/both/top1_accuracy": 0.5}
    assert run.data.params["seed"] == "0"


def test_a_run_waits_for_its_own_server_and_goes_to_another_only_when_told_to(
    start: Start,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        first = start()
        first.log_metrics({"train/loss": 2.0}, step=1)
        first.close(patience=0.2)
    second = resume(make_record(environment, None, RUN_KEY))
    second.log_scores({"test/both/top1_accuracy": 0.5})
    second.end()
    assert second.run_id is None
    assert (
        f"mlflow-spool/{RUN_KEY} is of MLflow at http://127.0.0.1:9, and MLFLOW_TRACKING_URI leads "
        "to sqlite:///mlflow.db"
    ) in caplog.text
    (summary,) = list_spools(work_root())
    waiting = summary.num_waiting
    assert waiting > 3
    sync.move_here()
    assert sync.send(list_spools(work_root())[0]) == 0
    run = read_run(summary.spool.read_state().run_id)
    assert run.data.metrics == {"train/loss": 2.0, "test/both/top1_accuracy": 0.5}
    assert summary.spool.find_home() == "sqlite:///mlflow.db"


@pytest.mark.parametrize("knows", ["run_id", "run_key", "old record"])
def test_a_run_whose_spool_is_elsewhere_is_found_by_its_id_or_its_key(
    knows: str, start: Start, environment: Environment
) -> None:
    first = start()
    first.log_scores({"test/both/top1_accuracy": 0.9})
    first.end()
    run_id = first.run_id
    (summary,) = list_spools(work_root())
    remove_spool(summary.spool)
    record = {
        "run_id": make_record(environment, run_id, RUN_KEY),
        "run_key": make_record(environment, None, RUN_KEY),
        "old record": make_record(environment, run_id),
    }[knows]
    second = resume(record)
    second.log_scores({"test/both/top1_accuracy": 0.5})
    second.end()
    assert second.run_id == run_id
    assert read_run(run_id).data.metrics == {"test/both/top1_accuracy": 0.5}


def test_a_record_of_a_run_that_was_tracked_elsewhere_warns_and_what_is_said_waits(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = resume(make_record(environment, "0" * 32, RUN_KEY))
    tracker.log_scores({"test/both/top1_accuracy": 0.5})
    tracker.end()
    assert caplog.text.count("has no run 00000000000000000000000000000000") == 1
    assert [entry.num_waiting for entry in list_spools(work_root())] == [3]


def test_a_record_without_a_run_is_resumed_in_silence(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(resume_run(make_record(environment, None)), NullTracker)
    assert caplog.text == ""


def test_without_mlflow_a_run_goes_on_untracked_with_a_warning(
    config: Config,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tracker = start_run(
        config,
        environment=environment,
        fingerprint="f00d",
        data_digest="d",
        run_key=RUN_KEY,
        started=STARTED,
    )
    assert (tracker.run_key, tracker.run_id) == (None, None)
    assert "mlflow is not installed" in caplog.text


def test_a_work_root_that_cannot_be_written_leaves_a_run_untracked_with_a_warning(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "a file"))
    assert isinstance(resume_run(make_record(environment, None, RUN_KEY)), NullTracker)
    assert "cannot be written (Not a directory): the run is kept in results/ only" in caplog.text


def test_a_folder_as_tracking_address_is_refused_before_anything_is_written(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(ValueError, match="^MLFLOW_TRACKING_URI: expected a server"):
        start()
    assert list_spools(work_root()) == []


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, "r0.3 seed0 class_local dcal_pico"),
        ({"readout": "class"}, "seed0 class dcal_pico"),
        ({"glca_blocks": 0}, "no_glca seed0 dcal_pico"),
        ({"pwca_blocks": 0}, "r0.3 no_pwca seed0 class_local dcal_pico"),
        ({"pwca_blocks": 0, "glca_blocks": 0}, "sa_only seed0 dcal_pico"),
        (
            {"backbone": "deit_tiny_patch16_224.fb_in1k"},
            "r0.3 seed0 class_local deit_tiny",
        ),
    ],
)
def test_a_runs_name_says_what_differs(
    model: dict[str, Any], expected: str, config: Config
) -> None:
    assert name_run(change(config, **model)) == expected


def test_files_lie_in_the_work_root_whatever_the_current_directory(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "params.yaml").write_text("seed: 0\n")
    tracker = start()
    tracker.log_file("params.yaml", "config")
    tracker.end()
    assert [path.name for path in elsewhere.iterdir()] == ["params.yaml"]
    kept = list((tmp_path / "work" / "mlruns").rglob("config/params.yaml"))
    assert len(kept) == 1
