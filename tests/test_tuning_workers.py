"""Two workers of one study, as README has them, one of which is killed while it trains."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
import pytest
import sqlalchemy
from optuna.trial import TrialState

from tests.postgres import run_postgres
from tests.project import Project
from tests.test_tuning import STATUS, TUNE, list_runs, shorten_plan, wait_for

pytestmark = pytest.mark.slow
NUM_TRIALS = 4
STUDY = "loss_and_top_r"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of a database that is not there yet, or is empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/studies/optuna.db"
        return
    with run_postgres() as address:
        yield address


def start(project: Project, url: str, *command: str) -> subprocess.Popen[str]:
    """Start a worker in a session of its own; what it says goes into a file."""
    with (project.folder.parent / f"{command[0]}.log").open("w") as said:
        return subprocess.Popen(
            command,
            cwd=project.folder,
            env={**project.environment(), "DCAL_OPTUNA_URL": url},
            start_new_session=True,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a worker and what it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def let_time_pass(url: str) -> None:
    """Age all signs of life: a killed worker is taken for dead after minutes without one.

    A trial of the live worker has ended when that worker looks for dead ones.
    """
    engine = sqlalchemy.create_engine(url)
    signs = sqlalchemy.Table("trial_heartbeats", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as database:
        aged = database.execute(sqlalchemy.update(signs).values(heartbeat=datetime(2000, 1, 1)))
        assert aged.rowcount >= 1
    engine.dispose()


@pytest.mark.timeout(1200)
def test_a_worker_killed_beside_another_leaves_a_whole_study_and_a_run_a_trial(
    url: str, finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    shorten_plan(project, epochs=3)
    victim = start(project, url, "python", "-m", "pipelines.tune", "--worker", "1")
    survivor = start(project, url, *TUNE)
    try:
        # Each worker has one trial at a time, and a folder for it.
        wait_for(lambda: len({p.parent for p in project.folder.glob("checkpoints/*-*/step-*")}) > 1)
        kill(victim)
        let_time_pass(url)
        assert survivor.wait(900) == 0, (tmp_path / "dvc.log").read_text()
    finally:
        kill(victim)
        kill(survivor)
    states = read_states(url)
    assert TrialState.RUNNING not in states and TrialState.WAITING not in states
    # The killed one, and the one that went on with it.
    assert len(states) == NUM_TRIALS + 1 and states.count(TrialState.FAIL) == 1
    check_runs(project)


def read_states(url: str) -> list[TrialState]:
    """Return the state of each trial as Optuna has it, and leave no connection open."""
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name=STUDY, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return [trial.state for trial in trials]


def check_runs(project: Project) -> None:
    """See that the table, Optuna and MLflow tell the same of every trial."""
    table = pd.read_csv(project.folder / "results/tune/trials.csv")
    assert len(table) == NUM_TRIALS
    told = {
        int(run.data.tags["dcal.trial_number"]): (
            run.data.tags["dcal.trial_state"],
            run.info.status,
        )
        for run in list_runs(project, "trial")
    }
    assert told == {
        number: (state, STATUS[state])
        for number, state in zip(table["number"], table["state"], strict=True)
    }
    (parent,) = list_runs(project, "study")
    assert parent.info.status == "FINISHED"
    assert not list(project.folder.glob("checkpoints/*-*/step-*"))
