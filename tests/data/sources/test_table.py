"""A user's own table: what it may say, and one sentence for what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dcal.config import DatasetConfig
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.data.sources import SourceTable, table
from tests.data.factory import make_dataset, write_picture, write_tar

HEADER = "path,label,split"
ROWS = [
    "finches/1.png,finch,train",
    "finches/2.png,finch,train",
    '"owls/a, b.png","owl, barn",train',
    'owls/4.png,"owl, barn",train',
    "finches/5.png,finch,test",
    'owls/6.png,"owl, barn",test',
]
PATHS = ["finches/1.png", "finches/2.png", "owls/a, b.png", "owls/4.png", "finches/5.png",
         "owls/6.png"]  # fmt: skip
REID_HEADER = "identity,path,split,camera,view"
REID_ROWS = [
    "900,1.png,train,1,",
    "900,2.png,train,2,3",
    "17,3.png,train,1,0",
    "17,4.png,train,2,",
    "5,5.png,query,1,",
    "5,6.png,gallery,2,",
    "-1,7.png,gallery,,",
    "0,8.png,gallery,2,",
]


def _make(**changes: Any) -> DatasetConfig:
    keys = {"source_type": "table", "val_ratio": 0.0, "options": {"table": None}, **changes}
    return make_dataset(**keys)


def _write(root: Path, lines: list[str], *, paths: list[str] | None = None) -> Path:
    for number, path in enumerate(PATHS if paths is None else paths):
        write_picture(root / path, seed=number)
    (root / "pictures.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def _write_reid(root: Path, rows: list[str] = REID_ROWS) -> Path:
    return _write(root, [REID_HEADER, *rows], paths=[f"{number}.png" for number in range(1, 9)])


def _build(root: Path, **changes: Any) -> SourceTable:
    return table.build_table(_make(**changes), root)


def test_rows_become_pictures_and_classes_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    source = _build(_write(tmp_path, [HEADER, *ROWS]))
    assert source.class_names == ["finch", "owl, barn"]
    assert source.table["path"].tolist() == PATHS
    assert source.table["label"].tolist() == [0, 0, 1, 1, 0, 1]
    assert source.warnings == []
    _, report = build_index(_make(), tmp_path)
    assert report.counts == {"train": 4, "test": 2}


def test_identities_cameras_and_views_are_kept_and_may_be_unknown(tmp_path: Path) -> None:
    index, report = build_index(_make(kind="reid"), _write_reid(tmp_path))
    assert report.class_names == ["0017", "0900"]
    rows = index.set_index("path")
    assert rows.loc["1.png", ["identity", "camera", "label"]].tolist() == [900, 1, 1]
    assert rows.loc["7.png", "identity"] == -1 and rows.loc["7.png", "camera"] is pd.NA
    assert rows["view"].isna().sum() == 6 and rows.loc["2.png", "view"] == 3


@pytest.mark.parametrize("kind", ["fgvc", "reid"])
def test_a_parquet_file_says_the_same(tmp_path: Path, kind: str) -> None:
    write = _write_reid if kind == "reid" else lambda root: _write(root, [HEADER, *ROWS])
    expected = _build(write(tmp_path / "csv"), kind=kind)
    root = write(tmp_path / "parquet")
    # Numbers as numbers, a camera that is not known as NaN of a float column.
    pd.read_csv(root / "pictures.csv").to_parquet(root / "pictures.parquet")
    (root / "pictures.csv").unlink()
    source = _build(root, kind=kind)
    pd.testing.assert_frame_equal(source.table, expected.table)
    assert source.class_names == expected.class_names


def test_a_table_below_the_folder_has_its_paths_from_where_it_lies(tmp_path: Path) -> None:
    _write(tmp_path / "lists", [HEADER, *ROWS])
    source = _build(tmp_path, options={"table": "lists/pictures.csv"})
    assert source.table["path"][0] == "lists/finches/1.png"


def test_boxes_are_numbers_or_unknown(tmp_path: Path) -> None:
    box = "box_x,box_y,box_width,box_height"
    lines = [f"{HEADER},{box}", f"{ROWS[0]},1,2,3.5,4", *(f"{row},,,," for row in ROWS[1:])]
    rows = _build(_write(tmp_path, lines)).table
    assert rows.loc[0, ["box_x", "box_width"]].tolist() == [1.0, 3.5]
    assert rows["box_height"].isna().sum() == 5


def test_val_rows_are_val_and_else_a_share_is_held_out(tmp_path: Path) -> None:
    _write(tmp_path, [HEADER, *ROWS])
    held_out = _build(tmp_path, val_ratio=0.5).table
    assert held_out["split"].value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}
    rows = [ROWS[0], ROWS[1].replace("train", "val"), *ROWS[2:]]
    _write(tmp_path, [HEADER, *rows])
    source = _build(tmp_path, val_ratio=0.5)
    assert (source.table["split"] == "val").sum() == 1
    assert source.warnings == ["dataset.val_ratio is not used, because the table has val pictures"]


def test_an_extra_column_is_told_with_its_nearest_neighbour(tmp_path: Path) -> None:
    lines = [f"{HEADER},camra", *(f"{row},1" for row in ROWS)]
    assert _build(_write(tmp_path, lines)).warnings == [
        "ignored (columns of pictures.csv that are not used): camra; did you mean camera?"
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_field(tmp_path: Path) -> None:
    _write(tmp_path, [])
    text = "\r\n".join([HEADER, *ROWS, ""])
    (tmp_path / "pictures.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(_build(tmp_path).table) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,split", "a.png,train"], "the columns path, split, label; label is missing among"),
        (["path,label,split,split", "a.png,x,train,test"], "a column is there twice"),
        ([HEADER, "finches/1.png,finch"], ":2: expected 3 fields, .* got 2"),
        ([HEADER, "finches/1.png,finch,train,x"], ":2: expected 3 fields, .* put quotes"),
        ([HEADER, "finches/1.png,finch,trian"], ":2: expected a split, one of train, val, test"),
        ([HEADER, "finches/1.png,finch,query"], ":2: expected a split"),
        ([HEADER, "finches/1.png,,train"], ":2: expected a label"),
        ([HEADER, '"finches/1.png","fin\nch",train'], ":3: expected a label, .* in one line"),
        ([HEADER, '"finches\n/1.png",finch,train'], "1 of 1 pictures are named .* finches /1.png"),
        ([HEADER, "../1.png,finch,train"], ":2: expected a path below the set's folder"),
        ([HEADER, "/etc/passwd,finch,train"], ":2: expected a path below the set's folder"),
        ([HEADER, ",finch,train"], ":2: expected a path below the set's folder; got ''"),
        ([HEADER, '"finches/1.png,finch,train'], ":2: no CSV"),
        ([HEADER, *ROWS, "owls/7.png,finch,test"], "1 of 7 pictures are named .* owls/7.png"),
        ([HEADER], "expected a row for each picture; found none"),
        ([], "expected a row for each picture; found none"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_by_place(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    _write(tmp_path, lines)
    with pytest.raises(ValueError, match=message) as error:
        _build(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,1.png,train,1,", ":2, identity: expected a whole number from -1; got 'x'"),
        ("-2,1.png,train,1,", ":2, identity: expected a whole number from -1; got '-2'"),
        ("1.5,1.png,train,1,", "identity: expected a whole number"),
        (",1.png,train,1,", "identity: expected a whole number from -1; got ''"),
        ("1,1.png,train,0,", ":2, camera: expected a whole number from 1; got '0'"),
        ("1,1.png,train,1,-3", ":2, view: expected a whole number from 0; got '-3'"),
        (f"{10**30},1.png,train,1,", "identity: expected a whole number"),
    ],
)
def test_a_number_that_is_none_is_told_by_place(tmp_path: Path, row: str, message: str) -> None:
    _write_reid(tmp_path, [row])
    with pytest.raises(ValueError, match=message):
        _build(tmp_path, kind="reid")


def test_identities_in_train_and_test_and_doubled_rows_are_refused(tmp_path: Path) -> None:
    both = [*REID_ROWS, "900,9.png,gallery,1,"]
    _write_reid(tmp_path, both)
    write_picture(tmp_path / "9.png", seed=9)
    with pytest.raises(ValueError, match="1 of train are in query or gallery too, such as 900"):
        build_index(_make(kind="reid"), tmp_path)
    _write_reid(tmp_path, [*REID_ROWS, REID_ROWS[0]])
    with pytest.raises(ValueError, match=r"1 listed twice, such as 1\.png"):
        build_index(_make(kind="reid"), tmp_path)
    _write_reid(tmp_path, [row.replace("900,", "0,") for row in REID_ROWS])
    with pytest.raises(ValueError, match=r"expected a number from 1.*1\.png of train has 0"):
        build_index(_make(kind="reid"), tmp_path)


def test_missing_pictures_are_left_out_where_allowed(tmp_path: Path) -> None:
    _write(tmp_path, [HEADER, *ROWS, "owls/7.png,finch,test"])
    source = _build(tmp_path, allow_partial=True)
    assert len(source.table) == 6
    assert source.warnings[0].startswith("left out: 1 of 7 pictures are named by the table")


def test_no_table_or_several_or_another_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a table \(\.csv or \.parquet\) there"):
        _build(tmp_path)
    _write(tmp_path, [HEADER, *ROWS])
    with pytest.raises(FileNotFoundError, match=r"options\.table: .* finches/1\.png is none"):
        _build(tmp_path, options={"table": "finches/1.png"})
    with pytest.raises(ValueError, match=r"options\.table: expected a path below"):
        _build(tmp_path, options={"table": "../pictures.csv"})
    (tmp_path / "more.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"several tables \(more\.parquet, pictures\.csv\)"):
        _build(tmp_path)
    with pytest.raises(ValueError, match=r"more\.parquet: no parquet file that can be read"):
        _build(tmp_path, options={"table": "more.parquet"})
    (tmp_path / "pictures.csv").write_bytes(b"path,label,split\n\xff,a,train\n")
    with pytest.raises(ValueError, match=r"pictures\.csv: expected UTF-8 text; byte 17 is none"):
        _build(tmp_path, options={"table": "pictures.csv"})


def test_the_folder_is_the_source_and_not_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = _write(tmp_path / "mine", [HEADER, *ROWS])
    with pytest.raises(ValueError, match=r"set dataset\.source=.*/mine and dataset\.options"):
        fetch_dataset(_make(source=str(root / "pictures.csv")))
    fetch_dataset(_make(source=str(write_tar(tmp_path / "mine.tar", root))))
    assert len(_build(raw_root(_make()) / "mine").table) == 6


def test_a_name_that_is_too_long_for_a_disk_is_a_picture_that_is_not_there(tmp_path: Path) -> None:
    _write(tmp_path, [HEADER, *ROWS, f"{'x' * 300}.png,finch,test"])
    with pytest.raises(ValueError, match="1 of 7 pictures are named by the table and not there"):
        _build(tmp_path)
    assert len(_build(tmp_path, allow_partial=True).table) == 6


@pytest.mark.parametrize(("mark", "name"), [("\t", "tabs"), (";", "semicolons")])
def test_another_separator_is_named(tmp_path: Path, mark: str, name: str) -> None:
    _write(tmp_path, [line.replace(",", mark) for line in (HEADER, *ROWS)])
    with pytest.raises(ValueError, match=f"separated by {name}; save it with commas"):
        _build(tmp_path)


def test_three_quarters_of_a_box_are_refused(tmp_path: Path) -> None:
    lines = [f"{HEADER},box_x,box_y,box_width", *(f"{row},1,1,1" for row in ROWS)]
    with pytest.raises(ValueError, match="box_height is missing among"):
        _build(_write(tmp_path, lines))


def test_a_hidden_copy_beside_the_table_is_none(tmp_path: Path) -> None:
    _write(tmp_path, [HEADER, *ROWS])
    (tmp_path / "._pictures.csv").write_bytes(b"\0\5\26\7")
    assert len(_build(tmp_path).table) == 6


def test_a_class_that_only_test_has_is_named(tmp_path: Path) -> None:
    rows = [*ROWS[:4], ROWS[4].replace(",finch,", ",wren,"), ROWS[5]]
    with pytest.raises(ValueError, match="1 of 3 have none, and so .* scored: wren"):
        build_index(_make(), _write(tmp_path, [HEADER, *rows]))
