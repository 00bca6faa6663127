"""What each camera finds for the others, against loops over all pairs in float64."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from dcal.data.datamodule import Pictures
from dcal.data.index import IndexReport
from dcal.inference.camera_pairs import compare_cameras, measure_nearest_right
from dcal.inference.features import Features, save_features
from dcal.inference.retrieval import read_test_features
from tests.inference.test_features import RECIPE

LIMIT = 1 << 28


def draw(*, num_queries: int = 9, num_gallery: int = 40, cameras: list[int | None]) -> Features:
    """Draw features of four identities; the cameras are drawn from a list."""
    generator = np.random.default_rng(3)
    num = num_queries + num_gallery
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(num)],
            "sha256": [f"{i:064d}" for i in range(num)],
            "split": ["query"] * num_queries + ["gallery"] * num_gallery,
            "identity": pd.array(generator.integers(4, size=num), dtype="Int64"),
            "camera": pd.array(generator.choice(np.array(cameras, object), num), dtype="Int64"),
        }
    )
    centers = generator.normal(size=(4, 6))
    noise = generator.normal(size=(num, 6))
    values = torch.from_numpy(centers[table["identity"].to_numpy(dtype=int)] + noise).float()
    return Features(table, {"sa": F.normalize(values)}, RECIPE)


def is_same_camera(mine: int, other: int) -> bool:
    return not pd.isna(mine) and not pd.isna(other) and mine == other


def list_pairs(features: Features) -> list[tuple[int, int, bool, bool, float]]:
    """Return (query, gallery row, same identity, same known camera, distance) of all pairs."""
    rows = list(features.table.itertuples())
    values = features.embeddings["sa"].double()
    queries = [row.Index for row in rows if row.split == "query"]
    return [
        (
            number,
            other.Index,
            rows[query].identity == other.identity,
            is_same_camera(rows[query].camera, other.camera),
            float((values[query] - values[other.Index]).square().sum()),
        )
        for number, query in enumerate(queries)
        for other in rows
        if other.split == "gallery"
    ]


def test_each_camera_answers_with_its_nearest_picture() -> None:
    features = draw(cameras=[1, 2, 7, None])
    found = compare_cameras(features, branch="sa", memory_limit=LIMIT)
    table = features.table
    expected = {}
    for query, row in enumerate(table.loc[table["split"] == "query"].itertuples()):
        for camera in (1, 2, 7):
            mine = [
                (distance, same)
                for asked, other, same, _, distance in list_pairs(features)
                if asked == query and table["camera"].fillna(-1)[other] == camera
            ]
            is_known = not pd.isna(row.camera) and row.camera != camera
            if is_known and any(same for _, same in mine):
                expected[query, row.camera, camera] = min(mine)[1]
    keys = zip(found["query"], found["query_camera"], found["camera"], strict=True)
    assert dict(zip(keys, found["is_right"], strict=True)) == expected
    assert 0 < found["is_right"].sum() < len(found)


def test_the_nearest_right_picture_is_one_that_the_camera_rule_leaves() -> None:
    features = draw(cameras=[1, 2])
    found = measure_nearest_right(features, branch="sa")
    for query, distance in enumerate(found):
        kept = [
            far
            for asked, _, same, same_camera, far in list_pairs(features)
            if asked == query and same and not same_camera
        ]
        assert distance == pytest.approx(min(kept), rel=1e-5)


def test_one_camera_or_none_leaves_nothing_to_compare() -> None:
    for cameras in ([4], [None]):
        features = draw(cameras=cameras)
        assert compare_cameras(features, branch="sa", memory_limit=LIMIT).empty
    assert np.isnan(measure_nearest_right(draw(cameras=[4]), branch="sa")).all()


def test_saved_features_of_other_pictures_than_the_index_has_are_refused(tmp_path) -> None:
    features = draw(cameras=[1])
    save_features(tmp_path / "features.safetensors", features)
    report = IndexReport.model_construct()
    table = features.table
    pictures = Pictures(table, report, tmp_path)
    found = read_test_features(tmp_path / "features.safetensors", pictures)
    assert found.table.equals(table)
    fewer = Pictures(table.drop(index=20), report, tmp_path)
    with pytest.raises(ValueError, match="expected 48, one a row of the index; got 49"):
        read_test_features(tmp_path / "features.safetensors", fewer)
