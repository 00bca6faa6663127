"""CUB's text files are joined by id, and its traps do not bite."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dcal.config import DatasetConfig
from dcal.data import source_path
from dcal.data.fetching import fetch_dataset
from dcal.data.index import read_index, write_index
from dcal.data.indexing import build_index
from dcal.data.official import Count, OfficialCountError
from dcal.data.raw import raw_root
from dcal.data.remote_file import Download
from dcal.data.sources import SourceTable, cub
from tests.data.cub_fixture import IS_TRAINING, PART_LOCATIONS, PICTURES, write_cub, write_lines
from tests.data.factory import make_dataset, write_tar


def _make_dataset(*, allow_partial: bool = True, val_ratio: float = 0.0) -> DatasetConfig:
    return make_dataset(
        name="cub",
        source_type="cub",
        val_ratio=val_ratio,
        remote="private",
        allow_partial=allow_partial,
    )


def _build(root: Path) -> SourceTable:
    return cub.build_table(_make_dataset(), root)


def test_pictures_are_those_of_images_txt_with_their_own_class_split_and_box(
    tmp_path: Path,
) -> None:
    write_cub(tmp_path)
    source = _build(tmp_path)
    assert source.class_names == ["001.Black_footed_Albatross", "002.Chuck_will_Widow"]
    table = source.table.set_index("path")
    assert list(table.index) == [f"CUB_200_2011/images/{name}" for name in PICTURES]
    assert table["label"].tolist() == [0] * 4 + [1] * 4
    assert table["split"].tolist() == [["test", "train"][flag] for flag in IS_TRAINING]
    assert table["box_x"].tolist() == [float(number) for number in range(1, 9)]
    assert set(table["box_height"]) == {25.5}


def test_only_visible_parts_are_kept_and_their_names_may_hold_blanks(tmp_path: Path) -> None:
    write_cub(tmp_path)
    source = _build(tmp_path)
    assert source.part_names == ["back", "left eye", "right wing"]
    for image_id, row in enumerate(source.table.itertuples(), start=1):
        seen = [part for part in PART_LOCATIONS if part[0] == image_id and part[4]]
        assert row.part_names == [source.part_names[part[1] - 1] for part in seen]
        assert row.part_xs == [part[2] for part in seen]
        assert row.part_ys == [part[3] for part in seen]


def test_a_picture_without_visible_parts_has_empty_lists(tmp_path: Path) -> None:
    top = write_cub(tmp_path)
    write_lines(top / "parts/part_locs.txt", ["1 1 5.0 6.0 1", "2 1 0.0 0.0 0"])
    assert _build(tmp_path).table["part_names"].tolist() == [["back"], *[[]] * 7]


def test_index_of_cub_survives_the_file(tmp_path: Path) -> None:
    write_cub(tmp_path)
    table, report = build_index(_make_dataset(val_ratio=0.34), tmp_path)
    assert report.counts == {"train": 4, "val": 2, "test": 2}
    assert set(table["width"]) == {40} and set(table["height"]) == {30}
    write_index(tmp_path / "index", table, report)
    again, same = read_index(tmp_path / "index")
    assert same == report
    assert again["part_xs"].map(list).tolist() == table["part_xs"].tolist()
    assert not report.redistributable


def test_other_counts_than_the_official_ones_stop_unless_allowed(tmp_path: Path) -> None:
    write_cub(tmp_path)
    assert _build(tmp_path).warnings == [
        "not the official set: CUB-200-2011: expected 5994 train pictures, found 6; expected 200 "
        "train classes, found 2; expected 5794 test pictures, found 2; expected 200 test classes, "
        "found 2"
    ]
    with pytest.raises(OfficialCountError, match=r"set dataset\.allow_partial to true"):
        cub.build_table(_make_dataset(allow_partial=False), tmp_path)


def test_the_official_counts_pass_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cub(tmp_path)
    counts = {"train": Count(6, 2), "test": Count(2, 2)}
    monkeypatch.setattr(cub, "CUB", dataclasses.replace(cub.CUB, counts=counts))
    dataset = _make_dataset(allow_partial=False, val_ratio=0.34)
    assert cub.build_table(dataset, tmp_path).warnings == []


def test_the_archives_own_folder_may_be_the_root(tmp_path: Path) -> None:
    top = write_cub(tmp_path)
    assert _build(top).table["path"].iloc[0] == f"images/{PICTURES[0]}"


@pytest.mark.parametrize(
    "name",
    ["classes.txt", "image_class_labels.txt", "bounding_boxes.txt", "parts/part_locs.txt"],
)
def test_a_missing_text_file_is_named(tmp_path: Path, name: str) -> None:
    (write_cub(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: missing"):
        _build(tmp_path)


def test_a_folder_that_is_not_cub_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected images\.txt of CUB-200-2011"):
        _build(tmp_path)


def test_a_picture_without_a_record_is_an_error(tmp_path: Path) -> None:
    top = write_cub(tmp_path)
    write_lines(top / "bounding_boxes.txt", [f"{i} 1.0 1.0 2.0 2.0" for i in range(1, 8)])
    with pytest.raises(ValueError, match="1 pictures .* such as image_id 8"):
        _build(tmp_path)


@pytest.mark.parametrize("line", ["x 3", "9", "1 1"])
def test_a_line_that_is_no_record_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    top = write_cub(tmp_path)
    with open(top / "train_test_split.txt", "a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(
        ValueError, match=r"train_test_split\.txt:9: expected a (new id|whole number)"
    ):
        _build(tmp_path)


def test_the_users_archive_is_unpacked_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "CUB_200_2011.tgz", write_cub(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    dataset = _make_dataset().model_copy(update={"source": str(archive)})
    fetch_dataset(dataset)
    table, _ = build_index(dataset, raw_root(dataset))
    assert len(table) == len(PICTURES)


def test_without_a_source_the_official_archive_is_verified_and_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "CUB_200_2011.tgz", write_cub(tmp_path))
    asked: list[Download] = []

    def download(item: Download, folder: Path) -> Path:
        asked.append(item)
        return archive

    monkeypatch.setattr(source_path, "download", download)
    cub.fetch(_make_dataset(), tmp_path / "target")
    assert (tmp_path / "target/CUB_200_2011/images.txt").is_file()
    assert asked == [cub.ARCHIVE]
    assert asked[0].checksum.startswith("sha256:0c685df5") and asked[0].num_bytes == 1_150_585_339
