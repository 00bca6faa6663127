"""`dvc repro pipelines/tune/dvc.yaml` as a user runs it: killed, gone on with, handed on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.postgres import find_free_port
from tests.project import STAGES, Project, find_stages
from tests.test_documents import borrow_environment

pytestmark = pytest.mark.slow
TUNE = ("dvc", "repro", "pipelines/tune/dvc.yaml")
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
PLAN = {
    "budget": {"num_trials": 4, "minutes": None},
    "pruner": {"kind": "none"},
    "final": {"num_configs": 1, "num_seeds": 1},
}


def shorten_plan(project: Project, epochs: int = 2) -> None:
    """Make the default plan a matter of seconds, and commit it."""
    path = project.folder / "experiments/tune/loss_and_top_r.yaml"
    plan = yaml.safe_load(path.read_text())
    plan["study"] |= PLAN
    plan["base"] = {"train.epochs": epochs, "train.checkpoint_minutes": 0.0}
    path.write_text(yaml.safe_dump(plan))
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "A short plan")


def kill_while_it_trains(project: Project) -> None:
    """Start a worker and kill it once its first trial has a checkpoint."""
    process = subprocess.Popen(
        ["python", "-m", "pipelines.tune", "--worker"],
        cwd=project.folder,
        env=project.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(project.folder.glob("checkpoints/*-*/step-*.ckpt")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def list_runs(project: Project, kind: str) -> list[Run]:
    """Return the runs of a kind in the clone's MLflow."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, f"tags.`dcal.kind` = '{kind}'", max_results=999))


@pytest.fixture(scope="module")
def tuned(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose study was killed and gone on with; do not change it, copy it."""
    project = finished.copy(tmp_path_factory.mktemp("tuned") / "project")
    shorten_plan(project)
    kill_while_it_trains(project)
    assert find_stages(project.run(*TUNE)) == ["pipelines/tune/dvc.yaml:tune"]
    return project


@pytest.mark.timeout(1200)
def test_a_study_whose_worker_was_killed_goes_on_and_each_trial_has_a_run(
    tuned: Project, finished: Project
) -> None:
    table = pd.read_csv(tuned.folder / "results/tune/trials.csv")
    assert len(table) == 4
    runs = {int(run.data.tags["dcal.trial_number"]): run for run in list_runs(tuned, "trial")}
    assert sorted(runs) == sorted(table["number"])
    for number, state in zip(table["number"], table["state"], strict=True):
        run = runs[number]
        assert (run.data.tags["dcal.trial_state"], run.info.status) == (state, STATUS[state])
    (parent,) = list_runs(tuned, "study")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert not list(tuned.folder.glob("checkpoints/*-*/step-*.ckpt"))
    for name in ("final.csv", "importance.json", "pareto.csv", "best.yaml"):
        assert (tuned.folder / "results/tune" / name).is_file()
    assert (tuned.folder / "runs/tune/history.png").is_file()
    record = "results/train/run.json"
    assert tuned.read_json(record) == finished.read_json(record)


@pytest.mark.timeout(900)
def test_the_best_of_a_study_is_trained(tuned: Project, tmp_path: Path) -> None:
    project = tuned.copy(tmp_path / "project")
    check_that_nothing_is_left_to_do(project)
    project.compose("preset=smoke", "tune=best")
    best = yaml.safe_load((project.folder / "results/tune/best.yaml").read_text())
    assert project.repro() == ([] if not best else STAGES[2:])


@pytest.mark.timeout(900)
def test_a_study_that_is_refused_leaves_the_results_of_the_last_one(
    tuned: Project, tmp_path: Path
) -> None:
    project = tuned.copy(tmp_path / "project")
    files = sorted((project.folder / "results/tune").iterdir())
    before = [path.read_bytes() for path in files]
    project.compose("preset=smoke", "model.readout=local")
    said = project.run(*TUNE, succeeds=False)
    assert "was begun with other parameters, data or code (model.readout was class_local" in said
    assert "Traceback" not in said
    assert [path.read_bytes() for path in files] == before


@pytest.mark.timeout(900)
def test_a_clone_of_a_committed_study_has_nothing_to_do(tuned: Project, tmp_path: Path) -> None:
    mine, remote = tuned.copy(tmp_path / "mine"), tmp_path / "remote"
    remote.mkdir()
    mine.run("git", "add", "-A")
    mine.run("git", "commit", "-qm", "A study")
    said = mine.run("python", "-m", "pipelines.share", "push", str(remote))
    assert "not up to date" not in said
    mine.run("git", "clone", "-q", ".", str(tmp_path / "theirs"))
    theirs = Project(tmp_path / "theirs")
    theirs.run("python", "-m", "pipelines.share", "pull", str(remote))
    # A grid that was never trained is all that a plain dvc status has to say.
    status = json.loads(theirs.run("dvc", "status", "--json"))
    assert list(status) == ["pipelines/ablate/dvc.yaml:ablate"]
    assert theirs.repro() == theirs.repro("pipelines/tune/dvc.yaml") == []
    theirs.run("dvc", "exp", "run", "--temp", "-n", "bold-finch", "-S", "rollout.num_images=4")
    theirs.run("dvc", "exp", "apply", "bold-finch")
    assert "num_images: 4" in (theirs.folder / "params.yaml").read_text()
    assert [name for name in theirs.changed_files() if "tune" in name] == []


@pytest.mark.timeout(900)
def test_make_finds_the_study_finished_and_shows_it(tuned: Project, tmp_path: Path) -> None:
    project = tuned.copy(tmp_path / "project")
    borrow_environment(project.folder)
    said = project.run("make", "tune", "PLAN=loss_and_top_r")
    assert "Data and pipelines are up to date." in said and find_stages(said) == []
    address = f"127.0.0.1:{find_free_port()}"
    server = subprocess.Popen(
        ["make", "dashboard", f"PORT={address.partition(':')[2]}"],
        cwd=project.folder,
        env=project.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: server.poll() is not None or "loss_and_top_r" in read_studies(address))
        assert server.poll() is None
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def read_studies(address: str) -> str:
    """Return what the dashboard lists; nothing while it starts."""
    try:
        with closing(HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", "/api/studies")
            return connection.getresponse().read().decode()
    except ConnectionRefusedError:
        return ""


def check_that_nothing_is_left_to_do(project: Project) -> None:
    """Run both pipelines again, and a worker that comes late."""
    assert not project.repro()
    status = project.run("dvc", "status", "pipelines/tune/dvc.yaml")
    assert "up to date" in status
    project.run("python", "-m", "pipelines.tune", "--worker", "1")
    said = project.run("python", "-m", "pipelines.tune.choose", "nothing", succeeds=False)
    assert "error: experiments/tune/nothing.yaml: no such file" in said
