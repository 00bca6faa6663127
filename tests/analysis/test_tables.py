"""The tables that reports and notebooks read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal.analysis.tables import (
    build_class_table,
    build_confusion_table,
    build_headline_table,
    choose_pictures,
    compute_chance_levels,
    compute_wilson_interval,
    find_confused_pairs,
    flatten_localization,
    select_curves,
    summarise_localization,
    to_confusion_matrix,
)

NAMES = ["a", "b", "c"]
CONFUSION = np.array([[5, 3, 0], [1, 6, 0], [0, 4, 2]])


def make_predictions(num_right: int, num_wrong: int) -> pd.DataFrame:
    predictions = [0] * num_right + [1] * num_wrong
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(len(predictions))],
            "label": 0,
            "sa_prediction": predictions,
        }
    )


def test_a_confusion_matrix_survives_its_table() -> None:
    table = build_confusion_table(CONFUSION, NAMES)
    assert len(table) == np.count_nonzero(CONFUSION)
    assert (to_confusion_matrix(table, num_classes=3) == CONFUSION).all()


def test_confused_pairs_add_both_directions_and_name_the_more_frequent_one_first() -> None:
    pairs = find_confused_pairs(build_confusion_table(CONFUSION, NAMES), num_pairs=5)
    found = pairs[["first_name", "second_name", "first_as_second", "second_as_first", "count"]]
    assert found.to_numpy().tolist() == [["a", "b", 3, 1, 4], ["c", "b", 4, 0, 4]]
    assert len(find_confused_pairs(build_confusion_table(CONFUSION, NAMES), num_pairs=1)) == 1


def test_a_perfect_model_confuses_nothing() -> None:
    table = build_confusion_table(np.diag([2, 3, 4]), NAMES)
    assert find_confused_pairs(table, num_pairs=3).empty


def test_class_counts_leave_the_accuracy_of_an_absent_class_empty() -> None:
    predictions = pd.DataFrame({"label": [0, 0, 2], "sa_prediction": [0, 1, 2]})
    table = build_class_table(predictions, NAMES, branches=["sa"])
    assert table["num_pictures"].tolist() == [2, 0, 1]
    assert table["sa_correct"].tolist() == [1, 0, 1]
    assert table["sa_accuracy"].iloc[[0, 2]].tolist() == [0.5, 1.0]
    assert np.isnan(table["sa_accuracy"].iloc[1])


def test_the_wilson_interval_of_a_known_case() -> None:
    # Half of 100: centre 0.5, half width z sqrt(0.25/n + z^2/4n^2) / (1 + z^2/n) = 0.0962.
    assert compute_wilson_interval(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)


@given(st.integers(1, 5000), st.data())
def test_the_wilson_interval_holds_the_share_and_stays_in_range(
    num_pictures: int, data: st.DataObject
) -> None:
    share = data.draw(st.integers(0, num_pictures)) / num_pictures
    low, high = compute_wilson_interval(share, num_pictures)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


def test_headlines_have_a_row_for_each_branch_that_was_scored() -> None:
    metrics = {
        f"test/{branch}/{name}": 0.5
        for branch in ("both", "sa")
        for name in ("top1_accuracy", "top5_accuracy", "mean_class_accuracy", "ece")
    }
    table = build_headline_table(metrics, split="test", num_pictures=100)
    assert table.index.tolist() == ["sa", "both"]
    assert table.loc["sa", "top1_low"] == pytest.approx(0.40383, abs=1e-5)


def test_chance_counts_at_most_as_many_classes_as_there_are() -> None:
    assert compute_chance_levels(3)["top5_accuracy"] == 1
    assert compute_chance_levels(20)["top5_accuracy"] == 0.25


def test_curves_leave_out_points_that_were_not_logged() -> None:
    history = pd.DataFrame({"step": [1, 2, 3], "a": [0.1, np.nan, 0.3], "b": [np.nan] * 3})
    curves = select_curves(history, {"a": "first", "b": "second", "absent": "third"})
    assert curves.to_numpy().tolist() == [[1, "first", 0.1], [3, "first", 0.3]]


def test_localisation_is_averaged_over_pictures_for_each_depth() -> None:
    common = {"pointing_game_chance": 0.2, "area_share": 0.1}
    scores = pd.DataFrame(
        [
            {"branch": "sa", "num_blocks": 6, "pointing_game": 1, "energy_share": 0.3, **common},
            {"branch": "sa", "num_blocks": 6, "pointing_game": 0, "energy_share": 0.1, **common},
            {
                "branch": "selection",
                "num_blocks": 5,
                "pointing_game": 1,
                "energy_share": 0.2,
                "chosen_on_parts": 0.4,
                "parts_chosen": 0.9,
                "chosen_share": 0.3,
                **common,
            },
        ]
    )
    summary = summarise_localization(scores)
    metrics = flatten_localization(summary, split="test")
    assert metrics["test/sa/pointing_game"] == 0.5
    assert metrics["test/sa/energy_share"] == pytest.approx(0.2)
    assert metrics["test/sa/energy_share_chance"] == pytest.approx(0.1)
    assert metrics["test/selection/parts_chosen_chance"] == pytest.approx(0.3)
    assert "test/sa/chosen_on_parts" not in metrics
    assert summary["num_pictures"].tolist() == [2, 2, 1, 1, 1, 1]


def test_no_scores_give_an_empty_table_with_its_columns() -> None:
    summary = summarise_localization(pd.DataFrame())
    assert summary.empty and "chance" in summary
    assert flatten_localization(summary, split="test") == {}


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 30), st.integers(0, 5))
def test_half_of_the_chosen_pictures_are_wrong_where_there_are_enough(
    num_right: int, num_wrong: int, num: int, seed: int
) -> None:
    predictions = make_predictions(num_right, num_wrong)
    chosen = choose_pictures(predictions, branch="sa", num=num, seed=seed)
    assert len(chosen) == min(num, num_right + num_wrong)
    assert chosen.index.is_monotonic_increasing and chosen.index.is_unique
    found_wrong = int((chosen["sa_prediction"] == 1).sum())
    assert found_wrong >= min(num // 2, num_wrong)
    assert len(chosen) - found_wrong >= min(num - num // 2, num_right)


def test_the_choice_of_pictures_is_a_function_of_the_seed_zero_included() -> None:
    predictions = make_predictions(60, 40)
    chosen = [
        choose_pictures(predictions, branch="sa", num=9, seed=seed)["path"].tolist()
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
