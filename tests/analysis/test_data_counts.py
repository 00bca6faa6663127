"""Counts of made-up indexes, against what can be told by looking and against a slow loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.data_counts import (
    count_camera_pairs,
    count_cameras,
    count_copies,
    count_groups,
    count_splits,
    count_torn,
    summarise_groups,
)
from tests.analysis.indexes import build_classes, build_index_table, build_vehicles, draw_vehicles


def test_classes_are_counted_by_split_and_one_without_pictures_is_counted_too() -> None:
    table = build_classes({"train": [4, 1, 2], "test": [2, 0, 3]})
    counts = count_splits(table, kind="fgvc")
    assert counts.loc["train"].to_dict() == {"pictures": 7, "classes": 3}
    assert counts.loc["test"].to_dict() == {"pictures": 5, "classes": 2}
    groups = count_groups(table, class_names=["a", "b", "c"])
    assert groups["split"].tolist() == ["train"] * 3 + ["test"] * 3  # no val, in order
    assert groups["pictures"].tolist() == [4, 1, 2, 2, 0, 3]
    told = summarise_groups(groups)
    assert told.loc["train"].tolist() == [3, 1, 2, 4, 0, 1]
    assert told.loc["test"].tolist() == [3, 0, 2, 3, 1, 0]


def test_junk_and_distractors_are_pictures_and_no_identities() -> None:
    table = build_vehicles()
    counts = count_splits(table, kind="reid")
    assert counts.loc["train"].to_dict() == {
        "pictures": 5, "identities": 3, "cameras": 3, "camera unknown": 0,
        "distractors": 0, "junk": 0,
    }  # fmt: skip
    assert counts.loc["gallery"].to_dict() == {
        "pictures": 8, "identities": 2, "cameras": 3, "camera unknown": 1,
        "distractors": 1, "junk": 1,
    }  # fmt: skip
    groups = count_groups(table)
    assert groups[groups["split"] == "gallery"]["group"].tolist() == [11, 12]
    cameras = summarise_groups(groups, column="cameras")
    assert cameras.loc["train", "with one"] == 2


def test_cameras_by_split_have_a_row_of_unknown_ones() -> None:
    counts = count_cameras(build_vehicles())
    assert counts.index.tolist() == ["unknown", "1", "2", "3"]
    assert counts.loc["unknown"].tolist() == [0, 1, 1]
    assert counts["gallery"].tolist() == [1, 2, 3, 2]


def test_without_any_camera_there_is_no_table_of_them() -> None:
    table = build_vehicles().assign(camera=pd.array([None] * 16, dtype="Int64"))
    assert count_cameras(table).empty and count_camera_pairs(table).empty
    assert "cameras" not in count_splits(table, kind="reid")


@pytest.mark.parametrize("table", [build_vehicles(), draw_vehicles(600)], ids=["few", "random"])
def test_camera_pairs_are_those_of_a_loop_over_all_pictures(table: pd.DataFrame) -> None:
    counts = count_camera_pairs(table)
    expected = pd.DataFrame(0, index=counts.index, columns=counts.columns)
    gallery = table[table["split"] == "gallery"]
    for _, query in table[table["split"] == "query"].iterrows():
        for _, other in gallery[gallery["identity"] == query["identity"]].iterrows():
            cameras = [query["camera"], other["camera"]]
            if any(camera is pd.NA for camera in cameras) or cameras[0] != cameras[1]:
                names = ["unknown" if camera is pd.NA else str(camera) for camera in cameras]
                expected.loc[names[0], names[1]] += 1
    assert counts.to_numpy().tolist() == expected.to_numpy().tolist()
    assert counts.to_numpy().sum() > 0


def test_copies_are_counted_within_and_across_splits() -> None:
    table = build_classes({"train": [2, 2], "test": [3, 1]})
    digests = ["a", "a", "b", "c", "a", "d", "d", "e"]
    counts = count_copies(table.assign(sha256=digests))
    assert counts.to_dict("index") == {
        "train": {"train": 2, "test": 2},
        "test": {"train": 1, "test": 2},
    }
    assert count_torn(table.assign(sha256=digests)) == 0
    assert count_torn(table.assign(sha256=["a", "b", "c", "a", "e", "f", "g", "h"])) == 1


def test_junk_that_is_a_copy_is_of_no_other_identity() -> None:
    table = build_index_table(
        [{"split": "query", "identity": 5}, {"split": "gallery", "identity": -1}]
    )
    assert count_torn(table.assign(sha256="a")) == 0


def test_counts_add_up_whatever_the_table() -> None:
    table = draw_vehicles(3000, seed=1)
    assert count_splits(table, kind="reid")["pictures"].sum() == 3000
    assert count_cameras(table).to_numpy().sum() == 3000
    is_someone = table["identity"] > 0
    assert count_groups(table)["pictures"].sum() == is_someone.sum()
    assert np.array_equal(
        count_copies(table).to_numpy() > 0, (count_copies(table).to_numpy() > 0).T
    )
