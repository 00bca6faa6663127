"""A ranking's errors are those that its parts find one by one; what cannot be ranked is told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dcal.config import Config
from dcal.inference.camera_pairs import compare_cameras, measure_nearest_right
from dcal.inference.ranking_errors import (
    FEATURES,
    ask_cameras,
    count_confusions,
    list_worst,
    measure_nearest,
    open_ranking,
)
from pipelines import evaluate
from tests.pipelines.scored import VEHICLES, make_project


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the settings of drawn vehicles, prepared, with a model of random weights."""
    return make_project(tmp_path, monkeypatch, dataset=VEHICLES, train={"images_per_identity": 2})


def test_errors_are_those_of_the_branch_that_stands_for_the_model(config: Config) -> None:
    evaluate.main()
    ranking = open_ranking(config)
    assert list(ranking.results) == ["sa", "glca", "both"] and ranking.main == "both"
    features, limit = ranking.features, ranking.memory_limit
    pd.testing.assert_frame_equal(
        ask_cameras(ranking), compare_cameras(features, branch="both", memory_limit=limit)
    )
    nearest = measure_nearest(ranking)
    assert nearest["right"].tolist() == measure_nearest_right(features, branch="both").tolist()
    confusions = count_confusions(ranking)
    assert confusions["num_queries"].sum() == len(ranking.select("query"))
    is_ahead = nearest["wrong"] < nearest["right"]
    assert confusions["num_ahead"].sum() == is_ahead.sum()
    assert (confusions["identity"] != confusions["wrong_identity"]).all()


def test_the_worst_queries_come_first_with_as_many_answers_as_asked(config: Config) -> None:
    evaluate.main()
    ranking = open_ranking(config)
    worst = list_worst(ranking, num=2, num_shown=3)
    precisions = ranking.queries.set_index("path")["both_average_precision"]
    expected = precisions[precisions < 1].sort_values(kind="stable").index[:2].tolist()
    assert worst["query"].unique().tolist() == expected
    assert worst["rank"].max() <= 3
    assert list_worst(ranking, num=0, num_shown=3).empty


def test_a_stage_that_has_not_run_is_one_sentence_with_the_command(config: Config) -> None:
    message = (
        rf"^{FEATURES}: expected the embeddings of the evaluate stage, found no such file; run: "
        "dvc repro evaluate$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        open_ranking(config)


def test_classes_are_not_ranked_and_the_sentence_says_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    birds = make_project(tmp_path, monkeypatch)
    message = (
        r"^dataset\.name birds: expected a Re-ID data set, .*; got one of kind fgvc; set project "
        r"to one of Re-ID, or make one: python -m pipelines\.compose preset=reid, then dvc repro$"
    )
    with pytest.raises(ValueError, match=message):
        open_ranking(birds)
