"""The whole pipeline on real photographs, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.project import STAGES, Project, clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grocery(tmp_path_factory: pytest.TempPathFactory, grocery_archive: Path) -> Project:
    """Return a project that was trained on the photographs at a small size."""
    project = clone(tmp_path_factory.mktemp("grocery") / "project")
    project.compose(
        "preset=photos_64",
        "dataset.name=grocery",
        f"dataset.source={grocery_archive}",
        "dataset.remote=private",
        "train.epochs=3",
        "rollout.num_images=3",
        "rollout.score_images=20",
    )
    assert project.repro() == STAGES
    return project


def test_every_photograph_is_listed_and_scored(grocery: Project) -> None:
    report = grocery.read_json("data/index/grocery/report.json")
    assert len(report["class_names"]) == 28
    counts = report["counts"]
    assert counts["train"] + counts["val"] == 859 and counts["test"] == 701
    predictions = pd.read_parquet(grocery.folder / "runs/evaluate/predictions.parquet")
    assert len(predictions) == 701 and predictions["path"].is_unique


def test_three_epochs_do_better_than_chance(grocery: Project) -> None:
    metrics = grocery.read_json("results/evaluate/metrics.json")
    assert metrics["test/both/top1_accuracy"] > 2 / 28


def test_pictures_that_may_not_be_passed_on_stay_out_of_the_page(grocery: Project) -> None:
    page = (grocery.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page and "data:image/webp" not in page


def test_a_second_repro_of_an_archive_runs_nothing(grocery: Project) -> None:
    assert grocery.repro() == []
