"""Gaps with and without PWCA, on curves of which the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.regularisation import (
    Pair,
    compare_at_end,
    compare_at_equal_training_loss,
    compare_pairs,
    compute_gaps,
    count_epochs_to,
    find_pairs,
    read_pwca_grids,
    tell_regularisation,
)
from tests.analysis.test_ablation_results import write_grid

PAIR = Pair("dcal", "no_pwca", "beside GLCA")
ARMS = {
    "dcal": {},
    "no_pwca": {"model.pwca_blocks": 0},
    "no_glca": {"model.glca_blocks": 0},
    "sa_only": {"model.glca_blocks": 0, "model.pwca_blocks": 0},
    "longer": {"model.glca_blocks": 0, "model.pwca_blocks": 0, "train.epochs": 35},
}


def simulate(
    *, slower: float = 1.0, gain: float = 0.0, noise: float = 0.0, seeds: int = 5, draw: int = 0
) -> pd.DataFrame:
    """Return curves whose held-out loss follows from that of training.

    Args:
        slower: PWCA takes so many times the epochs to the same loss of training.
        gain: What PWCA takes off the held-out loss at each loss of training.
        noise: Of each held-out loss.
        seeds: How many.
        draw: Of the noise.
    """
    generator = np.random.default_rng(draw)
    rows = []
    for arm in PAIR[:2]:
        pace, less = (slower, gain) if arm == "dcal" else (1.0, 0.0)
        for seed in range(seeds):
            for epoch in range(12):
                training = 2.0 * np.exp(-(epoch + 1) / (3 * pace)) + 0.01 * seed
                held_out = 0.3 + 0.5 * training - less + generator.normal(0, noise)
                rows.append((arm, seed, epoch, "train/sa/loss", training))
                rows.append((arm, seed, epoch, "val/sa/loss", held_out))
                rows.append((arm, seed, epoch, "val/sa/top1_accuracy", 1 - held_out))
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "metric", "value"])


def test_pairs_differ_by_pwca_alone() -> None:
    pairs = find_pairs(ARMS, baseline_blocks=6)
    assert [pair[:2] for pair in pairs] == [("dcal", "no_pwca"), ("no_glca", "sa_only")]
    assert [pair.name for pair in pairs] == ["beside GLCA", "without GLCA"]
    assert find_pairs({"sa_only": {}, "longer": {"train.epochs": 3}}, baseline_blocks=0) == []


def test_the_gap_is_held_out_less_training() -> None:
    gaps = compute_gaps(simulate())
    assert len(gaps) == 2 * 5 * 12
    row = gaps.iloc[0]
    assert row["gap"] == row["val/sa/loss"] - row["train/sa/loss"]


def test_slower_training_narrows_the_gap_but_gains_nothing_at_equal_training_loss() -> None:
    gaps = compute_gaps(simulate(slower=2.0))
    assert compare_at_end(gaps, PAIR, "gap")["difference"] < -0.05
    equal = compare_at_equal_training_loss(gaps, PAIR)
    assert equal["difference"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("slower", [0.7, 1.0, 2.0])
def test_a_gain_at_equal_training_loss_is_found_whatever_the_pace(slower: float) -> None:
    gaps = compute_gaps(simulate(slower=slower, gain=0.1, noise=1e-6))
    found = compare_at_equal_training_loss(gaps, PAIR)
    assert found["difference"] == pytest.approx(-0.1, abs=1e-4)
    assert found["num_pairs"] == 5 and found["p_value"] < 1e-6


def test_of_null_studies_one_in_twenty_tells_a_difference() -> None:
    wrong = sum(
        "lower (" in said or "higher (" in said for draw in range(200) for said in [tell_null(draw)]
    )
    assert 2 <= wrong <= 21  # 10 expected; five in a million lie outside of 1 to 26


def tell_null(draw: int) -> str:
    gaps = compute_gaps(simulate(noise=0.02, draw=draw))
    equal = compare_at_equal_training_loss(gaps, PAIR)
    return tell_regularisation(compare_at_end(gaps, PAIR, "gap"), equal, PAIR)


def test_verdicts_follow_from_the_numbers() -> None:
    gaps = compute_gaps(simulate(gain=0.1, noise=1e-3))
    equal = compare_at_equal_training_loss(gaps, PAIR)
    said = tell_regularisation(compare_at_end(gaps, PAIR, "gap"), equal, PAIR)
    assert "the gap at the end is smaller (-0.1" in said
    assert "at equal training loss is lower (-0.1" in said
    one = compute_gaps(simulate(seeds=1))
    alone = compare_at_equal_training_loss(one, PAIR)
    said = tell_regularisation(compare_at_end(one, PAIR, "gap"), alone, PAIR)
    assert said.count("cannot be judged by 1 seeds") == 2


def test_an_arm_that_has_no_curve_is_not_judged() -> None:
    curves = simulate()
    gaps = compute_gaps(curves[curves["arm"] == "dcal"])
    assert compare_at_end(gaps, PAIR, "gap")["num_pairs"] == 0
    assert compare_at_equal_training_loss(gaps, PAIR)["num_pairs"] == 0


def test_epochs_are_counted_to_a_share_of_the_best() -> None:
    curves = pd.DataFrame(
        [("dcal", 0, e, "val/sa/top1_accuracy", v) for e, v in enumerate((0.5, 0.7, 0.8, 0.75))],
        columns=["arm", "seed", "epoch", "metric", "value"],
    )
    counted = count_epochs_to(curves, "val/sa/top1_accuracy", 0.85)
    assert counted["epochs"].tolist() == [2]  # 0.7 of 0.8


def test_grids_without_a_pair_or_a_held_out_loss_are_left_out(tmp_path: Path) -> None:
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}}
    folder = write_grid(tmp_path, arms=arms)
    assert read_pwca_grids(tmp_path) == []
    simulate().to_csv(folder / "curves.csv", index=False)
    (grid,) = read_pwca_grids(tmp_path)
    assert grid.arms == ["dcal", "no_pwca"]
    table = compare_pairs(grid)
    assert table.index.get_level_values("of").tolist()[-1] == "held-out loss at equal training loss"
    assert grid.select("gap")["value"].tolist() == grid.gaps["gap"].tolist()
    write_grid(tmp_path / "other", arms={"dcal": {}})
    assert read_pwca_grids(tmp_path / "other") == []
