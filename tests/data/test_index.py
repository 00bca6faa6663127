"""The index is checked, canonical, and has one digest on every machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcal.data import indexing
from dcal.data.index import IndexReport, compute_digest, read_index, write_index
from dcal.data.indexing import build_index, check_table
from dcal.data.sources import SourceTable
from tests.data.factory import make_dataset, write_folder, write_picture

COUNTS = {"train": {"a": 4, "b": 4}, "test": {"a": 2, "b": 1}}


def _make_source(**changes: Any) -> SourceTable:
    rows = [("a/1.png", "train", 0), ("b/1.png", "train", 1), ("b/2.png", "test", 1)]
    keys: dict[str, Any] = {
        "table": pd.DataFrame(rows, columns=["path", "split", "label"]),
        "class_names": ["a", "b"],
        "part_names": [],
        "discriminative_parts": [],
        "warnings": [],
    }
    return SourceTable(**{**keys, **changes})


class _FakeModule:
    """A data set whose table is given."""

    def __init__(self, source: SourceTable) -> None:
        self.source = source

    def build_table(self, dataset: object, root: Path) -> SourceTable:
        return self.source


def _build(
    source: SourceTable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[pd.DataFrame, IndexReport]:
    monkeypatch.setattr(indexing, "get_source", lambda dataset: _FakeModule(source))
    for number, path in enumerate(source.table["path"]):
        write_picture(root / path, seed=number)
    return build_index(make_dataset(), root)


def test_index_says_size_class_and_digest_of_every_picture(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    calls: list[tuple[int, int]] = []
    table, report = build_index(
        make_dataset(), tmp_path, on_picture=lambda done, total: calls.append((done, total))
    )
    assert set(table["width"]) == {18} and set(table["height"]) == {12}
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert table["class_name"].tolist() == [path.split("/")[1] for path in table["path"]]
    assert report.counts == {"train": 6, "val": 2, "test": 3}
    assert calls == [(done, 11) for done in range(1, 12)]
    assert table["split"].tolist() == ["train"] * 6 + ["val"] * 2 + ["test"] * 3


def test_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    image = Image.open(tmp_path / "test/a/000.png")
    exif = image.getexif()
    exif[0x0112] = 8
    image.save(tmp_path / "test/a/000.png", exif=exif)
    table, _ = build_index(make_dataset(), tmp_path)
    turned = table.set_index("path").loc["test/a/000.png"]
    assert (turned["width"], turned["height"]) == (12, 18)


def test_index_survives_the_file_with_its_types(tmp_path: Path) -> None:
    table, report = build_index(make_dataset(), write_folder(tmp_path / "raw", COUNTS))
    write_index(tmp_path / "index", table, report)
    again, same = read_index(tmp_path / "index")
    assert same == report
    pd.testing.assert_frame_equal(again, table)
    assert str(again["camera"].dtype) == "Int64" and again["camera"].isna().all()
    assert compute_digest(again) == report.digest


def test_two_preparations_write_the_same_bytes(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "raw", COUNTS)
    for name in ("one", "two"):
        write_index(tmp_path / name, *build_index(make_dataset(), root))
    for name in ("index.parquet", "report.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_digest_is_blind_to_row_order_and_dtype_and_sees_each_value() -> None:
    table = pd.DataFrame(
        {
            "path": ["a", "b"],
            "split": ["train", "test"],
            "label": np.array([0, 1], dtype=np.int64),
            "box_x": [0.1, 2.0],
            "camera": pd.array([1, None], dtype="Int64"),
            "part_xs": [[1.5], []],
        }
    )
    digest = compute_digest(table)
    assert compute_digest(table.iloc[::-1]) == digest
    assert compute_digest(table[sorted(table.columns, reverse=True)]) == digest
    arrays = table.assign(part_xs=pd.Series([np.array([1.5]), np.array([])]))
    assert compute_digest(arrays.astype({"label": np.int32})) == digest
    assert compute_digest(table.assign(box_x=[np.nextafter(0.1, 1), 2.0])) != digest
    assert compute_digest(table.assign(camera=pd.array([1, 2], dtype="Int64"))) != digest
    assert compute_digest(table.assign(part_xs=pd.Series([[1.5], [1.5]]))) != digest


def test_digest_is_that_of_one_json_line_a_row() -> None:
    table = pd.DataFrame(
        {"path": ["b", "a"], "split": "train", "label": [0, 1], "box_x": [0.5, None]}
    )
    lines = (
        b'{"box_x": null, "label": 1, "path": "a", "split": "train"}\n'
        b'{"box_x": 0.5, "label": 0, "path": "b", "split": "train"}\n'
    )
    assert compute_digest(table) == hashlib.sha256(lines).hexdigest()


def test_all_pictures_that_cannot_be_decoded_are_listed_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    (tmp_path / "train/a/000.png").write_bytes(b"")
    path = tmp_path / "test/b/000.png"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"2 of 11 .*train/a/000\.png.*; .*test/b/000\.png"):
        build_index(make_dataset(), tmp_path)


def test_damaged_pictures_are_left_out_and_counted_where_that_is_allowed(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    for name in ("train/a/000.png", "test/b/000.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "test/b/more.png").write_bytes((tmp_path / "test/a/000.png").read_bytes())
    table, report = build_index(make_dataset(allow_partial=True), tmp_path)
    assert report.num_left_out == 2
    assert sum(report.counts.values()) == len(table) == 10
    assert report.warnings == [
        "left out: 2 of 12 pictures, which cannot be used: train/a/000.png; test/b/000.png"
    ]
    assert not set(table["path"]) & {"train/a/000.png", "test/b/000.png"}
    assert compute_digest(table) == report.digest


def test_the_warning_on_pictures_left_out_names_the_first_twenty(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 26, "b": 4}, "test": COUNTS["test"]})
    for number in range(25):
        (tmp_path / f"train/a/{number:03d}.png").write_bytes(b"")
    _, report = build_index(make_dataset(allow_partial=True, val_ratio=0.0), tmp_path)
    (warning,) = report.warnings
    assert warning.startswith("left out: 25 of 33 pictures") and warning.endswith(
        "019.png; and 5 more"
    )


def test_a_class_or_a_split_that_loses_all_its_pictures_is_refused_all_the_same(
    tmp_path: Path,
) -> None:
    dataset = make_dataset(allow_partial=True, val_ratio=0.0)
    for damaged, message in (
        ("train/b", r"1 classes have no training picture that can be used: b; .*000\.png"),
        ("test", "no test picture can be used"),
    ):
        root = write_folder(tmp_path / damaged[:4], COUNTS)
        for path in (root / damaged).rglob("*.png"):
            path.write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            build_index(dataset, root)


def test_classes_that_differ_by_case_or_by_how_accents_are_stored_are_refused() -> None:
    for names in (["Robin", "robin"], ["caf\u00e9", "cafe\u0301"], ["STRASSE", "stra\u00dfe"]):
        with pytest.raises(ValueError, match=rf"class names: {names[0]} and {names[1]} are one"):
            check_table(_make_source(class_names=names), kind="fgvc")


@pytest.mark.parametrize("damage", ["report.json", "index.parquet"])
def test_an_index_that_is_damaged_or_of_another_version_says_what_to_run(
    damage: str, tmp_path: Path
) -> None:
    write_index(tmp_path / "index", *build_index(make_dataset(), write_folder(tmp_path, COUNTS)))
    (tmp_path / "index" / damage).write_text("{}")
    with pytest.raises(ValueError, match=r"run: python -m pipelines\.prepare") as caught:
        read_index(tmp_path / "index")
    assert "\n" not in str(caught.value)


def test_copies_between_train_and_other_splits_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": COUNTS["train"], "test": COUNTS["test"], "val": {"a": 1}})
    content = (tmp_path / "train/a/000.png").read_bytes()
    for name in ("test/a/000.png", "test/a/001.png", "train/b/000.png"):
        (tmp_path / name).write_bytes(content)
    _, report = build_index(make_dataset(val_ratio=0.0), tmp_path)
    assert report.warnings == [
        "2 of 3 test pictures are also in train",
        "1 pictures are in train under more than one class",
    ]


def test_parts_boxes_and_cameras_of_a_source_reach_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _make_source().table.assign(
        camera=[1, 2, 2],
        mask=["m.png"] * 3,
        part_names=pd.Series([["beak"], [], ["beak", "tail"]]),
    )
    Image.new("L", (18, 12)).save(tmp_path / "m.png")
    source = _make_source(
        table=table, part_names=["beak", "tail"], discriminative_parts=["tail"], warnings=["odd"]
    )
    built, report = _build(source, tmp_path, monkeypatch)
    assert built["camera"].tolist() == [1, 2, 2]
    assert built["part_names"].tolist() == [["beak"], [], ["beak", "tail"]]
    assert (report.part_names, report.discriminative_parts) == (["beak", "tail"], ["tail"])
    assert report.warnings[0] == "odd"
    assert "box_x" not in built


@pytest.mark.parametrize("size", [None, (18, 13)])
def test_a_mask_must_be_there_in_the_pictures_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None
) -> None:
    if size is not None:
        Image.new("L", size).save(tmp_path / "m.png")
    source = _make_source(table=_make_source().table.assign(mask="m.png"))
    with pytest.raises(ValueError, match=r"3 of 3 pictures cannot be used.*m\.png"):
        _build(source, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("split", ["train", "train", "valid"], "index splits"),
        ("label", [0, 2, 2], r"index labels: expected 0\.\.1, one a class name; got 0\.\.2"),
        ("label", [0, 0, 1], "index labels: expected train pictures of every class"),
        ("label", [0, -1, 1], r"index labels: expected 0\.\.1, one a class name; got -1\.\.1"),
        ("path", ["a/1.png", "a/1.png", "b"], "listed twice, such as a/1.png"),
        ("path", ["../a", "b", "c"], r"below the raw root; got \.\./a"),
        ("path", ["/a", "b", "c"], "below the raw root; got /a"),
        ("colour", ["red", "red", "red"], "index columns"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(
    column: str, values: list[Any], message: str
) -> None:
    check_table(_make_source(), kind="fgvc")
    table = _make_source().table
    table[column] = values
    with pytest.raises(ValueError, match=message):
        check_table(_make_source(table=table), kind="fgvc")


def test_names_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="a and a are one name"):
        check_table(_make_source(class_names=["a", "a"]), kind="fgvc")
    with pytest.raises(ValueError, match=r"\['tail'\] are not among the part names"):
        check_table(_make_source(part_names=["beak"], discriminative_parts=["tail"]), kind="fgvc")


def test_an_index_that_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run: python -m pipelines\.prepare"):
        read_index(tmp_path)


def test_a_report_names_what_is_missing_among_its_warnings(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 2, "b": 2}, "test": {"a": 2, "b": 1}})
    (tmp_path / "train/a/000.png").write_bytes(b"")
    (tmp_path / "train/readme.txt").write_bytes(b"")
    dataset = make_dataset(val_ratio=0.0, allow_partial=True)
    _, report = build_index(dataset, tmp_path)
    assert len(report.warnings) == 2
    assert report.partial == ["left out: 1 of 7 pictures, which cannot be used: train/a/000.png"]


def test_test_pictures_that_chose_the_epoch_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 1, "b": 1}, "val": {"a": 1}, "test": {"a": 2, "b": 1}})
    content = (tmp_path / "val/a/000.png").read_bytes()
    (tmp_path / "test/a/001.png").write_bytes(content)
    _, report = build_index(make_dataset(val_ratio=0.0), tmp_path)
    assert report.warnings == ["1 of 3 test pictures are also in val"]


def test_headers_alone_give_the_same_index_and_do_not_see_what_follows(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 2, "b": 2}, "test": {"a": 2, "b": 1}})
    whole = {verify: build_index(make_dataset(verify=verify), tmp_path)
             for verify in ("pixels", "headers")}  # fmt: skip
    assert whole["pixels"][1] == whole["headers"][1]
    path = tmp_path / "train/a/000.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="1 of 7 pictures cannot be used"):
        build_index(make_dataset(verify="pixels"), tmp_path)
    build_index(make_dataset(verify="headers"), tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 7 pictures cannot be used"):
        build_index(make_dataset(verify="headers"), tmp_path)


@pytest.mark.parametrize("verify", ["pixels", "headers"])
def test_a_pipe_with_a_pictures_name_is_an_error_and_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: str
) -> None:
    write_picture(tmp_path / "a.png", seed=0)
    os.mkfifo(tmp_path / "b.png")
    table = pd.DataFrame(
        {"path": ["a.png", "b.png", "a.png"], "split": "train", "label": [0, 1, 1]}
    )
    monkeypatch.setattr(indexing, "get_source", lambda dataset: _FakeModule(
        SourceTable(table.drop(index=2), ["x", "y"])))  # fmt: skip
    with pytest.raises(ValueError, match=r"b\.png: cannot be decoded \(it is no ordinary file"):
        build_index(make_dataset(verify=verify), tmp_path)
