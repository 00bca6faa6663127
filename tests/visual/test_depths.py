"""Rollouts by depth, drawn: every picture and depth has its panel, every line its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dcal.inference.depths import Rollouts
from dcal.inference.scoring import Scoring
from dcal.visual.depths import (
    describe_depths,
    describe_rollouts,
    draw_depths,
    draw_rollouts,
)
from tests.analysis.test_depths import SCORES
from tests.models.factory import make_model

GENERATOR = torch.Generator().manual_seed(0)
ROLLOUTS = Rollouts(
    torch.randn(2, 3, 16, 24, generator=GENERATOR),
    {depth: torch.rand(2, 4, 6, generator=GENERATOR) for depth in (1, 3)},
)


@pytest.fixture
def scoring() -> Scoring:
    model = make_model()
    model.card = {"preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    return Scoring(model, None, None, Path("model.safetensors"))


def test_each_row_is_a_picture_and_its_depths(scoring: Scoring) -> None:
    figure = draw_rollouts(ROLLOUTS, scoring)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["picture", "1 block", "3 blocks", "", "", ""]
    assert describe_rollouts(ROLLOUTS) == (
        "Rollouts over the first 1, 3 blocks, each row one of 2 test pictures beside the picture"
    )


def test_without_pictures_nothing_of_them_is_drawn(scoring: Scoring) -> None:
    drawn = draw_rollouts(ROLLOUTS, scoring, show_pictures=False)
    others = ROLLOUTS._replace(images=-ROLLOUTS.images)
    same = draw_rollouts(others, scoring, show_pictures=False)
    for one, other in zip(drawn.axes, same.axes, strict=True):
        np.testing.assert_array_equal(one.images[0].get_array(), other.images[0].get_array())
    assert [axes.get_title() for axes in drawn.axes] == ["1 block", "3 blocks", "", ""]
    assert "beside" not in describe_rollouts(ROLLOUTS, show_pictures=False)


def test_the_share_is_drawn_by_depth_beside_a_uniform_map() -> None:
    (axes,) = draw_depths(SCORES).axes
    line, uniform = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.3], [2, 0.3002]])
    assert uniform.get_ydata()[0] == pytest.approx(0.1)
    assert axes.get_legend() is not None
    assert describe_depths(SCORES) == (
        "Share of the rollout on the parts by number of blocks: 0.300 at 1, 0.300 at 2; a uniform "
        "map 0.100"
    )
