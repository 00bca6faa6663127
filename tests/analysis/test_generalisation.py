"""Gaps between training and held-out pictures, on curves of which the truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dcal.analysis.generalisation import (
    ACCURACY,
    Pair,
    compare_at_end,
    compare_at_equal_training_loss,
    compare_over_epochs,
    compute_gaps,
    count_epochs_to,
)
from tests.analysis.studies import simulate_curves

PAIR = Pair("dcal", "no_pwca")
COLUMNS = ["arm", "seed", "epoch", "metric", "value"]


def test_a_gap_is_how_much_worse_held_out_pictures_do() -> None:
    values = {"loss": (0.2, 0.5), "top1_accuracy": (0.9, 0.6)}
    curves = pd.DataFrame(
        [
            ("dcal", 0, 0, f"{split}/sa/{metric}", value)
            for metric, pair in values.items()
            for split, value in zip(("train", "val"), pair, strict=True)
        ],
        columns=COLUMNS,
    )
    assert compute_gaps(curves)["gap"].tolist() == [pytest.approx(0.3)]
    assert compute_gaps(curves, ACCURACY)["gap"].tolist() == [pytest.approx(0.3)]


def test_an_epoch_without_a_held_out_loss_has_no_gap_and_other_columns_are_left() -> None:
    curves = simulate_curves()
    known = len(compute_gaps(curves))
    assert known == 2 * 5 * 12
    is_gone = (curves["metric"] == "val/sa/loss") & (curves["epoch"] == 3)
    assert len(compute_gaps(curves[~is_gone])) == known - 10
    assert compute_gaps(curves[curves["metric"] != "val/sa/loss"]).empty


def test_the_end_is_the_last_epoch_of_each_training() -> None:
    gaps = compute_gaps(simulate_curves(noise=0.02, draw=3))
    found = compare_at_end(gaps, PAIR, "gap")
    differences = []
    for seed in range(5):
        last = {
            arm: max((row["epoch"], row["gap"]) for _, row in rows.iterrows())[1]
            for arm, rows in gaps[gaps["seed"] == seed].groupby("arm")
        }
        differences.append(last["dcal"] - last["no_pwca"])
    assert found["difference"] == pytest.approx(np.mean(differences))
    assert found["p_value"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    shuffled = compare_at_end(gaps.sample(frac=1, random_state=0), PAIR, "gap")
    assert shuffled == pytest.approx(found)


def test_each_epoch_is_compared_by_itself() -> None:
    gaps = compute_gaps(simulate_curves(noise=0.02))
    table = compare_over_epochs(gaps, PAIR, "gap")
    assert table["epoch"].tolist() == list(range(12))
    alone = compare_at_end(gaps[gaps["epoch"] <= 4], PAIR, "gap")
    assert table["difference"][4] == pytest.approx(alone["difference"])
    assert compare_over_epochs(gaps[gaps["arm"] == "dcal"], PAIR, "gap").empty


def test_slower_training_narrows_the_gap_but_gains_nothing_at_equal_training_loss() -> None:
    gaps = compute_gaps(simulate_curves(slower=2.0))
    assert compare_at_end(gaps, PAIR, "gap")["difference"] < -0.05
    equal = compare_at_equal_training_loss(gaps, PAIR)
    assert equal["difference"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("slower", [0.7, 1.0, 2.0])
def test_a_gain_at_equal_training_loss_is_found_whatever_the_pace(slower: float) -> None:
    gaps = compute_gaps(simulate_curves(slower=slower, gain=0.1, noise=1e-6))
    found = compare_at_equal_training_loss(gaps, PAIR)
    assert found["difference"] == pytest.approx(-0.1, abs=1e-4)
    assert found["num_pairs"] == 5 and found["p_value"] < 1e-6


def test_a_seed_whose_arms_never_had_the_same_training_loss_is_left_out() -> None:
    curves = simulate_curves(gain=0.1, noise=1e-6)
    is_far = (curves["arm"] == "no_pwca") & (curves["metric"] == "train/sa/loss")
    far = curves.assign(value=curves["value"] + 9.0 * (is_far & (curves["seed"] == 2)))
    found = compare_at_equal_training_loss(compute_gaps(far), PAIR)
    assert found["num_pairs"] == 4
    assert found["difference"] == pytest.approx(-0.1, abs=1e-4)


def test_an_arm_that_has_no_curve_is_not_compared() -> None:
    curves = simulate_curves()
    gaps = compute_gaps(curves[curves["arm"] == "dcal"])
    assert compare_at_end(gaps, PAIR, "gap")["num_pairs"] == 0
    assert compare_at_equal_training_loss(gaps, PAIR)["num_pairs"] == 0


def test_epochs_are_counted_to_a_share_of_the_best() -> None:
    curves = pd.DataFrame(
        [("dcal", 0, e, "val/sa/top1_accuracy", v) for e, v in enumerate((0.5, 0.7, 0.8, 0.75))],
        columns=COLUMNS,
    )
    assert count_epochs_to(curves, "val/sa/top1_accuracy", 0.85).to_dict() == {("dcal", 0): 2}
    assert count_epochs_to(curves, "val/sa/top1_accuracy", 1.0).to_dict() == {("dcal", 0): 3}
    assert count_epochs_to(curves, "val/sa/mean_ap", 1.0).empty
