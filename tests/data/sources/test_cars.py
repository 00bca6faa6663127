"""Both packagings of Stanford Cars give one table, and unsigned bytes do not wrap."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from dcal.config import DatasetConfig
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.official import OfficialCountError
from dcal.data.raw import raw_root
from dcal.data.sources import SourceTable, cars
from tests.data.factory import make_dataset, write_picture, write_tar
from tests.data.official_fixtures import (
    CAR_NAMES,
    CARS,
    make_structs,
    save_cells,
    write_car_records,
    write_cars,
    write_joint_cars,
    write_msmt17,
)


def _make(**changes: Any) -> DatasetConfig:
    keys = {"source_type": "cars", "val_ratio": 0.0, "allow_partial": True, "remote": "private"}
    return make_dataset(name="cars", **{**keys, **changes})


def _build(root: Path, **changes: Any) -> SourceTable:
    return cars.build_table(_make(**changes), root)


def test_every_record_is_a_row_with_its_class_split_and_box(tmp_path: Path) -> None:
    source = _build(write_cars(tmp_path))
    assert source.class_names == CAR_NAMES
    assert source.table["path"].tolist() == [
        *(f"cars_train/{number:05d}.jpg" for number in (1, 2, 3, 4)),
        *(f"cars_test/{number:05d}.jpg" for number in (1, 2, 3)),
    ]
    assert source.table["split"].tolist() == ["train"] * 4 + ["test"] * 3
    assert source.table["label"].tolist() == [0, 1, 2, 1, 2, 0, 1]
    # Corners from 1, both inside: 255 - 1 + 1 is no 255 of a byte that wraps.
    records = [box for boxes in CARS.values() for _, *box in boxes]
    for row, (x1, y1, x2, y2) in zip(source.table.itertuples(), records, strict=True):
        box = (row.box_x, row.box_y, row.box_width, row.box_height)
        assert box == (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)


def test_the_joint_packaging_has_the_same_labels_splits_and_pictures(tmp_path: Path) -> None:
    table, _ = build_index(_make(), write_cars(tmp_path / "split"))
    joint, report = build_index(_make(), write_joint_cars(tmp_path / "joint"))
    columns = ["split", "label", "class_name", "sha256", "box_x", "box_y", "box_width"]
    pd.testing.assert_frame_equal(
        table[columns].sort_values("sha256", ignore_index=True),
        joint[columns].sort_values("sha256", ignore_index=True),
    )
    assert report.counts == {"train": 4, "test": 3} and not report.redistributable


def _double(top: Path, name: str) -> None:
    (top / name).rename(top / "moved")
    (top / name).mkdir()
    (top / "moved").rename(top / name / name)


@pytest.mark.parametrize("kind", ["wrapped", "doubled", "devkit", "labels_inside"])
def test_repackagings_are_read_alike(tmp_path: Path, kind: str) -> None:
    expected = _build(write_cars(tmp_path / "official")).table
    top = write_cars(tmp_path / "other" / ("stanford_cars" if kind == "wrapped" else ""))
    if kind == "doubled":
        _double(top, "cars_train")
        _double(top, "cars_test")
    elif kind == "devkit":
        (top / "car_devkit").mkdir()
        (top / "devkit").rename(top / "car_devkit/devkit")
    elif kind == "labels_inside":
        (top / "cars_test_annos_withlabels.mat").rename(
            top / "devkit/cars_test_annos_withlabels.mat"
        )
    table = _build(tmp_path / "other").table
    names = [path.rpartition("/")[2] for path in table["path"]]
    assert names == [path.rpartition("/")[2] for path in expected["path"]]
    assert all((tmp_path / "other" / path).is_file() for path in table["path"])
    pd.testing.assert_frame_equal(table.drop(columns="path"), expected.drop(columns="path"))


def test_a_devkit_without_test_labels_says_which_file_is_needed(tmp_path: Path) -> None:
    (write_cars(tmp_path) / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"withlabels\.mat .* names no classes"):
        _build(tmp_path)
    write_car_records(tmp_path / "cars_test_annos_withlabels.mat", CARS["test"], has_class=False)
    with pytest.raises(ValueError, match=r"records with .* in annotations; class is missing"):
        _build(tmp_path)


def test_other_counts_are_an_error_of_their_own_unless_allowed(tmp_path: Path) -> None:
    write_cars(tmp_path)
    with pytest.raises(OfficialCountError, match=r"expected 8144 train pictures, found 4"):
        _build(tmp_path, allow_partial=False)
    assert _build(tmp_path).warnings == [
        "not the official set: Stanford Cars: expected 8144 train pictures, found 4; expected 196 "
        "train classes, found 3; expected 8041 test pictures, found 3; expected 196 test classes, "
        "found 3"
    ]


def test_missing_and_stray_pictures_are_told(tmp_path: Path) -> None:
    write_cars(tmp_path)
    (tmp_path / "cars_train/00004.jpg").unlink()
    write_picture(tmp_path / "cars_test/99999.jpg", seed=9)
    with pytest.raises(ValueError, match=r"1 of 7 pictures are .* folder: cars_train/00004\.jpg"):
        _build(tmp_path, allow_partial=False)
    source = _build(tmp_path)
    assert len(source.table) == 6
    assert source.warnings[0].startswith("left out: 1 of 7 pictures")
    assert source.warnings[1] == "ignored (pictures that no official list names): 1"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("class", 0, "whole number from 1 to 3 in class; got 0"),
        ("class", 4, "whole number from 1 to 3 in class; got 4"),
        ("class", 1.5, "in class; got 1.5"),
        ("class", "x", "in class; got 'x'"),
        ("bbox_x1", np.array([[1, 2]]), "in bbox_x1; got None"),
        ("fname", 3, "expected a text in fname; got 3"),
        ("fname", "..", "expected a file name in fname"),
    ],
)
def test_a_record_of_other_values_is_named(
    tmp_path: Path, field: str, value: Any, message: str
) -> None:
    write_cars(tmp_path)
    row = {"bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 2, "bbox_y2": 2, "class": 1, "fname": "00001.jpg"}
    structs = make_structs([row, row])
    structs[0, 1][field] = value
    savemat(tmp_path / "devkit/cars_train_annos.mat", {"annotations": structs})
    with pytest.raises(ValueError, match=rf"cars_train_annos\.mat, record 2: .*{message}"):
        _build(tmp_path)


def test_a_path_that_climbs_out_is_taken_for_its_file_name(tmp_path: Path) -> None:
    write_joint_cars(tmp_path)
    rows = [
        {"relative_im_path": f"../../etc/{number:06d}.jpg", "bbox_x1": 1, "bbox_y1": 1,
         "bbox_x2": 2, "bbox_y2": 2, "class": number, "test": 0}
        for number in (1, 2)
    ]  # fmt: skip
    names = np.array([CAR_NAMES], dtype=object)
    savemat(tmp_path / "cars_annos.mat", {"annotations": make_structs(rows), "class_names": names})
    assert _build(tmp_path).table["path"].tolist() == [f"car_ims/{n:06d}.jpg" for n in (1, 2)]


def test_another_matlab_file_is_named(tmp_path: Path) -> None:
    write_cars(tmp_path)
    save_cells(tmp_path / "devkit/cars_meta.mat", "names", CAR_NAMES)
    with pytest.raises(
        ValueError, match=r"cars_meta\.mat: expected the variable class_names; got 'names'"
    ):
        _build(tmp_path)
    (tmp_path / "devkit/cars_meta.mat").write_bytes(b"\x89HDF\r\n\x1a\n" * 40)
    with pytest.raises(ValueError, match=r"cars_meta\.mat: not a MATLAB file of version 5"):
        _build(tmp_path)


def test_a_set_that_is_not_there_is_asked_for_with_page_terms_files_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        fetch_dataset(_make(source=None))
    said = str(error.value)
    for part in ("jkrause/cars", "research only", "cars_train.tgz, 979 MB", "cars_annos.mat"):
        assert part in said
    assert not (tmp_path / "data/raw/cars").exists()


def test_a_folder_is_used_in_place_and_an_archive_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    top = write_cars(tmp_path / "stanford_cars")
    fetch_dataset(_make(source=str(top)))
    assert raw_root(_make()) == top.resolve()
    archive = write_tar(tmp_path / "cars.tgz", top)
    shutil.rmtree(top)
    fetch_dataset(_make(source=str(archive)))
    assert len(_build(raw_root(_make())).table) == 7


def test_a_folder_of_official_archives_is_unpacked_after_their_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    top = write_cars(tmp_path / "unpacked")
    held = tmp_path / "archives"
    held.mkdir()
    for name, folder in (("cars_train", "cars_train"), ("cars_test", "cars_test")):
        write_tar(held / f"{name}.tgz", top / folder)
    write_tar(held / "car_devkit.tgz", top / "devkit")
    shutil.copyfile(top / "cars_test_annos_withlabels.mat", held / "cars_test_annos_withlabels.mat")
    with pytest.raises(ValueError, match=r"cars_train\.tgz: expected the official file"):
        fetch_dataset(_make(source=str(held)))
    monkeypatch.setattr("dcal.data.source_path.verify", lambda item, path: True)
    with caplog.at_level(logging.INFO):
        fetch_dataset(_make(source=str(held)))
    assert len(_build(raw_root(_make())).table) == 7
    assert "car_devkit.tgz: unpacked, 4 files" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_another_set_in_its_place_is_told_by_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_msmt17(tmp_path / "other")
    if kind == "archive":
        source = write_tar(tmp_path / "cars_train.tgz", source)
    dataset = _make(source=str(source))
    fetch_dataset(dataset)
    with pytest.raises(FileNotFoundError, match=r"cars_train, cars_test, or car_ims of Stanford"):
        build_index(dataset, raw_root(dataset))
