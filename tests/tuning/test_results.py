"""What the tables say of a study."""

from __future__ import annotations

import json

import optuna
import pytest
from optuna.trial import Trial

from dcal.config import Config
from dcal.tuning.driver import OVERRIDES, Worker
from dcal.tuning.objective import TrialFailed
from dcal.tuning.progress import find_origin
from dcal.tuning.results import (
    DIED,
    build_front_table,
    build_trials_table,
    compute_importances,
    describe_state,
)
from tests.tuning.factory import (
    COST,
    READOUT,
    SCORE,
    SPACE,
    TOP_R,
    WITH_LOCAL,
    list_trials,
    make_plan,
    open_worker,
    score,
)

pytestmark = pytest.mark.usefixtures("ready_studies")
WITH_READOUT = {"model.readout": READOUT, "model.top_r": {**TOP_R, **WITH_LOCAL}, **SPACE}


def run_with_every_end(config: Config, trial: Trial) -> dict[str, float]:
    """Return scores, but fail trial 1, prune trial 2, and let memory run out in trial 3."""
    if trial.number == 1:
        raise TrialFailed("the loss became infinite")
    if trial.number == 2:
        trial.report(0.1, step=4)
        raise optuna.TrialPruned
    if trial.number == 3:
        raise MemoryError("24 GiB")
    return score(config, trial)


def make_worker(num_trials: int = 6) -> Worker:
    space = {"train.batch_size": {"kind": "int", "low": 2, "high": 999}, **SPACE}
    worker = open_worker(make_plan(space, num_trials=num_trials), run_with_every_end)
    worker.run()
    return worker


def test_a_row_a_trial_says_how_it_ended_and_why() -> None:
    worker = make_worker()
    table = build_trials_table(worker.study, worker.plan.study)
    assert table["number"].tolist() == list(range(6))
    ends = ["complete", "failed", "pruned", "pruned", "complete", "complete"]
    assert table["state"].tolist() == ends
    assert table[SCORE].isna().tolist() == [end != "complete" for end in ends]
    assert table["reason"].tolist()[:4] == [
        "",
        "TrialFailed: the loss became infinite",
        "behind after 4 epochs",
        "MemoryError: 24 GiB",
    ]
    for row, trial in zip(table.to_dict("records"), list_trials(worker.study), strict=True):
        assert {key: row[key] for key in SPACE} == {
            key: trial.user_attrs[OVERRIDES][key] for key in SPACE
        }


def test_a_trial_and_its_retries_are_one_row_by_the_first_number() -> None:
    worker = open_worker(make_plan(num_trials=2), score)
    attempts: list[int] = []

    def run(config: Config, trial: Trial) -> dict[str, float]:
        attempts.append(trial.number)
        if len(attempts) == 1:
            raise KeyboardInterrupt
        return score(config, trial)

    worker.run_trial = run
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    worker.run()
    assert len(attempts) == 3
    table = build_trials_table(worker.study, worker.plan.study)
    # The retry of trial 0 is Optuna's number 1.
    assert table["number"].tolist() == [0, 2]
    assert [find_origin(trial) for trial in list_trials(worker.study)] == [0, 0, 2]


def test_a_trial_whose_process_died_for_good_says_so() -> None:
    worker = open_worker(make_plan(), score)
    worker.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    assert describe_state(list_trials(worker.study)[-1]) == ("failed", DIED)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    objectives = {SCORE: "maximize", COST: "minimize"}
    plan = make_plan(WITH_READOUT, num_trials=15, objectives=objectives)
    worker = open_worker(plan, score)
    worker.run()
    front = build_front_table(build_trials_table(worker.study, plan.study), plan.study)
    expected = {find_origin(trial) for trial in worker.study.best_trials}
    assert set(front["number"]) >= expected
    kept = front[[SCORE, COST]].drop_duplicates()
    assert {tuple(row) for row in kept.to_numpy()} == {
        tuple(trial.values) for trial in worker.study.best_trials
    }


def test_what_mattered_is_found_by_both_methods_with_their_n() -> None:
    worker = open_worker(make_plan(num_trials=25), score)
    worker.run()
    found = compute_importances(worker.study, worker.plan)
    assert found["n"] == 25 and found["reasons"] == {}
    for shares in found["importances"][SCORE].values():
        assert set(shares) == set(SPACE)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["train.lr"] > shares["model.drop_path"]  # a hundredfold, see `score`
    json.dumps(found, allow_nan=False)


def test_keys_under_a_condition_are_compared_among_the_trials_that_met_it() -> None:
    worker = open_worker(make_plan(WITH_READOUT, num_trials=25), score)
    worker.run()
    found = compute_importances(worker.study, worker.plan)
    assert set(found["importances"][SCORE]["fanova"]) == {"model.readout", *SPACE}
    (group,) = found["conditional"]
    assert group["when"] == WITH_LOCAL["when"]
    assert set(group["importances"][SCORE]["ped_anova"]) == set(WITH_READOUT)
    met = ["model.top_r" in trial.params for trial in list_trials(worker.study)]
    assert group["n"] == sum(met) < found["n"] == 25


def test_too_few_trials_are_a_reason_and_not_an_importance() -> None:
    worker = open_worker(make_plan(num_trials=3), score)
    worker.run()
    found = compute_importances(worker.study, worker.plan)
    assert found["importances"][SCORE] == {"ped_anova": {}, "fanova": {}}
    assert set(found["reasons"][SCORE].values()) == {"expected 4 finished trials at least; got 3"}


def test_scores_that_are_all_equal_are_a_reason_and_not_an_importance() -> None:
    worker = open_worker(make_plan(num_trials=4), lambda config, trial: {SCORE: 0.5, COST: 1.0})
    worker.run()
    found = compute_importances(worker.study, worker.plan)
    assert found["importances"][SCORE]["ped_anova"] == {}
    assert "importances will be equal" in found["reasons"][SCORE]["ped_anova"]


def test_a_study_without_a_trial_has_an_empty_table() -> None:
    plan = make_plan()
    worker = open_worker(plan, score)
    table = build_trials_table(worker.study, plan.study)
    assert table.empty and build_front_table(table, plan.study).empty
