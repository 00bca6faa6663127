from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dcal.config import Config, parse_config
from dcal.tracking import (
    DatasetRecord,
    Environment,
    NullTracker,
    RunRecord,
    Tracker,
    name_run,
    resume_run,
    start_run,
)

pytestmark = pytest.mark.usefixtures("ready_database")


def start(config: Config, environment: Environment) -> Tracker:
    return start_run(config, environment=environment, fingerprint="f00d", data_digest="d" * 64)


def read_run(tracker: Tracker) -> Any:
    from dcal.tracking.store import connect

    return connect().get_run(tracker.run_id)


def make_record(environment: Environment, run_id: str | None) -> RunRecord:
    return RunRecord(
        **environment.model_dump(),
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


def change(config: Config, **model: Any) -> Config:
    tree = config.model_dump(mode="json")
    tree["model"] |= model
    return parse_config(tree)


def test_a_run_carries_its_name_parameters_tags_and_data(
    config: Config, environment: Environment
) -> None:
    run = read_run(start(config, environment))
    assert run.info.run_name == "finches dcal_pico class_local r0.3 seed0"
    assert run.data.params["model.top_r"] == "0.3"
    assert run.data.params["model.image_size"] == "[64, 64]"
    assert run.data.tags["dcal.fingerprint"] == "f00d"
    assert run.data.tags["dcal.kind"] == "train"
    assert run.data.tags["git.commit"] == "0123abc"
    assert run.data.tags["git.dirty"] == "False"
    assert run.data.tags["dcal.torch"] == "2.14.1"
    assert "dvc.exp_name" not in run.data.tags
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36


def test_a_run_lies_in_the_experiment_of_its_data_set(
    config: Config, environment: Environment
) -> None:
    from dcal.tracking.store import connect

    run = read_run(start(config, environment))
    assert connect().get_experiment(run.info.experiment_id).name == "finches"


def test_a_later_stage_adds_to_the_same_run(config: Config, environment: Environment) -> None:
    first = start(config, environment)
    first.log_metrics({"train/loss": 2.0}, step=1)
    first.end()
    second = resume_run(make_record(environment, first.run_id))
    second.log_metrics({"test/both/top1_accuracy": 0.5}, step=1)
    assert second.run_id == first.run_id
    metrics = read_run(first).data.metrics
    assert metrics == {"train/loss": 2.0, "test/both/top1_accuracy": 0.5}


def test_a_record_of_a_run_that_was_tracked_elsewhere_warns_and_keeps_nothing(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = resume_run(make_record(environment, "0" * 32))
    assert isinstance(tracker, NullTracker)
    assert "has no run" in caplog.text


def test_a_record_without_a_run_is_resumed_in_silence(environment: Environment) -> None:
    assert isinstance(resume_run(make_record(environment, None)), NullTracker)


def test_without_mlflow_a_run_goes_on_untracked_with_a_warning(
    config: Config,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert start(config, environment).run_id is None
    assert "mlflow is not installed" in caplog.text


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, "finches dcal_pico class_local r0.3 seed0"),
        ({"readout": "class"}, "finches dcal_pico class seed0"),
        ({"glca_blocks": 0}, "finches dcal_pico no_glca seed0"),
        ({"pwca_blocks": 0}, "finches dcal_pico class_local r0.3 no_pwca seed0"),
        ({"pwca_blocks": 0, "glca_blocks": 0}, "finches dcal_pico sa_only seed0"),
        (
            {"backbone": "deit_tiny_patch16_224.fb_in1k"},
            "finches deit_tiny class_local r0.3 seed0",
        ),
    ],
)
def test_a_runs_name_says_what_differs(
    model: dict[str, Any], expected: str, config: Config
) -> None:
    assert name_run(change(config, **model)) == expected


def test_files_lie_in_the_work_root_whatever_the_current_directory(
    config: Config, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "params.yaml").write_text("seed: 0\n")
    tracker = start(config, environment)
    tracker.log_file("params.yaml", "config")
    assert [path.name for path in elsewhere.iterdir()] == ["params.yaml"]
    kept = list((tmp_path / "work" / "mlruns").rglob("config/params.yaml"))
    assert len(kept) == 1
