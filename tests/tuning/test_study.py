from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dcal.tuning.errors import TuningError
from dcal.tuning.progress import describe_progress
from dcal.tuning.storage import open_storage
from dcal.tuning.study import open_study
from tests.tuning.factory import (
    COST,
    DESCRIBED,
    DROP_PATH,
    LR,
    NUM_BLOCKS,
    SCORE,
    SPACE,
    list_states,
    list_trials,
    load_base,
    make_plan,
    open_worker,
    score,
)

pytestmark = pytest.mark.usefixtures("ready_studies")
HYPERBAND = {"kind": "hyperband", "min_epochs": 3, "max_epochs": None, "reduction_factor": 3}


def begin(study: dict[str, Any], space: dict[str, Any], fingerprints: dict[str, str]) -> None:
    """Begin a study, or go on with it, with parts of one's own."""
    open_study(
        open_storage(),
        make_plan({**SPACE, **space}, **study),
        load_base(),
        num_blocks=NUM_BLOCKS,
        fingerprints={"code": "c0de", "parameters": "0", **fingerprints},
        described=DESCRIBED,
    )


@pytest.mark.parametrize(
    ("study", "space", "fingerprints", "named"),
    [
        ({}, {"train.lr": LR | {"low": 1e-3}}, {}, "space"),
        ({}, {"model.top_r": DROP_PATH | {"low": 0.1}}, {}, "space"),
        ({"objectives": {SCORE: "minimize"}}, {}, {}, "objectives"),
        ({"objectives": {"val/sa/top1_accuracy": "maximize"}}, {}, {}, "objectives"),
        ({"objectives": {SCORE: "maximize", COST: "minimize"}}, {}, {}, "objectives"),
        ({"pruner": HYPERBAND}, {}, {}, "pruner"),
        ({}, {}, {"code": "beef"}, "code"),
        ({}, {"train.lr": LR | {"low": 1e-3}}, {"parameters": "1"}, "space and parameters"),
    ],
)
def test_a_study_goes_on_only_with_what_it_was_begun_with(
    study: dict[str, Any], space: dict[str, Any], fingerprints: dict[str, str], named: str
) -> None:
    begin({}, {}, {})
    message = (
        rf"^study\.name: finches in sqlite:///optuna\.db was begun with other {named}"
        r"( \(space\..*\))?, and .*; go back to those, or choose another name$"
    )
    with pytest.raises(TuningError, match=message) as caught:
        begin(study, space, fingerprints)
    assert ("(space." in str(caught.value)) == bool(space)
    begin({"name": "wrens", **study}, space, fingerprints)
    begin({}, {}, {})


def test_what_differs_is_named_as_far_as_it_can_be() -> None:
    def begin_with(fingerprint: str, **described: str) -> None:
        open_study(
            open_storage(),
            make_plan(),
            load_base(),
            num_blocks=NUM_BLOCKS,
            fingerprints={"parameters": fingerprint},
            described={**DESCRIBED, **described},
        )

    begin_with("0")
    with pytest.raises(TuningError, match=r"parameters \(data was da7a and is feed\), and its"):
        begin_with("1", data="feed")
    with pytest.raises(TuningError, match=r"feed, b was None and is 2, c was .*, and 1 more\)"):
        begin_with("1", data="feed", b="2", c="3", d="4")
    with pytest.raises(TuningError, match=r"other parameters, and its"):
        begin_with("1")


def test_a_larger_budget_and_the_same_keys_in_another_order_are_the_same_study() -> None:
    begin({}, {}, {})
    reordered = make_plan(dict(reversed(SPACE.items())), num_trials=9)
    study = open_study(
        open_storage(),
        reordered,
        load_base(),
        num_blocks=NUM_BLOCKS,
        fingerprints={"code": "c0de", "parameters": "0"},
        described=DESCRIBED,
    )
    assert len(study.trials) == 1


@pytest.mark.parametrize("num_trials", [0, 1])
def test_a_study_of_another_program_is_refused(num_trials: int) -> None:
    direction = "maximize" if num_trials else "minimize"
    other = optuna.create_study(storage=open_storage(), study_name="finches", direction=direction)
    for _ in range(num_trials):
        other.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(TuningError, match="made by another program; choose another name"):
        begin({}, {}, {})


def test_presets_are_enqueued_once_and_as_many_as_the_budget_holds() -> None:
    enqueue = [{"model.drop_path": 0.1}, {"model.drop_path": 0.2}]
    worker = open_worker(make_plan(num_trials=2, enqueue=enqueue), score)
    assert list_states(worker.study) == [TrialState.WAITING] * 2
    worker.run()
    for _ in range(2):
        worker = open_worker(make_plan(num_trials=4, enqueue=enqueue), score)
    assert list_states(worker.study) == [TrialState.COMPLETE] * 2 + [TrialState.WAITING]
    worker.run()
    first = [trial.params["model.drop_path"] for trial in list_trials(worker.study)][:3]
    assert first == [0.0, 0.1, 0.2]


def test_num_trials_is_the_total_over_all_starts() -> None:
    for num_trials, expected in ((2, 2), (2, 2), (5, 5), (3, 5)):
        worker = open_worker(make_plan(num_trials=num_trials), score)
        worker.run()
        assert list_states(worker.study) == [TrialState.COMPLETE] * expected


def read_suggestions(name: str, budgets: list[int]) -> list[dict[str, Any]]:
    for num_trials in budgets:
        worker = open_worker(make_plan(name=name, num_trials=num_trials), score)
        worker.run()
    return [trial.user_attrs["overrides"] for trial in list_trials(worker.study)]


def test_a_study_that_was_stopped_suggests_what_it_would_have_suggested_without() -> None:
    # The first ten are drawn at random, the others by TPE.
    whole = read_suggestions("whole", [13])
    assert read_suggestions("stopped", [4, 13]) == whole
    assert len({str(values) for values in whole}) == 13


def test_a_study_of_minutes_ends_by_the_clock() -> None:
    plan = make_plan(budget={"num_trials": None, "minutes": 0.01})
    worker = open_worker(plan, score)
    worker.run()
    num_trials = len(list_trials(worker.study))
    assert 0 < num_trials and set(list_states(worker.study)) == {TrialState.COMPLETE}
    open_worker(plan, score).run()
    assert len(list_trials(worker.study)) > num_trials


def test_two_objectives_have_a_pareto_front() -> None:
    objectives = {SCORE: "maximize", COST: "minimize"}
    space = {**SPACE, "model.top_r": {"kind": "float", "low": 0.1, "high": 0.9, "step": 0.1}}
    lines: list[str] = []
    plan = make_plan(space, objectives=objectives, num_trials=12)
    worker = open_worker(plan, score, announce=lines.append)
    worker.run()
    values = [trial.values for trial in list_trials(worker.study)]
    assert len(values) == 12
    front = [
        [a, b]
        for a, b in values
        if not any((c >= a and d <= b) and (c, d) != (a, b) for c, d in values)
    ]
    assert sorted(trial.values for trial in worker.study.best_trials) == sorted(front)
    assert lines[-1].startswith(f"12 of 12 trials; {len(front)} on the Pareto front of {SCORE} an")


def test_progress_says_how_far_and_how_good() -> None:
    lines: list[str] = []
    worker = open_worker(make_plan(num_trials=3), score, announce=lines.append)
    assert describe_progress(worker.study, worker.plan.study) == "0 of 3 trials; none finished yet"
    worker.run()
    best = worker.study.best_trial
    assert [line.partition(";")[0] for line in lines] == [f"{n} of 3 trials" for n in (1, 2, 3)]
    assert lines[-1] == f"3 of 3 trials; best {SCORE} {best.value:.4g} (trial {best.number})"
