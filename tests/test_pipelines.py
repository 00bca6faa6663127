"""The pipeline as a user runs it: DVC, in a temporary clone, on drawn birds at smoke size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.project import STAGES, Project, clone, find_stages

pytestmark = pytest.mark.slow


def test_a_fresh_clone_makes_every_file_and_shows_git_only_what_is_to_be_committed(
    finished: Project,
) -> None:
    for made in (
        "data/raw/birds_smoke",
        "data/index/birds_smoke/index.parquet",
        "runs/train/model.safetensors",
        "runs/evaluate/predictions.parquet",
        "runs/rollout",
        "reports/01_tour_of_the_data.html",
        "reports/02_rollout.html",
        "reports/report.html",
        "mlflow.db",
    ):
        assert (finished.folder / made).exists()
    changed = finished.changed_files()
    assert {"dvc.lock", "params.yaml", "results/train/run.json"} <= set(changed)
    assert [name for name in changed if not name.startswith("results/")] == [
        "dvc.lock",
        "params.yaml",
    ]


def test_no_committed_result_names_a_folder_of_this_machine(
    finished: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    around = str(tmp_path_factory.getbasetemp().parent)  # of the worker that ran it, too
    for path in [*(finished.folder / "results").rglob("*"), finished.folder / "dvc.lock"]:
        if path.is_file():
            assert around not in path.read_text()


def test_a_second_repro_runs_nothing(finished: Project) -> None:
    said = finished.run("dvc", "repro")
    assert find_stages(said) == []
    assert "Data and pipelines are up to date." in said


def test_one_mlflow_run_carries_training_scores_and_pictures(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = find_runs(finished, monkeypatch)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == finished.read_json("results/train/run.json")["run_id"]
    assert {"train/loss", "test/both/top1_accuracy"} <= set(run.data.metrics)
    assert run.data.params["model.top_r"] == "0.3"


def find_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    from dcal.tracking.store import connect

    monkeypatch.setenv("DCAL_WORK_ROOT", str(project.folder))
    client = connect()
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    return list(client.search_runs(experiments))


def test_a_temporary_experiment_trains_anew_and_is_tracked_in_the_projects_database(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished.copy(tmp_path / "project")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Results")
    said = project.run("dvc", "exp", "run", "--temp", "-n", "bold-finch", "-S", "model.top_r=0.8")
    assert find_stages(said) == ["train", "evaluate", "rollout", "report"]
    assert project.changed_files() == []
    runs = {run.data.params["model.top_r"]: run for run in find_runs(project, monkeypatch)}
    assert set(runs) == {"0.3", "0.8"}
    assert runs["0.8"].data.tags["dvc.exp_name"] == "bold-finch"
    # DVC deletes the temporary folder.
    assert ".dvc/tmp" not in runs["0.8"].info.artifact_uri
    project.run("dvc", "exp", "apply", "bold-finch")
    assert "top_r: 0.8" in (project.folder / "params.yaml").read_text()
    for name in ("results/evaluate/metrics.json", "results/train/metrics.json"):
        assert project.read_json(name) != finished.read_json(name)
    losses = [
        pd.read_csv(entry.folder / "results/train/history.csv")["train/loss"].dropna().iloc[-1]
        for entry in (finished, project)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("dcal/visual/report/page.py", {"report"}),
        # Another data set's module, and one that prepares whose index may stay the same.
        ("dcal/data/sources/cub.py", set()),
        ("dcal/data/indexing.py", {"prepare"}),
        ("dcal/losses/objective.py", {"train"}),
        ("notebooks/01_tour_of_the_data.py", {"report"}),
        ("notebooks/02_rollout.py", {"report"}),
        ("pipelines/share.py", set()),
        ("dcal/tracking/runs.py", set()),
    ],
)
def test_an_edit_makes_only_the_stages_stale_that_use_it(
    place: str, expected: set[str], finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    path = project.folder / place
    path.write_text(path.read_text() + "\n# A remark.\n")
    assert set(json.loads(project.run("dvc", "status", "--json", "dvc.yaml"))) == expected


@pytest.mark.parametrize(
    "change",
    ["train.workers=1", "train.log_every=7", "dataset.remote=private"],
)
def test_what_cannot_change_a_model_does_not_train_anew(
    change: str, finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    project.compose("preset=smoke", change)
    # What prepare makes of it is looked at too: train depends on the table alone.
    project.repro("prepare")
    stale = set(json.loads(project.run("dvc", "status", "--json", "dvc.yaml")))
    assert "report" in stale and not stale & {"prepare", "train", "evaluate"}


def test_after_a_broken_stage_git_sees_no_data(tmp_path: Path) -> None:
    project = clone(tmp_path / "project")
    project.compose("preset=smoke")
    (project.folder / "pipelines" / "train.py").write_text("raise SystemExit('broken')\n")
    assert project.repro(succeeds=False) == ["fetch", "prepare", "train"]
    assert (project.folder / "data" / "raw" / "birds_smoke").is_dir()
    changed = project.changed_files()
    assert "pipelines/train.py" in changed
    assert [name for name in changed if name.startswith(("data", "runs", "reports"))] == []


def write_noise(pictures: Path) -> Path:
    from PIL import Image

    for place in ("train/a", "train/b", "test/a", "test/b"):
        (pictures / place).mkdir(parents=True)
        for number in range(4):
            Image.effect_noise((16, 16), 40 + number).convert("RGB").save(
                pictures / place / f"{number}.png"
            )
    return pictures


def test_no_result_names_the_folder_of_the_users_pictures(tmp_path: Path) -> None:
    pictures = write_noise(tmp_path / "pictures")
    project = clone(tmp_path / "project")
    project.compose(
        "preset=photos_64",
        "dataset.name=mine",
        f"dataset.source={pictures}",
        "train.epochs=1",
        "train.warmup_epochs=0",
        "train.batch_size=4",
    )
    assert project.repro() == STAGES
    made = [path for path in (project.folder / "results").rglob("*") if path.is_file()]
    assert len(made) > 7
    for path in [*made, project.folder / "reports/report.html", project.folder / "dvc.lock"]:
        text = path.read_text(encoding="utf-8")
        assert str(project.folder) not in text
        # dvc.lock repeats what the user wrote in params.yaml, and so does the report's list of it.
        if path in made:
            assert str(pictures) not in text


def test_a_given_model_is_scored_in_a_fresh_clone_without_training(
    finished: Project, tmp_path: Path
) -> None:
    project = clone(tmp_path / "project")
    model = finished.folder / "runs/train/model.safetensors"
    project.compose("preset=smoke", f"evaluate.weights={model}")
    for stage in ("fetch", "prepare", "evaluate", "rollout", "report"):
        project.run("python", "-m", f"pipelines.{stage}")
    for place in ("runs/train", "results/train"):
        assert not (project.folder / place).exists()
    name = "results/evaluate/metrics.json"
    assert project.read_json(name) == finished.read_json(name)


def test_a_picture_added_to_a_folder_used_in_place_is_noticed_by_make(tmp_path: Path) -> None:
    from PIL import Image

    pictures = write_noise(tmp_path / "pictures")
    project = clone(tmp_path / "project")
    project.compose("dataset=folder", f"dataset.source={pictures}", "dataset.name=mine")
    assert project.repro("prepare") == ["fetch", "prepare"]
    assert find_stages(project.run("python", "-m", "pipelines.watch")) == []
    assert project.repro("prepare") == []
    Image.effect_noise((16, 16), 90).convert("RGB").save(pictures / "test" / "a" / "new.png")
    assert find_stages(project.run("python", "-m", "pipelines.watch")) == ["fetch"]
    assert project.repro("prepare") == ["prepare"]
    assert project.read_json("data/index/mine/report.json")["counts"]["test"] == 9


def test_an_unknown_key_is_refused_by_an_experiment_before_anything_runs(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    said = project.run("dvc", "exp", "run", "-S", "model.topr=0.2", succeeds=False)
    assert "model.topr" in said
    assert find_stages(said) == []
