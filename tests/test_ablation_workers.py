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
    "same_time": ["sa_only"],
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
        worker = team.start(*command, "--worker")
        team.kill_one_in_mid_training([worker])
        team.wait([team.start(*command)])
        # Who comes late has nothing to do.
        team.wait([team.start(*command, "--worker", "3")])
        said = team.read_logs()
        trainings = pd.read_csv(folder / "results/ablate/mine/trainings.csv")
        arms = ["dcal", "sa_only", "sa_only_same_time"]
        expected = [[arm, seed] for seed in GRID["seeds"] for arm in arms]
        assert trainings[["arm", "seed"]].to_numpy().tolist() == expected
        assert "worker 3: grid mine: 6 trainings, 6 of them done before" in said
        check_runs(team)
        assert not list(folder.glob("work/checkpoints/*/step-*"))


def check_runs(team: Team) -> None:
    """See that each training has one run, in its true state and with each point once."""
    (parent,) = team.list_runs("grid")
    runs = team.list_runs("ablation")
    assert len(runs) == 6
    assert {run.info.status for run in (parent, *runs)} == {"FINISHED"}
    for run in runs:
        steps = team.list_steps(run, "val/sa/top1_accuracy")
        assert steps == sorted(set(steps)) and len(steps) == int(run.data.params["train.epochs"])
    assert TRAIN["epochs"] in {int(run.data.params["train.epochs"]) for run in runs}
