"""Drawn vehicles as a data set: files, index, and options that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcal.config import ConfigError, DatasetConfig, read_yaml
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.sources import check_options, vehicles
from dcal.data.synthetic_vehicles import MARK_NAMES, choose_vehicles, draw_vehicle
from tests.data.factory import make_dataset

OPTIONS = {
    "image_size": [32, 48],
    "train_identities": 5,
    "val_identities": 0,
    "test_identities": 3,
    "cameras": 2,
    "images_per_camera": 3,
    "seed": 0,
}


def make_vehicles(
    source: str | None = None, val_ratio: float = 0.0, **changes: Any
) -> DatasetConfig:
    """Return a small data set of drawn vehicles with some options changed."""
    return make_dataset(
        name="small",
        kind="reid",
        source_type="vehicles",
        source=source,
        val_ratio=val_ratio,
        options={**OPTIONS, **changes},
    )


def test_drawn_files_become_an_index_with_a_mask_for_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = make_vehicles(val_identities=2)
    root = fetch_dataset(dataset)

    table, report = build_index(dataset, root)

    assert report.counts == {"train": 30, "val": 12, "query": 6, "gallery": 12}
    assert report.class_names == ["0001", "0002", "0003", "0004", "0005"]
    assert report.part_names == list(MARK_NAMES)
    assert set(report.discriminative_parts) <= set(MARK_NAMES)
    assert report.warnings == []
    assert len(set(table["sha256"])) == 60
    assert table.groupby("camera")["view"].unique().map(list).to_dict() == {1: [0], 2: [1]}
    identities = {split: set(rows["identity"]) for split, rows in table.groupby("split")}
    assert identities == {
        "train": {1, 2, 3, 4, 5},
        "val": {6, 7},
        "query": {8, 9, 10},
        "gallery": {8, 9, 10},
    }
    row = table[(table["split"] == "gallery") & (table["identity"] == 9)].iloc[-1]
    expected = draw_vehicle(
        choose_vehicles(10, seed=0)[8], camera=2, seed=0, index=2, image_size=(32, 48)
    )
    np.testing.assert_array_equal(np.asarray(Image.open(root / row["path"])), expected.image)
    np.testing.assert_array_equal(np.asarray(Image.open(root / row["mask"])), expected.mask)


def test_every_identity_and_camera_has_one_query_and_a_match_under_another_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = make_vehicles(cameras=3, images_per_camera=2)
    table, _ = build_index(dataset, fetch_dataset(dataset))
    queries = table[table["split"] == "query"]
    assert not queries.duplicated(["identity", "camera"]).any() and len(queries) == 9
    gallery = table[table["split"] == "gallery"]
    assert (gallery.groupby(["identity", "camera"]).size() == 1).all()


def test_a_ratio_beside_drawn_val_pictures_is_said_to_be_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = make_vehicles(val_ratio=0.5)
    _, report = build_index(dataset, fetch_dataset(dataset))
    assert report.warnings == ["dataset.val_ratio is not used, because val is drawn"]


def test_the_committed_options_are_taken(repository: Path) -> None:
    tree = read_yaml(repository / "experiments" / "dataset" / "vehicles.yaml")
    check_options(DatasetConfig.model_validate(tree))


def test_an_option_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="camera: unknown key; did you mean cameras"):
        check_options(make_vehicles(camera=3))
    with pytest.raises(ConfigError, match="images_per_camera: .* greater than or equal to 2"):
        check_options(make_vehicles(images_per_camera=1))


def test_a_folder_of_the_user_is_refused_because_vehicles_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match="vehicles are drawn"):
        fetch_dataset(make_vehicles(source="pictures"))
    assert not (tmp_path / "data" / "raw" / "small").exists()


def test_a_folder_without_drawn_vehicles_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run: python -m pipelines\.fetch"):
        vehicles.build_table(make_vehicles(), tmp_path)
