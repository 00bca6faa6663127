"""What is said of depths follows from the scores, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from dcal.analysis.depths import (
    PEAK,
    SHARE,
    format_depths,
    measure_uniform,
    summarise_depths,
    tell_depths,
    tell_model,
)
from dcal.inference.scoring import Scoring
from tests.models.factory import make_model

SCORES = pd.DataFrame(
    {
        "row": [7, 9, 7, 9],
        "num_blocks": [1, 1, 2, 2],
        "energy_share": [0.2, 0.4, 0.5, 0.1004],
        "pointing_game": [1.0, 0.0, 1.0, 1.0],
        "area_share": [0.05, 0.15, 0.05, 0.15],
    }
)


def test_each_depth_is_a_mean_over_the_pictures() -> None:
    summary = summarise_depths(SCORES)
    assert summary[SHARE].tolist() == pytest.approx([0.3, 0.3002])
    assert summary[PEAK].tolist() == [0.5, 1]
    assert measure_uniform(SCORES) == pytest.approx(0.1)
    shown = format_depths(summary)
    assert shown.columns.name == "blocks"
    assert shown.loc[SHARE].tolist() == ["30.0 %", "30.0 %"]


def test_the_answer_names_the_best_depth_and_what_a_uniform_map_gets() -> None:
    assert tell_depths(SCORES) == (
        "**The largest share of the rollout lies on the parts at 2 of 2 blocks**: 30.0 % of it, "
        "against 10.0 % of a uniform map (2 test pictures). The smallest is 30.0 %: depths that "
        "lie within the bands above cannot be told apart."
    )


def test_without_scores_the_answer_points_at_the_pictures() -> None:
    assert tell_depths(pd.DataFrame()).startswith("Without part annotation the pictures above")


@pytest.mark.parametrize(
    ("changes", "end"),
    [({}, "GLCA selects after 3 blocks."), ({"glca_blocks": 0}, "on the test split of birds.")],
)
def test_the_model_is_told_with_the_depth_that_selects(changes: dict[str, int], end: str) -> None:
    model = make_model(**changes)
    pictures = SimpleNamespace(report=SimpleNamespace(dataset="birds"))
    config = SimpleNamespace(model=SimpleNamespace(backbone="test"))
    said = tell_model(Scoring(model, pictures, config, Path("model.safetensors")))
    assert said.startswith("Model: test, 4 blocks, on the test split of birds.")
    assert said.endswith(end)
