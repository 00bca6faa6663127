"""FGVC-Aircraft's three levels, its own class order, and the banner that is cut or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcal.config import ConfigError, DatasetConfig
from dcal.data.images import load_image
from dcal.data.indexing import build_index
from dcal.data.official import OfficialCountError
from dcal.data.sources import SourceTable, aircraft, describe_source
from tests.data.factory import make_dataset
from tests.data.official_fixtures import BANNER, FAMILIES, MAKERS, VARIANTS, write_aircraft

OPTIONS = {"level": "variant", "cut_banner": True, "official_val": False}


def _make(options: dict[str, Any] | None = None, **changes: Any) -> DatasetConfig:
    keys = {"source_type": "aircraft", "val_ratio": 0.0, "allow_partial": True, **changes}
    return make_dataset(name="aircraft", options={**OPTIONS, **(options or {})}, **keys)


def _build(root: Path, **options: Any) -> SourceTable:
    return aircraft.build_table(_make(options), root)


def test_classes_have_the_order_of_their_file_and_names_with_blanks_and_slashes(
    tmp_path: Path,
) -> None:
    write_aircraft(tmp_path)
    source = _build(tmp_path)
    assert source.class_names == VARIANTS
    assert source.table["label"].tolist() == [3, 3, 2, 2, 1, 1, 0, 0] * 2 + [3, 2, 1, 0]
    # Trained on train and val together, as papers do.
    assert source.table["split"].tolist() == ["train"] * 16 + ["test"] * 4
    assert source.table["path"][0] == "fgvc-aircraft-2013b/data/images/0034309.jpg"


@pytest.mark.parametrize(("level", "names"), [("family", FAMILIES), ("manufacturer", MAKERS)])
def test_other_levels_have_their_own_classes(
    tmp_path: Path, level: str, names: dict[str, str]
) -> None:
    write_aircraft(tmp_path)
    by_variant, source = _build(tmp_path).table, _build(tmp_path, level=level)
    assert source.class_names == [names[variant] for variant in VARIANTS]
    assert source.table["label"].tolist() == by_variant["label"].tolist()
    assert f"expected {aircraft.NUM_CLASSES[level]} train classes" in source.warnings[0]


def test_boxes_start_at_the_first_pixel(tmp_path: Path) -> None:
    write_aircraft(tmp_path)
    row = _build(tmp_path).table.iloc[1]
    # The file says 1 2 30 21: corners from 1, both inside.
    assert (row.box_x, row.box_y, row.box_width, row.box_height) == (0, 1, 30, 20)


def test_a_picture_without_a_box_has_none(tmp_path: Path) -> None:
    path = write_aircraft(tmp_path) / "data/images_box.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]), encoding="utf-8")
    assert _build(tmp_path).table["box_x"].isna().tolist() == [True] + [False] * 19


@pytest.mark.parametrize("is_cut", [True, False])
def test_the_banner_is_cut_at_full_resolution_where_asked_and_the_file_stays(
    tmp_path: Path, is_cut: bool
) -> None:
    write_aircraft(tmp_path)
    table, _ = build_index(_make({"cut_banner": is_cut}), tmp_path)
    assert set(table["height"]) == {40 if is_cut else 60} and set(table["width"]) == {50}
    path = tmp_path / table["path"][0]
    pixels = np.asarray(load_image(path, cut_bottom=20 if is_cut else 0))
    has_banner = (pixels[-1] == BANNER).all()
    assert has_banner == (not is_cut)
    assert np.asarray(Image.open(path)).shape[0] == 60
    whole = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(pixels, whole[: len(pixels)])


def test_the_official_val_split_is_val_where_asked(tmp_path: Path) -> None:
    write_aircraft(tmp_path)
    source = aircraft.build_table(_make({"official_val": True}, val_ratio=0.1), tmp_path)
    assert source.table["split"].value_counts().to_dict() == {"train": 8, "val": 8, "test": 4}
    assert source.warnings[-1] == (
        "dataset.val_ratio is not used, because options.official_val is true"
    )
    official = describe_source(_make({"official_val": True}))
    assert official is not None
    assert {split: count.pictures for split, count in official.counts.items()} == {
        "train": 3334,
        "val": 3333,
        "test": 3333,
    }


def test_a_held_out_share_is_taken_from_every_class(tmp_path: Path) -> None:
    write_aircraft(tmp_path)
    source = aircraft.build_table(_make(val_ratio=0.25), tmp_path)
    val = source.table[source.table["split"] == "val"]
    assert sorted(val["label"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("folder", ["", "data", "doubled"])
def test_the_folder_may_be_given_at_any_of_its_heights(tmp_path: Path, folder: str) -> None:
    if folder == "doubled":
        write_aircraft(tmp_path / "fgvc-aircraft-2013b")
        root = tmp_path
    else:
        root = write_aircraft(tmp_path) / folder
    assert len(_build(root).table) == 20


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("images_variant_train.txt", "0034309 Concorde", r"a class of variants\.txt; got '0034309"),
        ("images_variant_train.txt", "0000001", r"a class of variants\.txt; got '0000001'"),
        ("images_variant_test.txt", "0034309 A300B4", "a picture that no line before names"),
        ("images_variant_test.txt", "../../x A300B4", "a path below the set's folder"),
        ("images_box.txt", "0034309 1 2 3", "a picture and four numbers"),
        ("images_box.txt", "0034309 1 2 3 nan", "expected a number; got 'nan'"),
    ],
)
def test_a_line_that_is_no_record_is_named(
    tmp_path: Path, file: str, line: str, message: str
) -> None:
    path = write_aircraft(tmp_path) / "data" / file
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, line]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{file}:{len(lines) + 1}: .*{message}"):
        _build(tmp_path)


def test_a_list_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    path = write_aircraft(tmp_path) / "data/images_variant_val.txt"
    path.write_bytes(b"0034309 A300\xff")
    with pytest.raises(ValueError, match=r"images_variant_val\.txt: expected UTF-8.* byte 12"):
        _build(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"images_variant_val\.txt: missing; it is part of"):
        _build(tmp_path)


def test_other_counts_than_those_of_the_level_stop_unless_allowed(tmp_path: Path) -> None:
    write_aircraft(tmp_path)
    with pytest.raises(OfficialCountError, match="expected 6667 train pictures, found 16"):
        aircraft.build_table(_make(allow_partial=False), tmp_path)


def test_an_unknown_level_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"level: .*'variant', 'family' or 'manufacturer'"):
        describe_source(_make({"level": "model"}))


def test_boxes_end_where_the_banner_begins(tmp_path: Path) -> None:
    path = write_aircraft(tmp_path) / "data/images_box.txt"
    names = [line.split()[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(f"{name} 1 11 50 60" for name in names), encoding="utf-8")
    table, report = build_index(_make(), tmp_path)
    assert set(table["box_y"] + table["box_height"]) == {40}
    assert not any("boxes" in warning for warning in report.warnings)
