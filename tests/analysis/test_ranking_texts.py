"""What is said of a ranking's errors, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.ranking_texts import (
    format_confusions,
    format_scores,
    tabulate_cameras,
    tell_errors,
)
from dcal.metrics.ranking import RankingResult

ASKED = pd.DataFrame(
    {
        "query": [0, 1, 2, 3],
        "query_camera": [1, 1, 2, 2],
        "camera": [2, 2, 1, 3],
        "is_right": [True, False, True, True],
    }
)
CONFUSIONS = pd.DataFrame(
    {
        "identity": [7, 8, 9],
        "wrong_identity": [8, 7, 7],
        "num_queries": [4, 3, 2],
        "num_ahead": [3, 1, 0],
        "distance": [0.25, 0.5, 0.75],
    }
)


def test_cameras_are_a_table_of_shares() -> None:
    shares = tabulate_cameras(ASKED)
    assert shares.index.tolist() == [1, 2] and shares.columns.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(shares, [[np.nan, 0.5, np.nan], [1, np.nan, 1]])
    assert tabulate_cameras(ASKED.iloc[:0]).empty


def test_the_answer_counts_mix_ups_and_names_the_weakest_way() -> None:
    assert tell_errors(CONFUSIONS, tabulate_cameras(ASKED), num_queries=9) == (
        "**4 of 9 queries have a wrong picture first; the commonest 2 mix-ups make up 4 of them. "
        "The weakest way is from camera 1 to camera 2 (0.50), the strongest reaches 1.00.**"
    )


@pytest.mark.parametrize(
    ("num", "said"),
    [
        (1, "3 of 9 queries have a wrong picture first; the commonest mix-up makes up 3 of them."),
        (0, "0 of 9 queries have a wrong picture first."),
    ],
)
def test_one_mix_up_or_none_is_told_as_such(num: int, said: str) -> None:
    text = tell_errors(CONFUSIONS.head(num), tabulate_cameras(ASKED.iloc[:0]), num_queries=9)
    assert text == f"**{said} Cameras are not known, or show nobody twice.**"


def test_mix_ups_are_shown_commonest_first() -> None:
    shown = format_confusions(CONFUSIONS, num=2)
    assert shown.index.tolist() == [7, 8]
    assert shown["smallest distance"].tolist() == ["0.250", "0.500"]
    assert shown["ahead of every right one"].tolist() == [3, 1]


def test_scores_are_shown_in_per_cent_a_row_a_branch() -> None:
    nothing, none = np.zeros(0), np.zeros(0, dtype=np.int64)
    result = RankingResult(
        cmc=np.linspace(0.5, 1, 50), mean_ap=0.25, mean_inp=0.125, num_queries=2,
        num_valid_queries=2, num_without_identity=0, average_precisions=nothing,
        inverse_negative_penalties=nothing, first_ranks=none, num_positives=none,
    )  # fmt: skip
    shown = format_scores({"sa": result, "both": result})
    assert shown.index.tolist() == ["SA", "SA + GLCA"]
    assert shown.loc["SA"].to_dict() == {
        "mean AP": "25.0 %",
        "rank-1": "50.0 %",
        "rank-5": "54.1 %",
        "mean INP": "12.5 %",
    }
