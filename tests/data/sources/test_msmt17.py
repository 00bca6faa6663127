"""MSMT17 in both versions: persons of train and test never share a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dcal.config import DatasetConfig
from dcal.data.indexing import build_index
from dcal.data.official import OfficialCountError
from dcal.data.sources import SourceTable, describe_source, msmt17
from tests.data.factory import make_dataset, write_picture, write_tar
from tests.data.official_fixtures import write_msmt17


def make_msmt17(*, combine_val: bool = True, **changes: Any) -> DatasetConfig:
    """Return MSMT17's section with some keys changed."""
    keys = {"kind": "reid", "source_type": "msmt17", "val_ratio": 0.0, "allow_partial": True}
    options = {"combine_val": combine_val}
    return make_dataset(name="msmt17", options=options, **{**keys, **changes})


def _build(root: Path, **changes: Any) -> SourceTable:
    return msmt17.build_table(make_msmt17(**changes), root)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_lists_become_splits_with_identities_from_1_and_cameras_of_two_digits(
    tmp_path: Path, version: str
) -> None:
    write_msmt17(tmp_path, version=version)
    table, report = build_index(make_msmt17(), tmp_path)
    assert report.counts == {"train": 24, "query": 6, "gallery": 12}
    assert report.class_names == ["0001", "0002", "0003", "0004"]
    by_split = {split: set(rows["identity"]) for split, rows in table.groupby("split")}
    # Both halves begin at 0 in the files; 0 would be a distractor here.
    assert by_split == {"train": {1, 2, 3, 4}, "query": {5, 6, 7}, "gallery": {5, 6, 7}}
    assert set(table["camera"]) == {1, 10, 15}
    for row in table.itertuples():
        name = Path(row.path).name
        assert int(name[:4]) == row.identity - (1 if row.split == "train" else 5)
        assert int(name.split("_")[2]) == row.camera
    said = [warning for warning in report.warnings if warning.startswith("read as")]
    blurred = ", whose faces are blurred" if version == "V2" else ""
    assert said == [
        f"read as MSMT17 {version}{blurred}: figures on V1 and on V2 differ, so say which"
    ]


def test_the_val_list_is_train_or_left_out_and_never_a_stray(tmp_path: Path) -> None:
    write_msmt17(tmp_path)
    combined, alone = _build(tmp_path), _build(tmp_path, combine_val=False)
    left_out = set(combined.table["path"]) - set(alone.table["path"])
    assert len(left_out) == 4 and all("_005_" in path for path in left_out)
    assert not any("ignored" in warning for warning in (*combined.warnings, *alone.warnings))
    for combine_val, number in ((True, 32621), (False, 30248)):
        official = describe_source(make_msmt17(combine_val=combine_val))
        assert official is not None and official.counts["train"].pictures == number


def test_persons_are_held_out_whole(tmp_path: Path) -> None:
    write_msmt17(tmp_path)
    table = _build(tmp_path, val_ratio=0.5).table
    val, train = (set(table.loc[table["split"] == name, "identity"]) for name in ("val", "train"))
    assert len(val) == len(train) == 2 and not val & train


@pytest.mark.parametrize("kind", ["doubled_top", "doubled_train", "gaps"])
def test_other_packagings_and_gaps_are_read_alike(tmp_path: Path, kind: str) -> None:
    expected = _build(write_msmt17(tmp_path / "official")).table
    top = write_msmt17(tmp_path / "other" / ("MSMT17_V1" if kind == "doubled_top" else ""))
    if kind == "doubled_train":
        (top / "train").rename(top / "moved")
        (top / "train").mkdir()
        (top / "moved").rename(top / "train/train")
    elif kind == "gaps":
        path = top / "list_query.txt"
        path.write_text(path.read_text().replace(" 2\n", " 9\n"), encoding="utf-8")
        path = top / "list_gallery.txt"
        path.write_text(path.read_text().replace(" 2\n", " 9\n"), encoding="utf-8")
    table = _build(tmp_path / "other").table
    if kind == "gaps":
        assert set(table.loc[table["split"] == "query", "identity"]) == {5, 6, 14}
        return
    assert all((tmp_path / "other" / path).is_file() for path in table["path"])
    pd.testing.assert_frame_equal(table.drop(columns="path"), expected.drop(columns="path"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0000/0000_000_00_0303morning_0008_0.jpg 0", "the camera from 01"),
        ("0000/0000_000_0303morning_0008_0.jpg 0", "the camera from 01"),
        ("0000/0000_000_01_0303morning_0008_0.jpg", "the camera from 01"),
        (
            "0000/0000_000_01_0303morning_0008_0.jpg -1",
            "from 0 to 1000000000; got '-1'",
        ),
        (
            "0000/0000_000_01_0303morning_0008_0.jpg 1e3",
            "from 0 to 1000000000; got '1e3'",
        ),
        ("../0000_000_01_0303morning_0008_0.jpg 0", "a path below the set's folder"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_msmt17(tmp_path) / "list_query.txt"
    path.write_text(path.read_text() + line, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"list_query\.txt:7: .*{message}"):
        _build(tmp_path)


def test_a_copy_without_its_lists_says_which_is_missing(tmp_path: Path) -> None:
    (write_msmt17(tmp_path) / "list_gallery.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"list_gallery\.txt: missing; it is part of MSMT17"
    ):
        _build(tmp_path)


def test_missing_and_stray_pictures_are_told(tmp_path: Path) -> None:
    top = write_msmt17(tmp_path)
    lost = next(iter(sorted((top / "test/0001").iterdir())))
    lost.unlink()
    write_picture(top / "train/0001/stray.jpg", seed=0)
    (top / "train/0001/again").symlink_to(top / "train")
    with pytest.raises(ValueError, match=rf"1 of 42 pictures are .*{lost.name}"):
        _build(tmp_path, allow_partial=False)
    source = _build(tmp_path)
    assert len(source.table) == 41
    assert source.warnings[1] == "ignored (pictures that no official list names): 1"


def test_a_list_that_names_a_picture_twice_is_refused(tmp_path: Path) -> None:
    path = write_msmt17(tmp_path) / "list_train.txt"
    path.write_text(path.read_text() * 2, encoding="utf-8")
    with pytest.raises(ValueError, match="20 listed twice, such as MSMT17_V1/train/0000"):
        build_index(make_msmt17(), tmp_path)


def test_other_counts_than_the_official_ones_stop_unless_allowed(tmp_path: Path) -> None:
    write_msmt17(tmp_path)
    with pytest.raises(OfficialCountError, match="expected 32621 train pictures, found 24"):
        _build(tmp_path, allow_partial=False)


def test_both_versions_in_one_folder_must_be_told_apart(tmp_path: Path) -> None:
    write_msmt17(tmp_path)
    write_msmt17(tmp_path, version="V2")
    with pytest.raises(ValueError, match="expected one folder of MSMT17; found .*V1, .*V2"):
        _build(tmp_path)


def test_a_person_that_no_set_has_so_many_of_is_no_number(tmp_path: Path) -> None:
    path = write_msmt17(tmp_path) / "list_train.txt"
    path.write_text(path.read_text().replace(" 3\n", f" {2**63 - 2}\n"), encoding="utf-8")
    with pytest.raises(ValueError, match="expected a whole number from 0 to 1000000000"):
        _build(tmp_path)


def test_an_archive_that_lies_in_the_folder_is_pointed_at(tmp_path: Path) -> None:
    write_tar(tmp_path / "MSMT17_V1.tar", write_msmt17(tmp_path / "made"))
    (tmp_path / "made").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=r"to unpack MSMT17_V1\.tar, set dataset\.source"):
        _build(tmp_path)
