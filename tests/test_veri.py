"""VeRi-776's official layout through the whole pipeline, as its owner would run it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.data.reid_fixtures import (
    VERI_GALLERY,
    VERI_QUERY,
    VERI_TRAIN,
    write_key_points,
    write_veri,
)
from tests.project import STAGES, Project, clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def veri(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that was trained on a generated copy, with cameras and views."""
    folder = tmp_path_factory.mktemp("veri")
    source = write_veri(folder)
    views = write_key_points(folder / "views.txt", VERI_TRAIN + VERI_GALLERY, num_doubled=3)
    project = clone(folder / "project")
    project.compose(
        "preset=reid",
        "dataset=veri776",
        f"dataset.source={source}",
        "dataset.allow_partial=true",  # fewer pictures than the official set
        "dataset.val_ratio=0.2",
        f"dataset.options.views={views}",
        "model.side_information=camera_view",
        "train.epochs=2",
        "train.batch_size=8",
    )
    assert project.repro() == STAGES
    return project


def test_queries_are_ranked_without_their_own_copies(veri: Project) -> None:
    metrics = veri.read_json("results/evaluate/metrics.json")
    assert metrics["test/num_queries"] == metrics["test/num_valid_queries"] == len(VERI_QUERY)
    lists = pd.read_csv(veri.folder / "runs/evaluate/ranked_lists.csv")
    # A query's picture lies in the gallery too, bit for bit, under the same name.
    names = lists[["query", "path"]].map(lambda path: Path(path).name)
    assert len(lists) and (names["query"] != names["path"]).all()


def test_every_table_says_that_the_set_is_not_whole(veri: Project) -> None:
    warnings = veri.read_json("results/train/run.json")["warnings"]
    start = "not the official set: VeRi-776: expected 37778 train"
    (said,) = [text for text in warnings if text.startswith(start)]
    for place in ("results/evaluate/per_class.csv", "runs/evaluate/ranked_lists.csv"):
        assert set(pd.read_csv(veri.folder / place)["data"]) == {"partial"}
    page = (veri.folder / "reports/report.html").read_text(encoding="utf-8")
    assert f"Partial data, {said}" in page
    assert "test split, partial data" in veri.run("python", "-m", "pipelines.summary")


def test_cameras_and_views_reach_the_model_and_pictures_stay_off_the_page(veri: Project) -> None:
    card = veri.read_json("runs/train/model.json")
    assert 20 in card["sides"]["cameras"] and card["sides"]["views"]
    page = (veri.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "data:image/" not in page
