"""What misleads is found in made-up indexes that have it, and not in one that has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.data_findings import DataSet, find_misleading, open_data_set
from dcal.analysis.data_texts import quote, tell_answer, tell_contents, tell_findings
from dcal.data.index import IndexReport, write_index
from dcal.paths import index_folder
from tests.analysis.indexes import build_classes, build_vehicles, draw_vehicles
from tests.visual.fixtures import PARAMS, make_config

EVEN = {"train": [60] * 4, "val": [20] * 4, "test": [700] * 4}


def build_data(table: pd.DataFrame, *, kind: str = "fgvc", **changes: Any) -> DataSet:
    own = {"source_type": "folder", "kind": kind, "name": "mine", **changes.pop("dataset", {})}
    trained = table.loc[table["split"] == "train", "label"]
    report = IndexReport(
        dataset="mine",
        kind=kind,
        redistributable=True,
        counts={},
        num_left_out=changes.pop("num_left_out", 0),
        class_names=[f"class {label}" for label in range(int(trained.max()) + 1)],
        part_names=[],
        discriminative_parts=[],
        digest="0",
        warnings=[],
    )
    transforms = {"resize": [40, 60]}
    sized = {"transforms": transforms, "model": {"image_size": [40, 60]}, **changes}
    return DataSet(table, report, make_config(dataset={**PARAMS["dataset"], **own}, **sized))


def list_found(data: DataSet) -> list[str]:
    return [finding.sentence for finding in find_misleading(data) if finding.sentence]


def test_an_even_set_of_photographs_of_the_models_size_has_nothing_that_misleads() -> None:
    data = build_data(build_classes(EVEN))
    assert list_found(data) == []
    said = tell_answer(data, find_misleading(data))
    assert "mine holds 3120 pictures of 4 classes (240 train, 80 val, 2800 test)" in said
    assert "Nothing that was looked for would mislead" in said
    assert "a picture's size that tells its class; a common class" in tell_findings(
        find_misleading(data)
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"train": [60, 60, 60, 4]}, "train has 4 (class 3) to 60 (class 0) pictures a class"),
        ({"train": [60, 60, 60, 1]}, "1 of 4 train classes have one picture"),
        ({"val": [0] * 4}, "there is no val split"),
        ({"test": [20] * 4}, "by 80 test pictures a share near one half is known to 10.7 points"),
        ({"test": [0, 3, 1500, 1500]}, "2 of 4 classes have fewer than 5 test pictures, 1 of them"),
        (
            {"train": [61, 60, 60, 60], "test": [3000, 500, 500, 500]},
            "always naming the commonest class gets 66.7 % of test, against 25.0 %",
        ),
    ],
)
def test_uneven_counts_are_found(counts: dict[str, list[int]], expected: str) -> None:
    (found,) = [said for said in list_found(build_data(build_classes({**EVEN, **counts})))
                if expected in said]  # fmt: skip
    assert "\n" not in found


def test_copies_are_found_across_splits_within_test_and_under_two_classes() -> None:
    table = build_classes(EVEN)
    test = table.index[table["split"] == "test"]
    table.loc[test[:3], "sha256"] = table.loc[0, "sha256"]  # of class 0, as that one
    table.loc[test[-1], "sha256"] = table.loc[1, "sha256"]
    found = list_found(build_data(table))
    assert found == [
        "4 of 2800 test pictures are also in train, byte for byte",
        "1 picture stands under more than one class",
        "3 of 2800 test pictures are there more than once and count as often",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": {"source_type": "birds"}}, "all pictures are drawn by a program"),
        ({"train": {"selection": "test"}}, "the weights are chosen by the test score"),
        ({"num_left_out": 2}, "2 pictures that cannot be read are left out"),
        (
            {"model": {"image_size": [64, 60]}},
            "100.0 % of train (60 x 64), 100.0 % of val (60 x 64) and 100.0 % of test (60 x 64) "
            "are smaller than",
        ),
        ({"model": {"image_size": [40, 20]}}, "become over 1.5 times wider or narrower"),
    ],
)
def test_settings_that_mislead_are_found(changes: dict[str, Any], expected: str) -> None:
    assert any(expected in said for said in list_found(build_data(build_classes(EVEN), **changes)))


def test_a_size_that_tells_the_class_is_found() -> None:
    table = build_classes(EVEN)
    table = table.assign(width=np.where(table["label"] == 2, 66, 60))
    (found,) = list_found(build_data(table))
    assert found.startswith("width and height alone name the class of 50.0 % of the test pictures")


def test_what_misleads_in_rankings_is_found() -> None:
    table = build_vehicles()
    table.loc[(table["split"] == "gallery") & (table["camera"] == 3), "identity"] = -1
    found = list_found(build_data(table, kind="reid"))
    for expected in (
        "1 of 3 queries have no right picture to be found",
        "the camera of 2 of 11 query and gallery pictures is not known",
        "2 of 3 train identities were seen by one camera",
        "ways from a query's camera to another have no match",
        "1 of 3 train identities have one picture",
        "by 2 valid queries",
    ):
        assert any(expected in said for said in found), expected


def test_the_answer_has_three_findings_and_counts_the_rest() -> None:
    data = build_data(build_vehicles(), kind="reid")
    findings = find_misleading(data)
    rest = len(list_found(data)) - 3
    assert rest > 1 and f"; {rest} more are told above." in tell_answer(data, findings)
    assert "mean AP" in tell_contents(data)


def test_names_of_the_users_folders_are_no_marks_of_a_page() -> None:
    assert quote("a_b <i>*$1*</i> [c]") == r"a\_b &lt;i&gt;\*\$1\*&lt;/i&gt; \[c\]"


def test_a_set_without_any_camera_or_match_is_told_of() -> None:
    table = build_vehicles().assign(camera=pd.array([None] * 16, dtype="Int64"))
    table.loc[table["split"] == "query", "identity"] = 99
    data = build_data(table, kind="reid")
    assert any("3 of 3 queries" in said for said in list_found(data))
    assert "nan" not in tell_answer(data, find_misleading(data))


def test_a_table_of_126_thousand_pictures_is_looked_through() -> None:
    data = build_data(draw_vehicles(126_000), kind="reid")
    assert len(list_found(data)) > 5


def test_a_data_set_that_was_not_prepared_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        r"^data set mine: expected the index of the prepare stage, found none in this project; "
        "run: dvc repro prepare$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        open_data_set(make_config(dataset={**PARAMS["dataset"], "name": "mine"}))


def test_a_prepared_data_set_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = build_data(build_classes(EVEN))
    write_index(index_folder("mine"), data.table, data.report)
    found = open_data_set(data.config)
    assert (len(found.table), found.report.digest) == (len(data.table), data.report.digest)
