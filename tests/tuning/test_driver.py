"""What happens in a trial, and the state that it leaves."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import Trial, TrialState

from dcal.config import Config, ConfigError
from dcal.mistakes import is_mistake
from dcal.tuning.driver import Worker
from dcal.tuning.errors import TuningError
from dcal.tuning.objective import TrialFailed, get_frozen, is_out_of_memory, report_epoch
from dcal.tuning.progress import find_origin, list_counted
from dcal.tuning.storage import open_storage
from tests.tuning.factory import (
    COST,
    SCORE,
    list_states,
    list_trials,
    make_plan,
    open_worker,
    score,
)

pytestmark = pytest.mark.usefixtures("ready_studies")
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
WAITING, RUNNING = TrialState.WAITING, TrialState.RUNNING
HYPERBAND = {"kind": "hyperband", "min_epochs": 1, "max_epochs": 3, "reduction_factor": 3}


def raise_in_trial(number: int, error: BaseException) -> Callable[[Config, Trial], Any]:
    """Return a training that goes wrong in one trial."""

    def run(config: Config, trial: Trial) -> dict[str, float]:
        if trial.number == number:
            raise error
        return score(config, trial)

    return run


def fail_as_a_user(config: Config, trial: Trial) -> dict[str, float]:
    """Raise what our own code raises."""
    from dcal.config import load_config

    load_config("no-such-folder/params.yaml")
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "state", "attribute", "said"),
    [
        (optuna.TrialPruned("behind"), PRUNED, None, ""),
        (TrialFailed("the loss became infinite"), FAIL, "reason", "TrialFailed: the loss became"),
        (RuntimeError("cuDNN error"), FAIL, "reason", "RuntimeError: cuDNN error"),
        (torch.cuda.OutOfMemoryError("24 GiB"), PRUNED, "oom", "OutOfMemoryError: 24 GiB"),
        (RuntimeError("MPS backend out of memory"), PRUNED, "oom", "RuntimeError: MPS backend"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), PRUNED, "oom", "RuntimeErr"),
        (MemoryError(), PRUNED, "oom", "MemoryError"),
    ],
)
def test_what_happens_in_a_trial_is_its_state_and_the_study_goes_on(
    error: Exception, state: TrialState, attribute: str | None, said: str
) -> None:
    # Another batch size, so that no other trial is of the size that ran out of memory.
    sizes = {"kind": "categorical", "choices": [16, 32]}
    enqueue = [{"train.batch_size": 16}]
    plan = make_plan({"train.batch_size": sizes}, num_trials=2, enqueue=enqueue)
    worker = open_worker(plan, raise_in_trial(0, error))
    worker.run()
    assert list_states(worker.study) == [state, COMPLETE]
    attrs = list_trials(worker.study)[0].user_attrs
    assert [key for key in ("reason", "oom") if key in attrs] == ([attribute] if attribute else [])
    assert attribute is None or attrs[attribute].startswith(said)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({SCORE: math.nan}, f"TrialFailed: {SCORE} is nan, which is no score"),
        ({SCORE: math.inf}, f"TrialFailed: {SCORE} is inf, which is no score"),
        ({SCORE: torch.tensor(math.nan)}, f"TrialFailed: {SCORE} is nan, which is no score"),
    ],
)
def test_a_value_that_is_no_number_is_a_failed_trial_that_says_so(
    scores: dict[str, Any], reason: str
) -> None:
    worker = open_worker(make_plan(num_trials=4), lambda config, trial: scores)
    worker.run()
    assert list_states(worker.study) == [FAIL] * 4
    assert {trial.user_attrs["reason"] for trial in list_trials(worker.study)} == {reason}


def test_a_size_that_ran_out_of_memory_is_not_tried_again() -> None:
    tried = []

    def run(config: Config, trial: Trial) -> dict[str, float]:
        tried.append(config.train.batch_size)
        if config.train.batch_size == 64:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return score(config, trial)

    sizes = {"train.batch_size": {"kind": "categorical", "choices": [16, 32, 64]}}
    lines: list[str] = []
    enqueue = [
        {"train.batch_size": 64, "model.drop_path": 0.2},
        {"train.batch_size": 64, "model.drop_path": 0.1},
    ]
    drop_path = {"model.drop_path": {"kind": "float", "low": 0.0, "high": 0.3}}
    plan = make_plan({**sizes, **drop_path}, num_trials=9, enqueue=enqueue)
    worker = open_worker(plan, run, announce=lines.append)
    worker.run()
    assert tried.count(64) == 1
    trials = [trial for trial in list_trials(worker.study) if "oom" in trial.user_attrs]
    assert len(trials) >= 2 and {trial.state for trial in trials} == {PRUNED}
    said = f"trial {trials[0].number} of the same size ran out of memory"
    assert said in trials[1].user_attrs["oom"]
    assert f"{len(trials)} pruned, {len(trials)} out of memory; best" in lines[-1]


def test_two_objectives_go_on_after_a_trial_that_ran_out_of_memory() -> None:
    objectives = {SCORE: "maximize", COST: "minimize"}
    sizes = {"train.batch_size": {"kind": "int", "low": 2, "high": 64}}
    worker = open_worker(
        make_plan(sizes, objectives=objectives, num_trials=12), raise_in_trial(2, MemoryError())
    )
    worker.run()
    states = list_states(worker.study)
    assert states[2] is PRUNED and states.count(COMPLETE) >= 10 and len(states) == 12


@pytest.mark.parametrize("text", ["out of bounds", "memory format"])
def test_other_errors_are_not_taken_for_out_of_memory(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_users_mistake_stops_the_study_and_the_trial_is_the_next_to_be_tried() -> None:
    worker = open_worker(make_plan(num_trials=3), fail_as_a_user)
    with pytest.raises(ConfigError, match="no such file"):
        worker.run()
    assert list_states(worker.study) == [FAIL, WAITING]
    assert "no such file" in list_trials(worker.study)[0].user_attrs["reason"]
    worker = open_worker(make_plan(num_trials=3), score)
    worker.run()
    assert list_states(worker.study) == [FAIL, COMPLETE, COMPLETE, COMPLETE]
    retry = list_trials(worker.study)[1]
    assert find_origin(retry) == 0 and "reason" not in retry.user_attrs


def test_a_mistake_that_is_not_mended_takes_three_starts_and_one_trial() -> None:
    for _ in range(3):
        with pytest.raises(ConfigError):
            open_worker(make_plan(num_trials=2), fail_as_a_user).run()
    worker = open_worker(make_plan(num_trials=2), score)
    worker.run()
    assert list_states(worker.study) == [FAIL, FAIL, FAIL, COMPLETE]


def test_an_objective_that_the_training_does_not_give_stops_the_study() -> None:
    worker = open_worker(make_plan(num_trials=2), lambda config, trial: {COST: 1.0})
    with pytest.raises(TuningError, match=rf"{SCORE}: the training gives no such score; it gives "):
        worker.run()


def test_three_errors_in_a_row_that_nobody_foresaw_stop_the_study() -> None:
    def run(config: Config, trial: Trial) -> dict[str, float]:
        raise ZeroDivisionError(f"in trial {trial.number}")

    worker = open_worker(make_plan(num_trials=9), run)
    with pytest.raises(ZeroDivisionError, match="in trial 2"):
        worker.run()
    assert list_states(worker.study) == [FAIL] * 3


def test_an_interrupted_trial_is_the_next_one_and_goes_on_as_the_same() -> None:
    origins, epochs = [], []

    def run(config: Config, trial: Trial) -> dict[str, float]:
        origins.append(find_origin(get_frozen(trial)))
        for epoch in range(1, 5):
            before = len(get_frozen(trial).intermediate_values)
            report_epoch(trial, epoch, epoch / 10)
            epochs.append((trial.number, len(get_frozen(trial).intermediate_values) - before))
            if trial.number in (1, 2) and epoch == 2 + trial.number - 1:
                raise KeyboardInterrupt
        return score(config, trial)

    plan = make_plan(num_trials=3)
    for num_starts in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            open_worker(plan, run).run()
        states = list_states(open_worker(plan, run).study)
        assert states == [COMPLETE, *[FAIL] * num_starts, WAITING]
    worker = open_worker(plan, run)
    worker.run()
    assert list_states(worker.study) == [COMPLETE, FAIL, FAIL, COMPLETE, COMPLETE]
    assert origins == [0, 1, 1, 1, 4]
    trials = list_trials(worker.study)
    assert trials[1].user_attrs["overrides"] == trials[3].user_attrs["overrides"]
    assert trials[3].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
    # Epochs that were reported before the interruption are passed over.
    assert [num for number, num in epochs if number == 3] == [0, 0, 0, 1]
    assert len(list_counted(trials)) == 3


def test_a_trial_that_is_behind_is_pruned_by_hyperband() -> None:
    def run(config: Config, trial: Trial) -> dict[str, float]:
        for epoch in range(1, 4):
            report_epoch(trial, epoch, -float(trial.number))
        return score(config, trial)

    worker = open_worker(make_plan(num_trials=8, pruner=HYPERBAND), run)
    worker.run()
    states = list_states(worker.study)
    assert states[0] is COMPLETE and PRUNED in states and set(states) <= {COMPLETE, PRUNED}
    lasts = {t.last_step for t in list_trials(worker.study) if t.state is PRUNED}
    assert lasts <= {1, 3}


def test_what_is_reported_with_two_objectives_prunes_nothing() -> None:
    def run(config: Config, trial: Trial) -> dict[str, float]:
        report_epoch(trial, 1, 0.5)
        return score(config, trial)

    objectives = {SCORE: "maximize", COST: "minimize"}
    worker = open_worker(make_plan(objectives=objectives, num_trials=2), run)
    worker.run()
    assert list_states(worker.study) == [COMPLETE] * 2


def test_a_trial_that_another_worker_took_over_is_left_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(config: Config, trial: Trial) -> dict[str, float]:
        if trial.number == 0:
            # As after a laptop's sleep: no sign of life, and another worker looked.
            trial.study._storage.set_trial_state_values(trial._trial_id, FAIL)
        return score(config, trial)

    worker = open_worker(make_plan(num_trials=2), run)
    worker.run()
    assert list_states(worker.study) == [FAIL, COMPLETE]
    assert "trial 0 gave no sign of life for too long" in caplog.text


def test_a_trial_killed_before_its_first_sign_of_life_does_not_run_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    worker = open_worker(make_plan(num_trials=2), score)
    orphan = worker.storage.create_new_trial(worker.study._study_id)
    assert worker.storage.get_trial(orphan).state is RUNNING
    worker.run()
    states = list_states(worker.study)
    assert RUNNING not in states and states.count(FAIL) == 1
    said = [message for message in caplog.messages if message.startswith("waiting for")]
    number = worker.storage.get_trial(orphan).number
    assert said == [
        f"waiting for trial {number} of another worker; one that died is taken over after 2 s"
    ]
    assert [t.state for t in list_counted(list_trials(worker.study))] == [COMPLETE] * 2


def test_a_worker_that_waits_for_others_can_be_stopped() -> None:
    worker = open_worker(make_plan(num_trials=1), score, should_stop=lambda: "got SIGTERM")
    worker.storage.create_new_trial(worker.study._study_id)
    with pytest.raises(KeyboardInterrupt, match="got SIGTERM"):
        worker.run()


@pytest.fixture
def workers(tmp_path: Path, repository: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Return what starts a worker with a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.tuning.worker", str(number), str(tmp_path / "log")]
        process = subprocess.Popen(
            command, cwd=repository, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["sqlite:///{}/optuna.db", "journal:///{}/s/optuna.journal"])
def test_two_workers_on_a_new_database_one_of_them_killed_complete_the_budget(
    place: str,
    workers: Callable[[int], subprocess.Popen[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.tuning.worker import PLAN

    (tmp_path / "work" / "optuna.db").unlink()
    monkeypatch.setenv("DCAL_OPTUNA_URL", place.format(tmp_path / "work"))
    survivor, victim = workers(0), workers(1)
    log = tmp_path / "log"
    # The victim's first trial never ends.
    while not (log.exists() and "1 hangs" in log.read_text()):
        assert survivor.poll() is None and victim.poll() is None, victim.communicate()
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    out, err = survivor.communicate(timeout=90)
    assert survivor.returncode == 0, err
    study = optuna.load_study(study_name=PLAN.study.name, storage=open_storage())
    trials = list_trials(study)
    states = list_states(study)
    assert RUNNING not in states and WAITING not in states
    assert states.count(COMPLETE) == PLAN.study.budget.num_trials
    (killed,) = [trial for trial in trials if trial.state is FAIL]
    (retry,) = [trial for trial in trials if find_origin(trial) != trial.number]
    assert find_origin(retry) == killed.number and retry.params == killed.params
    assert len(trials) == PLAN.study.budget.num_trials + 1
    assert f"{PLAN.study.budget.num_trials} of {PLAN.study.budget.num_trials} trials" in out


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_workers_never_exceed_the_budget(
    workers: Callable[[int], subprocess.Popen[str]],
) -> None:
    from tests.tuning.worker import PLAN

    started = [workers(number) for number in (2, 3, 4)]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 3, errors
    study = optuna.load_study(study_name=PLAN.study.name, storage=open_storage())
    assert list_states(study) == [COMPLETE] * PLAN.study.budget.num_trials
    assert len({str(trial.params) for trial in list_trials(study)}) == len(study.trials)


GONE = r"sqlite:///optuna\.db: the database cannot be used"


def test_a_worker_is_told_when_the_database_is_gone() -> None:
    worker: Worker = open_worker(make_plan(num_trials=2), score)
    end_database(worker)
    with pytest.raises(TuningError, match=GONE):
        worker.run()


def test_a_database_that_fails_in_mid_trial_is_one_sentence_and_a_mistake_to_the_trial() -> None:
    def run(config: Config, trial: Trial) -> dict[str, float]:
        end_database(worker)
        with pytest.raises(TuningError, match=GONE) as told:
            report_epoch(trial, 1, 0.5)
        assert is_mistake(told.value)  # so that its checkpoints are kept
        raise told.value

    worker: Worker = open_worker(make_plan(num_trials=2), run)
    with pytest.raises(TuningError, match=GONE):
        worker.run()


def test_a_sign_of_life_that_is_not_taken_does_not_end_the_signs() -> None:
    worker: Worker = open_worker(make_plan(num_trials=2), score)
    trial = worker.storage.create_new_trial(worker.study._study_id)
    end_database(worker)
    worker.storage.record_heartbeat(trial)  # raises nothing, which would end Optuna's thread


def end_database(worker: Worker) -> None:
    """Leave something else in the place of a worker's database."""
    worker.storage.engine.dispose()
    path = Path(worker.storage.url.removeprefix("sqlite:///"))
    path.write_bytes(b"no database " * 1000)
