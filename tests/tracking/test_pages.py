from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcal.config import Config, parse_config
from dcal.paths import work_root
from dcal.tracking import Environment, describe_result
from dcal.tracking.pages import NOTE_TAG, VIEW_METRICS, VIEW_PARAMS, VIEW_TAG, describe_experiment
from dcal.tracking.store import connect, find_experiment
from dcal.tracking.tracker import flatten_params
from tests.tracking.test_runs import Start, make_record

SCORES = {f"test/{branch}/top1_accuracy": 0.5 for branch in ("sa", "glca")}


def change(config: Config, **sections: dict[str, Any]) -> Config:
    tree = config.model_dump(mode="json")
    for name, values in sections.items():
        tree[name] |= values
    return parse_config(tree)


def test_a_description_tells_score_method_warnings_and_the_way_back(
    config: Config, environment: Environment
) -> None:
    record = make_record(environment, None).model_copy(
        update={"warnings": ["no GPU", "no\nGPU"], "git_commit": "0123456789abcdef"}
    )
    said = describe_result(config, {**SCORES, "test/both/top1_accuracy": 0.6664}, record)
    score, method, warnings, way_back = said.split("\n\n")
    assert score == "top-1 accuracy 0.666 on test by both (sa 0.500, glca 0.500)."
    assert method == (
        "finches: dcal_pico with SA + GLCA (class_local, top_r 0.3) + PWCA, "
        f"{config.train.epochs} epochs, seed 0."
    )
    assert warnings == "Warnings: no GPU."
    assert way_back == (
        "To have it again: `git checkout 0123456789ab`, copy the artifact config/params.yaml to "
        "params.yaml, then `dvc repro`."
    )


def test_a_description_says_what_is_not_there(config: Config, environment: Environment) -> None:
    plain = change(config, model={"glca_blocks": 0, "pwca_blocks": 0})
    record = make_record(environment, None).model_copy(update={"git_commit": None})
    score, method, warnings, way_back = describe_result(
        plain, {"test/sa/mean_ap": 0.25, "test/sa/cmc_1": 1.0}, record
    ).split("\n\n")
    assert score == "mean AP 0.250 on test by sa."
    assert "dcal_pico with SA, " in method and warnings == "Warnings: none."
    assert way_back.startswith("To have it again: copy the artifact")
    assert describe_result(change(config, model={"readout": "class"}), {}).startswith(
        "No score on test.\n\nfinches: dcal_pico with SA + GLCA (class) + PWCA, "
    )


def test_a_commit_that_had_changes_is_said_to(config: Config, environment: Environment) -> None:
    record = make_record(environment, None).model_copy(update={"git_dirty": True})
    assert "0123abc` (it had changes that were not committed), copy" in describe_result(
        config, SCORES, record
    )


def test_the_columns_of_the_view_are_parameters_and_scores_that_exist(config: Config) -> None:
    view = json.loads(describe_experiment("finches")[VIEW_TAG])
    columns = json.loads(view["state"])["selectedColumns"]
    assert len(columns) == len(VIEW_METRICS) + len(VIEW_PARAMS)
    assert set(VIEW_PARAMS) <= set(flatten_params(config.model_dump(mode="json")))


@pytest.mark.usefixtures("ready_database")
def test_an_experiment_of_before_gets_what_it_lacks_and_keeps_what_the_user_wrote() -> None:
    client = connect()
    made = client.create_experiment("finches", tags={NOTE_TAG: "mine"})
    assert find_experiment(client, "finches") == made
    tags = client.get_experiment(made).tags
    assert tags[NOTE_TAG] == "mine"
    assert tags[VIEW_TAG] == describe_experiment("finches")[VIEW_TAG]


@pytest.mark.usefixtures("ready_database", "impatient")
def test_a_file_is_kept_beside_the_folders_of_a_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "overlays.png").write_bytes(b"drawn")
    tracker = start()
    tracker.log_file(tmp_path / "overlays.png", "")
    tracker.end()
    client = connect()
    run_id = str(tracker.run_id)
    assert "overlays.png" in [entry.path for entry in client.list_artifacts(run_id)]
    assert not list(work_root().glob("mlflow-spool/*/files/*/*"))
