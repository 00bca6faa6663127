"""VeRi-776's layout is read byte for byte as its copies are, and its traps do not bite."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from dcal.config import DatasetConfig
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.official import Count, OfficialCountError
from dcal.data.raw import raw_root
from dcal.data.sources import SourceTable, veri
from tests.data.factory import make_dataset, write_tar
from tests.data.reid_fixtures import (
    VERI_GALLERY,
    VERI_QUERY,
    VERI_TRAIN,
    list_answers,
    write_key_points,
    write_veri,
)

COUNTS = {"train": 20, "query": 4, "gallery": 44}
COUNT_WARNING = (
    "not the official set: VeRi-776: expected 37778 train pictures, found 20; expected 20 train "
    "cameras, found 8; expected 1678 query pictures, found 4; expected 200 query identities, found "
    "3; expected 11579 gallery pictures, found 44; expected 200 gallery identities, found 3"
)


def make_veri(views: str | None = None, **changes: Any) -> DatasetConfig:
    """Return VeRi-776's section with some keys changed; other counts than official ones pass."""
    keys: dict[str, Any] = {
        "name": "veri776",
        "kind": "reid",
        "source_type": "veri",
        "val_ratio": 0.0,
        "allow_partial": True,
        "cache": None,
        **changes,
    }
    return make_dataset(options={"views": views}, **keys)


def _build(root: Path, **changes: Any) -> SourceTable:
    return veri.build_table(make_veri(**changes), root)


def test_the_official_layout_becomes_an_index_without_a_word_but_on_its_size(
    tmp_path: Path,
) -> None:
    write_veri(tmp_path)
    table, report = build_index(make_veri(), tmp_path)
    assert report.counts == COUNTS
    # Queries are copies of gallery pictures under their own camera: no warning.
    assert report.warnings == [COUNT_WARNING]
    assert report.class_names == ["0001", "0003", "0007", "0041", "0776"]
    by_split = {split: rows for split, rows in table.groupby("split")}
    assert set(by_split["query"]["sha256"]) <= set(by_split["gallery"]["sha256"])
    cameras = {split: set(rows["camera"]) for split, rows in by_split.items()}
    assert 20 in cameras["train"] and max(cameras["gallery"]) == 19
    # `_c(\d)` would read camera 0 for all of them.
    assert cameras["query"] == {1, 3, 10, 19}
    assert set(by_split["gallery"]["identity"]) == {2, 5, 14}
    assert table["view"].isna().all()


def test_the_archive_of_the_user_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "VeRi.tar.gz", write_veri(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    dataset = make_veri(source=str(archive))
    fetch_dataset(dataset)
    assert build_index(dataset, raw_root(dataset))[1].counts == COUNTS


def test_other_counts_than_the_official_ones_stop_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_veri(tmp_path)
    with pytest.raises(OfficialCountError, match=r"VeRi-776: .* set dataset\.allow_partial"):
        _build(tmp_path, allow_partial=False)
    counts = {split: Count(number) for split, number in COUNTS.items()}
    monkeypatch.setattr(veri, "VERI", dataclasses.replace(veri.VERI, counts=counts))
    assert _build(tmp_path, allow_partial=False).warnings == []


def test_the_lists_choose_among_the_pictures_and_those_of_no_list_are_counted(
    tmp_path: Path,
) -> None:
    top = write_veri(tmp_path)
    shutil.copy(top / "image_test" / VERI_GALLERY[0], top / "image_test/0099_c001_00000000_0.jpg")
    with open(top / "name_train.txt", "ab") as stream:
        stream.write(f"{VERI_TRAIN[0]}\r\n".encode())
    source = _build(tmp_path)
    assert source.table["split"].value_counts().to_dict() == COUNTS
    assert source.warnings == [
        "name_train.txt: 1 names twice, counted once",
        "ignored (pictures of image_test that name_test.txt lacks): 1",
        COUNT_WARNING,
    ]


def test_without_the_lists_the_folders_are_read(tmp_path: Path) -> None:
    top = write_veri(tmp_path)
    with_lists = _build(tmp_path).table
    for path in top.glob("*.txt"):
        path.unlink()
    (top / "image_test/Thumbs.db").write_bytes(b"")
    source = _build(tmp_path)
    assert source.table.equals(with_lists)
    assert source.warnings == [COUNT_WARNING]


def test_a_listed_picture_that_is_not_there_is_an_error_or_left_out(tmp_path: Path) -> None:
    top = write_veri(tmp_path)
    (top / "image_test" / VERI_GALLERY[3]).unlink()
    with pytest.raises(ValueError, match=f"1 of 68 pictures .*VeRi/image_test/{VERI_GALLERY[3]}"):
        _build(tmp_path, allow_partial=False)
    assert _build(tmp_path).warnings[0].startswith("left out: 1 of 68 pictures are in the official")


@pytest.mark.parametrize("stem", ["gt_index", "jk_index", "jk_index_776"])
def test_official_answers_that_disagree_with_the_camera_rule_are_counted(
    tmp_path: Path, stem: str
) -> None:
    top = write_veri(tmp_path)
    path = top / f"{stem.removesuffix('_776')}.txt"
    lines = path.read_text(encoding="ascii").splitlines()
    # From 0 instead of 1 in one line, and a number of another vehicle in another.
    lines[0] = " ".join(str(int(number) - 1) for number in lines[0].split())
    lines[2] += " 44"
    path.write_text("\n".join(lines) + "\n\n", encoding="ascii")
    path.rename(top / f"{stem}.txt")
    assert (
        f"{stem}.txt and the camera rule disagree on 2 of 4 queries (4 lines); the rule is what "
        "scores are made with"
    ) in _build(tmp_path).warnings


def test_answers_with_lines_missing_or_without_the_lists_that_they_number_are_said(
    tmp_path: Path,
) -> None:
    top = write_veri(tmp_path)
    lines = (top / "jk_index.txt").read_text(encoding="ascii").splitlines()
    (top / "jk_index.txt").write_text("\n".join(lines[:3]), encoding="ascii")
    assert list_answers(VERI_QUERY[3], is_junk=True)
    said = _build(tmp_path).warnings
    assert any(
        "jk_index.txt and the camera rule disagree on 1 of 4 queries" in line for line in said
    )
    (top / "name_test.txt").unlink()
    said = _build(tmp_path).warnings
    assert "gt_index.txt is not compared: name_query.txt or name_test.txt is missing" in said


def test_views_come_from_lists_of_key_points_doubled_lines_and_all(tmp_path: Path) -> None:
    top = write_veri(tmp_path / "raw")
    (tmp_path / "key_points").mkdir()
    # All names of image_test, so those of the queries too; 500 lines twice in the real list.
    write_key_points(tmp_path / "key_points/test.txt", VERI_GALLERY * 12, num_doubled=500)
    lines = (tmp_path / "key_points/test.txt").read_bytes()
    train = write_key_points(tmp_path / "key_points/train.txt", VERI_TRAIN[2:], num_doubled=1)
    train.write_bytes(train.read_bytes().replace(b"0001_c020", b"image_train/0001_c020"))
    assert lines.count(b"\r\n") == 12 * 44 + 500
    table, report = build_index(make_veri(str(tmp_path / "key_points")), tmp_path / "raw")
    seen = table[table["view"].notna()]
    assert (seen["view"] == seen["camera"] % 8).all()
    assert str(table["view"].dtype) == "Int64" and len(seen) == 66
    assert "2 of 68 pictures have no known view: 2 train" in report.warnings
    # One list, by its place in the set's own folder.
    shutil.copy(tmp_path / "key_points/test.txt", top / "keypoint_test.txt")
    said = _build(tmp_path / "raw", views="keypoint_test.txt").warnings
    assert "20 of 68 pictures have no known view: 20 train" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"12.5 40 1 ", b"12.5 40 8 "),
        (b"12.5 40 1 ", b"12.5 40 1 0"),
        (b"12.5 40 1 ", b"12.5 1"),
        (b"12.5 40 1 ", b"12.5 40 back"),
    ],
)
def test_a_line_of_key_points_of_another_form_is_named_with_its_number(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    write_veri(tmp_path)
    path = write_key_points(tmp_path / "points.txt", VERI_QUERY, num_doubled=0)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=r"points\.txt:1: expected 42 fields that end with one"):
        _build(tmp_path, views=str(path))


def test_two_views_of_one_picture_are_an_error(tmp_path: Path) -> None:
    write_veri(tmp_path)
    path = write_key_points(tmp_path / "points.txt", VERI_QUERY[:1], num_doubled=1)
    path.write_bytes(path.read_bytes()[::-1].replace(b"1", b"2", 1)[::-1])
    with pytest.raises(ValueError, match=rf"points\.txt:2: .* wherever {VERI_QUERY[0]} is named"):
        _build(tmp_path, views=str(path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"VeRi-776, .* got null.*vehiclereid.*on e-mail"):
        veri.fetch(make_veri(), tmp_path)
    with pytest.raises(FileNotFoundError, match="image_train, image_query, image_test of VeRi-776"):
        _build(tmp_path)
    write_veri(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dataset\.options\.views: .* gone\.txt does not"):
        _build(tmp_path, views="gone.txt")


def test_val_holds_out_vehicles_and_the_label_map_follows_the_rest(tmp_path: Path) -> None:
    write_veri(tmp_path)
    table, report = build_index(make_veri(val_ratio=0.4), tmp_path)
    val = table[table["split"] == "val"]
    assert val["identity"].nunique() == 2 and report.counts["train"] + len(val) == 20
    assert len(report.class_names) == 3
    assert set(val["identity"]).isdisjoint(table.loc[table["split"] == "train", "identity"])


def test_a_list_that_names_an_absolute_path_names_no_picture_there(tmp_path: Path) -> None:
    top = write_veri(tmp_path)
    with open(top / "name_train.txt", "ab") as stream:
        stream.write(b"/etc/passwd\r\n")
    with pytest.raises(ValueError, match="are in the official lists and not in their folder: "):
        _build(tmp_path, allow_partial=False)
