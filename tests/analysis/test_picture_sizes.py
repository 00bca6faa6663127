"""Sizes of made-up pictures, and what resizing does to them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dcal.analysis.picture_sizes import (
    InputSize,
    describe_sizes,
    find_enlarged,
    find_input_size,
    measure_size_leak,
    measure_stretch,
)
from tests.analysis.indexes import build_classes
from tests.visual.fixtures import make_config

SIZE = InputSize(height=100, width=50, key="model.image_size")


@pytest.mark.parametrize(
    ("transforms", "is_train", "key"),
    [
        ({"train_crop": "random"}, True, "transforms.resize"),
        ({"train_crop": "pad"}, True, "model.image_size"),
        ({"train_crop": "random"}, False, "model.image_size"),
        ({"test_crop": "center"}, False, "transforms.resize"),
    ],
)
def test_pictures_are_resized_to_what_is_cropped_or_straight_to_the_models_size(
    transforms: dict[str, Any], is_train: bool, key: str
) -> None:
    plain = {"resize": [80, 70], "train_crop": "none", "test_crop": "none", "pad": 2}
    config = make_config(transforms={**plain, **transforms}, model={"image_size": [64, 32]})
    found = find_input_size(config, is_train=is_train)
    expected = (80, 70) if key == "transforms.resize" else (64, 32)
    assert found == InputSize(*expected, key=key)


def test_a_picture_is_enlarged_where_either_side_grows() -> None:
    table = pd.DataFrame({"width": [50, 49, 500, 51], "height": [100, 100, 99, 101]})
    assert find_enlarged(table, SIZE).tolist() == [False, True, True, False]


def test_stretch_is_the_same_for_too_wide_and_too_narrow() -> None:
    table = pd.DataFrame({"width": [50, 100, 25], "height": [100, 100, 100]})
    assert measure_stretch(table, SIZE).tolist() == [1, 2, 2]


def test_sizes_are_told_by_split() -> None:
    table = build_classes({"train": [2, 1], "test": [1, 0]})
    table = table.assign(width=[32, 64, 90, 64], height=[32, 64, 60, 64])
    config = make_config(model={"image_size": [64, 64]})
    told = describe_sizes(table, config)
    assert told.loc["train", "width"] == "32 / 64 / 90" and told.loc["test", "width"] == "64"
    assert told["enlarged"].tolist() == [pytest.approx(2 / 3), 0]
    assert told.loc["train", "resized to"] == "64 x 64"


def test_a_size_that_only_one_class_has_tells_the_class() -> None:
    table = build_classes({"train": [3, 2], "test": [2, 2]})
    leak = measure_size_leak(table.assign(width=[40] * 3 + [50] * 2 + [40] * 2 + [50] * 2))
    assert leak is not None and (leak.accuracy, leak.majority, leak.num_pictures) == (1.0, 0.5, 4)
    # Of one size, or of a size that train lacks, the commonest class is all there is to guess.
    plain = measure_size_leak(table)
    other = measure_size_leak(table.assign(width=list(range(9))))
    assert plain is not None and plain.accuracy == plain.majority == 0.5
    assert other is not None and other.accuracy == other.majority


def test_without_test_pictures_a_size_tells_nothing() -> None:
    assert measure_size_leak(build_classes({"train": [1, 1]})) is None
