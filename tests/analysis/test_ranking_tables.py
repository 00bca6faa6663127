"""Tables of a ranking, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dcal.analysis.ranking_tables import (
    CONFUSION_COLUMNS,
    RANKING_COLUMNS,
    build_confusions,
    build_ranking_table,
    choose_queries,
    find_worst_queries,
    select_queries,
)
from dcal.metrics.nearest import Nearest

QUERIES = pd.DataFrame(
    {
        "path": ["q/0.png", "q/1.png", "q/2.png"],
        "identity": pd.array([7, 8, None], dtype="Int64"),
        "camera": pd.array([1, None, 2], dtype="Int64"),
    },
    index=[30, 31, 32],
)
GALLERY = pd.DataFrame(
    {
        "path": ["g/0.png", "g/1.png", "g/2.png"],
        "identity": pd.array([7, 9, None], dtype="Int64"),
        "camera": pd.array([2, 1, None], dtype="Int64"),
    },
    index=[50, 51, 52],
)
NEAREST = Nearest(
    np.array([[1, 0], [2, -1], [0, 1]]),
    np.array([[0.25, 0.5], [0.125, np.nan], [1, 2]], dtype=np.float32),
)


def test_a_ranking_table_says_what_was_found_for_whom() -> None:
    table = build_ranking_table(QUERIES, GALLERY, NEAREST)
    assert list(table) == list(RANKING_COLUMNS)
    assert table["query"].tolist() == ["q/0.png", "q/0.png", "q/1.png", "q/2.png", "q/2.png"]
    assert table["rank"].tolist() == [1, 2, 1, 1, 2]
    assert table["path"].tolist() == ["g/1.png", "g/0.png", "g/2.png", "g/0.png", "g/1.png"]
    assert table["distance"].tolist() == [0.25, 0.5, 0.125, 1, 2]
    assert table["query_camera"].isna().tolist() == [False, False, True, False, False]
    assert table["camera"].dtype == table["identity"].dtype == "Int64"
    assert table["is_right"].tolist()[:3] == [False, True, False]
    assert table["is_right"].isna().tolist() == [False] * 3 + [True] * 2


def test_a_ranking_table_goes_through_csv() -> None:
    table = build_ranking_table(QUERIES, GALLERY, NEAREST)
    text = table.to_csv(index=False)
    assert text.splitlines()[1] == "q/0.png,7,1,1,g/1.png,0.25,9,1,False"
    assert text.splitlines()[3] == "q/1.png,8,,1,g/2.png,0.125,,,False"


def test_identities_and_cameras_may_be_texts() -> None:
    queries = QUERIES.assign(identity=["a", "b", "c"], camera=["left", "left", None])
    gallery = GALLERY.assign(identity=["a", "x", "y"], camera=["right", "left", "left"])
    table = build_ranking_table(queries, gallery, NEAREST)
    assert table["is_right"].tolist() == [False, True, False, False, False]
    assert table["identity"].tolist() == ["x", "a", "y", "a", "x"]


def test_chosen_queries_are_valid_ones_and_a_function_of_the_seed() -> None:
    precisions = np.array([np.nan, *np.linspace(0.1, 0.9, 20)])
    chosen = choose_queries(precisions, num=6, seed=0)
    assert len(chosen) == 6 and 0 not in chosen
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert chosen.tolist() == choose_queries(precisions, num=6, seed=0).tolist()
    assert any(
        chosen.tolist() != choose_queries(precisions, num=6, seed=s).tolist() for s in (1, 2)
    )
    assert choose_queries(precisions, num=99, seed=0).tolist() == list(range(1, 21))


def test_the_worst_queries_come_first_and_invalid_ones_never() -> None:
    precisions = np.array([0.5, np.nan, 0.1, 0.5, 0.9])
    assert find_worst_queries(precisions, num=3).tolist() == [2, 0, 3]
    assert find_worst_queries(precisions, num=9).tolist() == [2, 0, 3, 4]
    assert find_worst_queries(np.array([np.nan]), num=2).tolist() == []


def test_a_query_that_found_everything_first_is_not_among_the_worst() -> None:
    precisions = np.array([1.0, 0.999, sum([0.1] * 10), np.nan, 0.5])
    assert precisions[2] < 1
    assert find_worst_queries(precisions, num=5).tolist() == [4, 1]


def test_selected_queries_keep_the_order_given_and_their_ranks() -> None:
    table = build_ranking_table(QUERIES, GALLERY, NEAREST)
    selected = select_queries(table, QUERIES, [2, 0])
    assert selected["query"].tolist() == ["q/2.png", "q/2.png", "q/0.png", "q/0.png"]
    assert selected["rank"].tolist() == [1, 2, 1, 2]
    assert select_queries(table, QUERIES, []).empty


def test_the_nearest_wrong_identities_are_counted() -> None:
    queries = pd.DataFrame({"path": list("abcde"), "identity": [1, 1, 1, 2, 3]})
    gallery = pd.DataFrame({"path": list("uvwx"), "identity": [2, 2, 3, 1]})
    nearest = Nearest(
        np.array([[0], [1], [2], [3], [-1]]),
        np.array([[0.5], [0.25], [0.1], [0.7], [np.nan]], dtype=np.float32),
    )
    table = build_confusions(queries, gallery, nearest, np.array([1, 4, 1, 2, 1]))
    assert list(table) == list(CONFUSION_COLUMNS)
    assert table.to_dict("records") == [
        {
            "identity": 1, "wrong_identity": 2, "num_queries": 2, "num_ahead": 1,
            "share": 2 / 3, "distance": 0.25, "query": "b", "path": "v",
        },
        {
            "identity": 2, "wrong_identity": 1, "num_queries": 1, "num_ahead": 1,
            "share": 1.0, "distance": np.float32(0.7), "query": "d", "path": "x",
        },
        {
            "identity": 1, "wrong_identity": 3, "num_queries": 1, "num_ahead": 0,
            "share": 1 / 3, "distance": np.float32(0.1), "query": "c", "path": "w",
        },
    ]  # fmt: skip
    nothing = Nearest(np.full((5, 1), -1), np.full((5, 1), np.nan, dtype=np.float32))
    assert build_confusions(queries, gallery, nothing, np.zeros(5)).empty
