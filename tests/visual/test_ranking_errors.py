"""Errors of a ranking, drawn, and said to readers who cannot see them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.ranking_texts import tabulate_cameras
from dcal.visual.ranking_errors import (
    describe_camera_shares,
    describe_nearest,
    describe_precisions,
    draw_camera_shares,
    draw_nearest,
    draw_precisions,
)
from tests.analysis.test_ranking_texts import ASKED

DISTANCES = pd.DataFrame({"right": [0.1, 0.3, np.nan], "wrong": [0.2, 0.5, 0.5]})
QUERIES = pd.DataFrame(
    {"sa_average_precision": [1.0, 0.5, np.nan], "glca_average_precision": [0.5, 1.0, np.nan]}
)


def test_every_way_that_was_asked_has_its_share() -> None:
    shares = tabulate_cameras(ASKED)
    (axes,) = draw_camera_shares(shares).axes
    assert [text.get_text() for text in axes.texts] == ["0.50", "1.00", "1.00"]
    assert axes.get_xlabel() == "camera of the gallery"
    assert describe_camera_shares(shares) == (
        "Rank-1 from each of 2 query cameras to each of 3 gallery cameras: 0.50 to 1.00"
    )


def test_both_sides_share_their_bins_and_differ_by_more_than_colour() -> None:
    (axes,) = draw_nearest(DISTANCES).axes
    filled, right, _, wrong = axes.patches
    assert right.get_data().edges.tolist() == wrong.get_data().edges.tolist()
    assert (right.get_data().values.sum(), wrong.get_data().values.sum()) == (2, 3)
    assert right.get_linestyle() != wrong.get_linestyle()
    assert filled.get_data().values.tolist() == right.get_data().values.tolist()
    assert describe_nearest(DISTANCES) == (
        "Distances of the queries: nearest right 0.100 to 0.300, median 0.200; nearest wrong 0.200 "
        "to 0.500, median 0.500"
    )


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5]])
def test_distances_that_are_all_equal_are_drawn(values: list[float]) -> None:
    (axes,) = draw_nearest(pd.DataFrame({"right": values, "wrong": values})).axes
    assert axes.patches[1].get_data().values.sum() == len(values)


def test_each_query_is_a_point_by_both_branches() -> None:
    (axes,) = draw_precisions(QUERIES).axes
    points = axes.collections[0].get_offsets()
    np.testing.assert_array_equal(points[:2], [[1, 0.5], [0.5, 1]])
    assert describe_precisions(QUERIES) == (
        "Average precision of 2 queries by SA and by GLCA: GLCA is better for 1, SA for 1"
    )
