"""The table of a grid, against plain loops and against simulated grids whose truth is known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dcal.analysis.ablations import find_main_branch, summarise_scores
from tests.analysis.studies import simulate_scores

NUM_STUDIES = 400
ARMS = {"dcal": 0.0, "sa_only": 0.0, "no_pwca": 0.0, "no_glca": 0.0}
STUDIES = [f"study{i}" for i in range(NUM_STUDIES)]  # each metric is a study of its own


def describe_slowly(scores: pd.DataFrame, row: dict, reference: tuple[str, str]) -> dict:
    """Return a row's numbers with loops and scipy."""
    lookup = {
        (r["arm"], r["branch"], r["metric"], r["seed"]): r["value"]
        for r in scores.to_dict("records")
    }
    key = (row["arm"], row["branch"], row["metric"])
    seeds = sorted(k[3] for k in lookup if k[:3] == key)
    values = [lookup[*key, seed] for seed in seeds]
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    common = [seed for seed in seeds if (*reference, row["metric"], seed) in lookup]
    pairs = [(lookup[*key, s], lookup[*reference, row["metric"], s]) for s in common]
    test = stats.ttest_rel(*zip(*pairs, strict=True))
    interval = test.confidence_interval(0.95)
    return {
        "num_seeds": len(values),
        "mean": sum(values) / len(values),
        "std": stats.tstd(values),
        "low_95": low,
        "high_95": high,
        "num_pairs": len(pairs),
        "difference": sum(a - b for a, b in pairs) / len(pairs),
        "difference_low_95": interval.low,
        "difference_high_95": interval.high,
        "p_value": test.pvalue,
    }


def make_grid() -> pd.DataFrame:
    """Return a baseline of three branches, two arms, two metrics; one arm lacks a seed."""
    parts = [
        simulate_scores(
            {arm: 0.01 * place},
            seeds=range(5),
            metrics=("top1_accuracy", "ece"),
            branch=branch,
            generator_seed=place,
        )
        for place, (arm, branch) in enumerate(
            [*product(["dcal"], ["both", "glca", "sa"]), ("sa_only", "sa"), ("no_glca", "sa")]
        )
    ]
    scores = pd.concat(parts, ignore_index=True)
    return scores[(scores["arm"] != "no_glca") | (scores["seed"] != 2)].reset_index(drop=True)


def test_every_row_is_what_a_plain_loop_finds() -> None:
    scores = make_grid()
    table = summarise_scores(scores, baseline="dcal")
    assert len(table) == 10
    for row in table.to_dict("records"):
        if (row["arm"], row["branch"]) == ("dcal", "both"):
            assert row["num_pairs"] == 0 and math.isnan(row["difference"])
            assert math.isnan(row["p_value"]) and math.isnan(row["p_holm"])
            continue
        expected = describe_slowly(scores, row, ("dcal", "both"))
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    for _, group in table.groupby("metric"):
        p_values = sorted(group["p_value"].dropna())
        largest = max((len(p_values) - i) * p for i, p in enumerate(p_values))
        assert group["p_holm"].max() == pytest.approx(min(1.0, largest))


def test_rows_come_in_order_of_first_appearance_and_columns_as_promised() -> None:
    table = summarise_scores(make_grid(), baseline="dcal")
    assert (
        table.columns.tolist()
        == (
            "arm branch metric num_seeds mean std low_95 high_95 num_pairs difference "
            "difference_low_95 difference_high_95 p_value p_holm"
        ).split()
    )
    assert table["arm"].drop_duplicates().tolist() == ["dcal", "sa_only", "no_glca"]
    assert table["branch"][:6].tolist() == ["both", "both", "glca", "glca", "sa", "sa"]


def test_the_order_of_rows_changes_no_number() -> None:
    scores = make_grid()
    keys = ["arm", "branch", "metric"]
    shuffled = scores.sample(frac=1, random_state=3)
    tables = [
        summarise_scores(part, baseline="dcal").sort_values(keys, ignore_index=True)
        for part in (scores, shuffled)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_missing_seed_leaves_the_pairs_that_there_are() -> None:
    table = summarise_scores(make_grid(), baseline="dcal").set_index(["arm", "metric"])
    row = table.loc[("no_glca", "ece")]
    assert (row["num_seeds"], row["num_pairs"]) == (4, 4)


def test_arms_without_a_common_seed_and_a_baseline_that_failed_are_not_compared() -> None:
    scores = simulate_scores({"dcal": 0.0, "sa_only": 0.0}, seeds=range(4))
    apart = scores[(scores["arm"] == "dcal") == (scores["seed"] < 2)]
    for part in (apart, scores[scores["arm"] == "sa_only"], scores.iloc[:0]):
        table = summarise_scores(part, baseline="dcal")
        assert table["num_pairs"].eq(0).all() and table["p_holm"].isna().all()
        assert table["mean"].notna().all()


def test_one_seed_has_means_and_differences_but_no_intervals() -> None:
    table = summarise_scores(simulate_scores(ARMS, seeds=[7]), baseline="dcal")
    assert table["num_pairs"].tolist() == [0, 1, 1, 1]
    assert table["difference"].notna().tolist() == [False, True, True, True]
    unknown = ["std", "low_95", "high_95", "difference_low_95", "p_value", "p_holm"]
    assert table[unknown].isna().all(axis=None)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "much"])
def test_a_score_that_is_no_number_is_named(value: object) -> None:
    scores = simulate_scores(ARMS, seeds=range(3)).astype({"value": object})
    scores.loc[4, "value"] = value
    with pytest.raises(ValueError, match="arm sa_only, seed 1: sa/top1_accuracy is .* no number"):
        summarise_scores(scores, baseline="dcal")


def test_a_score_that_stands_there_twice_is_named() -> None:
    scores = simulate_scores(ARMS, seeds=range(3))
    with pytest.raises(
        ValueError, match="arm no_pwca, seed 0: sa/top1_accuracy stands there twice"
    ):
        summarise_scores(pd.concat([scores, scores.iloc[[6]]]), baseline="dcal")


def test_both_stands_for_an_arm_that_has_it() -> None:
    scores = make_grid()
    assert find_main_branch(scores, "dcal") == "both"
    assert find_main_branch(scores, "sa_only") == "sa"


@pytest.mark.parametrize("num_seeds", [2, 5])
def test_of_null_grids_one_in_twenty_comes_out_with_a_difference(num_seeds: int) -> None:
    scores = simulate_scores(ARMS, seeds=range(num_seeds), metrics=STUDIES, generator_seed=1)
    table = summarise_scores(scores, baseline="dcal")
    share = table.groupby("metric")["p_holm"].min().lt(0.05).mean()
    assert share == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / NUM_STUDIES))


def test_what_a_seed_does_to_all_arms_cancels_in_the_difference() -> None:
    def measure_width(shared: float) -> pd.Series:
        scores = simulate_scores(
            {"dcal": 0.0, "sa_only": 0.0}, seeds=range(5), metrics=STUDIES[:50], shared=shared
        )
        arm = summarise_scores(scores, baseline="dcal").query("arm == 'sa_only'")
        return arm["difference_high_95"] - arm["difference_low_95"], arm["high_95"] - arm["low_95"]

    paired, alone = measure_width(shared=0.2)
    assert alone.median() > 5 * paired.median()
    assert paired.to_numpy() == pytest.approx(measure_width(shared=0.0)[0].to_numpy())
