"""`dvc repro pipelines/ablate/dvc.yaml` as a user runs it: killed, gone on with, read."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.project import Project, find_stages
from tests.test_tuning import list_runs, wait_for

pytestmark = pytest.mark.slow
ABLATE = ("dvc", "repro", "pipelines/ablate/dvc.yaml")
SHORT = {
    "seeds": [0, 1],
    "arms": ["sa_only"],
    "same_time": [],
    "base": {"train.epochs": 2, "train.checkpoint_minutes": 0.0},
}


def shorten_grid(project: Project) -> None:
    """Make the default grid a matter of seconds, and commit it."""
    path = project.folder / "experiments/grid/components.yaml"
    grid = yaml.safe_load(path.read_text()) | SHORT
    path.write_text(yaml.safe_dump(grid))
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "A short grid")


def kill_in_the_second_training(project: Project) -> None:
    """Start the grid by hand, and kill it while its second arm trains."""
    process = subprocess.Popen(
        ["python", "-m", "pipelines.ablate"],
        cwd=project.folder,
        env=project.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(project.folder.glob("runs/ablate/*.json")))
        wait_for(lambda: list(project.folder.glob("checkpoints/*-*/step-*.ckpt")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(900)
def test_a_grid_that_was_killed_goes_on_and_the_report_shows_it(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    shorten_grid(project)
    kill_in_the_second_training(project)
    said = project.run(*ABLATE)
    assert find_stages(said) == ["pipelines/ablate/dvc.yaml:ablate"]
    assert "grid components: 4 trainings, 1 of them done before" in said
    trainings = pd.read_csv(project.folder / "results/ablate/components/trainings.csv")
    assert trainings[["arm", "seed"]].to_numpy().tolist() == [
        ["dcal", 0],
        ["sa_only", 0],
        ["dcal", 1],
        ["sa_only", 1],
    ]
    (parent,) = list_runs(project, "grid")
    runs = list_runs(project, "ablation")
    assert len(runs) == 4
    assert {run.info.status for run in (parent, *runs)} == {"FINISHED"}
    assert not list(project.folder.glob("checkpoints/*-*/step-*.ckpt"))
    check_that_the_grid_is_left_alone(project)


def check_that_the_grid_is_left_alone(project: Project) -> None:
    """Only the report follows from a grid; neither pipeline trains it again."""
    assert "up to date" in project.run("dvc", "status", "pipelines/ablate/dvc.yaml")
    assert not find_stages(project.run(*ABLATE))
    assert project.repro() == ["report"]
    assert "sa_only" in (project.folder / "reports/05_ablations.html").read_text()
    said = project.run("python", "-m", "pipelines.ablate.choose", "nothing", succeeds=False)
    assert "error: experiments/grid/nothing.yaml: no such file" in said
    project.compose("preset=smoke", "train.epochs=1", "train.warmup_epochs=0.0")
    assert project.repro("evaluate") == ["train", "evaluate"]
