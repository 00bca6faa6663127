"""Pictures of ablations: what is drawn where."""

from __future__ import annotations

import pandas as pd
import pytest

from dcal.analysis.ablations import summarise_scores
from dcal.visual.ablations import draw_bands, draw_forest, draw_seeds
from dcal.visual.figures import BRANCH_COLOURS
from tests.analysis.studies import simulate_scores

SCORES = simulate_scores({"dcal": 0.0, "no_glca": 0.02, "sa_only": -0.03}, seeds=(0, 1, 2))
SCORE = "top1_accuracy"


def test_a_forest_has_a_point_and_an_interval_a_row_but_none_of_the_baseline() -> None:
    table = summarise_scores(SCORES, baseline="dcal")
    (axes,) = draw_forest(table, score=SCORE, baseline="dcal").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["sa_only, SA", "no_glca, SA"]  # from below
    rows = table.set_index("arm")
    zero, *lines = axes.lines
    assert set(zero.get_xdata()) == {0}
    for (interval, point), arm in zip(
        zip(lines[::2], lines[1::2], strict=True), ("sa_only", "no_glca"), strict=True
    ):
        low, high = 100 * rows.loc[arm, ["difference_low_95", "difference_high_95"]]
        assert list(interval.get_xdata()) == pytest.approx([low, high])
        assert point.get_xdata()[0] == pytest.approx(100 * rows.loc[arm, "difference"])
    assert "dcal" in axes.get_xlabel() and "95 %" in axes.get_xlabel()


def test_every_seed_is_a_dot_and_the_mean_a_line() -> None:
    order = [("dcal", "sa"), ("sa_only", "sa"), ("gone", "sa")]
    (axes,) = draw_seeds(SCORES, score=SCORE, order=order).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sa_only, SA", "dcal, SA"]
    dots, mean = axes.lines[2], axes.lines[3]
    values = 100 * SCORES[SCORES["arm"] == "dcal"]["value"]
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(values))
    assert mean.get_xdata()[0] == pytest.approx(values.mean())


def test_bands_reach_from_the_lowest_seed_to_the_highest_and_arms_keep_their_colour() -> None:
    rows = [("sa", s, e, 1.0 + s + e) for s in (0, 1) for e in (0, 1)]
    values = pd.DataFrame(rows, columns=["arm", "seed", "epoch", "value"])
    figure = draw_bands(
        [("one", values), ("two", values)], arms=["sa", "gone"], y_label="loss", is_log=True
    )
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two"]
    assert first.get_yscale() == "log" and first.get_ylabel() == "loss"
    (line,) = second.lines
    assert list(line.get_xdata()) == [1, 2] and list(line.get_ydata()) == [1.5, 2.5]
    assert line.get_color() == BRANCH_COLOURS["sa"]
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1.0, 3.0)


def test_nothing_to_compare_is_an_empty_forest() -> None:
    table = summarise_scores(SCORES[SCORES["arm"] == "dcal"], baseline="dcal")
    (axes,) = draw_forest(table, score=SCORE, baseline="dcal").axes
    assert len(axes.lines) == 1
