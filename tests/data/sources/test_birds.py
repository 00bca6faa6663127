"""Drawn birds as a data set: files, index, and options that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcal.config import ConfigError, DatasetConfig, read_yaml
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.sources import check_options
from dcal.data.synthetic import PART_NAMES, choose_classes, draw_bird
from tests.data.factory import make_dataset

OPTIONS = {
    "image_size": [32, 48],
    "num_classes": 5,
    "train_images": 3,
    "val_images": 0,
    "test_images": 2,
    "seed": 0,
}


def make_birds(source: str | None = None, **changes: Any) -> DatasetConfig:
    """Return a small data set of drawn birds with some options changed."""
    return make_dataset(
        name="small",
        source_type="birds",
        source=source,
        val_ratio=0.0,
        options={**OPTIONS, **changes},
    )


def test_drawn_files_become_an_index_with_a_mask_for_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = fetch_dataset(make_birds(val_images=1))

    table, report = build_index(make_birds(val_images=1), root)

    assert report.counts == {"train": 15, "val": 5, "test": 10}
    assert report.part_names == list(PART_NAMES)
    assert set(report.discriminative_parts) <= set(PART_NAMES)
    assert report.warnings == []
    assert len(set(table["sha256"])) == 30
    row = table[(table["split"] == "test") & (table["label"] == 2)].iloc[1]
    # Pictures are numbered through train, val and test.
    expected = draw_bird(choose_classes(5, seed=0)[2], seed=0, index=5, image_size=(32, 48))
    np.testing.assert_array_equal(np.asarray(Image.open(root / row["path"])), expected.image)
    np.testing.assert_array_equal(np.asarray(Image.open(root / row["mask"])), expected.mask)


def test_only_parts_that_differ_between_the_classes_are_discriminative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = make_birds(num_classes=2)
    _, report = build_index(dataset, fetch_dataset(dataset))
    first, second = choose_classes(2, seed=0)
    differing = [i for i in range(len(PART_NAMES)) if first[i] != second[i]]
    assert report.discriminative_parts == [PART_NAMES[i] for i in differing]


def test_the_committed_options_are_taken(repository: Path) -> None:
    tree = read_yaml(repository / "experiments" / "dataset" / "birds.yaml")
    check_options(DatasetConfig.model_validate(tree))


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="num_class.* did you mean num_classes"):
        check_options(make_birds(num_class=3))


def test_a_folder_of_the_user_is_refused_because_birds_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match="birds are drawn"):
        fetch_dataset(make_birds(source="pictures"))
    assert not (tmp_path / "data" / "raw" / "small").exists()
