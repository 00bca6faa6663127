"""Who comes into the last round, and what it says of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from dcal.config import Config
from dcal.tuning.driver import Worker
from dcal.tuning.final import (
    DIFFERENCES,
    choose_best,
    choose_finalists,
    rank_distinct_trials,
    score_finalists,
)
from dcal.tuning.objective import TrialFailed
from dcal.tuning.plan import Plan
from tests.tuning.factory import (
    COST,
    NUM_BLOCKS,
    READOUT,
    SCORE,
    SPACE,
    list_trials,
    load_base,
    make_plan,
    open_worker,
    score,
)

pytestmark = pytest.mark.usefixtures("ready_studies")


def run_study(plan: Plan) -> Worker:
    worker = open_worker(plan, score)
    worker.run()
    return worker


def score_on_seeds(config: Config, name: str) -> dict[str, float]:
    """Return scores that differ by seed."""
    return {SCORE: 0.5 + config.train.lr + 0.01 * config.seed, COST: config.model.top_r}


def test_the_paper_the_config_and_the_best_trials_come_in_each_once() -> None:
    space = {"model.readout": READOUT, **SPACE}
    plan = make_plan(space, num_trials=8, final={"num_configs": 2, "num_seeds": 2})
    worker = run_study(plan)
    base = load_base()
    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)
    assert finalists[0].name.startswith("paper") and finalists[1].name.startswith("config")
    assert finalists[0].overrides["model.readout"] == "class"
    assert finalists[1].overrides == {}
    best = max(list_trials(worker.study), key=lambda trial: trial.values[0])
    assert any(f"trial {best.number}" in finalist.name for finalist in finalists)
    settings = [json.dumps(finalist.overrides, sort_keys=True) for finalist in finalists]
    assert len(set(settings)) == len(finalists) <= 4


def test_a_trial_of_the_papers_settings_is_no_finalist_of_its_own() -> None:
    plan = make_plan({"model.readout": READOUT}, num_trials=2, final={"num_configs": 3})
    worker = run_study(plan)
    finalists = choose_finalists(worker.study, plan, load_base(), num_blocks=NUM_BLOCKS)
    assert [finalist.name for finalist in finalists] == ["paper, trial 0", "config, trial 1"]


@pytest.mark.parametrize(("direction", "sign"), [("maximize", -1), ("minimize", 1)])
def test_trials_are_ranked_by_the_direction_and_the_same_settings_count_once(
    direction: str, sign: int
) -> None:
    plan = make_plan({"model.readout": READOUT}, num_trials=6, objectives={SCORE: direction})
    worker = run_study(plan)
    ranked = rank_distinct_trials(worker.study, plan.study)
    values = [sign * trial.values[0] for trial in ranked]
    assert values == sorted(values) and len(ranked) <= 3


def test_a_round_that_was_stopped_goes_on_after_what_it_has() -> None:
    plan = make_plan(num_trials=3, final={"num_configs": 1, "num_seeds": 2})
    worker, base = run_study(plan), load_base()
    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)
    trained: list[str] = []

    def train(config: Config, name: str) -> Mapping[str, float]:
        if len(trained) == 3:
            trained.append("stopped")
            raise KeyboardInterrupt
        trained.append(name)
        return score_on_seeds(config, name)

    with pytest.raises(KeyboardInterrupt):
        score_finalists(worker.study, finalists, plan, base, train)
    table = score_finalists(worker.study, finalists, plan, base, train)
    whole = [name for name in trained if name != "stopped"]
    assert len(whole) == len(set(whole)) == 2 * len(finalists)
    again = score_finalists(worker.study, finalists, plan, base, train)
    pd.testing.assert_frame_equal(table, again)
    assert len(trained) == len(whole) + 1


def test_seeds_are_fresh_and_the_mean_is_over_them() -> None:
    plan = make_plan(num_trials=2, final={"num_configs": 0, "num_seeds": 3})
    worker, base = run_study(plan), load_base()
    seeds: set[int] = set()

    def train(config: Config, name: str) -> Mapping[str, float]:
        seeds.add(config.seed)
        return score_on_seeds(config, name)

    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)
    table = score_finalists(worker.study, finalists, plan, base, train)
    assert seeds == {base.seed + 1, base.seed + 2, base.seed + 3}
    expected = 0.5 + base.train.lr + 0.01 * np.mean(sorted(seeds))
    assert table["mean"].iloc[-1] == pytest.approx(expected)
    # Student's quantile of two degrees of freedom, by the standard error of three scores.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert table["half_interval_95"].iloc[-1] == pytest.approx(half)


def test_the_difference_from_the_papers_settings_is_paired_by_seed() -> None:
    plan = make_plan(
        {"model.readout": READOUT}, num_trials=2, final={"num_configs": 0, "num_seeds": 3}
    )
    worker, base = run_study(plan), load_base()
    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)
    # A seed that is lucky for one is lucky for the other; what is left differs by a tenth of it.
    luck, gain = {1: 0.5, 2: 0.7, 3: 0.6}, {1: 0.01, 2: 0.02, 3: 0.03}

    def train(config: Config, name: str) -> Mapping[str, float]:
        seed = config.seed - base.seed
        return {SCORE: luck[seed] + (0 if name.startswith("paper") else gain[seed])}

    table = score_finalists(worker.study, finalists, plan, base, train)
    assert table.loc[0, list(DIFFERENCES)].isna().all()
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert table.loc[1, list(DIFFERENCES)].tolist() == pytest.approx(
        [0.02, 0.02 - half, 0.02 + half]
    )
    assert table["half_interval_95"].iloc[1] > 5 * half


def test_settings_that_break_on_a_seed_are_told_and_cannot_win() -> None:
    plan = make_plan(num_trials=3, final={"num_configs": 1, "num_seeds": 2})
    worker, base = run_study(plan), load_base()
    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)

    def train(config: Config, name: str) -> Mapping[str, float]:
        if name == f"{finalists[0].name}, seed 2":
            raise TrialFailed("the loss became infinite")
        is_broken = name.startswith(finalists[0].name)
        return {SCORE: 0.99 if is_broken else 0.5}

    table = score_finalists(worker.study, finalists, plan, base, train)
    assert table["num_seeds"].tolist()[0] == 1 and "infinite" in table["reason"].iloc[0]
    assert choose_best(table, plan.study) == 1

    def fail(config: Config, name: str) -> Mapping[str, float]:
        raise TrialFailed("the loss became infinite")

    plan = make_plan(num_trials=3, name="wrens", final={"num_configs": 0, "num_seeds": 2})
    worker = run_study(plan)
    finalists = choose_finalists(worker.study, plan, base, num_blocks=NUM_BLOCKS)
    assert (
        choose_best(score_finalists(worker.study, finalists, plan, base, fail), plan.study) is None
    )
