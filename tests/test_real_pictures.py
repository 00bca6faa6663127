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
        "train.epochs=2",
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


def test_two_epochs_do_better_than_chance(grocery: Project) -> None:
    metrics = grocery.read_json("results/evaluate/metrics.json")
    assert metrics["test/both/top1_accuracy"] > 2 / 28


def test_pictures_that_may_not_be_passed_on_stay_out_of_the_page(grocery: Project) -> None:
    page = (grocery.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page and "data:image/webp" not in page


def test_a_second_repro_of_an_archive_runs_nothing(grocery: Project) -> None:
    assert grocery.repro() == []


@pytest.fixture(scope="module")
def fruit(tmp_path_factory: pytest.TempPathFactory, fruit_turn_archive: Path) -> Project:
    """Return a project that was trained to re-identify single fruits, in a few epochs."""
    project = clone(tmp_path_factory.mktemp("fruit") / "project")
    project.compose(
        "preset=reid",
        "dataset=market",
        "dataset.name=fruit_turn",
        f"dataset.source={fruit_turn_archive}",
        "train.epochs=2",
        "evaluate.rerank=true",
    )
    assert project.repro() == STAGES
    return project


def test_every_photographed_fruit_is_ranked(fruit: Project) -> None:
    report = fruit.read_json("data/index/fruit_turn/report.json")
    counts = report["counts"]
    assert counts["train"] + counts["val"] == 1332
    assert (counts["query"], counts["gallery"]) == (90, 450)
    metrics = fruit.read_json("results/evaluate/metrics.json")
    assert metrics["test/num_valid_queries"] == metrics["test/num_queries"] == 90
    for branch in ("sa", "glca", "both"):
        # Chance: rank-1 of 0.035, mean AP of 0.05.
        assert metrics[f"test/{branch}/cmc_1"] > 0.2
        assert metrics[f"test/{branch}/mean_ap"] > 0.2
        assert metrics[f"test/{branch}/reranked_mean_ap"] > 0.2
    lists = pd.read_csv(fruit.folder / "runs/evaluate/ranked_lists.csv")
    is_own_film = (lists["query_identity"] == lists["identity"]) & (
        lists["query_camera"] == lists["camera"]
    )
    assert len(lists) == 900 and not is_own_film.any()


def test_fruit_that_may_not_be_passed_on_stays_out_of_the_page(fruit: Project) -> None:
    page = (fruit.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "re-ranked" in page and "data:image/" not in page
    assert fruit.repro() == []
