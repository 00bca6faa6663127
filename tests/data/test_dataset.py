"""What a picture becomes is a function of (seed, epoch, index); no picture distracts itself."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dcal.data.dataset import IndexDataset, Sides, list_sides
from dcal.data.transforms import Transform, build_train_transform
from tests.data.factory import make_config

LABELS = [0, 0, 0, 1, 1, 2]


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


TO_TENSOR = Transform(_to_tensor, resize=(8, 10), interpolation="bicubic")


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    for number in range(len(LABELS)):
        pixels = np.full((8, 10, 3), number * 20, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    paths = [f"{number}.png" for number in range(len(LABELS))]
    # Rows of the whole index, of which this split is a part.
    columns = {
        "path": paths,
        "label": LABELS,
        "camera": pd.array([3, 3, 7, 7, None, 9], dtype="Int64"),
        "view": pd.array([None] * 6, dtype="Int64"),
    }
    return pd.DataFrame(columns, index=range(100, 106))


def _make(table: pd.DataFrame, root: Path, **changes: Any) -> IndexDataset:
    keys: dict[str, Any] = {"root": root, "transform": TO_TENSOR, "seed": 0}
    return IndexDataset(table, **{**keys, **changes})


def test_cameras_are_places_among_those_of_training(table: pd.DataFrame, tmp_path: Path) -> None:
    sides = list_sides(table.iloc[:4])
    assert sides == Sides(cameras=(3, 7), views=())
    dataset = _make(table, tmp_path, sides=sides)
    # Not known, and known but never trained on, are one.
    assert [dataset[(0, i)]["camera"] for i in range(6)] == [0, 0, 1, 1, -1, -1]


def _make_augmented(table: pd.DataFrame, root: Path, **changes: Any) -> IndexDataset:
    config = make_config()
    transform = build_train_transform(
        config.transforms, config.model.image_size, mean=[0.5] * 3, std=[0.5] * 3
    )
    return _make(table, root, transform=transform, **changes)


def test_an_item_is_the_picture_its_label_and_its_row_in_the_index(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    dataset = _make(table, tmp_path)
    assert len(dataset) == 6
    item = dataset[(0, 4)]
    assert set(item) == {"image", "label", "row", "camera", "view"}
    assert (item["label"], item["row"]) == (1, 104)
    assert (item["camera"], item["view"]) == (-1, -1)
    assert torch.equal(item["image"], torch.full((3, 8, 10), 80 / 255))


def test_augmentation_is_of_seed_epoch_and_index_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _make_augmented(table, tmp_path, distractor="mixed")
    keys = [(epoch, index) for epoch in range(2) for index in range(6)]
    torch.manual_seed(1)
    forward = {key: dataset[key] for key in keys}
    torch.manual_seed(2)
    backward = {key: dataset[key] for key in reversed(keys)}
    for key in keys:
        for name in ("image", "distractor_image"):
            assert torch.equal(forward[key][name], backward[key][name])
    assert not torch.equal(forward[0, 3]["image"], forward[1, 3]["image"])
    other = _make_augmented(table, tmp_path, seed=1)
    assert not torch.equal(forward[0, 3]["image"], other[(0, 3)]["image"])


def test_loading_leaves_the_global_generator_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _make_augmented(table, tmp_path, distractor="noise")
    before = torch.get_rng_state()
    dataset[(0, 0)]
    assert torch.equal(torch.get_rng_state(), before)


def test_same_is_another_picture_of_the_class(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _make(table, tmp_path, distractor="same")
    for index in range(5):
        chosen = {dataset.choose_distractor((epoch, index)) for epoch in range(40)}
        mates = {i for i, label in enumerate(LABELS) if label == LABELS[index]}
        assert chosen == mates - {index}
        number = dataset.choose_distractor((3, index))
        assert torch.equal(
            dataset[(3, index)]["distractor_image"], torch.full((3, 8, 10), number * 20 / 255)
        )


def test_a_class_with_one_picture_takes_another_class_and_that_is_said(
    table: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = _make(table, tmp_path, distractor="same")
    assert "model.distractor same: 1 classes have one picture" in caplog.text
    assert {dataset.choose_distractor((epoch, 5)) for epoch in range(60)} == {0, 1, 2, 3, 4}


def test_mixed_is_of_the_same_class_half_of_the_time(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _make(table, tmp_path, distractor="mixed")
    chosen = [dataset.choose_distractor((epoch, 0)) for epoch in range(2000)]
    is_same = Counter(LABELS[index] == LABELS[0] for index in chosen)
    assert 0 not in chosen and set(chosen) == {1, 2, 3, 4, 5}
    assert abs(is_same[True] - 1000) < 100  # 4.5 standard deviations


def test_noise_is_standard_normal_and_new_for_every_key(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    dataset = _make(table, tmp_path, distractor="noise")
    noises = torch.stack([dataset[(epoch, 0)]["distractor_image"] for epoch in range(100)])
    assert abs(noises.mean()) < 0.03 and abs(noises.std() - 1) < 0.03
    assert len({float(noise[0, 0, 0]) for noise in noises}) == 100


def test_a_picture_that_is_gone_or_changed_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _make(table, tmp_path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        dataset[(0, 1)]
    (tmp_path / "2.png").write_bytes(b"x")
    with pytest.raises(OSError, match=r"2\.png: cannot be decoded"):
        dataset[(0, 2)]
