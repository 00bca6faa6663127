"""Four workers of one study, as README has them, one of which is killed while it trains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from dcal.tuning.progress import find_origin
from tests.pipelines.tuned import SCORE, SPACE, STUDY
from tests.postgres import run_postgres
from tests.workers import TRAIN, Team, make_shared_project

pytestmark = pytest.mark.slow
NUM_TRIALS = 8
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a plan; do not change it, copy it."""
    folder = make_shared_project(tmp_path_factory.mktemp("shared") / "project")
    study = {
        **STUDY,
        "budget": {"num_trials": NUM_TRIALS, "minutes": None},
        "final": {"num_configs": 0, "num_seeds": 1},
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump({"study": study, "space": SPACE}))
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of a database that is not there yet, or is empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/studies/optuna.db"
        return
    with run_postgres() as address:
        yield address


@pytest.mark.timeout(900)
def test_four_workers_one_of_them_killed_complete_a_study_with_a_run_a_trial(
    url: str, shared: Path, tmp_path: Path
) -> None:
    with Team(shutil.copytree(shared, tmp_path / "project"), url) as team:
        command = ("pipelines.tune", "--plan", "plan.yaml")
        # No number, a number, and one that another has.
        names = ([], ["7"], ["7"])
        helpers = [team.start(*command, "--worker", *name) for name in names]
        main = team.start(*command)
        del helpers[team.kill_one_in_mid_training(helpers)]
        team.wait([main, *helpers])
        trials = read_trials(url)
        check_trials(trials)
        check_runs(team, trials)
        assert not list(team.folder.glob("work/checkpoints/*/step-*"))


def read_trials(url: str) -> list[FrozenTrial]:
    """Return each trial as Optuna has it, and leave no connection open."""
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name=STUDY["name"], storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def check_trials(trials: list[FrozenTrial]) -> None:
    """See that the budget is spent, and that each of its trials was completed once."""
    states = [trial.state for trial in trials]
    # The killed one, and the one that went on with it.
    assert states.count(COMPLETE) == NUM_TRIALS and states.count(FAIL) == 1
    assert len(trials) == NUM_TRIALS + 1
    done = [trial for trial in trials if trial.state is COMPLETE]
    assert len({find_origin(trial) for trial in done}) == NUM_TRIALS
    assert len({str(trial.params) for trial in done}) == NUM_TRIALS
    (killed,) = (trial for trial in trials if trial.state is FAIL)
    (retry,) = (trial for trial in trials if find_origin(trial) != trial.number)
    assert find_origin(retry) == killed.number and retry.params == killed.params


def check_runs(team: Team, trials: list[FrozenTrial]) -> None:
    """See that the table, Optuna and MLflow tell the same of every trial."""
    table = pd.read_csv(team.folder / "results/tune/trials.csv")
    runs = {int(run.data.tags["dcal.trial_number"]): run for run in team.list_runs("trial")}
    assert len(team.list_runs("trial")) == len(table) == NUM_TRIALS
    assert {
        number: (run.data.tags["dcal.trial_state"], run.info.status) for number, run in runs.items()
    } == {
        number: (state, STATUS[state])
        for number, state in zip(table["number"], table["state"], strict=True)
    }
    for trial in trials:
        if trial.state is COMPLETE:
            run = runs[find_origin(trial)]
            assert run.data.metrics[f"selected/{SCORE}"] == pytest.approx(trial.values[0])
            steps = team.list_steps(run, SCORE)
            assert len(steps) == TRAIN["epochs"] and steps == sorted(set(steps))
    (parent,) = team.list_runs("study")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
