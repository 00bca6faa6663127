"""Rollouts of every depth are the model's own, and so are their scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from dcal.inference.depths import (
    choose_depths,
    choose_test_rows,
    find_test_split,
    list_test_rows,
    roll_out_depths,
    score_depths,
)
from dcal.inference.localization import compute_tolerance
from dcal.inference.parts import build_part_masks
from dcal.inference.scoring import Scoring, build_scoring_loader, open_scoring
from dcal.metrics.localization import energy_share
from tests.pipelines.scored import VEHICLES, make_project


@pytest.fixture
def scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scoring:
    return open_scoring(make_project(tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ("num_blocks", "num", "expected"),
    [(6, 7, [1, 2, 3, 4, 5, 6]), (12, 7, [1, 2, 4, 6, 8, 10, 12]), (1, 7, [1]), (12, 2, [1, 12])],
)
def test_depths_go_from_one_block_to_all(num_blocks: int, num: int, expected: list[int]) -> None:
    assert choose_depths(num_blocks, num=num) == expected


def test_each_depth_is_the_rollout_of_the_first_test_pictures(scoring: Scoring) -> None:
    found = roll_out_depths(scoring, num_pictures=3, depths=[1, 4])
    rows = list_test_rows(scoring, num=3)
    assert rows == scoring.pictures.select("test").index[:3].tolist()
    images = next(iter(build_scoring_loader(scoring, "test", rows=rows)))["image"]
    torch.testing.assert_close(found.images, images)
    assert list(found.maps) == [1, 4]
    with torch.inference_mode():
        for depth, maps in found.maps.items():
            torch.testing.assert_close(maps, scoring.model.rollout(images, depth))


def test_no_picture_to_look_at_is_one_sentence(scoring: Scoring) -> None:
    with pytest.raises(ValueError, match="expected test pictures to look at, found none; ask for"):
        roll_out_depths(scoring, num_pictures=0, depths=[1])
    assert score_depths(scoring, num_pictures=0).empty


def test_every_depth_is_scored_on_the_parts(scoring: Scoring) -> None:
    scores = score_depths(scoring, num_pictures=3)
    num_blocks = scoring.model.num_blocks
    assert set(scores["branch"]) == {"sa"}
    assert sorted(scores["num_blocks"].unique()) == list(range(1, num_blocks + 1))
    row = scores.iloc[-1]
    mask = build_part_masks(scoring)(int(row["row"]))
    images = next(iter(build_scoring_loader(scoring, "test", rows=[int(row["row"])])))["image"]
    with torch.inference_mode():
        share = energy_share(scoring.model.rollout(images, num_blocks)[0], mask)
    assert row["energy_share"] == pytest.approx(share, abs=1e-6)


def test_scored_pictures_are_drawn_from_all_classes_by_the_seed(scoring: Scoring) -> None:
    test = scoring.pictures.select("test")
    assert choose_test_rows(scoring, num=None) == test.index.tolist()
    assert choose_test_rows(scoring, num=len(test)) == test.index.tolist()
    rows = choose_test_rows(scoring, num=len(test) - 1)
    assert rows == sorted(rows) == choose_test_rows(scoring, num=len(test) - 1)
    draws = {
        tuple(choose_test_rows(scoring._replace(config=config), num=2))
        for config in (scoring.config.model_copy(update={"seed": seed}) for seed in range(12))
    }
    assert len(draws) > 6


def test_the_tolerance_is_half_a_patch(scoring: Scoring) -> None:
    height, _ = scoring.config.model.image_size
    assert compute_tolerance(scoring) == height / scoring.model.grid_size[0] / 2


def test_a_data_set_without_parts_has_no_scores_and_reid_is_asked_for_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"name": "vehicles", "kind": "reid", **VEHICLES}
    options = {"train": {"images_per_identity": 2}, "dataset": dataset}
    scoring = open_scoring(make_project(tmp_path, monkeypatch, **options))
    assert find_test_split(scoring) == "query"
    report = scoring.pictures.report.model_copy(update={"discriminative_parts": []})
    object.__setattr__(scoring.pictures, "report", report)
    pd.testing.assert_frame_equal(score_depths(scoring, num_pictures=2), pd.DataFrame())


def test_a_model_that_was_not_trained_yet_is_one_sentence(scoring: Scoring) -> None:
    scoring.path.unlink()
    message = (
        r"^runs/train/model\.safetensors: expected the model of the train stage, found no such "
        "file; run: dvc repro$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        open_scoring(scoring.config)
