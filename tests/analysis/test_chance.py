"""What guessing scores, against every order, many orders, and the code that ranks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from dcal.analysis.chance import (
    compute_majority_accuracy,
    compute_random_precision,
    compute_random_ranking,
    count_candidates,
)
from dcal.metrics.ranking import compute_average_precision
from dcal.training.retrieval import match_table
from tests.analysis.indexes import build_classes, build_index_table, build_vehicles, draw_vehicles


@pytest.mark.parametrize("average_precision", ["rectangle", "trapezoid"])
@pytest.mark.parametrize(("num_positives", "num_kept"), [(1, 1), (1, 2), (3, 8), (7, 8), (8, 8)])
def test_the_expected_precision_of_a_random_order_is_the_mean_over_all_orders(
    num_positives: int, num_kept: int, average_precision: str
) -> None:
    orders = combinations(range(1, num_kept + 1), num_positives)
    values = [compute_average_precision(np.array(ranks), ap=average_precision) for ranks in orders]
    expected = compute_random_precision(
        num_positives, num_kept, average_precision=average_precision
    )
    assert float(expected) == pytest.approx(np.mean(values))


def test_candidates_are_those_that_the_ranking_keeps() -> None:
    table = draw_vehicles(900)
    matches = match_table(table)
    kept, positives = [], []
    for query in range(matches.num_queries):
        _, is_junk = matches.find_same(query)
        kept.append(int((~matches.is_junk).sum() - is_junk.sum()))
        positives.append(int((~is_junk).sum()))
    counts = count_candidates(table)
    assert counts.index.tolist() == table.index[table["split"] == "query"].tolist()
    assert (counts["num_kept"].tolist(), counts["num_positives"].tolist()) == (kept, positives)


def test_a_random_ranking_of_few_vehicles_is_told_by_hand() -> None:
    counts = count_candidates(build_vehicles())
    # Seven are no junk. (11, 1) loses one, (11, unknown) none, (12, 2) one.
    assert counts["num_kept"].tolist() == [6, 7, 6]
    assert counts["num_positives"].tolist() == [3, 4, 1]
    chance = compute_random_ranking(build_vehicles())
    assert chance["cmc_1"] == pytest.approx((3 / 6 + 4 / 7 + 1 / 6) / 3)
    precisions = compute_random_precision([3, 4, 1], [6, 7, 6])
    assert chance["mean_ap"] == pytest.approx(precisions.mean())


def test_without_a_valid_query_nothing_is_expected() -> None:
    pictures = [("train", 1, 1), ("train", 2, 1), ("query", 5, 1), ("gallery", 5, 1)]
    table = build_index_table(
        [{"split": split, "identity": who, "camera": camera} for split, who, camera in pictures]
    )
    assert all(np.isnan(value) for value in compute_random_ranking(table).values())


def test_the_commonest_class_of_train_is_guessed_of_every_test_picture() -> None:
    table = build_classes({"train": [3, 5, 5], "test": [2, 1, 3]})
    assert compute_majority_accuracy(table) == 3 / 6  # of the two commonest the better one
    assert compute_majority_accuracy(build_classes({"train": [9, 1], "test": [0, 4]})) == 0
