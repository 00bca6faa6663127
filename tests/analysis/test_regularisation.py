"""What is said of PWCA follows from the numbers: of a grid without an effect, nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcal.analysis.ablation_results import read_ablation
from dcal.analysis.generalisation import Pair, compute_gaps
from dcal.analysis.intervals import adjust_by_holm
from dcal.analysis.regularisation import (
    EPOCHS,
    EQUAL,
    LOSS_GAP,
    TRAINING_LOSS,
    PwcaGrid,
    compare_pairs,
    compare_seconds,
    find_pairs,
    list_arms_with_pwca,
    measure_loss_weights,
    read_pwca_grids,
    select_loss_weights,
)
from dcal.analysis.regularisation_texts import (
    format_loss_weights,
    format_pair,
    format_seconds,
    judge,
    tell_convergence,
    tell_loss_weights,
    tell_regularisation,
    tell_seconds,
)
from tests.analysis.studies import simulate_curves
from tests.analysis.test_ablation_results import write_grid

PAIR = Pair("dcal", "no_pwca")
ARMS = {
    "dcal": {},
    "no_pwca": {"model.pwca_blocks": 0},
    "no_glca": {"model.glca_blocks": 0},
    "sa_only": {"model.glca_blocks": 0, "model.pwca_blocks": 0},
    "longer": {"model.glca_blocks": 0, "model.pwca_blocks": 0, "train.epochs": 35},
}
HAS_PWCA = {"dcal": True, "no_pwca": False, "no_glca": True, "sa_only": False, "longer": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"train.epochs": 9}}
    return write_grid(tmp_path_factory.mktemp("grids"), arms=arms)


def make_grid(folder: Path, **truth: Any) -> PwcaGrid:
    """Return a grid of both arms whose curves are simulated, and dcal trains twice as long."""
    curves = simulate_curves(**truth)
    trainings = curves[["arm", "seed"]].drop_duplicates().assign(epochs=12, fingerprint="f")
    slow = np.where(trainings["arm"] == "dcal", 2.0, 1.0)
    trainings["seconds"] = slow * (10.0 + trainings["seed"])
    ablation = read_ablation(folder)._replace(curves=curves, trainings=trainings)
    return PwcaGrid("mine", ablation, [PAIR], compute_gaps(curves))


def test_pairs_differ_by_pwca_alone() -> None:
    assert find_pairs(ARMS, HAS_PWCA) == [PAIR, Pair("no_glca", "sa_only")]
    assert find_pairs({"sa_only": {}, "longer": {"train.epochs": 3}}, HAS_PWCA) == []
    assert find_pairs(ARMS, {"dcal": True, "sa_only": False}) == []  # no_pwca is not trained yet
    # Where the baseline has none, the arm with PWCA is the one that says so.
    arms = {"sa_only": {}, "dcal": {"model.pwca_blocks": 6}}
    assert find_pairs(arms, HAS_PWCA) == [Pair("dcal", "sa_only")]


def test_an_arm_has_pwca_where_its_loss_was_logged() -> None:
    assert list_arms_with_pwca(simulate_curves()) == {"dcal": True, "no_pwca": False}


def test_of_null_studies_one_in_twenty_at_most_tells_any_difference(folder: Path) -> None:
    told = 0
    for draw in range(40):
        table = compare_pairs(make_grid(folder, noise=0.02, draw=draw))
        told += any(judge(row) in ("lower", "higher") for row in table.to_dict("records"))
    assert told <= 8  # at most 2 expected; one in five thousand lies above 8


def test_of_a_null_study_no_difference_can_be_told(folder: Path) -> None:
    grid = make_grid(folder, noise=0.02, draw=1)
    table = compare_pairs(grid)
    said = tell_regularisation(table, PAIR)
    assert said.startswith(f"dcal less no_pwca, no regularisation can be told: the {EQUAL} shows")
    assert said.count("no difference that can be told (") == 4
    assert "no difference can be told in the epochs" in tell_convergence(table, PAIR)


def test_a_gain_is_told_as_regularisation_and_a_loss_as_harm(folder: Path) -> None:
    said = tell_regularisation(compare_pairs(make_grid(folder, gain=0.15, noise=1e-3)), PAIR)
    assert "PWCA regularises" in said and f"the {EQUAL} is lower (-0.1" in said
    assert f"the {LOSS_GAP} is lower (-0.1" in said and "slower training shows" not in said
    said = tell_regularisation(compare_pairs(make_grid(folder, gain=-0.15, noise=1e-3)), PAIR)
    assert "PWCA does harm" in said and f"the {EQUAL} is higher (+0.1" in said


def test_slower_training_is_not_taken_for_regularisation(folder: Path) -> None:
    table = compare_pairs(make_grid(folder, slower=2.0, noise=1e-3))
    said = tell_regularisation(table, PAIR)
    assert "no regularisation can be told" in said and "slower training shows, too" in said
    assert f"the {TRAINING_LOSS} is higher" in said and f"the {LOSS_GAP} is lower" in said
    assert "more epochs with PWCA" in tell_convergence(table, PAIR)


def test_what_only_an_uncorrected_interval_tells_is_called_so(folder: Path) -> None:
    table = compare_pairs(make_grid(folder, noise=0.02))
    place = (PAIR.name, EQUAL)
    columns = ["num_pairs", "difference", "difference_low_95", "difference_high_95"]
    table.loc[place, columns] = [5, -0.052, -0.093, -0.012]
    table.loc[place, ["p_value", "p_holm"]] = [0.02, 0.2]
    said = tell_regularisation(table, PAIR)
    assert "no regularisation can be told" in said
    assert f"the {EQUAL} would be lower if nothing else were asked, and cannot be told" in said
    shown = format_pair(table, PAIR).loc[EQUAL]
    assert (shown["p"], shown["p (Holm)"]) == ("0.020", "0.200")


def test_one_seed_is_not_judged(folder: Path) -> None:
    grid = make_grid(folder, seeds=1)
    table = compare_pairs(grid)
    said = tell_regularisation(table, PAIR)
    assert "it cannot be judged" in said and said.count("cannot be judged by 1 seed") == 4
    assert "it cannot be judged how many epochs" in tell_convergence(table, PAIR)
    assert "time cannot be judged by 1 seed" in tell_seconds(compare_seconds(grid), PAIR)


def test_p_is_raised_for_all_rows_of_the_grid_and_the_table_shows_it(folder: Path) -> None:
    table = compare_pairs(make_grid(folder, noise=0.02))
    assert len(table) == 6
    raised = adjust_by_holm(table["p_value"].tolist())
    assert table["p_holm"].tolist() == pytest.approx(raised, nan_ok=True)
    shown = format_pair(table, PAIR)
    assert shown.index.tolist()[-1] == EPOCHS
    assert shown.loc[EQUAL, "difference"] == f"{table.loc[(PAIR.name, EQUAL), 'difference']:+.4f}"


def test_time_is_compared_seed_by_seed(folder: Path) -> None:
    grid = make_grid(folder)
    noisy = grid.ablation.trainings.copy()
    noisy["seconds"] *= [1.01, 0.99, 1.01, 0.99, 1.0] * 2
    noisy.iloc[:2, noisy.columns.get_loc("seconds")] *= [1.02, 0.98]
    noisy.loc[noisy.index[-1], "seconds"] = 0.0  # one that failed
    grid = grid._replace(ablation=grid.ablation._replace(trainings=noisy))
    seconds = compare_seconds(grid)
    row = seconds.loc[PAIR.name]
    assert row["num_pairs"] == 4
    assert row["low_95"] < row["ratio"] == pytest.approx(2.0, rel=0.02) and row["high_95"] < 2.1
    assert row["share"] == pytest.approx(0.5, abs=0.01)
    assert "training is longer with PWCA (2.00 times" in tell_seconds(seconds, PAIR)
    assert format_seconds(seconds).loc[PAIR.name, "share of PWCA"] == "50%"


def test_an_interval_of_time_that_holds_one_tells_nothing(folder: Path) -> None:
    grid = make_grid(folder)
    even = grid.ablation.trainings.copy()
    even["seconds"] = [11.0, 9.0, 10.0, 9.5, 10.5, *([10.0] * 5)]
    grid = grid._replace(ablation=grid.ablation._replace(trainings=even))
    assert "no difference in time can be told" in tell_seconds(compare_seconds(grid), PAIR)


def test_weights_of_the_losses_are_factors_at_the_end() -> None:
    curves = simulate_curves()
    factors = measure_loss_weights(select_loss_weights(curves, ["dcal", "no_pwca"]))
    assert factors.loc["dcal", "sa"] == pytest.approx(np.exp(1.1) / 2)
    assert factors.loc["dcal", "pwca"] == pytest.approx(0.5)
    said = tell_loss_weights(factors, PAIR)
    assert f"counts {np.exp(-1.1):.2f} times that of SA (factors 0.50 and 1.50)" in said
    assert format_loss_weights(factors).loc["no_pwca"].to_dict() == {"PWCA": "", "SA": "1.50"}


def test_fixed_weights_are_no_table_and_no_sentence() -> None:
    curves = simulate_curves()
    fixed = curves[~curves["metric"].str.startswith("train/log_variance/")]
    factors = measure_loss_weights(select_loss_weights(fixed, ["dcal", "no_pwca"]))
    assert factors.empty and tell_loss_weights(factors, PAIR) == ""


def test_grids_that_cannot_be_asked_are_named_with_the_reason(tmp_path: Path) -> None:
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"train.epochs": 9}}
    folder = write_grid(tmp_path, arms=arms)
    grids, left_out = read_pwca_grids(tmp_path)
    assert (grids, left_out) == ([], {"mine": "no two trained arms differ by PWCA alone"})
    curves = simulate_curves()
    is_held_out = curves["metric"].str.startswith("val/")
    curves[~is_held_out].to_csv(folder / "curves.csv", index=False)
    grids, left_out = read_pwca_grids(tmp_path)
    assert (grids, left_out) == ([], {"mine": "no held-out loss was kept over epochs"})
    curves.to_csv(folder / "curves.csv", index=False)
    (grid,), left_out = read_pwca_grids(tmp_path)
    assert grid.arms == ["dcal", "no_pwca"] and left_out == {}
    assert grid.select("gap")["value"].tolist() == grid.gaps["gap"].tolist()
