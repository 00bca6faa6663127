"""Market-1501 naming is read as its sets write it, junk and distractors included."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dcal.config import DatasetConfig
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.official import Count, OfficialCountError
from dcal.data.raw import raw_root
from dcal.data.sources import SourceTable, market
from dcal.data.sources._naming import parse_name
from tests.data.factory import make_dataset, write_picture, write_tar
from tests.data.reid_fixtures import MARKET_TRAIN, write_market, write_pictures


def make_market(official: str | None = None, **changes: Any) -> DatasetConfig:
    """Return a Market-1501 data set's section with some keys changed."""
    keys = {"kind": "reid", "source_type": "market", "val_ratio": 0.0, **changes}
    return make_dataset(options={"official": official}, **keys)


def _build(root: Path, **changes: Any) -> SourceTable:
    return market.build_table(make_market(**changes), root)


def _rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0001_c1s1_001051_00.jpg", (1, 1)),
        ("-1_c3s2_000401_03.jpg", (-1, 3)),
        ("0000_c6s4_000151_01.jpg", (0, 6)),
        ("0005_c2_f0046985.jpg", (5, 2)),
        ("0001_c1_1.png", (1, 1)),
        ("0002_c002_00030600_0.jpg", (2, 2)),
        ("0002_c020_00030600_0.jpg", (2, 20)),
        ("1_c12.jpg", (1, 12)),
        ("0001_c-1_5.jpg", (1, None)),
        ("9223372036854775807_c1_5.jpg", (2**63 - 1, 1)),
        ("9223372036854775808_c1_5.jpg", None),
        ("-2_c1s1_000401_03.jpg", None),
        ("anna_c1s1_000401_03.jpg", None),
        ("0001_c0s1_000401_03.jpg", None),
        ("0001_s1_000401_03.jpg", None),
        ("0001_c1", None),
        ("x0001_c1s1_000401_03.jpg", None),
        ("\u0661_c1s1_000401_03.jpg", None),
    ],
)
def test_identity_and_camera_come_from_the_name(
    name: str, expected: tuple[int, int | None] | None
) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize("folder", ["", "Market-1501-v15.09.15"])
def test_the_three_folders_become_the_three_splits(tmp_path: Path, folder: str) -> None:
    write_market(tmp_path / folder)
    source = _build(tmp_path)
    table, report = build_index(make_market(), tmp_path)
    assert report.counts == {"train": 19, "query": 3, "gallery": 8}
    # The labels follow the sorted identities, whatever the order of the files.
    assert source.class_names == ["0002", "0007", "0011", "0020", "0021", "0030"]
    train = table[table["split"] == "train"]
    assert [f"{identity:04d}" for identity in train["identity"]] == train["class_name"].tolist()
    assert (table.loc[table["split"] != "train", "label"] == -1).all()
    assert (table.loc[table["split"] != "train", "class_name"] == "").all()
    by_name = table.set_index(table["path"].str.rpartition("/")[2])
    assert by_name.loc["0001_c2s1_001076_01.jpg.jpg", "camera"] == 2
    assert by_name.loc["-1_c6s4_000401_03.jpg", ["identity", "camera"]].tolist() == [-1, 6]
    gallery = table[table["split"] == "gallery"]
    assert gallery["identity"].tolist() == [-1, -1, 0, 0, 1, 1, 3, 4]
    assert (str(table["identity"].dtype), str(table["camera"].dtype)) == ("Int64", "Int64")


def test_what_is_odd_is_counted(tmp_path: Path) -> None:
    write_market(tmp_path)
    (tmp_path / "query/old").mkdir()
    _, report = build_index(make_market(), tmp_path)
    assert report.warnings == [
        "ignored (folders in query): 1",
        "ignored (other files, such as Thumbs.db): 3",
        "1 of 3 query pictures have no match to be found: no gallery picture of their identity "
        "under another camera",
        "1 of 6 train identities have one picture, so that no other picture shows what stays the "
        "same",
    ]


def test_val_holds_identities_that_a_val_query_can_find(tmp_path: Path) -> None:
    write_market(tmp_path)
    for seed in range(5):
        source = _build(tmp_path, val_ratio=0.34, split_seed=seed)
        val = source.table[source.table["split"] == "val"]
        # 0020 is seen by one camera only, 0021 once.
        assert val["identity"].nunique() == 2 and not set(val["identity"]) & {20, 21}
        assert (val["label"] == -1).all() and len(source.class_names) == 4


@pytest.mark.parametrize("name", ["anna_c1s1_000001_00.jpg", "0001_x.jpg", "-2_c1s1_0_0.jpg"])
def test_a_name_that_says_no_identity_and_camera_is_an_error_naming_it(
    tmp_path: Path, name: str
) -> None:
    write_market(tmp_path)
    write_picture(tmp_path / "query" / name, seed=0)
    with pytest.raises(ValueError, match=rf"1 of 31 pictures have a name .* query/{name}\. Set"):
        _build(tmp_path)
    source = _build(tmp_path, allow_partial=True)
    assert (source.table["split"] == "query").sum() == 3
    assert source.warnings[0].startswith("left out: 1 of 31 pictures have a name")


def test_a_huge_identity_is_kept_to_the_last_digit(tmp_path: Path) -> None:
    write_market(tmp_path)
    write_picture(tmp_path / "bounding_box_test/9007199254740993_c-1_1.jpg", seed=0)
    table, report = build_index(make_market(), tmp_path)
    row = table[table["camera"].isna()].iloc[0]
    assert row["identity"] == 9007199254740993
    assert "the camera rule cannot be applied to 1 of 31 pictures" in report.warnings[-1]


def test_junk_and_distractors_of_the_train_folder_are_left_out_and_counted(tmp_path: Path) -> None:
    write_market(tmp_path)
    write_pictures(
        tmp_path / "bounding_box_train", ["-1_c1s1_000001_00.jpg", "0000_c1s1_000001_00.jpg"]
    )
    source = _build(tmp_path)
    assert "left out: 2 train pictures that are junk (-1) or distractors (0)" in source.warnings
    assert (source.table["split"] == "train").sum() == len(MARKET_TRAIN)


@pytest.mark.parametrize("name", ["-1_c1s1_000001_00.jpg", "0000_c1s1_000001_00.jpg"])
def test_a_query_that_is_junk_or_a_distractor_is_an_error(tmp_path: Path, name: str) -> None:
    write_market(tmp_path)
    write_picture(tmp_path / "query" / name, seed=0)
    with pytest.raises(ValueError, match=rf"1 of 31 pictures of the query folder .*query/{name}"):
        _build(tmp_path)
    source = _build(tmp_path, allow_partial=True)
    assert "left out: 1 of 31 pictures of the query folder are junk" in source.warnings[-1]
    assert (source.table["split"] == "query").sum() == 3


def test_one_identity_only_is_an_error(tmp_path: Path) -> None:
    write_market(tmp_path)
    for path in (tmp_path / "bounding_box_train").glob("*.jpg"):
        if not path.name.startswith("0002"):
            path.unlink()
    with pytest.raises(ValueError, match=r"expected two in train at least, .*; got 1$"):
        build_index(make_market(), tmp_path)


def test_an_identity_of_train_that_is_tested_is_an_error(tmp_path: Path) -> None:
    write_market(tmp_path)
    _rename(tmp_path / "bounding_box_train/0020_c3s1_001051_00.jpg", "0001_c3s1_001051_00.jpg")
    with pytest.raises(ValueError, match=r"1 of train are in query or gallery too, such as 1;"):
        build_index(make_market(), tmp_path)


def test_other_counts_than_the_official_ones_stop_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_market(tmp_path)
    with pytest.raises(OfficialCountError, match="Market-1501: expected 12936 train pictures"):
        _build(tmp_path, official="market1501")
    warnings = _build(tmp_path, official="market1501", allow_partial=True).warnings
    # 2 of the gallery are junk and 2 distractors, which are no identities.
    assert warnings[-1].startswith("not the official set: Market-1501: expected 12936 train")
    assert warnings[-1].endswith(
        "expected 19732 gallery pictures, found 8; expected 750 gallery identities, found 3; "
        "expected 6 gallery cameras, found 4"
    )
    counts = {"train": Count(19, 6, 3), "query": Count(3, 3, 2), "gallery": Count(8, 3, 4)}
    official = dataclasses.replace(market.OFFICIAL["market1501"], counts=counts)
    monkeypatch.setitem(market.OFFICIAL, "market1501", official)
    said = _build(tmp_path, official="market1501").warnings
    assert not any("official" in warning for warning in said)


def test_duke_says_that_it_was_withdrawn_and_its_names_are_read(tmp_path: Path) -> None:
    for folder, names in (
        ("bounding_box_train", ["0001_c2_f0046182.jpg", "0005_c2_f0046985.jpg"]),
        ("query", ["0002_c1_f0044158.jpg"]),
        # 0700 is a distractor without a query: an ordinary identity.
        ("bounding_box_test", ["0002_c8_f0044158.jpg", "0700_c8_f0044158.jpg"]),
    ):
        write_pictures(tmp_path / folder, names, seed=len(folder))
    table, report = build_index(make_market("dukemtmc", allow_partial=True), tmp_path)
    assert table.loc[table["split"] == "gallery", "identity"].tolist() == [2, 700]
    assert any("withdrawn by Duke University" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("official", "said"),
    [(None, "Market-1501 naming"), ("dukemtmc", "withdrawn by Duke University")],
)
def test_without_a_source_nothing_is_fetched_and_what_is_wanted_is_said(
    tmp_path: Path, official: str | None, said: str
) -> None:
    with pytest.raises(FileNotFoundError, match=f"got null.*{said}|{said}.* got null"):
        market.fetch(make_market(official), tmp_path)


def test_a_folder_is_used_in_place_and_an_archive_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_market(tmp_path / "mine")
    archive = write_tar(tmp_path / "mine.tar", tmp_path / "mine")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    digests = set()
    for source in ("../mine", str(archive)):
        dataset = make_market(source=source)
        fetch_dataset(dataset)
        table, _ = build_index(dataset, raw_root(dataset))
        digests.add(tuple(table["sha256"]))
    assert len(digests) == 1


def test_a_missing_folder_and_two_sets_at_once_are_named(tmp_path: Path) -> None:
    write_market(tmp_path / "labeled")
    write_market(tmp_path / "detected")
    with pytest.raises(
        ValueError, match="expected one folder of Market.*detected, .*labeled; set dataset"
    ):
        _build(tmp_path)
    (tmp_path / "labeled/query").rename(tmp_path / "labeled/probe")
    with pytest.raises(FileNotFoundError, match="query, bounding_box_test of Market-1501"):
        _build(tmp_path / "labeled")


def test_a_set_read_for_classification_is_told_what_to_change(tmp_path: Path) -> None:
    write_market(tmp_path)
    with pytest.raises(ValueError, match=r"\('train', 'val', 'test'\) for dataset.kind fgvc"):
        build_index(make_market(kind="fgvc"), tmp_path)


def test_query_pictures_in_the_gallery_warn_only_where_they_stay_in_the_ranking(
    tmp_path: Path,
) -> None:
    write_market(tmp_path)
    content = (tmp_path / "query/0001_c1s1_001051_00.jpg").read_bytes()
    gallery = tmp_path / "bounding_box_test"
    (gallery / "0001_c1s1_009999_00.jpg").write_bytes(content)
    (gallery / "-1_c2s1_009999_00.jpg").write_bytes(content)

    def find_said() -> list[str]:
        _, report = build_index(make_market(), tmp_path)
        return [warning for warning in report.warnings if "byte for byte" in warning]

    assert find_said() == []
    (gallery / "0001_c-1_009999_00.jpg").write_bytes(content)
    (said,) = find_said()
    assert said.startswith("1 of 3 query pictures are also in the gallery") and "flatters" in said
    (gallery / "0003_c2s1_009999_00.jpg").write_bytes(content)
    assert find_said()[1].endswith("under another identity")


def test_all_cameras_equal_or_unknown_is_said(tmp_path: Path) -> None:
    for folder, identities in (
        ("bounding_box_train", (1, 2)),
        ("query", (3,)),
        ("bounding_box_test", (3, 3, 4)),
    ):
        names = [f"{identity:04d}_c{{}}_{shot}.jpg" for shot, identity in enumerate(identities)]
        for camera in ("1", "-1"):
            write_pictures(
                tmp_path / camera / folder,
                [name.format(camera) for name in names],
                seed=len(folder),
            )
    _, report = build_index(make_market(), tmp_path / "1")
    assert "all query and gallery pictures are of camera 1" in report.warnings[-1]
    _, report = build_index(make_market(), tmp_path / "-1")
    assert report.warnings[-1].startswith("no camera is known")
    assert not any("no match to be found" in warning for warning in report.warnings)


def test_two_preparations_of_another_order_give_one_digest(tmp_path: Path) -> None:
    write_market(tmp_path / "a")
    write_market(tmp_path / "b")
    path = tmp_path / "b/bounding_box_train" / MARKET_TRAIN[0]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    reports = [build_index(make_market(), tmp_path / name)[1] for name in "ab"]
    assert reports[0].digest == reports[1].digest
