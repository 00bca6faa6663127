"""An index of identities keeps its rules, and what would mislead is counted."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dcal.data.identities import check_identities, describe_identities, label_identities
from dcal.data.indexing import check_table
from dcal.data.sources import SourceTable

# path, split, identity, camera, sha256
ROWS: list[tuple[str, str, int | None, int | None, str]] = [
    ("a", "train", 7, 1, "a"),
    ("b", "train", 7, 2, "b"),
    ("c", "train", 3, 1, "c"),
    ("d", "train", 3, 2, "d"),
    ("e", "val", 5, 1, "e"),
    ("f", "val", 5, 2, "f"),
    ("g", "query", 4, 1, "g"),
    ("h", "gallery", 4, 2, "h"),
    ("i", "gallery", 0, 2, "i"),
    ("j", "gallery", -1, 1, "j"),
]


def make_table(**changes: dict[str, Any]) -> pd.DataFrame:
    """Return a small index; `changes` maps a column to values by path."""
    table = pd.DataFrame(ROWS, columns=["path", "split", "identity", "camera", "sha256"])
    for column, values in changes.items():
        table[column] = [
            values.get(path, old) for path, old in zip(table["path"], table[column], strict=True)
        ]
    return table.astype({"identity": "Int64", "camera": "Int64"})


def _check(table: pd.DataFrame) -> None:
    labelled, names = label_identities(table)
    check_identities(labelled, num_classes=len(names))


def test_labels_follow_the_sorted_train_identities_and_are_minus_one_elsewhere() -> None:
    table, names = label_identities(make_table(identity={"a": 10007, "b": 10007}))
    assert names == ["0003", "10007"]
    assert table["label"].tolist() == [1, 1, 0, 0, *[-1] * 6]
    check_identities(table, num_classes=2)
    shuffled, _ = label_identities(table.sample(frac=1, random_state=0))
    assert shuffled.sort_values("path")["label"].tolist() == table["label"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": {"h": None}}, "expected one for every picture; h has none"),
        ({"identity": {"j": -2}}, r"-1 \(junk\) or 0 \(distractor\); j of gallery has -2"),
        ({"identity": {"a": 0}}, "a of train has 0"),
        ({"identity": {"e": -1}}, "e of val has -1"),
        ({"identity": {"g": -1}}, "g of query has -1"),
        ({"identity": {"g": 0}}, "g of query has 0"),
        ({"camera": {"h": 0}}, "index camera: expected a number from 1, .*; h has 0"),
        ({"identity": {"c": 7, "d": 7}}, "two in train at least, .*; got 1$"),
        ({"identity": {"e": 7}}, "1 of val are in train too, such as 7"),
        ({"identity": {"h": 3}}, "1 of train are in query or gallery too, such as 3"),
        ({"identity": {"g": 5}}, "1 of val are in query or gallery too, such as 5"),
        ({"split": {"g": "gallery"}}, r"expected pictures in train, query and gallery; .*'query'"),
    ],
)
def test_an_index_that_breaks_a_rule_is_refused(changes: dict[str, Any], message: str) -> None:
    _check(make_table())
    with pytest.raises(ValueError, match=message):
        _check(make_table(**changes))


@pytest.mark.parametrize(
    ("label", "num_classes"),
    [
        ([0, 0, 1, 1, *[-1] * 6], 2),  # in the order of the files, not of the numbers
        ([1, 0, 0, 0, *[-1] * 6], 2),
        ([2, 2, 0, 0, *[-1] * 6], 2),
        ([1, 1, 0, 0, *[-1] * 6], 3),
        ([1, 1, 0, 0, 0, *[-1] * 5], 2),
        ([1, 1, 0, 0, *[-1] * 4, 0, -1], 2),
    ],
)
def test_labels_that_are_not_the_sorted_train_identities_are_refused(
    label: list[int], num_classes: int
) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.\.1 in train, in the order of the sorted"):
        check_identities(make_table().assign(label=label), num_classes=num_classes)


@pytest.mark.parametrize("identities", [["0007"] * 10, [1.5] * 10])
def test_identities_that_are_no_whole_numbers_are_refused(identities: list[Any]) -> None:
    table = make_table().assign(identity=identities, label=-1)
    with pytest.raises(
        ValueError, match=r"index identity: expected whole numbers; got (.0007.|1.5)$"
    ):
        check_identities(table, num_classes=2)


def test_the_kind_says_which_splits_there_may_be() -> None:
    table, names = label_identities(make_table())
    source = SourceTable(table[["path", "split", "identity", "camera", "label"]], names, [], [], [])
    check_table(source, kind="reid")
    with pytest.raises(ValueError, match="for dataset.kind fgvc; got .*gallery"):
        check_table(source, kind="fgvc")
    table["split"] = "test"
    columns = ["path", "split", "identity", "camera", "label"]
    with pytest.raises(ValueError, match="for dataset.kind reid; got .*test"):
        check_table(SourceTable(table[columns], names, [], [], []), kind="reid")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (
            {"camera": {"h": 1, "i": 1}},
            ["1 of 1 query pictures have no match to be found", "all query"],
        ),
        ({"identity": {"h": 9}}, ["1 of 1 query pictures have no match to be found"]),
        ({"camera": {"f": 1}}, ["2 of 2 val pictures have no match to be found: no val"]),
        ({"camera": {"f": None}}, ["the camera rule cannot be applied to 1 of 10"]),
        ({"camera": {"g": None}}, ["the camera rule cannot be applied to 1 of 10"]),
        ({"identity": {"b": 8}}, ["2 of 3 train identities have one picture"]),
        ({"camera": dict.fromkeys("abcdefghij")}, ["no camera is known"]),
        ({"sha256": {"h": "g"}}, ["1 of 1 query pictures are also in the gallery, byte for byte"]),
        ({"sha256": {"i": "g"}}, ["1 of 1 query pictures are also .* under another identity"]),
        ({"sha256": {"j": "g"}}, []),
    ],
)
def test_what_would_mislead_is_counted(changes: dict[str, Any], expected: list[str]) -> None:
    warnings = describe_identities(make_table(**changes))
    assert len(warnings) == len(expected)
    for warning, pattern in zip(warnings, expected, strict=True):
        assert pd.Series([warning]).str.match(pattern).all(), warning


def test_a_val_picture_of_no_known_camera_is_no_match_of_itself() -> None:
    table = make_table(camera={"e": None}, identity={"f": 6})
    (alone, _) = describe_identities(table)
    assert alone.startswith("2 of 2 val pictures have no match to be found")
