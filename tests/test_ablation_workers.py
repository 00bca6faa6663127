"""A grid that two processes share, one of which is killed while it trains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workers import TRAIN, Team, make_shared_project

pytestmark = pytest.mark.slow
GRID = {
    "question": "Why?",
    "baseline": "dcal",
    "arms": ["sa_only"],
    "same_time": [],
    "seeds": [0, 1],
    "hours": None,
}


@pytest.mark.timeout(900)
def test_a_worker_of_a_grid_that_is_killed_leaves_its_training_to_the_others(
    tmp_path: Path,
) -> None:
    folder = make_shared_project(tmp_path / "project")
    (folder / "mine.yaml").write_text(yaml.safe_dump(GRID))
    with Team(folder, f"sqlite:///{tmp_path}/studies/optuna.db") as team:
        command = ("pipelines.ablate", "--grid", "mine.yaml")
        worker, main = team.start(*command, "--worker", "3"), team.start(*command)
        team.kill_one_in_mid_training([worker])
        team.wait([main])
        assert "worker 3: training 1 of 4" in team.read_logs()
        trainings = pd.read_csv(folder / "results/ablate/mine/trainings.csv")
        expected = [[arm, seed] for seed in (0, 1) for arm in ("dcal", "sa_only")]
        assert trainings[["arm", "seed"]].to_numpy().tolist() == expected
        check_runs(team)
        assert not list(folder.glob("work/checkpoints/*/step-*"))


def check_runs(team: Team) -> None:
    """See that each training has one run, in its true state and with each point once."""
    (parent,) = team.list_runs("grid")
    runs = team.list_runs("ablation")
    assert len(runs) == 4
    assert {run.info.status for run in (parent, *runs)} == {"FINISHED"}
    for run in runs:
        steps = team.list_steps(run, "val/sa/top1_accuracy")
        assert steps == sorted(set(steps)) and len(steps) == TRAIN["epochs"]
